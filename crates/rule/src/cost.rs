//! What a rule costs at worst, known before it ever runs.
//!
//! A unit is one operator, one attribute or one literal: one to six nanoseconds of walking the expression, and two or
//! less in rules that cost much. Strings and lists count as if every attribute were as long as a row may have it, or as
//! the longest of some rows has it ([`Longest`]); a literal counts as long as it is. Both branches of a choice count,
//! and no operand counts as skipped.
//!
//! It is a true bound: `tests/hostile` and the fuzz targets count the steps of an evaluation (`fuzz/src/steps.rs`) and
//! hold them against it. What a unit takes is measured by `fuzz/src/bin/worst.rs`; RULES.md has the figures.

use crate::expr::{Comparands, Expr, TextOp};
use crate::value::{LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};

/// Most a rule may cost. A costlier one is refused. Numbers alone cannot reach it (the source is too short); lists can:
/// two `a.list.intersects(b.list)` fit.
pub const COST_MAX: u64 = 16_384;

/// How long the values of an attribute are at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Longest {
    /// Bytes of a string, or of a list's entry.
    pub bytes: u64,
    /// Entries of a list.
    pub entries: u64,
}

impl Longest {
    /// No element has a value.
    pub const NONE: Longest = Longest { bytes: 0, entries: 0 };
    /// As long as a row may have it.
    pub const CAPS: Longest = Longest { bytes: STRING_BYTES_MAX as u64, entries: LIST_LEN_MAX as u64 };

    /// The longer of two.
    #[must_use]
    pub fn max(self, other: Longest) -> Longest {
        Longest { bytes: self.bytes.max(other.bytes), entries: self.entries.max(other.entries) }
    }
}

/// Most pairs of entries that the evaluator compares all with all.
const PRODUCT_MAX: u64 = 64;

/// The worst case of evaluating `expr` once.
pub(crate) fn cost(expr: &Expr) -> u64 {
    Costs { longest: &|_| Longest::CAPS }.of(expr)
}

/// The same on rows whose attributes are at most so long, by their place in the schema.
pub(crate) fn cost_within(expr: &Expr, longest: &[Longest]) -> u64 {
    Costs { longest: &|index| longest[index] }.of(expr)
}

struct Costs<'a> {
    longest: &'a dyn Fn(usize) -> Longest,
}

impl Costs<'_> {
    fn of(&self, expr: &Expr) -> u64 {
        let mut units = 1 + self.own(expr);
        expr.for_each_operand(|operand| units += self.of(operand));
        units
    }

    /// What the operator costs beyond one unit and its operands.
    fn own(&self, expr: &Expr) -> u64 {
        match expr {
            Expr::Compare { comparands: Comparands::Same(ValueKind::String), left, right, .. } => {
                self.comparison(left, right)
            }
            Expr::Compare { comparands: Comparands::Same(ValueKind::StringList), left, right, .. } => {
                self.entries(left).min(self.entries(right)) * self.comparison(left, right)
            }
            Expr::InItems { kind: ValueKind::String, needle, items, .. } => {
                items.iter().map(|item| self.comparison(needle, item)).sum()
            }
            Expr::InItems { items, .. } => items.len() as u64,
            Expr::InList { needle, list } => self.entries(list) * self.comparison(needle, list),
            Expr::Intersects { left, right } => {
                let (left_len, right_len) = (self.entries(left), self.entries(right));
                // Either may be sorted, which compares its own entries.
                let comparison = self.comparison(left, left).max(self.comparison(right, right));
                intersects(left_len.min(right_len), left_len.max(right_len)) * comparison
            }
            Expr::Text { op: TextOp::StartsWith | TextOp::EndsWith, text, part } => self.comparison(text, part),
            // The part is prepared, then the text is searched, both in linear time: two bytes a unit.
            Expr::Text { op: TextOp::Contains, text, part } => (self.bytes(text) + self.bytes(part)).div_ceil(2),
            Expr::Size { kind: ValueKind::String, of } => self.bytes(of),
            _ => 0,
        }
    }

    /// Comparing two strings, or an entry of a list: 64 bytes a unit, up to the end of the shorter.
    fn comparison(&self, left: &Expr, right: &Expr) -> u64 {
        self.bytes(left).min(self.bytes(right)).div_ceil(64).max(1)
    }

    /// The most bytes a string can have, or an entry of a list.
    fn bytes(&self, expr: &Expr) -> u64 {
        match expr {
            Expr::Literal(Value::String(text)) => text.len() as u64,
            Expr::Literal(Value::StringList(list)) => list.iter().map(|entry| entry.len() as u64).max().unwrap_or(0),
            Expr::Attribute(attribute) => (self.longest)(attribute.index).bytes,
            Expr::Choice { then, otherwise, .. } => self.bytes(then).max(self.bytes(otherwise)),
            _ => Longest::CAPS.bytes,
        }
    }

    /// The most entries a list can have.
    fn entries(&self, expr: &Expr) -> u64 {
        match expr {
            Expr::Literal(Value::StringList(list)) => list.len() as u64,
            Expr::Attribute(attribute) => (self.longest)(attribute.index).entries,
            Expr::Choice { then, otherwise, .. } => self.entries(then).max(self.entries(otherwise)),
            _ => Longest::CAPS.entries,
        }
    }
}

/// The most comparisons it takes to tell whether lists of at most so many entries share one.
///
/// Short ones are compared all with all. Otherwise the shorter is sorted and each entry of the longer looked up in it.
/// The standard library sorts few entries by insertion, which compares every pair. More it sorts by a quicksort that
/// gives up after 2 log n bad pivots for a heap, which takes another 2 n log n; orders that take it 2.2 n log n are
/// known.
fn intersects(shorter: u64, longer: u64) -> u64 {
    if shorter * longer <= PRODUCT_MAX {
        return shorter * longer;
    }
    let halvings = u64::from(shorter.next_power_of_two().ilog2());
    let sorting = (shorter * (shorter - 1) / 2).min(4 * shorter * halvings);
    let looking_up = longer * (halvings + 1);
    // A row's lists may be short enough, after all, to be compared all with all.
    (sorting + looking_up).max(PRODUCT_MAX)
}
