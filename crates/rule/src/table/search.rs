//! Searching: chains one by one, buckets through the filter; and looking ahead for many probes at once.

use crate::expr::End;
use crate::filter::Probe;
use crate::row::{Row, Side};
use crate::table::block::{LANES, lanes_of};
use crate::table::bucket::Bucket;
use crate::table::kernel::Scan;
use crate::table::layout::Root;
use crate::table::query::Query;
use crate::table::slab::waited;
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
    /// The hint for a probe, by its position in what was looked ahead for. None is known of others.
    #[must_use]
    pub fn of(&self, probe: usize) -> Hint<'_> {
        let Some(&(end, from)) = self.of.get(probe) else { return Hint::default() };
        let start = if probe == 0 { 0 } else { self.of[probe - 1].0 };
        Hint { found: &self.found[start..end], from, epoch: self.epoch }
    }
}

/// How many probes are looked ahead for at once: so many queries fit the first-level cache beside a tile.
const PROBES: usize = 32;
/// How many bytes of cells are looked at by one probe after the other: they fit a first-level cache of 32 KiB beside
/// the queries.
const TILE_BYTES: usize = 20 << 10;

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
        out.clear();
        let mut more = false;
        self.held.each_satisfying(&mut self.query, prober, time_ms, errors, |slot| {
            more = out.len() == limit;
            if !more {
                out.push(Slot(slot));
            }
            more
        });
        more
    }

    /// The one with the lowest id.
    pub fn first(&mut self, prober: &Prober<'_>, time_ms: u64, errors: &mut u64) -> Option<Slot> {
        if let Some(known) = self.held.surely_first(&mut self.query, prober, time_ms) {
            return known.map(Slot);
        }
        let mut first = None;
        self.held.each_satisfying(&mut self.query, prober, time_ms, errors, |slot| {
            first = Some(Slot(slot));
            true
        });
        first
    }

    /// Looks ahead for many probes, whose elements do not wait yet, so that cells are read once for many. For each, the
    /// first `limit` elements that may satisfy it are found. Searches that are given the hints then start where there
    /// is something to find.
    pub fn look_ahead(&mut self, probes: &[AheadProbe<'_>], limit: usize, hints: &mut Hints) {
        hints.found.clear();
        hints.of.clear();
        hints.epoch = self.held.epoch;
        if self.held.shape.keyed {
            // Most buckets are small; those that are not are for `look_ahead_at` when it is worth their while.
            hints.of.resize(probes.len(), (0, 0));
            return;
        }
        for probes in probes.chunks(PROBES) {
            self.look_ahead_some(probes, limit, hints);
        }
    }

    /// Looks ahead in the only bucket for as many probes as are scanned together.
    fn look_ahead_some(&mut self, probes: &[AheadProbe<'_>], limit: usize, hints: &mut Hints) {
        let Table { held, queries, .. } = self;
        let bucket = &held.buckets[0];
        queries.resize_with(PROBES.max(queries.len()), Query::default);
        let mut scans = [LookaheadProgress::default(); PROBES];
        let mut active: Vec<usize> = Vec::with_capacity(probes.len());
        for (at, probe) in probes.iter().enumerate() {
            if probe.prober.id >= held.next_id {
                held.ask(&mut queries[at], bucket, End::A, &probe.prober, probe.time_ms);
                active.push(at);
            }
        }
        let mut found: Vec<(u8, u64, u32)> = Vec::new();
        // The slots' strip is read of blocks in which something is found only.
        let tile = (TILE_BYTES / (held.layout.strips.max(2) - 1) / size_of::<[u32; LANES]>()).max(1);
        for blocks in bucket.blocks.chunks(tile) {
            active.retain(|&at| {
                let scan = Scan { layout: &held.layout, root: held.layout.root(End::A), query: &queries[at] };
                let mut from = 0;
                while let Some((block, mask)) = scan.next(held.level, &blocks[from..]) {
                    from += block + 1;
                    for lane in lanes_of(mask) {
                        let slot = blocks[from - 1].slot(lane);
                        let id = held.slab.ids[slot as usize];
                        found.push((at as u8, id, slot));
                        scans[at].found += 1;
                        scans[at].from = id + 1;
                        if scans[at].found >= limit {
                            return false;
                        }
                    }
                }
                true
            });
            if active.is_empty() {
                break;
            }
        }
        for &at in &active {
            scans[at].from = held.next_id;
        }
        found.sort_unstable();
        let mut rest = found.as_slice();
        for (at, scan) in scans[..probes.len()].iter().enumerate() {
            let (own, others) = rest.split_at(rest.partition_point(|&(of, _, _)| usize::from(of) <= at));
            hints.found.extend(own.iter().map(|&(_, id, slot)| (id, slot)));
            hints.of.push((hints.found.len(), scan.from));
            rest = others;
        }
    }
}

/// How far a probe has been looked ahead for.
#[derive(Debug, Clone, Copy, Default)]
struct LookaheadProgress {
    found: usize,
    from: u64,
}

impl Held {
    fn ask(&self, query: &mut Query, bucket: &Bucket, anchor: End, prober: &Prober<'_>, time_ms: u64) {
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
        if prober.id < self.next_id || prober.hint.from > 0 {
            return None;
        }
        let bucket = if self.shape.keyed {
            let Some(hash) = prober.key.map(short) else { return Some(None) };
            match self.keys.find(spread(hash), |&entry| key_of(entry, &self.slab, &self.buckets) == hash) {
                None => return Some(None),
                Some(&entry) if entry & BUCKET == 0 => return None,
                Some(&entry) => &self.buckets[(entry & !BUCKET) as usize],
            }
        } else {
            &self.buckets[0]
        };
        if bucket.live == 0 {
            return Some(None);
        }
        if bucket.words.is_none() || bucket.words != self.slab.key_words_of(prober.row, key) {
            return None;
        }
        let root = self.layout.root(End::A);
        if matches!(root, Root::Everything) {
            return Some(bucket.first());
        }
        self.ask(query, bucket, End::A, prober, time_ms);
        if !query.sure {
            return None;
        }
        match (Scan { layout: &self.layout, root, query }).next(self.level, &bucket.blocks) {
            None => Some(None),
            Some((at, mask)) => {
                let lane = mask.trailing_zeros() as usize;
                let block = &bucket.blocks[at];
                (block.wild >> lane & 1 == 0).then(|| Some(block.slot(lane)))
            }
        }
    }

    /// Calls `found` with every element that satisfies the rule, ascending, until it says that this is enough.
    #[inline]
    fn each_satisfying(
        &self,
        query: &mut Query,
        prober: &Prober<'_>,
        time_ms: u64,
        errors: &mut u64,
        mut found: impl FnMut(u32) -> bool,
    ) {
        let side = Side { row: prober.row, waited_ms: waited(prober.arrived_ms, time_ms) };
        let mut stops =
            |slot: u32, sure: bool| (sure || self.test(slot, prober.id, side, time_ms, errors)) && found(slot);
        if !self.shape.keyed {
            return self.each_in_bucket(query, &self.buckets[0], prober, time_ms, &mut stops);
        }
        let Some(key) = prober.key.map(short) else { return };
        let Some(&entry) = self.keys.find(spread(key), |&entry| key_of(entry, &self.slab, &self.buckets) == key) else {
            return;
        };
        if entry & BUCKET != 0 {
            return self.each_in_bucket(query, &self.buckets[(entry & !BUCKET) as usize], prober, time_ms, &mut stops);
        }
        for slot in self.chain(entry) {
            if self.slab.ids[slot as usize] != prober.id && stops(slot, false) {
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
        bucket: &Bucket,
        prober: &Prober<'_>,
        time_ms: u64,
        stops: &mut impl FnMut(u32, bool) -> bool,
    ) {
        for &(id, slot) in prober.hint.found {
            if let Some(slot) = self.still(id, slot, prober.hint.epoch)
                && stops(slot, false)
            {
                return;
            }
        }
        let from = prober.hint.from;
        if from >= self.next_id {
            return;
        }
        let up_to = prober.id.min(self.next_id);
        if self.each_between(query, bucket, prober, time_ms, End::A, from..up_to, stops) {
            return;
        }
        // Only an element that searches again meets some that came after it.
        let after = from.max(prober.id + 1);
        if after < self.next_id {
            self.each_between(query, bucket, prober, time_ms, End::B, after..self.next_id, stops);
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
        let all = &*bucket.blocks;
        let mut blocks = all;
        if ids.end < self.next_id {
            blocks = &blocks[..blocks.partition_point(|block| block.first_id < ids.end)];
        }
        if ids.start > 0 {
            blocks = &blocks[blocks.partition_point(|block| block.first_id <= ids.start).saturating_sub(1)..];
        }
        if blocks.is_empty() {
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
        let scan = Scan { layout: &self.layout, root, query };
        while let Some((at, mask)) = scan.next(self.level, blocks) {
            for lane in lanes_of(mask) {
                let slot = blocks[at].slot(lane);
                let sure = sure && blocks[at].wild >> lane & 1 == 0;
                if ids.contains(&self.slab.ids[slot as usize]) && stops(slot, sure) {
                    return true;
                }
            }
            blocks = &blocks[at + 1..];
        }
        false
    }
}
