//! A run's trace: always its fingerprint, and its lines when they are to be printed.

use std::fmt::Display;

use crate::{net::Time, rng::mix};

/// Where what happens is noted.
#[derive(Debug, Default)]
pub struct Trace {
    fingerprint: u64,
    steps: u64,
    lines: bool,
}

impl Trace {
    /// A trace that prints when `lines` is set.
    #[must_use]
    pub fn new(lines: bool) -> Trace {
        Trace { lines, ..Trace::default() }
    }

    /// Notes numbers that tell two runs apart.
    pub fn note(&mut self, numbers: [u64; 4]) {
        self.steps += 1;
        for number in numbers {
            self.fingerprint = mix(self.fingerprint.rotate_left(5) ^ number);
        }
    }

    /// Prints a line if the trace is to be printed.
    #[expect(clippy::print_stdout, reason = "this is what --trace is for")]
    pub fn line<T: Display>(&self, at: Time, what: impl FnOnce() -> T) {
        if self.lines {
            println!("{at:>6} {}", what());
        }
    }

    /// The fingerprint of all that was noted.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// How much was noted.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }
}
