//! What is computed of blocks, written once over [`Lines`]: comparisons of 16 cells, and sums of 64.

use crate::filter::{Bound, INT_MISSING, SYMBOL_MISSING};
use crate::table::block::{Block, CacheLine};
use crate::table::layout::{Layout, Leaf, Place, Root, Terms, Tree};
use crate::table::query::Query;

/// A filter and one probe's bounds.
#[derive(Clone, Copy)]
pub(in crate::table) struct Scan<'a> {
    pub(in crate::table) layout: &'a Layout,
    pub(in crate::table) root: &'a Root,
    pub(in crate::table) query: &'a Query,
}

/// What a level does with a line. A mask's bit l is about lane l.
pub(super) trait Lines {
    /// Whether cells are in the range.
    fn int_range(line: &CacheLine, low: i32, high: i32) -> u32;
    /// Whether cells are in the range. NaN is not.
    fn double_range(line: &CacheLine, low: f32, high: f32) -> u32;
    /// Whether cells are this.
    fn equal(line: &CacheLine, word: u32) -> u32;
    /// Whether cells are neither.
    fn neither(line: &CacheLine, one: u32, other: u32) -> u32;
    /// Whether a cell's bit, modulo 64, is in the set. 0 is not.
    fn within(line: &CacheLine, set: u64) -> u32;
    /// Whether cells, in halves, share a bit with the set.
    fn shares(low: &CacheLine, high: &CacheLine, set: u64) -> u32;
    /// Whether sums are at most `limit`. `points` and `weights` are the terms'.
    fn sum<const LINES: usize, const SQUARED: bool>(
        block: &Block,
        terms: &Terms,
        points: &[f32],
        weights: &[f32],
        limit: f32,
    ) -> u64;
    /// The same for columns of doubles that are one after the other; `PLAIN` if all weights are 1.
    fn run<const LINES: usize, const SQUARED: bool, const PLAIN: bool>(
        strips: &[[CacheLine; LINES]],
        points: &[f32],
        weights: &[f32],
        limit: f32,
    ) -> u64;
    /// Asks for a line that is soon looked at.
    fn prefetch(line: &CacheLine);
    /// [`tree`], compiled for the level.
    fn tree<const LINES: usize>(scan: &Scan<'_>, root: &Tree, block: &Block, lanes: u64) -> u64;
}

/// After how many terms a look at the sum may save the others.
#[inline(always)]
pub(super) fn split(terms: usize) -> usize {
    if terms < 4 { terms } else { terms - terms / 4 }
}

// Nothing below is a closure or takes one: a closure is a function that is not compiled for the level, and nothing that
// uses the level's registers can be inlined into it.

/// So many blocks before a block is looked at its cells are asked for: they are all over the memory.
const SOON: usize = 6;

/// The first block with a survivor: `$test` says for a block, and those of its lanes in question, with `$lines` lines a
/// strip, which survive. It looks at `$strips` first.
macro_rules! each {
    ($blocks:expr, $strips:expr, |$block:ident, $lanes:ident, $lines:ident| $test:expr) => {{
        let strips: (usize, usize) = $strips;
        for (at, $block) in $blocks.iter().enumerate() {
            if let Some(soon) = $blocks.get(at + SOON) {
                prefetch::<L>(soon, strips);
            }
            if $block.is_dead() {
                continue;
            }
            let $lanes = $block.live & !$block.wild;
            let mask = match $block.lines {
                4 => {
                    const $lines: usize = 4;
                    $test
                }
                2 => {
                    const $lines: usize = 2;
                    $test
                }
                _ => {
                    const $lines: usize = 1;
                    $test
                }
            };
            let survivors = $block.live & (mask | $block.wild);
            if survivors != 0 {
                return Some((at, survivors));
            }
        }
        None
    }};
}

/// A mask from a strip's lines.
macro_rules! lines {
    ($block:expr, $strip:expr, |$line:ident| $mask:expr) => {{
        let strip = $block.strip::<LINES>($strip);
        let mut all = 0;
        for at in 0..LINES {
            let $line = &strip[at];
            all |= u64::from($mask) << (16 * at);
        }
        all
    }};
}

#[inline(always)]
pub(super) fn next<L: Lines>(scan: &Scan<'_>, blocks: &[Block]) -> Option<(usize, u64)> {
    match scan.root {
        Root::Everything => blocks.iter().position(|block| !block.is_dead()).map(|at| (at, blocks[at].live)),
        Root::Leaf(one) => match lone_distance(scan, *one) {
            Some((true, true)) => distances::<L, true, true>(scan, *one, blocks),
            Some((true, false)) => distances::<L, true, false>(scan, *one, blocks),
            Some((false, true)) => distances::<L, false, true>(scan, *one, blocks),
            Some((false, false)) => distances::<L, false, false>(scan, *one, blocks),
            None => lone::<L>(scan, *one, blocks),
        },
        Root::Leaves(some) => {
            each!(blocks, first_strips(some[0]), |block, lanes, LINES| leaves::<L, LINES>(scan, some, block, lanes))
        }
        Root::Tree(root) => each!(blocks, (0, 0), |block, lanes, LINES| L::tree::<LINES>(scan, root, block, lanes)),
    }
}

/// What is looked at of every block, by a leaf that is asked first.
#[inline(always)]
fn first_strips(leaf: Leaf) -> (usize, usize) {
    match leaf.at {
        Place::Strip(strip) => (strip, 1),
        Place::Set(strip) => (strip, 2),
        Place::Bit(_) | Place::Sum(_) | Place::Nowhere => (0, 0),
    }
}

#[inline(always)]
fn prefetch<L: Lines>(block: &Block, (first, count): (usize, usize)) {
    for line in block.lines_of(first, count) {
        L::prefetch(line);
    }
}

/// The scan whose filter is one comparison: what it is is found out once.
#[inline(always)]
fn lone<L: Lines>(scan: &Scan<'_>, one: Leaf, blocks: &[Block]) -> Option<(usize, u64)> {
    let strips = first_strips(one);
    match (scan.query.bounds()[one.bound], one.at) {
        (Bound::Int { low, high }, Place::Strip(strip)) => each!(blocks, strips, |block, lanes, LINES| {
            lanes & lines!(block, strip, |line| L::int_range(line, low, high))
        }),
        (Bound::Double { low, high }, Place::Strip(strip)) => each!(blocks, strips, |block, lanes, LINES| {
            lanes & lines!(block, strip, |line| L::double_range(line, low, high))
        }),
        (Bound::SymbolNot(symbol), Place::Strip(strip)) => each!(blocks, strips, |block, lanes, LINES| {
            lanes & lines!(block, strip, |line| L::neither(line, symbol, SYMBOL_MISSING))
        }),
        (Bound::IntNot(int), Place::Strip(strip)) => each!(blocks, strips, |block, lanes, LINES| {
            lanes & lines!(block, strip, |line| L::neither(line, int as u32, INT_MISSING as u32))
        }),
        _ => each!(blocks, strips, |block, lanes, LINES| lanes & leaf::<L, LINES>(scan, one, block)),
    }
}

/// Whether a leaf is a distance over doubles that are one after the other; then whether it is squared, and without
/// weights.
#[inline(always)]
fn lone_distance(scan: &Scan<'_>, leaf: Leaf) -> Option<(bool, bool)> {
    match (scan.query.bounds()[leaf.bound], leaf.at) {
        (Bound::Sum { .. }, Place::Sum(sum)) => {
            let terms = &scan.layout.sums[sum];
            terms.run.map(|_| (terms.squared, scan.query.limits[leaf.bound].plain))
        }
        _ => None,
    }
}

/// The scan whose filter is such a distance: as little as possible is done for each block.
#[inline(always)]
fn distances<L: Lines, const SQUARED: bool, const PLAIN: bool>(
    scan: &Scan<'_>,
    leaf: Leaf,
    blocks: &[Block],
) -> Option<(usize, u64)> {
    let Place::Sum(sum) = leaf.at else { return None };
    let limit = scan.query.limits[leaf.bound];
    let terms = scan.layout.sums[sum].columns.len();
    let first = scan.layout.sums[sum].run?;
    let points = &scan.query.points[limit.from..][..terms];
    let weights = &scan.query.weights[limit.from..][..terms];
    // Many strips are one run of memory, which the processor sees for itself.
    each!(blocks, (0, 0), |block, lanes, LINES| {
        let most = limit.at(block.reach(scan.layout, sum));
        lanes & L::run::<LINES, SQUARED, PLAIN>(block.strips::<LINES>(first, terms), points, weights, most)
    })
}

/// The lanes that pass one leaf, and some that are none of the caller's.
#[inline(always)]
fn leaf<L: Lines, const LINES: usize>(scan: &Scan<'_>, leaf: Leaf, block: &Block) -> u64 {
    match (scan.query.bounds()[leaf.bound], leaf.at) {
        (Bound::Never, _) => 0,
        (Bound::Always, _) => u64::MAX,
        (Bound::Bit, Place::Bit(bit)) => block.bits(scan.layout, bit),
        (Bound::Int { low, high }, Place::Strip(strip)) => lines!(block, strip, |line| L::int_range(line, low, high)),
        (Bound::IntNot(int), Place::Strip(strip)) => {
            lines!(block, strip, |line| L::neither(line, int as u32, INT_MISSING as u32))
        }
        (Bound::Double { low, high }, Place::Strip(strip)) => {
            lines!(block, strip, |line| L::double_range(line, low, high))
        }
        (Bound::Symbol(symbol), Place::Strip(strip)) => lines!(block, strip, |line| L::equal(line, symbol)),
        (Bound::SymbolNot(symbol), Place::Strip(strip)) => {
            lines!(block, strip, |line| L::neither(line, symbol, SYMBOL_MISSING))
        }
        (Bound::SymbolIn(set), Place::Strip(strip)) => lines!(block, strip, |line| L::within(line, set)),
        (Bound::Set(set), Place::Set(strip)) => {
            let (low, high) = (block.strip::<LINES>(strip), block.strip::<LINES>(strip + 1));
            let mut all = 0;
            for at in 0..LINES {
                all |= u64::from(L::shares(&low[at], &high[at], set)) << (16 * at);
            }
            all
        }
        (Bound::Sum { .. }, Place::Sum(sum)) => sums::<L, LINES>(scan, leaf.bound, sum, block),
        (bound, at) => mismatch(bound, at),
    }
}

#[cold]
#[inline(never)]
fn mismatch(bound: Bound, at: Place) -> ! {
    unreachable!("the plan asks {bound:?} of {at:?}")
}

#[inline(always)]
fn sums<L: Lines, const LINES: usize>(scan: &Scan<'_>, bound: usize, sum: usize, block: &Block) -> u64 {
    let limit = &scan.query.limits[bound];
    let terms = &scan.layout.sums[sum];
    let range = limit.from..limit.from + terms.columns.len();
    let (points, weights) = (&scan.query.points[range.clone()], &scan.query.weights[range]);
    let most = limit.at(block.reach(scan.layout, sum));
    match terms.squared {
        true => L::sum::<LINES, true>(block, terms, points, weights, most),
        false => L::sum::<LINES, false>(block, terms, points, weights, most),
    }
}

/// Those of `lanes` that pass every leaf.
#[inline(always)]
fn leaves<L: Lines, const LINES: usize>(scan: &Scan<'_>, leaves: &[Leaf], block: &Block, mut lanes: u64) -> u64 {
    for one in leaves {
        lanes &= leaf::<L, LINES>(scan, *one, block);
        if lanes == 0 {
            break;
        }
    }
    lanes
}

/// Those of `lanes` that pass a tree. Recursion is through the level's own function, so that all of it is compiled for
/// the level.
#[inline(always)]
pub(super) fn tree<L: Lines, const LINES: usize>(scan: &Scan<'_>, root: &Tree, block: &Block, mut lanes: u64) -> u64 {
    match root {
        Tree::Leaf(one) => lanes & leaf::<L, LINES>(scan, *one, block),
        Tree::All(of) => {
            for one in of {
                if lanes == 0 {
                    break;
                }
                lanes = L::tree::<LINES>(scan, one, block, lanes);
            }
            lanes
        }
        Tree::Any(of) => {
            let mut found = 0;
            for one in of {
                if found == lanes {
                    break;
                }
                found |= L::tree::<LINES>(scan, one, block, lanes & !found);
            }
            found
        }
    }
}
