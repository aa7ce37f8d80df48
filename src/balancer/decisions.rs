//! Reads the shards' decisions into the engine.

use std::{convert::Infallible, sync::Arc};

use dovetail_core::ShardId;
use tonic::Status;

use super::{Node, messages::Event};
use crate::{
    rpc::{self, Link, LinkError},
    shutdown::Shutdown,
};

/// Reads one shard until told to stop.
pub(super) async fn read(node: Arc<Node>, link: Arc<Link>, shard: ShardId, stop: Shutdown) {
    link.keep(&stop, || read_once(&node, &link, shard)).await;
}

async fn read_once(node: &Node, link: &Link, shard: ShardId) -> Result<Infallible, LinkError> {
    let after = node.events.ask(|reply| Event::Mark { shard, reply }).await?;
    let (floor, decisions) = rpc::subscribe_decisions(&node.identity, link.way(), after).await?;
    if floor > after {
        // A shard forgets only what this node has said is on its disk.
        let text = format!("{shard} keeps decisions after {floor}, and this log's results end at {after}");
        return Err(LinkError::Status(Status::data_loss(text)));
    }
    decisions.hand_on(link, after, |frame| node.events.tell(Event::Decisions { shard, frame })).await
}
