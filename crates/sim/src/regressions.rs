//! Seeds that once found a bug in the protocol's state machines. Each must stay clean.
//!
//! A change of the scenario, of the faults or of the network gives every seed another meaning. Whoever makes one looks for
//! new seeds: bring the bug back, search, and write the new seed here. The same bugs are told as transcripts in
//! `crates/core/tests`, which do not change their meaning.

/// A seed, and the bug it found.
#[derive(Clone, Copy, Debug)]
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub bug: &'static str,
}

/// All of them.
pub const REGRESSIONS: &[Regression] = &[];
