//! What a node is, and which nodes it talks to.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use dovetail_node::Term;
use tonic::{Request, Status, metadata::MetadataValue};

use crate::{caller::Caller, fault::Fault, settings::ClusterSettings, troubles::Troubles};
use dovetail::{
    Role, pb,
    reason::Reason,
    text::{ECHO_BYTES_MAX, cut},
};
use dovetail_certs::{NodeName, Proved};
use dovetail_wire::{
    PROTOCOL,
    node_pb::{self, candidates_service_server, decisions_service_server, feed_service_server, node_service_server},
    talks_to,
};

/// What nodes ask of one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeCall {
    /// The log, of the balancer.
    Feed,
    /// The stable cut, of the balancer.
    Cut,
    /// Stored retirements, of the balancer.
    Retirements,
    /// Candidates, of a matcher.
    Candidates,
    /// Decisions, of a gatherer.
    Decisions,
    /// Which process it is, of every role.
    Confirm,
    /// That a balancer writes, told to matchers and gatherers.
    Follow,
}

impl NodeCall {
    /// All there are.
    pub const ALL: [NodeCall; 7] = [
        NodeCall::Feed,
        NodeCall::Cut,
        NodeCall::Retirements,
        NodeCall::Candidates,
        NodeCall::Decisions,
        NodeCall::Confirm,
        NodeCall::Follow,
    ];

    /// The service and the method.
    #[must_use]
    pub fn path(self) -> (&'static str, &'static str) {
        match self {
            NodeCall::Feed => (feed_service_server::SERVICE_NAME, "Feed"),
            NodeCall::Cut => (feed_service_server::SERVICE_NAME, "Cut"),
            NodeCall::Retirements => (feed_service_server::SERVICE_NAME, "Retirements"),
            NodeCall::Candidates => (candidates_service_server::SERVICE_NAME, "Candidates"),
            NodeCall::Decisions => (decisions_service_server::SERVICE_NAME, "Decisions"),
            NodeCall::Confirm => (node_service_server::SERVICE_NAME, "Confirm"),
            NodeCall::Follow => (node_service_server::SERVICE_NAME, "Follow"),
        }
    }

    /// The call of a path, if it is one of nodes.
    #[must_use]
    pub fn of(service: &str, method: &str) -> Option<NodeCall> {
        NodeCall::ALL.into_iter().find(|call| call.path() == (service, method))
    }

    /// The roles that make it.
    #[must_use]
    pub fn callers(self) -> &'static [Role] {
        match self {
            NodeCall::Feed => &[Role::Matcher],
            NodeCall::Cut => &[Role::Matcher, Role::Gatherer],
            NodeCall::Candidates => &[Role::Gatherer],
            NodeCall::Follow => &[Role::Balancer],
            NodeCall::Retirements | NodeCall::Decisions | NodeCall::Confirm => {
                &[Role::Balancer, Role::Matcher, Role::Gatherer]
            }
        }
    }

    /// Lets only those make it who prove to be a node of the cluster, of a role that makes it.
    ///
    /// # Errors
    /// PERMISSION_DENIED, with who it is for and who calls.
    pub fn check(self, cluster: &str, proved: Option<&Proved>) -> Result<(), Fault> {
        let found = match proved {
            Some(Proved::Node(name)) if name.cluster == cluster && self.callers().contains(&name.role) => return Ok(()),
            Some(proved) => proved.to_string(),
            None => "who shows no certificate".to_owned(),
        };
        Err(self.refused(cluster, &found))
    }

    fn refused(self, cluster: &str, found: &str) -> Fault {
        let roles = self.callers().iter().map(|role| format!("{role}s")).collect::<Vec<_>>().join(", ");
        let method = self.path().1;
        let text = format!("{method} is for {roles} of cluster {cluster:?}, and not for {found}");
        Fault::new(Reason::PeerUnproved, text).with("method", method).with("cluster", cluster).with("found", found)
    }
}

/// Marks a refusal for other cluster settings, beside its message for people.
const OTHER_SETTINGS: &str = "dovetail-other-settings";

/// Whether a refusal is one for other cluster settings.
pub(super) fn is_other_settings(status: &Status) -> bool {
    status.metadata().contains_key(OTHER_SETTINGS)
}

/// A term as messages have it.
#[must_use]
pub fn term(number: u64) -> Option<Term> {
    (number > 0).then_some(Term(number))
}

/// Who this node is, as it tells its peers.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    /// What the cluster agrees on.
    pub cluster: ClusterSettings,
    /// What this node does.
    pub role: Role,
    /// Its index among its role.
    pub index: u32,
    /// A random number of this process, which only nodes are told; 0 where there is no randomness.
    instance: u64,
    log_id: Arc<Mutex<String>>,
    /// As `Peer` has it.
    term: Arc<AtomicU64>,
    /// The node it refused last, and why: logged once.
    refused: Arc<Mutex<String>>,
    /// What is wrong with it.
    pub troubles: Troubles,
}

impl NodeIdentity {
    /// A node that has read no log yet.
    #[must_use]
    pub fn new(cluster: ClusterSettings, role: Role, index: u32) -> NodeIdentity {
        let instance = getrandom::u64().unwrap_or_default();
        let (log_id, term, refused, troubles) = Default::default();
        NodeIdentity { cluster, role, index, instance, log_id, term, refused, troubles }
    }

    /// From now on this node's state comes from this log; empty for none.
    pub fn reads_log(&self, log_id: &str) {
        log_id.clone_into(&mut self.log_id.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The log this node's state comes from; empty for none.
    #[must_use]
    pub fn log_id(&self) -> String {
        self.log_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this balancer writes in this term, or this node has heard of no higher one; none of a balancer that
    /// stands by.
    pub fn is_in_term(&self, term: Option<Term>) {
        self.term.store(term.map_or(0, |term| term.0), Ordering::Relaxed);
    }

    /// The term that this balancer writes in, or the highest that this node has heard of.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        term(self.term.load(Ordering::Relaxed))
    }

    /// As sent with every subscription.
    #[must_use]
    pub fn pb(&self) -> node_pb::Peer {
        node_pb::Peer {
            cluster: self.cluster.name.clone(),
            settings_digest: self.cluster.digest(),
            settings: self.cluster.to_string(),
            role: pb::Role::from(self.role).into(),
            index: self.index,
            log_id: self.log_id(),
            instance: self.instance,
            protocol: PROTOCOL,
            term: self.term.load(Ordering::Relaxed),
        }
    }

    /// Lets a call of another node through: of a role that makes it, of the same cluster, and of who the caller's
    /// certificate says it is, where there is one. That there has to be one is for the edge to see to.
    ///
    /// # Errors
    /// As [`check`](NodeIdentity::check); and PERMISSION_DENIED for who is not who it says, showing both.
    pub fn admit<T>(&self, call: NodeCall, request: &Request<T>, peer: Option<&node_pb::Peer>) -> Result<(), Status> {
        self.check(peer)?;
        // The settings are the same, and so the name.
        let (Some(peer), cluster) = (peer, &self.cluster.name) else { return Ok(()) };
        let role = Role::try_from(peer.role()).ok().filter(|role| call.callers().contains(role));
        let Some(role) = role else {
            return Err(call.refused(cluster, &format!("a node that says it is {:?}", peer.role())).into());
        };
        let said = NodeName { cluster: cluster.clone(), role, index: peer.index };
        let proved = Caller::of(request.extensions()).and_then(|caller| caller.connection.proved);
        match proved.as_deref() {
            Some(proved) if proved.node() != Some(&said) => {
                let text = format!("the caller says that it is {said}, but its certificate says {proved}");
                tracing::error!(said = %said, proved = %proved, "refused a node that is not the one it claims to be");
                Err(Fault::new(Reason::PeerUnproved, text).with("said", said).with("proved", proved).into())
            }
            _ => Ok(()),
        }
    }

    /// Whether this process told this number to other nodes. Never for the 0 of versions that have none.
    #[must_use]
    pub fn is_process(&self, instance: u64) -> bool {
        instance != 0 && instance == self.instance
    }

    /// Lets only nodes of the same cluster through, of a version that this one talks to, with the same settings and the
    /// same log: what was decided for one log means nothing for another.
    ///
    /// # Errors
    /// FAILED_PRECONDITION for a stranger, showing what both sides have.
    pub fn check(&self, peer: Option<&node_pb::Peer>) -> Result<(), Status> {
        let missing = || Fault::new(Reason::FieldMissing, "the request does not say who sends it: peer is missing");
        let peer = peer.ok_or_else(|| missing().at("peer"))?;
        if !talks_to(peer.protocol) {
            let (found, role) = (peer.protocol, self.role);
            let text = format!(
                "the peer speaks version {found} of the protocol between nodes, this {role} speaks {PROTOCOL}, \
                 and {} and {} with others; stop all nodes, then start all of one version",
                PROTOCOL - 1,
                PROTOCOL + 1
            );
            self.tell_refused(peer, "refused a node of another version", &text);
            return Err(Fault::new(Reason::PeerDiffers, text).into());
        }
        let own = self.cluster.digest();
        if peer.settings_digest != own {
            let text = format!(
                "the peer's cluster settings ({}; digest {:016x}) are not those of this {} ({}; digest {own:016x})",
                cut(peer.settings.clone(), ECHO_BYTES_MAX),
                peer.settings_digest,
                self.role,
                self.cluster
            );
            let mut refusal = Status::from(Fault::new(Reason::PeerDiffers, text));
            refusal.metadata_mut().insert(OTHER_SETTINGS, MetadataValue::from_static("true"));
            self.tell_refused(peer, "refused a node with other cluster settings", refusal.message());
            return Err(refusal);
        }
        let log_id = self.log_id();
        if !log_id.is_empty() && !peer.log_id.is_empty() && log_id != peer.log_id {
            let role = self.role;
            let found = cut(peer.log_id.clone(), ECHO_BYTES_MAX);
            let text = format!("the peer's log is {found}, that of this {role} is {log_id}");
            return Err(Fault::new(Reason::PeerDiffers, text).into());
        }
        Ok(())
    }

    /// Logs the node it refused, unless that is what it logged last: a stranger tries again and again.
    fn tell_refused(&self, peer: &node_pb::Peer, what: &'static str, error: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *refused != error {
            let role = Role::try_from(peer.role()).map_or("unknown role", Role::name);
            tracing::error!(peer = role, index = peer.index, error, "{what}");
            error.clone_into(&mut refused);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::rpc) fn identity(slices: u32) -> NodeIdentity {
        let cluster = ClusterSettings {
            name: "test".into(),
            slices,
            matchers: 1,
            gatherers: 1,
            block: 64,
            virtual_nodes: 160,
            list_max: 256,
            balancers: Vec::new(),
        };
        NodeIdentity::new(cluster, Role::Gatherer, 0)
    }

    #[test]
    fn a_node_with_the_same_settings_is_let_in() {
        assert!(identity(4).check(Some(&identity(4).pb())).is_ok());
    }

    #[test]
    fn the_term_goes_with_what_a_node_says_of_itself_and_is_no_reason_to_refuse_it() {
        let (node, other) = (identity(4), identity(4));
        assert_eq!((node.term(), node.pb().term), (None, 0));
        node.is_in_term(Some(Term(7)));
        assert_eq!((node.term(), node.pb().term), (Some(Term(7)), 7));
        assert!(other.check(Some(&node.pb())).is_ok() && node.check(Some(&other.pb())).is_ok());
        node.is_in_term(None);
        assert_eq!(node.pb().term, 0);
    }

    #[test]
    fn a_node_with_another_log_is_refused_and_one_with_none_is_let_in() {
        let (one, other) = (identity(4), identity(4));
        one.reads_log("aa");
        assert!(one.check(Some(&other.pb())).is_ok());
        other.reads_log("bb");
        let refused = one.check(Some(&other.pb())).unwrap_err();
        assert!(refused.message().contains("aa") && refused.message().contains("bb"), "{}", refused.message());
    }

    #[test]
    fn a_node_of_a_version_that_is_further_away_is_refused_with_both() {
        let of = |protocol| node_pb::Peer { protocol, ..identity(4).pb() };
        for protocol in PROTOCOL - 1..=PROTOCOL + 1 {
            assert!(identity(4).check(Some(&of(protocol))).is_ok());
        }
        for protocol in (0..PROTOCOL - 1).chain([PROTOCOL + 2, u32::MAX]) {
            let refused = identity(4).check(Some(&of(protocol))).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
            let says =
                format!("speaks version {protocol} of the protocol between nodes, this gatherer speaks {PROTOCOL},");
            assert!(refused.message().contains(&says), "{}", refused.message());
        }
    }

    #[test]
    fn a_stranger_is_refused_with_both_values() {
        let refused = identity(4).check(Some(&identity(6).pb())).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains("slices 4"), "{}", refused.message());
        assert!(refused.message().contains("slices 6"), "{}", refused.message());
        assert!(is_other_settings(&refused));
        assert!(!is_other_settings(&Status::failed_precondition("another reason")));
    }
}
