//! What an element's owner and home follow from.

use crate::ElementId;

/// What says which slice owns an element, and which shard homes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its id: the pool is split by index.
    Id(ElementId),
    /// The hash of its key, or of its pool where every pair matches. The number of its id if it has no key: then it
    /// never matches.
    Key(u64),
}
