//! Whether a rule says the same of a pair with the roles exchanged, as far as its text shows.
//!
//! Both are written down in a canonical way and compared: operands of commutative operators sorted, comparisons turned
//! to `<`, differences turned the same way round. A rule may be symmetric in ways this does not see; it is only a
//! warning.

use super::lower::mirrored;
use super::shape::{other, renamed};
use crate::expr::{ArithmeticOp, CompareOp, Expr};
use crate::value::Value;

/// Whether `rule`, in normal form, is the same text with `a` and `b` exchanged.
pub(super) fn symmetric(rule: &Expr) -> bool {
    canonical(rule) == canonical(&renamed(rule, &other))
}

/// A text that is the same for expressions which differ in the order of their operands only.
pub(super) fn canonical(expr: &Expr) -> String {
    let (negative, text) = signed(expr);
    if negative { format!("-({text})") } else { text }
}

/// The canonical text, of a number perhaps of its negative.
fn signed(expr: &Expr) -> (bool, String) {
    match expr {
        Expr::Negate { of, .. } => {
            let (negative, text) = signed(of);
            (!negative, text)
        }
        Expr::Literal(Value::Int(int)) => (*int < 0, int.unsigned_abs().to_string()),
        Expr::Literal(Value::Double(double)) => (*double < 0.0, format!("{:?}", double.abs())),
        Expr::Abs { of, .. } => (false, format!("abs({})", signed(of).1)),
        Expr::ToDouble(of) => {
            let (negative, text) = signed(of);
            (negative, format!("double({text})"))
        }
        Expr::Arithmetic { op: ArithmeticOp::Add | ArithmeticOp::Sub, .. } => {
            let mut terms = Vec::new();
            add(expr, false, &mut terms);
            terms.sort_by(|left, right| left.1.cmp(&right.1));
            // The first term leads with a plus.
            let turned = terms[0].0;
            let sign = |negative: bool| if negative != turned { '-' } else { '+' };
            let terms: Vec<String> =
                terms.iter().map(|(negative, text)| format!("{}{text}", sign(*negative))).collect();
            (turned, format!("({})", terms.join("")))
        }
        Expr::Arithmetic { op: op @ (ArithmeticOp::Mul | ArithmeticOp::Div), left, right, .. } => {
            let (left, right) = (signed(left), signed(right));
            let negative = left.0 != right.0;
            match op {
                ArithmeticOp::Mul => (negative, format!("({})", sorted([left.1, right.1], "*"))),
                _ => (negative, format!("({}/{})", left.1, right.1)),
            }
        }
        _ => (false, unsigned(expr)),
    }
}

fn add(expr: &Expr, negative: bool, terms: &mut Vec<(bool, String)>) {
    match expr {
        Expr::Arithmetic { op: op @ (ArithmeticOp::Add | ArithmeticOp::Sub), left, right, .. } => {
            add(left, negative, terms);
            add(right, negative != (*op == ArithmeticOp::Sub), terms);
        }
        _ => {
            let (own, text) = signed(expr);
            terms.push((negative != own, text));
        }
    }
}

fn sorted(texts: impl IntoIterator<Item = String>, between: &str) -> String {
    let mut texts: Vec<String> = texts.into_iter().collect();
    texts.sort();
    texts.join(between)
}

fn unsigned(expr: &Expr) -> String {
    match expr {
        Expr::And(of) => format!("({})", sorted(of.iter().map(canonical), " && ")),
        Expr::Or(of) => format!("({})", sorted(of.iter().map(canonical), " || ")),
        Expr::Not(of) => format!("!({})", canonical(of)),
        Expr::Extreme { max, of, .. } => format!("max{max}({})", sorted(of.iter().map(canonical), ", ")),
        Expr::Intersects { left, right } => {
            format!("intersects({})", sorted([left, right].map(|of| canonical(of)), ", "))
        }
        Expr::InItems { needle, items, .. } => {
            format!("({} in [{}])", canonical(needle), sorted(items.iter().map(canonical), ", "))
        }
        Expr::Compare { op, left, right, .. } => comparison(*op, left, right),
        Expr::Choice { condition, then, otherwise } => {
            format!("({} ? {} : {})", canonical(condition), canonical(then), canonical(otherwise))
        }
        Expr::Arithmetic { op, left, right, .. } => format!("({} {op} {})", canonical(left), canonical(right)),
        Expr::InList { needle, list } => format!("({} in {})", canonical(needle), canonical(list)),
        Expr::Text { op, text, part } => format!("{}.{op}({})", canonical(text), canonical(part)),
        Expr::Size { of, .. } => format!("size({})", canonical(of)),
        _ => expr.to_string(),
    }
}

fn comparison(op: CompareOp, left: &Expr, right: &Expr) -> String {
    // Always `<`, `<=`, `==` or `!=`; and `-x <= -y` is `y <= x`.
    let (op, left, right) = match op {
        CompareOp::Gt | CompareOp::Ge => (mirrored(op), right, left),
        op => (op, left, right),
    };
    let number = left.kind().is_number();
    // Each side once: twice at every level would be exponential.
    let (left, right) = (signed(left), signed(right));
    let text = |negative: bool, text: &str| if negative { format!("-({text})") } else { text.to_owned() };
    let plain = [text(left.0, &left.1), text(right.0, &right.1)];
    let turned = [text(!right.0, &right.1), text(!left.0, &left.1)];
    let joined = |sides: [String; 2]| match op {
        CompareOp::Eq | CompareOp::Ne => sorted(sides, &format!(" {op} ")),
        _ => sides.join(&format!(" {op} ")),
    };
    let plain = joined(plain);
    format!("({})", if number { plain.min(joined(turned)) } else { plain })
}
