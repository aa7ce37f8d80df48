//! What clients ask of the balancer, and time: timers are written before time passes them, or make their pools late;
//! submissions are held that are for these, or whose keys' elements are not decided.

use dovetail_core::{
    ElementId, EventKind,
    hold::{Ticket, Until},
    ledger::{Admission, Status, Submission, SubmitError, TimerShare, Timing},
};

use super::state::{BalancerNode, LiveBalancer, Submitted};
use crate::{cx::Cx, truth::differs, violation::Violation};

impl BalancerNode {
    /// A client submits an element.
    ///
    /// # Errors
    /// When a balancer has forgotten what it had acknowledged, or refuses what it should not.
    pub fn submit(&mut self, cx: &mut Cx, stream: u64, submitted: Submitted) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("clients wait for a balancer that is up");
        match live.holds.behind(stream, submitted) {
            Ok(()) => {
                cx.stats.held_behind += 1;
                Ok(())
            }
            Err(submitted) => self.admit(cx, stream, submitted, None, false),
        }
    }

    /// Goes on with what is held no longer.
    pub(super) fn free(&mut self, cx: &mut Cx) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        live.ledger.take_caught_up().into_iter().for_each(|pool| live.holds.caught_up(pool));
        while self.may_write() {
            let live = self.live.as_mut().expect("a node that is up is live");
            let now_ms = live.clock.read(cx.net.now());
            let Some(freed) = live.holds.next(live.ledger.decided(), now_ms, |_, _| true) else { break };
            self.admit(cx, freed.stream, freed.request, freed.ticket, freed.over)?;
        }
        self.set_timers(cx);
        Ok(())
    }

    fn admit(
        &mut self,
        cx: &mut Cx,
        stream: u64,
        mut submitted: Submitted,
        ticket: Option<Ticket>,
        over: bool,
    ) -> Result<(), Violation> {
        self.keep_time(cx);
        let newest = self.is_newest(cx);
        let live = self.live.as_mut().expect("a node that is up is live");
        let asked = *submitted.asked.get_or_insert(live.sequencer.assigned());
        let Submitted { number, pool, submission, .. } = &submitted;
        // What another balancer has let in since this one does not know of; it is told nothing before the log has it.
        let expected = live.acknowledged(cx, pool, submission).filter(|_| newest);
        let told = live.ledger.admit(live.sequencer.time_ms(), pool, submission.clone(), asked);
        let retried = match told {
            Ok(Admission::Retry(element)) => Some(element),
            _ => None,
        };
        if expected.is_some() && retried != expected {
            return Err(differs("answer to a retry", format!("{told:?}"), format!("{expected:?}")));
        }
        match told {
            Ok(Admission::New { pool, row, client }) => {
                let last = live.streams.insert(stream, *number).unwrap_or_default();
                if last > *number {
                    let found = format!("submission {number} after {last}");
                    return Err(differs(format!("order of stream {stream}"), found, "as they came".to_owned()));
                }
                self.push(cx, EventKind::Arrival { pool, row }, Some(client));
            }
            Ok(Admission::Retry(element)) => {
                cx.stats.retries += 1;
                cx.stats.retries_from_checkpoint += u64::from(element.arrival() <= live.cut);
            }
            Ok(Admission::Undecided(_)) if over => cx.stats.held_in_vain += 1,
            Ok(Admission::Undecided(until)) => {
                cx.stats.held_rows += 1;
                let now_ms = live.clock.read(cx.net.now());
                live.holds.hold(stream, until, now_ms, submitted, ticket);
            }
            Ok(Admission::Late(_)) if over => cx.stats.held_in_vain += 1,
            Ok(Admission::Late(pool)) => {
                cx.stats.held_late += 1;
                let now_ms = live.clock.read(cx.net.now());
                live.holds.hold(stream, Until::CaughtUp(pool), now_ms, submitted, ticket);
            }
            Err(error) => {
                cx.stats.refused += 1;
                match error {
                    SubmitError::KeyWaiting { element, .. } => cx.truth.check_refused(element, asked)?,
                    SubmitError::IdempotencyFull { total, .. } if newest => {
                        live.check_idempotency_full(cx, pool, total)?;
                    }
                    _ => {}
                }
            }
        }
        self.set_timers(cx);
        Ok(())
    }

    /// A client withdraws an element, if it waits.
    pub fn withdraw(&mut self, cx: &mut Cx, element: ElementId) {
        self.keep_time(cx);
        let pool = self.ledger().and_then(|ledger| match ledger.status(element) {
            Status::Waiting(entry) if entry.closing.is_none() => Some(entry.pool),
            _ => None,
        });
        if let Some(pool) = pool {
            let live = self.live.as_ref().expect("clients wait for a balancer that is up");
            let time_ms = live.sequencer.time_ms();
            let reason = live.ledger.reason_at(element, time_ms, dovetail_core::WithdrawReason::Client);
            self.push(cx, EventKind::Withdrawal { element, pool, reason }, None);
        }
    }

    /// A client defines a pool that is not defined yet.
    pub fn define(&mut self, cx: &mut Cx, definition: &dovetail_core::PoolDefinition) {
        let Some(live) = &self.live else { return };
        if live.ledger.pool_named(&definition.name).is_none() {
            self.keep_time(cx);
            let pool = self.ledger().expect("it is live").next_pool();
            self.push(cx, EventKind::PoolDefined { pool, definition: std::sync::Arc::new(definition.clone()) }, None);
        }
    }

    /// A client drops a pool, if it is not being dropped.
    pub fn drop_pool(&mut self, cx: &mut Cx, name: &str) {
        self.keep_time(cx);
        let named = self.ledger().expect("clients wait for a balancer that is up").pool_named(name);
        if let Some(pool) = named.filter(|entry| entry.closed_at.is_none()).map(|entry| entry.pool.id) {
            self.push(cx, EventKind::PoolClosed { pool }, None);
        }
    }

    /// Writes some of what pools that are being dropped come to.
    pub(super) fn write_dropping(&mut self, cx: &mut Cx, most: usize) {
        let live = self.live.as_mut().expect("a node that is up is live");
        for kind in live.ledger.dropping(most, live.sequencer.time_ms()) {
            self.push(cx, kind, None);
        }
    }

    /// Writes all that is due, so that the next event may have the clock's time.
    fn keep_time(&mut self, cx: &mut Cx) {
        while !self.write_due(cx, usize::MAX) {}
    }

    /// Writes some of what is due, at most `most`. Whether that was all for now.
    pub(super) fn write_due(&mut self, cx: &mut Cx, most: usize) -> bool {
        let live = self.live.as_mut().expect("a node that is up is live");
        let now_ms = live.clock.read(cx.net.now());
        let share = &mut share_of(cx);
        match live.ledger.advance_time(&mut live.sequencer, now_ms, most, share) {
            Timing::Done => true,
            Timing::FrameFirst => {
                let due = live.sequencer.due_ms().is_some_and(|due_ms| due_ms <= now_ms);
                if due {
                    self.take_frame(cx);
                }
                !due
            }
            Timing::Due(events) => {
                for kind in events {
                    self.push(cx, kind, None);
                }
                false
            }
        }
    }
}

/// How many timers may be written before time passes them.
fn share_of(cx: &mut Cx) -> TimerShare {
    // Draws nothing where no pool is late, so that other seeds replay as they did.
    if cx.scenario.late_permille == 0 || !cx.rng.chance(cx.scenario.late_permille) {
        return TimerShare::all();
    }
    TimerShare::new(cx.rng.index(4), cx.rng.index(8))
}

impl BalancerNode {
    /// Writes some of the timers of pools that are late.
    pub(super) fn write_late(&mut self, cx: &mut Cx, most: usize) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let late = live.ledger.late_due(&live.sequencer, most, |_, _| true);
        cx.stats.late += late.events.len() as u64;
        for kind in late.events {
            self.push(cx, kind, None);
        }
    }
}

impl LiveBalancer {
    /// The element that a retry has to be answered with, if its first try was acknowledged and has to be remembered.
    fn acknowledged(&self, cx: &Cx, pool: &str, submission: &Submission) -> Option<ElementId> {
        // It may have been dropped since.
        let pool = self.ledger.pool_named(pool)?.pool.id;
        let (element, made_ms) = cx.truth.made(pool, &submission.idempotency_key)?;
        (self.sequencer.time_ms() <= made_ms + cx.scenario.ledger.idempotency_ms).then_some(element)
    }

    /// A submission was refused for the number of idempotency keys: there are so many that have to be remembered.
    fn check_idempotency_full(&self, cx: &mut Cx, pool: &str, total: bool) -> Result<(), Violation> {
        cx.stats.refused_idempotency += 1;
        let limits = &cx.scenario.ledger;
        let pool = self.ledger.pool_named(pool).expect("it is defined").pool.id;
        let from_ms = self.sequencer.time_ms().saturating_sub(limits.idempotency_ms);
        let (of_pool, all) = cx.truth.keyed(pool, from_ms);
        // Those above the durable log are not among them yet.
        let ahead =
            usize::try_from(self.sequencer.assigned().0.saturating_sub(cx.truth.durable().0)).expect("few events");
        let (found, bound) =
            if total { (all, limits.idempotency_total_max) } else { (of_pool, limits.idempotency_max) };
        if found + ahead >= bound {
            return Ok(());
        }
        let what = format!("idempotency keys of {pool} when one more was refused");
        Err(differs(what, format!("{found}, and {ahead} events are not on disk"), format!("at least {bound}")))
    }
}
