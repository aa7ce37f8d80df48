//! Which slice owns an element, and which shard homes it.
//!
//! Split by index: the owner is the id modulo the slices, the home is the block's on the ring. Blocks keep neighbouring
//! ids, which conflict most, on one shard. Split by key: the owner follows from the key's hash, so that one slice
//! searches all elements that can ever meet, and the home from the owner, so that a slice tells one shard alone of what
//! it settles. Where every pair matches, one slice has all. Chosen here and nowhere else: the rest of the crate only
//! asks. A golden test pins the result.

use std::sync::Arc;

use dovetail_rule::Split;

pub use crate::place::Place;
use crate::{ElementId, Pool, Ring, ShardId, SliceId};

/// Where elements belong. The same on every node of a cluster.
#[derive(Clone, Debug)]
pub struct Placement {
    slices: u32,
    block: u64,
    ring: Arc<Ring>,
    lone_settles: bool,
}

impl Placement {
    /// A placement over `slices` slices and the ring's shards, with `block` neighbouring ids to a home.
    ///
    /// # Panics
    /// When `slices` or `block` is 0.
    #[must_use]
    pub fn new(slices: u32, block: u64, ring: Arc<Ring>) -> Placement {
        assert!(slices > 0 && block > 0, "a placement over {slices} slices in blocks of {block}");
        Placement { slices, block, ring, lone_settles: true }
    }

    /// The same, but a lone slice lists candidates as it would among others; for tests and measurements of one.
    #[must_use]
    pub fn as_among_others(self) -> Placement {
        Placement { lone_settles: false, ..self }
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

    /// Whether one slice alone searches for each element of the pool, sees every conflict, and so settles it itself.
    #[must_use]
    pub fn settles(&self, pool: &Pool) -> bool {
        (self.slices == 1 && self.lone_settles) || pool.split() != Split::Index
    }

    /// The slice that has an element among its anchors.
    #[must_use]
    #[inline]
    pub fn owner(&self, place: Place) -> SliceId {
        let (Place::Id(ElementId(number)) | Place::Key(number)) = place;
        if self.slices == 1 {
            return SliceId(0);
        }
        SliceId(u32::try_from(number % u64::from(self.slices)).expect("smaller than a u32"))
    }

    /// The shard that announces what becomes of an element; split by index, it also keeps its timeline and decides its
    /// probes.
    #[must_use]
    pub fn home(&self, place: Place) -> ShardId {
        if self.ring.shards() == 1 {
            return ShardId(0);
        }
        match place {
            Place::Id(element) => self.home_of(element),
            Place::Key(_) => self.home_of_slice(self.owner(place)),
        }
    }

    /// The home of all that a slice settles of pools that are split by key.
    #[must_use]
    pub fn home_of_slice(&self, slice: SliceId) -> ShardId {
        ShardId(slice.0 % self.ring.shards())
    }

    /// The home of an element whose pool is split by index.
    #[must_use]
    pub fn home_of(&self, element: ElementId) -> ShardId {
        if self.ring.shards() == 1 { ShardId(0) } else { self.ring.shard_of(element.0 / self.block) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_owner_by_its_hash_and_its_home_by_its_owner() {
        let placement = Placement::new(6, 64, Ring::new(4, 160).into());
        let places = [0, 1, 2, 3, 4, 5, 6, 11, u64::MAX].map(Place::Key);
        assert_eq!(places.map(|place| placement.owner(place).0), [0, 1, 2, 3, 4, 5, 0, 5, 3]);
        assert_eq!(places.map(|place| placement.home(place).0), [0, 1, 2, 3, 0, 1, 0, 1, 3]);
        let lone = Placement::new(1, 64, Ring::new(4, 160).into());
        assert_eq!(places.map(|place| (lone.owner(place).0, lone.home(place).0)), [(0, 0); 9]);
        let ids = [1, 63, 64, 1_000].map(ElementId);
        assert_eq!(ids.map(|id| placement.home(Place::Id(id))), ids.map(|id| placement.home_of(id)));
    }
}
