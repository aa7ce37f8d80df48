//! The bytes of a segment: its header, groups, records. Pure functions over slices; all integers little-endian.
//!
//! ```text
//! segment header, one block of 4096   magic 8 | crc 4 | version 4 | log id 16 | ordinal 8 | capacity 8
//!                                     | base 8: `through` before it | previous end 8 | zeros
//! group header, 40                    crc 4 | magic 4 | body bytes 4 | records 4 | before 8 | first 8 | last 8
//! record header, 16, then its bytes   crc 4 | length 4 | `through` 8
//! ```
//!
//! The checksum is CRC-32C of everything after it (header and bytes), started from a value made of log id, ordinal and
//! offset: bytes that belong to another log, segment or place do not check here. A group header's magic is where a
//! record has its length, and is above every length, so a reader that starts between two records tells them apart.

use crate::integers::{agrees, u32_at, u64_at, u128_at};
use crate::log::Content;

pub(crate) const VERSION: u32 = 1;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 4096;
pub(crate) const GROUP_HEADER_BYTES: usize = 40;
pub(crate) const RECORD_HEADER_BYTES: usize = 16;

const SEGMENT_MAGIC: [u8; 8] = *b"DOVETSEG";
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"DTG\xf0");

/// Largest record the format holds. [`Options::record_bytes_max`](crate::Options::record_bytes_max) is at most this.
pub const RECORD_BYTES_LIMIT: usize = 64 << 20;
/// Most bytes, headers included, that one append may write; more is refused with
/// [`AppendError::GroupTooLarge`](crate::AppendError::GroupTooLarge).
pub const GROUP_BYTES_MAX: usize = 256 << 20;
/// Largest [`Options::segment_bytes`](crate::Options::segment_bytes).
pub const SEGMENT_BYTES_LIMIT: u64 = 1 << 30;

const _: () = assert!(RECORD_BYTES_LIMIT < GROUP_MAGIC as usize, "a length must never look like a group's magic");
const _: () = assert!(
    SEGMENT_BYTES_LIMIT as usize + SEGMENT_HEADER_BYTES + GROUP_BYTES_MAX < u32::MAX as usize,
    "offsets in a segment are kept, and mixed into checksums, as u32"
);
const _: () = assert!(
    RECORD_BYTES_LIMIT + RECORD_HEADER_BYTES + GROUP_HEADER_BYTES <= GROUP_BYTES_MAX,
    "the largest record must fit in a group"
);

/// Where every checksum in a segment starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSeed(u32);

impl SegmentSeed {
    pub fn new(log_id: u128, ordinal: u64) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&log_id.to_le_bytes()), &ordinal.to_le_bytes()))
    }

    fn checksum(self, offset: u64, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0 ^ offset as u32, bytes)
    }
}

/// What a segment says about itself. It is durable before the segment gets its name, so it is never torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub log_id: u128,
    /// 1 for the first segment of a log, then counting.
    pub ordinal: u64,
    /// Length of the file, from its creation on.
    pub capacity: u64,
    /// `through` of the last record before this segment.
    pub base: u64,
    /// Where the groups of the segment before this one ended; 0 for the first.
    pub previous_end: u64,
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeaderError {
    Version(u32),
    Damaged(&'static str),
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        block[..8].copy_from_slice(&SEGMENT_MAGIC);
        block[12..16].copy_from_slice(&VERSION.to_le_bytes());
        block[16..32].copy_from_slice(&self.log_id.to_le_bytes());
        block[32..40].copy_from_slice(&self.ordinal.to_le_bytes());
        block[40..48].copy_from_slice(&self.capacity.to_le_bytes());
        block[48..56].copy_from_slice(&self.base.to_le_bytes());
        block[56..64].copy_from_slice(&self.previous_end.to_le_bytes());
        let checksum = crc32c::crc32c(&block[12..]);
        block[8..12].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    pub fn decode(block: &[u8]) -> Result<Self, SegmentHeaderError> {
        if block.len() < SEGMENT_HEADER_BYTES {
            return Err(SegmentHeaderError::Damaged("the file ends inside its header"));
        }
        if block[..8] != SEGMENT_MAGIC {
            return Err(SegmentHeaderError::Damaged("not a segment: the magic bytes are missing"));
        }
        if !agrees(u32_at(block, 8), crc32c::crc32c(&block[12..SEGMENT_HEADER_BYTES])) {
            return Err(SegmentHeaderError::Damaged("the checksum of the segment header does not match"));
        }
        match u32_at(block, 12) {
            VERSION => Ok(Self {
                log_id: u128_at(block, 16),
                ordinal: u64_at(block, 32),
                capacity: u64_at(block, 40),
                base: u64_at(block, 48),
                previous_end: u64_at(block, 56),
            }),
            version => Err(SegmentHeaderError::Version(version)),
        }
    }
}

/// Bytes the group of `records` takes.
pub(crate) fn group_bytes<C: Content>(records: &[C]) -> usize {
    records.iter().fold(GROUP_HEADER_BYTES, |sum, record| sum.saturating_add(RECORD_HEADER_BYTES + record.bytes_len()))
}

/// Writes the group of `records`, which follow `before`, into `out`, as it will stand at `offset`. Calls `visit` with
/// the offset of each place a reader may start at, and the `through` before it.
pub(crate) fn encode_group<C: Content>(
    seed: SegmentSeed,
    offset: u64,
    before: u64,
    records: &[C],
    out: &mut Vec<u8>,
    mut visit: impl FnMut(u64, u64),
) {
    assert!(!records.is_empty(), "an empty append writes no group");
    let (first, last) = (&records[0], &records[records.len() - 1]);
    out.clear();
    out.reserve(group_bytes(records));
    out.resize(GROUP_HEADER_BYTES, 0);
    visit(offset, before);
    for record in records {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(record.bytes_len() as u32).to_le_bytes());
        out.extend_from_slice(&record.through().to_le_bytes());
        record.put(out);
        assert_eq!(out.len() - start, RECORD_HEADER_BYTES + record.bytes_len(), "a record is as long as it says");
        let checksum = seed.checksum(offset + start as u64, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        visit(offset + out.len() as u64, record.through());
    }
    let body = out.len() - GROUP_HEADER_BYTES;
    out[4..8].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
    out[8..12].copy_from_slice(&(body as u32).to_le_bytes());
    out[12..16].copy_from_slice(&(records.len() as u32).to_le_bytes());
    out[16..24].copy_from_slice(&before.to_le_bytes());
    out[24..32].copy_from_slice(&first.through().to_le_bytes());
    out[32..40].copy_from_slice(&last.through().to_le_bytes());
    let checksum = seed.checksum(offset, &out[4..GROUP_HEADER_BYTES]);
    out[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// What a group says about itself. Written only when everything before it in the log was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub body_bytes: usize,
    pub records: u32,
    /// `through` of the last record before the group: durable when the group was written.
    pub before: u64,
    pub first: u64,
    pub last: u64,
}

/// Whether the header at the start of `bytes` is a group's, judged by its magic alone.
pub(crate) fn is_group(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && u32_at(bytes, 4) == GROUP_MAGIC
}

/// The group header at the start of `bytes`, which stand at `offset` of the segment.
pub(crate) fn decode_group(seed: SegmentSeed, offset: u64, bytes: &[u8]) -> Result<GroupHeader, &'static str> {
    if bytes.len() < GROUP_HEADER_BYTES || !is_group(bytes) {
        return Err("no group header where one was expected");
    }
    if !agrees(u32_at(bytes, 0), seed.checksum(offset, &bytes[4..GROUP_HEADER_BYTES])) {
        return Err("the checksum of a group header does not match");
    }
    Ok(GroupHeader {
        body_bytes: u32_at(bytes, 8) as usize,
        records: u32_at(bytes, 12),
        before: u64_at(bytes, 16),
        first: u64_at(bytes, 24),
        last: u64_at(bytes, 32),
    })
}

/// Length of the record, header included, whose header is at the start of `bytes`. Not verified yet.
pub(crate) fn record_bytes(bytes: &[u8]) -> Result<usize, &'static str> {
    match u32_at(bytes, 4) as usize {
        length @ ..=RECORD_BYTES_LIMIT => Ok(RECORD_HEADER_BYTES + length),
        _ => Err("a record's length is above every limit"),
    }
}

/// Verifies the record that is exactly `bytes`, at `offset`, and returns its `through`.
pub(crate) fn verify_record(seed: SegmentSeed, offset: u64, bytes: &[u8]) -> Result<u64, &'static str> {
    if !agrees(u32_at(bytes, 0), seed.checksum(offset, &bytes[4..])) {
        return Err("the checksum of a record does not match");
    }
    Ok(u64_at(bytes, 8))
}
