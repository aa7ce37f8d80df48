//! What a matcher begins with, and why its session ends.

use dovetail_core::{
    Decided, EventId, Placement, SliceId,
    slice::{FrameError, Secret, SliceCut},
};
use thiserror::Error;

use crate::{action::MachineEnd, origin::LogChanged};

/// What does not change from session to session; but for the secret.
#[derive(Clone, Debug)]
pub struct MatcherSettings {
    /// Where elements belong.
    pub placement: Placement,
    /// The slices that this matcher runs, ascending.
    pub slices: Vec<SliceId>,
    /// The longest list of a slice.
    pub list_max: u32,
    /// Keys the tables of what waits; another for each session, and nothing that is found depends on it.
    pub secret: Secret,
}

/// Where a session begins, as the balancer says.
#[derive(Clone, Debug)]
pub struct MatcherStart {
    /// The log.
    pub log_id: String,
    /// The state at the stable cut.
    pub cut: SliceCut,
}

/// Why a matcher's session ends. The next one begins at the cut.
#[derive(Clone, Debug, Error)]
pub enum MatcherEnd {
    /// A frame of the log, or a pool of the cut, cannot be taken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The balancer no longer keeps the log after what was received.
    #[error("{reason}")]
    LogGone {
        /// As the balancer says it.
        reason: String,
    },
    /// The balancer's store no longer has retirements that have to be fetched.
    #[error("the balancer no longer keeps all retirements in ({after}, {through}]")]
    Refused {
        /// Exclusive.
        after: EventId,
        /// Inclusive.
        through: EventId,
    },
    /// Frames that are kept know so little that they name elements that are dead, and the retirements that would say so
    /// are gone from the store (R8).
    #[error(
        "{slice} keeps frames whose decided_seen is {decided_seen}, and retirements are kept above {results_floor}"
    )]
    KnowsLess {
        /// The slice.
        slice: SliceId,
        /// What its frames know.
        decided_seen: Decided,
        /// Above what the balancer keeps retirements.
        results_floor: EventId,
    },
    /// The balancer serves another log, or has lost results that this session has built on.
    #[error(transparent)]
    Log(#[from] LogChanged),
}

impl MachineEnd for MatcherEnd {
    fn kind(&self) -> &'static str {
        match self {
            MatcherEnd::Frame(_) => "message_refused",
            MatcherEnd::LogGone { .. } => "log_gone",
            MatcherEnd::Refused { .. } => "retirements_gone",
            MatcherEnd::KnowsLess { .. } => "knows_less",
            MatcherEnd::Log(changed) => changed.kind(),
        }
    }
}
