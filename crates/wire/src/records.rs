//! Records of the log: frames with what only the balancer needs of their arrivals.
//!
//! A record is encoded where it is written from, out of the batches that clients sent. What versions before wrote, in
//! events or in columns of each pool, is read.

use std::{mem, sync::Arc};

use bytes::Bytes;
use dovetail_core::{
    Audience, Event, EventId, EventKind, Frame, LogFrame, PoolId, Stable,
    batch::{Batch, ClientColumns, ClientWriter, Column, Run},
    ledger::ClientPart,
};
use dovetail_log::Record;
use dovetail_node::balancer::{Part, PartFrame};
use dovetail_rule::Row;
use prost::Message;

use super::clients;
use super::error::ConvertError;
use super::frames::{arrivals, check_order, event, event_pb};
use super::prepared::Prepared;
use crate::storage_pb;
use dovetail::columns::{self, byte_strings_pb, column_pb, texts_pb};

/// Runs of fewer elements are logged together with their neighbours of the pool.
const JOINED: usize = 32;

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

/// A frame as it is logged.
#[must_use]
pub fn log_record_pb(frame: &PartFrame) -> Prepared<storage_pb::LogRecord> {
    let (mut events, mut runs) = (Vec::new(), Vec::new());
    for parts in frame.events.chunk_by(are_one_run) {
        match parts {
            [Part::Arrivals(first, run)] => runs.push(run_pb(*first, run)),
            [Part::Arrivals(first, _), ..] => runs.extend(joined(parts).map(|batch| batch_pb(*first, &batch))),
            _ => events.extend(parts.iter().filter_map(|part| match part {
                Part::Event(event) => Some(event_pb(event)),
                Part::Arrivals(..) => None,
            })),
        }
    }
    let run_frame = storage_pb::LogFrame {
        after: frame.after.0,
        through: frame.through.0,
        time_ms: frame.time_ms,
        stable: frame.stable.event().0,
        events,
        ..storage_pb::LogFrame::default()
    };
    let record = storage_pb::LogRecord { run_frame: Some(run_frame), runs, ..storage_pb::LogRecord::default() };
    Prepared::new(frame.through.0, record)
}

/// Whether two neighbouring parts are logged as one run: few elements each, which columns of their own would cost more
/// than a copy.
fn are_one_run(one: &Part, next: &Part) -> bool {
    let (Part::Arrivals(first, run), Part::Arrivals(then, following)) = (one, next) else { return false };
    let few = |run: &Run| run.rows.len() < JOINED;
    few(run)
        && few(following)
        && run.batch.pool() == following.batch.pool()
        && first.0 + run.rows.len() as u64 == then.0
}

/// The elements of neighbouring parts of one pool.
fn joined(parts: &[Part]) -> Option<Batch> {
    let runs = parts.iter().filter_map(|part| if let Part::Arrivals(_, run) = part { Some(run) } else { None });
    let rows: Vec<(&Batch, usize)> = runs.flat_map(|run| run.rows.clone().map(move |row| (&*run.batch, row))).collect();
    Batch::pick(rows.iter().copied())
}

fn run_pb(first: EventId, run: &Run) -> storage_pb::LoggedRun {
    if run.is_all() { batch_pb(first, &run.batch) } else { batch_pb(first, &run.batch.part(run.rows.clone())) }
}

fn batch_pb(first: EventId, batch: &Batch) -> storage_pb::LoggedRun {
    storage_pb::LoggedRun {
        pool: batch.pool().0,
        first: first.0,
        columns: batch.attributes().iter().map(column_pb).collect(),
        clients: Some(client_columns_pb(batch.clients())),
    }
}

pub(super) fn client_columns_pb(clients: &ClientColumns) -> storage_pb::ClientColumns {
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
    let mut decoded: storage_pb::LogRecord = decode(record)?;
    if let Some(frame) = decoded.run_frame.take() {
        return in_runs(frame, &decoded.runs, kept);
    }
    let mut frame = decoded.columnar_frame.or(decoded.frame).ok_or(ConvertError::Missing("frame"))?;
    let (after, through) = (frame.after, frame.through);
    let mut events = Vec::new();
    // By the event: the pool, the place among the arrivals' columns, or the row of one that is logged by itself.
    let mut arrived = Vec::new();
    for sent in mem::take(&mut frame.events) {
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
    of_parts(&frame, parts)
}

/// A frame whose arrivals were logged as the batches they came in.
fn in_runs(
    mut frame: storage_pb::LogFrame,
    runs: &[storage_pb::LoggedRun],
    kept: bool,
) -> Result<PartFrame, ConvertError> {
    let through = frame.through;
    let mut parts = Vec::with_capacity(frame.events.len() + runs.len());
    for sent in mem::take(&mut frame.events) {
        match event(sent)? {
            Event { kind: EventKind::Arrival { .. }, .. } => {
                return Err(ConvertError::Clients { through, arrivals: 1, clients: 0 });
            }
            event => parts.push(Part::Event(event)),
        }
    }
    for storage_pb::LoggedRun { pool, first, columns, clients } in runs {
        let clients = clients.as_ref().ok_or(ConvertError::Missing("clients"))?;
        let count = clients.keys.as_ref().map_or(0, |keys| keys.ends.len() / 4);
        // So that its last event is one.
        let end = first.checked_add(count as u64).filter(|_| *first > 0 && count > 0);
        end.filter(|end| end - 1 <= through).ok_or(ConvertError::Order { through })?;
        let attributes = columns.iter().map(|column| columns::column(count, column)).collect::<Result<_, _>>()?;
        let batch = Batch::new(PoolId(*pool), attributes, client_columns(count, clients)?);
        let batch = Arc::new(if kept { batch.compact() } else { batch });
        parts.push(Part::Arrivals(EventId(*first), Run::all(batch)));
    }
    of_parts(&frame, parts)
}

/// A frame of parts in any order, which cover no event twice.
fn of_parts(frame: &storage_pb::LogFrame, mut parts: Vec<Part>) -> Result<PartFrame, ConvertError> {
    parts.sort_by_key(|part| ends(part).0);
    check_order(frame.after, frame.through, parts.iter().map(ends))?;
    Ok(Frame {
        after: EventId(frame.after),
        through: EventId(frame.through),
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
