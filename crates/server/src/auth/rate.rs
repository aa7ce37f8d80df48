//! How fast one client may go: buckets that fill at a rate, one for each thing that is counted.
//!
//! Pure: time comes in. What is taken beyond what is there is a debt: the next one waits until it is paid, so a batch
//! that is larger than a bucket passes, once. Invariant: rate.R1 over any stretch of time at most the rate times it,
//! one second's worth and one batch pass.

use std::time::Duration;

/// Rates of one client; 0 for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Elements submitted a second. Above it a stream of submissions is read later, up to a second; then it is refused,
    /// with RESOURCE_EXHAUSTED and RetryInfo, as single calls are at once.
    pub elements_per_s: u64,
    /// Calls and streams begun a second. More are refused with RESOURCE_EXHAUSTED and RetryInfo.
    pub calls_per_s: u64,
    /// Bytes of submissions a second, as they were encoded. Above it, as for elements.
    pub bytes_per_s: u64,
    /// Streams open at a time: `Submit`, `WatchMatches`, `WatchOutcomes`. More are refused with RESOURCE_EXHAUSTED.
    pub streams: u64,
}

impl Rates {
    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        *self == Rates::default()
    }
}

/// What is taken at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Take {
    /// Calls.
    pub calls: u64,
    /// Elements.
    pub elements: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFast {
    /// Of what, as the policy has it.
    pub limit: &'static str,
    /// How much of it a second.
    pub bound: u64,
    /// After how long there is room.
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Duration,
}

impl Bucket {
    /// A bucket holds one second's worth.
    fn fill(&mut self, per_s: u64, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = now.max(self.at);
        self.level = (self.level + passed * per_s as f64).min(per_s as f64);
    }

    /// How long until so much may be taken.
    fn wait(&self, per_s: u64, amount: u64) -> Duration {
        let needed = (amount.min(per_s) as f64 - self.level).max(0.0);
        Duration::try_from_secs_f64(needed / per_s as f64).unwrap_or(Duration::MAX)
    }
}

/// The buckets of one client.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    calls: Option<Bucket>,
    elements: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Buckets {
    /// Takes all of it, to go on after the time returned; or nothing, if that were later than `patience`.
    ///
    /// # Errors
    /// With what bounds it, and when there is room.
    pub fn take(&mut self, rates: &Rates, take: Take, patience: Duration, now: Duration) -> Result<Duration, TooFast> {
        let wanted = [
            ("calls_per_s", &mut self.calls, rates.calls_per_s, take.calls),
            ("elements_per_s", &mut self.elements, rates.elements_per_s, take.elements),
            ("bytes_per_s", &mut self.bytes, rates.bytes_per_s, take.bytes),
        ];
        let bounded = wanted.into_iter().filter(|(_, _, per_s, amount)| *per_s > 0 && *amount > 0);
        let mut taken: Vec<(&mut Bucket, u64)> = Vec::with_capacity(3);
        let mut longest = Duration::ZERO;
        for (limit, bucket, bound, amount) in bounded {
            let bucket = bucket.get_or_insert(Bucket { level: bound as f64, at: now });
            bucket.fill(bound, now);
            let wait = bucket.wait(bound, amount);
            if wait > patience {
                return Err(TooFast { limit, bound, wait });
            }
            longest = longest.max(wait);
            taken.push((bucket, amount));
        }
        taken.into_iter().for_each(|(bucket, amount)| bucket.level -= amount as f64);
        Ok(longest)
    }

    /// Whether all buckets are full again: they are as good as none then.
    #[must_use]
    pub fn is_idle(&self, rates: &Rates, now: Duration) -> bool {
        let all =
            [(self.calls, rates.calls_per_s), (self.elements, rates.elements_per_s), (self.bytes, rates.bytes_per_s)];
        all.into_iter().all(|(bucket, per_s)| {
            bucket.is_none_or(|mut bucket| {
                bucket.fill(per_s, now);
                bucket.level >= per_s as f64
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn elements(elements: u64) -> Take {
        Take { elements, ..Take::default() }
    }

    #[test]
    fn a_second_s_worth_passes_at_once_and_then_the_rate() {
        let rates = Rates { elements_per_s: 100, ..Rates::default() };
        let mut buckets = Buckets::default();
        assert_eq!(buckets.take(&rates, elements(100), s(0), s(10)), Ok(s(0)));
        let refused = buckets.take(&rates, elements(50), s(0), s(10)).unwrap_err();
        assert_eq!(refused, TooFast { limit: "elements_per_s", bound: 100, wait: Duration::from_millis(500) });
        // With patience it goes on later, and calls that come after it later still.
        assert_eq!(buckets.take(&rates, elements(50), s(1), s(10)), Ok(Duration::from_millis(500)));
        assert_eq!(buckets.take(&rates, elements(50), s(1), s(10)), Ok(s(1)));
        assert!(buckets.take(&rates, elements(50), s(1), s(10)).is_err());
        assert_eq!(buckets.take(&rates, elements(100), s(0), s(12)), Ok(s(0)), "what was promised was taken");
    }

    #[test]
    fn a_batch_larger_than_a_second_s_worth_passes_and_is_paid_for() {
        let rates = Rates { elements_per_s: 10, ..Rates::default() };
        let mut buckets = Buckets::default();
        assert_eq!(buckets.take(&rates, elements(1000), s(0), s(0)), Ok(s(0)));
        let refused = buckets.take(&rates, elements(1), s(1), s(0)).unwrap_err();
        assert!(refused.wait > s(99) - Duration::from_millis(1) && refused.wait < s(100), "{refused:?}");
        assert!(!buckets.is_idle(&rates, s(61)) && buckets.is_idle(&rates, s(101)));
        assert!(buckets.take(&rates, elements(1), s(0), s(100)).is_ok());
    }

    #[test]
    fn what_is_not_bounded_is_not_counted_and_a_refusal_takes_nothing() {
        let rates = Rates { elements_per_s: 5, bytes_per_s: 10, ..Rates::default() };
        let mut buckets = Buckets::default();
        let take = Take { calls: 1_000_000, elements: 1, bytes: 10 };
        assert!(buckets.take(&rates, take, s(0), s(0)).is_ok());
        for _ in 0..100 {
            assert_eq!(buckets.take(&rates, take, s(0), s(0)).unwrap_err().limit, "bytes_per_s");
        }
        assert!(buckets.take(&rates, elements(4), s(0), s(0)).is_ok(), "elements were not taken with the refusals");
        assert!(Buckets::default().take(&Rates::default(), take, s(0), s(0)).is_ok());
    }
}
