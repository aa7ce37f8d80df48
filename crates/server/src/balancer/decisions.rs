//! Reads the shards' decisions into the engine: dials, decodes, and does the steps that the machine says
//! ([`dovetail_node::balancer::decisions`]).

use std::{convert::Infallible, sync::Arc};

use dovetail_core::ShardId;
use dovetail_node::{Request, Step};

use super::{messages::Event, node::Node};
use crate::{
    rpc::{self, Link, LinkError},
    shutdown::Shutdown,
};

/// Reads one shard until told to stop.
pub(super) async fn read(node: Arc<Node>, link: Arc<Link>, shard: ShardId, stop: Shutdown) {
    link.keep(&stop, || read_once(&node, &link, shard)).await;
}

async fn read_once(node: &Node, link: &Link, shard: ShardId) -> Result<Infallible, LinkError> {
    let dialled = node.events.ask(|reply| Event::Dial { shard, reply }).await?;
    let Step::Subscribe(Request::Decisions { after }) = dialled else { unreachable!("a link that dials subscribes") };
    let (floor, decisions) = rpc::subscribe_decisions(&node.identity, link.route(), after).await?;
    match node.events.ask(|reply| Event::Hello { shard, floor, reply }).await? {
        Step::Read => {}
        Step::Break(why) => return Err(why.into()),
        step @ (Step::Subscribe(_) | Step::Fetch(_)) => unreachable!("a hello is not answered by {step:?}"),
    }
    decisions.hand_on(link, after, |frame| node.events.tell(Event::Decisions { shard, frame })).await
}
