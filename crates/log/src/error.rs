//! One error enum per operation: append, trim, read, open; write and restore a checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why an append was not acknowledged.
#[derive(Debug, Error)]
pub enum AppendError {
    /// A record does not come after the one before it. Nothing was written.
    #[error("record through {through} does not come after {previous}")]
    NotIncreasing {
        /// `through` of the record before, 0 when there is none.
        previous: u64,
        /// `through` of the refused record.
        through: u64,
    },
    /// A record is larger than the log takes. Nothing was written.
    #[error("record through {through} has {bytes} bytes, and the log takes {bytes_max}")]
    RecordTooLarge {
        /// `through` of the refused record.
        through: u64,
        /// Its size.
        bytes: usize,
        /// The largest size taken.
        bytes_max: usize,
    },
    /// The records of one append are together larger than the log takes. Nothing was written.
    #[error("{bytes} bytes in one append, and the log takes {bytes_max}")]
    GroupTooLarge {
        /// Their size with headers.
        bytes: usize,
        /// The largest size taken.
        bytes_max: usize,
    },
    /// The disk or the quota is full. Nothing of this append is acknowledged.
    ///
    /// Found while making room for the next segment, which is where a pre-zeroed log meets a full disk, it leaves the
    /// log in order: nothing was written, and the same append may be repeated once there is space. Found while writing
    /// records (file systems that copy on write) it poisons the log, as every failed write does.
    #[error("no space left for {}: {source}", file.display())]
    DiskFull {
        /// The file that could not grow.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Writing or syncing failed, and the log is poisoned: what is on the disk is unknown until it is opened again.
    #[error("cannot {doing} {}: {source}", file.display())]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// An earlier write or sync failed. A failed sync is never tried again: the kernel may already have dropped the
    /// pages and would report success. Open the log again to go on.
    #[error("the log is poisoned by an earlier error ({cause}); open it again")]
    Poisoned {
        /// The earlier error.
        cause: String,
    },
    /// The engine of a [shared log](crate::shared) has no room. What of this append is not in the log yet may be
    /// appended again, all of it together.
    #[error("the log's engine is full: {why}")]
    EngineFull {
        /// In the engine's words.
        why: String,
    },
    /// Another process writes the [shared log](crate::shared). What was appended is not in it, nor will it be.
    #[error("another writer has taken over")]
    Fenced,
    /// This process is not the writer of the [shared log](crate::shared) any more, gave up asking whether it has what
    /// was appended, or could not write its own copy. Open the log again to go on.
    #[error("nothing more is appended: {why}")]
    WriterOver {
        /// Another has taken over, the engine's words, or what is the matter with the copy.
        why: String,
    },
}

/// Why a log was not trimmed. Every record is still readable that the floor says is.
#[derive(Debug, Error)]
pub enum TrimError {
    /// Saying so durably, or removing what was trimmed, failed, and the log is poisoned as after a failed append.
    #[error("cannot {doing} {}: {source}", file.display())]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// As [`AppendError::Poisoned`].
    #[error("the log is poisoned by an earlier error ({cause}); open it again")]
    Poisoned {
        /// The earlier error.
        cause: String,
    },
}

/// Why a read failed.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The cursor is below the floor: records after it were trimmed.
    #[error("nothing can be read after {after}: the log was trimmed, and {floor} is the oldest cursor that works")]
    Trimmed {
        /// The cursor.
        after: u64,
        /// The lowest cursor that can be read after, when this was said.
        floor: u64,
    },
    /// What is on the disk is not what was written.
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The operating system could not read.
    #[error("cannot {doing} {}: {source}", file.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

/// Why a checkpoint was not written. Those before it are as they were, and the log knows nothing of it.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// There is one already that is as new. Nothing was written.
    #[error("a checkpoint through {through} would not be newer than the one through {newest}")]
    NotNewer {
        /// `through` of the newest.
        newest: u64,
        /// What was asked for.
        through: u64,
    },
    /// A chunk is larger than a checkpoint takes. Nothing of it was written, and the checkpoint may go on.
    #[error("a chunk of {bytes} bytes, and a checkpoint takes {bytes_max}")]
    ChunkTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size taken.
        bytes_max: usize,
    },
    /// The disk or the quota is full. What was written is removed; begin again when there is space.
    #[error("no space left for {}: {source}", file.display())]
    DiskFull {
        /// The file that could not grow.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Writing, syncing or naming failed. What was written is removed, or will be.
    #[error("cannot {doing} {}: {source}", file.display())]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// An earlier error ended this checkpoint.
    #[error("this checkpoint ended with an earlier error ({cause}); begin another")]
    Abandoned {
        /// The earlier error.
        cause: String,
    },
    /// An earlier checkpoint could not be given its name durably, and the folder takes no other: a failed sync is never
    /// tried again.
    #[error("the checkpoints are poisoned by an earlier error ({cause}); open them again")]
    Poisoned {
        /// The earlier error.
        cause: String,
    },
}

/// Why there is no state to go on from.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// What is on the disk is not what was written.
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The log was trimmed, and there is no checkpoint it goes on from.
    #[error("{} has no checkpoint at {floor} or later, and the log begins there", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// The log's floor.
        floor: u64,
    },
    /// An intact checkpoint covers more than the log has: the log lost something, or is another day's.
    #[error("{} goes through {through}, and the log only through {last}", file.display())]
    AheadOfLog {
        /// The checkpoint.
        file: PathBuf,
        /// Its `through`.
        through: u64,
        /// The log's last.
        last: u64,
    },
    /// The operating system could not read.
    #[error("cannot {doing} {}: {source}", file.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

/// Why a folder was not opened, as a log or as checkpoints. Nothing in it was changed, except by `Io` and `DiskFull`.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Someone else has the folder open.
    #[error(
        "{} is locked by {holder}; a folder has one owner: stop that process, or give this one a folder of its own",
        dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The process that last wrote the lock file, as far as that is known.
        holder: String,
    },
    /// The folder holds the log of another cluster.
    #[error("{} belongs to cluster {found:?}, not to {expected:?}", dir.display())]
    OtherCluster {
        /// The folder.
        dir: PathBuf,
        /// The cluster it was created for.
        found: String,
        /// The cluster in the options.
        expected: String,
    },
    /// A checkpoint, or a folder, is of another log.
    #[error("{} is of log {found:032x}, not of {expected:032x}", file.display())]
    OtherLog {
        /// The checkpoint, or the folder.
        file: PathBuf,
        /// The log it is of.
        found: u128,
        /// The log in the options.
        expected: u128,
    },
    /// A file that no crash could have left like this: acknowledged records may be unreadable, so none are served.
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The folder was written by a version of Dovetail with another format.
    #[error("{} has format version {found}, and this version reads {supported}", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version read here.
        supported: u32,
    },
    /// An option is outside its bounds.
    #[error("option {name} is {value}, and must be between {min} and {max}")]
    Option {
        /// The option.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The lowest value taken.
        min: u64,
        /// The highest value taken.
        max: u64,
    },
    /// The disk or the quota is full.
    #[error("no space left for {}: {source}", file.display())]
    DiskFull {
        /// The file that could not grow.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The operating system could not do something.
    #[error("cannot {doing} {}: {source}", file.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn damaged(file: &Path, offset: u64, what: &'static str) -> Self {
        Self::Damaged { file: file.to_owned(), offset, what }
    }
}

/// An earlier error, before it is told which error enum it belongs to.
#[derive(Debug)]
pub(crate) struct Poisoned {
    pub cause: String,
}

impl From<Poisoned> for AppendError {
    fn from(Poisoned { cause }: Poisoned) -> Self {
        Self::Poisoned { cause }
    }
}

impl From<Poisoned> for TrimError {
    fn from(Poisoned { cause }: Poisoned) -> Self {
        Self::Poisoned { cause }
    }
}

/// An operation on a file that failed, before it is told which error enum it belongs to.
#[derive(Debug)]
pub(crate) struct DiskError {
    pub doing: &'static str,
    pub file: PathBuf,
    pub source: io::Error,
}

impl DiskError {
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        let full = error.is_full();
        let DiskError { doing, file, source } = error;
        if full { Self::DiskFull { file, source } } else { Self::Io { doing, file, source } }
    }
}

impl From<DiskError> for AppendError {
    fn from(error: DiskError) -> Self {
        let full = error.is_full();
        let DiskError { doing, file, source } = error;
        if full { Self::DiskFull { file, source } } else { Self::Failed { doing, file, source } }
    }
}

impl From<DiskError> for CheckpointError {
    fn from(error: DiskError) -> Self {
        let full = error.is_full();
        let DiskError { doing, file, source } = error;
        if full { Self::DiskFull { file, source } } else { Self::Failed { doing, file, source } }
    }
}

impl From<DiskError> for RestoreError {
    fn from(DiskError { doing, file, source }: DiskError) -> Self {
        Self::Io { doing, file, source }
    }
}

impl From<DiskError> for TrimError {
    fn from(DiskError { doing, file, source }: DiskError) -> Self {
        Self::Failed { doing, file, source }
    }
}

impl From<DiskError> for ReadError {
    fn from(DiskError { doing, file, source }: DiskError) -> Self {
        Self::Io { doing, file, source }
    }
}
