//! Between the wire and the core: every message to the core's type, and back.
//!
//! What comes in is checked for what the core takes for granted (order, presence, numbers in range); what goes out
//! cannot fail.

mod checkpoint;
mod clients;
mod decisions;
mod frames;
mod matches;
mod outcomes;
mod packages;
mod parts;
mod pools;
mod reach;
mod submitted;
#[cfg(test)]
mod tests;

pub use checkpoint::{KeptChunk, ReadChunks, base_chunks};
pub use decisions::{
    candidate_frame, candidate_frame_pb, decision_frame, decision_frame_pb, retirement, retirement_pb,
};
pub use dovetail_node::balancer::{Part, PartFrame};
use frames::event_pb;
pub use frames::{LoggedFrame, log_frame, log_frame_part_pb, log_frame_pb, log_parts, log_record, log_record_pb};
pub use matches::MatchWriter;
pub use outcomes::{
    OutcomeChunk, OutcomeWriter, outcome, outcome_bytes, result_chunk, result_record, result_record_pb, results_begin,
    results_begin_pb,
};
pub use packages::{DESCRIPTORS, node::v1 as node_pb, storage::v1 as storage_pb};
pub use parts::{
    Filling, NODE_MESSAGE_BYTES_MAX, PART_BYTES, candidate_parts, decision_parts, log_frame_parts, retirement_part,
};
pub use pools::{note_pb, pool_definition, pool_definition_pb, slice_cut_part, submission, waiting_pb};
pub use reach::{reach, reach_pb};
pub use submitted::SubmittedColumns;

use std::sync::Arc;

use dovetail_rule::{ATTRIBUTES_MAX, AttributeType, NAME_BYTES_MAX, Row, Value};
use thiserror::Error;

use dovetail::{
    columns::{ColumnError, MatchColumnsError, value},
    pb,
};

/// A message that does not say what it must.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConvertError {
    /// A field is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is absent though its attribute was named.
    #[error("attribute {0:?} has no value; leave out the attributes an element does not have")]
    NoValue(String),
    /// A number names nothing.
    #[error("{what} is {found}, which is not one of them")]
    Enum {
        /// The field.
        what: &'static str,
        /// Its number.
        found: i32,
    },
    /// A log record's client parts do not fit its arrivals.
    #[error("frame through x{through} has {arrivals} arrivals and {clients} client parts")]
    Clients {
        /// The frame.
        through: u64,
        /// Its arrivals.
        arrivals: usize,
        /// Its client parts.
        clients: usize,
    },
    /// Events of a frame that do not ascend, or are not within it.
    #[error("the events of the frame through x{through} do not ascend within it")]
    Order {
        /// The frame.
        through: u64,
    },
    /// Columns that are none.
    #[error(transparent)]
    Column(#[from] ColumnError),
    /// More attribute columns than a pool can have attributes.
    #[error("a batch has {found} attribute columns, at most {ATTRIBUTES_MAX}")]
    AttributeColumns {
        /// How many.
        found: usize,
    },
    /// A longer name than an attribute can have.
    #[error("an attribute column's name is {found} bytes, at most {NAME_BYTES_MAX}")]
    AttributeName {
        /// Its length.
        found: usize,
    },
    /// A column of a batch that is none.
    #[error("column {name:?}: {source}")]
    AttributeColumn {
        /// The attribute, or the part of the batch.
        name: String,
        /// Why.
        source: ColumnError,
    },
    /// Bytes that are not the message they should be.
    #[error("record through {through} does not decode: {reason}")]
    Record {
        /// The record.
        through: u64,
        /// Why.
        reason: String,
    },
}

impl From<MatchColumnsError> for ConvertError {
    fn from(error: MatchColumnsError) -> ConvertError {
        match error {
            MatchColumnsError::Missing(field) => ConvertError::Missing(field),
            MatchColumnsError::Column(error) => ConvertError::Column(error),
        }
    }
}

/// A value as sent; a missing one has no kind.
#[must_use]
pub fn value_pb(value: Option<&Value>) -> pb::Value {
    use pb::value::Kind;
    let kind = value.map(|value| match value {
        Value::Int(int) => Kind::IntValue(*int),
        Value::Double(double) => Kind::DoubleValue(*double),
        Value::String(string) => Kind::StringValue(string.to_string()),
        Value::Bool(bool) => Kind::BoolValue(*bool),
        Value::StringList(list) => {
            Kind::StringListValue(pb::StringList { values: list.iter().map(ToString::to_string).collect() })
        }
    });
    pb::Value { kind }
}

/// Attributes in the order of their schema, as they are logged and broadcast. They were checked when they were
/// submitted.
pub(crate) fn row(row: Option<storage_pb::Row>) -> Result<Arc<Row>, ConvertError> {
    let values = row.ok_or(ConvertError::Missing("row"))?.values;
    Ok(Arc::new(Row::from_values(values.into_iter().map(value))))
}

pub(crate) fn row_pb(row: &Row) -> storage_pb::Row {
    storage_pb::Row { values: row.values().iter().map(|value| value_pb(value.as_ref())).collect() }
}

/// The type of an attribute.
///
/// # Errors
/// When the number is none.
pub fn kind(number: i32) -> Result<AttributeType, ConvertError> {
    let declared = pb::AttributeType::try_from(number).ok().and_then(attribute_type);
    declared.ok_or(ConvertError::Enum { what: "attribute type", found: number })
}

/// The type of an attribute; none for one that this build does not know.
#[must_use]
pub fn attribute_type(declared: pb::AttributeType) -> Option<AttributeType> {
    Some(match declared {
        pb::AttributeType::Unspecified => return None,
        pb::AttributeType::Int => AttributeType::Int,
        pb::AttributeType::Double => AttributeType::Double,
        pb::AttributeType::String => AttributeType::String,
        pb::AttributeType::Bool => AttributeType::Bool,
        pb::AttributeType::StringList => AttributeType::StringList,
        pb::AttributeType::Timestamp => AttributeType::Timestamp,
        pb::AttributeType::Duration => AttributeType::Duration,
    })
}

/// The type of an attribute, as sent.
#[must_use]
pub fn kind_pb(declared: AttributeType) -> pb::AttributeType {
    match declared {
        AttributeType::Int => pb::AttributeType::Int,
        AttributeType::Double => pb::AttributeType::Double,
        AttributeType::String => pb::AttributeType::String,
        AttributeType::Bool => pb::AttributeType::Bool,
        AttributeType::StringList => pb::AttributeType::StringList,
        AttributeType::Timestamp => pb::AttributeType::Timestamp,
        AttributeType::Duration => pb::AttributeType::Duration,
    }
}
