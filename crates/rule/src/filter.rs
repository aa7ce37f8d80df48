//! What a plan keeps of every waiting element, and what a probe asks of it: the seam between planner and table.
//!
//! Invariant filter.F1: a filter only turns away. Whatever pair it drops, the rule neither accepts nor fails on; what
//! it lets through is tested by the rule itself. So cells may be coarser than values as long as every bound is rounded
//! outwards.

use crate::expr::Expr;
use crate::range::Range;
use crate::row::Side;

/// Ints beyond this, either way, have no cell: their lane is wild.
pub(crate) const INT_CELL_MAX: i64 = 1 << 30;
/// Doubles beyond this, either way, have no cell: their lane is wild. Squares of cells, and sums of them, stay finite.
pub(crate) const DOUBLE_CELL_MAX: f64 = (1u64 << 60) as f64;
/// The cell of a missing int. Lower than every bound.
pub(crate) const INT_MISSING: i32 = i32::MIN;
/// The cell of a missing string. No string's symbol.
pub(crate) const SYMBOL_MISSING: u32 = 0;
/// What a prober's string is called when no waiting element has it. No string's symbol.
pub(crate) const SYMBOL_UNKNOWN: u32 = u32::MAX;

/// Most columns by whose values a large bucket is ordered.
pub(crate) const ORDERED_MAX: usize = 8;

/// How a column's values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Store {
    /// An int as itself, in 32 bits.
    Int,
    /// A double, rounded to the nearest of 32 bits. Missing is NaN.
    Double,
    /// A string's number among those interned.
    Symbol,
    /// A list's signature: bit `symbol & 63` of each entry. Missing is 0.
    Set,
    /// Whether a bool may be true: 0 when it is false or missing.
    Bit,
}

/// A value every waiting element has, computed once from its own attributes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// Over one element, written as `a`. Without `waited`.
    pub(crate) expr: Expr,
    /// How it is kept.
    pub(crate) store: Store,
}

/// A distance: the sum over columns of `weight * |cell - point| ^ power`, with an upper bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Int or double columns.
    pub(crate) columns: Box<[usize]>,
    /// Whether differences are squared.
    pub(crate) squared: bool,
}

/// The shape of a filter; the bounds of its leaves come with each probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Every one. Cheapest and most selective first.
    All(Box<[Node]>),
    /// At least one.
    Any(Box<[Node]>),
    /// One test.
    Leaf {
        /// Where its bound is in [`Asked`].
        bound: usize,
        /// What it looks at.
        of: Operand,
    },
}

/// What a leaf looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operand {
    /// Nothing of the anchor: its bound is `Never` or `Always`.
    Probe,
    /// A column of the plan.
    Column(usize),
    /// A sum of the plan.
    Sum(usize),
}

impl Node {
    /// Calls `visit` with every leaf that must let an anchor through for the whole to let it through.
    pub(crate) fn required(&self, visit: &mut impl FnMut(usize, Operand)) {
        match self {
            Node::All(of) => of.iter().for_each(|node| node.required(visit)),
            Node::Any(_) => {}
            Node::Leaf { bound, of } => visit(*bound, *of),
        }
    }
}

/// A leaf's bound for one probe. A missing cell satisfies none but `Always`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// No anchor, whatever its values: not even one whose lane is wild. (An empty range is of known cells only.)
    Never,
    /// Every anchor.
    Always,
    /// The bit is set.
    Bit,
    /// Inclusive. `low` is above [`INT_MISSING`].
    Int { low: i32, high: i32 },
    /// Another int.
    IntNot(i32),
    /// Inclusive. Neither is NaN.
    Double { low: f32, high: f32 },
    /// This string.
    Symbol(u32),
    /// Another string.
    SymbolNot(u32),
    /// A string whose bit is in the signature.
    SymbolIn(u64),
    /// A list whose signature shares a bit.
    Set(u64),
    /// The sum is at most `limit`; its points begin at `from` in [`Asked::points`], its weights in [`Asked::weights`].
    Sum { from: usize, limit: f64 },
}

/// What one probe asks: a buffer that is used again and again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// By leaf.
    pub(crate) bounds: Vec<Bound>,
    /// The prober's coordinates, sum after sum.
    pub(crate) points: Vec<f64>,
    /// The weights, sum after sum.
    pub(crate) weights: Vec<f64>,
    /// Space for the planner's own use.
    pub(crate) ranges: Vec<Range>,
}

/// A probe, as the planner sees it when it sets the bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe<'a> {
    /// The element that searches.
    pub(crate) side: Side<'a>,
    /// No anchor asked has waited longer, in milliseconds; none less than 0.
    pub(crate) oldest_waited_ms: i64,
}
