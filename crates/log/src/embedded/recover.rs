//! Reads a whole log back, and tells a torn tail from damage. What makes the difference is in the page of the
//! [module](super): section *Recovery*.

use std::path::{Path, PathBuf};

use super::format::{
    self, GROUP_HEADER_BYTES, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentHeaderError,
    SegmentSeed, VERSION,
};
use super::index::{IndexBuilder, Segment};
use super::options::TornTail;
use super::watermark::{Mark, WATERMARK_FILE};
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;

/// A log as it was found, repaired where a crash had left work.
pub(crate) struct Recovered {
    pub segments: Vec<Segment>,
    pub records: u64,
    pub torn: Option<TornTail>,
    /// The last segment, for appending, with its index so far.
    pub active: DiskFile,
    pub header: SegmentHeader,
    pub index: IndexBuilder,
}

/// Reads all segments and only then repairs the last. Everything up to the end found is durable when this returns, and
/// only zeros follow it.
pub(crate) fn recover(disk: &Disk, dir: &Path, log_id: u128, mark: Mark) -> Result<Recovered, OpenError> {
    let mut files = open_segments(disk, dir, log_id, mark)?;
    let mut segments = Vec::with_capacity(files.len());
    let (mut records, mut marked, mut torn) = (0, false, 0);
    let mut index = IndexBuilder::new();
    let mut bytes = Vec::new();
    for at in 0..files.len() {
        let (file, header) = &files[at];
        let next = files.get(at + 1).map(|(_, header)| header);
        read_segment(file, header, &mut bytes)?;
        index = IndexBuilder::new();
        let found =
            scan(&bytes, SegmentSeed::new(log_id, header.ordinal), header.base, &mut index, |offset, through| {
                marked |= (mark.segment, mark.offset, mark.through) == (header.ordinal, offset, through);
            });
        records += found.records;
        match next {
            Some(next) => check_sealed(file.path(), &found, next)?,
            None => torn = judge_tail(file, header, &bytes, &found, mark)?,
        }
        let mut segment = Segment::empty(header);
        segment.extend(found.end, found.last, &mut index);
        segments.push(segment);
    }
    if !marked {
        return Err(OpenError::damaged(
            &dir.join(WATERMARK_FILE),
            0,
            "the watermark does not belong to these segments",
        ));
    }
    let (active, header) = files.pop().expect("open_segments returns at least one");
    let end = segments.last().map_or(0, |segment| segment.end);
    let torn = repair_tail(&active, &header, &bytes, (end, torn), mark)?;
    Ok(Recovered { segments, records, torn, active, header, index })
}

pub(crate) fn segment_path(dir: &Path, ordinal: u64) -> PathBuf {
    dir.join(format!("{ordinal:020}.seg"))
}

/// Ordinals of the segment files in the folder, ascending.
pub(crate) fn segment_ordinals(dir: &Path) -> Result<Vec<u64>, OpenError> {
    let listing = |source| OpenError::Io { doing: "list", file: dir.to_owned(), source };
    let mut ordinals = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(listing)? {
        let name = entry.map_err(listing)?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".seg")).filter(|stem| stem.len() == 20);
        ordinals.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
    }
    ordinals.sort_unstable();
    Ok(ordinals)
}

/// Opens every segment from the oldest to the newest, and checks that the headers make one chain.
fn open_segments(
    disk: &Disk,
    dir: &Path,
    log_id: u128,
    mark: Mark,
) -> Result<Vec<(DiskFile, SegmentHeader)>, OpenError> {
    let ordinals = segment_ordinals(dir)?;
    let newest = ordinals.last().copied().unwrap_or(0).max(mark.segment);
    if mark.first_segment > newest {
        return Err(OpenError::damaged(
            &dir.join(WATERMARK_FILE),
            0,
            "the oldest segment it names is above the newest",
        ));
    }
    let mut files: Vec<(DiskFile, SegmentHeader)> = Vec::new();
    for ordinal in mark.first_segment..=newest {
        let path = segment_path(dir, ordinal);
        if ordinals.binary_search(&ordinal).is_err() {
            return Err(OpenError::damaged(&path, 0, "the segment is missing"));
        }
        let file = disk.open(&path)?;
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        let length = file.read_at(&mut block, 0)?;
        let header = SegmentHeader::decode(&block[..length]).map_err(|error| match error {
            SegmentHeaderError::Version(found) => OpenError::Version { file: path.clone(), found, supported: VERSION },
            SegmentHeaderError::Damaged(what) => OpenError::damaged(&path, 0, what),
        })?;
        if header.log_id != log_id {
            return Err(OpenError::damaged(&path, 16, "the segment belongs to another log"));
        }
        if header.ordinal != ordinal {
            return Err(OpenError::damaged(&path, 32, "the segment is another one than its name says"));
        }
        if file.len()? != header.capacity {
            let offset = file.len()?.min(header.capacity);
            return Err(OpenError::damaged(&path, offset, "the file has another length than its header says"));
        }
        files.push((file, header));
    }
    assert!(!files.is_empty(), "the mark names a segment, and it was found");
    Ok(files)
}

fn read_segment(file: &DiskFile, header: &SegmentHeader, bytes: &mut Vec<u8>) -> Result<(), OpenError> {
    let capacity = usize::try_from(header.capacity).expect("a segment fits in memory: see SEGMENT_BYTES_LIMIT");
    bytes.resize(capacity, 0);
    match file.read_at(bytes, 0)? {
        length if length == capacity => Ok(()),
        length => Err(OpenError::damaged(file.path(), length as u64, "the file became shorter while it was read")),
    }
}

/// What a segment holds.
struct Scan {
    /// Where its intact groups end.
    end: u64,
    /// `through` of the last record in them.
    last: u64,
    records: u64,
    /// Why they end there; None when nothing but zeros follows.
    stop: Option<Stop>,
}

#[derive(Clone, Copy)]
struct Stop {
    offset: u64,
    what: &'static str,
    /// No torn write looks like this.
    certain: bool,
}

/// Reads groups from the header on; `boundary` sees where each one ends, and the `through` there.
fn scan(
    bytes: &[u8],
    seed: SegmentSeed,
    base: u64,
    index: &mut IndexBuilder,
    mut boundary: impl FnMut(u64, u64),
) -> Scan {
    let mut found = Scan { end: SEGMENT_HEADER_BYTES as u64, last: base, records: 0, stop: None };
    boundary(found.end, found.last);
    while !is_zero(&bytes[found.end as usize..]) {
        match scan_group(bytes, seed, found.end, found.last, index) {
            Ok(header) => {
                found.end += (GROUP_HEADER_BYTES + header.body_bytes) as u64;
                found.last = header.last;
                found.records += u64::from(header.records);
                boundary(found.end, found.last);
            }
            Err(stop) => {
                index.cut(found.end);
                found.stop = Some(stop);
                break;
            }
        }
    }
    found
}

/// Verifies every record of the group at `offset`.
fn scan_group(
    bytes: &[u8],
    seed: SegmentSeed,
    offset: u64,
    before: u64,
    index: &mut IndexBuilder,
) -> Result<format::GroupHeader, Stop> {
    let stop = |offset, what, certain| Stop { offset, what, certain };
    let rest = &bytes[offset as usize..];
    let header = format::decode_group(seed, offset, rest).map_err(|what| stop(offset, what, false))?;
    let body_end = GROUP_HEADER_BYTES + header.body_bytes;
    if header.before != before || body_end > rest.len() {
        return Err(stop(offset, "an intact group header that does not follow what is before it", true));
    }
    index.visit(offset, before);
    let (mut at, mut last, mut records) = (GROUP_HEADER_BYTES, before, 0);
    while at < body_end {
        let here = offset + at as u64;
        let left = &rest[at..body_end];
        let length = match left.len() {
            RECORD_HEADER_BYTES.. => format::record_bytes(left).map_err(|what| stop(here, what, false))?,
            _ => return Err(stop(here, "a record reaches beyond its group", false)),
        };
        let record = left.get(..length).ok_or(stop(here, "a record reaches beyond its group", false))?;
        let through = format::verify_record(seed, here, record).map_err(|what| stop(here, what, false))?;
        if through <= last || (records == 0 && through != header.first) {
            return Err(stop(here, "an intact record that does not follow the one before it", true));
        }
        (at, last, records) = (at + length, through, records + 1);
        index.visit(offset + at as u64, last);
    }
    if (last, records) == (header.last, header.records) {
        Ok(header)
    } else {
        Err(stop(offset, "a group that holds other records than its header says", true))
    }
}

/// A segment that has a successor is complete: the successor was made when all of it was acknowledged.
fn check_sealed(path: &Path, found: &Scan, next: &SegmentHeader) -> Result<(), OpenError> {
    match found.stop {
        _ if (found.end, found.last) == (next.previous_end, next.base) => Ok(()),
        Some(stop) => Err(OpenError::damaged(path, stop.offset, stop.what)),
        None => Err(OpenError::damaged(path, found.end, "the groups do not end where the next segment says")),
    }
}

/// Decides whether what follows the last intact group is a torn tail; returns its length, 0 when there is none.
fn judge_tail(
    file: &DiskFile,
    header: &SegmentHeader,
    bytes: &[u8],
    found: &Scan,
    mark: Mark,
) -> Result<usize, OpenError> {
    let damaged = |offset, what| Err(OpenError::damaged(file.path(), offset, what));
    if mark.segment == header.ordinal && mark.offset > found.end {
        return match found.stop {
            Some(stop) => damaged(stop.offset, stop.what),
            None => damaged(found.end, "zeros where acknowledged records were"),
        };
    }
    let Some(stop) = found.stop else { return Ok(0) };
    if stop.certain || has_later_group(bytes, SegmentSeed::new(header.log_id, header.ordinal), found.end) {
        return damaged(stop.offset, stop.what);
    }
    let rest = &bytes[found.end as usize..];
    Ok(rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1))
}

/// Makes the last segment durable up to `end`, and the `torn` bytes after it zero.
fn repair_tail(
    file: &DiskFile,
    header: &SegmentHeader,
    bytes: &[u8],
    (end, torn): (u64, usize),
    mark: Mark,
) -> Result<Option<TornTail>, OpenError> {
    if torn > 0 {
        file.write_at("log.repair.zero", &vec![0; torn], end)?;
    }
    // What is intact but was not acknowledged may be in the page cache only, even marked clean after a failed sync, in
    // which case syncing would do nothing. Writing it once more makes the sync below mean something.
    let acknowledged = if mark.segment == header.ordinal { mark.offset } else { SEGMENT_HEADER_BYTES as u64 };
    if acknowledged < end {
        file.write_at("log.repair.rewrite", &bytes[acknowledged as usize..end as usize], acknowledged)?;
    }
    file.sync("log.repair.sync")?;
    Ok((torn > 0).then(|| TornTail { file: file.path().to_owned(), offset: end, bytes: torn as u64 }))
}

/// Whether a group was written after the one at `end`: then that one had been acknowledged.
fn has_later_group(bytes: &[u8], seed: SegmentSeed, end: u64) -> bool {
    let first = end as usize + 1;
    (first..bytes.len())
        .any(|at| format::is_group(&bytes[at..]) && format::decode_group(seed, at as u64, &bytes[at..]).is_ok())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::super::{EmbeddedLog, Options, watermark::Watermark};
    use super::*;

    #[test]
    fn a_watermark_above_every_segment_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (log, report) = EmbeddedLog::open(dir.path(), Options::new("test")).unwrap();
        log.close().unwrap();
        let (mut watermark, mark, _) = Watermark::open(&Disk::new(None), dir.path(), report.log_id).unwrap();
        watermark.settle(Mark { first_segment: 9, ..mark }).unwrap();
        let error = EmbeddedLog::open(dir.path(), Options::new("test")).map(drop).unwrap_err();
        assert!(error.to_string().contains("above the newest"), "{error}");
    }
}
