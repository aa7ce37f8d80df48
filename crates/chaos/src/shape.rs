//! The nodes of a cluster, and the links between them and their clients.

use std::fmt;

use dovetail::Role;

/// The cluster's name.
pub const NAME: &str = "chaos";

/// How many of everything. There is one balancer.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub slices: u32,
    pub matchers: u32,
    pub gatherers: u32,
}

impl Shape {
    /// Every node, in the order they are started.
    pub fn nodes(self) -> Vec<Node> {
        let matchers = (0..self.matchers).map(Node::Matcher);
        let gatherers = (0..self.gatherers).map(Node::Gatherer);
        [Node::Balancer].into_iter().chain(matchers).chain(gatherers).collect()
    }

    /// Every link, from the node that dials to the node that is dialled. Each has a proxy of its own.
    pub fn links(self) -> Vec<Link> {
        let nodes = self.nodes();
        let dials = |from: Node, to: Node| match (from, to) {
            (Node::Balancer, Node::Gatherer(_)) => true,
            (Node::Matcher(_) | Node::Gatherer(_), Node::Balancer) => true,
            (Node::Matcher(_), Node::Gatherer(_)) | (Node::Gatherer(_), Node::Matcher(_)) => true,
            (Node::Gatherer(one), Node::Gatherer(other)) => one != other,
            (Node::Balancer | Node::Matcher(_), _) => false,
        };
        let each = nodes.iter().flat_map(|&from| nodes.iter().map(move |&to| (from, to)));
        let between = each.filter(|&(from, to)| dials(from, to)).map(|(from, to)| Link { from: End::Node(from), to });
        let clients = Group::ALL.map(|group| Link { from: End::Clients(group), to: Node::Balancer });
        between.chain(clients).collect()
    }
}

/// A process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    Balancer,
    Matcher(u32),
    Gatherer(u32),
}

impl Node {
    /// What it is, and which of them.
    pub fn role(self) -> (Role, u32) {
        match self {
            Node::Balancer => (Role::Balancer, 0),
            Node::Matcher(index) => (Role::Matcher, index),
            Node::Gatherer(index) => (Role::Gatherer, index),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Balancer => f.write_str("balancer"),
            Node::Matcher(index) => write!(f, "matcher-{index}"),
            Node::Gatherer(index) => write!(f, "gatherer-{index}"),
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
pub enum End {
    Node(Node),
    Clients(Group),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Node(node) => node.fmt(f),
            End::Clients(Group::Submitters) => f.write_str("submitters"),
            End::Clients(Group::Askers) => f.write_str("askers"),
            End::Clients(Group::Watchers) => f.write_str("watchers"),
        }
    }
}

/// A direction of dialling; bytes flow both ways on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    pub from: End,
    pub to: Node,
}

impl Link {
    /// Whether a node is at one of its ends.
    pub fn touches(self, node: Node) -> bool {
        self.to == node || self.from == End::Node(node)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>{}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_nodes_and_their_clients_have_36_links() {
        let shape = Shape { slices: 6, matchers: 3, gatherers: 3 };
        assert_eq!(shape.nodes().len(), 7);
        // To the balancer 6, from it 3, matchers and gatherers 18, among gatherers 6, clients 3.
        assert_eq!(shape.links().len(), 36);
    }
}
