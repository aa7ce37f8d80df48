//! A process that is killed loses nothing it acknowledged.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{Chance, group, read_all};
use dovetail_log::{EmbeddedLog, Log, Options};

const FOLDER: &str = "DOVETAIL_LOG_KILL_FOLDER";

fn options() -> Options {
    Options { segment_bytes: 256 << 10, ..Options::new("test") }
}

/// Groups of 1 to 64 records of about 100 bytes: where one begins follows from where the last one ended.
fn next_group(last: u64) -> Vec<dovetail_log::Record> {
    let mut chance = Chance(last);
    let records = 1 + chance.below(64) as u64;
    group(last + 1, last + records, 50 + chance.below(100))
}

/// Not a test in itself: what `a_killed_writer_loses_nothing_it_acknowledged` runs in a process of its own.
#[test]
fn the_writer_to_be_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let (mut log, _) = EmbeddedLog::open(dir, options()).expect("the log opens");
    let mut out = std::io::stdout();
    loop {
        log.append(&next_group(log.last())).expect("an append");
        writeln!(out, "acknowledged {}", log.last()).and_then(|()| out.flush()).expect("someone listens");
    }
}

#[test]
fn a_killed_writer_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut chance = Chance(1);
    let mut last = 0;
    for round in 0..20 {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["--exact", "the_writer_to_be_killed", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut acknowledged = last;
        let mut take = |line: String| {
            if let Some((_, through)) = line.split_once("acknowledged ") {
                acknowledged = through.parse().expect("a number");
            }
        };
        lines.by_ref().take(5 + chance.below(100)).for_each(|line| take(line.expect("a line")));
        child.kill().expect("a child to kill");
        child.wait().expect("a child that ends");
        lines.map_while(Result::ok).for_each(take);
        let (log, report) = EmbeddedLog::open(dir.path(), options()).expect("a killed process damages nothing");
        assert!(report.last >= acknowledged && acknowledged > last, "round {round}: {acknowledged} of {report:?}");
        let mut expected = Vec::new();
        while expected.len() < report.last as usize {
            expected.extend(next_group(expected.len() as u64));
        }
        assert_eq!(read_all(&log), expected, "round {round}: every group is there whole");
        last = report.last;
    }
}
