//! An element that waits and a pool, as the ledger knows them.

use std::sync::Arc;

use bytes::Bytes;
use dovetail_rule::Row;

use super::search::Searched;
use crate::{ElementId, EventId, Pool, PoolId, WithdrawReason, batch::Batch, slice::WaitingElement};

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

impl PoolEntry {
    /// An element was let in; it does not count as waiting yet.
    pub(super) fn arrived(&mut self, batch: &Batch, row: usize) {
        self.searched.arrived(&self.pool, batch, row);
    }

    /// Elements wait no longer, and do not count as waiting; these are what their searches were counted by.
    pub(super) fn left(&mut self, keys: impl Iterator<Item = u64>) {
        self.searched.ended(&self.pool, keys, self.counts.waiting);
    }
}
