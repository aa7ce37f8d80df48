//! Blocks of up to 64 lanes: the cells of waiting elements, column by column, in id order.
//!
//! Invariants: block.K1 lanes are in id order; block.K2 a lane's cells are never changed, only its liveness; block.K3
//! `reach` of a sum is at least that of every live lane.

use crate::table::layout::{Lane, Layout, reach};

/// Lanes of a full block.
pub(super) const LANES: usize = 64;

/// 16 cells, or 16 slots. A cache line, and a register of the widest kind.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct CacheLine(pub(super) [u32; 16]);

/// Up to 64 lanes.
#[derive(Debug)]
pub(super) struct Block {
    /// The lanes whose elements wait.
    pub(super) live: u64,
    /// The lanes that the filter cannot turn away.
    pub(super) wild: u64,
    /// No element of this block has a lower id, and none of a later block one that is as low.
    pub(super) first_id: u64,
    /// Strip after strip, each of `lines` lines; then the tail.
    cells: Box<[CacheLine]>,
    /// The first sum's reach; the others' are in the tail.
    reach: f32,
    /// Lines a strip: 1, 2 or 4. A bucket's first block may be small.
    pub(super) lines: u8,
    /// Lanes used, dead ones too.
    pub(super) used: u8,
}

impl Block {
    /// An empty block of at least `lanes` lanes.
    pub(super) fn new(layout: &Layout, lanes: usize) -> Block {
        let lines = match lanes {
            0..=16 => 1,
            17..=32 => 2,
            _ => 4,
        };
        let cells = vec![CacheLine([0; 16]); layout.strips * lines + layout.tail_words().div_ceil(16)].into();
        Block { live: 0, wild: 0, first_id: 0, cells, reach: 0.0, lines: lines as u8, used: 0 }
    }

    pub(super) fn capacity(&self) -> usize {
        usize::from(self.lines) * 16
    }

    pub(super) fn room(&self) -> usize {
        self.capacity() - usize::from(self.used)
    }

    /// A column's cells.
    #[inline(always)]
    pub(super) fn strip<const LINES: usize>(&self, strip: usize) -> &[CacheLine; LINES] {
        self.cells[strip * LINES..][..LINES].try_into().expect("as many as asked for")
    }

    /// The cells of columns that are one after the other, line after line.
    #[inline(always)]
    pub(super) fn strips<const LINES: usize>(&self, first: usize, count: usize) -> &[[CacheLine; LINES]] {
        self.cells[first * LINES..(first + count) * LINES].as_chunks().0
    }

    /// The lines of some strips; fewer when there are not so many.
    #[inline(always)]
    pub(super) fn lines_of(&self, first: usize, count: usize) -> &[CacheLine] {
        let lines = usize::from(self.lines);
        self.cells.get(first * lines..(first + count) * lines).unwrap_or_default()
    }

    /// A cell.
    #[inline(always)]
    pub(super) fn word(&self, strip: usize, lane: usize) -> u32 {
        self.cells[strip * usize::from(self.lines) + lane / 16].0[lane % 16]
    }

    #[inline(always)]
    fn word_mut(&mut self, strip: usize, lane: usize) -> &mut u32 {
        &mut self.cells[strip * usize::from(self.lines) + lane / 16].0[lane % 16]
    }

    #[inline(always)]
    fn tail(&self, layout: &Layout, word: usize) -> u32 {
        self.cells[layout.strips * usize::from(self.lines) + word / 16].0[word % 16]
    }

    #[inline(always)]
    fn tail_mut(&mut self, layout: &Layout, word: usize) -> &mut u32 {
        &mut self.cells[layout.strips * usize::from(self.lines) + word / 16].0[word % 16]
    }

    pub(super) fn slot(&self, lane: usize) -> u32 {
        self.word(0, lane)
    }

    pub(super) fn set_slot(&mut self, lane: usize, slot: u32) {
        *self.word_mut(0, lane) = slot;
    }

    /// A bit column.
    #[inline(always)]
    pub(super) fn bits(&self, layout: &Layout, bit: usize) -> u64 {
        u64::from(self.tail(layout, 2 * bit)) | u64::from(self.tail(layout, 2 * bit + 1)) << 32
    }

    fn set_bit(&mut self, layout: &Layout, bit: usize, lane: usize) {
        *self.tail_mut(layout, 2 * bit + lane / 32) |= 1 << (lane % 32);
    }

    /// The largest sum of |cell| over a sum's columns.
    #[inline(always)]
    pub(super) fn reach(&self, layout: &Layout, sum: usize) -> f32 {
        if sum == 0 { self.reach } else { f32::from_bits(self.tail(layout, 2 * layout.bits + sum - 1)) }
    }

    fn widen(&mut self, layout: &Layout, sum: usize, reach: f32) {
        let widest = self.reach(layout, sum).max(reach);
        if sum == 0 {
            self.reach = widest;
        } else {
            *self.tail_mut(layout, 2 * layout.bits + sum - 1) = widest.to_bits();
        }
    }

    /// Takes a lane for an element whose id is above all others'. There is room.
    pub(super) fn push(&mut self, layout: &Layout, slot: u32, id: u64, lane: &Lane) -> usize {
        let at = usize::from(self.used);
        self.set_slot(at, slot);
        for (strip, &word) in lane.words.iter().enumerate() {
            *self.word_mut(strip + 1, at) = word;
        }
        for (bit, _) in lane.bits.iter().enumerate().filter(|&(_, &set)| set) {
            self.set_bit(layout, bit, at);
        }
        for (sum, &reach) in lane.reach.iter().enumerate() {
            self.widen(layout, sum, reach);
        }
        if at == 0 {
            self.first_id = id;
        }
        self.live |= 1 << at;
        self.wild |= u64::from(lane.wild) << at;
        self.used += 1;
        at
    }

    /// Takes those lanes of another block. There is room for them.
    pub(super) fn take(&mut self, layout: &Layout, from: &Block, lanes: u64) {
        let first = usize::from(self.used);
        for strip in 0..layout.strips {
            for (to, lane) in lanes_of(lanes).enumerate() {
                *self.word_mut(strip, first + to) = from.word(strip, lane);
            }
        }
        for bit in 0..layout.bits {
            let bits = from.bits(layout, bit);
            for (to, _) in lanes_of(lanes).enumerate().filter(|&(_, lane)| bits >> lane & 1 == 1) {
                self.set_bit(layout, bit, first + to);
            }
        }
        for (to, lane) in lanes_of(lanes).enumerate() {
            self.wild |= (from.wild >> lane & 1) << (first + to);
            for (sum, terms) in layout.sums.iter().enumerate() {
                self.widen(layout, sum, reach(terms, |strip| from.word(strip, lane)));
            }
        }
        let taken = lanes.count_ones() as usize;
        self.used += taken as u8;
        self.live |= lanes_below(taken) << first;
    }

    /// Whether there is nothing in it that waits.
    pub(super) fn is_dead(&self) -> bool {
        self.live == 0
    }

    /// Empties a block for use from the start.
    pub(super) fn reset(&mut self, layout: &Layout) {
        (self.live, self.wild, self.reach, self.used) = (0, 0, 0.0, 0);
        for word in 0..layout.tail_words() {
            *self.tail_mut(layout, word) = 0;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }
}

/// A mask of the first lanes.
pub(super) fn lanes_below(lanes: usize) -> u64 {
    if lanes >= LANES { u64::MAX } else { (1 << lanes) - 1 }
}

/// The lanes of a mask, ascending.
pub(super) fn lanes_of(mut mask: u64) -> impl Iterator<Item = usize> + Clone {
    std::iter::from_fn(move || {
        let lane = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(lane)
    })
}
