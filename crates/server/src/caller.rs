//! Who calls: the connection a call came by, and whose call it is for bounds, permissions and the record of who did
//! what.
//!
//! The edge of a node finds it out once and puts it beside the request; services read it there. A call from a node of
//! the same process has none: it is this process's own.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use tonic::codegen::http::Extensions;

use dovetail_certs::Proved;

/// The callers that a port serves: all, unless some have a port of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Clients: `MatchService`.
    pub clients: bool,
    /// Other nodes: the feed, candidates, decisions.
    pub nodes: bool,
    /// Operators: `Inspect`, and reflection.
    pub operators: bool,
}

impl Port {
    /// A port for all callers.
    pub const ALL: Port = Port { clients: true, nodes: true, operators: true };
    /// A port for nodes only.
    pub const NODES: Port = Port { clients: false, nodes: true, operators: false };
    /// A port for operators only.
    pub const OPERATORS: Port = Port { clients: false, nodes: false, operators: true };
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.clients, "clients"), (self.nodes, "nodes"), (self.operators, "operators")];
        let served: Vec<_> = all.into_iter().filter(|(served, _)| *served).map(|(_, who)| who).collect();
        f.write_str(&served.join(" and "))
    }
}

/// A connection that was accepted. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Which one, from 1, in the order in which this process accepted them.
    pub number: u64,
    /// Where it comes from.
    pub address: IpAddr,
    /// The callers that its port serves.
    pub port: Port,
    /// Who is at its other end, by a certificate that our authority signs; none in plain text, and of who showed none.
    pub proved: Option<Arc<Proved>>,
}

/// Whose call it is: bounds by client count by this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientId {
    /// Who proved a name, by a certificate or a token.
    Name(Arc<str>),
    /// Who proved none: [as one client has them](ClientId::of).
    Address(IpAddr),
}

impl ClientId {
    /// Any client at an address. Of IPv6 that is all of a network of 64 bits, as one host has as many addresses there
    /// as it likes; an address of IPv4 is the same in both.
    #[must_use]
    pub fn of(address: IpAddr) -> ClientId {
        ClientId::Address(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
            address => address,
        })
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientId::Name(name) => write!(f, "{name}"),
            ClientId::Address(IpAddr::V6(network)) if !network.is_loopback() => write!(f, "{network}/64"),
            ClientId::Address(address) => write!(f, "{address}"),
        }
    }
}

/// Who makes a call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it came by.
    pub connection: Connection,
    /// Whose it is.
    pub client: ClientId,
}

impl Caller {
    /// Of a request that came by a connection; none of one that came from within the process.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Caller> {
        if let Some(caller) = extensions.get::<Caller>() {
            return Some(caller.clone());
        }
        let connection = extensions.get::<Connection>()?.clone();
        let named = connection.proved.as_ref().map(|proved| ClientId::Name(proved.name()));
        Some(Caller { client: named.unwrap_or_else(|| ClientId::of(connection.address)), connection })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dovetail::Role;
    use dovetail_certs::NodeName;

    #[test]
    fn a_network_of_ipv6_is_one_client_and_ipv4_is_the_same_within_it() {
        let of = |address: &str| ClientId::of(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1:2::9"), of("2001:db8:1:3::9"));
        assert_eq!(of("::ffff:10.0.0.7"), of("10.0.0.7"));
        let names = ["2001:db8:1:2:3:4:5:6", "::1", "::ffff:10.0.0.7"].map(|address| of(address).to_string());
        assert_eq!(names, ["2001:db8:1:2::/64", "::1", "10.0.0.7"]);
    }

    #[test]
    fn who_proves_a_name_is_known_by_it_and_who_does_not_by_the_address() {
        let mut extensions = Extensions::new();
        assert!(Caller::of(&extensions).is_none());
        let connection = Connection { number: 7, address: IpAddr::from([127, 0, 0, 9]), port: Port::ALL, proved: None };
        extensions.insert(connection.clone());
        let caller = Caller::of(&extensions).unwrap();
        assert_eq!((caller.connection.number, caller.client.to_string()), (7, "127.0.0.9".to_owned()));
        let matcher = NodeName { cluster: "c".to_owned(), role: Role::Matcher, index: 3 };
        for (proved, name) in [(Proved::Client("shop".into()), "shop"), (Proved::Node(matcher), "matcher-3.c.dovetail")]
        {
            extensions.insert(Connection { proved: Some(Arc::new(proved)), ..connection.clone() });
            assert_eq!(Caller::of(&extensions).unwrap().client, ClientId::Name(name.into()));
        }
    }
}
