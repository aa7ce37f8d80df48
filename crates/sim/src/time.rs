//! The time of the simulation.

/// Simulated milliseconds.
pub type Time = u64;
