//! What the tests of the embedded log share: folders as values, a script of appends, a source of chance.

#![allow(dead_code)] // Each test program uses its own part.

pub mod sim;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dovetail_log::{EmbeddedLog, Log, OpenError, OpenReport, Options, Record};
use tempfile::TempDir;

pub const SEGMENT_HEADER_BYTES: usize = 4096;

/// The smallest segments there are: 4096 bytes for groups in each.
pub fn options() -> Options {
    Options { segment_bytes: 8192, ..Options::new("test") }
}

/// A folder in memory where there is one. These tests damage files; what the disk does is not their subject.
pub fn fast_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a temporary folder")
}

pub fn open(dir: &Path) -> (EmbeddedLog, OpenReport) {
    EmbeddedLog::open(dir, options()).expect("the log opens")
}

pub fn open_error(dir: &Path) -> OpenError {
    EmbeddedLog::open(dir, options()).expect_err("the log must not open")
}

/// Records `first..=last`, each with bytes of its own.
pub fn group(first: u64, last: u64, bytes: usize) -> Vec<Record> {
    (first..=last).map(|through| Record::new(through, vec![through as u8 | 1; bytes])).collect()
}

pub fn read_all(log: &dyn Log) -> Vec<Record> {
    log.reader().read_after(0, usize::MAX).expect("the log can be read")
}

pub fn segment(ordinal: u64) -> String {
    format!("{ordinal:020}.seg")
}

/// The files of a folder and what is in them; the lock is left out, it means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(pub BTreeMap<String, Vec<u8>>);

impl Folder {
    /// What a process killed now would leave. The spare may be half made, or go away while it is read.
    pub fn of(dir: &Path) -> Self {
        let entries = fs::read_dir(dir).expect("the folder is there").map(|entry| entry.expect("an entry").path());
        let name = |path: &PathBuf| path.file_name().expect("a name").to_str().expect("in UTF-8").to_owned();
        let kept = entries.filter(|path| !["lock", "spare"].contains(&name(path).as_str()));
        Self(kept.map(|path| (name(&path), fs::read(&path).expect("a file"))).collect())
    }

    pub fn write(&self, dir: &Path) {
        for name in Self::of(dir).0.keys().filter(|name| !self.0.contains_key(*name)) {
            fs::remove_file(dir.join(name)).expect("a file that can be removed");
        }
        for (name, bytes) in &self.0 {
            fs::write(dir.join(name), bytes).expect("a file that can be written");
        }
    }

    /// This folder with `change` made to the file `name`.
    pub fn with(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut changed = self.clone();
        change(changed.0.get_mut(name).expect("a file of that name"));
        changed
    }

    /// Offset of the last byte of `name` that is not zero, plus one.
    pub fn used(&self, name: &str) -> usize {
        self.0[name].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }
}

/// Chance that repeats itself: SplitMix64.
pub struct Chance(pub u64);

impl Chance {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }
}
