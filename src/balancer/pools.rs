//! The pools that frames of the log and submissions name, for those who need them beside the engine.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use dovetail_core::{Pool, PoolId};

/// All pools. A pool is here before a frame that names it is published, and before its definition is acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Pools(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By their numbers.
    all: Vec<Arc<Pool>>,
    by_name: HashMap<String, PoolId>,
}

impl Pools {
    pub(crate) fn new(pools: impl Iterator<Item = Pool>) -> Pools {
        let known = Pools::default();
        pools.for_each(|pool| known.add(pool));
        known
    }

    pub(crate) fn add(&self, pool: Pool) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.by_name.insert(pool.definition.name.clone(), pool.id);
        known.all.push(Arc::new(pool));
    }

    /// The pool with a name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Pool>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.by_name.get(name).map(|id| Arc::clone(&known.all[id.0 as usize]))
    }

    /// Does something with the pools, by their numbers.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&[Arc<Pool>]) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner).all)
    }
}
