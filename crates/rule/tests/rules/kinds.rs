//! Which kinds go together, and what is said when they do not.

use dovetail_rule::Rule;

use crate::{refused, schema};

/// One attribute of each kind.
const KINDS: [(&str, &str); 5] =
    [("int", "a.i"), ("double", "a.d"), ("string", "a.s"), ("bool", "a.f"), ("list<string>", "a.l")];

#[test]
fn every_operand_of_a_wrong_kind_is_refused_in_its_place() {
    // `_` is the operand, the columns count with a three-letter attribute in its place.
    let table = [
        ("_ && true", "&&", 1, "bool"),
        ("true && _", "&&", 9, "bool"),
        ("false || true || _", "||", 18, "bool"),
        ("!_", "!", 2, "bool"),
        ("_ ? true : false", "?:", 1, "bool"),
        ("-_ == 0", "-", 2, "int or double"),
        ("_ + 1 == 2", "+", 1, "int or double"),
        ("1 - _ == 2", "-", 5, "int or double"),
        ("1 * (2 * _) == 2", "*", 10, "int or double"),
        ("_ / 2 == 2", "/", 1, "int or double"),
        ("abs(_) == 1", "abs", 5, "int or double"),
        ("double(_) == 1.0", "double", 8, "int or double"),
        ("min(1, _) == 1", "min", 8, "int or double"),
        ("max(_, 1) == 1", "max", 5, "int or double"),
        ("_.startsWith('x')", "startsWith", 1, "string"),
        ("'x'.endsWith(_)", "endsWith", 14, "string"),
        ("_.contains('x')", "contains", 1, "string"),
        ("'x' in _", "in", 8, "list<string>"),
        ("_ in a.l", "in", 1, "string"),
        ("_.intersects(a.l)", "intersects", 1, "list<string>"),
        ("a.l.intersects(_)", "intersects", 16, "list<string>"),
        ("size(_) == 1", "size", 6, "string or list<string>"),
        ("_.size() == 1", "size", 1, "string or list<string>"),
        ("_ < _", "<", 1, "int, double or string"),
        ("_ >= _", ">=", 1, "int, double or string"),
        ("_ in ['x'] ", "in", 1, "int, double, string or bool"),
    ];
    for (pattern, operator, column, needs) in table {
        for (kind, operand) in KINDS {
            let source = pattern.replace('_', operand);
            let fits = needs.split(" or ").flat_map(|part| part.split(", ")).any(|part| part == kind);
            match Rule::compile(&source, &schema()) {
                // Other operands of the pattern may not fit: only this message must not come.
                result if fits => {
                    let text = result.err().map(|error| error.to_string()).unwrap_or_default();
                    assert!(!text.contains("needs"), "{source}: {text}");
                }
                _ => refused(&source, &format!("rule:1:{column}: {operand} is {kind}, but {operator:?} needs {needs}")),
            }
        }
    }
    refused("a.s % 2 == 0", "rule:1:1: a.s is string, but \"%\" needs int or double");
    refused("a.i % a.d == 0", "rule:1:7: a.d is double, but \"%\" needs int");
    refused("a.d % 2 == 0", "rule:1:1: a.d is double, but \"%\" needs int");
}

#[test]
fn equality_relates_each_kind_with_itself_and_ints_with_doubles() {
    for (left_kind, left) in KINDS {
        for (right_kind, right) in KINDS {
            let source = format!("{left} == {right}");
            let numbers = [left_kind, right_kind].iter().all(|kind| matches!(*kind, "int" | "double"));
            match left_kind == right_kind || numbers {
                true => assert!(Rule::compile(&source, &schema()).is_ok(), "{source}"),
                false => refused(&source, &format!("rule:1:5: \"==\" cannot relate {left_kind} and {right_kind}")),
            }
        }
    }
}

#[test]
fn operands_that_do_not_go_together_are_refused() {
    refused("a.i < a.s", "rule:1:5: \"<\" cannot relate int and string");
    refused("a.f ? 1 : 'x'", "rule:1:11: \"?:\" cannot relate int and string");
    refused("a.s in ['x', 1]", "rule:1:14: \"in\" cannot relate string and int");
    refused("a.i in [1, 2.5, 'x']", "rule:1:17: \"in\" cannot relate int and string");
    refused("a.i in []", "rule:1:8: list is empty: nothing is in it");
    refused("a.l == [1]", "rule:1:9: list holds 1: only string literals, except right of \"in\"");
    refused("a.l == ['x', a.s]", "rule:1:14: list holds a.s: only string literals, except right of \"in\"");
    refused("[['x']] == a.l", "rule:1:2: list holds ['x']: only string literals, except right of \"in\"");
}

#[test]
fn a_rule_is_a_bool() {
    refused("a.i", "rule:1:1: rule is int, but must be bool");
    refused("  a.f ? 1.0 : 2", "rule:1:3: rule is double, but must be bool");
    refused("['x']", "rule:1:1: rule is list<string>, but must be bool");
    assert!(Rule::compile("true", &schema()).is_ok());
    assert!(Rule::compile("a.f", &schema()).is_ok());
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let schema = dovetail_rule::Schema::new(
        ["skill", "region", "a"].into_iter().map(|name| (name.to_owned(), dovetail_rule::ValueKind::Int)),
    )
    .unwrap();
    let check = |source: &str, message: &str| {
        let error = Rule::compile(source, &schema).unwrap_err();
        assert_eq!(format!("rule:{}:{}: {}", error.line, error.column, error.reason), message, "{source}");
    };
    check("a.skil == 1", "rule:1:3: unknown attribute \"skil\" (did you mean \"skill\"?)");
    check("1 == b.Region", "rule:1:8: unknown attribute \"Region\" (did you mean \"region\"?)");
    check("a.wait == 1", "rule:1:3: unknown attribute \"wait\" (did you mean \"waited\"?)");
    check("a.latency == 1", "rule:1:3: unknown attribute \"latency\"");
    check("has(a.skil)", "rule:1:7: unknown attribute \"skil\" (did you mean \"skill\"?)");
    check("c.skill == 1", "rule:1:1: unknown name \"c\": a rule speaks of \"a\" and \"b\"");
    check("skill == 1", "rule:1:1: unknown name \"skill\": a rule speaks of \"a\" and \"b\"");
    check("a == b", "rule:1:1: \"a\" is an element and no value: name an attribute, as in \"a.waited\"");
    check("a.skill.region == 1", "rule:1:9: a.skill is int and has no attribute \"region\"");
    check("'x'.size == 1", "rule:1:5: 'x' is string and has no attribute \"size\"");
    assert!(Rule::compile("a.a == b.a", &schema).is_ok());
}

#[test]
fn wrong_calls_are_refused() {
    refused("abz(a.i) == 1", "rule:1:1: unknown function \"abz\" (did you mean \"abs\"?)");
    refused("a.s.startswith('x')", "rule:1:5: unknown function \"startswith\" (did you mean \"startsWith\"?)");
    refused("frobnicate()", "rule:1:1: unknown function \"frobnicate\"");
    refused("a.i.abs() == 1", "rule:1:5: \"abs\" is called as abs(x)");
    refused("contains(a.s, 'x')", "rule:1:1: \"contains\" is called as text.contains(part)");
    refused("abs(1, 2) == 1", "rule:1:1: \"abs\" takes 1 argument, but is given 2");
    refused("a.s.contains()", "rule:1:5: \"contains\" takes 1 argument, but is given 0");
    refused("a.s.size(1) == 1", "rule:1:5: \"size\" takes no argument after a \".\", but is given 1");
    refused("min(1) == 1", "rule:1:1: \"min\" takes 2 to 8 arguments, but is given 1");
    refused("max(1,2,3,4,5,6,7,8,9) == 1", "rule:1:1: \"max\" takes 2 to 8 arguments, but is given 9");
    refused("has(a.i + 1)", "rule:1:5: \"has\" takes an attribute, as in has(a.name)");
    refused("has(a)", "rule:1:5: \"has\" takes an attribute, as in has(a.name)");
    refused("has()", "rule:1:1: \"has\" takes 1 argument, but is given 0");
}
