//! A frame of the log: what it consists of, which nodes it concerns, which slice needs which event, and what of it a
//! reader is sent.
//!
//! Elements stay in the columns in which they came, so a frame is made of runs of their rows, and of single events. A
//! reader gets the rows that it needs picked from them, as one set of columns of each pool. Invariant: node.F1 an event
//! that one slice alone needs is of the place at which that slice, and no other, searches for its element; all others
//! are needed by every slice.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use dovetail_core::{
    Audience, ElementId, Event, EventId, EventKind, Frame, LogFrame, Place, Placement, Pool, PoolId, SliceId,
    audience::AudiencePair,
    batch::{Column, PickedRows, Run, pick_rows},
    column_frame::{Arrivals, ColumnFrame},
    ledger::Ledger,
    planted::{Bug, Planted},
};
use dovetail_rule::Split;

/// What a balancer's frame consists of.
#[derive(Clone, Debug)]
pub enum Part {
    /// Elements that arrive one after the other, and the first's event.
    Arrivals(EventId, Run),
    /// Anything else.
    Event(Event),
}

impl Part {
    /// How many events it is.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Part::Arrivals(_, run) => run.rows.len(),
            Part::Event(_) => 1,
        }
    }

    /// Whether it is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of one of its events, counted from 0.
    #[must_use]
    pub fn x(&self, at: usize) -> EventId {
        match self {
            Part::Event(event) => event.x,
            Part::Arrivals(first, _) => EventId(first.0 + at as u64),
        }
    }

    /// One of its events, counted from 0.
    #[must_use]
    pub fn event(&self, at: usize) -> Event {
        match self {
            Part::Event(event) => event.clone(),
            Part::Arrivals(first, Run { batch, rows }) => {
                let row = Arc::new(batch.row(rows.start + at));
                Event { x: EventId(first.0 + at as u64), kind: EventKind::Arrival { pool: batch.pool(), row } }
            }
        }
    }
}

/// A frame as the balancer has it.
pub type PartFrame = Frame<Part>;

/// Which slices need a part of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Every slice.
    All,
    /// One slice each of its events.
    Each(Box<[SliceId]>),
}

impl Owners {
    /// The only slice that needs an event; none when all do.
    #[must_use]
    pub fn of(&self, at: usize) -> Option<SliceId> {
        match self {
            Owners::All => None,
            Owners::Each(slices) => Some(slices[at]),
        }
    }
}

/// A frame on disk, and which slice needs which event of it: computed once for all readers.
pub struct PublishedFrame {
    frame: Arc<PartFrame>,
    owners: OnceLock<Box<[Owners]>>,
}

impl fmt::Debug for PublishedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublishedFrame({}, {}]", self.frame.after, self.frame.through)
    }
}

impl PublishedFrame {
    /// A frame that the log has.
    #[must_use]
    pub fn new(frame: Arc<PartFrame>) -> PublishedFrame {
        PublishedFrame { frame, owners: OnceLock::new() }
    }

    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &PartFrame {
        &self.frame
    }

    /// Which slice needs which event, by part. `find` computes it with [`owners`] for the first reader that asks.
    pub fn owners(&self, find: impl FnOnce(&PartFrame) -> Box<[Owners]>) -> &[Owners] {
        self.owners.get_or_init(|| find(&self.frame))
    }
}

/// Which slice needs which event of a frame, by part. `pool_of` knows every pool that a node still needs.
#[must_use]
pub fn owners<'p>(
    frame: &PartFrame,
    pool_of: impl Fn(PoolId) -> Option<&'p Pool>,
    placement: &Placement,
    planted: Planted,
) -> Box<[Owners]> {
    let owners = |part: &Part| {
        let mut slices = Vec::new();
        let add = |_, place| slices.push(placement.owner(place));
        if each_place(part, &pool_of, |event| event.only_at(&pool_of), add, planted) {
            Owners::Each(slices.into())
        } else {
            Owners::All
        }
    };
    frame.events.iter().map(owners).collect()
}

/// The slices and shards that the events of a frame concern, before it is logged. A frame of many events concerns most
/// slices: then it is not found out which, and it concerns each for the shard that homes what it settles, or, where
/// slices do not settle, all for all.
#[must_use]
pub fn audience(frame: &PartFrame, ledger: &Ledger, placement: &Placement, planted: Planted) -> Audience {
    let pool = |id| ledger.find_pool(id).map(|entry| &entry.pool);
    if frame.through.0 - frame.after.0 > u64::from(placement.slices()) {
        let keyed = |part: &Part| match part {
            Part::Arrivals(_, run) => pool(run.batch.pool()).is_some_and(|pool| pool.split() != Split::Index),
            Part::Event(_) => false,
        };
        if !frame.events.iter().all(keyed) {
            return Audience::All;
        }
        let pair = |slice| AudiencePair { slice, shard: placement.home_of_slice(slice), last: frame.through };
        return Audience::Pairs(placement.each_slice().map(pair).collect());
    }
    let mut audience = Audience::nobody();
    let mut add = |x, place| audience.add(x, Some(place), placement);
    let each = |part: &Part| each_place(part, pool, |event| ledger.only_at(event), &mut add, planted);
    let parts = if planted.is(Bug::AudienceOfFirstPart) { &frame.events[..1] } else { &frame.events };
    if parts.iter().all(each) { audience } else { Audience::All }
}

/// The place of each event of a part that concerns one slice alone. False when its events concern all slices, or their
/// pool is gone: then no slice acts on them, but a node that reads old frames still needs its own.
fn each_place<'p>(
    part: &Part,
    pool: impl Fn(PoolId) -> Option<&'p Pool>,
    only_at: impl Fn(&Event) -> Option<Place>,
    mut each: impl FnMut(EventId, Place),
    planted: Planted,
) -> bool {
    match part {
        Part::Event(event) => only_at(event).inspect(|&place| each(event.x, place)).is_some(),
        Part::Arrivals(first, Run { batch, rows }) => {
            let Some(pool) = pool(batch.pool()).filter(|pool| pool.split() != Split::Index) else { return false };
            let elements = rows.clone().zip((first.0..).map(ElementId));
            let places = pool.places(batch.attributes(), elements.clone());
            for ((_, element), place) in elements.zip(&places) {
                each(EventId(element.0), if planted.is(Bug::RunPlacedByFirst) { places[0] } else { *place });
            }
            true
        }
    }
}

/// What a reader is sent of a frame: those of its events that it `needs`, by part and by place in the part. It stands
/// for all events `(after, through]`, those of frames before it as well, of which nothing is needed; `audience` is that
/// of all of them.
///
/// # Panics
/// When the frame does not ascend, or something of it that is needed is not in `(after, through]`.
#[must_use]
pub fn pick(
    frame: &PartFrame,
    (after, through): (EventId, EventId),
    audience: &Audience,
    needs: impl Fn(usize, usize) -> bool,
    planted: Planted,
) -> ColumnFrame {
    let mut events = Vec::new();
    let mut arrivals: BTreeMap<PoolId, (Vec<EventId>, Vec<PickedRows<'_>>)> = BTreeMap::new();
    for (place, part) in frame.events.iter().enumerate() {
        match part {
            Part::Event(event) => events.extend(needs(place, 0).then(|| event.clone())),
            Part::Arrivals(first, Run { batch, rows }) => {
                let needed: Vec<usize> = (0..rows.len()).filter(|&at| needs(place, at)).collect();
                if needed.is_empty() {
                    continue;
                }
                let (xs, picked) = arrivals.entry(batch.pool()).or_default();
                xs.extend(needed.iter().map(|&at| EventId(first.0 + at as u64)));
                let row = |at: &usize| u32::try_from(rows.start + at).expect("a message has fewer rows");
                picked.push(PickedRows { batch, rows: needed.iter().map(row).collect() });
            }
        }
    }
    let arrivals = arrivals.into_iter().map(|(pool, (xs, picked))| {
        let mut columns = pick_rows(&picked);
        if planted.is(Bug::PickedOutOfStep) {
            columns.iter_mut().take(1).for_each(|column| put_out_of_step(column, xs.len()));
        }
        Arrivals::new(pool, xs, columns)
    });
    let &Frame { time_ms, stable, .. } = frame;
    let head = LogFrame { after, through, time_ms, stable, audience: audience.clone(), events };
    ColumnFrame::new(head, arrivals.collect()).expect("a frame ascends")
}

/// Gives each row what the next one has.
fn put_out_of_step(column: &mut Column, count: usize) {
    let next = (0..count).map(|row| (&*column, (row + 1) % count));
    *column = Column::pick(next);
}
