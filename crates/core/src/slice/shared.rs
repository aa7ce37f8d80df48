//! What the slices of one matcher have in common: the anchors of pools of which they list candidates, in one table for
//! each pool, so that what a frame brings is searched for once for all of them.
//!
//! Slices are where they are: one that waits for the decided watermark is behind the others. So an element is taken in
//! before any of them has come to its arrival, with the rest of its frame, and a search at `x` passes over what arrives
//! at or after `x`. Only the slice that owns an anchor removes it, when it has come to that. So at any event a slice
//! finds of its own anchors what a table of its own would have, and the others' are none of its business: who owns an
//! element follows from its id.
//!
//! Slices with a complete view of a pool do not search here, and have all of its elements in a table of their own
//! (`complete.rs`). Their arrivals are here as long as any slice lists, and go when the element does.
//!
//! Invariants: shared.A1 of the elements up to where a slice is that lists, exactly those that it owns and that wait
//! there are in the table; shared.A2 what was found out ahead of a frame is kept until every slice has searched it, and
//! slices are apart by no more than what one may search ahead of the decided watermark.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use dovetail_rule::{
    Row, Value,
    table::{self, AheadProbe, Hint, Hints, Secret, Slot, Table},
};

use super::{pools::ASKED_MAX, prober::Prober, row_buffer::RowBuffer};
use crate::{
    ElementId, Event, EventId, EventKind, Place, Placement, Pool, PoolId, SliceId,
    column_frame::{ColumnFrame, Step},
    planted::{Bug, Planted},
};

/// How many anchors of each slice are looked for ahead of the searches that list all they find.
const AHEAD: usize = 4;

/// What the slices of one matcher have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) planted: Planted,
    /// Looks ahead in tables of so many elements or more; for tests, which want to see both ways.
    pub(super) ahead_anchors_min: usize,
    placement: Placement,
    secret: Secret,
    /// The slices, ascending, and the last event that each has searched.
    slices: Vec<(SliceId, EventId)>,
    pools: BTreeMap<PoolId, SharedPool>,
    /// Frames that were taken in for a pool, and are not yet searched by all: by their last events.
    open: BTreeSet<(EventId, PoolId)>,
    /// The pool of every element; none while pools are few.
    map: Option<HashMap<ElementId, PoolId>>,
}

/// The elements of a pool that may be listed.
#[derive(Debug)]
struct SharedPool {
    pool: Pool,
    table: Table,
    /// No element with a higher id was taken in.
    last: u64,
    /// Frames that are taken in, and not yet searched by all.
    ahead: VecDeque<Ahead>,
    /// Slices that have come to the end of the pool.
    ended: usize,
    /// Rows of a frame that is searched, to be used again.
    spare: Option<Arrived>,
    found: Vec<Slot>,
}

/// What was found out about the searches of one frame before the first of them.
#[derive(Debug)]
struct Ahead {
    through: EventId,
    arrived: Arc<Arrived>,
    /// By arrival.
    hints: Hints,
}

/// The arrivals of a pool in a frame, whose rows fit.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// Ascending.
    xs: Vec<EventId>,
    rows: RowBuffer,
}

/// A search of a slice.
pub(super) struct Search<'a> {
    /// At this event.
    pub(super) x: EventId,
    pub(super) prober: &'a Prober<'a>,
    pub(super) time_ms: u64,
    /// Finds at most so many.
    pub(super) limit: usize,
    pub(super) slice: SliceId,
}

impl Arrived {
    /// Adds an arrival, unless it does not fit: then it is refused when its turn comes.
    fn add(&mut self, x: EventId, values: impl Iterator<Item = Option<Value>>, pool: &Pool) {
        if self.rows.set(self.xs.len(), values).check(&pool.schema).is_ok() {
            self.xs.push(x);
        }
    }

    /// To be used again.
    fn emptied(mut self) -> Arrived {
        self.xs.clear();
        self
    }

    /// The row that arrives at `x`.
    #[inline]
    pub(super) fn row(&self, x: EventId) -> Option<&Row> {
        self.xs.binary_search(&x).ok().map(|number| self.rows.get(number))
    }

    fn iter(&self) -> impl Iterator<Item = (EventId, &Row)> {
        self.xs.iter().enumerate().map(|(number, &x)| (x, self.rows.get(number)))
    }
}

impl Shared {
    /// Of these slices, which begin at a cut.
    pub(super) fn new(placement: Placement, slices: &[SliceId], secret: Secret, cut: EventId) -> Shared {
        Shared {
            planted: Planted::default(),
            ahead_anchors_min: 0,
            placement,
            secret,
            slices: slices.iter().map(|&slice| (slice, cut)).collect(),
            pools: BTreeMap::new(),
            open: BTreeSet::new(),
            map: None,
        }
    }

    /// A pool that is split by index is defined, as one of the slices has found.
    pub(super) fn define(&mut self, pool: &Pool) {
        let secret = self.secret;
        self.pools.entry(pool.id).or_insert_with(|| SharedPool {
            table: Table::new(&pool.rule, &pool.schema, secret),
            pool: pool.clone(),
            last: 0,
            ahead: VecDeque::new(),
            ended: 0,
            spare: None,
            found: Vec::new(),
        });
        if self.pools.len() > ASKED_MAX && self.map.is_none() {
            let of_pool =
                |(&id, pool): (&PoolId, &'_ SharedPool)| pool.table.ids().map(|e| (ElementId(e), id)).collect();
            self.map = Some(self.pools.iter().flat_map::<Vec<_>, _>(of_pool).collect());
        }
    }

    /// A slice has come to the end of a pool, which no later event names.
    pub(super) fn forget(&mut self, pool: PoolId) {
        let Some(entry) = self.pools.get_mut(&pool) else { return };
        entry.ended += 1;
        if entry.ended == self.slices.len() {
            if let Some(map) = &mut self.map {
                entry.table.ids().for_each(|element| _ = map.remove(&ElementId(element)));
            }
            self.pools.remove(&pool);
        }
        if self.pools.len() <= ASKED_MAX {
            self.map = None;
        }
    }

    /// Adds elements that waited at the cut, or that a slice has kept elsewhere so far. Those that are there already
    /// stay.
    pub(super) fn insert(&mut self, pool: PoolId, elements: Vec<(ElementId, Row, u64)>) {
        if let Some(entry) = self.pools.get_mut(&pool) {
            if let Some(map) = &mut self.map {
                map.extend(elements.iter().map(|(element, ..)| (*element, pool)));
            }
            entry.insert(elements, self.secret);
        }
    }

    /// Whether an element is there.
    pub(super) fn has(&self, pool: PoolId, element: ElementId) -> bool {
        self.pools.get(&pool).is_some_and(|entry| entry.table.find(element.0).is_some())
    }

    /// Removes an element. False when it is not there.
    pub(super) fn remove(&mut self, pool: PoolId, element: ElementId) -> bool {
        let Some(entry) = self.pools.get_mut(&pool) else { return false };
        let Some(slot) = entry.table.find(element.0) else { return false };
        entry.table.remove(slot);
        if let Some(map) = &mut self.map {
            map.remove(&element);
        }
        true
    }

    /// The same of any pool. Returns which it was.
    pub(super) fn remove_anywhere(&mut self, element: ElementId) -> Option<PoolId> {
        let pool = match &self.map {
            Some(map) => map.get(&element).copied(),
            None => self.pools.keys().copied().find(|&pool| self.has(pool, element)),
        }?;
        self.remove(pool, element).then_some(pool)
    }

    /// A slice's own elements up to where it is, ascending.
    pub(super) fn own(&self, pool: PoolId, slice: SliceId, through: EventId) -> impl Iterator<Item = ElementId> {
        let ids = self.pools.get(&pool).into_iter().flat_map(|entry| entry.table.ids());
        ids.map(ElementId)
            .take_while(move |element| element.0 <= through.0)
            .filter(move |&element| self.placement.owner(Place::Id(element)) == slice)
    }

    /// Takes such elements out.
    pub(super) fn take_own(&mut self, pool: PoolId, slice: SliceId, through: EventId) -> Vec<(ElementId, Row, u64)> {
        let own: Vec<ElementId> = self.own(pool, slice, through).collect();
        let taken = own.into_iter().filter_map(|element| {
            let table = &self.pools.get(&pool)?.table;
            let slot = table.find(element.0)?;
            let (row, arrived_ms) = (table.row(slot), table.arrived_ms(slot));
            self.remove(pool, element);
            Some((element, row, arrived_ms))
        });
        taken.collect()
    }

    /// Takes in what arrives with a frame in pools that `needed` names, and looks ahead for the searches of it: once for
    /// all slices. Returns for how many.
    pub(super) fn take_in(&mut self, frame: &ColumnFrame, needed: impl Fn(PoolId) -> bool) -> usize {
        let through = frame.through();
        let behind = self.slices.iter().map(|&(_, through)| through).min().expect("a matcher has a slice");
        let mut comes: BTreeMap<PoolId, Option<Arrived>> = BTreeMap::new();
        for step in frame.steps_above(behind.min(through)) {
            let Some((pool, _)) = step.arrivals() else { continue };
            let arrived = comes.entry(pool).or_insert_with(|| {
                let entry = self.pools.get_mut(&pool).filter(|_| !self.open.contains(&(through, pool)))?;
                needed(pool).then(|| entry.spare.take().unwrap_or_default().emptied())
            });
            let (Some(arrived), Some(entry)) = (arrived, self.pools.get(&pool)) else { continue };
            match step {
                Step::Event(Event { x, kind: EventKind::Arrival { row, .. } }) => {
                    arrived.add(*x, row.values().iter().cloned(), &entry.pool);
                }
                Step::Arrivals(arrivals, rows) => {
                    rows.for_each(|row| arrived.add(arrivals.xs()[row], arrivals.values(row), &entry.pool));
                }
                Step::Event(_) => {}
            }
        }
        let comes = comes.into_iter().filter_map(|(pool, arrived)| Some((pool, arrived?)));
        comes.map(|(pool, arrived)| self.take_in_pool(pool, arrived, through, frame.time_ms())).sum()
    }

    fn take_in_pool(&mut self, pool: PoolId, arrived: Arrived, through: EventId, time_ms: u64) -> usize {
        let Some(entry) = self.pools.get_mut(&pool) else { return 0 };
        // What a slice has passed that had no need of this is none of this table's.
        let comes = |x: EventId| {
            let owner = self.placement.owner(Place::Id(ElementId::from(x)));
            let slice = self.slices.binary_search_by_key(&owner, |&(slice, _)| slice);
            slice.is_ok_and(|at| self.slices[at].1 < x)
        };
        let own: Vec<(EventId, &Row)> = arrived.iter().filter(|&(x, _)| comes(x)).collect();
        if let Some(map) = &mut self.map {
            map.extend(own.iter().map(|&(x, _)| (ElementId::from(x), pool)));
        }
        if own.first().is_some_and(|(first, _)| first.0 > entry.last) {
            for (x, row) in own {
                entry.table.insert(x.0, row, time_ms, None);
                entry.last = x.0;
            }
        } else {
            let own = own.into_iter().map(|(x, row)| (ElementId::from(x), row.clone(), time_ms)).collect();
            entry.insert(own, self.secret);
        }
        let (mut hints, mut looked_ahead) = (Hints::default(), 0);
        if entry.table.len() >= self.ahead_anchors_min {
            let probes = arrived.iter().map(|(x, row)| {
                let hint = Hint::default();
                let prober = table::Prober { id: x.0, row, arrived_ms: time_ms, key: None, before: x.0, hint };
                AheadProbe { prober, time_ms }
            });
            let probes: Vec<AheadProbe<'_>> = probes.collect();
            entry.table.look_ahead(&probes, AHEAD * self.slices.len(), &mut hints);
            looked_ahead = probes.len();
        }
        let at = entry.ahead.partition_point(|ahead| ahead.through < through);
        entry.ahead.insert(at, Ahead { through, arrived: Arc::new(arrived), hints });
        self.open.insert((through, pool));
        looked_ahead
    }

    /// The arrivals of the frame that `x` is in, if it was taken in.
    pub(super) fn arrived(&self, pool: PoolId, x: EventId) -> Option<Arc<Arrived>> {
        self.pools.get(&pool)?.ahead_of(x).map(|ahead| Arc::clone(&ahead.arrived))
    }

    /// The lowest of a slice's own anchors that may be matched, into `list`; true when there is one more.
    pub(super) fn search(&mut self, search: &Search<'_>, errors: &mut u64, list: &mut Vec<ElementId>) -> bool {
        let Shared { placement, pools, planted, .. } = self;
        let Search { x, prober, time_ms, limit, slice } = *search;
        list.clear();
        let Some(SharedPool { table, ahead, found, .. }) = pools.get_mut(&prober.pool) else { return false };
        let at = ahead.partition_point(|ahead| ahead.through < x);
        let hint = match ahead.get(at) {
            Some(ahead) if prober.element == ElementId::from(x) => ahead.hint(x, *planted),
            _ => Hint::default(),
        };
        let before = if planted.is(Bug::UnarrivedListed) { u64::MAX } else { x.0 };
        let own = |id: u64| placement.owner(Place::Id(ElementId(id))) == slice;
        let counted = |id: u64| own(id) || planted.is(Bug::SiblingListed) || planted.is(Bug::LimitOfSiblings);
        let more = table.search_among(counted, &prober.before(before, hint), time_ms, limit, errors, found);
        let found = found.iter().map(|&slot| table.id(slot));
        list.extend(found.filter(|&id| own(id) || planted.is(Bug::SiblingListed)).map(ElementId));
        more
    }

    /// A slice has searched up to `through`.
    pub(super) fn reached(&mut self, slice: SliceId, through: EventId) {
        let at = self.slices.binary_search_by_key(&slice, |&(slice, _)| slice).expect("it is one of them");
        self.slices[at].1 = through;
        let behind = self.slices.iter().map(|&(_, through)| through).min().expect("there is one");
        while let Some(&(through, pool)) = self.open.first()
            && through <= behind
        {
            self.open.pop_first();
            let Some(entry) = self.pools.get_mut(&pool) else { continue };
            while let Some(ahead) = entry.ahead.pop_front_if(|ahead| ahead.through <= behind) {
                entry.spare = Arc::into_inner(ahead.arrived);
            }
        }
    }
}

impl SharedPool {
    fn ahead_of(&self, x: EventId) -> Option<&Ahead> {
        self.ahead.get(self.ahead.partition_point(|ahead| ahead.through < x))
    }

    /// Adds elements, of which some may be there already. Where ids do not ascend the table is made anew: that happens
    /// only when a slice begins to list, and then few wait.
    fn insert(&mut self, elements: Vec<(ElementId, Row, u64)>, secret: Secret) {
        let mut elements = elements;
        elements.retain(|(element, ..)| self.table.find(element.0).is_none());
        let Some((lowest, ..)) = elements.first() else { return };
        if lowest.0 <= self.last {
            let old = std::mem::replace(&mut self.table, Table::new(&self.pool.rule, &self.pool.schema, secret));
            let there = old.ids().filter_map(|id| {
                let slot = old.find(id)?;
                Some((ElementId(id), old.row(slot), old.arrived_ms(slot)))
            });
            elements.extend(there);
            elements.sort_unstable_by_key(|&(element, ..)| element);
            // They name slots of the old table.
            self.ahead.iter_mut().for_each(|ahead| ahead.hints = Hints::default());
        }
        for (element, row, arrived_ms) in elements {
            self.table.insert(element.0, &row, arrived_ms, None);
            self.last = self.last.max(element.0);
        }
    }
}

impl Ahead {
    #[inline]
    fn hint(&self, x: EventId, planted: Planted) -> Hint<'_> {
        let before = usize::from(planted.is(Bug::HintOfAnother));
        self.arrived.xs.binary_search(&x).map_or(Hint::default(), |at| self.hints.of(at.saturating_sub(before)))
    }
}
