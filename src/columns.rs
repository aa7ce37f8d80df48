//! Columns: values of one kind one after the other, so that a batch is read and written without a step per field.
//!
//! A column that comes in is checked as a whole (sizes, ends, UTF-8, presence), and shares its bytes with the message.

mod matches;

use bytes::Bytes;
use dovetail_core::batch::{Column, Strings, Values};
use dovetail_rule::Value;
use thiserror::Error;

pub use matches::{MatchColumnsError, MatchedColumns, MatchedEnd, MatchedEnds};

use crate::pb;

/// Columns that do not fit each other, or are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ColumnError {
    /// Another number of bytes than its elements take.
    #[error("{what} has {found} bytes; {count} elements take {expected}")]
    Size {
        /// The part of the column.
        what: &'static str,
        /// Its bytes.
        found: usize,
        /// The elements.
        count: usize,
        /// The bytes they take.
        expected: usize,
    },
    /// An end before the one before it, or beyond what there is.
    #[error("end {index} is {found}, which is not from {least} to {most}")]
    End {
        /// Which one, from 0.
        index: usize,
        /// What it is.
        found: usize,
        /// The end before.
        least: usize,
        /// All there is.
        most: usize,
    },
    /// Something after the last end.
    #[error("the last end is {found}, but there are {bytes}")]
    Rest {
        /// The last end.
        found: usize,
        /// What there is.
        bytes: usize,
    },
    /// Text that is not UTF-8, as a whole or cut at its ends.
    #[error("text is not UTF-8 at byte {at}")]
    Utf8 {
        /// Where.
        at: usize,
    },
    /// A bool that is none.
    #[error("bool {index} is {found}, not 0 or 1")]
    Bool {
        /// Which one, from 0.
        index: usize,
        /// What it is.
        found: u8,
    },
    /// No values, though an element has the attribute.
    #[error("there are no values, but element {index} has the attribute")]
    NoValues {
        /// Which one, from 0.
        index: usize,
    },
}

/// A value, or none for a Value without a kind.
#[must_use]
pub fn value(value: pb::Value) -> Option<Value> {
    use pb::value::Kind;
    Some(match value.kind? {
        Kind::IntValue(int) => Value::Int(int),
        Kind::DoubleValue(double) => Value::Double(double),
        Kind::StringValue(string) => Value::String(string.into()),
        Kind::BoolValue(bool) => Value::Bool(bool),
        Kind::StringListValue(list) => Value::StringList(list.values.into_iter().map(Into::into).collect()),
    })
}

/// Checks numbers of `N` bytes each.
///
/// # Errors
/// When it is none.
pub fn fixed<const N: usize>(what: &'static str, count: usize, bytes: &Bytes) -> Result<Bytes, ColumnError> {
    if bytes.len() == count.saturating_mul(N) {
        return Ok(bytes.clone());
    }
    Err(ColumnError::Size { what, found: bytes.len(), count, expected: count.saturating_mul(N) })
}

/// Checks `count` ascending ends, the last of them at `most`.
fn ends(count: usize, bytes: &Bytes, most: usize) -> Result<Bytes, ColumnError> {
    let ends = fixed::<4>("ends", count, bytes)?;
    let mut least = 0;
    for (index, found) in each_end(&ends).enumerate() {
        if found < least || found > most {
            return Err(ColumnError::End { index, found, least, most });
        }
        least = found;
    }
    if least < most { Err(ColumnError::Rest { found: least, bytes: most }) } else { Ok(ends) }
}

fn each_end(ends: &[u8]) -> impl Iterator<Item = usize> + '_ {
    ends.as_chunks().0.iter().map(|end| u32::from_le_bytes(*end) as usize)
}

/// Texts from the wire.
///
/// # Errors
/// When it is none.
pub fn texts(count: usize, column: &pb::TextColumn) -> Result<Strings, ColumnError> {
    let text = std::str::from_utf8(&column.text).map_err(|error| ColumnError::Utf8 { at: error.valid_up_to() })?;
    let ends = ends(count, &column.ends, text.len())?;
    let cut = each_end(&ends).find(|&end| !text.is_char_boundary(end));
    match cut {
        Some(at) => Err(ColumnError::Utf8 { at }),
        None => Ok(Strings { bytes: column.text.clone(), ends }),
    }
}

/// Byte strings from the wire.
///
/// # Errors
/// When it is none.
pub fn byte_strings(count: usize, column: &pb::BytesColumn) -> Result<Strings, ColumnError> {
    Ok(Strings { bytes: column.bytes.clone(), ends: ends(count, &column.ends, column.bytes.len())? })
}

/// One attribute of many elements from the wire.
///
/// # Errors
/// When it is none.
pub fn column(count: usize, column: &pb::Column) -> Result<Column, ColumnError> {
    use pb::column::Values as Sent;
    if !column.present.is_empty() && column.present.len() != count.div_ceil(8) {
        let (found, expected) = (column.present.len(), count.div_ceil(8));
        return Err(ColumnError::Size { what: "present", found, count, expected });
    }
    let values = match &column.values {
        None => Values::None,
        Some(Sent::Ints(bytes)) => Values::Ints(fixed::<8>("ints", count, bytes)?),
        Some(Sent::Doubles(bytes)) => Values::Doubles(fixed::<8>("doubles", count, bytes)?),
        Some(Sent::Strings(sent)) => Values::Strings(texts(count, sent)?),
        Some(Sent::Bools(bytes)) => Values::Bools(bools(count, bytes)?),
        Some(Sent::StringLists(lists)) => match &lists.entries {
            None => {
                ends(count, &lists.ends, 0)?;
                Values::None
            }
            Some(sent) => {
                let most = sent.ends.len() / 4;
                let ends = ends(count, &lists.ends, most)?;
                Values::StringLists { entries: texts(most, sent)?, ends }
            }
        },
    };
    let column = Column { present: column.present.clone(), values };
    if column.kind().is_none()
        && let Some(index) = (0..count).find(|&index| column.has(index))
    {
        return Err(ColumnError::NoValues { index });
    }
    Ok(column)
}

fn bools(count: usize, bytes: &Bytes) -> Result<Bytes, ColumnError> {
    let bools = fixed::<1>("bools", count, bytes)?;
    match bools.iter().position(|&found| found > 1) {
        Some(index) => Err(ColumnError::Bool { index, found: bools[index] }),
        None => Ok(bools),
    }
}

/// A column as sent.
#[must_use]
pub fn column_pb(column: &Column) -> pb::Column {
    use pb::column::Values as Sent;
    let values = match &column.values {
        Values::None => None,
        Values::Ints(ints) => Some(Sent::Ints(ints.clone())),
        Values::Doubles(doubles) => Some(Sent::Doubles(doubles.clone())),
        Values::Bools(bools) => Some(Sent::Bools(bools.clone())),
        Values::Strings(texts) => Some(Sent::Strings(texts_pb(texts))),
        Values::StringLists { entries, ends } => {
            Some(Sent::StringLists(pb::TextListColumn { entries: Some(texts_pb(entries)), ends: ends.clone() }))
        }
    };
    pb::Column { present: column.present.clone(), values }
}

/// Texts as sent.
#[must_use]
pub fn texts_pb(texts: &Strings) -> pb::TextColumn {
    pb::TextColumn { text: texts.bytes.clone(), ends: texts.ends.clone() }
}

/// Byte strings as sent.
#[must_use]
pub fn byte_strings_pb(strings: &Strings) -> pb::BytesColumn {
    pb::BytesColumn { bytes: strings.bytes.clone(), ends: strings.ends.clone() }
}
