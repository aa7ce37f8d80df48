//! What the parts of a balancer share, and how they ask its engine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dovetail_core::{
    EventId, Placement, Stable,
    clock::Jump,
    ledger::{LedgerLimits, Outcome},
};
use dovetail_node::balancer::PublishedFrame;
use tokio::sync::{Notify, Semaphore, oneshot, watch as signal};
use tonic::Status;

use super::{
    columns::Room,
    errors::{self, RequestError},
    limit::Limit,
    messages::{ElementScan, Event, PoolSummary, Request},
    pools::Pools,
    presence::FeedReaders,
    reign::Place,
    tailed_log::{TailError, TailedLog},
    waits::Waits,
};
use crate::{
    caller::{Caller, ClientId},
    rpc::{AnswerRoom, Answers, Inbox, Links, NodeIdentity, ReaderFence, Reads, Shares},
    settings::Settings,
};
use dovetail::pb;
use dovetail_wire::PublishedOutcomes;

/// Most bytes of an answer: what clients take.
const ANSWER_BYTES: usize = 4 << 20;

/// What the parts of a balancer share.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) identity: NodeIdentity,
    pub(crate) settings: Settings,
    pub(crate) placement: Placement,
    /// What makes events: taken only while there is room in flight.
    pub(crate) requests: Inbox<Request>,
    /// What shards decided.
    pub(crate) events: Inbox<Event>,
    /// Questions: they wait for what makes events.
    pub(crate) reads: Inbox<Event>,
    /// What is looked at when there is nothing else.
    pub(crate) looks: Inbox<ElementScan>,
    /// Frames on disk.
    pub(crate) frames: Arc<TailedLog<PublishedFrame>>,
    /// Outcomes decided.
    pub(crate) outcomes: Arc<TailedLog<PublishedOutcomes>>,
    /// The stable cut.
    pub(crate) stable: signal::Receiver<Stable>,
    /// Pools of the frames on disk.
    pub(crate) pools: Arc<Pools>,
    /// The jump of the wall clock for which writes are refused.
    pub(crate) clock: signal::Receiver<Option<Jump>>,
    /// Whether this balancer writes.
    pub(crate) place: signal::Receiver<Place>,
    /// Tells that a shard is to be left, of a balancer that shares its log.
    pub(crate) leave: Option<Arc<[Notify]>>,
    /// What the ledger checks submissions against.
    pub(crate) ledger_limits: LedgerLimits,
    /// Bytes of submissions that may wait for the engine.
    pub(crate) request_bytes: Shares,
    /// Bytes of answers to batches that their clients have not read.
    pub(crate) batch_answers: Shares,
    /// How many streams of submissions have begun.
    pub(crate) streams: AtomicU64,
    pub(crate) watchers: Limit,
    pub(crate) submit_streams: Limit,
    pub(crate) calls: Limit,
    pub(crate) waits: Waits,
    /// Calls that look through a pool.
    pub(crate) scans: Limit,
    pub(crate) feeds: Arc<ReaderFence>,
    /// Matchers that read the cut, one at a time for each: none needs two.
    pub(crate) cuts: Arc<ReaderFence>,
    pub(crate) fetches: Arc<ReaderFence>,
    pub(crate) explanations: Semaphore,
    pub(crate) listings: Semaphore,
    /// Room for large answers.
    pub(crate) answers: Answers,
    /// Which matchers read the log.
    pub(crate) feed_readers: Arc<FeedReaders>,
    pub(crate) links: Links,
    /// All pools, by name, and the balancer's state: as many who ask share them.
    pub(crate) listed: Reads<Vec<PoolSummary>>,
    pub(crate) inspected: Reads<pb::InspectResponse>,
    pub(crate) started_ms: u64,
}

impl Node {
    /// Asks the engine something that makes no event.
    pub(super) async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Result<T, Status> {
        self.reads.ask(event).await.map_err(errors::stopping)
    }

    /// Asks the engine for some of the elements that wait.
    pub(super) async fn look<T>(&self, look: impl FnOnce(oneshot::Sender<T>) -> ElementScan) -> Result<T, Status> {
        self.looks.ask(look).await.map_err(errors::stopping)
    }

    /// Refuses what writes while the wall clock cannot be believed.
    pub(super) fn check_clock(&self) -> Result<(), RequestError> {
        let Some(jump) = *self.clock.borrow() else { return Ok(()) };
        let ahead = format!("{:.0?}", Duration::from_secs(jump.ahead_ms() / 1_000));
        Err(RequestError::Clock { wall_ms: jump.wall_ms, event_ms: jump.event_ms, ahead })
    }

    /// The number of a stream of submissions that begins; one that is submitted alone is a stream, too.
    pub(super) fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Room for one element of so many bytes. It is its call that counts by client.
    pub(super) async fn request_room(&self, bytes: usize, client: Option<ClientId>) -> Room {
        let on_the_way = self.request_bytes.wait(None, bytes).await;
        Room { on_the_way: Some(on_the_way), _of_stream: None, bytes, client }
    }

    /// Room for an answer that may be large: taken before it is made.
    pub(super) async fn answer_room(&self, caller: Option<&Caller>) -> Result<AnswerRoom, Status> {
        let what = "bytes of answers are kept for clients to read";
        let full = |spent| RequestError::Limit { spent, what, name: "the most of a balancer" };
        Ok(self.answers.room(caller, ANSWER_BYTES).await.map_err(full)?)
    }

    /// The outcome of an event that is decided; none when it is no longer kept.
    pub(super) async fn outcome(&self, x: EventId) -> Result<Option<Outcome>, Status> {
        match self.outcomes.find(x).await {
            Ok(Some(outcome)) => Ok(Some(outcome)),
            Ok(None) => {
                let text = format!("the outcome of event {} is not in the results", x.0);
                Err(RequestError::Internal(text).into())
            }
            Err(TailError::Trimmed { .. }) => Ok(None),
            Err(error) => Err(errors::tail(error)),
        }
    }
}
