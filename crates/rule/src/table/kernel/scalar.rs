//! For every processor: loops, which compilers make use of what the target has for certain (SSE2, NEON).

use super::scan::{Lines, Scan, split, tree};
use crate::filter::INT_MISSING;
use crate::table::block::{Block, CacheLine};
use crate::table::layout::{Terms, Tree};

pub(super) struct Scalar;

#[inline(always)]
fn mask(test: impl Fn(usize) -> bool) -> u32 {
    (0..16).fold(0, |mask, lane| mask | u32::from(test(lane)) << lane)
}

impl Lines for Scalar {
    #[inline(always)]
    fn int_range(line: &CacheLine, low: i32, high: i32) -> u32 {
        mask(|lane| (low..=high).contains(&(line.0[lane] as i32)))
    }

    #[inline(always)]
    fn double_range(line: &CacheLine, low: f32, high: f32) -> u32 {
        mask(|lane| (low..=high).contains(&f32::from_bits(line.0[lane])))
    }

    #[inline(always)]
    fn equal(line: &CacheLine, word: u32) -> u32 {
        mask(|lane| line.0[lane] == word)
    }

    #[inline(always)]
    fn neither(line: &CacheLine, one: u32, other: u32) -> u32 {
        mask(|lane| (line.0[lane] != one) & (line.0[lane] != other))
    }

    #[inline(always)]
    fn within(line: &CacheLine, set: u64) -> u32 {
        mask(|lane| (set >> (line.0[lane] & 63) & 1 == 1) & (line.0[lane] != 0))
    }

    #[inline(always)]
    fn shares(low: &CacheLine, high: &CacheLine, set: u64) -> u32 {
        let (set_low, set_high) = (set as u32, (set >> 32) as u32);
        mask(|lane| low.0[lane] & set_low | high.0[lane] & set_high != 0)
    }

    #[inline(always)]
    fn sum<const LINES: usize, const SQUARED: bool>(
        block: &Block,
        terms: &Terms,
        points: &[f32],
        weights: &[f32],
        limit: f32,
    ) -> u64 {
        let mut sums = [[0f32; 16]; LINES];
        let split = split(terms.columns.len());
        let passing = |sums: &[[f32; 16]; LINES]| {
            (0..LINES).fold(0, |all, at| all | u64::from(mask(|lane| sums[at][lane] <= limit)) << (16 * at))
        };
        for (term, (&(strip, int), &point)) in terms.columns.iter().zip(points).enumerate() {
            if term == split && passing(&sums) == 0 {
                return 0;
            }
            let cells = block.strip::<LINES>(strip);
            for (sums, cells) in sums.iter_mut().zip(cells) {
                for (sum, &cell) in sums.iter_mut().zip(&cells.0) {
                    let value = if !int {
                        f32::from_bits(cell)
                    } else if cell as i32 == INT_MISSING {
                        f32::NAN
                    } else {
                        cell as i32 as f32
                    };
                    let off = value - point;
                    *sum += weights[term] * if SQUARED { off * off } else { off.abs() };
                }
            }
        }
        passing(&sums)
    }

    #[inline(always)]
    fn run<const LINES: usize, const SQUARED: bool, const PLAIN: bool>(
        strips: &[[CacheLine; LINES]],
        points: &[f32],
        weights: &[f32],
        limit: f32,
    ) -> u64 {
        let mut sums = [[0f32; 16]; LINES];
        for (term, (cells, &point)) in strips.iter().zip(points).enumerate() {
            for (sums, cells) in sums.iter_mut().zip(cells) {
                for (sum, &cell) in sums.iter_mut().zip(&cells.0) {
                    let off = f32::from_bits(cell) - point;
                    let off = if SQUARED { off * off } else { off.abs() };
                    *sum += if PLAIN { off } else { weights[term] * off };
                }
            }
        }
        (0..LINES).fold(0, |all, at| all | u64::from(mask(|lane| sums[at][lane] <= limit)) << (16 * at))
    }

    #[inline(always)]
    fn prefetch(_: &CacheLine) {}

    fn tree<const LINES: usize>(scan: &Scan<'_>, root: &Tree, block: &Block, lanes: u64) -> u64 {
        tree::<Self, LINES>(scan, root, block, lanes)
    }
}
