//! What every log has to do, as checks that panic with the sentence that does not hold.
//!
//! An implementation's tests call [`check`] with a way to make empty logs and, when it outlives its process, a way to
//! open one again. Crashes and damage are not here: how to cause them is each implementation's own knowledge.
//!
//! ```
//! use dovetail_log::{Log, MemoryLog, conformance};
//!
//! conformance::check(&mut conformance::Volatile(|| Box::new(MemoryLog::new()) as Box<dyn Log>));
//! ```

pub mod shared;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{AppendError, ReadError};
use crate::log::{Log, LogReader, Record};

/// How the checks get logs.
pub trait Fixture {
    /// An empty log, which shares nothing with those before.
    fn empty(&mut self) -> Box<dyn Log>;

    /// The log last made by [`Fixture::empty`], opened again after `log`, its writer, ended. None when it cannot be.
    fn reopen(&mut self, log: Box<dyn Log>) -> Option<Box<dyn Log>>;
}

/// A fixture for logs that end with their process.
#[derive(Debug)]
pub struct Volatile<F>(
    /// Makes an empty log.
    pub F,
);

impl<F: FnMut() -> Box<dyn Log>> Fixture for Volatile<F> {
    fn empty(&mut self) -> Box<dyn Log> {
        (self.0)()
    }

    fn reopen(&mut self, _log: Box<dyn Log>) -> Option<Box<dyn Log>> {
        None
    }
}

/// Runs every check. Panics with the first sentence that does not hold.
pub fn check(fixture: &mut dyn Fixture) {
    an_empty_log_has_nothing_to_read(&*fixture.empty());
    records_come_back_in_order_and_unchanged(&mut *fixture.empty());
    an_empty_append_changes_nothing(&mut *fixture.empty());
    reading_goes_on_after_any_position(&mut *fixture.empty());
    a_read_stays_near_its_limit_but_is_never_empty(&mut *fixture.empty());
    a_record_that_does_not_come_after_the_last_is_refused(&mut *fixture.empty());
    a_refused_append_leaves_nothing(&mut *fixture.empty());
    the_highest_id_can_be_stored(&mut *fixture.empty());
    readers_follow_the_writer(&mut *fixture.empty());
    a_reader_outlives_its_writer(fixture.empty());
    trimming_forgets_nothing_above(&mut *fixture.empty());
    trimming_everything_keeps_the_last_id(&mut *fixture.empty());
    a_reader_that_is_overtaken_by_a_trim_is_told(&mut *fixture.empty());
    let log = fixture.empty();
    a_log_opened_again_goes_on(fixture, log);
    let log = fixture.empty();
    a_trimmed_log_opened_again_goes_on(fixture, log);
}

fn an_empty_log_has_nothing_to_read(log: &dyn Log) {
    let reader = log.reader();
    assert_eq!((log.last(), reader.last()), (0, 0), "an empty log has no last record");
    assert_eq!((log.floor(), reader.floor()), (0, 0), "an empty log can be read from the beginning");
    for after in [0, 1, u64::MAX] {
        assert_eq!(read(&*reader, after, usize::MAX), [], "an empty log has nothing to read after {after}");
    }
}

fn records_come_back_in_order_and_unchanged(log: &mut dyn Log) {
    let records = [record(1, 10), record(2, 0), record(40, 70_000), record(41, 1)];
    append(log, &records[..1]);
    append(log, &records[1..]);
    assert_eq!(log.last(), 41, "the last record is the last one appended");
    assert_eq!(log.reader().last(), 41, "a reader knows the last record");
    assert_eq!(read(&*log.reader(), 0, usize::MAX), records, "records come back in order and unchanged");
}

fn an_empty_append_changes_nothing(log: &mut dyn Log) {
    append(log, &[]);
    append(log, &[record(5, 5)]);
    append(log, &[]);
    assert_eq!(read(&*log.reader(), 0, usize::MAX), [record(5, 5)], "an empty append changes nothing");
}

fn reading_goes_on_after_any_position(log: &mut dyn Log) {
    let records: Vec<_> = (1..=600).map(|n| record(n * 3, (n % 7) as usize * 100)).collect();
    for group in records.chunks(64) {
        append(log, group);
    }
    let reader = log.reader();
    for after in [0, 1, 2, 3, 191, 192, 193, 194, 900, 1797, 1798, 1799, 1800, 1801, u64::MAX] {
        let expected: Vec<_> = records.iter().filter(|record| record.through > after).cloned().collect();
        assert_eq!(
            read(&*reader, after, usize::MAX),
            expected,
            "everything after {after} is read, also between records"
        );
    }
    let mut after = 0;
    let mut followed = Vec::new();
    while after < reader.last() {
        followed.extend(read(&*reader, after, 5000));
        after = followed.last().map_or(0, |record| record.through);
    }
    assert_eq!(followed, records, "reading on from the last record read gives each record once");
}

fn a_read_stays_near_its_limit_but_is_never_empty(log: &mut dyn Log) {
    let records: Vec<_> = (1..=100).map(|n| record(n, 1000)).collect();
    append(log, &records);
    let reader = log.reader();
    for bytes_max in [0, 1, 999] {
        assert_eq!(
            read(&*reader, 7, bytes_max),
            [record(8, 1000)],
            "a read of {bytes_max} bytes still gives one record"
        );
    }
    let bytes: usize = read(&*reader, 0, 10_000).iter().map(|record| record.bytes.len()).sum();
    assert!((5000..=11_000).contains(&bytes), "a read of about 10000 bytes gave {bytes}");
}

fn a_record_that_does_not_come_after_the_last_is_refused(log: &mut dyn Log) {
    let refused = |log: &mut dyn Log, records: &[Record]| match log.append(records) {
        Err(AppendError::NotIncreasing { previous, through }) => (previous, through),
        other => panic!("records that are not increasing gave {other:?}"),
    };
    assert_eq!(refused(log, &[record(0, 1)]), (0, 0), "the first record is after 0");
    append(log, &[record(10, 1)]);
    assert_eq!(refused(log, &[record(10, 1)]), (10, 10), "a record cannot be appended twice");
    assert_eq!(refused(log, &[record(9, 1)]), (10, 9), "a record cannot come before the last");
    assert_eq!(refused(log, &[record(11, 1), record(11, 1)]), (11, 11), "one append is increasing in itself");
}

fn a_refused_append_leaves_nothing(log: &mut dyn Log) {
    append(log, &[record(10, 1)]);
    log.append(&[record(11, 1), record(12, 1), record(12, 1)]).expect_err("not increasing");
    assert_eq!((log.last(), log.reader().last()), (10, 10), "a refused append does not move the last record");
    append(log, &[record(11, 2)]);
    assert_eq!(read(&*log.reader(), 0, usize::MAX), [record(10, 1), record(11, 2)], "a refused append leaves nothing");
}

fn the_highest_id_can_be_stored(log: &mut dyn Log) {
    append(log, &[record(1, 1), record(u64::MAX, 1)]);
    assert_eq!(read(&*log.reader(), u64::MAX - 1, usize::MAX), [record(u64::MAX, 1)], "the highest id can be stored");
    assert_eq!(read(&*log.reader(), u64::MAX, usize::MAX), [], "nothing comes after the highest id");
}

fn readers_follow_the_writer(log: &mut dyn Log) {
    const LAST: u64 = 2000;
    let appending = AtomicU64::new(0);
    let readers: Vec<_> = (0..3).map(|_| log.reader()).collect();
    std::thread::scope(|scope| {
        for (n, reader) in readers.iter().enumerate() {
            let appending = &appending;
            scope.spawn(move || {
                let mut after = 0;
                while after < LAST {
                    let known = reader.last();
                    let records = read(&**reader, after, 500 * (n + 1));
                    assert!(known <= after || !records.is_empty(), "a reader can read what it says is there");
                    for found in records {
                        assert_eq!(found, record(after + 1, 20), "a reader sees each record once, in order, unchanged");
                        assert!(
                            found.through <= appending.load(Ordering::SeqCst),
                            "a reader sees only what was appended"
                        );
                        after = found.through;
                    }
                    std::thread::yield_now();
                }
            });
        }
        for first in (1..=LAST).step_by(10) {
            let group: Vec<_> = (first..first + 10).map(|n| record(n, 20)).collect();
            appending.store(first + 9, Ordering::SeqCst);
            append(log, &group);
            assert!(readers.iter().all(|reader| reader.last() == first + 9), "readers see what was acknowledged");
        }
    });
}

fn a_reader_outlives_its_writer(mut log: Box<dyn Log>) {
    append(&mut *log, &[record(1, 100)]);
    let reader = log.reader();
    drop(log);
    assert_eq!(read(&*reader, 0, usize::MAX), [record(1, 100)], "a reader outlives its writer");
}

fn trimming_forgets_nothing_above(log: &mut dyn Log) {
    assert_eq!(trim(log, 5), 0, "trimming an empty log does nothing");
    let records: Vec<_> = (1..=120).map(|n| record(1 << 40 | (n * 10), 900)).collect();
    let reader = log.reader();
    for (n, group) in records.chunks(4).enumerate() {
        append(log, group);
        let through = group[3].through - (n as u64 * 7) % 400;
        let before = log.floor();
        let floor = trim(log, through);
        assert!(before <= floor && floor <= through.max(before), "trimmed through {through}, from {before} to {floor}");
        assert_eq!((log.floor(), reader.floor()), (floor, floor), "writer and readers agree on the floor");
        assert!(floor == 0 || records.iter().any(|record| record.through == floor), "the floor is a record's");
        assert_eq!(trim(log, floor / 2), floor, "trimming through less than the floor does nothing");
        assert_eq!((log.last(), reader.last()), (group[3].through, group[3].through), "trimming keeps the last id");
        let expected = |after| records[..n * 4 + 4].iter().filter(move |record| record.through > after).cloned();
        for after in [floor, floor + 1, through, group[0].through] {
            let expected: Vec<_> = expected(after.max(floor)).collect();
            assert_eq!(read(&*reader, after.max(floor), usize::MAX), expected, "everything above the floor is read");
        }
        if floor > 0 {
            assert_eq!(trimmed(&*reader, floor - 1), (floor - 1, floor), "below the floor nothing is read");
            assert_eq!(trimmed(&*log.reader(), 0), (0, floor), "a trimmed log does not begin at 0");
        }
    }
}

fn trimming_everything_keeps_the_last_id(log: &mut dyn Log) {
    for n in 1..=30 {
        append(log, &[record(n, 1000)]);
    }
    let floor = trim(log, u64::MAX);
    assert!(floor <= 30, "the floor is never above the last record");
    assert_eq!((log.last(), log.reader().last()), (30, 30), "trimming everything keeps the last id");
    assert_eq!(read(&*log.reader(), 30, usize::MAX), [], "nothing comes after the last record");
    log.append(&[record(30, 1)]).expect_err("an id that was trimmed cannot be used again");
    append(log, &[record(31, 1)]);
    assert_eq!(read(&*log.reader(), 30, usize::MAX), [record(31, 1)], "a log goes on after everything was trimmed");
}

fn a_reader_that_is_overtaken_by_a_trim_is_told(log: &mut dyn Log) {
    const LAST: u64 = 2000;
    let readers: Vec<_> = (0..3).map(|_| log.reader()).collect();
    std::thread::scope(|scope| {
        for (n, reader) in readers.iter().enumerate() {
            scope.spawn(move || {
                let mut after = 0;
                while after < LAST {
                    match reader.read_after(after, 300 << (3 * n)) {
                        Ok(records) => {
                            for found in records {
                                assert_eq!(found, record(after + 1, 100), "what is read has no gap, trimmed or not");
                                after = found.through;
                            }
                        }
                        Err(ReadError::Trimmed { after: asked, floor }) => {
                            assert!(asked == after && floor > after, "{floor} is no floor for {after}");
                            after = floor;
                        }
                        Err(error) => panic!("a reader that is overtaken is told so, not: {error}"),
                    }
                    std::thread::yield_now();
                }
            });
        }
        for first in (1..=LAST).step_by(5) {
            append(log, &(first..first + 5).map(|n| record(n, 100)).collect::<Vec<_>>());
            trim(log, first.saturating_sub(20));
        }
    });
}

fn a_log_opened_again_goes_on(fixture: &mut dyn Fixture, mut log: Box<dyn Log>) {
    append(&mut *log, &[record(1, 100), record(7, 0)]);
    let Some(mut log) = fixture.reopen(log) else { return };
    assert_eq!(log.last(), 7, "a log opened again knows its last record");
    log.append(&[record(7, 0)]).expect_err("a log opened again refuses what it has");
    append(&mut *log, &[record(8, 5)]);
    let Some(log) = fixture.reopen(log) else { panic!("a log that was opened again can be opened once more") };
    let records = [record(1, 100), record(7, 0), record(8, 5)];
    assert_eq!(read(&*log.reader(), 0, usize::MAX), records, "a log opened again has every record");
    assert_eq!(read(&*log.reader(), 7, usize::MAX), records[2..], "a log opened again can be read from anywhere");
}

fn a_trimmed_log_opened_again_goes_on(fixture: &mut dyn Fixture, mut log: Box<dyn Log>) {
    let records: Vec<_> = (1..=40).map(|n| record(n * 1_000_000, 900)).collect();
    records.iter().for_each(|record| append(&mut *log, std::slice::from_ref(record)));
    let mut floor = 0;
    for through in [20_000_000, u64::MAX] {
        trim(&mut *log, through);
        floor = log.floor().max(floor);
        let Some(reopened) = fixture.reopen(log) else { return };
        log = reopened;
        assert_eq!((log.floor(), log.last()), (floor, 40_000_000), "a trimmed log opened again has the same bounds");
        let expected: Vec<_> = records.iter().filter(|record| record.through > floor).cloned().collect();
        assert_eq!(read(&*log.reader(), floor, usize::MAX), expected, "a trimmed log opened again has all above");
    }
    append(&mut *log, &[record(40_000_001, 1)]);
    assert_eq!(read(&*log.reader(), 40_000_000, usize::MAX), [record(40_000_001, 1)], "and it goes on");
}

/// A record whose bytes depend on both numbers.
fn record(through: u64, bytes: usize) -> Record {
    Record::new(through, (0..bytes).map(|n| (through as u8).wrapping_add((n * 7) as u8)).collect::<Vec<_>>())
}

fn append(log: &mut dyn Log, records: &[Record]) {
    log.append(records).expect("an append in order is taken");
}

/// Reads until nothing more comes, when `bytes_max` says everything; once otherwise.
fn read(reader: &dyn LogReader, after: u64, bytes_max: usize) -> Vec<Record> {
    reader.read_after(after, bytes_max).expect("what was appended can be read")
}

fn trim(log: &mut dyn Log, through: u64) -> u64 {
    log.trim(through).expect("a log in order can be trimmed")
}

/// The cursor and the floor that a read below the floor speaks of.
fn trimmed(reader: &dyn LogReader, below: u64) -> (u64, u64) {
    match reader.read_after(below, usize::MAX) {
        Err(ReadError::Trimmed { after, floor }) => (after, floor),
        other => panic!("reading after {below}, which is below the floor, gave {other:?}"),
    }
}
