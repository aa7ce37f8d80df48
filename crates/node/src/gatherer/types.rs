//! What a gatherer begins with, and why its session ends.

use dovetail_core::{EventId, Placement, ShardId, SliceId, shard::ShardError};
use thiserror::Error;

/// What does not change from session to session.
#[derive(Clone, Debug)]
pub struct GathererSettings {
    /// Where elements belong.
    pub placement: Placement,
    /// The shard that this gatherer is.
    pub id: ShardId,
    /// The longest list of a slice: a matcher's watermark is held back by less than half of it.
    pub list_max: u32,
    /// The slices of each matcher, ascending.
    pub matchers: Vec<Vec<SliceId>>,
}

/// Where a session begins, as the balancer says.
#[derive(Clone, Debug)]
pub struct SessionStart {
    /// The log.
    pub log_id: String,
    /// The stable cut.
    pub cut: EventId,
    /// Retirements above this can be fetched.
    pub results_floor: EventId,
}

/// Why a gatherer's session ends. The next one begins at the cut.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionEnd {
    /// A message cannot be applied.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A slice no longer keeps what comes next.
    #[error("{slice} keeps candidates after {floor}, and {read} was read")]
    Behind {
        /// The slice.
        slice: SliceId,
        /// The lowest cursor that it serves.
        floor: EventId,
        /// How far it was read.
        read: EventId,
    },
    /// The balancer's store no longer has retirements that have to be fetched.
    #[error("the balancer no longer keeps all retirements in ({after}, {through}]")]
    Refused {
        /// Exclusive.
        after: EventId,
        /// Inclusive.
        through: EventId,
    },
    /// The balancer serves another log.
    #[error("the balancer's log is {found}, this session's was {was}")]
    OtherLog {
        /// The log that it serves.
        found: String,
        /// The log of this session.
        was: String,
    },
    /// The balancer has lost results, as an operator can see: its cut is below what was forgotten here because it was
    /// stable.
    #[error("the balancer's results end at {cut}, this session has forgotten what is below {floor}")]
    ResultsLost {
        /// The balancer's cut.
        cut: EventId,
        /// What was forgotten.
        floor: EventId,
    },
}
