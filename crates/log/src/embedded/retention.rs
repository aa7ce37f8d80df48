//! Dropping the oldest segments, and what an owner needs to decide how many.
//!
//! Decides nothing itself: how much to keep, by age, size or need, is the owner's knowledge.

use super::EmbeddedLog;
use super::recover::segment_path;
use crate::error::DiskError;

/// One file of an embedded log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// `through` of the last record before it.
    pub base: u64,
    /// `through` of its last record: trimming through this drops it, unless it is the newest. Equal to `base` while it
    /// has none.
    pub last: u64,
    /// Length of the file.
    pub bytes: u64,
}

impl EmbeddedLog {
    /// The files with records, oldest first. To keep records by age, look at the first record after a segment's `last`:
    /// when that is too old, so is all of the segment.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.published.map(|segment| SegmentInfo { base: segment.base, last: segment.last, bytes: segment.capacity })
    }

    /// Bytes of the files with records. On the disk there are up to
    /// [`Options::segment_bytes`](crate::Options::segment_bytes) more, for the segment that is prepared.
    pub fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.bytes).sum()
    }

    /// The least to trim through so that [`bytes`](Self::bytes) is at most `bytes_max` afterwards, or as little as it
    /// can be: the newest segment stays. The floor when nothing has to be trimmed.
    pub fn trim_point(&self, bytes_max: u64) -> u64 {
        let segments = self.segments();
        let newest = segments.last().expect("a log has at least one segment");
        let mut bytes = 0_u64;
        let kept = segments.iter().rev().find(|segment| {
            bytes += segment.bytes;
            bytes > bytes_max
        });
        kept.map_or_else(|| segments[0].base, |dropped| dropped.last.min(newest.base))
    }

    /// Drops what holds nothing above `through`; the watermark says so before anything is removed.
    pub(super) fn drop_segments(&mut self, through: u64) -> Result<(), DiskError> {
        let count = self.published.trimmable(through);
        if count == 0 {
            return Ok(());
        }
        self.lock.check()?;
        self.first_segment += count as u64;
        self.watermark.settle(self.mark())?;
        // A sync that failed in the background meanwhile may have been of what was just written.
        if let Some(error) = self.housekeeper.take_error() {
            return Err(error);
        }
        for ordinal in self.published.trim(count) {
            self.disk.remove("log.trim.remove", &segment_path(&self.dir, ordinal))?;
        }
        self.disk.sync_dir("log.trim.sync-folder", &self.dir)
    }
}
