//! The table of who may do what: verbs, roles, and which call is which verb.
//!
//! This is the only place that says so; docs/security.md shows the same table, and tests compare the two. What is not
//! here is refused.

use std::fmt;

use dovetail::pb::{inspect_service_server, match_service_server, operate_service_server};
use dovetail_wire::node_pb::{
    candidates_service_server, decisions_service_server, feed_service_server, node_service_server,
};

/// What a call does, as far as permissions are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Elements in: `Submit`, `SubmitOne`.
    Submit,
    /// An element and what became of it: `GetElement`, `Explain`.
    Read,
    /// Elements that wait: `ListElements`.
    List,
    /// One element back: `Withdraw`.
    Withdraw,
    /// Elements of any owner back: `WithdrawElements`.
    WithdrawMany,
    /// What was decided: `WatchMatches`, `WatchOutcomes`.
    Watch,
    /// A pool defined: `DefinePool`.
    Define,
    /// A pool dropped: `DropPool`.
    Drop,
    /// That a pool is there, its definition and its counts: `ListPools`, `GetPool`.
    See,
    /// What nodes say about themselves: `Inspect`, reflection.
    Inspect,
    /// What an operator tells the cluster: `AcceptClock`.
    Operate,
    /// What nodes say to each other: `Feed`, `Cut`, `Retirements`, `Candidates`, `Decisions`, `Confirm`,
    /// `Follow`.
    Node,
    /// What is not in this table.
    Other,
}

impl Verb {
    /// All that can be granted.
    pub const ALL: [Verb; 12] = [
        Verb::Submit,
        Verb::Read,
        Verb::List,
        Verb::Withdraw,
        Verb::WithdrawMany,
        Verb::Watch,
        Verb::Define,
        Verb::Drop,
        Verb::See,
        Verb::Inspect,
        Verb::Operate,
        Verb::Node,
    ];

    /// As errors and the audit log name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verb::Submit => "submit",
            Verb::Read => "read",
            Verb::List => "list",
            Verb::Withdraw => "withdraw",
            Verb::WithdrawMany => "withdraw-many",
            Verb::Watch => "watch",
            Verb::Define => "define",
            Verb::Drop => "drop",
            Verb::See => "see",
            Verb::Inspect => "inspect",
            Verb::Operate => "operate",
            Verb::Node => "node",
            Verb::Other => "other",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a caller is granted, in some pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyRole {
    /// Submits.
    Producer,
    /// Watches and reads.
    Consumer,
    /// Reads and withdraws what it submitted itself.
    OwnerOnly,
    /// Defines and drops pools, and takes elements back.
    PoolAdmin,
    /// Everything but what nodes do.
    Operator,
    /// What nodes do.
    Node,
}

/// Of whose elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Of no owner: it may not.
    Nobody,
    /// Of those that it submitted itself.
    Own,
    /// Of any owner.
    Anybody,
}

impl PolicyRole {
    /// All there are.
    pub const ALL: [PolicyRole; 6] = [
        PolicyRole::Producer,
        PolicyRole::Consumer,
        PolicyRole::OwnerOnly,
        PolicyRole::PoolAdmin,
        PolicyRole::Operator,
        PolicyRole::Node,
    ];

    /// As a policy names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PolicyRole::Producer => "producer",
            PolicyRole::Consumer => "consumer",
            PolicyRole::OwnerOnly => "owner-only",
            PolicyRole::PoolAdmin => "pool-admin",
            PolicyRole::Operator => "operator",
            PolicyRole::Node => "node",
        }
    }

    /// The role with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<PolicyRole> {
        PolicyRole::ALL.into_iter().find(|role| role.name() == name)
    }

    /// What it allows in the pools that it is granted in: the table.
    #[must_use]
    pub fn allows(self, verb: Verb) -> Scope {
        use Scope::{Anybody, Nobody, Own};
        match (self, verb) {
            (_, Verb::Other) => Nobody,
            (PolicyRole::Node, Verb::Node) => Anybody,
            (PolicyRole::Node, _) | (_, Verb::Node) => Nobody,
            (PolicyRole::Operator, _) => Anybody,
            (_, Verb::See) => Anybody,
            (PolicyRole::Producer, Verb::Submit) => Anybody,
            (PolicyRole::Consumer, Verb::Read | Verb::List | Verb::Watch) => Anybody,
            (PolicyRole::OwnerOnly, Verb::Read | Verb::Withdraw) => Own,
            (
                PolicyRole::PoolAdmin,
                Verb::Read | Verb::List | Verb::Withdraw | Verb::WithdrawMany | Verb::Define | Verb::Drop,
            ) => Anybody,
            (PolicyRole::Producer | PolicyRole::Consumer | PolicyRole::OwnerOnly | PolicyRole::PoolAdmin, _) => Nobody,
        }
    }
}

impl fmt::Display for PolicyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a call is, by its service and its method; none for what every caller may do: health.
#[must_use]
pub fn verb(service: &str, method: &str) -> Option<Verb> {
    Some(match (service, method) {
        ("grpc.health.v1.Health", _) => return None,
        ("grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection", _) => Verb::Inspect,
        (inspect_service_server::SERVICE_NAME, _) => Verb::Inspect,
        (operate_service_server::SERVICE_NAME, _) => Verb::Operate,
        (
            feed_service_server::SERVICE_NAME
            | candidates_service_server::SERVICE_NAME
            | decisions_service_server::SERVICE_NAME
            | node_service_server::SERVICE_NAME,
            _,
        ) => Verb::Node,
        (match_service_server::SERVICE_NAME, method) => match method {
            "Submit" | "SubmitOne" => Verb::Submit,
            "GetElement" | "Explain" => Verb::Read,
            "ListElements" => Verb::List,
            "Withdraw" => Verb::Withdraw,
            "WithdrawElements" => Verb::WithdrawMany,
            "WatchMatches" | "WatchOutcomes" => Verb::Watch,
            "DefinePool" => Verb::Define,
            "DropPool" => Verb::Drop,
            "ListPools" | "GetPool" => Verb::See,
            _ => Verb::Other,
        },
        _ => Verb::Other,
    })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_call_of_every_service_is_in_the_table() {
        let descriptors = prost_types::FileDescriptorSet::decode(dovetail_wire::DESCRIPTORS).unwrap();
        let mut calls = 0;
        let services =
            descriptors.file.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
        for (package, service) in services {
            for method in &service.method {
                let name = format!("{package}.{}", service.name());
                let verb = verb(&name, method.name());
                assert!(verb.is_some_and(|verb| verb != Verb::Other), "{name}/{} has no verb", method.name());
                calls += 1;
            }
        }
        assert!(calls >= 18, "{calls} calls");
    }

    #[test]
    fn what_is_not_in_the_table_is_allowed_to_nobody() {
        assert_eq!(verb("dovetail.v1.MatchService", "Erase"), Some(Verb::Other));
        assert_eq!(verb("evil.Service", "Check"), Some(Verb::Other));
        assert!(PolicyRole::ALL.iter().all(|role| role.allows(Verb::Other) == Scope::Nobody));
        assert_eq!(verb("grpc.health.v1.Health", "Check"), None);
    }

    #[test]
    fn roles_are_known_by_their_names() {
        assert!(PolicyRole::ALL.into_iter().all(|role| PolicyRole::named(role.name()) == Some(role)));
        assert_eq!(PolicyRole::named("root"), None);
    }

    /// The lines of docs/security.md between two marks.
    #[test]
    fn the_table_of_the_documentation_is_this_one() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security.md")).unwrap();
        let (_, table) = page.split_once("<!-- who may do what -->\n").expect("the table begins");
        let (table, _) = table.split_once("<!-- end of who may do what -->").expect("the table ends");
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.len(), Verb::ALL.len(), "{table}");
        for (verb, row) in Verb::ALL.into_iter().zip(rows) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            assert_eq!(cells[1], format!("`{verb}`"));
            for (role, cell) in PolicyRole::ALL.into_iter().zip(&cells[3..]) {
                let expected = match role.allows(verb) {
                    Scope::Nobody => "",
                    Scope::Own => "own",
                    Scope::Anybody => "yes",
                };
                assert_eq!(*cell, expected, "{verb}, {role}");
            }
        }
    }
}
