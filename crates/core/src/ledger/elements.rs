//! The elements that wait, and those that ended and are remembered.
//!
//! Elements stay in the batches they came in. What is left of a batch of which most have ended, and batches that were
//! small from the beginning, are put together in new ones, so that memory follows what waits. Invariants: elements.E1 a
//! slot that waits names a segment's row, and that row has the slot's id; elements.E2 a segment is kept as long as one
//! of its rows waits, or ended above the stable cut; elements.E3 a row that ended does not move.

use std::{collections::BTreeMap, sync::Arc};

use super::slots::Slots;
use crate::{
    ElementId, EventId, PoolId,
    batch::{Batch, KeyHash, Run},
};

/// Rows that wait in segments to be put together, at which they are.
const REPACK: usize = 512;
/// Rows of segments to be put together, at which they are, however few of them wait.
const HELD: usize = 8192;
/// A segment of fewer rows is put together with others.
const SMALL: usize = 64;
/// Segments are put together when fewer than one in so many of their rows wait.
const SPARSE: usize = 4;

const ENDED: u64 = 1 << 63;
const ROW_BITS: u32 = 24;

/// Where an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    segment: u32,
    row: u32,
}

impl At {
    fn word(self) -> u64 {
        ((u64::from(self.segment) + 1) << ROW_BITS) | u64::from(self.row)
    }

    fn of(word: u64) -> At {
        let segment = u32::try_from((word >> ROW_BITS) - 1).expect("segments are numbered by a u32");
        At { segment, row: (word & ((1 << ROW_BITS) - 1)) as u32 }
    }
}

/// What is known of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing.
    None,
    /// It is not known to be retired.
    Waiting(At),
    /// Retired by this event.
    Ended(EventId),
}

fn slot(word: u64) -> Slot {
    match word {
        0 => Slot::None,
        ended if ended & ENDED != 0 => Slot::Ended(EventId(ended & !ENDED)),
        waiting => Slot::Waiting(At::of(waiting)),
    }
}

/// Neighbouring elements of one frame, or some that were put together.
#[derive(Debug)]
struct Segment {
    batch: Arc<Batch>,
    /// Of the batch's keys, by its rows.
    hashes: Arc<[KeyHash]>,
    /// The batch's row of the first.
    from: usize,
    who: Who,
    /// Rows that wait.
    waiting: u32,
    /// Rows that wait, or ended above the stable cut.
    kept: u32,
    /// It is among those to be put together.
    listed: bool,
}

#[derive(Debug)]
enum Who {
    /// Ids one after the other, and when all arrived.
    Neighbours { first: ElementId, count: u32, arrived_ms: u64 },
    /// An id for each, and when it arrived.
    Listed(Box<[(ElementId, u64)]>),
}

impl Segment {
    fn len(&self) -> usize {
        match &self.who {
            Who::Neighbours { count, .. } => *count as usize,
            Who::Listed(listed) => listed.len(),
        }
    }

    fn who(&self, row: usize) -> (ElementId, u64) {
        match &self.who {
            Who::Neighbours { first, arrived_ms, .. } => (ElementId(first.0 + row as u64), *arrived_ms),
            Who::Listed(listed) => listed[row],
        }
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Elements {
    slots: Slots,
    segments: Vec<Option<Segment>>,
    free: Vec<u32>,
    waiting: usize,
    /// Segments to be put together.
    sparse: BTreeMap<PoolId, Sparse>,
}

#[derive(Debug, Default)]
struct Sparse {
    segments: Vec<u32>,
    /// Rows of them that wait.
    waiting: usize,
    /// Rows of their batches.
    held: usize,
}

// Where elements are kept makes no difference to what the ledger says, and the model compares ledgers by what they
// print.
impl std::fmt::Debug for Elements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.slots.after(ElementId(0)).map(|(element, word)| match slot(word) {
            Slot::Waiting(at) => {
                let view = self.view(at);
                let waits = (view.batch.pool(), view.arrived_ms, view.batch.row(view.row));
                (element, Some((waits, view.batch.clients().get(view.row))), None)
            }
            Slot::Ended(x) => (element, None, Some(x)),
            Slot::None => (element, None, None),
        });
        f.debug_list().entries(known).finish()
    }
}

/// An element that waits, or ended above the stable cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) batch: &'a Arc<Batch>,
    /// Its row in the batch.
    pub(super) row: usize,
    pub(super) arrived_ms: u64,
    /// Of its key.
    pub(super) hash: KeyHash,
}

impl Elements {
    /// What is known of an element.
    #[inline]
    pub(super) fn get(&self, element: ElementId) -> Slot {
        slot(self.slots.get(element))
    }

    /// Where an element waits.
    #[inline]
    pub(super) fn waits(&self, element: ElementId) -> Option<At> {
        match self.get(element) {
            Slot::Waiting(at) => Some(at),
            Slot::Ended(_) | Slot::None => None,
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Those that wait, after one, ascending.
    pub(super) fn waiting_after(&self, element: ElementId) -> impl Iterator<Item = (ElementId, At)> + '_ {
        self.known_after(element).filter_map(|(element, at)| at.map(|at| (element, at)))
    }

    /// Those that are known, after one, ascending, and where they are if they wait.
    pub(super) fn known_after(&self, element: ElementId) -> impl Iterator<Item = (ElementId, Option<At>)> + '_ {
        self.slots.after(element).map(|(element, word)| match slot(word) {
            Slot::Waiting(at) => (element, Some(at)),
            Slot::Ended(_) | Slot::None => (element, None),
        })
    }

    #[inline]
    pub(super) fn view(&self, at: At) -> View<'_> {
        let segment = self.segment(at.segment);
        let row = segment.from + at.row as usize;
        let (_, arrived_ms) = segment.who(at.row as usize);
        View { batch: &segment.batch, row, arrived_ms, hash: segment.hashes[row] }
    }

    #[inline]
    fn segment(&self, number: u32) -> &Segment {
        self.segments[number as usize].as_ref().expect("a segment that is named is kept")
    }

    fn segment_mut(&mut self, number: u32) -> &mut Segment {
        self.segments[number as usize].as_mut().expect("a segment that is named is kept")
    }

    /// Elements that arrive one after the other. There is a hash for each of the batch's keys.
    pub(super) fn arrive(&mut self, first: ElementId, arrived_ms: u64, run: &Run, hashes: Arc<[KeyHash]>) {
        let count = u32::try_from(run.rows.len()).expect("a batch is smaller");
        self.add(Arc::clone(&run.batch), hashes, run.rows.start, Who::Neighbours { first, count, arrived_ms });
    }

    /// Elements of a batch that have these ids and arrived then.
    pub(super) fn restore(&mut self, batch: Arc<Batch>, hashes: Arc<[KeyHash]>, who: Vec<(ElementId, u64)>) {
        assert_eq!(batch.len(), who.len(), "every element has an id");
        self.add(batch, hashes, 0, Who::Listed(who.into()));
    }

    fn add(&mut self, batch: Arc<Batch>, hashes: Arc<[KeyHash]>, from: usize, who: Who) {
        assert_eq!(batch.len(), hashes.len(), "every element has a key");
        let mut segment = Segment { batch, hashes, from, who, waiting: 0, kept: 0, listed: false };
        let rows = segment.len();
        assert!(rows < 1 << ROW_BITS, "a segment of {rows} rows");
        let count = u32::try_from(rows).expect("it was checked");
        (segment.waiting, segment.kept) = (count, count);
        let number = self.free.pop().unwrap_or_else(|| {
            self.segments.push(None);
            u32::try_from(self.segments.len() - 1).expect("elements are fewer")
        });
        let word = |row: usize| At { segment: number, row: row as u32 }.word();
        match &segment.who {
            Who::Neighbours { first, .. } => self.slots.set_run(*first, (0..rows).map(word)),
            Who::Listed(listed) => {
                listed.iter().enumerate().for_each(|(row, &(element, _))| self.slots.set(element, word(row)));
            }
        }
        self.waiting += rows;
        self.segments[number as usize] = Some(segment);
        if rows < SMALL {
            self.list(number);
        }
    }

    /// An element that waits ends.
    pub(super) fn end(&mut self, element: ElementId, at: At, x: EventId) {
        self.slots.set(element, ENDED | x.0);
        self.waiting -= 1;
        let segment = self.segment_mut(at.segment);
        segment.waiting -= 1;
        if segment.listed {
            let pool = segment.batch.pool();
            self.sparse.get_mut(&pool).expect("it was listed").waiting -= 1;
        } else if segment.waiting > 0 && segment.waiting as usize * SPARSE < segment.len() {
            self.list(at.segment);
        }
    }

    /// One that ended is stable: its row is needed no longer.
    pub(super) fn release(&mut self, at: At) {
        self.segment_mut(at.segment).kept -= 1;
        self.free_if_empty(at.segment);
    }

    fn free_if_empty(&mut self, number: u32) {
        let segment = self.segment_mut(number);
        if segment.kept > 0 {
            return;
        }
        if segment.listed {
            // Its number is free when the list was gone through, its rows now.
            (segment.who, segment.hashes, segment.from) = (Who::Listed(Box::default()), Arc::default(), 0);
            segment.batch = Arc::new(Batch::nobody(segment.batch.pool()));
        } else {
            self.segments[number as usize] = None;
            self.free.push(number);
        }
    }

    /// What an ended element was ended by is remembered no longer.
    pub(super) fn forget(&mut self, element: ElementId) {
        if let Slot::Ended(_) = self.get(element) {
            self.slots.set(element, 0);
        }
    }

    /// An element ended before there was anything else to know of it.
    pub(super) fn remember(&mut self, element: ElementId, x: EventId) {
        self.slots.set(element, ENDED | x.0);
    }

    fn list(&mut self, number: u32) {
        let segment = self.segments[number as usize].as_mut().expect("it is there");
        segment.listed = true;
        let pool = segment.batch.pool();
        let sparse = self.sparse.entry(pool).or_default();
        sparse.waiting += segment.waiting as usize;
        // A segment of one row holds a batch, and more than the row.
        sparse.held += segment.batch.len() + SMALL / 4;
        sparse.segments.push(number);
        if sparse.waiting >= REPACK || sparse.held >= HELD {
            self.repack(pool);
        }
    }

    /// Puts what waits in the listed segments of a pool together.
    fn repack(&mut self, pool: PoolId) {
        let listed = self.sparse.remove(&pool).expect("something is listed").segments;
        let mut moved: Vec<(u32, usize, (ElementId, u64))> = Vec::new();
        for &number in &listed {
            let segment = self.segment(number);
            let waits = (0..).zip(0..segment.len()).filter_map(|(row, at)| {
                let (element, arrived_ms) = segment.who(at);
                let waits = self.waits(element) == Some(At { segment: number, row });
                waits.then_some((number, segment.from + at, (element, arrived_ms)))
            });
            moved.extend(waits);
        }
        moved.sort_unstable_by_key(|&(.., (element, _))| element);
        let picked = moved.iter().map(|&(number, row, _)| (&*self.segment(number).batch, row));
        let together = Batch::pick(picked);
        let hashes = moved.iter().map(|&(number, row, _)| self.segment(number).hashes[row]).collect();
        for &(number, ..) in &moved {
            let segment = self.segment_mut(number);
            segment.waiting -= 1;
            segment.kept -= 1;
        }
        self.waiting -= moved.len();
        for number in listed {
            self.segment_mut(number).listed = false;
            self.free_if_empty(number);
        }
        if let Some(batch) = together {
            self.restore(Arc::new(batch), hashes, moved.into_iter().map(|(.., who)| who).collect());
        }
    }
}
