//! Rules: CEL over two elements, `a` and `b`, checked against a pool's schema when the pool is defined.
//!
//! The crate performs no I/O, reads no clock and draws no randomness; the same rule on the same rows and waits gives
//! the same answer everywhere.

mod error;
mod row;
mod rule;
mod schema;
mod value;

pub use error::{EvalError, RuleError};
pub use row::{Row, RowError};
pub use rule::{Rule, Side};
pub use schema::{ATTRIBUTES_MAX, Attribute, NAME_BYTES_MAX, Schema, SchemaError};
pub use value::{KindError, LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};
