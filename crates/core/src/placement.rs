//! Which slice owns an element, and which shard homes it.
//!
//! Split by index: the owner is the id modulo the slices, the home is the block's on the ring. Blocks keep
//! neighbouring ids, which conflict most, on one shard. Split by key will choose both by the key's hash, here and nowhere
//! else: the rest of the crate only asks.

use std::sync::Arc;

use crate::{ElementId, Ring, ShardId, SliceId};

/// Where elements belong. The same on every node of a cluster.
#[derive(Clone, Debug)]
pub struct Placement {
    slices: u32,
    block: u64,
    ring: Arc<Ring>,
}

impl Placement {
    /// A placement over `slices` slices and the ring's shards, with `block` neighbouring ids to a home.
    ///
    /// # Panics
    /// When `slices` or `block` is 0.
    #[must_use]
    pub fn new(slices: u32, block: u64, ring: Arc<Ring>) -> Placement {
        assert!(slices > 0 && block > 0, "a placement over {slices} slices in blocks of {block}");
        Placement { slices, block, ring }
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The number of slices.
    #[must_use]
    pub fn slices(&self) -> u32 {
        self.slices
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(&self) -> u32 {
        self.ring.shards()
    }

    /// All slices.
    pub fn each_slice(&self) -> impl Iterator<Item = SliceId> + use<> {
        (0..self.slices).map(SliceId)
    }

    /// All shards.
    pub fn each_shard(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.ring.shards()).map(ShardId)
    }

    /// The slice that has `element` among its anchors.
    #[must_use]
    pub fn owner(&self, element: ElementId) -> SliceId {
        SliceId(u32::try_from(element.0 % u64::from(self.slices)).expect("smaller than a u32"))
    }

    /// The shard that keeps `element`'s timeline, and decides its probes.
    #[must_use]
    pub fn home(&self, element: ElementId) -> ShardId {
        if self.ring.shards() == 1 {
            return ShardId(0);
        }
        self.ring.shard_of(element.0 / self.block)
    }
}
