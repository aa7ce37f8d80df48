//! Outcomes as columns, from the ledger to the results and to who watches.

use std::{ops::Deref, sync::Arc};

use bytes::Bytes;
use dovetail_core::{
    ElementId, EventId, PoolId, Retirement, WithdrawReason,
    batch::{Strings, StringsWriter, column::number},
    ledger::{Outcome, OutcomeEnd, OutcomeEndView, OutcomeView},
};
use dovetail_log::Record;
use dovetail_node::balancer::StoredOutcomes;
use prost::Message;

use super::{
    error::ConvertError,
    frames::{reason, reason_pb},
    prepared::Prepared,
    records::{compact, decode},
};
use crate::storage_pb;
use dovetail::{
    columns::{MatchedEnds, fixed, texts, texts_pb},
    pb,
};

/// What an outcome takes in a record or a message beside keys and payloads, in bytes; never less than it does.
pub(super) const OUTCOME_BYTES: usize = 128;

/// Outcomes, ascending. There is always one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeChunk {
    /// Little-endian, as all numbers here.
    pub(super) xs: Bytes,
    pub(super) pools: Bytes,
    pub(super) times_ms: Bytes,
    reasons: Bytes,
    pub(super) elements: Ends,
    pub(super) anchors: Ends,
}

/// Elements of outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// What is sent of them.
    sent: MatchedEnds,
    /// Who submitted them; none when it is known of none. Stored, and never sent.
    owners: Option<Strings>,
}

impl Deref for Ends {
    type Target = MatchedEnds;

    fn deref(&self) -> &MatchedEnds {
        &self.sent
    }
}

impl Ends {
    /// Checks columns of elements, and who submitted them.
    fn read(
        count: usize,
        sent: Option<&pb::EndColumns>,
        owners: Option<&pb::TextColumn>,
        what: &'static str,
    ) -> Result<Ends, ConvertError> {
        let sent = MatchedEnds::read(count, sent, what)?;
        Ok(Ends { sent, owners: owners.map(|column| texts(count, column)).transpose()? })
    }

    fn owner(&self, index: usize) -> &str {
        self.owners.as_ref().map_or("", |owners| owners.text(index))
    }

    /// None where there is no element. Ids begin at 1.
    fn id(&self, index: usize) -> Option<ElementId> {
        let id = number(&self.ids, index);
        (id > 0).then_some(ElementId(id))
    }

    fn get(&self, index: usize) -> Option<OutcomeEnd> {
        let id = self.id(index)?;
        let payload = Bytes::copy_from_slice(self.payload(index));
        let (key, owner) = (self.keys.text(index).into(), self.owner(index).into());
        Some(OutcomeEnd { id, key, payload, arrived_ms: self.arrived_ms(index), owner })
    }

    fn bytes(&self, index: usize) -> usize {
        self.keys.get(index).len() + self.payload(index).len()
    }
}

impl OutcomeChunk {
    /// From a store's record.
    fn read(sent: &storage_pb::OutcomeColumns) -> Result<Option<OutcomeChunk>, ConvertError> {
        let count = sent.event_ids.len() / 8;
        let chunk = OutcomeChunk {
            xs: fixed::<8>("event_ids", count, &sent.event_ids)?,
            pools: fixed::<4>("pools", count, &sent.pools)?,
            times_ms: fixed::<8>("times_ms", count, &sent.times_ms)?,
            reasons: fixed::<1>("reasons", count, &sent.reasons)?,
            elements: Ends::read(count, sent.elements.as_ref(), sent.element_owners.as_ref(), "elements")?,
            anchors: Ends::read(count, sent.anchors.as_ref(), sent.anchor_owners.as_ref(), "anchors")?,
        };
        for index in 0..count {
            chunk.elements.id(index).ok_or(ConvertError::Missing("element"))?;
            if chunk.anchors.id(index).is_none() {
                reason(chunk.reasons[index].into())?;
            }
        }
        Ok((count > 0).then_some(chunk))
    }

    fn pb(&self) -> storage_pb::OutcomeColumns {
        storage_pb::OutcomeColumns {
            event_ids: self.xs.clone(),
            pools: self.pools.clone(),
            times_ms: self.times_ms.clone(),
            reasons: self.reasons.clone(),
            elements: Some(self.elements.pb()),
            anchors: Some(self.anchors.pb()),
            element_owners: self.elements.owners.as_ref().map(texts_pb),
            anchor_owners: self.anchors.owners.as_ref().map(texts_pb),
        }
    }

    /// How many.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.xs.len() / 8
    }

    /// The event of one of them.
    #[must_use]
    pub fn x(&self, index: usize) -> EventId {
        EventId(number(&self.xs, index))
    }

    /// The event of the last.
    #[must_use]
    pub fn last(&self) -> EventId {
        self.x(self.len() - 1)
    }

    /// The first one after a cursor; as many as there are when there is none.
    #[must_use]
    pub fn after(&self, cursor: EventId) -> usize {
        self.xs.as_chunks().0.partition_point(|x| u64::from_le_bytes(*x) <= cursor.0)
    }

    /// The pool of one of them.
    #[must_use]
    pub fn pool(&self, index: usize) -> PoolId {
        PoolId(u32::from_le_bytes(self.pools[4 * index..4 * index + 4].try_into().expect("four bytes")))
    }

    /// The decision without what clients want to know.
    #[must_use]
    pub fn retirement(&self, index: usize) -> Retirement {
        let element = self.elements.id(index).expect("it was checked");
        Retirement { x: self.x(index), element, anchor: self.anchors.id(index) }
    }

    /// `time(x)` of one of them, in milliseconds.
    #[must_use]
    pub fn time_ms(&self, index: usize) -> u64 {
        number(&self.times_ms, index)
    }

    /// The columns that the ends of a match are in, the one with the lower id first; none of a withdrawal.
    pub(super) fn pair(&self, index: usize) -> Option<[&Ends; 2]> {
        let (element, anchor) = (self.elements.id(index)?, self.anchors.id(index)?);
        let (elements, anchors) = (&self.elements, &self.anchors);
        Some(if anchor < element { [anchors, elements] } else { [elements, anchors] })
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, index: usize) -> Outcome {
        Outcome {
            x: self.x(index),
            pool: self.pool(index),
            time_ms: self.time_ms(index),
            element: self.elements.get(index).expect("it was checked"),
            reason: self.reason(index),
            anchor: self.anchors.get(index),
        }
    }

    /// Why the element of one of them was withdrawn; none of a match.
    #[must_use]
    pub fn reason(&self, index: usize) -> Option<WithdrawReason> {
        let why = || reason(self.reasons[index].into()).expect("it was checked");
        self.anchors.id(index).is_none().then(why)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Outcome> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// About how many bytes one of them takes in a message; never fewer than it does.
    #[must_use]
    pub fn bytes(&self, index: usize) -> usize {
        OUTCOME_BYTES + self.elements.bytes(index) + self.anchors.bytes(index)
    }
}

impl StoredOutcomes for OutcomeChunk {
    fn count(&self) -> usize {
        self.len()
    }

    fn x(&self, index: usize) -> EventId {
        OutcomeChunk::x(self, index)
    }

    fn outcome(&self, index: usize) -> Outcome {
        self.get(index)
    }

    fn retirement(&self, index: usize) -> Retirement {
        OutcomeChunk::retirement(self, index)
    }
}

/// Makes chunks of outcomes.
#[derive(Debug)]
pub struct OutcomeWriter {
    bytes_max: usize,
    bytes: usize,
    xs: Vec<u8>,
    pools: Vec<u8>,
    times_ms: Vec<u8>,
    reasons: Vec<u8>,
    elements: EndWriter,
    anchors: EndWriter,
    full: Vec<Arc<OutcomeChunk>>,
}

/// Makes [`Ends`].
#[derive(Debug, Default)]
pub(super) struct EndWriter {
    ids: Vec<u8>,
    keys: StringsWriter,
    payloads: StringsWriter,
    owners: StringsWriter,
    /// 0 where it is not known.
    arrived_ms: Vec<u8>,
    /// Whether it is known of any.
    any_arrived: bool,
    /// It is not asked for.
    without_arrived: bool,
}

impl EndWriter {
    /// Leaves out when elements arrived.
    pub(super) fn without_arrived() -> EndWriter {
        EndWriter { without_arrived: true, ..EndWriter::default() }
    }

    fn push(&mut self, id: u64, key: &[u8], payload: &[u8], arrived_ms: u64, owner: &[u8]) {
        self.ids.extend_from_slice(&id.to_le_bytes());
        self.keys.push(key);
        self.payloads.push(payload);
        self.owners.push(owner);
        self.push_arrived(arrived_ms);
    }

    fn push_end(&mut self, end: &OutcomeEnd) {
        let arrived_ms = end.arrived_ms.unwrap_or_default();
        self.push(end.id.0, end.key.as_bytes(), &end.payload, arrived_ms, end.owner.as_bytes());
    }

    fn push_arrived(&mut self, arrived_ms: u64) {
        self.arrived_ms.extend_from_slice(&arrived_ms.to_le_bytes());
        self.any_arrived |= arrived_ms > 0;
    }

    /// Adds many, column by column: they are all over the memory, and so the processor waits for many at a time.
    fn push_views<'a>(&mut self, ends: impl Iterator<Item = Option<OutcomeEndView<'a>>> + Clone) {
        for end in ends.clone() {
            self.ids.extend_from_slice(&end.map_or(0, |end| end.id.0).to_le_bytes());
            self.push_arrived(end.map_or(0, |end| end.arrived_ms));
        }
        let texts = |of: fn(&OutcomeEndView<'a>) -> &'a [u8]| -> Vec<&'a [u8]> {
            ends.clone().map(|end| end.as_ref().map_or(&[][..], of)).collect()
        };
        let (keys, payloads) = (texts(OutcomeEndView::key), texts(OutcomeEndView::payload));
        let owners = texts(OutcomeEndView::owner);
        let read = keys.iter().chain(&payloads).map(|bytes| bytes.first().unwrap_or(&0) ^ bytes.last().unwrap_or(&0));
        std::hint::black_box(read.fold(0, |all, byte| all ^ byte));
        self.keys.extend(keys.iter().copied());
        self.payloads.extend(payloads.iter().copied());
        self.owners.extend(owners.iter().copied());
    }

    /// As a client gets it: without the submitter.
    pub(super) fn push_of(&mut self, ends: &Ends, index: usize) {
        self.ids.extend_from_slice(&number(&ends.ids, index).to_le_bytes());
        self.keys.push(ends.keys.get(index));
        self.payloads.push(ends.payload(index));
        if !self.without_arrived {
            self.push_arrived(ends.arrived_ms(index).unwrap_or_default());
        }
    }

    pub(super) fn take(&mut self) -> Ends {
        let EndWriter { ids, keys, payloads, owners, arrived_ms, any_arrived, without_arrived: _ } =
            std::mem::take(self);
        let arrived_ms = any_arrived.then(|| arrived_ms.into());
        let (keys, payloads, owners) = (keys.finish(), payloads.finish_if_any(), owners.finish_if_any());
        Ends { sent: MatchedEnds { ids: ids.into(), keys, payloads, arrived_ms }, owners }
    }
}

impl OutcomeWriter {
    /// Of chunks of about so many bytes at the most; one outcome more may be in one.
    #[must_use]
    pub fn new(bytes_max: usize) -> OutcomeWriter {
        OutcomeWriter {
            bytes_max,
            bytes: 0,
            xs: Vec::new(),
            pools: Vec::new(),
            times_ms: Vec::new(),
            reasons: Vec::new(),
            elements: EndWriter::default(),
            anchors: EndWriter::default(),
            full: Vec::new(),
        }
    }

    /// The chunks of what was added.
    pub fn take(&mut self) -> Vec<Arc<OutcomeChunk>> {
        self.end_chunk();
        std::mem::take(&mut self.full)
    }

    fn end_chunk(&mut self) {
        if self.xs.is_empty() {
            return;
        }
        self.bytes = 0;
        self.full.push(Arc::new(OutcomeChunk {
            xs: std::mem::take(&mut self.xs).into(),
            pools: std::mem::take(&mut self.pools).into(),
            times_ms: std::mem::take(&mut self.times_ms).into(),
            reasons: std::mem::take(&mut self.reasons).into(),
            elements: self.elements.take(),
            anchors: self.anchors.take(),
        }));
    }

    fn push_head(&mut self, x: EventId, pool: PoolId, time_ms: u64, why: Option<WithdrawReason>) {
        self.xs.extend_from_slice(&x.0.to_le_bytes());
        self.pools.extend_from_slice(&pool.0.to_le_bytes());
        self.times_ms.extend_from_slice(&time_ms.to_le_bytes());
        let why = why.map_or(storage_pb::WithdrawReason::Unspecified, reason_pb);
        self.reasons.push(u8::try_from(why as i32).expect("few reasons"));
    }

    /// Adds one that was taken apart.
    pub fn push_outcome(&mut self, outcome: &Outcome) {
        self.push_head(outcome.x, outcome.pool, outcome.time_ms, outcome.reason);
        self.elements.push_end(&outcome.element);
        match &outcome.anchor {
            None => self.anchors.push(0, &[], &[], 0, &[]),
            Some(anchor) => self.anchors.push_end(anchor),
        }
        self.count(outcome_bytes(outcome));
    }

    /// Adds some as they left the ledger. They are not counted: nothing is written after them.
    pub(super) fn push_views(&mut self, outcomes: &[OutcomeView<'_>]) {
        for outcome in outcomes {
            self.push_head(outcome.x, outcome.pool, outcome.time_ms, outcome.reason);
        }
        self.elements.push_views(outcomes.iter().map(|outcome| Some(outcome.element)));
        self.anchors.push_views(outcomes.iter().map(|outcome| outcome.anchor));
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= self.bytes_max {
            self.end_chunk();
        }
    }
}

/// Outcomes as they are stored: those decided up to `through` since the record before.
#[must_use]
pub fn result_record_pb(through: EventId, outcomes: Option<&OutcomeChunk>) -> Prepared<storage_pb::ResultRecord> {
    let columns = outcomes.map(OutcomeChunk::pb);
    let record = storage_pb::ResultRecord { through: through.0, outcomes: Vec::new(), begins: false, columns };
    Prepared::new(through.0, record)
}

/// The first record of results that do not reach back to the log's beginning: nothing up to `through` is kept.
#[must_use]
pub fn results_begin_pb(through: EventId) -> Record {
    let record = storage_pb::ResultRecord { through: through.0, begins: true, ..Default::default() };
    Record::new(through.0, record.encode_to_vec())
}

/// Whether nothing at or below the record is kept.
///
/// # Errors
/// When the record is none.
pub fn results_begin(record: &Record) -> Result<bool, ConvertError> {
    Ok(decode::<storage_pb::ResultRecord>(record)?.begins)
}

/// About how many bytes an outcome takes in a record or a message; never fewer than it does.
#[must_use]
pub fn outcome_bytes(outcome: &Outcome) -> usize {
    let end = |end: &OutcomeEnd| end.key.len() + end.payload.len() + end.owner.len();
    OUTCOME_BYTES + end(&outcome.element) + outcome.anchor.as_ref().map_or(0, end)
}

/// Outcomes read back from the store, one by one.
///
/// # Errors
/// When the record is not one.
pub fn result_record(record: &Record) -> Result<Vec<Outcome>, ConvertError> {
    Ok(result_chunk(record)?.iter().flat_map(OutcomeChunk::iter).collect())
}

/// Outcomes read back from the store; none when none are in the record, which they share their bytes with.
///
/// # Errors
/// When the record is not one.
pub fn result_chunk(record: &Record) -> Result<Option<OutcomeChunk>, ConvertError> {
    let decoded: storage_pb::ResultRecord = decode(record)?;
    if let Some(columns) = &decoded.columns {
        return OutcomeChunk::read(columns);
    }
    let mut writer = OutcomeWriter::new(usize::MAX);
    for stored in decoded.outcomes {
        writer.push_outcome(&outcome(stored)?);
    }
    Ok(writer.take().pop().map(Arc::unwrap_or_clone))
}

/// An outcome from a store's record.
///
/// # Errors
/// When it is not complete.
pub fn outcome(outcome: storage_pb::StoredOutcome) -> Result<Outcome, ConvertError> {
    let end = |end: storage_pb::OutcomeEnd| OutcomeEnd {
        id: ElementId(end.id),
        key: end.key.into(),
        payload: compact(end.payload),
        arrived_ms: None,
        owner: "".into(),
    };
    let anchor = outcome.anchor.map(end);
    let reason = if anchor.is_some() { None } else { Some(reason(outcome.reason)?) };
    Ok(Outcome {
        x: EventId(outcome.event_id),
        pool: PoolId(outcome.pool),
        time_ms: outcome.time_ms,
        element: end(outcome.element.ok_or(ConvertError::Missing("element"))?),
        anchor,
        reason,
    })
}
