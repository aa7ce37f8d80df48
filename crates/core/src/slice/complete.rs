//! Complete views: pools of which a slice knows every waiting element, its own anchors and the other slices'.
//!
//! Where nearly everything matches few elements wait, and searching is cheap; not knowing which anchors the probes in
//! flight take is what costs. Split by index, every slice hears of every arrival. A slice that also knows which
//! elements waited before is the sequential program for the pool: it knows the match of each probe, and lists that and
//! nothing else, if the anchor is its own. So a probe has at most one candidate in all slices together, and no slice
//! waits for the decided watermark.
//!
//! Why that is exact: what is accepted are the pairs that remain when candidates are taken in order of `(x, i)` and
//! each rules out those after it that share an end. Leaving out candidates that are not accepted changes nothing for
//! the others. So any list will do that has what the sequential program accepts and nothing that does not satisfy the
//! rule, whatever other slices list, and each slice may change between the two ways when it likes. It decides nothing:
//! shards do, by the same rules.
//!
//! When more wait than `waiting_max`, others' anchors are dropped, and only counted. When few wait again, new arrivals
//! are kept from then on; once the older elements have gone, the slice waits for the decided watermark, and its view is
//! complete again. Invariant: complete.W1 while the view of a pool is complete, its table holds exactly the elements
//! that wait after event `through`.

use std::collections::BTreeMap;

use super::{FrameError, Slice, others::OthersView, pools::SlicePool, prober::Prober, shared::Shared};
use crate::{Decided, ElementId, Event, EventId, EventKind, PoolId, planted::Bug};

/// Others' anchors are kept again when so many times fewer wait than at most.
const AGAIN: usize = 4;

impl Slice {
    /// Has a complete view of pools of at most so many waiting elements. What is decided stays the same.
    pub(super) fn set_complete_view_max(&mut self, shared: &mut Shared, waiting_max: usize) {
        self.pools.complete_view_max = waiting_max;
        let too_many = |entry: &&SlicePool| entry.is_complete() && entry.anchors.len() >= waiting_max;
        let pools: Vec<PoolId> = self.pools.iter().filter(too_many).map(|entry| entry.pool.id).collect();
        pools.into_iter().for_each(|pool| self.keep_own(shared, pool));
    }

    /// Searches for an element that arrives in a pool with a complete view. False when it has to wait for the decided
    /// watermark.
    pub(super) fn search_complete_arrival(
        &mut self,
        shared: &mut Shared,
        x: EventId,
        prober: &Prober<'_>,
        time_ms: u64,
    ) -> Result<bool, FrameError> {
        if !self.ahead.may_settle(x, self.decided_seen()) {
            return Ok(false);
        }
        if self.match_complete(shared, x, prober, time_ms)?.is_none() {
            self.pools.insert(shared, prober);
        }
        self.keep_own_if_many(shared, x, prober.pool)?;
        Ok(true)
    }

    /// The same of an event that is no arrival.
    pub(super) fn search_complete(
        &mut self,
        shared: &mut Shared,
        event: &Event,
        time_ms: u64,
    ) -> Result<bool, FrameError> {
        let x = event.x;
        if !self.ahead.may_settle(x, self.decided_seen()) {
            return Ok(false);
        }
        let pool = match &event.kind {
            EventKind::Reprobe { element, pool, arrived_ms, row } => {
                if self.pools.get(x, *pool)?.anchors.find(element.0).is_some() {
                    let prober = Prober { element: *element, pool: *pool, row, arrived_ms: *arrived_ms, key: None };
                    match self.match_complete(shared, x, &prober, time_ms)? {
                        Some(anchor) => {
                            let own = self.owns(*element);
                            self.pools.remove_from(shared, *pool, *element, own);
                            // The home must know of the probe before later claims, whichever slice lists what it found.
                            if self.owns(*element) && !self.owns(anchor) {
                                self.list(x, *element, Vec::new(), true);
                            }
                        }
                        None if self.owns(*element) => self.list(x, *element, Vec::new(), true),
                        None => {}
                    }
                }
                *pool
            }
            EventKind::Withdrawal { element, pool, .. } => {
                if self.take(shared, x, *element, *pool) && self.owns(*element) && !self.planted.is(Bug::CloseIgnored) {
                    self.frames.close(self.placement.home_of(*element), x, *element);
                }
                *pool
            }
            EventKind::Arrival { .. }
            | EventKind::PoolDefined { .. }
            | EventKind::PoolClosed { .. }
            | EventKind::PoolDropped { .. } => unreachable!("it is no arrival, and concerns an element"),
        };
        self.keep_own_if_many(shared, x, pool)?;
        Ok(true)
    }

    fn keep_own_if_many(&mut self, shared: &mut Shared, x: EventId, pool: PoolId) -> Result<(), FrameError> {
        if self.pools.get(x, pool)?.anchors.len() > self.pools.complete_view_max {
            self.keep_own(shared, pool);
        }
        Ok(())
    }

    /// Notes an event of a pool without a complete view. False when it is about to be, and the decided watermark has to
    /// reach the event before.
    pub(super) fn note(&mut self, shared: &mut Shared, x: EventId, pool: PoolId) -> Result<bool, FrameError> {
        let decided_seen = self.decided_seen();
        let entry = self.pools.get_mut(x, pool)?;
        let enough = |older| older == 0 || self.planted.is(Bug::CompleteViewWithoutOlder);
        if matches!(entry.others, OthersView::Kept { older, .. } if enough(older)) {
            if !decided_seen.covers(x.prev()) && !self.planted.is(Bug::CompleteViewTooEarly) {
                self.ahead.wait_once(x, Decided(x.prev()));
                return Ok(false);
            }
            // Everything before is decided, and all others that wait were kept: they join the slice's own.
            let own = shared.take_own(pool, self.id, x.prev());
            self.pools.join(shared, pool, own);
        }
        Ok(true)
    }

    /// An event of a pool without a complete view was searched: with what arrived, if anything did.
    pub(super) fn noted(&mut self, x: EventId, pool: PoolId, arrived: Option<&Prober<'_>>) {
        let own = self.owns(ElementId::from(x));
        let most = self.pools.complete_view_max;
        let entry = self.pools.known_mut(pool);
        if matches!(entry.others, OthersView::Complete | OthersView::Unknown) || entry.settled {
            return;
        }
        self.flight.events.push_back((x, pool));
        if let (Some(arrived), false) = (arrived, own) {
            match &mut entry.others {
                OthersView::Counted(waiting) => *waiting += 1,
                OthersView::Kept { since, .. } => {
                    _ = since.insert(arrived.element, (arrived.row.clone(), arrived.arrived_ms));
                }
                OthersView::Complete | OthersView::Unknown => {}
            }
        }
        entry.keep_or_count(most);
    }

    /// Event `x` retired an element that waited when it was last heard of.
    pub(super) fn left(&mut self, x: EventId, element: ElementId) {
        let Some(pool) = self.flight.pool(x).filter(|_| !self.owns(element)) else { return };
        // A pool that is dropped has no others left to count.
        let Ok(entry) = self.pools.get_mut(x, pool) else { return };
        match &mut entry.others {
            OthersView::Counted(waiting) => *waiting = waiting.checked_sub(1).expect("who leaves has waited"),
            OthersView::Kept { older, since } => {
                if since.remove(&element).is_none() {
                    *older = older.checked_sub(1).expect("who leaves has waited");
                }
            }
            OthersView::Complete | OthersView::Unknown => {}
        }
    }

    /// Matches the prober with the lowest of all that wait, which waits no longer; lists the pair when that is an
    /// anchor here.
    fn match_complete(
        &mut self,
        shared: &mut Shared,
        x: EventId,
        prober: &Prober<'_>,
        time_ms: u64,
    ) -> Result<Option<ElementId>, FrameError> {
        let own = self.owns(prober.element);
        let pool = self.pools.get_mut(x, prober.pool)?;
        prober.row.check(&pool.pool.schema).map_err(|source| FrameError::Row { x, source: Box::new(source) })?;
        let errors = pool.rule_errors;
        let found = pool.first(x, prober, time_ms);
        if !own {
            // All slices come upon the same; one counts it.
            pool.rule_errors = errors;
        }
        self.stats.probes += 1;
        let Some(slot) = found else { return Ok(None) };
        let anchor = ElementId(pool.anchors.id(slot));
        self.take(shared, x, anchor, prober.pool);
        self.went(x, prober.element);
        if own {
            shared.remove(prober.pool, prober.element);
        }
        if self.owns(anchor) {
            self.stats.candidates += 1;
            self.stats.list_longest = self.stats.list_longest.max(1);
            self.list(x, prober.element, vec![anchor], false);
        }
        Ok(Some(anchor))
    }

    /// Event `x` retires an element of a pool with a complete view. False when it does not wait.
    fn take(&mut self, shared: &mut Shared, x: EventId, element: ElementId, pool: PoolId) -> bool {
        let own = self.owns(element);
        let waits = self.pools.remove_from(shared, pool, element, own);
        if waits {
            self.went(x, element);
        }
        waits
    }

    /// Remembers that `x` retires the element, unless a shard has said so before.
    fn went(&mut self, x: EventId, element: ElementId) {
        if !self.retired.below(element, x.next()) {
            self.flight.gone.push_back((x, element));
        }
    }

    /// Too many wait: drops the others' anchors, and counts them from now on.
    fn keep_own(&mut self, shared: &mut Shared, pool: PoolId) {
        let ids: Vec<ElementId> = self.pools.known_mut(pool).anchors.ids().map(ElementId).collect();
        let mut waiting = 0;
        for element in ids.into_iter().filter(|&element| !self.owns(element)).collect::<Vec<_>>() {
            self.pools.remove_from(shared, pool, element, false);
            waiting += 1;
        }
        // What later events of the log may name has to be known dead.
        for (x, element) in self.flight.gone.drain(..) {
            self.retired.insert(element, x);
        }
        self.pools.list(shared, pool, waiting);
    }
}

impl SlicePool {
    /// Whether every waiting element is in the table.
    pub(super) fn is_complete(&self) -> bool {
        !self.settled && matches!(self.others, OthersView::Complete)
    }

    /// Whether its candidates are listed, and the slice's own anchors are among those of the other slices here.
    pub(super) fn lists(&self) -> bool {
        !self.settled && !matches!(self.others, OthersView::Complete)
    }

    /// Begins to keep the others where few wait, and gives up where many do.
    fn keep_or_count(&mut self, most: usize) {
        let own = self.own;
        match &mut self.others {
            OthersView::Counted(waiting) if *waiting + own <= most / AGAIN && most > 0 => {
                self.others = OthersView::Kept { older: *waiting, since: BTreeMap::new() };
            }
            OthersView::Kept { older, since } if *older + since.len() + own > most => {
                self.others = OthersView::Counted(*older + since.len());
            }
            _ => {}
        }
    }
}
