//! What a machine wants done, as plain data.

use dovetail_core::{Cursor, Decided, ShardId, SliceId, shard::Fetch};

use crate::{
    ids::{LinkId, StreamId},
    link::{Cursors, GivenUp},
};

/// Why the machine of a session cannot go on. The next session begins at the balancer's cut.
pub trait MachineEnd: std::error::Error {
    /// Its kind, as a constant for logs.
    fn kind(&self) -> &'static str;
}

/// What a machine wants done, in this order. `M` is the message that it sends to its readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<M> {
    /// Send a message to the reader of a stream. When there is no room for it, the stream ends and the machine is told
    /// (`on_lost`): no message may be left out of a stream that goes on.
    Send {
        /// The stream.
        to: StreamId,
        /// The message.
        message: M,
    },
    /// End a stream: its reader has another one.
    End {
        /// The stream.
        stream: StreamId,
    },
    /// A subscription of this node takes its next step. Each is the answer to one input about the link, and comes at
    /// once.
    Link {
        /// The subscription.
        link: LinkId,
        /// The step.
        step: Step,
    },
    /// Something waits: call `on_linger` after a short while. Comes once until then.
    Linger,
    /// Ask the balancer for its log and cut, and give the answer to `on_cut`.
    AskCut,
    /// Ask the balancer above which event it keeps retirements, and give the answer to `on_results_floor`.
    AskResultsFloor {
        /// The stream that waits for it.
        stream: StreamId,
    },
    /// Refuse a stream that was asked for. Its reader may ask again.
    Refuse {
        /// The stream.
        stream: StreamId,
        /// Why.
        why: KnowsLess,
    },
}

/// The frames of a slice know less than their reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnowsLess {
    /// The slice.
    pub slice: SliceId,
    /// What the least of its frames knows.
    pub decided_seen: Decided,
}

/// The next step of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for the stream, and give the hello to the machine.
    Subscribe(Request),
    /// Ask the balancer's store for retirements, and give them to the machine. What comes on the stream meanwhile stays
    /// there.
    Fetch(Fetch),
    /// Read what follows the hello.
    Read,
    /// Give the stream up, and subscribe again.
    Break(GivenUp),
}

/// What a subscription asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The log.
    Feed {
        /// The cursor; none to start from the cut.
        after: Option<Cursor>,
    },
    /// The candidates of all slices of a matcher.
    Candidates {
        /// For this shard.
        shard: ShardId,
        /// The lowest `decided_seen` that the shard can take: what retired above it, and it does not know, is still in
        /// the store (R8).
        decided_seen_min: Decided,
        /// One for each slice of the matcher.
        cursors: Cursors,
    },
    /// A shard's decisions.
    Decisions {
        /// The shard's watermark as the reader knows it.
        after: Cursor,
    },
}

/// What a slice says first on a stream of candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceHello {
    /// The slice.
    pub slice: SliceId,
    /// The lowest `decided_seen` of any frame that follows.
    pub decided_seen: Decided,
    /// The lowest cursor that can be served.
    pub floor: Cursor,
}
