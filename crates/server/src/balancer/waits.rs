//! Calls that wait for an element to end: how many there may be, and which of them ends for another.
//!
//! A wait may end before its time: its answer is that the element waits, and a client that wants to know more asks
//! again. So a client that has as many waits as it may is not refused one more: the oldest wait of its connection that
//! has most of them ends for it. One program that waits for thousands is not in the way of another, not even at the
//! same address. Invariant: waits.V1 every wait that is open has its share of the cap, until it ends, or is told to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{errors::RequestError, limit::Limit};
use crate::caller::{Caller, ClientId};
use crate::rpc::{Share, Spent};

/// The waits of clients, by connection and from the oldest on.
type Open = HashMap<ClientId, HashMap<u64, BTreeMap<u64, Entry>>>;

/// All waits.
#[derive(Debug)]
pub(crate) struct Waits {
    limit: Limit,
    open: Arc<Mutex<Numbered>>,
}

#[derive(Debug, Default)]
struct Numbered {
    last: u64,
    open: Open,
}

#[derive(Debug)]
struct Entry {
    _share: Share,
    tell: oneshot::Sender<()>,
}

/// A wait, until it is dropped.
#[derive(Debug)]
pub(super) struct Wait {
    /// Done when it has to end.
    pub(super) over: oneshot::Receiver<()>,
    _place: Place,
}

#[derive(Debug)]
enum Place {
    /// Of a client.
    Listed { of: Caller, number: u64, open: Arc<Mutex<Numbered>> },
    /// Of this process: it ends for no other.
    Own { _share: Share, _never: oneshot::Sender<()> },
}

impl Waits {
    pub(crate) fn new(limit: Limit) -> Waits {
        Waits { limit, open: Arc::default() }
    }

    /// One more. Where the client has all it may, another wait of it ends.
    ///
    /// # Errors
    /// When all clients together have as many as there may be.
    pub(super) fn take(&self, caller: Option<&Caller>) -> Result<Wait, RequestError> {
        let (tell, over) = oneshot::channel();
        let Some(caller) = caller else {
            return Ok(Wait { over, _place: Place::Own { _share: self.limit.take(None)?, _never: tell } });
        };
        let share = loop {
            let refused = match self.limit.take(Some(caller)) {
                Ok(share) => break share,
                Err(refused) => refused,
            };
            let ended = match &refused {
                RequestError::Limit { spent: Spent::Client(..), .. } => lock(&self.open).end_one(&caller.client, None),
                RequestError::Limit { spent: Spent::Connection(..), .. } => {
                    lock(&self.open).end_one(&caller.client, Some(caller.connection.number))
                }
                _ => None,
            };
            let Some(Entry { tell, .. }) = ended else { return Err(refused) };
            // It may have ended by itself.
            _ = tell.send(());
        };
        let number = lock(&self.open).list(caller, Entry { _share: share, tell });
        let place = Place::Listed { of: caller.clone(), number, open: Arc::clone(&self.open) };
        Ok(Wait { over, _place: place })
    }
}

fn lock(open: &Mutex<Numbered>) -> MutexGuard<'_, Numbered> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Numbered {
    fn list(&mut self, caller: &Caller, entry: Entry) -> u64 {
        self.last += 1;
        let of_client = self.open.entry(caller.client.clone()).or_default();
        of_client.entry(caller.connection.number).or_default().insert(self.last, entry);
        self.last
    }

    /// Takes the oldest wait of a connection off the list; without one, of the client's connection with the most.
    fn end_one(&mut self, client: &ClientId, connection: Option<u64>) -> Option<Entry> {
        let of_client = self.open.get(client)?;
        let most = || of_client.iter().max_by_key(|(_, waits)| waits.len()).map(|(&connection, _)| connection);
        let connection = connection.or_else(most)?;
        let number = *of_client.get(&connection)?.keys().next()?;
        self.remove(client, connection, number)
    }

    fn remove(&mut self, client: &ClientId, connection: u64, number: u64) -> Option<Entry> {
        let of_client = self.open.get_mut(client)?;
        let waits = of_client.get_mut(&connection)?;
        let entry = waits.remove(&number);
        if waits.is_empty() {
            of_client.remove(&connection);
        }
        if of_client.is_empty() {
            self.open.remove(client);
        }
        entry
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Place::Listed { of, number, open } = self {
            // Its share goes when the list is free again.
            let entry = lock(open).remove(&of.client, of.connection.number, *number);
            drop(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::caller::{Connection, Port};

    fn caller(client: u8, connection: u64) -> Caller {
        let address = IpAddr::from([127, 0, 0, client]);
        let connection = Connection { number: connection, address, port: Port::ALL, proved: None };
        Caller { connection, client: ClientId::Address(address) }
    }

    fn is_over(wait: &mut Wait) -> bool {
        matches!(wait.over.try_recv(), Ok(()))
    }

    /// 16 in all, 8 for a client, 4 for a connection.
    fn waits() -> Waits {
        Waits::new(Limit::new(16, 50, "calls wait", "waits_max"))
    }

    #[test]
    fn the_oldest_wait_of_a_connection_ends_for_one_more_of_it() {
        let waits = waits();
        let one = caller(1, 1);
        let mut open: Vec<Wait> = (0..6).map(|_| waits.take(Some(&one)).unwrap()).collect();
        let over: Vec<bool> = open.iter_mut().map(is_over).collect();
        assert_eq!(over, [true, true, false, false, false, false]);
        assert_eq!(waits.limit.taken(), 4);
        drop(open);
        assert_eq!((waits.limit.taken(), lock(&waits.open).open.len()), (0, 0));
    }

    #[test]
    fn a_client_that_has_all_it_may_ends_a_wait_of_its_connection_with_the_most() {
        let waits = waits();
        let mut first: Vec<Wait> = (0..4).map(|_| waits.take(Some(&caller(1, 1))).unwrap()).collect();
        let mut second: Vec<Wait> = (0..4).map(|_| waits.take(Some(&caller(1, 2))).unwrap()).collect();
        drop(second.pop());
        let mut third: Vec<Wait> = (0..2).map(|_| waits.take(Some(&caller(1, 3))).unwrap()).collect();
        let over = |waits: &mut [Wait]| waits.iter_mut().filter_map(|wait| is_over(wait).then_some(())).count();
        assert_eq!((over(&mut first), over(&mut second), over(&mut third)), (1, 0, 0));
        let mut other = waits.take(Some(&caller(2, 4))).unwrap();
        assert!(!is_over(&mut other));
    }

    #[test]
    fn when_all_together_have_all_there_is_one_more_is_refused() {
        let waits = waits();
        let _all: Vec<Wait> = (0..16).map(|n| waits.take(Some(&caller(n / 8, u64::from(n / 4)))).unwrap()).collect();
        let refused = waits.take(Some(&caller(9, 9))).unwrap_err();
        assert!(refused.to_string().contains("16 calls wait, which is waits_max"), "{refused}");
    }
}
