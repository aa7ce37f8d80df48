//! What a balancer refuses, and how it says so: one exhaustive match from errors to a [`Fault`], which becomes a status
//! or a row's refusal.

use std::time::Duration;

use dovetail_core::{
    DefineError, EventId,
    ledger::{KEY_BYTES_MAX, PAYLOAD_BYTES_CAP, SubmitError},
    pool::{DELAY_MS_MAX, POOL_NAME_BYTES_MAX, REPROBES_MAX, name_prefix},
};
use dovetail_node::balancer::{FeedRefused, FetchRefused, Gone};
use dovetail_rule::{LIST_LEN_MAX, RowError, STRING_BYTES_MAX};
use thiserror::Error;
use tonic::Status;

use super::{
    quota::QuotaError,
    refused::{DefinePoolError, DropPoolError, ElementName, NotWritten, POOLS_MAX, RowRefused},
    reign,
    tailed_log::TailError,
};
use crate::{
    fault::{Fault, Resource},
    rpc::Spent,
};
use dovetail::{batch::ROWS_MAX, reason::Reason};
use dovetail_wire::ConvertError;

/// Why a request is refused.
#[derive(Debug, Error)]
pub(super) enum RequestError {
    /// A field that must be set is not.
    #[error("{what}: set {field}")]
    Missing { what: &'static str, field: &'static str },
    /// A number is above its bound.
    #[error("{field} is {found}, at most {most}")]
    Above { field: &'static str, found: u64, most: u64 },
    /// Fields that exclude each other.
    #[error("{} and {} are set, which exclude each other", fields[0], fields[1])]
    Conflict { fields: [&'static str; 2] },
    /// No pool can have that name.
    #[error("pool name is {found} bytes, at most {POOL_NAME_BYTES_MAX}")]
    PoolName { found: usize },
    /// No element can have that key.
    #[error("{field} is {found} bytes, at most {KEY_BYTES_MAX}")]
    KeyLength { field: &'static str, found: usize },
    /// A batch has too many rows.
    #[error("a batch of {found} rows, at most {ROWS_MAX}")]
    BatchSize { found: usize },
    /// A row that cannot be read.
    #[error("row {row}: {error}")]
    RowMalformed { row: usize, error: prost::DecodeError },
    /// Columns that do not fit each other.
    #[error(transparent)]
    Columns(ConvertError),
    /// A definition that cannot be read.
    #[error(transparent)]
    Definition(ConvertError),
    /// A filter that no element of the pool can fit.
    #[error("filter: {0}")]
    Filter(RowRefused),
    /// A condition that no element can fit: an attribute that is NaN is a missing one.
    #[error("filter: attribute {0:?} is NaN, which is the same as none, and no element has it")]
    FilterNan(String),
    /// A page token that was not handed out.
    #[error("page_token {0:?} is not one that this call hands out")]
    PageToken(String),
    /// A value of an enum that there is not.
    #[error("{field} is {found}, but must be 0 to {most}")]
    NoSuch { field: &'static str, found: i32, most: i32 },
    /// No such pool.
    #[error("pool {0:?} is not defined")]
    UnknownPool(String),
    /// No such element.
    #[error("{0} is not known")]
    UnknownElement(ElementName),
    /// An element that is not let in.
    #[error(transparent)]
    Row(#[from] RowRefused),
    /// A pool that is not defined.
    #[error(transparent)]
    Define(#[from] DefinePoolError),
    /// A pool that is not dropped.
    #[error(transparent)]
    Drop(#[from] DropPoolError),
    /// A cap of things at a time is reached.
    #[error("{}", spent.text(what, name))]
    Limit { spent: Spent, what: &'static str, name: &'static str },
    /// The wall clock cannot be believed.
    #[error(
        "the balancer's wall clock says {wall_ms} ms since 1970, {ahead} more than the {event_ms} by its boot-time clock, and is not \
         followed: set it right, or accept it by `dovetail clock accept`; reads go on"
    )]
    Clock { wall_ms: u64, event_ms: u64, ahead: String },
    /// Not acknowledged, but perhaps on its way to the disk: a retry with the same idempotency key finds out.
    #[error("the balancer's disk is full, and this was not acknowledged; try again, with the same idempotency key")]
    DiskFull,
    /// The engine that keeps the log does not answer.
    #[error(
        "the log does not answer: this was not acknowledged, and may come to it later; try again with the same \
         idempotency key"
    )]
    LogSilent,
    /// A cursor or position above the highest id.
    #[error("{what} {found} is from the future: the highest id is {}", highest.0)]
    Future { what: &'static str, found: u64, highest: EventId },
    /// A reader of the log that cannot go on.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// A position is not there in time.
    #[error("position {} is not {what} after {ms} ms: everything up to {} is", at.0, there.0)]
    NotReached { what: &'static str, at: EventId, there: EventId, ms: u32 },
    /// The engine is gone.
    #[error("the node is stopping")]
    Stopping,
    /// A fault of this node.
    #[error("{0}")]
    Internal(String),
}

impl RequestError {
    fn fault(&self) -> Fault {
        let fault = |reason| Fault::new(reason, self.to_string());
        match self {
            RequestError::Missing { field, .. } => fault(Reason::FieldMissing).at(*field),
            RequestError::Above { field, found, most } => {
                fault(Reason::OutOfBounds).at(*field).with("value", found).with("bound", most)
            }
            RequestError::Conflict { fields } => fault(Reason::FieldsConflict).at(fields[0]),
            RequestError::PoolName { found } => {
                fault(Reason::PoolName).at("pool").with("value", found).with("bound", POOL_NAME_BYTES_MAX)
            }
            RequestError::KeyLength { field, found } => {
                fault(Reason::KeyLength).at(*field).with("value", found).with("bound", KEY_BYTES_MAX)
            }
            RequestError::BatchSize { found } => {
                fault(Reason::BatchSize).at("batch").with("value", found).with("bound", ROWS_MAX)
            }
            RequestError::RowMalformed { row, .. } => fault(Reason::MessageMalformed).at(format!("rows.rows[{row}]")),
            RequestError::Columns(_) => fault(Reason::ColumnsMalformed).at("columns"),
            RequestError::Definition(_) => fault(Reason::MessageMalformed).at("pool"),
            RequestError::Filter(row) => of_row(row, fault(row_reason(row))),
            RequestError::FilterNan(attribute) => {
                let at = format!("filter.attributes[{attribute:?}]");
                fault(Reason::AttributeNoValue).at(at).with("attribute", attribute).with("value", "NaN")
            }
            RequestError::PageToken(token) => fault(Reason::PageToken).at("page_token").with("value", token),
            RequestError::NoSuch { field, found, most } => {
                fault(Reason::OutOfBounds).at(*field).with("value", found).with("bound", most)
            }
            RequestError::UnknownPool(pool) => fault(Reason::PoolUnknown).of(Resource::Pool, pool).with("pool", pool),
            RequestError::UnknownElement(ElementName::Id(element)) => {
                fault(Reason::ElementUnknown).of(Resource::Element, element.0.to_string()).with("element", element.0)
            }
            RequestError::UnknownElement(ElementName::Key { pool, key }) => {
                fault(Reason::ElementUnknown).of(Resource::Element, key).with("pool", pool).with("key", key)
            }
            RequestError::Row(row) => of_row(row, fault(row_reason(row))),
            RequestError::Define(error) => of_definition(error, fault),
            RequestError::Drop(DropPoolError::Unknown(pool)) => {
                fault(Reason::PoolUnknown).of(Resource::Pool, pool).with("pool", pool)
            }
            RequestError::Drop(DropPoolError::Another { name, found, meant }) => {
                let fault = fault(Reason::PoolIsAnother).of(Resource::Pool, name).with("pool", name);
                fault.at("defined_at").with("value", meant.0).with("defined_at", found.0)
            }
            RequestError::Limit { spent, what, name } => spent.fault(what, name),
            RequestError::Clock { wall_ms, event_ms, .. } => {
                fault(Reason::ClockJumped).with("wall_ms", wall_ms).with("event_ms", event_ms)
            }
            RequestError::DiskFull => fault(Reason::DiskFull),
            RequestError::LogSilent => fault(Reason::LogSilent),
            RequestError::Future { found, highest, .. } => {
                fault(Reason::CursorFromFuture).with("value", found).with("bound", highest.0)
            }
            RequestError::Tail(error) => of_tail(error, fault),
            RequestError::NotReached { at, there, .. } => {
                fault(Reason::PositionNotReached).with("value", at.0).with("reached", there.0)
            }
            RequestError::Stopping => fault(Reason::NodeStopping),
            RequestError::Internal(_) => fault(Reason::Internal),
        }
    }
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Status {
        error.fault().into()
    }
}

impl From<NotWritten> for Status {
    fn from(why: NotWritten) -> Status {
        match why {
            NotWritten::DiskFull => RequestError::DiskFull.into(),
            NotWritten::LogSilent => RequestError::LogSilent.into(),
            NotWritten::StandsBy(writes) => reign::stands_by(writes.as_ref()),
        }
    }
}

/// The engine is gone: the node is stopping.
pub(super) fn stopping<E>(_: E) -> Status {
    RequestError::Stopping.into()
}

/// Refuses names that no pool can have, before anything is made of them.
pub(super) fn check_pool_name(name: &str) -> Result<(), RequestError> {
    match name.len() {
        0..=POOL_NAME_BYTES_MAX => Ok(()),
        found => Err(RequestError::PoolName { found }),
    }
}

/// Whether a pool can have that name.
pub(super) fn is_pool_name(name: &str) -> bool {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=POOL_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(named)
}

/// Why a row was refused, for programs. Cheap: there may be many.
pub(super) fn row_reason(refused: &RowRefused) -> Reason {
    match refused {
        RowRefused::Convert(error) => convert_reason(error),
        RowRefused::Submit(error) => match error {
            SubmitError::UnknownPool(_) => Reason::PoolUnknown,
            SubmitError::PoolDropping(_) => Reason::PoolDropping,
            SubmitError::KeyLength { .. } => Reason::KeyLength,
            SubmitError::IdempotencyKeyLength { .. } => Reason::IdempotencyKeyLength,
            SubmitError::KeyWaiting { .. } => Reason::KeyWaiting,
            SubmitError::Row { source, .. } => attribute_reason(source),
            SubmitError::Payload { .. } => Reason::PayloadSize,
            SubmitError::ElementBytes { .. } => Reason::ElementSize,
            SubmitError::Ttl { .. } => Reason::TtlLength,
            SubmitError::PoolFull { .. } | SubmitError::PoolBytesFull { .. } => Reason::PoolFull,
            SubmitError::TotalFull { .. }
            | SubmitError::ShareFull { .. }
            | SubmitError::GroupFull { .. }
            | SubmitError::TotalBytesFull { .. }
            | SubmitError::ShareBytesFull { .. }
            | SubmitError::GroupBytesFull { .. } => Reason::AllPoolsFull,
            SubmitError::IdempotencyFull { .. } => Reason::IdempotencyFull,
            SubmitError::IdempotencyMismatch { .. } => Reason::IdempotencyKeyReused,
            SubmitError::Undecided { .. } => Reason::KeyUndecided,
            SubmitError::SearchCost { .. } => Reason::SearchCost,
            SubmitError::SearchBusy { .. } => Reason::SearchBusy,
            SubmitError::TimersLate { .. } => Reason::TimersLate,
        },
    }
}

/// The element that has the key of a refused row, or that its idempotency key made.
pub(super) fn row_holder(refused: &RowRefused) -> Option<u64> {
    match refused {
        RowRefused::Submit(
            SubmitError::KeyWaiting { element, .. } | SubmitError::IdempotencyMismatch { element, .. },
        ) => Some(element.0),
        RowRefused::Submit(
            SubmitError::UnknownPool(_)
            | SubmitError::PoolDropping(_)
            | SubmitError::KeyLength { .. }
            | SubmitError::IdempotencyKeyLength { .. }
            | SubmitError::Row { .. }
            | SubmitError::Payload { .. }
            | SubmitError::Ttl { .. }
            | SubmitError::Undecided { .. }
            | SubmitError::ElementBytes { .. }
            | SubmitError::SearchCost { .. }
            | SubmitError::SearchBusy { .. }
            | SubmitError::TimersLate { .. }
            | SubmitError::PoolFull { .. }
            | SubmitError::TotalFull { .. }
            | SubmitError::ShareFull { .. }
            | SubmitError::GroupFull { .. }
            | SubmitError::PoolBytesFull { .. }
            | SubmitError::TotalBytesFull { .. }
            | SubmitError::ShareBytesFull { .. }
            | SubmitError::GroupBytesFull { .. }
            | SubmitError::IdempotencyFull { .. },
        )
        | RowRefused::Convert(_) => None,
    }
}

fn of_row(refused: &RowRefused, fault: Fault) -> Fault {
    match refused {
        RowRefused::Convert(error) => of_convert(error, fault),
        RowRefused::Submit(error) => match error {
            SubmitError::UnknownPool(pool) | SubmitError::PoolDropping(pool) => {
                fault.of(Resource::Pool, pool).with("pool", pool)
            }
            SubmitError::KeyLength { found } => {
                fault.at("element.key").with("value", found).with("bound", KEY_BYTES_MAX)
            }
            SubmitError::IdempotencyKeyLength { found } => {
                fault.at("element.idempotency_key").with("value", found).with("bound", KEY_BYTES_MAX)
            }
            SubmitError::KeyWaiting { pool, key, element } => {
                let fault = fault.of(Resource::Element, element.0.to_string());
                fault.with("pool", pool).with("key", key).with("element", element.0)
            }
            SubmitError::Row { pool, key, source } => of_attribute(source, fault).with("pool", pool).with("key", key),
            SubmitError::Payload { pool, key, found, bound } => {
                let fault = fault.at("element.payload").with("value", found).with("bound", bound);
                fault.with("pool", pool).with("key", key)
            }
            SubmitError::ElementBytes { key, found, bound } => {
                let fault = fault.at("element").with("limit", "element_bytes_max").with("key", key);
                fault.with("value", found).with("bound", bound)
            }
            SubmitError::Ttl { key, found } => {
                fault.at("element.ttl_ms").with("value", found).with("bound", DELAY_MS_MAX).with("key", key)
            }
            SubmitError::Undecided { pool, key, held_ms } => {
                fault.with("pool", pool).with("key", key).with("held_ms", held_ms)
            }
            SubmitError::SearchCost { pool, units, anchors, bound } => {
                let fault = fault.with("pool", pool).with("limit", "search_cost_max").with("bound", bound);
                fault.with("rule_cost", units).with("elements", anchors)
            }
            SubmitError::SearchBusy { pool, key, held_ms } | SubmitError::TimersLate { pool, key, held_ms } => {
                fault.with("pool", pool).with("key", key).with("held_ms", held_ms)
            }
            SubmitError::PoolFull { pool, bound } => {
                fault.with("pool", pool).with("limit", "waiting_max").with("bound", bound)
            }
            SubmitError::TotalFull { bound } => fault.with("limit", "waiting_total_max").with("bound", bound),
            SubmitError::ShareFull { pool, own, all, bound } => {
                let fault = fault.with("pool", pool).with("limit", "waiting_total_max").with("bound", bound);
                fault.with("value", own).with("all", all)
            }
            SubmitError::GroupFull { pool, group, all, bound } => {
                let fault = fault.with("pool", pool).with("limit", "waiting_total_max").with("bound", bound);
                fault.with("prefix", name_prefix(pool)).with("value", group).with("all", all)
            }
            SubmitError::GroupBytesFull { pool, group, all, bound } => {
                let fault = fault.with("pool", pool).with("limit", "waiting_bytes_total_max").with("bound", bound);
                fault.with("prefix", name_prefix(pool)).with("value", group).with("all", all)
            }
            SubmitError::PoolBytesFull { pool, own, bound, .. } => {
                let fault = fault.with("pool", pool).with("limit", "waiting_bytes_max").with("bound", bound);
                fault.with("value", own)
            }
            SubmitError::TotalBytesFull { all, bound, .. } => {
                fault.with("limit", "waiting_bytes_total_max").with("bound", bound).with("value", all)
            }
            SubmitError::ShareBytesFull { pool, own, all, bound } => {
                let fault = fault.with("pool", pool).with("limit", "waiting_bytes_total_max").with("bound", bound);
                fault.with("value", own).with("all", all)
            }
            SubmitError::IdempotencyFull { pool, bound, total, room_ms } => {
                let limit = if *total { "idempotency_total_max" } else { "idempotency_max" };
                let fault = fault.with("pool", pool).with("limit", limit).with("bound", bound);
                fault.with("room_ms", room_ms).after(Duration::from_millis(*room_ms))
            }
            SubmitError::IdempotencyMismatch { key, element } => {
                let fault = fault.of(Resource::Element, element.0.to_string());
                fault.with("key", key).with("element", element.0)
            }
        },
    }
}

fn attribute_reason(error: &RowError) -> Reason {
    match error {
        RowError::Arity { .. } => Reason::MessageMalformed,
        RowError::Kind { .. } | RowError::Inexact { .. } => Reason::AttributeType,
        RowError::Unknown { .. } => Reason::AttributeUnknown,
        RowError::Duplicate { .. } => Reason::AttributeRepeated,
        RowError::StringTooLong { .. } | RowError::ListTooLong { .. } => Reason::AttributeTooLong,
    }
}

fn of_attribute(error: &RowError, fault: Fault) -> Fault {
    let at = |fault: Fault, name: &String| fault.at(format!("element.attributes[{name:?}]")).with("attribute", name);
    match error {
        RowError::Arity { found, declared } => fault.at("element").with("value", found).with("bound", declared),
        RowError::Kind { name, found, declared } => {
            at(fault, name).with("value", found.name()).with("bound", declared.name())
        }
        RowError::Inexact { name, value } => at(fault, name).with("value", value),
        RowError::Unknown { name } | RowError::Duplicate { name } => at(fault, name),
        RowError::StringTooLong { name, bytes } => at(fault, name).with("value", bytes).with("bound", STRING_BYTES_MAX),
        RowError::ListTooLong { name, len } => at(fault, name).with("value", len).with("bound", LIST_LEN_MAX),
    }
}

fn convert_reason(error: &ConvertError) -> Reason {
    match error {
        ConvertError::NoValue(_) => Reason::AttributeNoValue,
        ConvertError::Column(_)
        | ConvertError::AttributeColumns { .. }
        | ConvertError::AttributeName { .. }
        | ConvertError::AttributeColumn { .. } => Reason::ColumnsMalformed,
        ConvertError::Missing(_)
        | ConvertError::Enum { .. }
        | ConvertError::Clients { .. }
        | ConvertError::Order { .. }
        | ConvertError::Pairs { .. }
        | ConvertError::Record { .. } => Reason::MessageMalformed,
    }
}

fn of_convert(error: &ConvertError, fault: Fault) -> Fault {
    match error {
        ConvertError::NoValue(name) => fault.at(format!("element.attributes[{name:?}]")).with("attribute", name),
        ConvertError::Missing(field) => fault.at(*field),
        ConvertError::Enum { what, found } => fault.at(*what).with("value", found),
        ConvertError::AttributeColumns { found } => fault.at("columns.attributes").with("value", found),
        ConvertError::AttributeName { found } => fault.at("columns.attributes.name").with("value", found),
        ConvertError::AttributeColumn { name, .. } => fault.at(format!("columns.attributes[{name:?}]")),
        ConvertError::Column(_) => fault.at("columns"),
        ConvertError::Pairs { field, .. } => fault.at(*field),
        ConvertError::Clients { .. } | ConvertError::Order { .. } | ConvertError::Record { .. } => fault.at("element"),
    }
}

fn of_definition(error: &DefinePoolError, fault: impl Fn(Reason) -> Fault) -> Fault {
    match error {
        DefinePoolError::Redefined(pool, differences) => {
            let fault = fault(Reason::PoolDefinedOtherwise).of(Resource::Pool, pool).with("pool", pool);
            match differences.0.first() {
                Some(first) => {
                    fault.with("field", &first.field).with("value", &first.given).with("defined", &first.defined)
                }
                None => fault,
            }
        }
        DefinePoolError::TooMany => fault(Reason::TooManyPools).with("bound", POOLS_MAX),
        DefinePoolError::Quota { pool, source: QuotaError::Prefix { prefix, count } } => {
            let fault = fault(Reason::PoolQuota).at("pool.name").with("pool", pool).with("prefix", prefix);
            fault.with("limit", "pools_prefix_max").with("bound", count)
        }
        DefinePoolError::Quota { pool, source: QuotaError::Client { client, count } } => {
            let fault = fault(Reason::PoolQuota).with("pool", pool).with("client", client);
            fault.with("limit", "pools_client_max").with("bound", count)
        }
        DefinePoolError::Dropping(pool) => fault(Reason::PoolDropping).of(Resource::Pool, pool).with("pool", pool),
        DefinePoolError::Define(error) => match error {
            DefineError::Name(name) => {
                fault(Reason::PoolName).at("pool.name").with("value", name).with("bound", POOL_NAME_BYTES_MAX)
            }
            DefineError::Schema { pool, .. } => fault(Reason::PoolAttributes).at("pool.attributes").with("pool", pool),
            DefineError::Rule { pool, .. } => fault(Reason::PoolRule).at("pool.rule").with("pool", pool),
            DefineError::ReprobeCount { pool, found } => {
                let fault = fault(Reason::PoolReprobes).at("pool.reprobe_ms").with("pool", pool);
                fault.with("value", found).with("bound", REPROBES_MAX)
            }
            DefineError::ReprobeOrder { pool, before, found } => {
                let fault = fault(Reason::PoolReprobes).at("pool.reprobe_ms").with("pool", pool);
                fault.with("value", found).with("bound", before)
            }
            DefineError::Delay { pool, found, .. } => {
                let fault = fault(Reason::PoolDelay).at("pool").with("pool", pool);
                fault.with("value", found).with("bound", DELAY_MS_MAX)
            }
            DefineError::PayloadBound { pool, found } => {
                let fault = fault(Reason::PoolPayloadBound).at("pool.payload_bytes_max").with("pool", pool);
                fault.with("value", found).with("bound", PAYLOAD_BYTES_CAP)
            }
        },
    }
}

fn of_tail(error: &TailError, fault: impl Fn(Reason) -> Fault) -> Fault {
    match error {
        TailError::Closed => fault(Reason::NodeStopping),
        TailError::Trimmed { cursor, floor } => {
            fault(Reason::CursorTooOld).with("value", cursor.event().0).with("oldest", floor.event().0)
        }
        TailError::Read(_) | TailError::Convert(_) | TailError::Missing { .. } => fault(Reason::LogUnreadable),
        TailError::Thread => fault(Reason::Internal),
    }
}

/// A reader of the log that cannot go on.
pub(super) fn tail(error: TailError) -> Status {
    RequestError::Tail(error).into()
}

/// A reader of the log that is not served.
pub(super) fn feed(refused: FeedRefused) -> Status {
    match refused {
        FeedRefused::Gone(Gone { cursor, floor }) => tail(TailError::Trimmed { cursor, floor }),
        FeedRefused::Ahead { cursor, durable } => {
            let fault = Fault::new(Reason::PeerDiffers, refused.to_string()).with("value", cursor.event().0);
            fault.with("bound", durable.0).into()
        }
    }
}

/// A fetch of stored retirements that is refused. OUT_OF_RANGE is for what is gone: the node that gets it starts from
/// the cut.
pub(super) fn fetch(refused: FetchRefused) -> Status {
    match refused {
        FetchRefused::Gone(Gone { cursor, floor }) => tail(TailError::Trimmed { cursor, floor }),
        FetchRefused::NotStable { through, stable } => {
            let fault = Fault::new(Reason::PeerDiffers, refused.to_string()).with("value", through.0);
            fault.with("bound", stable.event().0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use dovetail_core::Cursor;

    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn a_status_names_the_reason_the_values_the_field_and_the_holder() {
        let waiting =
            SubmitError::KeyWaiting { pool: "duel".into(), key: "ada".into(), element: dovetail_core::ElementId(7) };
        let status = Status::from(RequestError::Row(waiting.into()));
        let details = status.get_error_details();
        assert_eq!(
            (status.code(), details.error_info().unwrap().reason.as_str()),
            (Code::AlreadyExists, "KEY_WAITING")
        );
        assert_eq!(details.error_info().unwrap().metadata["element"], "7");
        assert_eq!(details.resource_info().unwrap().resource_name, "7");
        let trimmed = TailError::Trimmed { cursor: Cursor(EventId(3)), floor: Cursor(EventId(99)) };
        let details = Status::from(RequestError::Tail(trimmed)).get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["oldest"], "99");
        let row = RowError::Kind {
            name: "skill".into(),
            found: dovetail_rule::ValueKind::String,
            declared: dovetail_rule::ValueKind::Int.into(),
        };
        let row = SubmitError::Row { pool: "duel".into(), key: "ada".into(), source: row };
        let details = Status::from(RequestError::Row(row.into())).get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "element.attributes[\"skill\"]");
        assert!(violation.description.contains("is string"), "{violation:?}");
    }

    #[test]
    fn what_a_client_sent_is_not_sent_back_whole() {
        let name = "n".repeat(1 << 20);
        for error in [
            RequestError::UnknownPool(name.clone()),
            RequestError::PageToken(name.clone()),
            RequestError::Define(DefineError::Name(name.clone()).into()),
            RequestError::Row(ConvertError::NoValue(name).into()),
        ] {
            let status = Status::from(error);
            assert!(status.message().len() < 2048 && status.details().len() < 6144, "{}", status.message());
        }
    }
}
