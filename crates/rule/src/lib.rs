#![doc = include_str!("../RULES.md")]
//!
//! # The crate
//!
//! ```
//! use dovetail_rule::{Row, Rule, Schema, Side, Value, ValueKind};
//!
//! let kinds = [("region", ValueKind::String), ("role", ValueKind::String), ("skill", ValueKind::Double)];
//! let schema = Schema::new(kinds.map(|(name, kind)| (name.to_owned(), kind)))?;
//! let rule = Rule::compile(
//!     "a.region == b.region && a.role != b.role && abs(a.skill - b.skill) <= 25 + 5 * min(a.waited, b.waited) / 1000",
//!     &schema,
//! )?;
//! let element = |role: &str, skill: i64| {
//!     let values = [("region", "eu".into()), ("role", role.into()), ("skill", Value::Int(skill))];
//!     Row::from_named(&schema, values.map(|(name, value)| (name.to_owned(), value)))
//! };
//! let (tank, healer) = (element("tank", 1500)?, element("healer", 1530)?);
//! let ask = |waited_ms| rule.test(Side { row: &tank, waited_ms }, Side { row: &healer, waited_ms });
//! assert_eq!(ask(0), Ok(false));
//! assert_eq!(ask(1_000), Ok(true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A source becomes tokens, then syntax, then a typed [`Expr`](expr::Expr), which is what is evaluated and what a
//! planner starts from. The crate depends on no other of the workspace, performs no I/O, reads no clock and draws no
//! randomness. Evaluating allocates nothing.
//!
//! **Why not the `cel` crate's parser.** Version 0.15 counts its recursion, but too generously for the frames it has:
//! in a debug build, 256 bytes of `((((`, `[[[[`, `a[a[a[` or `f(f(f(` overflow a thread's 2 MiB stack and abort the
//! process, which no caller can catch. (`!!!!`, `----` and `1+1+1` are fine, and a release build survives them all.) A
//! pool definition is sent by a client and compiled on every node, and the tests run in debug builds too. What is
//! needed of the grammar is small, and the whole of it here needs less than 1 MiB at [`DEPTH_MAX`] in a debug build and
//! 192 KiB in a release build; the tests run it on 1 MiB.

// The generators of random rules are shared with the integration tests, which know the crate by its name.
#[cfg(test)]
extern crate self as dovetail_rule;

mod ast;
mod calls;
mod cells;
mod check;
mod cost;
mod error;
mod eval;
mod excerpt;
pub mod expr;
mod filter;
mod growth;
mod help;
mod literal;
mod parse;
mod plan;
mod print;
#[cfg(test)]
mod random;
mod range;
mod row;
mod rule;
mod schema;
mod secret;
mod source;
mod strings;
mod suggest;
pub mod table;
mod times;
mod token;
mod types;
mod value;

pub use calls::ARGUMENTS_MAX;
pub use cells::{CellValues, Cells};
pub use cost::{COST_MAX, Longest};
pub use error::{EvalError, Reason, RuleError};
pub use plan::{Conjunct, ConjunctRole, Needed, Plan, Split, Verdict, Warning};
pub use row::{Row, RowError, Side};
pub use rule::Rule;
pub use schema::{ATTRIBUTES_MAX, Attribute, NAME_BYTES_MAX, Schema, SchemaError};
pub use source::{DEPTH_MAX, SOURCE_BYTES_MAX, Span};
pub use times::{TimeError, format_duration, format_timestamp, parse_duration, parse_timestamp};
pub use types::{AttributeType, TypeError};
pub use value::{LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};
