//! A disk that refuses, and a disk that is slow: what is acknowledged, what is shown to readers, what is tried again.

mod common;

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Folder, group, open, options, read_all, segment};
use dovetail_log::embedded::{DiskHook, DiskOp};
use dovetail_log::{AppendError, EmbeddedLog, Log, OpenError, Options};

/// Longest wait for something that is about to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Decides about each operation on the disk.
struct Hook<F>(F);

impl<F: Fn(&DiskOp<'_>) -> io::Result<()> + Send + Sync> DiskHook for Hook<F> {
    fn before(&self, op: &DiskOp<'_>) -> io::Result<()> {
        (self.0)(op)
    }
}

fn hooked(hook: impl Fn(&DiskOp<'_>) -> io::Result<()> + Send + Sync + 'static) -> Options {
    Options { disk_hook: Some(Arc::new(Hook(hook))), ..options() }
}

fn is(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|found| found == name)
}

/// A fault that is off until it is switched on.
#[derive(Clone, Default)]
struct Fault(Arc<Mutex<Option<io::ErrorKind>>>);

impl Fault {
    fn set(&self, kind: Option<io::ErrorKind>) {
        *self.0.lock().expect("no test panics here") = kind;
    }

    fn strike(&self, applies: bool) -> io::Result<()> {
        match *self.0.lock().expect("no test panics here") {
            Some(kind) if applies => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

/// Appends two groups, the second of which meets `kind` at operations that `applies` to; returns its error, then checks
/// that the log is poisoned and what is there when it is opened again.
fn poisoned_by(kind: io::ErrorKind, applies: fn(&DiskOp<'_>) -> bool) -> AppendError {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fault = Fault::default();
    let (mut log, _) = EmbeddedLog::open(
        dir.path(),
        hooked({
            let fault = fault.clone();
            move |op| fault.strike(applies(op))
        }),
    )
    .expect("the log opens");
    log.append(&group(1, 5, 10)).expect("an append");
    fault.set(Some(kind));
    let error = log.append(&group(6, 9, 10)).expect_err("the disk refuses");
    fault.set(None);
    let AppendError::Poisoned { cause } = log.append(&group(6, 9, 10)).expect_err("the log is poisoned") else {
        panic!("a poisoned log says so");
    };
    assert_eq!(cause, error.to_string());
    assert_eq!((log.last(), read_all(&log)), (5, group(1, 5, 10)), "what was acknowledged can still be read");
    log.close().expect_err("a poisoned log does not close as if nothing had been");
    let (mut log, report) = open(dir.path());
    assert!(report.last == 5 || report.last == 9, "the append is there whole, or not at all: {report:?}");
    log.append(&group(10, 10, 10)).expect("a log opened again takes appends");
    error
}

#[test]
fn a_failed_write_poisons_the_log() {
    let error =
        poisoned_by(io::ErrorKind::Other, |op| matches!(op, DiskOp::Write { file, .. } if is(file, &segment(1))));
    assert!(matches!(error, AppendError::Failed { doing: "write", .. }), "{error}");
}

#[test]
fn a_failed_sync_poisons_the_log_and_is_not_tried_again() {
    let error = poisoned_by(io::ErrorKind::Other, |op| matches!(op, DiskOp::Sync(file) if is(file, &segment(1))));
    assert!(matches!(error, AppendError::Failed { doing: "sync", .. }), "{error}");
}

#[test]
fn a_watermark_that_cannot_be_written_poisons_the_log() {
    let error =
        poisoned_by(io::ErrorKind::Other, |op| matches!(op, DiskOp::Write { file, .. } if is(file, "watermark")));
    assert!(matches!(error, AppendError::Failed { doing: "write", .. }), "{error}");
}

#[test]
fn a_disk_full_while_writing_records_is_told_apart_and_poisons() {
    let full = io::ErrorKind::StorageFull;
    let error = poisoned_by(full, |op| matches!(op, DiskOp::Write { file, .. } if is(file, &segment(1))));
    assert!(matches!(error, AppendError::DiskFull { .. }), "{error}");
}

#[test]
fn a_disk_too_full_for_the_next_segment_acknowledges_nothing_and_goes_on_once_there_is_space() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fault = Fault::default();
    let hook = {
        let fault = fault.clone();
        move |op: &DiskOp<'_>| fault.strike(matches!(op, DiskOp::Write { file, .. } if is(file, "spare")))
    };
    EmbeddedLog::open(dir.path(), hooked(hook.clone())).expect("the log opens").0.close().expect("it closes");
    fault.set(Some(io::ErrorKind::StorageFull));
    let (mut log, _) = EmbeddedLog::open(dir.path(), hooked(hook)).expect("a full disk does not keep a log closed");
    log.append(&group(1, 3, 1000)).expect("there is room in the segment");
    for _ in 0..3 {
        let error = log.append(&group(4, 6, 1000)).expect_err("there is no room for another segment");
        assert!(matches!(&error, AppendError::DiskFull { file, .. } if is(file, "spare")), "{error}");
        assert_eq!((log.last(), read_all(&log)), (3, group(1, 3, 1000)));
    }
    log.append(&group(4, 4, 10)).expect("what fits into the segment is still taken");
    fault.set(None);
    log.append(&group(5, 7, 1000)).expect("there is space again");
    drop(log);
    let (log, report) = open(dir.path());
    assert_eq!((report.torn, report.segments), (None, 2));
    assert_eq!(read_all(&log), [group(1, 3, 1000), group(4, 4, 10), group(5, 7, 1000)].concat());
}

#[test]
fn a_segment_that_a_full_disk_cut_short_does_not_keep_the_space_others_need() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fault = Fault::default();
    // The second mebibyte of the next segment finds no space.
    let hook = {
        let fault = fault.clone();
        move |op: &DiskOp<'_>| {
            fault.strike(matches!(op, DiskOp::Write { file, offset, .. } if is(file, "spare") && *offset >= 1 << 20))
        }
    };
    let options = Options { segment_bytes: 2 << 20, ..hooked(hook) };
    fault.set(Some(io::ErrorKind::StorageFull));
    let (mut log, _) = EmbeddedLog::open(dir.path(), options).expect("the log opens");
    log.append(&group(1, 1, 1_000_000)).expect("there is room in the segment");
    log.append(&group(2, 2, 1_000_000)).expect_err("there is no room for another segment");
    assert!(!dir.path().join("spare").exists(), "half a segment is no use to anyone");
    assert_eq!(log.trim(1).expect("a full disk can be trimmed"), 0);
    fault.set(None);
    log.append(&group(2, 2, 1_000_000)).expect("there is space again");
}

#[test]
fn a_disk_too_full_for_the_header_of_the_next_segment_does_not_poison_either() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fault = Fault::default();
    let hook = {
        let fault = fault.clone();
        // The header is all of a block; zeros are written in larger pieces.
        move |op: &DiskOp<'_>| {
            fault.strike(matches!(op, DiskOp::Write { file, bytes, .. } if is(file, "spare") && bytes.len() == 4096))
        }
    };
    let (mut log, _) = EmbeddedLog::open(dir.path(), hooked(hook)).expect("the log opens");
    log.append(&group(1, 3, 1000)).expect("an append");
    fault.set(Some(io::ErrorKind::StorageFull));
    for _ in 0..3 {
        let error = log.append(&group(4, 6, 1000)).expect_err("the next segment cannot be begun");
        assert!(matches!(error, AppendError::DiskFull { .. }), "{error}");
    }
    fault.set(None);
    log.append(&group(4, 6, 1000)).expect("there is space again");
    drop(log);
    assert_eq!(read_all(&open(dir.path()).0), [group(1, 3, 1000), group(4, 6, 1000)].concat());
}

#[test]
fn a_full_disk_is_told_apart_when_a_log_is_created() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fault = Fault::default();
    fault.set(Some(io::ErrorKind::QuotaExceeded));
    let hook = move |op: &DiskOp<'_>| fault.strike(matches!(op, DiskOp::Write { .. }));
    let error = EmbeddedLog::open(dir.path(), hooked(hook)).expect_err("there is no space");
    assert!(matches!(error, OpenError::DiskFull { .. }), "{error}");
    let (_, report) = open(dir.path());
    assert!(report.created, "a creation that failed is begun again");
}

/// A failed sync of the watermark in the background is found by the append after it.
#[test]
fn a_watermark_that_cannot_be_synced_in_the_background_poisons_the_log() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fault = Fault::default();
    let (struck, strikes) = channel();
    let hook = {
        let fault = fault.clone();
        move |op: &DiskOp<'_>| {
            let result = fault.strike(matches!(op, DiskOp::Sync(file) if is(file, "watermark")));
            if result.is_err() {
                struck.send(()).expect("the test waits");
            }
            result
        }
    };
    let (mut log, _) = EmbeddedLog::open(dir.path(), hooked(hook)).expect("the log opens");
    fault.set(Some(io::ErrorKind::Other));
    log.append(&group(1, 1, 1)).expect("the append itself needs no sync of the watermark");
    strikes.recv_timeout(PATIENCE).expect("the background syncs");
    let refused =
        (2..1_000_000).map(|n| log.append(&group(n, n, 1))).find_map(Result::err).expect("the log is poisoned");
    assert!(matches!(refused, AppendError::Failed { doing: "sync", .. }), "{refused}");
}

/// Stops the writer inside its sync, until it is let go.
fn gate() -> (impl Fn(&DiskOp<'_>) -> io::Result<()> + Send + Sync + 'static, Sender<()>, Receiver<()>) {
    let (go, gone) = channel();
    let (reached, arrivals) = channel();
    let gone = Mutex::new(gone);
    let hook = move |op: &DiskOp<'_>| {
        if matches!(op, DiskOp::Sync(file) if is(file, &segment(1))) && reached.send(()).is_ok() {
            gone.lock().expect("no test panics here").recv_timeout(PATIENCE).ok();
        }
        Ok(())
    };
    (hook, go, arrivals)
}

#[test]
fn a_reader_does_not_see_what_is_written_but_not_synced() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    EmbeddedLog::open(dir.path(), options()).expect("the log opens").0.close().expect("it closes");
    let (hook, go, arrivals) = gate();
    go.send(()).expect("opening syncs once");
    let (mut log, _) = EmbeddedLog::open(dir.path(), hooked(hook)).expect("the log opens");
    arrivals.recv_timeout(PATIENCE).expect("opening synced");
    let reader = log.reader();
    std::thread::scope(|scope| {
        scope.spawn(|| log.append(&group(1, 3, 10)).expect("an append"));
        arrivals.recv_timeout(PATIENCE).expect("the append reaches its sync");
        let written = Folder::of(dir.path()).used(&segment(1));
        assert!(written > common::SEGMENT_HEADER_BYTES, "the group is in the file");
        assert_eq!((reader.last(), reader.read_after(0, usize::MAX).expect("a read")), (0, vec![]));
        go.send(()).expect("the writer waits");
    });
    assert_eq!((reader.last(), reader.read_after(0, usize::MAX).expect("a read")), (3, group(1, 3, 10)));
}

#[test]
fn what_opening_finds_unacknowledged_is_written_again_before_it_is_served() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, _) = open(dir.path());
    log.append(&group(1, 3, 10)).expect("an append");
    let before = Folder::of(dir.path());
    log.append(&group(4, 6, 10)).expect("an append");
    let after = Folder::of(dir.path());
    drop(log);
    after.with("watermark", |bytes| bytes.clone_from(&before.0["watermark"])).write(dir.path());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let seen = Arc::clone(&seen);
        move |op: &DiskOp<'_>| {
            let name = segment(1);
            let mut seen = seen.lock().expect("no test panics here");
            match op {
                DiskOp::Write { file, offset, bytes } if is(file, &name) => seen.push(Some((*offset, bytes.to_vec()))),
                DiskOp::Sync(file) if is(file, &name) => seen.push(None),
                _ => {}
            }
            Ok(())
        }
    };
    let (_log, report) = EmbeddedLog::open(dir.path(), hooked(hook)).expect("the log opens");
    assert_eq!((report.last, report.torn), (6, None));
    let (start, end) = (before.used(&segment(1)), after.used(&segment(1)));
    let expected = (start as u64, after.0[&segment(1)][start..end].to_vec());
    assert_eq!(*seen.lock().expect("no test panics here"), [Some(expected), None]);
}
