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
        let bytes = |row| u32::try_from(batch.waiting_bytes(row..row + 1)).expect("a batch is smaller than 4 GiB");
        keys.iter().enumerate().map(|(row, key)| KeptRow { hash: key.hash(), bytes: bytes(row) }).collect()
    }
}
