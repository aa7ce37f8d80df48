//! A compiled rule.

use std::sync::Arc;

use crate::check::check;
use crate::cost::{COST_MAX, Longest, cost, cost_within};
use crate::error::{EvalError, Reason, Refusal, RuleError};
use crate::eval::{Absent, Element, Outcome, Pair};
use crate::expr::Expr;
use crate::parse::parse;
use crate::plan::Plan;
use crate::row::Side;
use crate::schema::Schema;
use crate::source::Span;

/// A rule, parsed and type-checked against a schema. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Rule(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: Box<str>,
    expr: Expr,
    /// How many attributes the schema has, to tell a row of another.
    attributes: usize,
    cost: u64,
    uses_time: bool,
    plan: Plan,
}

impl Rule {
    /// Parses and type-checks `source` against `schema`. RULES.md says what can be written.
    pub fn compile(source: &str, schema: &Schema) -> Result<Rule, RuleError> {
        let (expr, cost) = typed(source, schema).map_err(|refusal| RuleError::new(source, refusal))?;
        let (uses_time, attributes, plan) = (expr.uses_time(), schema.len(), Plan::new(&expr));
        Ok(Rule(Arc::new(Compiled { source: source.into(), expr, attributes, cost, uses_time, plan })))
    }

    /// The rule as written.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The rule as checked. Prints as CEL with promotions and precedence spelled out.
    pub fn expr(&self) -> &Expr {
        &self.0.expr
    }

    /// Whether the rule holds for the pair. `a` is the element with the lower id. A rule that neither holds nor fails
    /// because something is missing does not hold; an error counts as no match, and the caller counts it.
    ///
    /// # Panics
    ///
    /// When a row is not of the schema the rule was compiled against, as far as that is noticed.
    pub fn test(&self, a: Side<'_>, b: Side<'_>) -> Result<bool, EvalError> {
        let rule = &*self.0;
        for side in [a, b] {
            assert_eq!(side.row.values().len(), rule.attributes, "a rule is tested on rows of its own schema");
        }
        settle((Pair { a, b }).bool(&rule.expr))
    }

    /// [`test`](Rule::test) of elements that need not be rows. Their values are of the schema the rule was compiled
    /// against.
    pub(crate) fn test_with<'a>(&self, a: impl Element<'a>, b: impl Element<'a>) -> Result<bool, EvalError> {
        settle((Pair { a, b }).bool(&self.0.expr))
    }

    /// Whether the rule holds for the pair, an error being no match.
    pub fn matches(&self, a: Side<'_>, b: Side<'_>) -> bool {
        self.test(a, b) == Ok(true)
    }

    /// Whether the rule mentions `waited`, so that a pair it refuses now may match later.
    pub fn uses_time(&self) -> bool {
        self.0.uses_time
    }

    /// How the rule is searched.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The worst-case cost of one evaluation, in units; at most [`COST_MAX`].
    pub fn cost(&self) -> u64 {
        self.0.cost
    }

    /// The same on rows whose attributes are at most so long, by their place in the schema.
    ///
    /// # Panics
    /// When they are fewer than the schema's attributes.
    pub fn cost_within(&self, longest: &[Longest]) -> u64 {
        assert!(longest.len() >= self.0.attributes, "a length for each attribute");
        cost_within(&self.0.expr, longest)
    }
}

fn settle(outcome: Outcome<bool>) -> Result<bool, EvalError> {
    match outcome {
        Ok(holds) => Ok(holds),
        Err(Absent::Missing) => Ok(false),
        Err(Absent::Error(error)) => Err(error),
    }
}

fn typed(source: &str, schema: &Schema) -> Result<(Expr, u64), Refusal> {
    let expr = check(source, schema, &parse(source)?)?;
    match cost(&expr) {
        cost if cost <= COST_MAX => Ok((expr, cost)),
        cost => Err(Refusal::new(Span { start: 0, end: source.len() }, Reason::CostTooHigh { cost })),
    }
}
