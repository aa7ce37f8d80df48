//! What the parts of a gatherer share, and its shard.

use dovetail_core::ShardId;

use super::engine::GathererEvent;
use crate::rpc::StatelessNode;

/// A gatherer.
pub(super) type Node = StatelessNode<GathererEvent>;

/// The shard that a gatherer is.
pub(super) fn own_shard(node: &Node) -> ShardId {
    ShardId(node.identity.index)
}
