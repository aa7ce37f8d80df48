//! The elements that wait, and those that ended and are remembered.
//!
//! Elements stay in the batches they came in. Batches that were small from the beginning are put together in new ones.
//! What is left of a batch of which most have ended is, too, but only once such batches hold more than all that waits:
//! the last elements of a batch mostly end soon after the others. So memory follows what waits. Invariants: elements.E1
//! a slot that waits names a segment's row, and that row has the slot's id; elements.E2 a segment is kept as long as one
//! of its rows waits, or ended above the stable cut; elements.E3 a row that ended does not move.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::slots::Slots;
use crate::{
    ElementId, EventId, PoolId,
    batch::{Batch, KeptRow, Run},
};

/// Rows that wait in small segments of a pool, at which they are put together; and about how many are put together in
/// one go.
const REPACK: usize = 512;
/// Rows of small segments of a pool, at which they are put together, however few of them wait.
const HELD: usize = 8192;
/// A segment of fewer rows is small.
const SMALL: usize = 64;
/// A segment is sparse when fewer than one in so many of its rows wait.
const SPARSE: usize = 4;
/// Bytes of batches of sparse segments that are kept, however little waits.
const SPARSE_BYTES: u64 = 8 << 20;

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
    /// By the batch's rows.
    rows: Arc<[KeptRow]>,
    /// The batch's row of the first.
    from: usize,
    who: Who,
    /// Rows that wait.
    waiting: u32,
    /// Rows that wait, or ended above the stable cut.
    kept: u32,
    /// It is among those to be put together.
    listed: Option<Listed>,
    /// Of its batch, so that this need not be looked at: its pool, and whether any of its elements has a time to live.
    pool: PoolId,
    expires: bool,
}

/// Why a segment is to be put together with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    /// It was small from the beginning.
    Small,
    /// Most of its rows have ended.
    Sparse,
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
pub(super) struct Elements {
    slots: Slots,
    segments: Vec<Option<Segment>>,
    free: Vec<u32>,
    waiting: usize,
    /// What they take, as [`Batch::waiting_bytes`] counts them.
    waiting_bytes: u64,
    /// Small segments that are to be put together, and pools that have enough of them.
    small: BTreeMap<PoolId, Small>,
    due: Vec<PoolId>,
    /// Sparse segments that are to be put together, the first to become so first.
    sparse: VecDeque<u32>,
    /// Bytes of their batches.
    sparse_bytes: u64,
    /// Of how many of them nothing is left.
    sparse_gone: usize,
    /// So many bytes of them are kept, or as many as all that waits takes.
    sparse_bytes_max: u64,
}

impl Default for Elements {
    fn default() -> Elements {
        Elements {
            slots: Slots::default(),
            segments: Vec::new(),
            free: Vec::new(),
            waiting: 0,
            waiting_bytes: 0,
            small: BTreeMap::new(),
            due: Vec::new(),
            sparse: VecDeque::new(),
            sparse_bytes: 0,
            sparse_gone: 0,
            sparse_bytes_max: SPARSE_BYTES,
        }
    }
}

/// Small segments of a pool that are to be put together.
#[derive(Debug, Default)]
struct Small {
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
}

/// What has to be known of an element that ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedRow {
    pub(super) pool: PoolId,
    pub(super) kept: KeptRow,
    /// It may have a time to live.
    pub(super) expires: bool,
}

/// Bytes of all elements of a batch.
fn bytes_of(batch: &Batch) -> u64 {
    batch.waiting_bytes(0..batch.len())
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
        View { batch: &segment.batch, row, arrived_ms }
    }

    /// Reads the slots of elements that end next. They are all over the memory, as are their rows: so the processor waits
    /// for many at a time.
    pub(super) fn touch(&self, elements: impl Iterator<Item = ElementId>) {
        std::hint::black_box(elements.fold(0, |read, element| read ^ self.slots.get(element)));
    }

    /// What has to be known of rows that end, in their order.
    pub(super) fn ended(&self, ats: impl Iterator<Item = At> + Clone) -> impl Iterator<Item = EndedRow> {
        let kept = |at: At| {
            let segment = self.segment(at.segment);
            &segment.rows[segment.from + at.row as usize]
        };
        let segments = ats.clone().fold(0, |read, at| read ^ self.segment(at.segment).from);
        std::hint::black_box((segments, ats.clone().fold(0, |read, at| read ^ kept(at).bytes)));
        ats.map(move |at| {
            let &Segment { pool, expires, .. } = self.segment(at.segment);
            EndedRow { pool, kept: *kept(at), expires }
        })
    }

    #[inline]
    fn segment(&self, number: u32) -> &Segment {
        self.segments[number as usize].as_ref().expect("a segment that is named is kept")
    }

    fn segment_mut(&mut self, number: u32) -> &mut Segment {
        self.segments[number as usize].as_mut().expect("a segment that is named is kept")
    }

    /// Elements that arrive one after the other. `kept` is of all elements of the batch.
    pub(super) fn arrive(&mut self, first: ElementId, arrived_ms: u64, run: &Run, kept: Arc<[KeptRow]>) {
        let count = u32::try_from(run.rows.len()).expect("a batch is smaller");
        self.add(Arc::clone(&run.batch), kept, run.rows.start, Who::Neighbours { first, count, arrived_ms });
        self.tidy();
    }

    /// Elements of a batch that have these ids and arrived then.
    pub(super) fn restore(&mut self, batch: Arc<Batch>, kept: Arc<[KeptRow]>, who: Vec<(ElementId, u64)>) {
        assert_eq!(batch.len(), who.len(), "every element has an id");
        self.add(batch, kept, 0, Who::Listed(who.into()));
    }

    fn add(&mut self, batch: Arc<Batch>, rows: Arc<[KeptRow]>, from: usize, who: Who) {
        assert_eq!(batch.len(), rows.len(), "every element is kept");
        let (pool, expires) = (batch.pool(), batch.clients().ttls_ms.is_some());
        let mut segment = Segment { batch, rows, from, who, waiting: 0, kept: 0, listed: None, pool, expires };
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
        self.waiting_bytes += segment.batch.waiting_bytes(from..from + rows);
        self.segments[number as usize] = Some(segment);
        if rows < SMALL {
            self.list_small(number);
        }
    }

    /// An element ends, if it waits. Where it is; [`leave`](Elements::leave) is to be called for that.
    #[inline]
    pub(super) fn end(&mut self, element: ElementId, x: EventId) -> Option<At> {
        let word = self.slots.get_mut(element)?;
        let Slot::Waiting(at) = slot(*word) else { return None };
        *word = ENDED | x.0;
        Some(at)
    }

    /// A row that takes so many bytes waits no longer. [`tidy`](Elements::tidy) is to be called once all that end
    /// together have left.
    #[inline]
    pub(super) fn leave(&mut self, at: At, bytes: u64) {
        self.waiting -= 1;
        self.waiting_bytes -= bytes;
        let segment = self.segment_mut(at.segment);
        segment.waiting -= 1;
        match segment.listed {
            Some(Listed::Small) => {
                let pool = segment.pool;
                self.small.get_mut(&pool).expect("it was listed").waiting -= 1;
            }
            Some(Listed::Sparse) => {}
            None if segment.waiting > 0 && segment.waiting as usize * SPARSE < segment.len() => {
                segment.listed = Some(Listed::Sparse);
                self.sparse_bytes += bytes_of(&segment.batch);
                self.sparse.push_back(at.segment);
            }
            None => {}
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
        let Some(listed) = segment.listed else {
            self.segments[number as usize] = None;
            self.free.push(number);
            return;
        };
        // Its number is free when the list was gone through, its rows now.
        (segment.who, segment.rows, segment.from) = (Who::Listed(Box::default()), Arc::default(), 0);
        let nobody = Arc::new(Batch::nobody(segment.batch.pool()));
        let batch = std::mem::replace(&mut segment.batch, nobody);
        match listed {
            Listed::Small => self.small.get_mut(&batch.pool()).expect("it was listed").held -= batch.len(),
            Listed::Sparse => {
                self.sparse_bytes -= bytes_of(&batch);
                self.sparse_gone += 1;
                self.sweep_sparse();
            }
        }
    }

    /// Forgets the sparse segments of which nothing is left, once they are most of all.
    fn sweep_sparse(&mut self) {
        if self.sparse_gone <= self.sparse.len() / 2 {
            return;
        }
        self.sparse_gone = 0;
        for _ in 0..self.sparse.len() {
            let number = self.sparse.pop_front().expect("it was counted");
            if self.segment(number).kept > 0 {
                self.sparse.push_back(number);
            } else {
                self.segments[number as usize] = None;
                self.free.push(number);
            }
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

    fn list_small(&mut self, number: u32) {
        let segment = self.segments[number as usize].as_mut().expect("it is there");
        segment.listed = Some(Listed::Small);
        let pool = segment.batch.pool();
        let small = self.small.entry(pool).or_default();
        small.waiting += segment.waiting as usize;
        small.held += segment.batch.len();
        small.segments.push(number);
        // A segment of one row holds a batch, and more than the row.
        if small.waiting >= REPACK || small.held + SMALL / 4 * small.segments.len() >= HELD {
            self.due.push(pool);
        }
    }

    /// Puts segments together, where there are enough of them.
    pub(super) fn tidy(&mut self) {
        while let Some(pool) = self.due.pop() {
            let small = self.small.remove(&pool).expect("something is listed");
            self.put_together(small.segments);
        }
        while self.sparse_bytes > self.sparse_bytes_max.max(self.waiting_bytes) {
            let (mut numbers, mut rows) = (Vec::new(), 0);
            while rows < REPACK
                && let Some(number) = self.sparse.pop_front()
            {
                let segment = self.segment(number);
                let (waiting, gone, bytes) = (segment.waiting, segment.kept == 0, bytes_of(&segment.batch));
                rows += waiting as usize;
                self.sparse_gone -= usize::from(gone);
                self.sparse_bytes -= bytes;
                numbers.push(number);
            }
            numbers.sort_by_key(|&number| self.segment(number).batch.pool());
            let pools: Vec<Vec<u32>> = numbers
                .chunk_by(|&one, &next| self.segment(one).batch.pool() == self.segment(next).batch.pool())
                .map(<[u32]>::to_vec)
                .collect();
            pools.into_iter().for_each(|numbers| self.put_together(numbers));
        }
    }

    /// Puts what waits in segments of one pool together, which are listed no longer.
    fn put_together(&mut self, numbers: Vec<u32>) {
        let mut moved: Vec<(u32, usize, (ElementId, u64))> = Vec::new();
        for &number in &numbers {
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
        let kept = moved.iter().map(|&(number, row, _)| self.segment(number).rows[row]).collect();
        for &(number, ..) in &moved {
            let segment = self.segment_mut(number);
            segment.waiting -= 1;
            segment.kept -= 1;
        }
        for number in numbers {
            self.segment_mut(number).listed = None;
            self.free_if_empty(number);
        }
        if let Some(batch) = together {
            self.waiting -= moved.len();
            self.waiting_bytes -= bytes_of(&batch);
            self.restore(Arc::new(batch), kept, moved.into_iter().map(|(.., who)| who).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dovetail_rule::{Row, Value};

    use super::*;
    use crate::{
        batch::{ClientPart, KeySecret},
        testing::Random,
    };

    const SECRET: KeySecret = KeySecret([5, 6]);

    fn batch(pool: PoolId, ids: impl Iterator<Item = u64>) -> Batch {
        let row = |id: u64| Row::from_values([Some(Value::Int(i64::try_from(id).unwrap()))]);
        let client = |id: u64| ClientPart {
            key: format!("k{id}").as_str().into(),
            payload: Bytes::copy_from_slice(&vec![7; (id % 50) as usize]),
            ttl_ms: 0,
            idempotency_key: "".into(),
            owner: "".into(),
        };
        let all: Vec<_> = ids.map(|id| (row(id), client(id))).collect();
        Batch::of(pool, &all.iter().map(|(row, client)| (row, client)).collect::<Vec<_>>())
    }

    fn kept(batch: &Batch) -> Arc<[KeptRow]> {
        KeptRow::each(batch, &batch.fingerprints(SECRET).collect::<Vec<_>>())
    }

    /// Elements, and what has to be known of them.
    struct Checked {
        elements: Elements,
        next: u64,
        /// With their pools, and when they arrived.
        waiting: BTreeMap<u64, (PoolId, u64)>,
        /// Not released yet, with when they arrived, and where they were.
        ended: VecDeque<(u64, u64, At)>,
        random: Random,
    }

    impl Checked {
        /// Some rows of a batch arrive; the others never do.
        fn arrive(&mut self) {
            let (pool, most) = (PoolId(self.random.below(3) as u32), [3, 300][self.random.below(2) as usize]);
            let (count, before, after) = (1 + self.random.below(most), self.random.below(2), self.random.below(2));
            let first = self.next;
            let batch = batch(pool, first - before..first + count + after);
            let kept = kept(&batch);
            let rows = before as usize..(before + count) as usize;
            let arrived_ms = first * 10;
            self.elements.arrive(ElementId(first), arrived_ms, &Run { batch: Arc::new(batch), rows }, kept);
            self.waiting.extend((first..first + count).map(|id| (id, (pool, arrived_ms))));
            self.next = first + count + self.random.below(3);
        }

        /// Some end, those that came first more often.
        fn end(&mut self) {
            for _ in 0..self.random.below(200) {
                let from = self.random.below(self.next) * self.random.below(100) / 99;
                let Some((&id, &(_, arrived_ms))) = self.waiting.range(from..).next() else { continue };
                let at = self.elements.end(ElementId(id), EventId(id + 1)).unwrap();
                let view = self.elements.view(at);
                let bytes = view.batch.waiting_bytes(view.row..view.row + 1);
                self.elements.leave(at, bytes);
                assert_eq!(self.elements.end(ElementId(id), EventId(id + 1)), None, "it has ended");
                self.waiting.remove(&id);
                self.ended.push_back((id, arrived_ms, at));
            }
            self.elements.tidy();
        }

        fn release(&mut self, most: usize) {
            for (id, _, at) in self.ended.drain(..most.min(self.ended.len())) {
                self.elements.release(at);
                self.elements.forget(ElementId(id));
            }
        }

        fn check(&self) {
            let Elements { waiting, waiting_bytes, sparse_bytes, sparse_bytes_max, .. } = self.elements;
            let is = |id: u64, was: u64, at: At| {
                let View { batch, row, arrived_ms } = self.elements.view(at);
                let key = format!("k{id}");
                assert_eq!((batch.clients().key(row), arrived_ms), (key.as_bytes(), was));
                let EndedRow { pool, kept, expires } = self.elements.ended(std::iter::once(at)).next().unwrap();
                assert_eq!(kept.hash, SECRET.fingerprint(batch.pool(), key.as_bytes()).hash());
                assert_eq!(u64::from(kept.bytes), batch.waiting_bytes(row..row + 1));
                assert_eq!((pool, expires), (batch.pool(), false));
                (pool, u64::from(kept.bytes))
            };
            let mut bytes = 0;
            for (&id, &(pool, arrived_ms)) in &self.waiting {
                let (found, own) = is(id, arrived_ms, self.elements.waits(ElementId(id)).unwrap());
                assert_eq!(found, pool);
                bytes += own;
            }
            assert_eq!((waiting, waiting_bytes), (self.waiting.len(), bytes));
            assert!(sparse_bytes <= sparse_bytes_max.max(bytes), "{sparse_bytes} of {bytes}");
            for &(id, arrived_ms, at) in &self.ended {
                is(id, arrived_ms, at);
            }
            let ids = self.elements.waiting_after(ElementId(0)).map(|(id, _)| id.0);
            assert!(ids.eq(self.waiting.keys().copied()));
        }
    }

    #[test]
    fn elements_are_found_wherever_they_are_moved_and_what_has_ended_goes() {
        for (random, sparse_bytes_max) in [(1, 2_000), (2, 50_000), (3, SPARSE_BYTES)] {
            let elements = Elements { sparse_bytes_max, ..Elements::default() };
            let (waiting, ended) = (BTreeMap::new(), VecDeque::new());
            let mut checked = Checked { elements, next: 1, waiting, ended, random: Random(random) };
            for step in 0..1_200 {
                match checked.random.below(5) {
                    0 | 1 => checked.arrive(),
                    2 | 3 => checked.end(),
                    _ => {
                        let most = checked.random.below(400) as usize;
                        checked.release(most);
                    }
                }
                if step % 20 == 0 {
                    checked.check();
                }
            }
            while !checked.waiting.is_empty() {
                checked.end();
            }
            checked.check();
            checked.release(usize::MAX);
            let left = checked.elements.segments.iter().flatten();
            assert_eq!(left.map(|segment| segment.kept as usize + segment.len()).sum::<usize>(), 0);
            assert_eq!(checked.elements.slots.after(ElementId(0)).count(), 0);
        }
    }

    #[test]
    fn one_sparse_segment_that_stays_keeps_nothing_of_those_that_come_after_it() {
        let (mut elements, mut next) = (Elements::default(), 1);
        for round in 0..2_000 {
            let count = 100;
            let batch = Arc::new(batch(PoolId(0), next..next + count));
            let kept = kept(&batch);
            elements.arrive(ElementId(next), 0, &Run::all(batch), kept);
            let ended: Vec<At> = (next..next + count)
                .filter(|&id| id > 1 || round > 0)
                .map(|id| {
                    let at = elements.end(ElementId(id), EventId(id)).unwrap();
                    let view = elements.view(at);
                    elements.leave(at, view.batch.waiting_bytes(view.row..view.row + 1));
                    at
                })
                .collect();
            elements.tidy();
            ended.into_iter().for_each(|at| elements.release(at));
            next += count;
        }
        assert!(elements.segments.len() < 10, "{}", elements.segments.len());
        assert_eq!(elements.waiting(), 1);
    }
}
