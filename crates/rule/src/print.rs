//! Printing a typed expression as CEL, with no bracket more than it takes to read the same expression back.

use std::fmt::{self, Display, Formatter, Write};

use crate::expr::{ArithmeticOp, CompareOp, Expr, TextOp};
use crate::value::Value;

/// How tightly an expression holds together, in the grammar's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Choice,
    Or,
    And,
    Relation,
    Sum,
    Product,
    Unary,
    Member,
}

impl Display for CompareOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CompareOp::Eq => "==",
            CompareOp::Ne => "!=",
            CompareOp::Lt => "<",
            CompareOp::Le => "<=",
            CompareOp::Gt => ">",
            CompareOp::Ge => ">=",
        })
    }
}

impl Display for ArithmeticOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArithmeticOp::Add => "+",
            ArithmeticOp::Sub => "-",
            ArithmeticOp::Mul => "*",
            ArithmeticOp::Div => "/",
            ArithmeticOp::Rem => "%",
        })
    }
}

impl Display for TextOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TextOp::StartsWith => "startsWith",
            TextOp::EndsWith => "endsWith",
            TextOp::Contains => "contains",
        })
    }
}

/// Prints as a CEL literal; infinity, which has none, by its name.
impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(int) => write!(f, "{int}"),
            Value::Double(f64::INFINITY) => f.write_str("Infinity"),
            Value::Double(f64::NEG_INFINITY) => f.write_str("-Infinity"),
            Value::Double(double) => write!(f, "{double:?}"),
            Value::Bool(bool) => write!(f, "{bool}"),
            Value::String(text) => quoted(f, text),
            Value::StringList(list) => {
                f.write_char('[')?;
                separated(f, list, ", ", |f, entry| quoted(f, entry))?;
                f.write_char(']')
            }
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Literal(value) => write!(f, "{value}"),
            Expr::Attribute(attribute) => write!(f, "{attribute}"),
            Expr::Waited(end) => write!(f, "{end}.waited"),
            Expr::Has(attribute) => write!(f, "has({attribute})"),
            Expr::Not(of) => write!(f, "!{}", At(Level::Unary, of)),
            // `-5` would read back as a literal.
            Expr::Negate { of, .. } if is_unsigned_literal(of) => write!(f, "-({of})"),
            Expr::Negate { of, .. } => write!(f, "-{}", At(Level::Unary, of)),
            Expr::And(of) => separated(f, of, " && ", |f, operand| At(Level::Relation, operand).fmt(f)),
            Expr::Or(of) => separated(f, of, " || ", |f, operand| At(Level::And, operand).fmt(f)),
            Expr::Choice { condition, then, otherwise } => {
                write!(f, "{} ? {} : {otherwise}", At(Level::Or, condition), At(Level::Or, then))
            }
            Expr::Compare { op, left, right, .. } => {
                write!(f, "{} {op} {}", At(Level::Relation, left), At(Level::Sum, right))
            }
            Expr::InItems { needle, items, .. } => {
                write!(f, "{} in [", At(Level::Relation, needle))?;
                separated(f, items, ", ", |f, item| item.fmt(f))?;
                f.write_char(']')
            }
            Expr::InList { needle, list } => write!(f, "{} in {}", At(Level::Relation, needle), At(Level::Sum, list)),
            Expr::Arithmetic { op, left, right, .. } => {
                let (level, tighter) = match op {
                    ArithmeticOp::Add | ArithmeticOp::Sub => (Level::Sum, Level::Product),
                    ArithmeticOp::Mul | ArithmeticOp::Div | ArithmeticOp::Rem => (Level::Product, Level::Unary),
                };
                write!(f, "{} {op} {}", At(level, left), At(tighter, right))
            }
            Expr::Intersects { left, right } => write!(f, "{}.intersects({right})", At(Level::Member, left)),
            Expr::Text { op, text, part } => write!(f, "{}.{op}({part})", At(Level::Member, text)),
            Expr::Size { of, .. } => write!(f, "size({of})"),
            Expr::Abs { of, .. } => write!(f, "abs({of})"),
            Expr::ToDouble(of) => write!(f, "double({of})"),
            Expr::Extreme { max, of, .. } => {
                f.write_str(if *max { "max(" } else { "min(" })?;
                separated(f, of, ", ", |f, operand| operand.fmt(f))?;
                f.write_char(')')
            }
        }
    }
}

/// An expression where the grammar wants at least this level.
struct At<'a>(Level, &'a Expr);

impl Display for At<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let At(level, expr) = self;
        if level_of(expr) < *level { write!(f, "({expr})") } else { write!(f, "{expr}") }
    }
}

fn level_of(expr: &Expr) -> Level {
    match expr {
        Expr::Choice { .. } => Level::Choice,
        Expr::Or(_) => Level::Or,
        Expr::And(_) => Level::And,
        Expr::Compare { .. } | Expr::InItems { .. } | Expr::InList { .. } => Level::Relation,
        Expr::Arithmetic { op: ArithmeticOp::Add | ArithmeticOp::Sub, .. } => Level::Sum,
        Expr::Arithmetic { op: ArithmeticOp::Mul | ArithmeticOp::Div | ArithmeticOp::Rem, .. } => Level::Product,
        Expr::Not(_) | Expr::Negate { .. } => Level::Unary,
        Expr::Literal(_)
        | Expr::Attribute(_)
        | Expr::Waited(_)
        | Expr::Has(_)
        | Expr::Intersects { .. }
        | Expr::Text { .. }
        | Expr::Size { .. }
        | Expr::Abs { .. }
        | Expr::Extreme { .. }
        | Expr::ToDouble(_) => Level::Member,
    }
}

fn is_unsigned_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(Value::Int(int)) => *int >= 0,
        Expr::Literal(Value::Double(double)) => double.is_sign_positive(),
        _ => false,
    }
}

fn separated<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    separator: &str,
    mut print: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        print(f, item)?;
    }
    Ok(())
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
