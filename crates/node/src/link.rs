//! A subscription of a node at another: how it is set up, and what has to be fetched first.
//!
//! Each begins with a request from the reader's cursor, and a hello. Where the server no longer has what comes next,
//! the retirements in between are fetched from the balancer's store *before* the first frame is read (R3). A reader
//! that breaks a stream dials again. Invariant: node.K1 no frame is taken from a stream before its hello, nor before
//! what the hello asks for was fetched.

use dovetail_core::{Cursor, ElementId, EventId, ShardId, SliceId, shard::Fetch};
use thiserror::Error;

use crate::action::Step;

/// Where a subscription stands. `A` is what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake<A> {
    /// There is no stream.
    Down,
    /// A stream was asked for; its hello comes next.
    Asked(A),
    /// The hello has come. Retirements are fetched before anything else is read.
    Fetching(Fetch),
    /// Frames are read.
    Reading,
}

impl<A> Handshake<A> {
    /// What was asked for, when the hello comes.
    ///
    /// # Panics
    /// When no hello can come: the shell gave one that it did not read from the stream asked for.
    #[must_use]
    pub fn asked(&self) -> &A {
        match self {
            Handshake::Asked(asked) => asked,
            Handshake::Down | Handshake::Fetching(_) | Handshake::Reading => {
                panic!("a hello comes once, on a stream that was asked for")
            }
        }
    }

    /// Where it stands once a step was taken after the hello.
    #[must_use]
    pub fn after(step: &Step) -> Handshake<A> {
        match step {
            Step::Fetch(fetch) => Handshake::Fetching(*fetch),
            Step::Read => Handshake::Reading,
            Step::Break(_) | Step::Subscribe(_) => Handshake::Down,
        }
    }

    /// A fetch is over.
    ///
    /// # Panics
    /// When it is not what was to be fetched.
    pub fn on_fetched(&mut self, fetched: Fetch) {
        let waits = matches!(self, Handshake::Fetching(fetch) if *fetch == fetched);
        assert!(waits, "{fetched:?} was not to be fetched");
        *self = Handshake::Reading;
    }

    /// A frame was read.
    ///
    /// # Panics
    /// When it may not be read yet (node.K1).
    pub fn on_frame(&self) {
        assert!(
            matches!(self, Handshake::Reading),
            "a frame was read before the hello, or before what has to be fetched"
        );
    }
}

/// Why a stream is given up. The next one may be better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GivenUp {
    /// What was asked for is gone, but was known not to concern this node before the answer came.
    #[error("what was asked for is gone, and was passed meanwhile")]
    Passed,
    /// Other slices answer than were asked.
    #[error("{} answered where {} was asked", name(found), name(asked))]
    OtherSlice {
        /// What was asked; none when more answered.
        asked: Option<SliceId>,
        /// What answered; none when fewer did.
        found: Option<SliceId>,
    },
    /// A shard has forgotten decisions that the balancer does not have: results were lost.
    #[error("{shard} keeps decisions after {floor}, and this log's results end at {read}")]
    DecisionsLost {
        /// The shard.
        shard: ShardId,
        /// The lowest cursor that it serves.
        floor: Cursor,
        /// How far it was read.
        read: Cursor,
    },
    /// A frame is of a slice that was not asked for.
    #[error("a frame is of {slice}, which was not asked for")]
    UnknownSlice {
        /// The slice.
        slice: SliceId,
    },
    /// The parts of a cut have an element twice.
    #[error("{element} waits twice at the cut")]
    Twice {
        /// The element.
        element: ElementId,
    },
    /// The parts of a cut have an element that comes after it.
    #[error("{element} waits at a cut of {through}")]
    AboveCut {
        /// The element.
        element: ElementId,
        /// What it is a cut of.
        through: EventId,
    },
}

fn name(slice: &Option<SliceId>) -> String {
    slice.map_or_else(|| "no slice".to_owned(), |slice| slice.to_string())
}

/// How far the slices of a matcher have been read: a cursor for each, ascending by slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursors(Vec<(SliceId, Cursor)>);

impl Cursors {
    /// Of slices in ascending order.
    #[must_use]
    pub fn new(cursors: Vec<(SliceId, Cursor)>) -> Cursors {
        assert!(cursors.is_sorted_by_key(|&(slice, _)| slice), "{cursors:?} are not ascending");
        Cursors(cursors)
    }

    /// For exactly these slices, which are ascending; given in any order. None when others are asked for, or one twice.
    #[must_use]
    pub fn of_slices(mut cursors: Vec<(SliceId, Cursor)>, slices: &[SliceId]) -> Option<Cursors> {
        cursors.sort_unstable_by_key(|&(slice, _)| slice);
        cursors.iter().map(|(slice, _)| slice).eq(slices).then_some(Cursors(cursors))
    }

    /// Each slice with its cursor.
    pub fn iter(&self) -> impl Iterator<Item = (SliceId, Cursor)> {
        self.0.iter().copied()
    }

    /// A frame of a slice was read.
    ///
    /// # Errors
    /// When the slice was not asked for.
    pub fn on_frame(&mut self, slice: SliceId, through: EventId) -> Result<(), GivenUp> {
        let at = self.0.binary_search_by_key(&slice, |&(asked, _)| asked);
        let (_, cursor) = &mut self.0[at.map_err(|_| GivenUp::UnknownSlice { slice })?];
        cursor.raise(Cursor(through));
        Ok(())
    }

    /// Whether hellos are of exactly these slices, in this order.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn check_slices(&self, mut found: impl Iterator<Item = SliceId>) -> Result<(), GivenUp> {
        let mut asked = self.iter().map(|(slice, _)| slice);
        loop {
            match (asked.next(), found.next()) {
                (None, None) => return Ok(()),
                (asked, found) if asked == found => {}
                (asked, found) => return Err(GivenUp::OtherSlice { asked, found }),
            }
        }
    }

    /// How far all of them have been read.
    #[must_use]
    pub fn lowest(&self) -> Cursor {
        self.iter().map(|(_, cursor)| cursor).min().unwrap_or_default()
    }
}
