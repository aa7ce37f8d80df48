//! What is said to write instead: everything people try who know CEL, SQL or another language.

use crate::{helped, refused};
use dovetail_rule::{Rule, Schema, ValueKind};

const LISTS: &str = "to ask for one entry, write \"x\" in a.list; for a shared one, a.list.intersects(b.list)";

#[test]
fn macros_and_methods_of_lists_lead_to_in_and_intersects() {
    for source in ["a.l.exists(x, x == 'y')", "a.l.exists_one(x, x == 'y')", "a.l.all(x, x == 'y')", "a.l.any(b.l)"] {
        helped(source, LISTS);
    }
    helped("size(a.l.map(x, x)) == 0", LISTS);
    helped("a.l.filter(x, x == 'y').size() > 0", LISTS);
    helped("a.l.contains('x')", "write 'x' in a.l");
    helped("a.l.contains(b.s)", "write b.s in a.l");
    helped("a.s.contains(b.l)", "write a.s in b.l");
    helped("a.l in b.l", "write a.l.intersects(b.l)");
    helped("'x' in a.s", "write a.s.contains('x')");
    helped("a.s.intersects(b.l)", "write a.s in b.l");
    helped("a.l == 'x'", "write 'x' in a.l");
    helped("'x' != a.l", "write 'x' in a.l");
    helped("a.l[0] == 'x'", "write \"x\" in a.list, or submit the entry as an attribute");
    helped("a.i in (1, 2)", "a list is written with [ ], as in [1, 2]");
}

#[test]
fn operators_of_other_languages_lead_to_those_of_cel() {
    for (source, column, found, meant) in [
        ("a.f and b.f", 5, "and", "&&"),
        ("a.f AND b.f", 5, "AND", "&&"),
        ("a.f or b.f", 5, "or", "||"),
        ("(a.f or b.f)", 6, "or", "||"),
        ("not a.f", 1, "not", "!"),
        ("not(a.f)", 1, "not", "!"),
        ("a.f && NOT b.f", 8, "NOT", "!"),
        ("a.s is b.s", 5, "is", "=="),
        ("a.i mod 2 == 0", 5, "mod", "%"),
        ("a.i <> b.i", 5, "<>", "!="),
        ("a.i =< b.i", 5, "=<", "<="),
        ("a.i => b.i", 5, "=>", ">="),
        ("a.i !== b.i", 5, "!==", "!="),
        ("a.i ** 2 == 4", 5, "**", "*"),
        ("a.i ≤ b.i", 5, "≤", "<="),
        ("a.i ≠ b.i", 5, "≠", "!="),
        ("a.i − 1 == 0", 5, "−", "-"),
        ("a.s == ‘x’", 8, "‘", "'"),
        ("a.s == “x”", 8, "“", "\""),
        ("a.f # why", 5, "#", "//"),
        ("a.f & b.f", 5, "&", "&&"),
        ("a.f | b.f", 5, "|", "||"),
        ("a.i = b.i", 5, "=", "=="),
    ] {
        refused(source, &format!("rule:1:{column}: {found:?} is no operator: write {meant:?}"));
    }
    helped("a.s not in ['x']", "what is not in a list is !(x in a.list)");
    helped("1 < a.i < 5", "two comparisons are joined by &&, as in 1 < a.x && a.x < 5");
    helped("if (a.f) b.f", "write c ? x : y");
    helped("a.i && a.f", "write a.i != 0");
    helped("!a.s", "write size(a.s) > 0");
}

#[test]
fn what_rules_cannot_compute_leads_to_what_they_can() {
    let squares = "compare squares, as in (a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y) <= 25.0";
    helped("sqrt(a.d) < 5.0", squares);
    helped("math.sqrt(a.d) < 5.0", squares);
    helped("pow(a.d, 2) < 5.0", "write x * x");
    helped("math.greatest(a.i, b.i) < 5", "write max(x, y)");
    helped("math.least(a.i, b.i) < 5", "write min(x, y)");
    refused("math.abs(a.i) < 5", "rule:1:6: \"abs\" is called as abs(x)");
    helped("len(a.l) > 0", "write size(x)");
    helped("a.d.round() == 1", "/ of two ints rounds towards zero");
    helped("int(a.d) == 1", "ints and doubles mix; nothing needs to be converted");
    helped("string(a.i) == '1'", "compare values of one type; other forms are attributes of their own");
    helped("a.s.matches('x*')", "write startsWith, endsWith, contains, or a.x in [\"one\", \"two\"]");
    helped("a.s.lowerAscii() == 'x'", "compute it before, and submit it as an attribute");
    helped("a.i.getHours() == 5", "compute it before, and submit it as an attribute");
    helped("a.i < now()", "a rule reads no clock; a.waited says how long an element has waited, in milliseconds");
    helped("a.s + '-' + a.t == b.s", "nothing is joined in a rule: compare the parts, as in a.x == b.x && a.y == b.y");
    let functions = "there are abs, contains, double, duration, endsWith, has, intersects, max, min, size, startsWith, \
                     timestamp";
    helped("frobnicate(a.i) == 1", functions);
    helped("a.s.startswith('x')", functions);
    refused("a.s.startswith('x')", "rule:1:5: unknown function \"startswith\" (did you mean \"startsWith\"?)");
}

#[test]
fn what_is_missing_is_asked_for_with_has() {
    let missing = "a missing attribute is asked for by !has(a.x)";
    helped("a.s == null", missing);
    helped("a.s == None", missing);
    helped("coalesce(a.i, 0) == 1", missing);
    helped("a.s.orValue('x') == 'y'", missing);
    helped("a.?s == 'x'", "any attribute may be missing, which has(a.x) tells");
    refused("has(a)", "rule:1:5: \"has\" takes an attribute, as in has(a.name)");
    refused("has('s')", "rule:1:5: \"has\" takes an attribute, as in has(a.name)");
    refused("a.s.has()", "rule:1:5: \"has\" is called as has(a.name)");
    assert!(Rule::compile("has(a.s) ? a.f : b.f", &crate::schema()).is_ok());
}

#[test]
fn names_lead_to_attributes() {
    helped("i == 5", "write a.i or b.i");
    helped("waited > 5", "write a.waited or b.waited");
    helped("a.f == True", "write true");
    helped("a['s'] == 'x'", "an attribute is named after a dot, as in a.name");
    helped("a.key == b.key", "a key is no attribute: declare one, and submit the key there as well");
    helped("a.id < b.id", "an id is no attribute; a is always the element with the lower one, which came first");
    helped("a.age > 5", "waited is how long an element has waited, in milliseconds");
    helped("a.skill == 5", "there are i, j, d, e, s, t, f, g, l, m, waited");
    // Unless the pool has attributes of these names.
    let schema = Schema::new(["key", "id"].map(|name| (name.to_owned(), ValueKind::String))).unwrap();
    assert!(Rule::compile("a.key != b.key && a.id != b.id", &schema).is_ok());
    let many = (0..20).map(|index| (format!("x{index}"), ValueKind::Int));
    let error = Rule::compile("a.latency == 5", &Schema::new(many).unwrap()).unwrap_err();
    assert_eq!(error.help.unwrap(), "there are x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11 and 9 more");
}
