//! Who waits for elements to end.
//!
//! They are handed the outcome itself: it may be forgotten, and even trimmed, by the time they could look it up.

use std::{collections::HashMap, sync::Arc};

use dovetail_core::{ElementId, ledger::Outcome};
use tokio::sync::oneshot;

use super::messages::Ended;
use dovetail_wire::PublishedOutcomes;

/// Fewest waiters between two looks for those that have gone away.
const SWEEP_MIN: usize = 1024;

/// Bounded by the calls under way: those that have gone away are forgotten once they are as many as the others.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    by_element: HashMap<ElementId, Vec<oneshot::Sender<Arc<Outcome>>>>,
    count: usize,
    sweep_at: usize,
}

impl Waiters {
    /// Another one for an element that waits.
    pub(super) fn add(&mut self, element: ElementId) -> Ended {
        if self.count >= self.sweep_at.max(SWEEP_MIN) {
            self.by_element.retain(|_, waiters| {
                waiters.retain(|waiter| !waiter.is_closed());
                !waiters.is_empty()
            });
            self.count = self.by_element.values().map(Vec::len).sum();
            self.sweep_at = 2 * self.count;
        }
        let (waiter, ended) = oneshot::channel();
        self.by_element.entry(element).or_default().push(waiter);
        self.count += 1;
        ended
    }

    /// Tells those who wait for the ends of outcomes.
    pub(super) fn tell(&mut self, outcomes: &PublishedOutcomes) {
        if self.by_element.is_empty() {
            return;
        }
        for outcome in outcomes.ending(|element| self.by_element.contains_key(&element)) {
            let (ends, outcome) = (outcome.retirement(), Arc::new(outcome));
            for element in ends.ends() {
                let Some(waiters) = self.by_element.remove(&element) else { continue };
                self.count -= waiters.len();
                // They may have stopped waiting.
                waiters.into_iter().for_each(|waiter| _ = waiter.send(Arc::clone(&outcome)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dovetail_core::{EventId, PoolId, WithdrawReason, ledger::OutcomeEnd};

    use super::*;
    use dovetail_wire::OutcomeWriter;

    #[test]
    fn those_who_went_away_are_forgotten_and_the_others_told() {
        let mut waiters = Waiters::default();
        let mut stayed = waiters.add(ElementId(7));
        for number in 0..100_000 {
            drop(waiters.add(ElementId(number % 5_000)));
            assert!(waiters.count <= SWEEP_MIN + 2, "{} are remembered, one is there", waiters.count);
        }
        let (key, owner) = ("k".into(), "".into());
        let element = OutcomeEnd { id: ElementId(7), key, payload: Bytes::new(), arrived_ms: None, owner };
        let reason = Some(WithdrawReason::Client);
        let outcome = Outcome { x: EventId(9), pool: PoolId(0), time_ms: 1, element, anchor: None, reason };
        let mut writer = OutcomeWriter::new(usize::MAX);
        writer.push_outcome(&outcome);
        for chunk in writer.take() {
            waiters.tell(&Arc::unwrap_or_clone(chunk).into());
        }
        assert_eq!(stayed.try_recv().unwrap().x, EventId(9));
    }
}
