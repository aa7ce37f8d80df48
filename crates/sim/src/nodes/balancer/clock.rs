//! The balancer's clocks.

use dovetail_core::clock::EventClock;

use crate::{cx::Cx, net::Time, rng::Rng, scenario::ClockPlan};

/// The simulated clock starts here, in milliseconds since 1970.
pub(super) const EPOCH_MS: u64 = 1_000_000;

/// The balancer's clocks: a wall clock that is set now and then, and the simulation's own, which always goes on.
#[derive(Debug)]
pub(super) struct Clock {
    event: EventClock,
    /// How far the wall clock is ahead of the simulation's.
    ahead_ms: i64,
    plan: ClockPlan,
    rng: Rng,
}

impl Clock {
    pub(super) fn new(time_ms: u64, ahead_ms: u64, cx: &Cx) -> Clock {
        let rng = cx.rng.fork(ahead_ms ^ cx.net.now());
        let event = EventClock::new(time_ms, cx.net.now(), cx.scenario.clock.jump_ms_max);
        Clock { event, ahead_ms: ahead_ms.cast_signed(), plan: cx.scenario.clock, rng }
    }

    pub(super) fn read(&mut self, now: Time) -> u64 {
        if self.plan.set_permille > 0 && self.rng.chance(self.plan.set_permille) {
            let by_ms = self.rng.below(2 * self.plan.set_ms).cast_signed() - self.plan.set_ms.cast_signed();
            self.ahead_ms = (self.ahead_ms + by_ms).max(0);
        }
        self.event.read(now.saturating_add_signed(self.ahead_ms), now)
    }
}
