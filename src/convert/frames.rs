//! Log frames, and the records of the two stores. New elements and outcomes travel as columns.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use dovetail_core::{
    ElementId, Event, EventId, EventKind, LogFrame, PoolId, WithdrawReason,
    ledger::{ClientPart, Outcome, OutcomeEnd},
};
use dovetail_log::Record;
use dovetail_rule::Row;
use prost::Message;

use super::{
    ConvertError,
    columns::{Attribute, ByteStrings, Clients, Texts, Writer, columns_pb, fixed, numbers_pb},
    pool_definition, pool_definition_pb, row, row_pb,
};
use crate::pb;

/// A frame with what only the balancer needs of its arrivals, in their order.
#[derive(Clone, Debug)]
pub struct LoggedFrame {
    /// What is broadcast.
    pub frame: Arc<LogFrame>,
    /// One per arrival.
    pub clients: Vec<ClientPart>,
}

/// A frame from the wire.
///
/// # Errors
/// When an event in it is not complete, or not in its place.
pub fn log_frame(frame: pb::LogFrame) -> Result<LogFrame, ConvertError> {
    let mut events = frame.events.into_iter().map(event).collect::<Result<Vec<_>, _>>()?;
    let runs = frame.arrivals.len() + usize::from(!events.is_empty());
    for arrivals in &frame.arrivals {
        self::arrivals(frame.after, arrivals, &mut events)?;
    }
    if runs > 1 {
        events.sort_unstable_by_key(|event| event.x);
    }
    let outside = |event: &Event| event.x.0 <= frame.after || event.x.0 > frame.through;
    if !events.is_sorted_by(|one, next| one.x < next.x)
        || events.first().is_some_and(outside)
        || events.last().is_some_and(outside)
    {
        return Err(ConvertError::Order { through: frame.through });
    }
    Ok(LogFrame {
        after: EventId(frame.after),
        through: EventId(frame.through),
        time_ms: frame.time_ms,
        stable: EventId(frame.stable),
        events,
    })
}

/// A frame, as sent.
#[must_use]
pub fn log_frame_pb(frame: &LogFrame) -> pb::LogFrame {
    log_frame_part_pb(frame, |_| true)
}

/// A frame with some of its events, as sent. `with` tells by place in the frame which.
#[must_use]
pub fn log_frame_part_pb(frame: &LogFrame, with: impl Fn(usize) -> bool) -> pb::LogFrame {
    let mut events = Vec::new();
    let mut arrivals: BTreeMap<PoolId, (Vec<u8>, Vec<&Row>)> = BTreeMap::new();
    for (_, event) in frame.events.iter().enumerate().filter(|(place, _)| with(*place)) {
        match &event.kind {
            EventKind::Arrival { pool, row } => {
                let (distances, rows) = arrivals.entry(*pool).or_default();
                let distance = u32::try_from(event.x.0 - frame.after.0).expect("a frame has fewer events");
                distances.extend_from_slice(&distance.to_le_bytes());
                rows.push(row);
            }
            EventKind::Withdrawal { .. } | EventKind::Reprobe { .. } | EventKind::PoolDefined { .. } => {
                events.push(event_pb(event));
            }
        }
    }
    let arrivals = arrivals.into_iter().map(|(pool, (distances, rows))| pb::Arrivals {
        pool: pool.0,
        distances: distances.into(),
        columns: columns_pb(&rows),
    });
    pb::LogFrame {
        after: frame.after.0,
        through: frame.through.0,
        time_ms: frame.time_ms,
        stable: frame.stable.0,
        events,
        arrivals: arrivals.collect(),
    }
}

/// Adds arrivals that came as columns.
fn arrivals(after: u64, arrivals: &pb::Arrivals, events: &mut Vec<Event>) -> Result<(), ConvertError> {
    let pool = PoolId(arrivals.pool);
    let count = arrivals.distances.len() / 4;
    let distances = fixed::<4>("distances", count, &arrivals.distances)?;
    let columns: Vec<Attribute<'_>> =
        arrivals.columns.iter().map(|column| Attribute::read(count, column)).collect::<Result<_, _>>()?;
    events.reserve(count);
    for (index, distance) in distances.iter().enumerate() {
        let x = EventId(after.saturating_add(u32::from_le_bytes(*distance).into()));
        let row = Arc::new(Row::from_values(columns.iter().map(|column| column.get(index))));
        events.push(Event { x, kind: EventKind::Arrival { pool, row } });
    }
    Ok(())
}

/// A frame as it is logged, with what only the balancer needs of its arrivals.
#[must_use]
pub fn log_record_pb(frame: &LogFrame, clients: ClientWriter) -> Record {
    let record = pb::LogRecord {
        columnar_frame: Some(log_frame_pb(frame)),
        client_columns: (clients.keys.len() > 0).then(|| clients.columns()),
        ..pb::LogRecord::default()
    };
    Record::new(frame.through.0, record.encode_to_vec())
}

/// What only the balancer needs of the arrivals of a frame, as it comes to be.
#[derive(Debug, Default)]
pub struct ClientWriter {
    keys: Writer,
    payloads: Writer,
    ttls_ms: Vec<u64>,
    idempotency_keys: Writer,
}

impl ClientWriter {
    /// Adds the next arrival's.
    pub fn push(&mut self, client: &ClientPart) {
        self.keys.push(client.key.as_bytes());
        self.payloads.push(&client.payload);
        self.ttls_ms.push(client.ttl_ms);
        self.idempotency_keys.push(client.idempotency_key.as_bytes());
    }

    fn columns(self) -> pb::ClientColumns {
        let any_ttl = self.ttls_ms.iter().any(|&ttl_ms| ttl_ms > 0);
        let ttls_ms = if any_ttl { self.ttls_ms } else { Vec::new() };
        pb::ClientColumns {
            keys: Some(self.keys.texts()),
            payloads: self.payloads.byte_strings_if_any(),
            ttls_ms: numbers_pb(ttls_ms.into_iter().map(u64::to_le_bytes)),
            idempotency_keys: self.idempotency_keys.texts_if_any(),
        }
    }
}

/// A frame read back from the log.
///
/// # Errors
/// When the record is not one, or its parts do not fit together.
pub fn log_record(record: &Record) -> Result<LoggedFrame, ConvertError> {
    let decoded: pb::LogRecord = decode(record)?;
    let frame = decoded.columnar_frame.or(decoded.frame).ok_or(ConvertError::Missing("frame"))?;
    let frame = log_frame(frame)?;
    let arrivals = frame.events.iter().filter(|event| matches!(event.kind, EventKind::Arrival { .. })).count();
    let clients = match &decoded.client_columns {
        Some(columns) => client_columns(arrivals, columns)?,
        None => decoded.clients.into_iter().map(client).collect(),
    };
    if arrivals != clients.len() {
        return Err(ConvertError::Clients { through: frame.through.0, arrivals, clients: clients.len() });
    }
    Ok(LoggedFrame { clients, frame: Arc::new(frame) })
}

fn client(client: pb::ClientPart) -> ClientPart {
    ClientPart {
        key: client.key.into(),
        payload: compact(client.payload),
        ttl_ms: client.ttl_ms,
        idempotency_key: client.idempotency_key.into(),
    }
}

fn client_columns(count: usize, columns: &pb::ClientColumns) -> Result<Vec<ClientPart>, ConvertError> {
    let pb::ClientColumns { keys, payloads, ttls_ms, idempotency_keys } = columns;
    let keys = keys.as_ref().ok_or(ConvertError::Missing("keys"))?;
    let clients = Clients::read(count, keys, payloads.as_ref(), ttls_ms, idempotency_keys.as_ref())?;
    let client = |index: usize| ClientPart {
        key: clients.key(index).into(),
        payload: clients.payload(index),
        ttl_ms: clients.ttl_ms(index).unwrap_or_default(),
        idempotency_key: clients.idempotency_key(index).into(),
    };
    Ok((0..count).map(client).collect())
}

/// Outcomes as they are stored: everything decided up to `through` since the record before.
#[must_use]
pub fn result_record_pb(through: EventId, outcomes: &[Arc<Outcome>]) -> Record {
    let columns = (!outcomes.is_empty()).then(|| outcome_columns_pb(outcomes));
    let record = pb::ResultRecord { through: through.0, outcomes: Vec::new(), begins: false, columns };
    Record::new(through.0, record.encode_to_vec())
}

fn outcome_columns_pb(outcomes: &[Arc<Outcome>]) -> pb::OutcomeColumns {
    let reason = |outcome: &Arc<Outcome>| {
        let reason = outcome.reason.map_or(pb::WithdrawReason::Unspecified, reason_pb);
        [u8::try_from(reason as i32).expect("few reasons")]
    };
    pb::OutcomeColumns {
        xs: numbers_pb(outcomes.iter().map(|outcome| outcome.x.0.to_le_bytes())),
        pools: numbers_pb(outcomes.iter().map(|outcome| outcome.pool.0.to_le_bytes())),
        times_ms: numbers_pb(outcomes.iter().map(|outcome| outcome.time_ms.to_le_bytes())),
        reasons: numbers_pb(outcomes.iter().map(reason)),
        elements: Some(end_columns_pb(outcomes.iter().map(|outcome| Some(&outcome.element)))),
        anchors: Some(end_columns_pb(outcomes.iter().map(|outcome| outcome.anchor.as_ref()))),
    }
}

fn end_columns_pb<'a>(ends: impl Iterator<Item = Option<&'a OutcomeEnd>> + Clone) -> pb::EndColumns {
    let keys: Writer = ends.clone().map(|end| end.map_or("", |end| &*end.key)).collect();
    let payloads: Writer = ends.clone().map(|end| end.map_or(&[][..], |end| &end.payload)).collect();
    pb::EndColumns {
        ids: numbers_pb(ends.map(|end| end.map_or(0, |end| end.id.0).to_le_bytes())),
        keys: Some(keys.texts()),
        payloads: payloads.byte_strings_if_any(),
    }
}

fn outcome_columns(columns: &pb::OutcomeColumns) -> Result<Vec<Outcome>, ConvertError> {
    let count = columns.xs.len() / 8;
    let xs = fixed::<8>("xs", count, &columns.xs)?;
    let pools = fixed::<4>("pools", count, &columns.pools)?;
    let times_ms = fixed::<8>("times_ms", count, &columns.times_ms)?;
    let reasons = fixed::<1>("reasons", count, &columns.reasons)?;
    let elements = OutcomeEnds::read(count, columns.elements.as_ref().ok_or(ConvertError::Missing("elements"))?)?;
    let anchors = OutcomeEnds::read(count, columns.anchors.as_ref().ok_or(ConvertError::Missing("anchors"))?)?;
    let outcome = |index: usize| {
        let anchor = anchors.get(index);
        let reason = if anchor.is_some() { None } else { Some(reason(reasons[index][0].into())?) };
        Ok(Outcome {
            x: EventId(u64::from_le_bytes(xs[index])),
            pool: PoolId(u32::from_le_bytes(pools[index])),
            time_ms: u64::from_le_bytes(times_ms[index]),
            element: elements.get(index).ok_or(ConvertError::Missing("element"))?,
            anchor,
            reason,
        })
    };
    (0..count).map(outcome).collect()
}

/// Elements of outcomes, being read.
struct OutcomeEnds<'a> {
    ids: &'a [[u8; 8]],
    keys: Texts<'a>,
    payloads: Option<ByteStrings<'a>>,
}

impl<'a> OutcomeEnds<'a> {
    fn read(count: usize, columns: &'a pb::EndColumns) -> Result<OutcomeEnds<'a>, ConvertError> {
        Ok(OutcomeEnds {
            ids: fixed("ids", count, &columns.ids)?,
            keys: Texts::read(count, columns.keys.as_ref().ok_or(ConvertError::Missing("keys"))?)?,
            payloads: columns.payloads.as_ref().map(|column| ByteStrings::read(count, column)).transpose()?,
        })
    }

    /// None where there is no element. Ids begin at 1.
    fn get(&self, index: usize) -> Option<OutcomeEnd> {
        let id = u64::from_le_bytes(self.ids[index]);
        (id > 0).then(|| OutcomeEnd {
            id: ElementId(id),
            key: self.keys.get(index).into(),
            payload: self.payloads.map_or_else(Bytes::new, |payloads| payloads.get(index)),
        })
    }
}

/// The first record of results that do not reach back to the log's beginning: nothing up to `through` is kept.
#[must_use]
pub fn results_begin_pb(through: EventId) -> Record {
    let record = pb::ResultRecord { through: through.0, begins: true, ..Default::default() };
    Record::new(through.0, record.encode_to_vec())
}

/// Whether nothing at or below the record is kept.
///
/// # Errors
/// When the record is none.
pub fn results_begin(record: &Record) -> Result<bool, ConvertError> {
    Ok(decode::<pb::ResultRecord>(record)?.begins)
}

/// About how many bytes an outcome takes in a record or a message; never fewer than it does.
#[must_use]
pub fn outcome_bytes(outcome: &Outcome) -> usize {
    let end = |end: &OutcomeEnd| 32 + end.key.len() + end.payload.len();
    64 + end(&outcome.element) + outcome.anchor.as_ref().map_or(0, end)
}

/// Outcomes read back from the store.
///
/// # Errors
/// When the record is not one.
pub fn result_record(record: &Record) -> Result<Vec<Outcome>, ConvertError> {
    let decoded: pb::ResultRecord = decode(record)?;
    match &decoded.columns {
        Some(columns) => outcome_columns(columns),
        None => decoded.outcomes.into_iter().map(outcome).collect(),
    }
}

/// An outcome from a store's record.
///
/// # Errors
/// When it is not complete.
pub fn outcome(outcome: pb::StoredOutcome) -> Result<Outcome, ConvertError> {
    let anchor = outcome.anchor.map(end);
    let reason = if anchor.is_some() { None } else { Some(reason(outcome.reason)?) };
    Ok(Outcome {
        x: EventId(outcome.x),
        pool: PoolId(outcome.pool),
        time_ms: outcome.time_ms,
        element: end(outcome.element.ok_or(ConvertError::Missing("element"))?),
        anchor,
        reason,
    })
}

fn decode<M: Message + Default>(record: &Record) -> Result<M, ConvertError> {
    M::decode(record.bytes.clone())
        .map_err(|error| ConvertError::Record { through: record.through, reason: error.to_string() })
}

/// A copy of its own: a slice of a record would keep the whole record in memory.
pub(super) fn compact(bytes: Bytes) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

fn end(end: pb::OutcomeEnd) -> OutcomeEnd {
    OutcomeEnd { id: ElementId(end.id), key: end.key.into(), payload: end.payload }
}

fn reason(number: i32) -> Result<WithdrawReason, ConvertError> {
    match pb::WithdrawReason::try_from(number) {
        Ok(pb::WithdrawReason::Client) => Ok(WithdrawReason::Client),
        Ok(pb::WithdrawReason::Expired) => Ok(WithdrawReason::Expired),
        Ok(pb::WithdrawReason::Unspecified) | Err(_) => {
            Err(ConvertError::Enum { what: "withdraw reason", found: number })
        }
    }
}

fn reason_pb(reason: WithdrawReason) -> pb::WithdrawReason {
    match reason {
        WithdrawReason::Client => pb::WithdrawReason::Client,
        WithdrawReason::Expired => pb::WithdrawReason::Expired,
    }
}

fn event(event: pb::Event) -> Result<Event, ConvertError> {
    use pb::event::Kind;
    let kind = match event.kind.ok_or(ConvertError::Missing("event kind"))? {
        Kind::Arrival(arrival) => EventKind::Arrival { pool: PoolId(arrival.pool), row: row(arrival.row)? },
        Kind::Withdrawal(withdrawal) => {
            let pool = PoolId(withdrawal.pool.ok_or(ConvertError::Missing("pool"))?);
            EventKind::Withdrawal { element: ElementId(withdrawal.element), pool, reason: reason(withdrawal.reason)? }
        }
        Kind::Reprobe(reprobe) => EventKind::Reprobe {
            element: ElementId(reprobe.element),
            pool: PoolId(reprobe.pool),
            arrived_ms: reprobe.arrived_ms,
            row: row(reprobe.row)?,
        },
        Kind::PoolDefined(defined) => EventKind::PoolDefined {
            pool: PoolId(defined.pool),
            definition: Arc::new(pool_definition(defined.definition.ok_or(ConvertError::Missing("definition"))?)?),
        },
    };
    Ok(Event { x: EventId(event.x), kind })
}

fn event_pb(event: &Event) -> pb::Event {
    use pb::event::Kind;
    let kind = match &event.kind {
        EventKind::Arrival { pool, row } => Kind::Arrival(pb::Arrival { pool: pool.0, row: Some(row_pb(row)) }),
        EventKind::Withdrawal { element, pool, reason } => Kind::Withdrawal(pb::Withdrawal {
            element: element.0,
            reason: reason_pb(*reason).into(),
            pool: Some(pool.0),
        }),
        EventKind::Reprobe { element, pool, arrived_ms, row } => Kind::Reprobe(pb::Reprobe {
            element: element.0,
            pool: pool.0,
            arrived_ms: *arrived_ms,
            row: Some(row_pb(row)),
        }),
        EventKind::PoolDefined { pool, definition } => {
            Kind::PoolDefined(pb::PoolDefined { pool: pool.0, definition: Some(pool_definition_pb(definition)) })
        }
    };
    pb::Event { x: event.x.0, kind: Some(kind) }
}
