//! One element's attribute values, aligned with its pool's schema; and the element as a rule sees it.
//!
//! Invariants: one slot per attribute; a value has its attribute's kind; no double is NaN (it is stored as absent,
//! which is what it means to a rule); no string and no list is longer than its cap. `new` and `from_named` establish
//! them all, `from_values` only what can be seen without a schema, that there is no NaN; [`Row::check`] tells about the
//! others.

use crate::schema::Schema;
use crate::types::AttributeType;
use crate::value::{LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};

/// The values of one element. `None` is a missing attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Box<[Option<Value>]>);

/// One element as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Its attributes, of the schema the rule was compiled against.
    pub row: &'a Row,
    /// How long it has waited at the event's time, in milliseconds.
    pub waited_ms: i64,
}

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
    #[error("attribute {name:?} is {found}, but the schema declares {declared}{}", declared.unit())]
    Kind {
        /// The attribute.
        name: String,
        /// The kind of the value given.
        found: ValueKind,
        /// The type declared.
        declared: AttributeType,
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
        let row = Row::from_values(values);
        row.check(schema)?;
        Ok(row)
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
            let declared = schema.attributes()[index].declared;
            let value = match value {
                Value::Int(int) if declared == AttributeType::Double => match exact_double(int) {
                    Some(double) => Value::Double(double),
                    None => return Err(RowError::Inexact { name, value: int }),
                },
                value => value,
            };
            check_value(&name, declared, &value)?;
            slots[index] = present(value);
        }
        Ok(Row(slots))
    }

    /// A row whose values were checked before: those of the log, which come in the order of their schema. A rule may be
    /// tested on it only if [`check`](Row::check) would pass; that is the caller's promise, or the caller asks.
    pub fn from_values(values: impl IntoIterator<Item = Option<Value>>) -> Row {
        Row(values.into_iter().map(|value| value.and_then(present)).collect())
    }

    /// Makes it a row of other values, as [`from_values`](Row::from_values) does; as many as before take no new memory.
    pub fn set_values(&mut self, values: impl IntoIterator<Item = Option<Value>>) {
        let (mut values, mut set) = (values.into_iter(), 0);
        for (slot, value) in self.0.iter_mut().zip(&mut values) {
            *slot = value.and_then(present);
            set += 1;
        }
        let mut more = values.peekable();
        if set < self.0.len() || more.peek().is_some() {
            let known = std::mem::take(&mut self.0).into_vec().into_iter().take(set);
            self.0 = known.chain(more.map(|value| value.and_then(present))).collect();
        }
    }

    /// Whether this is a row of `schema`.
    pub fn check(&self, schema: &Schema) -> Result<(), RowError> {
        if self.0.len() != schema.len() {
            return Err(RowError::Arity { found: self.0.len(), declared: schema.len() });
        }
        let mut slots = schema.attributes().iter().zip(&self.0);
        slots.try_for_each(|(attribute, value)| match (value, attribute.kind) {
            (None, _)
            | (Some(Value::Int(_)), ValueKind::Int)
            | (Some(Value::Double(_)), ValueKind::Double)
            | (Some(Value::Bool(_)), ValueKind::Bool) => Ok(()),
            (Some(value), _) => check_value(&attribute.name, attribute.declared, value),
        })
    }

    /// The values, in the schema's order.
    #[inline]
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

/// A value as a row stores it: NaN is none.
fn present(value: Value) -> Option<Value> {
    match value {
        Value::Double(double) if double.is_nan() => None,
        value => Some(value),
    }
}

fn check_value(name: &str, declared: AttributeType, value: &Value) -> Result<(), RowError> {
    if value.kind() != declared.kind() {
        return Err(RowError::Kind { name: name.to_owned(), found: value.kind(), declared });
    }
    let check_string = |text: &str| match text.len() {
        bytes if bytes > STRING_BYTES_MAX => Err(RowError::StringTooLong { name: name.to_owned(), bytes }),
        _ => Ok(()),
    };
    match value {
        Value::String(text) => check_string(text),
        Value::StringList(list) if list.len() > LIST_LEN_MAX => {
            Err(RowError::ListTooLong { name: name.to_owned(), len: list.len() })
        }
        Value::StringList(list) => list.iter().try_for_each(|entry| check_string(entry)),
        Value::Int(_) | Value::Double(_) | Value::Bool(_) => Ok(()),
    }
}
