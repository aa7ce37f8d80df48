//! Attribute values of each type.

use crate::pb::{StringList, Value, value::Kind};

/// A 64-bit signed integer.
pub fn int(value: i64) -> Value {
    Value { kind: Some(Kind::IntValue(value)) }
}

/// A 64-bit float.
pub fn double(value: f64) -> Value {
    Value { kind: Some(Kind::DoubleValue(value)) }
}

/// Text.
pub fn string(value: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(value.into())) }
}

/// True or false.
pub fn bool(value: bool) -> Value {
    Value { kind: Some(Kind::BoolValue(value)) }
}

/// A list of strings.
pub fn string_list<S: Into<String>>(values: impl IntoIterator<Item = S>) -> Value {
    let values = values.into_iter().map(Into::into).collect();
    Value { kind: Some(Kind::StringListValue(StringList { values })) }
}
