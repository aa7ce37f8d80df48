//! What is known of one checkpoint without reading it, and what is wrong with one.

use std::path::PathBuf;

/// One checkpoint of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// The file.
    pub file: PathBuf,
    /// It is the state after the log's prefix up to here.
    pub through: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Number of chunks, 0 when it is damaged.
    pub chunks: u64,
    /// Bytes of all chunks, 0 when it is damaged.
    pub bytes: u64,
    /// What is known to be wrong with it. Opening looks at both ends of the file; the rest is seen when it is read.
    pub damage: Option<Damage>,
}

/// Where a checkpoint is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: &'static str,
}
