//! A distribution of latencies as lines of text.

use std::fmt::Write as _;
use std::time::Duration;

use super::latency::Latencies;

/// Columns of the longest bar.
const WIDTH: u64 = 40;

/// A line for each bucket of a 1-2-5 scale that has something, and those between.
#[must_use]
pub fn plot(latencies: &Latencies) -> String {
    let mut text = String::new();
    if latencies.is_empty() {
        return text;
    }
    let buckets: Vec<(Duration, Duration, u64)> = buckets(latencies);
    let most = buckets.iter().map(|&(.., count)| count).max().unwrap_or(1).max(1);
    let (total, mut below) = (latencies.len(), 0);
    for (above, through, count) in buckets {
        below += count;
        let bar = "#".repeat((count * WIDTH).div_ceil(most) as usize);
        let percent = |count: u64| 100.0 * count as f64 / total as f64;
        let _ = writeln!(
            text,
            "  {:>7} .. {:<7}  {bar:<width$}  {:>6.2} %  {:>6.2} %",
            short(above),
            short(through),
            percent(count),
            percent(below),
            width = WIDTH as usize,
        );
    }
    text
}

/// Bounds and counts, from the first bucket that has something to the last.
fn buckets(latencies: &Latencies) -> Vec<(Duration, Duration, u64)> {
    let scale = (0..).map(|step| Duration::from_micros([1, 2, 5][step % 3] * 10_u64.pow(step as u32 / 3)));
    let mut buckets = Vec::new();
    let (mut above, mut counted) = (Duration::ZERO, 0);
    for through in scale {
        let count = latencies.between(above, through);
        if count > 0 || counted > 0 {
            buckets.push((above, through, count));
        }
        counted += count;
        above = through;
        if counted == latencies.len() {
            break;
        }
    }
    buckets
}

/// In the largest unit that leaves a whole number.
fn short(duration: Duration) -> String {
    match duration.as_micros() {
        0 => "0".to_owned(),
        us if us < 1000 => format!("{us} us"),
        us if us < 1_000_000 => format!("{} ms", us / 1000),
        us => format!("{} s", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_buckets_are_full() {
        let mut latencies = Latencies::default();
        for (us, count) in [(700, 10), (900, 30), (1500, 20), (7000, 1)] {
            (0..count).for_each(|_| latencies.record(Duration::from_micros(us)));
        }
        let bar = |length: usize| format!("{:<40}", "#".repeat(length));
        let expected = [
            format!("   500 us .. 1 ms     {}   65.57 %   65.57 %\n", bar(40)),
            format!("     1 ms .. 2 ms     {}   32.79 %   98.36 %\n", bar(20)),
            format!("     2 ms .. 5 ms     {}    0.00 %   98.36 %\n", bar(0)),
            format!("     5 ms .. 10 ms    {}    1.64 %  100.00 %\n", bar(1)),
        ];
        assert_eq!(plot(&latencies), expected.concat());
    }

    #[test]
    fn nothing_has_no_lines() {
        assert_eq!(plot(&Latencies::default()), "");
    }

    #[test]
    fn an_hour_is_on_the_scale() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_secs(7200));
        assert!(plot(&latencies).contains("2000 s .. 5000 s"));
    }
}
