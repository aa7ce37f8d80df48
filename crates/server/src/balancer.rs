//! A balancer node: gives ids, logs, broadcasts, and serves clients what was decided.
//!
//! One task, the engine, owns the sequencer and the ledger; two threads write the log and the results; everything else
//! asks the engine, or follows what it has published.

mod acks;
mod answers;
mod checkpoint;
mod clients;
mod clock;
mod columns;
mod decisions;
mod disks;
mod elements;
mod engine;
mod errors;
mod explain;
mod failure;
mod feed_reader;
mod held;
mod limit;
mod list;
mod messages;
mod node;
mod nodes;
mod pools;
mod presence;
mod quota;
mod records;
mod refusals;
mod refused;
mod store;
mod storms;
mod submit;
mod tailed_log;
mod throttle;
mod turns;
mod under_way;
mod waiters;
mod waits;
mod watch;
mod written;

use std::sync::{Arc, atomic::AtomicU64};

use dovetail_core::{Placement, Ring, clock::Jump};
use tokio::sync::{Semaphore, watch as signal};

use crate::{
    rpc::{
        self, Again, Answers, Edge, Inbox, Links, Listener, LocalNodes, NodeIdentity, ReaderFence, Reads, ServeError,
        Shares,
    },
    settings::Settings,
    shutdown::Shutdown,
    time,
};
use dovetail::{Role, pb};
use engine::{Engine, Inboxes};
pub use failure::{BalancerError, RecoveryError};
use limit::Limit;
use node::Node;
use presence::FeedReaders;
use store::Store;
use waits::Waits;

/// Client requests that wait for the engine. A full inbox holds the clients back.
const REQUESTS: usize = 1024;
/// Bytes of submissions that wait for the engine, as they were encoded. Above it the clients are held back.
const REQUEST_BYTES: usize = 256 << 20;
/// The same of one client's streams.
const CLIENT_REQUEST_BYTES: usize = 64 << 20;
/// Bytes of answers to batches that are made or will be, until their clients read them. Above it batches are refused.
const BATCH_ANSWER_BYTES: usize = 256 << 20;
/// The same of one client. Above it the client's streams are read no further.
const CLIENT_BATCH_ANSWER_BYTES: usize = 64 << 20;
/// Explanations at a time; more wait. Each tests an element with all others of its pool.
const EXPLANATIONS: usize = 2;
/// Calls at a time that look through a pool's waiting elements for those of a filter; more wait.
const LISTINGS: usize = 2;
/// Bytes of large answers that their clients have not read.
const ANSWERS_BYTES: usize = 64 << 20;
/// Feeds of one matcher at a time: its own, that of a process that was it before, and of who looks on.
const FEEDS_EACH: usize = 4;
/// Streams of stored retirements to one node at a time.
const FETCHES_EACH: usize = 4;
/// Decisions that wait for the engine.
const EVENTS: usize = 1024;
/// Questions that wait for the engine.
const READS: usize = 1024;
/// Looks at waiting elements that wait for the engine.
const LOOKS: usize = LISTINGS + EXPLANATIONS;

/// Tells who checks whether what writes is taken.
async fn tell_writes(health: rpc::Health, mut clock: signal::Receiver<Option<Jump>>, stop: Shutdown) {
    loop {
        let refused = clock.borrow_and_update().is_some();
        health.set_writes(!refused).await;
        tokio::select! {
            changed = clock.changed() => if changed.is_err() { return },
            () = stop.given() => return,
        }
    }
}

/// A data folder that was opened and read back.
#[derive(Debug)]
pub struct Opened(Store);

/// Opens the data folder, or makes it, and reads back what it says.
///
/// # Errors
/// When it is another cluster's, in use, damaged, or cannot be read; or the settings name several balancers.
pub async fn open(settings: &Settings) -> Result<Opened, BalancerError> {
    let balancers = settings.node.addresses.balancers.len();
    if balancers > 1 {
        return Err(BalancerError::Several { balancers });
    }
    let settings = settings.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&settings));
    Ok(Opened(opened.await.map_err(|_| BalancerError::Part("opening the log"))??))
}

/// Runs a balancer until the signal.
///
/// # Errors
/// When its log cannot be read or written, it cannot listen, or its server fails.
pub async fn run(
    opened: Opened,
    settings: Settings,
    listener: Listener,
    neighbours: LocalNodes,
    stop: Shutdown,
) -> Result<(), BalancerError> {
    let Opened(store) = opened;
    let ledger_limits = store.ledger_limits;
    let cluster = settings.cluster.clone();
    let identity = NodeIdentity::new(cluster.clone(), Role::Balancer, settings.node.index);
    identity.reads_log(&store.log_id);
    let ring = Arc::new(Ring::new(cluster.gatherers, cluster.virtual_nodes));
    let (requests, request_inbox) = Inbox::new(REQUESTS);
    let (events, event_inbox) = Inbox::new(EVENTS);
    let (reads, read_inbox) = Inbox::new(READS);
    let (looks, look_inbox) = Inbox::new(LOOKS);
    let placement = Placement::new(cluster.slices, cluster.block, ring);
    let inboxes = Inboxes { requests: request_inbox, events: event_inbox, reads: read_inbox, looks: look_inbox };
    let (engine, parts) = Engine::start(store, &settings, placement.clone(), inboxes)?;
    let limits = settings.node.limits.clone();
    let percent = limits.client_share_percent;
    let limit = |most, what, name| Limit::new(most, percent, what, name);
    let links = Links::new(&cluster.name, neighbours, listener.tls());
    let readers = |what, each, again| ReaderFence::new(what, each, again, &settings.node.addresses, &links);
    let (feeds, fetches) =
        (readers("the log", FEEDS_EACH, Again::Replaces), readers("stored retirements", FETCHES_EACH, Again::Counts));
    let node = Arc::new(Node {
        placement,
        identity,
        requests,
        events,
        reads,
        looks,
        frames: parts.frames,
        outcomes: parts.outcomes,
        stable: parts.stable,
        pools: parts.pools,
        clock: parts.clock,
        ledger_limits,
        request_bytes: Shares::by_client(REQUEST_BYTES, CLIENT_REQUEST_BYTES),
        batch_answers: Shares::by_client(BATCH_ANSWER_BYTES, CLIENT_BATCH_ANSWER_BYTES),
        streams: AtomicU64::new(0),
        watchers: limit(limits.watchers_max, "watchers are open", "watchers_max"),
        submit_streams: limit(limits.submit_streams_max, "submit streams are open", "submit_streams_max"),
        calls: limit(limits.calls_max, "calls are under way", "calls_max"),
        waits: Waits::new(limit(limits.waits_max, "calls wait for an element", "waits_max")),
        scans: limit(limits.scans_max, "calls look through a pool, or wait to", "scans_max"),
        feeds,
        cuts: readers("the cut", 1, Again::Replaces),
        fetches,
        explanations: Semaphore::new(EXPLANATIONS),
        listings: Semaphore::new(LISTINGS),
        answers: Answers::new(ANSWERS_BYTES, percent),
        feed_readers: FeedReaders::new(cluster.matchers),
        links,
        listed: Reads::default(),
        inspected: Reads::default(),
        started_ms: time::now_ms(),
        settings,
    });
    let engine_stop = Shutdown::new();
    let mut engine = tokio::spawn(engine.run(engine_stop.clone()));
    tracing::info!(address = %listener.address(), log_id = node.identity.log_id(), "balancer is listening");
    for shard in node.placement.each_shard() {
        let address = &node.settings.node.addresses.gatherers[shard.0 as usize];
        let link = node.links.add(Role::Gatherer, shard.0, address, pb::NodeStream::Decisions);
        tokio::spawn(decisions::read(Arc::clone(&node), link, shard, stop.clone()));
    }
    tokio::spawn(presence::tell(Arc::clone(&node), stop.clone()));
    let edge = Edge::new(&node.identity, &node.settings.node, &stop).map_err(ServeError::Auth)?;
    let (routes, health) = rpc::routes(&edge, &stop).await?;
    health.set(true).await;
    tokio::spawn(tell_writes(health, node.clock.clone(), stop.clone()));
    let routes = nodes::add(clients::add(routes, &node, &stop), &node, &stop);
    let serving = listener.serve(routes, edge, stop.clone(), &limits);
    let served = tokio::select! {
        served = serving => served,
        // The engine ends by itself only when it failed.
        ended = &mut engine => {
            stop.give();
            return ended.map_err(|_| BalancerError::Part("the balancer's engine"))?;
        }
    };
    engine_stop.give();
    engine.await.map_err(|_| BalancerError::Part("the balancer's engine"))??;
    Ok(served?)
}
