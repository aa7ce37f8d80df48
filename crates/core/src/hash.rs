//! Hash maps of the core. Their order never shows.
//!
//! Ids are given by the balancer, so a multiplication spreads them well enough. Keys come from clients, who may choose
//! them to collide: for those there is the standard library's map.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
};

use crate::ElementId;

/// By the ids of elements.
pub(crate) type ElementMap<V> = HashMap<ElementId, V, BuildHasherDefault<IdHasher>>;

/// A map that is worth making smaller has room for so many.
const LARGE: usize = 4096;
/// And is that many times as large as it needs to be.
const SPARSE: usize = 8;

/// Gives memory back of which little is used: what a burst took would be kept for good. Moves few entries, since few
/// are left.
pub(crate) fn shrink<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() > LARGE && map.len() < map.capacity() / SPARSE {
        map.shrink_to(2 * map.len());
    }
}

/// Spreads ids over all bits: tables take the lowest for the place and the highest to compare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, id: u64) {
        let product = u128::from(self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_was_large_is_small_again_once_little_is_left() {
        let mut map = ElementMap::default();
        map.extend((0..100_000).map(|id| (ElementId(id), id)));
        for id in 0..99_990 {
            map.remove(&ElementId(id));
            shrink(&mut map);
        }
        assert_eq!(map.len(), 10);
        assert!(map.capacity() <= LARGE, "{}", map.capacity());
        assert_eq!(map[&ElementId(99_999)], 99_999);
    }
}
