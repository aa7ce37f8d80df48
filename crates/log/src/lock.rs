//! One process has a folder open. The *folder* is locked, through its own descriptor, for as long as a process has it:
//! a file in it could be deleted, and its lock with it. The file `lock` is locked beside it, for versions that know
//! only that lock, and says which process has the folder; what it says is for people only.
//!
//! A lock goes with the folder when that is renamed, while files are opened by path. So a writer asks, before a file
//! gets its name, whether the path still leads to the folder that is locked ([`FolderLock::check`]).

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::crash;
use crate::disk::failed;
use crate::error::{DiskError, OpenError};

const LOCK_FILE: &str = "lock";

/// A folder that no other process opens until this is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    dir: PathBuf,
    folder: File,
    _file: File,
}

impl FolderLock {
    /// Locks the folder.
    pub fn take(dir: &Path) -> Result<FolderLock, OpenError> {
        let folder = File::open(dir).map_err(failed("open", dir))?;
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(dir, File::open(dir.join(LOCK_FILE)).ok().as_mut())),
            // Network file systems lock only what is open for writing, as no folder can be. The file is locked still.
            Err(TryLockError::Error(_)) => {}
        }
        let path = dir.join(LOCK_FILE);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(dir, Some(&mut file))),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error).into()),
        }
        crash::point("folder.lock");
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(this_process().as_bytes()))
            .map_err(failed("write", &path))?;
        let lock = FolderLock { dir: dir.to_owned(), folder, _file: file };
        lock.check()?;
        Ok(lock)
    }

    /// Whether the folder's path still leads to the folder that is locked: if it was moved, removed, or replaced, what
    /// is written there now is lost, or goes into another's folder.
    pub fn check(&self) -> Result<(), DiskError> {
        let failed = failed("go on in the folder", &self.dir);
        let locked = self.folder.metadata().map_err(&failed)?;
        match std::fs::metadata(&self.dir) {
            Ok(found) if (found.dev(), found.ino()) == (locked.dev(), locked.ino()) => Ok(()),
            Ok(_) => Err(failed(io::Error::other("another folder has its name since it was opened and locked"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(failed(io::Error::other("it was moved or removed since it was opened and locked")))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

fn held(dir: &Path, file: Option<&mut File>) -> OpenError {
    let mut holder = String::new();
    let known = file.is_some_and(|file| file.read_to_string(&mut holder).is_ok()) && !holder.trim().is_empty();
    let holder = if known { holder.trim().to_owned() } else { "a process that left no name".to_owned() };
    OpenError::Locked { dir: dir.to_owned(), holder }
}

fn this_process() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).map_or("unknown".into(), |name| name.to_string_lossy());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "an unknown host" } else { host.trim() };
    format!("{program} (pid {}) on {host}\n", std::process::id())
}
