//! Which pools may let elements in whose searches cost much: so that no pool keeps the matchers from the others.
//!
//! What is decided is a prefix of the log. Whoever gets an id waits for every search before its own, in whichever pool; so a pool whose
//! searches take long is held back *before* its elements get ids, while some of its searches are under way. In which order requests of
//! different streams enter the log is free, so this changes no answer; within a stream the order is kept (`dovetail_core::hold`).
//!
//! Costs are estimates, in units at worst (`Ledger::search_cost`); what they are in time is found out. All costly searches under way
//! share a window, which grows while it keeps pools waiting though decisions are prompt, and shrinks when they lag: a pool that is alone
//! keeps all matchers busy, and an element of another waits about [`LAG_MS`] for what is before it. Pools have equal shares of the
//! window; one that has nothing under way is next when there is room for it. Reprobes cannot wait (Q3); they count.
//! Reads no clock. Invariants: U1 `units` is the sum of what is under way, and so it is by pool; U2 who is told to wait is told for an
//! event that is under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dovetail_core::{EventId, PoolId, ledger::SEARCH_COSTLY};

/// Least that all costly searches under way may cost together, in units of a slice: a tenth of a second at worst.
const WINDOW_MIN: u64 = 1 << 26;
/// The most, however prompt decisions are: who made searches that cost little may go on with some that cost all they may. Then others wait
/// for a second and not for longer, once. It is enough for all matchers where searches cost a hundred times less than they might.
const WINDOW_MAX: u64 = 1 << 29;
/// Searches of one pool that are counted together cost no more than this, but for a single one.
const PART: u64 = WINDOW_MIN / 8;
/// Decisions that take longer once their events are on disk shrink the window, in milliseconds.
const LAG_MS: u64 = 100;
/// Those that take less let it grow.
const PROMPT_MS: u64 = 50;

/// Searches under way that cost much, and who waits for them.
#[derive(Debug)]
pub(super) struct Turns {
    window: u64,
    under_way: VecDeque<UnderWay>,
    /// The first so many are on disk.
    durable: usize,
    units: u64,
    by_pool: BTreeMap<PoolId, u64>,
    /// Pools that were told to wait, and have let nothing in since.
    asking: BTreeSet<PoolId>,
    /// Somebody was told to wait since the window changed last.
    wanting: bool,
    /// The window may change again when this is decided.
    settled: EventId,
    /// Times that a request was told to wait.
    waits: u64,
}

#[derive(Debug)]
struct UnderWay {
    through: EventId,
    pool: PoolId,
    units: u64,
    /// When it was on disk, and so on its way to the matchers.
    since_ms: Option<u64>,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns {
            window: WINDOW_MIN,
            under_way: VecDeque::new(),
            durable: 0,
            units: 0,
            by_pool: BTreeMap::new(),
            asking: BTreeSet::new(),
            wanting: false,
            settled: EventId::ZERO,
            waits: 0,
        }
    }

    /// How many elements of a pool may be let in whose searches cost `units` each; or the event that has to be decided first.
    pub(super) fn may(&mut self, pool: PoolId, units: u64) -> Result<usize, EventId> {
        if units < SEARCH_COSTLY {
            return Ok(usize::MAX);
        }
        let own = self.by_pool.get(&pool).copied().unwrap_or_default();
        let active =
            self.by_pool.len() + self.asking.iter().filter(|asking| !self.by_pool.contains_key(asking)).count();
        let pools = active + usize::from(own == 0 && !self.asking.contains(&pool));
        let room = (self.window / pools as u64).saturating_sub(own).min(self.window.saturating_sub(self.units));
        if room >= units || self.units == 0 {
            self.asking.remove(&pool);
            return Ok(usize::try_from(room / units).unwrap_or(usize::MAX).max(1));
        }
        self.asking.insert(pool);
        self.wanting = true;
        self.waits += 1;
        // Its own searches make room for it; one that has none waits for whatever is first.
        let first = self.under_way.iter().find(|under_way| own == 0 || under_way.pool == pool);
        Err(first.expect("what costs is under way").through)
    }

    /// Elements were let in, or reprobes written, up to an event, whose searches cost `units` each.
    pub(super) fn add(&mut self, pool: PoolId, through: EventId, units: u64, count: usize) {
        if units < SEARCH_COSTLY {
            return;
        }
        let all = units.saturating_mul(count as u64);
        self.units += all;
        *self.by_pool.entry(pool).or_default() += all;
        // In parts, so that there is room for more as soon as some are decided.
        let (mut left, part) = (count as u64, (PART / units).max(1));
        while left > 0 {
            let some = left.min(part);
            left -= some;
            let (through, units) = (EventId(through.0 - left), units * some);
            match self.under_way.back_mut() {
                Some(last) if last.pool == pool && last.since_ms.is_none() && last.units + units <= PART => {
                    (last.through, last.units) = (through, last.units + units);
                }
                _ => self.under_way.push_back(UnderWay { through, pool, units, since_ms: None }),
            }
        }
    }

    /// Everything up to an event is on disk.
    pub(super) fn durable(&mut self, durable: EventId, now_ms: u64) {
        for under_way in self.under_way.iter_mut().skip(self.durable) {
            if under_way.through > durable {
                break;
            }
            under_way.since_ms = Some(now_ms);
            self.durable += 1;
        }
    }

    /// Everything up to an event is decided.
    pub(super) fn decided(&mut self, decided: EventId, now_ms: u64) {
        let mut took_ms = None;
        while let Some(done) = self.under_way.pop_front_if(|under_way| under_way.through <= decided) {
            self.units -= done.units;
            let of = self.by_pool.get_mut(&done.pool).expect("it was counted by pool");
            *of -= done.units;
            if *of == 0 {
                self.by_pool.remove(&done.pool);
            }
            self.durable = self.durable.saturating_sub(1);
            let since_ms = done.since_ms.filter(|_| done.through > self.settled);
            took_ms = since_ms.map(|since_ms| now_ms.saturating_sub(since_ms)).or(took_ms);
        }
        if self.under_way.is_empty() {
            // Whoever asked is asked again now.
            self.asking.clear();
        }
        let window = match took_ms {
            Some(took_ms) if took_ms > LAG_MS => self.window.saturating_mul(LAG_MS) / took_ms,
            Some(took_ms) if took_ms <= PROMPT_MS && self.wanting => self.window * 2,
            _ => return,
        };
        self.window = window.clamp(WINDOW_MIN, WINDOW_MAX);
        self.wanting = false;
        // What is under way was let in by the window before.
        self.settled = self.under_way.back().map_or(decided, |last| last.through);
    }

    /// A request of a pool was refused after it had waited: it does not ask any more.
    pub(super) fn gave_up(&mut self, pool: PoolId) {
        self.asking.remove(&pool);
    }

    /// How often requests were told to wait, and what all costly searches under way cost together.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.waits, self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PoolId = PoolId(1);
    const B: PoolId = PoolId(2);
    /// A quarter of the least window.
    const QUARTER: u64 = WINDOW_MIN / 4;

    /// Lets in as many as may be, and gives them ids from `next` on. How many.
    fn let_in(turns: &mut Turns, pool: PoolId, units: u64, most: usize, next: &mut u64, now_ms: u64) -> usize {
        let mut count = 0;
        while count < most
            && let Ok(may) = turns.may(pool, units)
        {
            let some = may.min(most - count);
            *next += some as u64;
            turns.add(pool, EventId(*next - 1), units, some);
            turns.durable(EventId(*next - 1), now_ms);
            count += some;
        }
        count
    }

    #[test]
    fn cheap_searches_never_wait() {
        let mut turns = Turns::new();
        turns.add(A, EventId(1), WINDOW_MAX, 1);
        assert_eq!(turns.may(B, SEARCH_COSTLY - 1), Ok(usize::MAX));
        turns.add(B, EventId(2), SEARCH_COSTLY - 1, 1_000_000);
        assert_eq!(turns.counts(), (0, WINDOW_MAX));
    }

    #[test]
    fn a_pool_that_is_alone_has_the_whole_window() {
        let (mut turns, mut next) = (Turns::new(), 1);
        assert_eq!(let_in(&mut turns, A, QUARTER, 100, &mut next, 0), 4);
        assert_eq!(turns.may(A, QUARTER), Err(EventId(1)), "for the first of its own");
        turns.decided(EventId(2), 60);
        assert_eq!(let_in(&mut turns, A, QUARTER, 100, &mut next, 60), 2);
    }

    #[test]
    fn a_search_that_costs_more_than_the_window_goes_alone() {
        let mut turns = Turns::new();
        assert_eq!(turns.may(A, 3 * WINDOW_MIN), Ok(1));
        turns.add(A, EventId(1), 3 * WINDOW_MIN, 1);
        assert_eq!((turns.may(A, 3 * WINDOW_MIN), turns.may(B, SEARCH_COSTLY)), (Err(EventId(1)), Err(EventId(1))));
        turns.decided(EventId(1), 10);
        assert_eq!(turns.may(B, SEARCH_COSTLY).map(|may| may > 0), Ok(true));
    }

    #[test]
    fn pools_share_the_window_whoever_asks_more_often() {
        let (mut turns, mut next) = (Turns::new(), 1);
        assert_eq!(let_in(&mut turns, A, QUARTER, 100, &mut next, 0), 4);
        assert!(turns.may(B, QUARTER).is_err());
        let mut let_in_of = [0, 0];
        for turn in 0..100 {
            turns.decided(EventId(next - 1), 60 * turn);
            for (pool, of) in [(A, 0), (A, 0), (B, 1), (A, 0)] {
                let_in_of[of] += let_in(&mut turns, pool, QUARTER, 2, &mut next, 60 * turn);
            }
        }
        assert!(let_in_of[1] >= 150, "{let_in_of:?} of 400");
    }

    #[test]
    fn the_window_grows_while_decisions_are_prompt_and_shrinks_when_they_lag() {
        let (mut turns, mut next) = (Turns::new(), 1);
        // A unit takes so little that four windows are decided in 40 ms.
        let mut let_in_at = |now_ms, turns: &mut Turns| {
            let count = let_in(turns, A, QUARTER, 10_000, &mut next, now_ms);
            (count, EventId(next - 1))
        };
        let mut counts = vec![];
        for turn in 0..5 {
            let (count, last) = let_in_at(40 * turn, &mut turns);
            turns.decided(last, 40 * turn + 39);
            counts.push(count);
        }
        assert_eq!(counts, [4, 8, 16, 32, 32], "up to the most");
        for turn in 0..6 {
            let (count, last) = let_in_at(1000 * (turn + 1), &mut turns);
            turns.decided(last, 1000 * (turn + 1) + 500);
            counts.push(count);
        }
        assert_eq!(counts[5..], [32, 6, 4, 4, 4, 4], "by as much as they lag");
    }

    #[test]
    fn a_slow_disk_shrinks_no_window() {
        let mut turns = Turns::new();
        turns.add(A, EventId(8), QUARTER, 8);
        assert!(turns.may(A, QUARTER).is_err());
        turns.durable(EventId(8), 1_000);
        turns.decided(EventId(8), 1_010);
        assert_eq!(turns.window, 2 * WINDOW_MIN);
    }

    #[test]
    fn reprobes_count_and_keep_arrivals_waiting() {
        let mut turns = Turns::new();
        (1..=100).for_each(|x| turns.add(A, EventId(x), QUARTER, 1));
        assert!(turns.may(A, QUARTER).is_err());
        turns.decided(EventId(96), 60);
        assert!(turns.may(A, QUARTER).is_err(), "as many as the window has are under way");
        turns.decided(EventId(99), 60);
        assert_eq!(turns.may(A, QUARTER), Ok(3));
        turns.decided(EventId(100), 60);
        assert_eq!((turns.counts().1, turns.by_pool.len()), (0, 0));
    }
}
