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
        let mut ball = Ball { limit: limit * (1.0 + SLACK) + 1e-290, squared, point: zero, weight: zero };
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
        }
        self.balls.push(ball);
    }

    /// Whether an anchor with this key may be in the region, as far as that dim tells.
    pub(super) fn within(&self, dim: usize, key: f64) -> bool {
        self.low[dim] <= key && key <= self.high[dim]
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

/// The lowest and the highest that a value may be whose cell has this key.
#[inline]
pub(super) fn widest(int: bool, key: f64) -> (f64, f64) {
    if int || key.is_infinite() {
        return (key, key);
    }
    let rounded = key.abs() * CELL + TINY;
    (key - rounded, key + rounded)
}
