//! A frame of the log as its readers follow it.

use std::sync::{Arc, OnceLock};

use dovetail_core::{
    ElementId, Event, EventId, Place, Placement, Pool, PoolId, Reach, SliceId, batch::Run, ledger::Ledger,
};
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
                let pool = |id: PoolId| pools.get(id);
                let owners = |part: &Part| {
                    let mut slices = Vec::new();
                    let add = |_, place| slices.push(placement.owner(place));
                    match each_place(part, pool, |event| event.only_at(pool), add) {
                        true => Owners::Each(slices.into()),
                        false => Owners::All,
                    }
                };
                self.frame.events.iter().map(owners).collect()
            })
        })
    }
}

/// Who has anything to do with the events of a frame. One of more events than there are pairs of slice and shard concerns most of them:
/// then it is not found out.
pub(crate) fn reach(frame: &PartFrame, ledger: &Ledger, placement: &Placement) -> Reach {
    let pairs = u64::from(placement.slices()) * u64::from(placement.shards());
    if frame.through.0 - frame.after.0 > pairs {
        return Reach::All;
    }
    let mut reach = Reach::nobody();
    let pool = |id| ledger.find_pool(id).map(|entry| &entry.pool);
    let mut add = |x, place| reach.add(x, Some(place), placement);
    match frame.events.iter().all(|part| each_place(part, pool, |event| ledger.only_at(event), &mut add)) {
        true => reach,
        false => Reach::All,
    }
}

/// The place of each event of a part, where one slice alone is concerned by it. False when they matter everywhere, or their pool is
/// gone: then nobody minds them, but a node that reads old frames still needs its own.
fn each_place<'p>(
    part: &Part,
    pool: impl Fn(PoolId) -> Option<&'p Pool>,
    only_at: impl Fn(&Event) -> Option<Place>,
    mut each: impl FnMut(EventId, Place),
) -> bool {
    match part {
        Part::Event(event) => only_at(event).inspect(|&place| each(event.x, place)).is_some(),
        Part::Arrivals(first, Run { batch, rows }) => {
            let Some(pool) = pool(batch.pool()).filter(|pool| pool.split() != Split::Index) else { return false };
            let mut row = Row::from_values([]);
            for (at, x) in rows.clone().zip((first.0..).map(EventId)) {
                row.set_values(batch.values(at));
                each(x, pool.place(ElementId::from(x), &row));
            }
            true
        }
    }
}
