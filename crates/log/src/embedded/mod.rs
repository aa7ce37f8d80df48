//! A log in a folder of the local disk.
//!
//! Depends on no service, reads no clock that matters, and trims nothing of its own accord. Unix only: it reads and
//! writes at offsets.
//!
//! # Files
//!
//! ```text
//! meta                      whose log this is: cluster and log id; written last when the folder is created
//! lock                      who has the log open; the folder itself is locked meanwhile
//! watermark                 what was acknowledged, in two slots
//! 00000000000000000001.seg  records, in groups; each file is zeroed to its full length before it gets this name
//! spare                     the next segment, being zeroed in the background
//! ```
//!
//! # Writing
//!
//! One [`append`](crate::Log::append) writes one *group*: a header and its records, in one segment, in one write, then
//! one fdatasync. Group after group; the next is written only when the one before is durable, and says so in its
//! header. Then the watermark is overwritten (no fsync), then readers see the records, then the append returns. When a
//! group does not fit, the spare becomes the next segment: its header, which says where and with which `through` the
//! segment before ended, is durable before its name, its name before its first group.
//!
//! # Trimming
//!
//! Whole segments are dropped, oldest first, and never the newest. First both slots of the watermark say, durably,
//! which segment is now the oldest; then readers are told; then the files are removed and the folder is synced. A crash
//! in between leaves files below the oldest segment: opening removes and counts them ([`OpenReport::leftovers`]). A
//! segment knows the `through` before it, so nothing else has to be remembered of what is gone. A reader that rests in
//! a trimmed segment holds it open, and with it its space, until it reads again.
//!
//! # What is guaranteed
//!
//! 1. **Acknowledged is durable**, against the death of the process and against loss of power, on a disk that keeps
//!    what it confirmed and, when a write is cut short, leaves the bytes alone that the write did not change.
//! 2. **A group is atomic**: after a crash an unacknowledged append is there with all of its records or with none.
//! 3. **Damage is never taken for the end.** Recovery below says how the two are told apart.
//! 4. **Nothing stale comes back.** What opening cut is zeroed and synced before the log is used; what opening found
//!    intact but unacknowledged is written again and synced before it is served.
//! 5. **A failed write or sync is final** ([`AppendError::Poisoned`]). The one exception
//!    is a disk too full for the next segment, found before it has a name and before anything of the group was written.
//! 6. **Every read is verified**; a record that does not check is an error with file and offset.
//! 7. **Nothing is acknowledged into a file that was deleted**, nor in a folder that was moved or replaced: such an
//!    append fails, and the failure is final.
//!
//! # Recovery
//!
//! Opening reads everything. The first place in the newest segment where no intact group follows, and where not all is
//! zero, is a **torn tail** only if nothing proves that it was acknowledged. Proof is any of:
//!
//! - the watermark lies beyond it (either slot: the newest that checks counts);
//! - an intact group header stands anywhere after it (headers are bound to log, segment and offset by their checksum);
//! - there is a later segment;
//! - what is there is intact in itself, but contradicts what is before it.
//!
//! With proof, opening fails with file and offset and changes nothing. Without, the tail is cut and reported in
//! [`OpenReport::torn`]: it is then the one append that was in flight. So, with `n` the last acknowledged group:
//!
//! | what happened | what opening does |
//! |---|---|
//! | any damage in groups before `n` | fails: `n` proves them |
//! | damage to `n`, process killed or log closed | fails: the watermark proves it |
//! | damage to `n`, and power lost within about a second after it was acknowledged | may cut `n` as torn, and says so: the watermark had not reached the disk. The one case in which an acknowledged group is given up, and it takes two faults |
//! | damage to one watermark slot | opens, and says so; to both: fails |
//! | rubbish after the tail | cuts it, and says so; no record is touched |
//! | a segment, the watermark or `meta` missing, or of another length | fails |

mod format;
mod housekeeper;
mod identity;
mod index;
mod open;
mod options;
mod read;
mod recover;
mod retention;
mod watermark;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[doc(hidden)]
pub use crate::disk::{DiskHook, DiskOp};
pub use format::{GROUP_BYTES_MAX, RECORD_BYTES_LIMIT, SEGMENT_BYTES_LIMIT};
pub use identity::CLUSTER_BYTES_MAX;
pub use options::{OpenReport, Options, RECORD_BYTES_MAX_DEFAULT, SEGMENT_BYTES_DEFAULT, TornTail};
pub use retention::SegmentInfo;

pub(crate) use format::RECORD_HEADER_BYTES;

use crate::crash;
pub use crate::disk::DiskUse;
use crate::disk::{Disk, DiskFile, PAGE_BYTES};
use crate::error::{AppendError, DiskError, OpenError, Poisoned, TrimError};
use crate::lock::FolderLock;
use crate::log::{Content, Log, LogReader, Record, check_order, check_sizes};
use format::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentSeed};
use housekeeper::Housekeeper;
use identity::Identity;
use index::{IndexBuilder, Published, Segment};
use read::EmbeddedReader;
use watermark::{Mark, Watermark};

/// The writer of a log in a folder. Dropping it closes the log; [`EmbeddedLog::close`] also says whether that worked.
pub struct EmbeddedLog {
    dir: PathBuf,
    log_id: u128,
    disk: Disk,
    options: Options,
    first_segment: u64,
    active: Active,
    last: u64,
    /// Entries that are not published yet.
    index: IndexBuilder,
    published: Arc<Published>,
    watermark: Watermark,
    housekeeper: Housekeeper,
    /// The group being written; kept for its memory.
    scratch: Vec<u8>,
    poisoned: Option<String>,
    closed: bool,
    lock: Arc<FolderLock>,
}

/// The segment being written.
struct Active {
    file: DiskFile,
    ordinal: u64,
    capacity: u64,
    seed: SegmentSeed,
    /// Where the next group goes; everything before is durable.
    end: u64,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, creating folder and log where there is none. Reads all of it: see the
    /// [module](self) for what is checked and what a crash may have left.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<(Self, OpenReport), OpenError> {
        open::open(dir.as_ref(), options)
    }

    /// The id of the log in a folder, and the cluster it belongs to. None when there is none. Changes nothing.
    ///
    /// # Errors
    /// When the folder cannot be read, or its identity is damaged.
    pub fn identify(dir: impl AsRef<Path>) -> Result<Option<(u128, String)>, OpenError> {
        let identity = Identity::read(dir.as_ref())?;
        Ok(identity.map(|identity| (identity.log_id, identity.cluster)))
    }

    /// Drawn at random when the log was created, if it was not given one.
    pub fn log_id(&self) -> u128 {
        self.log_id
    }

    /// What it asks of its disk, from now on and since it was opened.
    pub fn disk_use(&self) -> DiskUse {
        self.disk.used.clone()
    }

    /// As [`append`](Log::append), of records whose bytes are made where they are written from.
    ///
    /// # Errors
    /// As there.
    pub fn append_content<C: Content>(&mut self, records: &[C]) -> Result<(), AppendError> {
        self.refuse_poisoned::<AppendError>()?;
        check_order(self.last, records)?;
        check_sizes(self.options.record_bytes_max, records)?;
        if records.is_empty() {
            return Ok(());
        }
        let bytes = format::group_bytes(records);
        if bytes > GROUP_BYTES_MAX {
            return Err(AppendError::GroupTooLarge { bytes, bytes_max: GROUP_BYTES_MAX });
        }
        if self.active.end + bytes as u64 > self.active.capacity {
            self.roll(bytes as u64)?;
        }
        self.write_group(records).map_err(|error| self.poison(error))
    }

    /// Ends the background work, makes the watermark durable and unlocks the folder.
    pub fn close(mut self) -> Result<(), AppendError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), AppendError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        self.housekeeper.stop()?;
        self.refuse_poisoned::<AppendError>()?;
        Ok(self.watermark.settle(self.mark())?)
    }

    fn refuse_poisoned<E: From<DiskError> + From<Poisoned> + fmt::Display>(&mut self) -> Result<(), E> {
        if let Some(error) = self.housekeeper.take_error() {
            return Err(self.poison(error));
        }
        match &self.poisoned {
            Some(cause) => Err(Poisoned { cause: cause.clone() }.into()),
            None => Ok(()),
        }
    }

    fn poison<E: From<DiskError> + fmt::Display>(&mut self, error: DiskError) -> E {
        let error = E::from(error);
        self.poisoned = Some(error.to_string());
        error
    }

    fn mark(&self) -> Mark {
        Mark {
            first_segment: self.first_segment,
            segment: self.active.ordinal,
            offset: self.active.end,
            through: self.last,
        }
    }

    /// Goes on in a new segment that has room for a group of `bytes`.
    fn roll(&mut self, bytes: u64) -> Result<(), AppendError> {
        let ordinal = self.active.ordinal + 1;
        let capacity_min = self.options.planned_bytes(ordinal).max(SEGMENT_HEADER_BYTES as u64 + bytes);
        let (file, header) = match self.prepare_segment(ordinal, capacity_min) {
            Ok(prepared) => prepared,
            // Nothing of the log was touched, so a full disk is no reason to stop: there may be space later.
            Err(error) if error.is_full() => {
                // Zeros that are of no use yet would keep others, a checkpoint for one, from making room.
                let _ = housekeeper::remove_spare(&self.disk, &self.dir);
                return Err(error.into());
            }
            Err(error) => return Err(self.poison(error)),
        };
        self.start_segment(file, header).map_err(|error| self.poison::<AppendError>(error))?;
        self.housekeeper.want_spare(self.options.planned_bytes(ordinal + 1));
        Ok(())
    }

    /// Makes the next segment durable in all but its name.
    fn prepare_segment(&self, ordinal: u64, capacity_min: u64) -> Result<(DiskFile, SegmentHeader), DiskError> {
        self.lock.check()?;
        let housekeeper::Spare { file, capacity } = self.housekeeper.take_spare(capacity_min)?;
        let header =
            SegmentHeader { log_id: self.log_id, ordinal, capacity, base: self.last, previous_end: self.active.end };
        file.write_at("log.roll.write", &header.encode(), 0)?;
        file.sync("log.roll.sync")?;
        Ok((file, header))
    }

    fn start_segment(&mut self, mut file: DiskFile, header: SegmentHeader) -> Result<(), DiskError> {
        let SegmentHeader { ordinal, capacity, .. } = header;
        file.rename("log.roll.rename", &recover::segment_path(&self.dir, ordinal))?;
        self.disk.sync_dir("log.roll.sync-folder", &self.dir)?;
        let seed = SegmentSeed::new(self.log_id, ordinal);
        self.active = Active { file, ordinal, capacity, seed, end: SEGMENT_HEADER_BYTES as u64 };
        self.housekeeper.filled(self.active.end, capacity);
        self.index = IndexBuilder::new();
        self.published.push(Segment::empty(&header));
        self.watermark.write_through(self.mark())
    }

    /// Writes the group, makes it durable, then says so: to the watermark, then to the readers.
    fn write_group<C: Content>(&mut self, records: &[C]) -> Result<(), DiskError> {
        let Active { seed, end, .. } = self.active;
        let index = &mut self.index;
        format::encode_group(seed, end, self.last, records, &mut self.scratch, |at, before| index.visit(at, before));
        let bytes = self.scratch.len();
        // What follows is zeros, and stays so. The last page of a write that is not whole would have to be read first.
        let page_end = (end + bytes as u64).next_multiple_of(PAGE_BYTES as u64).min(self.active.capacity);
        self.scratch.resize(usize::try_from(page_end - end).expect("it is in memory"), 0);
        self.active.file.write_at("log.append.write", &self.scratch, end)?;
        self.active.file.sync("log.append.sync")?;
        self.active.file.check_named()?;
        self.disk.used.appended(bytes);
        self.active.end += bytes as u64;
        self.last = records[records.len() - 1].through();
        self.watermark.write(self.mark())?;
        self.housekeeper.watermark_written();
        self.housekeeper.filled(self.active.end, self.active.capacity);
        self.published.extend(self.active.end, self.last, &mut self.index);
        crash::point("log.append.acknowledge");
        Ok(())
    }
}

impl Log for EmbeddedLog {
    /// All or nothing, also after a crash. See [`AppendError::DiskFull`] for when a failed append may be repeated.
    fn append(&mut self, records: &[Record]) -> Result<(), AppendError> {
        self.append_content(records)
    }

    /// Drops whole segments: two syncs of the watermark, a removal for each, a sync of the folder; nothing when there
    /// is none to drop. An error of the disk poisons the log, as it does in [`append`](Log::append).
    fn trim(&mut self, through: u64) -> Result<u64, TrimError> {
        self.refuse_poisoned::<TrimError>()?;
        self.drop_segments(through).map_err(|error| self.poison::<TrimError>(error))?;
        crash::point("log.trim.acknowledge");
        Ok(self.floor())
    }

    fn last(&self) -> u64 {
        self.published.last()
    }

    fn floor(&self) -> u64 {
        self.published.floor()
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(EmbeddedReader::new(self.dir.clone(), self.log_id, Arc::clone(&self.published)))
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        // `close` says whether this worked. Without it, opening again finds the same records.
        let _ = self.shut_down();
    }
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLog")
            .field("dir", &self.dir)
            .field("log_id", &self.log_id)
            .field("last", &self.last)
            .field("segment", &self.active.ordinal)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}
