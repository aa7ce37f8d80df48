//! The waiting elements of one pool, as columns: what a probe searches.
//!
//! An element's exact values are in a slab, by [`Slot`]. Elements that may meet are in one bucket: all of them, or
//! those with one key. A bucket of a few is a chain through the slab; a larger one has blocks of 64 lanes in id order,
//! with the cells of the plan's columns. A probe's filter turns a block into a mask of lanes that survive, and the rule
//! itself is tested on these.
//!
//! It does not know pools, slices or retirements, and reads no clock: times come with the calls.
//!
//! Invariants: table.T1 ids ascend in the order of insertion; table.T2 the filter only turns away, and what it turns
//! away neither holds nor fails (see `filter.rs`), so the answer, and the errors counted, are those of testing one
//! anchor after the other in id order, and an exact plan's filter is taken at its word; table.T3 memory is proportional
//! to what waits, after a peak as well, and searching allocates nothing once its buffers are warm.

mod ahead;
mod block;
mod boxes;
mod bucket;
mod heap;
mod index;
mod kernel;
mod layout;
mod merge;
mod order;
mod query;
mod region;
mod run;
mod search;
mod slab;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use std::fmt;

use hashbrown::HashTable;

use crate::growth::push;
use crate::row::Row;
use crate::rule::Rule;
use crate::schema::Schema;
use crate::table::boxes::Boxes;
use crate::table::bucket::Bucket;
use crate::table::index::Index;
use crate::table::kernel::VectorLevel;
use crate::table::layout::{Lane, Layout, Shape};
use crate::table::order::Limits;
use crate::table::query::Query;
use crate::table::slab::{NONE, Slab};

pub use crate::secret::Secret;
pub use search::{AheadProbe, Hint, Hints, Prober};

/// Most elements of a bucket without blocks: testing so few costs no more than asking the filter.
const CHAIN_MAX: usize = 4;
/// In the table of keys: the number is a bucket's, and no slot.
const BUCKET: u32 = 1 << 31;
/// Where an element without key is: nowhere.
const UNREACHABLE: u32 = NONE - 1;

/// A waiting element's place in its table. Good until the next insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// The waiting elements of one pool.
pub struct Table {
    held: Held,
    query: Query,
    /// Of those looked ahead for at once.
    queries: Vec<Query>,
    boxes: Boxes,
    lane: Lane,
}

/// What a search only reads.
struct Held {
    rule: Rule,
    shape: Shape,
    layout: Layout,
    level: VectorLevel,
    limits: Limits,
    slab: Slab,
    index: Index,
    /// By key: the first slot of a chain, or a bucket. Not used if the rule has no key.
    keys: HashTable<u32>,
    buckets: Vec<Bucket>,
    /// Buckets to use again.
    spare: Vec<u32>,
    /// The highest id ever inserted, plus one.
    next_id: u64,
    /// Counts renumberings of the slots.
    epoch: u64,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("rule", &self.held.rule.source())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Table {
    /// An empty table for elements of a schema, searched by a rule compiled against it. What is found does not depend
    /// on the secret.
    #[must_use]
    pub fn new(rule: &Rule, schema: &Schema, secret: Secret) -> Table {
        Table::with_shape(rule, schema, secret, Shape::of(rule))
    }

    fn with_shape(rule: &Rule, schema: &Schema, secret: Secret, shape: Shape) -> Table {
        let layout = Layout::new(&shape);
        let mut slab = Slab::new(schema, secret, shape.keyed, rule.uses_time());
        for literal in layout.literals() {
            slab.strings.intern(literal);
        }
        let buckets = if shape.keyed { Vec::new() } else { vec![Bucket::new(0)] };
        let held = Held {
            rule: rule.clone(),
            shape,
            limits: Limits::of(&layout),
            layout,
            level: VectorLevel::best(),
            slab,
            index: Index::default(),
            keys: HashTable::new(),
            buckets,
            spare: Vec::new(),
            next_id: 0,
            epoch: 0,
        };
        let (query, queries, boxes, lane) = Default::default();
        Table { held, query, queries, boxes, lane }
    }

    /// Adds an element. `key` is its key's hash under the table's secret
    /// ([`Plan::bucket_hash`](crate::Plan::bucket_hash)), `None` if it has none; it is not looked at if the rule has no
    /// key.
    ///
    /// # Panics
    /// When its id is not above every id before, or the row is not of the table's schema.
    pub fn insert(&mut self, id: u64, row: &Row, arrived_ms: u64, key: Option<u64>) -> Slot {
        assert!(id >= self.held.next_id && id < u64::MAX, "ids ascend: {id} is not above all others");
        if self.held.slab.sparse() {
            self.shrink();
        }
        let held = &mut self.held;
        held.next_id = id + 1;
        let short = key.map_or(0, short);
        let slot = held.slab.insert(id, row, arrived_ms, short);
        held.index.push(id, slot);
        if !held.shape.keyed {
            self.join(0, slot);
        } else if key.is_some() {
            self.insert_keyed(short, slot);
        } else {
            held.slab.places[slot as usize] = UNREACHABLE;
        }
        Slot(slot)
    }

    fn insert_keyed(&mut self, key: u32, slot: u32) {
        let Held { keys, slab, buckets, .. } = &mut self.held;
        let Some(entry) = keys.find_mut(spread(key), |&entry| key_of(entry, slab, buckets) == key) else {
            slab.places[slot as usize] = NONE;
            keys.insert_unique(spread(key), slot, |&entry| spread(key_of(entry, slab, buckets)));
            return;
        };
        if *entry & BUCKET != 0 {
            let bucket = *entry & !BUCKET;
            return self.join(bucket, slot);
        }
        let mut last = *entry;
        for _ in 1..CHAIN_MAX {
            match slab.places[last as usize] {
                NONE => {
                    slab.places[last as usize] = slot;
                    slab.places[slot as usize] = NONE;
                    return;
                }
                next => last = next,
            }
        }
        let first = *entry;
        self.promote(key, first, slot);
    }

    /// Makes a bucket of a full chain and one more.
    #[cold]
    fn promote(&mut self, key: u32, first: u32, slot: u32) {
        let Held { keys, buckets, spare, .. } = &mut self.held;
        let number = match spare.pop() {
            Some(number) => number,
            None => {
                push(buckets, Bucket::default());
                buckets.len() as u32 - 1
            }
        };
        let entry = keys.find_mut(spread(key), |&entry| entry == first).expect("the chain has an entry");
        *entry = BUCKET | number;
        buckets[number as usize] = Bucket::new(key);
        let mut next = first;
        while next != NONE {
            let member = next;
            next = self.held.slab.places[member as usize];
            self.join(number, member);
        }
        // The last of the chain had no next; the new one comes after it.
        self.join(number, slot);
    }

    fn join(&mut self, bucket: u32, slot: u32) {
        let Held { layout, shape, slab, buckets, .. } = &mut self.held;
        self.lane.fill(layout, slab.held(slot, 0));
        let words = shape.exact.as_deref().and_then(|key| slab.key_words(slot, key));
        buckets[bucket as usize].push(layout, slab, slot, &self.lane, words);
    }

    /// The slot of a waiting element.
    #[must_use]
    pub fn find(&self, id: u64) -> Option<Slot> {
        let slot = self.held.index.find(id)?;
        (self.held.slab.ids[slot as usize] == id).then_some(Slot(slot))
    }

    /// The id of the element in a slot.
    #[must_use]
    #[inline]
    pub fn id(&self, slot: Slot) -> u64 {
        self.held.slab.ids[slot.0 as usize]
    }

    /// Removes an element. Its slot is free then.
    pub fn remove(&mut self, slot: Slot) {
        let held = &mut self.held;
        let id = held.slab.ids[slot.0 as usize];
        assert_ne!(id, slab::FREE, "what is removed waits");
        if !held.shape.keyed {
            held.remove_from(0, &mut self.lane, slot.0);
        } else if held.slab.places[slot.0 as usize] != UNREACHABLE {
            held.remove_keyed(&mut self.lane, slot.0);
        }
        held.slab.remove(slot.0);
        held.index.removed(id, &held.slab.ids);
    }

    /// How many elements wait.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.held.slab.len
    }

    /// Whether no element waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of the waiting elements, ascending.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.held.slots().map(|(id, _)| id)
    }

    /// An element's attributes.
    #[must_use]
    pub fn row(&self, slot: Slot) -> Row {
        self.held.slab.row(slot.0)
    }

    /// When the element in a slot arrived.
    #[must_use]
    pub fn arrived_ms(&self, slot: Slot) -> u64 {
        self.held.slab.arrived_ms(slot.0)
    }

    /// How many elements wait whose key has that hash, under the table's secret.
    #[must_use]
    pub fn waiting_with(&self, key: u64) -> usize {
        let held = &self.held;
        let key = short(key);
        match held.keys.find(spread(key), |&entry| key_of(entry, &held.slab, &held.buckets) == key) {
            None => 0,
            Some(&entry) if entry & BUCKET != 0 => held.buckets[(entry & !BUCKET) as usize].live as usize,
            Some(&first) => held.chain(first).count(),
        }
    }

    /// What the table holds of memory, in bytes, by capacity.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let held = &self.held;
        let buckets: usize = held.buckets.iter().map(Bucket::bytes).sum();
        let lists = held.buckets.capacity() * size_of::<Bucket>() + held.spare.capacity() * 4;
        let lists = lists + self.boxes.bytes();
        size_of::<Table>() + held.slab.bytes() + held.index.bytes() + held.keys.allocation_size() + buckets + lists
    }

    /// Orders buckets by value, where that pays, only from so many elements on: as many as there are anyway if it is not
    /// set. None is ordered with `u32::MAX`. Nothing that is found depends on it.
    pub fn order_from(&mut self, elements_min: u32) {
        self.held.limits.live_min = elements_min.max(2);
    }

    /// How many of the waiting elements are in buckets that are ordered by value.
    #[must_use]
    pub fn ordered(&self) -> usize {
        let buckets = self.held.buckets.iter().filter(|bucket| bucket.tree().is_some());
        buckets.map(|bucket| bucket.live as usize).sum()
    }

    /// Gives slots numbers without gaps, after a peak. All that was held for it is given back.
    #[cold]
    fn shrink(&mut self) {
        let held = &mut self.held;
        let (ids, order): (Vec<u64>, Vec<u32>) = held.slots().unzip();
        let mut new = vec![NONE; held.slab.ids.len()];
        for (to, &from) in order.iter().enumerate() {
            new[from as usize] = to as u32;
        }
        held.slab.permute(&order);
        held.index = Index::default();
        ids.iter().zip(0..).for_each(|(&id, slot)| held.index.push(id, slot));
        held.buckets.iter_mut().for_each(|bucket| bucket.renumber(&new));
        held.renumber_keys(&new);
        held.epoch += 1;
    }
}

impl Held {
    /// The waiting elements, ascending by id, with their slots.
    fn slots(&self) -> impl Iterator<Item = (u64, u32)> {
        self.index.iter().filter(|&(id, slot)| self.slab.ids[slot as usize] == id)
    }

    /// The members of a chain.
    fn chain(&self, first: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(first), |&slot| Some(self.slab.places[slot as usize]).filter(|&next| next != NONE))
    }

    fn remove_from(&mut self, bucket: u32, lane: &mut Lane, slot: u32) {
        let Held { layout, slab, buckets, .. } = self;
        let bucket = &mut buckets[bucket as usize];
        if bucket.by_value() {
            lane.fill(layout, slab.held(slot, 0));
        }
        bucket.remove(layout, slab, slot, lane);
    }

    fn remove_keyed(&mut self, lane: &mut Lane, slot: u32) {
        let Held { keys, slab, buckets, .. } = self;
        let key = slab.keys[slot as usize];
        let Ok(mut found) = keys.find_entry(spread(key), |&entry| key_of(entry, slab, buckets) == key) else {
            unreachable!("an element with a key is in a bucket");
        };
        let entry = *found.get();
        if entry & BUCKET != 0 {
            self.remove_from(entry & !BUCKET, lane, slot);
            let bucket = &self.buckets[(entry & !BUCKET) as usize];
            if bucket.live <= 1 {
                let last = bucket.first(&self.slab);
                self.demote(key, entry, last);
            }
            return;
        }
        let next = slab.places[slot as usize];
        if entry != slot {
            let mut before = entry;
            while slab.places[before as usize] != slot {
                before = slab.places[before as usize];
            }
            slab.places[before as usize] = next;
        } else if next == NONE {
            found.remove();
        } else {
            *found.get_mut() = next;
        }
    }

    /// Makes a chain of a bucket in which one is left, or none.
    #[cold]
    fn demote(&mut self, key: u32, entry: u32, last: Option<u32>) {
        let Ok(mut found) = self.keys.find_entry(spread(key), |&other| other == entry) else {
            unreachable!("a bucket has an entry");
        };
        match last {
            Some(slot) => {
                self.slab.places[slot as usize] = NONE;
                *found.get_mut() = slot;
            }
            None => drop(found.remove()),
        }
        self.buckets[(entry & !BUCKET) as usize] = Bucket::default();
        self.spare.push(entry & !BUCKET);
    }

    /// After the slab was permuted: `new` is what became of every slot.
    fn renumber_keys(&mut self, new: &[u32]) {
        // Buckets without gaps, too.
        let Held { keys, slab, buckets, spare, .. } = self;
        if !self.shape.keyed {
            return;
        }
        spare.clear();
        spare.shrink_to_fit();
        let mut kept = Vec::new();
        let old = std::mem::take(keys);
        let mut fresh = HashTable::with_capacity(old.len());
        for entry in old {
            let entry = if entry & BUCKET == 0 {
                let mut slot = new[entry as usize];
                let first = slot;
                while slab.places[slot as usize] != NONE {
                    let next = new[slab.places[slot as usize] as usize];
                    slab.places[slot as usize] = next;
                    slot = next;
                }
                first
            } else {
                kept.push(std::mem::take(&mut buckets[(entry & !BUCKET) as usize]));
                BUCKET | (kept.len() as u32 - 1)
            };
            let hash = |&entry: &u32| spread(key_of(entry, slab, &kept));
            fresh.insert_unique(hash(&entry), entry, hash);
        }
        (*keys, *buckets) = (fresh, kept);
    }
}

/// A key's hash, in 32 bits. Where keys are told apart by less, it costs time and nothing else.
fn short(key: u64) -> u32 {
    (key ^ key >> 32) as u32
}

/// A short hash as the hash table wants it.
fn spread(key: u32) -> u64 {
    u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The key an entry is for.
#[inline]
fn key_of(entry: u32, slab: &Slab, buckets: &[Bucket]) -> u32 {
    if entry & BUCKET == 0 { slab.keys[entry as usize] } else { buckets[(entry & !BUCKET) as usize].key }
}
