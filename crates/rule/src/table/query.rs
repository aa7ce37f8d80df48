//! What one probe asks of the anchors in one role, ready for the kernels.

use crate::expr::End;
use crate::filter::{Asked, Bound, Probe};
use crate::strings::Strings;
use crate::table::heap::Heap;
use crate::table::layout::{Layout, Place, Shape};
use crate::table::order::Work;
use crate::table::region::Region;

/// A buffer that is used again and again.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    asked: Asked,
    /// Whether no bound is `Always`.
    pub(super) sure: bool,
    /// The points and weights of the sums, as the kernels take them.
    pub(super) points: Vec<f32>,
    pub(super) weights: Vec<f32>,
    /// By bound; of use for sums only.
    pub(super) limits: Vec<Limit>,
    /// Of an ordered bucket: where to look.
    pub(super) region: Region,
    pub(super) heap: Heap,
    /// The role of the anchors it was asked for last.
    role: usize,
    /// What was looked at since this was last forgotten.
    pub(super) work: Work,
    /// The bucket in which that was.
    pub(super) bucket: u32,
    /// What was looked ahead for.
    pub(super) found: Found,
}

/// What is found for one probe by looking ahead: a buffer that is used again and again.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The lowest elements that may satisfy it, with their slots.
    pub(super) lowest: Vec<(u64, u32)>,
    /// Nothing is known from here on.
    pub(super) from: u64,
    /// What has this id or a higher one is not looked for.
    pub(super) end: u64,
}

impl Found {
    /// Begins to look for elements with ids below `end`.
    pub(super) fn start(&mut self, end: u64) {
        self.lowest.clear();
        (self.from, self.end) = (0, end);
    }
}

/// What a sum computed in `f32` is at most, if the true one is at most R.
///
/// A cell is its value rounded, a point is too, and so is their difference: with the terms' values `c` and `p`, each
/// adds at most `2^-24 (|c| + |p|)`, so the difference is off by less than `e = 2^-22 (|c| + |p|)`. Summed over the
/// terms, e is at most `2^-22 (reach + P)`. Then, all weights being at most W:
/// * power 1: `sum w |d + e| <= sum w |d| + W sum |e|`;
/// * power 2: `sqrt(sum w (d + e)^2) <= sqrt(sum w d^2) + sqrt(sum w e^2) <= sqrt(R) + sqrt(W) sum |e|`, by Minkowski.
///
/// What products and additions round, here and in the rule's own `f64`, is relative: fewer than 250 roundings of
/// `2^-24`, hence the factor `1 + 2^-16`. Below the normal numbers they round by `2^-150` each, hence the last summand.
/// Weights are rounded downwards. What overflows to infinity here was more than any limit that is finite.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limit {
    base: f64,
    slope: f64,
    /// P.
    points: f64,
    squared: bool,
    /// Where its points and weights begin.
    pub(super) from: usize,
    /// Whether the weights are all 1.
    pub(super) plain: bool,
}

impl Limit {
    /// For anchors whose cells' magnitudes add up to at most `reach`.
    #[inline(always)]
    pub(super) fn at(&self, reach: f32) -> f32 {
        let bound = self.base + self.slope * (f64::from(reach) + self.points);
        let power = if self.squared { bound * bound } else { bound };
        // The cast rounds by 2^-24 again, or by less than the summand.
        (power * (1.0 + 1.0 / 65_536.0 + 1.0 / 4_194_304.0) + 1e-40) as f32
    }
}

impl Query {
    /// Asks for one probe.
    pub(super) fn ask(&mut self, layout: &Layout, shape: &Shape, anchor: End, probe: &Probe<'_>, strings: &Strings) {
        self.role = anchor as usize;
        (shape.ask)(anchor, probe, &|text| strings.find(text), &mut self.asked);
        self.sure = shape.exact.is_some() && !self.asked.bounds.contains(&Bound::Always);
        if layout.sums.is_empty() {
            return;
        }
        let Query { asked, points, weights, limits, .. } = self;
        points.clear();
        points.extend(asked.points.iter().map(|&point| point as f32));
        weights.clear();
        weights.extend(asked.weights.iter().map(|&weight| rounded_down(weight)));
        limits.clear();
        limits.resize(asked.bounds.len(), Limit::default());
        layout.root(anchor).leaves(&mut |leaf| {
            if let (&Bound::Sum { from, limit }, Place::Sum(sum)) = (&asked.bounds[leaf.bound], leaf.at) {
                let terms = &layout.sums[sum];
                let range = from..from + terms.columns.len();
                let largest = asked.weights[range.clone()].iter().copied().fold(0.0, f64::max);
                let of = |value: f64| if terms.squared { value.sqrt() } else { value };
                limits[leaf.bound] = Limit {
                    base: of(limit),
                    slope: of(largest) / f64::from(1 << 22),
                    points: asked.points[range.clone()].iter().map(|point| point.abs()).sum(),
                    squared: terms.squared,
                    from,
                    plain: asked.weights[range].iter().all(|&weight| weight == 1.0),
                };
            }
        });
    }

    /// Where the anchors are that it was asked for last.
    pub(super) fn locate(&mut self, layout: &Layout) {
        self.region.set(layout, self.role, &self.asked);
    }

    pub(super) fn bounds(&self) -> &[Bound] {
        &self.asked.bounds
    }
}

fn rounded_down(weight: f64) -> f32 {
    let near = weight as f32;
    if f64::from(near) > weight { near.next_down() } else { near }
}
