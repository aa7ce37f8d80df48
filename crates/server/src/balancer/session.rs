//! A balancer from when it has read its folder back until it ends, or another balancer writes: its engine, what reads
//! and serves for it, and what others are told of it.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use dovetail_core::{Placement, Ring, clock::Jump};
use tokio::{sync::Semaphore, task::JoinHandle};

use super::{
    clients, decisions,
    engine::{Ended, Engine, Inboxes},
    engines::Engines,
    failure::BalancerError,
    gate::{self, Gate},
    limit::Limit,
    messages::Event,
    node::Node,
    nodes,
    presence::{self, FeedReaders},
    reign::Place,
    store::Store,
    waits::Waits,
};
use crate::{
    rpc::{self, Again, Answers, Health, Inbox, Links, NodeIdentity, ReaderFence, Reads, Shares},
    settings::Settings,
    shutdown::Shutdown,
};
use dovetail::{Role, pb};

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

/// Longest time that another balancer may take to take over from one that is told to stop.
const GIVE_WAY: Duration = Duration::from_secs(3);
/// Before a log is opened again that could not be.
const REOPEN: Duration = Duration::from_millis(500);

/// What stays of a balancer when it begins anew.
pub(super) struct Balancer {
    pub(super) settings: Settings,
    pub(super) identity: NodeIdentity,
    pub(super) links: Links,
    pub(super) gate: Gate,
    pub(super) health: Health,
    pub(super) started_ms: u64,
}

/// A balancer that runs.
pub(super) struct Running {
    node: Arc<Node>,
    engine: JoinHandle<Result<Ended, BalancerError>>,
    /// Ends what it serves, and what reads for it.
    pub(super) stop: Shutdown,
    /// Ends its engine.
    pub(super) engine_stop: Shutdown,
}

impl Running {
    /// Waits until its engine has ended.
    pub(super) async fn ended(&mut self) -> Result<Ended, BalancerError> {
        (&mut self.engine).await.map_err(|_| BalancerError::Part("the balancer's engine"))?
    }

    /// Lets another balancer take over, if there is one, and ends what is served then.
    pub(super) fn give_way(&self, serves: &Shutdown) {
        let (node, ends) = (Arc::clone(&self.node), [serves.clone(), self.stop.clone()]);
        if *node.place.borrow() == Place::Alone {
            return ends.iter().for_each(Shutdown::give);
        }
        tokio::spawn(async move {
            let gone = node.ask(|reply| Event::Yield { reply });
            if tokio::time::timeout(GIVE_WAY, gone).await.is_err() {
                tracing::warn!(waited = ?GIVE_WAY, "no other balancer took over in time");
            }
            ends.iter().for_each(Shutdown::give);
        });
    }
}

impl Balancer {
    /// Opens the folder again, as soon as that can be done.
    pub(super) async fn reopen(&self, engines: &Engines) -> Result<Store, BalancerError> {
        loop {
            match super::open_with(&self.settings, Some(engines.clone())).await {
                Ok(opened) => return Ok(opened.store),
                Err(error) if error.may_pass() => {
                    tracing::warn!(error = %error, "the shared log cannot be opened yet; trying again");
                    tokio::time::sleep(REOPEN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Nothing is served of a session that has ended.
    pub(super) fn end(&self, session: &Running) {
        self.gate.close();
        self.identity.is_in_term(None);
        session.stop.give();
        self.links.clear();
    }

    /// Begins with a folder that was read back.
    pub(super) async fn begin(&self, store: Store) -> Result<Running, BalancerError> {
        let Balancer { settings, identity, links, gate, health, started_ms } = self;
        let (ledger_limits, cluster) = (store.ledger_limits, &settings.cluster);
        identity.reads_log(&store.log_id);
        let ring = Arc::new(Ring::new(cluster.gatherers, cluster.virtual_nodes));
        let (requests, request_inbox) = Inbox::new(REQUESTS);
        let (events, event_inbox) = Inbox::new(EVENTS);
        let (reads, read_inbox) = Inbox::new(READS);
        let (looks, look_inbox) = Inbox::new(LOOKS);
        let placement = Placement::new(cluster.slices, cluster.block, ring);
        let inboxes = Inboxes { requests: request_inbox, events: event_inbox, reads: read_inbox, looks: look_inbox };
        let (engine, parts) = Engine::start(store, settings, placement.clone(), inboxes)?;
        let limits = &settings.node.limits;
        let percent = limits.client_share_percent;
        let limit = |most, what, name| Limit::new(most, percent, what, name);
        let readers = |what, each, again| ReaderFence::new(what, each, again, &settings.node.addresses, links);
        let node = Arc::new(Node {
            placement,
            identity: identity.clone(),
            requests,
            events,
            reads,
            looks,
            frames: parts.frames,
            outcomes: parts.outcomes,
            stable: parts.stable,
            pools: parts.pools,
            clock: parts.clock,
            place: parts.place,
            leave: parts.leave,
            ledger_limits,
            request_bytes: Shares::by_client(REQUEST_BYTES, CLIENT_REQUEST_BYTES),
            batch_answers: Shares::by_client(BATCH_ANSWER_BYTES, CLIENT_BATCH_ANSWER_BYTES),
            streams: AtomicU64::new(0),
            watchers: limit(limits.watchers_max, "watchers are open", "watchers_max"),
            submit_streams: limit(limits.submit_streams_max, "submit streams are open", "submit_streams_max"),
            calls: limit(limits.calls_max, "calls are under way", "calls_max"),
            waits: Waits::new(limit(limits.waits_max, "calls wait for an element", "waits_max")),
            scans: limit(limits.scans_max, "calls look through a pool, or wait to", "scans_max"),
            feeds: readers("the log", FEEDS_EACH, Again::Replaces),
            cuts: readers("the cut", 1, Again::Replaces),
            fetches: readers("stored retirements", FETCHES_EACH, Again::Counts),
            explanations: Semaphore::new(EXPLANATIONS),
            listings: Semaphore::new(LISTINGS),
            answers: Answers::new(ANSWERS_BYTES, percent),
            feed_readers: FeedReaders::new(cluster.matchers),
            links: links.clone(),
            listed: Reads::default(),
            inspected: Reads::default(),
            started_ms: *started_ms,
            settings: settings.clone(),
        });
        let (stop, engine_stop) = (Shutdown::new(), Shutdown::new());
        let engine = tokio::spawn(engine.run(engine_stop.clone()));
        for shard in node.placement.each_shard() {
            let address = &node.settings.node.addresses.gatherers[shard.0 as usize];
            let link = node.links.add(Role::Gatherer, shard.0, address, pb::NodeStream::Decisions);
            tokio::spawn(decisions::read(Arc::clone(&node), link, shard, stop.clone()));
        }
        tokio::spawn(presence::tell(Arc::clone(&node), stop.clone()));
        gate.open(gate::Session {
            clients: clients::Service::new(&node, &stop),
            nodes: nodes::Service::new(&node, &stop),
            place: node.place.clone(),
        });
        let (place, jump) = (node.place.borrow().clone(), *node.clock.borrow());
        say(health, &place, jump).await;
        tokio::spawn(tell(Arc::clone(&node), health.clone(), stop.clone()));
        Ok(Running { node, engine, stop, engine_stop })
    }
}

/// Says to health checks whether clients are served, and whether what writes is taken.
async fn say(health: &Health, place: &Place, jump: Option<Jump>) {
    health.set_active(place.is_active()).await;
    health.set_writes(place.is_active() && jump.is_none()).await;
}

/// Tells others whether this balancer writes, and whether it takes what writes, whenever that changes. What was so when
/// the session began is told.
async fn tell(node: Arc<Node>, health: Health, stop: Shutdown) {
    let (mut clock, mut place) = (node.clock.clone(), node.place.clone());
    let mut told = None;
    loop {
        tokio::select! {
            changed = clock.changed() => if changed.is_err() { return },
            changed = place.changed() => if changed.is_err() { return },
            () = stop.given() => return,
        }
        let (jump, is) = (*clock.borrow_and_update(), place.borrow_and_update().clone());
        say(&health, &is, jump).await;
        if is.term() != told {
            told = is.term();
            node.identity.is_in_term(told);
            if told.is_some() {
                tokio::spawn(tell_nodes(Arc::clone(&node), stop.clone()));
            }
        }
    }
}

/// Tells matchers and gatherers that this balancer writes. One of them may know better.
async fn tell_nodes(node: Arc<Node>, stop: Shutdown) {
    let later = tokio::select! {
        later = rpc::tell_active(&node.identity, &node.links, &node.settings.node.addresses) => later,
        () = stop.given() => return,
    };
    if let Some(term) = later.filter(|&later| Some(later) > node.place.borrow().term()) {
        // Its engine may have ended meanwhile.
        _ = node.events.tell(Event::Later { term }).await;
    }
}
