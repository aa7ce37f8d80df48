//! The bodies of the fuzz targets, and what they share: bytes made into schemas, rows and rules, and an evaluator that
//! counts.
//!
//! Belongs to two crates: the fuzzer's, and the rule crate's tests, which include this file by its path and run the
//! same bodies over the corpus and a fixed number of random inputs. So it depends on `dovetail_rule` and `std` alone,
//! and its modules name each other by `super`.
//!
//! A body panics when something is wrong, and says nothing otherwise.

pub mod bytes;
pub mod generate;
pub mod parser;
pub mod planner;
pub mod rows;
pub mod steps;
