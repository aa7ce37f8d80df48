//! What came of a round, as its clients saw it.

use std::time::Duration;

/// What came of all that was submitted. Times are since the beginning, by position from 0.
#[derive(Clone, Debug)]
pub struct Driven {
    /// When an element was due; flat out, when its batch was made.
    pub from: Vec<Duration>,
    /// When it was acknowledged.
    pub acknowledged: Vec<Duration>,
    /// The ids they were given.
    pub ids: Vec<u64>,
    /// The matches, in order of their cursor.
    pub matches: Vec<SeenMatch>,
    /// When the watcher knew that everything is decided.
    pub settled: Duration,
    /// Bytes that submitting clients sent and received.
    pub submitted_bytes: (u64, u64),
    /// Bytes that the watcher received.
    pub watched_bytes: u64,
}

/// A match, as the watcher saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenMatch {
    /// Ids of its ends, the lower first.
    pub ends: (u64, u64),
    /// When.
    pub at: Duration,
}
