//! Buckets: the elements with one key, or all of them, in blocks.
//!
//! Invariants: bucket.U1 blocks are in id order, and so are their lanes; bucket.U2 every block but the last is full,
//! dead lanes counted; bucket.U3 only the first may be of less than 64 lanes, and then it is the last too; bucket.U4
//! `lanes` is what the blocks have used.

use crate::table::block::{Block, LANES, lanes_below, lanes_of};
use crate::table::layout::{KeyWords, Lane, Layout};
use crate::table::slab::Slab;

/// Elements that may meet.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) key: u32,
    pub(super) live: u32,
    lanes: u32,
    pub(super) blocks: Vec<Block>,
    /// The latest arrival so far, and by how much a later element's arrival was ever before it: 0, unless clocks
    /// disagree.
    latest_ms: u64,
    disorder_ms: u64,
    /// The key of its elements, if they all agree in its values.
    pub(super) words: Option<KeyWords>,
}

impl Bucket {
    pub(super) fn new(key: u32) -> Bucket {
        Bucket { key, ..Bucket::default() }
    }

    /// Appends an element whose id is above all others', with the words of its key if the rule is exact.
    pub(super) fn push(&mut self, layout: &Layout, slab: &mut Slab, slot: u32, lane: &Lane, words: Option<KeyWords>) {
        if self.live == 0 {
            self.words = words;
        } else if self.words != words {
            self.words = None;
        }
        if self.blocks.last().is_none_or(|block| block.room() == 0) {
            self.make_room(layout, slab);
        }
        let (id, arrived_ms) = (slab.ids[slot as usize], slab.arrived_ms(slot));
        self.disorder_ms = self.disorder_ms.max(self.latest_ms.saturating_sub(arrived_ms));
        self.latest_ms = self.latest_ms.max(arrived_ms);
        let block = self.blocks.len() - 1;
        let at = self.blocks[block].push(layout, slot, id, lane);
        slab.places[slot as usize] = (block * LANES + at) as u32;
        self.live += 1;
        self.lanes += 1;
    }

    /// A small first block is replaced by one of twice the room for what lives in it, so that it lasts; a full one is
    /// followed by another.
    #[cold]
    fn make_room(&mut self, layout: &Layout, slab: &mut Slab) {
        let live = self.live as usize;
        if self.blocks.len() == 1 && live + live / 4 < LANES {
            return self.compact(layout, slab, 2 * live + 1);
        }
        self.blocks.push(Block::new(layout, if self.blocks.is_empty() { 1 } else { LANES }));
    }

    /// Ends an element's stay.
    pub(super) fn remove(&mut self, layout: &Layout, slab: &mut Slab, slot: u32) {
        let place = slab.places[slot as usize] as usize;
        let block = &mut self.blocks[place / LANES];
        debug_assert_eq!(block.slot(place % LANES), slot, "an element is where its place says");
        block.live &= !(1 << (place % LANES));
        self.live -= 1;
        if self.live == 0 {
            return self.clear(layout);
        }
        let dead = self.lanes - self.live;
        if self.blocks.len() > 1 {
            // In at most nine lanes' moves a removal, dead lanes stay below an eighth.
            if dead > self.lanes / 8 + 32 {
                self.compact(layout, slab, self.live as usize + 1);
            }
        } else if self.blocks[0].capacity() > 16 && self.live * 8 <= self.blocks[0].capacity() as u32 {
            self.compact(layout, slab, 2 * self.live as usize);
        }
    }

    /// No element waits. One block is kept.
    fn clear(&mut self, layout: &Layout) {
        self.blocks.truncate(1);
        self.blocks.shrink_to(4);
        self.blocks.iter_mut().for_each(|block| block.reset(layout));
        (self.lanes, self.latest_ms, self.disorder_ms) = (0, 0, 0);
    }

    /// Leaves dead lanes out. A block of a bucket that fits into one has room for `lanes`.
    #[cold]
    fn compact(&mut self, layout: &Layout, slab: &mut Slab, lanes: usize) {
        let old = std::mem::take(&mut self.blocks);
        self.blocks.reserve_exact((self.live as usize).div_ceil(LANES) + usize::from(old.len() > 1));
        (self.latest_ms, self.disorder_ms) = (0, 0);
        for block in old {
            let fits = self.blocks.last().is_none_or(|last| last.room() == 0);
            if fits && block.live == u64::MAX {
                self.blocks.push(block);
                self.placed(slab, 0);
                continue;
            }
            let mut left = block.live;
            while left != 0 {
                if self.blocks.last().is_none_or(|last| last.room() == 0) {
                    self.blocks.push(Block::new(layout, if self.live as usize <= LANES { lanes } else { LANES }));
                }
                let last = self.blocks.last_mut().expect("just pushed");
                let first = usize::from(last.used);
                let some = lowest(left, last.room());
                if first == 0 {
                    last.first_id = slab.ids[block.slot(left.trailing_zeros() as usize) as usize];
                }
                last.take(layout, &block, some);
                left &= !some;
                self.placed(slab, first);
            }
        }
        self.lanes = self.live;
    }

    /// Tells the elements of the last block where they are, from a lane on.
    fn placed(&mut self, slab: &mut Slab, first: usize) {
        let at = self.blocks.len() - 1;
        let block = &self.blocks[at];
        for lane in first..usize::from(block.used) {
            let slot = block.slot(lane);
            slab.places[slot as usize] = (at * LANES + lane) as u32;
            let arrived_ms = slab.arrived_ms(slot);
            self.disorder_ms = self.disorder_ms.max(self.latest_ms.saturating_sub(arrived_ms));
            self.latest_ms = self.latest_ms.max(arrived_ms);
        }
    }

    /// No element of the bucket arrived before this.
    pub(super) fn oldest_ms(&self, slab: &Slab) -> u64 {
        self.first().map_or(0, |slot| slab.arrived_ms(slot).saturating_sub(self.disorder_ms))
    }

    /// The element with the lowest id.
    pub(super) fn first(&self) -> Option<u32> {
        let block = self.blocks.iter().find(|block| !block.is_dead())?;
        Some(block.slot(block.live.trailing_zeros() as usize))
    }

    /// Slots are renumbered.
    pub(super) fn renumber(&mut self, new: &[u32]) {
        for block in &mut self.blocks {
            for lane in lanes_of(block.live) {
                let slot = block.slot(lane);
                block.set_slot(lane, new[slot as usize]);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>() + self.blocks.iter().map(Block::bytes).sum::<usize>()
    }
}

/// The lowest `count` lanes of a mask.
fn lowest(mask: u64, count: usize) -> u64 {
    if mask.count_ones() as usize <= count {
        return mask;
    }
    let last = lanes_of(mask).nth(count).expect("it has more than that");
    mask & lanes_below(last)
}
