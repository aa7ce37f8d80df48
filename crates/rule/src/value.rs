//! The values an attribute can have, and their kinds.

use std::fmt;

/// Longest string value, and longest entry of a list, in bytes. A row with a longer one is refused: a rule's cost is
/// bounded by it.
pub const STRING_BYTES_MAX: usize = 256;

/// Most entries of one list value. A row with a longer one is refused: a rule's cost is bounded by it.
pub const LIST_LEN_MAX: usize = 64;

/// What kind of value an attribute has. Prints as `int`, `double`, `string`, `bool` and `list<string>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueKind {
    /// A 64-bit signed integer.
    Int,
    /// A 64-bit floating-point number.
    Double,
    /// UTF-8 text.
    String,
    /// True or false.
    Bool,
    /// An ordered list of strings.
    StringList,
}

impl ValueKind {
    /// Every kind, in declaration order.
    pub const ALL: [ValueKind; 5] =
        [ValueKind::Int, ValueKind::Double, ValueKind::String, ValueKind::Bool, ValueKind::StringList];

    /// The kind's name, as rules and settings spell it.
    pub const fn name(self) -> &'static str {
        match self {
            ValueKind::Int => "int",
            ValueKind::Double => "double",
            ValueKind::String => "string",
            ValueKind::Bool => "bool",
            ValueKind::StringList => "list<string>",
        }
    }

    /// Whether arithmetic applies.
    pub const fn is_number(self) -> bool {
        matches!(self, ValueKind::Int | ValueKind::Double)
    }
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An attribute's value.
///
/// Two are equal if nothing tells them apart: `0.0` and `-0.0`, which rules compare as equal, are not, since dividing
/// by them does.
#[derive(Debug, Clone)]
pub enum Value {
    /// A 64-bit signed integer.
    Int(i64),
    /// A 64-bit floating-point number.
    Double(f64),
    /// UTF-8 text.
    String(Box<str>),
    /// True or false.
    Bool(bool),
    /// An ordered list of strings. Entries may repeat.
    StringList(Box<[Box<str>]>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Int(one), Value::Int(other)) => one == other,
            (Value::Double(one), Value::Double(other)) => one.to_bits() == other.to_bits(),
            (Value::String(one), Value::String(other)) => one == other,
            (Value::Bool(one), Value::Bool(other)) => one == other,
            (Value::StringList(one), Value::StringList(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Value {
    /// What kind of value this is.
    pub const fn kind(&self) -> ValueKind {
        match self {
            Value::Int(_) => ValueKind::Int,
            Value::Double(_) => ValueKind::Double,
            Value::String(_) => ValueKind::String,
            Value::Bool(_) => ValueKind::Bool,
            Value::StringList(_) => ValueKind::StringList,
        }
    }

    /// Bytes on the heap, without the value itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Value::Int(_) | Value::Double(_) | Value::Bool(_) => 0,
            Value::String(text) => text.len(),
            Value::StringList(list) => list.iter().map(|entry| size_of::<Box<str>>() + entry.len()).sum(),
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Double(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::String(value.into())
    }
}

impl From<&[&str]> for Value {
    fn from(list: &[&str]) -> Value {
        Value::StringList(list.iter().map(|&entry| entry.into()).collect())
    }
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(list: [&str; N]) -> Value {
        Value::from(list.as_slice())
    }
}
