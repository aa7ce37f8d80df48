//! When elements are due: all at once, or one after the other at a fixed rate.
//!
//! An element is late from the moment it was due, whatever the cause: a cluster that stands still for a second is seen
//! by all elements of that second, and not by the one batch that was under way.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Shortest pause between two looks at the clock.
const TICK: Duration = Duration::from_micros(200);

/// When elements are due, by position from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ArrivalPace {
    /// As fast as they are taken.
    FlatOut,
    /// So many a second.
    PerSecond(f64),
}

impl ArrivalPace {
    /// When an element is due, since the beginning; none when that is when it can be sent.
    #[must_use]
    pub fn due(self, position: usize) -> Option<Duration> {
        match self {
            ArrivalPace::FlatOut => None,
            ArrivalPace::PerSecond(rate) => Some(Duration::from_secs_f64(position as f64 / rate)),
        }
    }

    /// How many of `n` are due after so long.
    fn due_after(self, elapsed: Duration, n: usize) -> usize {
        match self {
            ArrivalPace::FlatOut => n,
            ArrivalPace::PerSecond(rate) => ((elapsed.as_secs_f64() * rate) as usize).saturating_add(1).min(n),
        }
    }

    /// Tells how many of `n` are due, from `begin` on, until all are, or the receiver is gone.
    ///
    /// A thread sleeps more exactly than the runtime's timer, whose milliseconds would be seen in the latencies.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(self, begin: Instant, n: usize) -> std::io::Result<watch::Receiver<usize>> {
        let (due, told) = watch::channel(self.due_after(Duration::ZERO, n));
        if self != ArrivalPace::FlatOut {
            thread::Builder::new().name("pace".into()).spawn(move || {
                loop {
                    let elapsed = begin.elapsed();
                    let now = self.due_after(elapsed, n);
                    if due.send(now).is_err() || now == n {
                        return;
                    }
                    let next = self.due(now).map_or(TICK, |next| next.saturating_sub(elapsed));
                    thread::sleep(next.max(TICK));
                }
            })?;
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_counted_as_due_from_its_time_on() {
        let pace = ArrivalPace::PerSecond(1000.0);
        assert_eq!(pace.due(1500), Some(Duration::from_millis(1500)));
        for (us, due) in [(0, 1), (999, 1), (1000, 2), (1499, 2), (99_000, 100), (5_000_000, 100)] {
            assert_eq!(pace.due_after(Duration::from_micros(us), 100), due, "after {us} us");
        }
    }

    #[test]
    fn flat_out_everything_is_due_at_once() {
        assert_eq!((ArrivalPace::FlatOut.due_after(Duration::ZERO, 100), ArrivalPace::FlatOut.due(7)), (100, None));
    }

    #[tokio::test]
    async fn the_last_element_is_told_of_and_not_before_its_time() {
        let begin = Instant::now();
        let mut due = ArrivalPace::PerSecond(2000.0).start(begin, 40).unwrap();
        due.wait_for(|due| *due == 40).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_micros(19_500));
    }
}
