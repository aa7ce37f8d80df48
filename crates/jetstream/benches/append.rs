//! How long an append takes, one at a time, on servers that run.
//!
//! ```console
//! $ cargo bench -p dovetail-jetstream --bench append -- nats://127.0.0.1:4222 3 4096 32768
//! ```
//!
//! Servers, separated by commas; replicas; sizes of groups in bytes. Each run makes a log of its own, `bench-` and a
//! number, which stays: delete its stream.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dovetail_jetstream::{JetStreamEngine, JetStreamOptions};
use dovetail_log::Record;
use dovetail_log::shared::{Group, WriterId, take_over};

/// How long each size is appended.
const LASTS: Duration = Duration::from_secs(4);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let [urls, replicas, sizes @ ..] = &words[..] else {
        println!("give servers, replicas and sizes, such as nats://127.0.0.1:4222 3 4096");
        return Ok(());
    };
    let number = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let urls = urls.split(',').map(str::to_owned).collect();
    let mut options = JetStreamOptions::new(urls, format!("bench-{number}"), 4 << 30);
    options.replicas = replicas.parse()?;
    let engine = JetStreamEngine::open(&options)?;
    engine.preflight().iter().for_each(|told| println!("{told}"));
    let mut writer = take_over(Box::new(engine), None, WriterId(1), "bench", Duration::from_secs(10))?;
    let mut through = 0;
    for size in sizes {
        let bytes: Vec<u8> = (0..size.parse::<usize>()?).map(|n| (n * 31 % 251) as u8).collect();
        let (began, mut took) = (Instant::now(), Vec::new());
        while began.elapsed() < LASTS {
            let records = vec![Record::new(through + 1, bytes.clone())];
            let one = Instant::now();
            writer.append(&Group { after: through, records })?;
            took.push(one.elapsed());
            through += 1;
        }
        let (count, seconds) = (took.len(), began.elapsed().as_secs_f64());
        took.sort_unstable();
        let of = |part: usize| took[(count * part / 100).min(count - 1)];
        println!("{size} bytes: p50 {:?}, p99 {:?}, {:.0} appends/s", of(50), of(99), count as f64 / seconds);
    }
    Ok(())
}
