//! Reading records back, from any thread. Every record is verified each time it is read.
//!
//! Does not wait for more, does not cache. Invariant: log.R1 nothing beyond what [`Published`] says is durable is
//! looked at.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::format::{self, GROUP_HEADER_BYTES, RECORD_HEADER_BYTES, SegmentSeed};
use super::index::{Published, Span, Trimmed};
use super::recover::segment_path;
use crate::disk::failed;
use crate::error::ReadError;
use crate::log::{LogReader, Record};

/// One read of a file takes at least this much, where there is as much.
const CHUNK_BYTES_MIN: usize = 64 << 10;
/// And at most this much, unless one record needs more. Records share the memory of the chunk they came in.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A reader of an embedded log.
pub(crate) struct EmbeddedReader {
    dir: PathBuf,
    log_id: u128,
    published: Arc<Published>,
    /// Where the last read ended: a reader that follows the log goes on from there.
    cursor: Mutex<Option<Cursor>>,
}

#[derive(Clone)]
struct Cursor {
    ordinal: u64,
    file: Arc<File>,
    offset: u64,
    /// `through` of the record before `offset`.
    before: u64,
}

impl EmbeddedReader {
    pub fn new(dir: PathBuf, log_id: u128, published: Arc<Published>) -> Self {
        Self { dir, log_id, published, cursor: Mutex::new(None) }
    }

    /// Where to start in `span`, for records after `after`.
    fn start(&self, span: &Span, after: u64) -> Result<Cursor, ReadError> {
        let kept = self.cursor.lock().expect("no holder of this lock panics").clone();
        match kept.filter(|cursor| cursor.ordinal == span.ordinal) {
            Some(cursor) if cursor.before == after => Ok(cursor),
            Some(cursor) => Ok(Cursor { offset: span.start, before: span.before, ..cursor }),
            None => {
                let file = Arc::new(self.open_segment(span.ordinal, after)?);
                Ok(Cursor { ordinal: span.ordinal, file, offset: span.start, before: span.before })
            }
        }
    }

    /// The segment may have been trimmed since it was located: then its name is gone, and the floor says so.
    fn open_segment(&self, ordinal: u64, after: u64) -> Result<File, ReadError> {
        let path = segment_path(&self.dir, ordinal);
        File::open(&path).map_err(|error| match self.published.locate(after) {
            Err(Trimmed { floor }) => ReadError::Trimmed { after, floor },
            Ok(_) => failed("open", &path)(error).into(),
        })
    }

    /// Reads on in the segment that holds the first record after `batch.after`. True when the batch is complete.
    fn read_segment(&self, batch: &mut Batch) -> Result<bool, ReadError> {
        let after = batch.after;
        let span = match self.published.locate(after) {
            Ok(Some(span)) => span,
            Ok(None) => return Ok(true),
            Err(Trimmed { floor }) => return Err(ReadError::Trimmed { after, floor }),
        };
        let mut cursor = self.start(&span, after)?;
        let path = segment_path(&self.dir, span.ordinal);
        let complete = read_span(&path, SegmentSeed::new(self.log_id, span.ordinal), &span, &mut cursor, batch)?;
        *self.cursor.lock().expect("no holder of this lock panics") = Some(cursor);
        Ok(complete)
    }
}

impl LogReader for EmbeddedReader {
    fn read_after(&self, after: u64, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let mut batch = Batch { records: Vec::new(), bytes: 0, bytes_max, after };
        loop {
            match self.read_segment(&mut batch) {
                Ok(false) => {}
                Ok(true) => return Ok(batch.records),
                // What is intact is served; the next read starts at the damage, or is told of the trim.
                Err(_) if !batch.records.is_empty() => return Ok(batch.records),
                Err(error) => return Err(error),
            }
        }
    }

    fn last(&self) -> u64 {
        self.published.last()
    }

    fn floor(&self) -> u64 {
        self.published.floor()
    }
}

/// Records on their way to the caller.
struct Batch {
    records: Vec<Record>,
    bytes: usize,
    bytes_max: usize,
    /// `through` of the last one, or what the caller has already.
    after: u64,
}

impl Batch {
    /// Takes a record unless the batch is complete without it.
    fn take(&mut self, record: Record) -> bool {
        let bytes = self.bytes.saturating_add(RECORD_HEADER_BYTES + record.bytes.len());
        let fits = self.records.is_empty() || bytes <= self.bytes_max;
        if fits {
            self.bytes = bytes;
            self.after = record.through;
            self.records.push(record);
        }
        fits
    }
}

/// Moves `cursor` along `span` and fills `batch`. True when the batch is complete, false when the span is read.
fn read_span(
    path: &Path,
    seed: SegmentSeed,
    span: &Span,
    cursor: &mut Cursor,
    batch: &mut Batch,
) -> Result<bool, ReadError> {
    let file = Arc::clone(&cursor.file);
    let chunk = batch.bytes_max.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
    let mut window = Window { path, file: &file, end: span.end, chunk, start: 0, bytes: Bytes::new() };
    while cursor.offset < span.end {
        let head = window.get(cursor.offset, RECORD_HEADER_BYTES)?;
        if format::is_group(&head) {
            let head = window.get(cursor.offset, GROUP_HEADER_BYTES)?;
            let header = format::decode_group(seed, cursor.offset, &head);
            let header = header.map_err(|what| window.damaged(cursor.offset, what))?;
            if header.before != cursor.before {
                return Err(window.damaged(cursor.offset, "a group that does not follow what is before it"));
            }
            cursor.offset += GROUP_HEADER_BYTES as u64;
            continue;
        }
        let length = format::record_bytes(&head).map_err(|what| window.damaged(cursor.offset, what))?;
        let record = window.get(cursor.offset, length)?;
        let verified = format::verify_record(seed, cursor.offset, &record);
        let through = verified.map_err(|what| window.damaged(cursor.offset, what))?;
        if through <= cursor.before {
            return Err(window.damaged(cursor.offset, "a record that does not follow the one before it"));
        }
        let wanted = through > batch.after;
        if wanted && !batch.take(Record { through, bytes: record.slice(RECORD_HEADER_BYTES..) }) {
            return Ok(true);
        }
        cursor.offset += length as u64;
        cursor.before = through;
    }
    // The second condition holds whenever the first does, unless there is a bug; it is what ends the loop of reads.
    if cursor.before == span.last && batch.after == span.last {
        Ok(false)
    } else {
        Err(window.damaged(cursor.offset, "the segment ends before its last record"))
    }
}

/// The part of a segment that is in memory.
struct Window<'a> {
    path: &'a Path,
    file: &'a File,
    /// End of what may be read.
    end: u64,
    chunk: usize,
    start: u64,
    bytes: Bytes,
}

impl Window<'_> {
    /// `length` bytes at `offset`.
    fn get(&mut self, offset: u64, length: usize) -> Result<Bytes, ReadError> {
        if offset + length as u64 > self.end {
            return Err(self.damaged(offset, "a record reaches beyond the end of what was written"));
        }
        let within = offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !within {
            let left = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length.max(self.chunk).min(left)];
            self.file.read_exact_at(&mut bytes, offset).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => self.damaged(offset, "the file ends before its records do"),
                _ => failed("read", self.path)(error).into(),
            })?;
            (self.start, self.bytes) = (offset, Bytes::from(bytes));
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.slice(from..from + length))
    }

    fn damaged(&self, offset: u64, what: &'static str) -> ReadError {
        ReadError::Damaged { file: self.path.to_owned(), offset, what }
    }
}
