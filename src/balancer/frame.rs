//! A frame of the log as its readers follow it.

use std::sync::{Arc, OnceLock};

use dovetail_core::{ElementId, Placement, PoolId, SliceId, batch::Run};
use dovetail_rule::{Row, Split};

use super::pools::Pools;
use crate::convert::{Part, PartFrame};

/// A frame on disk, and who needs which event of it: found out once for all readers.
#[derive(Debug)]
pub(crate) struct PublishedFrame {
    frame: Arc<PartFrame>,
    owners: OnceLock<Box<[Owners]>>,
}

/// Which slices need a part of a frame.
#[derive(Debug)]
pub(crate) enum Owners {
    /// Every slice.
    All,
    /// One slice each of its events.
    Each(Box<[SliceId]>),
}

impl Owners {
    /// The only slice that needs an event; none when all do.
    pub(crate) fn of(&self, at: usize) -> Option<SliceId> {
        match self {
            Owners::All => None,
            Owners::Each(slices) => Some(slices[at]),
        }
    }
}

impl PublishedFrame {
    pub(crate) fn new(frame: Arc<PartFrame>) -> PublishedFrame {
        PublishedFrame { frame, owners: OnceLock::new() }
    }

    pub(crate) fn frame(&self) -> &PartFrame {
        &self.frame
    }

    /// By part.
    pub(crate) fn owners(&self, pools: &Pools, placement: &Placement) -> &[Owners] {
        self.owners.get_or_init(|| {
            pools.with(|pools| {
                let pool = |id: PoolId| &*pools[id.0 as usize];
                let owners = |part: &Part| match part {
                    Part::Event(event) => {
                        event.only_at(pool).map_or(Owners::All, |place| Owners::Each([placement.owner(place)].into()))
                    }
                    Part::Arrivals(first, Run { batch, rows }) => {
                        let pool = pool(batch.pool());
                        if pool.split() == Split::Index {
                            return Owners::All;
                        }
                        let mut row = Row::from_values([]);
                        let owner = |(at, element): (usize, u64)| {
                            row.set_values(batch.values(at));
                            placement.owner(pool.place(ElementId(element), &row))
                        };
                        Owners::Each(rows.clone().zip(first.0..).map(owner).collect())
                    }
                };
                self.frame.events.iter().map(owners).collect()
            })
        })
    }
}
