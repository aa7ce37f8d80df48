//! What the parts of a matcher share, and its slices.

use dovetail_core::SliceId;

use super::engine::MatcherEvent;
use crate::rpc::StatelessNode;

/// A matcher.
pub(super) type Node = StatelessNode<MatcherEvent>;

/// The slices that a matcher runs, ascending.
pub(super) fn slices(node: &Node) -> impl Iterator<Item = SliceId> + use<> {
    node.identity.cluster.slices_of(node.identity.index).map(SliceId)
}
