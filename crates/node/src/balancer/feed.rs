//! The log as one reader gets it: from a cursor, or from a cut, and then every frame.
//!
//! A frame that does not concern the reader's slices is held back and merged with those that follow, until one concerns
//! them or it has waited for a while. What is sent stands for all frames merged into it: there is nothing for the
//! reader in any but the last, and its audience is that of all. Invariants: node.L1 a reader gets frames without a gap,
//! each event it needs once, and the audience of every event; node.L2 while something is held back, a linger is under
//! way; node.L3 no reader is served from below the log's floor: it would miss events.

use std::{collections::BTreeSet, sync::Arc};

use dovetail_core::{
    Audience, Cursor, EventId, SliceId, Stable,
    planted::{Bug, Planted},
};
use thiserror::Error;

use super::frame::{Owners, PublishedFrame};

/// What the log has for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSpan {
    /// The lowest cursor that can be read after.
    pub floor: Cursor,
    /// The last event that is on disk.
    pub durable: EventId,
}

/// What comes after a cursor was dropped: the reader has to begin at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("cursor {cursor} is older than what is kept; the oldest that works is {floor}")]
pub struct Gone {
    /// Where the reader is.
    pub cursor: Cursor,
    /// The lowest cursor that works.
    pub floor: Cursor,
}

/// Whether there is all that comes after a cursor, above what was dropped (node.L3).
///
/// # Errors
/// When some of it was dropped.
pub fn check_floor(cursor: Cursor, floor: Cursor, planted: Planted) -> Result<(), Gone> {
    if cursor < floor && !planted.is(Bug::FeedBelowFloor) { Err(Gone { cursor, floor }) } else { Ok(()) }
}

/// Why a reader is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FeedRefused {
    /// The log no longer has what comes next.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The reader has read more than there is: it has followed another log, or this one has lost its end.
    #[error("the log ends at {durable}, but {cursor} was read")]
    Ahead {
        /// Where the reader is.
        cursor: Cursor,
        /// The end of the log.
        durable: EventId,
    },
}

/// What one reader's feed wants done.
#[derive(Clone, Debug)]
pub enum FeedAction {
    /// Send a frame.
    Send(FeedFrame),
    /// Something is held back: call [`Feed::on_linger`] after a short while. Comes once until something is sent.
    Linger,
}

/// A frame that is sent, and the frames before it that it stands for as well.
#[derive(Clone, Debug)]
pub struct FeedFrame {
    /// The event before the first that it stands for.
    pub after: EventId,
    /// Of all events that it stands for.
    pub audience: Audience,
    /// The last of the frames: what is needed of it is sent.
    pub last: Arc<PublishedFrame>,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// At a cut, which is not read yet.
    AtCut,
    /// After a cursor; then it is there.
    After(Cursor),
}

/// One reader of the log.
#[derive(Debug)]
pub struct Feed {
    slices: BTreeSet<SliceId>,
    /// How far it was sent the log, or it is held back for it.
    cursor: Begins,
    held: Option<FeedFrame>,
    planted: Planted,
}

impl Feed {
    /// A reader subscribes for some slices: after a cursor, or at a cut.
    ///
    /// # Errors
    /// When the log does not have what comes after the cursor.
    pub fn on_subscribe(
        slices: BTreeSet<SliceId>,
        after: Option<Cursor>,
        log: LogSpan,
        planted: Planted,
    ) -> Result<Feed, FeedRefused> {
        if let Some(cursor) = after {
            if cursor.event() > log.durable {
                return Err(FeedRefused::Ahead { cursor, durable: log.durable });
            }
            check_floor(cursor, log.floor, planted)?;
        }
        let cursor = after.map_or(Begins::AtCut, Begins::After);
        Ok(Feed { slices, cursor, held: None, planted })
    }

    /// The cut at which it begins: the frames after it follow.
    ///
    /// # Panics
    /// When it began after a cursor.
    pub fn on_cut(&mut self, cut: Stable) {
        assert_eq!(self.cursor, Begins::AtCut, "a reader that has a cursor gets no cut");
        self.cursor = Begins::After(Cursor(cut.event()));
    }

    /// How far it was sent the log, or it is held back for it.
    ///
    /// # Panics
    /// When the cut at which it begins has not been read.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        match self.cursor {
            Begins::After(cursor) => cursor,
            Begins::AtCut => panic!("a reader gets its cut before frames"),
        }
    }

    /// Whether it reads for a slice.
    #[must_use]
    pub fn reads_for(&self, slice: SliceId) -> bool {
        self.slices.contains(&slice)
    }

    /// The next frame of the log: it is sent, with what was held back, if it concerns the reader; else it is held back,
    /// too.
    ///
    /// # Panics
    /// When it does not follow what the reader has (node.L1).
    #[must_use]
    pub fn on_frame(&mut self, frame: Arc<PublishedFrame>) -> Option<FeedAction> {
        let (after, through) = (frame.frame().after, frame.frame().through);
        let cursor = self.cursor();
        assert!(
            cursor.covers(after) || self.planted.is(Bug::FeedBelowFloor),
            "no frame is left out: {cursor} {frame:?}"
        );
        if cursor.covers(through) {
            return None;
        }
        self.cursor = Begins::After(Cursor(through));
        let concerned = frame.frame().audience.has(|slice| self.slices.contains(&slice));
        let first = self.held.is_none();
        let merged = match self.held.take() {
            None => FeedFrame { after, audience: frame.frame().audience.clone(), last: frame },
            Some(held) => self.merge(held, frame),
        };
        if concerned && !self.planted.is(Bug::FeedHoldsConcerned) {
            return Some(FeedAction::Send(merged));
        }
        self.held = Some(merged);
        (first && !self.planted.is(Bug::FeedLingerForgotten)).then_some(FeedAction::Linger)
    }

    fn merge(&self, mut held: FeedFrame, frame: Arc<PublishedFrame>) -> FeedFrame {
        if !self.planted.is(Bug::FeedForgetsAudience) {
            held.audience.join(&frame.frame().audience);
        } else {
            held.audience = frame.frame().audience.clone();
        }
        let after = if self.planted.is(Bug::FeedForgetsHeld) { frame.frame().after } else { held.after };
        FeedFrame { after, audience: held.audience, last: frame }
    }

    /// What is held back has waited long enough: what to send.
    pub fn on_linger(&mut self) -> Option<FeedFrame> {
        self.held.take()
    }

    /// Whether the reader needs an event of a part of a frame, whose owners are these.
    #[must_use]
    pub fn needs(&self, owners: &Owners, at: usize) -> bool {
        owners.of(at).is_none_or(|slice| self.reads_for(slice))
    }
}
