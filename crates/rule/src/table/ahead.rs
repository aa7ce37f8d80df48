//! Looking ahead for many probes at once, so that cells are read from memory once for all of them.

use crate::expr::End;
use crate::table::block::{LANES, lanes_below, lanes_of};
use crate::table::boxes::Boxes;
use crate::table::kernel::Scan;
use crate::table::order::Work;
use crate::table::query::Query;
use crate::table::run::Run;
use crate::table::search::{AheadProbe, Hints};
use crate::table::tree::{At, Tree};
use crate::table::{Held, Table};

/// How many probes are looked ahead for at once: so many queries fit the first-level cache beside a tile.
const PROBES: usize = 32;
/// How many bytes of cells are looked at by one probe after the other: they fit a first-level cache of 32 KiB beside
/// the queries.
const TILE_BYTES: usize = 20 << 10;

impl Table {
    /// Looks ahead for many probes, so that cells are read once for many. For each, the first `limit` elements that may
    /// satisfy it are found, of those with lower ids. Searches that are given the hints then start where there is
    /// something to find.
    pub fn look_ahead(&mut self, probes: &[AheadProbe<'_>], limit: usize, hints: &mut Hints) {
        hints.start(self.held.epoch);
        if self.held.shape.keyed {
            // Most buckets are small, and in one that is not a search alone is quick.
            probes.iter().for_each(|_| hints.add(&[], 0));
            return;
        }
        for probes in probes.chunks(PROBES) {
            self.look_ahead_some(probes, limit.max(1), hints);
        }
    }

    /// Looks ahead in the only bucket for as many probes as are scanned together.
    fn look_ahead_some(&mut self, probes: &[AheadProbe<'_>], limit: usize, hints: &mut Hints) {
        let Table { held, queries, boxes, .. } = self;
        queries.resize_with(PROBES.max(queries.len()), Query::default);
        let mut active: Vec<usize> = Vec::with_capacity(probes.len());
        for (at, (probe, query)) in probes.iter().zip(&mut *queries).enumerate() {
            query.bucket = 0;
            query.found.start(probe.prober.id.min(held.next_id));
            if query.found.end > 0 {
                held.ask(query, &held.buckets[0], End::A, &probe.prober, probe.time_ms);
                active.push(at);
            }
        }
        let last = active.last().copied();
        let mut work = Work { searches: active.len() as u64, ..Work::default() };
        match held.buckets[0].tree() {
            None => held.scan_ahead(queries, active, limit, &mut work),
            Some(tree) => held.tree_ahead(tree, boxes, queries, &active, limit, &mut work),
        }
        queries[..probes.len()].iter().for_each(|query| hints.add(&query.found.lowest, query.found.from));
        if let Some(last) = last {
            queries[last].work = work;
            held.learn(&mut queries[last]);
        }
    }
}

impl Held {
    /// Tile by tile in the order of ids.
    fn scan_ahead(&self, queries: &mut [Query], mut active: Vec<usize>, limit: usize, work: &mut Work) {
        // The slots' strip is read of blocks in which something is found only.
        let tile = (TILE_BYTES / (self.layout.strips.max(2) - 1) / size_of::<[u32; LANES]>()).max(1);
        for blocks in self.buckets[0].run.blocks.chunks(tile) {
            active.retain(|&at| {
                if blocks[0].first_id >= queries[at].found.end {
                    queries[at].found.from = queries[at].found.end;
                    return false;
                }
                let mut found = std::mem::take(&mut queries[at].found);
                let scan = Scan { layout: &self.layout, root: self.layout.root(End::A), query: &queries[at] };
                let mut from = 0;
                let mut more = true;
                'blocks: while let Some((block, mask)) = scan.next(self.level, &blocks[from..]) {
                    from += block + 1;
                    for lane in lanes_of(mask) {
                        let slot = blocks[from - 1].slot(lane);
                        let id = self.slab.ids[slot as usize];
                        if id >= found.end {
                            (found.from, more) = (found.end, false);
                            break 'blocks;
                        }
                        found.lowest.push((id, slot));
                        found.from = id + 1;
                        if found.lowest.len() >= limit {
                            more = false;
                            break 'blocks;
                        }
                    }
                }
                work.blocks += if more { blocks.len() } else { from } as u64;
                queries[at].found = found;
                more
            });
            if active.is_empty() {
                break;
            }
        }
        active.iter().for_each(|&at| queries[at].found.from = queries[at].found.end);
        work.blocks /= 2;
    }

    /// Leaf by leaf, each for all probes that want something of it.
    fn tree_ahead(
        &self,
        tree: &Tree,
        boxes: &mut Boxes,
        queries: &mut [Query],
        active: &[usize],
        limit: usize,
        work: &mut Work,
    ) {
        let mut all = 0u32;
        for &at in active {
            queries[at].locate(&self.layout);
            queries[at].found.from = queries[at].found.end;
            self.leaf_ahead(tree.wild(), &mut queries[at], limit, work);
            all |= 1 << at;
        }
        if !self.layout.sums.is_empty() && boxes.set(tree) {
            self.boxes_ahead(tree, boxes, queries, active, limit, work);
        } else {
            self.walk_ahead(tree, queries, all, limit, work);
        }
        // As scans for all of them would have, which read cells once.
        work.passed += active.iter().map(|&at| self.passed(tree, 0, queries[at].found.from)).sum::<u64>() / 2;
    }

    /// From one leaf to the next, as they are side by side.
    fn boxes_ahead(
        &self,
        tree: &Tree,
        boxes: &Boxes,
        queries: &mut [Query],
        active: &[usize],
        limit: usize,
        work: &mut Work,
    ) {
        let mut wanted = [0; PROBES];
        for (group, nodes) in boxes.groups() {
            let leaves = lanes_below(nodes.len());
            let mut any = 0;
            for &at in active {
                wanted[at] = queries[at].region.wanted(group) & leaves;
                any |= wanted[at];
            }
            work.nodes += active.len() as u64;
            for leaf in lanes_of(any) {
                let node = nodes[leaf];
                let (At::Leaf(run), Some(first_id)) = (tree.at(node), tree.first_id(node)) else { continue };
                for &at in active {
                    if wanted[at] >> leaf & 1 == 1 && first_id < queries[at].found.from {
                        self.leaf_ahead(run, &mut queries[at], limit, work);
                    }
                }
            }
        }
    }

    /// Node by node, each for all probes that want something below it.
    fn walk_ahead(&self, tree: &Tree, queries: &mut [Query], all: u32, limit: usize, work: &mut Work) {
        let mut stack = vec![(0, self.wanting(tree, 0, queries, all))];
        while let Some((node, probes)) = stack.pop() {
            work.nodes += u64::from(probes.count_ones());
            match tree.at(node) {
                At::Leaf(run) => {
                    for at in lanes_of(probes.into()) {
                        self.leaf_ahead(run, &mut queries[at], limit, work);
                    }
                }
                At::Inner([left, right]) => {
                    let sooner = tree.first_id(left).unwrap_or(u64::MAX) < tree.first_id(right).unwrap_or(u64::MAX);
                    for child in if sooner { [right, left] } else { [left, right] } {
                        let probes = self.wanting(tree, child, queries, probes);
                        if probes != 0 {
                            stack.push((child, probes));
                        }
                    }
                }
            }
        }
    }

    /// Those of the probes that may want something below a node.
    fn wanting(&self, tree: &Tree, node: u32, queries: &[Query], probes: u32) -> u32 {
        let Some(first_id) = tree.first_id(node) else { return 0 };
        let (low, high) = tree.bounds(node);
        let wants = |at: &usize| first_id < queries[*at].found.from && queries[*at].region.overlaps(low, high);
        lanes_of(probes.into()).filter(wants).fold(0, |wanting, at| wanting | 1 << at)
    }

    /// Adds what a leaf has for a probe: the lowest `limit` ids of all leaves are kept.
    fn leaf_ahead(&self, run: &Run, query: &mut Query, limit: usize, work: &mut Work) {
        let mut found = std::mem::take(&mut query.found);
        let scan = Scan { layout: &self.layout, root: self.layout.root(End::A), query };
        let (mut from, blocks) = (0, &*run.blocks);
        work.leaves += 1;
        'blocks: while let Some((block, mask)) = scan.next(self.level, &blocks[from..]) {
            from += block + 1;
            for lane in lanes_of(mask) {
                let slot = blocks[from - 1].slot(lane);
                let id = self.slab.ids[slot as usize];
                if id >= found.from {
                    break 'blocks;
                }
                let at = found.lowest.partition_point(|&(lower, _)| lower < id);
                found.lowest.insert(at, (id, slot));
                if found.lowest.len() > limit {
                    found.lowest.pop();
                }
                if found.lowest.len() == limit {
                    found.from = found.lowest[limit - 1].0 + 1;
                }
            }
        }
        work.blocks += from as u64;
        query.found = found;
    }
}
