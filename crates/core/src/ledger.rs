//! What the balancer knows: pools, elements and their keys, timers, what was decided, and the cut.
//!
//! Decides nothing about matches. It admits submissions, says which reprobes and expiries are due, puts the shards'
//! decisions into the order of the log, and can describe the cluster's state at the stable cut to a node that lost its
//! memory. Invariants: ledger.L1 `stable <= decided`, both never go back; ledger.L2 outcomes leave in ascending order,
//! each once; ledger.L3 no reprobe or withdrawal is offered for an element retired at or below `decided`; ledger.L4 no
//! event is written before `decided` has reached every stable cut that a frame of the log tells, and those never go
//! back along the log: nodes have forgotten what was retired at or below them, and an event that named it would find it
//! waiting. It takes a ledger whose results were lost, or one that has taken over, to get there: it decides again what
//! was told. ledger.L5 of a log that several share, nodes hear of no stable cut that the log does not tell: whoever
//! goes on with it would not know what they have forgotten.

mod admit;
mod checkpoint;
mod closed;
mod cut;
mod decision;
mod drops;
mod elements;
mod ended;
mod entry;
mod idempotency;
mod ids;
mod kept;
mod keys;
mod limits;
mod outcome;
mod refused;
mod retire;
mod retirements;
pub mod room;
mod search;
mod slots;
mod timers;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use dovetail_rule::Split;

pub use crate::{batch::ClientPart, pool::PAYLOAD_BYTES_CAP};
pub use admit::{Admission, Admitted, Checked, ClientFields, Stopped, Submission, check_columns};
pub use checkpoint::{CheckpointBuilder, CheckpointElement, CheckpointHead, PoolBase};
pub use closed::DROPPED_NAMES_MAX;
use closed::Drops;
pub use cut::{CutElements, CutGone, Cutting};
pub use decision::DecisionError;
use elements::{At, Elements, Slot, View};
use ended::Ended;
pub use entry::{Entry, PoolCounts, PoolEntry, Status};
use idempotency::Idempotency;
pub use idempotency::Remembered;
use kept::KeptForCuts;
pub use kept::{CUT_KEPT_BYTES_MAX, CUT_KEPT_MAX};
use keys::Keys;
pub use limits::{KEY_BYTES_MAX, LedgerLimits};
pub use outcome::{Outcome, OutcomeEnd, OutcomeEndView, OutcomeView, Outcomes};
pub use refused::SubmitError;
use retirements::Retirements;
use room::Taken;
use search::Searched;
pub use search::{SEARCH_COSTLY, search_bound};
pub(crate) use timers::searches;
pub use timers::{LateDue, STRIDE_MS, TimerShare, Timing};
use timers::{Timers, due_next, expires};

use crate::{
    Audience, Cursor, Decided, DefineError, ElementId, Event, EventId, EventKind, Place, Pool, PoolId, Retirement,
    ShardId, Stable, WithdrawReason,
    audience::Progress,
    batch::{Batch, Fingerprint, KeptRow, Run},
    hash::ElementMap,
    planted::{Bug, Planted},
    pool::name_prefix,
};

/// Passing over so many elements that ended takes about as long as looking at one that waits.
const ENDED_PER_WAITING: usize = 32;

/// A pool is there as long as elements of it wait.
const DEFINED: &str = "a pool of which elements wait is defined";

/// The balancer's knowledge.
#[derive(Debug)]
pub struct Ledger {
    limits: LedgerLimits,
    /// Those that are defined, and those whose end is not stable.
    pools: BTreeMap<PoolId, PoolEntry>,
    next_pool: PoolId,
    drops: Drops,
    by_name: HashMap<Box<str>, PoolId>,
    elements: Elements,
    /// How many elements wait in all pools.
    waiting: Taken,
    /// What they take.
    waiting_bytes: Taken,
    /// The events that withdraw elements that wait.
    closing: ElementMap<EventId>,
    /// When elements that wait search again.
    reprobes: ElementMap<u64>,
    /// Which element has a key, or had it last, of those that wait or are remembered.
    keys: Keys,
    timers: Timers,
    /// Times of events above the decided watermark: the last event of a run, and its time.
    times: VecDeque<(EventId, u64)>,
    recorded: EventId,
    /// Withdrawals and reprobes above the stable cut.
    naming: BTreeMap<EventId, (ElementId, Option<WithdrawReason>)>,
    /// Decisions above the decided watermark.
    retirements: Retirements,
    /// What each shard told.
    reported: Vec<Decided>,
    /// How far each shard counts as having got: a shard need not report events that do not concern it.
    progress: Progress,
    decided: Decided,
    /// Outcomes up to here are on disk.
    stored: EventId,
    /// The cut moves no further: others that may go on with the log have not stored more.
    stored_by_others: EventId,
    /// What is decided and stored wherever it has to be.
    secured: Stable,
    stable: Stable,
    /// The highest stable cut that a frame of the log tells.
    told: Stable,
    /// Others may go on with the log: what they have to know is in it first.
    shared: bool,
    planted: Planted,
    /// Elements retired in `(stable, decided]`, and those below that are kept for cuts that are read. Ascending.
    unstable: VecDeque<Unstable>,
    /// How many of them are in each pool.
    unstable_in: BTreeMap<PoolId, u64>,
    kept: KeptForCuts,
    /// What ended at or below it is kept no longer, and pools dropped by then are forgotten.
    released: EventId,
    ended: Ended,
    idempotency: Idempotency,
}

/// An element retired above the stable cut.
struct Unstable {
    x: EventId,
    element: ElementId,
    at: At,
    pool: PoolId,
    /// Of all that ended up to it.
    bytes: u64,
}

// Where it is kept makes no difference; see `Elements`.
impl fmt::Debug for Unstable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.x, self.element).fmt(f)
    }
}

impl Ledger {
    /// A ledger before the first event, in a cluster of `shards` shards.
    #[must_use]
    pub fn new(limits: LedgerLimits, shards: u32) -> Ledger {
        Ledger {
            limits,
            pools: BTreeMap::new(),
            next_pool: PoolId(0),
            drops: Drops::default(),
            by_name: HashMap::new(),
            elements: Elements::default(),
            waiting: Taken::default(),
            waiting_bytes: Taken::default(),
            closing: ElementMap::default(),
            reprobes: ElementMap::default(),
            keys: Keys::default(),
            timers: Timers::default(),
            times: VecDeque::new(),
            recorded: EventId::ZERO,
            naming: BTreeMap::new(),
            retirements: Retirements::default(),
            reported: vec![Decided::ZERO; shards as usize],
            progress: Progress::new(shards as usize, EventId::ZERO),
            decided: Decided::ZERO,
            stored: EventId::ZERO,
            stored_by_others: EventId(u64::MAX),
            secured: Stable::ZERO,
            stable: Stable::ZERO,
            told: Stable::ZERO,
            shared: false,
            planted: Planted::default(),
            unstable: VecDeque::new(),
            unstable_in: BTreeMap::new(),
            kept: KeptForCuts::default(),
            released: EventId::ZERO,
            ended: Ended::new(limits.ended_max),
            idempotency: Idempotency::new(&limits),
        }
    }

    /// Plants a bug.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
        self.idempotency.plant(planted);
    }

    /// Records an event that was given its id, or is read back from the log. `client` belongs to an arrival.
    ///
    /// # Errors
    /// When the event defines an invalid pool.
    ///
    /// # Panics
    /// When events are recorded out of order, or an arrival comes without its client part or before its pool.
    pub fn record(
        &mut self,
        x: EventId,
        time_ms: u64,
        kind: &EventKind,
        client: Option<ClientPart>,
    ) -> Result<(), DefineError> {
        assert!(x > self.recorded, "{x} is recorded after {}", self.recorded);
        match kind {
            EventKind::PoolDefined { pool, definition } => {
                assert_eq!(*pool, self.next_pool, "pools are numbered in order");
                let pool = Pool::compile(*pool, Arc::clone(definition))?;
                self.define(pool, x);
            }
            EventKind::PoolClosed { pool } => {
                let entry = self.pools.get_mut(pool).expect("a pool is defined before it is closed");
                if entry.closed_at.is_none() {
                    (entry.closed_at, entry.last) = (Some(x), x);
                    self.drops.close(*pool, entry.counts.waiting == 0);
                    self.tell_closed(*pool);
                }
            }
            EventKind::PoolDropped { pool } => {
                let entry = self.pools.get_mut(pool).expect("a pool is defined before it is dropped");
                entry.dropped_at = Some(x);
                let name = entry.pool.definition.name.as_str();
                if self.by_name.get(name) == Some(pool) {
                    self.by_name.remove(name);
                }
                self.drops.drop(x, *pool);
            }
            EventKind::Arrival { pool, row } => {
                let client = client.expect("an arrival comes with its client part");
                let batch = Batch::of(*pool, &[(row, &client)]);
                self.record_run(x, time_ms, &Run::all(Arc::new(batch)));
                return Ok(());
            }
            EventKind::Withdrawal { element, reason, pool } => {
                self.named(*pool, x);
                self.naming.insert(x, (*element, Some(*reason)));
                if self.elements.waits(*element).is_some() {
                    self.closing.entry(*element).or_insert(x);
                }
            }
            EventKind::Reprobe { element, pool, .. } => {
                self.named(*pool, x);
                self.naming.insert(x, (*element, None));
                self.schedule_reprobe(*element, time_ms);
            }
        }
        self.recorded_at(x, time_ms);
        Ok(())
    }

    fn define(&mut self, pool: Pool, defined_at: EventId) -> &mut PoolEntry {
        let id = pool.id;
        self.next_pool = PoolId(id.0.checked_add(1).expect("fewer pools are ever defined"));
        self.by_name.insert(pool.definition.name.as_str().into(), id);
        let (closed_at, dropped_at, last) = (None, None, EventId::ZERO);
        let (counts, searched) = (PoolCounts::default(), Searched::new(&pool, &self.limits));
        let group = name_prefix(&pool.definition.name).into();
        let entry = PoolEntry { pool, group, defined_at, closed_at, dropped_at, last, counts, searched };
        self.pools.entry(id).insert_entry(entry).into_mut()
    }

    fn pool_mut(&mut self, pool: PoolId) -> &mut PoolEntry {
        self.pools.get_mut(&pool).expect(DEFINED)
    }

    /// Event `x` names a pool.
    fn named(&mut self, pool: PoolId, x: EventId) {
        if let Some(entry) = self.pools.get_mut(&pool).filter(|entry| entry.closed_at.is_some()) {
            entry.last = x;
        }
    }

    /// Records arrivals that were given ids from `first` on, or are read back from the log.
    ///
    /// # Panics
    /// When events are recorded out of order, or arrivals come before their pool.
    pub fn record_run(&mut self, first: EventId, time_ms: u64, run: &Run) {
        assert!(first > self.recorded, "{first} is recorded after {}", self.recorded);
        let keys: Vec<Fingerprint> = run.batch.fingerprints(self.limits.key_secret).collect();
        self.keys.touch(keys[run.rows.clone()].iter().map(|key| key.hash()));
        for (row, element) in run.rows.clone().zip((first.0..).map(ElementId)) {
            self.keys.insert(keys[row], element);
            self.remember_idempotency(&run.batch, row, element, time_ms);
            self.pool_mut(run.batch.pool()).arrived(&run.batch, row);
        }
        self.arrive(first, time_ms, run, KeptRow::each(&run.batch, &keys));
    }

    /// Takes decisions of a shard.
    ///
    /// # Errors
    /// When one of them contradicts another, or the log.
    pub fn on_retirements(&mut self, reported: &[Retirement]) -> Result<(), DecisionError> {
        reported.iter().try_for_each(|&reported| self.retirements.insert(reported, self.recorded))
    }

    /// Takes a shard's watermark. What is decided by it leaves, in order.
    ///
    /// # Errors
    /// When it is above the log, or what was decided does not fit the log.
    pub fn on_decided(
        &mut self,
        shard: ShardId,
        reported: Decided,
        out: &mut impl Outcomes,
    ) -> Result<(), DecisionError> {
        if reported.event() > self.recorded {
            return Err(DecisionError::Future { shard, reported, recorded: self.recorded });
        }
        let of = &mut self.reported[shard.0 as usize];
        *of = reported.max(*of);
        self.progress.report(shard.0 as usize, reported.event());
        self.progress.skip_unconcerned();
        self.advance(Decided(self.progress.lowest()), out)?;
        self.move_stable();
        Ok(())
    }

    /// The place of an event's element, when one slice alone is concerned by it. Knows more than [`Event::only_at`]:
    /// withdrawals do not say where their elements belong.
    #[must_use]
    pub fn only_at(&self, event: &Event) -> Option<Place> {
        let &EventKind::Withdrawal { element, pool, .. } = &event.kind else {
            return event.only_at(|pool| Some(&self.find_pool(pool)?.pool));
        };
        let pool = &self.find_pool(pool)?.pool;
        let at = self.elements.waits(element).filter(|_| pool.split() != Split::Index)?;
        let view = self.elements.view(at);
        Some(pool.place(element, &view.batch.row(view.row)))
    }

    /// A frame `(after, through]` was taken from those that are recorded: `audience` says which shards its events
    /// concern. A frame that was not taken, as one that is read back from a log, concerns all.
    pub fn on_frame(&mut self, after: EventId, through: EventId, audience: &Audience) {
        // Before the shards that this frame concerns are noted.
        self.progress.skip_unconcerned();
        let ignored = self.planted.is(Bug::ShardsPassed) && *audience != Audience::All;
        let audience = if ignored { &Audience::nobody() } else { audience };
        self.progress.concern((after, through), audience, |pair| pair.shard.0);
    }

    /// A frame that is in the log tells a stable cut: no later frame may name what was retired at or below it. Of frames
    /// that are read back, and of a shared log of all, once they are durable.
    pub fn on_told(&mut self, stable: Stable) {
        if !self.planted.is(Bug::ToldForgotten) {
            self.told = stable.max(self.told);
            self.move_stable();
        }
    }

    /// Other balancers may go on with the log: nodes hear of a stable cut once the log tells it (ledger.L5). Called
    /// before anything is recorded.
    pub fn share_log(&mut self) {
        self.shared = !self.planted.is(Bug::HeardBeforeLogged);
    }

    /// Takes what the store says was decided up to `through`, when a balancer starts.
    ///
    /// # Errors
    /// When it does not fit the log.
    pub fn restore(&mut self, through: EventId, retirements: &[Retirement]) -> Result<(), DecisionError> {
        self.on_retirements(retirements)?;
        for shard in 0..self.reported.len() {
            let shard = ShardId(u32::try_from(shard).expect("few shards"));
            self.on_decided(shard, Decided(through), &mut ())?;
        }
        self.on_stored(through);
        Ok(())
    }

    /// Outcomes up to `through` are on disk: the cut moves there, or to where the last shard has been. One that nothing
    /// concerned may be told of it later, and asks for what is above its own watermark if it has to read again.
    ///
    /// # Panics
    /// When they are not decided.
    pub fn on_stored(&mut self, through: EventId) {
        assert!(self.decided.covers(through), "{through} is stored before it is decided at {}", self.decided);
        self.stored = through.max(self.stored);
        self.move_stable();
    }

    /// Every other balancer that may go on with this log has outcomes up to `through` on disk: the cut moves there at
    /// most, and never back. So what nodes forget is known to whichever goes on. A balancer that is alone is not bound.
    pub fn bound_stable(&mut self, through: EventId) {
        self.stored_by_others = through;
        self.move_stable();
    }

    fn move_stable(&mut self) {
        let reported = self.reported.iter().copied().min().expect("a cluster has a shard");
        let secured = Stable(self.stored.min(reported.event()).min(self.stored_by_others));
        if secured > self.secured {
            self.secured = secured;
            self.look_at_closed();
        }
        self.stable = self.stable.max(if self.shared { self.secured.min(self.told) } else { self.secured });
        self.release();
        while let Some(entry) = self.naming.first_entry()
            && self.stable.covers(*entry.key())
        {
            entry.remove();
        }
    }

    /// What became of an element.
    #[must_use]
    pub fn status(&self, element: ElementId) -> Status {
        match self.elements.get(element) {
            Slot::Waiting(at) => Status::Waiting(self.entry(element, at)),
            Slot::Ended(x) => Status::Ended(x),
            Slot::None => Status::Unknown,
        }
    }

    /// The element that has a key, or had it last.
    #[must_use]
    pub fn find(&self, pool: PoolId, key: &str) -> Option<ElementId> {
        self.keys.get(self.limits.key_secret.fingerprint(pool, key.as_bytes()))
    }

    /// A pool by its name.
    #[must_use]
    pub fn pool_named(&self, name: &str) -> Option<&PoolEntry> {
        self.by_name.get(name).map(|&id| self.pool(id))
    }

    /// A pool by its number.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> &PoolEntry {
        self.find_pool(id).expect("a pool that is named is defined")
    }

    /// How many idempotency keys are remembered: of a pool, and of all.
    #[must_use]
    pub fn idempotency_keys(&self, pool: PoolId) -> (usize, usize) {
        (self.idempotency.count(pool), self.idempotency.total())
    }

    /// A pool by its number, if it is defined, or its end is not stable.
    #[must_use]
    pub fn find_pool(&self, id: PoolId) -> Option<&PoolEntry> {
        self.pools.get(&id)
    }

    /// All pools that are defined, in order of definition, those that are being dropped among them.
    pub fn pools(&self) -> impl Iterator<Item = &PoolEntry> {
        self.pools.values().filter(|entry| entry.dropped_at.is_none())
    }

    /// How many these are.
    #[must_use]
    pub fn pool_count(&self) -> usize {
        self.by_name.len()
    }

    /// Pools that are dropped by events above the stable cut, which nodes may still have to know.
    pub fn pools_leaving(&self) -> impl Iterator<Item = &PoolEntry> {
        self.pools.values().filter(|entry| entry.dropped_at.is_some())
    }

    /// The number the next pool gets.
    #[must_use]
    pub fn next_pool(&self) -> PoolId {
        self.next_pool
    }

    /// The last event recorded.
    #[must_use]
    pub fn recorded(&self) -> EventId {
        self.recorded
    }

    /// Every event at or below it is decided, and its outcome has left.
    #[must_use]
    pub fn decided(&self) -> Decided {
        self.decided
    }

    /// Up to where a shard has nothing more to say; where to resume its decisions.
    #[must_use]
    pub fn progress(&self, shard: ShardId) -> Cursor {
        Cursor(self.progress.through(shard.0 as usize))
    }

    /// The stable cut.
    #[must_use]
    pub fn stable(&self) -> Stable {
        self.stable
    }

    /// What is decided and stored wherever it has to be: the stable cut, or what becomes it once the log tells it.
    #[must_use]
    pub fn secured(&self) -> Stable {
        self.secured
    }

    /// The stable cut that the next frame of the log tells: no event of it, or after it, names an element retired at or
    /// below this event.
    #[must_use]
    pub fn to_tell(&self) -> Stable {
        self.secured.max(self.told)
    }

    /// The highest stable cut that the log tells: nodes may have forgotten what is at or below it.
    #[must_use]
    pub fn told(&self) -> Stable {
        self.told
    }

    /// Whether events may be written: all that the log says is retired is known to be (ledger.L4).
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.decided.covers(self.told.event())
    }

    /// Elements not known to be retired.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.elements.waiting()
    }

    /// The bytes they take, as [`Batch::waiting_bytes`] counts them.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.all
    }

    /// The same by pool, counted anew: what `waiting_bytes` and the pools' counts have to be.
    #[must_use]
    pub fn count_waiting_bytes(&self) -> BTreeMap<PoolId, u64> {
        let mut counted: BTreeMap<PoolId, u64> = self.pools.keys().map(|&pool| (pool, 0)).collect();
        for (_, at) in self.elements.waiting_after(ElementId(0)) {
            let View { batch, row, .. } = self.elements.view(at);
            *counted.entry(batch.pool()).or_default() += batch.waiting_bytes(row..row + 1);
        }
        counted
    }

    /// The ids of the elements not known to be retired, ascending.
    pub fn waiting_ids(&self) -> impl Iterator<Item = ElementId> {
        self.elements.waiting_after(ElementId(0)).map(|(element, _)| element)
    }

    /// Those elements of a pool that are wanted and not known to be retired, among the next `most` of any pool after an
    /// element; and after which to go on, if there may be more. Only those that are wanted are copied. Those that ended
    /// are counted, too, but for less: they are passed over quickly.
    #[must_use]
    pub fn waiting_after(
        &self,
        pool: PoolId,
        after: ElementId,
        most: usize,
        wanted: impl Fn(ElementId, &Batch, usize) -> bool,
    ) -> (Vec<(ElementId, Entry)>, Option<ElementId>) {
        let (mut found, mut left) = (Vec::new(), most.max(1) * ENDED_PER_WAITING);
        for (element, at) in self.elements.known_after(after) {
            if let Some(at) = at {
                let view = self.elements.view(at);
                if view.batch.pool() == pool && wanted(element, view.batch, view.row) {
                    found.push((element, self.entry(element, at)));
                }
            }
            left = left.saturating_sub(if at.is_some() { ENDED_PER_WAITING } else { 1 });
            if left == 0 {
                return (found, Some(element));
            }
        }
        (found, None)
    }

    fn entry(&self, element: ElementId, at: At) -> Entry {
        let view = self.elements.view(at);
        let ClientPart { key, payload, owner, .. } = view.batch.clients().get(view.row);
        Entry {
            pool: view.batch.pool(),
            row: Arc::new(view.batch.row(view.row)),
            arrived_ms: view.arrived_ms,
            key,
            payload,
            owner,
            closing: self.closing.get(&element).copied(),
        }
    }

    fn recorded_at(&mut self, x: EventId, time_ms: u64) {
        self.recorded = x;
        self.idempotency.pass(time_ms);
        match self.times.back_mut() {
            Some((last, time)) if *time == time_ms => *last = x,
            _ => self.times.push_back((x, time_ms)),
        }
    }

    /// Arrivals whose keys are taken. `kept` is of all elements of the batch.
    fn arrive(&mut self, first: EventId, time_ms: u64, run: &Run, kept: Arc<[KeptRow]>) {
        let count = run.rows.len() as u64;
        self.count_in(run.batch.pool(), count, run.batch.waiting_bytes(run.rows.clone()));
        let PoolEntry { pool, .. } = self.pool(run.batch.pool());
        let reprobe_ms = due_next(&pool.definition.reprobe_ms, time_ms, None, time_ms);
        let clients = run.batch.clients();
        if reprobe_ms.is_some() || clients.ttls_ms.is_some() {
            for (row, element) in run.rows.clone().zip((first.0..).map(ElementId)) {
                let expire_ms = expires(time_ms, clients.ttl_ms(row));
                self.timers.expires(run.batch.pool(), element, expire_ms);
                self.timers.searches(run.batch.pool(), element, reprobe_ms);
                self.reprobes.extend(reprobe_ms.map(|due_ms| (element, due_ms)));
            }
        }
        match clients.idempotency_keys {
            None => self.elements.arrive(first.into(), time_ms, run, kept),
            // They are remembered by themselves; the element is kept as a checkpoint would have it.
            Some(_) => {
                let batch = Arc::new(run.batch.without_idempotency_keys());
                self.elements.arrive(first.into(), time_ms, &Run { batch, rows: run.rows.clone() }, kept);
            }
        }
        self.recorded_at(EventId(first.0 + count - 1), time_ms);
    }

    /// Elements of a pool begin to wait.
    fn count_in(&mut self, pool: PoolId, count: u64, bytes: u64) {
        let PoolEntry { counts, group, .. } = self.pools.get_mut(&pool).expect(DEFINED);
        self.waiting.add(group, counts.waiting, count, self.limits.waiting_total_max);
        self.waiting_bytes.add(group, counts.waiting_bytes, bytes, self.limits.waiting_bytes_total_max);
        counts.waiting += count;
        counts.waiting_bytes += bytes;
    }

    fn remember_idempotency(&mut self, batch: &Batch, row: usize, element: ElementId, time_ms: u64) {
        let clients = batch.clients();
        if !clients.idempotency_key(row).is_empty() {
            let remembered = self.idempotency.of(batch.pool(), &clients.get(row), &batch.row(row), element, time_ms);
            let group = Arc::clone(&self.pool(batch.pool()).group);
            remembered.into_iter().for_each(|remembered| self.idempotency.insert(&group, remembered));
        }
    }

    /// Sets the next reprobe.
    fn schedule_reprobe(&mut self, element: ElementId, time_ms: u64) {
        let Some(at) = self.elements.waits(element) else { return };
        let view = self.elements.view(at);
        let pool = view.batch.pool();
        let schedule = &self.pool(pool).pool.definition.reprobe_ms;
        let was_ms = self.reprobes.get(&element).copied();
        let next = due_next(schedule, view.arrived_ms, was_ms, time_ms);
        self.timers.searches_not(pool, element, was_ms);
        self.timers.searches(pool, element, next);
        match next {
            Some(due_ms) => self.reprobes.insert(element, due_ms),
            None => self.reprobes.remove(&element),
        };
    }

    /// The time of an event above the decided watermark; forgets those before it.
    fn time_of(&mut self, x: EventId) -> u64 {
        while self.times.front().is_some_and(|&(last, _)| last < x) && self.times.len() > 1 {
            self.times.pop_front();
        }
        self.times.front().map_or(0, |&(_, time_ms)| time_ms)
    }
}
