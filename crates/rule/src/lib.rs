//! Rules: CEL over two elements, `a` and `b`, checked against a pool's schema when the pool is defined.

mod ast;
mod calls;
mod check;
mod cost;
mod error;
mod eval;
pub mod expr;
mod literal;
mod parse;
mod print;
mod row;
mod rule;
mod schema;
mod suggest;
mod token;
mod value;

pub use calls::ARGUMENTS_MAX;
pub use cost::COST_MAX;
pub use error::{EvalError, Reason, RuleError, Span};
pub use parse::{DEPTH_MAX, SOURCE_BYTES_MAX};
pub use row::{Row, RowError};
pub use rule::{Rule, Side};
pub use schema::{ATTRIBUTES_MAX, Attribute, NAME_BYTES_MAX, Schema, SchemaError};
pub use value::{KindError, LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};
