//! What is durable, as writer and readers share it: the segments, and a sparse index into each.
//!
//! Bounded: one entry of 16 bytes for every [`INDEX_STRIDE_BYTES`] of log, 256 KiB for a GiB, and one [`Segment`] for
//! each file. Invariants: log.I1 nothing gets in here before it is durable; log.I2 segments, and the entries of one,
//! are ascending; log.I3 a segment's first entry is the start of its groups.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader};

const ONE_SEGMENT: &str = "a log has at least one segment";

/// Distance between two entries of the index: a read skips at most this much, and one record.
const INDEX_STRIDE_BYTES: u64 = 64 << 10;

/// A place a reader may start at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// `through` of the last record before it.
    before: u64,
    offset: u64,
}

/// Collects entries at the stride, until they are durable and [`Segment::extend`] takes them.
#[derive(Debug)]
pub(crate) struct IndexBuilder {
    next: u64,
    entries: Vec<Entry>,
}

impl IndexBuilder {
    /// For a segment that has no entries yet.
    pub fn new() -> Self {
        Self { next: SEGMENT_HEADER_BYTES as u64, entries: Vec::new() }
    }

    pub fn visit(&mut self, offset: u64, before: u64) {
        if offset >= self.next {
            self.entries.push(Entry { before, offset });
            self.next = offset + INDEX_STRIDE_BYTES;
        }
    }

    /// Forgets what lies at `end` and beyond, which turned out not to be there.
    pub fn cut(&mut self, end: u64) {
        self.entries.retain(|entry| entry.offset < end);
        self.next = self.entries.last().map_or(SEGMENT_HEADER_BYTES as u64, |entry| entry.offset + INDEX_STRIDE_BYTES);
    }
}

/// The durable part of one segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub ordinal: u64,
    /// Length of its file.
    pub capacity: u64,
    /// `through` of the last record before it.
    pub base: u64,
    /// `through` of its last record, or of the last one before it.
    pub last: u64,
    /// Where its durable groups end.
    pub end: u64,
    entries: Vec<Entry>,
}

impl Segment {
    /// The segment of that header, with nothing in it yet.
    pub fn empty(header: &SegmentHeader) -> Self {
        let SegmentHeader { ordinal, capacity, base, .. } = *header;
        Self { ordinal, capacity, base, last: base, end: SEGMENT_HEADER_BYTES as u64, entries: Vec::new() }
    }

    /// Takes in what became durable.
    pub fn extend(&mut self, end: u64, last: u64, index: &mut IndexBuilder) {
        assert!(end >= self.end && last >= self.last, "what is durable never shrinks");
        self.end = end;
        self.last = last;
        self.entries.append(&mut index.entries);
    }
}

/// A stretch of one segment that holds records after the `through` asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub ordinal: u64,
    /// Where to start reading, and the `through` before that.
    pub start: u64,
    pub before: u64,
    /// Where the durable groups end, and the last `through` in them.
    pub end: u64,
    pub last: u64,
}

/// What was asked for is below the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trimmed {
    pub floor: u64,
}

/// Shared between the writer and its readers.
#[derive(Debug)]
pub(crate) struct Published {
    segments: RwLock<Vec<Segment>>,
    last: AtomicU64,
}

impl Published {
    pub fn new(segments: Vec<Segment>) -> Self {
        let last = segments.last().expect(ONE_SEGMENT).last;
        Self { segments: RwLock::new(segments), last: AtomicU64::new(last) }
    }

    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// A new last segment, empty so far.
    pub fn push(&self, segment: Segment) {
        self.write().push(segment);
    }

    /// More of the last segment is durable.
    pub fn extend(&self, end: u64, last: u64, index: &mut IndexBuilder) {
        self.write().last_mut().expect(ONE_SEGMENT).extend(end, last, index);
        self.last.store(last, Ordering::Release);
    }

    /// `through` of the last record before the oldest segment.
    pub fn floor(&self) -> u64 {
        self.read().first().expect(ONE_SEGMENT).base
    }

    /// How many segments, from the oldest on, hold nothing above `through`. The newest is never one of them.
    pub fn trimmable(&self, through: u64) -> usize {
        let segments = self.read();
        let sealed = &segments[..segments.len() - 1];
        sealed.partition_point(|segment| segment.last <= through)
    }

    /// Forgets the oldest `count` segments; returns their ordinals.
    pub fn trim(&self, count: usize) -> Vec<u64> {
        let mut segments = self.write();
        assert!(count < segments.len(), "{ONE_SEGMENT}");
        segments.drain(..count).map(|segment| segment.ordinal).collect()
    }

    /// Looks at every segment, oldest first.
    pub fn map<T>(&self, look: impl Fn(&Segment) -> T) -> Vec<T> {
        self.read().iter().map(look).collect()
    }

    /// Where to find the first record after `after`; None when there is none yet.
    pub fn locate(&self, after: u64) -> Result<Option<Span>, Trimmed> {
        let segments = self.read();
        let floor = segments.first().expect(ONE_SEGMENT).base;
        if after < floor {
            return Err(Trimmed { floor });
        }
        let Some(segment) = segments.get(segments.partition_point(|segment| segment.last <= after)) else {
            return Ok(None);
        };
        let entry = segment.entries.partition_point(|entry| entry.before <= after);
        // `after` may lie in a gap before the segment: then its first entry is right.
        let Entry { before, offset } = segment.entries[entry.saturating_sub(1)];
        Ok(Some(Span { ordinal: segment.ordinal, start: offset, before, end: segment.end, last: segment.last }))
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Segment>> {
        self.segments.read().expect("no holder of this lock panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Segment>> {
        self.segments.write().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> Published {
        let mut index = IndexBuilder::new();
        index.visit(4096, 0);
        index.visit(5000, 3);
        index.visit(4096 + INDEX_STRIDE_BYTES, 7);
        let mut first = empty(1, 0);
        first.extend(100_000, 9, &mut index);
        let mut index = IndexBuilder::new();
        index.visit(4096, 9);
        let mut second = empty(2, 9);
        second.extend(5000, 12, &mut index);
        Published::new(vec![first, second, empty(3, 12)])
    }

    fn empty(ordinal: u64, base: u64) -> Segment {
        Segment::empty(&SegmentHeader { log_id: 1, ordinal, capacity: 1 << 20, base, previous_end: 0 })
    }

    #[test]
    fn a_record_is_looked_for_from_the_entry_before_it() {
        let published = published();
        let found = |after| {
            let span = published.locate(after).expect("nothing is trimmed");
            span.map(|span| (span.ordinal, span.start, span.before))
        };
        assert_eq!(found(0), Some((1, 4096, 0)));
        assert_eq!(found(6), Some((1, 4096, 0)));
        assert_eq!(found(7), Some((1, 4096 + INDEX_STRIDE_BYTES, 7)));
        assert_eq!(found(8), Some((1, 4096 + INDEX_STRIDE_BYTES, 7)));
        assert_eq!(found(9), Some((2, 4096, 9)));
        assert_eq!(found(11), Some((2, 4096, 9)));
        assert_eq!(found(12), None);
        assert_eq!(found(u64::MAX), None);
    }

    #[test]
    fn what_is_trimmed_is_below_the_floor_and_the_newest_segment_stays() {
        let published = published();
        assert_eq!([0, 8, 9, 11, 12, u64::MAX].map(|through| published.trimmable(through)), [0, 0, 1, 1, 2, 2]);
        assert_eq!((published.trim(1), published.floor()), (vec![1], 9));
        assert_eq!(published.locate(8), Err(Trimmed { floor: 9 }));
        assert_eq!(published.locate(9).map(|span| span.map(|span| span.ordinal)), Ok(Some(2)));
        assert_eq!((published.trim(1), published.floor(), published.last()), (vec![2], 12, 12));
        assert_eq!((published.locate(11), published.locate(12)), (Err(Trimmed { floor: 12 }), Ok(None)));
    }
}
