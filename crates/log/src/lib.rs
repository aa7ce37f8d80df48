//! Dovetail's log: a durable sequence of records, each covering the events up to an id.
//!
//! [`Log`] and [`LogReader`] are the trait a log engine implements; [`EmbeddedLog`] is the one on the local disk,
//! [`MemoryLog`] the one that forgets. [`conformance`] is what every one of them has to pass. [`checkpoint`] keeps what
//! a log's prefix amounts to, so that the prefix can be trimmed. [`shared`] is a log of several writers, on an engine
//! of several machines.
//!
//! Not here: what the bytes mean, waking readers, an async runtime, deciding what to trim. docs/architecture.md,
//! "What is durable", says which parts of a cluster are on disk.
//!
//! ```
//! use dovetail_log::{EmbeddedLog, Log, Options, Record};
//!
//! # let dir = tempfile::tempdir()?;
//! let (mut log, report) = EmbeddedLog::open(dir.path(), Options::new("example"))?;
//! assert_eq!(report.last, 0);
//! log.append(&[Record::new(3, "events 1 to 3"), Record::new(4, "event 4")])?;
//! let records = log.reader().read_after(3, 1 << 20)?;
//! assert_eq!(records, [Record::new(4, "event 4")]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod checkpoint;
pub mod conformance;
pub mod crash;
mod disk;
pub mod embedded;
mod error;
mod integers;
mod lock;
mod log;
mod memory;
pub mod shared;

pub use embedded::{
    CLUSTER_BYTES_MAX, DiskUse, EmbeddedLog, GROUP_BYTES_MAX, OpenReport, Options, RECORD_BYTES_LIMIT,
    RECORD_BYTES_MAX_DEFAULT, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_LIMIT, SegmentInfo, TornTail,
};
pub use error::{AppendError, OpenError, ReadError, TrimError};
pub use log::{Content, Log, LogReader, Record};
pub use memory::MemoryLog;

pub(crate) use embedded::RECORD_HEADER_BYTES;
