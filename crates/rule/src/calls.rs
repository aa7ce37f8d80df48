//! The functions rules have, and which of CEL's they do not have.

use crate::ast::{Syntax, SyntaxNode};
use crate::check::{Checked, Checker, to_double};
use crate::error::{Reason, Refusal};
use crate::excerpt::excerpt;
use crate::expr::{Expr, TextOp};
use crate::help;
use crate::source::Span;
use crate::suggest::nearest;
use crate::times::{TimeError, parse_duration, parse_timestamp};
use crate::value::{Value, ValueKind};

/// Most arguments of `min` and `max`.
pub const ARGUMENTS_MAX: usize = 8;

/// Every function, with how it is called when the call has the wrong form. `size` has both forms.
const USAGE: [(&str, &str); 12] = [
    ("abs", "abs(x)"),
    ("contains", "text.contains(part)"),
    ("double", "double(x)"),
    ("duration", "duration(\"1h30m\")"),
    ("endsWith", "text.endsWith(part)"),
    ("has", "has(a.name)"),
    ("intersects", "list.intersects(list)"),
    ("max", "max(x, y)"),
    ("min", "min(x, y)"),
    ("size", "size(x)"),
    ("startsWith", "text.startsWith(part)"),
    ("timestamp", "timestamp(\"2026-01-01T00:00:00Z\")"),
];

const MACROS: [&str; 6] = ["all", "exists", "exists_one", "existsOne", "filter", "map"];

/// CEL functions that rules leave out: conversions, and regular expressions, whose cost has no useful bound.
const LEFT_OUT: [&str; 11] =
    ["bool", "bytes", "dyn", "int", "join", "matches", "replace", "split", "string", "type", "uint"];

impl Checker<'_> {
    pub(crate) fn function(&self, name: &str, name_span: Span, arguments: &[SyntaxNode]) -> Checked {
        match name {
            "has" => {
                let [attribute] = self.arguments("has", "1 argument", name_span, arguments)?;
                self.has(attribute)
            }
            "size" => {
                let [of] = self.arguments("size", "1 argument", name_span, arguments)?;
                self.size(of)
            }
            "abs" => {
                let [of] = self.arguments("abs", "1 argument", name_span, arguments)?;
                let of = self.number(of, "abs")?;
                Ok(Expr::Abs { kind: of.kind(), of: Box::new(of) })
            }
            "double" => {
                let [of] = self.arguments("double", "1 argument", name_span, arguments)?;
                Ok(to_double(self.number(of, "double")?))
            }
            "min" => self.extreme(false, "min", name_span, arguments),
            "max" => self.extreme(true, "max", name_span, arguments),
            "timestamp" => self.time("timestamp", name_span, arguments, parse_timestamp),
            "duration" => self.time("duration", name_span, arguments, parse_duration),
            _ => Err(refuse_call(name, name_span)),
        }
    }

    pub(crate) fn method(
        &self,
        receiver: &SyntaxNode,
        name: &str,
        name_span: Span,
        arguments: &[SyntaxNode],
    ) -> Checked {
        let text = |op, operator| {
            let [part] = self.arguments(operator, "1 argument", name_span, arguments)?;
            let text = Box::new(self.string_beside(receiver, operator, part)?);
            Ok(Expr::Text { op, text, part: Box::new(self.string_beside(part, operator, receiver)?) })
        };
        match name {
            "startsWith" => text(TextOp::StartsWith, "startsWith"),
            "endsWith" => text(TextOp::EndsWith, "endsWith"),
            "contains" => text(TextOp::Contains, "contains"),
            "size" => {
                let [] = self.arguments("size", "no argument after a \".\"", name_span, arguments)?;
                self.size(receiver)
            }
            "intersects" => {
                let [right] = self.arguments("intersects", "1 argument", name_span, arguments)?;
                let left = Box::new(self.list_beside(receiver, "intersects", right)?);
                Ok(Expr::Intersects { left, right: Box::new(self.list_beside(right, "intersects", receiver)?) })
            }
            _ => Err(refuse_call(name, name_span)),
        }
    }

    fn arguments<'n, const N: usize>(
        &self,
        name: &'static str,
        takes: &'static str,
        name_span: Span,
        arguments: &'n [SyntaxNode],
    ) -> Result<&'n [SyntaxNode; N], Refusal> {
        let given = arguments.len();
        arguments.try_into().map_err(|_| Refusal::new(name_span, Reason::Arguments { name, takes, given }))
    }

    fn has(&self, node: &SyntaxNode) -> Checked {
        let refused = || Refusal::new(node.span, Reason::HasArgument);
        if !matches!(node.syntax, Syntax::Select { .. }) {
            return Err(refused());
        }
        match self.expr(node)? {
            Expr::Attribute(attribute) => Ok(Expr::Has(attribute)),
            Expr::Waited(_) => Ok(Expr::Literal(Value::Bool(true))),
            _ => Err(refused()),
        }
    }

    fn size(&self, node: &SyntaxNode) -> Checked {
        let of = self.expr(node)?;
        match of.kind() {
            kind @ (ValueKind::String | ValueKind::StringList) => Ok(Expr::Size { kind, of: Box::new(of) }),
            found => Err(self.misfit(node, found, "size", "string or list<string>", None)),
        }
    }

    /// A time or a duration as the int it is.
    fn time(
        &self,
        name: &'static str,
        name_span: Span,
        arguments: &[SyntaxNode],
        parse: fn(&str) -> Result<i64, TimeError>,
    ) -> Checked {
        let [node] = self.arguments(name, "1 argument", name_span, arguments)?;
        let Syntax::Text(text) = &node.syntax else {
            return Err(Refusal::new(node.span, Reason::TimeArgument { name, usage: usage(name) }));
        };
        let ms = parse(text).map_err(|source| Refusal::new(node.span, Reason::Time(source)))?;
        Ok(Expr::Literal(Value::Int(ms)))
    }

    fn extreme(&self, max: bool, name: &'static str, name_span: Span, arguments: &[SyntaxNode]) -> Checked {
        if !(2..=ARGUMENTS_MAX).contains(&arguments.len()) {
            let reason = Reason::Arguments { name, takes: "2 to 8 arguments", given: arguments.len() };
            return Err(Refusal::new(name_span, reason));
        }
        let of = arguments.iter().map(|argument| self.number(argument, name)).collect::<Result<Vec<_>, _>>()?;
        let double = of.iter().any(|operand| operand.kind() == ValueKind::Double);
        let kind = if double { ValueKind::Double } else { ValueKind::Int };
        let of = of.into_iter().map(|operand| if double { to_double(operand) } else { operand }).collect();
        Ok(Expr::Extreme { max, kind, of })
    }
}

/// How a function is called.
fn usage(name: &str) -> &'static str {
    USAGE.iter().find(|(known, _)| *known == name).map_or("", |(_, usage)| usage)
}

/// Why there is no such function, or not in this form.
fn refuse_call(name: &str, name_span: Span) -> Refusal {
    let instead = help::function(name).map(str::to_owned);
    let (reason, help) = if let Some(&(name, usage)) = USAGE.iter().find(|(known, _)| *known == name) {
        (Reason::CallForm { name, usage }, None)
    } else if let Some((found, meant)) = help::operator(name) {
        (Reason::NotAnOperator { found, meant }, None)
    } else if MACROS.contains(&name) {
        (Reason::Unsupported { what: format!("macro {name:?}") }, instead)
    } else if LEFT_OUT.contains(&name) {
        (Reason::Unsupported { what: format!("function {name:?}") }, instead)
    } else {
        let known = || USAGE.iter().map(|(known, _)| *known);
        let suggestion = if instead.is_none() { nearest(name, known()) } else { None };
        let reason = Reason::UnknownFunction { name: excerpt(name), suggestion };
        (reason, instead.or_else(|| Some(format!("there are {}", help::names(known())))))
    };
    Refusal::new(name_span, reason).help(help)
}
