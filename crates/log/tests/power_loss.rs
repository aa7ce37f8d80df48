//! Power is lost between any two operations on the disk: what was acknowledged is there, groups are whole, and what
//! recovery itself was doing when power was lost again does no harm.
//!
//! A recorder sees every operation. A model replays them up to some point, as a disk that keeps its promises and no
//! more: what was synced is there; of what was not, any 512-byte sectors; of the folder's entries, those up to any
//! point after the last sync of the folder.

mod common;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Chance, Folder, fast_dir, group, options, read_all};
use dovetail_log::embedded::{DiskHook, DiskOp};
use dovetail_log::{EmbeddedLog, Log, Options, Record};

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Op {
    Create(String),
    Write(String, usize, Vec<u8>),
    Sync(String),
    Rename(String, String),
    Remove(String),
    SyncDir,
    /// Not the disk's: the log acknowledged everything up to here.
    Acknowledged(u64),
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Op>>>);

impl Recorder {
    fn push(&self, op: Op) {
        self.0.lock().expect("no test panics here").push(op);
    }

    fn options(&self) -> Options {
        Options { disk_hook: Some(Arc::new(self.clone())), ..options() }
    }

    fn ops(&self) -> Vec<Op> {
        self.0.lock().expect("no test panics here").clone()
    }
}

impl DiskHook for Recorder {
    fn before(&self, op: &DiskOp<'_>) -> io::Result<()> {
        let name = |path: &Path| path.file_name().expect("a name").to_str().expect("in UTF-8").to_owned();
        self.push(match op {
            DiskOp::Create(file) => Op::Create(name(file)),
            DiskOp::Write { file, offset, bytes } => Op::Write(name(file), *offset as usize, bytes.to_vec()),
            DiskOp::Sync(file) => Op::Sync(name(file)),
            DiskOp::Rename(from, to) => Op::Rename(name(from), name(to)),
            DiskOp::Remove(file) => Op::Remove(name(file)),
            DiskOp::SyncDir(_) => Op::SyncDir,
        });
        Ok(())
    }
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

/// The disk: files by number, names for them, and the changes of names that are not durable yet.
#[derive(Clone, Default)]
struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<BTreeMap<String, usize>>,
}

impl Disk {
    fn holding(folder: &Folder) -> Self {
        let files = folder.0.values().map(|bytes| File { durable: bytes.clone(), pending: vec![] }).collect();
        let names: BTreeMap<_, _> = folder.0.keys().cloned().zip(0..).collect();
        Self { files, durable_names: names.clone(), names, pending_names: vec![] }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(name) => {
                self.names.insert(name.clone(), self.files.len());
                self.files.push(File::default());
            }
            Op::Write(name, offset, bytes) => {
                let file = self.names[name];
                self.files[file].pending.push((*offset, bytes.clone()));
            }
            Op::Sync(name) => {
                let file = &mut self.files[self.names[name]];
                for (offset, bytes) in std::mem::take(&mut file.pending) {
                    overwrite(&mut file.durable, offset, &bytes);
                }
            }
            Op::Rename(from, to) => {
                let file = self.names.remove(from).expect("a file of that name");
                self.names.insert(to.clone(), file);
            }
            Op::Remove(name) => drop(self.names.remove(name)),
            Op::SyncDir => {
                self.durable_names.clone_from(&self.names);
                self.pending_names.clear();
            }
            Op::Acknowledged(_) => {}
        }
        if matches!(op, Op::Create(_) | Op::Rename(..) | Op::Remove(_)) {
            self.pending_names.push(self.names.clone());
        }
    }

    /// What is there after power was lost.
    fn after_power_loss(&self, chance: &mut Chance) -> Folder {
        let reached = chance.below(self.pending_names.len() + 1);
        let names = if reached == 0 { &self.durable_names } else { &self.pending_names[reached - 1] };
        Folder(names.iter().map(|(name, file)| (name.clone(), self.files[*file].after_power_loss(chance))).collect())
    }
}

impl File {
    fn after_power_loss(&self, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        // All sectors of a write, none of them, or any.
        for (offset, written) in &self.pending {
            let mood = chance.below(4);
            let (mut at, end) = (*offset, offset + written.len());
            while at < end {
                let next = ((at / SECTOR + 1) * SECTOR).min(end);
                if mood == 0 || (mood > 1 && chance.below(2) == 0) {
                    overwrite(&mut bytes, at, &written[at - offset..next - offset]);
                }
                at = next;
            }
        }
        bytes
    }
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, with: &[u8]) {
    bytes.resize(bytes.len().max(offset + with.len()), 0);
    bytes[offset..offset + with.len()].copy_from_slice(with);
}

/// Opens what a power loss left and checks it: everything up to `acknowledged`, or one whole group more. Then appends
/// `appends` groups of random sizes. `written` becomes all that is in the log. Returns the operations on the way.
fn live(
    dir: &Path,
    acknowledged: usize,
    written: &mut Vec<Vec<Record>>,
    appends: usize,
    chance: &mut Chance,
) -> Vec<Op> {
    let recorder = Recorder::default();
    let (mut log, report) = EmbeddedLog::open(dir, recorder.options()).expect("power loss is not damage");
    let found = read_all(&log);
    let kept = (acknowledged..=written.len()).find(|kept| found == written[..*kept].concat());
    let kept = kept.unwrap_or_else(|| panic!("{acknowledged} groups were acknowledged, and this is there: {report:?}"));
    assert!(kept <= acknowledged + 1, "at most one group is in flight");
    written.truncate(kept);
    // What is served is durable: from here on it counts as acknowledged.
    recorder.push(Op::Acknowledged(kept as u64));
    for _ in 0..appends {
        let first = log.last() + 1 + chance.below(3) as u64;
        let records = group(first, first + chance.below(8) as u64, chance.below(500));
        written.push(records.clone());
        log.append(&records).expect("an append");
        recorder.push(Op::Acknowledged(written.len() as u64));
    }
    if chance.below(2) == 0 {
        log.close().expect("the log closes");
    }
    recorder.ops()
}

#[test]
fn power_lost_at_any_time_and_again_while_recovering_loses_nothing_acknowledged() {
    for seed in 0..600 {
        let mut chance = Chance(seed);
        let (mut folder, mut written, mut acknowledged) = (Folder(BTreeMap::new()), Vec::new(), 0);
        for _ in 0..6 {
            let dir = fast_dir();
            folder.write(dir.path());
            let appends = chance.below(8);
            let ops = live(dir.path(), acknowledged, &mut written, appends, &mut chance);
            let mut disk = Disk::holding(&folder);
            for op in &ops[..chance.below(ops.len() + 1)] {
                disk.apply(op);
                if let Op::Acknowledged(groups) = op {
                    acknowledged = *groups as usize;
                }
            }
            folder = disk.after_power_loss(&mut chance);
        }
    }
}

#[test]
fn the_model_of_a_disk_finds_a_log_that_does_not_sync() {
    let caught = (0..50).filter(|seed| {
        let dir = fast_dir();
        let ops = live(dir.path(), 0, &mut Vec::new(), 5, &mut Chance(*seed));
        let mut disk = Disk::default();
        let unsynced = |op: &&Op| !matches!(op, Op::Sync(name) if name.ends_with(".seg"));
        ops.iter().filter(unsynced).for_each(|op| disk.apply(op));
        let dir = fast_dir();
        disk.after_power_loss(&mut Chance(*seed)).write(dir.path());
        let opened = EmbeddedLog::open(dir.path(), options());
        opened.map_or(true, |(log, _)| log.last() == 0)
    });
    assert!(caught.count() > 30);
}
