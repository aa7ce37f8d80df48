//! Work in the background that leaves the processors to others: a little at a time, with rests, until it becomes
//! urgent.
//!
//! Not a thread of lower priority: it may get next to nothing where all processors are busy, and cannot raise its
//! priority again. Rests are bounded by the work's own clock, and a thread that wakes from one has a short turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Longest turn between two rests, give or take one step of the work.
const TURN: Duration = Duration::from_millis(1);
/// A rest is so many times as long as the turn before: the work takes at most a fourth of a processor.
const REST: u32 = 3;
/// Longest rest: one step may have waited for the disk, which is a rest by itself.
const REST_MAX: Duration = Duration::from_millis(20);

/// Tells background work whether it is urgent. All clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Urgency(Arc<AtomicBool>);

impl Urgency {
    /// Switches rests off (`true`), or on again.
    pub(crate) fn set(&self, urgent: bool) {
        self.0.store(urgent, Ordering::Relaxed);
    }
}

/// The rests of work under way.
#[derive(Debug)]
pub(crate) struct Throttle {
    urgency: Urgency,
    began: Instant,
}

impl Throttle {
    pub(crate) fn new(urgency: Urgency) -> Throttle {
        Throttle { urgency, began: Instant::now() }
    }

    /// Rests if the turn was long enough. To be called after each step.
    pub(crate) fn rest(&mut self) {
        let turn = self.began.elapsed();
        if turn < TURN || self.urgency.0.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep((turn * REST).min(REST_MAX));
        self.began = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_after_a_turn_and_not_when_urgent() {
        let urgency = Urgency::default();
        let mut throttle = Throttle::new(urgency.clone());
        let mut turn = |urgent| {
            urgency.set(urgent);
            thread::sleep(TURN);
            let began = Instant::now();
            throttle.rest();
            began.elapsed()
        };
        assert!(turn(false) >= TURN * REST);
        // The turn began a while ago, so the rest would be the longest.
        assert!(turn(true) < REST_MAX);
    }
}
