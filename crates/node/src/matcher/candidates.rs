//! What of a matcher's candidates one gatherer is sent, and when it is waited for.

use std::sync::Arc;

use dovetail_core::{
    CandidateFrame, SliceId,
    planted::{Bug, Planted},
};

use crate::{action::SliceHello, readers::Queue};

/// A frame, and the slice that made it.
pub type SliceFrame = (SliceId, Arc<CandidateFrame>);

/// What a reader of candidates is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandidatesMessage {
    /// First: what each slice that was asked for says.
    Hello(Vec<SliceHello>),
    /// Then, frames of all of them; those of one slice in order.
    Frames(Vec<SliceFrame>),
}

/// What one reader is sent next. No reader waits for news of what may be forgotten, nor for events that do not concern
/// it: such frames are held back, and those of one slice merged.
#[derive(Clone, Debug, Default)]
pub(super) struct CandidateQueue {
    next: Vec<SliceFrame>,
    due: bool,
    /// Nothing more is sent: what the reader needs next is gone, as its hello says.
    silent: bool,
    planted: Planted,
}

impl CandidateQueue {
    /// For a reader that gets what comes from now on.
    pub(super) fn new(planted: Planted) -> CandidateQueue {
        CandidateQueue { planted, ..CandidateQueue::default() }
    }

    /// For a reader that gets a hello, and nothing more.
    pub(super) fn silent() -> CandidateQueue {
        CandidateQueue { silent: true, ..CandidateQueue::default() }
    }

    /// Takes a frame, behind all that a slice has for the reader.
    pub(super) fn add(&mut self, slice: SliceId, mut frame: Arc<CandidateFrame>) {
        if self.silent {
            return;
        }
        self.due |= frame.audience.has(|of| of == slice);
        // Behind what was found, one that says nothing else says all that others like it said.
        if frame.finds_nothing()
            && let Some(last) = last_of(&mut self.next, slice, self.planted)
            && last.finds_nothing()
        {
            let alone = self.planted.is(Bug::MergedAudienceLost).then(|| frame.audience.clone());
            let merged = Arc::make_mut(&mut frame);
            merged.follow(last);
            if let Some(audience) = alone {
                merged.audience = audience;
            }
            *last = frame;
            return;
        }
        self.next.push((slice, frame));
    }
}

/// The last frame of a slice.
fn last_of(next: &mut [SliceFrame], slice: SliceId, planted: Planted) -> Option<&mut Arc<CandidateFrame>> {
    let past = planted.is(Bug::MergedPastFound);
    let last = next.iter_mut().rfind(|(of, frame)| *of == slice && (!past || frame.finds_nothing()));
    last.map(|(_, frame)| frame)
}

impl Queue for CandidateQueue {
    type Message = CandidatesMessage;

    fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    fn is_due(&self) -> bool {
        self.due
    }

    fn take(&mut self) -> CandidatesMessage {
        self.due = false;
        if self.planted.is(Bug::FoundOvertakesHeld) {
            let waited_for = |(slice, frame): &mut SliceFrame| frame.audience.has(|of| of == *slice);
            let due: Vec<SliceFrame> = self.next.extract_if(.., waited_for).collect();
            if !due.is_empty() {
                return CandidatesMessage::Frames(due);
            }
        }
        CandidatesMessage::Frames(std::mem::take(&mut self.next))
    }
}
