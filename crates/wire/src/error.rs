//! Why a message cannot be understood.

use dovetail::columns::{ColumnError, MatchColumnsError};
use dovetail_rule::{ATTRIBUTES_MAX, NAME_BYTES_MAX};
use thiserror::Error;

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
    /// Columns of pairs that are none.
    #[error("{field}: {source}")]
    Pairs {
        /// Where they were.
        field: &'static str,
        /// Why.
        source: PairsError,
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

/// Columns of pairs that do not fit each other, or have an id that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PairsError {
    /// A column of numbers that are neither of 4 bytes nor of 8.
    #[error("{column} has {found} bytes; {count} numbers take 4 each, or 8")]
    Width {
        /// The column.
        column: &'static str,
        /// Its bytes.
        found: usize,
        /// Its numbers.
        count: usize,
    },
    /// A column that has to be there is empty.
    #[error("{column} has 0 bytes; {count} numbers take 4 each, or 8")]
    Empty {
        /// The column.
        column: &'static str,
        /// Its numbers.
        count: usize,
    },
    /// A number that makes no id, or one above its event.
    #[error("number {index} of {column} is {found}, not from {least} to {most}")]
    Number {
        /// The column.
        column: &'static str,
        /// Which one, from 0.
        index: usize,
        /// What it is.
        found: u64,
        /// The bound below.
        least: u64,
        /// The bound above.
        most: u64,
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
