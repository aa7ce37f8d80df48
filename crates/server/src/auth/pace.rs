//! The buckets of clients, and the streams they have open.
//!
//! Invariant: pace.P1 no more than [`CLIENTS_MAX`] clients have buckets of their own; those beyond share one, which is
//! the stricter for them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::rate::{Buckets, Rates, Take, TooFast};
use crate::caller::ClientId;

/// Most clients with buckets of their own. Above it those whose buckets are full are forgotten; if there are none, new
/// clients share.
const CLIENTS_MAX: usize = 65_536;

/// One client's. Clones of its `Arc` count together.
#[derive(Debug, Default)]
pub struct ClientPace {
    buckets: Mutex<Buckets>,
    streams: AtomicU64,
}

/// A stream that counts until it is dropped.
#[derive(Debug)]
pub struct OpenStream(Arc<ClientPace>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Paces {
    started: Instant,
    by_client: Mutex<HashMap<ClientId, (Rates, Arc<ClientPace>)>>,
    others: Arc<ClientPace>,
}

impl Paces {
    pub(super) fn new() -> Paces {
        Paces { started: Instant::now(), by_client: Mutex::default(), others: Arc::default() }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// That of a client.
    pub(super) fn of(&self, client: &ClientId, rates: &Rates) -> Arc<ClientPace> {
        let mut by_client = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pace)) = by_client.get(client) {
            return Arc::clone(pace);
        }
        if by_client.len() >= CLIENTS_MAX {
            let now = self.now();
            by_client.retain(|_, (rates, pace)| !pace.is_idle(rates, now));
        }
        if by_client.len() >= CLIENTS_MAX {
            return Arc::clone(&self.others);
        }
        let pace = Arc::<ClientPace>::default();
        by_client.insert(client.clone(), (*rates, Arc::clone(&pace)));
        pace
    }

    pub(super) fn take(
        &self,
        pace: &ClientPace,
        rates: &Rates,
        take: Take,
        patience: Duration,
    ) -> Result<Duration, TooFast> {
        pace.buckets.lock().unwrap_or_else(PoisonError::into_inner).take(rates, take, patience, self.now())
    }
}

impl ClientPace {
    fn is_idle(self: &Arc<ClientPace>, rates: &Rates, now: Duration) -> bool {
        // The table's own is one.
        let unused = Arc::strong_count(self) == 1 && self.streams.load(Ordering::Relaxed) == 0;
        unused && self.buckets.lock().unwrap_or_else(PoisonError::into_inner).is_idle(rates, now)
    }

    /// One more stream of at most so many; none if they are open. 0 for no bound.
    pub(super) fn open(self: &Arc<ClientPace>, most: u64) -> Option<OpenStream> {
        let before = self.streams.fetch_add(1, Ordering::Relaxed);
        let stream = OpenStream(Arc::clone(self));
        (most == 0 || before < most).then_some(stream)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn streams_are_counted_until_they_are_dropped() {
        let pace = Arc::<ClientPace>::default();
        let first = pace.open(2).unwrap();
        let _second = pace.open(2).unwrap();
        assert!(pace.open(2).is_none() && pace.open(2).is_none());
        drop(first);
        assert!(pace.open(2).is_some());
    }

    #[test]
    fn a_client_has_one_pace_and_so_many_clients_have_their_own() {
        let paces = Paces::new();
        let rates = Rates { calls_per_s: 1, ..Rates::default() };
        let client = |number: u32| ClientId::Address(IpAddr::from(number.to_be_bytes()));
        let one = paces.of(&client(1), &rates);
        assert!(Arc::ptr_eq(&one, &paces.of(&client(1), &rates)) && !Arc::ptr_eq(&one, &paces.of(&client(2), &rates)));
        let call = Take { calls: 1, ..Take::default() };
        assert!(paces.take(&one, &rates, call, Duration::ZERO).is_ok());
        assert!(paces.take(&one, &rates, call, Duration::ZERO).is_err());
        for number in 0..CLIENTS_MAX as u32 + 10 {
            paces.of(&client(number), &rates);
        }
        assert!(paces.by_client.lock().unwrap().len() <= CLIENTS_MAX);
        assert!(Arc::ptr_eq(&one, &paces.of(&client(1), &rates)), "one that is in use stays");
    }
}
