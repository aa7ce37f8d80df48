//! Gives ids to events and builds the frames they are logged in.
//!
//! A frame is open from its first event until it is taken. It is due when it is full (in events or bytes) or old; whoever
//! writes the log may take it earlier, and does when the disk is idle, so that one element goes at once and a flood goes in
//! large frames.
//! Invariants: Q1 ids are strictly increasing and dense; Q2 `time_ms` never decreases, whatever the clock does.

use crate::{Event, EventId, EventKind, LogFrame};

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

/// The balancer's source of ids.
#[derive(Debug)]
pub struct Sequencer {
    limits: FrameLimits,
    assigned: EventId,
    time_ms: u64,
    open: Option<LogFrame>,
    open_bytes: usize,
}

impl Sequencer {
    /// Goes on after event `last`, whose time was `time_ms`.
    #[must_use]
    pub fn new(limits: FrameLimits, last: EventId, time_ms: u64) -> Sequencer {
        assert!(limits.events_max > 0, "a frame that holds no event is never due");
        Sequencer { limits, assigned: last, time_ms, open: None, open_bytes: 0 }
    }

    /// Gives `kind` the next id and puts it into the open frame. Returns the id and the event's time.
    ///
    /// `stable` is the stable cut now; a frame carries the one of its first event, since what is known to be retired later
    /// must not be claimed for events that were pushed before.
    pub fn push(&mut self, now_ms: u64, stable: EventId, kind: EventKind, bytes: usize) -> (EventId, u64) {
        let after = self.assigned;
        let x = after.next();
        self.assigned = x;
        let frame = self.open.get_or_insert_with(|| {
            self.time_ms = self.time_ms.max(now_ms);
            LogFrame { after, through: after, time_ms: self.time_ms, stable, events: Vec::new() }
        });
        frame.through = x;
        frame.events.push(Event { x, kind });
        self.open_bytes += bytes;
        (x, frame.time_ms)
    }

    /// The highest id given.
    #[must_use]
    pub fn assigned(&self) -> EventId {
        self.assigned
    }

    /// The time the next event will have if it comes at `now_ms`.
    #[must_use]
    pub fn time_at(&self, now_ms: u64) -> u64 {
        self.open.as_ref().map_or(self.time_ms.max(now_ms), |frame| frame.time_ms)
    }

    /// Whether the open frame is full: it must be taken before the next event.
    #[must_use]
    pub fn full(&self) -> bool {
        let full = |frame: &LogFrame| frame.events.len() >= self.limits.events_max;
        self.open.as_ref().is_some_and(full) || self.open_bytes >= self.limits.bytes_max
    }

    /// When the open frame is due, in milliseconds; none when there is no open frame.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let open = self.open.as_ref()?;
        Some(if self.full() { open.time_ms } else { open.time_ms + self.limits.age_ms_max })
    }

    /// Takes the open frame, if there is one.
    pub fn take(&mut self) -> Option<LogFrame> {
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
        let (x, time_ms) = sequencer.push(now_ms, EventId(0), event(), bytes);
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
    fn a_frame_claims_only_the_stable_cut_its_first_event_saw() {
        let mut sequencer = Sequencer::new(LIMITS, EventId(9), 0);
        sequencer.push(0, EventId(4), event(), 1);
        sequencer.push(0, EventId(7), event(), 1);
        assert_eq!(sequencer.take().unwrap().stable, EventId(4));
    }
}
