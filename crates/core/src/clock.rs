//! The time of events, made of two clocks that only the caller can read.
//!
//! The wall clock says what time it is, but may be set back; the monotonic clock goes on whatever happens, but knows no date.
//! Event time is the wall clock's, and goes on with the monotonic clock while the wall clock stands behind it: elements expire and
//! search again after the time they were to wait. When the wall clock jumps ahead, event time follows at once.
//! Invariant: T1 event time never goes back, and passes at least as fast as the monotonic clock.

/// Event time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct EventClock {
    now_ms: u64,
    monotonic_ms: u64,
}

impl EventClock {
    /// A clock that does not go back behind `time_ms`, the time of the log's last event. `monotonic_ms` counts from anywhere.
    #[must_use]
    pub fn new(time_ms: u64, monotonic_ms: u64) -> EventClock {
        EventClock { now_ms: time_ms, monotonic_ms }
    }

    /// The time now, by what both clocks say.
    pub fn read(&mut self, wall_ms: u64, monotonic_ms: u64) -> u64 {
        let passed_ms = monotonic_ms.saturating_sub(self.monotonic_ms);
        self.monotonic_ms = self.monotonic_ms.max(monotonic_ms);
        self.now_ms = self.now_ms.saturating_add(passed_ms).max(wall_ms);
        self.now_ms
    }

    /// The time when it was last read.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_time_is_the_wall_clocks() {
        let mut clock = EventClock::new(0, 7);
        assert_eq!([clock.read(1_000, 7), clock.read(1_010, 17), clock.read(1_020, 27)], [1_000, 1_010, 1_020]);
    }

    #[test]
    fn it_goes_on_while_the_wall_clock_stands_behind() {
        let mut clock = EventClock::new(0, 0);
        assert_eq!(clock.read(10_000, 0), 10_000);
        // Set back by nine seconds.
        assert_eq!([clock.read(1_000, 5), clock.read(2_000, 1_005)], [10_005, 11_005]);
        // The wall clock has caught up, and more.
        assert_eq!(clock.read(20_000, 1_006), 20_000);
    }

    #[test]
    fn it_goes_on_behind_a_log_of_the_future() {
        let mut clock = EventClock::new(5_000, 100);
        assert_eq!([clock.read(3_000, 100), clock.read(3_050, 150), clock.last_ms()], [5_000, 5_050, 5_050]);
    }

    #[test]
    fn a_jump_ahead_is_followed_at_once_and_a_monotonic_clock_that_stands_is_not_counted() {
        let mut clock = EventClock::new(0, 50);
        assert_eq!([clock.read(1_000, 50), clock.read(61_000, 51), clock.read(61_000, 40)], [1_000, 61_000, 61_000]);
        assert_eq!(clock.read(0, 52), 61_001, "one millisecond has passed since it was 51");
    }
}
