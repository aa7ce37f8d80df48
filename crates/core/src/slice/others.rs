//! What a slice knows of the anchors of other slices, and of what is in flight.

use std::collections::{BTreeMap, VecDeque};

use dovetail_rule::Row;

use crate::{Decided, ElementId, EventId, PoolId};

/// What a slice knows of the anchors of other slices.
#[derive(Debug)]
pub(super) enum OthersView {
    /// They are in the table.
    Complete,
    /// Nothing: the cut did not say how many there are.
    Unknown,
    /// So many wait, by the retirements that are known.
    Counted(usize),
    /// Those that arrived since are kept, and so many wait that arrived before.
    Kept { older: usize, since: BTreeMap<ElementId, (Row, u64)> },
}

/// What was found out in pools with a complete view, and events in flight of the others.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Elements retired while the slice had a complete view of their pool, by event, until no event can name them.
    pub(super) gone: VecDeque<(EventId, ElementId)>,
    /// Events above the decided watermark, with their pools, of pools without a complete view.
    pub(super) events: VecDeque<(EventId, PoolId)>,
}

impl Flight {
    pub(super) fn gone(&self) -> usize {
        self.gone.len()
    }

    /// Whether the slice itself found out what `x` retires.
    pub(super) fn knows(&self, x: EventId) -> bool {
        self.gone.binary_search_by_key(&x, |&(x, _)| x).is_ok()
    }

    /// The pool of an event above the decided watermark, if the slice had no complete view of it.
    pub(super) fn pool(&self, x: EventId) -> Option<PoolId> {
        let at = self.events.binary_search_by_key(&x, |&(x, _)| x).ok()?;
        Some(self.events[at].1)
    }

    /// No later event names what was retired up to `named_above`.
    pub(super) fn forget(&mut self, named_above: EventId) {
        while self.gone.pop_front_if(|(x, _)| *x <= named_above).is_some() {}
    }

    /// Everything up to `decided` is decided, and its retirements are known.
    pub(super) fn decided(&mut self, decided: Decided) {
        while self.events.pop_front_if(|(x, _)| decided.covers(*x)).is_some() {}
    }
}
