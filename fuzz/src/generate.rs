//! Rules that a planner has something to do with, out of bytes: keys, bands, ranges, sets, distances, widening, and all
//! the rest of the language in between.
//!
//! Nearly all of them compile. The elements are written as U+0001 and U+0002, so that they can be exchanged.

use super::bytes::Bytes;

const FIRST: &str = "\u{1}";
const SECOND: &str = "\u{2}";

/// A rule over the schema of the corpus, and the same rule with `a` and `b` exchanged.
pub fn rule(bytes: &mut Bytes<'_>) -> (String, String) {
    let text = conjunction(bytes);
    (text.replace(FIRST, "a").replace(SECOND, "b"), text.replace(FIRST, "b").replace(SECOND, "a"))
}

fn conjunction(bytes: &mut Bytes<'_>) -> String {
    let count = 1 + bytes.below(5);
    (0..count).map(|_| conjunct(bytes)).collect::<Vec<_>>().join(" && ")
}

fn end(bytes: &mut Bytes<'_>) -> &'static str {
    bytes.pick(&[FIRST, SECOND])
}

/// What a planner looks for, and sometimes something else.
fn conjunct(bytes: &mut Bytes<'_>) -> String {
    let (a, b) = if bytes.below(2) == 0 { (FIRST, SECOND) } else { (SECOND, FIRST) };
    match bytes.below(16) {
        0 | 1 => {
            let name = bytes.pick(&["i", "d", "s", "f", "l", "waited"]);
            format!("{a}.{name} == {b}.{name}")
        }
        2 => {
            let (left, right) = bytes.pick(&[("i", "j"), ("d", "e"), ("s", "t"), ("f", "g"), ("l", "m"), ("i", "d")]);
            format!("{a}.{left} == {b}.{right}")
        }
        3 => format!("{a}.{} != {b}.{}", bytes.pick(&["s", "i"]), bytes.pick(&["s", "i"])),
        4 => {
            let name = bytes.pick(&["i", "d", "j"]);
            format!("abs({a}.{name} - {b}.{name}) {} {}", bytes.pick(&["<=", "<", ">=", "=="]), number(bytes, 1))
        }
        5 => {
            let name = bytes.pick(&["i", "d"]);
            let wait = bytes.pick(&["min", "max"]);
            format!(
                "abs({a}.{name} - {b}.{name}) <= 1 + {wait}({a}.waited, {b}.waited) / {}",
                bytes.pick(&[1000, 7, 0]).max(1)
            )
        }
        6 => {
            let squares =
                ["d", "e", "i", "j"].map(|name| format!("({a}.{name} - {b}.{name}) * ({a}.{name} - {b}.{name})"));
            let count = 1 + bytes.below(4);
            format!("{} < {}", squares[..count].join(" + "), number(bytes, 0))
        }
        7 => format!("{a}.l.intersects({b}.{})", bytes.pick(&["l", "m"])),
        8 => format!("{a}.s in {b}.l"),
        9 => format!("{a}.i in [{}, {}, {b}.j]", number(bytes, 0), number(bytes, 1)),
        10 => format!("(!has({a}.s) || {a}.s == {b}.t)"),
        11 => format!("({} || {})", conjunct(bytes), boolean(bytes, 2)),
        12 => format!("!({})", boolean(bytes, 2)),
        _ => boolean_in_brackets(bytes, 3),
    }
}

fn boolean_in_brackets(bytes: &mut Bytes<'_>, depth: usize) -> String {
    format!("({})", boolean(bytes, depth))
}

fn boolean(bytes: &mut Bytes<'_>, depth: usize) -> String {
    if depth == 0 {
        return match bytes.below(4) {
            0 => format!("{}.{}", end(bytes), bytes.pick(&["f", "g"])),
            1 => format!("has({}.{})", end(bytes), bytes.pick(&["i", "d", "s", "f", "l"])),
            _ => bytes.pick(&["true", "false"]).to_owned(),
        };
    }
    let depth = depth - 1;
    match bytes.below(14) {
        0 => format!("!{}", boolean_in_brackets(bytes, depth)),
        1 => format!("({} && {})", boolean(bytes, depth), boolean(bytes, depth)),
        2 => format!("({} || {})", boolean(bytes, depth), boolean(bytes, depth)),
        3 => {
            let [condition, then, otherwise] = [(); 3].map(|()| boolean_in_brackets(bytes, depth));
            format!("({condition} ? {then} : {otherwise})")
        }
        4..=6 => {
            let op = bytes.pick(&["==", "!=", "<", "<=", ">", ">="]);
            format!("{} {op} {}", number(bytes, depth), number(bytes, depth))
        }
        7 | 8 => {
            let op = bytes.pick(&["==", "!=", "<", "<=", ">", ">="]);
            format!("{} {op} {}", text(bytes, depth), text(bytes, depth))
        }
        9 => {
            let function = bytes.pick(&["contains", "startsWith", "endsWith"]);
            format!("{}.{function}({})", text(bytes, depth), text(bytes, depth))
        }
        10 => format!("{} in {}", text(bytes, depth), list(bytes, depth)),
        11 => format!("{}.intersects({})", list(bytes, depth), list(bytes, depth)),
        12 => format!("{} in [{}, {}]", number(bytes, depth), number(bytes, depth), number(bytes, depth)),
        _ => format!("{} {} {}", list(bytes, depth), bytes.pick(&["==", "!="]), list(bytes, depth)),
    }
}

fn number(bytes: &mut Bytes<'_>, depth: usize) -> String {
    if depth == 0 {
        let literals = [
            "0",
            "1",
            "-1",
            "25",
            "0.5",
            "-0.0",
            "1e300",
            "9223372036854775807",
            "-9223372036854775808",
            "duration('1h30m')",
            "duration('-9223372036854775808ms')",
            "timestamp('2026-01-01T00:00:00Z')",
            "timestamp('1969-12-31T23:59:60-01:00')",
        ];
        return match bytes.below(3) {
            0 => bytes.pick(&literals).to_owned(),
            _ => format!("{}.{}", end(bytes), bytes.pick(&["i", "j", "d", "e", "waited"])),
        };
    }
    let depth = depth - 1;
    match bytes.below(8) {
        0..=2 => {
            let op = bytes.pick(&["+", "-", "*", "/"]);
            format!("({} {op} {})", number(bytes, depth), number(bytes, depth))
        }
        3 => format!("abs({})", number(bytes, depth)),
        4 => format!("{}({}, {})", bytes.pick(&["min", "max"]), number(bytes, depth), number(bytes, depth)),
        5 => format!("-({})", number(bytes, depth)),
        6 => format!("size({})", if bytes.below(2) == 0 { text(bytes, depth) } else { list(bytes, depth) }),
        _ => format!("({} ? {} : {})", boolean(bytes, depth), number(bytes, depth), number(bytes, depth)),
    }
}

fn text(bytes: &mut Bytes<'_>, depth: usize) -> String {
    match bytes.below(6) {
        0 => bytes.pick(&["''", "'x'", "'xy'", "'é'", "'aaaaaaaa'", "'abababab'"]).to_owned(),
        1 if depth > 0 => {
            format!("({} ? {} : {})", boolean(bytes, depth - 1), text(bytes, depth - 1), text(bytes, depth - 1))
        }
        _ => format!("{}.{}", end(bytes), bytes.pick(&["s", "t"])),
    }
}

fn list(bytes: &mut Bytes<'_>, depth: usize) -> String {
    match bytes.below(6) {
        0 => bytes.pick(&["[]", "['x']", "['x', 'y', 'xy']"]).to_owned(),
        1 if depth > 0 => {
            format!("({} ? {} : {})", boolean(bytes, depth - 1), list(bytes, depth - 1), list(bytes, depth - 1))
        }
        _ => format!("{}.{}", end(bytes), bytes.pick(&["l", "m"])),
    }
}
