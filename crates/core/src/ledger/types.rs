//! What a ledger holds and says.

use std::sync::Arc;

use bytes::Bytes;
use dovetail_rule::Row;
use thiserror::Error;

use super::search::Searched;
use crate::{
    Decided, ElementId, EventId, Pool, PoolId, Retirement, ShardId, WithdrawReason,
    batch::{ClientColumns, KeySecret},
    slice::WaitingElement,
};

/// Bounds of what a ledger holds.
#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Most elements waiting in a pool that sets no bound of its own. Above it submissions are refused.
    pub waiting_max: u64,
    /// Most elements waiting in all pools together. Above it submissions are refused; and those of a pool that has most
    /// of them before that, so that the others have room: see [`room`](super::room). So are those of a group of pools
    /// that has most of them.
    pub waiting_total_max: u64,
    /// Most bytes that the elements waiting in a pool may take, as
    /// [`waiting_bytes`](crate::batch::Batch::waiting_bytes) counts them. Above it submissions are refused.
    pub waiting_bytes_max: u64,
    /// The same of all pools together, shared as `waiting_total_max` is.
    pub waiting_bytes_total_max: u64,
    /// Largest element without its payload, in bytes, as [`element_bytes`](crate::batch::Batch::element_bytes) counts
    /// them. A larger one is refused.
    pub element_bytes_max: u64,
    /// Largest payload in a pool that sets no bound of its own, in bytes.
    pub payload_bytes_max: u64,
    /// Most ended elements remembered. Above it the one that ended first is forgotten.
    pub ended_max: usize,
    /// How long an idempotency key is remembered after its element arrived, at least, in milliseconds of event time.
    pub idempotency_ms: u64,
    /// Most idempotency keys remembered of a pool; at 0 none are remembered. When there are so many, new submissions
    /// with such a key are refused until the oldest may be forgotten.
    pub idempotency_max: usize,
    /// Most idempotency keys remembered of the pools of a group. Where others have some, too, it is half of what those
    /// leave of twice this; above it new submissions with such a key are refused in pools that have more than their
    /// reserve. So there can be up to twice as many: see [`room`](super::room).
    pub idempotency_total_max: usize,
    /// Most units of [cost](dovetail_rule::Rule::cost_within) that one search may take in one slice at worst: the
    /// rule's cost on the longest values that wait, times the elements that a slice may have to test. Above it
    /// submissions are refused.
    pub search_cost_max: u64,
    /// Slices of the cluster, which share the elements of a pool that is split by index.
    pub slices: u32,
    /// What keys are remembered by. No bound, but like these it is the ledger's for good.
    pub key_secret: KeySecret,
}

/// What only the balancer needs of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPart {
    /// The client's own name for it.
    pub key: Arc<str>,
    /// Opaque.
    pub payload: Bytes,
    /// Time to live in milliseconds; 0 for none.
    pub ttl_ms: u64,
    /// Empty for none.
    pub idempotency_key: Box<str>,
    /// Who submitted it; empty where that is not known.
    pub owner: Arc<str>,
}

/// An element that waits, or whose retirement is not decided yet.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its pool.
    pub pool: PoolId,
    /// Its attributes.
    pub row: Arc<Row>,
    /// When it arrived, in milliseconds.
    pub arrived_ms: u64,
    /// The client's key.
    pub key: Arc<str>,
    /// The client's payload.
    pub payload: Bytes,
    /// Who submitted it; empty where that is not known.
    pub owner: Arc<str>,
    /// The event that withdraws it, if one was written.
    pub closing: Option<EventId>,
}

impl Entry {
    /// What a search needs to know of it.
    #[must_use]
    pub fn waiting(&self, element: ElementId) -> WaitingElement {
        WaitingElement { element, pool: self.pool, arrived_ms: self.arrived_ms, row: Arc::clone(&self.row) }
    }
}

/// What one event decided, with what clients want to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The event; the cursor of the result stream.
    pub x: EventId,
    /// The pool.
    pub pool: PoolId,
    /// `time(x)` in milliseconds.
    pub time_ms: u64,
    /// The prober of a match, or the element withdrawn.
    pub element: OutcomeEnd,
    /// The anchor of a match.
    pub anchor: Option<OutcomeEnd>,
    /// Why, for a withdrawal.
    pub reason: Option<WithdrawReason>,
}

impl Outcome {
    /// The decision without what clients want to know.
    #[must_use]
    pub fn retirement(&self) -> Retirement {
        Retirement { x: self.x, element: self.element.id, anchor: self.anchor.as_ref().map(|anchor| anchor.id) }
    }
}

/// One element of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeEnd {
    /// Its id.
    pub id: ElementId,
    /// The client's key.
    pub key: Arc<str>,
    /// The client's payload.
    pub payload: Bytes,
    /// When it arrived, in milliseconds; none of what was stored without it.
    pub arrived_ms: Option<u64>,
    /// Who submitted it; empty where that is not known.
    pub owner: Arc<str>,
}

/// An outcome as it leaves the ledger, before anything of it is copied.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeView<'a> {
    /// The event; the cursor of the result stream.
    pub x: EventId,
    /// The pool.
    pub pool: PoolId,
    /// `time(x)` in milliseconds.
    pub time_ms: u64,
    /// The prober of a match, or the element withdrawn.
    pub element: EndView<'a>,
    /// The anchor of a match.
    pub anchor: Option<EndView<'a>>,
    /// Why, for a withdrawal.
    pub reason: Option<WithdrawReason>,
}

/// One element of an outcome, in its batch.
#[derive(Clone, Copy, Debug)]
pub struct EndView<'a> {
    /// Its id.
    pub id: ElementId,
    /// When it arrived, in milliseconds.
    pub arrived_ms: u64,
    pub(super) clients: &'a ClientColumns,
    pub(super) row: usize,
}

impl EndView<'_> {
    /// The client's key, a text.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.clients.key(self.row)
    }

    /// The client's payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.clients.payload(self.row)
    }

    /// The submitter's name, empty where it is not known.
    #[must_use]
    pub fn owner(&self) -> &[u8] {
        self.clients.owner(self.row)
    }
}

impl OutcomeView<'_> {
    /// A copy of its own.
    #[must_use]
    pub fn to_outcome(&self) -> Outcome {
        let end = |end: &EndView<'_>| OutcomeEnd {
            id: end.id,
            key: end.clients.keys.text(end.row).into(),
            payload: Bytes::copy_from_slice(end.payload()),
            arrived_ms: Some(end.arrived_ms),
            owner: end.clients.owners.as_ref().map_or("", |owners| owners.text(end.row)).into(),
        };
        Outcome {
            x: self.x,
            pool: self.pool,
            time_ms: self.time_ms,
            element: end(&self.element),
            anchor: self.anchor.as_ref().map(end),
            reason: self.reason,
        }
    }
}

/// Where outcomes leave to, in ascending order.
pub trait Outcomes {
    /// Takes the next ones.
    fn push(&mut self, outcomes: &[OutcomeView<'_>]);
}

impl Outcomes for Vec<Outcome> {
    fn push(&mut self, outcomes: &[OutcomeView<'_>]) {
        self.extend(outcomes.iter().map(OutcomeView::to_outcome));
    }
}

/// They are known already.
impl Outcomes for () {
    fn push(&mut self, _: &[OutcomeView<'_>]) {}
}

/// Two shards, or one at two times, decided one event differently. Cannot happen while all follow the protocol on one
/// log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecisionError {
    /// Two decisions of one event.
    #[error("event {x} was decided as {known}, and now as {told}; is there another log?")]
    Conflict {
        /// The event.
        x: EventId,
        /// What was told first.
        known: Retirement,
        /// What was told now.
        told: Retirement,
    },
    /// A decision about an element that does not wait.
    #[error("{told} is decided, but {element} does not wait")]
    NotWaiting {
        /// The element.
        element: ElementId,
        /// What was told.
        told: Retirement,
    },
    /// A withdrawal by an event that withdraws nothing.
    #[error("{told} is decided, but {} is no withdrawal", told.x)]
    NoWithdrawal {
        /// What was told.
        told: Retirement,
    },
    /// A watermark above the log.
    #[error(
        "{shard} has decided up to {told}, but the log ends at {recorded}; has the log lost its end, or is it another one?"
    )]
    Future {
        /// The shard.
        shard: ShardId,
        /// Its watermark.
        told: Decided,
        /// The last event of the log.
        recorded: EventId,
    },
}

/// What became of an element.
#[derive(Clone, Debug)]
pub enum Status {
    /// Not known to be retired.
    Waiting(Entry),
    /// Retired by the outcome with this cursor.
    Ended(EventId),
    /// Never seen, or no longer remembered.
    Unknown,
}

/// Counts of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Elements not known to be retired.
    pub waiting: u64,
    /// The bytes they take.
    pub waiting_bytes: u64,
    /// Matches decided.
    pub matches: u64,
    /// Elements withdrawn by clients.
    pub withdrawn: u64,
    /// Elements whose time to live ended.
    pub expired: u64,
    /// Elements that waited when the pool was dropped.
    pub dropped: u64,
}

impl PoolCounts {
    /// How many outcomes there were.
    #[must_use]
    pub fn outcomes(&self) -> u64 {
        self.matches + self.withdrawn + self.expired + self.dropped
    }

    /// One more outcome: a match, or a withdrawal for that reason.
    pub(super) fn count(&mut self, reason: Option<WithdrawReason>) {
        match reason {
            None => self.matches += 1,
            Some(WithdrawReason::Client) => self.withdrawn += 1,
            Some(WithdrawReason::Expired) => self.expired += 1,
            Some(WithdrawReason::Dropped) => self.dropped += 1,
        }
    }
}

/// A pool with its counts.
#[derive(Debug)]
pub struct PoolEntry {
    /// The pool.
    pub pool: Pool,
    /// What it shares bounds of all pools with: those whose names have [the prefix](crate::pool::name_prefix) of its
    /// own.
    pub(super) group: Arc<str>,
    /// The event that defined it.
    pub defined_at: EventId,
    /// The event that closed it: it is being dropped.
    pub closed_at: Option<EventId>,
    /// The event that dropped it. It is kept until that is stable.
    pub dropped_at: Option<EventId>,
    /// The last event that names it, once it is closed.
    pub(super) last: EventId,
    /// Its counts.
    pub counts: PoolCounts,
    /// What its searches cost.
    pub(super) searched: Searched,
}
