//! What can be written, and how it is read.

use crate::{constant, holds, refused, schema};
use dovetail_rule::Rule;

/// `source` reads as `meaning`, where brackets make every reading explicit.
fn reads_as(source: &str, meaning: &str) {
    let expr = |source: &str| Rule::compile(source, &schema()).unwrap_or_else(|e| panic!("{}", e.render(source)));
    assert_eq!(expr(source).expr(), expr(meaning).expr(), "{source}  against  {meaning}");
}

#[test]
fn operators_bind_as_in_cel() {
    reads_as("a.f || b.f && a.g", "a.f || (b.f && a.g)");
    reads_as("a.f && b.f || a.g", "(a.f && b.f) || a.g");
    reads_as("!a.f && b.f", "(!a.f) && b.f");
    reads_as("!a.f == b.f", "(!a.f) == b.f");
    reads_as("a.i + a.j * b.i == b.j", "(a.i + (a.j * b.i)) == b.j");
    reads_as("a.i - a.j - b.i == 0", "((a.i - a.j) - b.i) == 0");
    reads_as("a.i / a.j * b.i % 7 == 0", "(((a.i / a.j) * b.i) % 7) == 0");
    reads_as("-a.i * a.j == 0", "((-a.i) * a.j) == 0");
    reads_as("a.i < a.j == b.f", "(a.i < a.j) == b.f");
    reads_as("a.s in b.l == b.f", "(a.s in b.l) == b.f");
    reads_as("a.i + 1 in [b.i, 2]", "(a.i + 1) in [b.i, 2]");
    reads_as("a.f ? b.f : a.g ? b.g : false", "a.f ? b.f : (a.g ? b.g : false)");
    reads_as("a.f || b.f ? a.g || b.g : a.f || b.g", "(a.f || b.f) ? (a.g || b.g) : (a.f || b.g)");
    reads_as("a.i - -5 == 0", "(a.i - (-5)) == 0");
    reads_as("a.i--5 == 0", "(a.i - (-5)) == 0");
}

#[test]
fn brackets_in_a_chain_of_logic_are_of_no_consequence() {
    reads_as("a.f && (b.f && a.g) && b.g", "a.f && b.f && a.g && b.g");
    reads_as("(a.f || b.f) || (a.g || b.g)", "a.f || b.f || a.g || b.g");
}

#[test]
fn blanks_and_comments_separate_and_mean_nothing() {
    reads_as("a.i==b.i&&a.f", " a . i\t== // the same\r\n\n b.i // and\n && \x0ca.f // end");
    reads_as("true", "//\n//x\ntrue");
}

#[test]
fn integers_are_decimal_or_hexadecimal() {
    holds("0xff == 255 && 0XFf == 255 && 007 == 7");
    holds("-0x10 == -16");
    holds("9223372036854775807 - 1 < 9223372036854775807");
    holds("-9223372036854775808 < -9223372036854775807");
    holds("-0x8000000000000000 == -9223372036854775808");
}

#[test]
fn doubles_have_a_fraction_or_an_exponent() {
    holds("1.5 == 15e-1 && .5 == 0.5 && 1e3 == 1000.0 && 2.5E+2 == 250.0");
    holds("-1.5 < -.5");
    holds("1e-400 == 0.0");
}

#[test]
fn strings_have_either_quote_escapes_and_raw_forms() {
    holds(r#"'x' == "x""#);
    holds(r#"'a"b' == "a\"b" && "a'b" == 'a\'b'"#);
    holds(r#""\a\b\f\n\r\t\v\\\?\`" == "\x07\x08\x0c\x0a\x0d\x09\x0b\x5c\x3f\x60""#);
    holds(r#""\u00e9\U0001F600\101\x41" == "é😀AA""#);
    holds(r#"r'\n' == "\\n" && R"\" == '\\'"#);
    holds("'''it's\n\"so\"''' == \"it's\\n\\\"so\\\"\"");
    holds("\"\"\"a\"b\"\"\" == 'a\"b'");
    holds(r#"'' == "" && size('') == 0"#);
}

#[test]
fn a_list_may_end_with_a_comma_and_a_call_may_not() {
    holds("1 in [1, 2, ]");
    refused("min(1, 2,) == 1", "rule:1:10: expected an expression, but found \")\"");
}

#[test]
fn a_wrong_token_is_refused_with_its_place() {
    refused("a.i @ b.i", "rule:1:5: unexpected character '@'");
    refused("a.i == b.ï", "rule:1:10: unexpected character 'ï'");
    refused("a.i = b.i", "rule:1:5: \"=\" is no operator: write \"==\"");
    refused("a.i === b.i", "rule:1:5: \"===\" is no operator: write \"==\"");
    refused("a.f & b.f", "rule:1:5: \"&\" is no operator: write \"&&\"");
    refused("a.f |\nb.f", "rule:1:5: \"|\" is no operator: write \"||\"");
    refused("a.s == 'x", "rule:1:8: string is not closed with '");
    refused("a.s == 'x\n'", "rule:1:8: string is not closed with '");
    refused("a.s == \"\"\"x\"\"", "rule:1:8: string is not closed with \"\"\"");
    refused(r"a.s == 'x\q'", r#"rule:1:10: "\\q" is no escape sequence"#);
    refused(r"a.s == '\ud800'", r#"rule:1:9: "\\u" is no escape sequence"#);
    refused(r"a.s == '\x4'", r#"rule:1:9: "\\x" is no escape sequence"#);
    refused("a.s == b'x'", "rule:1:8: bytes literal is not supported in rules");
    refused("a.i == 1u", "rule:1:8: unsigned number 1u is not supported in rules");
    refused("a.i == 0x1FU", "rule:1:8: unsigned number 0x1FU is not supported in rules");
    refused("a.i == 12ms", "rule:1:8: \"12ms\" is no number");
    refused("a.i == 0x", "rule:1:8: \"0x\" is no number");
    refused("a.d == 1e", "rule:1:8: \"1e\" is no number");
    refused("a.i == 9223372036854775808", "rule:1:8: 9223372036854775808 is out of range for int");
    refused("a.i == -9223372036854775809", "rule:1:9: 9223372036854775809 is out of range for int");
    refused("a.i == 0x10000000000000000", "rule:1:8: 0x10000000000000000 is out of range for int");
    refused("a.d < 1e400", "rule:1:7: 1e400 is out of range for double");
}

#[test]
fn a_broken_expression_is_refused_with_its_place() {
    refused("", "rule:1:1: expected an expression, but found the end of the rule");
    refused(" // nothing", "rule:1:12: expected an expression, but found the end of the rule");
    refused("a.i ==", "rule:1:7: expected an expression, but found the end of the rule");
    refused("a.i ++ b.i", "rule:1:6: expected an expression, but found \"+\"");
    refused("(a.f", "rule:1:5: expected an operator or \")\", but found the end of the rule");
    refused("a.f)", "rule:1:4: expected an operator or the end of the rule, but found \")\"");
    refused("a.f b.f", "rule:1:5: expected an operator or the end of the rule, but found \"b\"");
    refused("a.f ? b.f", "rule:1:10: expected \":\", but found the end of the rule");
    refused("a.f ? b.f ? a.g : b.g : true", "rule:1:11: expected \":\", but found \"?\"");
    refused("a.", "rule:1:3: expected a name, but found the end of the rule");
    refused("a.d < 1.", "rule:1:9: expected a name, but found the end of the rule");
    refused("a.1", "rule:1:2: expected an operator or the end of the rule, but found \".1\"");
    refused("min(1 2)", "rule:1:7: expected \",\" or \")\", but found \"2\"");
    refused("1 in [1 2]", "rule:1:9: expected \",\" or \"]\", but found \"2\"");
    refused("1 in [", "rule:1:7: expected an expression, but found the end of the rule");
    refused("in a.l", "rule:1:1: expected an expression, but found \"in\"");
    refused("a.f &&\n  b.i == }", "rule:2:10: expected an expression, but found \"}\"");
}

#[test]
fn words_cel_reserves_are_refused() {
    for word in ["as", "break", "const", "for", "function", "if", "package", "var", "while"] {
        refused(word, &format!("rule:1:1: {word:?} is a reserved word"));
        refused(&format!("a.{word} == 1"), &format!("rule:1:3: {word:?} is a reserved word"));
    }
    refused("a.in == 1", "rule:1:3: \"in\" is a reserved word");
    refused("a.true", "rule:1:3: \"true\" is a reserved word");
}

#[test]
fn cel_that_rules_do_not_have_is_refused_as_such() {
    let check = |source: &str, column: usize, what: &str| {
        refused(source, &format!("rule:1:{column}: {what} is not supported in rules"));
    };
    check("a.l.exists(x, x == 'y')", 5, "macro \"exists\"");
    check("a.l.all(x, x == 'y')", 5, "macro \"all\"");
    check("size(a.l.filter(x, true)) == 0", 10, "macro \"filter\"");
    check("a.s.matches('x*')", 5, "function \"matches\"");
    check("int(a.d) == 1", 1, "function \"int\"");
    check("string(a.i) == '1'", 1, "function \"string\"");
    check("a.l[0] == 'x'", 4, "indexing");
    check("{'x': 1} == 1", 1, "map literal");
    check("Message{x: 1} == 1", 8, "message construction");
    check("a.s == null", 8, "null");
    check(".a.i == 1", 1, "leading \".\"");
    check("a.?i == 1", 3, "optional selection");
    check("'x' in [?a.s]", 9, "optional entry");
}

#[test]
fn a_division_by_the_literal_zero_is_refused() {
    refused("a.i / 0 == 1", "rule:1:7: division by zero");
    refused("a.i % (0) == 1", "rule:1:7: division by zero");
    assert_eq!(constant("1.0 / 0 > 1e300"), Ok(true), "a double divided by zero is infinite");
}

#[test]
fn an_error_is_shown_under_its_line() {
    let render = |source: &str| Rule::compile(source, &schema()).unwrap_err().render(source);
    assert_eq!(
        render("a.i || a.f"),
        "rule:1:1: a.i is int, but \"||\" needs bool; write a.i != 0\n\
         a.i || a.f\n\
         ^^^"
    );
    assert_eq!(
        render("a.f &&\n\t'é' == a.x && // why\n b.f"),
        "rule:2:11: unknown attribute \"x\"; there are i, j, d, e, s, t, f, g, l, m, waited\n\
         \t'é' == a.x && // why\n\
         \t         ^"
    );
    assert_eq!(
        render("a.f &&"),
        "rule:1:7: expected an expression, but found the end of the rule\n\
         a.f &&\n      ^"
    );
    assert_eq!(
        render("(a.i +\n 1)"),
        "rule:1:1: rule is int, but must be bool\n\
         (a.i +\n\
         ^^^^^^"
    );
    let error = Rule::compile("a.f &&\n\n\n a.x", &schema()).unwrap_err();
    assert_eq!(error.render("shorter"), error.to_string());
}
