//! The newest entries in memory, older ones in their store, for readers that follow from a cursor.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
};

use dovetail_core::{Cursor, EventId, ledger::Outcome, planted::Planted};
use dovetail_log::{LogReader, ReadError, Record};
use dovetail_node::balancer::{Gone, PublishedFrame, check_floor};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

use dovetail_wire::{ConvertError, PublishedOutcomes};

/// About how many bytes are read from the store at a time.
const READ_BYTES: usize = 1 << 20;
/// Most entries of one step.
const STEP: usize = 4096;
/// Most reads of the store at a time, each in a thread and with a file of its own; more wait, in the order in which
/// they came.
const READS: usize = 16;

/// Something that is published in order and kept in a store.
pub(crate) trait TailEntry: Sized + Send + Sync + 'static {
    /// The last event that it covers.
    fn last(&self) -> EventId;
    /// Reads the entries of a record.
    fn decode(record: &Record) -> Result<Vec<Self>, ConvertError>;
}

impl TailEntry for PublishedFrame {
    fn last(&self) -> EventId {
        self.frame().through
    }

    fn decode(record: &Record) -> Result<Vec<PublishedFrame>, ConvertError> {
        Ok(vec![PublishedFrame::new(Arc::new(dovetail_wire::log_parts(record, false)?))])
    }
}

impl TailEntry for PublishedOutcomes {
    fn last(&self) -> EventId {
        PublishedOutcomes::last(self)
    }

    fn decode(record: &Record) -> Result<Vec<PublishedOutcomes>, ConvertError> {
        Ok(dovetail_wire::result_chunk(record)?.into_iter().map(PublishedOutcomes::from).collect())
    }
}

/// Why a reader cannot go on.
#[derive(Debug, Error)]
pub(crate) enum TailError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error("cursor {} is older than what is kept; the oldest that works is {}", cursor.event().0, floor.event().0)]
    Trimmed { cursor: Cursor, floor: Cursor },
    #[error("the reading thread failed")]
    Thread,
    #[error("the node is stopping")]
    Closed,
    #[error("the store has nothing after {after}, though it was published")]
    Missing { after: EventId },
}

/// What has been published, and where the older part of it is.
#[derive(Debug)]
pub(crate) struct TailedLog<T> {
    kept: RwLock<Kept<T>>,
    head: watch::Sender<EventId>,
    /// The store has nothing at or below, whatever its own floor is.
    begins: EventId,
    store: Reader,
    reads: Semaphore,
}

struct Reader(Arc<dyn LogReader>);

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

#[derive(Debug)]
struct Kept<T> {
    /// Everything at or below is only in the store.
    floor: EventId,
    entries: VecDeque<Arc<T>>,
}

/// A piece of what a reader is given.
#[derive(Debug)]
pub(crate) struct TailStep<T> {
    pub(crate) entries: Vec<Arc<T>>,
    /// Where the reader is after it.
    pub(crate) cursor: Cursor,
}

impl<T: TailEntry> TailedLog<T> {
    /// Nothing above `head`, and everything up to it in the store, but for what is at or below `begins`.
    pub(crate) fn new(head: EventId, begins: EventId, store: Box<dyn LogReader>) -> TailedLog<T> {
        let kept = RwLock::new(Kept { floor: head, entries: VecDeque::new() });
        TailedLog {
            kept,
            head: watch::Sender::new(head),
            begins,
            store: Reader(store.into()),
            reads: Semaphore::new(READS),
        }
    }

    /// The lowest cursor that can be read after.
    pub(crate) fn floor(&self) -> Cursor {
        Cursor(self.begins.max(EventId(self.store.0.floor())))
    }

    /// Publishes entries, and that there is no other up to `head`.
    pub(crate) fn publish(&self, entries: impl IntoIterator<Item = Arc<T>>, head: EventId) {
        self.kept.write().unwrap_or_else(PoisonError::into_inner).entries.extend(entries);
        self.head.send_if_modified(|old| {
            let moved = head > *old;
            *old = head.max(*old);
            moved
        });
    }

    /// Publishes what is in the store up to `head`, on top of nothing that is not.
    pub(crate) fn publish_stored(&self, head: EventId) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        assert!(kept.entries.is_empty(), "what is in memory is published before what comes after it");
        kept.floor = kept.floor.max(head);
        drop(kept);
        self.publish([], head);
    }

    /// Forgets entries up to `stored`, which are in the store.
    pub(crate) fn trim(&self, stored: EventId) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        while kept.entries.front().is_some_and(|entry| entry.last() <= stored) {
            let entry = kept.entries.pop_front().expect("looked at it");
            kept.floor = kept.floor.max(entry.last());
        }
    }

    /// How far it is published.
    pub(crate) fn head(&self) -> EventId {
        *self.head.borrow()
    }

    /// To wait for the head.
    pub(crate) fn watch(&self) -> watch::Receiver<EventId> {
        self.head.subscribe()
    }

    /// What comes after `cursor`; waits until there is something. The head may move without an entry.
    pub(crate) async fn after(&self, cursor: Cursor) -> Result<TailStep<T>, TailError> {
        let mut head = self.watch();
        let head = *head.wait_for(|head| !cursor.covers(*head)).await.map_err(|_| TailError::Closed)?;
        match self.kept_after(cursor, head) {
            Some(step) => Ok(step),
            None => self.stored_after(cursor, head).await,
        }
    }

    fn kept_after(&self, cursor: Cursor, head: EventId) -> Option<TailStep<T>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if cursor.event() < kept.floor {
            return None;
        }
        let from = kept.entries.partition_point(|entry| cursor.covers(entry.last()));
        let upto = kept.entries.partition_point(|entry| entry.last() <= head);
        let entries: Vec<_> = kept.entries.range(from..upto).take(STEP).map(Arc::clone).collect();
        let cut_off = entries.len() < upto - from;
        let cursor = if cut_off { entries.last().map_or(head, |last| last.last()) } else { head };
        Some(TailStep { entries, cursor: Cursor(cursor) })
    }

    async fn stored_after(&self, cursor: Cursor, head: EventId) -> Result<TailStep<T>, TailError> {
        self.check_kept(cursor)?;
        let (entries, through) = self.read(cursor.event(), READ_BYTES).await?;
        if cursor.covers(through) {
            return Err(TailError::Missing { after: cursor.event() });
        }
        let entries = entries.into_iter().filter(|entry| !cursor.covers(entry.last()) && entry.last() <= head);
        Ok(TailStep { entries: entries.map(Arc::new).collect(), cursor: Cursor(through.min(head)) })
    }

    /// The next entries of the store, and how far they reach.
    async fn read(&self, after: EventId, bytes_max: usize) -> Result<(Vec<T>, EventId), TailError> {
        let _one = self.reads.acquire().await.map_err(|_| TailError::Closed)?;
        let store = Arc::clone(&self.store.0);
        let read = tokio::task::spawn_blocking(move || read_entries::<T>(&*store, after, bytes_max));
        read.await.map_err(|_| TailError::Thread)?
    }

    /// Refuses a cursor that is older than what is kept.
    pub(crate) fn check_kept(&self, cursor: Cursor) -> Result<(), TailError> {
        let kept = check_floor(cursor, self.floor(), Planted::default());
        kept.map_err(|Gone { cursor, floor }| TailError::Trimmed { cursor, floor })
    }

    /// The first entry that reaches `x`, which is published, if one does.
    async fn reaching(&self, x: EventId) -> Result<Option<Arc<T>>, TailError> {
        {
            let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
            if x > kept.floor {
                let at = kept.entries.partition_point(|entry| entry.last() < x);
                return Ok(kept.entries.get(at).map(Arc::clone));
            }
        }
        self.check_kept(Cursor(x.prev()))?;
        // One record: the first that reaches x.
        let (entries, _) = self.read(x.prev(), 1).await?;
        Ok(entries.into_iter().find(|entry| entry.last() >= x).map(Arc::new))
    }
}

impl TailedLog<PublishedOutcomes> {
    /// The outcome of `x`, which is published; none when it has none.
    pub(crate) async fn find(&self, x: EventId) -> Result<Option<Outcome>, TailError> {
        let Some(outcomes) = self.reaching(x).await? else { return Ok(None) };
        let chunk = outcomes.chunk();
        let index = chunk.after(x.prev());
        Ok((chunk.x(index) == x).then(|| chunk.get(index)))
    }
}

/// The next entries of a store, and how far they reach.
fn read_entries<T: TailEntry>(
    store: &dyn LogReader,
    after: EventId,
    bytes_max: usize,
) -> Result<(Vec<T>, EventId), TailError> {
    let records = match store.read_after(after.0, bytes_max) {
        // Trimmed since it was looked at.
        Err(ReadError::Trimmed { after, floor }) => {
            return Err(TailError::Trimmed { cursor: Cursor(EventId(after)), floor: Cursor(EventId(floor)) });
        }
        read => read?,
    };
    let through = records.last().map_or(after, |record| EventId(record.through));
    let mut entries = Vec::new();
    for record in &records {
        entries.extend(T::decode(record)?);
    }
    Ok((entries, through))
}
