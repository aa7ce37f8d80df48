//! A log in memory, for tests and for a cluster in one process that may forget.
//!
//! Durable for as long as the writer or one of its readers lives, and no longer.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use crate::error::{AppendError, ReadError};
use crate::log::{Log, LogReader, Record, check_order, check_sizes};

const LOCK: &str = "no holder of this lock panics";

/// A log in memory. It grows without bound: nothing is ever trimmed.
#[derive(Debug)]
pub struct MemoryLog {
    records: Arc<RwLock<Vec<Record>>>,
    record_bytes_max: usize,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self { records: Arc::default(), record_bytes_max: crate::RECORD_BYTES_MAX_DEFAULT }
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes records up to `record_bytes_max` bytes; larger ones are refused with
    /// [`AppendError::RecordTooLarge`].
    pub fn with_record_bytes_max(record_bytes_max: usize) -> Self {
        Self { record_bytes_max, ..Self::default() }
    }
}

impl Log for MemoryLog {
    fn append(&mut self, records: &[Record]) -> Result<(), AppendError> {
        check_order(self.last(), records)?;
        check_sizes(self.record_bytes_max, records)?;
        self.records.write().expect(LOCK).extend_from_slice(records);
        Ok(())
    }

    fn last(&self) -> u64 {
        last_of(&self.records.read().expect(LOCK))
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(MemoryReader { records: Arc::clone(&self.records) })
    }
}

struct MemoryReader {
    records: Arc<RwLock<Vec<Record>>>,
}

impl LogReader for MemoryReader {
    fn read_after(&self, after: u64, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let records: RwLockReadGuard<'_, Vec<Record>> = self.records.read().expect(LOCK);
        let first = records.partition_point(|record| record.through <= after);
        let mut bytes = 0_usize;
        let fitting = records[first..].iter().take_while(|record| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(crate::RECORD_HEADER_BYTES + record.bytes.len());
            is_first || bytes <= bytes_max
        });
        Ok(fitting.cloned().collect())
    }

    fn last(&self) -> u64 {
        last_of(&self.records.read().expect(LOCK))
    }
}

fn last_of(records: &[Record]) -> u64 {
    records.last().map_or(0, |record| record.through)
}
