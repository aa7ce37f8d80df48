//! Clusters of real processes on this machine: what a user sees, and what survives when processes die.
//!
//! Every test starts its own cluster on its own loopback address. Heavy tests take turns (`harness::heavy`).
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and shows the logs")]

mod auth;
mod bad_input;
mod bench;
mod clients;
mod clocks;
mod crash_points;
mod disk;
mod drops;
mod edge;
mod elements;
mod exact;
mod files;
mod golden_path;
mod harness;
mod history;
mod keys;
mod kill;
mod load;
mod outcomes;
#[path = "../pairs.rs"]
mod pairs;
mod presence;
#[path = "../programs.rs"]
mod programs;
mod rolling;
mod rules;
mod search;
mod standby;
mod strangers;
mod time;
mod tls;
mod upgrade;
mod workload;
mod workloads;
