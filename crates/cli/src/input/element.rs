//! An element as it was read, or why it cannot be.

use dovetail::pb;

/// Longest text of an element, in bytes: a line, a CSV record, a JSON object. A longer one is malformed; it is skipped
/// without being held.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What some programs begin UTF-8 with. It means nothing.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// An element and where it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// From 1.
    pub line: u64,
    /// As it will be submitted.
    pub submission: pb::Submission,
}

/// What cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {reason}")]
pub struct Malformed {
    /// From 1.
    pub line: u64,
    /// What was expected, and what was found.
    pub reason: String,
    /// Whether nothing after it can be read either.
    pub fatal: bool,
    /// Where its element begins: `--from-line` with this reads it again.
    pub from_line: u64,
}

impl Malformed {
    pub(super) fn skippable(line: u64, reason: impl Into<String>) -> Malformed {
        Malformed { line, reason: reason.into(), fatal: false, from_line: line }
    }

    pub(super) fn fatal(line: u64, reason: impl Into<String>) -> Malformed {
        Malformed { fatal: true, ..Malformed::skippable(line, reason) }
    }
}
