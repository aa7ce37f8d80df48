//! Requests that wait for a decision, and those behind them in their streams.
//!
//! Whether a submission is refused for another element's key depends on whether that one still waits, and that on
//! events that have ids and are not decided. Such a request is held until they are; then it is asked again. What
//! follows it in its stream waits behind it, so that the elements of a stream get their ids in order; other streams go
//! on. Others are held for a pool that is late: until its timers that are due are written
//! ([`crate::ledger::Ledger::is_late`]). Decides nothing: the ledger says what is undecided, and until when. Reads no
//! clock. Invariants: hold.H1 requests of a stream leave in the order in which they came; hold.H2 none leaves before
//! the event that it is held for is decided, or the pool has caught up, unless its time is over; hold.H3 of those that
//! may leave, the one that is held for the lowest event does, and of several the one that came first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    Decided, EventId, PoolId,
    planted::{Bug, Planted},
};

/// When a request was held first. It keeps its place among the others, and its deadline, when it is held again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    turn: u64,
    since_ms: u64,
    deadline_ms: u64,
}

impl Ticket {
    /// The same, behind all that came before `last`.
    fn behind(self, last: u64) -> Ticket {
        Ticket { turn: last, ..self }
    }

    /// When it was held first, in milliseconds.
    #[must_use]
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }
}

/// What a request is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Everything up to this event is decided.
    Decided(EventId),
    /// The timers of this pool that are due are written: [`Holds::caught_up`] was told of it.
    CaughtUp(PoolId),
}

impl From<EventId> for Until {
    fn from(x: EventId) -> Until {
        Until::Decided(x)
    }
}

/// A request that leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct Freed<R> {
    /// Its stream.
    pub stream: u64,
    /// The request.
    pub request: R,
    /// The event that it was held for; none when it waited behind another, or for a pool.
    pub asked: Option<EventId>,
    /// Its time is over: it cannot be held again.
    pub over: bool,
    /// To hold it again with, if it waits for the same as before; none when it waited behind another.
    pub ticket: Option<Ticket>,
}

/// All that are held. `R` is a request with what has been done of it.
#[derive(Debug)]
pub struct Holds<R> {
    /// Longest time to hold a request, in milliseconds.
    ms_max: u64,
    streams: BTreeMap<u64, Stream<R>>,
    /// The first of each stream that is held, by its event and its turn.
    heads: BTreeSet<(EventId, u64, u64)>,
    /// The first of each stream that is held for a pool, by it and by its turn.
    late: BTreeSet<(PoolId, u64, u64)>,
    /// When their times are over.
    deadlines: BTreeSet<(u64, u64)>,
    /// Streams whose first request has left, and behind which more wait.
    open: BTreeSet<u64>,
    turns: u64,
    planted: Planted,
}

#[derive(Debug)]
struct Stream<R> {
    head: Option<Head<R>>,
    behind: VecDeque<R>,
}

#[derive(Debug)]
struct Head<R> {
    request: R,
    until: Until,
    ticket: Ticket,
}

/// Heads that are looked at for one that may leave while others may not.
const LOOK: usize = 1024;

impl<R> Holds<R> {
    /// Holds no request yet. None will be held for longer than `ms_max`.
    #[must_use]
    pub fn new(ms_max: u64) -> Holds<R> {
        Holds {
            ms_max,
            streams: BTreeMap::new(),
            heads: BTreeSet::new(),
            late: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            open: BTreeSet::new(),
            turns: 0,
            planted: Planted::default(),
        }
    }

    /// Plants a bug.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// Whether no request is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// How many requests are held, those behind others included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.values().map(|stream| usize::from(stream.head.is_some()) + stream.behind.len()).sum()
    }

    /// How many streams have requests that are held.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether a stream has a request that is held.
    #[must_use]
    pub fn holds(&self, stream: u64) -> bool {
        self.streams.contains_key(&stream)
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

    /// Holds the first request of its stream; with the ticket it left with, if it waits for the same as before.
    ///
    /// # Panics
    /// When another of the stream is held, and is not the one that left last.
    pub fn hold(&mut self, stream: u64, until: impl Into<Until>, now_ms: u64, request: R, again: Option<Ticket>) {
        let until = until.into();
        self.open.remove(&stream);
        let ticket = again.unwrap_or_else(|| {
            self.turns += 1;
            Ticket { turn: self.turns, since_ms: now_ms, deadline_ms: now_ms.saturating_add(self.ms_max) }
        });
        let new = || Stream { head: None, behind: VecDeque::new() };
        let held = self.streams.entry(stream).or_insert_with(new);
        if let Some(head) = held.head.replace(Head { request, until, ticket }) {
            assert!(self.planted.is(Bug::HeldOvertaken), "stream {stream} has two first requests");
            held.behind.push_front(head.request);
            self.unlist(stream, head.until, head.ticket);
        }
        _ = match until {
            Until::Decided(x) => self.heads.insert((x, ticket.turn, stream)),
            Until::CaughtUp(pool) => self.late.insert((pool, ticket.turn, stream)),
        };
        self.deadlines.insert((ticket.deadline_ms, stream));
    }

    /// The same for one that waits for another that is held: it goes behind all others, and keeps its deadline.
    pub fn hold_last(&mut self, stream: u64, until: impl Into<Until>, now_ms: u64, request: R, again: Option<Ticket>) {
        self.turns += 1;
        let again = again.map(|ticket| ticket.behind(self.turns));
        self.hold(stream, until, now_ms, request, again);
    }

    /// Requests that are held for a pool may leave.
    pub fn caught_up(&mut self, pool: PoolId) {
        let those: Vec<_> = self.late.range((pool, 0, 0)..=(pool, u64::MAX, u64::MAX)).copied().collect();
        for (_, turn, stream) in those {
            self.late.remove(&(pool, turn, stream));
            self.heads.insert((EventId::ZERO, turn, stream));
            let head = self.streams.get_mut(&stream).and_then(|held| held.head.as_mut());
            head.expect("a head is there").until = Until::Decided(EventId::ZERO);
        }
    }

    /// A first request is held no longer.
    fn unlist(&mut self, stream: u64, until: Until, ticket: Ticket) {
        _ = match until {
            Until::Decided(x) => self.heads.remove(&(x, ticket.turn, stream)),
            Until::CaughtUp(pool) => self.late.remove(&(pool, ticket.turn, stream)),
        };
        self.deadlines.remove(&(ticket.deadline_ms, stream));
    }

    /// The next request that may go on when everything up to `decided` is. What it comes to has to be done before the
    /// next one is asked for: it may be held again. `may` says of a request, and whether its time is over, that it may
    /// leave now.
    pub fn next(&mut self, decided: Decided, now_ms: u64, may: impl Fn(&R, bool) -> bool) -> Option<Freed<R>> {
        let behind = |stream: u64| self.streams[&stream].behind.front().expect("an open stream has more");
        let open = self.open.iter().copied().find(|&stream| may(behind(stream), false));
        if let Some(stream) = open {
            let held = self.streams.get_mut(&stream).expect("a stream that is open is there");
            let request = held.behind.pop_front().expect("it was just there");
            self.close(stream);
            return Some(Freed { stream, request, asked: None, over: false, ticket: None });
        }
        let head = |stream: u64| &self.streams[&stream].head.as_ref().expect("a head is there").request;
        let heads = self.heads.iter().take_while(|&&(until, ..)| decided.covers(until)).take(LOOK);
        let decided = heads.map(|&(.., stream)| stream).find(|&stream| may(head(stream), false));
        let late = self.deadlines.iter().take_while(|&&(at_ms, _)| at_ms <= now_ms).take(LOOK);
        let over = || late.map(|&(_, stream)| stream).find(|&stream| may(head(stream), true));
        let stream = decided.or_else(over)?;
        let held = self.streams.get_mut(&stream).expect("a head has a stream");
        let Head { request, until, ticket } = held.head.take().expect("a head is there");
        self.unlist(stream, until, ticket);
        self.close(stream);
        let asked = match until {
            Until::Decided(x) => Some(x),
            Until::CaughtUp(_) => None,
        };
        Some(Freed { stream, request, asked, over: decided.is_none(), ticket: Some(ticket) })
    }

    /// Ends the time of a stream's first request at `at_ms`, if it would be later.
    pub fn end_by(&mut self, stream: u64, at_ms: u64) {
        if let Some(head) = self.streams.get_mut(&stream).and_then(|held| held.head.as_mut()) {
            self.deadlines.remove(&(head.ticket.deadline_ms, stream));
            head.ticket.deadline_ms = head.ticket.deadline_ms.min(at_ms);
            self.deadlines.insert((head.ticket.deadline_ms, stream));
        }
    }

    /// Takes out first requests that have none behind them and that `gone` says are no longer wanted.
    pub fn take_out(&mut self, gone: impl Fn(&R) -> bool) -> Vec<R> {
        let alone =
            |held: &Stream<R>| held.behind.is_empty() && held.head.as_ref().is_some_and(|head| gone(&head.request));
        let streams: Vec<u64> =
            self.streams.iter().filter(|(_, held)| alone(held)).map(|(&stream, _)| stream).collect();
        let mut taken = Vec::with_capacity(streams.len());
        for stream in streams {
            let head = self.streams.remove(&stream).and_then(|held| held.head).expect("it was just there");
            self.unlist(stream, head.until, head.ticket);
            taken.push(head.request);
        }
        taken
    }

    /// When the next one's time is over, in milliseconds.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|&(deadline_ms, _)| deadline_ms)
    }

    /// Since when the first of them is held, in milliseconds.
    #[must_use]
    pub fn since_ms(&self) -> Option<u64> {
        self.streams.values().filter_map(|held| held.head.as_ref()).map(|head| head.ticket.since_ms).min()
    }

    /// A stream's first request has left: the next one becomes the first, or the stream holds none any more.
    fn close(&mut self, stream: u64) {
        if self.streams[&stream].behind.is_empty() {
            self.streams.remove(&stream);
            self.open.remove(&stream);
        } else {
            self.open.insert(stream);
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
        std::iter::from_fn(|| holds.next(Decided(x(decided)), now_ms, |_, _| true))
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
        holds.hold(1, x(5), 0, "a", None);
        assert_eq!([holds.behind(1, "b"), holds.behind(1, "c"), holds.behind(2, "d")], [Ok(()), Ok(()), Err("d")]);
        assert_eq!((holds.len(), holds.deadline_ms()), (3, Some(100)));
        assert_eq!(leave(&mut holds, 4, 99), [""; 0]);
        assert_eq!(leave(&mut holds, 5, 99), ["a asked at x5", "b", "c"]);
        assert!(holds.is_empty());
    }

    #[test]
    fn the_lowest_event_comes_first_and_then_who_came_first() {
        let mut holds = Holds::new(100);
        holds.hold(7, x(9), 0, "late", None);
        holds.hold(8, x(5), 0, "first", None);
        holds.hold(3, x(5), 0, "second", None);
        assert_eq!(leave(&mut holds, 9, 0), ["first asked at x5", "second asked at x5", "late asked at x9"]);
    }

    #[test]
    fn one_that_is_held_last_goes_behind_the_others_and_keeps_its_deadline() {
        let mut holds = Holds::new(100);
        holds.hold(1, x(5), 0, "a", None);
        holds.hold(2, x(5), 1, "b", None);
        let freed = holds.next(Decided(x(5)), 10, |_, _| true).unwrap();
        holds.hold_last(1, x(5), 10, freed.request, freed.ticket);
        assert_eq!(holds.deadline_ms(), Some(100));
        assert_eq!(leave(&mut holds, 5, 10), ["b asked at x5", "a asked at x5"]);
    }

    #[test]
    fn one_that_is_held_again_stays_before_those_behind_it() {
        let mut holds = Holds::new(100);
        holds.hold(1, x(5), 0, "a", None);
        holds.behind(1, "b").unwrap();
        let freed = holds.next(Decided(x(5)), 10, |_, _| true).unwrap();
        holds.hold(1, x(8), 10, freed.request, None);
        assert_eq!((leave(&mut holds, 7, 109), holds.deadline_ms()), (vec![], Some(110)));
        // The one behind may have to wait for itself.
        assert_eq!(holds.next(Decided(x(8)), 20, |_, _| true).unwrap().request, "a");
        let behind = holds.next(Decided(x(8)), 20, |_, _| true).unwrap();
        assert_eq!((behind.request, behind.asked), ("b", None));
        holds.hold(1, x(12), 20, "b", None);
        assert_eq!(leave(&mut holds, 12, 20), ["b asked at x12"]);
    }

    #[test]
    fn nobody_is_held_for_ever() {
        let mut holds = Holds::new(100);
        holds.hold(1, x(5), 0, "a", None);
        holds.hold(2, x(4), 50, "b", None);
        holds.behind(1, "c").unwrap();
        assert_eq!(leave(&mut holds, 0, 100), ["a asked at x5 over", "c"]);
        assert_eq!(leave(&mut holds, 0, 149), [""; 0]);
        assert_eq!(leave(&mut holds, 0, 150), ["b asked at x4 over"]);
    }

    #[test]
    fn one_that_is_held_again_for_the_same_keeps_its_turn_and_its_deadline() {
        let mut holds = Holds::new(100);
        holds.hold(1, x(5), 0, "first", None);
        holds.hold(2, x(5), 1, "second", None);
        let freed = holds.next(Decided(x(5)), 10, |_, _| true).unwrap();
        holds.hold(1, x(6), 10, freed.request, freed.ticket);
        let freed = holds.next(Decided(x(5)), 10, |_, _| true).unwrap();
        assert_eq!((freed.request, freed.ticket.unwrap().since_ms()), ("second", 1));
        holds.hold(2, x(6), 10, freed.request, None);
        assert_eq!((holds.deadline_ms(), holds.since_ms()), (Some(100), Some(0)));
        assert_eq!(leave(&mut holds, 6, 10), ["first asked at x6", "second asked at x6"]);
    }

    #[test]
    fn who_may_not_leave_stays_and_lets_others_go() {
        let mut holds = Holds::new(100);
        holds.hold(1, x(5), 0, "writes", None);
        holds.hold(2, x(5), 0, "reads", None);
        let reads = |request: &&str, _: bool| *request == "reads";
        assert_eq!(holds.next(Decided(x(5)), 0, reads).unwrap().request, "reads");
        assert_eq!(holds.next(Decided(x(5)), 500, reads), None);
        assert_eq!(leave(&mut holds, 5, 500), ["writes asked at x5"]);
    }

    /// One that needed room stood behind another that was refused for want of it, and kept readers from leaving.
    #[test]
    fn who_waits_behind_one_that_left_and_may_not_leave_lets_others_go() {
        let mut holds = Holds::new(100);
        holds.hold(1, x(5), 0, "writes", None);
        holds.behind(1, "writes too").unwrap();
        holds.hold(2, x(5), 0, "reads", None);
        let reads = |request: &&str, over: bool| over || *request == "reads";
        let mut leave_now = |now_ms| holds.next(Decided(x(4)), now_ms, reads).map(|freed| freed.request);
        assert_eq!(
            [leave_now(99), leave_now(100), leave_now(100), leave_now(100)],
            [None, Some("writes"), Some("reads"), None]
        );
        assert_eq!(leave(&mut holds, 4, 100), ["writes too"]);
        assert!(holds.is_empty());
    }

    #[test]
    fn who_is_held_for_a_pool_leaves_when_it_has_caught_up_or_when_the_time_is_over() {
        let mut holds = Holds::new(100);
        holds.hold(1, Until::CaughtUp(PoolId(7)), 0, "first", None);
        holds.behind(1, "behind").unwrap();
        holds.hold(2, Until::CaughtUp(PoolId(7)), 0, "second", None);
        holds.hold(3, Until::CaughtUp(PoolId(8)), 50, "of another", None);
        holds.hold(4, x(5), 0, "undecided", None);
        holds.caught_up(PoolId(6));
        assert_eq!(leave(&mut holds, 5, 99), ["undecided asked at x5"]);
        holds.caught_up(PoolId(7));
        assert_eq!(leave(&mut holds, 0, 99), ["first asked at x0", "behind", "second asked at x0"]);
        assert_eq!(leave(&mut holds, 9, 150), ["of another over"]);
        assert!(holds.is_empty() && holds.late.is_empty() && holds.deadline_ms().is_none());
    }

    #[test]
    fn a_time_can_be_ended_and_who_is_gone_taken_out() {
        let mut holds = Holds::new(100);
        holds.hold(1, x(5), 0, "large", None);
        holds.behind(1, "behind").unwrap();
        holds.hold(2, x(5), 0, "gone", None);
        holds.end_by(1, 0);
        assert_eq!(holds.take_out(|_| true), ["gone"], "nobody waits behind it");
        assert_eq!(leave(&mut holds, 0, 1), ["large asked at x5 over", "behind"]);
        assert!(holds.is_empty() && holds.deadline_ms().is_none());
    }
}
