//! What the cluster told its clients, held against the truth.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use dovetail::pb::{ElementState, Match, WithdrawOutcome};
use dovetail_core::WithdrawReason;

use super::{
    clients::{
        Acked, Evidence, Looked, Withdrawn,
        watch::{Seen, Watcher, triple},
    },
    journal::Journal,
    truth::{Decided, Truth, lock},
    workload::{Pool, key, payload},
};

/// Checks evidence, piece by piece.
#[derive(Debug)]
pub struct Audit {
    journal: Arc<Journal>,
    truth: Arc<Mutex<Truth>>,
    /// Everything up to here was checked.
    pub through: u64,
    /// Elements of which a call was answered WITHDRAWN.
    withdrawn: HashSet<u64>,
}

impl Audit {
    pub fn new(journal: Arc<Journal>, truth: Arc<Mutex<Truth>>) -> Audit {
        Audit { journal, truth, through: 0, withdrawn: HashSet::new() }
    }

    /// Checks what was told up to event `through`, which the truth has reached. All evidence is about events up to there.
    pub fn check(&mut self, evidence: Evidence, watchers: &[Arc<Watcher>], again: &[Seen], through: u64) {
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
        for watcher in watchers {
            let expected = truth.matches(watcher.pool.map(Pool::name), range.clone());
            self.same_matches(&watcher.name(), &watcher.take_through(through), &expected);
        }
        let again: Vec<Seen> = again.iter().filter(|(cursor, ..)| range.contains(cursor)).copied().collect();
        self.same_matches("reading again", &again, &truth.matches(None, range));
        self.through = through;
    }

    fn acked(&self, truth: &Truth, acked: Acked) {
        let logged = truth.id_of(acked.serial);
        self.journal.check("acknowledged is in the log, with that id", logged == Some(acked.id), || {
            format!("{acked:?}, in the log as {logged:?}")
        });
    }

    fn withdrawn(&mut self, truth: &Truth, withdrawn: &Withdrawn) {
        let end = truth.end_of(withdrawn.element.id);
        let reason = end.and_then(|end| end.reason);
        let fits = match withdrawn.outcome {
            WithdrawOutcome::Withdrawn => {
                self.withdrawn.insert(withdrawn.element.id) && reason == Some(WithdrawReason::Client)
            }
            // Whoever asked once and alone is told that it was he.
            WithdrawOutcome::AlreadyWithdrawn => match reason {
                Some(WithdrawReason::Expired) => true,
                Some(WithdrawReason::Client) => withdrawn.calls > 1,
                None => false,
            },
            WithdrawOutcome::AlreadyMatched => end.is_some() && reason.is_none(),
            WithdrawOutcome::Unknown | WithdrawOutcome::Unspecified => false,
        };
        let same = fits && same_match(truth, end, withdrawn.found.as_ref());
        self.journal.check("withdrawals are answered as the oracle says", same, || {
            format!("{withdrawn:?}, the oracle says {end:?}")
        });
    }

    fn looked(&self, truth: &Truth, looked: &Looked) {
        let end = truth.end_of(looked.element.id);
        let fits = match looked.state {
            ElementState::Matched => end.is_some_and(|end| end.reason.is_none()),
            ElementState::Withdrawn => end.and_then(|end| end.reason) == Some(WithdrawReason::Client),
            ElementState::Expired => end.and_then(|end| end.reason) == Some(WithdrawReason::Expired),
            ElementState::Waiting | ElementState::Unspecified => false,
        };
        let same = fits
            && same_match(truth, end, looked.found.as_ref())
            && end.is_some_and(|end| end.retirement.x.0 == looked.ended_at);
        self.journal
            .check("lookups are answered as the oracle says", same, || format!("{looked:?}, the oracle says {end:?}"));
    }

    fn same_matches(&self, who: &str, found: &[Seen], expected: &[Seen]) {
        self.journal.checked("published matches are the oracle's", expected.len() as u64);
        let differ = found.iter().zip(expected).find(|(found, expected)| found != expected);
        if differ.is_some() || found.len() != expected.len() {
            let (found, expected) = (found.len(), expected.len());
            let text = format!("{who}: {found} matches, the oracle has {expected}; the first that differ: {differ:?}");
            self.journal.violation(text);
        }
    }
}

/// Whether a match that came with an answer is the one the oracle made, or there is none.
fn same_match(truth: &Truth, end: Option<Decided>, found: Option<&Match>) -> bool {
    let Some(expected) = end.and_then(|end| end.seen()) else { return found.is_none() };
    found.is_some_and(|found| {
        let named = [&found.a, &found.b].into_iter().flatten().all(|end| {
            let serial = truth.element(end.id).map(|element| element.serial);
            serial.is_some_and(|serial| end.key == key(serial) && end.payload == payload(serial).as_bytes())
        });
        named && triple(found) == expected
    })
}
