//! Log frames, and the records of the log. New elements travel as columns.

use std::sync::Arc;

use bytes::Bytes;
use dovetail_core::{
    Audience, ElementId, Event, EventId, EventKind, Frame, LogFrame, PoolId, Stable, WithdrawReason,
    batch::{Batch, ClientColumns, ClientWriter, Column, Run, column::numbers},
    column_frame::{Arrivals, ColumnFrame, OutOfOrder},
    ledger::ClientPart,
    planted::Planted,
};
use dovetail_log::Record;
use dovetail_node::balancer::{Part, PartFrame, frame};
use dovetail_rule::Row;
use prost::Message;

use super::audience::{audience, audience_pb};
use super::clients;
use super::error::ConvertError;
use super::pools::{pool_definition, pool_definition_pb};
use super::values::{row, row_pb};
use crate::storage_pb;
use dovetail::columns::{self, byte_strings_pb, column_pb, fixed, texts_pb};

/// A frame with what only the balancer needs of its arrivals, in their order.
#[derive(Clone, Debug)]
pub struct LoggedFrame {
    /// What is broadcast.
    pub frame: Arc<LogFrame>,
    /// One per arrival.
    pub clients: Vec<ClientPart>,
}

impl LoggedFrame {
    /// Event by event.
    #[must_use]
    pub fn of(frame: &PartFrame) -> LoggedFrame {
        let (mut events, mut clients) = (Vec::new(), Vec::new());
        for part in &frame.events {
            match part {
                Part::Event(event) => events.push(event.clone()),
                Part::Arrivals(first, Run { batch, rows }) => {
                    for (row, x) in rows.clone().zip((first.0..).map(EventId)) {
                        let kind = EventKind::Arrival { pool: batch.pool(), row: Arc::new(batch.row(row)) };
                        events.push(Event { x, kind });
                        clients.push(batch.clients().get(row));
                    }
                }
            }
        }
        let &Frame { after, through, time_ms, stable, .. } = frame;
        let audience = frame.audience.clone();
        LoggedFrame { frame: Arc::new(LogFrame { after, through, time_ms, stable, audience, events }), clients }
    }
}

/// A frame from the wire, event by event.
///
/// # Errors
/// When an event in it is not complete, or not in its place.
pub fn log_frame(frame: storage_pb::LogFrame) -> Result<LogFrame, ConvertError> {
    Ok(column_frame(frame)?.to_events())
}

/// A frame from the wire, as a slice reads it. Its columns share the message's bytes.
///
/// # Errors
/// When an event in it is not complete, or not in its place.
pub fn column_frame(frame: storage_pb::LogFrame) -> Result<ColumnFrame, ConvertError> {
    let storage_pb::LogFrame { after, through, time_ms, stable, events, arrivals, audience } = frame;
    let head = LogFrame {
        after: EventId(after),
        through: EventId(through),
        time_ms,
        stable: Stable(EventId(stable)),
        audience: self::audience(audience),
        events: events.into_iter().map(event).collect::<Result<_, _>>()?,
    };
    let arrived = |sent: &storage_pb::Arrivals| {
        let (xs, columns) = self::arrivals(after, sent)?;
        Ok::<_, ConvertError>(Arrivals::new(PoolId(sent.pool), xs, columns))
    };
    let arrivals = arrivals.iter().map(arrived).collect::<Result<_, _>>()?;
    ColumnFrame::new(head, arrivals).map_err(|OutOfOrder { .. }| ConvertError::Order { through })
}

/// Runs of events ascend, and are within their frame.
fn check_order(after: u64, through: u64, runs: impl Iterator<Item = (EventId, EventId)>) -> Result<(), ConvertError> {
    let mut last = after;
    for (first, end) in runs {
        if first.0 <= last || end < first {
            return Err(ConvertError::Order { through });
        }
        last = end.0;
    }
    if last > through { Err(ConvertError::Order { through }) } else { Ok(()) }
}

/// The ids and the attributes of arrivals that come as columns.
fn arrivals(after: u64, arrivals: &storage_pb::Arrivals) -> Result<(Vec<EventId>, Vec<Column>), ConvertError> {
    let count = arrivals.distances.len() / 4;
    fixed::<4>("distances", count, &arrivals.distances)?;
    let distances = arrivals.distances.as_chunks().0.iter().map(|distance| u32::from_le_bytes(*distance));
    let xs = distances.map(|distance| EventId(after.saturating_add(distance.into()))).collect();
    let columns = arrivals.columns.iter().map(|column| columns::column(count, column));
    Ok((xs, columns.collect::<Result<_, _>>()?))
}

/// A frame, with all its events. It does not say who is concerned.
#[must_use]
pub fn log_frame_pb(frame: &PartFrame) -> storage_pb::LogFrame {
    log_frame_part_pb(frame, (frame.after, frame.through), &Audience::All, |_, _| true)
}

/// A frame with some of its events, as sent: see [`frame::pick`].
#[must_use]
pub fn log_frame_part_pb(
    frame: &PartFrame,
    (after, through): (EventId, EventId),
    audience: &Audience,
    needs: impl Fn(usize, usize) -> bool,
) -> storage_pb::LogFrame {
    column_frame_pb(&frame::pick(frame, (after, through), audience, needs, Planted::default()))
}

/// A frame of columns, as sent.
fn column_frame_pb(frame: &ColumnFrame) -> storage_pb::LogFrame {
    let after = frame.after();
    let arrivals = |arrivals: &Arrivals| {
        let distance = |x: &EventId| u32::try_from(x.0 - after.0).expect("a frame has fewer events").to_le_bytes();
        storage_pb::Arrivals {
            pool: arrivals.pool().0,
            distances: numbers(arrivals.xs().iter().map(distance)),
            columns: arrivals.columns().iter().map(column_pb).collect(),
        }
    };
    storage_pb::LogFrame {
        after: after.0,
        through: frame.through().0,
        time_ms: frame.time_ms(),
        stable: frame.stable().event().0,
        events: frame.events().iter().map(event_pb).collect(),
        arrivals: frame.arrivals().iter().map(arrivals).collect(),
        audience: audience_pb(frame.audience()),
    }
}

/// A frame as it is logged.
#[must_use]
pub fn log_record_pb(frame: &PartFrame) -> Record {
    let runs = || {
        frame.events.iter().filter_map(|part| match part {
            Part::Arrivals(_, run) => Some(run),
            Part::Event(_) => None,
        })
    };
    let client_columns = match (runs().next(), runs().nth(1)) {
        (None, _) => None,
        (Some(only), None) if only.is_all() => Some(client_columns_pb(only.batch.clients())),
        _ => {
            let mut writer = ClientWriter::default();
            for Run { batch, rows } in runs() {
                rows.clone().for_each(|row| writer.push_of(batch.clients(), row));
            }
            Some(client_columns_pb(&writer.finish()))
        }
    };
    let columnar_frame = Some(log_frame_pb(frame));
    let record = storage_pb::LogRecord { columnar_frame, client_columns, ..storage_pb::LogRecord::default() };
    Record::new(frame.through.0, record.encode_to_vec())
}

fn client_columns_pb(clients: &ClientColumns) -> storage_pb::ClientColumns {
    storage_pb::ClientColumns {
        keys: Some(texts_pb(&clients.keys)),
        payloads: clients.payloads.as_ref().map(byte_strings_pb),
        ttls_ms: clients.ttls_ms.clone().unwrap_or_default(),
        idempotency_keys: clients.idempotency_keys.as_ref().map(texts_pb),
        owners: clients.owners.as_ref().map(texts_pb),
    }
}

/// A frame read back from the log, event by event.
///
/// # Errors
/// When the record is not one, or its parts do not fit together.
pub fn log_record(record: &Record) -> Result<LoggedFrame, ConvertError> {
    Ok(LoggedFrame::of(&log_parts(record, false)?))
}

/// A frame read back from the log. It shares the record's bytes, unless it is to be kept.
///
/// # Errors
/// When the record is not one, or its parts do not fit together.
pub fn log_parts(record: &Record, kept: bool) -> Result<PartFrame, ConvertError> {
    let decoded: storage_pb::LogRecord = decode(record)?;
    let frame = decoded.columnar_frame.or(decoded.frame).ok_or(ConvertError::Missing("frame"))?;
    let (after, through) = (frame.after, frame.through);
    let mut events = Vec::new();
    // By the event: the pool, the place among the arrivals' columns, or the row of one that is logged by itself.
    let mut arrived = Vec::new();
    for sent in frame.events {
        match event(sent)? {
            Event { x, kind: EventKind::Arrival { pool, row } } => arrived.push((x, pool, Arrived::Row(row))),
            event => events.push(Part::Event(event)),
        }
    }
    let mut columns = Vec::new();
    for sent in &frame.arrivals {
        let (xs, attributes) = arrivals(after, sent)?;
        check_order(after, through, xs.iter().map(|&x| (x, x)))?;
        let at = columns.len();
        let pool = PoolId(sent.pool);
        arrived.extend(xs.into_iter().enumerate().map(|(row, x)| (x, pool, Arrived::Column(at, row))));
        columns.push(attributes);
    }
    arrived.sort_by_key(|&(x, ..)| x);
    let clients = match &decoded.client_columns {
        Some(columns) => client_columns(arrived.len(), columns)?,
        None => {
            let mut writer = ClientWriter::default();
            for storage_pb::ClientPart { key, payload, ttl_ms, idempotency_key, .. } in &decoded.clients {
                writer.push(key.as_bytes(), payload, *ttl_ms, idempotency_key.as_bytes());
            }
            writer.finish()
        }
    };
    if arrived.len() != clients.keys.len() {
        let (arrivals, clients) = (arrived.len(), clients.keys.len());
        return Err(ConvertError::Clients { through, arrivals, clients });
    }
    let mut parts = events;
    if let ([columns], true) = (&*columns, frame.arrivals.len() == 1 && arrived_alone(&arrived)) {
        let batch = Batch::new(arrived[0].1, columns.clone(), clients);
        let batch = Arc::new(if kept { batch.compact() } else { batch });
        parts.extend(runs(&arrived, &batch));
    } else {
        parts.extend(mixed(&arrived, &columns, &clients));
    }
    parts.sort_by_key(|part| ends(part).0);
    check_order(after, through, parts.iter().map(ends))?;
    Ok(Frame {
        after: EventId(after),
        through: EventId(through),
        time_ms: frame.time_ms,
        stable: Stable(EventId(frame.stable)),
        audience: Audience::All,
        events: parts,
    })
}

/// Where the attributes of an arrival are.
enum Arrived {
    Row(Arc<Row>),
    Column(usize, usize),
}

/// Whether all arrivals are in columns, of which there is at least one. With one pool's columns they are the client's,
/// in order.
fn arrived_alone(arrived: &[(EventId, PoolId, Arrived)]) -> bool {
    !arrived.is_empty() && arrived.iter().all(|(.., at)| matches!(at, Arrived::Column(..)))
}

/// The first and the last event of a part.
fn ends(part: &Part) -> (EventId, EventId) {
    match part {
        Part::Event(event) => (event.x, event.x),
        Part::Arrivals(first, run) => (*first, EventId(first.0 + run.rows.len() as u64 - 1)),
    }
}

/// Runs of neighbouring arrivals, which are a batch in this order.
fn runs(arrived: &[(EventId, PoolId, Arrived)], batch: &Arc<Batch>) -> Vec<Part> {
    let mut row = 0;
    let neighbours = arrived.chunk_by(|(one, ..), (next, ..)| next.0 == one.0 + 1);
    let run = |run: &[(EventId, PoolId, Arrived)]| {
        let rows = row..row + run.len();
        row = rows.end;
        Part::Arrivals(run[0].0, Run { batch: Arc::clone(batch), rows })
    };
    neighbours.map(run).collect()
}

/// Arrivals of several pools, or logged by an earlier version: a batch for each run of one pool.
fn mixed(arrived: &[(EventId, PoolId, Arrived)], columns: &[Vec<Column>], clients: &ClientColumns) -> Vec<Part> {
    let mut client = 0;
    let neighbours = arrived.chunk_by(|(one, pool, _), (next, of, _)| next.0 == one.0 + 1 && pool == of);
    let run = |run: &[(EventId, PoolId, Arrived)]| {
        let row = |(.., at): &(EventId, PoolId, Arrived)| match at {
            Arrived::Row(row) => Arc::clone(row),
            Arrived::Column(of, row) => Arc::new(Row::from_values(columns[*of].iter().map(|column| column.get(*row)))),
        };
        let rows: Vec<Arc<Row>> = run.iter().map(row).collect();
        let parts: Vec<ClientPart> = (client..client + run.len()).map(|client| clients.get(client)).collect();
        client += run.len();
        let elements: Vec<_> = rows.iter().map(|row| &**row).zip(&parts).collect();
        Part::Arrivals(run[0].0, Run::all(Arc::new(Batch::of(run[0].1, &elements))))
    };
    neighbours.map(run).collect()
}

fn client_columns(count: usize, columns: &storage_pb::ClientColumns) -> Result<ClientColumns, ConvertError> {
    let storage_pb::ClientColumns { keys, payloads, ttls_ms, idempotency_keys, owners } = columns;
    let keys = keys.as_ref().ok_or(ConvertError::Missing("keys"))?;
    clients::clients(count, keys, payloads.as_ref(), ttls_ms, idempotency_keys.as_ref(), owners.as_ref())
}

pub(super) fn decode<M: Message + Default>(record: &Record) -> Result<M, ConvertError> {
    M::decode(record.bytes.clone())
        .map_err(|error| ConvertError::Record { through: record.through, reason: error.to_string() })
}

/// A copy of its own: a slice of a record would keep the whole record in memory.
pub(super) fn compact(bytes: Bytes) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

pub(super) fn reason(number: i32) -> Result<WithdrawReason, ConvertError> {
    match storage_pb::WithdrawReason::try_from(number) {
        Ok(storage_pb::WithdrawReason::Client) => Ok(WithdrawReason::Client),
        Ok(storage_pb::WithdrawReason::Expired) => Ok(WithdrawReason::Expired),
        Ok(storage_pb::WithdrawReason::Dropped) => Ok(WithdrawReason::Dropped),
        Ok(storage_pb::WithdrawReason::Unspecified) | Err(_) => {
            Err(ConvertError::Enum { what: "withdraw reason", found: number })
        }
    }
}

pub(super) fn reason_pb(reason: WithdrawReason) -> storage_pb::WithdrawReason {
    match reason {
        WithdrawReason::Client => storage_pb::WithdrawReason::Client,
        WithdrawReason::Expired => storage_pb::WithdrawReason::Expired,
        WithdrawReason::Dropped => storage_pb::WithdrawReason::Dropped,
    }
}

fn event(event: storage_pb::Event) -> Result<Event, ConvertError> {
    use storage_pb::event::Kind;
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
        Kind::PoolClosed(closed) => EventKind::PoolClosed { pool: PoolId(closed.pool) },
        Kind::PoolDropped(dropped) => EventKind::PoolDropped { pool: PoolId(dropped.pool) },
    };
    Ok(Event { x: EventId(event.event_id), kind })
}

pub(super) fn event_pb(event: &Event) -> storage_pb::Event {
    use storage_pb::event::Kind;
    let kind = match &event.kind {
        EventKind::Arrival { pool, row } => Kind::Arrival(storage_pb::Arrival { pool: pool.0, row: Some(row_pb(row)) }),
        EventKind::Withdrawal { element, pool, reason } => Kind::Withdrawal(storage_pb::Withdrawal {
            element: element.0,
            reason: reason_pb(*reason).into(),
            pool: Some(pool.0),
        }),
        EventKind::Reprobe { element, pool, arrived_ms, row } => Kind::Reprobe(storage_pb::Reprobe {
            element: element.0,
            pool: pool.0,
            arrived_ms: *arrived_ms,
            row: Some(row_pb(row)),
        }),
        EventKind::PoolDefined { pool, definition } => Kind::PoolDefined(storage_pb::PoolDefined {
            pool: pool.0,
            definition: Some(pool_definition_pb(definition)),
        }),
        EventKind::PoolClosed { pool } => Kind::PoolClosed(storage_pb::PoolClosed { pool: pool.0 }),
        EventKind::PoolDropped { pool } => Kind::PoolDropped(storage_pb::PoolDropped { pool: pool.0 }),
    };
    storage_pb::Event { event_id: event.x.0, kind: Some(kind) }
}
