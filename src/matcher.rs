//! A matcher node: runs its slices on a thread of their own, reads the feed and every shard's decisions, serves candidates.
//!
//! Keeps no disk. A session begins at the balancer's cut; whatever goes wrong in it, the next one begins at a cut again.

mod engine;
mod feed;
mod service;

use std::{convert::Infallible, sync::Arc, time::Duration};

use dovetail_core::{Placement, Ring, ShardId, SliceId};

use crate::{
    pb,
    rpc::{self, Health, Identity, Inbox, Link, LinkError, Links, Listener, RunError, Slot},
    settings::{Role, Settings},
    shutdown::Shutdown,
};
use engine::{Engine, Event};

/// Events that wait for the engine. A full inbox holds its senders back, and through them the peers.
const INBOX: usize = 1024;

/// What the parts of a matcher share.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    pub(crate) placement: Placement,
    pub(crate) slices: Vec<SliceId>,
    pub(crate) slot: Slot<Inbox<Event>>,
    pub(crate) links: Links,
    pub(crate) started_ms: u64,
}

/// Runs a matcher until the signal.
///
/// # Errors
/// When it cannot listen, or its server fails.
pub async fn run(settings: Settings, listener: Listener, stop: Shutdown) -> Result<(), RunError> {
    let cluster = settings.cluster.clone();
    let ring = Arc::new(Ring::new(cluster.gatherers, cluster.virtual_nodes));
    let index = settings.node.index;
    let node = Arc::new(Node {
        placement: Placement::new(cluster.slices, cluster.block, ring),
        slices: cluster.slices_of(index).map(SliceId).collect(),
        identity: Identity::new(cluster, Role::Matcher, index),
        slot: Slot::default(),
        links: Links::default(),
        started_ms: rpc::now_ms(),
        settings,
    });
    tracing::info!(address = %listener.address(), index, slices = node.slices.len(), "matcher is listening");
    let (routes, health) = rpc::routes(&stop).await?;
    let routes = service::add(routes, &node, &stop);
    let drain = Duration::from_millis(node.settings.node.limits.drain_ms_max);
    let sessions = sessions(Arc::clone(&node), health, stop.clone());
    rpc::serve_with(listener.serve(routes, stop.clone(), drain), sessions, &stop).await
}

/// One session after the other.
async fn sessions(node: Arc<Node>, health: Health, stop: Shutdown) {
    while !stop.is_given() {
        let session = stop.child();
        let reason = feed::session(&node, &health, &session).await;
        session.give();
        health.set(false).await;
        node.slot.set(None);
        node.identity.reads_log("");
        node.links.clear();
        if !stop.is_given() {
            tracing::warn!(reason, "the session ended, starting again from the cut");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Reads one shard's decisions into the engine until the session ends.
async fn read_decisions(node: Arc<Node>, link: Arc<Link>, shard: ShardId, inbox: Inbox<Event>, stop: Shutdown) {
    link.keep(&stop, || read_decisions_once(&node, &link, shard, &inbox)).await;
}

async fn read_decisions_once(
    node: &Node,
    link: &Link,
    shard: ShardId,
    inbox: &Inbox<Event>,
) -> Result<Infallible, LinkError> {
    let after = inbox.ask(|reply| Event::Cursors { reply }).await?.decided[shard.0 as usize];
    let address = &node.settings.node.addresses.gatherers[shard.0 as usize];
    let request = pb::DecisionsRequest { peer: Some(node.identity.pb()), after: after.0 };
    let (floor, decisions) = rpc::subscribe_decisions(&node.identity, address, request).await?;
    if floor > after {
        let balancer = &node.settings.node.addresses.balancer;
        let retirements = rpc::fetch_retirements(&node.identity, balancer, after, floor).await?;
        inbox.tell(Event::Stored { shard, through: floor, retirements }).await?;
    }
    decisions.hand_on(link, after, |frame| inbox.tell(Event::Decisions { shard, frame })).await
}
