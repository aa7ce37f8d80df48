//! When the open frame goes to the log, beside the disk: under load, not before the cluster has done with an earlier
//! one.
//!
//! A frame of one element costs the cluster as many messages as one of hundreds. So while frames are on their way
//! through it, what comes in waits to share the next one; an idle cluster gets each element at once. No clock is read:
//! the age of a frame bounds the wait, and where nothing is being decided no frame waits.

use std::collections::VecDeque;

use dovetail_core::{
    Decided, EventId,
    planted::{Bug, Planted},
};

/// Frames that are on their way through the cluster at a time. With fewer, clients that submit one element after the
/// other would wait for the decision on the one before.
const UNDER_WAY: usize = 2;

/// The frames that are on their way.
#[derive(Debug, Default)]
pub struct Pacing {
    /// Where each of the last frames ends.
    frames: VecDeque<EventId>,
    /// The decided watermark when the last frame was taken.
    decided: Decided,
    /// It had not moved while the last frame waited for it.
    still: bool,
    planted: Planted,
}

impl Pacing {
    /// No frame is on its way.
    #[must_use]
    pub fn new(planted: Planted) -> Pacing {
        Pacing { planted, ..Pacing::default() }
    }

    /// Whether the next frame may be taken, with the decided watermark there.
    #[must_use]
    pub fn allows(&self, decided: Decided) -> bool {
        if self.planted.is(Bug::PaceIgnored) {
            return true;
        }
        let done = self.frames.front().is_none_or(|&through| decided.covers(through));
        done || self.frames.len() < UNDER_WAY
            || (self.still && decided == self.decided && !self.planted.is(Bug::PaceWaitsForStill))
    }

    /// A frame was taken, with the decided watermark there.
    pub fn taken(&mut self, through: EventId, decided: Decided) {
        self.still = !self.frames.is_empty() && decided == self.decided && self.frames.len() == UNDER_WAY;
        self.decided = decided;
        if self.frames.len() == UNDER_WAY {
            self.frames.pop_front();
        }
        self.frames.push_back(through);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [EventId; 6] = [EventId(0), EventId(1), EventId(2), EventId(3), EventId(4), EventId(5)];

    fn after(frames: &[(usize, usize)]) -> Pacing {
        let mut pacing = Pacing::default();
        frames.iter().for_each(|&(through, decided)| pacing.taken(X[through], Decided(X[decided])));
        pacing
    }

    #[test]
    fn an_idle_cluster_gets_each_frame_at_once() {
        assert!(after(&[]).allows(Decided(X[0])));
        assert!(after(&[(1, 0)]).allows(Decided(X[0])));
        assert!(after(&[(1, 0), (2, 1), (3, 2)]).allows(Decided(X[3])));
    }

    #[test]
    fn the_third_frame_waits_for_the_first() {
        let pacing = after(&[(1, 0), (2, 0)]);
        assert_eq!([pacing.allows(Decided(X[0])), pacing.allows(Decided(X[1]))], [false, true]);
    }

    #[test]
    fn a_cluster_that_does_not_decide_holds_nothing_up_after_the_first() {
        // The third was taken because it was old.
        let pacing = after(&[(1, 0), (2, 0), (3, 0)]);
        assert!(pacing.allows(Decided(X[0])));
        // It decides again, but not yet the second.
        assert!(!pacing.allows(Decided(X[1])));
    }
}
