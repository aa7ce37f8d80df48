//! A frame of the log as its readers follow it.

use std::sync::{Arc, OnceLock};

use dovetail_core::{ElementId, EventId, Place, Placement, Pool, Reach, SliceId, batch::Run};
use dovetail_rule::{Row, Split};

use super::pools::Pools;
use crate::convert::{Part, PartFrame};

/// A frame of more events than so many for each slice and shard concerns nearly all of them: it is not found out then.
const REACH_EVENTS_MAX: u64 = 2;

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
                let owners = |part: &Part| {
                    let mut slices = Vec::new();
                    match each_place(part, pools, |_, place| slices.push(placement.owner(place))) {
                        true => Owners::Each(slices.into()),
                        false => Owners::All,
                    }
                };
                self.frame.events.iter().map(owners).collect()
            })
        })
    }
}

/// Who has anything to do with the events of a frame.
pub(crate) fn reach(frame: &PartFrame, pools: &Pools, placement: &Placement) -> Reach {
    let pairs = u64::from(placement.slices()) * u64::from(placement.shards());
    if frame.through.0 - frame.after.0 > REACH_EVENTS_MAX * pairs {
        return Reach::All;
    }
    let mut reach = Reach::nobody();
    let mut add = |x, place| reach.add(x, Some(place), placement);
    match pools.with(|pools| frame.events.iter().all(|part| each_place(part, pools, &mut add))) {
        true => reach,
        false => Reach::All,
    }
}

/// The place of each event of a part, where one slice alone searches for its element. False when they matter everywhere.
fn each_place(part: &Part, pools: &[Arc<Pool>], mut each: impl FnMut(EventId, Place)) -> bool {
    match part {
        Part::Event(event) => {
            let place = event.only_at(|pool| &*pools[pool.0 as usize]);
            place.inspect(|&place| each(event.x, place)).is_some()
        }
        Part::Arrivals(first, Run { batch, rows }) => {
            let pool = &pools[batch.pool().0 as usize];
            if pool.split() == Split::Index {
                return false;
            }
            let mut row = Row::from_values([]);
            for (at, x) in rows.clone().zip((first.0..).map(EventId)) {
                row.set_values(batch.values(at));
                each(x, pool.place(ElementId::from(x), &row));
            }
            true
        }
    }
}
