//! Whether a bucket is ordered by value: that pays where many wait and probes want few of them.
//!
//! It is decided from what searches look at, by work done and not by time, so that it is the same on every processor;
//! and nothing that is found depends on it. A bucket is ordered once scans have cost as much more than a tree would
//! have as making the tree costs, and scanned again once the tree has cost as much more than scans. So either is
//! changed at most once for as much work, and all together costs no more than three times the better of both.
//!
//! What a tree would cost is known from samples: of the share of elements that a probe wants by each dim alone. What a
//! scan would cost is known from how many elements have lower ids than the last that was looked at.

use crate::filter::ORDERED_MAX;
use crate::table::block::{LANES, lanes_of};
use crate::table::layout::Layout;
use crate::table::region::Region;
use crate::table::run::Run;
use crate::table::slab::Slab;
use crate::table::tree::{LEAF_MAX, Tree, kept};

/// Rough times, in nanoseconds, beside those of the layout: a leaf beside its blocks, and what a block costs when
/// elements change from a run to a tree or back.
const LEAF_NS: u64 = 60;
const BUILD_BLOCK_NS: u64 = 64 * 150;

/// From how many elements on a bucket may be ordered, and what a leaf has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) live_min: u32,
    pub(super) leaf_max: u32,
    /// After so much work a sample is taken, in nanoseconds.
    pub(super) sample_ns: u64,
    pub(super) build_block_ns: u64,
}

impl Limits {
    const USUAL: Limits =
        Limits { live_min: 1024, leaf_max: LEAF_MAX, sample_ns: 200_000, build_block_ns: BUILD_BLOCK_NS };
    /// The same where a sum is searched. A node of some dims costs more to keep than one of a band, and the arrivals of
    /// a frame read the blocks of a scan together.
    const SUMS: Limits = Limits { live_min: 2048, ..Limits::USUAL };

    /// What buckets of a layout have to have.
    pub(super) fn of(layout: &Layout) -> Limits {
        if layout.sums.is_empty() { Limits::USUAL } else { Limits::SUMS }
    }
}

/// What one search, or one look ahead, has looked at in a bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// Probes.
    pub(super) searches: u64,
    /// Those that are read once for many probes count half.
    pub(super) blocks: u64,
    pub(super) leaves: u64,
    pub(super) nodes: u64,
    /// Of a tree: how many elements scans would have looked at.
    pub(super) passed: u64,
}

/// What is known of a bucket's searches, and its tree if it has one.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) tree: Option<Tree>,
    limits: Limits,
    /// By how much what is not done would have been cheaper, in nanoseconds.
    regret_ns: u64,
    /// Since the last sample.
    scanned_ns: u64,
    searches: u64,
    updates: u64,
    /// By dim: the share of elements that probes want by that dim alone.
    pub(super) shares: [f64; ORDERED_MAX],
    sampled: bool,
}

impl Order {
    pub(super) fn new(limits: Limits) -> Order {
        let shares = [1.0; ORDERED_MAX];
        Order { tree: None, limits, regret_ns: 0, scanned_ns: 0, searches: 0, updates: 0, shares, sampled: false }
    }

    /// An element came or went.
    pub(super) fn updated(&mut self, layout: &Layout) {
        match self.tree {
            None => self.updates += 1,
            Some(_) => self.regret_ns += layout.update_ns,
        }
    }

    /// Whether so few are not worth a tree.
    pub(super) fn too_small(&self, live: u32) -> bool {
        live < self.limits.live_min / 2
    }

    /// The most that is regretted before it is changed.
    fn patience_ns(&self, live: u32) -> u64 {
        u64::from(live).div_ceil(LANES as u64) * self.limits.build_block_ns
    }

    /// Takes notice of searches in a run. True when it should be ordered. `region` is that of the last of them.
    pub(super) fn scanned(&mut self, layout: &Layout, run: &Run, work: &Work, region: impl FnOnce() -> Region) -> bool {
        self.scanned_ns += work.blocks * layout.block_ns;
        self.searches += work.searches;
        if self.scanned_ns <= self.limits.sample_ns || run.live < self.limits.live_min {
            return false;
        }
        self.sample(layout, run, &region());
        let tree_ns = self.searches.saturating_mul(self.tree_ns(layout, run.live)) + self.updates * layout.update_ns;
        self.regret_ns = (self.regret_ns + self.scanned_ns).saturating_sub(tree_ns);
        (self.scanned_ns, self.searches, self.updates) = (0, 0, 0);
        self.regret_ns > self.patience_ns(run.live)
    }

    /// Takes notice of searches in the tree. True when it should be given up.
    pub(super) fn looked_up(&mut self, layout: &Layout, live: u32, work: &Work) -> bool {
        let spent = work.blocks * layout.block_ns + work.leaves * LEAF_NS + work.nodes * layout.node_ns;
        let scan = work.passed / LANES as u64 * layout.block_ns;
        self.regret_ns = (self.regret_ns + spent).saturating_sub(scan);
        self.regret_ns > self.patience_ns(live)
    }

    /// What a search in a tree of so many would cost, by the samples.
    fn tree_ns(&self, layout: &Layout, live: u32) -> u64 {
        let leaves = (f64::from(live) / f64::from(self.limits.leaf_max) * 1.5).max(1.0);
        let levels = leaves.log2().ceil() as u64;
        let mut cells = [1.0; ORDERED_MAX];
        let shares = &self.shares[..layout.dims.len()];
        for _ in 0..levels {
            let left = |dim: usize| kept(shares[dim], 2.0 * cells[dim]) / kept(shares[dim], cells[dim]);
            let best = (0..shares.len()).min_by(|&one, &other| left(one).total_cmp(&left(other)));
            best.into_iter().for_each(|dim| cells[dim] *= 2.0);
        }
        let share: f64 = shares.iter().zip(cells).map(|(&share, cells)| kept(share, cells)).product();
        let leaf_ns = LEAF_NS + u64::from(self.limits.leaf_max / LANES as u32).max(1) * layout.block_ns;
        // Few leaves that are wanted are far from one another, each at the end of its way.
        2 * levels * layout.node_ns + (1.0 + share * leaves) as u64 * (leaf_ns + 3 * layout.node_ns)
    }

    /// Looks at 64 elements: how many of them the region wants, by each dim alone.
    fn sample(&mut self, layout: &Layout, run: &Run, region: &Region) {
        let (mut within, mut of) = ([0u32; ORDERED_MAX], 0);
        for part in 0..LANES {
            let block = &run.blocks[part * run.blocks.len() / LANES];
            let Some(lane) = lanes_of(block.live.rotate_right(part as u32)).next().map(|lane| (lane + part) % LANES)
            else {
                continue;
            };
            of += 1;
            for (dim, at) in layout.dims.iter().enumerate() {
                let inside = block.wild >> lane & 1 == 1 || region.within(dim, at.key(block.word(at.strip, lane)));
                within[dim] += u32::from(inside);
            }
        }
        if of == 0 {
            return;
        }
        for (share, within) in self.shares.iter_mut().zip(within) {
            let now = f64::from(within) / f64::from(of);
            // The first says all that is known; later ones are an eighth each.
            *share = if self.sampled { *share + (now - *share) / 8.0 } else { now };
        }
        self.sampled = true;
    }

    /// Orders a run.
    pub(super) fn make_tree(&mut self, layout: &Layout, slab: &mut Slab, run: Run) {
        // None at all is not known from 64.
        let shares = self.shares.map(|share| share.max(1.0 / 128.0));
        self.tree = Some(Tree::new(layout, slab, run, shares, self.limits.leaf_max));
        self.regret_ns = 0;
    }

    /// Everything in one run again.
    pub(super) fn drop_tree(&mut self, layout: &Layout, slab: &mut Slab) -> Run {
        (self.regret_ns, self.scanned_ns, self.searches, self.updates) = (0, 0, 0, 0);
        self.tree.take().map_or_else(Run::default, |tree| tree.into_run(layout, slab))
    }

    pub(super) fn bytes(&self) -> usize {
        self.tree.as_ref().map_or(0, Tree::bytes)
    }
}

#[cfg(test)]
impl Order {
    /// As if it were to have so many at least.
    pub(super) fn require(&mut self, live_min: u32) {
        self.limits.live_min = live_min;
    }
}
