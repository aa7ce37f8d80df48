//! Whole clusters, simulated from one seed: the proof that the product's promise holds.
//!
//! A run builds a cluster from the very state machines that the real nodes run ([`dovetail_core`]), lets clients work
//! on it, and lets everything go wrong that may: late, repeated and overtaking messages, broken streams, crashes that
//! take all memory, crashes during recovery, pauses, disks that lose what was not synced, fail, or are full for a
//! while; several balancers that take over from one another, and an engine that keeps their log and does not answer, or
//! not in time. Balancers make checkpoints and trim what is before them, and a node that asks for that begins anew. Then the
//! faults end, and everything has to be decided. All along, what nodes decide is held against the oracle on the durable
//! log.
//!
//! | module | what it is |
//! |---|---|
//! | [`scenario`], [`pools`] | what a seed stands for |
//! | [`sim`] | a run |
//! | [`net`] | the clock, the queue, streams |
//! | [`nodes`], [`link`], [`disk`], [`engine`] | thin shells around the state machines |
//! | [`clients`], [`faults`] | what happens to them |
//! | [`truth`], [`checks`] | what must hold |
//! | [`runner`], [`planted`], [`regressions`] | many runs; the search for a planted bug; seeds that found one |

pub mod checks;
pub mod clients;
pub mod cx;
pub mod disk;
pub mod engine;
pub mod faults;
pub mod link;
pub mod model;
pub mod net;
pub mod nodes;
pub mod planted;
pub mod pools;
pub mod regressions;
pub mod rng;
pub mod runner;
pub mod scenario;
pub mod sim;
pub mod stats;
pub mod time;
pub mod trace;
pub mod truth;
pub mod violation;

pub use sim::{Options, SimOutcome, run};
