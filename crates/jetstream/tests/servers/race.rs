//! Writers that race while leaders step down and are killed: what was acknowledged is there once, what was fenced is not.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dovetail_jetstream::JetStreamEngine;
use dovetail_log::shared::{
    Engine, Followed, Group, Position, SharedAppendError, Succession, TermWriter, WriterId, take_over,
};

use crate::harness::{Servers, group, read, until_some};

/// How long they race.
const LASTS: Duration = Duration::from_secs(11);
/// Short, so that what is not answered for is often left.
const PATIENCE: Duration = Duration::from_millis(100);

/// What became of a group: the term it is of, and the events `(after, through]`.
type Fates = BTreeMap<(Position, u64, u64), bool>;

/// A process that writes when it can, and takes over when it cannot. It trims now and then.
fn race(id: u128, engine: JetStreamEngine, fates: &Mutex<Fates>, over: &AtomicBool) {
    let mut read = Succession::after(Position::ZERO, 0);
    let mut turns = 0_u32;
    while !over.load(Ordering::Relaxed) {
        let Some(mut writer) = begin(id, &engine, &mut read) else { continue };
        let (mut through, mut unanswered) = (read.through(), None::<Group>);
        loop {
            turns += 1;
            // It gives way now and then, and before that to whoever is faster.
            if over.load(Ordering::Relaxed) || turns.is_multiple_of(200) {
                thread::sleep(Duration::from_millis(50));
                break;
            }
            let next = unanswered.take().unwrap_or_else(|| group(through, through + 1 + u64::from(turns % 3)));
            let key = (writer.term().at, next.after, next.through());
            match writer.append(&next) {
                Ok(_) => {
                    fates.lock().unwrap().insert(key, true);
                    through = next.through();
                }
                Err(SharedAppendError::Unknown { .. }) => unanswered = Some(next),
                Err(SharedAppendError::Fenced) => {
                    fates.lock().unwrap().insert(key, false);
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Becomes the writer, and reads all that was before. None when another is, or nobody answers.
fn begin(id: u128, engine: &JetStreamEngine, read: &mut Succession) -> Option<TermWriter> {
    let seen = engine.clone().newest_term().ok()?.map(|term| term.at);
    let writer = take_over(Box::new(engine.clone()), seen, WriterId(id), "here", PATIENCE).ok()?;
    let mut follow = engine.follow(read.at());
    until_some("a writer reads what was before its term", || {
        while read.at() < writer.term().at {
            match follow.next(Duration::from_secs(1)) {
                Ok(Followed::Quiet) => return None,
                Ok(followed) => read.on_followed(&followed).expect("terms and groups follow one another"),
                Err(error) => panic!("{error}"),
            }
        }
        Some(())
    });
    Some(writer)
}

#[test]
fn whatever_fails_what_was_answered_for_is_there_once_and_what_was_fenced_is_not() {
    let Some(mut servers) = Servers::start(3) else { return };
    let admin = servers.admin();
    let stream = "dovetail-race";
    let engines: Vec<JetStreamEngine> = (0..3).map(|_| servers.open("race")).collect();
    let (fates, over) = (Mutex::new(Fates::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        for (id, engine) in (0..).zip(engines) {
            let (fates, over) = (&fates, &over);
            scope.spawn(move || race(id, engine, fates, over));
        }
        let (ends, mut turns) = (Instant::now() + LASTS, 0);
        while Instant::now() < ends {
            turns += 1;
            if turns % 8 == 5 {
                let leader = admin.some_leader(stream);
                servers.kill(leader);
                until_some("another leads", || admin.leader(stream).filter(|next| *next != leader));
                servers.restart(leader);
            } else {
                admin.step_down(stream, None);
            }
            thread::sleep(Duration::from_millis(700));
        }
        over.store(true, Ordering::Relaxed);
    });
    let fates = fates.into_inner().unwrap();
    let taken = fates.iter().filter(|(_, taken)| **taken).map(|((term, _, through), _)| (*term, *through));
    let (_, through) = taken.max().expect("something was taken");
    let mut there = Fates::new();
    let engine = servers.open("race");
    // What was not answered for may be behind it.
    for followed in read(&engine, Position::ZERO, 0, through) {
        if let Followed::Group { term, group, .. } = followed {
            assert!(there.insert((term, group.after, group.through()), true).is_none(), "{group:?} is there twice");
        }
    }
    let (mut acknowledged, mut fenced) = (0, 0);
    for (group, taken) in &fates {
        assert_eq!(there.contains_key(group), *taken, "{group:?}");
        *(if *taken { &mut acknowledged } else { &mut fenced }) += 1;
    }
    eprintln!("{acknowledged} groups were acknowledged, {fenced} fenced, {} are there", there.len());
    assert!(acknowledged > 20, "the race has hardly begun");
}
