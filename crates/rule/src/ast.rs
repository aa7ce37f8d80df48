//! What a rule says, before anyone asks whether it makes sense: syntax with places, no kinds.

use crate::source::Span;

#[derive(Debug)]
pub(crate) struct SyntaxNode {
    pub(crate) span: Span,
    pub(crate) syntax: Syntax,
    /// 1 for a leaf, one more than the deepest child otherwise. The parser keeps it within `DEPTH_MAX`, so every
    /// later pass may recurse.
    pub(crate) depth: usize,
}

#[derive(Debug)]
pub(crate) enum Syntax {
    Int(i64),
    Double(f64),
    Text(Box<str>),
    Bool(bool),
    Name(Box<str>),
    Select {
        of: Box<SyntaxNode>,
        name: Box<str>,
        name_span: Span,
    },
    Call {
        receiver: Option<Box<SyntaxNode>>,
        name: Box<str>,
        name_span: Span,
        arguments: Vec<SyntaxNode>,
    },
    List(Vec<SyntaxNode>),
    Not(Box<SyntaxNode>),
    Negate(Box<SyntaxNode>),
    /// A chain of `&&`, or of `||`: at least two operands.
    Logic {
        all: bool,
        operands: Vec<SyntaxNode>,
    },
    Binary {
        operator: &'static str,
        operator_span: Span,
        left: Box<SyntaxNode>,
        right: Box<SyntaxNode>,
    },
    Choice {
        condition: Box<SyntaxNode>,
        then: Box<SyntaxNode>,
        otherwise: Box<SyntaxNode>,
    },
}

impl Syntax {
    /// The depth of a node with this syntax.
    pub(crate) fn depth(&self) -> usize {
        let deepest = |nodes: &[SyntaxNode]| nodes.iter().map(|node| node.depth).max().unwrap_or(0);
        let below = match self {
            Syntax::Int(_) | Syntax::Double(_) | Syntax::Text(_) | Syntax::Bool(_) | Syntax::Name(_) => 0,
            Syntax::Select { of, .. } => of.depth,
            Syntax::Call { receiver, arguments, .. } => {
                deepest(arguments).max(receiver.as_ref().map_or(0, |node| node.depth))
            }
            Syntax::List(entries) => deepest(entries),
            Syntax::Not(of) | Syntax::Negate(of) => of.depth,
            Syntax::Logic { operands, .. } => deepest(operands),
            Syntax::Binary { left, right, .. } => left.depth.max(right.depth),
            Syntax::Choice { condition, then, otherwise } => condition.depth.max(then.depth).max(otherwise.depth),
        };
        below + 1
    }
}
