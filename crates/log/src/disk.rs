//! Every change this crate makes to a disk goes through here, so that tests can see it, refuse it, and replay it. Each
//! has the name of the [crash point](crate::crash) before it.
//!
//! Reads do not: a test that wants a bad read changes the file. Folders and the lock are not seen either.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::crash::{self, Point};
use crate::error::DiskError;

/// What a disk and the page cache take in one piece, in bytes.
pub(crate) const PAGE_BYTES: usize = 4096;

/// A change about to be made to the disk.
#[derive(Debug)]
pub enum DiskOp<'a> {
    /// A file is created, or emptied when it exists.
    Create(&'a Path),
    /// Bytes are written at an offset.
    Write {
        /// The file.
        file: &'a Path,
        /// Where.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// A file's content is made durable.
    Sync(&'a Path),
    /// A file gets another name, replacing what had it.
    Rename(&'a Path, &'a Path),
    /// A file is removed.
    Remove(&'a Path),
    /// A folder's entries are made durable.
    SyncDir(&'a Path),
}

/// Sees each [`DiskOp`] before it is made; an error takes its place. For tests that inject faults or simulate power
/// loss.
pub trait DiskHook: Send + Sync {
    /// Called in the thread that is about to make the change.
    fn before(&self, op: &DiskOp<'_>) -> io::Result<()>;
}

/// What a log has asked of its disk since it was opened. Clones share the counts, and outlive the log.
#[derive(Clone, Debug, Default)]
pub struct DiskUse(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    syncs: AtomicU64,
    appended_bytes: AtomicU64,
}

impl DiskUse {
    /// Times that a file or a folder was to be made durable, the background's included.
    pub fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::Relaxed)
    }

    /// Bytes of the groups that were appended, headers included.
    pub fn appended_bytes(&self) -> u64 {
        self.0.appended_bytes.load(Ordering::Relaxed)
    }

    fn synced(&self) {
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn appended(&self, bytes: usize) {
        self.0.appended_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Open folders, by path.
type Folders = Vec<(PathBuf, Arc<File>)>;

/// The disk, with or without someone watching.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    hook: Option<Arc<dyn DiskHook>>,
    /// Folders that were synced, open from then on: there may be no file descriptor left when it matters.
    folders: Arc<Mutex<Folders>>,
    pub used: DiskUse,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("hooked", &self.hook.is_some()).finish()
    }
}

impl Disk {
    pub fn new(hook: Option<Arc<dyn DiskHook>>) -> Self {
        Self { hook, folders: Arc::default(), used: DiskUse::default() }
    }

    fn announce(&self, point: Point, op: &DiskOp<'_>) -> io::Result<()> {
        crash::point(point);
        self.hook.as_ref().map_or(Ok(()), |hook| hook.before(op))
    }

    pub fn create(&self, point: Point, path: &Path) -> Result<DiskFile, DiskError> {
        let file = self
            .announce(point, &DiskOp::Create(path))
            .and_then(|()| File::options().read(true).write(true).create(true).truncate(true).open(path))
            .map_err(failed("create", path))?;
        Ok(DiskFile { path: path.to_owned(), file, disk: self.clone() })
    }

    /// Creates the folder, and makes the names of those it had to create durable.
    pub fn create_dir(&self, dir: &Path) -> Result<(), DiskError> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.create_dir(parent)?;
        crash::point("folder.create");
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("create", dir)(error)),
            _ => self.sync_dir("folder.sync-parent", parent),
        }
    }

    pub fn open(&self, path: &Path) -> Result<DiskFile, DiskError> {
        let file = File::options().read(true).write(true).open(path).map_err(failed("open", path))?;
        Ok(DiskFile { path: path.to_owned(), file, disk: self.clone() })
    }

    pub fn remove(&self, point: Point, path: &Path) -> Result<(), DiskError> {
        match self.announce(point, &DiskOp::Remove(path)).and_then(|()| fs::remove_file(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
            _ => Ok(()),
        }
    }

    pub fn sync_dir(&self, point: Point, dir: &Path) -> Result<(), DiskError> {
        self.used.synced();
        self.announce(point, &DiskOp::SyncDir(dir))
            .and_then(|()| self.folder(dir)?.sync_all())
            .map_err(failed("sync folder", dir))
    }

    /// The folder, opened the first time.
    fn folder(&self, dir: &Path) -> io::Result<Arc<File>> {
        let mut folders = self.folders.lock().expect("no holder of this lock panics");
        if let Some((_, folder)) = folders.iter().find(|(path, _)| path == dir) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(File::open(dir)?);
        folders.push((dir.to_owned(), Arc::clone(&folder)));
        Ok(folder)
    }
}

/// A file open for writing.
#[derive(Debug)]
pub(crate) struct DiskFile {
    path: PathBuf,
    file: File,
    disk: Disk,
}

impl DiskFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write_at(&self, point: Point, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.disk
            .announce(point, &DiskOp::Write { file: &self.path, offset, bytes })
            .and_then(|()| self.file.write_all_at(bytes, offset))
            .map_err(failed("write", &self.path))
    }

    /// The same file, to be written in whole pages from memory that begins at one, without a copy in the page cache;
    /// none where the file system cannot. Some say so only when it is written, by an invalid input.
    pub fn past_cache(&self) -> Option<DiskFile> {
        let file = open_past_cache(&self.path).ok()?;
        Some(DiskFile { path: self.path.clone(), file, disk: self.disk.clone() })
    }

    /// Makes content and size durable (fdatasync), not the entry in the folder.
    pub fn sync(&self, point: Point) -> Result<(), DiskError> {
        self.disk.used.synced();
        self.disk
            .announce(point, &DiskOp::Sync(&self.path))
            .and_then(|()| self.file.sync_data())
            .map_err(failed("sync", &self.path))
    }

    /// Whether the file still has a name: what is written to a file that was deleted is gone once it is closed.
    pub fn check_named(&self) -> Result<(), DiskError> {
        let links = self.file.metadata().map_err(failed("look at", &self.path))?.nlink();
        let deleted = || io::Error::other("it was deleted while it was open");
        if links == 0 { Err(failed("go on in", &self.path)(deleted())) } else { Ok(()) }
    }

    /// Gives the file another name; its entry in the folder is durable once the folder is synced.
    pub fn rename(&mut self, point: Point, to: &Path) -> Result<(), DiskError> {
        self.disk
            .announce(point, &DiskOp::Rename(&self.path, to))
            .and_then(|()| fs::rename(&self.path, to))
            .map_err(failed("rename", &self.path))?;
        to.clone_into(&mut self.path);
        Ok(())
    }

    pub fn len(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(failed("look at", &self.path))?.len())
    }

    /// Fills `bytes` from `offset`, or as much of it as the file has; says how much.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.path)(error)),
            }
        }
        Ok(filled)
    }
}

#[cfg(target_os = "linux")]
fn open_past_cache(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    File::options().write(true).custom_flags(direct).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_past_cache(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn failed(doing: &'static str, file: &Path) -> impl Fn(io::Error) -> DiskError {
    move |source| DiskError { doing, file: file.to_owned(), source }
}
