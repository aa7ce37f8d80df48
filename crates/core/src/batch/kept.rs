//! What has to be known of an element when it ends, in one place for each: columns are all over the memory.

use std::sync::Arc;

use super::{Batch, Fingerprint, KeyHash};

/// Of an element of a batch, by its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptRow {
    /// Where to look for its key.
    pub(crate) hash: KeyHash,
    /// What it takes while it waits, as [`Batch::waiting_bytes`] counts it.
    pub(crate) bytes: u32,
}

impl KeptRow {
    /// Of all elements of a batch, which have these keys.
    pub(crate) fn each(batch: &Batch, keys: &[Fingerprint]) -> Arc<[KeptRow]> {
        assert_eq!(batch.len(), keys.len(), "every element has a key");
        let before = |row: usize| row.checked_sub(1).map_or(0, |before| batch.weights()[before]);
        let kept =
            |(row, key): (usize, &Fingerprint)| KeptRow { hash: key.hash(), bytes: batch.weights()[row] - before(row) };
        keys.iter().enumerate().map(kept).collect()
    }
}
