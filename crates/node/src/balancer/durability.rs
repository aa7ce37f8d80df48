//! In which order what happens becomes visible: nothing is acknowledged or broadcast before the log has it, and nothing
//! is stable before the results have it.
//!
//! | step | may come once |
//! |---|---|
//! | a frame is appended to the log | its audience is computed, while its elements still wait; and the ledger has it |
//! | a frame is broadcast, an event acknowledged | the log has it on disk: a crash would give its ids to other events |
//! | outcomes are published | all before them are: they follow from the log, and are decided again after a crash |
//! | outcomes are stored | they are published: a node that is told of the stable cut finds them |
//! | the stable cut is told | results and log have everything up to it on disk: shards and slices forget what is below |
//!
//! Invariant: node.W1 `told stable <= stored <= decided <= durable <= taken`, and none of them goes back.

use std::sync::Arc;

use dovetail_core::{
    Audience, Decided, EventId, Stable,
    ledger::Ledger,
    planted::{Bug, Planted},
};

use super::{frame::PartFrame, pacing::Pacing};

/// What has to be done, in this order.
#[derive(Clone, Debug)]
pub enum Visible {
    /// Append a frame to the log, behind all others, and say when it is on disk.
    Append(Arc<PartFrame>),
    /// Give the frames up to here, which are on disk, to the readers of the log.
    Broadcast(EventId),
    /// Answer the requests that wait for an event up to here to be on disk.
    Acknowledge(EventId),
    /// Publish the outcomes up to here to watchers.
    Publish(Decided),
    /// Append what was decided up to here to the results, behind all other, and say when it is on disk.
    Store(Decided),
    /// Tell all nodes of the stable cut.
    TellStable(Stable),
}

/// How far everything is.
#[derive(Debug)]
pub struct Durability {
    /// Frames on their way to the disk.
    queued: usize,
    taken: EventId,
    durable: EventId,
    decided: Decided,
    /// The stable cut that was told.
    stable: Stable,
    pacing: Pacing,
    planted: Planted,
}

impl Durability {
    /// Of a ledger that was read back: all that is recorded is on disk, and what is stable is known to be.
    #[must_use]
    pub fn new(ledger: &Ledger, planted: Planted) -> Durability {
        let (recorded, stable) = (ledger.recorded(), ledger.stable());
        Durability {
            queued: 0,
            taken: recorded,
            durable: recorded,
            decided: ledger.decided(),
            stable,
            pacing: Pacing::new(planted),
            planted,
        }
    }

    /// Frames on their way to the disk.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Everything up to here is on disk.
    #[must_use]
    pub fn durable(&self) -> EventId {
        self.durable
    }

    /// Decisions may be taken of events up to here. What has an id and is not on disk may be another event in the end,
    /// if another balancer goes on with the log, and decisions be about that one.
    #[must_use]
    pub fn decidable(&self, ledger: &Ledger) -> EventId {
        if self.planted.is(Bug::FutureIsFatal) {
            return EventId(u64::MAX);
        }
        if self.planted.is(Bug::TakesAboveDurable) { ledger.recorded() } else { self.durable }
    }

    /// A frame of another balancer was read from the shared log, and the ledger has it: it is on disk.
    ///
    /// # Panics
    /// When it does not follow the frame before.
    pub fn on_followed(&mut self, after: EventId, through: EventId, ledger: &Ledger, out: &mut Vec<Visible>) {
        assert_eq!(after, self.taken, "no event is left out of the log");
        (self.taken, self.durable) = (through, through);
        self.move_stable(ledger, out);
    }

    /// Whether the cluster is not busy with earlier frames, so that the open one may go.
    #[must_use]
    pub fn paced(&self, ledger: &Ledger) -> bool {
        self.pacing.allows(ledger.decided())
    }

    /// The frame of the last events that are recorded is closed, and goes to the log. The order of the steps is the
    /// contract: the frame's audience is computed ([`audience`](super::frame::audience)) while its elements are still
    /// known to wait, and the ledger has it before any shard can decide anything of the frame.
    ///
    /// # Panics
    /// When it does not follow the frame before.
    pub fn on_frame(
        &mut self,
        mut frame: PartFrame,
        ledger: &mut Ledger,
        audience: impl FnOnce(&PartFrame, &Ledger) -> Audience,
        out: &mut Vec<Visible>,
    ) {
        assert_eq!(frame.after, self.taken, "no event is left out of the log");
        frame.audience = audience(&frame, ledger);
        ledger.on_frame(frame.after, frame.through, &frame.audience);
        self.taken = frame.through;
        self.queued += 1;
        self.pacing.taken(frame.through, ledger.decided());
        let through = frame.through;
        out.push(Visible::Append(Arc::new(frame)));
        if self.planted.is(Bug::BroadcastBeforeDurable) {
            out.push(Visible::Broadcast(through));
        }
        if self.planted.is(Bug::AcknowledgedBeforeDurable) {
            out.push(Visible::Acknowledge(through));
        }
    }

    /// The log has so many more frames on disk, the last of which ends at `through`: readers get them, and then clients
    /// their answers.
    ///
    /// # Panics
    /// When these were not taken.
    pub fn on_written(&mut self, frames: usize, through: EventId, out: &mut Vec<Visible>) {
        assert!(through >= self.durable && through <= self.taken, "{through} was not taken");
        self.queued -= frames;
        self.durable = through;
        out.push(Visible::Broadcast(through));
        out.push(Visible::Acknowledge(through));
    }

    /// Everything up to here is decided. It is published first: a request that waits for an element looks its outcome
    /// up at once.
    pub fn on_decided(&mut self, through: Decided, out: &mut Vec<Visible>) {
        self.decided = through;
        out.push(Visible::Publish(through));
        out.push(Visible::Store(through));
    }

    /// The results have everything up to here on disk.
    ///
    /// # Panics
    /// When it was not decided.
    pub fn on_stored(&mut self, through: EventId, ledger: &mut Ledger, out: &mut Vec<Visible>) {
        assert!(self.decided.covers(through), "{through} was not decided");
        ledger.on_stored(through);
        self.move_stable(ledger, out);
    }

    /// Tells the stable cut, if it has moved.
    pub fn move_stable(&mut self, ledger: &Ledger, out: &mut Vec<Visible>) {
        let stable =
            if self.planted.is(Bug::StableBeforeStored) { Stable(ledger.decided().event()) } else { ledger.stable() };
        if stable > self.stable {
            self.stable = stable;
            out.push(Visible::TellStable(stable));
        }
    }
}
