//! Searching an ordered bucket: what survives the filter in its leaves, in the order of ids.
//!
//! Nodes and leaves are in a heap by the lowest id they may have, and the lowest is looked into next. So a leaf is
//! looked at up to its first survivor, and further only when that had its turn; what has no lower id than where the
//! search stops is not looked at.

use std::ops::Range;

use crate::table::heap::{Heap, Next, WILD, What};
use crate::table::kernel::{Scan, VectorLevel};
use crate::table::order::Work;
use crate::table::region::Region;
use crate::table::run::Run;
use crate::table::slab::Slab;
use crate::table::tree::{At, Tree};

/// What one search looks for in a tree.
pub(super) struct Merge<'a> {
    pub(super) tree: &'a Tree,
    pub(super) slab: &'a Slab,
    pub(super) scan: Scan<'a>,
    pub(super) level: VectorLevel,
    pub(super) region: &'a Region,
    pub(super) ids: Range<u64>,
}

impl Merge<'_> {
    /// Calls `stops` with every survivor, ascending by id, and whether its lane is tame, until it says that this is
    /// enough; returns where that was.
    pub(super) fn each(
        &self,
        heap: &mut Heap,
        work: &mut Work,
        mut stops: impl FnMut(u32, bool) -> bool,
    ) -> Option<u64> {
        let heap = &mut heap.0;
        heap.clear();
        heap.extend(self.leaf(WILD, work));
        heap.extend(self.node(0));
        while let Some(next) = heap.pop() {
            match next.what {
                What::Node(node) => {
                    work.nodes += 1;
                    match self.tree.at(node) {
                        At::Leaf(_) => heap.extend(self.leaf(node, work)),
                        At::Inner(children) => heap.extend(children.into_iter().filter_map(|child| self.node(child))),
                    }
                }
                What::Survivors { node, block, lanes } => {
                    let of = &self.run(node).blocks[block as usize];
                    let lane = lanes.trailing_zeros() as usize;
                    if stops(of.slot(lane), of.wild >> lane & 1 == 0) {
                        return Some(next.id);
                    }
                    heap.extend(self.survivors(node, block, lanes & (lanes - 1), work));
                }
            }
        }
        None
    }

    fn run(&self, node: u32) -> &Run {
        if node == WILD {
            return self.tree.wild();
        }
        match self.tree.at(node) {
            At::Leaf(run) => run,
            At::Inner(_) => unreachable!("only leaves have survivors"),
        }
    }

    /// A node, if something below it may be wanted.
    fn node(&self, node: u32) -> Option<Next> {
        let id = self.tree.first_id(node).filter(|&id| id < self.ids.end)?;
        if self.tree.last_id(node) < self.ids.start {
            return None;
        }
        let (low, high) = self.tree.bounds(node);
        self.region.overlaps(low, high).then_some(Next { id, what: What::Node(node) })
    }

    /// The first survivors of a leaf.
    fn leaf(&self, node: u32, work: &mut Work) -> Option<Next> {
        let run = self.run(node);
        work.leaves += 1;
        // A block may have lower ids than are looked for: those before it have no others.
        let before = run.blocks.len() - run.from(self.ids.start).len();
        self.scan_from(node, before, work)
    }

    /// The survivors that are left in a block, or the first of those after it.
    fn survivors(&self, node: u32, block: u32, lanes: u64, work: &mut Work) -> Option<Next> {
        self.lowest(node, block, lanes).or_else(|| self.scan_from(node, block as usize + 1, work))
    }

    fn scan_from(&self, node: u32, mut from: usize, work: &mut Work) -> Option<Next> {
        let run = self.run(node);
        while let Some((at, mask)) = self.scan.next(self.level, &run.blocks[from..]) {
            work.blocks += at as u64 + 1;
            from += at + 1;
            if run.blocks[from - 1].first_id >= self.ids.end {
                return None;
            }
            if let Some(next) = self.lowest(node, from as u32 - 1, mask) {
                return Some(next);
            }
        }
        work.blocks += (run.blocks.len() - from) as u64;
        None
    }

    /// The lowest of a block's survivors whose id is looked for.
    fn lowest(&self, node: u32, block: u32, mut lanes: u64) -> Option<Next> {
        let of = &self.run(node).blocks[block as usize];
        while lanes != 0 {
            let id = self.slab.ids[of.slot(lanes.trailing_zeros() as usize) as usize];
            if id >= self.ids.end {
                return None;
            }
            if id >= self.ids.start {
                return Some(Next { id, what: What::Survivors { node, block, lanes } });
            }
            lanes &= lanes - 1;
        }
        None
    }
}
