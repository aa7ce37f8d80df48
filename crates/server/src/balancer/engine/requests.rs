//! What clients ask of the engine that makes events: submissions, withdrawals, pools.

use std::sync::Arc;

use dovetail_core::{
    ElementId, EventId, EventKind, Pool, WithdrawReason,
    batch::{Batch, Run},
    hold::{Ticket, Until},
    ledger::{Admitted, Status, Stopped},
};

use super::{EVENT_BYTES, Engine};
use crate::{
    balancer::{
        held::{Admitting, HeldRequest},
        messages::{Defined, Dropping, Reply, Request, Withdrawing},
        refused::{DefinePoolError, DropPoolError, ElementName, POOLS_MAX},
        turns::{TurnWait, Whose},
    },
    caller::ClientId,
};
use dovetail_wire::Part;

impl Engine {
    /// Answers when all that has an id by now is on disk: an answer tells of nothing that a crash could take back.
    fn ack<T: Send + 'static>(&mut self, reply: Reply<T>, answer: T) {
        let at = self.sequencer.assigned();
        // The caller may have gone away; what it asked for is done all the same.
        if at <= self.durability.durable() {
            _ = reply.send(Ok(answer));
        } else {
            self.acks.later(at, reply, answer);
        }
    }

    pub(super) fn on_request(&mut self, request: Request) {
        if let Some(why) = self.refusal() {
            return request.refuse(why);
        }
        match request {
            Request::Submit { elements, stream, reply, room } => {
                self.take(stream, HeldRequest::Submit(Box::new(Admitting::new(elements, reply, room))));
            }
            Request::Define { pool, client, reply } => {
                let defined = self.define(*pool, client);
                self.ack(reply, defined);
            }
            Request::Drop { name, defined_at, reply } => {
                let dropping = self.drop_pool(name, defined_at);
                self.ack(reply, dropping);
            }
            Request::Withdraw { element, reply } => self.take_alone(HeldRequest::Withdraw { element, reply }),
            // Ids are never held: no other element can have them.
            Request::WithdrawAll { elements, reply } => {
                let withdraw = |element| self.withdraw(&ElementName::Id(element));
                let withdrawing = elements.into_iter().map(withdraw).collect();
                self.ack(reply, withdrawing);
            }
        }
    }

    /// Takes a request that may have to be held.
    fn take(&mut self, stream: u64, request: HeldRequest) {
        if let Err(request) = self.held.behind(stream, request) {
            self.handle(stream, request, None, None, true);
        }
    }

    pub(super) fn take_alone(&mut self, request: HeldRequest) {
        let stream = self.held.alone();
        self.take(stream, request);
    }

    /// Goes on with requests that are held no longer. Where there is no room for events, with those that make none.
    pub(super) fn go_on(&mut self, timely: bool) {
        self.ledger.take_caught_up().into_iter().for_each(|pool| self.held.caught_up(pool));
        loop {
            let refusal = self.refusal();
            let room = refusal.is_some() || (timely && self.taking());
            let Some(freed) = self.held.next(self.ledger.decided(), room) else { break };
            let request = match refusal.filter(|_| freed.request.writes()) {
                Some(why) => freed.request.refuse(why),
                None => Some(freed.request),
            };
            match request {
                None => {}
                Some(request @ HeldRequest::Withdraw { .. }) if !room => {
                    self.held.hold_on(freed.stream, freed.asked.unwrap_or_default(), request);
                }
                Some(request) => {
                    let over = freed.over.then(|| self.held.held_ms(freed.ticket));
                    self.handle(freed.stream, request, freed.ticket, over, room);
                }
            }
        }
    }

    /// Does what is asked for, or holds it until what it depends on is decided. `over` says for how long it was held in
    /// vain; without `room` for events, nothing more of it is let in then.
    fn handle(&mut self, stream: u64, mut request: HeldRequest, ticket: Option<Ticket>, over: Option<u64>, room: bool) {
        let mut again = ticket;
        let undecided = match &mut request {
            HeldRequest::Submit(admitting) => {
                let undecided = self.admit(admitting, over, room);
                // For another row it takes its turn behind others.
                let row = admitting.row;
                if admitting.held_row.replace(row) != Some(row) {
                    again = None;
                }
                undecided
            }
            HeldRequest::Withdraw { element, .. }
            | HeldRequest::Get { element, .. }
            | HeldRequest::Explain { element, .. } => {
                let until = self.undecided(element).filter(|_| over.is_none());
                until.map(TurnWait::from)
            }
        };
        if let Some(wait) = undecided {
            request.fix(|name| self.find(name).map(ElementName::Id));
            return self.held.hold(stream, wait, request, again);
        }
        match request {
            HeldRequest::Submit(admitting) => {
                let (submitted, reply) = admitting.finish();
                self.ack(reply, submitted);
            }
            HeldRequest::Withdraw { element, reply } => {
                let withdrawing = self.withdraw(&element);
                self.ack(reply, withdrawing);
            }
            HeldRequest::Get { element, wait_ms, reply } => {
                let found = self.get(&element, wait_ms > 0);
                _ = reply.send((found, self.ledger.decided().event()));
            }
            HeldRequest::Explain { element, reply } => _ = reply.send(self.explain(&element)),
        }
    }

    /// Up to where the log has to be decided before it is known whether the element of a key still waits; none when it
    /// is known, or the element is named by its id.
    fn undecided(&self, name: &ElementName) -> Option<EventId> {
        match name {
            ElementName::Id(_) => None,
            ElementName::Key { .. } => self.ledger.undecided(self.find(name)?),
        }
    }

    /// Lets elements in, up to one that depends on what is not decided, or whose pool is late: then until when. When it
    /// was held in vain, such elements are refused; and where there is no room for events, all that are left.
    fn admit(&mut self, admitting: &mut Admitting, over: Option<u64>, room: bool) -> Option<TurnWait> {
        let keyed = admitting.batch.take()?;
        let mut asked = *admitting.asked.get_or_insert(self.ledger.recorded());
        let batch = keyed.batch();
        let whose: Whose = (admitting.client().cloned(), batch.pool());
        let mut undecided = None;
        while admitting.row < batch.len() && undecided.is_none() {
            let row = admitting.row;
            if let Some(held_ms) = over.filter(|_| !room) {
                self.turns.gave_up(&whose);
                admitting.refuse(self.ledger.held_in_vain(batch, row, held_ms).into());
                continue;
            }
            let units = self.ledger.search_cost(batch.pool(), || batch.row(row));
            // No element is let in while the pool is late: the pool has no turn then.
            let late = self.ledger.is_late(batch.pool());
            let may = if late { Ok(usize::MAX) } else { self.turns.may(&whose, units) };
            let turn = match (may, over) {
                (Ok(turn), _) => turn,
                (Err(_), Some(held_ms)) => {
                    self.turns.gave_up(&whose);
                    admitting.refuse(self.ledger.busy_in_vain(batch, row, held_ms).into());
                    continue;
                }
                (Err(wait), None) => {
                    undecided = Some(wait);
                    continue;
                }
            };
            let (to, bytes) = self.fits(batch, row, turn);
            let (first, time_ms) = (self.sequencer.assigned().next(), self.sequencer.time_ms());
            let Admitted { count, stopped } = self.ledger.admit_run(first, time_ms, &keyed, row..to, asked);
            if count > 0 {
                admitting.let_in(count, first);
                asked = EventId(first.0 + count as u64 - 1);
                self.turns.add(&whose, asked, units, count);
                let run = Run { batch: Arc::clone(batch), rows: row..row + count };
                let part = |first| Part::Arrivals(first, run);
                self.sequencer.push_run(self.ledger.to_tell(), count, bytes, part);
                if self.sequencer.full() {
                    self.take_frame();
                }
            }
            match stopped {
                None => {}
                Some(Stopped::Retry(element)) => admitting.let_in(1, element.arrival()),
                Some(Stopped::Refused(why)) => admitting.refuse(why.into()),
                Some(Stopped::Undecided(until)) => match over {
                    Some(held_ms) => {
                        admitting.refuse(self.ledger.held_in_vain(batch, admitting.row, held_ms).into());
                    }
                    None => undecided = Some(until.into()),
                },
                Some(Stopped::Late) => match over {
                    Some(held_ms) => {
                        admitting.refuse(self.ledger.late_in_vain(batch, admitting.row, held_ms).into());
                    }
                    None => undecided = Some(Until::CaughtUp(batch.pool()).into()),
                },
            }
        }
        admitting.batch = Some(keyed);
        admitting.asked = Some(asked);
        undecided
    }

    /// Up to which row, from `row` on and at least that one, elements fit the open frame and are at most `most`, and
    /// how many bytes they take.
    fn fits(&self, batch: &Batch, row: usize, most: usize) -> (usize, usize) {
        let (events, bytes_left) = (self.sequencer.events_left().min(most), self.sequencer.bytes_left());
        let all = batch.len() - row;
        let bytes = EVENT_BYTES * all + batch.bytes();
        if all <= events && bytes <= bytes_left {
            return (batch.len(), bytes);
        }
        let (mut to, mut bytes) = (row, 0);
        while to < batch.len() && (to == row || (to - row < events && bytes < bytes_left)) {
            bytes += EVENT_BYTES + batch.frame_bytes(to);
            to += 1;
        }
        (to, bytes)
    }

    fn define(&mut self, compiled: Pool, client: Option<ClientId>) -> Result<Defined, DefinePoolError> {
        let (pool, definition) = (self.ledger.next_pool(), Arc::clone(&compiled.definition));
        let compiled = Pool { id: pool, ..compiled };
        let notes = compiled.notes();
        if let Some(entry) = self.ledger.pool_named(&definition.name) {
            if entry.closed_at.is_some() {
                return Err(DefinePoolError::Dropping(definition.name.clone()));
            }
            let differences = entry.pool.differences(&compiled, self.defaults);
            if !differences.0.is_empty() {
                return Err(DefinePoolError::Redefined(definition.name.clone(), differences));
            }
            return Ok(Defined { at: entry.defined_at, created: false, notes });
        }
        if self.ledger.pool_count() >= POOLS_MAX {
            return Err(DefinePoolError::TooMany);
        }
        let within = self.quotas.check(&definition.name, client.as_ref());
        within.map_err(|source| DefinePoolError::Quota { pool: definition.name.clone(), source })?;
        self.quotas.defined(pool, &definition.name, client);
        Ok(Defined { at: self.push(EventKind::PoolDefined { pool, definition }), created: true, notes })
    }

    /// Closes a pool, if it is not closed. The rest follows.
    fn drop_pool(&mut self, name: String, meant: EventId) -> Result<Dropping, DropPoolError> {
        let Some(entry) = self.ledger.pool_named(&name) else { return Err(DropPoolError::Unknown(name)) };
        let (pool, found, waiting) = (entry.pool.id, entry.defined_at, entry.counts.waiting);
        if meant > EventId::ZERO && meant != found {
            return Err(DropPoolError::Another { name, found, meant });
        }
        let closed_at = entry.closed_at.unwrap_or_else(|| self.push(EventKind::PoolClosed { pool }));
        Ok(Dropping { pool, defined_at: found, closed_at, waiting })
    }

    fn withdraw(&mut self, name: &ElementName) -> Withdrawing {
        let Some(element) = self.find(name) else { return Withdrawing::Unknown };
        match self.ledger.status(element) {
            Status::Unknown => Withdrawing::Unknown,
            Status::Ended(x) => Withdrawing::Ended(x),
            Status::Waiting(entry) => {
                let (pool, closing) = (entry.pool, entry.closing);
                let ended = self.waiters.add(element);
                // Who is over expires, also where that is still to be written.
                let reason = self.ledger.reason_at(element, self.sequencer.time_ms(), WithdrawReason::Client);
                let kind = EventKind::Withdrawal { element, pool, reason };
                let at = closing.unwrap_or_else(|| self.push(kind));
                Withdrawing::Written { at, own: closing.is_none() && reason == WithdrawReason::Client, ended }
            }
        }
    }

    pub(super) fn find(&self, name: &ElementName) -> Option<ElementId> {
        match name {
            ElementName::Id(element) => Some(*element),
            ElementName::Key { pool, key } => self.ledger.find(self.ledger.pool_named(pool)?.pool.id, key),
        }
    }
}
