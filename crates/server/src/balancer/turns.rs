//! Which pools may let elements in whose searches cost much: so that no pool keeps the matchers from the others.
//!
//! What is decided is a prefix of the log. An element that has an id waits for every search before its own, in
//! whichever pool; so a pool whose searches take long is held back *before* its elements get ids, while some of its
//! searches are under way. Requests of different streams may enter the log in any order, so this changes no answer;
//! within a stream the order is kept (`dovetail_core::hold`).
//!
//! Costs are estimates of the worst case, in units (`Ledger::search_cost`); how long they take is measured. All costly
//! searches under way share a window, which grows while it keeps pools waiting though decisions are prompt, and shrinks
//! when they lag: a pool that is alone keeps all matchers busy, and an element of another waits about [`LAG_MS`] for
//! what is before it. Clients have equal shares of the window, and a client's pools of its share, so a crowd of pools
//! counts for no more than the client that has it. A pool that is told to wait stands in line: clients by when they
//! last had a turn, and a client's pools in the same way. The next room is kept for the first in line, which may then
//! have more than a share. Reprobes cannot wait (sequencer.Q3); they count. Reads no clock. Invariants: turns.U1
//! `units` is the sum of what is under way, and so it is by client and by pool; turns.U2 a pool waits for an event that
//! is under way, or for the first in line, which has not asked again since all was decided; turns.U3 no pool gets in
//! before the first in line but by the room that the first leaves.

use std::collections::{BTreeMap, BTreeSet};

use dovetail_core::{Decided, EventId, PoolId, hold::Until, ledger::SEARCH_COSTLY};

use super::under_way::{Part, UnderWay};
use crate::caller::ClientId;

/// Least that all costly searches under way may cost together, in units of a slice: a tenth of a second at worst.
const WINDOW_MIN: u64 = 1 << 26;
/// The most, however prompt decisions are: who made searches that cost little may go on with some that cost all they
/// may. Then others wait for a second and not for longer, once. It is enough for all matchers where searches cost a
/// hundred times less than they might.
const WINDOW_MAX: u64 = 1 << 29;
/// Searches of one pool that are counted together cost no more than this, but for a single one.
const PART: u64 = WINDOW_MIN / 8;
/// Decisions that take longer once their events are on disk shrink the window, in milliseconds.
const LAG_MS: u64 = 100;
/// Those that take less let it grow.
const PROMPT_MS: u64 = 50;

/// Who asks: a client, none within the process and for reprobes, and for which pool.
pub(super) type Whose = (Option<ClientId>, PoolId);

/// Who has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TurnWait {
    /// Until this is so.
    pub(super) until: Until,
    /// It is, but another is first: that one is to be asked before.
    pub(super) behind: bool,
}

impl<U: Into<Until>> From<U> for TurnWait {
    fn from(until: U) -> TurnWait {
        TurnWait { until: until.into(), behind: false }
    }
}

/// Searches under way that cost much, and who waits for them.
#[derive(Debug)]
pub(super) struct Turns {
    window: u64,
    under_way: UnderWay<Searches>,
    units: u64,
    /// Clients that have something under way, or wait.
    clients: BTreeMap<Option<ClientId>, Client>,
    /// Those who wait, the first first.
    line: BTreeSet<(Since, Option<ClientId>)>,
    /// Turns that were given.
    given: u64,
    /// How often a pool asked.
    asks: u64,
    /// When all was decided last.
    asks_before: u64,
    decided: Decided,
    /// Whether a pool was told to wait since the window last changed.
    wanting: bool,
    /// Times that a request was told to wait.
    waits: u64,
}

/// A place in line: who had a turn longest ago is first, then who has waited longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Since {
    turn: u64,
    ask: u64,
}

/// What one client has.
#[derive(Debug, Default)]
struct Client {
    units: u64,
    /// Those that have something under way, or wait.
    pools: BTreeMap<PoolId, OfPool>,
    /// Its pools that wait, the first first.
    line: BTreeSet<(Since, PoolId)>,
    /// When it last had a turn, of [`Turns::given`].
    turn: u64,
    /// Its place in line, if it waits.
    place: Option<Since>,
}

/// What one client has of one pool.
#[derive(Debug, Default)]
struct OfPool {
    units: u64,
    turn: u64,
    waits: Option<PoolWaits>,
}

#[derive(Clone, Copy, Debug)]
struct PoolWaits {
    since: Since,
    /// What one search costs.
    units: u64,
    /// When it last asked, of [`Turns::asks`].
    asked: u64,
}

/// Searches under way that are counted together.
#[derive(Debug)]
struct Searches {
    whose: Whose,
    units: u64,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns {
            window: WINDOW_MIN,
            under_way: UnderWay::default(),
            units: 0,
            clients: BTreeMap::new(),
            line: BTreeSet::new(),
            given: 0,
            asks: 0,
            asks_before: 0,
            decided: Decided::ZERO,
            wanting: false,
            waits: 0,
        }
    }

    /// How many elements may be let in whose searches cost `units` each; or what has to be decided first.
    pub(super) fn may(&mut self, whose: &Whose, units: u64) -> Result<usize, TurnWait> {
        if units < SEARCH_COSTLY {
            self.gave_up(whose);
            return Ok(usize::MAX);
        }
        self.asks += 1;
        let first = self.first().filter(|(first, _)| first != whose);
        let room = self.room(whose, units, first.as_ref().map(|&(_, first_units)| first_units));
        if room >= units || (self.units == 0 && first.is_none()) {
            self.has_turn(whose);
            return Ok(usize::try_from(room / units).unwrap_or(usize::MAX).max(1));
        }
        self.wait(whose, units);
        (self.wanting, self.waits) = (true, self.waits + 1);
        // Its own searches make room for it; one that has none waits for whatever is first.
        let own = self.of(whose).is_some_and(|of| of.units > 0);
        let under_way = self.under_way.iter().find(|part| !own || part.of.whose == *whose);
        Err(under_way.map_or(TurnWait { until: self.decided.event().into(), behind: true }, |part| part.through.into()))
    }

    /// The first in line, and what one of its searches costs. A pool that has not asked for as long as it takes to ask
    /// all does not count: it may no longer wait, and it may be the last.
    fn first(&mut self) -> Option<(Whose, u64)> {
        while let Some((_, who)) = self.line.first() {
            let client = self.clients.get(who)?;
            let &(_, pool) = client.line.first()?;
            let waits = client.pools.get(&pool)?.waits?;
            let whose = (who.clone(), pool);
            let all = || self.clients.values().map(|client| client.line.len() as u64).sum::<u64>();
            if self.units > 0 || self.asks - waits.asked <= 2 * all() + 2 {
                return Some((whose, waits.units));
            }
            self.gave_up(&whose);
        }
        None
    }

    /// How much there is room for, with `first` before it in line: what a search of that one costs.
    fn room(&self, whose: &Whose, units: u64, first: Option<u64>) -> u64 {
        let left = self.window.saturating_sub(self.units);
        let client = self.clients.get(&whose.0);
        let clients = self.clients.len() + usize::from(client.is_none());
        let of_client = self.window / clients as u64;
        let own = client.and_then(|client| client.pools.get(&whose.1));
        let pools = client.map_or(0, |client| client.pools.len()) + usize::from(own.is_none());
        let of_pool = (of_client / pools as u64).saturating_sub(own.map_or(0, |own| own.units));
        let of_client = of_client.saturating_sub(client.map_or(0, |client| client.units));
        let fair = of_pool.min(of_client).min(left);
        match first {
            Some(first) => fair.min(left.saturating_sub(first.min(self.window))),
            // Its turn has come, whatever its share is.
            None if own.is_some_and(|own| own.waits.is_some()) && left >= units => fair.max(units),
            None => fair,
        }
    }

    fn of(&self, whose: &Whose) -> Option<&OfPool> {
        self.clients.get(&whose.0)?.pools.get(&whose.1)
    }

    /// Puts a pool in line, or keeps the place it has.
    fn wait(&mut self, whose: &Whose, units: u64) {
        // Who comes new comes after all that wait, but for who had the last turn.
        let (asked, turn) = (self.asks, self.given.saturating_sub(1));
        let client = self.clients.entry(whose.0.clone()).or_insert_with(|| Client { turn, ..Client::default() });
        let of = client.pools.entry(whose.1).or_insert_with(|| OfPool { turn, ..OfPool::default() });
        let since = of.waits.map_or(Since { turn: of.turn, ask: asked }, |waits| waits.since);
        of.waits = Some(PoolWaits { since, units, asked });
        client.line.insert((since, whose.1));
        self.place(&whose.0);
    }

    /// It lets some in.
    fn has_turn(&mut self, whose: &Whose) {
        self.given += 1;
        let turn = self.given;
        if let Some(client) = self.clients.get_mut(&whose.0) {
            client.turn = turn;
            if let Some(of) = client.pools.get_mut(&whose.1) {
                of.turn = turn;
            }
        }
        self.gave_up(whose);
        self.place(&whose.0);
    }

    /// A request of a pool was refused after it had waited: it does not ask any more.
    pub(super) fn gave_up(&mut self, whose: &Whose) {
        let Some(client) = self.clients.get_mut(&whose.0) else { return };
        let Some(of) = client.pools.get_mut(&whose.1) else { return };
        let Some(waits) = of.waits.take() else { return };
        client.line.remove(&(waits.since, whose.1));
        if of.units == 0 {
            client.pools.remove(&whose.1);
        }
        self.place(&whose.0);
    }

    /// Sets a client's place in line anew, or forgets a client that has nothing.
    fn place(&mut self, who: &Option<ClientId>) {
        let Some(client) = self.clients.get_mut(who) else { return };
        if let Some(place) = client.place.take() {
            self.line.remove(&(place, who.clone()));
        }
        if let Some((since, _)) = client.line.first() {
            let place = Since { turn: client.turn, ask: since.ask };
            client.place = Some(place);
            self.line.insert((place, who.clone()));
        } else if client.pools.is_empty() {
            self.clients.remove(who);
        }
    }

    /// Elements were let in, or reprobes written, up to an event, whose searches cost `units` each.
    pub(super) fn add(&mut self, whose: &Whose, through: EventId, units: u64, count: usize) {
        if units < SEARCH_COSTLY {
            return;
        }
        let all = units.saturating_mul(count as u64);
        self.units += all;
        let turn = self.given;
        let client = self.clients.entry(whose.0.clone()).or_insert_with(|| Client { turn, ..Client::default() });
        client.units += all;
        let of = client.pools.entry(whose.1).or_insert_with(|| OfPool { turn, ..OfPool::default() });
        of.units += all;
        // In parts, so that there is room for more as soon as some are decided.
        let (mut left, part) = (count as u64, (PART / units).max(1));
        while left > 0 {
            let some = left.min(part);
            left -= some;
            let (through, units) = (EventId(through.0 - left), units * some);
            match self.under_way.last_mut() {
                Some(Part { through: last, of, .. }) if of.whose == *whose && of.units + units <= PART => {
                    (*last, of.units) = (through, of.units + units);
                }
                _ => self.under_way.push(through, Searches { whose: whose.clone(), units }),
            }
        }
    }

    /// Everything up to an event is on disk.
    pub(super) fn durable(&mut self, durable: EventId, now_ms: u64) {
        self.under_way.durable(durable, now_ms);
    }

    /// Everything up to an event is decided.
    pub(super) fn decided(&mut self, decided: Decided, now_ms: u64) {
        let (mut took_ms, were) = (None, self.units);
        self.decided = decided;
        while let Some((done, took)) = self.under_way.next_decided(decided, now_ms) {
            self.done(&done);
            took_ms = took.or(took_ms);
        }
        if self.units == 0 && were > 0 {
            self.forget_those_who_left();
        }
        let window = match took_ms {
            Some(took_ms) if took_ms > LAG_MS => self.window.saturating_mul(LAG_MS) / took_ms,
            Some(took_ms) if took_ms <= PROMPT_MS && self.wanting => self.window * 2,
            _ => return,
        };
        self.window = window.clamp(WINDOW_MIN, WINDOW_MAX);
        self.wanting = false;
        self.under_way.settle(decided);
    }

    fn done(&mut self, done: &Searches) {
        let (who, pool) = &done.whose;
        self.units -= done.units;
        let client = self.clients.get_mut(who).expect("it was counted by client");
        client.units -= done.units;
        let of = client.pools.get_mut(pool).expect("it was counted by pool");
        of.units -= done.units;
        if of.units == 0 && of.waits.is_none() {
            client.pools.remove(pool);
        }
        self.place(who);
    }

    /// All is decided. A pool that waits asks again whenever something is decided: those that have not since all was
    /// last decided no longer wait.
    fn forget_those_who_left(&mut self) {
        let before = std::mem::replace(&mut self.asks_before, self.asks);
        let left = self.clients.iter().flat_map(|(who, client)| {
            let gone = client.pools.iter().filter(|(_, of)| of.waits.is_some_and(|waits| waits.asked < before));
            gone.map(|(&pool, _)| (who.clone(), pool))
        });
        for whose in left.collect::<Vec<Whose>>() {
            self.gave_up(&whose);
        }
    }

    /// How often requests were told to wait, and what all costly searches under way cost together.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.waits, self.units)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const A: Whose = (None, PoolId(1));
    const B: Whose = (None, PoolId(2));
    /// A quarter of the least window.
    const QUARTER: u64 = WINDOW_MIN / 4;

    /// Lets in as many as may be, and gives them ids from `next` on. How many.
    fn let_in(turns: &mut Turns, whose: &Whose, units: u64, most: usize, next: &mut u64, now_ms: u64) -> usize {
        let mut count = 0;
        while count < most
            && let Ok(may) = turns.may(whose, units)
        {
            let some = may.min(most - count);
            *next += some as u64;
            turns.add(whose, EventId(*next - 1), units, some);
            turns.durable(EventId(*next - 1), now_ms);
            count += some;
        }
        count
    }

    fn waits(until: u64) -> Result<usize, TurnWait> {
        Err(EventId(until).into())
    }

    /// Pools of a client, as many as there are from the first number on.
    fn pools_of(client: &str, first: u32, count: u32) -> Vec<Whose> {
        let client = ClientId::Name(client.into());
        (first..first + count).map(|pool| (Some(client.clone()), PoolId(pool))).collect()
    }

    /// Pools ask again, in the order in which they began to wait, whenever something is decided; one turn ends at a
    /// time. Returns how many of each got in within so many decisions.
    fn turns_of(askers: &[(Whose, u64)], decisions: u64) -> Vec<u64> {
        let (mut turns, mut next, mut got) = (Turns::new(), 1, vec![0; askers.len()]);
        let mut order: VecDeque<usize> = (0..askers.len()).collect();
        for turn in 0..decisions {
            let mut asked = 0;
            while asked < order.len() {
                let (whose, units) = &askers[order[asked]];
                match turns.may(whose, *units) {
                    Ok(_) => {
                        turns.add(whose, EventId(next), *units, 1);
                        next += 1;
                        got[order[asked]] += 1;
                        // Another request of the same, which has not waited.
                        let again = order.remove(asked).expect("it was asked");
                        order.push_back(again);
                    }
                    Err(TurnWait { behind: true, .. }) => {
                        let again = order.remove(asked).expect("it was asked");
                        order.push_back(again);
                    }
                    Err(_) => asked += 1,
                }
            }
            let first = turns.under_way.iter().next().map(|part| part.through);
            if let Some(through) = first {
                turns.durable(through, turn * 60);
                turns.decided(Decided(through), turn * 60 + 60);
            }
        }
        got
    }

    #[test]
    fn a_crowd_of_pools_of_one_client_gets_no_more_than_one_pool_of_another() {
        let mut askers: Vec<_> = pools_of("crowd", 10, 300).into_iter().map(|whose| (whose, QUARTER)).collect();
        askers.push((pools_of("honest", 1, 1).remove(0), QUARTER));
        let got = turns_of(&askers, 700);
        let (honest, crowd) = (got[300], got[..300].iter().sum::<u64>());
        assert!(honest * 3 > crowd, "{honest} beside {crowd}");
        assert!(got[..300].iter().all(|&got| got > 0), "{got:?}");
    }

    #[test]
    fn who_needs_all_of_the_window_has_its_turn_among_those_who_need_little() {
        let mut askers: Vec<_> = pools_of("crowd", 10, 50).into_iter().map(|whose| (whose, SEARCH_COSTLY)).collect();
        askers.push((pools_of("honest", 1, 1).remove(0), 2 * WINDOW_MIN));
        let got = turns_of(&askers, 2_000);
        assert!(got[50] >= 5, "{got:?}");
    }

    #[test]
    fn who_left_the_line_without_a_word_keeps_nobody_waiting() {
        let mut turns = Turns::new();
        turns.add(&A, EventId(1), WINDOW_MIN, 1);
        let gone = pools_of("gone", 5, 3);
        for whose in &gone {
            assert_eq!(turns.may(whose, WINDOW_MIN), waits(1));
        }
        assert_eq!(turns.may(&B, WINDOW_MIN), waits(1));
        turns.decided(Decided(EventId(1)), 60);
        let asks = (0..100).take_while(|_| turns.may(&B, WINDOW_MIN).is_err()).count();
        assert!(asks < 40, "{asks}");
        turns.add(&B, EventId(2), WINDOW_MIN, 1);
        for x in 2..4 {
            turns.decided(Decided(EventId(x)), 60 * x);
            turns.add(&B, EventId(x + 1), WINDOW_MIN, 1);
        }
        turns.decided(Decided(EventId(4)), 300);
        assert!(turns.line.is_empty() && turns.clients.is_empty(), "{turns:?}");
    }

    #[test]
    fn cheap_searches_never_wait() {
        let mut turns = Turns::new();
        turns.add(&A, EventId(1), WINDOW_MAX, 1);
        assert_eq!(turns.may(&B, SEARCH_COSTLY - 1), Ok(usize::MAX));
        turns.add(&B, EventId(2), SEARCH_COSTLY - 1, 1_000_000);
        assert_eq!(turns.counts(), (0, WINDOW_MAX));
    }

    #[test]
    fn a_pool_that_is_alone_has_the_whole_window() {
        let (mut turns, mut next) = (Turns::new(), 1);
        assert_eq!(let_in(&mut turns, &A, QUARTER, 100, &mut next, 0), 4);
        assert_eq!(turns.may(&A, QUARTER), waits(1), "for the first of its own");
        turns.decided(Decided(EventId(2)), 60);
        assert_eq!(let_in(&mut turns, &A, QUARTER, 100, &mut next, 60), 2);
    }

    #[test]
    fn a_search_that_costs_more_than_the_window_goes_alone() {
        let mut turns = Turns::new();
        assert_eq!(turns.may(&A, 3 * WINDOW_MIN), Ok(1));
        turns.add(&A, EventId(1), 3 * WINDOW_MIN, 1);
        assert_eq!((turns.may(&A, 3 * WINDOW_MIN), turns.may(&B, SEARCH_COSTLY)), (waits(1), waits(1)));
        turns.decided(Decided(EventId(1)), 10);
        assert_eq!(turns.may(&B, SEARCH_COSTLY).map(|may| may > 0), Ok(true));
    }

    #[test]
    fn pools_share_the_window_whoever_asks_more_often() {
        let (mut turns, mut next) = (Turns::new(), 1);
        assert_eq!(let_in(&mut turns, &A, QUARTER, 100, &mut next, 0), 4);
        assert!(turns.may(&B, QUARTER).is_err());
        let mut let_in_of = [0, 0];
        for turn in 0..100 {
            turns.decided(Decided(EventId(next - 1)), 60 * turn);
            for (pool, of) in [(&A, 0), (&A, 0), (&B, 1), (&A, 0)] {
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
            let count = let_in(turns, &A, QUARTER, 10_000, &mut next, now_ms);
            (count, EventId(next - 1))
        };
        let mut counts = vec![];
        for turn in 0..5 {
            let (count, last) = let_in_at(40 * turn, &mut turns);
            turns.decided(Decided(last), 40 * turn + 39);
            counts.push(count);
        }
        assert_eq!(counts, [4, 8, 16, 32, 32], "up to the most");
        for turn in 0..6 {
            let (count, last) = let_in_at(1000 * (turn + 1), &mut turns);
            turns.decided(Decided(last), 1000 * (turn + 1) + 500);
            counts.push(count);
        }
        assert_eq!(counts[5..], [32, 6, 4, 4, 4, 4], "by as much as they lag");
    }

    #[test]
    fn a_slow_disk_shrinks_no_window() {
        let mut turns = Turns::new();
        turns.add(&A, EventId(8), QUARTER, 8);
        assert!(turns.may(&A, QUARTER).is_err());
        turns.durable(EventId(8), 1_000);
        turns.decided(Decided(EventId(8)), 1_010);
        assert_eq!(turns.window, 2 * WINDOW_MIN);
    }

    #[test]
    fn reprobes_count_and_keep_arrivals_waiting() {
        let mut turns = Turns::new();
        (1..=100).for_each(|x| turns.add(&A, EventId(x), QUARTER, 1));
        assert!(turns.may(&A, QUARTER).is_err());
        turns.decided(Decided(EventId(96)), 60);
        assert!(turns.may(&A, QUARTER).is_err(), "as many as the window has are under way");
        turns.decided(Decided(EventId(99)), 60);
        assert_eq!(turns.may(&A, QUARTER), Ok(3));
        turns.decided(Decided(EventId(100)), 60);
        assert_eq!((turns.counts().1, turns.clients.len()), (0, 0));
    }
}
