//! The pools a slice searches, and which of them an element is in.
//!
//! An element's id does not tell its pool. Where few pools are split by index their tables are asked one after the
//! other, which takes no memory; where many are, a map knows.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use dovetail_rule::{
    Row, Split, Value,
    table::{self, AheadProbe, Hint, Hints, Secret, Slot, Table},
};

use super::{
    FrameError, HotKey, hot::HotKeys, others::OthersView, prober::Prober, row_buffer::RowBuffer, shared::Shared,
};
use crate::{
    ElementId, Event, EventId, EventKind, Placement, Pool, PoolDefinition, PoolId,
    column_frame::{Arrivals, ColumnFrame, Step},
    planted::{Bug, Planted},
};

/// Most pools that are asked one after the other.
pub(super) const ASKED_MAX: usize = 8;
/// Fewer anchors than this are not worth looking ahead in.
const AHEAD_ANCHORS_MIN: usize = 1024;
/// Most elements waiting in a pool of which a slice has a complete view, other slices' anchors included. Then every
/// slice tests what one slice would, which is cheaper than listing what probes in flight may take, as long as few are
/// tested.
pub(crate) const COMPLETE_VIEW_MAX: usize = 512;
/// How many anchors are looked for ahead of a search that takes the first: another may have taken that by then, but not
/// often.
const AHEAD_SETTLED: usize = 1;

/// What is known of a pool that is asked for without an event: one before named it, and it is not dropped.
const NAMED: &str = "a pool that is named is defined";

/// All pools, by their numbers.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) planted: Planted,
    /// [`AHEAD_ANCHORS_MIN`], but in tests.
    pub(super) ahead_anchors_min: usize,
    /// [`COMPLETE_VIEW_MAX`], but in tests.
    pub(super) complete_view_max: usize,
    /// Searches that were looked ahead for.
    pub(super) looked_ahead: u64,
    /// Of the tables.
    secret: Secret,
    all: BTreeMap<PoolId, SlicePool>,
    /// Those that are split by index.
    by_index: Vec<PoolId>,
    /// The pool of every element that waits in the table of one of these; none while they are few.
    map: Option<HashMap<ElementId, PoolId>>,
}

/// A pool and the elements of it that wait here.
#[derive(Debug)]
pub(super) struct SlicePool {
    pub(super) pool: Pool,
    /// What waits, unless candidates are listed: then the slice's own anchors are [`Shared`].
    pub(super) anchors: Table,
    /// How many of its own anchors are there.
    pub(super) own: usize,
    secret: Secret,
    /// Whether this slice alone searches for its elements of the pool.
    pub(super) settled: bool,
    /// What is known of the anchors of other slices, where it does not.
    pub(super) others: OthersView,
    pub(super) rule_errors: u64,
    hot: HotKeys,
    ahead: LookedAhead,
}

/// What was found out about the searches of one frame before the first of them.
#[derive(Debug, Default)]
struct LookedAhead {
    hints: Hints,
    /// The arrivals looked ahead for, ascending.
    of: Vec<EventId>,
    /// A buffer for their rows.
    rows: RowBuffer,
}

impl Pools {
    pub(super) fn new(secret: Secret) -> Pools {
        Pools {
            planted: Planted::default(),
            ahead_anchors_min: AHEAD_ANCHORS_MIN,
            complete_view_max: COMPLETE_VIEW_MAX,
            looked_ahead: 0,
            secret,
            all: BTreeMap::new(),
            by_index: Vec::new(),
            map: None,
        }
    }

    pub(super) fn define(
        &mut self,
        shared: &mut Shared,
        x: EventId,
        id: PoolId,
        definition: Arc<PoolDefinition>,
        placement: &Placement,
        others: OthersView,
    ) -> Result<(), FrameError> {
        // One that is defined already comes again when the log is read again.
        if self.all.contains_key(&id) {
            return Ok(());
        }
        let pool =
            Pool::compile(id, definition).map_err(|source| FrameError::Define { x, source: Box::new(source) })?;
        let settled = placement.settles(&pool);
        if !settled {
            self.by_index.push(id);
            shared.define(&pool);
        }
        if self.by_index.len() > ASKED_MAX && self.map.is_none() {
            let of_pool = |&id: &PoolId| self.all.get(&id).map(|pool| pool.anchors.ids().map(move |e| (e, id)));
            let all = self.by_index.iter().filter_map(of_pool).flatten();
            self.map = Some(all.map(|(element, pool)| (ElementId(element), pool)).collect());
        }
        let anchors = Table::new(&pool.rule, &pool.schema, self.secret);
        let (hot, ahead) = (HotKeys::default(), LookedAhead::default());
        let others = if self.complete_view_max == 0 && matches!(others, OthersView::Complete) {
            OthersView::Counted(0)
        } else {
            others
        };
        let secret = self.secret;
        let pool = SlicePool { pool, anchors, own: 0, secret, settled, others, rule_errors: 0, hot, ahead };
        self.all.insert(id, pool);
        Ok(())
    }

    /// Forgets a pool, which no later event names. Retirements of its elements may still become known.
    /// False when there is none.
    pub(super) fn forget(&mut self, id: PoolId) -> bool {
        let Some(entry) = self.all.remove(&id) else { return false };
        self.by_index.retain(|&pool| pool != id);
        if let Some(map) = &mut self.map {
            entry.anchors.ids().for_each(|element| _ = map.remove(&ElementId(element)));
        }
        if self.by_index.len() <= ASKED_MAX {
            self.map = None;
        }
        true
    }

    pub(super) fn get(&self, x: EventId, pool: PoolId) -> Result<&SlicePool, FrameError> {
        self.all.get(&pool).ok_or(FrameError::UnknownPool { x, pool })
    }

    pub(super) fn get_mut(&mut self, x: EventId, pool: PoolId) -> Result<&mut SlicePool, FrameError> {
        self.all.get_mut(&pool).ok_or(FrameError::UnknownPool { x, pool })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SlicePool> {
        self.all.values()
    }

    /// Adds an anchor of any pool. Its row was checked.
    pub(super) fn insert(&mut self, shared: &mut Shared, prober: &Prober<'_>) {
        let &Prober { element, pool, row, arrived_ms, key } = prober;
        let entry = self.all.get_mut(&pool).expect(NAMED);
        if entry.lists() {
            entry.own += 1;
            // It was taken in with its frame, unless the slice begins with it.
            if !shared.has(pool, element) {
                shared.insert(pool, vec![(element, row.clone(), arrived_ms)]);
            }
            return;
        }
        entry.anchors.insert(element.0, row, arrived_ms, key);
        if let Some(map) = self.map.as_mut().filter(|_| !entry.settled) {
            map.insert(element, pool);
        }
    }

    /// Removes an anchor of a pool that is split by index; `own` if it is one of the slice's own. False when there is
    /// none.
    pub(super) fn remove(&mut self, shared: &mut Shared, element: ElementId, own: bool) -> bool {
        let kept = match &self.map {
            Some(map) => map.get(&element).copied(),
            None => {
                let mut pools = self.by_index.iter().copied();
                pools.find(|pool| self.all[pool].anchors.find(element.0).is_some())
            }
        };
        if let Some(pool) = kept {
            return self.remove_from(shared, pool, element, own);
        }
        let listed = if own { shared.remove_anywhere(element) } else { None };
        // What is left of a pool that the slice has forgotten counts nowhere.
        let Some(entry) = listed.and_then(|pool| self.all.get_mut(&pool)) else { return false };
        entry.own -= 1;
        true
    }

    /// A pool that an event before named.
    pub(super) fn known_mut(&mut self, pool: PoolId) -> &mut SlicePool {
        self.all.get_mut(&pool).expect(NAMED)
    }

    /// Removes an element of a certain pool of which the slice has a complete view; `own` if it is one of the slice's
    /// own. False when there is none.
    pub(super) fn remove_from(&mut self, shared: &mut Shared, pool: PoolId, element: ElementId, own: bool) -> bool {
        let anchors = &mut self.known_mut(pool).anchors;
        let Some(slot) = anchors.find(element.0) else { return false };
        anchors.remove(slot);
        if let Some(map) = &mut self.map {
            map.remove(&element);
        }
        if own {
            shared.remove(pool, element);
        }
        true
    }

    /// Begins to list candidates in a pool of which the table has the slice's own elements alone; so many of the others
    /// wait.
    pub(super) fn list(&mut self, shared: &mut Shared, pool: PoolId, others: usize) {
        let entry = self.all.get_mut(&pool).expect(NAMED);
        let anchors = Table::new(&entry.pool.rule, &entry.pool.schema, self.secret);
        let anchors = mem::replace(&mut entry.anchors, anchors);
        let own = anchors.ids().filter_map(|id| {
            let slot = anchors.find(id)?;
            Some((ElementId(id), anchors.row(slot), anchors.arrived_ms(slot)))
        });
        let own: Vec<_> = own.collect();
        if let Some(map) = &mut self.map {
            own.iter().for_each(|(element, ..)| _ = map.remove(element));
        }
        entry.own = own.len();
        entry.others = OthersView::Counted(others);
        entry.ahead.of.clear();
        shared.insert(pool, own);
    }

    /// Makes a pool's table anew, of the slice's own anchors, which were taken out of what is shared, and those of the
    /// others that were kept.
    pub(super) fn join(&mut self, shared: &mut Shared, pool: PoolId, own: Vec<(ElementId, Row, u64)>) {
        let entry = self.all.get_mut(&pool).expect(NAMED);
        let OthersView::Kept { since: mut all, .. } = mem::replace(&mut entry.others, OthersView::Complete) else {
            unreachable!("others are kept before they join");
        };
        all.extend(own.into_iter().map(|(element, row, arrived_ms)| (element, (row, arrived_ms))));
        entry.own = 0;
        entry.ahead.of.clear();
        for (element, (row, arrived_ms)) in &all {
            self.insert(shared, &Prober { element: *element, pool, row, arrived_ms: *arrived_ms, key: None });
        }
    }

    /// Takes in what a frame brings for pools in which the slice lists candidates, or may begin to before the frame
    /// ends.
    pub(super) fn take_in(&mut self, shared: &mut Shared, frame: &ColumnFrame, above: EventId) {
        // Once for all pools: a frame may bring something for thousands.
        let counts = OnceCell::new();
        let come = |pool: PoolId| {
            let counts = counts.get_or_init(|| {
                let mut counts: BTreeMap<PoolId, usize> = BTreeMap::new();
                let come = frame.steps_above(above).filter_map(|step| step.arrivals());
                come.for_each(|(pool, count)| *counts.entry(pool).or_default() += count);
                counts
            });
            counts.get(&pool).copied().unwrap_or(0)
        };
        let needed = |pool: PoolId| {
            let Some(entry) = self.all.get(&pool).filter(|entry| !entry.settled) else { return false };
            let room = self.complete_view_max.saturating_sub(entry.anchors.len());
            entry.lists() || frame.len() > room && come(pool) > room
        };
        self.looked_ahead += shared.take_in(frame, needed) as u64;
    }

    /// Looks ahead for the arrivals of a frame, pool by pool, so that anchors are read once for many of them.
    pub(super) fn look_ahead(&mut self, frame: &ColumnFrame, above: EventId) {
        for entry in self.all.values_mut().filter(|entry| entry.pool.split() == Split::Index) {
            entry.ahead.of.clear();
            if entry.lists() || entry.anchors.len() < self.ahead_anchors_min {
                continue;
            }
            let pool = entry.pool.id;
            for step in frame.steps_above(above) {
                match step {
                    Step::Event(Event { x, kind: EventKind::Arrival { pool: of, row } }) if *of == pool => {
                        entry.ahead.add(*x, row.values().iter().cloned(), &entry.pool);
                    }
                    Step::Arrivals(arrivals, rows) if arrivals.pool() == pool => {
                        rows.for_each(|row| entry.ahead.add(arrivals.xs()[row], arrivals.values(row), &entry.pool));
                    }
                    Step::Event(_) | Step::Arrivals(..) => {}
                }
            }
            let time_ms = frame.time_ms();
            let LookedAhead { of, rows, hints } = &mut entry.ahead;
            let prober = |(number, x): (usize, &EventId)| {
                let (row, hint) = (rows.get(number), Hint::default());
                let prober = table::Prober { id: x.0, row, arrived_ms: time_ms, key: None, before: u64::MAX, hint };
                AheadProbe { prober, time_ms }
            };
            let probes: Vec<AheadProbe<'_>> = of.iter().enumerate().map(prober).collect();
            entry.anchors.look_ahead(&probes, AHEAD_SETTLED, hints);
            self.looked_ahead += probes.len() as u64;
            if self.planted.is(Bug::HintOfAnother) {
                of.iter_mut().for_each(|x| *x = x.next());
            }
        }
    }
}

impl SlicePool {
    /// The lowest anchor that may be matched with the prober.
    pub(super) fn first(&mut self, x: EventId, prober: &Prober<'_>, time_ms: u64) -> Option<Slot> {
        let SlicePool { anchors, rule_errors, hot, ahead, .. } = self;
        if let Some(key) = prober.key {
            hot.searched(key, prober.row);
        }
        anchors.first(&prober.in_table(ahead.hint(x)), time_ms, rule_errors)
    }

    /// The hash that keys are told apart by here, if the pool is split by key.
    #[inline]
    pub(super) fn bucket_hash(&self, row: &Row) -> Option<u64> {
        let plan = self.pool.rule.plan();
        if plan.keyed() { plan.bucket_hash(row, self.secret) } else { None }
    }

    /// The same of some rows of columns. None where it has to be asked row by row.
    pub(super) fn bucket_hashes(&self, arrivals: &Arrivals, rows: &[usize]) -> Option<Vec<Option<u64>>> {
        let plan = self.pool.rule.plan();
        plan.keyed().then_some(())?;
        plan.bucket_hashes(&arrivals.cells(), rows.iter().copied(), self.secret)
    }

    /// Keys that many searches had in common lately, most first.
    pub(super) fn hot_keys(&self) -> Vec<HotKey> {
        let plan = self.pool.rule.plan();
        let reported = self.hot.hottest().into_iter().map(|(key, row, searches_permille)| HotKey {
            key: plan.key_text(row).unwrap_or_default(),
            searches_permille,
            waiting: self.anchors.waiting_with(key),
        });
        reported.collect()
    }
}

impl LookedAhead {
    /// An arrival is to be looked ahead for; one that does not fit is refused when its turn comes.
    fn add(&mut self, x: EventId, values: impl Iterator<Item = Option<Value>>, pool: &Pool) {
        if self.rows.set(self.of.len(), values).check(&pool.schema).is_ok() {
            self.of.push(x);
        }
    }

    fn hint(&self, x: EventId) -> Hint<'_> {
        if self.of.is_empty() {
            return Hint::default();
        }
        self.of.binary_search(&x).map_or(Hint::default(), |at| self.hints.of(at))
    }
}
