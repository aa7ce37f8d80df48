//! Nodes, the subscriptions that a node has at others, and the streams that it serves.

use std::fmt;

use dovetail_core::ShardId;

/// A matcher, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatcherId(pub u32);

impl fmt::Display for MatcherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

/// A balancer, by its index: of several that share a log one writes at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BalancerId(pub u32);

impl fmt::Display for BalancerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

/// The reign of one balancer as the writer of a shared log: its number is where it begins in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// A process of a balancer, drawn at random when it starts: what an earlier one asked for is not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writer(pub u128);

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeId {
    /// A balancer.
    Balancer(BalancerId),
    /// A matcher.
    Matcher(MatcherId),
    /// The gatherer of a shard.
    Gatherer(ShardId),
}

/// One of a node's subscriptions at others, by what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkId {
    /// The log.
    Feed,
    /// The candidates of a matcher's slices.
    Matcher(MatcherId),
    /// A shard's decisions.
    Shard(ShardId),
}

/// A stream that a node serves. The shell numbers them; no number is used twice in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);
