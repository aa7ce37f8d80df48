//! Text of every degree of nonsense.

use dovetail_rule::{Rule, ValueKind};

use super::Tree;
use super::draw::Random;
use crate::schema;

/// Compiles, and if refused, shows the refusal. Its place must be in the source.
fn survive(source: &str) -> bool {
    match Rule::compile(source, &schema()) {
        Ok(rule) => {
            let _ = rule.expr().to_string();
            true
        }
        Err(error) => {
            assert!(error.span.start <= error.span.end && error.span.end <= source.len(), "{source:?}: {error:?}");
            assert!(source.is_char_boundary(error.span.start) && source.is_char_boundary(error.span.end), "{source:?}");
            assert!(error.render(source).starts_with("rule:"), "{source:?}");
            false
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(1);
    for _ in 0..20_000 {
        let len = random.below(80);
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        survive(&String::from_utf8_lossy(&bytes));
        let ascii: String = bytes.iter().map(|byte| char::from(byte & 0x7f)).collect();
        survive(&ascii);
    }
}

#[test]
fn random_tokens_never_panic() {
    const TOKENS: [&str; 68] = [
        "a",
        "b",
        ".",
        "a.i",
        "b.d",
        "a.s",
        "b.f",
        "a.l",
        "a.waited",
        "has(",
        "abs(",
        "min(",
        "max(",
        "size(",
        ".size()",
        ".contains(",
        ".intersects(",
        ".x",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "?",
        ":",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "&&",
        "||",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "in",
        "true",
        "false",
        "null",
        "0",
        "1",
        "-1",
        "2.5",
        "1e9",
        "0xf",
        "1u",
        "'x'",
        "\"y\"",
        "r'z'",
        "'",
        "\\",
        "//",
        "\n",
        "é",
        "double(",
        "duration('1h30m')",
        "timestamp('2026-01-01T00:00:00Z')",
        "duration(",
        "timestamp(",
        "and",
        "not",
        "9223372036854775808",
    ];
    let mut random = Random(2);
    let mut accepted = 0;
    for _ in 0..60_000 {
        let len = 1 + random.below(12);
        let tokens: Vec<&str> = (0..len).map(|_| random.pick(&TOKENS)).collect();
        accepted += usize::from(survive(&tokens.join(if random.one_in(2) { " " } else { "" })));
    }
    assert!(accepted > 20, "only {accepted} accepted");
}

#[test]
fn damaged_rules_never_panic() {
    for seed in 0..6_000 {
        let mut random = Random(seed);
        let depth = 1 + random.below(4);
        let tree = Tree::generate(&mut random, ValueKind::Bool, depth);
        let mut bytes = tree.text(&mut random).into_bytes();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len().max(1));
            match random.below(4) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 if !bytes.is_empty() => bytes[at] = random.next() as u8,
                _ => bytes.insert(at.min(bytes.len()), random.pick(b"()[]{}.,?:!-+*/%&|=<>'\"\\ eu09")),
            }
        }
        survive(&String::from_utf8_lossy(&bytes));
    }
}
