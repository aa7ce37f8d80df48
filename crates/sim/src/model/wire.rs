//! The streams of the model: five nodes, sixteen streams, and what they carry.

use std::{fmt, sync::Arc};

use dovetail_core::{ColumnFrame, Retirement, ShardId, SliceId, Stable, shard::Fetch};
use dovetail_node::{BalancerId, MatcherId, NodeId, gatherer::DecisionMessage, matcher::CandidatesMessage};

use crate::net;

/// Slices of the model.
pub const SLICES: usize = 2;
/// Shards of the model.
pub const SHARDS: usize = 2;
/// Nodes of the model: a balancer, a matcher for each slice, a gatherer for each shard.
pub const NODES: usize = 1 + SLICES + SHARDS;
/// Streams of the model.
pub const STREAMS: usize = 2 * SLICES + SLICES * SHARDS + SHARDS * (1 + SLICES + (SHARDS - 1));

/// A node. Its index: the balancer, then the slices, then the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModelNode {
    /// The balancer, with its disk. It does not crash.
    Balancer,
    /// The matcher that runs one slice.
    Slice(u8),
    /// The gatherer that runs one shard.
    Shard(u8),
}

impl ModelNode {
    /// Its place among all nodes.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            ModelNode::Balancer => 0,
            ModelNode::Slice(slice) => 1 + slice as usize,
            ModelNode::Shard(shard) => 1 + SLICES + shard as usize,
        }
    }

    /// As the machines call it.
    #[must_use]
    pub fn id(self) -> NodeId {
        match self {
            ModelNode::Balancer => NodeId::Balancer(BalancerId(0)),
            ModelNode::Slice(slice) => NodeId::Matcher(MatcherId(u32::from(slice))),
            ModelNode::Shard(shard) => NodeId::Gatherer(shard_id(shard)),
        }
    }

    /// Those that may crash.
    pub fn mortal() -> impl Iterator<Item = ModelNode> {
        (0..SLICES as u8).map(ModelNode::Slice).chain((0..SHARDS as u8).map(ModelNode::Shard))
    }
}

impl fmt::Display for ModelNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelNode::Balancer => f.write_str("balancer"),
            ModelNode::Slice(slice) => write!(f, "s{slice}"),
            ModelNode::Shard(shard) => write!(f, "g{shard}"),
        }
    }
}

/// A stream: first in, first out, from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModelStream {
    /// Frames of the log, to a slice.
    Log(u8),
    /// The stable cut, to a slice. A stream of its own: on the wire the two overtake each other.
    Stable(u8),
    /// A slice's candidates, to a shard.
    Candidates(u8, u8),
    /// A shard's decisions, to the balancer, a slice, or the other shard.
    Decisions(u8, ModelNode),
}

impl ModelStream {
    /// All of them, by their indices.
    #[must_use]
    pub fn all() -> [ModelStream; STREAMS] {
        let slices = || 0..SLICES as u8;
        let shards = || 0..SHARDS as u8;
        let feeds = slices().map(ModelStream::Log).chain(slices().map(ModelStream::Stable));
        let candidates = slices().flat_map(|slice| shards().map(move |shard| ModelStream::Candidates(slice, shard)));
        let readers = move |shard| {
            let peers = shards().filter(move |&peer| peer != shard).map(ModelNode::Shard);
            [ModelNode::Balancer].into_iter().chain(slices().map(ModelNode::Slice)).chain(peers)
        };
        let decisions =
            shards().flat_map(|shard| readers(shard).map(move |reader| ModelStream::Decisions(shard, reader)));
        let all: Vec<ModelStream> = feeds.chain(candidates).chain(decisions).collect();
        all.try_into().expect("STREAMS counts them")
    }

    /// Its place among all streams.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            ModelStream::Log(slice) => usize::from(slice),
            ModelStream::Stable(slice) => SLICES + usize::from(slice),
            ModelStream::Candidates(slice, shard) => 2 * SLICES + SHARDS * usize::from(slice) + usize::from(shard),
            ModelStream::Decisions(shard, reader) => {
                let first = 2 * SLICES + SLICES * SHARDS + (1 + SLICES + SHARDS - 1) * usize::from(shard);
                // A shard does not read its own.
                first + reader.index() - usize::from(reader > ModelNode::Shard(shard))
            }
        }
    }

    /// The node that serves it.
    #[must_use]
    pub fn server(self) -> ModelNode {
        match self {
            ModelStream::Log(_) | ModelStream::Stable(_) => ModelNode::Balancer,
            ModelStream::Candidates(slice, _) => ModelNode::Slice(slice),
            ModelStream::Decisions(shard, _) => ModelNode::Shard(shard),
        }
    }

    /// The node that reads it.
    #[must_use]
    pub fn reader(self) -> ModelNode {
        match self {
            ModelStream::Log(slice) | ModelStream::Stable(slice) => ModelNode::Slice(slice),
            ModelStream::Candidates(_, shard) => ModelNode::Shard(shard),
            ModelStream::Decisions(_, reader) => reader,
        }
    }
}

impl fmt::Display for ModelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <- {}", self.reader(), self.server())
    }
}

/// What a stream carries.
#[derive(Clone, Debug)]
pub enum ModelMessage {
    /// As on the wire of the simulator, which is the wire of the cluster.
    Wire(net::Message),
    /// The answer of the store that was fetched for the stream: what follows on it is held until it comes.
    Stored(Fetch, Arc<[Retirement]>),
}

impl ModelMessage {
    pub(super) fn log(frame: Arc<ColumnFrame>) -> ModelMessage {
        ModelMessage::Wire(net::Message::Log(frame))
    }

    pub(super) fn stable(stable: Stable) -> ModelMessage {
        ModelMessage::Wire(net::Message::Stable(stable))
    }

    /// What a matcher sends, frame by frame: that some go together is delay.
    pub(super) fn of_matcher(message: CandidatesMessage) -> Vec<ModelMessage> {
        match message {
            CandidatesMessage::Hello(slices) => vec![ModelMessage::Wire(net::Message::CandidatesHello(slices.into()))],
            CandidatesMessage::Frames(frames) => {
                frames.into_iter().map(|frame| ModelMessage::Wire(net::Message::Candidates([frame].into()))).collect()
            }
        }
    }

    pub(super) fn of_gatherer(message: DecisionMessage) -> ModelMessage {
        ModelMessage::Wire(match message {
            DecisionMessage::Hello { floor } => net::Message::DecisionsHello { floor },
            DecisionMessage::Frame(frame) => net::Message::Decisions(Arc::new(frame)),
        })
    }
}

impl fmt::Display for ModelMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelMessage::Wire(message) => message.fmt(f),
            ModelMessage::Stored(fetch, retirements) => {
                write!(f, "stored ({}, {}]", fetch.after, fetch.through)?;
                retirements.iter().try_for_each(|retirement| write!(f, " [{retirement}]"))
            }
        }
    }
}

pub(super) fn slice_id(slice: u8) -> SliceId {
    SliceId(u32::from(slice))
}

pub(super) fn shard_id(shard: u8) -> ShardId {
    ShardId(u32::from(shard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_numbered_in_order() {
        let indices = ModelStream::all().map(ModelStream::index);
        assert!(indices.iter().copied().eq(0..STREAMS), "{indices:?}");
    }
}
