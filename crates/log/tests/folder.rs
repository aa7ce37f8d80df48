//! Whose folder it is, who may open it, and how its files grow.

mod common;

use std::path::Path;

use common::{Folder, fast_dir, group, open, open_error, options, read_all, segment};
use dovetail_log::checkpoint::{CheckpointOptions, Checkpoints, RestoreError};
use dovetail_log::{AppendError, CLUSTER_BYTES_MAX, EmbeddedLog, Log, OpenError, Options, RECORD_BYTES_LIMIT, Record};

#[test]
fn a_folder_that_is_open_is_refused_and_the_error_says_who_holds_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (log, _) = open(dir.path());
    let error = open_error(dir.path());
    assert!(matches!(&error, OpenError::Locked { dir: locked, .. } if locked == dir.path()));
    let message = error.to_string();
    assert!(message.contains(&format!("(pid {})", std::process::id())), "{message}");
    drop(log);
    open(dir.path());
}

#[test]
fn a_folder_stays_locked_though_its_lock_file_is_deleted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, _) = open(dir.path());
    std::fs::remove_file(dir.path().join("lock")).expect("the lock file is there");
    for _ in 0..2 {
        let error = open_error(dir.path());
        assert!(matches!(&error, OpenError::Locked { .. }), "{error}");
    }
    log.append(&group(1, 1, 1)).expect("the owner goes on");
    drop(log);
    open(dir.path());
}

#[test]
fn checkpoints_stay_locked_though_their_lock_file_is_deleted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let held = Checkpoints::open(dir.path(), CheckpointOptions::new(7)).expect("a folder of its own");
    std::fs::remove_file(dir.path().join("lock")).expect("the lock file is there");
    let error = Checkpoints::open(dir.path(), CheckpointOptions::new(7)).expect_err("it is open");
    assert!(matches!(&error, OpenError::Locked { .. }), "{error}");
    drop(held);
    Checkpoints::open(dir.path(), CheckpointOptions::new(7)).expect("it is free again");
}

#[test]
fn a_version_that_locks_only_the_file_is_kept_out_and_keeps_others_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (log, _) = open(dir.path());
    let file = std::fs::File::open(dir.path().join("lock")).expect("the lock file is there");
    assert!(file.try_lock().is_err(), "it is locked beside the folder");
    drop(log);
    file.try_lock().expect("it is free again");
    assert!(matches!(open_error(dir.path()), OpenError::Locked { .. }));
}

/// Renaming a folder that is open takes the lock with it; a new one in its place is another's.
#[test]
fn a_log_whose_folder_was_moved_or_replaced_begins_no_segment_there() {
    for replaced in [false, true] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (path, moved) = (dir.path().join("log"), dir.path().join("moved"));
        let (mut log, _) = open(&path);
        log.append(&group(1, 1, 1)).expect("an append");
        std::fs::rename(&path, &moved).expect("it can be renamed");
        let other = replaced.then(|| open(&path).0);
        log.append(&group(2, 2, 1)).expect("the segment is still the folder's, wherever that is");
        let error = log.append(&group(3, 3, 100_000)).expect_err("the next segment would go to another folder");
        assert!(matches!(&error, AppendError::Failed { file, .. } if *file == path), "{error}");
        let why = if replaced { "another folder has its name" } else { "it was moved or removed" };
        assert!(error.to_string().contains(why), "{error}");
        assert!(matches!(log.append(&group(3, 3, 1)), Err(AppendError::Poisoned { .. })));
        drop(log);
        assert_eq!(path.exists(), replaced, "nothing was made in its place");
        if let Some(mut other) = other {
            other.append(&group(1, 1, 100_000)).expect("nobody took its files away");
        }
        assert_eq!(read_all(&open(&moved).0), [group(1, 1, 1), group(2, 2, 1)].concat());
    }
}

#[test]
fn checkpoints_whose_folder_was_replaced_are_not_written_into_the_new_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("checkpoints");
    let (mut checkpoints, _) = Checkpoints::open(&path, CheckpointOptions::new(7)).expect("a folder of its own");
    let writer = checkpoints.begin(5).expect("the first");
    std::fs::rename(&path, dir.path().join("moved")).expect("it can be renamed");
    std::fs::create_dir(&path).expect("another in its place");
    let error = writer.commit().expect_err("it would get its name elsewhere").to_string();
    assert!(error.contains("another folder has its name"), "{error}");
    assert_eq!(Folder::of(&path).0.len(), 0);
}

#[test]
fn nothing_is_acknowledged_into_a_segment_that_was_deleted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, _) = open(dir.path());
    log.append(&group(1, 1, 1)).expect("an append");
    std::fs::remove_file(dir.path().join(segment(1))).expect("the segment is there");
    let error = log.append(&group(2, 2, 1)).expect_err("it would be gone with the process").to_string();
    assert!(error.contains("it was deleted while it was open"), "{error}");
    assert_eq!(log.last(), 1, "and nobody reads it");
}

#[test]
fn a_folder_of_another_cluster_is_refused_and_the_error_shows_both_names() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    drop(EmbeddedLog::open(dir.path(), Options::new("berlin")).expect("the log opens"));
    let error = EmbeddedLog::open(dir.path(), Options::new("paris")).expect_err("another cluster");
    assert!(
        matches!(&error, OpenError::OtherCluster { found, expected, .. } if (found.as_str(), expected.as_str()) == ("berlin", "paris"))
    );
    let message = error.to_string();
    assert!(message.ends_with("belongs to cluster \"berlin\", not to \"paris\""), "{message}");
    drop(EmbeddedLog::open(dir.path(), Options::new("berlin")).expect("its own cluster opens it"));
}

#[test]
fn a_log_keeps_its_identity_and_no_two_share_one() {
    let (dir, other) = (tempfile::tempdir().expect("a temporary folder"), tempfile::tempdir().expect("another"));
    let (log, report) = open(dir.path());
    assert!(report.created);
    assert_eq!(report.log_id, log.log_id());
    drop(log);
    let (_log, again) = open(dir.path());
    assert_eq!((again.created, again.log_id), (false, report.log_id));
    assert_ne!(open(other.path()).1.log_id, report.log_id);
}

#[test]
fn folders_are_created_as_deep_as_needed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let deep = dir.path().join("a/b/log");
    let (mut log, _) = open(&deep);
    log.append(&group(1, 1, 1)).expect("an append");
    assert!(deep.join(segment(1)).is_file());
}

#[test]
fn options_outside_their_bounds_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let refused = |options: Options| match EmbeddedLog::open(dir.path(), options) {
        Err(OpenError::Option { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Options::new("")), "cluster (its length in bytes)");
    assert_eq!(refused(Options::new("x".repeat(CLUSTER_BYTES_MAX + 1))), "cluster (its length in bytes)");
    assert_eq!(refused(Options { segment_bytes: 8191, ..options() }), "segment_bytes");
    assert_eq!(refused(Options { segment_bytes: u64::MAX, ..options() }), "segment_bytes");
    assert_eq!(refused(Options { record_bytes_max: RECORD_BYTES_LIMIT + 1, ..options() }), "record_bytes_max");
    assert_eq!(Folder::of(dir.path()).0.len(), 0, "nothing is created for options that are refused");
}

#[test]
fn a_record_above_the_limit_is_refused_and_one_already_there_is_still_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, _) = open(dir.path());
    log.append(&group(1, 1, 5000)).expect("an append");
    drop(log);
    let (mut log, _) =
        EmbeddedLog::open(dir.path(), Options { record_bytes_max: 1000, ..options() }).expect("the log opens");
    log.append(&group(2, 2, 1000)).expect("a record of just the limit");
    match log.append(&[Record::new(3, vec![0; 10]), Record::new(4, vec![0; 1001])]) {
        Err(AppendError::RecordTooLarge { through, bytes, bytes_max }) => {
            assert_eq!((through, bytes, bytes_max), (4, 1001, 1000));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(read_all(&log), [group(1, 1, 5000), group(2, 2, 1000)].concat());
}

#[test]
fn segments_follow_one_another_and_reading_crosses_them() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, _) = open(dir.path());
    let records = group(1, 200, 300);
    for group in records.chunks(5) {
        log.append(group).expect("an append");
    }
    assert_eq!(read_all(&log), records);
    for after in 0..200 {
        let read = log.reader().read_after(after, 3000).expect("a read");
        assert_eq!(read, records[after as usize..][..read.len()], "after {after}");
        assert!(read.len() >= 9 || after + 9 > 200);
    }
    drop(log);
    let (log, report) = open(dir.path());
    assert_eq!((report.records, report.last), (200, 200));
    assert_eq!(report.segments, 20, "two groups of 1620 bytes in each");
    assert_eq!(read_all(&log), records);
    let names: Vec<_> = Folder::of(dir.path()).0.into_keys().filter(|name| name.ends_with(".seg")).collect();
    assert_eq!(names, (1..=20).map(segment).collect::<Vec<_>>());
}

#[test]
fn an_append_larger_than_a_segment_gets_one_of_its_size() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, _) = open(dir.path());
    let groups = [group(1, 1, 10), group(2, 4, 100_000), group(5, 5, 10)];
    for group in &groups {
        log.append(group).expect("an append");
    }
    assert_eq!(read_all(&log), groups.concat());
    drop(log);
    let (log, report) = open(dir.path());
    assert_eq!((report.torn, report.segments), (None, 3));
    assert_eq!(read_all(&log), groups.concat());
    assert_eq!(log.reader().read_after(2, 0).expect("a read"), groups[1][1..2], "the middle of a large group");
}

#[test]
fn a_killed_creation_is_begun_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    open(dir.path());
    std::fs::remove_file(dir.path().join("meta")).expect("the file written last");
    let (_log, report) = open(dir.path());
    assert!(report.created);
}

/// `tests/golden/v1` was written by the first version of the format, with [`options`] and these records. It is never
/// written again: a change that cannot open it needs a new format version, and a way to read this one.
#[test]
fn the_golden_folder_keeps_opening() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Folder::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")).write(dir.path());
    let (mut log, report) = EmbeddedLog::open(dir.path(), Options { segment_bytes: 8192, ..Options::new("golden") })
        .expect("a folder of format version 1 opens");
    assert_eq!((report.created, report.records, report.last, report.segments), (false, 13, 13, 2));
    assert_eq!((report.torn, report.watermark_slot_damaged), (None, false));
    assert_eq!(report.log_id, GOLDEN_LOG_ID);
    assert_eq!(read_all(&log), golden().concat());
    log.append(&group(14, 14, 5000)).expect("and takes appends");
}

/// `tests/golden/v1-trimmed` is a log with its first segment trimmed, and the two checkpoints that allowed it, as the
/// first version that could trim wrote them; both are of format version 1. It is never written again either.
#[test]
fn the_golden_trimmed_folder_and_its_checkpoints_keep_opening() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1-trimmed");
    let (dir, beside) = (fast_dir(), fast_dir());
    Folder::of(&golden.join("log")).write(dir.path());
    Folder::of(&golden.join("checkpoints")).write(beside.path());
    let options = Options { segment_bytes: 8192, ..Options::new("golden") };
    let (mut log, report) = EmbeddedLog::open(dir.path(), options).expect("a trimmed folder of format version 1 opens");
    assert_eq!((report.floor, report.last, report.records, report.segments), (1_000_003, 1_000_012, 9, 2));
    assert_eq!((report.torn, report.watermark_slot_damaged, report.leftovers), (None, false, 0));
    let expected =
        [group(1_000_004, 1_000_006, 1000), group(1_000_007, 1_000_009, 700), group(1_000_010, 1_000_012, 1)];
    assert_eq!(log.reader().read_after(1_000_003, usize::MAX).expect("a read"), expected.concat());
    let opened = Checkpoints::open(beside.path(), CheckpointOptions::new(GOLDEN_TRIMMED_LOG_ID));
    let (mut checkpoints, _) = opened.expect("checkpoints of format version 1 open");
    assert_eq!(checkpoints.trim_point(), Some(1_000_003));
    let loaded = checkpoints.load(log.floor()..=log.last(), |reader| {
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            chunks.push(chunk.to_vec());
        }
        Ok::<_, RestoreError>(chunks)
    });
    let chunks = vec![b"golden".to_vec(), vec![], 1_000_006_u64.to_le_bytes().to_vec()];
    assert_eq!(loaded.expect("they can be read").state, Some((1_000_006, chunks)));
    log.append(&group(1_000_013, 1_000_013, 5000)).expect("and the log takes appends");
}

const GOLDEN_TRIMMED_LOG_ID: u128 = 0xff53_2579_78a0_a0e4_04e3_fb3f_c5c0_54f6;
const GOLDEN_LOG_ID: u128 = 0xf954_a9c3_76fc_b15b_52c8_2aa6_6d1a_ab3c;

fn golden() -> [Vec<Record>; 4] {
    [group(1, 1, 0), group(2, 4, 700), group(5, 6, 1500), group(7, 13, 1)]
}

#[test]
fn a_copy_has_the_id_of_its_log_and_a_folder_of_another_is_refused() {
    let dir = fast_dir();
    assert_eq!(EmbeddedLog::identify(dir.path()).unwrap(), None);
    let of = |log_id| Options { log_id, ..Options::new("paris") };
    let (log, report) = EmbeddedLog::open(dir.path(), of(Some(7))).unwrap();
    assert_eq!((log.log_id(), report.log_id), (7, 7));
    drop(log);
    assert_eq!(EmbeddedLog::identify(dir.path()).unwrap(), Some((7, "paris".to_owned())));
    assert_eq!(EmbeddedLog::open(dir.path(), of(None)).unwrap().0.log_id(), 7);
    let refused = EmbeddedLog::open(dir.path(), of(Some(8))).unwrap_err();
    assert!(matches!(refused, OpenError::OtherLog { found: 7, expected: 8, .. }), "{refused}");
}
