//! Reads the shards' decisions into the engine.

use std::{convert::Infallible, sync::Arc};

use dovetail_core::ShardId;
use tokio::sync::oneshot;
use tonic::Status;

use super::{Node, engine::Event};
use crate::{
    pb,
    rpc::{self, Link, LinkError},
    shutdown::Shutdown,
};

/// Reads one shard until told to stop.
pub(super) async fn read(node: Arc<Node>, link: Arc<Link>, shard: ShardId, stop: Shutdown) {
    link.keep(&stop, || read_once(&node, &link, shard)).await;
}

async fn read_once(node: &Node, link: &Link, shard: ShardId) -> Result<Infallible, LinkError> {
    let (reply, answer) = oneshot::channel();
    tell(node, Event::Mark { shard, reply }).await?;
    let after = answer.await.map_err(|_| LinkError::Stopped)?;
    let address = &node.settings.node.addresses.gatherers[shard.0 as usize];
    let request = pb::DecisionsRequest { peer: Some(node.identity.pb()), after: after.0 };
    let (floor, mut decisions) = rpc::subscribe_decisions(&node.identity, address, request).await?;
    if floor > after {
        // A shard forgets only what this node has said is on its disk.
        let text = format!("{shard} keeps decisions after {floor}, and this log's results end at {after}");
        return Err(LinkError::Status(Status::data_loss(text)));
    }
    link.read(after);
    while let Some(frame) = decisions.next().await? {
        let decided = frame.decided;
        tell(node, Event::Decisions { shard, frame }).await?;
        if let Some(decided) = decided {
            link.read(decided);
        }
    }
    Err(LinkError::Ended)
}

async fn tell(node: &Node, event: Event) -> Result<(), LinkError> {
    node.events.send(event).await.map_err(|_| LinkError::Stopped)
}
