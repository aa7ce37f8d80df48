//! Printing the typed expression.

use dovetail_rule::Rule;

use crate::schema;

fn prints(source: &str, printed: &str) {
    let compile = |source: &str| Rule::compile(source, &schema()).unwrap_or_else(|e| panic!("{}", e.render(source)));
    let rule = compile(source);
    assert_eq!(rule.expr().to_string(), printed, "{source}");
    assert_eq!(compile(printed).expr(), rule.expr(), "{source}");
}

#[test]
fn an_expression_prints_with_the_brackets_it_needs() {
    prints("((a.f)) && (b.f || (a.g))", "a.f && (b.f || a.g)");
    prints("(a.f && b.f) || a.g", "a.f && b.f || a.g");
    prints("a.i-(a.j-b.i)==(1)", "a.i - (a.j - b.i) == 1");
    prints("(a.i-a.j)-b.i==1", "a.i - a.j - b.i == 1");
    prints("a.i*(a.j/b.i)==1", "a.i * (a.j / b.i) == 1");
    prints("-(a.i+1)==-(1)", "-(a.i + 1) == -(1)");
    prints("--5 == -(-0.0)", "--5 == --0.0");
    prints("!(a.f && b.f) && !!a.f", "!(a.f && b.f) && !!a.f");
    prints("(a.i < 1) == (a.j < 2)", "a.i < 1 == (a.j < 2)");
    prints("(a.f ? b.f : a.g) ? true : (a.f ? true : false)", "(a.f ? b.f : a.g) ? true : a.f ? true : false");
    prints("(a.f ? a.l : b.l).intersects(a.m)", "(a.f ? a.l : b.l).intersects(a.m)");
    prints("a.s.size() == a.l.size()", "size(a.s) == size(a.l)");
}

#[test]
fn conversions_are_spelled_out() {
    prints("a.i - b.d <= 25", "double(a.i) - b.d <= 25.0");
    prints("a.i < b.d", "a.i < b.d");
    prints("a.d < 9007199254740993", "a.d < 9007199254740993");
    prints("min(a.i, 1, 2.5) == 1", "min(double(a.i), 1.0, 2.5) == 1.0");
    prints("(a.f ? a.i : 0.5) > 0", "(a.f ? double(a.i) : 0.5) > 0.0");
    prints("a.i in [1, a.d]", "a.i in [1, a.d]");
    prints("a.d in [1, a.i, 9007199254740993]", "a.d in [1.0, a.i, 9007199254740993]");
    prints("a.d in [1, 2]", "a.d in [1.0, 2.0]");
    prints("has(a.waited) && has(a.i)", "true && has(a.i)");
}

#[test]
fn literals_print_as_they_read() {
    prints("a.d == 1e300 || a.d == 1e-7 || a.d == 100000.0", "a.d == 1e300 || a.d == 1e-7 || a.d == 100000.0");
    prints(r#"a.s == 'it\'s "é"\n\\\x07'"#, r#"a.s == "it's \"é\"\n\\\u0007""#);
    prints("a.l == ['x', r'\\',]", r#"a.l == ["x", "\\"]"#);
    prints("a.l != []", "a.l != []");
}
