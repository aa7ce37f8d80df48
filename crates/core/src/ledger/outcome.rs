//! What was decided, with what clients want to know of it, and where it leaves to.

use std::sync::Arc;

use bytes::Bytes;

use crate::{ElementId, EventId, PoolId, Retirement, WithdrawReason, batch::Batch};

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
    pub element: OutcomeEndView<'a>,
    /// The anchor of a match.
    pub anchor: Option<OutcomeEndView<'a>>,
    /// Why, for a withdrawal.
    pub reason: Option<WithdrawReason>,
    /// What its ends took while they waited, as [`Batch::waiting_bytes`] counts it: more than their keys, payloads and
    /// submitters.
    pub bytes: u64,
}

/// One element of an outcome, in its batch.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeEndView<'a> {
    /// Its id.
    pub id: ElementId,
    /// When it arrived, in milliseconds.
    pub arrived_ms: u64,
    /// What it is in.
    pub batch: &'a Arc<Batch>,
    /// Its row there.
    pub row: usize,
}

impl<'a> OutcomeEndView<'a> {
    /// The client's key, a text.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        self.batch.clients().key(self.row)
    }

    /// The client's payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.batch.clients().payload(self.row)
    }

    /// The submitter's name, a text, empty where it is not known.
    #[must_use]
    pub fn owner(&self) -> &'a [u8] {
        self.batch.clients().owner(self.row)
    }
}

impl OutcomeView<'_> {
    /// A copy of its own.
    #[must_use]
    pub fn to_outcome(&self) -> Outcome {
        let end = |end: &OutcomeEndView<'_>| OutcomeEnd {
            id: end.id,
            key: text(end.key()).into(),
            payload: Bytes::copy_from_slice(end.payload()),
            arrived_ms: Some(end.arrived_ms),
            owner: text(end.owner()).into(),
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

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("texts were checked when they came")
}

/// Where outcomes leave to, in ascending order.
pub trait Outcomes {
    /// Takes the next ones.
    fn push<'a>(&mut self, outcomes: impl Iterator<Item = OutcomeView<'a>>);
}

impl Outcomes for Vec<Outcome> {
    fn push<'a>(&mut self, outcomes: impl Iterator<Item = OutcomeView<'a>>) {
        self.extend(outcomes.map(|outcome| outcome.to_outcome()));
    }
}

/// They are known already.
impl Outcomes for () {
    fn push<'a>(&mut self, _: impl Iterator<Item = OutcomeView<'a>>) {}
}
