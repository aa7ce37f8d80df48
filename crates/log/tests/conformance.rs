//! Both logs pass the same checks.

mod common;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Chance;
use dovetail_log::conformance::{self, Fixture, Volatile};
use dovetail_log::embedded::{DiskHook, DiskOp};
use dovetail_log::{EmbeddedLog, Log, MemoryLog, Options};
use tempfile::TempDir;

#[test]
fn the_log_in_memory_conforms() {
    conformance::check(&mut Volatile(|| Box::new(MemoryLog::new()) as Box<dyn Log>));
}

#[test]
fn the_embedded_log_conforms() {
    conformance::check(&mut Embedded::new(Options::new("test")));
}

#[test]
fn the_embedded_log_conforms_with_segments_so_small_that_most_appends_start_one() {
    conformance::check(&mut Embedded::new(Options { segment_bytes: 8192, ..Options::new("test") }));
}

/// Every operation takes its time, another each time; the thread that prepares segments is overtaken and overtakes.
#[test]
fn the_embedded_log_conforms_on_a_slow_disk() {
    let disk_hook: Option<Arc<dyn DiskHook>> = Some(Arc::new(SlowDisk(Mutex::new(Chance(1)))));
    conformance::check(&mut Embedded::new(Options { segment_bytes: 8192, disk_hook, ..Options::new("test") }));
}

struct SlowDisk(Mutex<Chance>);

impl DiskHook for SlowDisk {
    fn before(&self, _op: &DiskOp<'_>) -> io::Result<()> {
        let micros = self.0.lock().expect("no test panics here").below(100);
        std::thread::sleep(Duration::from_micros(micros as u64));
        Ok(())
    }
}

struct Embedded {
    options: Options,
    dirs: Vec<TempDir>,
}

impl Embedded {
    fn new(options: Options) -> Self {
        Self { options, dirs: Vec::new() }
    }

    fn open(&self) -> Box<dyn Log> {
        let dir = self.dirs.last().expect("a folder was made");
        let (log, report) = EmbeddedLog::open(dir.path(), self.options.clone()).expect("the log opens");
        assert_eq!(report.torn, None);
        Box::new(log)
    }
}

impl Fixture for Embedded {
    fn empty(&mut self) -> Box<dyn Log> {
        self.dirs.push(tempfile::tempdir().expect("a temporary folder"));
        self.open()
    }

    fn reopen(&mut self, log: Box<dyn Log>) -> Option<Box<dyn Log>> {
        drop(log);
        Some(self.open())
    }
}
