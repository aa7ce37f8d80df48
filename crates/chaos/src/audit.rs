//! What the cluster told its clients, held against the truth.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use dovetail::pb::{ElementState, EndReason, Match, WithdrawOutcome};
use dovetail_core::WithdrawReason;

use super::{
    clients::{
        Acked, Evidence, Looked, Withdrawn,
        watch::{SeenOutcome, WatchStream, Watcher},
    },
    journal::Journal,
    truth::{Decided, LogTruth, lock},
    workload::{ChaosPool, key, payload},
};

/// Checks evidence, piece by piece.
#[derive(Debug)]
pub struct EvidenceAudit {
    journal: Arc<Journal>,
    truth: Arc<Mutex<LogTruth>>,
    /// Everything up to here was checked.
    pub through: u64,
    /// Elements of which a call was answered WITHDRAWN.
    withdrawn: HashSet<u64>,
}

impl EvidenceAudit {
    pub fn new(journal: Arc<Journal>, truth: Arc<Mutex<LogTruth>>) -> EvidenceAudit {
        EvidenceAudit { journal, truth, through: 0, withdrawn: HashSet::new() }
    }

    /// Checks what was told up to event `through`, which the truth has reached. All evidence is about events up to
    /// there.
    pub fn check(&mut self, evidence: Evidence, watchers: &[Arc<Watcher>], again: &[SeenOutcome], through: u64) {
        let truth = Arc::clone(&self.truth);
        let truth = lock(&truth);
        for acked in &evidence.acked {
            self.acked(&truth, *acked);
        }
        for withdrawn in &evidence.withdrawn {
            self.withdrawn(&truth, withdrawn);
        }
        for looked in &evidence.looked {
            self.looked(&truth, looked);
        }
        let range = self.through + 1..=through;
        let pairs = |outcomes: Vec<SeenOutcome>| {
            outcomes.into_iter().filter(SeenOutcome::is_pair).collect::<Vec<SeenOutcome>>()
        };
        for watcher in watchers {
            let outcomes = truth.outcomes(watcher.pool.map(ChaosPool::name), range.clone());
            let expected = if watcher.stream == WatchStream::Outcomes { outcomes } else { pairs(outcomes) };
            self.same(&watcher.name(), &watcher.take_through(through), &expected);
        }
        let again: Vec<SeenOutcome> = again.iter().filter(|seen| range.contains(&seen.cursor)).copied().collect();
        self.same("reading again", &again, &pairs(truth.outcomes(None, range)));
        self.through = through;
    }

    fn acked(&self, truth: &LogTruth, acked: Acked) {
        let logged = truth.id_of(acked.serial);
        self.journal.check("acknowledged is in the log, with that id", logged == Some(acked.id), || {
            format!("{acked:?}, in the log as {logged:?}")
        });
    }

    fn withdrawn(&mut self, truth: &LogTruth, withdrawn: &Withdrawn) {
        let end = truth.end_of(withdrawn.element.id);
        let reason = end.and_then(|end| end.reason);
        let fits = match withdrawn.outcome {
            WithdrawOutcome::Withdrawn => {
                self.withdrawn.insert(withdrawn.element.id) && reason == Some(WithdrawReason::Client)
            }
            // A client that asked once, and alone, is told that its own call did it.
            WithdrawOutcome::AlreadyWithdrawn => match reason {
                Some(WithdrawReason::Expired | WithdrawReason::Dropped) => true,
                Some(WithdrawReason::Client) => withdrawn.calls > 1,
                None => false,
            },
            WithdrawOutcome::AlreadyMatched => end.is_some() && reason.is_none(),
            WithdrawOutcome::NotFound | WithdrawOutcome::Unspecified => false,
        };
        let told = match reason {
            Some(WithdrawReason::Client) => EndReason::Withdrawn,
            Some(WithdrawReason::Expired) => EndReason::Expired,
            Some(WithdrawReason::Dropped) => EndReason::Dropped,
            None => EndReason::Unspecified,
        };
        let same = fits && withdrawn.reason == told && same_match(truth, end, withdrawn.found.as_ref());
        self.journal.check("withdrawals are answered as the oracle says", same, || {
            format!("{withdrawn:?}, the oracle says {end:?}")
        });
    }

    fn looked(&self, truth: &LogTruth, looked: &Looked) {
        let end = truth.end_of(looked.element.id);
        let fits = match looked.state {
            ElementState::Matched => end.is_some_and(|end| end.reason.is_none()),
            ElementState::Withdrawn => end.and_then(|end| end.reason) == Some(WithdrawReason::Client),
            ElementState::Expired => end.and_then(|end| end.reason) == Some(WithdrawReason::Expired),
            ElementState::Dropped => end.and_then(|end| end.reason) == Some(WithdrawReason::Dropped),
            ElementState::Waiting | ElementState::Unspecified => false,
        };
        let same = fits
            && same_match(truth, end, looked.found.as_ref())
            && end.is_some_and(|end| end.retirement.x.0 == looked.ended_at);
        self.journal
            .check("lookups are answered as the oracle says", same, || format!("{looked:?}, the oracle says {end:?}"));
    }

    fn same(&self, who: &str, found: &[SeenOutcome], expected: &[SeenOutcome]) {
        self.journal.checked("published outcomes are the oracle's", expected.len() as u64);
        let differ = found.iter().zip(expected).find(|(found, expected)| found != expected);
        if differ.is_some() || found.len() != expected.len() {
            let (found, expected) = (found.len(), expected.len());
            let text = format!("{who}: {found} outcomes, the oracle has {expected}; the first that differ: {differ:?}");
            self.journal.violation(text);
        }
    }
}

/// Whether a match that came with an answer is the one the oracle made, or there is none.
fn same_match(truth: &LogTruth, end: Option<Decided>, found: Option<&Match>) -> bool {
    let Some(expected) = end.map(|end| end.seen()).filter(SeenOutcome::is_pair) else { return found.is_none() };
    found.is_some_and(|found| {
        let named = [&found.a, &found.b].into_iter().flatten().all(|end| {
            let serial = truth.element(end.id).map(|element| element.serial);
            serial.is_some_and(|serial| end.key == key(serial) && end.payload == payload(serial).as_bytes())
        });
        named && SeenOutcome::of(found) == expected
    })
}

#[cfg(test)]
mod tests {
    use std::{io::sink, sync::Arc};

    use dovetail::{client::value, pb};
    use dovetail_core::{Audience, ElementId, Event, EventId, EventKind, LogFrame, PoolId, Stable};
    use dovetail_rule::{Row, Value};

    use super::*;
    use crate::clients::watch::SeenReason;

    const POOL: PoolId = PoolId(0);

    fn frame(after: u64, kinds: Vec<EventKind>) -> LogFrame {
        let events: Vec<Event> = (after + 1..).zip(kinds).map(|(x, kind)| Event { x: EventId(x), kind }).collect();
        let through = EventId(after + events.len() as u64);
        LogFrame {
            after: EventId(after),
            through,
            time_ms: 1,
            stable: Stable(EventId::ZERO),
            audience: Audience::All,
            events,
        }
    }

    fn arrival(serial: i64, role: i64) -> EventKind {
        let row = [Value::Int(serial), Value::String("eu".into()), Value::Int(role)].map(Some);
        EventKind::Arrival { pool: POOL, row: Arc::new(Row::from_values(row)) }
    }

    /// Pool at x1; k1 at x2, k2 at x3 match at x3; k3 at x4 is withdrawn at x5; k4 at x6 waits.
    fn audit() -> EvidenceAudit {
        let journal = Arc::new(Journal::new(sink()));
        let mut truth = LogTruth::new(Arc::clone(&journal));
        let definition = Arc::new(dovetail_wire::pool_definition(ChaosPool::Keyed.definition()).unwrap());
        let withdrawal = EventKind::Withdrawal { element: ElementId(4), pool: POOL, reason: WithdrawReason::Client };
        truth.take(&frame(0, vec![EventKind::PoolDefined { pool: POOL, definition }]));
        truth.take(&frame(1, vec![arrival(1, 0), arrival(2, 1), arrival(3, 0), withdrawal, arrival(4, 0)]));
        EvidenceAudit::new(journal, Arc::new(Mutex::new(truth)))
    }

    fn acked(serial: u64, id: u64) -> Acked {
        Acked { pool: ChaosPool::Keyed, serial, id }
    }

    fn found(cursor: u64, ends: [(u64, u64); 2]) -> Match {
        let [a, b] = ends.map(|(id, serial)| {
            Some(pb::MatchedElement { id, key: key(serial), payload: payload(serial).into(), ..Default::default() })
        });
        Match { cursor, pool: "keyed".to_owned(), a, b, time_ms: 1 }
    }

    /// What the audit says about evidence.
    fn check(evidence: Evidence, again: &[SeenOutcome]) -> Vec<String> {
        let mut audit = audit();
        audit.check(evidence, &[], again, 6);
        audit.journal.sums().violations
    }

    const fn pair(cursor: u64, a: u64, b: u64) -> SeenOutcome {
        SeenOutcome { cursor, what: SeenReason::Pair(a, b) }
    }

    const MATCHES: &[SeenOutcome] = &[pair(3, 2, 3)];

    #[test]
    fn what_is_true_passes() {
        let matched = Withdrawn {
            element: acked(1, 2),
            outcome: WithdrawOutcome::AlreadyMatched,
            found: Some(found(3, [(2, 1), (3, 2)])),
            reason: EndReason::Unspecified,
            calls: 1,
        };
        let (outcome, reason) = (WithdrawOutcome::Withdrawn, EndReason::Withdrawn);
        let own = Withdrawn { element: acked(3, 4), outcome, found: None, reason, calls: 1 };
        let looked = Looked { element: acked(3, 4), state: ElementState::Withdrawn, found: None, ended_at: 5 };
        let acked = vec![acked(1, 2), acked(2, 3), acked(3, 4), acked(4, 6)];
        let evidence = Evidence { acked, withdrawn: vec![matched, own], looked: vec![looked] };
        assert_eq!(check(evidence, MATCHES), Vec::<String>::new());
    }

    #[test]
    fn an_acknowledged_element_that_is_not_in_the_log_is_told_of() {
        for lost in [acked(9, 7), acked(1, 3)] {
            let violations = check(Evidence { acked: vec![lost], ..Evidence::default() }, MATCHES);
            assert!(violations[0].contains("acknowledged is in the log"), "{violations:?}");
        }
    }

    #[test]
    fn a_match_that_is_missing_or_too_much_or_another_is_told_of() {
        for again in [&[][..], &[pair(3, 2, 3), pair(6, 4, 6)], &[pair(3, 2, 4)], &[pair(4, 2, 3)]] {
            assert_eq!(check(Evidence::default(), again).len(), 1, "{again:?}");
        }
    }

    #[test]
    fn a_wrong_answer_to_a_withdrawal_is_told_of() {
        let wrong = |serial, id, outcome, found, calls| {
            let reason = if id == 4 { EndReason::Withdrawn } else { EndReason::Unspecified };
            let withdrawn = vec![Withdrawn { element: acked(serial, id), outcome, found, reason, calls }];
            assert_eq!(check(Evidence { withdrawn, ..Evidence::default() }, MATCHES).len(), 1, "{outcome:?} of {id}");
        };
        let matched = || Some(found(3, [(2, 1), (3, 2)]));
        wrong(1, 2, WithdrawOutcome::Withdrawn, None, 1);
        wrong(1, 2, WithdrawOutcome::AlreadyMatched, None, 1);
        wrong(1, 2, WithdrawOutcome::AlreadyMatched, Some(found(3, [(2, 1), (3, 4)])), 1);
        wrong(3, 4, WithdrawOutcome::AlreadyMatched, matched(), 1);
        wrong(3, 4, WithdrawOutcome::AlreadyWithdrawn, None, 1);
        wrong(4, 6, WithdrawOutcome::Withdrawn, None, 1);
        wrong(4, 6, WithdrawOutcome::AlreadyMatched, None, 1);
        wrong(4, 6, WithdrawOutcome::NotFound, None, 2);
    }

    #[test]
    fn a_wrong_answer_to_a_lookup_is_told_of() {
        let wrong = |serial, id, state, ended_at| {
            let looked = vec![Looked { element: acked(serial, id), state, found: None, ended_at }];
            assert_eq!(check(Evidence { looked, ..Evidence::default() }, MATCHES).len(), 1, "{state:?} of {id}");
        };
        wrong(3, 4, ElementState::Expired, 5);
        wrong(3, 4, ElementState::Withdrawn, 6);
        wrong(1, 2, ElementState::Matched, 3);
        wrong(4, 6, ElementState::Withdrawn, 0);
    }

    #[test]
    fn an_element_that_is_logged_twice_and_an_id_that_comes_again_are_told_of() {
        let audit = audit();
        let take = |frame: &LogFrame| {
            let before = audit.journal.sums().violations.len();
            lock(&audit.truth).take(frame);
            audit.journal.sums().violations.len() - before
        };
        assert_eq!(take(&frame(6, vec![arrival(5, 0)])), 0);
        assert_eq!(take(&frame(7, vec![arrival(5, 1)])), 1);
        assert_eq!(take(&frame(7, vec![arrival(6, 1)])), 1);
    }

    #[test]
    fn an_element_is_drawn_from_its_serial_and_fits_its_pool() {
        for pool in ChaosPool::ALL {
            let element = pool.element(1, 7);
            assert_eq!(element, pool.element(1, 7));
            assert_eq!(element.attributes[crate::workload::SERIAL], value::int(7));
            assert_eq!(element.attributes.len(), pool.definition().attributes.len());
        }
    }
}
