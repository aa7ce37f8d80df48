//! Log frames, as matchers read them. New elements travel as columns.

use std::sync::Arc;

use dovetail_core::{
    Audience, ElementId, Event, EventId, EventKind, LogFrame, PoolId, Stable, WithdrawReason,
    batch::{Column, column::numbers},
    column_frame::{Arrivals, ColumnFrame, OutOfOrder},
    planted::Planted,
};
use dovetail_node::balancer::{PartFrame, frame};

use super::audience::{audience, audience_pb};
use super::error::ConvertError;
use super::pools::{pool_definition, pool_definition_pb};
use super::values::{row, row_pb};
use crate::storage_pb;
use dovetail::columns::{self, column_pb, fixed};

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
pub(super) fn check_order(
    after: u64,
    through: u64,
    runs: impl Iterator<Item = (EventId, EventId)>,
) -> Result<(), ConvertError> {
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
pub(super) fn arrivals(
    after: u64,
    arrivals: &storage_pb::Arrivals,
) -> Result<(Vec<EventId>, Vec<Column>), ConvertError> {
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

pub(super) fn event(event: storage_pb::Event) -> Result<Event, ConvertError> {
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
