//! What is asked of the engine that makes no event: one element, many elements, cuts, its state.

use std::{collections::HashMap, sync::Arc};

use dovetail_core::{
    ElementId, PoolId,
    ledger::{CutElements, Entry, Status},
};
use dovetail_rule::Row;
use tokio::time::Instant;

use super::{CUT_PART, CutRead, Engine, WAITING_PART};
use crate::{
    balancer::{
        messages::{CutPart, CutReader, ElementScan, Explaining, Found, PoolSummary, SelectedPart, WaitingPart},
        refused::ElementName,
        share::Share,
    },
    time,
};
use dovetail::pb;
use dovetail_wire::PART_BYTES;

impl Engine {
    pub(super) fn get(&mut self, name: &ElementName, wait: bool) -> Found {
        let Some(element) = self.find(name) else { return Found::Unknown };
        match self.ledger.status(element) {
            Status::Waiting(entry) => {
                let pool = Arc::clone(&self.ledger.pool(entry.pool).pool.definition);
                let ended = wait.then(|| self.waiters.add(element));
                Found::Waiting { element, pool, entry: Box::new(entry), ended }
            }
            Status::Ended(x) => Found::Ended(element, x),
            Status::Unknown => Found::Unknown,
        }
    }

    pub(super) fn explain(&mut self, name: &ElementName) -> Explaining {
        match self.get(name, false) {
            Found::Waiting { element, entry, .. } => Explaining::Waiting {
                pool: self.ledger.pool(entry.pool).pool.clone(),
                element,
                search_cost: self.ledger.search_cost(entry.pool, || Row::clone(&entry.row)),
                entry,
                time_ms: self.sequencer.time_at(self.clock.last_ms()),
            },
            not => Explaining::Not(not),
        }
    }

    pub(super) fn look(&mut self, look: ElementScan) {
        match look {
            ElementScan::Waiting { pool, after, reply } => {
                let (elements, next) = self.ledger.waiting_after(pool, after, WAITING_PART, |_, _, _| true);
                let waits = |(element, entry): (ElementId, Entry)| (entry.waiting(element), entry.key);
                _ = reply.send(WaitingPart { elements: elements.into_iter().map(waits).collect(), next });
            }
            ElementScan::Select { pool, after, wanted, reply } => {
                let (elements, next) = self.ledger.waiting_after(pool, after, WAITING_PART, wanted);
                _ = reply.send(SelectedPart { elements, next });
            }
            ElementScan::BeginCut { matcher, reply } => {
                let (cut, cutting) = self.ledger.begin_cut();
                let alive = Arc::new(());
                // An earlier one of the same matcher may linger with a connection that is no longer read.
                self.cuts_read.retain(|cut| cut.matcher != matcher);
                self.cuts_read.push(CutRead { matcher, through: cutting.through(), alive: Arc::downgrade(&alive) });
                self.keep_for_cuts();
                _ = reply.send((cut, CutReader { cutting, _alive: alive }));
            }
            ElementScan::CutPart { mut reader, owned, reply } => {
                let part = self.ledger.cut_part(&mut reader.cutting, (CUT_PART, PART_BYTES), &*owned);
                let part =
                    part.map(|CutElements { waiting, last }| CutPart { waiting, reader: (!last).then_some(reader) });
                _ = reply.send(part);
            }
        }
    }

    /// Forgets what is no longer needed, and keeps what the cuts that are read need.
    pub(super) fn release(&mut self) {
        if !self.cuts_read.is_empty() {
            self.keep_for_cuts();
            self.forget_pools();
        }
        if self.ledger.has_unneeded() {
            self.ledger.release();
        }
    }

    fn keep_for_cuts(&mut self) {
        self.cuts_read.retain(|cut| cut.alive.strong_count() > 0);
        self.ledger.keep_for(self.cuts_read.iter().map(|cut| cut.through));
    }

    pub(super) fn inspect(&mut self) -> pb::BalancerState {
        let now_ms = self.clock.now_ms();
        let (held, held_ms) = self.held.counts();
        let (search_waits, search_cost) = self.turns.counts();
        let event_ms = self.sequencer.time_at(now_ms);
        let late: HashMap<PoolId, u64> =
            self.ledger.late().map(|(pool, due_ms)| (pool, event_ms.saturating_sub(due_ms))).collect();
        let count = |summary: PoolSummary| pb::PoolCount {
            pool: summary.definition.name.clone(),
            waiting: summary.counts.waiting,
            waiting_bytes: summary.counts.waiting_bytes,
            late_ms: late.get(&summary.id).copied().unwrap_or_default(),
            // The rest is the matchers' to tell.
            ..Default::default()
        };
        pb::BalancerState {
            assigned: self.assigned().0,
            durable: self.durability.durable().0,
            decided: self.ledger.decided().event().0,
            stable: self.ledger.stable().event().0,
            // Sorted where the answer is made.
            pools: self.ledger.pools().map(PoolSummary::of).map(count).collect(),
            log_id: self.log_id.clone(),
            waiting: self.ledger.waiting() as u64,
            waiting_bytes: self.ledger.waiting_bytes(),
            // The service counts its own streams.
            client_streams: 0,
            shards: Vec::new(),
            stored: Some(self.disks.stored()),
            // Who is there is for the service to tell.
            awaited: Vec::new(),
            undecided_ms: self.standing.still_for(Instant::now()).map_or(0, time::ms),
            in_flight_max: self.in_flight_max,
            held: held as u64,
            held_ms,
            search_waits,
            search_cost,
            late_pools: late.len() as u64,
            late_ms: late.values().copied().max().unwrap_or_default(),
            clock_ahead_ms: now_ms.saturating_sub(time::now_ms()),
            clock_jump_ms: self.clock.jump().map_or(0, |jump| jump.ahead_ms()),
            clock_refuses: self.clock.refused().borrow().is_some(),
            // Told where the answer is made.
            pools_left_out: 0,
            shared: self.share.as_ref().map(Share::pb),
        }
    }
}
