//! Values of attributes, rows of them, and their types.

use std::sync::Arc;

use dovetail_rule::{AttributeType, Row, Value};

use super::error::ConvertError;
use crate::storage_pb;
use dovetail::{columns::value, pb};

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
