//! The typed expression: what the checker makes of a rule, and what is evaluated and planned over.
//!
//! Invariants: expr.E1 every operand has the kind its operator needs, an int among doubles being wrapped in
//! [`Expr::ToDouble`], except that [`Expr::Compare`] and [`Expr::InItems`] relate int with double without; expr.E2
//! `And` and `Or` have at least two operands, none of them of the same operator; expr.E3 no literal is NaN or infinite;
//! expr.E4 the tree is at most twice [`DEPTH_MAX`](crate::DEPTH_MAX) deep, so every walk may recurse.
//!
//! `Display` prints CEL that compiles to the same expression again.

use std::fmt;

use crate::value::{Value, ValueKind};

/// Which of the two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The element with the lower id.
    A,
    /// The element with the higher id.
    B,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::A => "a",
            End::B => "b",
        })
    }
}

/// A declared attribute of one of the elements. Prints as `a.skill`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeRef {
    /// Whose.
    pub end: End,
    /// Its position in the schema and in a row.
    pub index: usize,
    /// Its kind.
    pub kind: ValueKind,
    /// Its name, for printing.
    pub name: Box<str>,
}

impl fmt::Display for AttributeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.end, self.name)
    }
}

/// How a comparison relates its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// The kinds of a comparison's operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparands {
    /// Two operands of one kind. `<` and its like apply to int, double and string only.
    Same(ValueKind),
    /// An int on the left, a double on the right, compared without rounding.
    IntDouble,
    /// A double on the left, an int on the right, compared without rounding.
    DoubleInt,
}

/// A binary operation on two numbers of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArithmeticOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`, of ints only.
    Rem,
}

/// A test of one string for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextOp {
    /// `text.startsWith(part)`
    StartsWith,
    /// `text.endsWith(part)`
    EndsWith,
    /// `text.contains(part)`
    Contains,
}

/// A typed expression. The module says which invariants hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A constant of any kind.
    Literal(Value),
    /// An attribute's value.
    Attribute(AttributeRef),
    /// `a.waited`: an int that is never missing.
    Waited(End),
    /// Whether an attribute is there.
    Has(AttributeRef),
    /// `!` of a bool.
    Not(Box<Expr>),
    /// `&&` of two or more bools.
    And(Box<[Expr]>),
    /// `||` of two or more bools.
    Or(Box<[Expr]>),
    /// `condition ? then : otherwise`, of one kind.
    Choice {
        /// A bool.
        condition: Box<Expr>,
        /// The value if it is true.
        then: Box<Expr>,
        /// The value if it is false.
        otherwise: Box<Expr>,
    },
    /// A comparison.
    Compare {
        /// How.
        op: CompareOp,
        /// Of what kinds.
        comparands: Comparands,
        /// The left operand.
        left: Box<Expr>,
        /// The right operand.
        right: Box<Expr>,
    },
    /// `needle in [items]`: whether it equals one of them. Exactly an `Or` of comparisons with `==`.
    InItems {
        /// What is looked for.
        needle: Box<Expr>,
        /// The kind of the needle. Every item is of the same kind, or both are numbers.
        kind: ValueKind,
        /// One or more.
        items: Box<[Expr]>,
    },
    /// `needle in list`: whether a list has the string.
    InList {
        /// A string.
        needle: Box<Expr>,
        /// A list of strings.
        list: Box<Expr>,
    },
    /// `left.intersects(right)`: whether two lists share an entry.
    Intersects {
        /// A list of strings.
        left: Box<Expr>,
        /// A list of strings.
        right: Box<Expr>,
    },
    /// A test of one string for another.
    Text {
        /// Which test.
        op: TextOp,
        /// The string tested.
        text: Box<Expr>,
        /// What it is tested for.
        part: Box<Expr>,
    },
    /// `size`: the characters of a string, or the entries of a list. An int.
    Size {
        /// The operand's kind: `String` or `StringList`.
        kind: ValueKind,
        /// The string or list.
        of: Box<Expr>,
    },
    /// Unary minus of an int or double.
    Negate {
        /// The operand's kind, and the result's.
        kind: ValueKind,
        /// The number.
        of: Box<Expr>,
    },
    /// `abs` of an int or double.
    Abs {
        /// The operand's kind, and the result's.
        kind: ValueKind,
        /// The number.
        of: Box<Expr>,
    },
    /// `+ - * / %`.
    Arithmetic {
        /// Which.
        op: ArithmeticOp,
        /// The operands' kind, and the result's.
        kind: ValueKind,
        /// The left operand.
        left: Box<Expr>,
        /// The right operand.
        right: Box<Expr>,
    },
    /// `min` or `max`.
    Extreme {
        /// Whether it is `max`.
        max: bool,
        /// The operands' kind, and the result's.
        kind: ValueKind,
        /// Two to eight numbers.
        of: Box<[Expr]>,
    },
    /// `double(x)` of an int: the nearest double, ties to even.
    ToDouble(Box<Expr>),
}

impl Expr {
    /// The kind of the expression's value.
    pub fn kind(&self) -> ValueKind {
        match self {
            Expr::Literal(value) => value.kind(),
            Expr::Attribute(attribute) => attribute.kind,
            Expr::Waited(_) | Expr::Size { .. } => ValueKind::Int,
            Expr::Has(_)
            | Expr::Not(_)
            | Expr::And(_)
            | Expr::Or(_)
            | Expr::Compare { .. }
            | Expr::InItems { .. }
            | Expr::InList { .. }
            | Expr::Intersects { .. }
            | Expr::Text { .. } => ValueKind::Bool,
            Expr::Choice { then, .. } => then.kind(),
            Expr::Negate { kind, .. }
            | Expr::Abs { kind, .. }
            | Expr::Arithmetic { kind, .. }
            | Expr::Extreme { kind, .. } => *kind,
            Expr::ToDouble(_) => ValueKind::Double,
        }
    }

    /// Calls `visit` with every direct operand, left to right.
    pub fn for_each_operand<'a>(&'a self, mut visit: impl FnMut(&'a Expr)) {
        match self {
            Expr::Literal(_) | Expr::Attribute(_) | Expr::Waited(_) | Expr::Has(_) => {}
            Expr::Not(of) | Expr::ToDouble(of) => visit(of),
            Expr::Size { of, .. } | Expr::Negate { of, .. } | Expr::Abs { of, .. } => visit(of),
            Expr::And(of) | Expr::Or(of) | Expr::Extreme { of, .. } => of.iter().for_each(visit),
            Expr::Choice { condition, then, otherwise } => {
                visit(condition);
                visit(then);
                visit(otherwise);
            }
            Expr::InItems { needle, items, .. } => {
                visit(needle);
                items.iter().for_each(visit);
            }
            Expr::Compare { left, right, .. }
            | Expr::Arithmetic { left, right, .. }
            | Expr::Intersects { left, right }
            | Expr::InList { needle: left, list: right }
            | Expr::Text { text: left, part: right, .. } => {
                visit(left);
                visit(right);
            }
        }
    }

    /// Whether the expression mentions `waited`.
    pub fn uses_time(&self) -> bool {
        let mut uses = matches!(self, Expr::Waited(_));
        self.for_each_operand(|operand| uses |= operand.uses_time());
        uses
    }
}
