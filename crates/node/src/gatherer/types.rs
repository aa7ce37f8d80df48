//! What a gatherer begins with, and why its session ends.

use dovetail_core::{Cursor, EventId, Placement, ShardId, SliceId, Stable, shard::ShardError};
use thiserror::Error;

use crate::{action::MachineEnd, origin::LogChanged};

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
pub struct GathererStart {
    /// The log.
    pub log_id: String,
    /// The stable cut.
    pub cut: Stable,
    /// Retirements above this can be fetched.
    pub results_floor: EventId,
}

/// Why a gatherer's session ends. The next one begins at the cut.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GathererEnd {
    /// A message cannot be applied.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A slice no longer keeps what comes next.
    #[error("{slice} keeps candidates after {floor}, and {read} was read")]
    CursorTooOld {
        /// The slice.
        slice: SliceId,
        /// The lowest cursor that it serves.
        floor: Cursor,
        /// How far it was read.
        read: Cursor,
    },
    /// The balancer's store no longer has retirements that have to be fetched.
    #[error("the balancer no longer keeps all retirements in ({after}, {through}]")]
    Refused {
        /// Exclusive.
        after: EventId,
        /// Inclusive.
        through: EventId,
    },
    /// The balancer serves another log, or has lost results that this session has built on.
    #[error(transparent)]
    Log(#[from] LogChanged),
}

impl MachineEnd for GathererEnd {
    fn kind(&self) -> &'static str {
        match self {
            GathererEnd::Shard(_) => "message_refused",
            GathererEnd::CursorTooOld { .. } => "cursor_too_old",
            GathererEnd::Refused { .. } => "retirements_gone",
            GathererEnd::Log(changed) => changed.kind(),
        }
    }
}
