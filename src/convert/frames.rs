//! Log frames, and the records of the two stores.

use std::sync::Arc;

use bytes::Bytes;
use dovetail_core::{
    ElementId, Event, EventId, EventKind, LogFrame, PoolId, WithdrawReason,
    ledger::{ClientPart, Outcome, OutcomeEnd},
};
use dovetail_log::Record;
use prost::Message;

use super::{ConvertError, pool_definition, pool_definition_pb, row, row_pb};
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
/// When an event in it is not complete.
pub fn log_frame(frame: pb::LogFrame) -> Result<LogFrame, ConvertError> {
    Ok(LogFrame {
        after: EventId(frame.after),
        through: EventId(frame.through),
        time_ms: frame.time_ms,
        stable: EventId(frame.stable),
        events: frame.events.into_iter().map(event).collect::<Result<_, _>>()?,
    })
}

/// A frame, as sent.
#[must_use]
pub fn log_frame_pb(frame: &LogFrame) -> pb::LogFrame {
    pb::LogFrame {
        after: frame.after.0,
        through: frame.through.0,
        time_ms: frame.time_ms,
        stable: frame.stable.0,
        events: frame.events.iter().map(event_pb).collect(),
    }
}

/// A frame as it is logged.
#[must_use]
pub fn log_record_pb(logged: &LoggedFrame) -> Record {
    let arrivals = logged.frame.events.iter().filter(|event| matches!(event.kind, EventKind::Arrival { .. }));
    let clients = arrivals.zip(&logged.clients).map(|(event, client)| pb::ClientPart {
        element: event.x.0,
        key: client.key.as_ref().to_owned(),
        payload: client.payload.clone(),
        ttl_ms: client.ttl_ms,
        idempotency_key: client.idempotency_key.clone().into(),
    });
    let record = pb::LogRecord { frame: Some(log_frame_pb(&logged.frame)), clients: clients.collect() };
    Record::new(logged.frame.through.0, record.encode_to_vec())
}

/// A frame read back from the log.
///
/// # Errors
/// When the record is not one, or its parts do not fit together.
pub fn log_record(record: &Record) -> Result<LoggedFrame, ConvertError> {
    let decoded: pb::LogRecord = decode(record)?;
    let frame = log_frame(decoded.frame.ok_or(ConvertError::Missing("frame"))?)?;
    let arrivals = frame.events.iter().filter(|event| matches!(event.kind, EventKind::Arrival { .. })).count();
    if arrivals != decoded.clients.len() {
        let clients = decoded.clients.len();
        return Err(ConvertError::Clients { through: frame.through.0, arrivals, clients });
    }
    let clients = decoded.clients.into_iter().map(|client| ClientPart {
        key: client.key.into(),
        payload: compact(client.payload),
        ttl_ms: client.ttl_ms,
        idempotency_key: client.idempotency_key.into(),
    });
    Ok(LoggedFrame { clients: clients.collect(), frame: Arc::new(frame) })
}

/// Outcomes as they are stored: everything decided up to `through` since the record before.
#[must_use]
pub fn result_record_pb(through: EventId, outcomes: &[Arc<Outcome>]) -> Record {
    let outcomes = outcomes.iter().map(|outcome| pb::StoredOutcome {
        x: outcome.x.0,
        pool: outcome.pool.0,
        time_ms: outcome.time_ms,
        element: Some(end_pb(&outcome.element)),
        anchor: outcome.anchor.as_ref().map(end_pb),
        reason: outcome.reason.map_or(pb::WithdrawReason::Unspecified, reason_pb).into(),
    });
    let record = pb::ResultRecord { through: through.0, outcomes: outcomes.collect(), begins: false };
    Record::new(through.0, record.encode_to_vec())
}

/// The first record of results that do not reach back to the log's beginning: nothing up to `through` is kept.
#[must_use]
pub fn results_begin_pb(through: EventId) -> Record {
    let record = pb::ResultRecord { through: through.0, outcomes: Vec::new(), begins: true };
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
    decoded.outcomes.into_iter().map(outcome).collect()
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

fn end_pb(end: &OutcomeEnd) -> pb::OutcomeEnd {
    pb::OutcomeEnd { id: end.id.0, key: end.key.as_ref().to_owned(), payload: end.payload.clone() }
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
