//! The bodies of the targets of nodes: what comes over the network from clients and from other nodes, what a disk gives
//! back, and the files of who may do what.
//!
//! Belongs to two crates: the fuzzer's, and `tests/hostile_bytes.rs`, which includes this file by its path and runs the
//! same bodies over the seeds and a fixed number of mutations. A body panics when something is wrong. `seeds` are
//! inputs to begin with: what nodes say when all is well.

pub mod access;
pub mod disk;
/// Shared with the targets of rules, which draw more from it.
#[allow(dead_code)]
#[path = "../../src/bytes.rs"]
mod draw;
pub mod peers;
pub mod submit;

/// Inputs of a target to begin with, each with a name; none when there is no such target.
#[must_use]
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "submit" => submit::seeds(),
        "disk" => disk::seeds(),
        "peers" => peers::seeds(),
        "access" => access::seeds(),
        _ => Vec::new(),
    }
}
