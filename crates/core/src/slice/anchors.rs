//! The waiting elements a slice owns in one pool, in id order.

use std::{collections::BTreeMap, sync::Arc};

use dovetail_rule::Row;

use crate::{ElementId, Place, Pool, pool::Candidate};

/// Anchors of one pool. The next step of this project makes them columns; nothing outside this file would notice.
#[derive(Debug, Default)]
pub(super) struct Anchors(BTreeMap<ElementId, Anchor>);

#[derive(Debug)]
struct Anchor {
    row: Arc<Row>,
    arrived_ms: u64,
}

impl Anchors {
    pub(super) fn insert(&mut self, element: ElementId, row: Arc<Row>, arrived_ms: u64) {
        self.0.insert(element, Anchor { row, arrived_ms });
    }

    pub(super) fn remove(&mut self, element: ElementId) {
        self.0.remove(&element);
    }

    pub(super) fn contains(&self, element: ElementId) -> bool {
        self.0.contains_key(&element)
    }

    pub(super) fn place(&self, pool: &Pool, element: ElementId) -> Place {
        pool.place(element, &self.0[&element].row)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The lowest anchors, at most `limit`, that may be matched with `prober` at `time_ms`, and whether there are more.
    pub(super) fn satisfying(
        &self,
        pool: &Pool,
        prober: Candidate<'_>,
        time_ms: u64,
        limit: usize,
        errors: &mut u64,
    ) -> (Vec<ElementId>, bool) {
        let others = self.0.iter().filter(|&(&element, _)| element != prober.element);
        let mut found = others.filter_map(|(&element, anchor)| {
            let candidate = Candidate { element, row: &anchor.row, arrived_ms: anchor.arrived_ms };
            pool.test(candidate, prober, time_ms, errors).then_some(element)
        });
        let list: Vec<ElementId> = found.by_ref().take(limit).collect();
        let more = list.len() == limit && found.next().is_some();
        (list, more)
    }
}
