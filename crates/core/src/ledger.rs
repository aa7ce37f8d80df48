//! What the balancer knows: pools, elements and their keys, timers, what was decided, and the cut.
//!
//! Decides nothing about matches. It admits submissions, says which reprobes and expiries are due, puts the shards'
//! decisions into the order of the log, and can describe the cluster's state at the stable cut to a node that lost its memory.
//! Invariants: L1 `stable <= decided`, both never go back; L2 outcomes leave in ascending order, each once;
//! L3 no reprobe or withdrawal is offered for an element retired at or below `decided`.

mod admit;
mod checkpoint;
mod ended;
mod types;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use dovetail_rule::Row;

pub use admit::{Admission, Checked, Client, KEY_BYTES_MAX, PAYLOAD_BYTES_CAP, Submission, SubmitError};
pub use checkpoint::{Base, Fold, Kept, PoolBase};
pub use ended::Remembered;
use ended::{Ended, Idempotency, Keys};
pub use types::{ClientPart, DecisionError, Entry, LedgerLimits, Outcome, OutcomeEnd, PoolCounts, PoolEntry, Status};

use crate::{
    DefineError, ElementId, EventId, EventKind, Place, Pool, PoolId, Retirement, ShardId, WithdrawReason,
    slice::SliceCut, slice::WaitingElement,
};

/// What the balancer knows.
#[derive(Debug)]
pub struct Ledger {
    limits: LedgerLimits,
    pools: Vec<PoolEntry>,
    by_name: HashMap<Arc<str>, PoolId>,
    /// Boxed: what is moved about in the map stays small.
    elements: BTreeMap<ElementId, Box<Entry>>,
    keys: Keys,
    timers: BTreeSet<(u64, ElementId, Timer)>,
    /// Times of events above the decided watermark: the last event of a run, and its time.
    times: VecDeque<(EventId, u64)>,
    recorded: EventId,
    /// Withdrawals and reprobes above the stable cut.
    naming: BTreeMap<EventId, (ElementId, Option<WithdrawReason>)>,
    /// Decisions above the decided watermark.
    retirements: BTreeMap<EventId, Retirement>,
    marks: Vec<EventId>,
    decided: EventId,
    stable: EventId,
    /// Elements retired in `(stable, decided]`.
    unstable: VecDeque<(EventId, WaitingElement)>,
    ended: Ended,
    idempotency: Idempotency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Reprobe,
    Expire,
}

impl Ledger {
    /// Before every event, in a cluster of `shards` shards.
    #[must_use]
    pub fn new(limits: LedgerLimits, shards: u32) -> Ledger {
        Ledger {
            limits,
            pools: Vec::new(),
            by_name: HashMap::new(),
            elements: BTreeMap::new(),
            keys: Keys::new(),
            timers: BTreeSet::new(),
            times: VecDeque::new(),
            recorded: EventId::ZERO,
            naming: BTreeMap::new(),
            retirements: BTreeMap::new(),
            marks: vec![EventId::ZERO; shards as usize],
            decided: EventId::ZERO,
            stable: EventId::ZERO,
            unstable: VecDeque::new(),
            ended: Ended::new(limits.ended_max),
            idempotency: Idempotency::new(limits.idempotency_max),
        }
    }

    /// Records an event that was given its id, or is read back from the log. `client` belongs to an arrival.
    ///
    /// # Errors
    /// When the event defines a pool that cannot be.
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
                assert_eq!(pool.0 as usize, self.pools.len(), "pools are numbered in order");
                let pool = Pool::compile(*pool, Arc::clone(definition))?;
                self.by_name.insert(definition.name.as_str().into(), pool.id);
                self.pools.push(PoolEntry { pool, defined_at: x, counts: PoolCounts::default() });
            }
            EventKind::Arrival { pool, row } => {
                let client = client.expect("an arrival comes with its client part");
                self.record_arrival(x, time_ms, *pool, row, client);
            }
            EventKind::Withdrawal { element, reason, .. } => {
                self.naming.insert(x, (*element, Some(*reason)));
                if let Some(entry) = self.elements.get_mut(element) {
                    entry.closing.get_or_insert(x);
                }
            }
            EventKind::Reprobe { element, .. } => {
                self.naming.insert(x, (*element, None));
                self.schedule_reprobe(*element, time_ms);
            }
        }
        self.recorded = x;
        match self.times.back_mut() {
            Some((last, time)) if *time == time_ms => *last = x,
            _ => self.times.push_back((x, time_ms)),
        }
        Ok(())
    }

    /// Reprobes and expiries that are due, at most `most`. Each is offered once; record the event that comes of it.
    pub fn due(&mut self, now_ms: u64, most: usize) -> Vec<EventKind> {
        let mut events = Vec::new();
        while events.len() < most
            && let Some(&(due_ms, element, timer)) = self.timers.first()
            && due_ms <= now_ms
        {
            self.timers.pop_first();
            let Some(entry) = self.elements.get(&element).filter(|entry| entry.closing.is_none()) else { continue };
            events.push(match timer {
                Timer::Expire => EventKind::Withdrawal { element, pool: entry.pool, reason: WithdrawReason::Expired },
                Timer::Reprobe => EventKind::Reprobe {
                    element,
                    pool: entry.pool,
                    arrived_ms: entry.arrived_ms,
                    row: Arc::clone(&entry.row),
                },
            });
        }
        events
    }

    /// When the next reprobe or expiry is due, in milliseconds since 1970.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.timers.first().map(|&(due_ms, ..)| due_ms)
    }

    /// Takes a decision of a shard.
    ///
    /// # Errors
    /// When it contradicts another.
    pub fn on_retirement(&mut self, told: Retirement) -> Result<(), DecisionError> {
        if told.x <= self.decided {
            return Ok(());
        }
        match self.retirements.insert(told.x, told) {
            Some(known) if known != told => Err(DecisionError::Conflict { x: told.x, known, told }),
            _ => Ok(()),
        }
    }

    /// Takes a shard's watermark. What is decided by it leaves, in order.
    ///
    /// # Errors
    /// When it is above the log, or what was decided does not fit the log.
    pub fn on_decided(&mut self, shard: ShardId, told: EventId, out: &mut Vec<Outcome>) -> Result<(), DecisionError> {
        if told > self.recorded {
            return Err(DecisionError::Future { shard, told, recorded: self.recorded });
        }
        let mark = &mut self.marks[shard.0 as usize];
        *mark = told.max(*mark);
        let decided = self.marks.iter().copied().min().expect("a cluster has a shard");
        self.advance(decided, out)
    }

    /// Takes what the store says was decided up to `through`, when a balancer starts.
    ///
    /// # Errors
    /// When it does not fit the log.
    pub fn restore(&mut self, through: EventId, retirements: &[Retirement]) -> Result<(), DecisionError> {
        for &retirement in retirements {
            self.on_retirement(retirement)?;
        }
        for shard in 0..self.marks.len() {
            let shard = ShardId(u32::try_from(shard).expect("few shards"));
            self.on_decided(shard, through, &mut Vec::new())?;
        }
        self.on_stable(through);
        Ok(())
    }

    /// Outcomes up to `through` are on disk: the cut moves there.
    ///
    /// # Panics
    /// When they are not decided.
    pub fn on_stable(&mut self, through: EventId) {
        assert!(through <= self.decided, "{through} is stable before it is decided at {}", self.decided);
        self.stable = through.max(self.stable);
        while self.unstable.front().is_some_and(|&(x, ..)| x <= self.stable) {
            self.unstable.pop_front();
        }
        while let Some(entry) = self.naming.first_entry()
            && *entry.key() <= self.stable
        {
            entry.remove();
        }
    }

    /// The state at the stable cut; `mine` chooses the elements that come with it.
    #[must_use]
    pub fn cut(&self, mine: impl Fn(Place) -> bool) -> SliceCut {
        let at_cut = |element: ElementId, pool: PoolId, row: &Row| {
            element.arrival() <= self.stable && mine(self.pool(pool).pool.place(element, row))
        };
        let elements = self.elements.iter().filter(|&(&element, entry)| at_cut(element, entry.pool, &entry.row));
        let unstable = self.unstable.iter().map(|(_, waited)| waited);
        let unstable = unstable.filter(|waited| at_cut(waited.element, waited.pool, &waited.row)).cloned();
        let mut waiting: Vec<WaitingElement> =
            elements.map(|(&element, entry)| entry.waiting(element)).chain(unstable).collect();
        waiting.sort_unstable_by_key(|waiting| waiting.element);
        let known: BTreeSet<ElementId> = self.unstable.iter().map(|(_, waited)| waited.element).collect();
        let waited = |element: &ElementId| self.elements.contains_key(element) || known.contains(element);
        let left_out = |element: &ElementId| element.arrival() <= self.stable && !waited(element);
        let naming = self.naming.iter().filter(|&(&x, (element, _))| x > self.stable && left_out(element));
        let defined = self.pools.iter().filter(|pool| pool.defined_at <= self.stable);
        let pools = defined.map(|entry| (entry.pool.id, Arc::clone(&entry.pool.definition))).collect();
        SliceCut { through: self.stable, pools, waiting, left_out: naming.map(|(_, &(element, _))| element).collect() }
    }

    /// What became of an element.
    #[must_use]
    pub fn status(&self, element: ElementId) -> Status<'_> {
        if let Some(entry) = self.elements.get(&element) {
            return Status::Waiting(entry);
        }
        self.ended.get(element).map_or(Status::Unknown, Status::Ended)
    }

    /// The element that has a key, or had it last.
    #[must_use]
    pub fn find(&self, pool: PoolId, key: &str) -> Option<ElementId> {
        let key = (pool, Arc::from(key));
        self.keys.get(&key).copied()
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
        &self.pools[id.0 as usize]
    }

    /// All pools, in order of definition.
    #[must_use]
    pub fn pools(&self) -> &[PoolEntry] {
        &self.pools
    }

    /// The number the next pool gets.
    #[must_use]
    pub fn next_pool(&self) -> PoolId {
        PoolId(u32::try_from(self.pools.len()).expect("few pools"))
    }

    /// The last event recorded.
    #[must_use]
    pub fn recorded(&self) -> EventId {
        self.recorded
    }

    /// Every event at or below it is decided, and its outcome has left.
    #[must_use]
    pub fn decided(&self) -> EventId {
        self.decided
    }

    /// A shard's watermark as known here.
    #[must_use]
    pub fn mark(&self, shard: ShardId) -> EventId {
        self.marks[shard.0 as usize]
    }

    /// The stable cut.
    #[must_use]
    pub fn stable(&self) -> EventId {
        self.stable
    }

    /// Elements not known to be retired.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.elements.len()
    }

    /// The ids of the elements not known to be retired, ascending.
    pub fn waiting_ids(&self) -> impl Iterator<Item = ElementId> {
        self.elements.keys().copied()
    }

    /// Elements of a pool that are not known to be retired, among the next `most` of any pool after an element; and after which to
    /// go on, if there are more.
    #[must_use]
    pub fn waiting_after(
        &self,
        pool: PoolId,
        after: ElementId,
        most: usize,
    ) -> (Vec<(ElementId, &Entry)>, Option<ElementId>) {
        let next = || self.elements.range((Bound::Excluded(after), Bound::Unbounded)).take(most);
        let of_pool = next().filter(|(_, entry)| entry.pool == pool).map(|(&element, entry)| (element, &**entry));
        let last = next().nth(most.saturating_sub(1)).map(|(&element, _)| element);
        (of_pool.collect(), last)
    }

    fn record_arrival(&mut self, x: EventId, time_ms: u64, pool: PoolId, row: &Arc<Row>, client: ClientPart) {
        let element = ElementId::from(x);
        self.pools[pool.0 as usize].counts.waiting += 1;
        self.keys.insert((pool, Arc::clone(&client.key)), element);
        self.idempotency.insert(pool, &client, row, element);
        let ClientPart { key, payload, ttl_ms, .. } = client;
        let expire_ms = expires(time_ms, ttl_ms);
        self.timers.extend(expire_ms.map(|due_ms| (due_ms, element, Timer::Expire)));
        let schedule = &self.pools[pool.0 as usize].pool.definition.reprobe_ms;
        let reprobe_ms = due_next(schedule, time_ms, None, time_ms);
        self.timers.extend(reprobe_ms.map(|due_ms| (due_ms, element, Timer::Reprobe)));
        let row = Arc::clone(row);
        let entry = Entry { pool, row, arrived_ms: time_ms, key, payload, closing: None, expire_ms, reprobe_ms };
        self.elements.insert(element, Box::new(entry));
    }

    /// Sets the next reprobe.
    fn schedule_reprobe(&mut self, element: ElementId, time_ms: u64) {
        let Some(entry) = self.elements.get_mut(&element) else { return };
        let schedule = &self.pools[entry.pool.0 as usize].pool.definition.reprobe_ms;
        let next = due_next(schedule, entry.arrived_ms, entry.reprobe_ms, time_ms);
        if let Some(missed_ms) = std::mem::replace(&mut entry.reprobe_ms, next) {
            self.timers.remove(&(missed_ms, element, Timer::Reprobe));
        }
        self.timers.extend(next.map(|due_ms| (due_ms, element, Timer::Reprobe)));
    }

    fn advance(&mut self, decided: EventId, out: &mut Vec<Outcome>) -> Result<(), DecisionError> {
        if decided <= self.decided {
            return Ok(());
        }
        while let Some(entry) = self.retirements.first_entry()
            && *entry.key() <= decided
        {
            let retirement = entry.remove();
            out.push(self.outcome(retirement)?);
        }
        self.decided = decided;
        self.time_of(decided.next());
        Ok(())
    }

    fn outcome(&mut self, told: Retirement) -> Result<Outcome, DecisionError> {
        let time_ms = self.time_of(told.x);
        let (pool, element) = self.end(told, told.element)?;
        let anchor = told.anchor.map(|anchor| self.end(told, anchor)).transpose()?.map(|(_, end)| end);
        let withdrawn = self.naming.get(&told.x).and_then(|&(_, reason)| reason);
        let reason = match anchor {
            Some(_) => None,
            None => Some(withdrawn.ok_or(DecisionError::NoWithdrawal { told })?),
        };
        let counts = &mut self.pools[pool.0 as usize].counts;
        match reason {
            None => counts.matches += 1,
            Some(WithdrawReason::Client) => counts.withdrawn += 1,
            Some(WithdrawReason::Expired) => counts.expired += 1,
        }
        Ok(Outcome { x: told.x, pool, time_ms, element, anchor, reason })
    }

    fn end(&mut self, told: Retirement, id: ElementId) -> Result<(PoolId, OutcomeEnd), DecisionError> {
        let entry = self.elements.remove(&id).ok_or(DecisionError::NotWaiting { element: id, told })?;
        let Entry { pool, row, arrived_ms, key, payload, closing: _, expire_ms, reprobe_ms } = *entry;
        self.pools[pool.0 as usize].counts.waiting -= 1;
        let timers = [(expire_ms, Timer::Expire), (reprobe_ms, Timer::Reprobe)];
        for (due_ms, timer) in timers {
            due_ms.map(|due_ms| self.timers.remove(&(due_ms, id, timer)));
        }
        self.ended.insert(id, told.x, (pool, Arc::clone(&key)), &mut self.keys);
        self.unstable.push_back((told.x, WaitingElement { element: id, pool, arrived_ms, row }));
        Ok((pool, OutcomeEnd { id, key, payload }))
    }

    /// The time of an event above the decided watermark; forgets those before it.
    fn time_of(&mut self, x: EventId) -> u64 {
        while self.times.front().is_some_and(|&(last, _)| last < x) && self.times.len() > 1 {
            self.times.pop_front();
        }
        self.times.front().map_or(0, |&(_, time_ms)| time_ms)
    }
}

/// When an element that arrived at `time_ms` ends its stay; none for a time to live of 0.
fn expires(time_ms: u64, ttl_ms: u64) -> Option<u64> {
    (ttl_ms > 0).then(|| time_ms.saturating_add(ttl_ms))
}

/// When an element that searched at `time_ms`, and was to at `was_due_ms`, searches next: the first of the schedule after both.
/// So a stop skips what it missed but one; and the event may have come into a frame that is older than what was due.
fn due_next(schedule: &[u64], arrived_ms: u64, was_due_ms: Option<u64>, time_ms: u64) -> Option<u64> {
    let done_ms = was_due_ms.map_or(time_ms, |due_ms| due_ms.max(time_ms));
    schedule.iter().map(|after| arrived_ms + after).find(|&due_ms| due_ms > done_ms)
}
