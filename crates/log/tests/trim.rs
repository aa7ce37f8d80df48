//! Dropping the oldest segments: what goes, what stays, what readers see, and what a crash in between leaves.

mod common;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Folder, fast_dir, group, open, open_error, options, segment};
use dovetail_log::embedded::{DiskHook, DiskOp};
use dovetail_log::{EmbeddedLog, Log, OpenError, Options, ReadError, Record, TrimError};

/// A log of `segments` segments; each has the three records of one append: `n * 10 + 1` to `n * 10 + 3`.
fn filled(dir: &Path, segments: u64) -> EmbeddedLog {
    let (mut log, _) = open(dir);
    for n in 0..segments {
        log.append(&appended(n)).expect("an append");
    }
    log
}

fn appended(n: u64) -> Vec<Record> {
    group(n * 10 + 1, n * 10 + 3, 1000)
}

fn read(log: &dyn Log, after: u64) -> Vec<Record> {
    log.reader().read_after(after, usize::MAX).expect("a read")
}

fn segments_in(dir: &Path) -> Vec<String> {
    Folder::of(dir).0.into_keys().filter(|name| name.ends_with(".seg")).collect()
}

#[test]
fn whole_segments_go_and_the_newest_stays() {
    let dir = fast_dir();
    let mut log = filled(dir.path(), 5);
    let expected = [(2, 0), (3, 3), (4, 3), (12, 3), (13, 13), (22, 13), (u64::MAX, 33)];
    for (through, floor) in expected {
        assert_eq!(log.trim(through).expect("a trim"), floor, "through {through}");
        assert_eq!(
            segments_in(dir.path()),
            (floor / 10 + 1 + u64::from(floor > 0)..=5).map(segment).collect::<Vec<_>>()
        );
        assert_eq!(read(&log, floor).first(), Some(&appended((floor + 7) / 10)[0]));
    }
    assert_eq!(read(&log, 33), appended(4));
    assert!(matches!(log.reader().read_after(32, 1), Err(ReadError::Trimmed { after: 32, floor: 33 })));
}

#[test]
fn the_bytes_of_segments_are_known_and_say_how_far_to_trim() {
    let dir = fast_dir();
    let mut log = filled(dir.path(), 4);
    let known: Vec<_> = log.segments().iter().map(|segment| (segment.base, segment.last, segment.bytes)).collect();
    assert_eq!(known, [(0, 3, 8192), (3, 13, 8192), (13, 23, 8192), (23, 33, 8192)]);
    assert_eq!(log.bytes(), 4 * 8192);
    let points = [0, 8191, 8192, 16_384, 24_575, 24_576, 32_768, u64::MAX].map(|bytes_max| log.trim_point(bytes_max));
    assert_eq!(points, [23, 23, 23, 13, 13, 3, 0, 0]);
    let point = log.trim_point(20_000);
    log.trim(point).expect("a trim");
    assert_eq!((log.bytes(), log.trim_point(20_000)), (16_384, 13), "there is nothing more to trim");
}

#[test]
fn a_log_whose_first_segments_are_all_gone_opens_and_goes_on() {
    let dir = fast_dir();
    let mut log = filled(dir.path(), 200);
    log.trim(u64::MAX).expect("a trim");
    log.close().expect("it closes");
    for round in 0..3 {
        let (mut log, report) = open(dir.path());
        assert_eq!((report.floor, report.segments, report.leftovers, report.created), (1983, 1 + round, 0, false));
        assert_eq!((log.floor(), log.last()), (1983, 1993 + 10 * round as u64));
        assert_eq!(read(&log, 1983).len(), 3 + 3 * round);
        log.append(&appended(200 + round as u64)).expect("an append");
    }
}

#[test]
fn a_newest_segment_without_a_record_keeps_the_last_id() {
    let dir = fast_dir();
    let fault = Arc::new(Mutex::new(false));
    let hook = {
        let fault = Arc::clone(&fault);
        move |op: &DiskOp<'_>| match op {
            DiskOp::Write { file, .. } if file.ends_with(segment(3)) && *fault.lock().expect("no test panics") => {
                Err(io::ErrorKind::Other.into())
            }
            _ => Ok(()),
        }
    };
    drop(filled(dir.path(), 2));
    let (mut log, _) = EmbeddedLog::open(dir.path(), hooked(hook)).expect("the log opens");
    *fault.lock().expect("no test panics") = true;
    log.append(&appended(2)).expect_err("the first group of a segment cannot be written");
    drop(log);
    let (mut log, report) = open(dir.path());
    assert_eq!((report.segments, report.last), (3, 13));
    assert_eq!(log.trim(u64::MAX).expect("a trim"), 13);
    drop(log);
    let (mut log, report) = open(dir.path());
    assert_eq!((report.segments, report.records, report.floor, report.last), (1, 0, 13, 13));
    assert_eq!(read(&log, 13), []);
    log.append(&group(13, 13, 1)).expect_err("an id that was trimmed cannot be used again");
    log.append(&group(14, 14, 1)).expect("an append");
    assert_eq!(read(&log, 13), group(14, 14, 1));
}

#[test]
fn segments_left_by_a_crash_are_removed_and_counted_and_never_served() {
    let dir = fast_dir();
    let mut log = filled(dir.path(), 6);
    let before = Folder::of(dir.path());
    log.trim(33).expect("a trim");
    let after = Folder::of(dir.path());
    drop(log);
    // Any of the files may have stayed: a disk may remove them in another order than was asked for.
    for left in 0..1_u32 << 4 {
        let mut folder = after.clone();
        for n in (1..=4).filter(|n| left & (1 << (n - 1)) != 0) {
            folder.0.insert(segment(n), before.0[&segment(n)].clone());
        }
        let dir = fast_dir();
        folder.write(dir.path());
        let (log, report) = open(dir.path());
        assert_eq!((report.leftovers, report.floor, report.segments), (left.count_ones() as usize, 33, 2));
        assert!(matches!(log.reader().read_after(0, 1), Err(ReadError::Trimmed { floor: 33, .. })));
        assert_eq!(segments_in(dir.path()), [5, 6].map(segment));
        drop(log);
        assert_eq!(open(dir.path()).1.leftovers, 0);
    }
}

#[test]
fn a_segment_missing_above_the_trim_is_damage_and_leftovers_stay_until_that_is_known() {
    let dir = fast_dir();
    let mut log = filled(dir.path(), 6);
    let before = Folder::of(dir.path());
    log.trim(33).expect("a trim");
    let after = Folder::of(dir.path());
    drop(log);
    for missing in [5, 6] {
        let mut folder = after.clone();
        folder.0.insert(segment(4), before.0[&segment(4)].clone());
        folder.0.remove(&segment(missing));
        let dir = fast_dir();
        folder.write(dir.path());
        match open_error(dir.path()) {
            OpenError::Damaged { file, .. } => assert_eq!(file, dir.path().join(segment(missing))),
            error => panic!("{error}"),
        }
        assert_eq!(Folder::of(dir.path()), folder, "a log that does not open is left as it is");
    }
}

#[test]
fn either_slot_of_the_watermark_knows_the_trim() {
    let dir = fast_dir();
    let mut log = filled(dir.path(), 6);
    log.trim(33).expect("a trim");
    let killed = Folder::of(dir.path());
    drop(log);
    for slot in [0, 4096] {
        let dir = fast_dir();
        killed.with("watermark", |bytes| bytes[slot + 40] ^= 1).write(dir.path());
        let (log, report) = open(dir.path());
        assert_eq!((report.floor, report.watermark_slot_damaged), (33, true));
        assert_eq!(read(&log, 33), [appended(4), appended(5)].concat());
    }
}

struct Hook<F>(F);

impl<F: Fn(&DiskOp<'_>) -> io::Result<()> + Send + Sync> DiskHook for Hook<F> {
    fn before(&self, op: &DiskOp<'_>) -> io::Result<()> {
        (self.0)(op)
    }
}

fn hooked(hook: impl Fn(&DiskOp<'_>) -> io::Result<()> + Send + Sync + 'static) -> Options {
    Options { disk_hook: Some(Arc::new(Hook(hook))), ..options() }
}

#[test]
fn nothing_is_removed_before_both_slots_of_the_watermark_are_durable_and_the_oldest_goes_first() {
    let dir = fast_dir();
    drop(filled(dir.path(), 4));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let seen = Arc::clone(&seen);
        move |op: &DiskOp<'_>| {
            let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
            let line = match op {
                DiskOp::Write { file, offset, .. } => format!("write {} {offset}", name(file)),
                DiskOp::Sync(file) => format!("sync {}", name(file)),
                DiskOp::Remove(file) => format!("remove {}", name(file)),
                DiskOp::SyncDir(_) => "sync folder".to_owned(),
                _ => return Ok(()),
            };
            if !line.ends_with("spare") && !line.contains("spare ") {
                seen.lock().expect("no test panics").push(line);
            }
            Ok(())
        }
    };
    let (mut log, _) = EmbeddedLog::open(dir.path(), hooked(hook)).expect("the log opens");
    seen.lock().expect("no test panics").clear();
    log.trim(23).expect("a trim");
    let seen = std::mem::take(&mut *seen.lock().expect("no test panics"));
    let (slots, rest) = seen.split_at(4);
    assert!(slots.contains(&"write watermark 0".to_owned()) && slots.contains(&"write watermark 4096".to_owned()));
    assert_eq!([slots[1].as_str(), slots[3].as_str()], ["sync watermark"; 2]);
    let removals = (1..=3).map(|n| format!("remove {}", segment(n))).chain(["sync folder".to_owned()]);
    assert_eq!(rest, removals.collect::<Vec<_>>());
}

/// Trims on a disk that refuses the operations that `applies` to: the log is poisoned, whatever it was, and serves from
/// the floor it says it has; opened again it has everything above the trim.
fn poisoned_by(applies: fn(&DiskOp<'_>) -> bool, floor: u64) {
    let dir = fast_dir();
    drop(filled(dir.path(), 4));
    let on = Arc::new(Mutex::new(false));
    let hook = {
        let on = Arc::clone(&on);
        move |op: &DiskOp<'_>| {
            if applies(op) && *on.lock().expect("no test panics") { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        }
    };
    let (mut log, _) = EmbeddedLog::open(dir.path(), hooked(hook)).expect("the log opens");
    *on.lock().expect("no test panics") = true;
    let error = log.trim(13).expect_err("the disk refuses");
    assert!(matches!(error, TrimError::Failed { .. }), "{error}");
    *on.lock().expect("no test panics") = false;
    assert!(matches!(log.trim(13), Err(TrimError::Poisoned { .. })));
    log.append(&appended(4)).expect_err("the log is poisoned");
    assert_eq!(log.floor(), floor);
    assert_eq!(read(&log, floor).last(), Some(&appended(3)[2]));
    drop(log);
    let (log, report) = open(dir.path());
    assert!(report.floor == 0 || report.floor == 13, "{report:?}");
    assert_eq!(read(&log, 13), [appended(2), appended(3)].concat());
}

#[test]
fn a_trim_that_cannot_be_made_durable_poisons_the_log_and_removes_nothing() {
    poisoned_by(|op| matches!(op, DiskOp::Write { file, .. } if file.ends_with("watermark")), 0);
    poisoned_by(|op| matches!(op, DiskOp::Sync(file) if file.ends_with("watermark")), 0);
}

#[test]
fn a_trim_that_cannot_remove_poisons_the_log_and_opening_finishes_it() {
    poisoned_by(|op| matches!(op, DiskOp::Remove(file) if file.ends_with(segment(2))), 13);
    poisoned_by(|op| matches!(op, DiskOp::SyncDir(_)), 13);
}

#[test]
fn a_reader_resting_in_a_trimmed_segment_reads_what_it_holds_or_is_told() {
    let dir = fast_dir();
    let mut log = filled(dir.path(), 4);
    let resting = log.reader();
    assert_eq!(resting.read_after(0, 1).expect("a read"), appended(0)[..1]);
    log.trim(13).expect("a trim");
    assert!(matches!(resting.read_after(1, 1), Err(ReadError::Trimmed { after: 1, floor: 13 })));
    assert_eq!(resting.read_after(13, usize::MAX).expect("a read"), [appended(2), appended(3)].concat());
}
