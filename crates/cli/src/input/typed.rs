//! What a file says of an attribute, read as the pool declares it: a CSV cell and a JSON value alike.
//!
//! Nothing is rounded that was meant to be exact: an int is the very number that is written (`1500`, `1500.0` and
//! `1.5e3` are one), and a whole number that no double equals is not a double. A double with a fraction is the nearest
//! one, and never infinity unless that is what is written.

use std::borrow::Cow;
use std::fmt;

use dovetail_rule::AttributeType;

use crate::schema::{PoolSchema, milliseconds};
use dovetail::client::value;
use dovetail::pb;

/// A value as it stands in a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Written<'a> {
    /// A cell of CSV, its quotes removed.
    Cell(&'a str),
    /// A JSON value.
    Json(&'a str),
}

impl<'a> Written<'a> {
    /// What is not a text: a number, `true`. The quotes of a JSON string are part of it, so that one is neither.
    fn bare(self) -> &'a str {
        match self {
            Written::Cell(cell) => cell.trim(),
            Written::Json(json) => json,
        }
    }

    /// A cell, or the content of a JSON string.
    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Written::Cell(cell) => Some(Cow::Borrowed(cell)),
            Written::Json(json) => string(json).map(Cow::Owned),
        }
    }
}

/// For messages.
impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::Cell(cell) => write!(f, "{cell:?}"),
            Written::Json(json) => f.write_str(json),
        }
    }
}

/// The content of a JSON string; none for other JSON.
pub(super) fn string(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// Why a value is none of its attribute's. Prints as what there is to add to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is of another type.
    Type,
    /// An int of more than 64 bits.
    Int,
    /// A number beyond the largest double.
    Double,
    /// A whole number that no double equals.
    Inexact,
    /// A string with an escape that no text can have.
    HalfPair,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Type => Ok(()),
            Unfit::Int => write!(f, ", from {} to {}", i64::MIN, i64::MAX),
            Unfit::Double => write!(f, ", at most {:e}", f64::MAX),
            Unfit::Inexact => f.write_str(", and no double is exactly that"),
            Unfit::HalfPair => f.write_str(", and half of a surrogate pair is no text"),
        }
    }
}

/// Reads an attribute's value, or says why it is none.
pub(super) fn value_of(
    schema: &PoolSchema,
    name: &str,
    written: Written<'_>,
    declared: AttributeType,
) -> Result<pb::Value, String> {
    typed(written, declared).map_err(|unfit| {
        let advice = match written {
            Written::Cell(cell) if NO_VALUE.contains(&cell.trim()) => "; --null says which cells are missing values",
            _ => "",
        };
        format!("{}{unfit}{advice}", schema.mismatch(name, &written.to_string(), declared))
    })
}

/// What programs write into cells that have no value.
const NO_VALUE: [&str; 11] = ["NA", "N/A", "#N/A", "NULL", "null", "None", "nil", "NaN", "nan", "\\N", "-"];

/// Reads a value as it is declared.
pub(super) fn typed(written: Written<'_>, declared: AttributeType) -> Result<pb::Value, Unfit> {
    match declared {
        AttributeType::Int => exact_int(written.bare()).map(value::int),
        AttributeType::Double => exact_double(written).map(value::double),
        AttributeType::Bool => flag(written.bare()).map(value::bool).ok_or(Unfit::Type),
        AttributeType::String => written.text().map(value::string).ok_or(match written {
            Written::Json(json) if json.starts_with('"') => Unfit::HalfPair,
            _ => Unfit::Type,
        }),
        AttributeType::StringList => match written {
            Written::Cell(cell) => Ok(value::string_list(cell.split('|'))),
            Written::Json(json) => {
                serde_json::from_str::<Vec<String>>(json).map(value::string_list).map_err(|_| Unfit::Type)
            }
        },
        AttributeType::Timestamp | AttributeType::Duration => {
            let said = || written.text().and_then(|text| milliseconds(&text, declared));
            exact_int(written.bare()).ok().or_else(said).map(value::int).ok_or(Unfit::Type)
        }
    }
}

/// As programs write it: Rust and JSON `true`, Python `True`, R and Excel `TRUE`, SQL `t` and `1`.
fn flag(bare: &str) -> Option<bool> {
    let is = |names: [&str; 3]| names.iter().any(|name| bare.eq_ignore_ascii_case(name));
    match bare {
        _ if is(["true", "1", "t"]) => Some(true),
        _ if is(["false", "0", "f"]) => Some(false),
        _ => None,
    }
}

/// The integer that a decimal number is.
pub(super) fn exact_int(text: &str) -> Result<i64, Unfit> {
    match text.parse() {
        Ok(int) => Ok(int),
        Err(_) => whole(text),
    }
}

/// The same for numbers with a fraction or an exponent, or too many digits.
fn whole(text: &str) -> Result<i64, Unfit> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, mut exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| Unfit::Type)?),
        None => (unsigned, 0),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let after = after.trim_end_matches('0');
    let mut digits = before.bytes().chain(after.bytes());
    if !mantissa.bytes().any(|byte| byte.is_ascii_digit()) || !digits.all(|byte| byte.is_ascii_digit()) {
        return Err(Unfit::Type);
    }
    exponent = exponent.saturating_sub(after.len() as i64);
    // Digits that do not fit belong to a number that is too large, or to a fraction.
    let too_long = if exponent < 0 { Unfit::Type } else { Unfit::Int };
    let mut number: u128 = 0;
    for digit in before.bytes().chain(after.bytes()) {
        let shifted = number.checked_mul(10).and_then(|number| number.checked_add(u128::from(digit - b'0')));
        number = shifted.ok_or(too_long)?;
    }
    while number != 0 && exponent != 0 {
        if exponent > 0 {
            number = number.checked_mul(10).ok_or(Unfit::Int)?;
            exponent -= 1;
        } else {
            if !number.is_multiple_of(10) {
                return Err(Unfit::Type);
            }
            number /= 10;
            exponent += 1;
        }
    }
    let number = i128::try_from(number).map_err(|_| Unfit::Int)?;
    i64::try_from(if negative { -number } else { number }).map_err(|_| Unfit::Int)
}

/// The double nearest to a decimal number. Infinity and NaN by their names only, in JSON as strings.
fn exact_double(written: Written<'_>) -> Result<f64, Unfit> {
    let named;
    let text = match written {
        Written::Json(json) if json.starts_with('"') => {
            named = string(json).ok_or(Unfit::Type)?;
            if has_digit(&named) {
                return Err(Unfit::Type);
            }
            named.as_str()
        }
        _ => written.bare(),
    };
    let double: f64 = text.parse().map_err(|_| Unfit::Type)?;
    if double.is_infinite() && has_digit(text) {
        return Err(Unfit::Double);
    }
    let digits = text.trim_start_matches(['+', '-']);
    if digits.len() > f64::DIGITS as usize
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !is_exactly(double, digits)
    {
        return Err(Unfit::Inexact);
    }
    Ok(double)
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether a whole number is this double: all its digits, or those that programs write of it, which are the fewest that
/// tell it from its neighbours, followed by zeros.
fn is_exactly(double: f64, digits: &str) -> bool {
    let digits = digits.trim_start_matches('0');
    let double = double.abs();
    format!("{double:.0}") == digits || double.to_string() == digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_int_is_the_very_number_that_is_written() {
        for (text, int) in [
            ("1500.0", 1500),
            ("1e3", 1000),
            ("1.5E+3", 1500),
            ("1500e-2", 15),
            ("-.0", 0),
            ("5.", 5),
            ("+7", 7),
            ("0e999999999", 0),
            ("9223372036854775807.000", i64::MAX),
            ("-9.223372036854775808e18", i64::MIN),
            ("9007199254740993.0", 9_007_199_254_740_993),
        ] {
            assert_eq!(exact_int(text), Ok(int), "{text}");
        }
        for text in
            ["1500.5", "0.99999999999999999999", "1e-1", "", ".", "e5", "1e", "--1", "0x10", "1_000", "1e5.0", "é"]
        {
            assert_eq!(exact_int(text), Err(Unfit::Type), "{text}");
        }
        let beyond = format!("{}.0", "9".repeat(60));
        for text in ["9223372036854775808", "-9223372036854775809.0", "1e19", "1e400", "1e9999999999", &beyond] {
            assert_eq!(exact_int(text), Err(Unfit::Int), "{text}");
        }
    }

    #[test]
    fn a_double_is_infinite_only_by_name_and_whole_only_exactly() {
        let read = |text| exact_double(Written::Cell(text));
        for (text, double) in [
            ("1e3", 1000.0),
            ("+.5", 0.5),
            ("-5.", -5.0),
            ("9007199254740992", 9_007_199_254_740_992.0),
            ("100000000000000000000", 1e20),
            ("1152921504606847000", 1_152_921_504_606_846_976.0),
            ("1152921504606846976", 1_152_921_504_606_846_976.0),
            ("0000000000000000000005", 5.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(read(text), Ok(double), "{text}");
            let json = if has_digit(text) { text.to_owned() } else { format!("\"{text}\"") };
            assert_eq!(exact_double(Written::Json(&json)), Ok(double), "{text}");
        }
        assert!(read("nan").is_ok_and(f64::is_nan));
        assert_eq!(read("9007199254740993"), Err(Unfit::Inexact));
        assert_eq!((read("1e400"), read("-1e400")), (Err(Unfit::Double), Err(Unfit::Double)));
        for text in ["", "high", "1,5", "0x1p3"] {
            assert_eq!(read(text), Err(Unfit::Type), "{text}");
        }
        assert_eq!(exact_double(Written::Json("\"1.5\"")), Err(Unfit::Type), "a string is not a number");
    }
}
