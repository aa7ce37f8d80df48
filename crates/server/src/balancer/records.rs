//! The records of a log one by one, read many at a time.

use dovetail_core::EventId;
use dovetail_log::{LogReader, ReadError, Record};

/// About how many bytes are read at a time.
const READ_BYTES: usize = 4 << 20;

/// The records of a store one by one.
pub(super) struct Records<'a> {
    reader: &'a dyn LogReader,
    after: u64,
    read: std::vec::IntoIter<Record>,
    held: Option<Record>,
}

impl<'a> Records<'a> {
    pub(super) fn new(reader: &'a dyn LogReader, after: EventId) -> Records<'a> {
        Records { reader, after: after.0, read: Vec::new().into_iter(), held: None }
    }

    pub(super) fn next(&mut self) -> Result<Option<Record>, ReadError> {
        if let Some(record) = self.held.take() {
            return Ok(Some(record));
        }
        if self.read.len() == 0 {
            let records = self.reader.read_after(self.after, READ_BYTES)?;
            self.after = records.last().map_or(self.after, |record| record.through);
            self.read = records.into_iter();
        }
        Ok(self.read.next())
    }

    /// The next record, if it reaches no further than `through`.
    pub(super) fn next_through(&mut self, through: u64) -> Result<Option<Record>, ReadError> {
        match self.next()? {
            Some(record) if record.through > through => {
                self.held = Some(record);
                Ok(None)
            }
            next => Ok(next),
        }
    }
}
