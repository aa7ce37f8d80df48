//! The nodes of a cluster, and the links between them and their clients.

use std::fmt;

use dovetail::Role;

/// The cluster's name.
pub const NAME: &str = "chaos";

/// How many of everything. There is one balancer.
#[derive(Clone, Copy, Debug)]
pub struct ClusterShape {
    pub slices: u32,
    pub matchers: u32,
    pub gatherers: u32,
}

impl ClusterShape {
    /// Every node, in the order they are started.
    pub fn nodes(self) -> Vec<ClusterNode> {
        let matchers = (0..self.matchers).map(ClusterNode::Matcher);
        let gatherers = (0..self.gatherers).map(ClusterNode::Gatherer);
        [ClusterNode::Balancer].into_iter().chain(matchers).chain(gatherers).collect()
    }

    /// Every link, from the node that dials to the node that is dialled. Each has a proxy of its own.
    pub fn links(self) -> Vec<DialledLink> {
        let nodes = self.nodes();
        let dials = |from: ClusterNode, to: ClusterNode| match (from, to) {
            (ClusterNode::Balancer, ClusterNode::Gatherer(_)) => true,
            (ClusterNode::Matcher(_) | ClusterNode::Gatherer(_), ClusterNode::Balancer) => true,
            (ClusterNode::Matcher(_), ClusterNode::Gatherer(_))
            | (ClusterNode::Gatherer(_), ClusterNode::Matcher(_)) => true,
            (ClusterNode::Gatherer(one), ClusterNode::Gatherer(other)) => one != other,
            (ClusterNode::Balancer | ClusterNode::Matcher(_), _) => false,
        };
        let each = nodes.iter().flat_map(|&from| nodes.iter().map(move |&to| (from, to)));
        let between =
            each.filter(|&(from, to)| dials(from, to)).map(|(from, to)| DialledLink { from: LinkEnd::Node(from), to });
        let clients = Group::ALL.map(|group| DialledLink { from: LinkEnd::Clients(group), to: ClusterNode::Balancer });
        between.chain(clients).collect()
    }
}

/// A process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterNode {
    Balancer,
    Matcher(u32),
    Gatherer(u32),
}

impl ClusterNode {
    /// What it is, and which of them.
    pub fn role(self) -> (Role, u32) {
        match self {
            ClusterNode::Balancer => (Role::Balancer, 0),
            ClusterNode::Matcher(index) => (Role::Matcher, index),
            ClusterNode::Gatherer(index) => (Role::Gatherer, index),
        }
    }
}

impl fmt::Display for ClusterNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterNode::Balancer => f.write_str("balancer"),
            ClusterNode::Matcher(index) => write!(f, "matcher-{index}"),
            ClusterNode::Gatherer(index) => write!(f, "gatherer-{index}"),
        }
    }
}

/// Clients that share a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Submit elements.
    Submitters,
    /// Withdraw, look up, and submit again what was acknowledged.
    Askers,
    /// Watch matches.
    Watchers,
}

impl Group {
    pub const ALL: [Group; 3] = [Group::Submitters, Group::Askers, Group::Watchers];
}

/// Who dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkEnd {
    Node(ClusterNode),
    Clients(Group),
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkEnd::Node(node) => node.fmt(f),
            LinkEnd::Clients(Group::Submitters) => f.write_str("submitters"),
            LinkEnd::Clients(Group::Askers) => f.write_str("askers"),
            LinkEnd::Clients(Group::Watchers) => f.write_str("watchers"),
        }
    }
}

/// A direction of dialling; bytes flow both ways on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialledLink {
    pub from: LinkEnd,
    pub to: ClusterNode,
}

impl DialledLink {
    /// Whether a node is at one of its ends.
    pub fn touches(self, node: ClusterNode) -> bool {
        self.to == node || self.from == LinkEnd::Node(node)
    }
}

impl fmt::Display for DialledLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>{}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_nodes_and_their_clients_have_36_links() {
        let shape = ClusterShape { slices: 6, matchers: 3, gatherers: 3 };
        assert_eq!(shape.nodes().len(), 7);
        // To the balancer 6, from it 3, matchers and gatherers 18, among gatherers 6, clients 3.
        assert_eq!(shape.links().len(), 36);
    }
}
