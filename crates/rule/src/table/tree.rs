//! Many elements, ordered by value: a k-d tree over the cells of some columns, with a run of blocks in each leaf.
//!
//! A leaf's elements are near one another in value and in id order among themselves, so a search looks at the leaves
//! that its [region](crate::table::region) overlaps, block by block as ever, and takes what passes in the order of ids
//! (`merge.rs`). Elements without a cell in some column (wild lanes) are in a run of their own, which is always looked
//! at.
//!
//! Invariants: tree.R1 an element's keys are within the bounds of its leaf and of all nodes above; tree.R2 no element
//! below a node has a lower id than its `first_id`, nor a higher one than its `last_id`; tree.R3 `live` is how many wait below; tree.R4 a subtree is made
//! anew only after a quarter as many changes in it as it has elements, so values in whatever order cost a logarithm of
//! moves each; tree.R5 leaves follow what waits: where they have a quarter of what they may have, all is made anew.

#[cfg(test)]
mod check;

use crate::filter::ORDERED_MAX;
use crate::table::block::{Block, LANES, lanes_of};
use crate::table::layout::{Dim, Keys, Lane, Layout};
use crate::table::region::widest;
use crate::table::run::Run;
use crate::table::slab::{NONE, Slab};

/// Most elements of a leaf: more are divided among two. Larger leaves are looked at in vain more often, smaller ones
/// take more memory.
pub(super) const LEAF_MAX: u32 = 256;
/// Most elements whose values say where a tree that is made anew is divided.
const SAMPLE_MAX: usize = 8192;
/// Fewer of these say little.
const SAMPLE_MIN: usize = 8;
/// The `first_id` of nobody.
const NOBODY: u64 = u64::MAX;

/// An ordered bucket's elements.
#[derive(Debug)]
pub(super) struct Tree {
    /// The root first, then pairs of children.
    nodes: Vec<Node>,
    /// By node: the lowest key of every dim, then the highest.
    bounds: Vec<f64>,
    runs: Vec<Run>,
    wild: Run,
    /// Pairs of nodes to use again, by the first.
    spare_nodes: Vec<u32>,
    spare_runs: Vec<u32>,
    leaves: u32,
    leaf_max: u32,
    dims: usize,
    /// By dim: the share of elements that probes want by that dim alone, as far as is known.
    shares: [f64; ORDERED_MAX],
    /// Elements put elsewhere since it was made.
    #[cfg(test)]
    pub(super) moves: u64,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    first_id: u64,
    last_id: u64,
    live: u32,
    /// Insertions and removals since it was made.
    changes: u32,
    parent: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Divided once it has more than `divide_at`.
    Leaf { run: u32, divide_at: u32 },
    /// Keys below `at` are in the first of two children.
    Inner { dim: u8, at: f64, children: u32 },
}

/// What a search finds at a node.
pub(super) enum At<'t> {
    Leaf(&'t Run),
    Inner([u32; 2]),
}

impl Tree {
    /// Orders the elements of a run.
    pub(super) fn new(layout: &Layout, slab: &mut Slab, run: Run, shares: [f64; ORDERED_MAX], leaf_max: u32) -> Tree {
        let dims = layout.dims.len();
        let mut tree = Tree {
            nodes: Vec::new(),
            bounds: Vec::new(),
            runs: Vec::new(),
            wild: Run::default(),
            spare_nodes: Vec::new(),
            spare_runs: Vec::new(),
            leaves: 1,
            leaf_max,
            dims,
            shares,
            #[cfg(test)]
            moves: 0,
        };
        tree.push_node(NONE);
        tree.runs.push(Run::default());
        let mut tame = Vec::new();
        for block in &run.blocks {
            if block.live & block.wild != 0 {
                tree.wild.append(layout, slab, block, block.live & block.wild, LANES);
            }
            tame.push(block.live & !block.wild);
        }
        tree.fill(layout, slab, 0, vec![run], |_, block| tame[block]);
        tree
    }

    /// All elements in one run again.
    pub(super) fn into_run(mut self, layout: &Layout, slab: &mut Slab) -> Run {
        let mut runs = std::mem::take(&mut self.runs);
        runs.push(self.wild);
        let mut all = Run::default();
        for (_, run, place) in by_id(slab, &runs, |run, block| runs[run].blocks[block].live) {
            let from = &runs[run as usize].blocks[place as usize / LANES];
            all.append(layout, slab, from, 1 << (place as usize % LANES), LANES);
        }
        all
    }

    fn push_node(&mut self, parent: u32) {
        let kind = Kind::Leaf { run: 0, divide_at: self.leaf_max };
        self.nodes.push(Node { first_id: NOBODY, last_id: 0, live: 0, changes: 0, parent, kind });
        self.bounds.extend(std::iter::repeat_n(f64::INFINITY, self.dims));
        self.bounds.extend(std::iter::repeat_n(f64::NEG_INFINITY, self.dims));
    }

    /// The lowest and the highest keys below a node.
    pub(super) fn bounds(&self, node: u32) -> (&[f64], &[f64]) {
        self.bounds[node as usize * 2 * self.dims..][..2 * self.dims].split_at(self.dims)
    }

    fn widen(&mut self, layout: &Layout, node: u32, keys: &Keys) {
        let (low, high) = self.bounds[node as usize * 2 * self.dims..][..2 * self.dims].split_at_mut(self.dims);
        for (dim, (of, &key)) in layout.dims.iter().zip(keys).enumerate() {
            let (lowest, highest) = widest(of.int, key);
            low[dim] = low[dim].min(lowest);
            high[dim] = high[dim].max(highest);
        }
    }

    /// No element below a node has a lower id. `None` if there is none.
    pub(super) fn first_id(&self, node: u32) -> Option<u64> {
        let of = &self.nodes[node as usize];
        (of.live > 0).then_some(of.first_id)
    }

    /// No element below a node has a higher id.
    pub(super) fn last_id(&self, node: u32) -> u64 {
        self.nodes[node as usize].last_id
    }

    /// How many elements have cells in all columns.
    pub(super) fn live(&self) -> u32 {
        self.nodes[0].live
    }

    pub(super) fn at(&self, node: u32) -> At<'_> {
        match self.nodes[node as usize].kind {
            Kind::Leaf { run, .. } => At::Leaf(&self.runs[run as usize]),
            Kind::Inner { children, .. } => At::Inner([children, children + 1]),
        }
    }

    /// The elements that have no cell in some column.
    pub(super) fn wild(&self) -> &Run {
        &self.wild
    }

    /// The element with the lowest id.
    pub(super) fn first(&self, slab: &Slab) -> Option<u32> {
        let mut node = 0;
        let lowest = |node: u32| self.first_id(node).unwrap_or(NOBODY);
        let tame = loop {
            match self.at(node) {
                At::Leaf(run) => break run,
                At::Inner([left, right]) => node = if lowest(left) <= lowest(right) { left } else { right },
            }
        };
        [tame.first(), self.wild.first()].into_iter().flatten().min_by_key(|&slot| slab.ids[slot as usize])
    }

    /// Adds an element whose id is above all others'.
    pub(super) fn insert(&mut self, layout: &Layout, slab: &mut Slab, slot: u32, lane: &Lane) {
        if lane.wild {
            return self.wild.push(layout, slab, slot, lane);
        }
        let keys = layout.keys(&lane.words);
        let node = self.descend(layout, 0, &keys, slab.ids[slot as usize], 1);
        let Kind::Leaf { run, divide_at } = self.nodes[node as usize].kind else { unreachable!("it is a leaf") };
        self.runs[run as usize].push(layout, slab, slot, lane);
        if self.nodes[node as usize].live > divide_at && self.divide(layout, slab, node) {
            self.balance(layout, slab, node);
        }
    }

    /// The leaf for an element with these keys, which comes to it: notes it on the way.
    fn descend(&mut self, layout: &Layout, mut node: u32, keys: &Keys, id: u64, changes: u32) -> u32 {
        loop {
            self.widen(layout, node, keys);
            let of = &mut self.nodes[node as usize];
            of.live += 1;
            of.changes = of.changes.saturating_add(changes);
            of.first_id = of.first_id.min(id);
            of.last_id = of.last_id.max(id);
            match of.kind {
                Kind::Leaf { .. } => return node,
                Kind::Inner { dim, at, children } => node = children + u32::from(keys[usize::from(dim)] >= at),
            }
        }
    }

    /// Ends an element's stay; `lane` has its cells.
    pub(super) fn remove(&mut self, layout: &Layout, slab: &mut Slab, slot: u32, lane: &Lane) {
        if lane.wild {
            self.wild.remove(layout, slab, slot);
            return;
        }
        let keys = layout.keys(&lane.words);
        let mut node = 0;
        let run = loop {
            let of = &mut self.nodes[node as usize];
            of.live -= 1;
            of.changes = of.changes.saturating_add(1);
            match of.kind {
                Kind::Leaf { run, .. } => break run as usize,
                Kind::Inner { dim, at, children } => node = children + u32::from(keys[usize::from(dim)] >= at),
            }
        };
        self.runs[run].remove(layout, slab, slot);
        if self.nodes[node as usize].first_id == slab.ids[slot as usize] {
            self.nodes[node as usize].first_id =
                self.runs[run].first().map_or(NOBODY, |first| slab.ids[first as usize]);
            self.update_first(node);
        }
        if self.nodes[node as usize].live == 0 {
            self.empty(node);
        }
        let (live, changes) = (self.nodes[0].live, self.nodes[0].changes);
        if self.leaves > 16 + live / (self.leaf_max / 4) && changes > live / 4 + self.leaf_max {
            self.rebuild(layout, slab, 0);
        }
    }

    /// After the first of a node has changed: those above.
    fn update_first(&mut self, mut node: u32) {
        while self.nodes[node as usize].parent != NONE {
            node = self.nodes[node as usize].parent;
            let Kind::Inner { children, .. } = self.nodes[node as usize].kind else { unreachable!("it has a child") };
            let first = |child: u32| self.nodes[child as usize].first_id;
            let lowest = first(children).min(first(children + 1));
            if lowest == self.nodes[node as usize].first_id {
                return;
            }
            self.nodes[node as usize].first_id = lowest;
        }
    }

    /// Forgets where a node's elements were.
    fn empty(&mut self, node: u32) {
        let (low, high) = self.bounds[node as usize * 2 * self.dims..][..2 * self.dims].split_at_mut(self.dims);
        low.fill(f64::INFINITY);
        high.fill(f64::NEG_INFINITY);
    }

    /// Divides a leaf among two; false if its elements are all alike.
    #[cold]
    fn divide(&mut self, layout: &Layout, slab: &mut Slab, node: u32) -> bool {
        let Kind::Leaf { run, .. } = self.nodes[node as usize].kind else { unreachable!("it is a leaf") };
        let keys = |block: &Block, lane: usize| layout.keys_of(|strip| block.word(strip, lane));
        let values = |dim: usize, values: &mut Vec<f64>| {
            let Dim { strip, .. } = layout.dims[dim];
            for block in &self.runs[run as usize].blocks {
                values.extend(lanes_of(block.live).map(|lane| layout.dims[dim].key(block.word(strip, lane))));
            }
        };
        let Some((dim, at)) = self.plane(node, values) else {
            let live = self.nodes[node as usize].live;
            self.nodes[node as usize].kind = Kind::Leaf { run, divide_at: live.saturating_mul(2) };
            return false;
        };
        let old = std::mem::take(&mut self.runs[run as usize]);
        self.spare_runs.push(run);
        self.leaves -= 1;
        #[cfg(test)]
        (self.moves += u64::from(old.live));
        let children = self.inner(node, dim, at);
        let runs = [children, children + 1].map(|child| self.leaf(child));
        for block in old.blocks {
            let mut left = 0;
            for lane in lanes_of(block.live) {
                let keys = keys(&block, lane);
                let right = keys[dim] >= at;
                left |= u64::from(!right) << lane;
                let child = children + u32::from(right);
                self.widen(layout, child, &keys);
                let of = &mut self.nodes[child as usize];
                of.live += 1;
                let id = slab.ids[block.slot(lane) as usize];
                of.first_id = of.first_id.min(id);
                of.last_id = of.last_id.max(id);
            }
            self.runs[runs[0]].append(layout, slab, &block, left, LANES);
            self.runs[runs[1]].append(layout, slab, &block, block.live & !left, LANES);
        }
        true
    }

    /// Gives a node two children, of which nothing is said yet.
    fn inner(&mut self, node: u32, dim: usize, at: f64) -> u32 {
        let children = self.spare_nodes.pop().unwrap_or_else(|| {
            self.push_node(node);
            self.push_node(node);
            self.nodes.len() as u32 - 2
        });
        for child in [children, children + 1] {
            let of = &mut self.nodes[child as usize];
            (of.first_id, of.last_id, of.live, of.changes, of.parent) = (NOBODY, 0, 0, 0, node);
            self.empty(child);
        }
        self.nodes[node as usize].kind = Kind::Inner { dim: dim as u8, at, children };
        children
    }

    /// Makes a node a leaf, with an empty run.
    fn leaf(&mut self, node: u32) -> usize {
        let run = self.spare_runs.pop().unwrap_or_else(|| {
            self.runs.push(Run::default());
            self.runs.len() as u32 - 1
        });
        self.nodes[node as usize].kind = Kind::Leaf { run, divide_at: self.leaf_max };
        self.leaves += 1;
        run as usize
    }

    /// Where to divide what a node has: the dim by which probes can do without most, and a key in the middle. `None` if
    /// all keys are the same. `values_of` adds the keys along a dim.
    fn plane(&self, node: u32, values_of: impl Fn(usize, &mut Vec<f64>)) -> Option<(usize, f64)> {
        let mut cells = [1.0; ORDERED_MAX];
        let mut above = node;
        while self.nodes[above as usize].parent != NONE {
            above = self.nodes[above as usize].parent;
            if let Kind::Inner { dim, .. } = self.nodes[above as usize].kind {
                cells[usize::from(dim)] *= 2.0;
            }
        }
        let left = |dim: usize| kept(self.shares[dim], 2.0 * cells[dim]) / kept(self.shares[dim], cells[dim]);
        let mut dims: Vec<usize> = (0..self.dims).collect();
        dims.sort_by(|&one, &other| left(one).total_cmp(&left(other)));
        let mut values = Vec::new();
        dims.into_iter().find_map(|dim| {
            values.clear();
            values_of(dim, &mut values);
            Some((dim, middle(&mut values)?))
        })
    }

    /// Makes anew the highest node above a new one that is out of balance, if any is.
    fn balance(&mut self, layout: &Layout, slab: &mut Slab, node: u32) {
        let (mut worst, mut at) = (None, node);
        loop {
            let of = &self.nodes[at as usize];
            if let Kind::Inner { children, .. } = of.kind {
                let most = self.nodes[children as usize].live.max(self.nodes[children as usize + 1].live);
                let lopsided = u64::from(most) * 10 > u64::from(of.live) * 7 + 10 * u64::from(self.leaf_max);
                if lopsided && of.changes > of.live / 4 + self.leaf_max {
                    worst = Some(at);
                }
            }
            if of.parent == NONE {
                break;
            }
            at = of.parent;
        }
        if let Some(node) = worst {
            self.rebuild(layout, slab, node);
        }
    }

    /// Makes a subtree anew.
    #[cold]
    fn rebuild(&mut self, layout: &Layout, slab: &mut Slab, node: u32) {
        let (mut runs, mut stack) = (Vec::new(), vec![node]);
        while let Some(at) = stack.pop() {
            match self.nodes[at as usize].kind {
                Kind::Leaf { run, .. } => {
                    runs.push(std::mem::take(&mut self.runs[run as usize]));
                    self.spare_runs.push(run);
                    self.leaves -= 1;
                }
                Kind::Inner { children, .. } => {
                    stack.extend([children, children + 1]);
                    self.spare_nodes.push(children);
                }
            }
        }
        if node == 0 {
            // Nothing is left: numbers without gaps, and no memory that a peak has taken.
            (self.nodes, self.bounds, self.runs) = (Vec::new(), Vec::new(), Vec::new());
            (self.spare_nodes, self.spare_runs) = (Vec::new(), Vec::new());
            self.push_node(NONE);
        }
        let live: Vec<Vec<u64>> = runs.iter().map(|run| run.blocks.iter().map(|block| block.live).collect()).collect();
        self.leaf(node);
        self.fill(layout, slab, node, runs, |run, block| live[run][block]);
    }

    /// Divides a leaf without elements for those lanes of these runs, and puts them in.
    fn fill(
        &mut self,
        layout: &Layout,
        slab: &mut Slab,
        node: u32,
        runs: Vec<Run>,
        lanes: impl Fn(usize, usize) -> u64,
    ) {
        let of = &mut self.nodes[node as usize];
        (of.first_id, of.last_id, of.live, of.changes) = (NOBODY, 0, 0, 0);
        self.empty(node);
        let all = by_id(slab, &runs, lanes);
        #[cfg(test)]
        (self.moves += all.len() as u64);
        let cells = |&(_, run, place): &(u64, u32, u32)| {
            let block = &runs[run as usize].blocks[place as usize / LANES];
            (block, place as usize % LANES)
        };
        let keys = |of: &(u64, u32, u32)| {
            let (block, lane) = cells(of);
            layout.keys_of(|strip| block.word(strip, lane))
        };
        let mut sample: Vec<Keys> = all.iter().step_by(all.len().div_ceil(SAMPLE_MAX).max(1)).map(keys).collect();
        let each = all.len() as f64 / sample.len().max(1) as f64;
        self.plan(node, &mut sample, each);
        drop(sample);
        for of in &all {
            let (block, lane) = cells(of);
            let leaf = self.descend(layout, node, &keys(of), of.0, 0);
            let Kind::Leaf { run, divide_at } = self.nodes[leaf as usize].kind else { unreachable!("it is a leaf") };
            self.runs[run as usize].append(layout, slab, block, 1 << lane, LANES);
            if self.nodes[leaf as usize].live > divide_at {
                self.divide(layout, slab, leaf);
            }
        }
    }

    /// Divides a leaf without elements until each part has few of the sample, of which every one stands for `each`
    /// elements.
    fn plan(&mut self, node: u32, sample: &mut [Keys], each: f64) {
        if sample.len() < SAMPLE_MIN || sample.len() as f64 * each <= f64::from(self.leaf_max) * 0.75 {
            return;
        }
        let values = |dim: usize, values: &mut Vec<f64>| values.extend(sample.iter().map(|keys| keys[dim]));
        let Some((dim, at)) = self.plane(node, values) else { return };
        let Kind::Leaf { run, .. } = self.nodes[node as usize].kind else { unreachable!("it is a leaf") };
        self.spare_runs.push(run);
        self.leaves -= 1;
        let children = self.inner(node, dim, at);
        self.leaf(children);
        self.leaf(children + 1);
        sample.sort_unstable_by(|one, other| one[dim].total_cmp(&other[dim]));
        let (left, right) = sample.split_at_mut(sample.partition_point(|keys| keys[dim] < at));
        self.plan(children, left, each);
        self.plan(children + 1, right, each);
    }

    /// Slots are renumbered.
    pub(super) fn renumber(&mut self, new: &[u32]) {
        self.runs.iter_mut().for_each(|run| run.renumber(new));
        self.wild.renumber(new);
    }

    pub(super) fn bytes(&self) -> usize {
        let nodes = self.nodes.capacity() * size_of::<Node>() + self.bounds.capacity() * 8;
        let runs = self.runs.capacity() * size_of::<Run>() + self.runs.iter().map(Run::bytes).sum::<usize>();
        nodes + runs + self.wild.bytes() + (self.spare_nodes.capacity() + self.spare_runs.capacity()) * 4
    }
}

/// The share of cells that a probe visits along a dim that is divided into so many, if it wants a share of the elements
/// in one piece.
pub(super) fn kept(share: f64, cells: f64) -> f64 {
    share + (1.0 - share) / cells
}

/// The key nearest to the middle that has lower ones; `None` if all are the same. Sorts them.
fn middle(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    let middle = *values.get(half)?;
    let (from, to) =
        (values.partition_point(|&value| value < middle), values.partition_point(|&value| value <= middle));
    match (from > 0, to < values.len()) {
        (true, true) if half - from <= to - half => Some(middle),
        (true, false) => Some(middle),
        (_, true) => Some(values[to]),
        (false, false) => None,
    }
}

/// Those lanes of some runs, ascending by id: id, run, and place in it.
fn by_id(slab: &Slab, runs: &[Run], lanes: impl Fn(usize, usize) -> u64) -> Vec<(u64, u32, u32)> {
    let mut all = Vec::with_capacity(runs.iter().map(|run| run.live as usize).sum());
    for (number, run) in runs.iter().enumerate() {
        for (at, block) in run.blocks.iter().enumerate() {
            all.extend(
                lanes_of(lanes(number, at))
                    .map(|lane| (slab.ids[block.slot(lane) as usize], number as u32, (at * LANES + lane) as u32)),
            );
        }
    }
    if runs.len() > 1 {
        all.sort_unstable();
    }
    all
}
