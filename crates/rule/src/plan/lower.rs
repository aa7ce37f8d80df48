//! From conjuncts to a filter: a tree of leaves over columns, for one role of the anchors.
//!
//! Invariant lower.L1: the tree of an expression lets a pair through whenever the expression is true or an error on it.
//! So a conjunction keeps the operands that have a tree, and a disjunction has one only if every operand has.

use super::ask::Ask;
use super::key::bare;
use super::normal::{join, normal};
use super::number::Columns;
use super::shape::{Uses, can_fail, renamed};
use crate::expr::{Comparands, CompareOp, End, Expr};
use crate::filter::{Bound, Column, Node, Operand, Store, Sum};
use crate::value::ValueKind;

/// Most leaves of one filter. What does not fit is left to the rule.
const LEAVES_MAX: usize = 64;
/// Most columns of a plan: every element waiting has a cell in each.
const COLUMNS_MAX: usize = 64;
/// Most expressions looked at for one conjunct: some are written out as several.
const STEPS_MAX: usize = 256;

/// What both roles share.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) columns: Vec<Column>,
    pub(super) sums: Vec<Sum>,
}

/// A leaf as it is before any probe.
#[derive(Debug, Clone)]
pub(super) struct LoweredLeaf {
    /// Its bound, where that is the same for every probe.
    pub(super) fixed: Bound,
    pub(super) of: Operand,
    /// Of 100 anchors, how many are thought to pass.
    pub(super) passes: u32,
    /// What is tested, in words.
    pub(super) what: &'static str,
    /// What the column is called, if its expression would say less.
    pub(super) name: Option<String>,
}

/// The filter of one role, as it grows.
pub(super) struct Lower<'k> {
    pub(super) anchor: End,
    pub(super) kept: &'k mut Kept,
    pub(super) leaves: Vec<LoweredLeaf>,
    pub(super) asks: Vec<Ask>,
    steps: usize,
}

impl Columns for Kept {
    fn column(&mut self, expr: &Expr) -> Option<usize> {
        let store = match expr.kind() {
            ValueKind::Int => Store::Int,
            ValueKind::Double => Store::Double,
            ValueKind::String => Store::Symbol,
            ValueKind::Bool => Store::Bit,
            ValueKind::StringList => Store::Set,
        };
        let column = Column { expr: renamed(expr, &|_| End::A), store };
        let known = self.columns.iter().position(|other| *other == column);
        if known.is_none() && self.columns.len() == COLUMNS_MAX {
            return None;
        }
        Some(known.unwrap_or_else(|| {
            self.columns.push(column);
            self.columns.len() - 1
        }))
    }
}

impl<'k> Lower<'k> {
    pub(super) fn new(anchor: End, kept: &'k mut Kept) -> Lower<'k> {
        Lower { anchor, kept, leaves: vec![], asks: vec![], steps: 0 }
    }

    /// The tree of one conjunct, or `None` if no column helps.
    pub(super) fn conjunct(&mut self, expr: &Expr) -> Option<Node> {
        self.steps = 0;
        self.or_nothing(|lower| lower.lower(expr))
    }

    /// Takes back what was added if nothing comes of it.
    pub(super) fn or_nothing(&mut self, make: impl FnOnce(&mut Self) -> Option<Node>) -> Option<Node> {
        let (leaves, asks) = (self.leaves.len(), self.asks.len());
        let (columns, sums) = (self.kept.columns.len(), self.kept.sums.len());
        let node = make(self).filter(|_| self.leaves.len() <= LEAVES_MAX);
        if node.is_none() {
            self.leaves.truncate(leaves);
            self.asks.truncate(asks);
            self.kept.columns.truncate(columns);
            self.kept.sums.truncate(sums);
        }
        node
    }

    fn lower(&mut self, expr: &Expr) -> Option<Node> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return None;
        }
        let uses = Uses::of(expr);
        if uses.spares(self.anchor) {
            let of = expr.clone();
            return Some(self.leaf(Operand::Probe, 50, "the prober's own", |bound| Ask::Truth { bound, of }));
        }
        if uses.row_of(self.anchor) {
            let column = self.kept.column(expr)?;
            return Some(self.fixed_leaf(Bound::Bit, Operand::Column(column), 50, "bit"));
        }
        match expr {
            Expr::And(of) => self.all(of),
            Expr::Or(of) => self.any(of),
            Expr::Choice { condition, then, otherwise } => self.choice(condition, then, otherwise),
            Expr::Compare { op, comparands, left, right } => self.compare(*op, *comparands, left, right),
            Expr::InItems { needle, kind, items } => {
                self.any(&items.iter().map(|item| equal(CompareOp::Eq, needle, *kind, item)).collect::<Vec<_>>())
            }
            Expr::Not(of) => match &**of {
                Expr::InItems { needle, kind, items } => {
                    self.all(&items.iter().map(|item| equal(CompareOp::Ne, needle, *kind, item)).collect::<Vec<_>>())
                }
                _ => None,
            },
            Expr::InList { needle, list } => self.in_list(needle, list),
            Expr::Intersects { left, right } => {
                let (column, list) = self.sides(left, right)?;
                Some(self.leaf(column, 30, "a shared entry", |bound| Ask::Shares { bound, list }))
            }
            _ => None,
        }
    }

    /// Operands over the anchor alone are one column.
    fn merged(&self, all: bool, operands: &[Expr]) -> Vec<Expr> {
        let (own, mut rest): (Vec<Expr>, Vec<Expr>) =
            operands.iter().cloned().partition(|operand| Uses::of(operand).row_of(self.anchor));
        if !own.is_empty() {
            rest.insert(0, join(all, own.into_iter()));
        }
        rest
    }

    pub(super) fn all(&mut self, operands: &[Expr]) -> Option<Node> {
        let operands = self.merged(true, operands);
        let nodes: Vec<Node> =
            operands.iter().filter_map(|operand| self.or_nothing(|lower| lower.lower(operand))).collect();
        self.gather(true, nodes)
    }

    fn any(&mut self, operands: &[Expr]) -> Option<Node> {
        let operands = self.merged(false, operands);
        let nodes = operands.iter().map(|operand| self.lower(operand)).collect::<Option<Vec<_>>>()?;
        self.gather(false, nodes)
    }

    pub(super) fn gather(&self, all: bool, mut nodes: Vec<Node>) -> Option<Node> {
        nodes.sort_by(|left, right| self.rank(left).total_cmp(&self.rank(right)));
        match nodes.len() {
            0 => None,
            1 => nodes.pop(),
            _ if all => Some(Node::All(nodes.into())),
            _ => Some(Node::Any(nodes.into())),
        }
    }

    /// Either branch with its condition; or an error in the condition, which passes both it and its negation.
    fn choice(&mut self, condition: &Expr, then: &Expr, otherwise: &Expr) -> Option<Node> {
        let unmet = normal(condition, true);
        let mut cases = vec![vec![condition, then], vec![&unmet, otherwise]];
        if can_fail(condition) {
            cases.push(vec![condition, &unmet]);
        }
        let mut nodes = Vec::with_capacity(cases.len());
        for case in cases {
            let parts: Vec<Node> = case.iter().filter_map(|of| self.or_nothing(|lower| lower.lower(of))).collect();
            nodes.push(self.gather(true, parts)?);
        }
        self.gather(false, nodes)
    }

    fn compare(&mut self, op: CompareOp, comparands: Comparands, left: &Expr, right: &Expr) -> Option<Node> {
        match comparands {
            Comparands::Same(ValueKind::Bool) => self.same_bool(op == CompareOp::Eq, left, right),
            Comparands::Same(ValueKind::String) => {
                let (equal, passes, what) = match op {
                    CompareOp::Eq => (true, 10, "the same string"),
                    CompareOp::Ne => (false, 80, "another string"),
                    _ => return None,
                };
                let (column, text) = self.sides(left, right)?;
                Some(self.leaf(column, passes, what, |bound| Ask::Symbol { bound, equal, text }))
            }
            Comparands::Same(ValueKind::StringList) => {
                let (column, list) = if op == CompareOp::Eq { self.sides(left, right)? } else { return None };
                Some(self.leaf(column, 20, "the same list", |bound| Ask::SameList { bound, list }))
            }
            _ => self.numeric(op, comparands, left, right),
        }
    }

    fn same_bool(&mut self, equal: bool, left: &Expr, right: &Expr) -> Option<Node> {
        let (same, flipped) = (normal(right, !equal), normal(right, equal));
        let cases = [(normal(left, false), same), (normal(left, true), flipped)];
        // Not folded by `join`, which would not keep errors apart.
        let mut nodes = Vec::with_capacity(2);
        for (left, right) in cases {
            let parts: Vec<Node> =
                [left, right].iter().filter_map(|of| self.or_nothing(|lower| lower.lower(of))).collect();
            nodes.push(self.gather(true, parts)?);
        }
        self.gather(false, nodes)
    }

    fn in_list(&mut self, needle: &Expr, list: &Expr) -> Option<Node> {
        if Uses::of(needle).row_of(self.anchor) && Uses::of(list).spares(self.anchor) {
            let (column, list) = (Operand::Column(self.kept.column(needle)?), list.clone());
            return Some(self.leaf(column, 30, "one of the prober's", |bound| Ask::SymbolIn { bound, list }));
        }
        if Uses::of(list).row_of(self.anchor) && Uses::of(needle).spares(self.anchor) {
            let (column, text) = (Operand::Column(self.kept.column(list)?), needle.clone());
            return Some(self.leaf(column, 30, "has the prober's", |bound| Ask::Has { bound, text }));
        }
        None
    }

    /// One operand as a column of the anchor, the other as the prober's, whichever comes first.
    pub(super) fn sides(&mut self, left: &Expr, right: &Expr) -> Option<(Operand, Expr)> {
        let anchors = |of: &Expr| Uses::of(of).row_of(self.anchor);
        let probers = |of: &Expr| Uses::of(of).spares(self.anchor);
        let (own, others) = match () {
            () if anchors(left) && probers(right) => (left, right),
            () if anchors(right) && probers(left) => (right, left),
            () => return None,
        };
        Some((Operand::Column(self.kept.column(own)?), others.clone()))
    }

    pub(super) fn leaf(
        &mut self,
        of: Operand,
        passes: u32,
        what: &'static str,
        ask: impl FnOnce(usize) -> Ask,
    ) -> Node {
        self.asks.push(ask(self.leaves.len()));
        self.fixed_leaf(Bound::Always, of, passes, what)
    }

    pub(super) fn fixed_leaf(&mut self, fixed: Bound, of: Operand, passes: u32, what: &'static str) -> Node {
        self.leaves.push(LoweredLeaf { fixed, of, passes, what, name: None });
        Node::Leaf { bound: self.leaves.len() - 1, of }
    }

    /// What a leaf tests, in words.
    pub(super) fn describe(&self, leaf: &LoweredLeaf) -> String {
        let column = |column: usize| bare(&self.kept.columns[column].expr);
        match leaf.of {
            Operand::Column(_) if let Some(name) = &leaf.name => format!("{name}: {}", leaf.what),
            Operand::Probe => leaf.what.to_owned(),
            Operand::Column(of) => format!("{}: {}", column(of), leaf.what),
            Operand::Sum(sum) => {
                let columns: Vec<String> = self.kept.sums[sum].columns.iter().map(|of| column(*of)).collect();
                format!("{}: {}", columns.join(", "), leaf.what)
            }
        }
    }

    /// Cost for each anchor turned away: what is tested first has the least.
    pub(super) fn rank(&self, node: &Node) -> f64 {
        let (cost, passes) = self.estimate(node);
        cost / (1.0 - passes).max(0.01)
    }

    /// Cells looked at, and the share of anchors that pass.
    fn estimate(&self, node: &Node) -> (f64, f64) {
        match node {
            Node::Leaf { bound, of } => {
                let cost = match of {
                    Operand::Probe => 0.0,
                    Operand::Column(column) if self.kept.columns[*column].store == Store::Bit => 0.1,
                    Operand::Column(_) => 1.0,
                    Operand::Sum(sum) => 2.0 * self.kept.sums[*sum].columns.len() as f64,
                };
                (cost, f64::from(self.leaves[*bound].passes) / 100.0)
            }
            Node::All(of) => {
                of.iter().map(|node| self.estimate(node)).fold((0.0, 1.0), |sum, one| (sum.0 + one.0, sum.1 * one.1))
            }
            Node::Any(of) => {
                let (cost, fails) = of
                    .iter()
                    .map(|node| self.estimate(node))
                    .fold((0.0, 1.0), |sum, one| (sum.0 + one.0, sum.1 * (1.0 - one.1)));
                (cost, 1.0 - fails)
            }
        }
    }
}

/// `needle == item`, or `!=`, of an item whose needle has this kind.
fn equal(op: CompareOp, needle: &Expr, kind: ValueKind, item: &Expr) -> Expr {
    let comparands = match (kind, item.kind()) {
        (ValueKind::Int, ValueKind::Double) => Comparands::IntDouble,
        (ValueKind::Double, ValueKind::Int) => Comparands::DoubleInt,
        _ => Comparands::Same(kind),
    };
    Expr::Compare { op, comparands, left: Box::new(needle.clone()), right: Box::new(item.clone()) }
}

/// The comparison with its operands exchanged.
pub(super) fn mirrored(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
        op => op,
    }
}
