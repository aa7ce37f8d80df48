//! Shared logs: the engine in memory, writers that lose answers and race, and copies that follow.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::Chance;
use dovetail_log::conformance::{self, shared::InMemory};
use dovetail_log::shared::{
    Beat, CopyError, Copying, Engine, Entry, Follow, Followed, Group, Hear, LogIdentity, LostPut, MemoryEngine,
    Position, PutError, ReplicatedLog, SharedAppendError, SharedReadError, Succession, TakeOverError, Term, TermWriter,
    WriterId, take_over,
};
use dovetail_log::{AppendError, Log, LogReader, MemoryLog, Record, TrimError};

const PATIENCE: Duration = Duration::from_secs(10);

fn engine(bytes_max: usize) -> MemoryEngine {
    engine_with(bytes_max, 1 << 20)
}

fn engine_with(bytes_max: usize, group_bytes_max: usize) -> MemoryEngine {
    let identity = LogIdentity { cluster: "test".to_owned(), log_id: 1, begins_after: 0 };
    MemoryEngine::new(identity, bytes_max, group_bytes_max)
}

fn begin(engine: &MemoryEngine, seen: Option<Position>, writer: u128) -> TermWriter {
    take_over(Box::new(engine.clone()), seen, WriterId(writer), "here", PATIENCE).expect("nobody else takes over")
}

fn replicated<C: Log>(engine: &MemoryEngine, seen: Option<Position>, writer: u128, copy: C) -> ReplicatedLog<C> {
    let copying = Copying::begin(&mut engine.clone(), copy).expect("it is a copy");
    copying.take_over(begin(engine, seen, writer), PATIENCE).expect("the log is whole")
}

fn records(throughs: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    throughs.map(|through| Record::new(through, vec![through as u8; 50])).collect()
}

fn read(log: &dyn Log) -> Vec<Record> {
    log.reader().read_after(log.floor(), usize::MAX).expect("it is kept")
}

#[test]
fn the_engine_in_memory_conforms() {
    conformance::shared::check(&mut InMemory::default());
}

/// A new shared log for each, with a writer.
struct Replicated;

impl conformance::Fixture for Replicated {
    fn empty(&mut self) -> Box<dyn Log> {
        Box::new(replicated(&engine(usize::MAX), None, 1, MemoryLog::new()))
    }

    fn reopen(&mut self, _: Box<dyn Log>) -> Option<Box<dyn Log>> {
        None
    }
}

#[test]
fn a_shared_log_with_its_copy_conforms_as_a_log() {
    conformance::check(&mut Replicated);
}

#[test]
fn a_standby_has_what_the_writer_wrote_and_goes_on_with_it() {
    let engine = engine(usize::MAX);
    let mut active = replicated(&engine, None, 1, MemoryLog::new());
    let mut standby = Copying::begin(&mut engine.clone(), MemoryLog::new()).unwrap();
    active.append(&records(1..=10)).unwrap();
    active.append(&records(11..=12)).unwrap();
    // It has followed some of it.
    let seen = match standby.step(PATIENCE).unwrap() {
        Followed::Term(term) => Some(term.at),
        other => panic!("{other:?}"),
    };
    standby.step(PATIENCE).unwrap();
    assert_eq!((standby.read().through(), standby.copy().last()), (10, 10));
    let mut next = standby.take_over(begin(&engine, seen, 2), PATIENCE).unwrap();
    assert_eq!(read(&next), records(1..=12), "it has all that was before its term");
    next.append(&records(13..=13)).unwrap();
    assert!(matches!(active.append(&records(13..=14)), Err(AppendError::Fenced)));
    assert_eq!(active.last(), 12, "what was refused is not in the copy");
    let over = active.append(&records(13..=14)).unwrap_err();
    assert_eq!(over.to_string(), "nothing more is appended: another writer has taken over");
    assert_eq!(read(&next), records(1..=13));
}

#[test]
fn a_copy_that_lags_goes_on_and_one_of_another_log_is_refused() {
    let shared = engine(usize::MAX);
    let mut active = replicated(&shared, None, 1, MemoryLog::new());
    active.append(&records(1..=3)).unwrap();
    active.append(&records(4..=9)).unwrap();
    // It has lost its end in a crash.
    let mut torn = MemoryLog::new();
    torn.append(&records(1..=3)).unwrap();
    let mut copying = Copying::begin(&mut shared.clone(), torn).unwrap();
    while copying.step(Duration::ZERO).unwrap() != Followed::Quiet {}
    assert_eq!(read(&copying.into_copy()), records(1..=9));
    for last in [5, 10] {
        let mut other = MemoryLog::new();
        other.append(&records(1..=last)).unwrap();
        let refused = Copying::begin(&mut shared.clone(), other).unwrap_err();
        assert_eq!(refused, SharedReadError::AnotherLog { through: last, last: 9 });
        let told = format!("no group of the shared log ends with {last}, as the copy does; the log ends with 9");
        assert_eq!(refused.to_string(), told);
    }
}

#[test]
fn a_copy_on_disk_goes_on_after_a_restart_with_what_another_wrote_meanwhile() {
    let (dir, shared) = (common::fast_dir(), engine(usize::MAX));
    let mut first = replicated(&shared, None, 1, common::open(dir.path()).0);
    first.append(&records(1..=5)).unwrap();
    let seen = Some(first.writer().term().at);
    drop(first);
    let mut other = replicated(&shared, seen, 2, MemoryLog::new());
    other.append(&records(6..=8)).unwrap();
    let seen = Some(other.writer().term().at);
    let mut again = replicated(&shared, seen, 3, common::open(dir.path()).0);
    assert_eq!(read(&again), records(1..=8));
    again.append(&records(9..=9)).unwrap();
    drop(again);
    assert_eq!(common::read_all(&common::open(dir.path()).0), records(1..=9));
}

/// Gives what it is told to, and then one thing for ever.
struct Told(Vec<Followed>, Followed);

impl Follow for Told {
    fn next(&mut self, _: Duration) -> Result<Followed, SharedReadError> {
        Ok(if self.0.is_empty() { self.1.clone() } else { self.0.remove(0) })
    }
}

/// An engine whose readers are told that.
struct Lying(MemoryEngine, Vec<Followed>, Followed);

impl Engine for Lying {
    fn another(&self) -> Box<dyn Engine> {
        self.0.another()
    }
    fn identity(&self) -> &LogIdentity {
        self.0.identity()
    }
    fn group_bytes_max(&self) -> usize {
        self.0.group_bytes_max()
    }
    fn put_group(&mut self, expects: Position, term: Position, group: &Group) -> Result<Position, PutError> {
        self.0.put_group(expects, term, group)
    }
    fn put_term(&mut self, seen: Option<Position>, writer: WriterId, address: &str) -> Result<Position, PutError> {
        self.0.put_term(seen, writer, address)
    }
    fn newest_term(&mut self) -> Result<Option<Term>, SharedReadError> {
        self.0.newest_term()
    }
    fn entry_after(&mut self, after: Position) -> Result<Option<(Position, Entry)>, SharedReadError> {
        self.0.entry_after(after)
    }
    fn trim(&mut self, through: Position) -> Result<Position, SharedReadError> {
        self.0.trim(through)
    }
    fn find(&mut self, through: u64) -> Result<Position, SharedReadError> {
        self.0.find(through)
    }
    fn follow(&self, _: Position) -> Box<dyn Follow> {
        Box::new(Told(self.1.clone(), self.2.clone()))
    }
    fn hear(&self) -> Box<dyn Hear> {
        self.0.hear()
    }
    fn beat(&mut self, beat: &Beat) {
        self.0.beat(beat);
    }
}

#[test]
fn a_copy_takes_nothing_of_a_log_that_breaks_its_rules() {
    let term = |at| Followed::Term(Term { at: Position(at), writer: WriterId(1), address: String::new() });
    let group = |at, term, throughs: std::ops::RangeInclusive<u64>| Followed::Group {
        at: Position(at),
        term: Position(term),
        group: Group { after: throughs.start() - 1, records: records(throughs) },
    };
    for (then, told) in [
        (group(4, 1, 4..=5), "at @4 the shared log goes on after 3, but 2 was the last record before"),
        (group(4, 3, 3..=3), "the shared log is damaged at @4: a group is not of the term before it"),
        (group(2, 1, 3..=3), "the shared log is damaged at @2: an entry comes again, or too late"),
        (term(2), "the shared log is damaged at @2: an entry comes again, or too late"),
    ] {
        let followed = vec![term(1), group(2, 1, 1..=2), then];
        let mut copying =
            Copying::begin(&mut Lying(engine(usize::MAX), followed, Followed::Quiet), MemoryLog::new()).unwrap();
        copying.step(PATIENCE).unwrap();
        copying.step(PATIENCE).unwrap();
        let error = copying.step(PATIENCE).unwrap_err();
        assert!(matches!(error, CopyError::Read(_)));
        assert_eq!((error.to_string(), copying.copy().last()), (told.to_owned(), 2));
    }
}

#[test]
fn what_an_engine_takes_in_parts_is_taken_once_though_it_was_full_in_between() {
    let engine = engine_with(1_000, 300);
    let mut log = replicated(&engine, None, 1, MemoryLog::new());
    let all = records(1..=30);
    let full = log.append(&all).unwrap_err();
    assert!(matches!(full, AppendError::EngineFull { .. }), "{full}");
    let taken = log.last();
    assert!(taken > 0 && taken < 30);
    while log.last() < 30 {
        let last = log.last();
        let through = log.writer().engine().find(last).unwrap();
        log.writer().engine().trim(through).unwrap();
        _ = log.append(&all);
    }
    assert_eq!(read(&log), all);
    let large = log.append(&[Record::new(31, vec![0; 300])]).unwrap_err();
    assert!(matches!(large, AppendError::RecordTooLarge { through: 31, bytes: 300, .. }), "{large}");
    log.append(&records(31..=31)).unwrap();
}

#[test]
fn who_gives_up_on_an_engine_that_does_not_answer_appends_nothing_more() {
    let engine = engine(usize::MAX);
    let copying = Copying::begin(&mut engine.clone(), MemoryLog::new()).unwrap();
    let writer = take_over(Box::new(engine.clone()), None, WriterId(1), "here", Duration::ZERO).unwrap();
    let mut asked = 0;
    let mut log = copying.take_over(writer, PATIENCE).unwrap().on_unanswered(move |why| {
        assert_eq!(why, "the request was lost");
        asked += 1;
        asked < 3
    });
    (0..2).for_each(|_| engine.lose(LostPut::Request));
    log.append(&records(1..=1)).unwrap();
    engine.lose(LostPut::Request);
    for _ in 0..2 {
        let over = log.append(&records(2..=2)).unwrap_err();
        assert_eq!(over.to_string(), "nothing more is appended: the log does not answer: the request was lost");
    }
    assert_eq!(read(&log), records(1..=1));
}

#[test]
fn a_writer_that_cannot_write_its_copy_puts_nothing_twice() {
    let engine = engine(usize::MAX);
    let mut log = replicated(&engine, None, 1, MemoryLog::with_record_bytes_max(10));
    let refused = log.append(&records(1..=1)).unwrap_err();
    assert!(matches!(refused, AppendError::RecordTooLarge { bytes: 50, bytes_max: 10, .. }), "{refused}");
    let over = log.append(&records(1..=1)).unwrap_err();
    let told = "nothing more is appended: the copy of what was appended: record through 1 has 50 bytes";
    assert!(over.to_string().starts_with(told), "{over}");
    // Whoever goes on has it, once.
    let seen = Some(log.writer().term().at);
    assert_eq!(read(&replicated(&engine, seen, 2, MemoryLog::new())), records(1..=1));
}

#[test]
fn a_writer_that_does_not_read_of_its_term_says_so() {
    let engine = engine(usize::MAX);
    let mut lying = Lying(engine.clone(), Vec::new(), Followed::Quiet);
    let copying = Copying::begin(&mut lying, MemoryLog::new()).unwrap();
    let error = copying.take_over(begin(&engine, None, 1), Duration::from_millis(20)).unwrap_err();
    let told = "the log does not answer: the term began at @1, and nothing comes after @0";
    assert_eq!(error.to_string(), told);
}

/// A process that writes now and then, and what it knows.
struct Process {
    id: u128,
    writer: Option<TermWriter>,
    /// What it appended and was not answered for.
    unanswered: Option<Group>,
    /// The last event before its term, and of it.
    through: u64,
}

/// What became of a group: events `(after, through]` of a term.
type Fates = BTreeMap<(Position, u64, u64), bool>;

#[test]
fn whatever_is_lost_or_late_what_was_answered_for_is_there_once_and_what_was_fenced_is_not() {
    for seed in 0..400 {
        race(seed);
    }
}

fn race(seed: u64) {
    let mut chance = Chance(seed);
    let engine = engine(usize::MAX);
    let mut processes: Vec<Process> =
        (0..3).map(|id| Process { id, writer: None, unanswered: None, through: 0 }).collect();
    let mut fates = Fates::new();
    for _ in 0..150 {
        if chance.below(3) == 0 {
            let lost = [LostPut::Request, LostPut::Answer, LostPut::Late][chance.below(3)];
            engine.lose(lost);
        }
        if chance.below(5) == 0 {
            engine.arrive();
        }
        engine.stale(chance.below(6) / 5);
        let process = &mut processes[chance.below(3)];
        match &mut process.writer {
            Some(writer) => step(process.through, &mut process.unanswered, writer, &mut fates, &mut chance)
                .map(|through| process.through = through)
                .unwrap_or_else(|| process.writer = None),
            None if chance.below(4) == 0 => take(process, &engine),
            None => {}
        }
    }
    engine.arrive();
    let mut follow = engine.follow(Position::ZERO);
    let (mut read, mut there) = (Succession::after(Position::ZERO, 0), Fates::new());
    loop {
        let followed = follow.next(Duration::ZERO).expect("nothing was trimmed");
        read.on_followed(&followed).expect("terms and groups follow one another");
        match followed {
            Followed::Term(_) => {}
            Followed::Group { term, group, .. } => {
                let again = there.insert((term, group.after, group.through()), true);
                assert!(again.is_none(), "seed {seed}: {group:?} is there twice");
            }
            Followed::Quiet => break,
        }
    }
    for (group, taken) in fates {
        assert_eq!(there.contains_key(&group), taken, "seed {seed}: {group:?}");
    }
}

/// Appends something, or what is not answered for. None when its term is over.
fn step(
    through: u64,
    unanswered: &mut Option<Group>,
    writer: &mut TermWriter,
    fates: &mut Fates,
    chance: &mut Chance,
) -> Option<u64> {
    let group = unanswered.take().unwrap_or_else(|| {
        let records = records(through + 1..=through + 1 + chance.below(3) as u64);
        Group { after: through, records }
    });
    let key = (writer.term().at, group.after, group.through());
    match writer.append(&group) {
        Ok(_) => {
            fates.insert(key, true);
            Some(group.through())
        }
        Err(SharedAppendError::Unknown { .. }) => {
            *unanswered = Some(group);
            Some(through)
        }
        Err(SharedAppendError::Fenced) => {
            fates.insert(key, false);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Tries to become the writer, once.
fn take(process: &mut Process, engine: &MemoryEngine) {
    let seen = engine.clone().newest_term().expect("it is known").map(|term| term.at);
    let taken = take_over(Box::new(engine.clone()), seen, WriterId(process.id), "here", Duration::ZERO);
    match taken {
        Ok(writer) => {
            // All that is before its term.
            let mut follow = engine.follow(Position::ZERO);
            let mut through = 0;
            loop {
                match follow.next(Duration::ZERO).expect("nothing was trimmed") {
                    Followed::Group { group, .. } => through = group.through(),
                    Followed::Term(term) if term.at == writer.term().at => break,
                    Followed::Term(_) => {}
                    other => panic!("{other:?} before its term"),
                }
            }
            (process.through, process.unanswered, process.writer) = (through, None, Some(writer));
        }
        Err(TakeOverError::Lost { .. } | TakeOverError::Unknown { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// A copy whose disk is full, for so many appends.
struct FullFor(usize, MemoryLog);

impl Log for FullFor {
    fn append(&mut self, records: &[Record]) -> Result<(), AppendError> {
        if self.0 > 0 {
            self.0 -= 1;
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(AppendError::DiskFull { file: "copy".into(), source });
        }
        self.1.append(records)
    }
    fn trim(&mut self, through: u64) -> Result<u64, TrimError> {
        self.1.trim(through)
    }
    fn last(&self) -> u64 {
        self.1.last()
    }
    fn floor(&self) -> u64 {
        self.1.floor()
    }
    fn reader(&self) -> Box<dyn LogReader> {
        self.1.reader()
    }
}

#[test]
fn a_copy_whose_disk_was_full_goes_on_with_what_it_had_no_room_for() {
    let mut engine = engine(usize::MAX);
    let mut active = replicated(&engine, None, 1, MemoryLog::new());
    active.append(&records(1..=3)).unwrap();
    active.append(&records(4..=5)).unwrap();
    let mut copying = Copying::begin(&mut engine, FullFor(3, MemoryLog::new())).unwrap();
    assert!(matches!(copying.step(PATIENCE), Ok(Followed::Term(_))));
    for _ in 0..3 {
        assert!(matches!(copying.step(PATIENCE), Err(CopyError::Append(AppendError::DiskFull { .. }))));
    }
    while copying.step(Duration::ZERO).unwrap() != Followed::Quiet {}
    assert_eq!(read(&copying.into_copy()), records(1..=5));
}
