//! Runs: waiting elements in blocks, in id order.
//!
//! Invariants: run.U1 blocks are in id order, and so are their lanes; run.U2 every block but the last is full, dead
//! lanes counted; run.U3 only the first may be of less than 64 lanes, and then it is the last too; run.U4 `lanes` is
//! what the blocks have used.

use crate::table::block::{Block, LANES, lanes_below, lanes_of};
use crate::table::layout::{Lane, Layout};
use crate::table::slab::Slab;

/// Elements in blocks. A bucket of few has one run; one that is ordered has many.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) blocks: Vec<Block>,
    pub(super) live: u32,
    lanes: u32,
}

impl Run {
    /// Appends an element whose id is above all others'.
    pub(super) fn push(&mut self, layout: &Layout, slab: &mut Slab, slot: u32, lane: &Lane) {
        if self.blocks.last().is_none_or(|block| block.room() == 0) {
            self.make_room(layout, slab);
        }
        let block = self.blocks.len() - 1;
        let at = self.blocks[block].push(layout, slot, slab.ids[slot as usize], lane);
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

    /// Ends an element's stay. True if dead lanes are gone with it.
    pub(super) fn remove(&mut self, layout: &Layout, slab: &mut Slab, slot: u32) -> bool {
        let place = slab.places[slot as usize] as usize;
        let block = &mut self.blocks[place / LANES];
        debug_assert_eq!(block.slot(place % LANES), slot, "an element is where its place says");
        block.live &= !(1 << (place % LANES));
        self.live -= 1;
        if self.live == 0 {
            self.clear(layout);
            return true;
        }
        let dead = self.lanes - self.live;
        if self.blocks.len() > 1 {
            // In at most nine lanes' moves a removal, dead lanes stay below an eighth.
            if dead > self.lanes / 8 + 32 {
                self.compact(layout, slab, self.live as usize + 1);
                return true;
            }
        } else if self.blocks[0].capacity() > 16 && self.live * 8 <= self.blocks[0].capacity() as u32 {
            self.compact(layout, slab, 2 * self.live as usize);
            return true;
        }
        false
    }

    /// No element waits. One block is kept.
    fn clear(&mut self, layout: &Layout) {
        self.blocks.truncate(1);
        self.blocks.shrink_to(4);
        self.blocks.iter_mut().for_each(|block| block.reset(layout));
        self.lanes = 0;
    }

    /// Leaves dead lanes out. A block of a run that fits into one has room for `lanes`.
    #[cold]
    fn compact(&mut self, layout: &Layout, slab: &mut Slab, lanes: usize) {
        let old = std::mem::take(&mut self.blocks);
        let live = self.live as usize;
        self.blocks.reserve_exact(live.div_ceil(LANES) + usize::from(old.len() > 1));
        (self.live, self.lanes) = (0, 0);
        for block in old {
            let fits = self.blocks.last().is_none_or(|last| last.room() == 0);
            if fits && block.live == u64::MAX {
                self.blocks.push(block);
                (self.live, self.lanes) = (self.live + LANES as u32, self.lanes + LANES as u32);
                self.placed(slab, 0);
                continue;
            }
            self.append(layout, slab, &block, block.live, if live <= LANES { lanes } else { LANES });
        }
    }

    /// Appends some lanes of a block whose ids are above all others'. A block that is made for them has room for
    /// `room` lanes.
    pub(super) fn append(&mut self, layout: &Layout, slab: &mut Slab, from: &Block, mut lanes: u64, room: usize) {
        while lanes != 0 {
            if self.blocks.last().is_none_or(|last| last.room() == 0) {
                self.blocks.push(Block::new(layout, room));
            }
            let last = self.blocks.last_mut().expect("just pushed");
            let first = usize::from(last.used);
            let some = lowest(lanes, last.room());
            if first == 0 {
                last.first_id = slab.ids[from.slot(lanes.trailing_zeros() as usize) as usize];
            }
            last.take(layout, from, some);
            lanes &= !some;
            (self.live, self.lanes) = (self.live + some.count_ones(), self.lanes + some.count_ones());
            self.placed(slab, first);
        }
    }

    /// Tells the elements of the last block where they are, from a lane on.
    fn placed(&mut self, slab: &mut Slab, first: usize) {
        let at = self.blocks.len() - 1;
        let block = &self.blocks[at];
        for lane in first..usize::from(block.used) {
            slab.places[block.slot(lane) as usize] = (at * LANES + lane) as u32;
        }
    }

    /// The element with the lowest id.
    pub(super) fn first(&self) -> Option<u32> {
        let block = self.blocks.iter().find(|block| !block.is_dead())?;
        Some(block.slot(block.live.trailing_zeros() as usize))
    }

    /// The slots of those that wait, ascending by id.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.blocks.iter().flat_map(|block| lanes_of(block.live).map(|lane| block.slot(lane)))
    }

    /// Its blocks between two ids, and perhaps a few before the first.
    pub(super) fn between(&self, ids: &std::ops::Range<u64>) -> &[Block] {
        let mut blocks = &*self.blocks;
        if blocks.last().is_some_and(|last| last.first_id >= ids.end) {
            blocks = &blocks[..blocks.partition_point(|block| block.first_id < ids.end)];
        }
        from(blocks, ids.start)
    }

    /// Its blocks from an id on, and perhaps a few before.
    pub(super) fn from(&self, id: u64) -> &[Block] {
        from(&self.blocks, id)
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

fn from(blocks: &[Block], id: u64) -> &[Block] {
    match id {
        0 => blocks,
        _ => &blocks[blocks.partition_point(|block| block.first_id <= id).saturating_sub(1)..],
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
