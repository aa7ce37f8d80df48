//! Retired elements, until no event of the log can name them any more.

use std::collections::{BTreeSet, HashMap};

use crate::{ElementId, EventId};

/// Which event retired which element.
#[derive(Debug)]
pub(super) struct Retired {
    at: HashMap<ElementId, EventId>,
    by_event: BTreeSet<(EventId, ElementId)>,
    /// Elements retired at or below this event are not among the anchors.
    applied: EventId,
}

impl Retired {
    pub(super) fn new(cut: EventId) -> Retired {
        Retired { at: HashMap::new(), by_event: BTreeSet::new(), applied: cut }
    }

    pub(super) fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether an event below `x` retired the element.
    pub(super) fn below(&self, element: ElementId, x: EventId) -> bool {
        self.at.get(&element).is_some_and(|&at| at < x)
    }

    /// Notes that `x` retired the element. True when it must not be among the anchors any more.
    pub(super) fn insert(&mut self, element: ElementId, x: EventId) -> bool {
        if self.at.get(&element).is_some_and(|&at| at <= x) {
            return false;
        }
        let later = self.at.insert(element, x);
        if let Some(later) = later {
            self.by_event.remove(&(later, element));
        }
        self.by_event.insert((x, element));
        x <= self.applied && later.is_none_or(|later| later > self.applied)
    }

    /// Counts retirements up to `last` as applied when there are none: nearly always, where slices settle matches
    /// themselves.
    #[inline]
    pub(super) fn skip_through(&mut self, last: EventId) -> bool {
        let nobody = self.by_event.is_empty();
        if nobody && last > self.applied {
            self.applied = last;
        }
        nobody
    }

    /// The elements retired up to `last`, which must not be among the anchors any more, and by which event. Each once.
    pub(super) fn apply_through(&mut self, last: EventId) -> Vec<(EventId, ElementId)> {
        if last <= self.applied {
            return Vec::new();
        }
        let range = (self.applied.next(), ElementId(0))..=(last, ElementId(u64::MAX));
        self.applied = last;
        self.by_event.range(range).copied().collect()
    }

    /// Forgets the elements retired up to `last` that are applied.
    pub(super) fn forget(&mut self, last: EventId) {
        let last = last.min(self.applied);
        while let Some(&(x, element)) = self.by_event.first()
            && x <= last
        {
            self.by_event.pop_first();
            self.at.remove(&element);
        }
    }
}
