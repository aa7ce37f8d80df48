//! The pools that frames of the log name, for those who serve frames beside the engine.

use std::sync::{PoisonError, RwLock};

use dovetail_core::{LogFrame, Place, Pool};

/// All pools, by their numbers. A pool is here before a frame that names it is published.
#[derive(Debug, Default)]
pub(crate) struct Pools(RwLock<Vec<Pool>>);

impl Pools {
    pub(crate) fn new(pools: impl Iterator<Item = Pool>) -> Pools {
        Pools(RwLock::new(pools.collect()))
    }

    pub(crate) fn add(&self, pool: Pool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(pool);
    }

    /// What a reader of the feed needs of a frame; none when it needs all of it.
    pub(crate) fn share(&self, frame: &LogFrame, searches: impl Fn(Place) -> bool) -> Option<LogFrame> {
        let pools = self.0.read().unwrap_or_else(PoisonError::into_inner);
        frame.share(|pool| &pools[pool.0 as usize], searches)
    }
}
