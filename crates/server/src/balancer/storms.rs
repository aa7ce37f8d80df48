//! How many timers may be under way: expiries and reprobes that have ids and are not decided.
//!
//! What is decided is a prefix of the log, so an event that has an id waits for all before it, of whichever pool.
//! Therefore a storm of timers is written a little at a time; the pools that have it are late meanwhile
//! (`dovetail_core::ledger::Ledger::advance_time`), and others go on. The window finds its own size: it grows while it
//! keeps timers waiting though decisions are prompt, and shrinks when they lag, from the disk to the decision, by more
//! than the way there and back takes. There may always be as many timers as there are other events under way: then it
//! is not timers alone that make decisions lag. A search counts for more than one by what it costs, and once all is
//! calm the window has its first size again: the next storm may be of other pools. Reads no clock. Invariant: storms.W1
//! what is counted is what has ids and is not decided.

use dovetail_core::{Decided, EventId, ledger::TimerShare};

use super::under_way::UnderWay;

/// Fewest timers that may be under way, whatever they take.
const WINDOW_MIN: usize = 256;
/// The most, beside as many as there are other events.
const WINDOW_MAX: usize = 8_192;
/// What it is at first.
const WINDOW: usize = 512;
/// Timers written of late pools in one turn of the engine, at most.
const TURN: usize = 128;
/// Units of a search that count as one more timer: some microseconds of a slice at worst.
const UNITS: u64 = 2_000;
/// Decisions that take longer once their events are on disk shrink the window, in milliseconds, unless [`LEAST`] times
/// the least that they took is more. Those that take three quarters of it let it grow.
const LAG_MS: u64 = 20;
const LEAST: u64 = 2;

/// Timers under way.
#[derive(Debug)]
pub(super) struct Storms {
    window: usize,
    /// How much each part counts.
    under_way: UnderWay<usize>,
    count: usize,
    /// The least that a decision took, in milliseconds; what it takes with the smallest window, if that is more.
    least_ms: u64,
    /// There was no room for some since the window changed last.
    wanting: bool,
    /// What was decided, and the time of events, when nothing could be done for pools that are late.
    stuck: Option<(EventId, u64)>,
}

impl Storms {
    pub(super) fn new() -> Storms {
        Storms {
            window: WINDOW,
            under_way: UnderWay::default(),
            count: 0,
            least_ms: u64::MAX,
            wanting: false,
            stuck: None,
        }
    }

    /// How many more there may be, of so many events under way in all.
    fn room(&self, undecided: usize) -> usize {
        self.window.max(undecided.saturating_sub(self.count)).saturating_sub(self.count)
    }

    /// How much a timer counts whose event has to search at this cost, in units.
    pub(super) fn weight(units: u64) -> usize {
        1 + usize::try_from(units / UNITS).unwrap_or(WINDOW_MAX).min(WINDOW_MAX)
    }

    /// How many may be written before time passes them, in this turn. So many pools are late.
    pub(super) fn share(&mut self, undecided: usize, late: usize) -> TimerShare {
        if late == 0 && self.under_way.is_empty() {
            self.window = WINDOW;
        }
        let room = self.room(undecided);
        TimerShare::new(room.div_ceil(4), room)
    }

    /// How many may be written of pools that are late, in this turn.
    pub(super) fn late(&mut self, undecided: usize) -> usize {
        let room = self.room(undecided);
        self.wanting |= room == 0;
        room.min(TURN)
    }

    /// Nothing could be done for pools that are late, with so much decided and at this time.
    pub(super) fn set_stuck(&mut self, stuck: bool, decided: Decided, time_ms: u64) {
        self.stuck = stuck.then_some((decided.event(), time_ms));
    }

    /// Whether that is so still.
    pub(super) fn is_stuck(&self, decided: Decided, time_ms: u64) -> bool {
        self.stuck == Some((decided.event(), time_ms))
    }

    /// So many were written, up to an event.
    pub(super) fn add(&mut self, through: EventId, count: usize) {
        if count > 0 {
            self.count += count;
            self.under_way.push(through, count);
        }
    }

    /// Everything up to an event is on disk.
    pub(super) fn durable(&mut self, durable: EventId, now_ms: u64) {
        self.under_way.durable(durable, now_ms);
    }

    /// Everything up to an event is decided.
    pub(super) fn decided(&mut self, decided: Decided, now_ms: u64) {
        let mut took_ms = None;
        while let Some((count, took)) = self.under_way.next_decided(decided, now_ms) {
            self.count -= count;
            took_ms = took.or(took_ms);
        }
        let Some(took_ms) = took_ms else { return };
        self.least_ms = self.least_ms.min(took_ms);
        let lag_ms = LAG_MS.max(self.least_ms.saturating_mul(LEAST));
        let prompt = 4 * took_ms <= 3 * lag_ms;
        if self.window == WINDOW_MIN && !prompt {
            // It takes so long however few there are: all else is slow, too.
            self.least_ms = (3 * self.least_ms + took_ms).div_ceil(4);
        }
        let window = if took_ms > lag_ms {
            (self.window as u64 * lag_ms / took_ms) as usize
        } else if prompt && self.wanting {
            self.window * 2
        } else {
            return;
        };
        self.window = window.clamp(WINDOW_MIN, WINDOW_MAX);
        self.wanting = false;
        self.under_way.settle(decided);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: fn(usize) -> EventId = |number| EventId(number as u64);

    #[test]
    fn the_window_grows_while_decisions_are_prompt_and_shrinks_when_they_lag() {
        let mut storms = Storms::new();
        let mut written = 0;
        let mut round = |storms: &mut Storms, took_ms: u64| {
            let before = written;
            while let some @ 1.. = storms.late(written - before) {
                written += some;
                storms.add(X(written), some);
            }
            storms.durable(X(written), 0);
            storms.decided(Decided(X(written)), took_ms);
            written - before
        };
        let grown: Vec<usize> = (0..5).map(|_| round(&mut storms, 5)).collect();
        assert_eq!(grown, [512, 1_024, 2_048, 4_096, 8_192], "up to the most");
        let shrunk: Vec<usize> = (0..4).map(|_| round(&mut storms, 4 * LAG_MS)).collect();
        assert_eq!(shrunk, [8_192, 2_048, 512, 256], "by as much as they lag");
        assert_eq!((round(&mut storms, 1_000), storms.count), (256, 0));
        storms.share(0, 1);
        assert_eq!(storms.window, WINDOW_MIN, "it goes on");
        storms.share(0, 0);
        assert_eq!(storms.window, WINDOW, "it is over");
    }

    /// A storm ends in time where decisions take long for other reasons: the window does not stay at its least.
    #[test]
    fn a_machine_that_became_slow_does_not_keep_the_window_small() {
        let mut storms = Storms::new();
        let mut round = |through, took_ms| {
            storms.add(X(through), 1);
            storms.durable(X(through), 0);
            storms.wanting = true;
            storms.decided(Decided(X(through)), took_ms);
            storms.window
        };
        assert_eq!([round(1, 5), round(2, 300), round(3, 300)], [1_024, WINDOW_MIN, WINDOW_MIN]);
        let windows: Vec<usize> = (4..20).map(|through| round(through, 300)).collect();
        assert!(windows.iter().any(|&window| window > WINDOW_MIN), "{windows:?}");
    }

    /// Nodes that are far apart take long for however few.
    #[test]
    fn a_long_way_to_the_decision_is_no_lag() {
        let mut storms = Storms::new();
        for round in 1..=4 {
            storms.add(X(round), 1);
            storms.durable(X(round), 0);
            assert_eq!(storms.late(1_000_000), TURN);
            storms.wanting = true;
            storms.decided(Decided(X(round)), 45);
        }
        assert_eq!(storms.window, WINDOW_MAX);
    }

    #[test]
    fn there_may_be_as_many_timers_as_other_events() {
        let mut storms = Storms::new();
        storms.add(X(512), 512);
        assert_eq!([512, 900, 1_024, 3_000].map(|undecided| storms.late(undecided)), [0, 0, 0, TURN]);
        storms.decided(Decided(X(512)), 0);
        assert_eq!(storms.late(10_000), TURN);
    }

    #[test]
    fn a_slow_disk_shrinks_no_window() {
        let mut storms = Storms::new();
        storms.add(X(8), 8);
        storms.durable(X(8), 5_000);
        storms.decided(Decided(X(8)), 5_010);
        assert_eq!(storms.window, WINDOW);
    }
}
