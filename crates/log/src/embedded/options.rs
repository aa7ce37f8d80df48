//! What an embedded log is opened with, and what opening it found.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::format::{GROUP_HEADER_BYTES, RECORD_BYTES_LIMIT, SEGMENT_BYTES_LIMIT, SEGMENT_HEADER_BYTES};
use super::identity::CLUSTER_BYTES_MAX;
use crate::disk::DiskHook;
use crate::error::OpenError;

/// Default of [`Options::record_bytes_max`].
pub const RECORD_BYTES_MAX_DEFAULT: usize = 16 << 20;
/// Default of [`Options::segment_bytes`].
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// The first segment of a log has this size and each next one twice the size, until they reach
/// [`Options::segment_bytes`]: a small log stays small, and creating one takes no time.
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;
const SEGMENT_BYTES_MIN: u64 = 2 * SEGMENT_HEADER_BYTES as u64;

/// What an embedded log is opened with.
#[derive(Clone)]
pub struct Options {
    /// The cluster the log belongs to, 1 to [`CLUSTER_BYTES_MAX`] bytes. A folder created for one cluster is refused to
    /// every other.
    pub cluster: String,
    /// The log's id, for a copy of a log that has one. None: drawn at random when the log is made. A folder that was
    /// created for one log is refused to every other.
    pub log_id: Option<u128>,
    /// Size of a segment file in bytes, 8 KiB to 1 GiB, for segments not created yet. One append that needs more gets a
    /// segment of the size it needs.
    pub segment_bytes: u64,
    /// Largest record taken by this writer, up to [`RECORD_BYTES_LIMIT`]; larger ones are refused with
    /// [`AppendError::RecordTooLarge`](crate::AppendError::RecordTooLarge). Records already there are read whatever
    /// their size.
    pub record_bytes_max: usize,
    /// Sees every change made to the disk. For tests.
    #[doc(hidden)]
    pub disk_hook: Option<Arc<dyn DiskHook>>,
    /// Prepares segments in the writer's thread, and syncs the watermark only where it has to be. For tests that
    /// repeat.
    #[doc(hidden)]
    pub foreground: bool,
}

impl Options {
    /// The defaults, for `cluster`.
    pub fn new(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            log_id: None,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            record_bytes_max: RECORD_BYTES_MAX_DEFAULT,
            disk_hook: None,
            foreground: false,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), OpenError> {
        let within = |name, value, min, max| match value {
            value if (min..=max).contains(&value) => Ok(()),
            value => Err(OpenError::Option { name, value, min, max }),
        };
        within("cluster (its length in bytes)", self.cluster.len() as u64, 1, CLUSTER_BYTES_MAX as u64)?;
        within("segment_bytes", self.segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_LIMIT)?;
        within("record_bytes_max", self.record_bytes_max as u64, 1, RECORD_BYTES_LIMIT as u64)
    }

    /// Size of the segment `ordinal`, unless one append needs more.
    pub(crate) fn planned_bytes(&self, ordinal: u64) -> u64 {
        let doublings = u32::try_from(ordinal - 1).unwrap_or(u32::MAX);
        let grown =
            FIRST_SEGMENT_BYTES.checked_shl(doublings).filter(|grown| grown >> doublings == FIRST_SEGMENT_BYTES);
        grown.map_or(self.segment_bytes, |grown| grown.min(self.segment_bytes))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("cluster", &self.cluster)
            .field("segment_bytes", &self.segment_bytes)
            .field("record_bytes_max", &self.record_bytes_max)
            .finish_non_exhaustive()
    }
}

/// What opening a log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the folder held no log before.
    pub created: bool,
    /// Drawn at random when the log was created, if the options had none.
    pub log_id: u128,
    /// Records in the log.
    pub records: u64,
    /// `through` of the last record, whether or not it was trimmed; 0 when there never was one.
    pub last: u64,
    /// `through` of the last record that was trimmed, 0 when none was.
    pub floor: u64,
    /// Segment files.
    pub segments: usize,
    /// Files of segments that had been trimmed, left behind by a crash, and removed now.
    pub leftovers: usize,
    /// What an append that was never acknowledged left behind, and opening removed.
    pub torn: Option<TornTail>,
    /// Whether one of the watermark's two slots did not check (and was written anew): the trace of a power loss, or of
    /// a decaying disk. The log itself is complete.
    pub watermark_slot_damaged: bool,
}

/// The rest of an append that was cut short by a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub file: PathBuf,
    /// Where the acknowledged groups end and the rest began.
    pub offset: u64,
    /// How many bytes, to the last one that was not zero, were removed.
    pub bytes: u64,
}

const _: () = assert!(
    SEGMENT_BYTES_MIN as usize > SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES,
    "the smallest segment must have room for more than its header"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_double_from_a_mebibyte_to_the_size_asked_for() {
        let options = Options { segment_bytes: 5 << 20, ..Options::new("test") };
        let sizes = [1, 2, 3, 4, 45, 64, 65, u64::MAX].map(|ordinal| options.planned_bytes(ordinal));
        assert_eq!(sizes, [1, 2, 4, 5, 5, 5, 5, 5].map(|mebibytes: u64| mebibytes << 20));
        let small = Options { segment_bytes: 8192, ..Options::new("test") };
        assert_eq!(small.planned_bytes(1), 8192);
    }
}
