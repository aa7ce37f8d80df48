//! The consistent-hash ring that homes blocks of ids on shards.
//!
//! Every node must place alike, whatever its platform, its compiler or its version: the hash is ours, over our own
//! bytes. `hash(bytes)` is FNV-1a with the 64-bit offset and prime, finished with the output function of SplitMix64
//! (FNV alone leaves neighbouring blocks close together on a ring). A virtual node's bytes are `b"n"`, the shard and the
//! virtual node's number, both as little-endian `u32`; a block's are `b"b"` and the block as little-endian `u64`. A
//! golden test pins the result.

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;

use crate::ShardId;

/// Which shard each block of ids is homed at.
#[derive(Clone, Debug)]
pub struct Ring {
    ring: HashRing<VirtualNode, FixedState>,
    shards: u32,
}

impl Ring {
    /// A ring of `shards` shards, numbered from 0, with `virtual_nodes` points each.
    ///
    /// # Panics
    /// When either is 0.
    #[must_use]
    pub fn new(shards: u32, virtual_nodes: u32) -> Ring {
        assert!(shards > 0 && virtual_nodes > 0, "a ring of {shards} shards with {virtual_nodes} virtual nodes");
        let mut ring = HashRing::with_hasher(FixedState);
        let nodes = (0..shards).flat_map(|shard| (0..virtual_nodes).map(move |number| VirtualNode { shard, number }));
        ring.batch_add(nodes.collect());
        Ring { ring, shards }
    }

    /// How many shards share it.
    #[must_use]
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// The home of a block.
    #[must_use]
    pub fn shard_of(&self, block: u64) -> ShardId {
        ShardId(self.ring.get(&Block(block)).expect("a ring is never empty").shard)
    }

    /// Each shard's share of `blocks` consecutive blocks from 0, in thousandths; for people to look at.
    #[must_use]
    pub fn shares_permille(&self, blocks: u64) -> Vec<u32> {
        let mut counts = vec![0u64; self.shards as usize];
        for block in 0..blocks {
            counts[self.shard_of(block).0 as usize] += 1;
        }
        counts.iter().map(|count| u32::try_from(count * 1000 / blocks.max(1)).unwrap_or(1000)).collect()
    }
}

/// One point of a shard on the ring. `hashring` has no virtual nodes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VirtualNode {
    shard: u32,
    number: u32,
}

impl Hash for VirtualNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"n");
        state.write(&self.shard.to_le_bytes());
        state.write(&self.number.to_le_bytes());
    }
}

/// A block, by its number.
struct Block(u64);

impl Hash for Block {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"b");
        state.write(&self.0.to_le_bytes());
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedState;

impl BuildHasher for FixedState {
    type Hasher = FixedHasher;

    fn build_hasher(&self) -> FixedHasher {
        FixedHasher(0xCBF2_9CE4_8422_2325)
    }
}

pub(crate) struct FixedHasher(u64);

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        let mut z = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(ring: &Ring, blocks: u64) -> Vec<u32> {
        (0..blocks).map(|block| ring.shard_of(block).0).collect()
    }

    #[test]
    fn placement_never_changes_between_versions() {
        assert_eq!(homes(&Ring::new(3, 160), 32), GOLDEN_3);
        assert_eq!(homes(&Ring::new(8, 160), 32), GOLDEN_8);
    }

    #[test]
    fn one_shard_homes_everything() {
        assert!(homes(&Ring::new(1, 1), 1000).iter().all(|&shard| shard == 0));
    }

    #[test]
    fn load_is_even_within_a_quarter() {
        let shares = Ring::new(8, 160).shares_permille(100_000);
        assert!(shares.iter().all(|&share| (94..=156).contains(&share)), "{shares:?}");
    }

    #[test]
    fn a_new_shard_takes_blocks_only_for_itself() {
        let (before, after) = (homes(&Ring::new(4, 160), 10_000), homes(&Ring::new(5, 160), 10_000));
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new).count();
        assert!(before.iter().zip(&after).all(|(old, new)| old == new || *new == 4));
        assert!((1_000..3_000).contains(&moved), "{moved}");
    }

    const GOLDEN_3: [u32; 32] =
        [1, 2, 0, 2, 0, 2, 1, 1, 2, 1, 2, 2, 1, 1, 1, 0, 0, 0, 0, 2, 1, 1, 2, 1, 2, 2, 1, 0, 0, 2, 0, 0];
    const GOLDEN_8: [u32; 32] =
        [1, 5, 3, 5, 4, 3, 1, 6, 6, 3, 4, 2, 3, 4, 6, 6, 0, 7, 4, 6, 5, 5, 5, 4, 2, 2, 6, 7, 6, 5, 6, 4];
}
