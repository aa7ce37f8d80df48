//! The engine on real servers: one or three, that are killed, stopped, damaged and started again.
//!
//! Each test has servers of its own, and the tests run one after the other: three servers are enough for two cores. A
//! machine without `nats-server` skips them, and says so; in CI that is a failure.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says what it skips")]

mod conformance;
mod credentials;
mod damage;
mod deployed;
mod faults;
mod harness;
mod lossy;
mod opening;
mod race;
