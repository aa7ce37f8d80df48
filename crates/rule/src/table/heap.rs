//! The heap of a search in an ordered bucket: what is to be looked into, the lowest id first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What is next at some id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub(super) id: u64,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Node(u32),
    /// The survivors in a block of a leaf, or of the wild ones ([`WILD`]); what is before them had its turn.
    Survivors {
        node: u32,
        block: u32,
        lanes: u64,
    },
}

/// Instead of a leaf: the elements that no leaf has.
pub(super) const WILD: u32 = u32::MAX;

impl PartialEq for Next {
    fn eq(&self, other: &Next) -> bool {
        self.id == other.id
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Next) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    /// The lowest id is the greatest: a heap has that at its top.
    fn cmp(&self, other: &Next) -> Ordering {
        other.id.cmp(&self.id)
    }
}

/// The heap of a search: a buffer that is used again and again.
#[derive(Debug, Clone, Default)]
pub(super) struct Heap(pub(super) BinaryHeap<Next>);
