//! Why a rule is refused, and why an evaluation has no answer.

use std::fmt;

use crate::cost::COST_MAX;
use crate::excerpt::Line;
use crate::source::{DEPTH_MAX, SOURCE_BYTES_MAX, Span};
use crate::times::TimeError;
use crate::value::{LIST_LEN_MAX, STRING_BYTES_MAX, ValueKind};

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

/// Why a rule is refused: the place, the reason, and perhaps what to write instead. Prints as
/// `rule:<line>:<column>: <reason>; <help>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule:{line}:{column}: {reason}{}", Help(.help))]
pub struct RuleError {
    /// The line the offending part begins on, from 1.
    pub line: usize,
    /// The column it begins in, from 1, in characters.
    pub column: usize,
    /// The offending part of the source.
    pub span: Span,
    /// What is wrong with it.
    pub reason: Reason,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl RuleError {
    pub(crate) fn new(source: &str, refusal: Refusal) -> RuleError {
        let Refused { span, reason, help } = *refusal.0;
        let before = &source[..span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        RuleError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span,
            reason,
            help,
        }
    }

    /// The error, the source line it is on, and carets under the offending part:
    ///
    /// ```text
    /// rule:1:1: a.skill is int, but "||" needs bool; write a.skill != 0
    /// a.skill || a.role == b.role
    /// ^^^^^^^
    /// ```
    ///
    /// `source` is the source that was refused. If it is too long to be shown, the error comes alone.
    pub fn render(&self, source: &str) -> String {
        let split = source.split_at_checked(self.span.start);
        let Some((before, after)) = split.filter(|_| source.len() <= SOURCE_BYTES_MAX) else { return self.to_string() };
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = after.find('\n').map_or(source.len(), |at| before.len() + at);
        let marked_end = self.span.end.clamp(before.len(), line_end);
        let marked = source.get(before.len()..marked_end).unwrap_or_default();
        let line =
            Line { before: &before[line_start..], marked, after: &source[before.len() + marked.len()..line_end] };
        format!("{self}\n{}", line.shown())
    }
}

/// A refusal before its place is turned into a line and a column. In a box, because the parser's recursion carries it
/// in every frame.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Refused>);

#[derive(Debug)]
struct Refused {
    span: Span,
    reason: Reason,
    help: Option<String>,
}

impl Refusal {
    pub(crate) fn new(span: Span, reason: Reason) -> Refusal {
        Refusal(Box::new(Refused { span, reason, help: None }))
    }

    /// The refusal, with what to write instead.
    pub(crate) fn help(mut self, help: Option<impl Into<String>>) -> Refusal {
        self.0.help = help.map(Into::into);
        self
    }
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Longer than [`SOURCE_BYTES_MAX`].
    #[error("source is {bytes} bytes, at most {SOURCE_BYTES_MAX}")]
    SourceTooLong {
        /// The source's length.
        bytes: usize,
    },
    /// A character that begins no token.
    #[error("unexpected character {found:?}")]
    Character {
        /// The character.
        found: char,
    },
    /// A token of another language.
    #[error("{found:?} is no operator: write {meant:?}")]
    NotAnOperator {
        /// The token as given.
        found: &'static str,
        /// What CEL calls it.
        meant: &'static str,
    },
    /// A string that does not end, or not on its line.
    #[error("string is not closed with {quote}")]
    UnterminatedString {
        /// The closing quote that is not there.
        quote: &'static str,
    },
    /// A backslash sequence CEL does not have, or one that names no character.
    #[error("{escape:?} is no escape sequence")]
    Escape {
        /// The sequence, backslash included.
        escape: String,
    },
    /// A string literal longer than any attribute may be.
    #[error("string is {bytes} bytes, at most {STRING_BYTES_MAX}")]
    StringTooLong {
        /// Its length, escapes resolved.
        bytes: usize,
    },
    /// A number that does not fit its kind.
    #[error("{text} is out of range for {kind}")]
    NumberRange {
        /// The number as written.
        text: String,
        /// The kind it is written as.
        kind: ValueKind,
    },
    /// Digits with something attached that makes them no number.
    #[error("{text:?} is no number")]
    NumberForm {
        /// The text as written.
        text: String,
    },
    /// CEL that rules do not have.
    #[error("{what} is not supported in rules")]
    Unsupported {
        /// The construct.
        what: String,
    },
    /// A word CEL keeps for itself.
    #[error("{word:?} is a reserved word")]
    Reserved {
        /// The word.
        word: String,
    },
    /// Something else should be here.
    #[error("expected {expected}, but found {found}")]
    Expected {
        /// What should be here.
        expected: &'static str,
        /// What is.
        found: String,
    },
    /// Deeper than [`DEPTH_MAX`].
    #[error("expression is nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// A name other than `a` and `b`.
    #[error("unknown name {name:?}: a rule speaks of \"a\" and \"b\"")]
    UnknownName {
        /// The name.
        name: String,
    },
    /// `a` or `b` without an attribute.
    #[error("{name:?} is an element and no value: name an attribute, as in \"{name}.waited\"")]
    BareElement {
        /// `a` or `b`.
        name: String,
    },
    /// An attribute the schema does not have.
    #[error("unknown attribute {name:?}{}", DidYouMean(.suggestion))]
    UnknownAttribute {
        /// The name.
        name: String,
        /// The nearest name the schema has, if one is near.
        suggestion: Option<String>,
    },
    /// `.name` on something other than `a` and `b`.
    #[error("{text} is {found} and has no attribute {name:?}")]
    NoAttributes {
        /// The expression as written.
        text: String,
        /// Its kind.
        found: ValueKind,
        /// The name.
        name: String,
    },
    /// A function rules do not have.
    #[error("unknown function {name:?}{}", DidYouMean(.suggestion))]
    UnknownFunction {
        /// The name.
        name: String,
        /// The nearest function, if one is near.
        suggestion: Option<String>,
    },
    /// `f(x)` for `x.f()`, or the other way round.
    #[error("{name:?} is called as {usage}")]
    CallForm {
        /// The function.
        name: &'static str,
        /// How to call it.
        usage: &'static str,
    },
    /// Too few or too many arguments.
    #[error("{name:?} takes {takes}, but is given {given}")]
    Arguments {
        /// The function.
        name: &'static str,
        /// How many it takes, in words.
        takes: &'static str,
        /// How many there are.
        given: usize,
    },
    /// `has` of something other than an attribute.
    #[error("\"has\" takes an attribute, as in has(a.name)")]
    HasArgument,
    /// A time or duration of something other than a text written in the rule.
    #[error("{name:?} takes a text in quotes, as in {usage}")]
    TimeArgument {
        /// `timestamp` or `duration`.
        name: &'static str,
        /// How to call it.
        usage: &'static str,
    },
    /// A text that is no time or no duration.
    #[error(transparent)]
    Time(TimeError),
    /// An operand of the wrong kind.
    #[error("{text} is {found}, but {operator:?} needs {needs}")]
    Operand {
        /// The operand as written.
        text: String,
        /// Its kind.
        found: ValueKind,
        /// The operator or function.
        operator: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// Two operands of kinds that do not go together.
    #[error("{operator:?} cannot relate {left} and {right}")]
    Mismatch {
        /// The operator.
        operator: &'static str,
        /// The kind on the left.
        left: ValueKind,
        /// The kind on the right.
        right: ValueKind,
    },
    /// `x in []`, which is never true.
    #[error("list is empty: nothing is in it")]
    EmptyIn,
    /// A list, elsewhere than right of `in`, of something other than string literals.
    #[error("list holds {text}: only string literals, except right of \"in\"")]
    ListEntry {
        /// The entry as written.
        text: String,
    },
    /// A list literal longer than any attribute may be.
    #[error("list has {len} entries, at most {LIST_LEN_MAX}")]
    ListTooLong {
        /// How many it has.
        len: usize,
    },
    /// An int divided by the literal 0.
    #[error("division by zero")]
    DivisionByZero,
    /// The whole rule is no bool.
    #[error("rule is {found}, but must be bool")]
    NotBool {
        /// Its kind.
        found: ValueKind,
    },
    /// A worst-case cost above [`COST_MAX`].
    #[error("rule costs {cost} units at worst, at most {COST_MAX}")]
    CostTooHigh {
        /// Its cost.
        cost: u64,
    },
}

struct Help<'a>(&'a Option<String>);

impl fmt::Display for Help<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

struct DidYouMean<'a>(&'a Option<String>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, " (did you mean {name:?}?)"),
            None => Ok(()),
        }
    }
}
