//! The time of events, made of two clocks that only the caller can read.
//!
//! The wall clock says what time it is, but may be set, rightly or wrongly; the monotonic clock goes on whatever
//! happens, but knows no date. Event time is the wall clock's, and goes on with the monotonic clock while the wall
//! clock stands behind it: elements expire and search again after the time they were to wait. When the wall clock jumps
//! ahead by little, event time follows at once. A jump above a bound is not taken over, because that could never be
//! undone: event time goes on with the monotonic clock until the wall clock is back, or an operator
//! [accepts](EventClock::accept) what it says. Invariants: clock.T1 event time never goes back, and passes at least as
//! fast as the monotonic clock; clock.T2 it never gets ahead of the monotonic clock by more than the bound at once,
//! unless that was accepted.

/// Event time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct EventClock {
    now_ms: u64,
    monotonic_ms: u64,
    jump_ms_max: u64,
    /// Whether the wall clock is compared with what was: not at the first look of a clock that knows of nothing before.
    compares: bool,
    jump: Option<Jump>,
}

/// The wall clock is further ahead of event time than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// What the wall clock said last.
    pub wall_ms: u64,
    /// Event time then.
    pub event_ms: u64,
    /// For how long it has been ahead, by the monotonic clock.
    pub lasts_ms: u64,
    since_ms: u64,
}

impl Jump {
    /// How far ahead.
    #[must_use]
    pub fn ahead_ms(&self) -> u64 {
        self.wall_ms - self.event_ms
    }
}

impl EventClock {
    /// A clock that never goes back below `time_ms`, the time of the log's last event. `monotonic_ms` counts from any
    /// start. The first reading of the wall clock is believed, because the log does not say how long the balancer was
    /// down: clock.T2 holds from then on.
    #[must_use]
    pub fn new(time_ms: u64, monotonic_ms: u64, jump_ms_max: u64) -> EventClock {
        EventClock { now_ms: time_ms, monotonic_ms, jump_ms_max, compares: false, jump: None }
    }

    /// A clock that goes on at `monotonic_ms` where another was `known`, event time and monotonic clock, if that was
    /// the same monotonic clock: what has passed since counts once, and the log's last event, of `time_ms`, was at some
    /// time in between. So clock.T1 holds from what was known on; what the other followed the wall clock ahead by after
    /// that is only known as far as the log has it.
    #[must_use]
    pub fn going_on(time_ms: u64, known: (u64, u64), monotonic_ms: u64, jump_ms_max: u64) -> EventClock {
        let (known_ms, then_ms) = known;
        let by_now_ms = known_ms.saturating_add(monotonic_ms.saturating_sub(then_ms));
        let monotonic_ms = monotonic_ms.max(then_ms);
        EventClock { now_ms: time_ms.max(by_now_ms), monotonic_ms, jump_ms_max, compares: true, jump: None }
    }

    /// The time now, by what both clocks say.
    pub fn read(&mut self, wall_ms: u64, monotonic_ms: u64) -> u64 {
        let passed_ms = monotonic_ms.saturating_sub(self.monotonic_ms);
        self.monotonic_ms = self.monotonic_ms.max(monotonic_ms);
        self.now_ms = self.now_ms.saturating_add(passed_ms);
        if self.compares && wall_ms.saturating_sub(self.now_ms) > self.jump_ms_max {
            let since_ms = self.jump.map_or(self.monotonic_ms, |jump| jump.since_ms);
            let lasts_ms = self.monotonic_ms - since_ms;
            self.jump = Some(Jump { wall_ms, event_ms: self.now_ms, lasts_ms, since_ms });
            return self.now_ms;
        }
        self.compares = true;
        self.jump = None;
        self.now_ms = self.now_ms.max(wall_ms);
        self.now_ms
    }

    /// Takes over what the wall clock says, however far ahead it is. How far it was.
    pub fn accept(&mut self, wall_ms: u64) -> u64 {
        self.jump = None;
        let ahead_ms = wall_ms.saturating_sub(self.now_ms);
        self.now_ms = self.now_ms.max(wall_ms);
        ahead_ms
    }

    /// Why event time does not follow the wall clock, if it does not.
    #[must_use]
    pub fn jump(&self) -> Option<Jump> {
        self.jump
    }

    /// The time when it was last read.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.now_ms
    }

    /// The time and what the monotonic clock said when it was last read: what another goes on from.
    #[must_use]
    pub fn known(&self) -> (u64, u64) {
        (self.now_ms, self.monotonic_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn clock(time_ms: u64, monotonic_ms: u64) -> EventClock {
        EventClock::new(time_ms, monotonic_ms, HOUR)
    }

    #[test]
    fn event_time_is_the_wall_clocks() {
        let mut clock = clock(0, 7);
        assert_eq!([clock.read(1_000, 7), clock.read(1_010, 17), clock.read(1_020, 27)], [1_000, 1_010, 1_020]);
    }

    #[test]
    fn it_goes_on_while_the_wall_clock_stands_behind() {
        let mut clock = clock(0, 0);
        assert_eq!(clock.read(10_000, 0), 10_000);
        // Set back by nine seconds.
        assert_eq!([clock.read(1_000, 5), clock.read(2_000, 1_005)], [10_005, 11_005]);
        // The wall clock has caught up, and more.
        assert_eq!(clock.read(20_000, 1_006), 20_000);
    }

    #[test]
    fn it_goes_on_behind_a_log_of_the_future() {
        let mut clock = clock(5_000, 100);
        assert_eq!([clock.read(3_000, 100), clock.read(3_050, 150), clock.last_ms()], [5_000, 5_050, 5_050]);
    }

    #[test]
    fn a_small_jump_ahead_is_followed_at_once_and_a_monotonic_clock_that_stands_is_not_counted() {
        let mut clock = clock(0, 50);
        assert_eq!([clock.read(1_000, 50), clock.read(61_000, 51), clock.read(61_000, 40)], [1_000, 61_000, 61_000]);
        assert_eq!(clock.read(0, 52), 61_001, "one millisecond has passed since it was 51");
    }

    #[test]
    fn a_jump_of_just_the_bound_is_followed_and_one_of_more_is_not() {
        let mut clock = clock(0, 0);
        assert_eq!([clock.read(1_000, 0), clock.read(1_001 + HOUR, 1)], [1_000, 1_001 + HOUR]);
        assert_eq!(clock.jump(), None);
        assert_eq!(clock.read(1_003 + 2 * HOUR, 2), 1_002 + HOUR);
        assert_eq!(clock.jump().map(|jump| jump.ahead_ms()), Some(HOUR + 1));
    }

    #[test]
    fn a_year_ahead_for_two_seconds_leaves_no_trace() {
        let year = 365 * 24 * HOUR;
        let mut clock = clock(0, 0);
        assert_eq!([clock.read(1_000, 0), clock.read(year, 500), clock.read(year, 2_500)], [1_000, 1_500, 3_500]);
        let jump = clock.jump().unwrap();
        assert_eq!((jump.wall_ms, jump.event_ms, jump.lasts_ms), (year, 3_500, 2_000));
        assert_eq!([clock.read(3_600, 2_600), clock.read(4_000, 3_000)], [3_600, 4_000]);
        assert_eq!(clock.jump(), None);
    }

    #[test]
    fn what_is_accepted_is_taken_over_for_good() {
        let mut clock = clock(0, 0);
        assert_eq!([clock.read(1_000, 0), clock.read(9 * HOUR, 10)], [1_000, 1_010]);
        assert_eq!((clock.accept(9 * HOUR), clock.jump()), (9 * HOUR - 1_010, None));
        assert_eq!([clock.read(9 * HOUR + 1, 11), clock.read(1_000, 20)], [9 * HOUR + 1, 9 * HOUR + 10]);
        assert_eq!(clock.accept(1_000), 0, "it never goes back");
        assert_eq!(clock.last_ms(), 9 * HOUR + 10);
    }

    #[test]
    fn a_clock_that_was_off_for_a_day_believes_what_the_wall_clock_says_first_and_nothing_after() {
        let mut clock = clock(1_000, 0);
        assert_eq!([clock.read(24 * HOUR, 5), clock.read(48 * HOUR, 6)], [24 * HOUR, 24 * HOUR + 1]);
        assert!(clock.jump().is_some());
    }

    #[test]
    fn one_that_goes_on_where_another_was_believes_nothing_else() {
        let mut before = clock(0, 0);
        before.read(1_000, 100);
        let mut after = EventClock::going_on(900, before.known(), 5_100, HOUR);
        assert_eq!(after.read(9 * HOUR, 5_100), 6_000, "five seconds have passed");
        assert!(after.jump().is_some());
        assert_eq!(after.read(7_000, 5_200), 7_000);
        let mut behind = EventClock::going_on(8_000, (1_000, 100), 200, HOUR);
        assert_eq!(behind.read(2_000, 200), 8_000, "but not before the log's last event");
        assert_eq!(behind.read(2_100, 300), 8_100);
    }

    /// The wall clock when the machine was booted.
    const BOOT: u64 = 1_000 * HOUR;

    /// The log has the time that passed between what is known of the other clock and its last event, too.
    #[test]
    fn what_passed_since_another_was_known_counts_once() {
        for (last_event_ms, now_ms) in [(0, 21_000), (20_000, 21_000), (21_000, 21_000), (20_000, 30 * 24 * HOUR)] {
            let mut clock = EventClock::going_on(BOOT + last_event_ms, (BOOT, 0), now_ms, HOUR);
            assert_eq!(clock.read(BOOT + now_ms, now_ms), BOOT + now_ms, "last event after {last_event_ms}");
            assert_eq!(clock.read(BOOT + now_ms + 5, now_ms + 5), BOOT + now_ms + 5);
            assert_eq!(clock.jump(), None);
        }
    }

    #[test]
    fn many_that_go_on_one_after_the_other_over_a_month_are_not_ahead() {
        let (mut known, mut last_event_ms) = ((BOOT, 0), BOOT);
        for hour in 1..=30 * 24 {
            let mut clock = EventClock::going_on(last_event_ms, known, hour * HOUR, HOUR);
            last_event_ms = clock.read(BOOT + hour * HOUR, hour * HOUR);
            assert_eq!(last_event_ms, BOOT + hour * HOUR);
            if hour % 7 == 0 {
                known = clock.known();
            }
        }
    }

    #[test]
    fn one_that_goes_on_where_a_jump_was_accepted_stays_there_and_is_no_further_ahead() {
        let mut before = EventClock::going_on(BOOT, (BOOT, 0), 10, HOUR);
        before.read(BOOT + 9 * HOUR, 10);
        before.accept(BOOT + 9 * HOUR);
        let known = before.known();
        let last_event_ms = before.read(BOOT + 9 * HOUR + 20_000, 20_010);
        let mut after = EventClock::going_on(last_event_ms, known, 21_010, HOUR);
        assert_eq!(after.read(BOOT + 9 * HOUR + 21_000, 21_010), BOOT + 9 * HOUR + 21_000);
        assert_eq!(after.jump(), None);
        // Set back to the right time: event time goes on with the monotonic clock.
        let mut set_back = EventClock::going_on(last_event_ms, known, 22_010, HOUR);
        assert_eq!(set_back.read(BOOT + 22_010, 22_010), BOOT + 9 * HOUR + 22_000);
    }

    #[test]
    fn one_that_goes_on_while_the_wall_clock_is_ahead_still_does_not_follow_it() {
        let mut clock = EventClock::going_on(BOOT + 20_000, (BOOT, 0), 21_000, HOUR);
        assert_eq!(clock.read(BOOT + 21_001 + HOUR, 21_000), BOOT + 21_000);
        assert_eq!(clock.jump().map(|jump| jump.ahead_ms()), Some(HOUR + 1));
    }

    #[test]
    fn a_monotonic_clock_behind_what_was_known_counts_for_nothing_until_it_is_there() {
        let mut clock = EventClock::going_on(0, (BOOT, 500), 100, HOUR);
        assert_eq!([clock.read(BOOT, 400), clock.read(BOOT, 510)], [BOOT, BOOT + 10]);
    }
}
