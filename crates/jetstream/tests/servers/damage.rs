//! A bit that flips on the disk of one server: it is told of, and nothing wrong is read.

use std::fs;

use dovetail_jetstream::{Damage, JetStreamEngine};
use dovetail_log::shared::{Engine, Followed, Position, SharedReadError};

use crate::harness::{PATIENCE, Servers, begin, large_group, read, until_some};

/// Flips a bit in the middle of the first block of a stream, on a server that does not run. When the server has an index
/// it does not look into the block before somebody reads there; without one it drops what is behind the bit.
fn flip(servers: &Servers, n: usize, stream: &str, with_index: bool) {
    let [block] = &servers.files(n, &format!("streams/{stream}/msgs/1.blk"))[..] else {
        panic!("it has a first block")
    };
    let mut bytes = fs::read(block).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(block, bytes).unwrap();
    let indexes = servers.files(n, &format!("streams/{stream}/msgs/index.db"));
    if with_index {
        assert_eq!(indexes.len(), 1, "a server that is stopped in order has an index");
    } else {
        indexes.iter().for_each(|index| fs::remove_file(index).unwrap());
    }
}

/// A bit flips at rest, in the middle of one replica's first block, and that replica becomes the leader: it says that it
/// has all, and so do the others. Readers find out.
#[test]
fn a_replica_that_lost_entries_to_a_flipped_bit_is_told_of_and_nothing_wrong_is_read() {
    const GROUPS: u64 = 300;
    let Some(mut servers) = Servers::start(3) else { return };
    let (admin, stream) = (servers.admin(), "dovetail-bit");
    let engine = servers.open("bit");
    let mut writer = begin(engine, 1);
    for n in 0..GROUPS {
        writer.append(&large_group(n, n + 1, 30_000)).unwrap();
    }
    admin.all_current(stream);
    (0..3).for_each(|n| servers.stop(n));
    flip(&servers, 0, stream, true);
    (0..3).for_each(|n| servers.restart(n));
    admin.all_current(stream);
    until_some("the damaged server leads", || {
        (admin.leader(stream) == Some(0)).then_some(()).or_else(|| {
            admin.step_down(stream, Some(0));
            None
        })
    });
    // Every reader gets all, wherever its consumer is.
    for _ in 0..3 {
        assert_eq!(read(&servers.open("bit"), Position::ZERO, 0, GROUPS).len() as u64, GROUPS + 1);
    }
    let reader = servers.open("bit");
    until_some("a reader of the damaged server", || {
        read(&reader, Position::ZERO, 0, GROUPS);
        (reader.filled() > 0).then_some(())
    });
    // A copy that lags is found, and the log goes on.
    let mut finds = reader;
    for through in 1..=GROUPS {
        assert_eq!(finds.find(through), Ok(Position(through + 1)));
    }
    let mut next = begin(finds.clone(), 2);
    next.append(&large_group(GROUPS, GROUPS + 1, 10)).unwrap();
    assert_eq!(read(&finds, Position::ZERO, 0, GROUPS + 1).len() as u64, GROUPS + 3);
}

/// A log whose blocks have 4 MB, as servers choose it for a log of this size.
fn open(servers: &Servers, cluster: &str, max_bytes: u64) -> JetStreamEngine {
    let mut options = servers.options(cluster);
    options.max_bytes = max_bytes;
    JetStreamEngine::open(&options).unwrap()
}

/// A log of 200 groups on one server, in whose first block a bit has flipped while it did not run.
fn damaged(servers: &mut Servers, cluster: &str, max_bytes: u64) -> JetStreamEngine {
    let engine = open(servers, cluster, max_bytes);
    let mut writer = begin(engine.clone(), 1);
    for n in 0..200 {
        writer.append(&large_group(n, n + 1, 30_000)).unwrap();
    }
    servers.kill(0);
    flip(servers, 0, &format!("dovetail-{cluster}"), false);
    servers.restart(0);
    until_some("the server answers", || (!matches!(engine.examine(), Err(Damage::Unavailable { .. }))).then_some(()));
    engine
}

/// With one replica nobody else has them.
#[test]
fn entries_that_no_server_has_end_a_reader_with_their_place() {
    let Some(mut servers) = Servers::start(1) else { return };
    let mut engine = damaged(&mut servers, "alone", 16 << 20);
    let Err(Damage::Missing { missing, first, last, .. }) = engine.examine() else { panic!("it lacks entries") };
    assert_eq!((first, last), (1, 201));
    let mut follow = engine.follow(Position::ZERO);
    let mut read = 0;
    let error = loop {
        match follow.next(PATIENCE) {
            Ok(Followed::Quiet) => panic!("the damage is not found"),
            Ok(_) => read += 1,
            Err(error) => break error,
        }
    };
    let what = "no server has the entry as it was written";
    assert_eq!(error, SharedReadError::Damaged { at: Position(read + 1), what });
    assert_eq!(follow.next(PATIENCE), Err(error), "it is not read past");
    assert!(read + missing < last, "entries behind the damage are there: {read} and {missing} of {last}");
    assert!(matches!(engine.entry_after(Position(read)), Err(SharedReadError::Damaged { .. })));
    // Behind it the log is as it was.
    let behind = engine.entry_after(Position(read + missing)).unwrap();
    assert_eq!(behind.map(|(at, _)| at), Some(Position(read + missing + 1)));
}

/// A server that loses its end says nothing of it: whoever has a copy of more does.
#[test]
fn a_log_that_lost_its_end_is_not_that_of_a_copy_which_has_it() {
    let Some(mut servers) = Servers::start(1) else { return };
    let mut engine = damaged(&mut servers, "short", 1 << 30);
    assert_eq!(engine.examine(), Ok(()));
    let found = engine.find(200);
    assert!(matches!(found, Err(SharedReadError::AnotherLog { through: 200, last: 1..200 })), "{found:?}");
}
