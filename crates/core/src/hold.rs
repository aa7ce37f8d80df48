//! Requests that wait for a decision, and those behind them in their streams.
//!
//! Whether a submission is refused for another element's key depends on whether that one still waits, and that on events that have
//! ids and are not decided. Such a request is held until they are; then it is asked again. What follows it in its stream waits
//! behind it, so that the elements of a stream get their ids in order; other streams go on.
//! Decides nothing: the ledger says what is undecided, and until when. Reads no clock.
//! Invariants: H1 requests of a stream leave in the order in which they came; H2 none leaves before the event that it is held for is
//! decided, unless its time is over; H3 of those that may leave, the one that is held for the lowest event does, and of several the
//! one that came first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    EventId,
    planted::{Bug, Planted},
};

/// A request that leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct Freed<R> {
    /// Its stream.
    pub stream: u64,
    /// The request.
    pub request: R,
    /// The event that it was held for; none when it waited behind another.
    pub asked: Option<EventId>,
    /// Its time is over: it cannot be held again.
    pub over: bool,
}

/// All that are held. `R` is a request with what has been done of it.
#[derive(Debug)]
pub struct Holds<R> {
    /// Longest time to hold a request, in milliseconds.
    ms_max: u64,
    streams: BTreeMap<u64, Stream<R>>,
    /// The first of each stream that is held, by its event and its turn.
    heads: BTreeSet<(EventId, u64, u64)>,
    /// When their times are over.
    deadlines: BTreeSet<(u64, u64)>,
    /// The stream whose first request left last, if more wait behind it.
    open: Option<u64>,
    turns: u64,
    planted: Planted,
}

#[derive(Debug)]
struct Stream<R> {
    head: Option<Head<R>>,
    behind: VecDeque<R>,
    /// When its requests came, beside those of others.
    turn: u64,
}

#[derive(Debug)]
struct Head<R> {
    request: R,
    until: EventId,
    deadline_ms: u64,
}

impl<R> Holds<R> {
    /// Nobody is held. Nobody will be for longer than `ms_max`.
    #[must_use]
    pub fn new(ms_max: u64) -> Holds<R> {
        Holds {
            ms_max,
            streams: BTreeMap::new(),
            heads: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            open: None,
            turns: 0,
            planted: Planted::default(),
        }
    }

    /// Plants a bug.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// Whether nobody is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// How many requests are held, those behind others included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests().count()
    }

    /// The requests that are held, those behind others included.
    pub fn requests(&self) -> impl Iterator<Item = &R> {
        let heads = self.streams.values().filter_map(|stream| stream.head.as_ref()).map(|head| &head.request);
        heads.chain(self.streams.values().flat_map(|stream| &stream.behind))
    }

    /// Puts a request behind those of its stream that are held. Gives it back when there are none.
    ///
    /// # Errors
    /// The request, which need not wait.
    pub fn behind(&mut self, stream: u64, request: R) -> Result<(), R> {
        match self.streams.get_mut(&stream) {
            Some(held) if !self.planted.is(Bug::HeldOvertaken) => {
                held.behind.push_back(request);
                Ok(())
            }
            _ => Err(request),
        }
    }

    /// Holds the first request of its stream until everything up to `until` is decided.
    ///
    /// # Panics
    /// When another of the stream is held, and is not the one that left last.
    pub fn hold(&mut self, stream: u64, until: EventId, now_ms: u64, request: R) {
        self.open = self.open.filter(|&open| open != stream);
        let turns = &mut self.turns;
        let held = self.streams.entry(stream).or_insert_with(|| {
            *turns += 1;
            Stream { head: None, behind: VecDeque::new(), turn: *turns }
        });
        let deadline_ms = now_ms.saturating_add(self.ms_max);
        if let Some(head) = held.head.replace(Head { request, until, deadline_ms }) {
            assert!(self.planted.is(Bug::HeldOvertaken), "stream {stream} has two first requests");
            held.behind.push_front(head.request);
            self.heads.remove(&(head.until, held.turn, stream));
            self.deadlines.remove(&(head.deadline_ms, stream));
        }
        self.heads.insert((until, held.turn, stream));
        self.deadlines.insert((deadline_ms, stream));
    }

    /// The next request that may go on when everything up to `decided` is. What it comes to has to be done before the next one is
    /// asked for: it may be held again.
    pub fn next(&mut self, decided: EventId, now_ms: u64) -> Option<Freed<R>> {
        if let Some(stream) = self.open.take() {
            let held = self.streams.get_mut(&stream).expect("a stream that is open is there");
            let request = held.behind.pop_front().expect("an open stream has more");
            self.close(stream);
            return Some(Freed { stream, request, asked: None, over: false });
        }
        let decided = self.heads.first().filter(|&&(until, ..)| until <= decided).map(|&(.., stream)| stream);
        let over = || self.deadlines.first().filter(|&&(at_ms, _)| at_ms <= now_ms).map(|&(_, stream)| stream);
        let stream = decided.or_else(over)?;
        let held = self.streams.get_mut(&stream).expect("a head has a stream");
        let Head { request, until, deadline_ms } = held.head.take().expect("a head is there");
        self.heads.remove(&(until, held.turn, stream));
        self.deadlines.remove(&(deadline_ms, stream));
        self.close(stream);
        Some(Freed { stream, request, asked: Some(until), over: decided.is_none() })
    }

    /// When the next one's time is over, in milliseconds.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|&(deadline_ms, _)| deadline_ms)
    }

    /// A stream's first request has left: the next one follows, or nobody is held there any more.
    fn close(&mut self, stream: u64) {
        if self.streams[&stream].behind.is_empty() {
            self.streams.remove(&stream);
        } else {
            self.open = Some(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn x(number: u64) -> EventId {
        EventId(number)
    }

    fn leave(holds: &mut Holds<&'static str>, decided: u64, now_ms: u64) -> Vec<String> {
        std::iter::from_fn(|| holds.next(x(decided), now_ms))
            .map(|freed| {
                let asked = freed.asked.map_or(String::new(), |asked| format!(" asked at {asked}"));
                format!("{}{asked}{}", freed.request, if freed.over { " over" } else { "" })
            })
            .collect()
    }

    #[test]
    fn a_request_leaves_when_its_event_is_decided_and_those_behind_it_follow() {
        let mut holds = Holds::new(100);
        assert_eq!(holds.behind(1, "a"), Err("a"), "nobody is held");
        holds.hold(1, x(5), 0, "a");
        assert_eq!([holds.behind(1, "b"), holds.behind(1, "c"), holds.behind(2, "d")], [Ok(()), Ok(()), Err("d")]);
        assert_eq!((holds.len(), holds.deadline_ms()), (3, Some(100)));
        assert_eq!(leave(&mut holds, 4, 99), [""; 0]);
        assert_eq!(leave(&mut holds, 5, 99), ["a asked at x5", "b", "c"]);
        assert!(holds.is_empty());
    }

    #[test]
    fn the_lowest_event_comes_first_and_then_who_came_first() {
        let mut holds = Holds::new(100);
        holds.hold(7, x(9), 0, "late");
        holds.hold(8, x(5), 0, "first");
        holds.hold(3, x(5), 0, "second");
        assert_eq!(leave(&mut holds, 9, 0), ["first asked at x5", "second asked at x5", "late asked at x9"]);
    }

    #[test]
    fn one_that_is_held_again_stays_before_those_behind_it() {
        let mut holds = Holds::new(100);
        holds.hold(1, x(5), 0, "a");
        holds.behind(1, "b").unwrap();
        let freed = holds.next(x(5), 10).unwrap();
        holds.hold(1, x(8), 10, freed.request);
        assert_eq!((leave(&mut holds, 7, 109), holds.deadline_ms()), (vec![], Some(110)));
        // The one behind may have to wait for itself.
        assert_eq!(holds.next(x(8), 20).unwrap().request, "a");
        let behind = holds.next(x(8), 20).unwrap();
        assert_eq!((behind.request, behind.asked), ("b", None));
        holds.hold(1, x(12), 20, "b");
        assert_eq!(leave(&mut holds, 12, 20), ["b asked at x12"]);
    }

    #[test]
    fn nobody_is_held_for_ever() {
        let mut holds = Holds::new(100);
        holds.hold(1, x(5), 0, "a");
        holds.hold(2, x(4), 50, "b");
        holds.behind(1, "c").unwrap();
        assert_eq!(leave(&mut holds, 0, 100), ["a asked at x5 over", "c"]);
        assert_eq!(leave(&mut holds, 0, 149), [""; 0]);
        assert_eq!(leave(&mut holds, 0, 150), ["b asked at x4 over"]);
    }
}
