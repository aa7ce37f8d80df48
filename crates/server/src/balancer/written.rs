//! What the threads that write tell the engine.

use std::sync::Arc;

use dovetail_core::EventId;
use dovetail_log::{
    AppendError,
    shared::{Position, Term},
};

use super::{failure::CheckpointWorkError, shared_log::FollowError};
use dovetail_wire::PartFrame;

/// What a writing thread did.
#[derive(Debug)]
pub(crate) enum Written {
    /// Frames are on disk, so many bytes.
    Log(Result<(Vec<Arc<PartFrame>>, u64), AppendError>),
    /// Outcomes are on disk up to here.
    Results(Result<EventId, AppendError>),
    /// So many bytes are there.
    Sized(Disk, u64),
    /// What is at or below is gone; so many bytes are left.
    Trimmed(Disk, EventId, u64),
    /// The disk is full, and nothing was written; or there is room again.
    Full(Disk, bool),
    /// What came of asking for a term.
    Asked(AskedFor),
    /// The engine that keeps the log does not answer, or does again.
    Silent(bool),
    /// The log that is shared is followed no more.
    Followed(FollowError),
    /// A checkpoint was made, or was not.
    Checkpoint(Result<Made, CheckpointWorkError>),
}

/// What came of asking for a term.
#[derive(Debug)]
pub(crate) enum AskedFor {
    /// It begins here.
    Won(Position),
    /// Another was first.
    Lost(Term),
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Log,
    Results,
}

/// A checkpoint that was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Made {
    /// Its cut.
    pub(crate) through: EventId,
    /// Its size.
    pub(crate) bytes: u64,
    /// Up to here nothing is needed of log and results.
    pub(crate) trim: EventId,
}
