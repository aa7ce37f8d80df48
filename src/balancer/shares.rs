//! Bytes that all clients share, of which one client gets a part.
//!
//! A client's part is taken first, and what all share then: who waits for its own part keeps nothing from the others.
//! Invariant: M5 no client has more than its part, and all together no more than there is; what is asked for above that counts as all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rpc::ClientId;

/// Fewest clients between two looks for those that have left.
const SWEEP_MIN: usize = 64;

/// So many bytes, and by client.
#[derive(Debug)]
pub(crate) struct Shares {
    all: Arc<Semaphore>,
    all_max: u32,
    client_max: u32,
    /// Of those that have or wait for some.
    clients: Mutex<HashMap<ClientId, Weak<Semaphore>>>,
}

/// What one client may have. Calls of this process have no part of their own.
#[derive(Clone, Debug)]
pub(super) struct Share {
    all: Arc<Semaphore>,
    all_max: u32,
    own: Option<(Arc<Semaphore>, u32)>,
}

/// Bytes that were taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    all: OwnedSemaphorePermit,
    own: Option<OwnedSemaphorePermit>,
}

impl Shares {
    pub(crate) fn new(all_max: u32, client_max: u32) -> Shares {
        let all = Arc::new(Semaphore::new(all_max as usize));
        Shares { all, all_max, client_max: client_max.min(all_max), clients: Mutex::default() }
    }

    /// The part of a client.
    pub(super) fn of(&self, client: Option<&ClientId>) -> Share {
        let own = client.map(|client| (self.part(client), self.client_max));
        Share { all: Arc::clone(&self.all), all_max: self.all_max, own }
    }

    fn part(&self, client: &ClientId) -> Arc<Semaphore> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = clients.get(client).and_then(Weak::upgrade) {
            return part;
        }
        // Clients come and go: those that have left are as many as the others at most.
        if clients.len() >= SWEEP_MIN && clients.len() == clients.capacity() {
            clients.retain(|_, part| part.strong_count() > 0);
        }
        let part = Arc::new(Semaphore::new(self.client_max as usize));
        clients.insert(client.clone(), Arc::downgrade(&part));
        part
    }

    /// How much of it is taken.
    #[cfg(test)]
    fn taken(&self) -> usize {
        self.all_max as usize - self.all.available_permits()
    }
}

impl Share {
    /// Takes so many bytes, or all that the client may have, once they are free. None when the client's own part is free, but for so
    /// long what all share is not.
    pub(super) async fn take(&self, bytes: usize, stuck: Duration) -> Option<Taken> {
        let most = self.own.as_ref().map_or(self.all_max, |&(_, own_max)| own_max);
        let bytes = u32::try_from(bytes).unwrap_or(most).clamp(1, most);
        // Nobody closes them.
        let own = match &self.own {
            Some((own, _)) => Some(Arc::clone(own).acquire_many_owned(bytes).await.ok()?),
            None => None,
        };
        let all = tokio::time::timeout(stuck, Arc::clone(&self.all).acquire_many_owned(bytes)).await;
        Some(Taken { all: all.ok()?.ok()?, own })
    }
}

impl Taken {
    /// Gives back what is above so many bytes.
    pub(super) fn keep(&mut self, bytes: usize) {
        for permit in [Some(&mut self.all), self.own.as_mut()].into_iter().flatten() {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, net::IpAddr, pin::pin, task::Poll};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn client(number: u8) -> ClientId {
        ClientId::Address(IpAddr::from([10, 0, 0, number]))
    }

    fn waits(future: &mut std::pin::Pin<&mut impl Future>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        matches!(future.as_mut().poll(&mut context), Poll::Pending)
    }

    #[tokio::test]
    async fn a_client_that_has_its_part_waits_and_others_do_not() {
        let shares = Shares::new(100, 40);
        let greedy = shares.of(Some(&client(1)));
        let had = greedy.take(30, LONG).await.unwrap();
        let mut more = pin!(greedy.take(20, LONG));
        assert!(waits(&mut more));
        assert_eq!(shares.taken(), 30, "who waits for its own part keeps nothing from others");
        let _other = shares.of(Some(&client(2))).take(40, LONG).await.unwrap();
        let ours = shares.of(None).take(30, LONG).await.unwrap();
        let mut third = pin!(async { shares.of(Some(&client(3))).take(10, LONG).await });
        assert!(waits(&mut third), "all is taken");
        drop(ours);
        third.await.unwrap();
        drop(had);
        more.await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_others_that_never_give_back_is_sent_away() {
        let shares = Shares::new(100, 100);
        let _never = shares.of(None).take(100, LONG).await.unwrap();
        assert!(shares.of(Some(&client(1))).take(1, Duration::ZERO).await.is_none());
        assert_eq!(shares.taken(), 100);
    }

    #[tokio::test]
    async fn what_is_too_much_takes_all_of_its_part_and_what_is_not_needed_goes_back() {
        let shares = Shares::new(100, 40);
        let mut taken = shares.of(Some(&client(1))).take(usize::MAX, LONG).await.unwrap();
        assert_eq!(shares.taken(), 40);
        taken.keep(7);
        assert_eq!(shares.taken(), 7);
        shares.of(Some(&client(1))).take(33, LONG).await.unwrap();
    }

    #[tokio::test]
    async fn clients_that_have_left_are_forgotten() {
        let shares = Shares::new(100, 40);
        for number in 0..10_000_u32 {
            let client = ClientId::Address(IpAddr::from(number.to_be_bytes()));
            shares.of(Some(&client)).take(1, LONG).await.unwrap();
        }
        assert!(shares.clients.lock().unwrap().len() < 200);
    }
}
