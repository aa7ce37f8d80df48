//! What goes wrong and when: drawn from the seed, before anything happens.
//!
//! A run is a sequence of rounds. In each round faults begin at exponential gaps and last for drawn times; all of them
//! are over when the round ends, so that the cluster can be asked to show progress. Invariants: chaos.P1 the same seed,
//! round, shape and length give the same plan; chaos.P2 no node and no link has two faults at a time, but for a node
//! that is down while its links are faulty.

mod draw;

use std::{fmt, time::Duration};

pub use draw::{draw, length};

use super::shape::{ClusterNode, DialledLink};

/// A fault, from `at_ms` to `until_ms` after the beginning of its round.
#[derive(Clone, Debug)]
pub struct Planned {
    pub at_ms: u64,
    pub until_ms: u64,
    pub fault: ChaosFault,
}

impl Planned {
    pub fn lasts(&self) -> Duration {
        Duration::from_millis(self.until_ms - self.at_ms)
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} to {:>6} ms  {}", self.at_ms, self.until_ms, self.fault)
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum ChaosFault {
    /// kill -9, then started again.
    Kill(Vec<ClusterNode>),
    /// SIGSTOP, then SIGCONT.
    Freeze(ClusterNode),
    /// SIGTERM, then started again.
    Restart(ClusterNode),
    /// Connections misbehave.
    Network(Vec<DialledLink>, Trouble),
}

impl ChaosFault {
    /// The nodes it happens to, ascending; none when it happens to links.
    pub fn nodes(&self) -> &[ClusterNode] {
        match self {
            ChaosFault::Kill(nodes) => nodes,
            ChaosFault::Freeze(node) | ChaosFault::Restart(node) => std::slice::from_ref(node),
            ChaosFault::Network(..) => &[],
        }
    }

    /// The line of the table that it counts in.
    pub fn kind(&self) -> &'static str {
        match self {
            ChaosFault::Kill(nodes) if nodes.len() > 1 => "kill -9 of several",
            ChaosFault::Kill(nodes) => match nodes.first() {
                Some(ClusterNode::Balancer) => "kill -9 of the balancer",
                Some(ClusterNode::Matcher(_)) => "kill -9 of a matcher",
                Some(ClusterNode::Gatherer(_)) | None => "kill -9 of a gatherer",
            },
            ChaosFault::Freeze(_) => "SIGSTOP, SIGCONT",
            ChaosFault::Restart(_) => "SIGTERM",
            ChaosFault::Network(_, trouble) => trouble.kind(),
        }
    }
}

impl fmt::Display for ChaosFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |f: &mut fmt::Formatter<'_>, of: &[&dyn fmt::Display]| of.iter().try_for_each(|one| write!(f, " {one}"));
        match self {
            ChaosFault::Kill(nodes) => {
                f.write_str("kill -9")?;
                list(f, &nodes.iter().map(|node| node as &dyn fmt::Display).collect::<Vec<_>>())
            }
            ChaosFault::Freeze(node) => write!(f, "SIGSTOP {node}"),
            ChaosFault::Restart(node) => write!(f, "SIGTERM {node}"),
            ChaosFault::Network(links, trouble) => {
                write!(f, "{trouble:?}")?;
                list(f, &links.iter().map(|link| link as &dyn fmt::Display).collect::<Vec<_>>())
            }
        }
    }
}

/// How connections misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Those that stand are closed, and new ones too.
    Cut,
    /// Everything comes so much later.
    Delay { ms: u64 },
    /// No more than so many bytes a second, each way.
    Throttle { bytes_per_s: u64 },
    /// Nothing passes, and neither end is told. What was held back comes when it is over.
    Silent,
    /// The same, and when it is over the connections are dead.
    SilentThenCut,
    /// Nothing passes from the dialling end to the other.
    OneWayTo,
    /// Nothing passes to the dialling end.
    OneWayFrom,
}

impl Trouble {
    fn kind(self) -> &'static str {
        match self {
            Trouble::Cut => "links cut",
            Trouble::Delay { .. } => "links delayed",
            Trouble::Throttle { .. } => "links throttled",
            Trouble::Silent | Trouble::SilentThenCut => "links half-open",
            Trouble::OneWayTo | Trouble::OneWayFrom => "links one-way",
        }
    }
}
