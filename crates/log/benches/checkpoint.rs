//! Megabytes per second of a checkpoint written and read, beside what a plain file does.
//!
//! `cargo bench -p dovetail-log --bench checkpoint -- --dir /some/disk [--rounds 7] [--megabytes 1024] [--bytes 100]`
//!
//! Each round runs every contestant once, in turn, and the medians are compared. `plain file` writes the same bytes a
//! mebibyte at a time and syncs once, at the end; reading is from the page cache, where the file just written still is.

#![allow(missing_docs, clippy::print_stdout)]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use dovetail_log::checkpoint::{CheckpointOptions, Checkpoints, RestoreError};

const NAMES: [&str; 4] = ["plain file, written", "checkpoint, written", "plain file, read", "checkpoint, read"];

struct Settings {
    dir: PathBuf,
    rounds: usize,
    megabytes: usize,
    bytes: usize,
}

fn main() {
    let settings = settings();
    let mut rates = vec![Vec::new(); NAMES.len()];
    for round in 0..settings.rounds {
        for contestant in 0..2 {
            let dir = tempfile::tempdir_in(&settings.dir).expect("the folder given with --dir exists");
            let (first, seconds) = match (contestant + round) % 2 {
                0 => (0, plain(dir.path(), &settings)),
                _ => (1, checkpoint(dir.path(), &settings)),
            };
            for (row, seconds) in [first, first + 2].into_iter().zip(seconds) {
                rates[row].push(settings.megabytes as f64 * 1.048_576 / seconds);
            }
        }
    }
    report(&mut rates, &settings);
}

fn report(rates: &mut [Vec<f64>], settings: &Settings) {
    let Settings { rounds, megabytes, bytes, dir } = settings;
    println!("{megabytes} MiB in chunks of {bytes} bytes, medians of {rounds} rounds, {}", dir.display());
    println!("{:<24}{:>10}{:>10}{:>10}{:>10}", "", "MB/s", "lowest", "highest", "ratio");
    for rates in rates.iter_mut() {
        rates.sort_by(f64::total_cmp);
    }
    for (row, (name, found)) in NAMES.iter().zip(rates.iter()).enumerate() {
        let (median, lowest, highest) = (found[rounds / 2], found[0], found[rounds - 1]);
        let ratio = median / rates[row / 2 * 2][rounds / 2];
        println!("{name:<24}{median:>10.0}{lowest:>10.0}{highest:>10.0}{ratio:>10.2}");
    }
}

/// Seconds to write and to read.
fn plain(dir: &Path, settings: &Settings) -> [f64; 2] {
    let path = dir.join("plain");
    let mut block = vec![7; 1 << 20];
    let start = Instant::now();
    let mut file = File::create(&path).expect("a file");
    (0..settings.megabytes).for_each(|_| file.write_all(&block).expect("a write"));
    file.sync_all().expect("a sync");
    let written = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut file = File::open(&path).expect("a file");
    while file.read(&mut block).expect("a read") > 0 {}
    [written, start.elapsed().as_secs_f64()]
}

/// Seconds to write and to read.
fn checkpoint(dir: &Path, settings: &Settings) -> [f64; 2] {
    let (mut store, _) = Checkpoints::open(dir, CheckpointOptions::new(1)).expect("a folder");
    let chunk = vec![7; settings.bytes];
    let chunks = (settings.megabytes << 20) / settings.bytes;
    let start = Instant::now();
    let mut writer = store.begin(1).expect("a checkpoint");
    (0..chunks).for_each(|_| writer.chunk(&chunk).expect("a chunk"));
    writer.commit().expect("a checkpoint");
    let written = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let loaded = store.load(1..=1, |reader| {
        let mut chunks = 0;
        while reader.next_chunk()?.is_some() {
            chunks += 1;
        }
        Ok::<_, RestoreError>(chunks)
    });
    assert_eq!(loaded.expect("a checkpoint").state, Some((1, chunks)));
    [written, start.elapsed().as_secs_f64()]
}

fn settings() -> Settings {
    let mut settings = Settings { dir: std::env::temp_dir(), rounds: 7, megabytes: 1024, bytes: 100 };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().expect("each option has a value");
        let number = || value.parse().expect("a number");
        match name.as_str() {
            "--dir" => settings.dir = value.into(),
            "--rounds" => settings.rounds = number(),
            "--megabytes" => settings.megabytes = number(),
            "--bytes" => settings.bytes = number(),
            _ => panic!("unknown option {name}"),
        }
    }
    settings
}
