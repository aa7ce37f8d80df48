//! How many pools one group of names, and one client, may have: none takes all that there may be.
//!
//! Pools that are being dropped count until they are gone. Who defined a pool is not in the log: after a restart of the
//! balancer the pools from before count by their names only.

use std::collections::HashMap;

use dovetail_core::{PoolId, ledger::Ledger, pool::name_prefix};
use thiserror::Error;

use crate::caller::ClientId;

/// Counts, and their bounds.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// Most pools whose names have one prefix. Above it the next one is refused.
    prefix_max: usize,
    /// Most pools that one client has defined. Above it the next one is refused.
    client_max: usize,
    prefixes: HashMap<Box<str>, usize>,
    clients: HashMap<ClientId, usize>,
    definers: HashMap<PoolId, ClientId>,
}

/// Why a client may define no more pools.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum QuotaError {
    #[error(
        "{count} pools have names that begin with {prefix:?}, which is the most (pools_prefix_max): drop some, or choose another prefix"
    )]
    Prefix { prefix: String, count: usize },
    #[error(
        "{client} has defined {count} pools that are there, which is the most for a client (pools_client_max): drop some"
    )]
    Client { client: ClientId, count: usize },
}

impl Quotas {
    /// Of the pools of a ledger.
    pub(crate) fn new(prefix_max: usize, client_max: usize, ledger: &Ledger) -> Quotas {
        let mut quotas = Quotas::of_nobody(prefix_max, client_max);
        ledger.pools().for_each(|entry| quotas.defined(entry.pool.id, &entry.pool.definition.name, None));
        quotas
    }

    fn of_nobody(prefix_max: usize, client_max: usize) -> Quotas {
        let (prefixes, clients, definers) = Default::default();
        Quotas { prefix_max, client_max, prefixes, clients, definers }
    }

    /// Whether a client may define a pool. A call from within the process counts for no client.
    pub(crate) fn check(&self, name: &str, client: Option<&ClientId>) -> Result<(), QuotaError> {
        let prefix = name_prefix(name);
        if let Some(&count) = self.prefixes.get(prefix).filter(|&&count| count >= self.prefix_max) {
            return Err(QuotaError::Prefix { prefix: prefix.to_owned(), count });
        }
        match client.and_then(|client| Some((client, *self.clients.get(client)?))) {
            Some((client, count)) if count >= self.client_max => {
                Err(QuotaError::Client { client: client.clone(), count })
            }
            _ => Ok(()),
        }
    }

    /// A pool is defined.
    pub(crate) fn defined(&mut self, pool: PoolId, name: &str, client: Option<ClientId>) {
        *self.prefixes.entry(name_prefix(name).into()).or_default() += 1;
        if let Some(client) = client {
            *self.clients.entry(client.clone()).or_default() += 1;
            self.definers.insert(pool, client);
        }
    }

    /// A pool is dropped.
    pub(crate) fn dropped(&mut self, pool: PoolId, name: &str) {
        less(&mut self.prefixes, name_prefix(name).into());
        if let Some(client) = self.definers.remove(&pool) {
            less(&mut self.clients, client);
        }
    }
}

/// One fewer; who has none is forgotten.
fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, of: K) {
    if let std::collections::hash_map::Entry::Occupied(mut count) = counts.entry(of) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(last: u8) -> ClientId {
        ClientId::Address(IpAddr::from([127, 0, 0, last]))
    }

    #[test]
    fn names_are_counted_by_what_they_begin_with() {
        let names = ["team-a.ranked", "team-a.", "duel-17", "duel_x", "duel17", "duel", "17", ".x"];
        assert_eq!(names.map(name_prefix), ["team-a.", "team-a.", "duel", "duel", "duel", "duel", "", "."]);
    }

    #[test]
    fn a_prefix_that_is_full_leaves_room_for_others_and_has_some_again_after_a_drop() {
        let mut quotas = Quotas::of_nobody(2, 3);
        for number in 0..2 {
            quotas.defined(PoolId(number), &format!("duel-{number}"), None);
        }
        let full = QuotaError::Prefix { prefix: "duel".to_owned(), count: 2 };
        assert_eq!(quotas.check("duel7", None), Err(full));
        assert_eq!(quotas.check("team-a.duel7", None), Ok(()));
        quotas.dropped(PoolId(0), "duel-0");
        assert_eq!(quotas.check("duel7", None), Ok(()));
    }

    #[test]
    fn a_client_that_has_enough_leaves_room_for_others_and_has_some_again_after_a_drop() {
        let mut quotas = Quotas::of_nobody(2, 3);
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            quotas.defined(PoolId(number as u32), name, Some(address(1)));
        }
        let full = QuotaError::Client { client: address(1), count: 3 };
        assert_eq!(quotas.check("d", Some(&address(1))), Err(full));
        assert_eq!((quotas.check("d", Some(&address(2))), quotas.check("d", None)), (Ok(()), Ok(())));
        quotas.dropped(PoolId(1), "b");
        assert_eq!(quotas.check("d", Some(&address(1))), Ok(()));
        quotas.dropped(PoolId(0), "a");
        quotas.dropped(PoolId(2), "c");
        assert!(quotas.clients.is_empty() && quotas.prefixes.is_empty() && quotas.definers.is_empty());
    }
}
