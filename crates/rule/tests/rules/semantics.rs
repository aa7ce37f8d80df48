//! What rules mean: RULES.md, line by line.

use dovetail_rule::{EvalError, Rule, Value};

use crate::{constant, holds, refused, schema, test};

const OVERFLOW: Result<bool, EvalError> = Err(EvalError::Overflow);
const BY_ZERO: Result<bool, EvalError> = Err(EvalError::DivisionByZero);

/// Sources of a bool with each of the four outcomes, on a pair where only `a.f`, `a.i` (0) and `a.j` (the highest int)
/// are there.
const TRUE: &str = "a.i == 0";
const FALSE: &str = "a.i != 0";
const MISSING: &str = "b.i == 0";
const ERROR: &str = "1 / a.i == 0";
const OTHER_ERROR: &str = "a.j + 1 == 0";

/// `Some(bool)`, `None` for missing, or an error: what `source` is, seen through negation.
fn outcome(source: &str) -> Result<Option<bool>, EvalError> {
    let a = [("i", Value::Int(0)), ("j", Value::Int(i64::MAX)), ("f", Value::Bool(true))];
    let (plain, negated) = (test(source, &a, &[])?, test(&format!("!({source})"), &a, &[])?);
    Ok(match (plain, negated) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
        (true, true) => panic!("{source} holds, and so does its negation"),
    })
}

fn check(source: &str, expected: Result<Option<bool>, EvalError>) {
    assert_eq!(outcome(source), expected, "{source}");
}

const T: Result<Option<bool>, EvalError> = Ok(Some(true));
const F: Result<Option<bool>, EvalError> = Ok(Some(false));
const M: Result<Option<bool>, EvalError> = Ok(None);
const E: Result<Option<bool>, EvalError> = Err(EvalError::DivisionByZero);

#[test]
fn logic_is_decided_by_whichever_operand_decides_it() {
    let sources = [TRUE, FALSE, MISSING, ERROR];
    let and = [[T, F, M, E], [F, F, F, F], [M, F, M, M], [E, F, M, E]];
    let or = [[T, T, T, T], [T, F, M, E], [T, M, M, M], [T, E, M, E]];
    for (i, left) in sources.iter().enumerate() {
        for (j, right) in sources.iter().enumerate() {
            check(&format!("({left}) && ({right})"), and[i][j]);
            check(&format!("({left}) || ({right})"), or[i][j]);
        }
    }
}

#[test]
fn a_negation_turns_true_and_false_and_nothing_else() {
    check(&format!("!({TRUE})"), F);
    check(&format!("!({FALSE})"), T);
    check(&format!("!({MISSING})"), M);
    check(&format!("!({ERROR})"), E);
}

#[test]
fn the_leftmost_of_several_errors_is_reported() {
    check(&format!("{ERROR} && {OTHER_ERROR}"), Err(EvalError::DivisionByZero));
    check(&format!("{OTHER_ERROR} && {ERROR}"), Err(EvalError::Overflow));
    check(&format!("{OTHER_ERROR} || {ERROR}"), Err(EvalError::Overflow));
    check("1 / a.i == a.j + 1", Err(EvalError::DivisionByZero));
    check("max(1, a.j + 1, 1 / a.i) == 1", Err(EvalError::Overflow));
}

#[test]
fn missing_outweighs_an_error_in_every_strict_operator() {
    for (operands, expected) in [("1 / a.i, b.i", M), ("b.i, 1 / a.i", M), ("1 / a.i, a.i", E), ("a.i, 1 / a.i", E)] {
        let (left, right) = operands.split_once(", ").unwrap();
        for operator in ["==", "!=", "<", "<=", ">", ">="] {
            check(&format!("{left} {operator} {right}"), expected);
        }
        for operator in ["+", "-", "*", "/", "%"] {
            check(&format!("({left}) {operator} ({right}) == 7"), expected);
        }
        check(&format!("max({operands}) == 7"), expected);
        check(&format!("min(1, {operands}) == 7"), expected);
    }
}

#[test]
fn a_choice_evaluates_its_condition_and_the_branch_it_takes() {
    check(&format!("{TRUE} ? {FALSE} : {ERROR}"), F);
    check(&format!("{FALSE} ? {MISSING} : {TRUE}"), T);
    check(&format!("{TRUE} ? {ERROR} : {TRUE}"), E);
    check(&format!("{MISSING} ? {TRUE} : {TRUE}"), M);
    check(&format!("{ERROR} ? {TRUE} : {TRUE}"), E);
    check("(a.i == 0 ? 1 : 1 / a.i) == 1", T);
    check("(a.i == 0 ? b.s : 'x') == 'x'", M);
    check("(a.i == 0 ? 'x' : b.s) == 'x'", T);
    check("size(a.i == 0 ? ['x'] : b.l) == 1", T);
    check("(a.i == 0 ? 1 : 2.5) == 1.0", T);
}

#[test]
fn a_missing_attribute_satisfies_no_comparison_negated_or_not() {
    for attribute in ["b.i", "b.d", "b.s", "b.f", "b.l"] {
        for operator in ["==", "!="] {
            check(&format!("{attribute} {operator} {attribute}"), M);
        }
    }
    for attribute in ["b.i", "b.d", "b.s"] {
        for operator in ["<", "<=", ">", ">="] {
            check(&format!("{attribute} {operator} {attribute}"), M);
        }
    }
    for source in [
        "b.f",
        "-b.i == 0",
        "abs(b.i) == 0",
        "abs(b.d) == 0",
        "double(b.i) == 0",
        "size(b.s) == 0",
        "size(b.l) == 0",
        "b.s.startsWith('')",
        "'x'.endsWith(b.s)",
        "b.s.contains('')",
        "b.l.intersects(['x'])",
        "['x'].intersects(b.l)",
        "'x' in b.l",
        "b.s in ['x']",
        "b.s in ['x'] && 'x' in ['x']",
        "b.i in [1, 2.5]",
    ] {
        check(source, M);
    }
}

#[test]
fn has_asks_and_is_never_missing() {
    check("has(a.i)", T);
    check("has(b.i)", F);
    check("has(a.waited)", T);
    check("!has(b.i) || b.i != a.i", T);
    check("(has(b.i) ? b.i : 7) == 7", T);
}

#[test]
fn in_is_an_or_of_equalities() {
    check("a.i in [1, 0]", T);
    check("a.i in [1, 2]", F);
    check("a.i in [b.i, 0]", T);
    check("a.i in [b.i, 1]", M);
    check("a.i in [1 / a.i, 0]", T);
    check("a.i in [1 / a.i, 1]", E);
    check("a.i in [1 / a.i, b.i]", M);
    check("1 / a.i in [1, 2]", E);
    check("a.i in [0.5, 0.0]", T);
    check("a.f in [false, true]", T);
    check("1.5 in [1, 1.5]", T);
    check("'x' in ['x']", T);
    check("'x' in (a.i == 0 ? ['x', 'y'] : [])", T);
    check("'z' in (a.i == 0 ? ['x', 'y'] : [])", F);
}

#[test]
fn nan_is_missing_wherever_it_comes_from() {
    check("0.0 / 0.0 == 0.0 / 0.0", M);
    check("0.0 / 0.0 != 1.0", M);
    check("1e308 * 10 - 1e308 * 10 < 1.0", M);
    check("min(0.0 / 0.0, 1.0) == 1.0", M);
    check("(0.0 / 0.0) * (1 / a.i) == 1.0", M);
    check("0.0 / 0.0 in [1.0]", M);
    let nan = [("d", Value::Double(f64::NAN))];
    assert_eq!(test("has(a.d)", &nan, &[]), Ok(false));
    assert_eq!(test("a.d != 1.0 || !(a.d != 1.0)", &nan, &[]), Ok(false));
}

#[test]
fn int_arithmetic_is_exact_or_an_error() {
    holds("7 / 2 == 3 && -7 / 2 == -3 && 7 % 3 == 1 && -7 % 3 == -1 && 7 % -3 == 1");
    holds("abs(-3) == 3 && abs(3) == 3 && -(3) == -3 && --3 == 3");
    for source in [
        "9223372036854775807 + 1 == 0",
        "-9223372036854775808 - 1 == 0",
        "3037000500 * 3037000500 == 0",
        "-9223372036854775808 / -1 == 0",
        "-9223372036854775808 % -1 == 0",
        "-(-9223372036854775808) == 0",
        "abs(-9223372036854775808) == 0",
    ] {
        assert_eq!(constant(source), OVERFLOW, "{source}");
    }
    assert_eq!(constant("1 / (1 - 1) == 0"), BY_ZERO);
    assert_eq!(constant("1 % (1 - 1) == 0"), BY_ZERO);
}

#[test]
fn double_arithmetic_is_ieee_754() {
    holds("0.1 + 0.2 == 0.30000000000000004");
    holds("1.0 / 0.0 > 1e308 && -1.0 / 0.0 < -1e308 && 1.0 / -0.0 < 0.0");
    holds("1e308 * 10 == 1.0 / 0.0");
    holds("0.0 == -0.0 && 7.0 / 2 == 3.5");
    holds("abs(-2.5) == 2.5 && -(2.5) == -2.5");
}

#[test]
fn an_int_next_to_a_double_becomes_a_double() {
    holds("1 + 0.5 == 1.5 && 3 / 2.0 == 1.5 && min(1, 2.5) == 1.0 && max(1, 2.5) == 2.5");
    let rounds = [("i", Value::Int((1 << 53) + 1)), ("d", Value::Double(9_007_199_254_740_992.0))];
    assert_eq!(test("a.i + 0.0 == a.d", &rounds, &[]), Ok(true), "arithmetic rounds to the nearest double");
    assert_eq!(test("double(a.i) == a.d", &rounds, &[]), Ok(true));
    assert_eq!(test("double(a.i) / 2 == 4503599627370496.0", &rounds, &[]), Ok(true));
}

#[test]
fn an_int_is_compared_with_a_double_without_rounding() {
    let at = |int: i64, double: f64| {
        let values = [("i", Value::Int(int)), ("d", Value::Double(double))];
        let ask = |source: &str| test(source, &values, &[]).unwrap();
        let answers = ["<", "==", ">"].map(|op| ask(&format!("a.i {op} a.d")));
        assert_eq!(answers, [">", "==", "<"].map(|op| ask(&format!("a.d {op} a.i"))), "{int} {double}");
        assert_eq!(ask("a.i != a.d"), !answers[1]);
        assert_eq!(ask("a.i <= a.d"), !answers[2]);
        assert_eq!(ask("a.i >= a.d"), !answers[0]);
        assert_eq!(ask("a.i in [a.d, 7]"), answers[1]);
        match answers {
            [true, false, false] => "<",
            [false, true, false] => "==",
            [false, false, true] => ">",
            other => panic!("{int} and {double}: {other:?}"),
        }
    };
    assert_eq!(at(1, 1.0), "==");
    assert_eq!(at(1, 1.5), "<");
    assert_eq!(at(-1, -1.5), ">");
    assert_eq!(at(0, -0.0), "==");
    assert_eq!(at(0, f64::MIN_POSITIVE), "<");
    assert_eq!(at((1 << 53) + 1, 9_007_199_254_740_992.0), ">");
    assert_eq!(at(i64::MAX, 9_223_372_036_854_775_808.0), "<");
    assert_eq!(at(i64::MIN, -9_223_372_036_854_775_808.0), "==");
    assert_eq!(at(i64::MIN, -9_223_372_036_854_777_856.0), ">");
    assert_eq!(at(i64::MAX, f64::INFINITY), "<");
    assert_eq!(at(i64::MIN, f64::NEG_INFINITY), ">");
    holds("9007199254740993 > 9007199254740992.0 && 1 == 1.0 && 2 < 2.5");
}

#[test]
fn min_and_max_take_two_to_eight_numbers_and_the_first_of_equals() {
    holds("min(3, 1, 2) == 1 && max(3, 1, 2) == 3 && max(1,2,3,4,5,6,7,8) == 8 && min(2.5, 1) == 1.0");
    holds("1.0 / min(0.0, -0.0) > 0.0 && 1.0 / min(-0.0, 0.0) < 0.0");
    holds("1.0 / max(0.0, -0.0) > 0.0 && 1.0 / max(-0.0, 0.0) < 0.0");
}

#[test]
fn strings_are_compared_by_code_point_and_measured_in_characters() {
    holds("'a' < 'b' && 'a' < 'aa' && 'Z' < 'a' && 'z' < 'é' && '\u{ffff}' < '😀' && 'a' != 'A'");
    holds("size('é😀') == 2 && 'é😀'.size() == 2 && size('') == 0");
    holds("'dovetail'.startsWith('dove') && !'dovetail'.startsWith('tail') && 'x'.startsWith('')");
    holds("'dovetail'.endsWith('tail') && !'dovetail'.endsWith('dove') && 'x'.endsWith('')");
    holds("'dovetail'.contains('vet') && !'dovetail'.contains('cat') && 'x'.contains('') && !''.contains('x')");
}

#[test]
fn lists_are_equal_in_order_and_intersect_in_any() {
    holds("['x', 'y'] == ['x', 'y'] && ['x', 'y'] != ['y', 'x'] && ['x'] != ['x', 'x'] && [] == []");
    holds("['x', 'y'].intersects(['z', 'y']) && !['x'].intersects(['y']) && !['x'].intersects([])");
    holds("size(['x', 'x']) == 2 && ['x'].size() == 1 && size([]) == 0");
}

#[test]
fn long_lists_intersect_as_short_ones_do() {
    let names: Vec<String> = (0..128).map(|n| format!("map{:03}", n * 37 % 128)).collect();
    let list = |from: usize, len: usize| {
        Value::from(names[from..from + len].iter().map(String::as_str).collect::<Vec<_>>().as_slice())
    };
    for (left, right, expected) in
        [((0, 64), (64, 64), false), ((0, 64), (63, 64), true), ((0, 3), (2, 64), true), ((0, 3), (3, 64), false)]
    {
        let (left, right) = ([("l", list(left.0, left.1))], [("l", list(right.0, right.1))]);
        assert_eq!(test("a.l.intersects(b.l)", &left, &right), Ok(expected));
        assert_eq!(test("a.l.intersects(b.l)", &right, &left), Ok(expected));
        assert_eq!(test("a.l.intersects(b.l) == b.l.intersects(a.l)", &right, &left), Ok(true));
    }
}

#[test]
fn bools_are_compared_for_equality() {
    holds("true == true && true != false && (1 == 1) == (2 == 2)");
}

#[test]
fn waited_is_an_int_of_milliseconds_that_is_always_there() {
    // The helper's `a` has waited 1,000 ms, its `b` 2,000 ms.
    holds("a.waited == 1000 && b.waited == 2000 && min(a.waited, b.waited) / 1000 == 1");
    let uses_time = |source: &str| Rule::compile(source, &schema()).unwrap().uses_time();
    assert!(uses_time("a.f && (b.i in [1, abs(b.waited)])"));
    assert!(!uses_time("a.f && b.f"));
    assert!(!uses_time("has(a.waited)"), "it is always there, whatever the time");
}

#[test]
fn the_example_of_the_design_widens_with_time() {
    use dovetail_rule::{Row, Schema, Side, ValueKind};
    let source =
        "a.region == b.region && a.role != b.role && abs(a.skill - b.skill) <= 25 + 5 * min(a.waited, b.waited) / 1000";
    let kinds = [("region", ValueKind::String), ("role", ValueKind::String), ("skill", ValueKind::Double)];
    let schema = Schema::new(kinds.map(|(name, kind)| (name.to_owned(), kind))).unwrap();
    let rule = Rule::compile(source, &schema).unwrap();
    assert!(rule.uses_time());
    assert_eq!(rule.source(), source);
    let row = |region: &str, role: &str, skill: Option<f64>| {
        Row::new(&schema, vec![Some(region.into()), Some(role.into()), skill.map(Value::from)]).unwrap()
    };
    let ask = |a: &Row, b: &Row, waited_ms: i64| {
        let sides = [Side { row: a, waited_ms: 1_000_000 }, Side { row: b, waited_ms }];
        assert_eq!(rule.test(sides[0], sides[1]), rule.test(sides[1], sides[0]), "the rule is symmetric");
        rule.matches(sides[0], sides[1])
    };
    let tank = row("eu", "tank", Some(1500.0));
    assert!(ask(&tank, &row("eu", "healer", Some(1525.0)), 0));
    assert!(!ask(&tank, &row("eu", "healer", Some(1525.5)), 0));
    assert!(!ask(&tank, &row("eu", "healer", Some(1525.5)), 199), "5 * 199 / 1000 is 0");
    assert!(ask(&tank, &row("eu", "healer", Some(1525.5)), 200));
    assert!(!ask(&tank, &row("eu", "tank", Some(1500.0)), 0));
    assert!(!ask(&tank, &row("us", "healer", Some(1500.0)), 0));
    assert!(!ask(&tank, &row("eu", "healer", None), 1_000_000));
    assert_eq!(
        rule.expr().to_string(),
        "a.region == b.region && a.role != b.role \
         && abs(a.skill - b.skill) <= 25 + 5 * min(a.waited, b.waited) / 1000"
    );
}

#[test]
fn times_and_durations_are_ints_that_are_written_as_in_cel() {
    holds("timestamp('2026-01-01T00:00:00Z') == 1767225600000 && timestamp('1970-01-01T00:00:00Z') == 0");
    holds("duration('1h30m') == 5400000 && duration('-1.5s') == -1500 && duration('0') == 0");
    holds("timestamp('2026-01-01T00:00:00Z') - timestamp('2025-12-31T00:00:00Z') == duration('24h')");
    holds("timestamp('2026-01-01T02:00:00+02:00') + duration('1s') == timestamp(\"2026-01-01T00:00:01Z\")");
    holds("a.waited == duration('1s') && max(a.waited, b.waited) <= duration('2s')");
    assert_eq!(constant("duration('2562047788015h') + duration('2562047788015h') > 0"), Err(EvalError::Overflow));
    let near = "abs(a.i - b.i) <= duration('30m')";
    let at = |ms: i64| [("i", Value::Int(ms))];
    assert_eq!(test(near, &at(1_767_225_600_000), &at(1_767_227_400_000)), Ok(true));
    assert_eq!(test(near, &at(1_767_225_600_000), &at(1_767_227_400_001)), Ok(false));
    assert_eq!(test(near, &at(i64::MIN), &at(i64::MAX)), Err(EvalError::Overflow));
}

#[test]
fn what_is_no_time_is_refused_with_its_place() {
    let says = "is not a time of RFC 3339, such as \"2026-01-01T00:00:00Z\"";
    refused("a.i < timestamp('soon')", &format!("rule:1:17: \"soon\" {says}"));
    refused("a.i < timestamp('2026-02-30T00:00:00Z')", &format!("rule:1:17: \"2026-02-30T00:00:00Z\" {says}"));
    refused(
        "a.i < timestamp('2026-01-01T00:00:00')",
        "rule:1:17: \"2026-01-01T00:00:00\" has no offset: end it with \"Z\" for UTC, or with one such as \"+02:00\"",
    );
    refused(
        "a.i < duration('5')",
        "rule:1:16: \"5\" is not a duration, such as \"250ms\", \"5s\", \"1.5h\" or \"1h30m\"",
    );
    refused("a.i < duration('1us')", "rule:1:16: \"1us\" is finer than a millisecond");
    refused(
        "a.i < duration('106751991168d')",
        "rule:1:16: \"106751991168d\" is too long: a duration is an int of milliseconds, at most 9223372036854775807",
    );
    refused("a.i < duration(5)", "rule:1:16: \"duration\" takes a text in quotes, as in duration(\"1h30m\")");
    refused(
        "timestamp(a.s) < 5",
        "rule:1:11: \"timestamp\" takes a text in quotes, as in timestamp(\"2026-01-01T00:00:00Z\")",
    );
    refused("timestamp() < 5", "rule:1:1: \"timestamp\" takes 1 argument, but is given 0");
    refused("a.i / duration('0s') == 1", "rule:1:7: division by zero");
}
