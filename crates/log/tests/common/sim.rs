//! A disk that keeps its promises and no more, and now and then does not even keep those.
//!
//! It sees every operation before it is made on the real folder, and keeps a model of what of it is durable. It can end
//! the process at an operation (from then on nothing reaches the disk), and refuse operations with EIO and ENOSPC. When
//! power is lost: what was synced is there; of what was not, any 512-byte sectors; of the changes of names, in each
//! folder those up to any point, or any of them at all. After a failed sync the unsynced is gone for good, though the
//! process still sees it and the next sync reports success.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use dovetail_log::embedded::{DiskHook, DiskOp};
use tempfile::TempDir;

use super::{Chance, fast_dir};

const SECTOR: usize = 512;
/// Kinds of operations, for counting.
pub const KINDS: [&str; 6] = ["create", "write", "sync", "rename", "remove", "sync folder"];

/// What goes wrong in the life of one process. Operations are counted from its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// The process ends at this operation.
    pub crash_at: Option<usize>,
    /// This error is met by operations from the first number to before the second.
    pub fault: Option<(io::ErrorKind, usize, usize)>,
}

/// Which operations this disk claims and does not make.
pub type Ignored = fn(&DiskOp<'_>) -> bool;

/// How often what was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub operations: [u64; 6],
    pub crashes: [u64; 6],
    pub eio: [u64; 6],
    pub enospc: [u64; 6],
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    length: usize,
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.length = self.length.max(offset + bytes.len());
        self.pending.push((offset, bytes.to_vec()));
    }

    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            overwrite(&mut self.durable, offset, &bytes);
        }
    }

    /// Of each write all sectors, none of them, or any become durable.
    fn lose(&mut self, chance: &mut Chance) {
        for (offset, written) in std::mem::take(&mut self.pending) {
            let mood = chance.below(4);
            let (mut at, end) = (offset, offset + written.len());
            while at < end {
                let next = ((at / SECTOR + 1) * SECTOR).min(end);
                if mood == 0 || (mood > 1 && chance.below(2) == 0) {
                    overwrite(&mut self.durable, at, &written[at - offset..next - offset]);
                }
                at = next;
            }
        }
    }
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, with: &[u8]) {
    bytes.resize(bytes.len().max(offset + with.len()), 0);
    bytes[offset..offset + with.len()].copy_from_slice(with);
}

/// A change of a name that is not durable yet.
#[derive(Clone)]
enum Change {
    Link(PathBuf, usize),
    Move(PathBuf, PathBuf, usize),
    Unlink(PathBuf, usize),
}

impl Change {
    fn folder(&self) -> &Path {
        let (Self::Link(name, _) | Self::Move(_, name, _) | Self::Unlink(name, _)) = self;
        name.parent().expect("a name is in a folder")
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(name, file) => drop(names.insert(name.clone(), *file)),
            Self::Move(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            Self::Unlink(name, file) => {
                if names.get(name) == Some(file) {
                    names.remove(name);
                }
            }
        }
    }
}

struct State {
    root: TempDir,
    files: Vec<File>,
    /// Relative to the root, as are all names here.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Change>,
    plan: Plan,
    operation: usize,
    crashed: bool,
    chance: Chance,
    counts: Counts,
    /// A planted bug.
    ignored: Ignored,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    pub fn new(folders: &[&str], seed: u64, ignored: Ignored) -> Self {
        let root = fast_dir();
        folders.iter().for_each(|folder| fs::create_dir(root.path().join(folder)).expect("a folder"));
        Self(Arc::new(Mutex::new(State {
            root,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            plan: Plan::default(),
            operation: 0,
            crashed: false,
            chance: Chance(seed ^ 0x5eed),
            counts: Counts::default(),
            ignored,
        })))
    }

    pub fn path(&self, folder: &str) -> PathBuf {
        self.state().root.path().join(folder)
    }

    /// The life of another process begins.
    pub fn start(&self, plan: Plan) {
        let mut state = self.state();
        (state.plan, state.operation, state.crashed) = (plan, 0, false);
    }

    pub fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// Whether the fault planned is still to come, or has come: an error now has a reason.
    pub fn faulty(&self) -> bool {
        let state = self.state();
        state.plan.fault.is_some_and(|(_, from, _)| from < state.operation)
    }

    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Power is lost and comes back: what is not durable is lost, from the model and from the real folder.
    pub fn lose_power(&self) {
        let state = &mut *self.state();
        let any = state.chance.below(2) == 0;
        let mut ended = std::collections::BTreeSet::new();
        for change in std::mem::take(&mut state.pending_names) {
            let reached = if any {
                state.chance.below(2) == 0
            } else {
                !ended.contains(change.folder()) && state.chance.below(4) > 0
            };
            if reached {
                change.apply(&mut state.durable_names);
            } else {
                ended.insert(change.folder().to_owned());
            }
        }
        state.names.clone_from(&state.durable_names);
        for folder in fs::read_dir(state.root.path()).expect("the root").map(|entry| entry.expect("an entry").path()) {
            for file in fs::read_dir(folder).expect("a folder") {
                fs::remove_file(file.expect("an entry").path()).expect("a file");
            }
        }
        for (name, file) in &state.names {
            let file = &mut state.files[*file];
            file.lose(&mut state.chance);
            file.length = file.durable.len();
            fs::write(state.root.path().join(name), &file.durable).expect("a file");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn name(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.root.path()).expect("everything is under the root").to_owned()
    }

    /// Whether the operation would need more space.
    fn grows(&self, op: &DiskOp<'_>) -> bool {
        match op {
            DiskOp::Create(_) | DiskOp::Rename(..) => true,
            DiskOp::Write { file, offset, bytes } => {
                let file = self.names.get(&self.name(file)).map_or(0, |file| self.files[*file].length);
                *offset as usize + bytes.len() > file
            }
            _ => false,
        }
    }

    /// Makes the operation in the model.
    fn apply(&mut self, op: &DiskOp<'_>) {
        if (self.ignored)(op) {
            return;
        }
        match op {
            DiskOp::Create(path) => {
                let name = self.name(path);
                self.names.insert(name.clone(), self.files.len());
                self.pending_names.push(Change::Link(name, self.files.len()));
                self.files.push(File::default());
            }
            DiskOp::Write { file, offset, bytes } => {
                if let Some(file) = self.names.get(&self.name(file)) {
                    self.files[*file].write(*offset as usize, bytes);
                }
            }
            DiskOp::Sync(path) => {
                if let Some(file) = self.names.get(&self.name(path)) {
                    self.files[*file].sync();
                }
            }
            DiskOp::Rename(from, to) => {
                let (from, to) = (self.name(from), self.name(to));
                let file = self.names.remove(&from).expect("a file of that name");
                self.names.insert(to.clone(), file);
                self.pending_names.push(Change::Move(from, to, file));
            }
            DiskOp::Remove(path) => {
                let name = self.name(path);
                if let Some(file) = self.names.remove(&name) {
                    self.pending_names.push(Change::Unlink(name, file));
                }
            }
            DiskOp::SyncDir(path) => {
                let folder = self.name(path);
                for change in self.pending_names.extract_if(.., |change| change.folder() == folder) {
                    change.apply(&mut self.durable_names);
                }
            }
        }
    }

    /// Makes part of the operation, or all of it, or nothing, in the model and in the real folder.
    fn apply_partly(&mut self, op: &DiskOp<'_>) {
        match op {
            DiskOp::Write { file, offset, bytes } => {
                let part = &bytes[..self.chance.below(bytes.len() + 1)];
                let real = fs::File::options().write(true).open(file).and_then(|file| file.write_all_at(part, *offset));
                if real.is_ok() {
                    self.apply(&DiskOp::Write { file, offset: *offset, bytes: part });
                }
            }
            DiskOp::Sync(path) => {
                // A failed sync takes what it did not write with it.
                if let Some(file) = self.names.get(&self.name(path)) {
                    self.files[*file].lose(&mut self.chance);
                }
            }
            _ if self.chance.below(2) == 0 => {}
            DiskOp::Create(path) => fs::write(path, []).map(|()| self.apply(op)).expect("a file"),
            DiskOp::Rename(from, to) => fs::rename(from, to).map(|()| self.apply(op)).expect("a file of that name"),
            DiskOp::Remove(path) => drop(fs::remove_file(path).map(|()| self.apply(op))),
            DiskOp::SyncDir(_) => self.apply(op),
        }
    }

    fn before(&mut self, op: &DiskOp<'_>) -> io::Result<()> {
        let dead = || Err(io::Error::other("the process has ended"));
        if self.crashed {
            return dead();
        }
        let kind = kind(op);
        self.counts.operations[kind] += 1;
        let number = self.operation;
        self.operation += 1;
        if self.plan.crash_at == Some(number) {
            self.crashed = true;
            self.counts.crashes[kind] += 1;
            self.apply_partly(op);
            return dead();
        }
        match self.plan.fault {
            Some((io::ErrorKind::StorageFull, from, to)) if (from..to).contains(&number) && self.grows(op) => {
                self.counts.enospc[kind] += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            Some((io::ErrorKind::Other, from, to)) if (from..to).contains(&number) => {
                self.counts.eio[kind] += 1;
                // A folder's sync that fails leaves the names as they are: file systems that meet this stop altogether.
                if !matches!(op, DiskOp::SyncDir(_)) {
                    self.apply_partly(op);
                }
                Err(io::ErrorKind::Other.into())
            }
            _ => {
                self.apply(op);
                Ok(())
            }
        }
    }
}

fn kind(op: &DiskOp<'_>) -> usize {
    match op {
        DiskOp::Create(_) => 0,
        DiskOp::Write { .. } => 1,
        DiskOp::Sync(_) => 2,
        DiskOp::Rename(..) => 3,
        DiskOp::Remove(_) => 4,
        DiskOp::SyncDir(_) => 5,
    }
}

impl DiskHook for SimulatedDisk {
    fn before(&self, op: &DiskOp<'_>) -> io::Result<()> {
        self.state().before(op)
    }
}
