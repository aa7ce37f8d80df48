//! Log lines that clients can cause, at a bounded rate: one in a while, which says how many were left out.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A line of the log that comes at most once in a while.
#[derive(Debug)]
pub(crate) struct Seldom {
    every: Duration,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// One line in `every`.
    pub(crate) const fn new(every: Duration) -> Seldom {
        Seldom { every, said: Mutex::new(Said { last: None, left_out: 0 }) }
    }

    /// Whether the line may be written now; if so, how many were left out before it.
    pub(crate) fn now(&self) -> Option<u64> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_some_and(|last| now < last + self.every) {
            said.left_out += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_once_in_a_while_and_says_how_many_did_not() {
        let (every, first) = (Duration::from_secs(10), Instant::now());
        let seldom = Seldom::new(every);
        assert_eq!([seldom.at(first), seldom.at(first), seldom.at(first + every / 2)], [Some(0), None, None]);
        assert_eq!([seldom.at(first + every), seldom.at(first + every)], [Some(2), None]);
    }
}
