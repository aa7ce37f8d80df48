//! The connections that are open, how many there may be, and which of them has to go.
//!
//! There are at most so many in all, and so many from one address. One more takes the place of one without an open call: of those
//! that never made one, that which has been there longest, or else that which has been idle longest. Without such a one it is closed at once.
//! Invariants: C1 no more than the bounds are open, the file descriptors of the process included; C2 a connection with an open call is
//! never closed here; C3 a client at its own bound only takes its own places.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    descriptors::{self, Descriptor},
    ms,
};
use crate::{settings::NodeSettings, shutdown::Shutdown};

/// How long a connection is left alone that made no call yet, and one that did.
const SETTLED: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Most connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of the node.
    pub(super) node: usize,
    /// From one address.
    pub(super) address: usize,
    /// Of the process.
    pub(super) process: usize,
}

impl Bounds {
    /// Those of a node. One address never has all.
    pub(super) fn of(node: &NodeSettings) -> Bounds {
        let process = descriptors::connections_max(node.addresses.all().count());
        let all = node.limits.connections_max.min(process);
        Bounds { node: all, address: node.limits.client_connections_max.min(all - all / 4), process }
    }
}

/// Which bound leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// `connections_max`, or the file descriptors.
    Node,
    /// `client_connections_max`.
    Address,
}

/// The open connections of a node. Clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    began: Instant,
    /// What tests add to the time.
    #[cfg(test)]
    later: std::sync::atomic::AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Open>,
    addresses: HashMap<IpAddr, usize>,
    /// Those without an open call, the first to go first; also by address.
    idle: BTreeSet<Idle>,
    idle_of: BTreeSet<(IpAddr, Idle)>,
}

#[derive(Debug)]
struct Open {
    address: IpAddr,
    calls: usize,
    /// Calls for which it is not closed as idle, and no more.
    quiet: usize,
    /// While no call is open.
    idle: Option<Idle>,
    close: CancellationToken,
    _descriptor: Descriptor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Idle {
    /// Whether it ever made a call.
    called: bool,
    /// In milliseconds after the first.
    since: u64,
    number: u64,
}

impl Table {
    /// Notes that a connection has no open call.
    fn rest(&mut self, idle: Idle) {
        let Some(open) = self.open.get_mut(&idle.number) else { return };
        open.idle = Some(idle);
        self.idle.insert(idle);
        self.idle_of.insert((open.address, idle));
    }

    /// Notes that it is no longer among those.
    fn wake(&mut self, number: u64) {
        let Some(open) = self.open.get_mut(&number) else { return };
        if let Some(idle) = open.idle.take() {
            self.idle.remove(&idle);
            self.idle_of.remove(&(open.address, idle));
        }
    }

    fn remove(&mut self, number: u64) -> Option<Open> {
        self.wake(number);
        let open = self.open.remove(&number)?;
        if let Some(count) = self.addresses.get_mut(&open.address) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&open.address);
            }
        }
        Some(open)
    }

    /// Closes the connection that may go first, if one may go.
    fn close_one(&mut self, of: Option<IpAddr>, now: u64) -> bool {
        let first = match of {
            None => self.idle.first().copied(),
            Some(address) => {
                let from = (address, Idle { called: false, since: 0, number: 0 });
                self.idle_of.range(from..).next().filter(|(of, _)| *of == address).map(|(_, idle)| *idle)
            }
        };
        let settled = |idle: &Idle| now.saturating_sub(idle.since) >= ms(SETTLED[usize::from(idle.called)]);
        let Some(open) = first.filter(settled).and_then(|idle| self.remove(idle.number)) else { return false };
        open.close.cancel();
        true
    }
}

impl Connections {
    pub(super) fn new(bounds: Bounds) -> Connections {
        Connections(Arc::new(Shared {
            bounds,
            began: Instant::now(),
            #[cfg(test)]
            later: Default::default(),
            table: Mutex::default(),
        }))
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// A place for a new connection.
    pub(super) fn admit(&self, number: u64, address: IpAddr) -> Result<Place, Full> {
        let (mut table, now) = (self.table(), self.now());
        let Bounds { node, address: of_address, process } = self.0.bounds;
        if table.addresses.get(&address).copied().unwrap_or(0) >= of_address && !table.close_one(Some(address), now) {
            return Err(Full::Address);
        }
        if table.open.len() >= node && !table.close_one(None, now) {
            return Err(Full::Node);
        }
        let descriptor = match Descriptor::take(process) {
            Some(descriptor) => descriptor,
            None if table.close_one(None, now) => Descriptor::take(process).ok_or(Full::Node)?,
            None => return Err(Full::Node),
        };
        let close = CancellationToken::new();
        let open = Open { address, calls: 0, quiet: 0, idle: None, close: close.clone(), _descriptor: descriptor };
        table.open.insert(number, open);
        *table.addresses.entry(address).or_default() += 1;
        table.rest(Idle { called: false, since: now, number });
        Ok(Place { connections: self.clone(), number, close })
    }

    /// Counts a call of a connection until it is dropped.
    pub(super) fn call(&self, number: u64) -> OpenCall {
        let mut table = self.table();
        table.wake(number);
        if let Some(open) = table.open.get_mut(&number) {
            open.calls += 1;
        }
        OpenCall { connections: self.clone(), number }
    }

    /// Notes a call that keeps nobody from closing the connection for another, until it is dropped: one that anybody may make, for as
    /// long as it likes. The connection is not closed for being idle.
    pub(super) fn quiet_call(&self, number: u64) -> QuietCall {
        self.count_quiet(number, 1);
        QuietCall { connections: self.clone(), number }
    }

    fn count_quiet(&self, number: u64, change: isize) {
        let mut table = self.table();
        if let Some(open) = table.open.get_mut(&number) {
            open.quiet = open.quiet.saturating_add_signed(change);
        }
    }

    /// Closes those that have no call open for so many milliseconds, until the signal; none when it is 0.
    pub(super) async fn close_idle(self, idle_ms_max: u64, stop: Shutdown) {
        if idle_ms_max == 0 {
            return;
        }
        let every = Duration::from_millis((idle_ms_max / 8).clamp(10, 60_000));
        while tokio::time::timeout(every, stop.given()).await.is_err() {
            self.close_older(idle_ms_max);
        }
    }

    fn close_older(&self, idle_ms_max: u64) {
        let (mut table, now) = (self.table(), self.now());
        let old = table.idle.iter().filter(|idle| now - idle.since.min(now) >= idle_ms_max).copied();
        let old: Vec<Idle> =
            old.filter(|idle| table.open.get(&idle.number).is_some_and(|open| open.quiet == 0)).collect();
        for idle in old {
            if let Some(open) = table.remove(idle.number) {
                open.close.cancel();
            }
        }
    }

    /// How many are open.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.table().open.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        let now = ms(self.0.began.elapsed());
        #[cfg(test)]
        let now = now + self.0.later.load(std::sync::atomic::Ordering::Relaxed);
        now
    }

    #[cfg(test)]
    fn pass(&self, time: Duration) {
        self.0.later.fetch_add(ms(time), std::sync::atomic::Ordering::Relaxed);
    }
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Connections,
    number: u64,
    /// Given when the connection has to go.
    pub(super) close: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().remove(self.number);
    }
}

/// An open call of a connection.
#[derive(Debug)]
pub(super) struct OpenCall {
    connections: Connections,
    number: u64,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let (mut table, since) = (self.connections.table(), self.connections.now());
        let Some(open) = table.open.get_mut(&self.number) else { return };
        open.calls -= 1;
        if open.calls == 0 {
            table.rest(Idle { called: true, since, number: self.number });
        }
    }
}

/// A call for which a connection is not closed as idle.
#[derive(Debug)]
pub(super) struct QuietCall {
    connections: Connections,
    number: u64,
}

impl Drop for QuietCall {
    fn drop(&mut self) {
        self.connections.count_quiet(self.number, -1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_only_watches_health_goes_for_another_and_not_for_being_idle() {
        let (open, address) = (connections(2, 2), |last: u8| IpAddr::from([10, 0, 0, last]));
        let (watching, _other) = (open.admit(1, address(1)).unwrap(), open.admit(2, address(2)).unwrap());
        let watch = open.quiet_call(1);
        let _call = open.call(2);
        open.pass(Duration::from_secs(60));
        open.close_older(1000);
        assert!(!watching.close.is_cancelled(), "it watches");
        let _third = open.admit(3, address(3)).expect("the first goes");
        assert!(watching.close.is_cancelled());
        drop(watch);
    }

    fn connections(node: usize, address: usize) -> Connections {
        Connections::new(Bounds { node, address, process: usize::MAX })
    }

    fn from(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_too_many_is_refused_while_all_have_calls_open() {
        let connections = connections(2, 2);
        let places = [connections.admit(1, from(1)).unwrap(), connections.admit(2, from(2)).unwrap()];
        let calls = [connections.call(1), connections.call(2)];
        connections.pass(Duration::from_secs(60));
        assert_eq!(connections.admit(3, from(3)).unwrap_err(), Full::Node);
        assert!(places.iter().all(|place| !place.close.is_cancelled()));
        drop(places);
        drop(calls);
        assert_eq!(connections.count(), 0);
        assert!(connections.admit(3, from(3)).is_ok());
    }

    #[test]
    fn one_too_many_takes_the_place_of_one_that_never_called_and_then_of_the_longest_idle() {
        let connections = connections(3, 3);
        let called = connections.admit(1, from(1)).unwrap();
        drop(connections.call(1));
        let silent = [connections.admit(2, from(2)).unwrap(), connections.admit(3, from(2)).unwrap()];
        assert_eq!(connections.admit(4, from(4)).unwrap_err(), Full::Node, "they have only just come");
        connections.pass(Duration::from_secs(1));
        let fourth = connections.admit(4, from(4)).unwrap();
        let _busy = connections.call(4);
        assert_eq!(
            [&silent[0], &silent[1], &called, &fourth].map(|place| place.close.is_cancelled()),
            [true, false, false, false]
        );
        let fifth = connections.admit(5, from(5)).unwrap();
        let _busy = connections.call(5);
        assert!(silent[1].close.is_cancelled());
        assert_eq!(connections.admit(6, from(6)).unwrap_err(), Full::Node, "the one left called not long ago");
        connections.pass(Duration::from_secs(10));
        let sixth = connections.admit(6, from(6)).unwrap();
        assert!(called.close.is_cancelled() && !fifth.close.is_cancelled() && !sixth.close.is_cancelled());
        drop((called, silent));
        assert_eq!(connections.count(), 3, "the places went to others");
    }

    #[test]
    fn an_address_at_its_bound_takes_its_own_places_only() {
        let connections = connections(4, 2);
        let other = connections.admit(1, from(1)).unwrap();
        let own = [connections.admit(2, from(2)).unwrap(), connections.admit(3, from(2)).unwrap()];
        let calls = [connections.call(2), connections.call(3)];
        connections.pass(Duration::from_secs(60));
        assert_eq!(connections.admit(4, from(2)).unwrap_err(), Full::Address);
        drop(calls);
        connections.pass(Duration::from_secs(10));
        let next = connections.admit(4, from(2)).unwrap();
        assert!(own[0].close.is_cancelled() && !other.close.is_cancelled() && !next.close.is_cancelled());
    }

    #[test]
    fn a_connection_without_a_call_is_closed_in_time_and_one_with_a_call_is_not() {
        let connections = connections(9, 9);
        let (idle, busy) = (connections.admit(1, from(1)).unwrap(), connections.admit(2, from(2)).unwrap());
        let call = connections.call(2);
        connections.pass(Duration::from_secs(60));
        connections.close_older(60_001);
        assert!(!idle.close.is_cancelled());
        connections.close_older(60_000);
        assert!(idle.close.is_cancelled() && !busy.close.is_cancelled());
        drop(call);
        connections.close_older(60_000);
        assert!(!busy.close.is_cancelled(), "it has only just ended");
    }
}
