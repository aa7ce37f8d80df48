//! Pools that are closed, on their way to being dropped, and the names of those that are gone.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{ElementId, EventId, PoolId};

/// Most pools that are gone and whose names are remembered, for outcomes of theirs that are kept. Above it the one that
/// was dropped first is forgotten: its outcomes then name it by its number.
pub const DROPPED_NAMES_MAX: usize = 10_000;
/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// Closed, and not dropped. Those that were looked at last are last.
    pub(super) closed: VecDeque<PoolId>,
    /// So many of the first of them may be ready: they were not looked at since the stable cut moved.
    pub(super) unlooked: usize,
    /// Closed pools whose elements are withdrawn, and the last one that was looked at: all of them in one go through
    /// all elements.
    pub(super) sweep: (BTreeSet<PoolId>, ElementId),
    /// Closed pools that came since.
    pub(super) unswept: BTreeSet<PoolId>,
    /// Dropped above the stable cut: a node that starts from the cut needs them.
    pub(super) leaving: VecDeque<(EventId, PoolId)>,
    /// Names of pools that are gone, and that decided something, in the order in which they were dropped.
    pub(super) names: VecDeque<(PoolId, Arc<str>)>,
}

impl Drops {
    /// A pool is closed.
    pub(super) fn close(&mut self, pool: PoolId, empty: bool) {
        self.closed.push_back(pool);
        self.unlooked = self.closed.len();
        if !empty {
            self.unswept.insert(pool);
        }
    }

    /// A closed pool is dropped.
    pub(super) fn drop(&mut self, x: EventId, pool: PoolId) {
        // It was taken when it was offered, but not when the log is read back.
        if let Some(at) = self.closed.iter().position(|&closed| closed == pool) {
            self.closed.remove(at);
            self.unlooked = self.unlooked.min(self.closed.len());
        }
        self.sweep.0.remove(&pool);
        self.unswept.remove(&pool);
        self.leaving.push_back((x, pool));
    }

    /// Remembers the name of a pool that is gone.
    pub(super) fn remember(&mut self, pool: PoolId, name: Arc<str>) {
        self.names.push_back((pool, name));
        if self.names.len() > DROPPED_NAMES_MAX {
            self.names.pop_front();
        }
    }
}
