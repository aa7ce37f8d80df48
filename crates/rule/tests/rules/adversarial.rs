//! Sources made to hurt: refused or bounded, on a small stack, without a panic.

use dovetail_rule::{COST_MAX, DEPTH_MAX, Longest, Row, Rule, SOURCE_BYTES_MAX, Side, Value};

use crate::{constant, refused, schema};

/// Compiles, prints, evaluates and drops on a stack an eighth of what a thread usually has.
fn on_a_small_stack(source: String) -> Result<(), String> {
    let run = move || match Rule::compile(&source, &schema()) {
        Ok(rule) => {
            let printed = rule.expr().to_string();
            // Printing adds blanks and conversions, so the print may be too long; it is never wrong.
            if printed.len() <= SOURCE_BYTES_MAX {
                assert_eq!(Rule::compile(&printed, &schema()).map(|rule| rule.expr().to_string()), Ok(printed));
            }
            let _ = constant(&source);
            let _ = format!("{rule:?}");
            Ok(())
        }
        Err(error) => {
            assert!(error.render(&source).len() < 8 * SOURCE_BYTES_MAX);
            Err(error.reason.to_string())
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap()
}

/// `unit` over and over, `head` first, `tail` in the middle, `close` as often, within `bytes`.
fn chain(head: &str, unit: &str, tail: &str, close: &str, bytes: usize) -> String {
    let times = (bytes - head.len() - tail.len()) / (unit.len() + close.len());
    format!("{head}{}{tail}{}", unit.repeat(times), close.repeat(times))
}

/// Every way to nest or to go on, at every length up to the longest source.
const CHAINS: [(&str, &str, &str, &str); 26] = [
    ("", "(", "true", ")"),
    ("", "(", "", ""),
    ("", ")", "", ""),
    ("", "!", "true", ""),
    ("", "!(", "true", ")"),
    ("1 == ", "-", "1", ""),
    ("1 == ", "-", "a.i", ""),
    ("1 == ", "-(", "1", ")"),
    ("1 == 1", "+1", "", ""),
    ("1 == 1", "*1", "", ""),
    ("1 == a.d", "*a.i", "", ""),
    ("true", "==true", "", ""),
    ("", "[", "", "]"),
    ("", "[", "", ""),
    ("", "true?true:", "true", ""),
    ("", "true?", "true", ":true"),
    ("", "(true?", "true", ":true)"),
    ("true", "&&true", "", ""),
    ("true", "||false&&true", "", ""),
    ("a", ".a", "", ""),
    ("a", ".size()", "", ""),
    ("a", "[a", "", "]"),
    ("1 == ", "abs(", "1", ")"),
    ("1 == ", "min(1,", "1", ")"),
    ("", "'", "", ""),
    ("", "\\", "", ""),
];

#[test]
fn deep_and_long_sources_are_refused_or_bounded() {
    for (head, unit, tail, close) in CHAINS {
        for bytes in (32..=SOURCE_BYTES_MAX).step_by(31) {
            let _ = on_a_small_stack(chain(head, unit, tail, close, bytes));
        }
        let message = on_a_small_stack(chain(head, unit, tail, close, 1 << 20)).unwrap_err();
        assert!(message.starts_with("source is 1048"), "{message}");
    }
}

#[test]
fn depth_is_bounded_and_the_bound_can_be_reached() {
    let nested = |unit: &str, core: &str, close: &str, times: usize| {
        on_a_small_stack(format!("{}{core}{}", unit.repeat(times), close.repeat(times)))
    };
    let too_deep = Err(format!("expression is nested deeper than {DEPTH_MAX}"));
    assert_eq!(nested("(", "true", ")", DEPTH_MAX - 1), Ok(()));
    assert_eq!(nested("(", "true", ")", DEPTH_MAX), too_deep);
    assert_eq!(nested("!", "true", "", DEPTH_MAX - 1), Ok(()));
    assert_eq!(nested("!", "true", "", DEPTH_MAX), too_deep);
    assert_eq!(nested("true?true:", "true", "", DEPTH_MAX - 1), Ok(()));
    assert_eq!(nested("true?true:", "true", "", DEPTH_MAX), too_deep);
    // The comparison is one level, the first term another.
    let sum = |terms: usize| on_a_small_stack(format!("0 < 1{}", "+1".repeat(terms - 1)));
    assert_eq!(sum(DEPTH_MAX - 1), Ok(()));
    assert_eq!(sum(DEPTH_MAX), too_deep);
    assert_eq!(on_a_small_stack(format!("true{}", "&&true".repeat(150))), Ok(()), "logic is as wide as it likes");
    assert_eq!(nested("abs(", "1", ")", DEPTH_MAX), too_deep);
    refused(&"(".repeat(80), "rule:1:65: expression is nested deeper than 64");
}

#[test]
fn the_longest_source_is_accepted_and_a_longer_one_refused() {
    let padded = |bytes: usize| format!("true{}", " ".repeat(bytes - 4));
    assert!(Rule::compile(&padded(SOURCE_BYTES_MAX), &schema()).is_ok());
    refused(&padded(SOURCE_BYTES_MAX + 1), "rule:1:1: source is 1025 bytes, at most 1024");
    refused(&"\u{0}".repeat(2048), "rule:1:1: source is 2048 bytes, at most 1024");
}

#[test]
fn huge_literals_are_refused() {
    let digits = "9".repeat(900);
    let shown = "9".repeat(40);
    refused(&format!("a.i == {digits}"), &format!("rule:1:8: {shown}... is out of range for int"));
    refused(&format!("a.d == {digits}.0"), &format!("rule:1:8: {shown}... is out of range for double"));
    refused(&format!("a.d == 1e{digits}"), &format!("rule:1:8: 1e{}... is out of range for double", &shown[2..]));
    refused(&format!("a.s == '{}'", "x".repeat(257)), "rule:1:8: string is 257 bytes, at most 256");
    assert!(Rule::compile(&format!("a.s == '{}'", "x".repeat(256)), &schema()).is_ok());
    refused(&format!("a.l == [{}]", "'',".repeat(65)), "rule:1:8: list has 65 entries, at most 64");
    assert!(Rule::compile(&format!("a.i in [{}]", "1,".repeat(400)), &schema()).is_ok());
    let name = "n".repeat(1000);
    refused(&format!("a.{name}"), &format!("rule:1:3: unknown attribute \"{}...\"", &name[..40]));
}

#[test]
fn a_rules_cost_is_known_and_bounded() {
    let cost = |source: &str| Rule::compile(source, &schema()).map(|rule| rule.cost());
    assert_eq!(cost("true"), Ok(1));
    assert_eq!(cost("a.i + 1 == b.i"), Ok(5));
    assert_eq!(cost("a.s == b.s"), Ok(7), "strings are 4 units more");
    assert_eq!(cost("a.s == 'x'"), Ok(4), "but for short ones");
    assert_eq!(cost("a.i in [1, 2, 3]"), Ok(8));
    assert_eq!(cost("a.s in ['x', 'y']"), Ok(6));
    assert_eq!(cost("a.s in b.l"), Ok(259), "a list may have 64 entries");
    assert_eq!(cost("a.s in ['x'] || a.l == ['x', 'y']"), Ok(4 + 5 + 1));
    let repeated = |unit: &str, times: usize| vec![unit; times].join(" || ");
    assert!(cost(&repeated("a.l.intersects(b.l)", 2)).is_ok());
    let error = cost(&repeated("a.l.intersects(b.l)", 3)).unwrap_err().to_string();
    assert_eq!(error, "rule:1:1: rule costs 23818 units at worst, at most 16384");
    assert!(cost(&repeated("a.l.intersects(b.l)", 40)).is_err());
    assert_eq!(cost(&repeated("a.s.contains(b.s)", 48)), Ok(48 * 259 + 1), "no more fit the source");
    assert_eq!(cost("a.s.contains('xyz')"), Ok(3 + (256 + 3_u64).div_ceil(2)), "a literal is as long as it is");
}

#[test]
fn a_rule_costs_less_on_shorter_values() {
    let schema = schema();
    let within = |source: &str, bytes: u64, entries: u64| {
        let rule = Rule::compile(source, &schema).unwrap();
        rule.cost_within(&vec![Longest { bytes, entries }; schema.len()])
    };
    assert_eq!(within("a.s.contains(b.s)", 20, 0), 3 + 20);
    assert_eq!(within("a.s in b.l", 20, 4), 3 + 4);
    assert_eq!(within("a.l.intersects(b.l)", 65, 4), 3 + 2 * 16);
    for source in ["a.s.contains(b.s)", "a.s in b.l", "a.l.intersects(b.l)", "a.l == b.l || a.s < b.s", "a.i < b.i"] {
        assert_eq!(within(source, 256, 64), Rule::compile(source, &schema).unwrap().cost(), "{source}");
    }
}

/// Every place a long part fits in is looked at, the first and the last included.
#[test]
fn long_parts_are_found_wherever_they_are() {
    let schema = schema();
    let rule = Rule::compile("a.s.contains(b.s)", &schema).unwrap();
    let row = |text: &str| Row::from_named(&schema, [("s".to_owned(), Value::from(text))]).unwrap();
    let contains = |text: &str, part: &str| {
        let (text, part) = (row(text), row(part));
        rule.test(Side { row: &text, waited_ms: 0 }, Side { row: &part, waited_ms: 0 }).unwrap()
    };
    let part = format!("{}b{}", "ab".repeat(40), "aä".repeat(26));
    assert!(part.len() > 128);
    let room = 256 - part.len();
    for before in 0..=room {
        let text = format!("{}{part}{}", "a".repeat(before), "b".repeat(room - before));
        assert!(contains(&text, &part) && contains(&part, &part), "{before}");
        let other = text.replacen("bb", "bc", 1);
        assert_eq!(contains(&other, &part), other.contains(&part));
    }
    assert!(!contains(&part[..part.len() - 3], &part));
}

/// An `in` of mixed kinds was once rewritten to comparisons that each had a copy of the needle: 2^20 copies here.
#[test]
fn nesting_an_in_of_mixed_kinds_does_not_multiply_it() {
    let source = format!("{}1{} == 1", "(".repeat(20), " in [2, 2.5] ? 3 : 4)".repeat(20));
    assert_eq!(Rule::compile(&source, &schema()).map(|rule| rule.cost()), Ok(20 * 8 + 3));
}

#[test]
fn the_cheapest_and_the_costliest_nodes_stay_far_below_the_cap() {
    let distance = (0..8).map(|n| format!("(a.x{n}-b.x{n})*(a.x{n}-b.x{n})")).collect::<Vec<_>>().join("+");
    let attributes = (0..8).map(|n| (format!("x{n}"), dovetail_rule::ValueKind::Double));
    let schema = dovetail_rule::Schema::new(attributes).unwrap();
    let rule = Rule::compile(&format!("{distance} < 0.068"), &schema).unwrap();
    assert_eq!(rule.cost(), 65);
    assert!(rule.cost() * 100 < COST_MAX);
}

/// The worst rules that climbing from hostile ones found; they take about two milliseconds each.
#[test]
fn planning_takes_milliseconds_at_most() {
    let nested = |open: &str, core: &str, close: &str, times: usize| {
        format!("{}{core}{}", open.repeat(times), close.repeat(times))
    };
    let items = (0..240).map(|item| item.to_string()).collect::<Vec<_>>().join(",");
    let each = |unit: &str, joined: &str| {
        (0..40).map(|item| unit.replace('#', &item.to_string())).collect::<Vec<_>>().join(joined)
    };
    let sources = [
        nested("(", "a.f", " in [b.f,a.g,b.g])", 30),
        nested("a.d<=", "min(b.d,min(a.e,b.e),", "", 1) + &nested("min(b.d,min(a.e,b.e),", "b.e", ")", 29) + ")",
        nested("((a.f||b.f)==", "a.g", ")", 30),
        nested("(", "a.f", "?b.f:a.g)", 30),
        nested("(", "1/a.i>b.i", "?b.f:a.g)", 30),
        format!("(a.f==b.f?a.i*b.i+a.j:abs(a.i-b.j)*2-(a.g!=b.g?a.i:b.i)) in [{items}]"),
        each("(a.d-b.d<#)!=(a.i>b.j)", "||"),
        each("(a.d-b.d<#)!=(a.i>b.j)", "&&"),
    ];
    let most = std::time::Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 100 });
    for source in sources {
        let time = || {
            let begun = std::time::Instant::now();
            Rule::compile(&source, &schema()).unwrap_or_else(|error| panic!("{}", error.render(&source)));
            begun.elapsed()
        };
        // The least of some: whatever else the machine does is not the planner's.
        let least = (0..5).map(|_| time()).min().unwrap();
        assert!(least < most, "{least:?}: {source}");
    }
}
