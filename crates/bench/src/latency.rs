//! Latencies as HDR histograms, from 1 us to an hour, to three digits.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// In nanoseconds.
const LOWEST: u64 = 1_000;
const HIGHEST: u64 = 3_600_000_000_000;

/// How latencies are distributed.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(Histogram::new_with_bounds(LOWEST, HIGHEST, 3).expect("the bounds are in order"))
    }
}

impl Latencies {
    /// Adds one. Longer ones count as an hour.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another run.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are within `(above, through]`, by the histogram's digits.
    #[must_use]
    pub fn between(&self, above: Duration, through: Duration) -> u64 {
        let at_most = |bound: Duration| {
            let values =
                self.0.iter_recorded().take_while(|value| u128::from(value.value_iterated_to()) <= bound.as_nanos());
            values.map(|value| value.count_at_value()).sum::<u64>()
        };
        at_most(through) - at_most(above)
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// The shortest.
    #[must_use]
    pub fn min(&self) -> Duration {
        Duration::from_nanos(self.0.min())
    }

    /// In words; none when nothing was recorded.
    #[must_use]
    pub fn quantiles(&self) -> Option<Quantiles> {
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        (!self.is_empty()).then(|| Quantiles {
            count: self.len(),
            mean_ms: round(self.0.mean() / 1e6),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: ms(self.0.max()),
        })
    }
}

/// What is said of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many latencies there are.
    pub count: u64,
    /// Their mean.
    pub mean_ms: f64,
    /// Half are at most this.
    pub p50_ms: f64,
    /// Nine of ten.
    pub p90_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
    /// 999 of a thousand.
    pub p99_9_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

fn ms(ns: u64) -> f64 {
    round(ns as f64 / 1e6)
}

/// To microseconds: more digits than the histogram has would be noise.
fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::ArrivalPace;

    #[test]
    fn quantiles_are_to_three_digits() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantiles(), None);
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let quantiles = latencies.quantiles().unwrap();
        for (found, exact) in [
            (quantiles.p50_ms, 500.0),
            (quantiles.p90_ms, 900.0),
            (quantiles.p99_ms, 990.0),
            (quantiles.p99_9_ms, 999.0),
            (quantiles.max_ms, 1000.0),
        ] {
            assert!((found / exact - 1.0).abs() < 0.001, "{found} is not {exact}");
        }
    }

    #[test]
    fn counts_between_bounds_add_up() {
        let mut latencies = Latencies::default();
        [1, 2, 3, 50].into_iter().for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let ms = Duration::from_millis;
        assert_eq!(latencies.between(Duration::ZERO, ms(5)), 3);
        assert_eq!(latencies.between(ms(5), ms(100)), 1);
    }

    // A loop that sends, waits and sends again would have one slow request here, and 9,999 fast ones.
    #[test]
    fn a_server_that_stands_still_for_a_second_is_seen_by_every_element_of_that_second() {
        let (pace, standstill) = (ArrivalPace::PerSecond(1000.0), Duration::from_secs(2)..Duration::from_secs(3));
        let mut latencies = Latencies::default();
        for position in 0..10_000 {
            let due = pace.due(position).unwrap();
            let answered = if standstill.contains(&due) { standstill.end } else { due };
            latencies.record(answered - due);
        }
        // From 1 ms, which by the histogram's digits may be a little more, to 1 s.
        assert_eq!(latencies.between(Duration::from_micros(900), Duration::from_secs(2)), 1000);
        assert!(latencies.quantiles().unwrap().p99_ms > 850.0);
    }
}
