//! What a run may find wrong.

use dovetail_core::{
    Decided, EventId, Retirement, Stable, ledger::DecisionError, shard::ShardError, slice::FrameError,
};
use dovetail_node::balancer::ReplayError;
use thiserror::Error;

/// A promise that a run saw broken.
#[derive(Clone, Debug, Error)]
pub enum Violation {
    /// A decision that is not the sequential program's.
    #[error("{by} decided {} at {x}, the oracle {}", shown(.told), shown(.expected))]
    Diverged {
        /// The shard that decided.
        by: String,
        /// The event.
        x: EventId,
        /// What was decided.
        told: Option<Retirement>,
        /// What should have been.
        expected: Option<Retirement>,
    },
    /// An outcome whose time, keys, payloads or reason are not the log's.
    #[error("the outcome of {x} is {told}, but the log says {expected}")]
    Outcome {
        /// The event.
        x: EventId,
        /// What was told.
        told: String,
        /// What should have been.
        expected: String,
    },
    /// An outcome that does not follow the ones before.
    #[error("the outcome of {x} came after that of {before}")]
    OutOfOrder {
        /// The event.
        x: EventId,
        /// The one told before.
        before: EventId,
    },
    /// A watermark went back, or passed what bounds it.
    #[error("{what} is {found}, but {bound_by} is {bound}")]
    Watermark {
        /// Which watermark.
        what: String,
        /// Its value.
        found: EventId,
        /// What bounds it.
        bound_by: String,
        /// That one's value.
        bound: EventId,
    },
    /// A bound on memory or on a message was passed.
    #[error("{what}: {found}, at most {most}")]
    Bound {
        /// What.
        what: String,
        /// How much there is.
        found: usize,
        /// How much there may be.
        most: usize,
    },
    /// Sets that should be equal are not.
    #[error("{what}: {found}, should be {expected}")]
    Differs {
        /// What.
        what: String,
        /// What is.
        found: String,
        /// What should be.
        expected: String,
    },
    /// Nothing happens any more, but not everything is decided.
    #[error(
        "nothing happens any more, but of {assigned} events {durable} are durable, {decided} decided, {stable} stable"
    )]
    Stuck {
        /// Highest id given.
        assigned: EventId,
        /// Highest on disk.
        durable: EventId,
        /// Decided watermark.
        decided: Decided,
        /// Stable cut.
        stable: Stable,
    },
    /// It goes on forever.
    #[error("still busy after {0} steps")]
    Endless(u64),
    /// A shard refused a message.
    #[error("gatherer{gatherer}: {source}")]
    Shard {
        /// Which.
        gatherer: usize,
        /// Why.
        source: ShardError,
    },
    /// A slice refused a frame.
    #[error("matcher{matcher}: {source}")]
    Slice {
        /// Which.
        matcher: usize,
        /// Why.
        source: FrameError,
    },
    /// The ledger refused a decision.
    #[error("balancer: {0}")]
    Ledger(#[from] DecisionError),
    /// An assertion failed.
    #[error("panic: {0}")]
    Panic(String),
}

impl From<ReplayError> for Violation {
    /// What is on the disk cannot be read back.
    fn from(error: ReplayError) -> Violation {
        match error {
            ReplayError::Decision(error) => error.into(),
            error => Violation::Differs {
                what: "what is read back".to_owned(),
                found: error.to_string(),
                expected: "what was written".to_owned(),
            },
        }
    }
}

fn shown(decision: &Option<Retirement>) -> String {
    decision.map_or("nothing".to_owned(), |retirement| format!("[{retirement}]"))
}
