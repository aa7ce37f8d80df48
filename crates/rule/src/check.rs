//! From syntax to a typed expression: names are looked up in the schema, kinds are checked, ints are promoted.
//!
//! Nothing is folded or reordered: the expression is the rule as written, apart from what the invariants of
//! [`expr`](crate::expr) ask for.

use crate::ast::{Syntax, SyntaxNode};
use crate::error::{Reason, Refusal};
use crate::excerpt::excerpt;
use crate::expr::{ArithmeticOp, AttributeRef, Comparands, CompareOp, End, Expr};
use crate::help;
use crate::row::exact_double;
use crate::schema::{Schema, WAITED};
use crate::source::Span;
use crate::suggest::nearest;
use crate::value::{LIST_LEN_MAX, Value, ValueKind};

pub(crate) type Checked = Result<Expr, Refusal>;

/// Checks a whole rule, which must be a bool.
pub(crate) fn check(source: &str, schema: &Schema, node: &SyntaxNode) -> Checked {
    let expr = Checker { source, schema }.expr(node)?;
    match expr.kind() {
        ValueKind::Bool => Ok(expr),
        found => Err(Refusal::new(node.span, Reason::NotBool { found })),
    }
}

pub(crate) struct Checker<'a> {
    source: &'a str,
    schema: &'a Schema,
}

impl Checker<'_> {
    pub(crate) fn expr(&self, node: &SyntaxNode) -> Checked {
        match &node.syntax {
            Syntax::Int(int) => Ok(Expr::Literal(Value::Int(*int))),
            Syntax::Double(double) => Ok(Expr::Literal(Value::Double(*double))),
            Syntax::Text(text) => Ok(Expr::Literal(Value::String(text.clone()))),
            Syntax::Bool(bool) => Ok(Expr::Literal(Value::Bool(*bool))),
            Syntax::Name(name) => Err(self.bare_name(node.span, name)),
            Syntax::Select { of, name, name_span } => self.select(of, name, *name_span),
            Syntax::Call { receiver: None, name, name_span, arguments } => self.function(name, *name_span, arguments),
            Syntax::Call { receiver: Some(receiver), name, name_span, arguments } => {
                self.method(receiver, name, *name_span, arguments)
            }
            Syntax::List(entries) => self.list(node.span, entries),
            Syntax::Not(of) => self.not(of),
            Syntax::Negate(of) => self.negate(of),
            Syntax::Logic { all, operands } => self.logic(*all, operands),
            Syntax::Binary { operator: "in", left, right, .. } => self.membership(left, right),
            Syntax::Binary { operator, operator_span, left, right } => match compare_op(operator) {
                Some(op) => self.comparison(op, operator, *operator_span, left, right),
                None => self.arithmetic(operator, *operator_span, left, right),
            },
            Syntax::Choice { condition, then, otherwise } => self.choice(condition, then, otherwise),
        }
    }

    fn not(&self, of: &SyntaxNode) -> Checked {
        Ok(Expr::Not(Box::new(self.bool(of, "!")?)))
    }

    fn negate(&self, of: &SyntaxNode) -> Checked {
        let of = self.number(of, "-")?;
        Ok(Expr::Negate { kind: of.kind(), of: Box::new(of) })
    }

    fn logic(&self, all: bool, operands: &[SyntaxNode]) -> Checked {
        let operator = if all { "&&" } else { "||" };
        let operands = operands.iter().map(|operand| self.bool(operand, operator));
        Ok(logic(all, operands.collect::<Result<_, _>>()?))
    }

    fn choice(&self, condition: &SyntaxNode, then: &SyntaxNode, otherwise: &SyntaxNode) -> Checked {
        let place = otherwise.span;
        let condition = self.bool(condition, "?:")?;
        let (then, otherwise) = unify("?:", place, self.expr(then)?, self.expr(otherwise)?)?;
        let [condition, then, otherwise] = [condition, then, otherwise].map(Box::new);
        Ok(Expr::Choice { condition, then, otherwise })
    }

    pub(crate) fn text(&self, span: Span) -> String {
        excerpt(&self.source[span.start..span.end])
    }

    /// `node`, whose kind must satisfy `fits`.
    fn operand(
        &self,
        node: &SyntaxNode,
        operator: &'static str,
        needs: &'static str,
        fits: fn(ValueKind) -> bool,
    ) -> Checked {
        let expr = self.expr(node)?;
        let found = expr.kind();
        match fits(found) {
            true => Ok(expr),
            false => Err(self.misfit(node, found, operator, needs, None)),
        }
    }

    /// An operand of the wrong kind. `other` is the one beside it, as far as that tells what was meant.
    pub(crate) fn misfit(
        &self,
        node: &SyntaxNode,
        found: ValueKind,
        operator: &'static str,
        needs: &'static str,
        other: Option<&SyntaxNode>,
    ) -> Refusal {
        let help = help::operand(node, found, operator, other, |node| self.text(node.span));
        Refusal::new(node.span, Reason::Operand { text: self.text(node.span), found, operator, needs }).help(help)
    }

    /// `node`, which must be a string, beside `other`.
    pub(crate) fn string_beside(&self, node: &SyntaxNode, operator: &'static str, other: &SyntaxNode) -> Checked {
        match self.expr(node)? {
            expr if expr.kind() == ValueKind::String => Ok(expr),
            expr => Err(self.misfit(node, expr.kind(), operator, "string", Some(other))),
        }
    }

    /// `node`, which must be a list, beside `other`.
    pub(crate) fn list_beside(&self, node: &SyntaxNode, operator: &'static str, other: &SyntaxNode) -> Checked {
        match self.expr(node)? {
            expr if expr.kind() == ValueKind::StringList => Ok(expr),
            expr => Err(self.misfit(node, expr.kind(), operator, "list<string>", Some(other))),
        }
    }

    pub(crate) fn bool(&self, node: &SyntaxNode, operator: &'static str) -> Checked {
        self.operand(node, operator, "bool", |kind| kind == ValueKind::Bool)
    }

    pub(crate) fn number(&self, node: &SyntaxNode, operator: &'static str) -> Checked {
        self.operand(node, operator, "int or double", ValueKind::is_number)
    }

    fn bare_name(&self, span: Span, name: &str) -> Refusal {
        let help = help::name(name, self.schema);
        let name = name.to_owned();
        let known = matches!(&*name, "a" | "b");
        Refusal::new(span, if known { Reason::BareElement { name } } else { Reason::UnknownName { name } }).help(help)
    }

    fn select(&self, of: &SyntaxNode, name: &str, name_span: Span) -> Checked {
        let end = match &of.syntax {
            Syntax::Name(element) if &**element == "a" => End::A,
            Syntax::Name(element) if &**element == "b" => End::B,
            _ => {
                let found = self.expr(of)?.kind();
                let reason = Reason::NoAttributes { text: self.text(of.span), found, name: name.to_owned() };
                return Err(Refusal::new(name_span, reason));
            }
        };
        if name == WAITED {
            return Ok(Expr::Waited(end));
        }
        let Some(index) = self.schema.index_of(name) else {
            let declared = self.schema.attributes().iter().map(|attribute| attribute.name.as_str());
            let there_are = help::names(declared.clone().chain([WAITED]));
            let help = help::attribute(name).map_or_else(|| format!("there are {there_are}"), str::to_owned);
            let suggestion = help::attribute(name).is_none().then(|| nearest(name, declared.chain([WAITED]))).flatten();
            let refusal = Refusal::new(name_span, Reason::UnknownAttribute { name: excerpt(name), suggestion });
            return Err(refusal.help(Some(help)));
        };
        let kind = self.schema.attributes()[index].kind;
        Ok(Expr::Attribute(AttributeRef { end, index, kind, name: name.into() }))
    }

    /// A list other than right of `in`. It holds literals only, so that evaluating it allocates nothing.
    fn list(&self, span: Span, entries: &[SyntaxNode]) -> Checked {
        if entries.len() > LIST_LEN_MAX {
            return Err(Refusal::new(span, Reason::ListTooLong { len: entries.len() }));
        }
        let literals = entries.iter().map(|entry| match &entry.syntax {
            Syntax::Text(text) => Ok(text.clone()),
            _ => Err(Refusal::new(entry.span, Reason::ListEntry { text: self.text(entry.span) })),
        });
        Ok(Expr::Literal(Value::StringList(literals.collect::<Result<_, _>>()?)))
    }

    fn comparison(
        &self,
        op: CompareOp,
        operator: &'static str,
        place: Span,
        left: &SyntaxNode,
        right: &SyntaxNode,
    ) -> Checked {
        let (left_expr, right_expr) = (self.expr(left)?, self.expr(right)?);
        let ordered = |kind| matches!(kind, ValueKind::Int | ValueKind::Double | ValueKind::String);
        if !matches!(op, CompareOp::Eq | CompareOp::Ne) && !ordered(left_expr.kind()) {
            return Err(self.misfit(left, left_expr.kind(), operator, "int, double or string", Some(right)));
        }
        let entry = |list: &SyntaxNode, entry: &SyntaxNode| {
            format!("write {} in {}", self.text(entry.span), self.text(list.span))
        };
        let help = match (left_expr.kind(), right_expr.kind()) {
            (ValueKind::StringList, ValueKind::String) => Some(entry(left, right)),
            (ValueKind::String, ValueKind::StringList) => Some(entry(right, left)),
            _ => None,
        };
        compare(op, operator, place, left_expr, right_expr).map_err(|refusal| refusal.help(help))
    }

    fn arithmetic(&self, operator: &'static str, place: Span, left: &SyntaxNode, right: &SyntaxNode) -> Checked {
        let (left_expr, right_expr) = (self.number(left, operator)?, self.number(right, operator)?);
        let op = match operator {
            "+" => ArithmeticOp::Add,
            "-" => ArithmeticOp::Sub,
            "*" => ArithmeticOp::Mul,
            "/" => ArithmeticOp::Div,
            _ => ArithmeticOp::Rem,
        };
        if op == ArithmeticOp::Rem {
            for (node, expr) in [(left, &left_expr), (right, &right_expr)] {
                if expr.kind() == ValueKind::Double {
                    return Err(self.misfit(node, ValueKind::Double, operator, "int", None));
                }
            }
        }
        let (left_expr, right_expr) = unify(operator, place, left_expr, right_expr)?;
        let kind = left_expr.kind();
        if matches!(op, ArithmeticOp::Div | ArithmeticOp::Rem) && right_expr == Expr::Literal(Value::Int(0)) {
            return Err(Refusal::new(right.span, Reason::DivisionByZero));
        }
        Ok(Expr::Arithmetic { op, kind, left: Box::new(left_expr), right: Box::new(right_expr) })
    }

    fn membership(&self, left: &SyntaxNode, right: &SyntaxNode) -> Checked {
        let Syntax::List(entries) = &right.syntax else {
            let list = Box::new(self.list_beside(right, "in", left)?);
            return Ok(Expr::InList { needle: Box::new(self.string_beside(left, "in", right)?), list });
        };
        if entries.is_empty() {
            return Err(Refusal::new(right.span, Reason::EmptyIn));
        }
        let needle = self.operand(left, "in", "int, double, string or bool", |kind| kind != ValueKind::StringList)?;
        let kind = needle.kind();
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            let item = self.expr(entry)?;
            let related = item.kind() == kind || item.kind().is_number() && kind.is_number();
            if !related {
                return Err(Refusal::new(
                    entry.span,
                    Reason::Mismatch { operator: "in", left: kind, right: item.kind() },
                ));
            }
            items.push(if kind == ValueKind::Double { exact_literal(item) } else { item });
        }
        Ok(Expr::InItems { needle: Box::new(needle), kind, items: items.into() })
    }
}

/// A chain of `&&` or `||`, brackets around parts of it being of no consequence.
fn logic(all: bool, operands: Vec<Expr>) -> Expr {
    let mut flat = Vec::with_capacity(operands.len());
    for operand in operands {
        match operand {
            Expr::And(inner) if all => flat.extend(inner),
            Expr::Or(inner) if !all => flat.extend(inner),
            other => flat.push(other),
        }
    }
    if all { Expr::And(flat.into()) } else { Expr::Or(flat.into()) }
}

fn compare_op(operator: &str) -> Option<CompareOp> {
    Some(match operator {
        "==" => CompareOp::Eq,
        "!=" => CompareOp::Ne,
        "<" => CompareOp::Lt,
        "<=" => CompareOp::Le,
        ">" => CompareOp::Gt,
        ">=" => CompareOp::Ge,
        _ => return None,
    })
}

fn compare(op: CompareOp, operator: &'static str, place: Span, left: Expr, right: Expr) -> Checked {
    let (left, right) = match (left.kind(), right.kind()) {
        (ValueKind::Int, ValueKind::Double) => (exact_literal(left), right),
        (ValueKind::Double, ValueKind::Int) => (left, exact_literal(right)),
        _ => (left, right),
    };
    let comparands = match (left.kind(), right.kind()) {
        (kind, other) if kind == other => Comparands::Same(kind),
        (ValueKind::Int, ValueKind::Double) => Comparands::IntDouble,
        (ValueKind::Double, ValueKind::Int) => Comparands::DoubleInt,
        (left, right) => return Err(Refusal::new(place, Reason::Mismatch { operator, left, right })),
    };
    Ok(Expr::Compare { op, comparands, left: Box::new(left), right: Box::new(right) })
}

/// Two expressions made one kind: an int next to a double becomes a double.
fn unify(operator: &'static str, place: Span, left: Expr, right: Expr) -> Result<(Expr, Expr), Refusal> {
    match (left.kind(), right.kind()) {
        (kind, other) if kind == other => Ok((left, right)),
        (ValueKind::Int, ValueKind::Double) => Ok((to_double(left), right)),
        (ValueKind::Double, ValueKind::Int) => Ok((left, to_double(right))),
        (left, right) => Err(Refusal::new(place, Reason::Mismatch { operator, left, right })),
    }
}

/// A number as a double. A literal is converted here and now, to the double it would become.
pub(crate) fn to_double(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(Value::Int(int)) => Expr::Literal(Value::Double(int as f64)),
        expr if expr.kind() == ValueKind::Double => expr,
        expr => Expr::ToDouble(Box::new(expr)),
    }
}

/// An int literal as the double equal to it, if there is one; anything else as it is.
fn exact_literal(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(Value::Int(int)) => Expr::Literal(exact_double(int).map_or(Value::Int(int), Value::Double)),
        expr => expr,
    }
}
