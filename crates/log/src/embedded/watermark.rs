//! The file that says what was acknowledged: two slots, written in turn.
//!
//! After each group's fsync, and before its append returns, the older slot is overwritten, which needs no fsync: it
//! survives the death of the process. Against the loss of power it is synced in the background (see
//! [`housekeeper`](super::housekeeper)), when a segment is full, and in both slots when the log is opened, trimmed or
//! closed. The group written next carries the same fact under its own fsync. Its format version is that of `meta`.
//!
//! Invariant: log.W1 a slot never claims more than is durable; log.W2 no segment from the first segment of an intact
//! slot on is missing. A slot is 68 bytes at the start of a block of 4096: `crc 4 | magic 8 | sequence 8 | log id 16 |
//! first segment 8 | segment 8 | offset 8 | through 8`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{DiskError, OpenError};
use crate::integers::{agrees, u32_at, u64_at, u128_at};

pub(crate) const WATERMARK_FILE: &str = "watermark";
const MAGIC: [u8; 8] = *b"DOVETWMK";
const SLOT_BYTES: usize = 68;
/// Each slot has a block of its own, so that no torn write touches both.
const SLOT_STRIDE: usize = 4096;

/// Up to where the log was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The oldest segment the log still has.
    pub first_segment: u64,
    /// Segment and offset where the acknowledged groups end.
    pub segment: u64,
    pub offset: u64,
    /// `through` of the last acknowledged record.
    pub through: u64,
}

/// The file, and the slots' next sequence number.
pub(crate) struct Watermark {
    file: Arc<DiskFile>,
    log_id: u128,
    sequence: u64,
}

impl Watermark {
    /// A new file that says `mark` in both slots, durable but for its entry in the folder.
    pub fn create(disk: &Disk, dir: &Path, log_id: u128, mark: Mark) -> Result<Self, DiskError> {
        let file = Arc::new(disk.create("log.watermark.create", &dir.join(WATERMARK_FILE))?);
        file.write_at("log.watermark.zero", &[0; 2 * SLOT_STRIDE], 0)?;
        let mut watermark = Self { file, log_id, sequence: 0 };
        watermark.settle(mark)?;
        Ok(watermark)
    }

    /// Reads the newest intact slot. The flag is true when the other slot is damaged: then the mark may be one append
    /// older than it could be.
    pub fn open(disk: &Disk, dir: &Path, log_id: u128) -> Result<(Self, Mark, bool), OpenError> {
        let path = dir.join(WATERMARK_FILE);
        let file = match disk.open(&path) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::damaged(&path, 0, "the watermark is missing"));
            }
            file => file?,
        };
        let mut bytes = [0; 2 * SLOT_STRIDE];
        file.read_at(&mut bytes, 0)?;
        let slots = [0, 1].map(|slot| decode(log_id, &bytes[slot * SLOT_STRIDE..][..SLOT_BYTES]));
        let Some((sequence, mark)) = slots.iter().flatten().max_by_key(|(sequence, _)| *sequence).copied() else {
            return Err(OpenError::damaged(&path, 0, "neither slot of the watermark checks"));
        };
        let damaged = slots.iter().any(Option::is_none);
        Ok((Self { file: Arc::new(file), log_id, sequence: sequence + 1 }, mark, damaged))
    }

    /// For the thread that syncs in the background.
    pub fn file(&self) -> Arc<DiskFile> {
        Arc::clone(&self.file)
    }

    /// Overwrites the older slot. Not synced.
    pub fn write(&mut self, mark: Mark) -> Result<(), DiskError> {
        let slot = encode(self.log_id, self.sequence, mark);
        self.file.write_at("log.watermark.write", &slot, (self.sequence % 2) * SLOT_STRIDE as u64)?;
        self.sequence += 1;
        Ok(())
    }

    /// Overwrites the older slot and makes it durable.
    pub fn write_through(&mut self, mark: Mark) -> Result<(), DiskError> {
        self.write(mark)?;
        self.file.sync("log.watermark.sync")
    }

    /// Says `mark` in both slots, one after the other, durably: afterwards damage to one slot loses nothing.
    pub fn settle(&mut self, mark: Mark) -> Result<(), DiskError> {
        self.write_through(mark)?;
        self.write_through(mark)
    }
}

fn encode(log_id: u128, sequence: u64, mark: Mark) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[4..12].copy_from_slice(&MAGIC);
    slot[12..20].copy_from_slice(&sequence.to_le_bytes());
    slot[20..36].copy_from_slice(&log_id.to_le_bytes());
    slot[36..44].copy_from_slice(&mark.first_segment.to_le_bytes());
    slot[44..52].copy_from_slice(&mark.segment.to_le_bytes());
    slot[52..60].copy_from_slice(&mark.offset.to_le_bytes());
    slot[60..68].copy_from_slice(&mark.through.to_le_bytes());
    let checksum = crc32c::crc32c(&slot[4..]);
    slot[..4].copy_from_slice(&checksum.to_le_bytes());
    slot
}

fn decode(log_id: u128, slot: &[u8]) -> Option<(u64, Mark)> {
    let checked = agrees(u32_at(slot, 0), crc32c::crc32c(&slot[4..]));
    let intact = checked && slot[4..12] == MAGIC && u128_at(slot, 20) == log_id;
    intact.then(|| {
        let mark = Mark {
            first_segment: u64_at(slot, 36),
            segment: u64_at(slot, 44),
            offset: u64_at(slot, 52),
            through: u64_at(slot, 60),
        };
        (u64_at(slot, 12), mark)
    })
}
