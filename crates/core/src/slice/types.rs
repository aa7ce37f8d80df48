//! What a slice starts from, what it wants done, and why it refuses.

use std::{collections::BTreeSet, sync::Arc};

use dovetail_rule::{Row, RowError, Split};
use thiserror::Error;

use super::HotKey;
use crate::{
    CandidateFrame, Cursor, Decided, DefineError, ElementId, EventId, PoolDefinition, PoolId, ShardId, SliceId,
};

/// The cluster's state at a cut, as far as one slice needs it.
#[derive(Clone, Debug, Default)]
pub struct SliceCut {
    /// Everything at or below is in the rest of this.
    pub through: EventId,
    /// Pools defined at or below the cut.
    pub pools: Vec<(PoolId, Arc<PoolDefinition>)>,
    /// Elements waiting at the cut. Those of other slices are passed over, except in the pools that come with all of
    /// theirs.
    pub waiting: Vec<WaitingElement>,
    /// Pools split by index, of which `waiting` has every element that waits at the cut.
    pub complete: BTreeSet<PoolId>,
    /// Elements retired at or below the cut that events above it name: those reprobes and withdrawals are passed over,
    /// because a slice that starts here cannot know that the elements are dead (R2). Named by element, not by event:
    /// some of the events may not be durable yet, and their ids could come again.
    pub left_out: BTreeSet<ElementId>,
}

/// An element that waits at a cut.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingElement {
    /// Its id.
    pub element: ElementId,
    /// Its pool.
    pub pool: PoolId,
    /// When it arrived, in milliseconds.
    pub arrived_ms: u64,
    /// Its attributes.
    pub row: Arc<Row>,
}

/// What a slice wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceEffect {
    /// Send a frame to a shard, after all that were sent to it before.
    Frame {
        /// The slice that made it.
        slice: SliceId,
        /// The shard.
        to: ShardId,
        /// The frame.
        frame: Arc<CandidateFrame>,
    },
}

/// Why a log frame cannot be taken.
#[derive(Clone, Debug, Error)]
pub enum FrameError {
    /// Events are missing between what was received and the frame.
    #[error("log frame begins after {after}, but only events up to {received} were received")]
    Gap {
        /// What the frame follows.
        after: EventId,
        /// What was received.
        received: EventId,
    },
    /// An event names a pool that no event defined.
    #[error("event {x} names pool {pool}, which is not defined")]
    UnknownPool {
        /// The event.
        x: EventId,
        /// The pool.
        pool: PoolId,
    },
    /// An element's attributes are not those of its pool.
    #[error("event {x}: {source}; do the balancer and this matcher run the same version?")]
    Row {
        /// The event.
        x: EventId,
        /// What does not fit.
        source: Box<RowError>,
    },
    /// A pool that the balancer accepted does not compile here: the two run different versions.
    #[error("event {x}: {source}; do the balancer and this matcher run the same version?")]
    Define {
        /// The event.
        x: EventId,
        /// What is wrong with the pool.
        source: Box<DefineError>,
    },
}

/// A shard asked for frames that are no longer kept: it has to start from a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("candidates after {after} are gone, those after {floor} are kept")]
pub struct CursorTooOld {
    /// The cursor asked for.
    pub after: Cursor,
    /// The lowest that works.
    pub floor: Cursor,
}

/// What a shard gets when it subscribes.
#[derive(Clone, Debug)]
pub struct CandidateBacklog {
    /// The lowest `decided_seen` of any frame that it may still receive (R3).
    pub decided_seen: Decided,
    /// The frames after its cursor.
    pub frames: Vec<Arc<CandidateFrame>>,
}

/// Counts for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceStats {
    /// Searches, each counted once however often it had to wait.
    pub probes: u64,
    /// Candidates listed.
    pub candidates: u64,
    /// Longest list.
    pub list_longest: usize,
}

/// What a slice has of a pool, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePoolStats<'a> {
    /// The pool's name.
    pub name: &'a str,
    /// Elements waiting that the slice owns.
    pub waiting: usize,
    /// Pairs on which the rule failed with an error, and so did not match.
    pub rule_errors: u64,
    /// How the search is shared out.
    pub split: Split,
    /// Keys that many searches had in common lately, most first. Empty for a pool that is not split by key.
    pub hot_keys: Vec<HotKey>,
}
