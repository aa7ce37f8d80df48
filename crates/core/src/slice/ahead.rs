//! How far a slice has searched ahead of the decided watermark, and when it waits for it.
//!
//! Waiting is always safe, and cannot deadlock: for the lowest undecided probe nothing is ahead.

use std::collections::VecDeque;

use crate::EventId;

/// A slice searches at most so many events ahead of the decided watermark, in units of `list_max`. Further ahead it would
/// mostly find anchors that are taken already, each at the cost of a test and of a candidate: one that fell behind would
/// stay behind.
const EVENTS: u64 = 4;
/// The same for the candidates it has listed above the watermark: where nearly everything matches, few events make many.
const CANDIDATES: usize = 32;
/// Where it settles matches itself nothing is searched in vain; this only bounds the frames it keeps.
const EVENTS_SETTLED: u64 = 64;

/// The search above the decided watermark.
#[derive(Debug)]
pub(super) struct Ahead {
    list_max: usize,
    /// Probes above the watermark that found something, and how much.
    listed: VecDeque<(EventId, usize)>,
    candidates: usize,
    /// The probe that waits, and the watermark it waits for.
    waiting: Option<(EventId, EventId)>,
    waits: u64,
}

impl Ahead {
    pub(super) fn new(list_max: usize) -> Ahead {
        Ahead { list_max, listed: VecDeque::new(), candidates: 0, waiting: None, waits: 0 }
    }

    /// Whether probe `x` may be searched with the decided watermark at `known`. If not, it waits.
    pub(super) fn may_search(&mut self, x: EventId, known: EventId) -> bool {
        if self.waiting.is_some_and(|(at, until)| at == x && known < until) {
            return false;
        }
        self.waiting = None;
        match self.too_far(x, known) {
            Some(until) => {
                self.wait(x, until);
                false
            }
            None => true,
        }
    }

    /// Whether event `x` may be settled with the decided watermark at `known`. If not, it waits.
    pub(super) fn may_settle(&mut self, x: EventId, known: EventId) -> bool {
        let events_max = EVENTS_SETTLED * self.list_max as u64;
        if x.0.saturating_sub(known.0) <= events_max {
            self.waiting = None;
            return true;
        }
        let until = EventId(x.0 - events_max);
        self.wait_once(x, until);
        false
    }

    /// Probe `x` waits until the decided watermark has reached `until`.
    pub(super) fn wait(&mut self, x: EventId, until: EventId) {
        self.waiting = Some((x, until));
        self.waits += 1;
    }

    /// The same, counted once however often it is asked.
    pub(super) fn wait_once(&mut self, x: EventId, until: EventId) {
        if self.waiting != Some((x, until)) {
            self.wait(x, until);
        }
    }

    /// Probe `x` was searched and found so many candidates.
    pub(super) fn searched(&mut self, x: EventId, candidates: usize) {
        if candidates > 0 {
            self.listed.push_back((x, candidates));
            self.candidates += candidates;
        }
    }

    /// Whether a probe waits.
    pub(super) fn waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// How often one has waited.
    pub(super) fn waits(&self) -> u64 {
        self.waits
    }

    /// The watermark to wait for, when what is undecided below `x` is more than is worth while.
    fn too_far(&mut self, x: EventId, known: EventId) -> Option<EventId> {
        while let Some((_, candidates)) = self.listed.pop_front_if(|(x, _)| *x <= known) {
            self.candidates -= candidates;
        }
        let events_max = EVENTS * self.list_max as u64;
        if x.0.saturating_sub(known.0) > events_max {
            return Some(EventId(x.0 - events_max));
        }
        let mut excess = self.candidates.saturating_sub(CANDIDATES * self.list_max);
        if excess == 0 {
            return None;
        }
        // Once this probe is decided, the rest is within bounds.
        let enough = self.listed.iter().find(|(_, candidates)| {
            let enough = excess <= *candidates;
            excess = excess.saturating_sub(*candidates);
            enough
        });
        enough.map(|&(x, _)| x)
    }
}
