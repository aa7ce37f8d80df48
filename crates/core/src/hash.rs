//! Hash maps of the core. Their order never shows.
//!
//! Ids are given by the balancer, so a multiplication spreads them well enough. Keys come from clients, who may choose them to
//! collide: for those there is the standard library's map.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::ElementId;

/// By the ids of elements.
pub(crate) type ElementMap<V> = HashMap<ElementId, V, BuildHasherDefault<IdHasher>>;

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
