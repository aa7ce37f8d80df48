//! Searching: chains one by one, buckets through the filter.

use crate::expr::End;
use crate::filter::Probe;
use crate::row::{Row, Side};
use crate::table::block::lanes_of;
use crate::table::bucket::Bucket;
use crate::table::kernel::Scan;
use crate::table::layout::Root;
use crate::table::merge::Merge;
use crate::table::order::{Order, Work};
use crate::table::query::Query;
use crate::table::slab::waited;
use crate::table::tree::Tree;
use crate::table::{BUCKET, Held, Slot, Table, key_of, short, spread};

/// An element that searches. It may wait in the table itself; it is not its own anchor.
#[derive(Debug, Clone, Copy)]
pub struct Prober<'a> {
    /// Its id.
    pub id: u64,
    /// Its attributes.
    pub row: &'a Row,
    /// When it arrived, in milliseconds.
    pub arrived_ms: u64,
    /// Its key's hash under the table's secret; without one it finds nothing. Not looked at if the rule has no key.
    pub key: Option<u64>,
    /// Elements with this id or a higher one are passed over, as if they did not wait yet.
    pub before: u64,
    /// What is known already.
    pub hint: Hint<'a>,
}

/// What was found out about a probe ahead of its search: which elements below an id may satisfy it.
///
/// It stays true whatever is inserted and removed meanwhile: ids ascend, so what comes is above all that was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hint<'a> {
    /// The elements that passed the filter, ascending, with the slot each had.
    found: &'a [(u64, u32)],
    /// All others below this id were turned away.
    from: u64,
    epoch: u64,
}

/// A probe to look ahead for.
#[derive(Debug, Clone, Copy)]
pub struct AheadProbe<'a> {
    /// The probers.
    pub prober: Prober<'a>,
    /// At what time.
    pub time_ms: u64,
}

/// The hints of many probes: a buffer that is used again and again.
#[derive(Debug, Default)]
pub struct Hints {
    found: Vec<(u64, u32)>,
    /// By probe: where its part of `found` ends, and from where on nothing is known.
    of: Vec<(usize, u64)>,
    epoch: u64,
}

impl Hints {
    /// Begins with those for another set of probes.
    pub(super) fn start(&mut self, epoch: u64) {
        self.found.clear();
        self.of.clear();
        self.epoch = epoch;
    }

    /// Adds the hint for the next probe.
    pub(super) fn add(&mut self, found: &[(u64, u32)], from: u64) {
        self.found.extend_from_slice(found);
        self.of.push((self.found.len(), from));
    }

    /// The hint for a probe, by its position in what was looked ahead for. None is known of others.
    #[must_use]
    pub fn of(&self, probe: usize) -> Hint<'_> {
        let Some(&(end, from)) = self.of.get(probe) else { return Hint::default() };
        let start = if probe == 0 { 0 } else { self.of[probe - 1].0 };
        Hint { found: &self.found[start..end], from, epoch: self.epoch }
    }
}

impl Table {
    /// The waiting elements that satisfy the rule with `prober`, ascending by id, at most `limit`, into `out`, which is
    /// cleared first; true when there is one more. Pairs on which the rule is an error do not satisfy and are added to
    /// `errors`, up to where the search stops: exactly as if every element had been tested in order.
    pub fn search(
        &mut self,
        prober: &Prober<'_>,
        time_ms: u64,
        limit: usize,
        errors: &mut u64,
        out: &mut Vec<Slot>,
    ) -> bool {
        self.search_among(|_| true, prober, time_ms, limit, errors, out)
    }

    /// The same among elements with certain ids: the others are not tested.
    pub fn search_among(
        &mut self,
        among: impl Fn(u64) -> bool,
        prober: &Prober<'_>,
        time_ms: u64,
        limit: usize,
        errors: &mut u64,
        out: &mut Vec<Slot>,
    ) -> bool {
        out.clear();
        let mut more = false;
        self.held.each_satisfying(&mut self.query, prober, time_ms, errors, among, |slot| {
            more = out.len() == limit;
            if !more {
                out.push(Slot(slot));
            }
            more
        });
        self.held.learn(&mut self.query);
        more
    }

    /// The one with the lowest id.
    pub fn first(&mut self, prober: &Prober<'_>, time_ms: u64, errors: &mut u64) -> Option<Slot> {
        let mut first = None;
        if let Some(known) = self.held.surely_first(&mut self.query, prober, time_ms) {
            first = known.map(Slot);
        } else {
            self.held.each_satisfying(
                &mut self.query,
                prober,
                time_ms,
                errors,
                |_| true,
                |slot| {
                    first = Some(Slot(slot));
                    true
                },
            );
        }
        self.held.learn(&mut self.query);
        first
    }
}

impl Held {
    pub(super) fn ask(&self, query: &mut Query, bucket: &Bucket, anchor: End, prober: &Prober<'_>, time_ms: u64) {
        let oldest_waited_ms =
            if self.rule.uses_time() { waited(bucket.oldest_ms(&self.slab), time_ms) } else { i64::MAX };
        let side = Side { row: prober.row, waited_ms: waited(prober.arrived_ms, time_ms) };
        query.ask(&self.layout, &self.shape, anchor, &Probe { side, oldest_waited_ms }, &self.slab.strings);
    }

    /// The lowest element that satisfies an exact plan, where one look at a bucket tells: for an arrival without a
    /// hint, with whose key all elements of the bucket agree in its values. `None` where that is not enough.
    #[inline]
    fn surely_first(&self, query: &mut Query, prober: &Prober<'_>, time_ms: u64) -> Option<Option<u32>> {
        let key = self.shape.exact.as_deref()?;
        if prober.id.min(prober.before) < self.next_id || prober.hint.from > 0 {
            return None;
        }
        let bucket = if self.shape.keyed {
            let Some(hash) = prober.key.map(short) else { return Some(None) };
            match self.keys.find(spread(hash), |&entry| key_of(entry, &self.slab, &self.buckets) == hash) {
                None => return Some(None),
                Some(&entry) if entry & BUCKET == 0 => return None,
                Some(&entry) => entry & !BUCKET,
            }
        } else {
            0
        };
        query.bucket = bucket;
        let bucket = &self.buckets[bucket as usize];
        if bucket.live == 0 {
            return Some(None);
        }
        if bucket.by_value() {
            return None;
        }
        if bucket.words.is_none() || bucket.words != self.slab.key_words_of(prober.row, key) {
            return None;
        }
        let root = self.layout.root(End::A);
        if matches!(root, Root::Everything) {
            return Some(bucket.first(&self.slab));
        }
        self.ask(query, bucket, End::A, prober, time_ms);
        if !query.sure {
            return None;
        }
        let blocks = &*bucket.run.blocks;
        query.work.searches += 1;
        match (Scan { layout: &self.layout, root, query }).next(self.level, blocks) {
            None => {
                query.work.blocks += blocks.len() as u64;
                Some(None)
            }
            Some((at, mask)) => {
                query.work.blocks += at as u64 + 1;
                let lane = mask.trailing_zeros() as usize;
                let block = &blocks[at];
                (block.wild >> lane & 1 == 0).then(|| Some(block.slot(lane)))
            }
        }
    }

    /// Calls `found` with every element among some that satisfies the rule, ascending, until it says that this is
    /// enough.
    #[inline]
    fn each_satisfying(
        &self,
        query: &mut Query,
        prober: &Prober<'_>,
        time_ms: u64,
        errors: &mut u64,
        among: impl Fn(u64) -> bool,
        mut found: impl FnMut(u32) -> bool,
    ) {
        let side = Side { row: prober.row, waited_ms: waited(prober.arrived_ms, time_ms) };
        let mut stops = |slot: u32, sure: bool| {
            among(self.slab.ids[slot as usize])
                && (sure || self.test(slot, prober.id, side, time_ms, errors))
                && found(slot)
        };
        if !self.shape.keyed {
            return self.each_in_bucket(query, 0, prober, time_ms, &mut stops);
        }
        let Some(key) = prober.key.map(short) else { return };
        let Some(&entry) = self.keys.find(spread(key), |&entry| key_of(entry, &self.slab, &self.buckets) == key) else {
            return;
        };
        if entry & BUCKET != 0 {
            return self.each_in_bucket(query, entry & !BUCKET, prober, time_ms, &mut stops);
        }
        for slot in self.chain(entry) {
            let id = self.slab.ids[slot as usize];
            if id != prober.id && id < prober.before && stops(slot, false) {
                return;
            }
        }
    }

    /// Tests the rule itself.
    #[inline]
    fn test(&self, slot: u32, prober: u64, side: Side<'_>, time_ms: u64, errors: &mut u64) -> bool {
        let anchor = self.slab.held(slot, waited(self.slab.arrived_ms(slot), time_ms));
        let tested = if self.slab.ids[slot as usize] < prober {
            self.rule.test_with(anchor, side)
        } else {
            self.rule.test_with(side, anchor)
        };
        tested.unwrap_or_else(|_| {
            *errors += 1;
            false
        })
    }

    /// Calls `stops` with every survivor of the filter, ascending, and whether it satisfies for sure, until it does.
    #[inline]
    fn each_in_bucket(
        &self,
        query: &mut Query,
        bucket: u32,
        prober: &Prober<'_>,
        time_ms: u64,
        stops: &mut impl FnMut(u32, bool) -> bool,
    ) {
        query.bucket = bucket;
        let bucket = &self.buckets[bucket as usize];
        for &(id, slot) in prober.hint.found {
            if id < prober.before
                && let Some(slot) = self.still(id, slot, prober.hint.epoch)
                && stops(slot, false)
            {
                return;
            }
        }
        let (from, end) = (prober.hint.from, self.next_id.min(prober.before));
        if from >= end {
            return;
        }
        let up_to = prober.id.min(end);
        if self.each_between(query, bucket, prober, time_ms, End::A, from..up_to, stops) {
            return;
        }
        // Only an element that searches again meets some that came after it.
        let after = from.max(prober.id + 1);
        if after < end {
            self.each_between(query, bucket, prober, time_ms, End::B, after..end, stops);
        }
    }

    /// The slot of an element of a hint, if it still waits.
    fn still(&self, id: u64, slot: u32, epoch: u64) -> Option<u32> {
        let slot = if epoch == self.epoch { slot } else { self.index.find(id)? };
        (self.slab.ids[slot as usize] == id).then_some(slot)
    }

    /// The same for anchors of one role, with those ids. True when it stopped.
    #[inline]
    fn each_between(
        &self,
        query: &mut Query,
        bucket: &Bucket,
        prober: &Prober<'_>,
        time_ms: u64,
        anchor: End,
        ids: std::ops::Range<u64>,
        stops: &mut impl FnMut(u32, bool) -> bool,
    ) -> bool {
        if ids.is_empty() {
            return false;
        }
        let mut blocks = bucket.run.between(&ids);
        if blocks.is_empty() && !bucket.by_value() {
            return false;
        }
        let root = self.layout.root(anchor);
        let exact = self.shape.exact.as_deref();
        if matches!(root, Root::Everything) {
            query.sure = exact.is_some();
        } else {
            self.ask(query, bucket, anchor, prober, time_ms);
        }
        // By the values of the key, since other keys may have the same hash.
        let sure = query.sure
            && exact
                .is_some_and(|key| bucket.words.is_some() && bucket.words == self.slab.key_words_of(prober.row, key));
        query.work.searches += 1;
        if let Some(tree) = bucket.tree() {
            return self.each_in_tree(query, tree, root, ids, sure, stops);
        }
        let (scan, mut looked_at) = (Scan { layout: &self.layout, root, query }, 0);
        let mut stopped = false;
        'blocks: while let Some((at, mask)) = scan.next(self.level, blocks) {
            looked_at += at + 1;
            for lane in lanes_of(mask) {
                let slot = blocks[at].slot(lane);
                let sure = sure && blocks[at].wild >> lane & 1 == 0;
                if ids.contains(&self.slab.ids[slot as usize]) && stops(slot, sure) {
                    stopped = true;
                    break 'blocks;
                }
            }
            blocks = &blocks[at + 1..];
        }
        query.work.blocks += (looked_at + if stopped { 0 } else { blocks.len() }) as u64;
        stopped
    }

    /// The same in an ordered bucket.
    fn each_in_tree(
        &self,
        query: &mut Query,
        tree: &Tree,
        root: &Root,
        ids: std::ops::Range<u64>,
        sure: bool,
        stops: &mut impl FnMut(u32, bool) -> bool,
    ) -> bool {
        query.locate(&self.layout);
        let (mut heap, mut work, from) = (std::mem::take(&mut query.heap), query.work, ids.start);
        let end = ids.end;
        let merge = Merge {
            tree,
            slab: &self.slab,
            scan: Scan { layout: &self.layout, root, query },
            level: self.level,
            region: &query.region,
            ids,
        };
        let stopped = merge.each(&mut heap, &mut work, |slot, tame| stops(slot, sure && tame));
        work.passed += self.passed(tree, from, stopped.unwrap_or(end));
        (query.heap, query.work) = (heap, work);
        stopped.is_some()
    }

    /// How many elements of a tree have ids in this range, more or less.
    pub(super) fn passed(&self, tree: &Tree, from: u64, to: u64) -> u64 {
        let Some(first) = tree.first_id(0) else { return 0 };
        let all = (self.next_id - first) as f64;
        let share = to.saturating_sub(from.max(first)) as f64 / all;
        (tree.live() as f64 * share.min(1.0)) as u64
    }

    /// Makes up its mind from what was looked at whether the bucket should be ordered by value.
    #[inline]
    pub(super) fn learn(&mut self, query: &mut Query) {
        let work = std::mem::take(&mut query.work);
        if work.searches > 0 && !self.layout.dims.is_empty() {
            let bucket = &self.buckets[query.bucket as usize];
            if bucket.order.is_some() || bucket.live >= self.limits.live_min {
                self.learn_from(query, &work);
            }
        }
    }

    fn learn_from(&mut self, query: &mut Query, work: &Work) {
        let Held { layout, slab, buckets, limits, .. } = self;
        let bucket = &mut buckets[query.bucket as usize];
        let order = bucket.order.get_or_insert_with(|| Box::new(Order::new(*limits)));
        if order.tree.is_some() {
            if order.looked_up(layout, bucket.live, work) {
                bucket.scan_again(layout, slab);
            }
            return;
        }
        let region = || {
            query.locate(layout);
            query.region.clone()
        };
        if order.scanned(layout, &bucket.run, work, region) {
            order.make_tree(layout, slab, std::mem::take(&mut bucket.run));
        }
    }
}
