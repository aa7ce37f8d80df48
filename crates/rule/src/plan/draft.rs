//! The filter of one role of the anchors, made of the conjuncts that have columns, the cheapest and most selective first.

use super::ask::Ask;
use super::key::Share;
use super::lower::{Kept, Lower, LoweredLeaf};
use crate::expr::{End, Expr};
use crate::filter::{Bound, Node};

/// The filter of one role, and how its bounds are set.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) root: Node,
    /// The bounds that are the same for every probe, and `Always` for the others.
    pub(super) bounds: Box<[Bound]>,
    pub(super) asks: Box<[Ask]>,
}

/// A filter on its way, with what is said about each conjunct.
pub(super) struct Draft {
    pub(super) filter: Filter,
    /// Infinite for a conjunct without columns.
    pub(super) ranks: Vec<f64>,
    pub(super) how: Vec<Vec<String>>,
}

impl Draft {
    pub(super) fn new(anchor: End, exprs: &[Expr], shares: &[Share], kept: &mut Kept) -> Draft {
        let mut lower = Lower::new(anchor, kept);
        let (mut nodes, mut ranks, mut how) = (vec![], vec![], vec![]);
        for (expr, share) in exprs.iter().zip(shares) {
            let first = lower.leaves.len();
            let node = if *share == Share::Whole { None } else { lower.conjunct(expr) };
            ranks.push(node.as_ref().map_or(f64::INFINITY, |node| lower.rank(node)));
            how.push(lower.leaves[first..].iter().map(|leaf| lower.describe(leaf)).collect());
            nodes.extend(node);
        }
        nodes.sort_by(|left, right| lower.rank(left).total_cmp(&lower.rank(right)));
        let root = if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes.into()) };
        let bounds = lower.leaves.iter().map(|leaf: &LoweredLeaf| leaf.fixed).collect();
        Draft { filter: Filter { root, bounds, asks: lower.asks.into() }, ranks, how }
    }
}
