//! How far a slice has searched ahead of the decided watermark, and when it waits for it.
//!
//! Waiting is always safe, and cannot deadlock: for the lowest undecided probe nothing is ahead.

use std::collections::VecDeque;

use crate::{Decided, EventId};

/// A slice searches at most so many events ahead of the decided watermark, in units of `list_max`, where it has listed
/// more than `list_max` candidates above it. Further ahead it would mostly find anchors that are taken already, each at
/// the cost of a test and of a candidate: one that fell behind would stay behind.
const EVENTS: u64 = 4;
/// The same where few candidates are listed: then little is taken, and to search on is better than to wait.
const EVENTS_SPARSE: u64 = 16;
/// The same for the candidates it has listed above the watermark: where nearly everything matches, few events make
/// many.
const CANDIDATES: usize = 32;
/// Where it settles matches itself nothing is searched in vain; this only bounds the frames it keeps.
const EVENTS_SETTLED: u64 = 64;

/// The search above the decided watermark.
#[derive(Debug)]
pub(super) struct Lookahead {
    list_max: usize,
    /// Probes above the watermark that found something, and how much.
    listed: VecDeque<(EventId, usize)>,
    candidates: usize,
    /// The probe that waits, and the watermark it waits for.
    waiting: Option<(EventId, Decided)>,
    waits: u64,
}

impl Lookahead {
    pub(super) fn new(list_max: usize) -> Lookahead {
        Lookahead { list_max, listed: VecDeque::new(), candidates: 0, waiting: None, waits: 0 }
    }

    /// Whether probe `x` may be searched with the decided watermark at `decided_seen`. If not, it waits.
    pub(super) fn may_search(&mut self, x: EventId, decided_seen: Decided) -> bool {
        if self.waiting.is_some_and(|(at, until)| at == x && decided_seen < until) {
            return false;
        }
        self.waiting = None;
        match self.too_far(x, decided_seen) {
            Some(until) => {
                self.wait(x, until);
                false
            }
            None => true,
        }
    }

    /// Whether event `x` may be settled with the decided watermark at `decided_seen`. If not, it waits.
    pub(super) fn may_settle(&mut self, x: EventId, decided_seen: Decided) -> bool {
        if x <= self.settles_up_to(decided_seen) {
            self.waiting = None;
            return true;
        }
        let until = Decided(EventId(x.0 - EVENTS_SETTLED * self.list_max as u64));
        self.wait_once(x, until);
        false
    }

    /// The last event that may be settled with the decided watermark there.
    pub(super) fn settles_up_to(&self, decided_seen: Decided) -> EventId {
        EventId(decided_seen.event().0.saturating_add(EVENTS_SETTLED * self.list_max as u64))
    }

    /// Probe `x` waits until the decided watermark has reached `until`.
    pub(super) fn wait(&mut self, x: EventId, until: Decided) {
        self.waiting = Some((x, until));
        self.waits += 1;
    }

    /// The same, counted once however often it is asked.
    pub(super) fn wait_once(&mut self, x: EventId, until: Decided) {
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

    /// How often a probe has waited.
    pub(super) fn waits(&self) -> u64 {
        self.waits
    }

    /// The watermark to wait for, when what is undecided below `x` is more than is worth while.
    fn too_far(&mut self, x: EventId, decided_seen: Decided) -> Option<Decided> {
        while let Some((_, candidates)) = self.listed.pop_front_if(|(x, _)| decided_seen.covers(*x)) {
            self.candidates -= candidates;
        }
        let (ahead, unit) = (x.0.saturating_sub(decided_seen.event().0), self.list_max as u64);
        if ahead > EVENTS_SPARSE * unit {
            return Some(Decided(EventId(x.0 - EVENTS_SPARSE * unit)));
        }
        if ahead <= EVENTS * unit {
            return self.below(CANDIDATES * self.list_max);
        }
        let near = Decided(EventId(x.0 - EVENTS * unit));
        self.below(self.list_max).map(|until| until.min(near))
    }

    /// The watermark at which no more than so many candidates are listed above it; none when that is so by now.
    fn below(&self, candidates_max: usize) -> Option<Decided> {
        let mut excess = self.candidates.checked_sub(candidates_max).filter(|&excess| excess > 0)?;
        let enough = self.listed.iter().find(|(_, candidates)| {
            let enough = excess <= *candidates;
            excess = excess.saturating_sub(*candidates);
            enough
        });
        enough.map(|&(x, _)| Decided(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches from event 1 on while nothing is decided, each finding so many; returns the event that waits, and for
    /// what.
    fn waits(list_max: usize, candidates: impl Fn(u64) -> usize) -> (u64, u64) {
        let mut ahead = Lookahead::new(list_max);
        let mut x = EventId(1);
        while ahead.may_search(x, Decided::ZERO) {
            ahead.searched(x, candidates(x.0));
            x = x.next();
        }
        let (at, until) = ahead.waiting.unwrap();
        assert_eq!(
            (at, ahead.may_search(x, Decided(until.event().prev())), ahead.may_search(x, until)),
            (x, false, true)
        );
        (x.0, until.event().0)
    }

    #[test]
    fn a_slice_searches_the_further_ahead_the_less_it_finds() {
        assert_eq!(waits(10, |_| 0), (161, 1));
        assert_eq!(waits(10, |x| usize::from(x % 16 == 0)), (161, 1));
        // Ten candidates are enough above 40 events; with the 11th it waits for whichever comes first.
        assert_eq!(waits(10, |x| usize::from(x % 8 == 0)), (89, 8));
        assert_eq!(waits(10, |_| 1), (41, 1));
        // 320 are enough above any.
        assert_eq!(waits(10, |_| 100), (5, 1));
        assert_eq!(waits(10, |x| if x == 3 { 321 } else { 0 }), (4, 3));
    }
}
