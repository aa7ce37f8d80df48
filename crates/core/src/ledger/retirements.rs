//! Decisions above the decided watermark, by event, until everything below them is decided, too.
//!
//! Events have ids one after the other, so each has a place, and decisions are in the order of the log however they
//! come. Invariant: retirements.R1 there are no more places than events that are recorded and not decided.

use std::{collections::VecDeque, fmt};

use super::DecisionError;
use crate::{Decided, ElementId, EventId, Retirement};

/// What is decided of an event. Ids begin at 1.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    /// 0 when nothing was reported.
    element: u64,
    /// 0 for none.
    anchor: u64,
}

impl Place {
    fn retirement(self, x: EventId) -> Option<Retirement> {
        let anchor = (self.anchor > 0).then_some(ElementId(self.anchor));
        (self.element > 0).then_some(Retirement { x, element: ElementId(self.element), anchor })
    }
}

/// Decisions that are not final yet.
#[derive(Default)]
pub(super) struct Retirements {
    decided: EventId,
    /// Of the events after it.
    places: VecDeque<Place>,
}

impl fmt::Debug for Retirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Retirements {
    /// Nothing was reported yet, and everything up to an event is decided.
    pub(super) fn new(decided: Decided) -> Retirements {
        Retirements { decided: decided.event(), places: VecDeque::new() }
    }

    fn iter(&self) -> impl Iterator<Item = Retirement> {
        let xs = (self.decided.0 + 1..).map(EventId);
        self.places.iter().zip(xs).filter_map(|(place, x)| place.retirement(x))
    }

    /// Takes a decision. The log ends at `recorded`.
    #[inline]
    pub(super) fn insert(&mut self, reported: Retirement, recorded: EventId) -> Result<(), DecisionError> {
        let Retirement { x, element, anchor } = reported;
        let Some(at) = x.0.checked_sub(self.decided.0 + 1) else { return Ok(()) };
        if x > recorded {
            return Err(DecisionError::NotRecorded { reported, recorded });
        }
        if let Some(&end) = [Some(&element), anchor.as_ref()].into_iter().flatten().find(|end| end.0 == 0) {
            return Err(DecisionError::NotWaiting { element: end, reported });
        }
        let at = usize::try_from(at).expect("events that are not decided are in memory");
        if at >= self.places.len() {
            self.places.resize(at + 1, Place::default());
        }
        let place = &mut self.places[at];
        let new = Place { element: element.0, anchor: anchor.map_or(0, |anchor| anchor.0) };
        match place.retirement(x) {
            Some(known) if *place != new => Err(DecisionError::Conflict { x, known, reported }),
            _ => {
                *place = new;
                Ok(())
            }
        }
    }

    /// Everything up to an event is decided: the decisions up to it leave, ascending.
    pub(super) fn take(&mut self, decided: Decided) -> Vec<Retirement> {
        let decided = decided.event();
        let count = usize::try_from(decided.0.saturating_sub(self.decided.0)).unwrap_or(usize::MAX);
        let xs = (self.decided.0 + 1..).map(EventId);
        let leaving = self.places.drain(..count.min(self.places.len()));
        let reported = leaving.zip(xs).filter_map(|(place, x)| place.retirement(x)).collect();
        self.decided = decided.max(self.decided);
        reported
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn retirement(x: u64, element: u64, anchor: u64) -> Retirement {
        Retirement { x: EventId(x), element: ElementId(element), anchor: (anchor > 0).then_some(ElementId(anchor)) }
    }

    #[test]
    fn decisions_leave_in_the_order_of_the_log_however_they_come() {
        let (mut reported, mut map, mut random) = (Retirements::new(Decided(EventId(7))), BTreeMap::new(), 5_u64);
        let (mut decided, recorded) = (7, EventId(100_000));
        while decided < 99_000 {
            for _ in 0..200 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let x = decided - 5 + (random >> 33) % 900;
                let one = retirement(x, x + 1, (x % 3) * x);
                reported.insert(one, recorded).unwrap();
                reported.insert(one, recorded).unwrap();
                map.insert(x, one);
            }
            assert!(reported.iter().eq(map.range(decided + 1..).map(|(_, one)| *one)));
            let before = decided;
            decided += (random >> 40) % 500;
            let taken: Vec<Retirement> = map.range(before + 1..=decided).map(|(_, one)| *one).collect();
            assert_eq!(reported.take(Decided(EventId(decided))), taken);
        }
        assert!(reported.places.len() < 1_000);
    }

    #[test]
    fn a_decision_that_contradicts_one_before_is_told_at_once_and_changes_nothing() {
        let mut reported = Retirements::new(Decided::ZERO);
        let (one, other) = (retirement(3, 3, 2), retirement(3, 3, 0));
        reported.insert(one, EventId(3)).unwrap();
        assert_eq!(
            reported.insert(other, EventId(3)),
            Err(DecisionError::Conflict { x: EventId(3), known: one, reported: other })
        );
        assert_eq!(reported.take(Decided(EventId(3))), [one]);
        // It is final: what is reported of it is not looked at.
        reported.insert(other, EventId(3)).unwrap();
        assert_eq!(reported.take(Decided(EventId(3))), []);
    }

    #[test]
    fn what_no_log_can_have_decided_is_refused_and_takes_no_memory() {
        let mut reported = Retirements::new(Decided(EventId(10)));
        let (recorded, far) = (EventId(20), retirement(u64::MAX, 1, 0));
        assert_eq!(reported.insert(far, recorded), Err(DecisionError::NotRecorded { reported: far, recorded }));
        let nobody = retirement(12, 0, 0);
        assert_eq!(
            reported.insert(nobody, recorded),
            Err(DecisionError::NotWaiting { element: ElementId(0), reported: nobody })
        );
        let nobody = Retirement { anchor: Some(ElementId(0)), ..retirement(12, 5, 0) };
        assert_eq!(
            reported.insert(nobody, recorded),
            Err(DecisionError::NotWaiting { element: ElementId(0), reported: nobody })
        );
        assert!(reported.places.is_empty() && reported.take(Decided(EventId(20))).is_empty());
    }
}
