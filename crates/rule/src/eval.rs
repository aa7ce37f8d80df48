//! The evaluator: walks the typed expression for one pair. RULES.md says what every operator means.
//!
//! One function per kind, so that values stay unboxed; strings and lists are borrowed from rows and literals, and
//! nothing is allocated. Each returns a value, or why there is none.

use std::cmp::Ordering;

use crate::error::EvalError;
use crate::expr::{ArithmeticOp, AttributeRef, Comparands, CompareOp, End, Expr, TextOp};
use crate::row::Side;
use crate::strings::Strings;
use crate::value::{LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};

/// Why an expression has no value. Missing outweighs an error: what is not there cannot go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    Missing,
    Error(EvalError),
}

pub(crate) type Outcome<T> = Result<T, Absent>;

/// One end of a pair: where attribute values come from. They are borrowed for `'a`, and `None` is a missing one.
pub(crate) trait Element<'a>: Copy {
    fn waited_ms(self) -> i64;
    fn has(self, attribute: &AttributeRef) -> bool;
    fn int(self, attribute: &AttributeRef) -> Option<i64>;
    fn double(self, attribute: &AttributeRef) -> Option<f64>;
    fn bool(self, attribute: &AttributeRef) -> Option<bool>;
    fn string(self, attribute: &AttributeRef) -> Option<&'a str>;
    fn list(self, attribute: &AttributeRef) -> Option<List<'a>>;
}

impl<'a> Element<'a> for Side<'a> {
    fn waited_ms(self) -> i64 {
        self.waited_ms
    }

    fn has(self, attribute: &AttributeRef) -> bool {
        self.row.values()[attribute.index].is_some()
    }

    #[inline]
    fn int(self, attribute: &AttributeRef) -> Option<i64> {
        match self.row.values()[attribute.index].as_ref()? {
            Value::Int(int) => Some(*int),
            _ => unreachable_attribute(attribute),
        }
    }

    #[inline]
    fn double(self, attribute: &AttributeRef) -> Option<f64> {
        match self.row.values()[attribute.index].as_ref()? {
            Value::Double(double) => Some(*double),
            _ => unreachable_attribute(attribute),
        }
    }

    fn bool(self, attribute: &AttributeRef) -> Option<bool> {
        match self.row.values()[attribute.index].as_ref()? {
            Value::Bool(bool) => Some(*bool),
            _ => unreachable_attribute(attribute),
        }
    }

    fn string(self, attribute: &AttributeRef) -> Option<&'a str> {
        match self.row.values()[attribute.index].as_ref()? {
            Value::String(text) => Some(text),
            _ => unreachable_attribute(attribute),
        }
    }

    fn list(self, attribute: &AttributeRef) -> Option<List<'a>> {
        match self.row.values()[attribute.index].as_ref()? {
            Value::StringList(list) => Some(List::Plain(list)),
            _ => unreachable_attribute(attribute),
        }
    }
}

/// A list of strings: a row's or a literal's, or a table's, which keeps numbers of interned strings.
#[derive(Clone, Copy)]
pub(crate) enum List<'a> {
    Plain(&'a [Box<str>]),
    Interned(&'a [u32], &'a Strings),
}

impl<'a> List<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            List::Plain(list) => list.len(),
            List::Interned(list, _) => list.len(),
        }
    }

    fn get(self, index: usize) -> &'a str {
        match self {
            List::Plain(list) => &list[index],
            List::Interned(list, strings) => strings.text(list[index]),
        }
    }

    /// The symbols of the entries; those that `strings` does not have are unknown.
    pub(crate) fn symbols(self, strings: &Strings) -> impl Iterator<Item = u32> {
        (0..self.len()).map(move |index| match self {
            List::Plain(list) => strings.find(&list[index]),
            List::Interned(list, _) => list[index],
        })
    }

    pub(crate) fn iter(self) -> impl ExactSizeIterator<Item = &'a str> {
        (0..self.len()).map(move |index| self.get(index))
    }
}

/// The pair a rule is evaluated on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<A, B = A> {
    pub(crate) a: A,
    pub(crate) b: B,
}

/// An attribute's value, from whichever end has it.
macro_rules! read {
    ($pair:expr, $kind:ident, $attribute:expr) => {
        match $attribute.end {
            End::A => $pair.a.$kind($attribute),
            End::B => $pair.b.$kind($attribute),
        }
    };
}

impl<'a, A: Element<'a>, B: Element<'a>> Pair<A, B> {
    pub(crate) fn bool(&self, expr: &Expr) -> Outcome<bool> {
        match expr {
            Expr::Literal(Value::Bool(bool)) => Ok(*bool),
            Expr::Attribute(attribute) => read!(self, bool, attribute).ok_or(Absent::Missing),
            Expr::Has(attribute) => Ok(read!(self, has, attribute)),
            Expr::Not(of) => self.bool(of).map(|bool| !bool),
            Expr::And(of) => until(false, of.iter().map(|operand| self.bool(operand))),
            Expr::Or(of) => until(true, of.iter().map(|operand| self.bool(operand))),
            Expr::Choice { condition, then, otherwise } => {
                self.bool(if self.bool(condition)? { then } else { otherwise })
            }
            Expr::Compare { op, comparands, left, right } => self.compare(*op, *comparands, left, right),
            Expr::InItems { needle, kind, items } => match kind {
                ValueKind::Int => among(self.int(needle), items, |needle, item| match item.kind() {
                    ValueKind::Int => both(needle, || self.int(item)).map(|(needle, item)| needle == item),
                    _ => both(needle, || self.double(item)).map(|(int, double)| compare_exactly(int, double).is_eq()),
                }),
                ValueKind::Double => among(self.double(needle), items, |needle, item| match item.kind() {
                    ValueKind::Int => {
                        both(needle, || self.int(item)).map(|(double, int)| compare_exactly(int, double).is_eq())
                    }
                    _ => both(needle, || self.double(item)).map(|(needle, item)| needle == item),
                }),
                ValueKind::String => among(self.string(needle), items, |needle, item| {
                    both(needle, || self.string(item)).map(|(needle, item)| needle == item)
                }),
                ValueKind::Bool => among(self.bool(needle), items, |needle, item| {
                    both(needle, || self.bool(item)).map(|(needle, item)| needle == item)
                }),
                ValueKind::StringList => unreachable_kind(expr),
            },
            Expr::InList { needle, list } => {
                let (needle, list) = both(self.string(needle), || self.list(list))?;
                Ok(list.iter().any(|entry| entry == needle))
            }
            Expr::Intersects { left, right } => {
                let (left, right) = both(self.list(left), || self.list(right))?;
                Ok(intersects(left, right))
            }
            Expr::Text { op, text, part } => {
                let (text, part) = both(self.string(text), || self.string(part))?;
                Ok(match op {
                    TextOp::StartsWith => text.starts_with(part),
                    TextOp::EndsWith => text.ends_with(part),
                    TextOp::Contains => contains(text, part),
                })
            }
            _ => unreachable_kind(expr),
        }
    }

    fn compare(&self, op: CompareOp, comparands: Comparands, left: &Expr, right: &Expr) -> Outcome<bool> {
        let ordering = match comparands {
            Comparands::Same(ValueKind::Int) => {
                let (left, right) = both(self.int(left), || self.int(right))?;
                left.cmp(&right)
            }
            Comparands::Same(ValueKind::Double) => {
                let (left, right) = both(self.double(left), || self.double(right))?;
                left.partial_cmp(&right).expect("no double is NaN: `double` makes it missing")
            }
            Comparands::Same(ValueKind::String) => {
                let (left, right) = both(self.string(left), || self.string(right))?;
                if matches!(op, CompareOp::Eq | CompareOp::Ne) { equality(left == right) } else { left.cmp(right) }
            }
            Comparands::Same(ValueKind::Bool) => {
                let (left, right) = both(self.bool(left), || self.bool(right))?;
                equality(left == right)
            }
            Comparands::Same(ValueKind::StringList) => {
                let (left, right) = both(self.list(left), || self.list(right))?;
                equality(left.len() == right.len() && left.iter().eq(right.iter()))
            }
            Comparands::IntDouble => {
                let (left, right) = both(self.int(left), || self.double(right))?;
                compare_exactly(left, right)
            }
            Comparands::DoubleInt => {
                let (left, right) = both(self.double(left), || self.int(right))?;
                compare_exactly(right, left).reverse()
            }
        };
        Ok(match op {
            CompareOp::Eq => ordering.is_eq(),
            CompareOp::Ne => ordering.is_ne(),
            CompareOp::Lt => ordering.is_lt(),
            CompareOp::Le => ordering.is_le(),
            CompareOp::Gt => ordering.is_gt(),
            CompareOp::Ge => ordering.is_ge(),
        })
    }

    /// What most operands are has a path without a call.
    #[inline]
    pub(crate) fn int(&self, expr: &Expr) -> Outcome<i64> {
        match expr {
            Expr::Attribute(attribute) => read!(self, int, attribute).ok_or(Absent::Missing),
            Expr::Literal(Value::Int(int)) => Ok(*int),
            _ => self.computed_int(expr),
        }
    }

    fn computed_int(&self, expr: &Expr) -> Outcome<i64> {
        let overflow = Absent::Error(EvalError::Overflow);
        match expr {
            Expr::Waited(End::A) => Ok(self.a.waited_ms()),
            Expr::Waited(End::B) => Ok(self.b.waited_ms()),
            Expr::Choice { condition, then, otherwise } => {
                self.int(if self.bool(condition)? { then } else { otherwise })
            }
            Expr::Size { kind: ValueKind::String, of } => self.string(of).map(|text| text.chars().count() as i64),
            Expr::Size { of, .. } => self.list(of).map(|list| list.len() as i64),
            Expr::Negate { of, .. } => self.int(of)?.checked_neg().ok_or(overflow),
            Expr::Abs { of, .. } => self.int(of)?.checked_abs().ok_or(overflow),
            Expr::Arithmetic { op, left, right, .. } => {
                let (left, right) = both(self.int(left), || self.int(right))?;
                let result = match op {
                    ArithmeticOp::Add => left.checked_add(right),
                    ArithmeticOp::Sub => left.checked_sub(right),
                    ArithmeticOp::Mul => left.checked_mul(right),
                    ArithmeticOp::Div | ArithmeticOp::Rem if right == 0 => {
                        return Err(Absent::Error(EvalError::DivisionByZero));
                    }
                    ArithmeticOp::Div => left.checked_div(right),
                    ArithmeticOp::Rem => left.checked_rem(right),
                };
                result.ok_or(overflow)
            }
            Expr::Extreme { max, of, .. } => {
                extreme(
                    of.iter().map(|operand| self.int(operand)),
                    |new, best| if *max { new > best } else { new < best },
                )
            }
            _ => unreachable_kind(expr),
        }
    }

    /// Never NaN: that is missing. What most operands are has a path without a call.
    #[inline]
    pub(crate) fn double(&self, expr: &Expr) -> Outcome<f64> {
        match expr {
            Expr::Attribute(attribute) => read!(self, double, attribute).ok_or(Absent::Missing),
            _ => self.computed_double(expr),
        }
    }

    fn computed_double(&self, expr: &Expr) -> Outcome<f64> {
        let double =
            match expr {
                Expr::Literal(Value::Double(double)) => *double,
                Expr::Choice { condition, then, otherwise } => {
                    self.double(if self.bool(condition)? { then } else { otherwise })?
                }
                Expr::ToDouble(of) => self.int(of)? as f64,
                Expr::Negate { of, .. } => -self.double(of)?,
                Expr::Abs { of, .. } => self.double(of)?.abs(),
                Expr::Arithmetic { op, left, right, .. } => {
                    let (left, right) = both(self.double(left), || self.double(right))?;
                    match op {
                        ArithmeticOp::Add => left + right,
                        ArithmeticOp::Sub => left - right,
                        ArithmeticOp::Mul => left * right,
                        ArithmeticOp::Div => left / right,
                        ArithmeticOp::Rem => unreachable_kind(expr),
                    }
                }
                Expr::Extreme { max, of, .. } => extreme(
                    of.iter().map(|operand| self.double(operand)),
                    |new, best| {
                        if *max { new > best } else { new < best }
                    },
                )?,
                _ => unreachable_kind(expr),
            };
        if double.is_nan() { Err(Absent::Missing) } else { Ok(double) }
    }

    pub(crate) fn string<'e>(&self, expr: &'e Expr) -> Outcome<&'e str>
    where
        'a: 'e,
    {
        match expr {
            Expr::Literal(Value::String(text)) => Ok(text),
            Expr::Attribute(attribute) => read!(self, string, attribute).ok_or(Absent::Missing),
            Expr::Choice { condition, then, otherwise } => {
                self.string(if self.bool(condition)? { then } else { otherwise })
            }
            _ => unreachable_kind(expr),
        }
    }

    pub(crate) fn list<'e>(&self, expr: &'e Expr) -> Outcome<List<'e>>
    where
        'a: 'e,
    {
        match expr {
            Expr::Literal(Value::StringList(list)) => Ok(List::Plain(list)),
            Expr::Attribute(attribute) => read!(self, list, attribute).ok_or(Absent::Missing),
            Expr::Choice { condition, then, otherwise } => {
                self.list(if self.bool(condition)? { then } else { otherwise })
            }
            _ => unreachable_kind(expr),
        }
    }
}

/// Both operands of a strict operator; or missing if either is; or else the error of the left, or of the right.
#[inline]
fn both<T, U>(left: Outcome<T>, right: impl FnOnce() -> Outcome<U>) -> Outcome<(T, U)> {
    match left {
        Ok(left) => Ok((left, right()?)),
        Err(Absent::Missing) => Err(Absent::Missing),
        Err(error) => Err(right().err().filter(|absent| *absent == Absent::Missing).unwrap_or(error)),
    }
}

/// `&&` with `decisive` false, `||` with it true: decided by any operand that is decisive; else missing if one is
/// missing; else the first error; else the opposite.
#[inline]
fn until(decisive: bool, operands: impl Iterator<Item = Outcome<bool>>) -> Outcome<bool> {
    let mut result = Ok(!decisive);
    for operand in operands {
        match operand {
            Ok(bool) if bool == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(Absent::Missing) => result = Err(Absent::Missing),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}

/// Whether one of the items equals the needle, which is evaluated once: an `||` of comparisons with `==`.
fn among<'e, T: Copy>(
    needle: Outcome<T>,
    items: &'e [Expr],
    equals: impl Fn(Outcome<T>, &'e Expr) -> Outcome<bool>,
) -> Outcome<bool> {
    until(true, items.iter().map(|item| equals(needle, item)))
}

/// The first operand that none surpasses.
fn extreme<T>(mut operands: impl Iterator<Item = Outcome<T>>, surpasses: impl Fn(&T, &T) -> bool) -> Outcome<T> {
    let first = operands.next().expect("min and max have operands");
    operands.fold(first, |best, operand| {
        both(best, || operand).map(|(best, new)| if surpasses(&new, &best) { new } else { best })
    })
}

fn equality(equal: bool) -> Ordering {
    if equal { Ordering::Equal } else { Ordering::Less }
}

/// How an int relates to a double that is not NaN, without rounding either.
fn compare_exactly(int: i64, double: f64) -> Ordering {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if double >= TWO_TO_63 {
        return Ordering::Less;
    }
    if double < -TWO_TO_63 {
        return Ordering::Greater;
    }
    let whole = double.trunc();
    let fraction = if double > whole {
        Ordering::Less
    } else if double < whole {
        Ordering::Greater
    } else {
        Ordering::Equal
    };
    int.cmp(&(whole as i64)).then(fraction)
}

/// Whether a text contains a part. A long part fits in few places: each is looked at in three bytes, and whole where
/// these agree. The standard library prepares the part first, which takes longer. Where it fits in many, that is
/// quicker, and linear.
fn contains(text: &str, part: &str) -> bool {
    const LONG: usize = STRING_BYTES_MAX / 2;
    if part.len() <= LONG {
        return text.contains(part);
    }
    let part = part.as_bytes();
    let (last, middle) = (part.len() - 1, part.len() / 2);
    text.as_bytes()
        .windows(part.len())
        .any(|place| place[0] == part[0] && place[last] == part[last] && place[middle] == part[middle] && place == part)
}

/// Whether two lists share an entry. Long lists are looked up in the shorter, sorted, so that two of the longest take
/// hundreds of comparisons and not thousands. A list above the bound comes from a row that was not checked; it is slow.
fn intersects(left: List<'_>, right: List<'_>) -> bool {
    const PRODUCT_MAX: usize = 64;
    let (shorter, longer) = if left.len() <= right.len() { (left, right) } else { (right, left) };
    if shorter.len() * longer.len() <= PRODUCT_MAX || shorter.len() > LIST_LEN_MAX {
        return longer.iter().any(|entry| shorter.iter().any(|other| entry == other));
    }
    let mut space = [""; LIST_LEN_MAX];
    let sorted = &mut space[..shorter.len()];
    for (slot, entry) in sorted.iter_mut().zip(shorter.iter()) {
        *slot = entry;
    }
    sorted.sort_unstable();
    longer.iter().any(|entry| sorted.binary_search(&entry).is_ok())
}

/// A broken invariant of `expr`, or a row of another schema: a bug of ours.
#[cold]
fn unreachable_kind(expr: &Expr) -> ! {
    unreachable!("{expr} is evaluated as another kind than it was checked as, or on a row of another schema")
}

/// A row of another schema: a bug of ours.
#[cold]
pub(crate) fn unreachable_attribute(attribute: &AttributeRef) -> ! {
    unreachable!("{attribute} is read from a row of another schema than the rule was compiled against")
}
