//! Records appended per second, beside what the disk does without a log.
//!
//! `cargo bench -p dovetail-log --bench append -- --dir /some/disk [--rounds 7] [--megabytes 256] [--group 256]
//! [--bytes 100]`
//!
//! Each round runs every contestant once, in turn, over the same records, and the medians are compared: a disk that is
//! shared and slow for a while is then slow for all of them. `plain file` appends the same bytes and syncs as often.

#![allow(missing_docs, clippy::print_stdout)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dovetail_log::{EmbeddedLog, Log, MemoryLog, Options, Record};

const NAMES: [&str; 6] = [
    "plain file",
    "plain file, zeroed before",
    "MemoryLog",
    "EmbeddedLog",
    "EmbeddedLog, read back",
    "EmbeddedLog, opened again",
];

struct Settings {
    dir: PathBuf,
    rounds: usize,
    megabytes: usize,
    group: usize,
    bytes: usize,
}

fn main() {
    let settings = settings();
    let groups = (settings.megabytes << 20) / (settings.group * settings.bytes);
    let mut rates = vec![Vec::new(); NAMES.len()];
    for round in 0..settings.rounds {
        for contestant in 0..4 {
            let dir = tempfile::tempdir_in(&settings.dir).expect("the folder given with --dir exists");
            let seconds = match (contestant + round) % 4 {
                0 => vec![(0, plain(dir.path(), &settings, groups, false))],
                1 => vec![(1, plain(dir.path(), &settings, groups, true))],
                2 => vec![(2, append(&mut MemoryLog::new(), &settings, groups))],
                _ => embedded(dir.path(), &settings, groups),
            };
            for (row, seconds) in seconds {
                rates[row].push((groups * settings.group) as f64 / seconds);
            }
        }
    }
    report(&mut rates, &settings);
}

fn report(rates: &mut [Vec<f64>], settings: &Settings) {
    let Settings { rounds, megabytes, group, bytes, dir } = settings;
    println!(
        "{bytes}-byte records, {group} to an fsync, {megabytes} MiB, medians of {rounds} rounds, {}",
        dir.display()
    );
    println!("{:<28}{:>14}{:>12}{:>12}{:>12}", "", "records/s", "lowest", "highest", "ratio");
    for rates in rates.iter_mut() {
        rates.sort_by(f64::total_cmp);
    }
    let plain = rates[0][rounds / 2];
    for (name, rates) in NAMES.iter().zip(rates) {
        let (median, lowest, highest) = (rates[rounds / 2], rates[0], rates[rounds - 1]);
        println!("{name:<28}{median:>14.0}{lowest:>12.0}{highest:>12.0}{:>12.2}", median / plain);
    }
}

/// Appends to a file, or overwrites one that was zeroed and synced before the clock starts.
fn plain(dir: &Path, settings: &Settings, groups: usize, zeroed: bool) -> f64 {
    let path = dir.join("plain");
    let group = vec![7; settings.group * settings.bytes];
    if zeroed {
        let mut file = File::create(&path).expect("a file");
        let zeros = vec![0; 1 << 20];
        (0..groups * group.len() / zeros.len() + 1).for_each(|_| file.write_all(&zeros).expect("zeros"));
        file.sync_all().expect("a sync");
    }
    let mut file = File::options().write(true).create(true).truncate(false).open(&path).expect("a file");
    let start = Instant::now();
    for _ in 0..groups {
        file.write_all(&group).expect("a write");
        file.sync_data().expect("a sync");
    }
    start.elapsed().as_secs_f64()
}

/// Appends, reads everything back, and opens the log again: seconds for each.
fn embedded(dir: &Path, settings: &Settings, groups: usize) -> Vec<(usize, f64)> {
    let open = || EmbeddedLog::open(dir, Options::new("bench")).expect("a log");
    let (mut log, _) = open();
    let appending = append(&mut log, settings, groups);
    let start = Instant::now();
    let reader = log.reader();
    let mut after = 0;
    while after < reader.last() {
        after = reader.read_after(after, 1 << 20).expect("a read").last().expect("a record").through;
    }
    let reading = start.elapsed().as_secs_f64();
    drop(log);
    let start = Instant::now();
    let (_log, report) = open();
    let opening = start.elapsed().as_secs_f64();
    assert_eq!(report.records, (groups * settings.group) as u64);
    vec![(3, appending), (4, reading), (5, opening)]
}

fn append(log: &mut dyn Log, settings: &Settings, groups: usize) -> f64 {
    let mut records = vec![Record::new(1, vec![7; settings.bytes]); settings.group];
    let mut through = 0;
    let start = Instant::now();
    for _ in 0..groups {
        for record in &mut records {
            through += 1;
            record.through = through;
        }
        log.append(&records).expect("an append");
    }
    start.elapsed().as_secs_f64()
}

fn settings() -> Settings {
    let mut settings = Settings { dir: std::env::temp_dir(), rounds: 7, megabytes: 256, group: 256, bytes: 100 };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().expect("each option has a value");
        let number = || value.parse().expect("a number");
        match name.as_str() {
            "--dir" => settings.dir = value.into(),
            "--rounds" => settings.rounds = number(),
            "--megabytes" => settings.megabytes = number(),
            "--group" => settings.group = number(),
            "--bytes" => settings.bytes = number(),
            _ => panic!("unknown option {name}"),
        }
    }
    settings
}
