//! When elements expire and search again, and how far time may go.
//!
//! A timer is written as an event when it is due, before any search of its pool at its time or later. So a search at
//! `t` finds no element whose time to live ended at or before `t` (sequencer.Q3). Elements of two pools never meet, so
//! pools need not wait for one another's timers.
//!
//! As long as a pool has few timers that are due, time itself waits for them: when it is behind the clock, as after a
//! stop, it catches up in steps of at most [`STRIDE_MS`], and in each step elements expire before others search. A pool
//! that has more due timers than its [`TimerShare`], or whose searches cost much, is *late*: time passes, and the pool waits
//! instead. No element arrives in it ([`Stopped::Late`](super::Stopped::Late)), and what is due is written a little at
//! a time, in turns with other late pools ([`Ledger::late_due`]), expiries first. So a storm of timers costs only the
//! pool that has it. Invariant: timers.T1 a pool that is not late has no timer left that is due at the sequencer's time
//! or before.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{At, Ledger, SEARCH_COSTLY};
use crate::{
    ElementId, EventKind, PoolId, WithdrawReason,
    planted::{Bug, Planted},
    sequencer::Sequencer,
};

/// Longest step by which time catches up with the clock while timers are due, in milliseconds. A search that was due
/// may come after expiries that were due by so much later; in a pool that is late, after all that are due.
pub const STRIDE_MS: u64 = 10;

/// Timers of one pool that is late that are written in one go, before others have their turn.
const TURN: usize = 64;
/// Looks at pools that are late, and at their timers, in one go.
const LOOKS: usize = 4_096;

/// How late timers are written when that bug is planted.
const LATE_MS: u64 = 20;

/// When timers are due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    pools: BTreeMap<PoolId, PoolTimers>,
    /// When the first timer of each pool is due that is not late.
    firsts: BTreeSet<(u64, PoolId)>,
    /// Pools that are late, the next one to be served first.
    late: VecDeque<PoolId>,
    /// Pools that are no longer late, and were not reported yet.
    caught_up: Vec<PoolId>,
}

/// Those of one pool, by time.
#[derive(Debug, Default)]
struct PoolTimers {
    expiries: BTreeSet<(u64, ElementId)>,
    reprobes: BTreeSet<(u64, ElementId)>,
    late: bool,
}

/// How many timers may be looked at before time passes the others, which make their pools late: of each pool, and in
/// all.
#[derive(Clone, Debug)]
pub struct TimerShare {
    pool: usize,
    left: usize,
    of: BTreeMap<PoolId, usize>,
}

impl TimerShare {
    /// No pool is late.
    #[must_use]
    pub fn all() -> TimerShare {
        TimerShare::new(usize::MAX, usize::MAX)
    }

    /// So many timers of each pool, and so many in all.
    #[must_use]
    pub fn new(pool: usize, all: usize) -> TimerShare {
        TimerShare { pool, left: all, of: BTreeMap::new() }
    }

    /// Takes one for a pool; false when it has had its share.
    fn take(&mut self, pool: PoolId) -> bool {
        let of = self.of.entry(pool).or_default();
        if self.left == 0 || *of >= self.pool {
            return false;
        }
        *of += 1;
        self.left -= 1;
        true
    }
}

/// What there is to do before more events can be given their time.
#[derive(Debug, PartialEq)]
pub enum Timing {
    /// Nothing: every timer that is due is written, but for those of pools that are late, and time is the clock's.
    Done,
    /// The open frame is of a time before the next timer that is due. What comes may still go into it; that timer is
    /// written once it is taken.
    FrameFirst,
    /// These are due. Each is offered once: give it an id and record it, then ask again.
    Due(Vec<EventKind>),
}

/// Timers of pools that are late.
#[derive(Debug, Default, PartialEq)]
pub struct LateDue {
    /// Each is offered once: give it an id and record it, then ask again.
    pub events: Vec<EventKind>,
    /// Nothing can be done for any of them before time passes or something is decided.
    pub stuck: bool,
}

impl Timers {
    pub(super) fn expires(&mut self, pool: PoolId, element: ElementId, due_ms: Option<u64>) {
        if let Some(due_ms) = due_ms {
            self.change(pool, |timers| _ = timers.expiries.insert((due_ms, element)));
        }
    }

    pub(super) fn searches(&mut self, pool: PoolId, element: ElementId, due_ms: Option<u64>) {
        if let Some(due_ms) = due_ms {
            self.change(pool, |timers| _ = timers.reprobes.insert((due_ms, element)));
        }
    }

    pub(super) fn expires_not(&mut self, pool: PoolId, element: ElementId, due_ms: Option<u64>) {
        if let Some(due_ms) = due_ms {
            self.change(pool, |timers| _ = timers.expiries.remove(&(due_ms, element)));
        }
    }

    pub(super) fn searches_not(&mut self, pool: PoolId, element: ElementId, due_ms: Option<u64>) {
        if let Some(due_ms) = due_ms {
            self.change(pool, |timers| _ = timers.reprobes.remove(&(due_ms, element)));
        }
    }

    fn change<T>(&mut self, pool: PoolId, change: impl FnOnce(&mut PoolTimers) -> T) -> T {
        let timers = self.pools.entry(pool).or_default();
        let before = timers.first_ms();
        let changed = change(timers);
        let after = timers.first_ms();
        if before != after && !timers.late {
            before.map(|due_ms| self.firsts.remove(&(due_ms, pool)));
            self.firsts.extend(after.map(|due_ms| (due_ms, pool)));
        }
        if after.is_none() && !timers.late {
            self.pools.remove(&pool);
        }
        changed
    }

    fn next_due_ms(&self) -> Option<u64> {
        self.firsts.first().map(|&(due_ms, _)| due_ms)
    }

    /// A pool that is not late and has a timer that is due at `time_ms`: the one that had to be written first.
    fn first_due(&self, time_ms: u64) -> Option<PoolId> {
        self.firsts.first().filter(|&&(due_ms, _)| due_ms <= time_ms).map(|&(_, pool)| pool)
    }

    /// The next of a pool that is due at `time_ms`. It stays.
    fn next(&self, pool: PoolId, time_ms: u64, planted: Planted) -> Option<(ElementId, Timer)> {
        self.pools.get(&pool)?.next(time_ms, planted)
    }

    fn pop(&mut self, pool: PoolId, timer: Timer) {
        self.change(pool, |timers| match timer {
            Timer::Expire => timers.expiries.pop_first(),
            Timer::Reprobe => timers.reprobes.pop_first(),
        });
    }

    /// Time passes what is due of a pool.
    fn fall_behind(&mut self, pool: PoolId) {
        let timers = self.pools.get_mut(&pool).expect("a pool of which timers are due has some");
        timers.late = true;
        timers.first_ms().map(|due_ms| self.firsts.remove(&(due_ms, pool)));
        self.late.push_back(pool);
    }

    /// Makes a pool that is late one that is not, if nothing of it is due at `time_ms`.
    fn catch_up(&mut self, pool: PoolId, time_ms: u64) -> bool {
        let timers = self.pools.get_mut(&pool).expect("a pool that is late is kept");
        let first_ms = timers.first_ms();
        if first_ms.is_some_and(|due_ms| due_ms <= time_ms) {
            return false;
        }
        timers.late = false;
        match first_ms {
            Some(due_ms) => _ = self.firsts.insert((due_ms, pool)),
            None => _ = self.pools.remove(&pool),
        }
        self.caught_up.push(pool);
        true
    }
}

impl PoolTimers {
    fn first_ms(&self) -> Option<u64> {
        let first = |timers: &BTreeSet<(u64, ElementId)>| timers.first().map(|&(due_ms, _)| due_ms);
        first(&self.expiries).into_iter().chain(first(&self.reprobes)).min()
    }

    /// The first expiry that is due at `time_ms`; the first search when no expiry is.
    fn next(&self, time_ms: u64, planted: Planted) -> Option<(ElementId, Timer)> {
        let first = |timers: &BTreeSet<(u64, ElementId)>, timer| {
            let &(due_ms, element) = timers.first()?;
            (due_ms <= time_ms).then_some((element, timer))
        };
        let expiry = || first(&self.expiries, Timer::Expire);
        let reprobe = || first(&self.reprobes, Timer::Reprobe);
        if planted.is(Bug::SearchesBeforeExpiries) { reprobe().or_else(expiry) } else { expiry().or_else(reprobe) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Expire,
    Reprobe,
}

impl Ledger {
    /// Brings the sequencer's time to `now_ms`, as far as the timers allow that are due by then. Offers at most `most`
    /// of them; a pool that has had its share is late from then on.
    pub fn advance_time<E>(
        &mut self,
        sequencer: &mut Sequencer<E>,
        now_ms: u64,
        most: usize,
        share: &mut TimerShare,
    ) -> Timing {
        let late_ms = if self.planted.is(Bug::TimersPassed) { LATE_MS } else { 0 };
        while let Some(first_ms) = self.next_due_ms().filter(|&due_ms| due_ms + late_ms <= now_ms) {
            let time_ms = sequencer.time_at(now_ms.min(first_ms.saturating_add(STRIDE_MS)));
            if time_ms < first_ms {
                return Timing::FrameFirst;
            }
            // Not beyond the open frame: what is due after it may be something else.
            sequencer.advance(time_ms);
            let due = self.due_within(time_ms, most, share);
            // None of those that were due may wait any more.
            if !due.is_empty() {
                return Timing::Due(due);
            }
        }
        sequencer.advance(now_ms);
        Timing::Done
    }

    /// Timers that are due of pools that are not late, at most `most`; of each pool expiries, and when there is none,
    /// searches. Each is offered once; record the event that comes of it.
    pub fn due(&mut self, time_ms: u64, most: usize) -> Vec<EventKind> {
        self.due_within(time_ms, most, &mut TimerShare::all())
    }

    fn due_within(&mut self, time_ms: u64, most: usize, share: &mut TimerShare) -> Vec<EventKind> {
        let mut events = Vec::new();
        while events.len() < most
            && let Some(pool) = self.timers.first_due(time_ms)
        {
            let (element, timer) = self.timers.next(pool, time_ms, self.planted).expect("its first is due");
            if share.take(pool) && self.searches_cheaply(pool, element, timer) {
                self.timers.pop(pool, timer);
                events.extend(self.offered(pool, element, timer));
            } else {
                self.timers.fall_behind(pool);
            }
        }
        events
    }

    /// Timers that are due of pools that are late, at most `most`, in turns. `may` says whether a pool may search now
    /// at this cost, in units, where that is much ([`SEARCH_COSTLY`]): such a search is the last one that is offered.
    ///
    /// Before any of a pool searches, all of it have expired whose time is over at the sequencer's time. Give the
    /// events ids before time goes on.
    pub fn late_due<E>(
        &mut self,
        sequencer: &Sequencer<E>,
        most: usize,
        mut may: impl FnMut(PoolId, u64) -> bool,
    ) -> LateDue {
        let time_ms = sequencer.time_ms();
        let (mut events, mut looks, mut idle) = (Vec::new(), 0, 0);
        while events.len() < most
            && looks < LOOKS
            && idle < self.timers.late.len()
            && let Some(pool) = self.timers.late.pop_front()
        {
            let turn = TURN.min(most - events.len());
            let (looked, costly) = self.late_turn(pool, time_ms, turn, &mut may, &mut events);
            looks += 1 + looked;
            if self.timers.catch_up(pool, time_ms) {
                idle = 0;
            } else {
                self.timers.late.push_back(pool);
                idle = if looked > 0 { 0 } else { idle + 1 };
            }
            if costly {
                break;
            }
        }
        LateDue { stuck: events.is_empty() && idle >= self.timers.late.len().min(LOOKS), events }
    }

    /// The next timers of a pool that is late: how many it looked at, and whether the last one is a search that costs
    /// much.
    fn late_turn(
        &mut self,
        pool: PoolId,
        time_ms: u64,
        turn: usize,
        may: &mut impl FnMut(PoolId, u64) -> bool,
        events: &mut Vec<EventKind>,
    ) -> (usize, bool) {
        for looked in 0..turn {
            let Some((element, timer)) = self.timers.next(pool, time_ms, self.planted) else { return (looked, false) };
            let cheap = self.searches_cheaply(pool, element, timer);
            if !cheap && !may(pool, self.cost_of(pool, element)) {
                return (looked, false);
            }
            self.timers.pop(pool, timer);
            events.extend(self.offered(pool, element, timer));
            if !cheap {
                return (looked + 1, true);
            }
        }
        (turn, false)
    }

    /// Whether what is due is no search that costs much.
    fn searches_cheaply(&self, pool: PoolId, element: ElementId, timer: Timer) -> bool {
        timer == Timer::Expire || self.cost_of(pool, element) < SEARCH_COSTLY
    }

    fn cost_of(&self, pool: PoolId, element: ElementId) -> u64 {
        let Some(at) = self.offers(pool, element, Timer::Reprobe) else { return 0 };
        let view = self.elements.view(at);
        self.search_cost(pool, || view.batch.row(view.row))
    }

    /// Where an element is that has a timer, if an event comes of it.
    fn offers(&self, pool: PoolId, element: ElementId, timer: Timer) -> Option<At> {
        let at = self.elements.waits(element).filter(|_| !self.closing.contains_key(&element))?;
        // No element searches in a pool that is being dropped.
        (timer == Timer::Expire || self.pool(pool).closed_at.is_none()).then_some(at)
    }

    /// The event that comes of a timer, if one does.
    fn offered(&self, pool: PoolId, element: ElementId, timer: Timer) -> Option<EventKind> {
        let at = self.offers(pool, element, timer)?;
        Some(match timer {
            Timer::Expire => EventKind::Withdrawal { element, pool, reason: WithdrawReason::Expired },
            Timer::Reprobe => {
                let view = self.elements.view(at);
                let row = Arc::new(view.batch.row(view.row));
                EventKind::Reprobe { element, pool, arrived_ms: view.arrived_ms, row }
            }
        })
    }

    /// When the next timer is due of a pool that is not late, in milliseconds since 1970.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.timers.next_due_ms()
    }

    /// Whether time has passed timers of a pool that are not written: no element may arrive in it.
    #[must_use]
    pub fn is_late(&self, pool: PoolId) -> bool {
        self.timers.pools.get(&pool).is_some_and(|timers| timers.late)
    }

    /// The pools that are late, and since when their first timer is due, in milliseconds since 1970.
    pub fn late(&self) -> impl ExactSizeIterator<Item = (PoolId, u64)> {
        let of = |pool| self.timers.pools.get(pool).and_then(PoolTimers::first_ms).unwrap_or_default();
        self.timers.late.iter().map(move |pool| (*pool, of(pool)))
    }

    /// Pools that have stopped being late, or are being dropped, since the last call: no request has to wait for their
    /// timers.
    pub fn take_caught_up(&mut self) -> Vec<PoolId> {
        std::mem::take(&mut self.timers.caught_up)
    }

    /// A pool takes no more elements: no request need wait for it.
    pub(super) fn tell_closed(&mut self, pool: PoolId) {
        if self.is_late(pool) {
            self.timers.caught_up.push(pool);
        }
    }

    /// Why an element is withdrawn by an event of that time: after its time to live it has expired, whether or not the
    /// expiry is written.
    #[must_use]
    pub fn reason_at(&self, element: ElementId, time_ms: u64, reason: WithdrawReason) -> WithdrawReason {
        let over = |at| {
            let view = self.elements.view(at);
            let expire_ms = expires(view.arrived_ms, view.batch.clients().ttl_ms(view.row));
            expire_ms.is_some_and(|due_ms| due_ms <= time_ms)
        };
        if self.elements.waits(element).is_some_and(over) { WithdrawReason::Expired } else { reason }
    }
}

/// When an element that arrived at `time_ms` ends its stay; none for a time to live of 0.
pub(super) fn expires(time_ms: u64, ttl_ms: u64) -> Option<u64> {
    (ttl_ms > 0).then(|| time_ms.saturating_add(ttl_ms))
}

/// When an element searches by a schedule: a millisecond after it has waited for so long, so that `waited > delay`
/// holds in a search that is due after `delay`.
pub(crate) fn searches(schedule: &[u64], arrived_ms: u64) -> impl Iterator<Item = u64> {
    schedule.iter().map(move |&delay_ms| arrived_ms.saturating_add(delay_ms).saturating_add(1))
}

/// When an element that searched at `time_ms`, and was to at `was_due_ms`, searches next: the first of the schedule
/// after both. So a stop skips what it missed but one; and the event may have come into a frame that is older than what
/// was due.
pub(super) fn due_next(schedule: &[u64], arrived_ms: u64, was_due_ms: Option<u64>, time_ms: u64) -> Option<u64> {
    let done_ms = was_due_ms.map_or(time_ms, |due_ms| due_ms.max(time_ms));
    searches(schedule, arrived_ms).find(|&due_ms| due_ms > done_ms)
}
