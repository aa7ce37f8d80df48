//! Random histories of a log and its checkpoints on a disk that fails, checked against a model. Repeatable by seed.
//!
//! Each history is several lives of one process: it opens both, appends, checkpoints, trims what the checkpoints cover,
//! closes; it may be killed, or lose power, at any operation on the disk, those of opening included, and operations may
//! be refused. Whatever opens must have every record acknowledged and not trimmed, nothing that was trimmed, nothing
//! that was never appended, and a checkpoint, no older than the last one reported done, from which the log goes on.
//!
//! `DOVETAIL_LOG_SEEDS=0..100000 cargo test --release -p dovetail-log --test histories -- --nocapture` runs a range of
//! one's own, in place of the small one.

#![allow(clippy::print_stdout)]

mod common;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use common::sim::{Counts, Ignored, KINDS, Plan, SimulatedDisk};
use common::{Chance, group};
use dovetail_log::checkpoint::{CheckpointError, CheckpointOptions, Checkpoints, RestoreError};
use dovetail_log::embedded::{DiskHook, DiskOp};
use dovetail_log::{AppendError, EmbeddedLog, Log, OpenError, Options, ReadError, Record, TrimError};

const SEEDS: Range<u64> = 0..400;
const LOG: &str = "log";
const CHECKPOINTS: &str = "checkpoints";

macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}

/// What is known to be true of the log and its checkpoints, whatever happens to the process.
#[derive(Default)]
struct Truth {
    /// Everything acknowledged, or found and served, from the beginning: trimmed or not.
    records: Vec<Record>,
    /// The append that was under way when something failed: all of it may be there, or nothing.
    in_flight: Vec<Record>,
    /// The highest floor that was acknowledged, and the highest `through` a trim was tried with.
    floor: u64,
    trimmed_through: u64,
    /// The newest checkpoint reported done, and those that were under way when something failed.
    checkpoint: Option<u64>,
    checkpoints_in_flight: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    lives: u64,
    power_losses: u64,
    kills: u64,
    appends: u64,
    trims: u64,
    segments_trimmed: u64,
    checkpoints: u64,
    recoveries: u64,
    full_and_went_on: u64,
}

struct History {
    disk: SimulatedDisk,
    chance: Chance,
    truth: Truth,
    figures: Figures,
}

/// What one process holds.
struct Process {
    log: EmbeddedLog,
    checkpoints: Checkpoints,
}

/// A life ends.
enum End {
    /// Because an operation on the disk failed, or because it was time.
    Expected,
    Wrong(String),
}

impl From<String> for End {
    fn from(what: String) -> Self {
        Self::Wrong(what)
    }
}

/// The chunks of the checkpoint through `through` say which records there are up to it. One in eight takes several
/// writes.
fn chunks(records: &[Record], through: u64) -> Vec<Vec<u8>> {
    let covered: Vec<_> = records.iter().take_while(|record| record.through <= through).collect();
    let digest = |record: &&Record| [&record.through.to_le_bytes()[..], &record.bytes.len().to_le_bytes()].concat();
    let large = through.is_multiple_of(8).then(|| vec![through as u8 | 1; (1 << 20) + 77]);
    covered.chunks(5).map(|few| few.iter().flat_map(digest).collect()).chain(large).collect()
}

impl History {
    fn new(seed: u64, ignored: Ignored) -> Self {
        let disk = SimulatedDisk::new(&[LOG, CHECKPOINTS], seed, ignored);
        Self { disk, chance: Chance(seed), truth: Truth::default(), figures: Figures::default() }
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..4 + self.chance.below(5) {
            let plan = self.plan();
            self.disk.start(plan);
            self.figures.lives += 1;
            if let Err(End::Wrong(what)) = self.live() {
                return Err(what);
            }
            self.end();
        }
        // Whatever happened before: on a disk in order it opens, is complete, and works.
        self.disk.start(Plan::default());
        match self.open().and_then(|mut process| self.append(&mut process)) {
            Err(End::Wrong(what)) => Err(what),
            Err(End::Expected) => Err("a disk in order failed".into()),
            Ok(()) => Ok(()),
        }
    }

    fn plan(&mut self) -> Plan {
        let crash_at = (self.chance.below(4) > 0).then(|| {
            let span = [30, 100, 300][self.chance.below(3)];
            self.chance.below(span)
        });
        let fault = (self.chance.below(3) == 0).then(|| {
            let from = self.chance.below(150);
            let kind = [io::ErrorKind::Other, io::ErrorKind::StorageFull][self.chance.below(2)];
            (kind, from, from + 1 + self.chance.below(12))
        });
        Plan { crash_at, fault }
    }

    /// Between two lives: nothing more happens to the disk, or power is lost as well.
    fn end(&mut self) {
        match self.chance.below(3) {
            0 => self.figures.kills += 1,
            _ => {
                self.figures.power_losses += 1;
                self.disk.lose_power();
            }
        }
    }

    fn live(&mut self) -> Result<(), End> {
        let mut process = self.open()?;
        for _ in 0..self.chance.below(40) {
            match self.chance.below(12) {
                0 => self.checkpoint(&mut process)?,
                1 | 2 => self.trim(&mut process)?,
                3 => self.read_somewhere(&process)?,
                _ => self.append(&mut process)?,
            }
        }
        if self.chance.below(2) == 0 {
            let closed = process.log.close();
            ensure_reason(&self.disk, closed.err().map(|error| error.to_string()))?;
        }
        Ok(())
    }

    /// Opens both, and checks all that there is.
    fn open(&mut self) -> Result<Process, End> {
        let options = Options {
            segment_bytes: 8192,
            disk_hook: Some(Arc::new(self.disk.clone())),
            foreground: true,
            ..Options::new("test")
        };
        let (log, report) = match EmbeddedLog::open(self.disk.path(LOG), options) {
            Ok(opened) => opened,
            Err(error @ (OpenError::Io { .. } | OpenError::DiskFull { .. })) => {
                return ensure_reason(&self.disk, Some(error.to_string())).and(Err(End::Expected));
            }
            Err(error) => return Err(format!("the log does not open: {error}").into()),
        };
        let disk_hook: Option<Arc<dyn DiskHook>> = Some(Arc::new(self.disk.clone()));
        let keep = 1 + self.chance.below(2);
        let options = CheckpointOptions { keep, disk_hook, ..CheckpointOptions::new(log.log_id()) };
        let opened = Checkpoints::open(self.disk.path(CHECKPOINTS), options);
        self.check_log(&log).map_err(|what| format!("{what}; {report:?}"))?;
        let mut process = match opened {
            Ok((checkpoints, _)) => Process { log, checkpoints },
            Err(error @ (OpenError::Io { .. } | OpenError::DiskFull { .. })) => {
                return ensure_reason(&self.disk, Some(error.to_string())).and(Err(End::Expected));
            }
            Err(error) => return Err(format!("the checkpoints do not open: {error}").into()),
        };
        self.check_checkpoints(&mut process)?;
        self.figures.recoveries += 1;
        Ok(process)
    }

    /// What is served is durable: from here on it counts as acknowledged.
    fn check_log(&mut self, log: &EmbeddedLog) -> Result<(), String> {
        let truth = &mut self.truth;
        let (floor, last) = (log.floor(), log.last());
        ensure!(truth.floor <= floor, "floor {floor}, and {} was acknowledged", truth.floor);
        ensure!(floor <= truth.trimmed_through, "floor {floor}, and only {} was trimmed", truth.trimmed_through);
        let expected = |records: &[Record]| -> Vec<Record> {
            records.iter().filter(|record| record.through > floor).cloned().collect()
        };
        let found = log.reader().read_after(floor, usize::MAX).map_err(|error| format!("a read: {error}"))?;
        if found != expected(&truth.records) {
            truth.records.append(&mut truth.in_flight);
            let all = expected(&truth.records);
            ensure!(found == all, "{} records above {floor}, and there should be {}", found.len(), all.len());
        }
        truth.in_flight.clear();
        truth.floor = floor;
        let expected = truth.records.last().map_or(0, |record| record.through);
        ensure!(last == expected, "last {last}, and it was {expected}");
        if floor > 0 {
            let below = log.reader().read_after(floor - 1, usize::MAX);
            ensure!(matches!(below, Err(ReadError::Trimmed { .. })), "what was trimmed is there: {below:?}");
        }
        Ok(())
    }

    fn check_checkpoints(&mut self, process: &mut Process) -> Result<(), String> {
        let truth = &mut self.truth;
        let bounds = process.log.floor()..=process.log.last();
        let loaded = process.checkpoints.load(bounds, |reader| {
            let mut chunks = Vec::new();
            while let Some(chunk) = reader.next_chunk()? {
                chunks.push(chunk.to_vec());
            }
            Ok::<_, RestoreError>(chunks)
        });
        let loaded = loaded.map_err(|error| format!("no checkpoint to go on from: {error}"))?;
        ensure!(loaded.passed_over.is_empty(), "a damaged checkpoint: {:?}", loaded.passed_over);
        let through = loaded.state.as_ref().map(|(through, _)| *through);
        let in_flight = through.is_some_and(|through| truth.checkpoints_in_flight.contains(&through));
        let known = through == truth.checkpoint || in_flight;
        ensure!(known && through >= truth.checkpoint, "checkpoint {through:?}, and {:?} was done", truth.checkpoint);
        if let Some((through, found)) = loaded.state {
            ensure!(found == chunks(&truth.records, through), "the checkpoint through {through} has other chunks");
        }
        for info in process.checkpoints.list() {
            let read = process.checkpoints.read(info).and_then(|mut reader| reader.finish());
            read.map_err(|error| format!("an older checkpoint cannot be read: {error}"))?;
        }
        truth.checkpoint = through;
        truth.checkpoints_in_flight.clear();
        Ok(())
    }

    fn append(&mut self, process: &mut Process) -> Result<(), End> {
        let first = process.log.last() + 1 + self.chance.below(3) as u64;
        let bytes = [10, 400, 1500][self.chance.below(3)];
        let records = group(first, first + self.chance.below(6) as u64, self.chance.below(bytes));
        self.truth.in_flight.clone_from(&records);
        for _ in 0..2 {
            match process.log.append(&records) {
                Ok(()) => {
                    self.truth.records.append(&mut self.truth.in_flight);
                    self.figures.appends += 1;
                    return Ok(());
                }
                Err(AppendError::DiskFull { .. }) if self.disk.faulty() => self.figures.full_and_went_on += 1,
                Err(AppendError::Poisoned { .. } | AppendError::Failed { .. }) => {
                    ensure_reason(&self.disk, Some("an append failed".into()))?;
                    let again = process.log.append(&records);
                    let poisoned = matches!(again, Err(AppendError::Poisoned { .. }));
                    return if poisoned { Err(End::Expected) } else { Err(format!("{again:?} after an error").into()) };
                }
                Err(error) => return Err(format!("an append: {error}").into()),
            }
        }
        Ok(())
    }

    fn trim(&mut self, process: &mut Process) -> Result<(), End> {
        let Some(bound) = process.checkpoints.trim_point() else { return Ok(()) };
        let through = bound - (self.chance.below(3) as u64 * self.chance.below(20) as u64).min(bound);
        self.truth.trimmed_through = self.truth.trimmed_through.max(through);
        let segments = process.log.segments().len();
        match process.log.trim(through) {
            Ok(floor) => {
                self.truth.floor = floor;
                self.figures.trims += 1;
                self.figures.segments_trimmed += (segments - process.log.segments().len()) as u64;
                Ok(())
            }
            Err(TrimError::Failed { .. } | TrimError::Poisoned { .. }) => {
                ensure_reason(&self.disk, Some("a trim failed".into()))?;
                let again = process.log.append(&group(u64::MAX, u64::MAX, 1));
                let poisoned = matches!(again, Err(AppendError::Poisoned { .. }));
                if poisoned { Err(End::Expected) } else { Err(format!("{again:?} after a failed trim").into()) }
            }
        }
    }

    /// Writes a checkpoint of all that is acknowledged when it begins; appends go on meanwhile.
    fn checkpoint(&mut self, process: &mut Process) -> Result<(), End> {
        let through = process.log.last();
        if process.checkpoints.list().first().is_some_and(|newest| newest.through >= through) {
            return Ok(());
        }
        let chunks = chunks(&self.truth.records, through);
        self.truth.checkpoints_in_flight.push(through);
        let Process { log, checkpoints } = process;
        let mut write = || -> Result<(), CheckpointError> {
            let mut writer = checkpoints.begin(through)?;
            chunks.iter().try_for_each(|chunk| writer.chunk(chunk))?;
            writer.commit().map(drop)
        };
        match write() {
            Ok(()) => {
                self.truth.checkpoint = Some(through);
                self.truth.checkpoints_in_flight.clear();
                self.figures.checkpoints += 1;
                Ok(())
            }
            Err(error) => {
                ensure_reason(&self.disk, Some(error.to_string()))?;
                let before = log.last();
                ensure_end(before == through, "a failed checkpoint changed the log")?;
                Ok(())
            }
        }
    }

    fn read_somewhere(&mut self, process: &Process) -> Result<(), End> {
        let Some(record) = self.truth.records.get(self.chance.below(self.truth.records.len().max(1))) else {
            return Ok(());
        };
        let (after, floor) = (record.through, process.log.floor());
        match process.log.reader().read_after(after, 2000) {
            Err(ReadError::Trimmed { floor: found, .. }) => {
                ensure_end(after < floor && found == floor, "a read above the floor was refused")
            }
            Err(error) => Err(format!("a read: {error}").into()),
            Ok(found) => {
                let from = self.truth.records.partition_point(|record| record.through <= after);
                let expected = &self.truth.records[from..];
                let right = found.len() <= expected.len() && found == expected[..found.len()];
                ensure_end(right && found.is_empty() == expected.is_empty(), "a read gave other records")
            }
        }
    }
}

fn ensure_end(holds: bool, what: &str) -> Result<(), End> {
    if holds { Ok(()) } else { Err(End::Wrong(what.to_owned())) }
}

/// An operation may fail when the disk did.
fn ensure_reason(disk: &SimulatedDisk, error: Option<String>) -> Result<(), End> {
    match error {
        Some(error) if !disk.crashed() && !disk.faulty() => Err(format!("{error}, and the disk was in order").into()),
        _ => Ok(()),
    }
}

fn seeds() -> Range<u64> {
    let Ok(range) = std::env::var("DOVETAIL_LOG_SEEDS") else { return SEEDS };
    let parsed = range.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.expect("DOVETAIL_LOG_SEEDS is a range: 0..1000")
}

fn add(sum: &mut [u64; 6], more: &[u64; 6]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

#[test]
fn nothing_acknowledged_is_lost_nothing_trimmed_comes_back_and_every_checkpoint_done_can_be_read() {
    let (mut counts, mut figures) = (Counts::default(), Figures::default());
    let seeds = seeds();
    for seed in seeds.clone() {
        let mut history = History::new(seed, |_| false);
        if let Err(what) = history.run() {
            panic!("seed {seed}: {what}");
        }
        let (more, one) = (history.disk.counts(), history.figures);
        add(&mut counts.operations, &more.operations);
        add(&mut counts.crashes, &more.crashes);
        add(&mut counts.eio, &more.eio);
        add(&mut counts.enospc, &more.enospc);
        figures.lives += one.lives;
        figures.power_losses += one.power_losses;
        figures.kills += one.kills;
        figures.appends += one.appends;
        figures.trims += one.trims;
        figures.segments_trimmed += one.segments_trimmed;
        figures.checkpoints += one.checkpoints;
        figures.recoveries += one.recoveries;
        figures.full_and_went_on += one.full_and_went_on;
    }
    println!("seeds {seeds:?}: {figures:#?}");
    println!("{:<12}{:>12}{:>12}{:>12}{:>12}", "", "operations", "crashes at", "EIO", "ENOSPC");
    for (n, kind) in KINDS.iter().enumerate() {
        let Counts { operations, crashes, eio, enospc } = counts;
        println!("{kind:<12}{:>12}{:>12}{:>12}{:>12}", operations[n], crashes[n], eio[n], enospc[n]);
    }
    if seeds.end - seeds.start >= SEEDS.end {
        assert!(counts.crashes.iter().chain(&counts.eio).all(|count| *count > 0), "every kind of operation is struck");
        assert!(figures.segments_trimmed > 1000 && figures.checkpoints > 1000 && figures.full_and_went_on > 30);
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    let told = |seed| {
        let mut history = History::new(seed, |_| false);
        let ended = history.run();
        format!("{ended:?} {:?} {:?}", history.figures, history.disk.counts())
    };
    (0..10).for_each(|seed| assert_eq!(told(seed), told(seed)));
}

/// The model finds what it is there to find: a log that leaves out any one of its syncs.
#[test]
fn a_sync_that_is_left_out_is_found() {
    fn ends(file: &std::path::Path, suffix: &str) -> bool {
        file.to_string_lossy().ends_with(suffix)
    }
    let planted: [(&str, Ignored); 5] = [
        ("segments", |op| matches!(op, DiskOp::Sync(file) if ends(file, ".seg"))),
        ("the watermark", |op| matches!(op, DiskOp::Sync(file) if ends(file, "watermark"))),
        ("checkpoints", |op| matches!(op, DiskOp::Sync(file) if ends(file, "unfinished"))),
        ("the log's folder", |op| matches!(op, DiskOp::SyncDir(folder) if ends(folder, LOG))),
        ("the checkpoints' folder", |op| matches!(op, DiskOp::SyncDir(folder) if ends(folder, CHECKPOINTS))),
    ];
    for (what, ignored) in planted {
        let found = (0..300).find(|seed| History::new(*seed, ignored).run().is_err());
        assert!(found.is_some(), "leaving out the syncs of {what} is not noticed");
    }
}
