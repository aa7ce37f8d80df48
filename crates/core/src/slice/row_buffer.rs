//! Rows that are filled again and again, so that what comes in columns takes no memory element by element.

use std::fmt;

use dovetail_rule::{Row, Value};

/// Rows that are used again and again. What is in them is nobody's state.
#[derive(Default)]
pub(super) struct RowBuffer(Vec<Row>);

impl fmt::Debug for RowBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowBuffer")
    }
}

impl RowBuffer {
    /// Makes the row with a number one of these values. Rows are numbered without a gap.
    #[inline]
    pub(super) fn set(&mut self, number: usize, values: impl Iterator<Item = Option<Value>>) -> &Row {
        match self.0.get_mut(number) {
            Some(row) => row.set_values(values),
            None => self.0.push(Row::from_values(values)),
        }
        &self.0[number]
    }

    /// The row with a number.
    pub(super) fn get(&self, number: usize) -> &Row {
        &self.0[number]
    }
}
