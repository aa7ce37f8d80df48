//! Bounds of what a ledger takes and holds.

use crate::batch::KeySecret;

/// Longest key and longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Bounds of what a ledger holds.
#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Most elements waiting in a pool that sets no bound of its own. Above it submissions are refused.
    pub waiting_max: u64,
    /// Most elements waiting in all pools together. Above it submissions are refused; and those of a pool that has most
    /// of them before that, so that the others have room: see [`room`](super::room). So are those of a group of pools
    /// that has most of them.
    pub waiting_total_max: u64,
    /// Most bytes that the elements waiting in a pool may take, as
    /// [`waiting_bytes`](crate::batch::Batch::waiting_bytes) counts them. Above it submissions are refused.
    pub waiting_bytes_max: u64,
    /// The same of all pools together, shared as `waiting_total_max` is.
    pub waiting_bytes_total_max: u64,
    /// Largest element without its payload, in bytes, as [`element_bytes`](crate::batch::Batch::element_bytes) counts
    /// them. A larger one is refused.
    pub element_bytes_max: u64,
    /// Largest payload in a pool that sets no bound of its own, in bytes.
    pub payload_bytes_max: u64,
    /// Most ended elements remembered. Above it the one that ended first is forgotten.
    pub ended_max: usize,
    /// How long an idempotency key is remembered after its element arrived, at least, in milliseconds of event time.
    pub idempotency_ms: u64,
    /// Most idempotency keys remembered of a pool; at 0 none are remembered. When there are so many, new submissions
    /// with such a key are refused until the oldest may be forgotten.
    pub idempotency_max: usize,
    /// Most idempotency keys remembered of the pools of a group. Where others have some, too, it is half of what those
    /// leave of twice this; above it new submissions with such a key are refused in pools that have more than their
    /// reserve. So there can be up to twice as many: see [`room`](super::room).
    pub idempotency_total_max: usize,
    /// Most units of [cost](dovetail_rule::Rule::cost_within) that one search may take in one slice at worst: the
    /// rule's cost on the longest values that wait, times the elements that a slice may have to test. Above it
    /// submissions are refused.
    pub search_cost_max: u64,
    /// Slices of the cluster, which share the elements of a pool that is split by index.
    pub slices: u32,
    /// What keys are remembered by. No bound, but like these it is the ledger's for good.
    pub key_secret: KeySecret,
}

pub(super) fn bound(own: u64, default: u64) -> u64 {
    if own == 0 { default } else { own }
}
