//! What matchers and gatherers have in common: no disk, one engine, and sessions that begin at the balancer's cut.

use std::{sync::Arc, time::Duration};

use dovetail_core::{Cursor, EventId, Placement, Retirement, Ring, ShardId, shard::Fetch};
use dovetail_node::{Step, action::MachineEnd};
use thiserror::Error;
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinError,
};
use tonic::{Request, Response, Status, service::Routes};

use super::{
    ActiveBalancer, Again, Current, CutAnswer, DecisionReader, Edge, Follower, Health, Link, LinkError, Links,
    Listener, Local, LocalNodes, NodeIdentity, Process, Questions, ReaderFence, Reads, Route, ServeError,
};
use crate::{caller::Caller, settings::Settings, shutdown::Shutdown};
use dovetail::{Role, pb};

/// Between one session and the next.
const SESSION_AGAIN: Duration = Duration::from_millis(200);
/// Fetches of retirements at a time; more wait. The balancer has not many more for a node.
const FETCHES: usize = 2;

/// Why a session ended. The next one begins at the balancer's cut.
#[derive(Debug, Error)]
pub enum SessionEnd<M: MachineEnd> {
    /// The node was told to stop.
    #[error("told to stop")]
    Stopped,
    /// The machine cannot go on.
    #[error(transparent)]
    Machine(M),
    /// Nothing is read any more, so nothing comes to the engine.
    #[error("the engine has nothing to read any more")]
    Idle,
    /// A bug in the engine. Its panic is on stderr.
    #[error("the engine panicked")]
    Panicked,
}

impl<M: MachineEnd + 'static> SessionEnd<M> {
    /// An engine's task has ended so.
    #[must_use]
    pub fn of_engine(ended: Result<Result<(), M>, JoinError>) -> SessionEnd<M> {
        match ended {
            Ok(Ok(())) => SessionEnd::Idle,
            Ok(Err(end)) => SessionEnd::Machine(end),
            Err(_) => SessionEnd::Panicked,
        }
    }

    /// Its kind, as a constant for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            SessionEnd::Stopped => "stopped",
            SessionEnd::Machine(end) => end.kind(),
            SessionEnd::Idle => "idle",
            SessionEnd::Panicked => "panicked",
        }
    }
}

/// A node without a disk, whose engine hears events `E`.
#[derive(Debug)]
pub struct StatelessNode<E> {
    /// Who it is.
    pub identity: NodeIdentity,
    /// What it runs on.
    pub settings: Settings,
    /// Where elements belong.
    pub placement: Placement,
    /// What the engine of the running session is asked by.
    pub engine: Current<Questions<E>>,
    /// What it reads.
    pub links: Links,
    /// The balancer that it asks.
    pub active: ActiveBalancer,
    /// What it does when a balancer says that it writes.
    pub follower: Follower,
    /// What it says of itself.
    pub inspected: Reads<pb::InspectResponse>,
    /// Who reads it.
    pub readers: Arc<ReaderFence>,
    fetches: Semaphore,
    started_ms: u64,
}

impl<E: Send + 'static> StatelessNode<E> {
    /// A node that has not begun a session, and who else is in its process.
    #[must_use]
    pub fn new(role: Role, settings: Settings, listener: &Listener, neighbours: LocalNodes) -> Arc<StatelessNode<E>> {
        let cluster = settings.cluster.clone();
        let ring = Arc::new(Ring::new(cluster.gatherers, cluster.virtual_nodes));
        let what = match role {
            Role::Matcher => "the candidates",
            Role::Balancer | Role::Gatherer => "the decisions",
        };
        let links = Links::new(&cluster.name, neighbours, listener.tls());
        let identity = NodeIdentity::new(cluster.clone(), role, settings.node.index);
        let active = ActiveBalancer::new(&settings.node.addresses.balancers, &identity);
        Arc::new(StatelessNode {
            readers: ReaderFence::new(what, 1, Again::Replaces, &settings.node.addresses, &links),
            fetches: Semaphore::new(FETCHES),
            inspected: Reads::default(),
            placement: Placement::new(cluster.slices, cluster.block, ring),
            identity,
            follower: Follower::new(&active, &links),
            active,
            engine: Current::default(),
            links,
            started_ms: crate::time::now_ms(),
            settings,
        })
    }

    /// Serves, and runs one session after the other, until the signal.
    ///
    /// # Errors
    /// When the server fails, or a session panics.
    pub async fn run<F, M>(
        self: Arc<Self>,
        listener: Listener,
        stop: Shutdown,
        services: impl FnOnce(Routes) -> Routes,
        session: impl Fn(Arc<Self>, Health, Shutdown) -> F + Send + 'static,
    ) -> Result<(), ServeError>
    where
        F: Future<Output = SessionEnd<M>> + Send,
        M: MachineEnd + Send + Sync + 'static,
    {
        tracing::info!(address = %listener.address(), role = %self.identity.role, index = self.identity.index, "listening");
        let edge = Edge::new(&self.identity, &self.settings.node, &stop)?;
        let (routes, health) = super::routes(&edge, &stop).await?;
        let limits = self.settings.node.limits.clone();
        let routes = Process::add(services(routes), &self.identity, Some(self.follower.clone()));
        let serving = listener.serve(routes, edge, stop.clone(), &limits);
        let (node, told) = (self, stop.clone());
        let sessions = async move {
            while !told.is_given() {
                let one = told.child();
                let end = session(Arc::clone(&node), health.clone(), one.clone()).await;
                one.give();
                health.set(false).await;
                node.engine.set(None);
                node.identity.reads_log("");
                node.links.clear();
                if !told.is_given() {
                    tracing::warn!(kind = end.kind(), reason = %end, "the session ended, starting again from the cut");
                    tokio::time::sleep(SESSION_AGAIN).await;
                }
            }
        };
        super::serve_with(serving, sessions, &stop).await
    }

    /// Forwards a question to the engine and returns its answer.
    ///
    /// # Errors
    /// UNAVAILABLE while there is no engine.
    pub async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> E) -> Result<T, Status> {
        self.engine.get()?.ask(event).await.map_err(super::unavailable)
    }

    /// Offers what it serves to the other nodes of its process.
    pub fn offer(&self, service: Local) {
        self.links.offer(self.settings.node.address(), service);
    }

    /// The balancer's log and cut, of the one that writes.
    ///
    /// # Errors
    /// When it cannot be reached, or is a stranger.
    pub async fn ask_cut(&self) -> Result<CutAnswer, LinkError> {
        let ask = |balancer: Route| async move { super::ask_cut(&self.identity, &balancer).await };
        self.links.ask(&self.active, ask).await
    }

    /// A link to a shard.
    #[must_use]
    pub fn link_to(&self, shard: ShardId) -> Arc<Link> {
        self.links.add(
            Role::Gatherer,
            shard.0,
            &self.settings.node.addresses.gatherers[shard.0 as usize],
            pb::NodeStream::Decisions,
        )
    }

    /// Subscribes over a link to a shard whose watermark is known as `after`. Returns its floor, and what follows.
    ///
    /// # Errors
    /// When the shard cannot be reached, or is a stranger.
    pub async fn subscribe_to(&self, link: &Link, after: Cursor) -> Result<(Cursor, DecisionReader), LinkError> {
        super::subscribe_decisions(&self.identity, link.route(), after).await
    }

    /// Retirements from the balancer's store; none when it no longer has all of them.
    ///
    /// # Errors
    /// When the balancer cannot be reached.
    async fn fetch(&self, fetch: Fetch) -> Result<Option<Vec<Retirement>>, LinkError> {
        let Fetch { after, through } = fetch;
        let _permit = self.fetches.acquire().await.map_err(|_| LinkError::Stopped)?;
        let ask =
            |balancer: Route| async move { super::fetch_retirements(&self.identity, &balancer, after, through).await };
        match self.links.ask(&self.active, ask).await {
            Ok(retirements) => Ok(Some(retirements)),
            Err(LinkError::CursorTooOld(reason)) => {
                tracing::warn!(after = after.0, through = through.0, reason, "not fetched from the store");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches what has to be there after a hello, until what follows it may be read. `tell` gives a link's machine
    /// what was fetched, and has the next step of it.
    ///
    /// # Errors
    /// When the stream is given up, or the balancer cannot be reached.
    pub async fn greet<T>(
        &self,
        mut step: Step,
        tell: impl Fn(Fetch, Option<Vec<Retirement>>) -> T,
    ) -> Result<(), LinkError>
    where
        T: Future<Output = Result<Step, LinkError>>,
    {
        loop {
            step = match step {
                Step::Read => return Ok(()),
                Step::Break(why) => return Err(why.into()),
                Step::Fetch(fetch) => tell(fetch, self.fetch(fetch).await?).await?,
                Step::Subscribe(request) => unreachable!("a hello is not answered by {request:?}"),
            };
        }
    }

    /// Answers `Inspect`. `told` says of what the engine tells which state it is, and the highest event it knows of.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED while answers are not read.
    pub async fn inspected<S>(
        &self,
        request: &Request<pb::InspectRequest>,
        event: impl FnOnce(oneshot::Sender<S>) -> E,
        told: impl FnOnce(S) -> (u64, pb::inspect_response::State),
    ) -> Result<Response<pb::InspectResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let inspect = || async {
            // A node that starts has no state yet, but its links say what it waits for.
            let state = self.ask(event).await.ok();
            let (highest, state) = state.map(told).unzip();
            Ok(self.inspect(highest.unwrap_or_default(), state))
        };
        self.inspected.answer_whole(caller.as_ref(), inspect).await
    }

    /// The answer; without a state while the node starts.
    fn inspect(&self, highest: u64, state: Option<pb::inspect_response::State>) -> pb::InspectResponse {
        let mut response =
            super::inspect(&self.identity, &self.settings.node.addresses, self.placement.ring(), self.started_ms);
        response.links = self.links.pb(EventId(highest));
        response.state = state;
        super::fit(&mut response);
        response
    }
}
