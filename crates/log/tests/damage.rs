//! A log that was damaged says so, or has everything that was acknowledged. It is never silently shorter.

mod common;

use std::path::Path;

use common::{Folder, SEGMENT_HEADER_BYTES, fast_dir, group, open, open_error, options, segment};
use dovetail_log::{EmbeddedLog, Log, OpenError, Options, ReadError, Record};

/// Three segments, the last of them with two groups; the last group acknowledged, but not yet in `older`'s watermark.
struct Sample {
    records: Vec<Record>,
    last_group: usize,
    closed: Folder,
    killed: Folder,
    older: Folder,
}

fn sample() -> Sample {
    let dir = fast_dir();
    let (mut log, _) = open(dir.path());
    let groups = [(1, 3, 900), (4, 6, 1000), (7, 8, 0), (9, 12, 700), (13, 20, 30)].map(|(a, b, n)| group(a, b, n));
    let mut older = None;
    for records in &groups {
        older = Some(Folder::of(dir.path()));
        log.append(records).expect("an append");
    }
    let killed = Folder::of(dir.path());
    assert!(killed.0.contains_key(&segment(3)) && !killed.0.contains_key(&segment(4)));
    log.close().expect("the log closes");
    let closed = Folder::of(dir.path());
    let records = groups.concat();
    Sample { records, last_group: groups[4].len(), closed, killed, older: older.expect("there were appends") }
}

/// Opens `folder`; whatever opens must hold all of `records`, or, when that is allowed, a reported torn tail fewer.
fn check(dir: &Path, folder: &Folder, records: &[Record], may_lack: usize, what: &str) {
    folder.write(dir);
    // Thousands of times, so without a thread.
    match EmbeddedLog::open(dir, Options { foreground: true, ..options() }) {
        Ok((log, report)) => {
            let found = log.reader().read_after(log.floor(), usize::MAX).expect("the log can be read");
            let lacking = records.len() - found.len().min(records.len());
            assert!(lacking == 0 || (lacking == may_lack && report.torn.is_some()), "{what}: {report:?}");
            assert_eq!(found, records[..records.len() - lacking], "{what}: {report:?}");
        }
        Err(OpenError::Damaged { file, offset, .. }) => {
            let length = folder.0.get(file.file_name().expect("a name").to_str().expect("in UTF-8")).map(Vec::len);
            assert!(offset <= length.unwrap_or(0) as u64, "{what}: {} has no byte {offset}", file.display());
            assert_eq!(&Folder::of(dir), folder, "{what}: a log that does not open is left as it is");
        }
        Err(OpenError::Version { .. }) => {}
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Every byte that says something, and every 251st of the zeros after it.
fn places(folder: &Folder) -> impl Iterator<Item = (&String, usize)> {
    folder.0.iter().flat_map(|(name, bytes)| {
        let used = folder.used(name).min(bytes.len());
        // The rest of a header's block, and of a slot's.
        let header = match name.as_str() {
            "watermark" => 68..4096,
            name if name.ends_with(".seg") => 64..SEGMENT_HEADER_BYTES,
            _ => 0..0,
        };
        (0..bytes.len())
            .filter(move |at| (*at < used && !header.contains(at)) || at % 251 == 0)
            .map(move |at| (name, at))
    })
}

#[test]
fn any_byte_flipped_in_a_closed_or_killed_log_loses_nothing_silently() {
    let sample = sample();
    let dir = fast_dir();
    for folder in [&sample.closed, &sample.killed] {
        for (name, at) in places(folder) {
            let damaged = folder.with(name, |bytes| bytes[at] ^= 1 << (at % 8));
            check(dir.path(), &damaged, &sample.records, 0, &format!("bit flipped in byte {at} of {name}"));
        }
    }
}

#[test]
fn any_byte_flipped_after_power_loss_costs_at_most_the_last_group_and_is_reported() {
    let sample = sample();
    let dir = fast_dir();
    let lost = sample.killed.with("watermark", |bytes| bytes.clone_from(&sample.older.0["watermark"]));
    check(dir.path(), &lost, &sample.records, 0, "nothing flipped");
    for (name, at) in places(&lost) {
        let damaged = lost.with(name, |bytes| bytes[at] ^= 0x80 >> (at % 8));
        check(dir.path(), &damaged, &sample.records, sample.last_group, &format!("bit flipped in byte {at} of {name}"));
    }
}

#[test]
fn a_file_cut_at_any_length_loses_nothing_silently() {
    let sample = sample();
    let dir = fast_dir();
    for (name, at) in places(&sample.closed) {
        let damaged = sample.closed.with(name, |bytes| bytes.truncate(at));
        check(dir.path(), &damaged, &sample.records, 0, &format!("{name} cut to {at} bytes"));
        let zeroed = sample.closed.with(name, |bytes| bytes[at..].fill(0));
        check(dir.path(), &zeroed, &sample.records, 0, &format!("{name} zero from byte {at} on"));
    }
}

/// A log whose first segment was trimmed; `older` is from before. `records` is what is above the floor.
fn trimmed_sample() -> Sample {
    let dir = fast_dir();
    let (mut log, _) = open(dir.path());
    let groups = [group(1, 1, 4000), group(2, 3, 50), group(4, 6, 20)];
    groups.iter().for_each(|records| log.append(records).expect("an append"));
    let older = Folder::of(dir.path());
    assert_eq!((log.trim(2).expect("a trim"), log.segments().len()), (1, 1), "the first segment is gone");
    let killed = Folder::of(dir.path());
    log.close().expect("the log closes");
    let closed = Folder::of(dir.path());
    Sample { records: groups[1..].concat(), last_group: 3, closed, killed, older }
}

#[test]
fn any_byte_flipped_or_cut_in_a_trimmed_log_loses_nothing_silently() {
    let sample = trimmed_sample();
    let dir = fast_dir();
    for folder in [&sample.closed, &sample.killed] {
        for (name, at) in places(folder) {
            let flipped = folder.with(name, |bytes| bytes[at] ^= 1 << (at % 8));
            check(dir.path(), &flipped, &sample.records, 0, &format!("bit flipped in byte {at} of {name}"));
        }
    }
    for (name, at) in places(&sample.closed) {
        let cut = sample.closed.with(name, |bytes| bytes.truncate(at));
        check(dir.path(), &cut, &sample.records, 0, &format!("{name} cut to {at} bytes"));
        let zeroed = sample.closed.with(name, |bytes| bytes[at..].fill(0));
        check(dir.path(), &zeroed, &sample.records, 0, &format!("{name} zero from byte {at} on"));
    }
}

/// A crash in the middle of a trim and damage to what it left, at once.
#[test]
fn any_byte_flipped_in_a_leftover_is_of_no_consequence_and_none_of_it_is_served() {
    let sample = trimmed_sample();
    let leftover = sample.older.0[&segment(1)].clone();
    let dir = fast_dir();
    for at in (0..leftover.len()).step_by(37) {
        let mut folder = sample.killed.clone();
        let mut bytes = leftover.clone();
        bytes[at] ^= 1;
        folder.0.insert(segment(1), bytes);
        folder.write(dir.path());
        let (log, report) = open(dir.path());
        assert_eq!((report.leftovers, report.floor), (1, 1));
        assert_eq!(log.reader().read_after(1, usize::MAX).expect("a read"), sample.records);
    }
}

#[test]
fn a_missing_file_is_damage() {
    let sample = sample();
    for name in sample.closed.0.keys() {
        let dir = fast_dir();
        let mut folder = sample.closed.clone();
        folder.0.remove(name);
        folder.write(dir.path());
        match open_error(dir.path()) {
            OpenError::Damaged { file, .. } => assert_eq!(file, dir.path().join(name)),
            error => panic!("{name} missing: {error}"),
        }
    }
}

#[test]
fn damage_is_reported_with_file_and_offset_and_changes_nothing() {
    let sample = sample();
    let dir = fast_dir();
    // The bytes of the first record of the first group: 40 bytes of group header, 16 of record header.
    let record = SEGMENT_HEADER_BYTES + 40;
    let damaged = sample.closed.with(&segment(1), |bytes| bytes[record + 16 + 5] ^= 1);
    damaged.write(dir.path());
    match open_error(dir.path()) {
        OpenError::Damaged { file, offset, .. } => {
            assert_eq!((file, offset), (dir.path().join(segment(1)), record as u64));
        }
        error => panic!("{error}"),
    }
    assert_eq!(Folder::of(dir.path()), damaged);
}

#[test]
fn zeros_where_the_watermark_knows_records_are_damage() {
    let sample = sample();
    let dir = fast_dir();
    sample.killed.with(&segment(3), |bytes| bytes[SEGMENT_HEADER_BYTES..].fill(0)).write(dir.path());
    match open_error(dir.path()) {
        OpenError::Damaged { offset, .. } => assert_eq!(offset, SEGMENT_HEADER_BYTES as u64),
        error => panic!("{error}"),
    }
}

#[test]
fn a_watermark_of_another_log_or_another_day_is_refused() {
    let (sample, other) = (sample(), sample());
    let dir = fast_dir();
    sample.closed.with("watermark", |bytes| bytes.clone_from(&other.closed.0["watermark"])).write(dir.path());
    assert!(matches!(open_error(dir.path()), OpenError::Damaged { .. }));
    // Segments from a backup that is older than the watermark: what came after the backup was acknowledged.
    sample.closed.with(&segment(3), |bytes| bytes.clone_from(&sample.older.0[&segment(3)])).write(dir.path());
    assert!(matches!(open_error(dir.path()), OpenError::Damaged { .. }));
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (sample, other) = (sample(), sample());
    let dir = fast_dir();
    sample.closed.with(&segment(2), |bytes| bytes.clone_from(&other.closed.0[&segment(2)])).write(dir.path());
    match open_error(dir.path()) {
        OpenError::Damaged { file, what, .. } => {
            assert_eq!((file, what), (dir.path().join(segment(2)), "the segment belongs to another log"));
        }
        error => panic!("{error}"),
    }
}

#[test]
fn a_record_that_rots_while_the_log_is_open_is_an_error_with_file_and_offset() {
    let dir = fast_dir();
    let (mut log, _) = open(dir.path());
    log.append(&group(1, 3, 100)).expect("an append");
    let reader = log.reader();
    let second = SEGMENT_HEADER_BYTES + 40 + 116;
    Folder::of(dir.path()).with(&segment(1), |bytes| bytes[second + 50] ^= 4).write(dir.path());
    let before = reader.read_after(0, usize::MAX).expect("the record before it is intact");
    assert_eq!(before, group(1, 1, 100));
    match reader.read_after(1, usize::MAX) {
        Err(ReadError::Damaged { file, offset, .. }) => {
            assert_eq!((file, offset), (dir.path().join(segment(1)), second as u64));
        }
        other => panic!("{other:?}"),
    }
}

/// Two files of one log that went different ways, after a copy of its folder was taken, are each intact.
#[test]
fn intact_parts_of_two_histories_are_not_taken_for_one() {
    let dir = fast_dir();
    let history = |groups: &[Vec<Record>]| {
        let (mut log, _) = open(dir.path());
        groups.iter().for_each(|records| log.append(records).expect("an append"));
        let killed = Folder::of(dir.path());
        drop(log);
        killed
    };
    let copy = history(&[group(1, 1, 100)]);
    let one = history(&[group(2, 2, 100), group(9, 9, 50)]);
    copy.write(dir.path());
    let other = history(&[group(3, 3, 100), group(9, 9, 50)]);
    copy.write(dir.path());
    let short = history(&[group(2, 2, 40)]);
    let last = one.used(&segment(1)) - (40 + 16 + 50);
    let spliced = one.with(&segment(1), |bytes| bytes[last..].clone_from_slice(&other.0[&segment(1)][last..]));
    let spliced = spliced.with("watermark", |bytes| bytes.clone_from(&copy.0["watermark"]));
    let mixed = one.with("watermark", |bytes| bytes.clone_from(&short.0["watermark"]));
    for (n, folder) in [spliced, mixed].into_iter().enumerate() {
        folder.write(dir.path());
        assert!(matches!(open_error(dir.path()), OpenError::Damaged { .. }), "case {n}");
        assert_eq!(Folder::of(dir.path()), folder, "case {n}: a log that does not open is left as it is");
    }
}

#[test]
fn a_log_just_opened_or_closed_survives_damage_to_a_watermark_slot_and_to_the_last_group_at_once() {
    let sample = sample();
    let dir = fast_dir();
    sample.killed.write(dir.path());
    let (log, _) = open(dir.path());
    let opened = Folder::of(dir.path());
    drop(log);
    for folder in [&opened, &sample.closed] {
        for slot in [0, 4096] {
            let rotten = folder.with("watermark", |bytes| bytes[slot + 30] ^= 1);
            rotten.write(dir.path());
            let (log, report) = open(dir.path());
            assert!(report.watermark_slot_damaged && report.torn.is_none());
            drop(log);
            let last = rotten.used(&segment(3)) - 1;
            rotten.with(&segment(3), |bytes| bytes[last] ^= 1).write(dir.path());
            assert!(matches!(open_error(dir.path()), OpenError::Damaged { .. }), "slot {slot}");
        }
    }
}
