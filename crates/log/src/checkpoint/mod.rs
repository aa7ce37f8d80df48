//! Snapshots of what a log's prefix amounts to, so that the prefix can be trimmed.
//!
//! Knows nothing of what a chunk means, of when to take a checkpoint, or of the log but its id. A folder of its own
//! holds the checkpoints of one log; one process has it open. Both sides stream: memory is bounded by
//! [`CHUNK_BYTES_MAX`] and 2 MiB, whatever the checkpoint's size. Invariants: log.K1 nothing gets a checkpoint's name
//! before its content is durable; log.K2 a checkpoint that was committed is removed only when
//! [`CheckpointOptions::keep`] newer ones are durable, or when it is known to be damaged and a newer one is durable.
//!
//! ```text
//! lock                       who has the folder open; it is locked itself meanwhile
//! 00000000000000001234.ckpt  the state after the log's prefix up to 1234
//! unfinished                 the one being written
//! ```
//!
//! Every file begins with its format version and ends with the number, the length and the checksum of its chunks; every
//! chunk has a checksum bound to log, checkpoint and offset.
//!
//! | what happened | what is done |
//! |---|---|
//! | killed, or power lost, while writing | opening removes the unfinished file and says so |
//! | a write or sync fails, or the disk is full | this checkpoint is lost, its space is free again, those before are as they were; the next one may be begun, in a new file |
//! | giving it its name fails | the folder takes no other ([`CheckpointError::Poisoned`]) until it is opened again |
//! | the newest is damaged | [`Checkpoints::load`] fails with file and offset, unless an older one is intact *and* the log still reaches back to it |
//! | a checkpoint of another log, or from a newer version | opening fails and changes nothing |
//!
//! ```
//! use dovetail_log::checkpoint::{CheckpointOptions, Checkpoints, RestoreError};
//!
//! # let dir = tempfile::tempdir()?;
//! # let log_id = 7;
//! let (mut checkpoints, report) = Checkpoints::open(dir.path(), CheckpointOptions::new(log_id))?;
//! assert!(!report.unfinished && checkpoints.list().is_empty());
//! let mut writer = checkpoints.begin(1234)?;
//! writer.chunk(b"an element")?;
//! writer.chunk(b"another")?;
//! writer.commit()?;
//!
//! // At start-up, with the log's floor and last:
//! let loaded = checkpoints.load(1000..=2000, |reader| {
//!     let mut chunks = 0;
//!     while let Some(_chunk) = reader.next_chunk()? {
//!         chunks += 1;
//!     }
//!     Ok::<_, RestoreError>(chunks)
//! })?;
//! assert_eq!(loaded.state, Some((1234, 2)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod format;
mod info;
mod read;
mod write;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::error::{CheckpointError, RestoreError};
pub use format::CHUNK_BYTES_MAX;
pub use info::{CheckpointInfo, Damage};
pub use read::CheckpointReader;
pub use write::CheckpointWriter;

use crate::disk::{Disk, DiskHook};
use crate::error::{DiskError, OpenError};
use crate::lock::FolderLock;
use format::Header;
use write::UNFINISHED_FILE;

/// Default of [`CheckpointOptions::keep`].
pub const CHECKPOINTS_KEEP_DEFAULT: usize = 2;
const KEEP_MAX: usize = 16;

/// What a folder of checkpoints is opened with.
#[derive(Clone)]
pub struct CheckpointOptions {
    /// The log the checkpoints are of: checkpoints of another are refused.
    pub log_id: u128,
    /// How many checkpoints stay when a new one is committed, itself included, 1 to 16.
    pub keep: usize,
    /// Sees every change made to the disk. For tests.
    #[doc(hidden)]
    pub disk_hook: Option<Arc<dyn DiskHook>>,
}

impl CheckpointOptions {
    /// The defaults, for the log `log_id`.
    pub fn new(log_id: u128) -> Self {
        Self { log_id, keep: CHECKPOINTS_KEEP_DEFAULT, disk_hook: None }
    }
}

impl fmt::Debug for CheckpointOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointOptions")
            .field("log_id", &self.log_id)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// What opening a folder of checkpoints found. The checkpoints themselves are in [`Checkpoints::list`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointsReport {
    /// Whether one had not been finished, and was removed.
    pub unfinished: bool,
}

/// What [`Checkpoints::load`] made of a checkpoint.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The checkpoint's `through`, and what the owner made of it; None when there is none, and the log has everything.
    pub state: Option<(u64, T)>,
    /// Newer checkpoints that could not be read, newest first. An operator should be told.
    pub passed_over: Vec<RestoreError>,
}

/// The checkpoints of one log, in a folder of their own.
pub struct Checkpoints {
    dir: PathBuf,
    log_id: u128,
    keep: usize,
    disk: Disk,
    /// Newest first.
    list: Vec<CheckpointInfo>,
    poisoned: Option<String>,
    lock: FolderLock,
}

impl Checkpoints {
    /// Opens the checkpoints in `dir`, creating the folder where there is none. Takes a look at both ends of each.
    pub fn open(dir: impl AsRef<Path>, options: CheckpointOptions) -> Result<(Self, CheckpointsReport), OpenError> {
        let dir = dir.as_ref();
        let CheckpointOptions { log_id, keep, disk_hook } = options;
        if !(1..=KEEP_MAX).contains(&keep) {
            return Err(OpenError::Option { name: "keep", value: keep as u64, min: 1, max: KEEP_MAX as u64 });
        }
        let disk = Disk::new(disk_hook);
        disk.create_dir(dir)?;
        let lock = FolderLock::take(dir)?;
        let (throughs, unfinished) = names(dir)?;
        let list = throughs.iter().map(|through| read::look(&checkpoint_path(dir, *through), log_id, *through));
        let list = list.collect::<Result<_, _>>()?;
        if unfinished {
            disk.remove("checkpoint.open.remove", &dir.join(UNFINISHED_FILE))?;
        }
        // The names that are there, too: the newest may be known to the page cache only.
        disk.sync_dir("checkpoint.open.sync-folder", dir)?;
        let store = Self { dir: dir.to_owned(), log_id, keep, disk, list, poisoned: None, lock };
        Ok((store, CheckpointsReport { unfinished }))
    }

    /// What is there, newest first.
    pub fn list(&self) -> &[CheckpointInfo] {
        &self.list
    }

    /// The highest `through` to trim the log through so that every checkpoint in the list that is not known to be
    /// damaged can still be continued from; None when there is none.
    pub fn trim_point(&self) -> Option<u64> {
        self.list.iter().filter(|info| info.damage.is_none()).map(|info| info.through).min()
    }

    /// Begins a checkpoint of the state after the log's prefix up to `through`, which has to be newer than all that are
    /// not known to be damaged.
    pub fn begin(&mut self, through: u64) -> Result<CheckpointWriter<'_>, CheckpointError> {
        if let Some(cause) = &self.poisoned {
            return Err(CheckpointError::Poisoned { cause: cause.clone() });
        }
        match self.list.iter().find(|info| info.damage.is_none()) {
            Some(newest) if newest.through >= through => {
                Err(CheckpointError::NotNewer { newest: newest.through, through })
            }
            _ => {
                let header = Header { log_id: self.log_id, through };
                CheckpointWriter::create(self, header)
            }
        }
    }

    /// Reads one of the list.
    pub fn read(&self, info: &CheckpointInfo) -> Result<CheckpointReader, RestoreError> {
        CheckpointReader::open(info, self.log_id)
    }

    /// Restores the newest checkpoint a log that can be read from `log.start()` (its floor) to `log.end()` (its last)
    /// can go on from.
    ///
    /// `restore` is called with a reader and makes the owner's state of it; when the checkpoint turns out to be
    /// damaged, now or in what `restore` left unread, that state is dropped and `restore` is called with the next older
    /// one, if the log reaches back to it. Without a checkpoint the owner begins with nothing, if the log has
    /// everything; a log that was trimmed, and no checkpoint to begin with, is an error.
    pub fn load<T, E: From<RestoreError>>(
        &mut self,
        log: RangeInclusive<u64>,
        mut restore: impl FnMut(&mut CheckpointReader) -> Result<T, E>,
    ) -> Result<Loaded<T>, E> {
        let (floor, last) = log.into_inner();
        let mut passed_over = Vec::new();
        for info in self.list.iter_mut().take_while(|info| info.through >= floor) {
            let mut reader = match CheckpointReader::open(info, self.log_id) {
                Ok(reader) => reader,
                Err(error) => {
                    info.damage.get_or_insert(Damage { offset: 0, what: "it could not be read" });
                    passed_over.push(error);
                    continue;
                }
            };
            if info.through > last {
                return Err(RestoreError::AheadOfLog { file: info.file.clone(), through: info.through, last }.into());
            }
            match restore(&mut reader) {
                Err(error) if reader.failure().is_none() => return Err(error),
                restored => match (reader.finish(), restored) {
                    (Ok(()), Ok(state)) => return Ok(Loaded { state: Some((info.through, state)), passed_over }),
                    (Ok(()), Err(error)) => return Err(error),
                    (Err(error), _) => {
                        info.damage = reader.failure();
                        passed_over.push(error);
                    }
                },
            }
        }
        match passed_over.is_empty() {
            _ if floor == 0 => Ok(Loaded { state: None, passed_over }),
            false => Err(passed_over.swap_remove(0).into()),
            true => Err(RestoreError::Missing { dir: self.dir.clone(), floor }.into()),
        }
    }

    fn path(&self, through: u64) -> PathBuf {
        checkpoint_path(&self.dir, through)
    }

    fn poison(&mut self, error: DiskError) -> CheckpointError {
        let error = CheckpointError::from(error);
        self.poisoned = Some(error.to_string());
        error
    }

    /// `new` is durable: removes what need not stay.
    fn committed(&mut self, new: CheckpointInfo) {
        self.list.retain(|info| info.through != new.through);
        self.list.insert(0, new);
        let mut intact = 0;
        let (keep, list) = (self.keep, std::mem::take(&mut self.list));
        let (kept, surplus): (Vec<_>, Vec<_>) = list.into_iter().partition(|info| {
            intact += usize::from(info.damage.is_none());
            info.damage.is_none() && intact <= keep
        });
        self.list = kept;
        for info in surplus {
            // What cannot be removed stays in the list, and is tried again after the next checkpoint.
            if self.disk.remove("checkpoint.prune.remove", &info.file).is_err() {
                self.list.push(info);
            }
        }
        self.list.sort_by_key(|info| std::cmp::Reverse(info.through));
        if let Err(error) = self.disk.sync_dir("checkpoint.prune.sync-folder", &self.dir) {
            self.poison(error);
        }
    }
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoints")
            .field("dir", &self.dir)
            .field("log_id", &self.log_id)
            .field("list", &self.list)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

fn checkpoint_path(dir: &Path, through: u64) -> PathBuf {
    dir.join(format!("{through:020}.ckpt"))
}

/// The `through` of every checkpoint in the folder, newest first, and whether there is an unfinished one.
fn names(dir: &Path) -> Result<(Vec<u64>, bool), OpenError> {
    let listing = |source| OpenError::Io { doing: "list", file: dir.to_owned(), source };
    let (mut throughs, mut unfinished) = (Vec::new(), false);
    for entry in std::fs::read_dir(dir).map_err(listing)? {
        let name = entry.map_err(listing)?.file_name();
        unfinished |= name == UNFINISHED_FILE;
        let stem = name.to_str().and_then(|name| name.strip_suffix(".ckpt")).filter(|stem| stem.len() == 20);
        throughs.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
    }
    throughs.sort_unstable_by_key(|through| std::cmp::Reverse(*through));
    Ok((throughs, unfinished))
}
