//! A matcher node: runs its slices in a task of their own, reads the feed and every shard's decisions, serves candidates.
//!
//! Keeps no disk. A session begins at the balancer's cut; whatever goes wrong in it, the next one begins at a cut again.

mod engine;
mod feed;
mod floor;
mod service;

use std::{convert::Infallible, sync::Arc};

use dovetail_core::{ShardId, SliceId};

use crate::{
    rpc::{Behind, Diskless, Inbox, Link, LinkError, Listener, Neighbours, RunError},
    settings::{Role, Settings},
    shutdown::Shutdown,
};
use engine::{Engine, Event};

/// Events that wait for the engine. A full inbox holds its senders back, and through them the peers.
const INBOX: usize = 1024;

/// A matcher.
type Node = Diskless<Event>;

/// Runs a matcher until the signal.
///
/// # Errors
/// When it cannot listen, or its server fails.
pub async fn run(
    settings: Settings,
    listener: Listener,
    neighbours: Neighbours,
    stop: Shutdown,
) -> Result<(), RunError> {
    let node = Node::new(Role::Matcher, settings, &listener, neighbours);
    let (served, told) = (Arc::clone(&node), stop.clone());
    node.run(listener, stop, |routes| service::add(routes, &served, &told), feed::session).await
}

/// The slices that a matcher runs.
fn slices(node: &Node) -> impl Iterator<Item = SliceId> + use<> {
    node.identity.cluster.slices_of(node.identity.index).map(SliceId)
}

/// Reads one shard's decisions into the engine until the session ends.
async fn read_decisions(
    node: Arc<Node>,
    link: Arc<Link>,
    shard: ShardId,
    inbox: Inbox<Event>,
    behind: Behind,
    stop: Shutdown,
) {
    link.keep(&stop, || async { behind.tell(read_decisions_once(&node, &link, shard, &inbox).await) }).await;
}

async fn read_decisions_once(
    node: &Node,
    link: &Link,
    shard: ShardId,
    inbox: &Inbox<Event>,
) -> Result<Infallible, LinkError> {
    let after = inbox.ask(|reply| Event::Cursors { reply }).await?.decided[shard.0 as usize];
    let (floor, decisions) = node.subscribe_to(link, after).await?;
    if floor > after {
        let retirements = node.fetch(after, floor).await?;
        inbox.tell(Event::Stored { shard, through: floor, retirements }).await?;
    }
    decisions.hand_on(link, after, |frame| inbox.tell(Event::Decisions { shard, frame })).await
}
