//! A rule as it is written: how long and how deep it may be, and how its parts are pointed at.

/// Longest rule in bytes, comments included. A longer one is refused.
pub const SOURCE_BYTES_MAX: usize = 1024;

/// Deepest expression: brackets, unary operators, and the tree itself, where a chain of `+` or `*` is as deep as it has
/// terms but a chain of `&&` or `||` counts once. A deeper one is refused. Every pass over an expression recurses, so
/// this is what bounds the stack.
pub const DEPTH_MAX: usize = 64;

/// Bytes `start..end` of a rule's source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// From the start of `self` to the end of `last`.
    pub(crate) fn to(self, last: Span) -> Span {
        Span { start: self.start, end: last.end }
    }
}
