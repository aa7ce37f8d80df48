//! Reads the shards' decisions into the engine: dials, decodes, and does the steps that the machine says
//! ([`dovetail_node::balancer::decisions`]).

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use dovetail_core::{ShardId, shard::Fetch};
use dovetail_node::{Request, Step};

use super::{messages::Event, node::Node, reign::Place};
use crate::{
    rpc::{self, Link, LinkError},
    shutdown::Shutdown,
};
use dovetail::Role;

/// How long a shard is left alone for whose decisions there is no room.
const NO_ROOM: Duration = Duration::from_millis(50);

/// Reads one shard until told to stop.
pub(super) async fn read(node: Arc<Node>, link: Arc<Link>, shard: ShardId, stop: Shutdown) {
    link.keep(&stop, || read_once(&node, &link, shard)).await;
}

async fn read_once(node: &Node, link: &Link, shard: ShardId) -> Result<Infallible, LinkError> {
    let dialled = loop {
        match node.events.ask(|reply| Event::Dial { shard, reply }).await? {
            Some(dialled) => break dialled,
            None => tokio::time::sleep(NO_ROOM).await,
        }
    };
    let Step::Subscribe(Request::Decisions { after }) = dialled else { unreachable!("a link that dials subscribes") };
    let (floor, decisions) = rpc::subscribe_decisions(&node.identity, link.route(), after).await?;
    match node.events.ask(|reply| Event::Hello { shard, floor, reply }).await? {
        Step::Read => {}
        Step::Fetch(fetch) => fetch_missing(node, shard, fetch).await?,
        Step::Break(why) => return Err(why.into()),
        step @ Step::Subscribe(_) => unreachable!("a hello is not answered by {step:?}"),
    }
    let left = async {
        match &node.leave {
            Some(leave) => leave[shard.0 as usize].notified().await,
            None => pending().await,
        }
    };
    tokio::select! {
        ended = decisions.hand_on(link, after, |frame| node.events.tell(Event::Decisions { shard, frame })) => ended,
        () = left => Err(LinkError::NoRoom),
    }
}

/// What a shard has forgotten and this balancer, which stands by, does not know: asked of the one that writes.
async fn fetch_missing(node: &Node, shard: ShardId, fetch: Fetch) -> Result<(), LinkError> {
    let place = node.place.borrow().clone();
    let Place::StandsBy(Some(writes)) = place else { return Err(LinkError::Left) };
    let route = node.links.route(Role::Balancer, writes.balancer.0, &writes.address);
    let retirements = rpc::fetch_retirements(&node.identity, &route, fetch.after, fetch.through).await?;
    node.events.tell(Event::Fetched { shard, fetch, retirements }).await
}
