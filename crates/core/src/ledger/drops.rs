//! Pools that are dropped: closed first, then emptied, then gone.
//!
//! A pool that is closed takes no more elements, and none of it searches again. Its waiting elements are withdrawn,
//! some at a time, by events of their own: so each end is an outcome like any other, and a drop never makes a large
//! event. Once no element waits and all of it is secured the pool is dropped, which decides nothing: it frees the name
//! and the memory. All of this follows from the log: a balancer that crashes in between goes on where the log ends.
//! Invariants: drops.D1 no event after its end names a pool; drops.D2 no number is given to two pools; drops.D3 memory
//! follows the pools that exist.

use std::sync::Arc;

use super::{ENDED_PER_WAITING, Ledger, PoolEntry, closed::Drops};
use crate::{ElementId, EventId, EventKind, PoolId, WithdrawReason, planted::Bug};

/// Closed pools that are looked at in one go for whether they can be dropped.
const LOOKED_AT: usize = 256;

impl Ledger {
    /// What comes next of the pools that are being dropped: withdrawals of their elements, at most `most`, and the ends
    /// of those of which everything is stable. Each is offered once, for events of that time: give it an id and record
    /// it.
    pub fn dropping(&mut self, most: usize, time_ms: u64) -> Vec<EventKind> {
        let mut events = self.sweep(most, time_ms);
        for _ in 0..self.drops.unlooked.min(LOOKED_AT) {
            self.drops.unlooked -= 1;
            let Some(pool) = self.drops.closed.pop_front() else { break };
            if self.is_over(self.pool(pool)) {
                events.push(EventKind::PoolDropped { pool });
            } else {
                self.drops.closed.push_back(pool);
            }
        }
        events
    }

    /// Whether there may be more of that now, without anything else happening.
    #[must_use]
    pub fn has_dropping(&self) -> bool {
        self.drops.unlooked > 0 || !self.drops.sweep.0.is_empty() || !self.drops.unswept.is_empty()
    }

    /// How many pools are closed and not dropped yet.
    #[must_use]
    pub fn pools_closing(&self) -> usize {
        self.drops.closed.len()
    }

    /// The name of a pool that is defined, or that was and decided something that may be asked for.
    #[must_use]
    pub fn pool_name(&self, id: PoolId) -> Arc<str> {
        if let Some(entry) = self.find_pool(id) {
            return entry.pool.definition.name.as_str().into();
        }
        let known = self.drops.names.iter().rev().find(|(pool, _)| *pool == id);
        known.map_or_else(|| nameless(id), |(_, name)| Arc::clone(name))
    }

    /// The names of pools that are gone and decided something that may be asked for, in the order in which they were
    /// dropped.
    pub fn dropped_names(&self) -> impl Iterator<Item = (PoolId, &Arc<str>)> {
        self.drops.names.iter().map(|(pool, name)| (*pool, name))
    }

    /// No element waits in it, and every event that names it is stable, or is told to be by the frame that drops it.
    fn is_over(&self, entry: &PoolEntry) -> bool {
        let over = entry.counts.waiting == 0 && self.secured.covers(entry.last);
        over || self.planted.is(Bug::DroppedTooEarly)
    }

    /// Withdraws the elements that wait in closed pools. Goes through all elements, some at a time.
    fn sweep(&mut self, most: usize, time_ms: u64) -> Vec<EventKind> {
        let mut events = Vec::new();
        let mut left = most.max(1).saturating_mul(ENDED_PER_WAITING);
        let Drops { sweep, unswept, .. } = &mut self.drops;
        if sweep.0.is_empty() {
            *sweep = (std::mem::take(unswept), ElementId(0));
        }
        let (pools, after) = &self.drops.sweep;
        if pools.is_empty() {
            return events;
        }
        let mut last = None;
        for (element, at) in self.elements.known_after(*after) {
            if let Some(at) = at {
                let pool = self.elements.view(at).batch.pool();
                let missed = self.planted.is(Bug::DropLeavesElements) && element.0.is_multiple_of(3);
                if pools.contains(&pool) && !self.closing.contains_key(&element) && !missed {
                    let reason = self.reason_at(element, time_ms, WithdrawReason::Dropped);
                    events.push(EventKind::Withdrawal { element, pool, reason });
                }
            }
            left = left.saturating_sub(if at.is_some() { ENDED_PER_WAITING } else { 1 });
            if left == 0 || events.len() >= most {
                last = Some(element);
                break;
            }
        }
        match last {
            Some(element) => self.drops.sweep.1 = element,
            None => self.drops.sweep.0.clear(),
        }
        events
    }

    /// The stable cut has moved: pools that are closed may be dropped by now.
    pub(super) fn look_at_closed(&mut self) {
        self.drops.unlooked = self.drops.closed.len();
    }

    /// Forgets the pools that were dropped at or below an event: no node needs them any more.
    pub(super) fn forget_dropped(&mut self, through: EventId) {
        while let Some((_, id)) = self.drops.leaving.pop_front_if(|(x, _)| *x <= through) {
            let entry = self.pools.remove(&id).expect("a pool is dropped once");
            self.idempotency.forget_pool(id);
            if entry.counts.outcomes() > 0 {
                self.drops.remember(id, entry.pool.definition.name.as_str().into());
            }
        }
    }
}

/// How a pool is called whose name is not known any more. No pool can have such a name.
fn nameless(id: PoolId) -> Arc<str> {
    format!("#{}", id.0).into()
}
