//! The pools a slice searches, and which of them an element is in.
//!
//! An element's id does not tell its pool. Where few pools are split by index their tables are asked one after the
//! other, which takes no memory; where many are, a map knows.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use dovetail_rule::{
    Row, Split, Value,
    table::{self, AheadProbe, Hint, Hints, Secret, Slot, Table},
};

use super::{FrameError, HotKey, hot::HotKeys, others::OthersView, prober::Prober, row_buffer::RowBuffer};
use crate::{
    ElementId, Event, EventId, EventKind, Placement, Pool, PoolDefinition, PoolId,
    column_frame::{Arrivals, ColumnFrame, Step},
    planted::{Bug, Planted},
};

/// Most pools that are asked one after the other.
const ASKED_MAX: usize = 8;
/// Fewer anchors than this are not worth looking ahead in.
const AHEAD_ANCHORS_MIN: usize = 1024;
/// Most elements waiting in a pool of which a slice has a complete view, other slices' anchors included. Then every
/// slice tests what one slice would, which is cheaper than listing what probes in flight may take, as long as few are
/// tested.
pub(crate) const COMPLETE_VIEW_MAX: usize = 512;
/// How many anchors are looked for ahead of a search that lists all it finds.
const AHEAD_LISTED: usize = 4;
/// The same where it takes the first: another may have taken that by then, but not often.
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
    /// The pool of every element that waits in one of these; none while they are few.
    map: Option<HashMap<ElementId, PoolId>>,
}

/// A pool and the elements of it that wait here.
#[derive(Debug)]
pub(super) struct SlicePool {
    pub(super) pool: Pool,
    pub(super) anchors: Table,
    secret: Secret,
    /// Whether this slice alone searches for its elements of the pool.
    pub(super) settled: bool,
    /// What is known of the anchors of other slices, where it does not.
    pub(super) others: OthersView,
    pub(super) rule_errors: u64,
    hot: HotKeys,
    ahead: LookedAhead,
    /// Anchors found by the last search.
    pub(super) found: Vec<Slot>,
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
        }
        if self.by_index.len() > ASKED_MAX && self.map.is_none() {
            let of_pool = |&id: &PoolId| self.all.get(&id).map(|pool| pool.anchors.ids().map(move |e| (e, id)));
            let all = self.by_index.iter().filter_map(of_pool).flatten();
            self.map = Some(all.map(|(element, pool)| (ElementId(element), pool)).collect());
        }
        let anchors = Table::new(&pool.rule, &pool.schema, self.secret);
        let (hot, ahead, found) = (HotKeys::default(), LookedAhead::default(), Vec::new());
        let others = if self.complete_view_max == 0 && matches!(others, OthersView::Complete) {
            OthersView::Counted(0)
        } else {
            others
        };
        let secret = self.secret;
        let pool = SlicePool { pool, anchors, secret, settled, others, rule_errors: 0, hot, ahead, found };
        self.all.insert(id, pool);
        Ok(())
    }

    /// Forgets a pool, which no later event names. Retirements of its elements may still become known.
    pub(super) fn forget(&mut self, id: PoolId) {
        let Some(entry) = self.all.remove(&id) else { return };
        self.by_index.retain(|&pool| pool != id);
        if let Some(map) = &mut self.map {
            entry.anchors.ids().for_each(|element| _ = map.remove(&ElementId(element)));
        }
        if self.by_index.len() <= ASKED_MAX {
            self.map = None;
        }
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
    pub(super) fn insert(&mut self, Prober { element, pool, row, arrived_ms, key }: &Prober<'_>) {
        let entry = self.all.get_mut(pool).expect(NAMED);
        entry.anchors.insert(element.0, row, *arrived_ms, *key);
        if let Some(map) = self.map.as_mut().filter(|_| !entry.settled) {
            map.insert(*element, *pool);
        }
    }

    /// Removes an anchor of a pool that is split by index. False when there is none.
    pub(super) fn remove(&mut self, element: ElementId) -> bool {
        let found = match &mut self.map {
            Some(map) => map.remove(&element).map(|pool| (pool, self.all[&pool].anchors.find(element.0))),
            None => self.by_index.iter().find_map(|&pool| {
                let slot = self.all[&pool].anchors.find(element.0)?;
                Some((pool, Some(slot)))
            }),
        };
        let Some((pool, Some(slot))) = found else { return false };
        self.known_mut(pool).anchors.remove(slot);
        true
    }

    /// A pool that an event before named.
    pub(super) fn known_mut(&mut self, pool: PoolId) -> &mut SlicePool {
        self.all.get_mut(&pool).expect(NAMED)
    }

    /// Removes an anchor of a certain pool that is split by index. False when there is none.
    pub(super) fn remove_from(&mut self, pool: PoolId, element: ElementId) -> bool {
        let anchors = &mut self.known_mut(pool).anchors;
        let Some(slot) = anchors.find(element.0) else { return false };
        anchors.remove(slot);
        if let Some(map) = &mut self.map {
            map.remove(&element);
        }
        true
    }

    /// Makes a pool's table anew, of the slice's own anchors and those of the others that were kept.
    pub(super) fn join(&mut self, pool: PoolId) {
        let entry = self.all.get_mut(&pool).expect(NAMED);
        let OthersView::Kept { since: mut all, .. } = mem::replace(&mut entry.others, OthersView::Complete) else {
            unreachable!("others are kept before they join");
        };
        for id in entry.anchors.ids() {
            let slot = entry.anchors.find(id).expect("the table says so");
            all.insert(ElementId(id), (entry.anchors.row(slot), entry.anchors.arrived_ms(slot)));
        }
        entry.anchors = Table::new(&entry.pool.rule, &entry.pool.schema, self.secret);
        entry.forget_hints();
        for (element, (row, arrived_ms)) in &all {
            self.insert(&Prober { element: *element, pool, row, arrived_ms: *arrived_ms, key: None });
        }
    }

    /// Looks ahead for the arrivals of a frame, pool by pool, so that anchors are read once for many of them.
    pub(super) fn look_ahead(&mut self, frame: &ColumnFrame, above: EventId) {
        for entry in self.all.values_mut().filter(|entry| entry.pool.split() == Split::Index) {
            entry.ahead.of.clear();
            if entry.anchors.len() < self.ahead_anchors_min {
                continue;
            }
            let found = if entry.settled || entry.is_complete() { AHEAD_SETTLED } else { AHEAD_LISTED };
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
                let prober = table::Prober { id: x.0, row, arrived_ms: time_ms, key: None, hint };
                AheadProbe { prober, time_ms }
            };
            let probes: Vec<AheadProbe<'_>> = of.iter().enumerate().map(prober).collect();
            entry.anchors.look_ahead(&probes, found, hints);
            self.looked_ahead += probes.len() as u64;
            if self.planted.is(Bug::HintOfAnother) {
                of.iter_mut().for_each(|x| *x = x.next());
            }
        }
    }
}

impl SlicePool {
    /// The lowest anchors, at most `limit`, that may be matched with the prober, into `found`; true when there is one
    /// more.
    pub(super) fn search(&mut self, x: EventId, prober: &Prober<'_>, time_ms: u64, limit: usize) -> bool {
        let SlicePool { anchors, rule_errors, ahead, found, .. } = self;
        anchors.search(&prober.in_table(ahead.hint(x)), time_ms, limit, rule_errors, found)
    }

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

    /// Forgets what was found out ahead.
    pub(super) fn forget_hints(&mut self) {
        self.ahead.of.clear();
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
