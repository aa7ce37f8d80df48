//! Rows on which rules are at their worst: strings and lists as long as may be, repetitive, and equal almost to the
//! end.

use dovetail_rule::{LIST_LEN_MAX, Row, STRING_BYTES_MAX, Schema, Value, ValueKind};

use super::bytes::Bytes;

/// Adversarial rows of any schema. Every pair of them is a bad one for something.
pub fn adversarial(schema: &Schema) -> Vec<Row> {
    let mut values: Vec<Box<dyn Fn(ValueKind, usize) -> Value>> = Vec::new();
    for (text, part) in SEARCHES {
        for swapped in [false, true] {
            // Texts on one side and parts on the other, whichever attribute it is; or one each.
            values.push(Box::new(move |kind, _| value(kind, if swapped { part(1) } else { text() }, swapped)));
            values.push(Box::new(move |kind, nth| {
                value(kind, if swapped == (nth % 2 == 0) { part(0) } else { text() }, swapped)
            }));
        }
    }
    let row = |make: &dyn Fn(ValueKind, usize) -> Value| {
        let slots = schema.attributes().iter().enumerate();
        Row::new(schema, slots.map(|(index, attribute)| Some(make(attribute.kind, index))).collect())
            .expect("within caps")
    };
    let mut rows: Vec<Row> = values.iter().map(|make| row(make)).collect();
    for order in ORDERS {
        for offset in [0, 1] {
            rows.push(row(&|kind, nth| match kind {
                ValueKind::StringList => list(order, offset),
                ValueKind::Int => Value::Int([i64::MIN, -1, 0, i64::MAX][(nth + offset) % 4]),
                ValueKind::Double => {
                    Value::Double([-0.0, f64::INFINITY, f64::MIN_POSITIVE, f64::MAX][(nth + offset) % 4])
                }
                kind => value(kind, "é".repeat(STRING_BYTES_MAX / 2), offset == 1),
            }));
        }
    }
    rows.push(Bytes(&[]).row(schema));
    rows
}

/// A text, and what is almost in it, the one of 0 or that of 1.
pub type Search = (fn() -> String, fn(usize) -> String);

/// Texts, and parts that are almost in them: the costliest that measuring found for `contains` (see `bin/worst.rs`).
pub const SEARCHES: [Search; 4] = [
    (|| cycle(&spaced(31)), |_| with(cycle(&spaced(31))[7..247].to_owned(), 120, "a")),
    (|| cycle("abcabd"), |_| with(cycle("abcabd")[..250].to_owned(), 125, "b")),
    (|| cycle("a"), |last| with(cycle("a")[..128].to_owned(), 127 * last, "b")),
    (|| cycle("aab"), |_| with(cycle("aab")[1..33].to_owned(), 30, "c")),
];

fn spaced(run: usize) -> String {
    format!("{}b", "a".repeat(run))
}

fn cycle(unit: &str) -> String {
    unit.chars().cycle().take(STRING_BYTES_MAX).collect()
}

fn with(mut text: String, at: usize, letter: &str) -> String {
    text.replace_range(at..at + 1, letter);
    text
}

/// Orders of a list's entries: how many, and the rank of each.
pub const ORDERS: [fn() -> Vec<usize>; 6] = [
    || (0..LIST_LEN_MAX).collect(),
    || (0..LIST_LEN_MAX).rev().collect(),
    || vec![0; LIST_LEN_MAX],
    // Sorted by insertion by the standard library: every pair is compared.
    || (0..20).rev().collect(),
    || KILLER_56.to_vec(),
    || KILLER_64.to_vec(),
];

/// Orders that take the standard library 729 and 656 comparisons to sort, found by climbing from random ones.
const KILLER_56: [usize; 56] = [
    47, 26, 2, 27, 5, 13, 7, 19, 29, 9, 22, 51, 25, 17, 15, 50, 11, 32, 39, 35, 31, 33, 36, 23, 41, 0, 24, 3, 55, 8, 6,
    46, 44, 43, 37, 53, 4, 28, 34, 40, 21, 38, 30, 52, 1, 48, 10, 45, 49, 54, 20, 42, 18, 16, 14, 12,
];
const KILLER_64: [usize; 64] = [
    25, 17, 12, 9, 7, 6, 5, 3, 1, 30, 36, 29, 49, 57, 41, 0, 31, 38, 44, 47, 62, 32, 61, 28, 26, 21, 15, 39, 4, 42, 43,
    52, 10, 46, 35, 16, 34, 19, 24, 58, 55, 63, 23, 60, 53, 40, 50, 51, 45, 48, 18, 20, 11, 59, 37, 56, 13, 14, 54, 33,
    2, 22, 27, 8,
];

/// A list of that order whose entries differ in their last three letters only; none is in a list of another `offset`.
pub fn list(order: fn() -> Vec<usize>, offset: usize) -> Value {
    let prefix = "x".repeat(STRING_BYTES_MAX - 3);
    Value::StringList(order().into_iter().map(|rank| format!("{prefix}{:03}", 2 * rank + offset).into()).collect())
}

fn value(kind: ValueKind, text: String, flag: bool) -> Value {
    match kind {
        ValueKind::Int => Value::Int(if flag { i64::MAX } else { 0 }),
        ValueKind::Double => Value::Double(if flag { -1.5 } else { 0.0 }),
        ValueKind::Bool => Value::Bool(flag),
        ValueKind::StringList => Value::StringList((0..LIST_LEN_MAX).map(|_| text.as_str().into()).collect()),
        ValueKind::String => Value::String(text.into()),
    }
}
