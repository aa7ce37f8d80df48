//! What a balancer starts from instead of the log's beginning: the state at a cut, and how it is folded forward.
//!
//! A checkpoint at C and what the log and the results say of `(C, C']` make the checkpoint at C'. So checkpoints are
//! made beside the running ledger, which never stops for one, and a checkpoint is as much a function of the log as the
//! matches are. Elements pass through one by one: memory follows what happened since C, not what waits. Invariants:
//! checkpoint.C1 a ledger that starts from a checkpoint says and offers what one that read the whole log does, except
//! of what the results have dropped; checkpoint.C2 elements leave in ascending order.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use dovetail_rule::Row;

use super::{
    ClientPart, DROPPED_NAMES_MAX, Ledger, LedgerLimits, Outcome, PoolCounts, due_next,
    idempotency::{FoldedKeys, Remembered},
    ids::Ids,
    retirements::Retirements,
};
use crate::{
    Decided, DefineError, ElementId, EventId, EventKind, Pool, PoolDefinition, PoolId, Retirement, Stable,
    WithdrawReason,
    audience::Progress,
    batch::{Batch, Fingerprint, KeptRow, KeySecret, Run},
    hash::ElementMap,
};

/// The state at a cut, but for the elements that wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckpointHead {
    /// Everything at or below is in the checkpoint.
    pub through: EventId,
    /// `time(through)` in milliseconds.
    pub time_ms: u64,
    /// The pools, by number.
    pub pools: BTreeMap<PoolId, PoolBase>,
    /// The number the next pool gets.
    pub next_pool: PoolId,
    /// Names of pools that are gone and decided something, in the order in which they were dropped.
    pub dropped: Vec<(PoolId, Arc<str>)>,
    /// Idempotency keys, oldest first.
    pub idempotency: Vec<Remembered>,
    /// What they are known by; none where there is no checkpoint yet.
    pub secret: Option<KeySecret>,
}

/// A pool at a cut. Counts but `waiting`, which the elements make.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolBase {
    /// What was defined.
    pub definition: Arc<PoolDefinition>,
    /// The event that defined it.
    pub defined_at: EventId,
    /// The event that closed it, if it is being dropped.
    pub closed_at: Option<EventId>,
    /// Matches decided.
    pub matches: u64,
    /// Elements withdrawn by clients.
    pub withdrawn: u64,
    /// Elements whose time to live ended.
    pub expired: u64,
    /// Elements that waited when it was dropped.
    pub dropped: u64,
}

/// An element that waits at a cut.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointElement {
    /// Its id.
    pub element: ElementId,
    /// Its pool.
    pub pool: PoolId,
    /// Its attributes.
    pub row: Arc<Row>,
    /// When it arrived, in milliseconds.
    pub arrived_ms: u64,
    /// The client's key.
    pub key: Arc<str>,
    /// The client's payload.
    pub payload: Bytes,
    /// Who submitted it; empty where that is not known.
    pub owner: Arc<str>,
    /// When its time to live ends, if it does.
    pub expire_ms: Option<u64>,
    /// When it searches again, if it does.
    pub reprobe_ms: Option<u64>,
}

impl CheckpointElement {
    /// As it came. Its time to live is what the end of its stay follows from.
    fn client(&self) -> ClientPart {
        ClientPart {
            key: Arc::clone(&self.key),
            payload: self.payload.clone(),
            ttl_ms: self.expire_ms.map_or(0, |due_ms| due_ms.saturating_sub(self.arrived_ms)),
            idempotency_key: "".into(),
            owner: Arc::clone(&self.owner),
        }
    }
}

/// A checkpoint on its way from one cut to the next. In this order: all outcomes in between; all events in between;
/// then the elements of the old checkpoint and, read a second time, the arrivals in between.
#[derive(Debug)]
pub struct CheckpointBuilder {
    after: EventId,
    base: CheckpointHead,
    idempotency: FoldedKeys,
    /// Pools dropped since the old cut, in that order.
    dropped: Vec<PoolId>,
    /// Retired since the old cut.
    ended: Ids,
    /// Times of the events by which elements searched again.
    searched: ElementMap<Vec<u64>>,
}

impl CheckpointBuilder {
    /// From `base` to the cut `through`.
    #[must_use]
    pub fn new(mut base: CheckpointHead, through: EventId, limits: &LedgerLimits) -> CheckpointBuilder {
        let keys = std::mem::take(&mut base.idempotency);
        let idempotency = FoldedKeys::new(limits, base.secret.unwrap_or(limits.key_secret), keys);
        let after = base.through;
        let base = CheckpointHead { through, ..base };
        let (dropped, ended, searched) = (Vec::new(), Ids::default(), ElementMap::default());
        CheckpointBuilder { after, base, idempotency, dropped, ended, searched }
    }

    /// Whether an event or outcome is between the two cuts.
    #[must_use]
    pub fn covers(&self, x: EventId) -> bool {
        x > self.after && x <= self.base.through
    }

    /// Takes an outcome; one that is not between the cuts is passed over.
    pub fn on_outcome(&mut self, outcome: &Outcome) {
        self.on_retirement(outcome.retirement(), outcome.pool, outcome.reason);
    }

    /// The same, of what a checkpoint needs of an outcome.
    pub fn on_retirement(&mut self, reported: Retirement, pool: PoolId, reason: Option<WithdrawReason>) {
        if !self.covers(reported.x) {
            return;
        }
        reported.ends().for_each(|element| self.ended.insert(element));
        // Of a pool that is defined between the cuts nothing is known yet.
        let pool = self.base.pools.entry(pool).or_insert_with(PoolBase::unknown);
        let mut counts = pool.counts();
        counts.count(reason);
        pool.set_counts(counts);
    }

    /// Takes an event of a frame with this time; one that is not between the cuts is passed over. `client` belongs to
    /// an arrival.
    pub fn on_event(&mut self, x: EventId, time_ms: u64, kind: &EventKind, client: Option<&ClientPart>) {
        if !self.covers(x) {
            return;
        }
        self.base.time_ms = time_ms;
        match kind {
            EventKind::PoolDefined { pool, definition } => {
                let known = self.base.pools.entry(*pool).or_insert_with(PoolBase::unknown);
                (known.definition, known.defined_at) = (Arc::clone(definition), x);
                self.base.next_pool = self.base.next_pool.max(PoolId(pool.0 + 1));
            }
            EventKind::PoolClosed { pool } => {
                let known = self.base.pools.get_mut(pool).expect("a pool is defined before it is closed");
                known.closed_at.get_or_insert(x);
            }
            EventKind::PoolDropped { pool } => self.dropped.push(*pool),
            EventKind::Arrival { pool, row } => {
                let client = client.expect("an arrival comes with its client part");
                self.idempotency.arrived(*pool, client, row, ElementId::from(x), time_ms);
            }
            EventKind::Reprobe { element, .. } => {
                if !self.ended.contains(*element) {
                    self.searched.entry(*element).or_default().push(time_ms);
                }
            }
            EventKind::Withdrawal { .. } => {}
        }
    }

    /// Takes arrivals of a frame with this time; those that are not between the cuts are passed over.
    pub fn on_arrivals(&mut self, first: EventId, time_ms: u64, run: &Run) {
        let rows = self.covered(first, run);
        if rows.is_empty() {
            return;
        }
        self.base.time_ms = time_ms;
        let Run { batch, rows: Range { start, .. } } = run;
        if batch.clients().idempotency_keys.is_some() {
            for row in rows {
                let element = ElementId(first.0 + (row - start) as u64);
                let client = batch.clients().get(row);
                self.idempotency.arrived(batch.pool(), &client, &batch.row(row), element, time_ms);
            }
        }
    }

    /// The rows of arrivals that are between the cuts.
    fn covered(&self, first: EventId, run: &Run) -> Range<usize> {
        // How many of them are below an event.
        let below = |x: EventId| (x.0.saturating_sub(first.0)).min(run.rows.len() as u64) as usize;
        let row = |x: EventId| run.rows.start + below(x);
        row(self.after.next())..row(self.base.through.next())
    }

    /// All but the elements, once all events were taken. The idempotency keys leave with it: there may be millions.
    #[must_use]
    pub fn base(&mut self) -> CheckpointHead {
        let CheckpointHead { mut pools, mut dropped, next_pool, through, time_ms, .. } = self.base.clone();
        for id in &self.dropped {
            let pool = pools.remove(id).expect("a pool is dropped once, after it was defined");
            if pool.counts().outcomes() > 0 {
                dropped.push((*id, pool.definition.name.as_str().into()));
            }
        }
        let (secret, mut idempotency) = self.idempotency.take(time_ms);
        if !self.dropped.is_empty() {
            let gone: BTreeSet<PoolId> = self.dropped.iter().copied().collect();
            idempotency.retain(|key| !gone.contains(&key.pool));
        }
        dropped.drain(..dropped.len().saturating_sub(DROPPED_NAMES_MAX));
        pools.retain(|_, pool| pool.defined_at > EventId::ZERO);
        CheckpointHead { pools, dropped, next_pool, through, time_ms, idempotency, secret: Some(secret) }
    }

    /// What has become of an element of the old checkpoint; none if it waits no longer.
    #[must_use]
    pub fn keep(&self, mut kept: CheckpointElement) -> Option<CheckpointElement> {
        if self.ended.contains(kept.element) {
            return None;
        }
        if let Some(times) = self.searched.get(&kept.element) {
            let schedule = &self.base.pools[&kept.pool].definition.reprobe_ms;
            for &time_ms in times {
                kept.reprobe_ms = due_next(schedule, kept.arrived_ms, kept.reprobe_ms, time_ms);
            }
        }
        Some(kept)
    }

    /// The element of an event between the cuts, if it is an arrival and still waits.
    #[must_use]
    pub fn arrived(
        &self,
        x: EventId,
        time_ms: u64,
        kind: &EventKind,
        client: Option<ClientPart>,
    ) -> Option<CheckpointElement> {
        let EventKind::Arrival { pool, row } = kind else { return None };
        let element = ElementId::from(x);
        if !self.covers(x) || self.ended.contains(element) {
            return None;
        }
        let client = client.expect("an arrival comes with its client part");
        self.keep(self.arrival(element, *pool, Arc::clone(row), time_ms, client))
    }

    /// Those of some arrivals between the cuts that still wait.
    pub fn arrived_of<'a>(
        &'a self,
        first: EventId,
        time_ms: u64,
        run: &'a Run,
    ) -> impl Iterator<Item = CheckpointElement> + 'a {
        let Run { batch, rows: Range { start, .. } } = run;
        self.covered(first, run).filter_map(move |row| {
            let element = ElementId(first.0 + (row - start) as u64);
            if self.ended.contains(element) {
                return None;
            }
            let (attributes, client) = (Arc::new(batch.row(row)), batch.clients().get(row));
            self.keep(self.arrival(element, batch.pool(), attributes, time_ms, client))
        })
    }

    fn arrival(
        &self,
        element: ElementId,
        pool: PoolId,
        row: Arc<Row>,
        time_ms: u64,
        client: ClientPart,
    ) -> CheckpointElement {
        let ClientPart { key, payload, ttl_ms, owner, .. } = client;
        let schedule = &self.base.pools[&pool].definition.reprobe_ms;
        CheckpointElement {
            element,
            pool,
            row,
            arrived_ms: time_ms,
            key,
            payload,
            owner,
            expire_ms: super::expires(time_ms, ttl_ms),
            reprobe_ms: due_next(schedule, time_ms, None, time_ms),
        }
    }
}

impl PoolBase {
    fn unknown() -> PoolBase {
        let definition = PoolDefinition {
            name: String::new(),
            attributes: Vec::new(),
            rule: String::new(),
            ttl_ms: 0,
            reprobe_ms: Vec::new(),
            waiting_max: 0,
            payload_bytes_max: 0,
        };
        let (definition, defined_at, closed_at) = (Arc::new(definition), EventId::ZERO, None);
        PoolBase { definition, defined_at, closed_at, matches: 0, withdrawn: 0, expired: 0, dropped: 0 }
    }

    /// Its counts, except of the elements that wait.
    fn counts(&self) -> PoolCounts {
        let &PoolBase { matches, withdrawn, expired, dropped, .. } = self;
        PoolCounts { matches, withdrawn, expired, dropped, ..PoolCounts::default() }
    }

    fn set_counts(&mut self, counts: PoolCounts) {
        (self.matches, self.withdrawn) = (counts.matches, counts.withdrawn);
        (self.expired, self.dropped) = (counts.expired, counts.dropped);
    }
}

impl Ledger {
    /// Starts from a checkpoint, whose elements are to be given to [`keep`](Ledger::keep).
    ///
    /// # Errors
    /// When a pool does not compile here.
    pub fn from_checkpoint(limits: LedgerLimits, shards: u32, base: CheckpointHead) -> Result<Ledger, DefineError> {
        let mut ledger = Ledger::new(limits, shards);
        for (id, pool) in base.pools {
            let compiled = Pool::compile(id, Arc::clone(&pool.definition))?;
            let entry = ledger.define(compiled, pool.defined_at);
            entry.counts = pool.counts();
            if let Some(closed_at) = pool.closed_at {
                (entry.closed_at, entry.last) = (Some(closed_at), closed_at);
                ledger.drops.close(id, false);
            }
        }
        ledger.next_pool = base.next_pool.max(ledger.next_pool);
        for (id, name) in base.dropped {
            ledger.drops.remember(id, name);
        }
        ledger.idempotency.restore(base.secret.unwrap_or(limits.key_secret));
        for &remembered in &base.idempotency {
            // A pool's keys are forgotten with it.
            let group = ledger.pools.get(&remembered.pool).map(|entry| &entry.group);
            group.into_iter().for_each(|group| ledger.idempotency.insert(group, remembered));
        }
        ledger.recorded = base.through;
        ledger.decided = Decided(base.through);
        ledger.retirements = Retirements::new(ledger.decided);
        ledger.stored = base.through;
        ledger.secured = Stable(base.through);
        ledger.stable = Stable(base.through);
        ledger.reported.fill(Decided(base.through));
        ledger.progress = Progress::new(ledger.reported.len(), base.through);
        ledger.times.push_back((base.through, base.time_ms));
        Ok(ledger)
    }

    /// Takes elements of the checkpoint that the ledger starts from.
    ///
    /// # Panics
    /// When a pool is not in the checkpoint.
    pub fn keep(&mut self, kept: Vec<CheckpointElement>) {
        for kept in kept.chunk_by(|one, next| one.pool == next.pool) {
            let clients: Vec<ClientPart> = kept.iter().map(CheckpointElement::client).collect();
            let elements: Vec<_> = kept.iter().zip(&clients).map(|(kept, client)| (&*kept.row, client)).collect();
            let batch = Batch::of(kept[0].pool, &elements);
            self.count_in(kept[0].pool, kept.len() as u64, batch.waiting_bytes(0..batch.len()));
            let keys: Vec<Fingerprint> = batch.fingerprints(self.limits.key_secret).collect();
            for (row, &CheckpointElement { element, expire_ms, reprobe_ms, .. }) in kept.iter().enumerate() {
                self.keys.insert(keys[row], element);
                self.pool_mut(batch.pool()).arrived(&batch, row);
                self.timers.expires(batch.pool(), element, expire_ms);
                self.timers.searches(batch.pool(), element, reprobe_ms);
                self.reprobes.extend(reprobe_ms.map(|due_ms| (element, due_ms)));
            }
            let who = kept.iter().map(|kept| (kept.element, kept.arrived_ms)).collect();
            let kept = KeptRow::each(&batch, &keys);
            self.elements.restore(Arc::new(batch), kept, who);
        }
    }

    /// Takes an outcome at or below the checkpoint that the ledger starts from, to answer what became of its elements.
    pub fn remember(&mut self, outcome: &Outcome) {
        for end in [Some(&outcome.element), outcome.anchor.as_ref()].into_iter().flatten() {
            let key = self.limits.key_secret.fingerprint(outcome.pool, end.key.as_bytes());
            // A later element may wait, or have ended, under the same key.
            self.keys.insert_older(key, end.id);
            self.elements.remember(end.id, outcome.x);
            self.ended.insert([(end.id, key.hash())].into_iter(), &mut self.elements, &mut self.keys);
        }
    }

    /// Outcomes at or below `floor` are no longer in the results: what they ended is forgotten.
    pub fn on_results_trimmed(&mut self, floor: EventId) {
        self.ended.forget(floor, &mut self.elements, &mut self.keys);
    }
}
