//! The pools that frames of the log and submissions name, for those who need them beside the engine.
//!
//! Follows the ledger: a pool that is dropped keeps its number here until it is no longer needed, and its name as long
//! as outcomes may name it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use dovetail_core::{
    EventId, Pool, PoolId, Stable,
    ledger::{DROPPED_NAMES_MAX, Ledger},
};
use tokio::sync::watch;

/// All pools. A pool is here before a frame that names it is published, and before its definition is acknowledged.
#[derive(Debug)]
pub(crate) struct Pools {
    known: RwLock<Known>,
    /// Tells that a pool was dropped.
    dropped: watch::Sender<()>,
}

/// By which event a pool was dropped, once it is.
pub(crate) type Dropped = Arc<OnceLock<EventId>>;

#[derive(Debug, Default)]
struct Known {
    /// By their numbers.
    all: BTreeMap<PoolId, Entry>,
    by_name: HashMap<String, PoolId>,
    /// Names of pools that are gone, the last ones.
    gone: HashMap<PoolId, Arc<str>>,
    gone_order: VecDeque<PoolId>,
}

#[derive(Debug)]
struct Entry {
    pool: Arc<Pool>,
    name: Arc<str>,
    dropped: Dropped,
}

impl Pools {
    /// Those that a ledger knows.
    pub(crate) fn new(ledger: &Ledger) -> Pools {
        let pools = Pools { known: RwLock::default(), dropped: watch::Sender::new(()) };
        for (id, name) in ledger.dropped_names() {
            pools.write(|known| known.remember(id, Arc::clone(name)));
        }
        for entry in ledger.pools_leaving() {
            pools.add(entry.pool.clone());
            pools.end(entry.pool.id, entry.dropped_at.expect("it leaves because it is dropped"));
        }
        ledger.pools().for_each(|entry| pools.add(entry.pool.clone()));
        pools
    }

    fn write<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add(&self, pool: Pool) {
        let (id, name) = (pool.id, pool.definition.name.clone());
        let entry = Entry { name: name.as_str().into(), pool: Arc::new(pool), dropped: Dropped::default() };
        self.write(|known| {
            known.by_name.insert(name, id);
            known.all.insert(id, entry);
        });
    }

    /// Event `x` dropped a pool: its name is free.
    pub(crate) fn end(&self, id: PoolId, x: EventId) {
        self.write(|known| {
            let Some(entry) = known.all.get(&id) else { return };
            _ = entry.dropped.set(x);
            if known.by_name.get(&*entry.name) == Some(&id) {
                known.by_name.remove(&*entry.name);
            }
        });
        self.dropped.send_replace(());
    }

    /// A pool that was dropped is needed no longer, but for its name if it decided anything.
    pub(crate) fn forget(&self, id: PoolId, decided: bool) {
        self.write(|known| {
            if let Some(entry) = known.all.remove(&id).filter(|_| decided) {
                known.remember(id, entry.name);
            }
        });
    }

    /// The pool with a name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Pool>> {
        self.read(|known| Some(Arc::clone(&known.all[known.by_name.get(name)?].pool)))
    }

    /// The pool with a name, and what tells of its end. One that is gone when none has the name now: then everything of
    /// it is stable, and so at or below `stable`.
    pub(crate) fn watched(&self, name: &str, stable: Stable) -> Option<(PoolId, Dropped)> {
        self.read(|known| match known.by_name.get(name) {
            Some(id) => Some((*id, Arc::clone(&known.all[id].dropped))),
            None => {
                let leaving = known.all.iter().rev().find(|(_, entry)| &*entry.name == name);
                if let Some((id, entry)) = leaving {
                    return Some((*id, Arc::clone(&entry.dropped)));
                }
                let id = known.gone_order.iter().rev().find(|id| &*known.gone[id] == name)?;
                Some((*id, Arc::new(OnceLock::from(stable.event()))))
            }
        })
    }

    /// The name of a pool that is there or decided something; of one that is not remembered, its number.
    pub(crate) fn name(&self, id: PoolId) -> Arc<str> {
        let name = self.read(|known| match known.all.get(&id) {
            Some(entry) => Some(Arc::clone(&entry.name)),
            None => known.gone.get(&id).map(Arc::clone),
        });
        name.unwrap_or_else(|| format!("#{}", id.0).into())
    }

    /// The event that dropped a pool; that of one that is gone is on disk.
    pub(crate) fn dropped_at(&self, id: PoolId) -> Option<EventId> {
        self.read(|known| known.all.get(&id).map_or(Some(EventId::ZERO), |entry| entry.dropped.get().copied()))
    }

    /// Does something with the pools, by their numbers: none for one that is gone.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&PoolNumbers<'_>) -> T) -> T {
        self.read(|known| read(&PoolNumbers(known)))
    }

    /// Tells whenever a pool was dropped.
    pub(crate) fn drops(&self) -> watch::Receiver<()> {
        self.dropped.subscribe()
    }
}

/// Pools by their numbers.
pub(crate) struct PoolNumbers<'a>(&'a Known);

impl PoolNumbers<'_> {
    /// One of them; none when it is gone.
    pub(crate) fn get(&self, id: PoolId) -> Option<&Pool> {
        self.0.all.get(&id).map(|entry| &*entry.pool)
    }
}

impl Known {
    fn remember(&mut self, id: PoolId, name: Arc<str>) {
        self.gone.insert(id, name);
        self.gone_order.push_back(id);
        if self.gone_order.len() > DROPPED_NAMES_MAX
            && let Some(first) = self.gone_order.pop_front()
        {
            self.gone.remove(&first);
        }
    }
}
