//! A frame of the log as its readers follow it.

use std::sync::{Arc, OnceLock};

use dovetail_core::{Event, LogFrame, Placement, PoolId, SliceId};

use super::pools::Pools;

/// A frame on disk, and who needs which event of it: found out once for all readers.
#[derive(Debug)]
pub(crate) struct PublishedFrame {
    frame: Arc<LogFrame>,
    /// By event, the only slice that needs it; none when all do.
    owners: OnceLock<Box<[Option<SliceId>]>>,
}

impl PublishedFrame {
    pub(crate) fn new(frame: Arc<LogFrame>) -> PublishedFrame {
        PublishedFrame { frame, owners: OnceLock::new() }
    }

    pub(crate) fn frame(&self) -> &LogFrame {
        &self.frame
    }

    /// By event, the only slice that needs it; none when all do.
    pub(crate) fn owners(&self, pools: &Pools, placement: &Placement) -> &[Option<SliceId>] {
        self.owners.get_or_init(|| {
            pools.with(|pools| {
                let pool = |id: PoolId| &*pools[id.0 as usize];
                let owner = |event: &Event| Some(placement.owner(event.only_at(pool)?));
                self.frame.events.iter().map(owner).collect()
            })
        })
    }
}
