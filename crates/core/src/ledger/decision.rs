//! Why a decision of a shard cannot be taken.

use thiserror::Error;

use crate::{Decided, ElementId, EventId, Retirement, ShardId};

/// Two shards, or one at two times, decided one event differently. Cannot happen while all follow the protocol on one
/// log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecisionError {
    /// Two decisions of one event.
    #[error("event {x} was decided as {known}, and now as {reported}; is there another log?")]
    Conflict {
        /// The event.
        x: EventId,
        /// What was reported first.
        known: Retirement,
        /// What was reported now.
        reported: Retirement,
    },
    /// A decision about an element that does not wait.
    #[error("{reported} is decided, but {element} does not wait")]
    NotWaiting {
        /// The element.
        element: ElementId,
        /// What was reported.
        reported: Retirement,
    },
    /// A withdrawal by an event that withdraws nothing.
    #[error("{reported} is decided, but {} is no withdrawal", reported.x)]
    NoWithdrawal {
        /// What was reported.
        reported: Retirement,
    },
    /// A decision about an event that is not in the log.
    #[error("{reported} is decided, but the log ends at {recorded}; has the log lost its end, or is it another one?")]
    NotRecorded {
        /// What was reported.
        reported: Retirement,
        /// The last event of the log.
        recorded: EventId,
    },
    /// A watermark above the log.
    #[error(
        "{shard} has decided up to {reported}, but the log ends at {recorded}; has the log lost its end, or is it another one?"
    )]
    Future {
        /// The shard.
        shard: ShardId,
        /// Its watermark.
        reported: Decided,
        /// The last event of the log.
        recorded: EventId,
    },
}
