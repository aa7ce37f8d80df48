//! Why a rule is refused, and why an evaluation has no answer.

/// Why an evaluation has no answer. It counts as "no match", and the caller counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum EvalError {
    /// An int result outside 64 bits.
    #[error("integer overflow")]
    Overflow,
    /// An int divided by 0, or its remainder taken.
    #[error("integer division by zero")]
    DivisionByZero,
}

/// Why a rule is refused: the place and the reason.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("rules are not implemented yet")]
pub struct RuleError;
