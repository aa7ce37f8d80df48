//! Retired elements, until no event of the log can name them any more.

use std::collections::{BTreeSet, HashMap};

use crate::{ElementId, EventId};

/// Which event retired which element.
#[derive(Debug)]
pub(super) struct Retired {
    at: HashMap<ElementId, EventId>,
    by_event: BTreeSet<(EventId, ElementId)>,
    /// Elements retired at or below this event are not among the anchors.
    buried: EventId,
}

impl Retired {
    pub(super) fn new(cut: EventId) -> Retired {
        Retired { at: HashMap::new(), by_event: BTreeSet::new(), buried: cut }
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
        x <= self.buried && later.is_none_or(|later| later > self.buried)
    }

    /// Buries up to `last` when no element is retired: nearly always, where slices settle matches themselves.
    #[inline]
    pub(super) fn pass(&mut self, last: EventId) -> bool {
        let nobody = self.by_event.is_empty();
        if nobody && last > self.buried {
            self.buried = last;
        }
        nobody
    }

    /// The elements retired up to `last`, which must not be among the anchors any more, and by which event. Each once.
    pub(super) fn bury(&mut self, last: EventId) -> Vec<(EventId, ElementId)> {
        if last <= self.buried {
            return Vec::new();
        }
        let range = (self.buried.next(), ElementId(0))..=(last, ElementId(u64::MAX));
        self.buried = last;
        self.by_event.range(range).copied().collect()
    }

    /// Forgets the elements retired up to `last` that are buried.
    pub(super) fn forget(&mut self, last: EventId) {
        let last = last.min(self.buried);
        while let Some(&(x, element)) = self.by_event.first()
            && x <= last
        {
            self.by_event.pop_first();
            self.at.remove(&element);
        }
    }
}
