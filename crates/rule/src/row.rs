//! One element's attribute values, aligned with its pool's schema.
//!
//! Invariants, established by both constructors: one slot per attribute; a value has its attribute's kind; no double
//! is NaN (it is stored as absent, which is what it means to a rule); no string and no list is longer than its cap.

use crate::schema::Schema;
use crate::value::{LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};

/// The values of one element. `None` is a missing attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(Box<[Option<Value>]>);

// Every double of a row equals itself: none is NaN.
impl Eq for Row {}

/// Why values are no row of a schema.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RowError {
    /// Another number of values than the schema has attributes.
    #[error("row has {found} values, but the schema declares {declared} attributes")]
    Arity {
        /// Values given.
        found: usize,
        /// Attributes declared.
        declared: usize,
    },
    /// A value of another kind than declared.
    #[error("attribute {name:?} is {found}, but the schema declares {declared}")]
    Kind {
        /// The attribute.
        name: String,
        /// The kind of the value given.
        found: ValueKind,
        /// The kind declared.
        declared: ValueKind,
    },
    /// An int for a double attribute, and no double is equal to it.
    #[error("attribute {name:?} is {value}, which no double represents exactly, and the schema declares double")]
    Inexact {
        /// The attribute.
        name: String,
        /// The value given.
        value: i64,
    },
    /// A name the schema does not have.
    #[error("unknown attribute {name:?}")]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// Two values for one attribute.
    #[error("attribute {name:?} is given twice")]
    Duplicate {
        /// The attribute.
        name: String,
    },
    /// A string longer than [`STRING_BYTES_MAX`].
    #[error("attribute {name:?} has a string of {bytes} bytes, at most {STRING_BYTES_MAX}")]
    StringTooLong {
        /// The attribute.
        name: String,
        /// The string's length.
        bytes: usize,
    },
    /// A list longer than [`LIST_LEN_MAX`].
    #[error("attribute {name:?} has {len} entries, at most {LIST_LEN_MAX}")]
    ListTooLong {
        /// The attribute.
        name: String,
        /// The list's length.
        len: usize,
    },
}

impl Row {
    /// A row of values in the schema's order. Kinds must be exactly as declared.
    pub fn new(schema: &Schema, values: Vec<Option<Value>>) -> Result<Row, RowError> {
        if values.len() != schema.len() {
            return Err(RowError::Arity { found: values.len(), declared: schema.len() });
        }
        let checked = schema.attributes().iter().zip(values).map(|(attribute, value)| match value {
            Some(value) => check_value(&attribute.name, attribute.kind, value),
            None => Ok(None),
        });
        Ok(Row(checked.collect::<Result<_, _>>()?))
    }

    /// A row of named values in any order; attributes not named are missing. An int given for a double attribute is
    /// converted when a double is equal to it: clients write `25` for `25.0`.
    pub fn from_named(schema: &Schema, values: impl IntoIterator<Item = (String, Value)>) -> Result<Row, RowError> {
        let mut slots: Box<[Option<Value>]> = vec![None; schema.len()].into();
        let mut given = vec![false; schema.len()];
        for (name, value) in values {
            let Some(index) = schema.index_of(&name) else { return Err(RowError::Unknown { name }) };
            if std::mem::replace(&mut given[index], true) {
                return Err(RowError::Duplicate { name });
            }
            let declared = schema.attributes()[index].kind;
            let value = match value {
                Value::Int(int) if declared == ValueKind::Double => match exact_double(int) {
                    Some(double) => Value::Double(double),
                    None => return Err(RowError::Inexact { name, value: int }),
                },
                value => value,
            };
            slots[index] = check_value(&name, declared, value)?;
        }
        Ok(Row(slots))
    }

    /// A row whose values were checked before: those of the log, which come in the order of their schema.
    pub fn from_values(values: impl IntoIterator<Item = Option<Value>>) -> Row {
        Row(values.into_iter().collect())
    }

    /// The values, in the schema's order.
    pub fn values(&self) -> &[Option<Value>] {
        &self.0
    }

    /// About how much memory the row takes, itself included.
    pub fn bytes(&self) -> usize {
        let heap: usize = self.0.iter().flatten().map(Value::heap_bytes).sum();
        size_of::<Row>() + size_of_val(&*self.0) + heap
    }
}

/// The double equal to `int`, if there is one.
pub(crate) fn exact_double(int: i64) -> Option<f64> {
    let double = int as f64;
    // 2^63 is a double but no i64: the cast back would saturate and look exact for i64::MAX.
    (double < i64::MAX as f64 && double as i64 == int).then_some(double)
}

fn check_value(name: &str, declared: ValueKind, value: Value) -> Result<Option<Value>, RowError> {
    if value.kind() != declared {
        return Err(RowError::Kind { name: name.to_owned(), found: value.kind(), declared });
    }
    let check_string = |text: &str| match text.len() {
        bytes if bytes > STRING_BYTES_MAX => Err(RowError::StringTooLong { name: name.to_owned(), bytes }),
        _ => Ok(()),
    };
    match &value {
        Value::Double(double) if double.is_nan() => return Ok(None),
        Value::String(text) => check_string(text)?,
        Value::StringList(list) if list.len() > LIST_LEN_MAX => {
            return Err(RowError::ListTooLong { name: name.to_owned(), len: list.len() });
        }
        Value::StringList(list) => list.iter().try_for_each(|entry| check_string(entry))?,
        Value::Int(_) | Value::Double(_) | Value::Bool(_) => {}
    }
    Ok(Some(value))
}
