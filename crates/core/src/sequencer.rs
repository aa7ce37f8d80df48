//! Gives ids to events and builds the frames they are logged in.
//!
//! A frame is open from its first event until it is taken. It is due when it is full (in events or bytes) or old; the
//! writer of the log may take it earlier, and does when the disk is idle, so that one element goes at once and a flood
//! goes in large frames. Invariants: sequencer.Q1 ids are strictly increasing and dense; sequencer.Q2 `time_ms` never
//! decreases, whatever the clock does; sequencer.Q3 time comes from [`advance`](Sequencer::advance) alone, and its
//! caller writes every timer that is due before time passes it, or lets no element search in the timer's pool until it
//! is written ([`Ledger::advance_time`](crate::ledger::Ledger::advance_time)): no element is matched that should have
//! expired.

use crate::{Audience, Event, EventId, EventKind, Frame, Stable};

/// Bounds of one frame. Reaching any of the first two makes it due at once.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// Most events.
    pub events_max: usize,
    /// Most bytes, as counted by the caller. A single larger event makes a frame of its own.
    pub bytes_max: usize,
    /// Milliseconds after its first event when a frame is due though it is not full.
    pub age_ms_max: u64,
}

/// The balancer's source of ids. Frames are of `E`, which stands for one event or several.
#[derive(Debug)]
pub struct Sequencer<E = Event> {
    limits: FrameLimits,
    assigned: EventId,
    /// Of the next frame.
    time_ms: u64,
    open: Option<Frame<E>>,
    open_bytes: usize,
}

impl Sequencer {
    /// Gives `kind` the next id and puts it into the open frame. Returns the id and the event's time. For `stable` see
    /// [`push_run`](Sequencer::push_run).
    pub fn push(&mut self, stable: Stable, kind: EventKind, bytes: usize) -> (EventId, u64) {
        self.push_run(stable, 1, bytes, |x| Event { x, kind })
    }
}

impl<E> Sequencer<E> {
    /// Goes on after event `last`, whose time was `time_ms`.
    #[must_use]
    pub fn new(limits: FrameLimits, last: EventId, time_ms: u64) -> Sequencer<E> {
        assert!(limits.events_max > 0, "a frame that holds no event is never due");
        Sequencer { limits, assigned: last, time_ms, open: None, open_bytes: 0 }
    }

    /// Gives the next `count` ids to what `events` makes of the first of them, and puts that into the open frame.
    /// Returns the first id and the events' time.
    ///
    /// `stable` is the stable cut now; a frame carries the one of its first event, since what is known to be retired
    /// later must not be claimed for events that were pushed before.
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn push_run(
        &mut self,
        stable: Stable,
        count: usize,
        bytes: usize,
        events: impl FnOnce(EventId) -> E,
    ) -> (EventId, u64) {
        assert!(count > 0, "a run of no events");
        let after = self.assigned;
        self.assigned = EventId(after.0 + count as u64);
        let time_ms = self.time_ms;
        let frame = self.open.get_or_insert_with(|| Frame {
            after,
            through: after,
            time_ms,
            stable,
            audience: Audience::All,
            events: Vec::new(),
        });
        frame.through = self.assigned;
        frame.events.push(events(after.next()));
        self.open_bytes += bytes;
        (after.next(), frame.time_ms)
    }

    /// The highest id given.
    #[must_use]
    pub fn assigned(&self) -> EventId {
        self.assigned
    }

    /// It is `now_ms`: the next frame that is opened has this time, unless an earlier one had a later. While a frame is
    /// open its time stays, also for the frame after it until this is called again: what was let in may have to expire
    /// in between.
    pub fn advance(&mut self, now_ms: u64) {
        if self.open.is_none() {
            self.time_ms = self.time_ms.max(now_ms);
        }
    }

    /// The time of the next event: the open frame's, or that of the one it will open.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_at(0)
    }

    /// The time of the next event once it is `now_ms`.
    #[must_use]
    pub fn time_at(&self, now_ms: u64) -> u64 {
        self.open.as_ref().map_or(self.time_ms.max(now_ms), |frame| frame.time_ms)
    }

    /// Whether the open frame is full: it must be taken before the next event.
    #[must_use]
    pub fn full(&self) -> bool {
        self.events_left() == 0 || self.open_bytes >= self.limits.bytes_max
    }

    /// How many more events the open frame takes.
    #[must_use]
    pub fn events_left(&self) -> usize {
        let events = self.open.as_ref().map_or(0, |frame| (frame.through.0 - frame.after.0) as usize);
        self.limits.events_max.saturating_sub(events)
    }

    /// How many more bytes it takes before it is full.
    #[must_use]
    pub fn bytes_left(&self) -> usize {
        self.limits.bytes_max.saturating_sub(self.open_bytes)
    }

    /// When the open frame is due, in milliseconds; none when there is no open frame.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let open = self.open.as_ref()?;
        Some(if self.full() { open.time_ms } else { open.time_ms + self.limits.age_ms_max })
    }

    /// Takes the open frame, if there is one.
    pub fn take(&mut self) -> Option<Frame<E>> {
        self.open_bytes = 0;
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ElementId, PoolId, WithdrawReason};

    const LIMITS: FrameLimits = FrameLimits { events_max: 3, bytes_max: 100, age_ms_max: 5 };

    fn event() -> EventKind {
        EventKind::Withdrawal { element: ElementId(1), pool: PoolId(0), reason: WithdrawReason::Client }
    }

    fn push(sequencer: &mut Sequencer, now_ms: u64, bytes: usize) -> (u64, u64) {
        sequencer.advance(now_ms);
        let (x, time_ms) = sequencer.push(Stable::ZERO, event(), bytes);
        (x.0, time_ms)
    }

    #[test]
    fn ids_go_on_after_the_last_one_of_the_log() {
        let mut sequencer = Sequencer::new(LIMITS, EventId(41), 1_000);
        assert_eq!(push(&mut sequencer, 2_000, 1), (42, 2_000));
        assert_eq!(push(&mut sequencer, 2_001, 1), (43, 2_000), "one frame, one time");
        let frame = sequencer.take().unwrap();
        assert_eq!((frame.after, frame.through, frame.events.len()), (EventId(41), EventId(43), 2));
        assert!(sequencer.take().is_none());
    }

    #[test]
    fn time_never_goes_back_though_the_clock_does() {
        let mut sequencer = Sequencer::new(LIMITS, EventId(0), 1_000);
        assert_eq!(push(&mut sequencer, 500, 1), (1, 1_000));
        sequencer.take();
        assert_eq!(push(&mut sequencer, 1_500, 1), (2, 1_500));
    }

    #[test]
    fn a_frame_is_due_when_full_in_events_or_bytes_or_when_old() {
        let mut sequencer = Sequencer::new(LIMITS, EventId(0), 0);
        assert_eq!(sequencer.due_ms(), None);
        push(&mut sequencer, 10, 1);
        assert_eq!((sequencer.full(), sequencer.due_ms()), (false, Some(15)));
        push(&mut sequencer, 10, 1);
        push(&mut sequencer, 10, 1);
        assert_eq!((sequencer.full(), sequencer.due_ms()), (true, Some(10)));
        sequencer.take();
        push(&mut sequencer, 20, 100);
        assert!(sequencer.full());
    }

    #[test]
    fn a_run_of_events_gets_ids_one_after_the_other_and_counts_as_so_many() {
        let mut sequencer: Sequencer<(EventId, &str)> = Sequencer::new(LIMITS, EventId(9), 0);
        sequencer.advance(7);
        assert_eq!(sequencer.push_run(Stable::ZERO, 2, 10, |first| (first, "two")), (EventId(10), 7));
        assert_eq!((sequencer.full(), sequencer.events_left(), sequencer.bytes_left()), (false, 1, 90));
        sequencer.advance(8);
        sequencer.push_run(Stable::ZERO, 1, 10, |first| (first, "one"));
        assert!(sequencer.full());
        let frame = sequencer.take().unwrap();
        assert_eq!(frame.events, [(EventId(10), "two"), (EventId(12), "one")]);
        assert_eq!((frame.after, frame.through), (EventId(9), EventId(12)));
    }

    #[test]
    fn a_frame_claims_only_the_stable_cut_its_first_event_saw() {
        let mut sequencer = Sequencer::new(LIMITS, EventId(9), 0);
        sequencer.push(Stable(EventId(4)), event(), 1);
        sequencer.push(Stable(EventId(7)), event(), 1);
        assert_eq!(sequencer.take().unwrap().stable, Stable(EventId(4)));
    }
}
