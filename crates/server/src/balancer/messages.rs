//! What a balancer's engine hears, and what it answers.

use std::{sync::Arc, time::Duration};

use dovetail_core::{
    Cursor, DecisionFrame, ElementId, EventId, Place, Pool, PoolDefinition, PoolId, Retirement, ShardId,
    batch::Batch,
    ledger::{CutGone, Cutting, Entry, Outcome, PoolCounts, PoolEntry},
    pool::Note,
    shard::Fetch,
    slice::{SliceCut, WaitingElement},
};
use dovetail_node::{Step, Term};
use tokio::sync::oneshot;

use super::{
    columns::{Room, Submitting},
    refusals::Refusals,
    refused::{DefinePoolError, DropPoolError, ElementName, NotWritten},
};
use crate::caller::ClientId;
use dovetail::pb;

/// Where a request that makes events is answered.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, NotWritten>>;

/// What makes events.
#[derive(Debug)]
pub(crate) enum Request {
    /// Elements to let in, in order.
    Submit {
        elements: Submitting,
        /// Those of one stream are let in in the order in which they come.
        stream: u64,
        reply: Reply<Submitted>,
        /// Its share of the bytes that may wait.
        room: Room,
    },
    /// A pool to define, whose number is still to be given, and who wants it.
    Define { pool: Box<Pool>, client: Option<ClientId>, reply: Reply<Result<Defined, DefinePoolError>> },
    /// A pool to drop, if this event defined it; 0 for any.
    Drop { name: String, defined_at: EventId, reply: Reply<Result<Dropping, DropPoolError>> },
    /// An element to withdraw.
    Withdraw { element: ElementName, reply: Reply<Withdrawing> },
    /// Elements to withdraw, by their ids.
    WithdrawAll { elements: Vec<ElementId>, reply: Reply<Vec<Withdrawing>> },
}

impl Request {
    /// Answers without doing anything. The caller may have gone away.
    pub(crate) fn refuse(self, why: NotWritten) {
        match self {
            Request::Submit { reply, .. } => _ = reply.send(Err(why)),
            Request::Define { reply, .. } => _ = reply.send(Err(why)),
            Request::Drop { reply, .. } => _ = reply.send(Err(why)),
            Request::Withdraw { reply, .. } => _ = reply.send(Err(why)),
            Request::WithdrawAll { reply, .. } => _ = reply.send(Err(why)),
        }
    }
}

/// Everything else an engine hears.
#[derive(Debug)]
pub(crate) enum Event {
    /// A shard decided something.
    Decisions { shard: ShardId, frame: DecisionFrame },
    /// A shard has no stream. Answered with what to ask it for; with nothing while there is no room for what it says.
    Dial { shard: ShardId, reply: oneshot::Sender<Option<Step>> },
    /// A shard keeps decisions after `floor`. Answered with whether they are read.
    Hello { shard: ShardId, floor: Cursor, reply: oneshot::Sender<Step> },
    /// What was missing of a shard's decisions has come, from the balancer that writes.
    Fetched { shard: ShardId, fetch: Fetch, retirements: Vec<Retirement> },
    /// A node has heard of a later term than this balancer's.
    Later { term: Term },
    /// Another balancer is to take over. Answered, or not, once one has, or none can.
    Yield { reply: oneshot::Sender<()> },
    /// What became of an element, and up to where that is decided. With `wait_ms`, tell also when it has ended.
    Get { element: ElementName, wait_ms: u32, reply: oneshot::Sender<(Found, EventId)> },
    /// What an explanation needs of an element that waits.
    Explain { element: ElementName, reply: oneshot::Sender<Explaining> },
    /// A pool by its name.
    Pool { name: String, reply: oneshot::Sender<Option<PoolSummary>> },
    /// All pools, in no order.
    Pools { reply: oneshot::Sender<Vec<PoolSummary>> },
    /// The highest id given.
    Assigned { reply: oneshot::Sender<EventId> },
    /// For how long events have waited for a decision while none was made, what is decided, and what is on disk.
    Standing { reply: oneshot::Sender<(Option<Duration>, EventId, EventId)> },
    /// An operator takes the wall clock for right. Answered with how far it was ahead, and event time.
    AcceptClock { reply: oneshot::Sender<(u64, u64)> },
    /// An operator asks for this node's state.
    Inspect { reply: oneshot::Sender<pb::BalancerState> },
}

/// A look at some of the elements that wait: taken after everything else, a small part at a time.
#[derive(Debug)]
pub(crate) enum ElementScan {
    /// Ascending, after one of them.
    Waiting { pool: PoolId, after: ElementId, reply: oneshot::Sender<WaitingPart> },
    /// The same of those that are wanted.
    Select { pool: PoolId, after: ElementId, wanted: Box<dyn Wanted>, reply: oneshot::Sender<SelectedPart> },
    /// The state at the stable cut, for a matcher, but for the elements, which are read in parts.
    BeginCut { matcher: u32, reply: oneshot::Sender<(SliceCut, CutReader)> },
    /// The next of them: of those that wait at the cut, the ones that these slices own.
    CutPart { reader: CutReader, owned: Arc<dyn OwnedBy>, reply: oneshot::Sender<Result<CutPart, CutGone>> },
}

/// A cut that is read. What it needs is kept until it is dropped, or the same matcher begins with another.
#[derive(Debug)]
pub(crate) struct CutReader {
    pub(crate) cutting: Cutting,
    pub(crate) _alive: Arc<()>,
}

/// Some elements of a cut, and how to read on; none when there are no others.
#[derive(Debug)]
pub(crate) struct CutPart {
    pub(crate) waiting: Vec<WaitingElement>,
    pub(crate) reader: Option<CutReader>,
}

/// Which elements a caller owns.
pub(crate) trait OwnedBy: Fn(Place) -> bool + Send + Sync {}
impl<F: Fn(Place) -> bool + Send + Sync> OwnedBy for F {}

impl std::fmt::Debug for dyn OwnedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnedBy")
    }
}

/// Which elements a call wants, by their ids and the rows of batches.
pub(crate) trait Wanted: Fn(ElementId, &Batch, usize) -> bool + Send {}
impl<F: Fn(ElementId, &Batch, usize) -> bool + Send> Wanted for F {}

impl std::fmt::Debug for dyn Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wanted")
    }
}

/// How a batch went. Sent once it is on disk.
#[derive(Debug)]
pub(crate) struct Submitted {
    /// One by row; 0 for one that was refused.
    pub(crate) ids: Vec<u64>,
    /// Why rows were refused, in order.
    pub(crate) refused: Refusals,
}

/// A pool that is defined, and on disk.
#[derive(Debug)]
pub(crate) struct Defined {
    pub(crate) at: EventId,
    pub(crate) created: bool,
    /// What may be a mistake in it.
    pub(crate) notes: Vec<Note>,
}

/// A pool that is being dropped, and that is on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropping {
    pub(crate) pool: PoolId,
    pub(crate) defined_at: EventId,
    pub(crate) closed_at: EventId,
    /// Elements that wait, as far as has been decided.
    pub(crate) waiting: u64,
}

/// How a withdrawal stands, once it is on disk.
#[derive(Debug)]
pub(crate) enum Withdrawing {
    /// Event `at` will withdraw the element if nothing comes before it, by which it has ended then. `own` when this
    /// request wrote it.
    Written { at: EventId, own: bool, ended: Ended },
    /// The element ended before, by this outcome.
    Ended(EventId),
    /// No such element.
    Unknown,
}

/// Tells what ended an element's waiting.
pub(crate) type Ended = oneshot::Receiver<Arc<Outcome>>;

/// What is known of an element.
#[derive(Debug)]
pub(crate) enum Found {
    /// With what tells of its end, if that was asked for.
    Waiting {
        element: ElementId,
        pool: Arc<PoolDefinition>,
        entry: Box<Entry>,
        ended: Option<Ended>,
    },
    Ended(ElementId, EventId),
    Unknown,
}

/// An element to explain.
#[derive(Debug)]
pub(crate) enum Explaining {
    /// It waits, at this time in milliseconds.
    Waiting { pool: Pool, element: ElementId, entry: Box<Entry>, time_ms: u64, search_cost: u64 },
    /// It does not, or is not known.
    Not(Found),
}

/// Some of the elements that wait in a pool, each with its key.
#[derive(Debug)]
pub(crate) struct WaitingPart {
    pub(crate) elements: Vec<(WaitingElement, Arc<str>)>,
    /// After which the others come; none when there are none.
    pub(crate) next: Option<ElementId>,
}

/// Those of some elements that wait in a pool that are wanted.
#[derive(Debug)]
pub(crate) struct SelectedPart {
    pub(crate) elements: Vec<(ElementId, Entry)>,
    /// After which the others come; none when there are none.
    pub(crate) next: Option<ElementId>,
}

/// A pool for a list.
#[derive(Clone, Debug)]
pub(crate) struct PoolSummary {
    pub(crate) id: PoolId,
    pub(crate) definition: Arc<PoolDefinition>,
    pub(crate) defined_at: EventId,
    pub(crate) dropping: bool,
    pub(crate) counts: PoolCounts,
}

impl PoolSummary {
    pub(crate) fn of(entry: &PoolEntry) -> PoolSummary {
        let definition = Arc::clone(&entry.pool.definition);
        let dropping = entry.closed_at.is_some();
        PoolSummary { id: entry.pool.id, definition, defined_at: entry.defined_at, dropping, counts: entry.counts }
    }
}
