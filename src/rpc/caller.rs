//! Who calls: the connection a call came by, and whose call it is for bounds, permissions and the record of who did what.
//!
//! The edge of a node finds it out once and puts it beside the request; services read it there. A call from a node of the same process
//! has none: it is this process's own.

use std::{fmt, net::IpAddr, sync::Arc};

use tonic::codegen::http::Extensions;

/// A connection that was accepted. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Which one, from 1, in the order in which this process accepted them.
    pub number: u64,
    /// Where it comes from.
    pub address: IpAddr,
}

/// Whose call it is: bounds by client count by this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientId {
    /// Who proved a name, by a certificate or a token.
    Name(Arc<str>),
    /// Who proved none.
    Address(IpAddr),
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientId::Name(name) => write!(f, "{name}"),
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
        Some(Caller { client: ClientId::Address(connection.address), connection })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_proves_no_name_is_known_by_the_address() {
        let mut extensions = Extensions::new();
        assert!(Caller::of(&extensions).is_none());
        extensions.insert(Connection { number: 7, address: IpAddr::from([127, 0, 0, 9]) });
        let caller = Caller::of(&extensions).unwrap();
        assert_eq!((caller.connection.number, caller.client.to_string()), (7, "127.0.0.9".to_owned()));
    }
}
