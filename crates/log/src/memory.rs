//! A log in memory, for tests and for a cluster in one process that may forget.
//!
//! Durable for as long as the writer or one of its readers lives, and no longer.

use std::collections::VecDeque;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use crate::error::{AppendError, ReadError, TrimError};
use crate::log::{Log, LogReader, Record, check_order, check_sizes};

const LOCK: &str = "no holder of this lock panics";

/// A log in memory. It holds all that was appended and not trimmed.
#[derive(Debug)]
pub struct MemoryLog {
    kept: Arc<RwLock<Kept>>,
    record_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Record>,
    /// `through` of the last record trimmed.
    floor: u64,
}

impl Kept {
    fn last(&self) -> u64 {
        self.records.back().map_or(self.floor, |record| record.through)
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self { kept: Arc::default(), record_bytes_max: crate::RECORD_BYTES_MAX_DEFAULT }
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
        self.kept.write().expect(LOCK).records.extend(records.iter().cloned());
        Ok(())
    }

    /// Drops every record up to `through`.
    fn trim(&mut self, through: u64) -> Result<u64, TrimError> {
        let mut kept = self.kept.write().expect(LOCK);
        while let Some(record) = kept.records.pop_front_if(|record| record.through <= through) {
            kept.floor = record.through;
        }
        Ok(kept.floor)
    }

    fn last(&self) -> u64 {
        self.kept.read().expect(LOCK).last()
    }

    fn floor(&self) -> u64 {
        self.kept.read().expect(LOCK).floor
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(MemoryReader { kept: Arc::clone(&self.kept) })
    }
}

struct MemoryReader {
    kept: Arc<RwLock<Kept>>,
}

impl LogReader for MemoryReader {
    fn read_after(&self, after: u64, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let kept: RwLockReadGuard<'_, Kept> = self.kept.read().expect(LOCK);
        if after < kept.floor {
            return Err(ReadError::Trimmed { after, floor: kept.floor });
        }
        let first = kept.records.partition_point(|record| record.through <= after);
        let mut bytes = 0_usize;
        let fitting = kept.records.range(first..).take_while(|record| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(crate::RECORD_HEADER_BYTES + record.bytes.len());
            is_first || bytes <= bytes_max
        });
        Ok(fitting.cloned().collect())
    }

    fn last(&self) -> u64 {
        self.kept.read().expect(LOCK).last()
    }

    fn floor(&self) -> u64 {
        self.kept.read().expect(LOCK).floor
    }
}
