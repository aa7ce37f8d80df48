//! A log that balancers share, as the parts of one have it.

use std::{sync::Arc, time::Duration};

use dovetail_log::{
    EmbeddedLog,
    shared::{CopyError, Copying, Engine, Term, WriterId},
};
use dovetail_node::balancer::ReplayError;
use dovetail_wire::PartFrame;

/// Groups that were followed and wait for the engine.
pub(super) const FOLLOWED: usize = 16;

/// What was followed.
#[derive(Debug)]
pub(crate) enum FollowedPart {
    /// A term began.
    Term(Term),
    /// Frames, which are in the copy; so many bytes.
    Frames(Vec<Arc<PartFrame>>, u64),
}

/// A copy, and what it is a copy of.
pub(crate) struct SharedLog {
    pub(crate) copying: Copying<EmbeddedLog>,
    pub(crate) engine: Box<dyn Engine>,
    /// This process.
    pub(crate) me: WriterId,
    /// Where others find it.
    pub(crate) address: String,
    /// How long an append is asked for before it is told that nothing answers.
    pub(crate) patience: Duration,
    /// When balancers say that they live.
    pub(crate) pace: Pace,
}

/// When balancers say that they live, and what follows when one does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two beats.
    pub(crate) beat: Duration,
    /// How long the one that writes is silent before another takes over.
    pub(crate) takeover_after: Duration,
    /// How long the stable cut waits for one that is silent.
    pub(crate) grace: Duration,
}

impl Pace {
    /// How much longer each waits than the one that should rather take over.
    pub(super) fn stagger(&self) -> Duration {
        self.takeover_after / 4
    }
}

/// Why the shared log is not followed any more.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It cannot be read, or its copy not be written.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A record of it says nothing that this version understands.
    #[error(transparent)]
    Record(#[from] dovetail_wire::ConvertError),
    /// What it says cannot have happened.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}
