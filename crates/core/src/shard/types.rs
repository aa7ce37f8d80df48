//! What a shard is told, what it wants done, and why it refuses.

use thiserror::Error;

use crate::{Cursor, Decided, DecisionFrame, ElementId, EventId, Grant, Retirement, ShardId, SliceId};

/// What a shard wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardEffect {
    /// Tell the prober's home that the anchor is its.
    Grant {
        /// The prober's home.
        to: ShardId,
        /// The grant.
        grant: Grant,
    },
    /// Tell everyone who reads decisions.
    Retire(Retirement),
    /// Tell balancers: a slice has settled it, and no other node needs to know.
    Settled(Retirement),
    /// Tell everyone who reads decisions.
    Decided {
        /// The new watermark.
        through: Decided,
    },
}

/// Why a message cannot be applied. The shard has to start from a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ShardError {
    /// Candidates are missing between what was received and the frame.
    #[error("candidates of {slice} begin after {after}, but only those up to {received} were received")]
    Gap {
        /// The slice.
        slice: SliceId,
        /// What the frame follows.
        after: EventId,
        /// What was received.
        received: EventId,
    },
    /// A message for another shard: the sender places elements differently.
    #[error("{element} at {x} is homed at {home}, but {id} was reported of it; do both run the same settings?")]
    Misplaced {
        /// The event.
        x: EventId,
        /// The element.
        element: ElementId,
        /// Where it is homed.
        home: ShardId,
        /// This shard.
        id: ShardId,
    },
    /// Two decisions of one event. Cannot happen while everyone follows the protocol on the same log.
    #[error("event {x} was decided as {known}, and now as {reported}; is there another log?")]
    Conflict {
        /// The event.
        x: EventId,
        /// What is known.
        known: Retirement,
        /// What was told.
        reported: Retirement,
    },
}

/// The nodes that subscribe to a shard's decisions. All get what the shard decided and its watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Another gatherer: also gets its grants, and the retirements homed at it.
    Shard(ShardId),
    /// A matcher.
    Matcher,
    /// A balancer: also gets what slices settled.
    Balancer,
}

/// What a subscriber gets first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionBacklog {
    /// At or below this the store must be asked: a reader with a lower cursor fetches `(cursor, floor]` first.
    pub floor: Cursor,
    /// What the reader's cursor does not cover.
    pub decisions: DecisionFrame,
}

/// Retirements that a shard has to fetch from the store before it may go on: `(after, through]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Exclusive.
    pub after: EventId,
    /// Inclusive.
    pub through: EventId,
}
