//! Buckets: the elements with one key, or all of them.
//!
//! Few are one run, in id order. Many may be [ordered](crate::table::order) by value.

use crate::table::layout::{KeyWords, Lane, Layout};
use crate::table::order::Order;
use crate::table::run::Run;
use crate::table::slab::Slab;
use crate::table::tree::Tree;

/// Elements that may meet.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) key: u32,
    pub(super) live: u32,
    /// All of its elements, unless they are in the tree of `order`.
    pub(super) run: Run,
    /// Of a bucket that is, or was, large enough to think about it.
    pub(super) order: Option<Box<Order>>,
    arrivals: Arrivals,
    /// The key of its elements, if they all agree in its values.
    pub(super) words: Option<KeyWords>,
}

/// In which order elements arrived: by id, unless clocks disagree.
#[derive(Debug, Default)]
struct Arrivals {
    /// The latest so far.
    latest_ms: u64,
    /// By how much a later element's arrival was ever before it.
    disorder_ms: u64,
}

impl Arrivals {
    fn note(&mut self, arrived_ms: u64) {
        self.disorder_ms = self.disorder_ms.max(self.latest_ms.saturating_sub(arrived_ms));
        self.latest_ms = self.latest_ms.max(arrived_ms);
    }
}

impl Bucket {
    pub(super) fn new(key: u32) -> Bucket {
        Bucket { key, ..Bucket::default() }
    }

    /// Appends an element whose id is above all others', with the words of its key if the rule is exact.
    pub(super) fn push(&mut self, layout: &Layout, slab: &mut Slab, slot: u32, lane: &Lane, words: Option<KeyWords>) {
        if self.live == 0 {
            self.words = words;
        } else if self.words != words {
            self.words = None;
        }
        self.arrivals.note(slab.arrived_ms(slot));
        self.live += 1;
        match self.order.as_deref_mut() {
            None => self.run.push(layout, slab, slot, lane),
            Some(order) => {
                order.updated(layout);
                match &mut order.tree {
                    None => self.run.push(layout, slab, slot, lane),
                    Some(tree) => tree.insert(layout, slab, slot, lane),
                }
            }
        }
    }

    /// Whether `remove` has to know the element's cells.
    pub(super) fn by_value(&self) -> bool {
        self.tree().is_some()
    }

    /// Ends an element's stay. `lane` has its cells if the bucket goes [by value](Bucket::by_value).
    pub(super) fn remove(&mut self, layout: &Layout, slab: &mut Slab, slot: u32, lane: &Lane) {
        self.live -= 1;
        if let Some(order) = self.order.as_deref_mut() {
            order.updated(layout);
            if let Some(tree) = &mut order.tree {
                tree.remove(layout, slab, slot, lane);
                if order.too_small(self.live) {
                    self.scan_again(layout, slab);
                }
                return;
            }
        }
        if self.run.remove(layout, slab, slot) {
            self.arrivals = arrivals(&self.run, slab);
        }
        if self.live == 0 {
            self.order = None;
        }
    }

    /// Gives the tree up.
    pub(super) fn scan_again(&mut self, layout: &Layout, slab: &mut Slab) {
        if let Some(order) = &mut self.order {
            self.run = order.drop_tree(layout, slab);
            self.arrivals = arrivals(&self.run, slab);
        }
    }

    pub(super) fn tree(&self) -> Option<&Tree> {
        self.order.as_ref()?.tree.as_ref()
    }

    /// No element of the bucket arrived before this.
    pub(super) fn oldest_ms(&self, slab: &Slab) -> u64 {
        self.first(slab).map_or(0, |slot| slab.arrived_ms(slot).saturating_sub(self.arrivals.disorder_ms))
    }

    /// The element with the lowest id.
    pub(super) fn first(&self, slab: &Slab) -> Option<u32> {
        self.tree().map_or_else(|| self.run.first(), |tree| tree.first(slab))
    }

    /// Slots are renumbered.
    pub(super) fn renumber(&mut self, new: &[u32]) {
        self.run.renumber(new);
        if let Some(tree) = self.order.as_mut().and_then(|order| order.tree.as_mut()) {
            tree.renumber(new);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.run.bytes() + self.order.as_ref().map_or(0, |order| size_of::<Order>() + order.bytes())
    }
}

/// What is true of the elements of a run.
fn arrivals(run: &Run, slab: &Slab) -> Arrivals {
    let mut arrivals = Arrivals::default();
    if !slab.timed() {
        return arrivals;
    }
    run.slots().for_each(|slot| arrivals.note(slab.arrived_ms(slot)));
    arrivals
}
