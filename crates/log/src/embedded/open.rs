//! Opening a folder as a log: whose it is, whether it is complete, and where to go on.

use std::path::Path;
use std::sync::Arc;

use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentSeed};
use super::housekeeper::{Housekeeper, make_spare, remove_spare};
use super::identity::{Identity, META_FILE};
use super::index::Published;
use super::options::{OpenReport, Options};
use super::recover::{self, segment_ordinals, segment_path};
use super::watermark::{Mark, Watermark};
use super::{Active, EmbeddedLog};
use crate::disk::{Disk, failed};
use crate::error::OpenError;
use crate::lock::FolderLock;

pub(super) fn open(dir: &Path, options: Options) -> Result<(EmbeddedLog, OpenReport), OpenError> {
    options.validate()?;
    let disk = Disk::new(options.disk_hook.clone());
    disk.create_dir(dir)?;
    let lock = Arc::new(FolderLock::take(dir)?);
    let (identity, created) = match Identity::read(dir)? {
        Some(identity) => (identity, false),
        None => (create(&disk, dir, &options)?, true),
    };
    if identity.cluster != options.cluster {
        return Err(OpenError::OtherCluster {
            dir: dir.to_owned(),
            found: identity.cluster,
            expected: options.cluster,
        });
    }
    let log_id = identity.log_id;
    if let Some(expected) = options.log_id.filter(|&expected| expected != log_id) {
        return Err(OpenError::OtherLog { file: dir.to_owned(), found: log_id, expected });
    }
    let (mut watermark, mark, watermark_slot_damaged) = Watermark::open(&disk, dir, log_id)?;
    let found = recover::recover(&disk, dir, log_id, mark)?;
    let tail = found.segments.last().expect("a log has at least one segment");
    let (end, last, ordinal) = (tail.end, tail.last, tail.ordinal);
    // The names of the segments too: the one written last may be known to the page cache only.
    disk.sync_dir("log.open.sync-folder", dir)?;
    watermark.settle(Mark { first_segment: mark.first_segment, segment: ordinal, offset: end, through: last })?;
    remove_spare(&disk, dir)?;
    let leftovers = remove_leftovers(&disk, dir, mark.first_segment)?;
    let report = OpenReport {
        created,
        log_id,
        records: found.records,
        last,
        floor: found.segments[0].base,
        segments: found.segments.len(),
        leftovers,
        torn: found.torn,
        watermark_slot_damaged,
    };
    let (held, foreground) = (Arc::clone(&lock), options.foreground);
    let housekeeper = Housekeeper::start(disk.clone(), dir.to_owned(), held, watermark.file(), foreground)?;
    housekeeper.want_spare(options.planned_bytes(ordinal + 1));
    let log = EmbeddedLog {
        dir: dir.to_owned(),
        log_id,
        disk,
        options,
        first_segment: mark.first_segment,
        active: Active {
            file: found.active,
            ordinal,
            capacity: found.header.capacity,
            seed: SegmentSeed::new(log_id, ordinal),
            end,
        },
        last,
        index: found.index,
        published: Arc::new(Published::new(found.segments)),
        watermark,
        housekeeper,
        scratch: Vec::new(),
        poisoned: None,
        closed: false,
        lock,
    };
    Ok((log, report))
}

/// Removes what a trim was about to remove when it was interrupted. Both slots of the watermark say by now that it is
/// gone.
fn remove_leftovers(disk: &Disk, dir: &Path, first_segment: u64) -> Result<usize, OpenError> {
    let mut ordinals = segment_ordinals(dir)?;
    ordinals.retain(|ordinal| *ordinal < first_segment);
    for ordinal in &ordinals {
        disk.remove("log.leftovers.remove", &segment_path(dir, *ordinal))?;
    }
    if !ordinals.is_empty() {
        disk.sync_dir("log.leftovers.sync-folder", dir)?;
    }
    Ok(ordinals.len())
}

/// Creates a log in a folder that holds none, or one whose creation was interrupted. The identity comes last.
fn create(disk: &Disk, dir: &Path, options: &Options) -> Result<Identity, OpenError> {
    refuse_used(dir)?;
    let log_id = options.log_id.map_or_else(|| draw_id(dir), Ok)?;
    let identity = Identity { log_id, cluster: options.cluster.clone() };
    let mut first = make_spare(disk, dir, options.planned_bytes(1))?;
    let header =
        SegmentHeader { log_id: identity.log_id, ordinal: 1, capacity: first.capacity, base: 0, previous_end: 0 };
    first.file.write_at("log.create.write", &header.encode(), 0)?;
    first.file.sync("log.create.sync")?;
    first.file.rename("log.create.rename", &segment_path(dir, 1))?;
    let start = Mark { first_segment: 1, segment: 1, offset: SEGMENT_HEADER_BYTES as u64, through: 0 };
    Watermark::create(disk, dir, identity.log_id, start)?;
    disk.sync_dir("log.create.sync-folder", dir)?;
    identity.write(disk, dir)?;
    Ok(identity)
}

fn draw_id(dir: &Path) -> Result<u128, OpenError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| OpenError::Io {
        doing: "draw an identity for",
        file: dir.to_owned(),
        source: std::io::Error::other(error),
    })?;
    Ok(u128::from_le_bytes(id))
}

/// A folder without an identity that holds records has lost it; one that holds none was never finished.
fn refuse_used(dir: &Path) -> Result<(), OpenError> {
    for ordinal in segment_ordinals(dir)? {
        let path = segment_path(dir, ordinal);
        let bytes = std::fs::read(&path).map_err(failed("read", &path))?;
        if ordinal > 1 || bytes.iter().skip(SEGMENT_HEADER_BYTES).any(|byte| *byte != 0) {
            return Err(OpenError::damaged(&dir.join(META_FILE), 0, "the identity is missing, and there are records"));
        }
    }
    Ok(())
}
