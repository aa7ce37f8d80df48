//! The programs that workload 5 is measured by: points in blocks of columns, compared eight or sixteen at a time.
//!
//! One goes through the blocks once for every arrival; the other takes 32 arrivals through each tile of blocks while it
//! is in the first-level cache, and then settles them in order. Sums are a little too small at first (fused, and
//! against a limit that is a little too large); who gets through is looked at again, exactly as the rule says. The
//! plain scan is rows, one by one.

use crate::elements::Points;

const LANES: usize = 32;
/// Terms after which a look at the sums may save the others.
const SPLIT: usize = 6;
/// Blocks that 32 arrivals go through one after the other: 18 KiB.
const TILE: usize = 16;
const PROBES: usize = 32;
/// In the first column of a lane that is not used: no sum with it is small.
const NOBODY: f32 = f32::INFINITY;

#[derive(Clone)]
#[repr(C, align(64))]
struct Block {
    columns: [[f32; LANES]; 8],
    ids: [u32; LANES],
}

#[derive(Default)]
struct Waiting {
    blocks: Vec<Block>,
    used: usize,
    live: usize,
}

impl Waiting {
    fn push(&mut self, id: u32, point: &[f32; 8]) {
        let lane = self.used % LANES;
        if lane == 0 {
            self.blocks.push(Block { columns: [[NOBODY; LANES]; 8], ids: [0; LANES] });
        }
        let block = self.blocks.last_mut().expect("just pushed");
        (block.columns.iter_mut().zip(point)).for_each(|(column, &x)| column[lane] = x);
        block.ids[lane] = id;
        self.used += 1;
        self.live += 1;
    }

    fn take(&mut self, (block, lane): (usize, usize)) -> u32 {
        self.blocks[block].columns[0][lane] = NOBODY;
        self.live -= 1;
        self.blocks[block].ids[lane]
    }

    fn waits(&self, (block, lane): (usize, usize)) -> bool {
        self.blocks[block].columns[0][lane] != NOBODY
    }

    /// Leaves out the lanes of those who were matched, once they are a tenth.
    fn compact(&mut self) {
        if self.used <= 8 * LANES || self.live * 10 >= self.used * 9 {
            return;
        }
        for block in
            std::mem::replace(self, Waiting { blocks: Vec::with_capacity(self.blocks.len()), used: 0, live: 0 }).blocks
        {
            for lane in (0..LANES).filter(|&lane| block.columns[0][lane] != NOBODY) {
                self.push(block.ids[lane], &block.columns.map(|column| column[lane]));
            }
        }
    }
}

fn distance(x: &[f32; 8], y: &[f32; 8]) -> f32 {
    x.iter().zip(y).fold(0.0, |sum, (x, y)| sum + (x - y) * (x - y))
}

/// Finds the first block from `$from` on, and in it the first lane, that is near; `$mask` says of a block who may be.
macro_rules! first_near {
    ($blocks:expr, $from:expr, $point:expr, $limit:expr, |$block:ident| $mask:expr) => {{
        for (at, $block) in $blocks.iter().enumerate().skip($from) {
            let mut mask: u32 = $mask;
            while mask != 0 {
                let lane = mask.trailing_zeros() as usize;
                if distance(&$block.columns.map(|column| column[lane]), $point) < $limit {
                    return Some((at, lane));
                }
                mask &= mask - 1;
            }
        }
        None
    }};
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![allow(unsafe_code, reason = "the registers of the processor that runs it, found out at run time")]
    #![allow(clippy::needless_range_loop, reason = "one index for columns and points reads best")]

    use std::arch::x86_64::*;

    use super::{Block, LANES, SPLIT, distance};

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(blocks: &[Block], from: usize, point: &[f32; 8], limit: f32) -> Option<(usize, usize)> {
        let most = _mm256_set1_ps(limit * 1.00001);
        let points = point.map(|x| _mm256_set1_ps(x));
        first_near!(blocks, from, point, limit, |block| {
            let mut sums = [_mm256_setzero_ps(); LANES / 8];
            let mut add = |from: usize, to: usize| {
                for term in from..to {
                    for (part, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: eight of the column's 32 lanes, and blocks are aligned to 64 bytes.
                        let lanes = unsafe { _mm256_load_ps(block.columns[term].as_ptr().add(8 * part)) };
                        let off = _mm256_sub_ps(lanes, points[term]);
                        *sum = _mm256_fmadd_ps(off, off, *sum);
                    }
                }
                let near = sums.map(|sum| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(sum, most)) as u32);
                near[0] | near[1] << 8 | near[2] << 16 | near[3] << 24
            };
            if add(0, SPLIT) == 0 { 0 } else { add(SPLIT, 8) }
        })
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
    pub fn avx512(blocks: &[Block], from: usize, point: &[f32; 8], limit: f32) -> Option<(usize, usize)> {
        let most = _mm512_set1_ps(limit * 1.00001);
        let points = point.map(|x| _mm512_set1_ps(x));
        first_near!(blocks, from, point, limit, |block| {
            let mut sums = [_mm512_setzero_ps(); LANES / 16];
            let mut add = |from: usize, to: usize| {
                for term in from..to {
                    for (part, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: sixteen of the column's 32 lanes, and blocks are aligned to 64 bytes.
                        let lanes = unsafe { _mm512_load_ps(block.columns[term].as_ptr().add(16 * part)) };
                        let off = _mm512_sub_ps(lanes, points[term]);
                        *sum = _mm512_fmadd_ps(off, off, *sum);
                    }
                }
                let near = sums.map(|sum| u32::from(_mm512_cmplt_ps_mask(sum, most)));
                near[0] | near[1] << 16
            };
            if add(0, SPLIT) == 0 { 0 } else { add(SPLIT, 8) }
        })
    }
}

/// What the processor has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Only what the compiler makes of loops.
    Loops,
    Avx2,
    Avx512,
}

impl Level {
    /// All that this processor has.
    pub fn all() -> Vec<Level> {
        let mut levels = vec![Level::Loops];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend((is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Level::Avx2));
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw");
            levels.extend(avx512.then_some(Level::Avx512));
        }
        levels
    }

    #[inline]
    #[allow(unsafe_code, reason = "calls what was compiled for what the processor has")]
    fn first(self, blocks: &[Block], from: usize, point: &[f32; 8], limit: f32) -> Option<(usize, usize)> {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `all` has found the features.
            Level::Avx2 => unsafe { x86::avx2(blocks, from, point, limit) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `all` has found the features.
            Level::Avx512 => unsafe { x86::avx512(blocks, from, point, limit) },
            _ => loops(blocks, from, point, limit),
        }
    }
}

fn loops(blocks: &[Block], from: usize, point: &[f32; 8], limit: f32) -> Option<(usize, usize)> {
    first_near!(blocks, from, point, limit, |block| {
        let mut sums = [0f32; LANES];
        for (column, x) in block.columns.iter().zip(point) {
            sums.iter_mut().zip(column).for_each(|(sum, y)| *sum += (y - x) * (y - x));
        }
        sums.iter().enumerate().fold(0, |mask, (lane, &sum)| mask | u32::from(sum < limit) << lane)
    })
}

/// Every arrival goes through all blocks.
pub fn one_probe(level: Level, of: &Points, pairs: &mut Vec<(u32, u32)>) {
    let mut waiting = Waiting::default();
    for (point, id) in of.points.iter().zip(1..) {
        match level.first(&waiting.blocks, 0, point, of.limit) {
            Some(at) => {
                pairs.push((waiting.take(at), id));
                waiting.compact();
            }
            None => waiting.push(id, point),
        }
    }
}

/// 32 arrivals go through all blocks together.
pub fn many_probes(level: Level, of: &Points, pairs: &mut Vec<(u32, u32)>) {
    let mut waiting = Waiting::default();
    let mut id = 0;
    for points in of.points.chunks(PROBES) {
        let mut found = [None; PROBES];
        let mut left: Vec<usize> = (0..points.len()).collect();
        for (tile, blocks) in waiting.blocks.chunks(TILE).enumerate() {
            left.retain(|&probe| {
                let first = level.first(blocks, 0, &points[probe], of.limit);
                found[probe] = first.map(|(block, lane)| (tile * TILE + block, lane));
                first.is_none()
            });
        }
        // In order: who was found may be gone, and those before in this chunk were not looked at.
        let new = waiting.used / LANES;
        for (point, found) in points.iter().zip(found) {
            id += 1;
            let from = found.map_or(new, |(block, _)| block);
            let still = found.filter(|&at| waiting.waits(at));
            match still.or_else(|| level.first(&waiting.blocks, from, point, of.limit)) {
                Some(at) => pairs.push((waiting.take(at), id)),
                None => waiting.push(id, point),
            }
        }
        waiting.compact();
    }
}
