//! Servers that end, stand still, or are full, while a writer appends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dovetail_jetstream::{Damage, JetStreamEngine};
use dovetail_log::shared::{
    Beat, Engine, Followed, Group, Position, SharedAppendError, TermWriter, WriterId, take_over,
};

use crate::harness::{PATIENCE, Servers, begin, group, large_group, read, until_some};

/// Appends groups of one event until it is told to end. Returns through where all was acknowledged.
fn append_until(mut writer: TermWriter, through: &AtomicU64, ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        let after = through.load(Ordering::Relaxed);
        match writer.append(&group(after, after + 1)) {
            Ok(_) => through.store(after + 1, Ordering::Relaxed),
            Err(SharedAppendError::Unknown { .. }) => {}
            Err(error) => panic!("nobody else writes: {error}"),
        }
    }
}

/// That a log has each event once, in groups of one.
fn has_each_once(engine: &JetStreamEngine, through: u64) {
    let groups = read(engine, Position::ZERO, 0, through);
    let groups = groups.iter().filter(|followed| matches!(followed, Followed::Group { .. })).count();
    assert_eq!(groups as u64, through);
}

/// A writer appends while something is done to the servers; it goes on, and nothing of it is lost or there twice.
fn goes_on_after(servers: &mut Servers, cluster: &str, harm: impl FnOnce(&mut Servers)) {
    let engine = servers.open(cluster);
    let writer = begin(engine.clone(), 1);
    let (through, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    let appended = |more: u64| {
        let from = through.load(Ordering::Relaxed);
        until_some("the writer does not go on", || (through.load(Ordering::Relaxed) >= from + more).then_some(()));
    };
    thread::scope(|scope| {
        let appending = scope.spawn(|| append_until(writer, &through, &ends));
        appended(50);
        harm(servers);
        appended(50);
        ends.store(true, Ordering::Relaxed);
        appending.join().unwrap();
    });
    has_each_once(&engine, through.load(Ordering::Relaxed));
    until_some("all replicas come back", || engine.examine().ok());
}

#[test]
fn what_was_acknowledged_is_there_once_though_the_leader_was_killed() {
    let Some(mut servers) = Servers::start(3) else { return };
    let admin = servers.admin();
    goes_on_after(&mut servers, "led", |servers| {
        let leader = admin.some_leader("dovetail-led");
        servers.kill(leader);
        let next = until_some("another leads", || admin.leader("dovetail-led").filter(|next| *next != leader));
        assert_ne!(next, leader);
        servers.restart(leader);
    });
}

#[test]
fn what_was_acknowledged_is_there_once_though_all_servers_were_killed() {
    let Some(mut servers) = Servers::start(3) else { return };
    goes_on_after(&mut servers, "dark", |servers| {
        (0..3).for_each(|n| servers.kill(n));
        (0..3).for_each(|n| servers.restart(n));
    });
}

#[test]
fn a_full_log_says_so_and_goes_on_once_it_is_trimmed_by_its_writer() {
    let Some(servers) = Servers::start(1) else { return };
    let mut options = servers.options("full");
    options.max_bytes = 200_000;
    let engine = JetStreamEngine::open(&options).unwrap();
    let mut writer = begin(engine.clone(), 1);
    let (mut through, mut last) = (0, writer.term().at);
    for _ in 0..3 {
        let full = loop {
            match writer.append(&large_group(through, through + 1, 5_000)) {
                Ok(at) => (through, last) = (through + 1, at),
                Err(error) => break error,
            }
        };
        assert_eq!(full, SharedAppendError::Full { why: "maximum bytes exceeded".to_owned() });
        // Nothing smaller than the room that is left is in the way of another writer.
        let floor = writer.engine().trim(last).unwrap();
        assert_eq!(floor, Position(last.0 - 1), "the last group stays");
        writer.append(&large_group(through, through + 1, 5_000)).unwrap();
        through += 1;
    }
    assert!(through > 100);
    assert_eq!(engine.examine(), Ok(()), "a trim leaves no hole");
    let mut next = begin(engine, 2);
    next.append(&group(through, through + 1)).unwrap();
}

#[test]
fn the_largest_group_is_taken_found_and_read() {
    let Some(servers) = Servers::start(3) else { return };
    let mut engine = servers.open("large");
    let (mut writer, bytes_max) = (begin(engine.clone(), 1), engine.group_bytes_max());
    let bytes = bytes_max - 16;
    let large = large_group(0, 1, bytes);
    assert_eq!(large.bytes(), bytes_max);
    let at = writer.append(&large).unwrap();
    let (found, _) = engine.entry_after(writer.term().at).unwrap().unwrap();
    assert_eq!((found, engine.find(1)), (at, Ok(at)));
    let refused = writer.append(&large_group(1, 2, bytes + 1));
    assert_eq!(refused, Err(SharedAppendError::TooLarge { bytes: bytes_max + 1, bytes_max }));
    let address = "x".repeat(2048);
    let seen = Some(writer.term().at);
    let mut next = take_over(Box::new(engine.clone()), seen, WriterId(2), &address, PATIENCE).unwrap();
    next.append(&large_group(1, 2, bytes)).unwrap();
    read(&engine, Position::ZERO, 0, 2);
}

/// Beats of whoever lives, at a reader that is connected to another server. It takes a while until servers know of it.
fn heard(servers: &Servers, says: &mut JetStreamEngine) {
    let mut options = servers.options("still");
    options.urls.rotate_left(1);
    let hears = JetStreamEngine::open(&options).unwrap();
    let mut hears = hears.hear();
    let address = "here".to_owned();
    let beat = Beat { writer: WriterId(1), term: None, recorded: 1, stored: 1, kept: 0, address, yields: true };
    until_some("a beat is heard", || {
        says.beat(&beat);
        let heard = hears.next(Duration::from_millis(100));
        (heard == Some(beat.clone())).then_some(())
    });
}

#[test]
fn a_server_that_stands_still_holds_nobody_longer_than_its_patience() {
    let Some(servers) = Servers::start(3) else { return };
    let admin = servers.admin();
    let mut engine = servers.open("still");
    heard(&servers, &mut engine);
    let patience = Duration::from_millis(500);
    let mut writer = take_over(Box::new(engine.clone()), None, WriterId(1), "here", PATIENCE).unwrap();
    writer.append(&group(0, 1)).unwrap();
    drop(writer);
    let seen = engine.newest_term().unwrap().map(|term| term.at);
    let mut writer = take_over(Box::new(engine.clone()), seen, WriterId(1), "here", patience).unwrap();
    // Another server leads, and the one that stands still is the one that all are connected to.
    until_some("another leads", || {
        admin.step_down("dovetail-still", None);
        admin.leader("dovetail-still").filter(|leader| *leader != 0)
    });
    let mut follow = engine.follow(Position::ZERO);
    servers.pause(0);
    // What a call may take in all: its patience, and the questions that are under way when it ends.
    let bound = patience + 4 * engine_api_timeout(&servers);
    let within = |what: &str, began: Instant| {
        let took = began.elapsed();
        assert!(took < bound, "{what} took {took:?}");
    };
    let mut through = 1;
    until_some("the writer goes on by way of another server", || {
        let began = Instant::now();
        let appended = writer.append(&group(through, through + 1));
        within("an append", began);
        let began = Instant::now();
        _ = follow.next(patience);
        within("a read", began);
        let began = Instant::now();
        _ = engine.newest_term();
        within("a look", began);
        (appended.is_ok()).then_some(())
    });
    through += 1;
    servers.resume(0);
    let Group { after, .. } = group(through, through + 1);
    until_some("it goes on", || writer.append(&group(after, after + 1)).ok());
    read(&engine, Position::ZERO, 0, through + 1);
    until_some("the server comes back", || match engine.examine() {
        Ok(()) => Some(()),
        Err(Damage::Replica { .. } | Damage::Unavailable { .. }) => None,
        Err(damage) => panic!("{damage}"),
    });
}

fn engine_api_timeout(servers: &Servers) -> Duration {
    servers.options("still").timeouts.api
}
