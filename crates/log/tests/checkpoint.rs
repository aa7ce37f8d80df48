//! Checkpoints come back as they were written, or say that they do not; a failed one hurts none of those before.

mod common;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Chance, Folder, fast_dir};
use dovetail_log::OpenError;
use dovetail_log::checkpoint::{
    CHUNK_BYTES_MAX, CheckpointError, CheckpointInfo, CheckpointOptions, Checkpoints, CheckpointsReport, Loaded,
    RestoreError,
};
use dovetail_log::embedded::{DiskHook, DiskOp};

const LOG: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

fn options() -> CheckpointOptions {
    CheckpointOptions::new(LOG)
}

fn open(dir: &Path) -> (Checkpoints, CheckpointsReport) {
    Checkpoints::open(dir, options()).expect("the folder opens")
}

/// Chunks that depend on `through`, of all kinds of sizes.
fn chunks(through: u64) -> Vec<Vec<u8>> {
    let mut chance = Chance(through);
    (0..30).map(|n| vec![chance.draw() as u8; [0, 1, 7, 40, 100][n % 5]]).collect()
}

fn write(store: &mut Checkpoints, through: u64) -> Result<CheckpointInfo, CheckpointError> {
    let mut writer = store.begin(through)?;
    chunks(through).iter().try_for_each(|chunk| writer.chunk(chunk))?;
    writer.commit()
}

fn load(store: &mut Checkpoints, floor: u64, last: u64) -> Result<Loaded<Vec<Vec<u8>>>, RestoreError> {
    store.load(floor..=last, |reader| {
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            chunks.push(chunk.to_vec());
        }
        Ok(chunks)
    })
}

fn throughs(store: &Checkpoints) -> Vec<u64> {
    store.list().iter().map(|info| info.through).collect()
}

fn name(through: u64) -> String {
    format!("{through:020}.ckpt")
}

/// Checkpoints at 100 and 200, as files.
fn two() -> Folder {
    let dir = fast_dir();
    let (mut store, _) = open(dir.path());
    [100, 200].iter().for_each(|through| drop(write(&mut store, *through).expect("a checkpoint")));
    Folder::of(dir.path())
}

fn check_loaded(loaded: Result<Loaded<Vec<Vec<u8>>>, RestoreError>, through: u64, passed_over: usize) {
    let loaded = loaded.expect("there is one to go on from");
    assert_eq!(loaded.state, Some((through, chunks(through))));
    assert_eq!(loaded.passed_over.len(), passed_over, "{:?}", loaded.passed_over);
}

#[test]
fn chunks_come_back_as_they_were_written() {
    let dir = fast_dir();
    let (mut store, _) = open(dir.path());
    let mut chance = Chance(3);
    let sizes = [0, 1, 3 << 20, (1 << 20) - 48, 0, 1 << 20, 5].into_iter().chain((0..5000).map(|n| n % 700));
    let chunks: Vec<_> = sizes.map(|size| vec![chance.draw() as u8; size]).collect();
    let mut writer = store.begin(9).expect("it begins");
    chunks.iter().for_each(|chunk| writer.chunk(chunk).expect("a chunk"));
    let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    assert_eq!(writer.bytes(), bytes);
    let info = writer.commit().expect("a checkpoint");
    assert_eq!((info.through, info.chunks, info.bytes, info.damage), (9, 5007, bytes, None));
    assert_eq!(store.list(), std::slice::from_ref(&info));
    drop(store);
    let (store, report) = open(dir.path());
    assert_eq!((store.list(), report.unfinished), (std::slice::from_ref(&info), false));
    let mut reader = store.read(&info).expect("it opens");
    for chunk in &chunks {
        assert_eq!(reader.next_chunk().expect("a chunk"), Some(&chunk[..]));
    }
    assert_eq!(reader.bytes_read(), bytes);
    assert_eq!(reader.next_chunk().expect("the end"), None);
    assert_eq!(reader.next_chunk().expect("still the end"), None);
}

#[test]
fn an_empty_checkpoint_is_one() {
    let dir = fast_dir();
    let (mut store, _) = open(dir.path());
    store.begin(0).expect("it begins").commit().expect("a checkpoint");
    drop(store);
    let (mut store, _) = open(dir.path());
    assert_eq!(load(&mut store, 0, 5).expect("it loads").state, Some((0, vec![])));
}

#[test]
fn the_newest_stay_and_say_how_far_the_log_may_be_trimmed() {
    let dir = fast_dir();
    let (mut store, _) = open(dir.path());
    assert_eq!(store.trim_point(), None);
    for (through, kept, trim_point) in [(10, vec![10], 10), (20, vec![20, 10], 10), (30, vec![30, 20], 20)] {
        write(&mut store, through).expect("a checkpoint");
        assert_eq!((throughs(&store), store.trim_point()), (kept, Some(trim_point)));
    }
    drop(store);
    let (mut store, _) = Checkpoints::open(dir.path(), CheckpointOptions { keep: 1, ..options() }).expect("it opens");
    assert_eq!(throughs(&store), [30, 20]);
    write(&mut store, 40).expect("a checkpoint");
    assert_eq!(throughs(&store), [40]);
    assert_eq!(Folder::of(dir.path()).0.into_keys().collect::<Vec<_>>(), [name(40)]);
    check_loaded(load(&mut store, 40, 40), 40, 0);
}

#[test]
fn one_that_is_not_newer_is_refused() {
    let dir = fast_dir();
    let (mut store, _) = open(dir.path());
    write(&mut store, 10).expect("a checkpoint");
    for through in [0, 9, 10] {
        match write(&mut store, through) {
            Err(CheckpointError::NotNewer { newest: 10, through: found }) => assert_eq!(found, through),
            other => panic!("{other:?}"),
        }
    }
    write(&mut store, 11).expect("a newer one is taken");
}

#[test]
fn a_chunk_above_the_limit_is_refused_and_the_checkpoint_goes_on() {
    let dir = fast_dir();
    let (mut store, _) = open(dir.path());
    let mut writer = store.begin(1).expect("it begins");
    writer.chunk(b"before").expect("a chunk");
    let refused = writer.chunk(&vec![0; CHUNK_BYTES_MAX + 1]);
    assert!(matches!(refused, Err(CheckpointError::ChunkTooLarge { bytes_max: CHUNK_BYTES_MAX, .. })));
    writer.chunk(b"after").expect("a chunk");
    writer.commit().expect("a checkpoint");
    let loaded = load(&mut store, 1, 1).expect("it loads");
    assert_eq!(loaded.state, Some((1, vec![b"before".to_vec(), b"after".to_vec()])));
}

#[test]
fn an_unfinished_one_is_removed_and_reported() {
    let dir = fast_dir();
    let (mut store, _) = open(dir.path());
    write(&mut store, 10).expect("a checkpoint");
    let mut writer = store.begin(20).expect("it begins");
    writer.chunk(&[7; 2 << 20]).expect("a chunk");
    let killed = Folder::of(dir.path());
    drop(writer);
    assert_eq!(Folder::of(dir.path()).0.into_keys().collect::<Vec<_>>(), [name(10)], "abandoned leaves nothing");
    drop(store);
    killed.write(dir.path());
    let (mut store, report) = open(dir.path());
    assert!(report.unfinished);
    assert_eq!(Folder::of(dir.path()).0.into_keys().collect::<Vec<_>>(), [name(10)]);
    check_loaded(load(&mut store, 0, 20), 10, 0);
    drop(store);
    assert!(!open(dir.path()).1.unfinished);
}

#[test]
fn a_damaged_newest_is_an_error_unless_the_log_reaches_back_to_an_older_one() {
    let folder = two();
    let damaged = folder.with(&name(200), |bytes| bytes[60] ^= 1);
    for (floor, works) in [(0, true), (100, true), (101, false), (200, false)] {
        let dir = fast_dir();
        damaged.write(dir.path());
        let (mut store, _) = open(dir.path());
        match load(&mut store, floor, 250) {
            loaded @ Ok(_) if works => check_loaded(loaded, 100, 1),
            Err(RestoreError::Damaged { file, offset, .. }) if !works => {
                assert_eq!((file, offset), (dir.path().join(name(200)), 57), "the third chunk");
            }
            other => panic!("floor {floor}: {other:?}"),
        }
        assert_eq!(store.trim_point(), Some(100), "a damaged one is nothing to go on from");
        write(&mut store, 150).expect("one known to be damaged is no reason to refuse a new one");
        assert_eq!(throughs(&store), [150, 100], "and goes with it");
        check_loaded(load(&mut store, 101, 250), 150, 0);
    }
}

#[test]
fn without_a_checkpoint_only_a_whole_log_will_do() {
    let dir = fast_dir();
    let (mut store, _) = open(dir.path());
    assert_eq!(load(&mut store, 0, 10).expect("the log has everything").state, None);
    assert!(matches!(load(&mut store, 1, 10), Err(RestoreError::Missing { floor: 1, .. })));
    write(&mut store, 10).expect("a checkpoint");
    assert!(matches!(load(&mut store, 11, 20), Err(RestoreError::Missing { floor: 11, .. })));
    assert!(matches!(load(&mut store, 0, 9), Err(RestoreError::AheadOfLog { through: 10, last: 9, .. })));
    two().with(&name(100), |bytes| bytes[60] ^= 1).with(&name(200), |bytes| bytes[60] ^= 1).write(dir.path());
    drop(store);
    let (mut store, _) = open(dir.path());
    let loaded = load(&mut store, 0, 250).expect("the log has everything");
    assert_eq!((loaded.state, loaded.passed_over.len()), (None, 2));
    assert_eq!(store.trim_point(), None);
}

#[test]
fn the_owners_own_error_is_passed_on_and_no_older_one_is_tried() {
    let dir = fast_dir();
    two().write(dir.path());
    let (mut store, _) = open(dir.path());
    let mut calls = 0;
    let loaded = store.load(0..=200, |reader| {
        calls += 1;
        reader.next_chunk()?;
        Err::<(), Box<dyn std::error::Error>>("these bytes mean nothing to me".into())
    });
    assert_eq!((loaded.expect_err("the owner's").to_string().as_str(), calls), ("these bytes mean nothing to me", 1));
}

#[test]
fn what_the_owner_leaves_unread_is_verified_before_it_counts() {
    let dir = fast_dir();
    let folder = two();
    let last = folder.used(&name(200)) - 40;
    folder.with(&name(200), |bytes| bytes[last] ^= 1).write(dir.path());
    let (mut store, _) = open(dir.path());
    let loaded = store.load(0..=200, |reader| reader.next_chunk().map(|chunk| chunk.map(<[u8]>::to_vec)));
    assert_eq!(loaded.expect("the older one").state, Some((100, Some(chunks(100)[0].clone()))));
}

#[test]
fn any_byte_flipped_and_any_length_cut_is_noticed() {
    let folder = two();
    let dir = fast_dir();
    for at in 0..folder.0[&name(200)].len() {
        let flipped = folder.with(&name(200), |bytes| bytes[at] ^= 1 << (at % 8));
        let cut = folder.with(&name(200), |bytes| bytes.truncate(at));
        let zeroed = folder.with(&name(200), |bytes| bytes[at..].fill(0));
        let longer = folder.with(&name(200), |bytes| bytes.extend(vec![0; at + 1]));
        for (what, changed) in [("flipped", flipped), ("cut", cut), ("zeroed", zeroed), ("longer", longer)] {
            changed.write(dir.path());
            let (mut store, _) = open(dir.path());
            check_loaded(load(&mut store, 100, 250), 100, 1);
            match load(&mut store, 101, 250) {
                Err(RestoreError::Damaged { file, offset, .. }) => {
                    assert_eq!(file, dir.path().join(name(200)), "{what} at {at}");
                    assert!(offset <= changed.0[&name(200)].len() as u64, "{what} at {at}: {offset}");
                }
                other => panic!("{what} at {at}: {other:?}"),
            }
            assert_eq!(Folder::of(dir.path()), changed, "reading changes nothing");
        }
    }
}

#[test]
fn a_file_under_another_name_is_damage() {
    let dir = fast_dir();
    let mut folder = two();
    let older = folder.0[&name(100)].clone();
    folder.0.insert(name(300), older);
    folder.write(dir.path());
    let (mut store, _) = open(dir.path());
    assert!(store.list()[0].damage.is_some());
    check_loaded(load(&mut store, 0, 400), 200, 1);
}

#[test]
fn a_folder_of_another_log_or_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = fast_dir();
    let folder = two();
    folder.write(dir.path());
    match Checkpoints::open(dir.path(), CheckpointOptions::new(LOG + 1)) {
        Err(OpenError::OtherLog { found, expected, .. }) => assert_eq!((found, expected), (LOG, LOG + 1)),
        other => panic!("{other:?}"),
    }
    folder
        .with(&name(200), |bytes| {
            bytes[12..16].copy_from_slice(&2_u32.to_le_bytes());
            let checksum = crc32c::crc32c(&bytes[12..40]);
            bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        })
        .write(dir.path());
    let before = Folder::of(dir.path());
    match Checkpoints::open(dir.path(), options()) {
        Err(OpenError::Version { found, supported, .. }) => assert_eq!((found, supported), (2, 1)),
        other => panic!("{other:?}"),
    }
    assert_eq!(Folder::of(dir.path()), before);
}

#[test]
fn a_folder_has_one_owner_and_options_have_bounds() {
    let dir = fast_dir();
    let (store, _) = open(dir.path());
    assert!(matches!(Checkpoints::open(dir.path(), options()), Err(OpenError::Locked { .. })));
    drop(store);
    open(dir.path());
    for keep in [0, 17] {
        let opened = Checkpoints::open(dir.path(), CheckpointOptions { keep, ..options() });
        assert!(matches!(opened, Err(OpenError::Option { name: "keep", .. })));
    }
}

#[test]
fn a_checkpoint_can_be_read_to_its_end_while_newer_ones_replace_it() {
    let dir = fast_dir();
    let (mut store, _) = open(dir.path());
    let info = write(&mut store, 1).expect("a checkpoint");
    let mut reader = store.read(&info).expect("it opens");
    [2, 3, 4].iter().for_each(|through| drop(write(&mut store, *through).expect("a checkpoint")));
    assert!(!info.file.exists());
    reader.finish().expect("the reader holds the file");
    assert_eq!(reader.bytes_read(), info.bytes);
    assert!(matches!(store.read(&info), Err(RestoreError::Io { .. })), "for the next reader it is gone");
}

/// Fails operation number `at`, counted from when it is armed, and all after it, until it is disarmed.
#[derive(Clone, Default)]
struct Fault(Arc<Mutex<Option<(usize, io::ErrorKind)>>>);

impl DiskHook for Fault {
    fn before(&self, _op: &DiskOp<'_>) -> io::Result<()> {
        match &mut *self.0.lock().expect("no test panics here") {
            None => Ok(()),
            Some((0, kind)) => Err((*kind).into()),
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_operation_costs_only_the_checkpoint_being_written() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        let mut poisoned = 0;
        for at in 0.. {
            let dir = fast_dir();
            let fault = Fault::default();
            let hooked = CheckpointOptions { disk_hook: Some(Arc::new(fault.clone())), ..options() };
            let (mut store, _) = Checkpoints::open(dir.path(), hooked).expect("the folder opens");
            [100, 200].iter().for_each(|through| drop(write(&mut store, *through).expect("a checkpoint")));
            *fault.0.lock().expect("no test panics here") = Some((at, kind));
            let written = write(&mut store, 300);
            *fault.0.lock().expect("no test panics here") = None;
            let acknowledged = written.is_ok();
            if let Err(error) = written {
                let full = matches!(error, CheckpointError::DiskFull { .. });
                assert_eq!(full, kind == io::ErrorKind::StorageFull, "{error}");
                check_loaded(load(&mut store, 200, 300), 200, 0);
            }
            match write(&mut store, 400) {
                Ok(_) => check_loaded(load(&mut store, 400, 400), 400, 0),
                Err(CheckpointError::Poisoned { .. }) => poisoned += 1,
                Err(error) => panic!("operation {at}: {error}"),
            }
            drop(store);
            let (mut store, _) = open(dir.path());
            check_loaded(load(&mut store, 0, 400), store.list()[0].through, 0);
            assert!(store.list()[0].through >= if acknowledged { 300 } else { 200 });
            if acknowledged && throughs(&store) == [400, 300] {
                break;
            }
            assert!(at < 20, "a checkpoint has an end");
        }
        assert_eq!(poisoned, 4, "the rename, the sync of its name, and what removes the oldest");
    }
}
