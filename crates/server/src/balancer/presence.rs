//! Who is there: which matchers read the log, which shards are read, and whether decisions stand still for want of
//! one.
//!
//! Knows connections, not intentions: a node that hangs is there until its connection has timed out, and one that is
//! away was stopped, has crashed, or is out of reach. Never decides anything.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dovetail_core::{Decided, EventId};
use tokio::time::Instant;

use super::{messages::Event, node::Node};
use crate::{rpc, shutdown::Shutdown, time};
use dovetail::{Role, pb};
use dovetail_wire::node_pb;

/// How often the balancer looks whether decisions stand still.
const LOOK: Duration = Duration::from_secs(1);
/// From then on it is said that they do, if a node is away.
const STILL: Duration = Duration::from_secs(2);
/// From then on it is said even if all nodes are connected: long searches under load may look like it.
const STILL_THOUGH_ALL_ARE_THERE: Duration = Duration::from_secs(10);
/// How long until it is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// Since when events have waited for a decision while none was made.
#[derive(Debug, Default)]
pub(super) struct DecisionStall {
    decided: Decided,
    since: Option<Instant>,
}

impl DecisionStall {
    /// Looks again: what is decided, and what could be.
    pub(super) fn look(&mut self, decided: Decided, durable: EventId, now: Instant) {
        if decided >= Decided(durable) {
            self.since = None;
        } else if decided > self.decided || self.since.is_none() {
            self.since = Some(now);
        }
        self.decided = decided;
    }

    /// How long; none when nothing waits.
    pub(super) fn still_for(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now - since)
    }
}

/// The matchers, by index, as readers of the log.
#[derive(Debug)]
pub(crate) struct FeedReaders(Mutex<Vec<PresentReader>>);

#[derive(Debug)]
struct PresentReader {
    feeds: usize,
    seen: bool,
    /// Of use while it has no feed.
    away_since: Instant,
    why: String,
}

/// A matcher reads the log for as long as this lives.
#[derive(Debug)]
pub(crate) struct FeedPresence {
    feed_readers: Arc<FeedReaders>,
    index: u32,
}

impl Drop for FeedPresence {
    fn drop(&mut self) {
        let mut readers = self.feed_readers.lock();
        let reader = &mut readers[self.index as usize];
        reader.feeds -= 1;
        if reader.feeds == 0 {
            reader.away_since = Instant::now();
            reader.why = "its connection ended".into();
        }
    }
}

impl FeedReaders {
    /// None is there yet.
    pub(super) fn new(matchers: u32) -> Arc<FeedReaders> {
        let away_since = Instant::now();
        let reader = |_| PresentReader { feeds: 0, seen: false, away_since, why: String::new() };
        Arc::new(FeedReaders(Mutex::new((0..matchers).map(reader).collect())))
    }

    /// A matcher reads the log. None of who is no matcher of this cluster.
    pub(super) fn come(self: &Arc<Self>, peer: Option<&node_pb::Peer>) -> Option<FeedPresence> {
        let index = peer.filter(|peer| peer.role() == pb::Role::Matcher)?.index;
        let mut readers = self.lock();
        let reader = readers.get_mut(index as usize)?;
        (reader.feeds, reader.seen) = (reader.feeds + 1, true);
        Some(FeedPresence { feed_readers: Arc::clone(self), index })
    }

    /// A matcher was turned away.
    pub(super) fn refused(&self, peer: Option<&node_pb::Peer>, why: &str) {
        let Some(peer) = peer.filter(|peer| peer.role() == pb::Role::Matcher) else { return };
        if let Some(reader) = self.lock().get_mut(peer.index as usize) {
            reader.why = format!("it was refused: {why}");
        }
    }

    fn away(&self) -> Vec<(u32, Duration, bool, String)> {
        let readers = self.lock();
        let away = (0..).zip(&*readers).filter(|(_, reader)| reader.feeds == 0);
        away.map(|(index, of)| (index, of.away_since.elapsed(), !of.seen, of.why.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PresentReader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// The nodes that are away: matchers, then gatherers.
    pub(super) fn awaited(&self) -> Vec<pb::AwaitedNode> {
        let addresses = &self.settings.node.addresses;
        let matcher = |(index, away, never_seen, why): (u32, Duration, bool, String)| pb::AwaitedNode {
            role: pb::Role::Matcher.into(),
            index,
            address: addresses.matchers[index as usize].clone(),
            down_ms: time::ms(away),
            never_seen,
            why,
        };
        let gatherer = |down: rpc::Down| pb::AwaitedNode {
            role: pb::Role::Gatherer.into(),
            index: down.index,
            address: down.address,
            down_ms: time::ms(down.since),
            never_seen: down.never,
            why: down.why,
        };
        // Matchers read the log of the balancer that writes.
        let matchers = if self.place.borrow().is_active() { self.feed_readers.away() } else { Vec::new() };
        let gatherers = self.links.down().into_iter().filter(|down| down.role == Role::Gatherer).map(gatherer);
        matchers.into_iter().map(matcher).chain(gatherers).collect()
    }
}

/// Says in the log when decisions stand still, and when they go on.
pub(super) async fn tell(node: Arc<Node>, stop: Shutdown) {
    let mut told: Option<Instant> = None;
    let mut longest = Duration::ZERO;
    loop {
        tokio::select! {
            () = stop.given() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let Ok((still, decided, durable)) = node.ask(|reply| Event::Standing { reply }).await else { return };
        let awaited = node.awaited();
        let bound = if awaited.is_empty() { STILL_THOUGH_ALL_ARE_THERE } else { STILL };
        match still {
            Some(still) if still >= bound => {
                longest = still;
                if told.is_none_or(|told| told.elapsed() >= AGAIN) {
                    told = Some(Instant::now());
                    let (still_ms, undecided) = (time::ms(still), durable.0 - decided.0);
                    let awaited = names(&awaited);
                    tracing::warn!(decided = decided.0, undecided, still_ms, awaited, "decisions stand still");
                }
            }
            Some(still) if still >= STILL => {}
            _ if told.take().is_some() => {
                let still_ms = time::ms(longest);
                tracing::info!(decided = decided.0, still_ms, "decisions go on");
            }
            _ => {}
        }
    }
}

/// `matcher 1, gatherer 0`; empty for none.
fn names(awaited: &[pb::AwaitedNode]) -> String {
    let mut text = String::new();
    for node in awaited {
        let role = Role::try_from(node.role()).map_or("unknown role", Role::name);
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        _ = write!(text, "{comma}{role} {}", node.index);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(index: u32) -> node_pb::Peer {
        node_pb::Peer { role: pb::Role::Matcher.into(), index, ..node_pb::Peer::default() }
    }

    #[test]
    fn decisions_stand_still_while_events_wait_and_none_is_decided() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut stall = DecisionStall::default();
        for (second, decided, durable, expected) in [
            (0, 0, 0, None),
            (1, 0, 5, Some(0)),
            (4, 0, 9, Some(3)),
            (5, 2, 9, Some(0)),
            (7, 2, 9, Some(2)),
            (8, 9, 9, None),
            (9, 9, 10, Some(0)),
        ] {
            stall.look(Decided(EventId(decided)), EventId(durable), at(second));
            assert_eq!(stall.still_for(at(second)), expected.map(Duration::from_secs), "at {second} s");
        }
    }

    #[test]
    fn a_matcher_is_away_until_it_comes_and_once_its_last_feed_has_ended() {
        let readers = FeedReaders::new(2);
        let away = || readers.away().into_iter().map(|(index, _, never, _)| (index, never)).collect::<Vec<_>>();
        assert_eq!(away(), [(0, true), (1, true)]);
        let first = readers.come(Some(&matcher(1)));
        let second = readers.come(Some(&matcher(1)));
        assert_eq!(away(), [(0, true)]);
        drop(first);
        assert_eq!(away(), [(0, true)]);
        drop(second);
        assert_eq!(away(), [(0, true), (1, false)]);
        assert_eq!(readers.away()[1].3, "its connection ended");
    }

    #[test]
    fn who_is_no_matcher_of_the_cluster_is_not_counted() {
        let readers = FeedReaders::new(1);
        let gatherer = node_pb::Peer { role: pb::Role::Gatherer.into(), ..node_pb::Peer::default() };
        for peer in [None, Some(&matcher(1)), Some(&gatherer)] {
            assert!(readers.come(peer).is_none());
            readers.refused(peer, "no");
        }
        assert_eq!(readers.away()[0].3, "");
        readers.refused(Some(&matcher(0)), "other settings");
        assert_eq!(readers.away()[0].3, "it was refused: other settings");
    }
}
