//! An append cut short by a crash is removed for good, reported, and all of it or nothing.

mod common;

use common::{Chance, Folder, SEGMENT_HEADER_BYTES, fast_dir, group, open, read_all, segment};
use dovetail_log::{EmbeddedLog, Log, Options, TornTail};

/// A log before and after one more append, as files; the watermark after it as before it, for power may be lost.
fn before_and_after() -> (Folder, Folder) {
    let dir = fast_dir();
    let (mut log, _) = open(dir.path());
    log.append(&group(1, 4, 100)).expect("an append");
    let before = Folder::of(dir.path());
    log.append(&group(5, 9, 300)).expect("an append");
    let after = Folder::of(dir.path()).with("watermark", |bytes| bytes.clone_from(&before.0["watermark"]));
    (before, after)
}

#[test]
fn an_append_cut_at_any_byte_is_there_whole_or_not_at_all() {
    let (before, after) = before_and_after();
    let (start, end) = (before.used(&segment(1)), after.used(&segment(1)));
    let dir = fast_dir();
    for cut in start..=end {
        after.with(&segment(1), |bytes| bytes[cut..].fill(0)).write(dir.path());
        let (log, report) = open(dir.path());
        let whole = cut == end;
        assert_eq!(
            read_all(&log),
            group(1, 4, 100).into_iter().chain(group(5, 9, 300)).take(if whole { 9 } else { 4 }).collect::<Vec<_>>()
        );
        assert_eq!((report.last, report.records), if whole { (9, 9) } else { (4, 4) });
        let torn = after.0[&segment(1)][start..cut].iter().rposition(|byte| *byte != 0).map(|last| TornTail {
            file: dir.path().join(segment(1)),
            offset: start as u64,
            bytes: last as u64 + 1,
        });
        assert_eq!(report.torn, torn.filter(|_| !whole), "cut at {cut}");
    }
}

#[test]
fn an_append_of_which_any_sectors_are_missing_is_removed_and_appending_goes_on() {
    let (before, after) = before_and_after();
    let (start, end) = (before.used(&segment(1)), after.used(&segment(1)));
    let sectors: Vec<_> =
        (start / 512..=end / 512).map(|sector| (sector * 512).max(start)..(sector * 512 + 512).min(end)).collect();
    let dir = fast_dir();
    for kept in 0..1_u32 << sectors.len() {
        let missing = sectors.iter().enumerate().filter(|(n, _)| kept & (1 << n) == 0);
        let folder = after.with(&segment(1), |bytes| missing.for_each(|(_, sector)| bytes[sector.clone()].fill(0)));
        folder.write(dir.path());
        let (mut log, report) = open(dir.path());
        let whole = kept + 1 == 1 << sectors.len();
        assert_eq!(report.torn.is_some(), kept != 0 && !whole);
        log.append(&group(20, 20, 10)).expect("appending works after a cut");
        drop(log);
        let (log, report) = open(dir.path());
        assert_eq!(report.torn, None, "what was cut stays cut");
        let kept = if whole { 9 } else { 4 };
        let expected: Vec<_> =
            [group(1, 4, 100), group(5, 9, 300)].concat().into_iter().take(kept).chain(group(20, 20, 10)).collect();
        assert_eq!(read_all(&log), expected);
    }
}

#[test]
fn bytes_of_a_torn_append_never_come_back_behind_a_shorter_one() {
    let (before, after) = before_and_after();
    let start = before.used(&segment(1));
    let dir = fast_dir();
    // The header is lost, the records behind it are all intact.
    after.with(&segment(1), |bytes| bytes[start..start + 40].fill(0)).write(dir.path());
    let (mut log, report) = open(dir.path());
    assert!(report.torn.is_some());
    assert_eq!(Folder::of(dir.path()).used(&segment(1)), start, "the cut is made in the file");
    // One record of the same size as the torn append's first: its end is where the torn append's second record began.
    log.append(&group(5, 5, 300)).expect("an append");
    let killed = Folder::of(dir.path());
    drop(log);
    let dir = fast_dir();
    killed.write(dir.path());
    let (log, report) = open(dir.path());
    assert_eq!((report.torn, report.last), (None, 5));
    assert_eq!(read_all(&log), [group(1, 4, 100), group(5, 5, 300)].concat());
}

#[test]
fn rubbish_after_the_tail_is_removed_and_touches_no_record() {
    let (before, _) = before_and_after();
    let start = before.used(&segment(1));
    let mut chance = Chance(7);
    for _ in 0..200 {
        let dir = fast_dir();
        let from = start + chance.below(8192 - start);
        let rubbish = before.with(&segment(1), |bytes| bytes[from..].fill_with(|| chance.draw() as u8 | 1));
        rubbish.write(dir.path());
        let (log, report) = open(dir.path());
        assert_eq!(report.torn.map(|torn| (torn.offset, torn.bytes)), Some((start as u64, (8192 - start) as u64)));
        assert_eq!(read_all(&log), group(1, 4, 100));
        assert_eq!(Folder::of(dir.path()).0[&segment(1)], before.0[&segment(1)]);
    }
}

#[test]
fn the_first_append_of_a_segment_may_be_torn_as_well() {
    let dir = fast_dir();
    let (mut log, _) = open(dir.path());
    log.append(&group(1, 3, 1000)).expect("an append");
    let mut older = Folder::of(dir.path());
    log.append(&group(4, 6, 1000)).expect("an append");
    let killed = Folder::of(dir.path());
    drop(log);
    older.0.insert(segment(2), killed.0[&segment(2)].clone());
    for watermark in [&older, &killed] {
        let dir = fast_dir();
        let torn = older.with(&segment(2), |bytes| bytes[SEGMENT_HEADER_BYTES + 1500..].fill(0));
        torn.with("watermark", |bytes| bytes.clone_from(&watermark.0["watermark"])).write(dir.path());
        let opened = EmbeddedLog::open(dir.path(), common::options());
        if std::ptr::eq(watermark, &older) {
            let (log, report) = opened.expect("nothing says that it was acknowledged");
            assert_eq!(report.torn.map(|torn| torn.file), Some(dir.path().join(segment(2))));
            assert_eq!(read_all(&log), group(1, 3, 1000));
        } else {
            opened.expect_err("the watermark says that it was acknowledged");
        }
    }
}

#[test]
fn a_group_that_follows_proves_the_one_before_even_without_the_watermark() {
    let (before, after) = before_and_after();
    let dir = fast_dir();
    after.write(dir.path());
    let (mut log, _) = open(dir.path());
    log.append(&group(10, 10, 10)).expect("an append");
    let proven = Folder::of(dir.path()).with("watermark", |bytes| bytes.clone_from(&before.0["watermark"]));
    drop(log);
    let start = before.used(&segment(1));
    for at in start..after.used(&segment(1)) {
        let dir = fast_dir();
        proven.with(&segment(1), |bytes| bytes[at] ^= 16).write(dir.path());
        let error = common::open_error(dir.path());
        assert!(matches!(error, dovetail_log::OpenError::Damaged { .. }), "byte {at}: {error}");
    }
}

/// The index of a log is sparse: only an append of some size leaves places in it.
#[test]
fn a_torn_append_leaves_no_trace_in_the_index() {
    let dir = fast_dir();
    let large = || Options { segment_bytes: 1 << 20, ..common::options() };
    let open = || EmbeddedLog::open(dir.path(), large()).expect("the log opens");
    let (mut log, _) = open();
    log.append(&group(1, 4, 100)).expect("an append");
    let before = Folder::of(dir.path());
    log.append(&group(5, 60, 10_000)).expect("an append");
    let after = Folder::of(dir.path());
    drop(log);
    let torn = after.with(&segment(1), |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("records");
        bytes[end - 10..].fill(0);
    });
    torn.with("watermark", |bytes| bytes.clone_from(&before.0["watermark"])).write(dir.path());
    let (mut log, report) = open();
    assert_eq!(report.torn.map(|torn| torn.offset), Some(before.used(&segment(1)) as u64));
    log.append(&group(5, 700, 777)).expect("an append");
    let expected = [group(1, 4, 100), group(5, 700, 777)].concat();
    for after in 0..700 {
        let found = log.reader().read_after(after, 1).expect("a read");
        assert_eq!(found, expected[after as usize..=after as usize]);
    }
}
