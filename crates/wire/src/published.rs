//! Outcomes between the ledger and their columns.
//!
//! Whoever asks the ledger holds up everything else, so of outcomes that leave it only this is noted: of which batches
//! their ends are rows. What those rows say is all over the memory. It is gathered as columns by the first that reads
//! the outcomes, a watcher or the writer of the results, for all. A batch never changes (batch.B3), and is held until
//! then. Invariant: published.P1 what is gathered is what was noted, whenever that is.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use dovetail_core::{
    ElementId, EventId, PoolId, WithdrawReason,
    batch::Batch,
    ledger::{Outcome, OutcomeEndView, OutcomeView, Outcomes},
};

use super::outcomes::{OUTCOME_BYTES, OutcomeChunk, OutcomeWriter};

/// Outcomes that are gathered in one go: their rows stay in the processor's cache.
const TOGETHER: usize = 512;
/// Batches that are known to be held already: a power of two of them.
const RECENT: usize = 256;

/// Some outcomes, ascending, of which there is always one; columns of them once somebody has asked.
pub struct PublishedOutcomes {
    last: EventId,
    /// Until it is gathered.
    noted: Mutex<Noted>,
    gathered: OnceLock<OutcomeChunk>,
}

impl fmt::Debug for PublishedOutcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublishedOutcomes(to {})", self.last)
    }
}

impl From<OutcomeChunk> for PublishedOutcomes {
    fn from(chunk: OutcomeChunk) -> PublishedOutcomes {
        PublishedOutcomes { last: chunk.last(), noted: Mutex::default(), gathered: chunk.into() }
    }
}

impl PublishedOutcomes {
    /// The event of the last.
    #[must_use]
    pub fn last(&self) -> EventId {
        self.last
    }

    /// As columns. The first call gathers them, and others wait for it.
    #[must_use]
    pub fn chunk(&self) -> &OutcomeChunk {
        self.gathered.get_or_init(|| {
            let noted = std::mem::take(&mut *self.noted());
            noted.gather()
        })
    }

    /// Those that end an element that is looked for.
    pub fn ending(&self, is_sought: impl Fn(ElementId) -> bool) -> Vec<Outcome> {
        let noted = self.noted();
        if noted.heads.is_empty() {
            // Somebody gathers it, or has.
            drop(noted);
            let chunk = self.chunk();
            let ends = |&index: &usize| chunk.retirement(index).ends().any(&is_sought);
            return (0..chunk.len()).filter(ends).map(|index| chunk.get(index)).collect();
        }
        let ends = |outcome: &OutcomeView<'_>| {
            is_sought(outcome.element.id) || outcome.anchor.is_some_and(|anchor| is_sought(anchor.id))
        };
        noted.views().filter(ends).map(|outcome| outcome.to_outcome()).collect()
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is noted of an outcome beside its ends.
#[derive(Clone, Copy)]
struct Head {
    x: EventId,
    pool: PoolId,
    time_ms: u64,
    reason: Option<WithdrawReason>,
    has_anchor: bool,
    /// What its ends took.
    bytes: u64,
}

/// Which row of which batch an end is.
#[derive(Clone, Copy)]
struct End {
    id: ElementId,
    arrived_ms: u64,
    batch: u32,
    row: u32,
}

/// Outcomes as they left the ledger.
#[derive(Default)]
struct Noted {
    heads: Vec<Head>,
    /// One or two of each, in their order.
    ends: Vec<End>,
    /// Each once, or little more often.
    batches: Vec<Arc<Batch>>,
}

impl Noted {
    fn views(&self) -> impl Iterator<Item = OutcomeView<'_>> {
        let mut ends = self.ends.iter().map(|&End { id, arrived_ms, batch, row }| OutcomeEndView {
            id,
            arrived_ms,
            batch: &self.batches[batch as usize],
            row: row as usize,
        });
        self.heads.iter().map(move |&Head { x, pool, time_ms, reason, has_anchor, bytes }| {
            let element = ends.next().expect("an outcome has an end");
            let anchor = has_anchor.then(|| ends.next().expect("a match has two ends"));
            OutcomeView { x, pool, time_ms, element, anchor, reason, bytes }
        })
    }

    fn gather(self) -> OutcomeChunk {
        let mut writer = OutcomeWriter::new(usize::MAX);
        let (mut views, mut some) = (self.views(), Vec::with_capacity(TOGETHER.min(self.heads.len())));
        loop {
            some.clear();
            some.extend(views.by_ref().take(TOGETHER));
            if some.is_empty() {
                break;
            }
            writer.push_views(&some);
        }
        let chunk = writer.take().pop().expect("there is an outcome");
        Arc::unwrap_or_clone(chunk)
    }
}

/// Takes outcomes as they leave the ledger.
pub struct OutcomeCollector {
    bytes_max: u64,
    bytes: u64,
    noted: Noted,
    /// Where a batch is among those that are held, by its address: no other can have that while it is held.
    recent: Box<[(usize, u32); RECENT]>,
    full: Vec<Arc<PublishedOutcomes>>,
}

impl fmt::Debug for OutcomeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutcomeCollector({} and {} outcomes)", self.full.len(), self.noted.heads.len())
    }
}

impl OutcomeCollector {
    /// Of chunks of about so many bytes at the most; one outcome more may be in one.
    #[must_use]
    pub fn new(bytes_max: usize) -> OutcomeCollector {
        let (noted, recent) = (Noted::default(), Box::new([(0, 0); RECENT]));
        OutcomeCollector { bytes_max: bytes_max as u64, bytes: 0, noted, recent, full: Vec::new() }
    }

    /// What was added.
    pub fn take(&mut self) -> Vec<Arc<PublishedOutcomes>> {
        self.end_chunk();
        std::mem::take(&mut self.full)
    }

    fn end_chunk(&mut self) {
        let Some(&Head { x: last, .. }) = self.noted.heads.last() else { return };
        self.bytes = 0;
        self.recent.fill((0, 0));
        let noted = Mutex::new(std::mem::take(&mut self.noted));
        self.full.push(Arc::new(PublishedOutcomes { last, noted, gathered: OnceLock::new() }));
    }

    fn add(&mut self, end: &OutcomeEndView<'_>) {
        let &OutcomeEndView { id, arrived_ms, batch, row } = end;
        let address = Arc::as_ptr(batch) as usize;
        // They are far apart, and so differ in these bits.
        let recent = &mut self.recent[(address >> 6) % RECENT];
        if recent.0 != address {
            let number = u32::try_from(self.noted.batches.len()).expect("outcomes of a chunk are fewer");
            self.noted.batches.push(Arc::clone(batch));
            *recent = (address, number);
        }
        let row = u32::try_from(row).expect("a batch has fewer rows");
        self.noted.ends.push(End { id, arrived_ms, batch: recent.1, row });
    }
}

impl Outcomes for OutcomeCollector {
    fn push<'a>(&mut self, outcomes: impl Iterator<Item = OutcomeView<'a>>) {
        for OutcomeView { x, pool, time_ms, element, anchor, reason, bytes } in outcomes {
            if self.bytes >= self.bytes_max {
                self.end_chunk();
            }
            self.bytes += OUTCOME_BYTES as u64 + bytes;
            self.noted.heads.push(Head { x, pool, time_ms, reason, has_anchor: anchor.is_some(), bytes });
            [Some(element), anchor].iter().flatten().for_each(|end| self.add(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dovetail_core::batch::ClientPart;
    use dovetail_rule::{Row, Value};

    use super::*;
    use crate::tests::Draws;

    /// Elements of a pool with keys and payloads of all lengths.
    fn batch(draws: &mut Draws) -> Arc<Batch> {
        let pool = PoolId(draws.below(3) as u32);
        let owner = ["", "someone"][draws.below(2) as usize];
        let elements: Vec<(Row, ClientPart)> = (0..1 + draws.below(40))
            .map(|number| {
                let client = ClientPart {
                    key: format!("{number}-{}", "k".repeat(draws.below(30) as usize)).as_str().into(),
                    payload: Bytes::from(vec![number as u8; draws.below(60) as usize]),
                    ttl_ms: 0,
                    idempotency_key: "".into(),
                    owner: owner.into(),
                };
                (Row::from_values([Some(Value::Int(7))]), client)
            })
            .collect();
        let elements: Vec<_> = elements.iter().map(|(row, client)| (row, client)).collect();
        Arc::new(Batch::of(pool, &elements))
    }

    /// Outcomes of rows of batches, drawn at random, those of one pool in one.
    fn views<'a>(draws: &mut Draws, batches: &'a [Arc<Batch>], x: &mut u64) -> Vec<OutcomeView<'a>> {
        let end = |draws: &mut Draws, pool: Option<PoolId>| loop {
            let batch = &batches[draws.below(batches.len() as u64) as usize];
            if pool.is_none_or(|pool| batch.pool() == pool) {
                let row = draws.below(batch.len() as u64) as usize;
                let arrived_ms = draws.below(2) * draws.below(1_000);
                break OutcomeEndView { id: ElementId(1 + draws.below(1_000)), arrived_ms, batch, row };
            }
        };
        let mut view = |draws: &mut Draws| {
            *x += 1 + draws.below(3);
            let element = end(draws, None);
            let pool = element.batch.pool();
            let anchor = (draws.below(4) > 0).then(|| end(draws, Some(pool)));
            let reason = anchor.is_none().then_some(WithdrawReason::Expired);
            let of = |end: &OutcomeEndView<'_>| end.batch.waiting_bytes(end.row..end.row + 1);
            let bytes = of(&element) + anchor.as_ref().map_or(0, of);
            OutcomeView { x: EventId(*x), pool, time_ms: *x * 3, element, anchor, reason, bytes }
        };
        (0..draws.below(900)).map(|_| view(draws)).collect()
    }

    #[test]
    fn what_is_gathered_late_is_what_left_the_ledger_in_chunks_of_about_so_many_bytes() {
        let bytes_max = 50_000;
        let (mut draws, mut collector, mut x) = (Draws(3), OutcomeCollector::new(bytes_max), 0);
        for _ in 0..40 {
            let batches: Vec<Arc<Batch>> = (0..1 + draws.below(600)).map(|_| batch(&mut draws)).collect();
            let mut left = Vec::new();
            for _ in 0..draws.below(4) {
                let views = views(&mut draws, &batches, &mut x);
                left.extend(views.iter().map(OutcomeView::to_outcome));
                collector.push(views.into_iter());
            }
            let published = collector.take();
            let sought = |element: ElementId| element.0.is_multiple_of(7);
            let ending: Vec<Outcome> = published.iter().flat_map(|outcomes| outcomes.ending(sought)).collect();
            let ends = |outcome: &&Outcome| outcome.retirement().ends().any(sought);
            assert!(ending.iter().eq(left.iter().filter(ends)), "before they are gathered");
            // Keys of no arrival time are stored as none.
            let mut left = left;
            for outcome in &mut left {
                for end in [Some(&mut outcome.element), outcome.anchor.as_mut()].into_iter().flatten() {
                    end.arrived_ms = end.arrived_ms.filter(|&arrived_ms| arrived_ms > 0);
                }
            }
            let gathered: Vec<Outcome> = published.iter().flat_map(|outcomes| outcomes.chunk().iter()).collect();
            assert_eq!(gathered, left);
            let ended = published.iter().flat_map(|outcomes| outcomes.ending(sought)).count();
            assert_eq!(ended, ending.len(), "and after");
            assert!(published.iter().all(|outcomes| outcomes.last() == outcomes.chunk().last()));
            for outcomes in &published {
                let bytes: usize = (0..outcomes.chunk().len()).map(|index| outcomes.chunk().bytes(index)).sum();
                assert!(bytes < bytes_max + 1_000, "{bytes}");
            }
            assert!(batches.iter().all(|batch| Arc::strong_count(batch) == 1), "rows are held no longer");
        }
        assert!(collector.take().is_empty() && x > 20_000);
    }

    #[test]
    fn a_batch_is_held_once_for_neighbours() {
        let (mut draws, mut collector) = (Draws(5), OutcomeCollector::new(usize::MAX));
        let batches = [batch(&mut draws)];
        let mut x = 0;
        (0..5).for_each(|_| collector.push(views(&mut draws, &batches, &mut x).into_iter()));
        assert_eq!((Arc::strong_count(&batches[0]), collector.noted.heads.len() > 500), (2, true));
    }
}
