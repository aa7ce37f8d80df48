//! What to write instead of what CEL, SQL or another language would say.
//!
//! Only words: what is refused, and where, is for the parser and the checker to say.

use crate::ast::{Syntax, SyntaxNode};
use crate::schema::Schema;
use crate::value::ValueKind;

/// Most names shown of those there are.
const NAMES_MAX: usize = 12;

const LISTS: &str = "to ask for one entry, write \"x\" in a.list; for a shared one, a.list.intersects(b.list)";
const ELSEWHERE: &str = "compute it before, and submit it as an attribute";
const MISSING: &str = "a missing attribute is asked for by !has(a.x)";
const SQUARES: &str = "compare squares, as in (a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y) <= 25.0";

/// Functions of CEL and of other languages, with what rules have in their place.
const FUNCTIONS: [(&[&str], &str); 17] = [
    (&["exists", "exists_one", "existsOne", "any", "overlaps", "hasAny", "containsAny", "includes"], LISTS),
    (&["all", "every", "containsAll", "map", "filter", "forEach", "transformList"], LISTS),
    (&["isset", "defined", "isNull", "isnull", "isNotNull", "coalesce", "orValue", "hasValue", "optional"], MISSING),
    (&["sqrt", "hypot", "distance"], SQUARES),
    (&["pow", "square"], "write x * x"),
    (&["greatest"], "write max(x, y)"),
    (&["least"], "write min(x, y)"),
    (&["len", "length", "count"], "write size(x)"),
    (&["sum", "avg", "mean", "sort", "distinct", "flatten"], ELSEWHERE),
    (&["floor", "ceil", "round", "trunc"], "/ of two ints rounds towards zero"),
    (&["log", "ln", "exp", "sin", "cos", "tan", "sign", "bitAnd", "bitOr", "hash"], ELSEWHERE),
    (&["int", "uint", "float", "number", "dyn", "type"], "ints and doubles mix; nothing needs to be converted"),
    (
        &["string", "bool", "bytes", "str", "format"],
        "compare values of one type; other forms are attributes of their own",
    ),
    (&["matches", "regex", "like", "match"], "write startsWith, endsWith, contains, or a.x in [\"one\", \"two\"]"),
    (
        &[
            "lower",
            "upper",
            "lowerAscii",
            "upperAscii",
            "toLowerCase",
            "toUpperCase",
            "trim",
            "join",
            "split",
            "replace",
            "substring",
            "indexOf",
            "concat",
        ],
        ELSEWHERE,
    ),
    (
        &["now", "today", "currentTime", "time"],
        "a rule reads no clock; a.waited says how long an element has waited, in milliseconds",
    ),
    (
        &[
            "getHours",
            "getMinutes",
            "getSeconds",
            "getMilliseconds",
            "getDayOfWeek",
            "getDate",
            "getDayOfMonth",
            "getDayOfYear",
            "getFullYear",
            "getMonth",
        ],
        ELSEWHERE,
    ),
];

/// What stands in for a function that rules do not have.
pub(crate) fn function(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(names, _)| names.contains(&name)).map(|(_, instead)| *instead)
}

/// What stands in for an attribute that the schema does not have: facts of an element that rules cannot see.
pub(crate) fn attribute(name: &str) -> Option<&'static str> {
    Some(match name {
        "key" => "a key is no attribute: declare one, and submit the key there as well",
        "id" => "an id is no attribute; a is always the element with the lower one, which came first",
        "payload" => "a payload is no attribute: what a rule needs is declared, and submitted, as one",
        "pool" => "both elements are of one pool",
        "ttl" | "ttl_ms" | "arrived" | "arrived_ms" | "created_at" | "age" | "wait_time" | "waiting" => {
            "waited is how long an element has waited, in milliseconds"
        }
        _ => return None,
    })
}

/// What stands in for a name other than `a` and `b`.
pub(crate) fn name(name: &str, schema: &Schema) -> Option<String> {
    if schema.index_of(name).is_some() || name == crate::schema::WAITED {
        return Some(format!("write a.{name} or b.{name}"));
    }
    match name {
        "True" | "TRUE" => Some("write true".to_owned()),
        "False" | "FALSE" => Some("write false".to_owned()),
        "None" | "NULL" | "Null" | "nil" | "undefined" => Some(MISSING.to_owned()),
        _ => None,
    }
}

/// What stands in for a word that CEL reserves or does not support here.
pub(crate) fn reserved(word: &str) -> Option<&'static str> {
    match word {
        "if" | "else" => Some("write c ? x : y"),
        "null" => Some(MISSING),
        _ => None,
    }
}

/// The operator a word stands for in other languages.
pub(crate) fn operator(word: &str) -> Option<(&'static str, &'static str)> {
    const WORDS: [(&str, &str); 9] = [
        ("and", "&&"),
        ("AND", "&&"),
        ("or", "||"),
        ("OR", "||"),
        ("not", "!"),
        ("NOT", "!"),
        ("is", "=="),
        ("xor", "!="),
        ("mod", "%"),
    ];
    WORDS.into_iter().find(|(found, _)| *found == word)
}

/// What an operand of the wrong kind was probably meant for. `text` is the source of a node.
pub(crate) fn operand(
    node: &SyntaxNode,
    found: ValueKind,
    operator: &str,
    other: Option<&SyntaxNode>,
    text: impl Fn(&SyntaxNode) -> String,
) -> Option<String> {
    let compared = matches!(node.syntax, Syntax::Binary { operator: "<" | "<=" | ">" | ">=" | "==" | "!=", .. });
    match (operator, found) {
        ("contains", ValueKind::StringList) => Some(match other {
            Some(part) => format!("write {} in {}", text(part), text(node)),
            None => "write \"x\" in a.list".to_owned(),
        }),
        ("in", ValueKind::StringList) => other.map(|list| format!("write {}.intersects({})", text(node), text(list))),
        ("in", ValueKind::String) => other.map(|part| format!("write {}.contains({})", text(node), text(part))),
        ("intersects", ValueKind::String) => other.map(|list| format!("write {} in {}", text(node), text(list))),
        ("+", ValueKind::String | ValueKind::StringList) => {
            Some("nothing is joined in a rule: compare the parts, as in a.x == b.x && a.y == b.y".to_owned())
        }
        ("<" | "<=" | ">" | ">=", ValueKind::Bool) if compared => {
            Some("two comparisons are joined by &&, as in 1 < a.x && a.x < 5".to_owned())
        }
        ("&&" | "||" | "!" | "?:", ValueKind::Int | ValueKind::Double) => Some(format!("write {} != 0", text(node))),
        ("&&" | "||" | "!" | "?:", ValueKind::String | ValueKind::StringList) => {
            Some(format!("write size({}) > 0", text(node)))
        }
        _ => None,
    }
}

/// The names that exist, for a message about one that does not.
pub(crate) fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
