//! Ranges of numbers: where an expression's value can lie, and, backwards, where its operands must.
//!
//! Invariant: every range is at least as wide as what the evaluator can compute from values within the operands'
//! ranges, and every narrowed operand at least as wide as the values that lead to a result within the result's range.
//! What is missing is in no range. Forward ranges of doubles need no outward rounding, as rounding to nearest is
//! monotonic.

use crate::expr::{ArithmeticOp, CompareOp};

/// Where a number lies, both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Range {
    /// It is missing.
    Nothing,
    Int(i64, i64),
    /// No end is NaN.
    Double(f64, f64),
}

use Range::{Double, Int, Nothing};

/// A broken invariant of the typed expression: operands of two kinds.
const KINDS: &str = "operands of arithmetic have one kind";

fn int(low: i128, high: i128, fails: &mut bool) -> Range {
    let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
    *fails |= low < least || high > most;
    Int(low.clamp(least, most) as i64, high.clamp(least, most) as i64)
}

/// A candidate for an operand: what is outside 64 bits is no operand, and no failure.
fn int_candidate(low: i128, high: i128) -> Range {
    if low > i128::from(i64::MAX) || high < i128::from(i64::MIN) {
        return Int(i64::MAX, i64::MIN);
    }
    int(low, high, &mut false)
}

fn double(low: f64, high: f64) -> Range {
    Double(if low.is_nan() { f64::NEG_INFINITY } else { low }, if high.is_nan() { f64::INFINITY } else { high })
}

/// The hull of results of which `None` is an overflow.
fn checked(of: [Option<i64>; 4], fails: &mut bool) -> Range {
    *fails |= of.contains(&None);
    let of = of.map(|value| value.unwrap_or(i64::MAX));
    Int(of.into_iter().fold(i64::MAX, i64::min), of.into_iter().fold(i64::MIN, i64::max))
}

fn wide(value: i64) -> i128 {
    i128::from(value)
}

pub(crate) fn negate(of: Range, fails: &mut bool) -> Range {
    match of {
        Int(low, high) => int(-wide(high), -wide(low), fails),
        Double(low, high) => Double(-high, -low),
        Nothing => Nothing,
    }
}

pub(crate) fn abs(of: Range, fails: &mut bool) -> Range {
    match of {
        Int(low, high) => {
            let (low, high) = (wide(low), wide(high));
            int(low.max(-high).max(0), high.max(-low), fails)
        }
        Double(low, high) => Double(low.max(-high).max(0.0), high.max(-low)),
        Nothing => Nothing,
    }
}

pub(crate) fn square(of: Range, fails: &mut bool) -> Range {
    match abs(of, &mut false) {
        // `abs` of the lowest int is cut off here, and the product of what is left does not fit either.
        Int(low, high) => int(wide(low) * wide(low), wide(high) * wide(high), fails),
        Double(low, high) => Double(low * low, high * high),
        Nothing => Nothing,
    }
}

pub(crate) fn to_double(of: Range) -> Range {
    match of {
        Int(low, high) => Double(low as f64, high as f64),
        of => of,
    }
}

pub(crate) fn extreme(max: bool, left: Range, right: Range) -> Range {
    match (left, right) {
        (Int(a, b), Int(c, d)) => {
            if max {
                Int(a.max(c), b.max(d))
            } else {
                Int(a.min(c), b.min(d))
            }
        }
        (Double(a, b), Double(c, d)) => {
            if max {
                Double(a.max(c), b.max(d))
            } else {
                Double(a.min(c), b.min(d))
            }
        }
        (Nothing, _) | (_, Nothing) => Nothing,
        _ => unreachable!("{KINDS}"),
    }
}

/// What holds both.
pub(crate) fn hull(left: Range, right: Range) -> Range {
    match (left, right) {
        (Int(a, b), Int(c, d)) => Int(a.min(c), b.max(d)),
        (Double(a, b), Double(c, d)) => Double(a.min(c), b.max(d)),
        (Nothing, some) | (some, Nothing) => some,
        _ => unreachable!("{KINDS}"),
    }
}

pub(crate) fn arithmetic(op: ArithmeticOp, left: Range, right: Range, fails: &mut bool) -> Range {
    match (left, right) {
        // Dividing 128 bits takes longer than all the rest, and most divisors are one number above zero.
        (Int(a, b), Int(c, d)) if op == ArithmeticOp::Div && c == d && c > 0 => Int(a / c, b / c),
        (Int(a, b), Int(c, d)) if op == ArithmeticOp::Div && (c > 0 || d < 0) => {
            checked([a.checked_div(c), a.checked_div(d), b.checked_div(c), b.checked_div(d)], fails)
        }
        (Int(a, b), Int(c, d)) if op == ArithmeticOp::Mul && a >= 0 && c >= 0 => {
            int(wide(a) * wide(c), wide(b) * wide(d), fails)
        }
        (Int(a, b), Int(c, d)) => int_arithmetic(op, [wide(a), wide(b)], [wide(c), wide(d)], fails),
        (Double(a, b), Double(c, d)) => double_arithmetic(op, [a, b], [c, d]),
        (Nothing, _) | (_, Nothing) => Nothing,
        _ => unreachable!("{KINDS}"),
    }
}

fn int_arithmetic(op: ArithmeticOp, [a, b]: [i128; 2], [c, d]: [i128; 2], fails: &mut bool) -> Range {
    let by_zero = c <= 0 && d >= 0;
    match op {
        ArithmeticOp::Add => int(a + c, b + d, fails),
        ArithmeticOp::Sub => int(a - d, b - c, fails),
        ArithmeticOp::Mul => corners([a * c, a * d, b * c, b * d], fails),
        // Of a divisor that may be zero; the others are seen to above.
        ArithmeticOp::Div => {
            *fails = true;
            let most = b.max(-a);
            int(-most, most, &mut false)
        }
        ArithmeticOp::Rem => {
            // The lowest int `% -1` overflows, as a division does.
            *fails |= by_zero || a == wide(i64::MIN) && c <= -1 && d >= -1;
            let most = (d.max(-c) - 1).max(0);
            int(a.clamp(-most, 0), b.clamp(0, most), fails)
        }
    }
}

fn corners(of: [i128; 4], fails: &mut bool) -> Range {
    int(of.into_iter().fold(i128::MAX, i128::min), of.into_iter().fold(i128::MIN, i128::max), fails)
}

fn double_arithmetic(op: ArithmeticOp, [a, b]: [f64; 2], [c, d]: [f64; 2]) -> Range {
    match op {
        ArithmeticOp::Add => double(a + c, b + d),
        ArithmeticOp::Sub => double(a - d, b - c),
        // Zero times infinity is missing; zero times what is near it is zero.
        ArithmeticOp::Mul => double_corners([a * c, a * d, b * c, b * d].map(|x| if x.is_nan() { 0.0 } else { x })),
        ArithmeticOp::Div if c <= 0.0 && d >= 0.0 => WHOLE,
        ArithmeticOp::Div => double_corners([a / c, a / d, b / c, b / d]),
        ArithmeticOp::Rem => unreachable!("the remainder is of ints only"),
    }
}

const WHOLE: Range = Double(f64::NEG_INFINITY, f64::INFINITY);

fn double_corners(of: [f64; 4]) -> Range {
    if of.iter().any(|corner| corner.is_nan()) {
        return WHOLE;
    }
    Double(of.into_iter().fold(f64::INFINITY, f64::min), of.into_iter().fold(f64::NEG_INFINITY, f64::max))
}

/// Cuts `range` down to what it shares with `with`; false if that is nothing.
#[must_use]
pub(crate) fn meet(range: &mut Range, with: Range) -> bool {
    match (&mut *range, with) {
        (Int(low, high), Int(c, d)) => {
            (*low, *high) = ((*low).max(c), (*high).min(d));
            low <= high
        }
        (Double(low, high), Double(c, d)) => {
            (*low, *high) = (low.max(c), high.min(d));
            low <= high
        }
        (Nothing, _) | (_, Nothing) => false,
        _ => unreachable!("{KINDS}"),
    }
}

/// Cuts both operands of a comparison that is true down; false if it cannot be true.
#[must_use]
pub(crate) fn relate(op: CompareOp, left: &mut Range, right: &mut Range) -> bool {
    match op {
        CompareOp::Ne => !matches!((&*left, &*right), (Int(a, b), Int(c, d)) if a == b && a == c && c == d),
        CompareOp::Eq => at_most(left, right, false) && at_most(right, left, false),
        CompareOp::Lt => at_most(left, right, true),
        CompareOp::Le => at_most(left, right, false),
        CompareOp::Gt => at_most(right, left, true),
        CompareOp::Ge => at_most(right, left, false),
    }
}

/// `lesser <= greater`, or `<` if `strict`, of any two kinds.
fn at_most(lesser: &mut Range, greater: &mut Range, strict: bool) -> bool {
    let (high, low) = match (&*lesser, &*greater) {
        (Int(low, _), Int(_, high)) => {
            let step = i128::from(strict);
            (int_candidate(wide(i64::MIN), wide(*high) - step), int_candidate(wide(*low) + step, wide(i64::MAX)))
        }
        (Double(low, _), Double(_, high)) => {
            if strict && low >= high {
                return false;
            }
            (Double(f64::NEG_INFINITY, *high), Double(*low, f64::INFINITY))
        }
        (Int(low, _), Double(_, high)) => {
            (int_within(f64::NEG_INFINITY, *high), Double((*low as f64).next_down(), f64::INFINITY))
        }
        (Double(low, _), Int(_, high)) => {
            (Double(f64::NEG_INFINITY, (*high as f64).next_up()), int_within(*low, f64::INFINITY))
        }
        (Nothing, _) | (_, Nothing) => return false,
    };
    meet(lesser, high) && meet(greater, low)
}

/// The ints between two doubles. The casts saturate, to where no int is beyond.
pub(crate) fn int_within(low: f64, high: f64) -> Range {
    if low >= 9_223_372_036_854_775_808.0 || high < -9_223_372_036_854_775_808.0 {
        return Int(i64::MAX, i64::MIN);
    }
    Int(low.ceil() as i64, high.floor() as i64)
}

/// The real results that round into the range.
fn unrounded(low: f64, high: f64) -> [f64; 2] {
    [low.next_down(), high.next_up()]
}

fn outward(low: f64, high: f64) -> Range {
    double(low.next_down(), high.next_up())
}

pub(crate) fn negate_back(result: Range) -> Range {
    negate(result, &mut false)
}

pub(crate) fn abs_back(result: Range, of: Range) -> Range {
    match (result, of) {
        (Int(low, high), Int(least, most)) => {
            let from = if wide(least) > -wide(low) { low } else { high.saturating_neg() };
            let to = if wide(most) < wide(low) { low.saturating_neg() } else { high };
            Int(from, to)
        }
        (Double(low, high), Double(least, most)) => {
            Double(if least > -low { low } else { -high }, if most < low { -low } else { high })
        }
        _ => of,
    }
}

pub(crate) fn square_back(result: Range) -> Range {
    match result {
        Int(_, high) if high < 0 => Int(i64::MAX, i64::MIN),
        Int(_, high) => Int(-high.isqrt(), high.isqrt()),
        Double(_, high) => {
            let most = high.max(0.0).next_up().sqrt().next_up();
            Double(-most, most)
        }
        Nothing => Nothing,
    }
}

pub(crate) fn to_double_back(result: Range) -> Range {
    match result {
        Double(low, high) => int_within(low.next_down(), high.next_up()),
        result => result,
    }
}

/// Where the left operand must lie, given the right one and the result; and the same of the right. `None` where nothing
/// is known.
pub(crate) fn arithmetic_back(op: ArithmeticOp, result: Range, left: Range, right: Range) -> [Option<Range>; 2] {
    match (result, left, right) {
        (Int(low, high), Int(a, b), Int(c, d)) => {
            int_back(op, [wide(low), wide(high)], [wide(a), wide(b)], [wide(c), wide(d)])
        }
        (Double(low, high), Double(a, b), Double(c, d)) => double_back(op, unrounded(low, high), [a, b], [c, d]),
        _ => [None, None],
    }
}

fn int_back(op: ArithmeticOp, [low, high]: [i128; 2], [a, b]: [i128; 2], [c, d]: [i128; 2]) -> [Option<Range>; 2] {
    match op {
        ArithmeticOp::Add => [Some(int_candidate(low - d, high - c)), Some(int_candidate(low - b, high - a))],
        ArithmeticOp::Sub => [Some(int_candidate(low + c, high + d)), Some(int_candidate(a - high, b - low))],
        ArithmeticOp::Mul => [quotient([low, high], [c, d]), quotient([low, high], [a, b])],
        ArithmeticOp::Div => {
            // left = result * right + remainder, which is nearer to 0 than right is.
            let slack = (d.max(-c) - 1).max(0);
            let of = [low * c, low * d, high * c, high * d];
            let least = of.into_iter().fold(i128::MAX, i128::min) - slack;
            let most = of.into_iter().fold(i128::MIN, i128::max) + slack;
            [Some(int_candidate(least, most)), None]
        }
        ArithmeticOp::Rem => [None, None],
    }
}

/// The ints that times one of `by` are within the product.
fn quotient([low, high]: [i128; 2], [c, d]: [i128; 2]) -> Option<Range> {
    if c <= 0 && d >= 0 {
        return None;
    }
    let floors = [low.div_euclid(c), low.div_euclid(d), high.div_euclid(c), high.div_euclid(d)];
    let least = floors.into_iter().fold(i128::MAX, i128::min);
    let most = floors.into_iter().fold(i128::MIN, i128::max);
    // A Euclidean quotient is within 1 of the real one.
    Some(int_candidate(least - 1, most + 1))
}

fn double_back(op: ArithmeticOp, [low, high]: [f64; 2], [a, b]: [f64; 2], [c, d]: [f64; 2]) -> [Option<Range>; 2] {
    match op {
        ArithmeticOp::Add => [Some(outward(low - d, high - c)), Some(outward(low - b, high - a))],
        ArithmeticOp::Sub => [Some(outward(low + c, high + d)), Some(outward(a - high, b - low))],
        ArithmeticOp::Mul => [double_quotient([low, high], [c, d]), double_quotient([low, high], [a, b])],
        ArithmeticOp::Div if c <= 0.0 && d >= 0.0 => [None, double_quotient([a, b], [low, high])],
        ArithmeticOp::Div => {
            let of = [low * c, low * d, high * c, high * d];
            let left = match double_corners(of) {
                Double(least, most) => Some(outward(least, most)),
                _ => None,
            };
            [left, double_quotient([a, b], [low, high])]
        }
        ArithmeticOp::Rem => unreachable!("the remainder is of ints only"),
    }
}

fn double_quotient([low, high]: [f64; 2], [c, d]: [f64; 2]) -> Option<Range> {
    if c <= 0.0 && d >= 0.0 {
        return None;
    }
    match double_corners([low / c, low / d, high / c, high / d]) {
        Double(least, most) => Some(outward(least, most)),
        _ => None,
    }
}
