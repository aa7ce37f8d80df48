//! What every engine of a shared log has to do, with whatever is lost on the way to it.
//!
//! ```
//! use dovetail_log::conformance::shared::{self, InMemory};
//!
//! shared::check(&mut InMemory::default());
//! ```

use std::thread;
use std::time::Duration;

use crate::log::Record;
use crate::shared::{
    Beat, Engine, Follow, Followed, Group, LogIdentity, LostPut, MemoryEngine, Position, PutError, SharedAppendError,
    SharedReadError, Succession, TakeOverError, Term, TermWriter, WriterId, take_over,
};

/// How long a check waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the checks get engines, and break them.
pub trait Fixture {
    /// An empty log, which shares nothing with those before, and one process's access to it.
    fn empty(&mut self) -> Box<dyn Engine>;

    /// Another process's access to the log that was made last.
    fn another(&mut self) -> Box<dyn Engine>;

    /// Loses something of what is put next into that log. False when this engine cannot be made to.
    fn lose(&mut self, what: LostPut) -> bool;

    /// What is late comes now.
    fn arrive(&mut self);

    /// So many of the next looks for an entry or a term are answered by somebody who does not know the last entry.
    fn stale(&mut self, looks: usize);

    /// An empty log that has no room for more than so many bytes of records. None when this engine has no such bound.
    fn small(&mut self, bytes_max: usize) -> Option<Box<dyn Engine>>;
}

/// [`MemoryEngine`].
#[derive(Debug)]
pub struct InMemory(MemoryEngine);

impl InMemory {
    fn of(bytes_max: usize) -> InMemory {
        let identity = LogIdentity { cluster: "conformance".to_owned(), log_id: 7, begins_after: 0 };
        InMemory(MemoryEngine::new(identity, bytes_max, 1 << 20))
    }

    fn begin(&mut self, bytes_max: usize) -> Box<dyn Engine> {
        *self = InMemory::of(bytes_max);
        self.another()
    }
}

impl Default for InMemory {
    fn default() -> InMemory {
        InMemory::of(usize::MAX)
    }
}

impl Fixture for InMemory {
    fn empty(&mut self) -> Box<dyn Engine> {
        self.begin(usize::MAX)
    }

    fn another(&mut self) -> Box<dyn Engine> {
        Box::new(self.0.clone())
    }

    fn lose(&mut self, what: LostPut) -> bool {
        self.0.lose(what);
        true
    }

    fn arrive(&mut self) {
        self.0.arrive();
    }

    fn stale(&mut self, looks: usize) {
        self.0.stale(looks);
    }

    fn small(&mut self, bytes_max: usize) -> Option<Box<dyn Engine>> {
        Some(self.begin(bytes_max))
    }
}

/// Runs every check. Panics with the first sentence that does not hold.
pub fn check(fixture: &mut dyn Fixture) {
    an_empty_log_has_nothing_to_read(fixture);
    groups_come_back_in_order_and_unchanged(fixture);
    a_reader_goes_on_after_any_entry(fixture);
    a_reader_follows_the_writer(fixture);
    whoever_takes_over_ends_the_term_before(fixture);
    of_writers_that_take_over_at_once_one_wins(fixture);
    a_term_is_begun_while_another_appends(fixture);
    a_group_without_an_answer_is_there_once(fixture);
    a_group_without_an_answer_is_before_the_next_term_or_nowhere(fixture);
    a_term_without_an_answer_is_begun_once(fixture);
    a_copy_is_found_by_its_last_record(fixture);
    trimming_forgets_nothing_above_and_is_told_to_readers(fixture);
    a_term_is_the_newest_though_its_beginning_is_trimmed(fixture);
    a_term_that_comes_late_does_not_begin_once_another_has_begun_and_is_trimmed(fixture);
    a_group_that_is_too_large_is_refused(fixture);
    a_full_log_takes_groups_again_once_there_is_room(fixture);
    beats_are_heard_and_not_kept(fixture);
}

fn group(after: u64, through: u64) -> Group {
    Group { after, records: (after + 1..=through).map(|n| Record::new(n, vec![n as u8; 100])).collect() }
}

fn begin(engine: Box<dyn Engine>, seen: Option<Position>, writer: u128) -> TermWriter {
    let address = format!("writer {writer}");
    take_over(engine, seen, WriterId(writer), &address, PATIENCE).expect("nobody else takes over")
}

/// What a reader gets after a position, up to now.
fn read_after(engine: &dyn Engine, after: Position) -> Result<Vec<Followed>, SharedReadError> {
    let mut follow = engine.follow(after);
    let mut read = Vec::new();
    loop {
        match follow.next(Duration::from_millis(100))? {
            Followed::Quiet => return Ok(read),
            followed => read.push(followed),
        }
    }
}

fn read_all(fixture: &mut dyn Fixture) -> Vec<Followed> {
    let read = read_after(&*fixture.another(), Position::ZERO).expect("nothing was trimmed");
    let mut succession = Succession::after(Position::ZERO, 0);
    for followed in &read {
        succession.on_followed(followed).expect("terms and groups follow one another");
    }
    read
}

fn term_of(writer: &TermWriter) -> Followed {
    Followed::Term(writer.term().clone())
}

fn entry(writer: &TermWriter, at: Position, group: &Group) -> Followed {
    Followed::Group { at, term: writer.term().at, group: group.clone() }
}

fn an_empty_log_has_nothing_to_read(fixture: &mut dyn Fixture) {
    let mut engine = fixture.empty();
    assert_eq!(engine.newest_term(), Ok(None), "an empty log has no term");
    assert_eq!(engine.entry_after(Position::ZERO), Ok(None), "an empty log has no entry");
    assert_eq!(engine.find(0), Ok(Position::ZERO), "an empty copy begins where an empty log does");
    assert_eq!(read_after(&*engine, Position::ZERO), Ok(vec![]), "an empty log has nothing to follow");
}

fn groups_come_back_in_order_and_unchanged(fixture: &mut dyn Fixture) {
    let mut writer = begin(fixture.empty(), None, 1);
    let mut expected = vec![term_of(&writer)];
    for (after, through) in [(0, 1), (1, 40), (40, 41), (41, 300)] {
        let at = writer.append(&group(after, through)).expect("it is the writer");
        expected.push(entry(&writer, at, &group(after, through)));
    }
    assert_eq!(read_all(fixture), expected, "groups come back in order and unchanged");
    let second =
        fixture.another().entry_after(writer.term().at).expect("nothing was trimmed").expect("there are groups");
    assert_eq!(Some(second.0), position(&expected[1]), "the entry after a term is its first group");
}

fn position(followed: &Followed) -> Option<Position> {
    match followed {
        Followed::Term(term) => Some(term.at),
        Followed::Group { at, .. } => Some(*at),
        Followed::Quiet => None,
    }
}

fn a_reader_goes_on_after_any_entry(fixture: &mut dyn Fixture) {
    let mut writer = begin(fixture.empty(), None, 1);
    for n in 0..20 {
        writer.append(&group(n, n + 1)).expect("it is the writer");
        if n % 7 == 6 {
            writer = begin(fixture.another(), Some(writer.term().at), u128::from(n));
        }
    }
    let all = read_all(fixture);
    for (n, followed) in all.iter().enumerate() {
        let after = position(followed).expect("it is an entry");
        let rest = read_after(&*fixture.another(), after);
        assert_eq!(rest.as_deref(), Ok(&all[n + 1..]), "a reader goes on after any entry");
    }
}

/// Reads until so much was read.
fn read_through(mut follow: Box<dyn Follow>, through: u64) -> Vec<Followed> {
    let mut read = Vec::new();
    loop {
        match follow.next(PATIENCE).expect("nothing was trimmed") {
            Followed::Quiet => panic!("a reader hears of every group"),
            followed => read.push(followed),
        }
        if matches!(read.last(), Some(Followed::Group { group, .. }) if group.through() >= through) {
            return read;
        }
    }
}

fn a_reader_follows_the_writer(fixture: &mut dyn Fixture) {
    const LAST: u64 = 200;
    let mut writer = begin(fixture.empty(), None, 1);
    let readers: Vec<_> = (0..3).map(|_| fixture.another().follow(Position::ZERO)).collect();
    let read: Vec<_> = thread::scope(|scope| {
        let readers: Vec<_> =
            readers.into_iter().map(|follow| scope.spawn(move || read_through(follow, LAST))).collect();
        (0..LAST).for_each(|n| _ = writer.append(&group(n, n + 1)).expect("it is the writer"));
        readers.into_iter().map(|reader| reader.join().expect("it reads")).collect()
    });
    let all = read_all(fixture);
    assert!(read.iter().all(|read| *read == all), "a reader follows the writer, and gets each entry once, in order");
}

fn whoever_takes_over_ends_the_term_before(fixture: &mut dyn Fixture) {
    let mut first = begin(fixture.empty(), None, 1);
    let at = first.append(&group(0, 3)).expect("it is the writer");
    let mut second = begin(fixture.another(), Some(first.term().at), 2);
    assert!(second.term().at > at, "a term begins behind what is there");
    assert_eq!(first.append(&group(3, 5)), Err(SharedAppendError::Fenced), "a writer whose term is over is told so");
    let next = second.append(&group(3, 4)).expect("it is the writer");
    assert_eq!(first.append(&group(4, 5)), Err(SharedAppendError::Fenced), "its term does not come back");
    let expected =
        [term_of(&first), entry(&first, at, &group(0, 3)), term_of(&second), entry(&second, next, &group(3, 4))];
    assert_eq!(read_all(fixture), expected, "nothing of a term is behind the beginning of a later one");
    let newest = second.term().clone();
    for seen in [None, Some(first.term().at)] {
        let lost = take_over(fixture.another(), seen, WriterId(3), "late", PATIENCE).expect_err("it knows an old term");
        assert_eq!(lost, TakeOverError::Lost { newest: newest.clone() }, "who knows an old term does not take over");
    }
    assert_eq!(fixture.another().newest_term(), Ok(Some(newest)), "the newest term is known");
}

fn of_writers_that_take_over_at_once_one_wins(fixture: &mut dyn Fixture) {
    let mut seen = None;
    _ = fixture.empty();
    for round in 0..10 {
        let engines: Vec<_> = (0..4).map(|_| fixture.another()).collect();
        let won: Vec<Term> = thread::scope(|scope| {
            let takers: Vec<_> = (10 * round..)
                .zip(engines)
                .map(|(writer, engine)| {
                    scope.spawn(move || take_over(engine, seen, WriterId(writer), "taker", PATIENCE))
                })
                .collect();
            let results = takers.into_iter().map(|taker| taker.join().expect("it ends"));
            results.filter_map(|result| result.ok().map(|writer| writer.term().clone())).collect()
        });
        assert_eq!(won.len(), 1, "of writers that take over at once one wins: {won:?}");
        assert_eq!(fixture.another().newest_term(), Ok(Some(won[0].clone())), "the one that won has the newest term");
        seen = Some(won[0].at);
    }
}

fn a_term_is_begun_while_another_appends(fixture: &mut dyn Fixture) {
    let mut first = begin(fixture.empty(), None, 1);
    let seen = Some(first.term().at);
    let engine = fixture.another();
    let (taken, second) = thread::scope(|scope| {
        let appending = scope.spawn(move || {
            let mut through = 0;
            while first.append(&group(through, through + 1)).is_ok() {
                through += 1;
            }
            through
        });
        thread::sleep(Duration::from_millis(20));
        let second = begin(engine, seen, 2);
        (appending.join().expect("it is fenced in the end"), second)
    });
    let all = read_all(fixture);
    assert_eq!(all.last(), Some(&term_of(&second)), "nothing is appended behind the term of another");
    assert_eq!(all.len() as u64, taken + 2, "what was taken before is there");
}

fn a_group_without_an_answer_is_there_once(fixture: &mut dyn Fixture) {
    for lost in [LostPut::Request, LostPut::Answer, LostPut::Late] {
        let mut writer = begin(fixture.empty(), None, 1);
        let first = writer.append(&group(0, 1)).expect("it is the writer");
        if !fixture.lose(lost) || !fixture.lose(lost) {
            continue;
        }
        fixture.stale(2);
        let second = writer.append(&group(1, 3)).expect("it is asked for again");
        fixture.stale(0);
        let third = writer.append(&group(3, 4)).expect("it is the writer");
        fixture.arrive();
        let expected = [
            term_of(&writer),
            entry(&writer, first, &group(0, 1)),
            entry(&writer, second, &group(1, 3)),
            entry(&writer, third, &group(3, 4)),
        ];
        assert_eq!(read_all(fixture), expected, "a group without an answer is there once ({lost:?})");
    }
}

fn a_group_without_an_answer_is_before_the_next_term_or_nowhere(fixture: &mut dyn Fixture) {
    for lost in [LostPut::Request, LostPut::Answer, LostPut::Late] {
        let address = "impatient";
        let engine = fixture.empty();
        let mut first = take_over(engine, None, WriterId(1), address, Duration::ZERO).expect("nobody else takes over");
        if !fixture.lose(lost) {
            continue;
        }
        let unknown = first.append(&group(0, 2)).expect_err("its answer is lost");
        assert!(matches!(unknown, SharedAppendError::Unknown { .. }), "without an answer nothing is known: {unknown}");
        let other = first.append(&group(2, 3));
        assert_eq!(other, Err(SharedAppendError::AnotherFirst { after: 0 }), "nothing else is put before it is known");
        let second = begin(fixture.another(), Some(first.term().at), 2);
        fixture.arrive();
        let mut expected = vec![term_of(&first), term_of(&second)];
        let again = first.append(&group(0, 2));
        if lost == LostPut::Answer {
            let at = again.expect("it was there before the term of the other");
            expected.insert(1, entry(&first, at, &group(0, 2)));
            assert_eq!(first.append(&group(2, 3)), Err(SharedAppendError::Fenced), "and its writer is fenced");
        } else {
            assert_eq!(again, Err(SharedAppendError::Fenced), "it was not there, and never will be ({lost:?})");
        }
        assert_eq!(read_all(fixture), expected, "nothing of a term is behind the beginning of a later one ({lost:?})");
    }
}

fn a_term_without_an_answer_is_begun_once(fixture: &mut dyn Fixture) {
    for lost in [LostPut::Request, LostPut::Answer, LostPut::Late] {
        let engine = fixture.empty();
        if !fixture.lose(lost) {
            continue;
        }
        fixture.stale(2);
        let mut writer = begin(engine, None, 1);
        fixture.stale(0);
        fixture.arrive();
        let at = writer.append(&group(0, 1)).expect("it is the writer");
        let expected = [term_of(&writer), entry(&writer, at, &group(0, 1))];
        assert_eq!(read_all(fixture), expected, "a term without an answer is begun once ({lost:?})");
    }
}

fn a_copy_is_found_by_its_last_record(fixture: &mut dyn Fixture) {
    let mut writer = begin(fixture.empty(), None, 1);
    for (after, through) in [(0, 4), (4, 5), (5, 9)] {
        writer.append(&group(after, through)).expect("it is the writer");
    }
    let mut engine = fixture.another();
    let all = read_all(fixture);
    for (through, rest) in [(4, 2), (5, 3), (9, 4)] {
        let at = engine.find(through).expect("a group ends with it");
        assert_eq!(read_after(&*engine, at).as_deref(), Ok(&all[rest..]), "a copy goes on behind its last record");
    }
    let beginning = engine.find(0).expect("the log begins there");
    let from_the_beginning = read_after(&*engine, beginning).expect("it is kept");
    assert!(all.ends_with(&from_the_beginning) && from_the_beginning.len() >= 3, "an empty copy gets every group");
    for through in [3, 10] {
        let found = engine.find(through);
        let another = Err(SharedReadError::AnotherLog { through, last: 9 });
        assert_eq!(found, another, "a copy that ends where no group does is another log's");
    }
}

fn trimming_forgets_nothing_above_and_is_told_to_readers(fixture: &mut dyn Fixture) {
    let mut writer = begin(fixture.empty(), None, 1);
    let ats: Vec<Position> = (0..6).map(|n| writer.append(&group(n, n + 1)).expect("it is the writer")).collect();
    let all = read_all(fixture);
    let mut engine = fixture.another();
    let mut behind = engine.follow(Position::ZERO);
    let floor = engine.trim(ats[2]).expect("it is trimmed");
    assert!(floor <= ats[2], "nothing above is forgotten");
    assert_eq!(engine.trim(ats[1]), Ok(floor), "the floor never falls");
    assert_eq!(read_after(&*engine, ats[2]).as_deref(), Ok(&all[4..]), "what is above is there");
    if floor == ats[2] {
        let trimmed = SharedReadError::Trimmed { after: Position::ZERO, floor };
        assert_eq!(behind.next(PATIENCE), Err(trimmed), "a reader that is overtaken by a trim is told");
        assert!(matches!(engine.find(1), Err(SharedReadError::Trimmed { .. })), "so is a copy that is too old");
        assert_eq!(engine.find(3), Ok(ats[2]), "a copy that ends where the log begins goes on there");
    }
    engine.trim(Position(u64::MAX)).expect("it is trimmed");
    let at = writer.append(&group(6, 7)).expect("a log of which all is trimmed goes on");
    assert_eq!(read_after(&*engine, ats[5]), Ok(vec![entry(&writer, at, &group(6, 7))]), "and is read on");
    let newest = engine.newest_term().expect("it is known");
    let seen = Some(writer.term().at);
    assert_eq!(newest.map(|term| term.at), seen, "the newest term is known though its entry is trimmed");
    begin(fixture.another(), seen, 2);
}

/// Appends groups of one event each.
fn append_through(writer: &mut TermWriter, after: u64, through: u64) -> Vec<Position> {
    (after..through).map(|n| writer.append(&group(n, n + 1)).expect("it is the writer")).collect()
}

fn a_term_is_the_newest_though_its_beginning_is_trimmed(fixture: &mut dyn Fixture) {
    for lost in [None, Some(LostPut::Request), Some(LostPut::Answer), Some(LostPut::Late)] {
        let mut first = begin(fixture.empty(), None, 1);
        append_through(&mut first, 0, 2);
        let mut second = begin(fixture.another(), Some(first.term().at), 2);
        let ats = append_through(&mut second, 2, 6);
        let mut engine = fixture.another();
        let floor = engine.trim(ats[1]).expect("it is trimmed");
        assert!(floor <= ats[1], "nothing above is forgotten");
        let newest = second.term().clone();
        assert_eq!(engine.newest_term(), Ok(Some(newest.clone())), "a term does not end when its beginning is trimmed");
        let last = second.append(&group(6, 7)).expect("its writer goes on");
        if floor == ats[1] {
            assert_eq!(engine.find(4), Ok(floor), "a copy that ends where the log begins goes on there");
        }
        assert_eq!(engine.find(7), Ok(last), "a copy that has all goes on at the end");
        let lost_to_another = take_over(fixture.another(), Some(first.term().at), WriterId(9), "late", PATIENCE);
        assert_eq!(lost_to_another.expect_err("it knows an old term"), TakeOverError::Lost { newest: newest.clone() });
        if lost.is_some_and(|lost| !fixture.lose(lost)) {
            continue;
        }
        let mut third = begin(fixture.another(), Some(newest.at), 3);
        fixture.arrive();
        assert_eq!(second.append(&group(7, 8)), Err(SharedAppendError::Fenced), "whoever takes over ends it");
        let next = third.append(&group(7, 8)).expect("it is the writer");
        let rest = [entry(&second, last, &group(6, 7)), term_of(&third), entry(&third, next, &group(7, 8))];
        let read = read_after(&*engine, floor).expect("it is kept");
        assert!(read.ends_with(&rest), "what is above the floor is read from there ({lost:?}): {read:?}");
        assert_eq!(engine.newest_term(), Ok(Some(third.term().clone())), "the next term is the newest");
    }
}

fn a_term_that_comes_late_does_not_begin_once_another_has_begun_and_is_trimmed(fixture: &mut dyn Fixture) {
    for knows_the_first in [true, false] {
        let (mut engine, mut seen) = (fixture.empty(), None);
        if knows_the_first {
            let mut first = begin(fixture.another(), None, 1);
            append_through(&mut first, 0, 4);
            engine.trim(Position(u64::MAX)).expect("it is trimmed");
            seen = Some(first.term().at);
        }
        if !fixture.lose(LostPut::Late) {
            return;
        }
        let unknown = engine.put_term(seen, WriterId(9), "late").expect_err("its request is late");
        assert!(matches!(unknown, PutError::Unknown { .. }), "without an answer nothing is known: {unknown}");
        let mut second = begin(fixture.another(), seen, 2);
        let after = if knows_the_first { 4 } else { 0 };
        append_through(&mut second, after, after + 4);
        engine.trim(Position(u64::MAX)).expect("it is trimmed");
        fixture.arrive();
        let newest = Ok(Some(second.term().clone()));
        assert_eq!(engine.newest_term(), newest, "a term that comes late does not begin");
        second.append(&group(after + 4, after + 5)).expect("the writer that is told nothing goes on");
        begin(fixture.another(), Some(second.term().at), 3);
    }
}

fn a_group_that_is_too_large_is_refused(fixture: &mut dyn Fixture) {
    let mut writer = begin(fixture.empty(), None, 1);
    let bytes_max = fixture.another().group_bytes_max();
    let large = Group { after: 0, records: vec![Record::new(1, vec![0; bytes_max])] };
    let bytes = large.bytes();
    let refused = Err(SharedAppendError::TooLarge { bytes, bytes_max });
    assert_eq!(writer.append(&large), refused, "a group that is too large is refused");
    let put = fixture.another().put_group(writer.term().at, writer.term().at, &large);
    assert_eq!(put, Err(PutError::TooLarge { bytes, bytes_max }), "also by the engine");
    let at = writer.append(&group(0, 1)).expect("nothing of it is in the way");
    assert_eq!(read_all(fixture), [term_of(&writer), entry(&writer, at, &group(0, 1))], "and leaves nothing");
}

fn a_full_log_takes_groups_again_once_there_is_room(fixture: &mut dyn Fixture) {
    let Some(engine) = fixture.small(10_000) else { return };
    let mut writer = begin(engine, None, 1);
    let (mut through, mut last) = (0, writer.term().at);
    let full = loop {
        match writer.append(&group(through, through + 1)) {
            Ok(at) => (through, last) = (through + 1, at),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, SharedAppendError::Full { .. }), "a full log says so: {full}");
    assert!(through >= 10, "a log that has room takes what comes");
    writer.engine().trim(last).expect("it is trimmed");
    writer.append(&group(through, through + 1)).expect("a full log takes groups again once there is room");
}

fn beats_are_heard_and_not_kept(fixture: &mut dyn Fixture) {
    let mut writer = begin(fixture.empty(), None, 1);
    let mut hears = fixture.another().hear();
    let beat = Beat {
        writer: WriterId(1),
        term: Some(writer.term().at),
        recorded: 5,
        stored: 3,
        kept: 2,
        address: "here".to_owned(),
        yields: false,
    };
    writer.engine().beat(&beat);
    assert_eq!(hears.next(PATIENCE), Some(beat.clone()), "whoever hears beats hears this one");
    let mut later = writer.engine().another().hear();
    assert_eq!(later.next(Duration::from_millis(50)), None, "beats are not kept");
    let mut another = fixture.another().another();
    another.beat(&Beat { writer: WriterId(2), ..beat.clone() });
    assert_eq!(later.next(PATIENCE), Some(Beat { writer: WriterId(2), ..beat }), "any access says and hears them");
    let read = read_after(&*another, Position::ZERO);
    assert_eq!(read, Ok(vec![term_of(&writer)]), "beats are no entries");
}
