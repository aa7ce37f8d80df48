//! Where in a block the plan's columns are, and the filter's shape with that looked up.

use crate::eval::{Absent, Pair};
use crate::expr::{End, Expr};
use crate::filter::{
    Asked, Column, DOUBLE_CELL_MAX, INT_CELL_MAX, INT_MISSING, Node, ORDERED_MAX, Operand, Probe, SYMBOL_MISSING,
    Store, Sum,
};
use crate::rule::Rule;
use crate::table::slab::HeldRow;
use crate::value::Value;

/// Sets the bounds of one probe. What the planner's `Plan::ask` does.
pub(super) type Ask = Box<dyn Fn(End, &Probe<'_>, &dyn Fn(&str) -> u32, &mut Asked) + Send + Sync>;

/// Most attributes of a key by which a bucket knows that all of its elements agree.
pub(super) const KEY_WORDS: usize = 4;

/// The values of a key's attributes, as words that are equal only if the values are; 0 beyond the last.
pub(super) type KeyWords = [u64; KEY_WORDS];

/// All that a table needs of a plan.
pub(super) struct Shape {
    pub(super) keyed: bool,
    pub(super) columns: Vec<Column>,
    pub(super) sums: Vec<Sum>,
    /// By the role of the anchors: lower ids, higher ids.
    pub(super) roots: [Node; 2],
    pub(super) ask: Ask,
    /// See `Plan::exact`.
    pub(super) exact: Option<Box<[usize]>>,
    /// The columns by which a large bucket may be ordered: of ints and doubles, at most [`ORDERED_MAX`].
    pub(super) ordered: Box<[usize]>,
}

impl Shape {
    /// No filter at all: everything survives.
    #[cfg(test)]
    pub(super) fn everything() -> Shape {
        let all = || Node::All(Box::default());
        let ask: Ask = Box::new(|_, _, _, asked| asked.bounds.clear());
        let (columns, sums, ordered) = (Vec::new(), Vec::new(), Box::default());
        Shape { keyed: false, columns, sums, roots: [all(), all()], ask, exact: None, ordered }
    }

    /// What the rule's plan asks for.
    pub(super) fn of(rule: &Rule) -> Shape {
        let (plan, rule) = (rule.plan(), rule.clone());
        Shape {
            keyed: plan.keyed(),
            columns: plan.columns().to_vec(),
            sums: plan.sums().to_vec(),
            roots: [End::A, End::B].map(|anchor| plan.root(anchor).clone()),
            exact: plan.exact().filter(|key| key.len() <= KEY_WORDS).map(Box::from),
            ordered: plan.ordered().into(),
            ask: Box::new(move |anchor, probe, symbol, asked| rule.plan().ask(anchor, probe, symbol, asked)),
        }
    }
}

/// Where a column's cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a strip, 32 bits a lane.
    Strip(usize),
    /// In two strips: the low halves, the high halves.
    Set(usize),
    /// In the block's tail, 1 bit a lane.
    Bit(usize),
    /// A sum over strips.
    Sum(usize),
    /// Nowhere: the leaf looks at nothing.
    Nowhere,
}

/// A sum's columns: strip, and whether it has ints.
pub(super) struct Terms {
    pub(super) columns: Box<[(usize, bool)]>,
    pub(super) squared: bool,
    /// The first strip, if all are doubles and one after the other: the quickest way to go through them.
    pub(super) run: Option<usize>,
}

impl Terms {
    fn new(columns: Box<[(usize, bool)]>, squared: bool) -> Terms {
        let first = columns.first().map_or(0, |&(strip, _)| strip);
        let in_line = columns.iter().zip(first..).all(|(&(strip, int), expected)| strip == expected && !int);
        Terms { columns, squared, run: in_line.then_some(first) }
    }
}

/// A column by which a bucket may be ordered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dim {
    pub(super) strip: usize,
    pub(super) int: bool,
}

/// An element's place along every [`Dim`]; what is beyond the last is 0.
pub(super) type Keys = [f64; ORDERED_MAX];

impl Dim {
    /// A cell's place: its value, or below all values if it is missing.
    #[inline]
    pub(super) fn key(self, word: u32) -> f64 {
        let value = if self.int {
            Some(word as i32).filter(|&int| int != INT_MISSING).map(f64::from)
        } else {
            Some(f32::from_bits(word)).filter(|double| !double.is_nan()).map(f64::from)
        };
        value.unwrap_or(f64::NEG_INFINITY)
    }
}

/// A leaf that must let an anchor through, and what it looks at, as positions among the dims.
#[derive(Debug)]
pub(super) enum Required {
    /// A column, or something that no dim is about: of use only if nothing passes.
    Column { bound: usize, dim: Option<usize> },
    /// A sum; by term, the dim that the term is about.
    Sum { bound: usize, squared: bool, dims: Box<[Option<usize>]> },
}

/// What a block holds. Strip 0 has the slots; after the strips come two words per bit column and one per sum but
/// the first.
pub(super) struct Layout {
    pub(super) strips: usize,
    pub(super) bits: usize,
    pub(super) sums: Box<[Terms]>,
    columns: Box<[(Column, Place)]>,
    pub(super) roots: [Root; 2],
    pub(super) dims: Box<[Dim]>,
    /// What looking at a block takes, in nanoseconds, more or less.
    pub(super) block_ns: u64,
    /// What a node of a tree takes, and what an insertion or a removal takes more in a tree.
    pub(super) node_ns: u64,
    pub(super) update_ns: u64,
    /// By the role of the anchors.
    pub(super) required: [Box<[Required]>; 2],
}

/// A leaf of the filter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    /// Its bound.
    pub(super) bound: usize,
    /// What it looks at.
    pub(super) at: Place,
}

/// A filter's shape. The common ones have ways of their own.
pub(super) enum Root {
    Everything,
    Leaf(Leaf),
    Leaves(Box<[Leaf]>),
    Tree(Tree),
}

/// Any shape.
pub(super) enum Tree {
    All(Box<[Tree]>),
    Any(Box<[Tree]>),
    Leaf(Leaf),
}

impl Layout {
    pub(super) fn new(shape: &Shape) -> Layout {
        let (mut strips, mut bits) = (1, 0);
        let place = |column: &Column| {
            let (place, wide, bit) = match column.store {
                Store::Int | Store::Double | Store::Symbol => (Place::Strip(strips), 1, 0),
                Store::Set => (Place::Set(strips), 2, 0),
                Store::Bit => (Place::Bit(bits), 0, 1),
            };
            strips += wide;
            bits += bit;
            (column.clone(), place)
        };
        let columns: Box<[_]> = shape.columns.iter().map(place).collect();
        let terms = |sum: &Sum| {
            let strip = |&column: &usize| match columns[column] {
                (Column { store: Store::Int, .. }, Place::Strip(strip)) => (strip, true),
                (Column { store: Store::Double, .. }, Place::Strip(strip)) => (strip, false),
                _ => unreachable!("a sum is over ints and doubles"),
            };
            Terms::new(sum.columns.iter().map(strip).collect(), sum.squared)
        };
        let sums: Box<[Terms]> = shape.sums.iter().map(terms).collect();
        let root = |node: &Node| Root::new(Tree::new(node, &columns));
        let roots = [root(&shape.roots[0]), root(&shape.roots[1])];
        let dim = |&column: &usize| match columns[column] {
            (Column { store: Store::Int, .. }, Place::Strip(strip)) => Dim { strip, int: true },
            (Column { store: Store::Double, .. }, Place::Strip(strip)) => Dim { strip, int: false },
            _ => unreachable!("a bucket is ordered by ints and doubles"),
        };
        let dims: Box<[Dim]> = shape.ordered.iter().map(dim).collect();
        let required = [required(shape, 0), required(shape, 1)];
        let mut looked_at = None;
        roots[0].leaves(&mut |leaf| {
            looked_at.get_or_insert(match leaf.at {
                Place::Strip(_) => 1,
                Place::Set(_) => 2,
                Place::Bit(_) | Place::Nowhere => 0,
                Place::Sum(sum) => sums[sum].columns.len() as u64,
            });
        });
        let block_ns = 10 + 9 * looked_at.unwrap_or(0);
        let (node_ns, update_ns) = (10 + 2 * dims.len() as u64, 300 + 50 * strips as u64);
        Layout { strips, bits, sums, columns, roots, dims, block_ns, node_ns, update_ns, required }
    }

    /// The place of an element with these words, by strip without the slots'.
    #[inline]
    pub(super) fn keys(&self, words: &[u32]) -> Keys {
        self.keys_of(|strip| words[strip - 1])
    }

    /// The place of an element with these cells.
    #[inline]
    pub(super) fn keys_of(&self, word: impl Fn(usize) -> u32) -> Keys {
        let mut keys = [0.0; ORDERED_MAX];
        keys.iter_mut().zip(&self.dims).for_each(|(key, dim)| *key = dim.key(word(dim.strip)));
        keys
    }

    /// The words after the strips.
    pub(super) fn tail_words(&self) -> usize {
        2 * self.bits + self.sums.len().saturating_sub(1)
    }

    pub(super) fn root(&self, anchor: End) -> &Root {
        &self.roots[anchor as usize]
    }

    /// Every string literal in the columns: they have symbols for as long as the table lives.
    pub(super) fn literals(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.columns.iter().for_each(|(column, _)| literals(&column.expr, &mut found));
        found
    }
}

/// The leaves that anchors of a role must pass.
fn required(shape: &Shape, role: usize) -> Box<[Required]> {
    let dim = |column: usize| shape.ordered.iter().position(|&ordered| ordered == column);
    let mut found = Vec::new();
    shape.roots[role].required(&mut |bound, of| {
        found.push(match of {
            Operand::Probe => Required::Column { bound, dim: None },
            Operand::Column(column) => Required::Column { bound, dim: dim(column) },
            Operand::Sum(sum) => {
                let Sum { columns, squared } = &shape.sums[sum];
                Required::Sum { bound, squared: *squared, dims: columns.iter().map(|&column| dim(column)).collect() }
            }
        });
    });
    found.into()
}

fn literals<'a>(expr: &'a Expr, found: &mut Vec<&'a str>) {
    match expr {
        Expr::Literal(Value::String(text)) => found.push(text),
        Expr::Literal(Value::StringList(list)) => found.extend(list.iter().map(|entry| &**entry)),
        _ => expr.for_each_operand(|operand| literals(operand, found)),
    }
}

impl Tree {
    fn new(node: &Node, columns: &[(Column, Place)]) -> Tree {
        let each = |nodes: &[Node]| nodes.iter().map(|node| Tree::new(node, columns)).collect();
        match node {
            Node::All(nodes) => Tree::All(each(nodes)),
            Node::Any(nodes) => Tree::Any(each(nodes)),
            &Node::Leaf { bound, of } => {
                let at = match of {
                    Operand::Probe => Place::Nowhere,
                    Operand::Column(column) => columns[column].1,
                    Operand::Sum(sum) => Place::Sum(sum),
                };
                Tree::Leaf(Leaf { bound, at })
            }
        }
    }

    /// Calls `visit` with every leaf.
    pub(super) fn leaves(&self, visit: &mut impl FnMut(Leaf)) {
        match self {
            Tree::All(of) | Tree::Any(of) => of.iter().for_each(|tree| tree.leaves(visit)),
            Tree::Leaf(leaf) => visit(*leaf),
        }
    }
}

impl Root {
    fn new(tree: Tree) -> Root {
        let leaf = |tree: &Tree| match tree {
            Tree::Leaf(leaf) => Some(*leaf),
            _ => None,
        };
        match tree {
            Tree::Leaf(leaf) => Root::Leaf(leaf),
            Tree::All(of) => match of.iter().map(leaf).collect::<Option<Vec<Leaf>>>() {
                Some(leaves) if leaves.is_empty() => Root::Everything,
                Some(leaves) if leaves.len() == 1 => Root::Leaf(leaves[0]),
                Some(leaves) => Root::Leaves(leaves.into()),
                None => Root::Tree(Tree::All(of)),
            },
            tree @ Tree::Any(_) => Root::Tree(tree),
        }
    }

    /// Calls `visit` with every leaf.
    pub(super) fn leaves(&self, visit: &mut impl FnMut(Leaf)) {
        match self {
            Root::Everything => {}
            Root::Leaf(leaf) => visit(*leaf),
            Root::Leaves(leaves) => leaves.iter().for_each(|leaf| visit(*leaf)),
            Root::Tree(tree) => tree.leaves(visit),
        }
    }
}

/// One element's cells, as a block takes them: a buffer that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// By strip, without the slots'.
    pub(super) words: Vec<u32>,
    pub(super) bits: Vec<bool>,
    /// By sum: of |cell|, rounded up; 0 if a cell is missing, since no bound is then satisfied.
    pub(super) reach: Vec<f32>,
    /// Whether a value has no cell, so that the element is tested by the rule whatever the filter says.
    pub(super) wild: bool,
}

impl Lane {
    /// Evaluates every column for one element.
    pub(super) fn fill(&mut self, layout: &Layout, held: HeldRow<'_>) {
        self.words.clear();
        self.bits.clear();
        self.wild = false;
        let pair = Pair { a: held, b: held };
        for (column, _) in &layout.columns {
            self.cell(column, held, &pair);
        }
        self.reach.clear();
        self.reach.extend(layout.sums.iter().map(|terms| reach(terms, |strip| self.words[strip - 1])));
    }

    fn cell<'a>(&mut self, column: &Column, held: HeldRow<'a>, pair: &Pair<HeldRow<'a>>) {
        let expr = &column.expr;
        match column.store {
            Store::Int => {
                let cell =
                    self.or_wild(pair.int(expr), |int| (int.abs_diff(0) <= INT_CELL_MAX as u64).then_some(int as i32));
                self.words.push(cell.unwrap_or(INT_MISSING) as u32);
            }
            Store::Double => {
                let cell = self
                    .or_wild(pair.double(expr), |double| (double.abs() <= DOUBLE_CELL_MAX).then_some(double as f32));
                self.words.push(cell.unwrap_or(f32::NAN).to_bits());
            }
            Store::Symbol => {
                let cell = match expr {
                    Expr::Attribute(attribute) => Some(held.symbol(attribute)),
                    _ => self.or_wild(pair.string(expr), |text| Some(held.strings().find(text))),
                };
                self.words.push(cell.unwrap_or(SYMBOL_MISSING));
            }
            Store::Set => {
                let signature =
                    |symbols: &mut dyn Iterator<Item = u32>| symbols.fold(0, |set, symbol| set | 1u64 << (symbol & 63));
                let cell = self.or_wild(pair.list(expr), |list| Some(signature(&mut list.symbols(held.strings()))));
                let cell = cell.unwrap_or(0);
                self.words.extend([cell as u32, (cell >> 32) as u32]);
            }
            Store::Bit => self.bits.push(!matches!(pair.bool(expr), Ok(false) | Err(Absent::Missing))),
        }
    }

    /// The cell of a value that is there; a value that is an error or has no cell makes the lane wild.
    fn or_wild<T, C>(&mut self, value: Result<T, Absent>, cell: impl FnOnce(T) -> Option<C>) -> Option<C> {
        let cell = match value {
            Ok(value) => cell(value),
            Err(Absent::Missing) => return None,
            Err(Absent::Error(_)) => None,
        };
        self.wild |= cell.is_none();
        cell
    }
}

/// The sum over a sum's columns of |cell|, rounded up to `f32`.
pub(super) fn reach(terms: &Terms, word: impl Fn(usize) -> u32) -> f32 {
    let magnitude = |&(strip, int): &(usize, bool)| match (int, word(strip)) {
        (true, cell) if cell as i32 == INT_MISSING => f64::NAN,
        (true, cell) => f64::from((cell as i32).unsigned_abs()),
        (false, cell) => f64::from(f32::from_bits(cell).abs()),
    };
    // Cells are values rounded to 24 bits: the factor makes up for that, for the rounding of the sum, and for the
    // cast's.
    let sum = terms.columns.iter().map(magnitude).sum::<f64>() * (1.0 + 1.0 / (1 << 20) as f64);
    if sum.is_nan() { 0.0 } else { sum as f32 }
}
