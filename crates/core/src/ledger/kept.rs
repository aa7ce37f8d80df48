//! For which cuts what ends is kept, and how much of it.

use std::fmt;

use crate::EventId;

/// Elements that ended at or below the stable cut and are kept for cuts that are read, at most. Above it the oldest of
/// these cuts is given up, and its reader has to begin again.
pub const CUT_KEPT_MAX: usize = 1 << 20;
/// The same in bytes, as [`crate::batch::Batch::waiting_bytes`] counts them.
pub const CUT_KEPT_BYTES_MAX: u64 = 256 << 20;
/// The cuts for which what ends is kept, and how much is.
pub(super) struct KeptForCuts {
    /// Each event that a cut is of once, ascending.
    pub(super) cuts: Vec<EventId>,
    /// What has ended by now.
    pub(super) ended_bytes: u64,
    pub(super) most: usize,
    pub(super) bytes_max: u64,
}

// How much has ended makes no difference to what the ledger says.
impl fmt::Debug for KeptForCuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cuts.fmt(f)
    }
}

impl Default for KeptForCuts {
    fn default() -> KeptForCuts {
        KeptForCuts { cuts: Vec::new(), ended_bytes: 0, most: CUT_KEPT_MAX, bytes_max: CUT_KEPT_BYTES_MAX }
    }
}
