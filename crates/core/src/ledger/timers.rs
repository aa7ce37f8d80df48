//! When elements expire and search again, and how far time may go.
//!
//! A timer is written as an event when it is due, and time does not pass it before: what searches at `t` finds nobody whose time to
//! live ended at or before `t` (sequencer's Q3). When many are due, as after a stop, time catches up with the clock in steps of at
//! most [`STRIDE_MS`]: in each, first those expire whose time is over, then the others search. So a storm of timers delays what
//! comes after it, and lets nothing overtake it.

use std::{collections::BTreeSet, sync::Arc};

use super::Ledger;
use crate::{
    ElementId, EventKind, WithdrawReason,
    planted::{Bug, Planted},
    sequencer::Sequencer,
};

/// Longest step by which time catches up with the clock while timers are due, in milliseconds. A search that was due may come
/// after expiries that were due by so much later.
pub const STRIDE_MS: u64 = 10;

/// How late timers are written when that bug is planted.
const LATE_MS: u64 = 20;

/// What is due, by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    expiries: BTreeSet<(u64, ElementId)>,
    reprobes: BTreeSet<(u64, ElementId)>,
}

/// What there is to do before more events can be given their time.
#[derive(Debug, PartialEq)]
pub enum Timing {
    /// Nothing: every timer that is due is written, and time is the clock's.
    Done,
    /// The open frame is of a time before the next timer that is due. What comes may still go into it; that timer is
    /// written once it is taken.
    FrameFirst,
    /// These are due. Each is offered once: give it an id and record it, then ask again.
    Due(Vec<EventKind>),
}

impl Timers {
    pub(super) fn expires(&mut self, element: ElementId, due_ms: Option<u64>) {
        self.expiries.extend(due_ms.map(|due_ms| (due_ms, element)));
    }

    pub(super) fn searches(&mut self, element: ElementId, due_ms: Option<u64>) {
        self.reprobes.extend(due_ms.map(|due_ms| (due_ms, element)));
    }

    pub(super) fn expires_not(&mut self, element: ElementId, due_ms: Option<u64>) {
        due_ms.map(|due_ms| self.expiries.remove(&(due_ms, element)));
    }

    pub(super) fn searches_not(&mut self, element: ElementId, due_ms: Option<u64>) {
        due_ms.map(|due_ms| self.reprobes.remove(&(due_ms, element)));
    }

    fn next_due_ms(&self) -> Option<u64> {
        let first = |timers: &BTreeSet<(u64, ElementId)>| timers.first().map(|&(due_ms, _)| due_ms);
        first(&self.expiries).into_iter().chain(first(&self.reprobes)).min()
    }

    /// The first expiry that is due at `time_ms`; the first search when no expiry is.
    fn pop(&mut self, time_ms: u64, planted: Planted) -> Option<(ElementId, Timer)> {
        let pop = |timers: &mut BTreeSet<(u64, ElementId)>| {
            timers.first().is_some_and(|&(due_ms, _)| due_ms <= time_ms).then(|| timers.pop_first()).flatten()
        };
        let searches_first = planted.is(Bug::SearchesBeforeExpiries);
        let early = if searches_first { pop(&mut self.reprobes) } else { None };
        let expiry = if early.is_none() { pop(&mut self.expiries) } else { None };
        if let Some((_, element)) = expiry {
            return Some((element, Timer::Expire));
        }
        early.or_else(|| pop(&mut self.reprobes)).map(|(_, element)| (element, Timer::Reprobe))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Expire,
    Reprobe,
}

impl Ledger {
    /// Brings the sequencer's time to `now_ms`, as far as the timers allow that are due by then. Offers at most `most` of them.
    pub fn advance_time<E>(&mut self, sequencer: &mut Sequencer<E>, now_ms: u64, most: usize) -> Timing {
        let late_ms = if self.planted.is(Bug::TimersPassed) { LATE_MS } else { 0 };
        while let Some(first_ms) = self.next_due_ms().filter(|&due_ms| due_ms + late_ms <= now_ms) {
            let time_ms = sequencer.time_at(now_ms.min(first_ms.saturating_add(STRIDE_MS)));
            if time_ms < first_ms {
                return Timing::FrameFirst;
            }
            // Not beyond the open frame: what is due after it may be something else.
            sequencer.advance(time_ms);
            let due = self.due(time_ms, most);
            // None of those that were due may wait any more.
            if !due.is_empty() {
                return Timing::Due(due);
            }
        }
        sequencer.advance(now_ms);
        Timing::Done
    }

    /// Expiries that are due, and when there is none, searches; at most `most`. Each is offered once; record the event that comes
    /// of it.
    pub fn due(&mut self, time_ms: u64, most: usize) -> Vec<EventKind> {
        let mut events = Vec::new();
        while events.len() < most
            && let Some((element, timer)) = self.timers.pop(time_ms, self.planted)
        {
            let Some(at) = self.elements.waits(element).filter(|_| !self.closing.contains_key(&element)) else {
                continue;
            };
            let view = self.elements.view(at);
            let pool = view.batch.pool();
            if timer == Timer::Reprobe && self.pool(pool).closed_at.is_some() {
                continue;
            }
            events.push(match timer {
                Timer::Expire => EventKind::Withdrawal { element, pool, reason: WithdrawReason::Expired },
                Timer::Reprobe => {
                    let row = Arc::new(view.batch.row(view.row));
                    EventKind::Reprobe { element, pool, arrived_ms: view.arrived_ms, row }
                }
            });
        }
        events
    }

    /// When the next timer is due, in milliseconds since 1970.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.timers.next_due_ms()
    }
}

/// When an element that arrived at `time_ms` ends its stay; none for a time to live of 0.
pub(super) fn expires(time_ms: u64, ttl_ms: u64) -> Option<u64> {
    (ttl_ms > 0).then(|| time_ms.saturating_add(ttl_ms))
}

/// When an element searches by a schedule: a millisecond after it has waited for so long, so that `waited > delay` holds in a search
/// that is due after `delay`.
pub(crate) fn searches(schedule: &[u64], arrived_ms: u64) -> impl Iterator<Item = u64> {
    schedule.iter().map(move |&delay_ms| arrived_ms.saturating_add(delay_ms).saturating_add(1))
}

/// When an element that searched at `time_ms`, and was to at `was_due_ms`, searches next: the first of the schedule after both.
/// So a stop skips what it missed but one; and the event may have come into a frame that is older than what was due.
pub(super) fn due_next(schedule: &[u64], arrived_ms: u64, was_due_ms: Option<u64>, time_ms: u64) -> Option<u64> {
    let done_ms = was_due_ms.map_or(time_ms, |due_ms| due_ms.max(time_ms));
    searches(schedule, arrived_ms).find(|&due_ms| due_ms > done_ms)
}
