//! The shape every log has: one writer that appends, any number of readers that follow.
//!
//! A log does not know what a record's bytes mean, does not wake readers when something arrives, and forgets nothing
//! unless it is told to. Invariants, checked by [`conformance`](crate::conformance) for every implementation: log.L1
//! `through` is strictly increasing from record to record, and never 0; log.L2 what `append` returned `Ok` for is never
//! lost or changed, until it is trimmed; log.L3 a reader sees a prefix of what was appended, and nothing that is not
//! durable; log.L4 the floor never falls, is never above what the owner trimmed through, and nothing below it is
//! served.

use bytes::Bytes;

use crate::error::{AppendError, ReadError, TrimError};

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The highest event id this record covers: at least 1, and higher than the record's before it.
    pub through: u64,
    /// What the owner stored; the log never looks inside.
    pub bytes: Bytes,
}

impl Record {
    /// A record of `bytes` that covers the events up to `through`.
    pub fn new(through: u64, bytes: impl Into<Bytes>) -> Self {
        Self { through, bytes: bytes.into() }
    }
}

/// The one writer of a log.
pub trait Log: Send {
    /// Appends `records` and returns when all of them are on stable storage. An empty slice does nothing.
    ///
    /// After an error none of `records` is acknowledged. When the error came from the storage, some or all of them may
    /// still be there once the log is opened again: always a prefix of them, and an implementation may promise more
    /// ([`EmbeddedLog`](crate::EmbeddedLog): all or none).
    fn append(&mut self, records: &[Record]) -> Result<(), AppendError>;

    /// Forgets records up to `through`, as many of them as can be dropped cheaply, and returns the new
    /// [`floor`](Log::floor). Records above `through` stay. Trimming through less than the floor does nothing.
    ///
    /// The owner must not need what it trims: whatever replaces it, a checkpoint for one, is durable before.
    fn trim(&mut self, through: u64) -> Result<u64, TrimError>;

    /// `through` of the last durable record, whether or not it was trimmed; 0 when there never was one.
    fn last(&self) -> u64;

    /// `through` of the last record that was trimmed, 0 when none was: the lowest cursor that can be read after.
    fn floor(&self) -> u64;

    /// A reader of the same log for another thread. Cheap; it may outlive the writer.
    fn reader(&self) -> Box<dyn LogReader>;
}

/// Reads what is durable, from any thread, while the writer appends.
pub trait LogReader: Send + Sync {
    /// Records with a `through` above `after`, oldest first, of about `bytes_max` bytes together. When there is a
    /// record at all there is at least one in the answer, however large it is.
    ///
    /// Nothing beyond damage is ever returned: an answer may end before it, and the read that starts at it is an error.
    /// The bytes of neighbouring records may share one allocation: keeping one of them keeps its neighbours in memory.
    ///
    /// A cursor below the [`floor`](LogReader::floor) is [`ReadError::Trimmed`], never an answer with a gap in it. An
    /// answer is not taken back: a trim that comes while a read is under way may end it early.
    fn read_after(&self, after: u64, bytes_max: usize) -> Result<Vec<Record>, ReadError>;

    /// As [`Log::last`].
    fn last(&self) -> u64;

    /// As [`Log::floor`].
    fn floor(&self) -> u64;
}

/// What a record will be, whose bytes are made where they are written from: without a copy in between.
pub trait Content {
    /// The highest event id it covers, as [`Record::through`].
    fn through(&self) -> u64;

    /// How many bytes it has.
    fn bytes_len(&self) -> usize;

    /// Adds its bytes, as many as [`bytes_len`](Content::bytes_len) says.
    fn put(&self, out: &mut Vec<u8>);
}

impl Content for Record {
    fn through(&self) -> u64 {
        self.through
    }

    fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }
}

/// Refuses records that do not continue a log whose last record is `last`, before any of them is written.
pub(crate) fn check_order<C: Content>(last: u64, records: &[C]) -> Result<(), AppendError> {
    let mut previous = last;
    for through in records.iter().map(Content::through) {
        if through <= previous {
            return Err(AppendError::NotIncreasing { previous, through });
        }
        previous = through;
    }
    Ok(())
}

/// Refuses records above `bytes_max`, before any of them is written.
pub(crate) fn check_sizes<C: Content>(bytes_max: usize, records: &[C]) -> Result<(), AppendError> {
    match records.iter().find(|record| record.bytes_len() > bytes_max) {
        Some(record) => {
            Err(AppendError::RecordTooLarge { through: record.through(), bytes: record.bytes_len(), bytes_max })
        }
        None => Ok(()),
    }
}
