//! Secrets of a process: what its tables hash with, so that a client that chooses what is in them cannot make hashes
//! collide.

use std::hash::{BuildHasher, RandomState};

/// Random bits, others with every call. They come from the operating system, by way of the standard library's maps.
pub(crate) fn draw() -> [u64; 2] {
    [0, 1].map(|word: u64| RandomState::new().hash_one(word))
}
