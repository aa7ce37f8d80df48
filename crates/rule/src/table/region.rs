//! Where, among what a bucket is ordered by, the anchors of one probe can be.
//!
//! Invariant region.R1: whatever anchor the rule is true or an error on, and has a cell in every column (its lane is
//! not wild), is within the region of its role. So what overlaps no part of a region need not be looked at.
//!
//! A range is of cells, as the kernels compare them. A sum's is of values: if a sum of terms `w |v - p|^n` is at most
//! R, so is each of them, and each sum of fewer; R itself allows for what the rule's own doubles round. The cell of a
//! double is its value rounded to the nearest of 24 bits, so the value is off by 2^-24 of it, or by 2^-150. Twice that
//! is allowed for where boxes are made: they hold the values and the cells. A missing cell is below all values, and no
//! sum with it is at most anything.

use crate::filter::{Asked, Bound, ORDERED_MAX};
use crate::table::layout::{Layout, Required};

/// More than the rounding of a cell: see above.
const CELL: f64 = 1.0 / (1 << 23) as f64;
/// For what underflows.
const TINY: f64 = 1e-44;
/// For rounding in doubles, here.
const SLACK: f64 = 1.0 / (1u64 << 40) as f64;

/// Boxes in a group.
pub(super) const LEAVES: usize = 64;

/// Up to 64 boxes, of a leaf of a tree each: by dim, the lowest and the highest value, rounded outwards.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) low: Vec<[f32; LEAVES]>,
    pub(super) high: Vec<[f32; LEAVES]>,
}

/// A box, and distances from points of it. A buffer that is used again and again.
#[derive(Debug, Clone, Default)]
pub(super) struct Region {
    /// Inclusive, by dim.
    low: [f64; ORDERED_MAX],
    high: [f64; ORDERED_MAX],
    /// The dims that have a range of their own, and not only by a distance.
    ranged: Vec<usize>,
    balls: Vec<Ball>,
}

/// A sum that must be at most so much. What is beyond its dims has no weight.
#[derive(Debug, Clone, Copy)]
struct Ball {
    limit: f64,
    squared: bool,
    point: [f64; ORDERED_MAX],
    weight: [f64; ORDERED_MAX],
    wide: Wide,
}

/// The same for many boxes at once, in `f32`: whatever is rounded is rounded so that nothing seems further away than it
/// is. The differences, products and sums of what follows are each off by 2^-24 of themselves, and there are fewer than
/// 32 of them; so the limit is 2^-16 more. What underflows is 2^-150, hence the last summand.
#[derive(Debug, Clone, Copy, Default)]
struct Wide {
    /// The point, rounded down and up.
    below: [f32; ORDERED_MAX],
    above: [f32; ORDERED_MAX],
    /// What a difference is multiplied with, before it is squared if it is.
    scale: [f32; ORDERED_MAX],
    most: f32,
}

impl Region {
    /// Takes the bounds of one probe, of anchors of one role.
    pub(super) fn set(&mut self, layout: &Layout, role: usize, asked: &Asked) {
        self.low = [f64::NEG_INFINITY; ORDERED_MAX];
        self.high = [f64::INFINITY; ORDERED_MAX];
        self.ranged.clear();
        self.balls.clear();
        for required in &layout.required[role] {
            match required {
                Required::Column { bound, dim } => match (asked.bounds[*bound], dim) {
                    (Bound::Never, _) => self.nothing(),
                    (Bound::Int { low, high }, Some(dim)) => self.range(*dim, f64::from(low), f64::from(high)),
                    (Bound::Double { low, high }, Some(dim)) => self.range(*dim, f64::from(low), f64::from(high)),
                    _ => {}
                },
                Required::Sum { bound, squared, dims } => match asked.bounds[*bound] {
                    Bound::Never => self.nothing(),
                    Bound::Sum { from, limit } => self.sum(layout, asked, dims, from, limit, *squared),
                    _ => {}
                },
            }
        }
    }

    fn nothing(&mut self) {
        self.range(0, f64::INFINITY, f64::NEG_INFINITY);
    }

    fn range(&mut self, dim: usize, low: f64, high: f64) {
        if !self.ranged.contains(&dim) {
            self.ranged.push(dim);
        }
        self.meet(dim, low, high);
    }

    fn meet(&mut self, dim: usize, low: f64, high: f64) {
        self.low[dim] = self.low[dim].max(low);
        self.high[dim] = self.high[dim].min(high);
    }

    fn sum(&mut self, layout: &Layout, asked: &Asked, dims: &[Option<usize>], from: usize, limit: f64, squared: bool) {
        let zero = [0.0; ORDERED_MAX];
        let limited = limit * (1.0 + SLACK) + 1e-290;
        let mut ball = Ball { limit: limited, squared, point: zero, weight: zero, wide: Wide::default() };
        ball.wide.most = ((limited * (1.0 + 1.0 / 65_536.0) + 1e-40) as f32).next_up();
        for (at, dim) in (from..).zip(dims) {
            let (Some(dim), point, weight) = (*dim, asked.points[at], asked.weights[at]) else { continue };
            let reach = if weight > 0.0 { limit / weight } else { f64::INFINITY };
            let reach = if squared { reach.sqrt() } else { reach } * (1.0 + SLACK) + TINY;
            let (low, high) = ((point - reach).next_down(), (point + reach).next_up());
            if layout.dims[dim].int {
                self.meet(dim, low, high);
            } else {
                self.meet(dim, f64::from((low as f32).next_down()), f64::from((high as f32).next_up()));
            }
            // Of a column that is there twice, one term is enough to be sure.
            (ball.point[dim], ball.weight[dim]) = (point, weight);
            (ball.wide.below[dim], ball.wide.above[dim]) = ((point as f32).next_down(), (point as f32).next_up());
            let scale = if squared { weight.sqrt() } else { weight };
            ball.wide.scale[dim] = (scale as f32).next_down().max(0.0);
        }
        self.balls.push(ball);
    }

    /// Whether an anchor with this key may be in the region, as far as that dim tells.
    pub(super) fn within(&self, dim: usize, key: f64) -> bool {
        self.low[dim] <= key && key <= self.high[dim]
    }

    /// In which of some boxes something may be in the region.
    pub(super) fn wanted(&self, group: &Group) -> u64 {
        let mut wanted = u64::MAX;
        for &dim in &self.ranged {
            let (lowest, highest) = ((self.low[dim] as f32).next_down(), (self.high[dim] as f32).next_up());
            let (low, high) = (&group.low[dim], &group.high[dim]);
            wanted &= mask(|leaf| high[leaf] >= lowest && low[leaf] <= highest);
        }
        for ball in &self.balls {
            wanted &= if ball.squared { ball.wanted::<true>(group) } else { ball.wanted::<false>(group) };
        }
        wanted
    }

    /// Whether something in a box of [`widest`] keys may be in the region.
    #[inline]
    pub(super) fn overlaps(&self, low: &[f64], high: &[f64]) -> bool {
        self.ranged.iter().all(|&dim| high[dim] >= self.low[dim] && low[dim] <= self.high[dim])
            && self.balls.iter().all(|ball| ball.overlaps(low, high))
    }
}

impl Ball {
    #[inline]
    fn overlaps(&self, low: &[f64], high: &[f64]) -> bool {
        let nearest = if self.squared { self.nearest::<true>(low, high) } else { self.nearest::<false>(low, high) };
        // It may be NaN: infinity without weight.
        let beyond = nearest > self.limit;
        !beyond
    }

    /// In which of some boxes something may be near enough.
    #[inline(always)]
    fn wanted<const SQUARED: bool>(&self, group: &Group) -> u64 {
        let greater = |one: f32, other: f32| if one > other { one } else { other };
        let Wide { below, above, scale, most } = self.wide;
        let mut sums = [0.0f32; LEAVES];
        for (dim, (low, high)) in group.low.iter().zip(&group.high).enumerate() {
            for (sum, (&low, &high)) in sums.iter_mut().zip(low.iter().zip(high)) {
                let off = scale[dim] * greater(greater(low - above[dim], below[dim] - high), 0.0);
                *sum += if SQUARED { off * off } else { off };
            }
        }
        // It may be NaN: infinity without weight.
        !mask(|leaf| sums[leaf] > most)
    }

    /// What the sum of a box is at least. Two dims at a time, as every processor of the kind can.
    #[inline(always)]
    fn nearest<const SQUARED: bool>(&self, low: &[f64], high: &[f64]) -> f64 {
        let greater = |one: f64, other: f64| if one > other { one } else { other };
        let term = |low: f64, high: f64, at: usize| {
            // Of what is all missing, and of nothing at all, it is infinite: neither has a distance.
            let off = greater(greater(low - self.point[at], self.point[at] - high), 0.0);
            self.weight[at] * if SQUARED { off * off } else { off }
        };
        let ((low, odd_low), (high, odd_high)) = (low.as_chunks::<2>(), high.as_chunks::<2>());
        let mut sums = [0.0; 2];
        for (at, (low, high)) in low.iter().zip(high).enumerate() {
            sums[0] += term(low[0], high[0], 2 * at);
            sums[1] += term(low[1], high[1], 2 * at + 1);
        }
        match (odd_low, odd_high) {
            ([odd_low], [odd_high]) => sums[0] + sums[1] + term(*odd_low, *odd_high, 2 * low.len()),
            _ => sums[0] + sums[1],
        }
    }
}

/// Those of 64 leaves of which something is true.
#[inline(always)]
fn mask(of: impl Fn(usize) -> bool) -> u64 {
    let mut mask = 0;
    for leaf in 0..LEAVES {
        mask |= u64::from(of(leaf)) << leaf;
    }
    mask
}

/// The lowest and the highest that a value may be whose cell has this key.
#[inline]
pub(super) fn widest(int: bool, key: f64) -> (f64, f64) {
    if int || key.is_infinite() {
        return (key, key);
    }
    let rounded = key.abs() * CELL + TINY;
    (key - rounded, key + rounded)
}
