//! A process that ends at any of the named places loses nothing it acknowledged, and goes on when it is started again.
//!
//! `DOVETAIL_CRASH_ROUNDS` says how often each place is visited (3), each time one visit later where there are more.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{fast_dir, group, options};
use dovetail_log::checkpoint::{CheckpointOptions, Checkpoints, RestoreError};
use dovetail_log::{EmbeddedLog, Log, Record, crash};

const FOLDER: &str = "DOVETAIL_LOG_CRASH_FOLDER";
const ROUNDS: &str = "DOVETAIL_CRASH_ROUNDS";

fn log_dir(dir: &Path) -> PathBuf {
    dir.join("data/log")
}

fn checkpoints_dir(dir: &Path) -> PathBuf {
    dir.join("data/checkpoints")
}

/// What the child says it was told, one line each.
fn say(what: &str, number: u64) {
    let mut out = std::io::stdout();
    writeln!(out, "{what} {number}").and_then(|()| out.flush()).expect("someone listens");
}

struct Child {
    dir: PathBuf,
    log: EmbeddedLog,
    checkpoints: Checkpoints,
}

impl Child {
    fn open(dir: &Path) -> Self {
        let (log, _) = EmbeddedLog::open(log_dir(dir), options()).expect("the log opens");
        let (checkpoints, _) = Checkpoints::open(checkpoints_dir(dir), CheckpointOptions::new(log.log_id()))
            .expect("the checkpoints open");
        Self { dir: dir.to_owned(), log, checkpoints }
    }

    fn append(&mut self, records: u64, bytes: usize) {
        let first = self.log.last() + 1;
        self.log.append(&group(first, first + records - 1, bytes)).expect("an append");
        say("acknowledged", self.log.last());
    }

    /// `chunks` chunks of a mebibyte behind one that says what it is of.
    fn checkpoint(&mut self, chunks: usize, commit: bool) {
        self.append(1, 10);
        let through = self.log.last();
        say("checkpointing", through);
        let mut writer = self.checkpoints.begin(through).expect("it begins");
        writer.chunk(&through.to_le_bytes()).expect("a chunk");
        (0..chunks).for_each(|_| writer.chunk(&vec![through as u8; 1 << 20]).expect("a chunk"));
        if commit {
            writer.commit().expect("a checkpoint");
            say("checkpoint", through);
        }
    }

    fn trim(&mut self) {
        let point = self.checkpoints.trim_point().expect("there is a checkpoint");
        say("trimming", point);
        say("trimmed", self.log.trim(point).expect("a trim"));
    }

    /// Closes both, has something done to the folder, and opens them again.
    fn reopen(self, change: impl FnOnce(&Path)) -> Self {
        let Self { dir, log, checkpoints } = self;
        log.close().expect("the log closes");
        drop(checkpoints);
        change(&dir);
        Self::open(&dir)
    }
}

fn newest_segment(dir: &Path) -> PathBuf {
    let files = fs::read_dir(log_dir(dir)).expect("the folder").map(|entry| entry.expect("an entry").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).max().expect("a segment")
}

/// Not a test in itself: what the other runs in a process of its own. It comes by every place.
#[test]
fn the_process_that_ends() {
    let Some(dir) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let mut child = Child::open(&dir);
    (0..6).for_each(|_| child.append(3, 1000));
    let mut oldest = None;
    for _ in 0..3 {
        child.append(3, 1000);
        child.checkpoint(0, true);
        oldest = fs::read_dir(log_dir(&dir)).expect("the folder").map(|entry| entry.expect("an entry").path()).min();
        let bytes = fs::read(oldest.as_ref().expect("a segment")).expect("a segment");
        child.trim();
        fs::write(dir.join("trimmed"), bytes).expect("a file");
    }
    child.checkpoint(0, false);
    // A trim that was not finished, and a checkpoint.
    child = child.reopen(|dir| {
        // Unless the last trim found nothing to drop: then this is a segment that is in use.
        let oldest = oldest.filter(|path| !path.exists());
        if let Some(path) = oldest {
            fs::copy(dir.join("trimmed"), path).expect("a file");
        }
        fs::write(checkpoints_dir(dir).join("unfinished"), b"half of it").expect("a file");
    });
    // An append that was not finished: rubbish at the end of a segment that is almost empty.
    child.append(1, 4000);
    child.append(1, 100);
    child = child.reopen(|dir| {
        let file = fs::File::options().write(true).open(newest_segment(dir)).expect("a segment");
        let end = file.metadata().expect("its length").len();
        file.write_all_at(&[0xaa; 50], end - 50).expect("a write");
    });
    // A watermark that power loss took back: what follows it is intact, and not known to be durable.
    child.append(1, 100);
    let watermark = fs::read(log_dir(&dir).join("watermark")).expect("the watermark");
    child.append(1, 100);
    child = child.reopen(|dir| fs::write(log_dir(dir).join("watermark"), watermark).expect("a file"));
    // What is synced in pieces. Started again, it need not be done again.
    if std::env::var_os(crash::VARIABLE).is_some() {
        child.append(1, 9 << 20);
        child.checkpoint(33, true);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let later = std::env::var(crash::VARIABLE).is_ok_and(|name| name.starts_with("log.watermark.sync-later"));
    while later && Instant::now() < deadline {
        child.append(1, 10);
        // The place is come to about once a second. Each append here is a segment, which the log keeps open.
        std::thread::sleep(Duration::from_millis(10));
    }
    child.log.close().expect("the log closes");
    say("finished", 0);
}

/// The highest number said of `what`, 0 when nothing was.
fn said(output: &Output, what: &str) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    // The first line of a test's output has its name before it.
    let numbers = text.lines().filter_map(|line| line.rsplit_once(&format!("{what} "))?.1.parse().ok());
    numbers.max().unwrap_or(0)
}

fn run(dir: &Path, point: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "the_process_that_ends", "--nocapture"]).env(FOLDER, dir).env_remove(crash::VARIABLE);
    if let Some(point) = point {
        command.env(crash::VARIABLE, point).env(crash::TEST_VARIABLE, "1");
    }
    command.output().expect("a child")
}

fn check(dir: &Path, output: &Output, what: &str) {
    let (acknowledged, trimmed, done) =
        (said(output, "acknowledged"), said(output, "trimmed"), said(output, "checkpoint"));
    let (log, report) = EmbeddedLog::open(log_dir(dir), options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (floor, last) = (log.floor(), log.last());
    assert!(last >= acknowledged, "{what}: {acknowledged} was acknowledged; {report:?}");
    assert!(floor >= trimmed, "{what}: {trimmed} was trimmed; {report:?}");
    let records = log.reader().read_after(floor, usize::MAX).expect("a read");
    let intact = |record: &Record| record.bytes.iter().all(|byte| *byte == record.through as u8 | 1);
    assert!(records.iter().all(intact), "{what}: records are as they were written");
    assert!(
        records.iter().map(|record| record.through).eq(floor + 1..=last),
        "{what}: every record from {floor} to {last} is there"
    );
    let opened = Checkpoints::open(checkpoints_dir(dir), CheckpointOptions::new(log.log_id()));
    let (mut checkpoints, _) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    let loaded = checkpoints.load(floor..=last, |reader| {
        let of = reader.next_chunk()?.map(|chunk| u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        Ok::<_, RestoreError>(of)
    });
    let loaded = loaded.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(loaded.passed_over.is_empty(), "{what}: {:?}", loaded.passed_over);
    let through = loaded.state.map_or(0, |(through, of)| {
        assert_eq!(of, Some(through), "{what}: a checkpoint is of what its name says");
        through
    });
    assert!(through >= done, "{what}: the checkpoint through {done} was done, and there is {through}");
}

#[test]
fn a_process_that_ends_at_any_place_loses_nothing_it_acknowledged() {
    let rounds: u32 = std::env::var(ROUNDS).map_or(3, |rounds| rounds.parse().expect("a number"));
    for point in crash::ALL {
        let mut visits = u32::MAX;
        for round in 0..rounds {
            let dir = fast_dir();
            let visit = round % visits + 1;
            let mut output = run(dir.path(), Some(&format!("{point}:{visit}")));
            let what = format!("{point}, visit {visit}");
            if said_finished(&output) {
                assert!(visit > 1, "{point} is never reached");
                visits = visit - 1;
                continue;
            }
            assert!(!output.status.success() && aborted(&output), "{what}: {}", text(&output));
            check(dir.path(), &output, &what);
            let again = run(dir.path(), None);
            assert!(said_finished(&again), "{what}, started again: {}", text(&again));
            output.stdout.extend(again.stdout);
            check(dir.path(), &output, &format!("{what}, started again"));
        }
    }
}

fn said_finished(output: &Output) -> bool {
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("finished 0")
}

fn aborted(output: &Output) -> bool {
    const SIGABRT: i32 = 6;
    std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(SIGABRT)
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_place_has_one_name() {
    let mut names = crash::ALL.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), crash::ALL.len());
}
