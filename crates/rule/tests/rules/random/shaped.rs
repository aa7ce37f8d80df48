//! Rules as people write them, and twisted a little: bands, distances, keys, roles, sets, widening, over the attributes
//! `i j` int, `d e` double, `s t` string, `f g` bool, `l m` list of string. And rows in which values often meet.

use dovetail_rule::{Row, Schema, Value, ValueKind};

use super::draw::Random;

/// A rule of one to four conjuncts.
pub fn rule(random: &mut Random) -> String {
    let conjuncts: Vec<String> = (0..1 + random.below(4)).map(|_| condition(random, 2)).collect();
    conjuncts.join(" && ")
}

fn condition(random: &mut Random, depth: usize) -> String {
    if depth > 0 && random.one_in(5) {
        let [x, y, z] = [(); 3].map(|()| condition(random, depth - 1));
        return match random.below(4) {
            0 => format!("({x} || {y})"),
            1 => format!("!({x} && {y})"),
            2 => format!("({x} ? {y} : {z})"),
            _ => format!("(({x}) {} ({y}))", random.pick(&["==", "!="])),
        };
    }
    match random.below(10) {
        0 | 1 => band(random),
        2 | 3 => distance(random),
        4 => comparison(random),
        5 => key(random),
        6 => text(random),
        7 => list(random),
        8 => widening(random),
        _ => flag(random),
    }
}

/// What more elements satisfy the longer they, or one of them, have waited.
fn widening(random: &mut Random) -> String {
    let end = random.pick(&["a", "b"]);
    let time = random.below(6_000);
    match random.below(6) {
        0 => format!("{end}.waited >= {time}"),
        1 => format!("a.waited + b.waited > {time}"),
        2 => format!("abs(a.waited - b.waited) < {time}"),
        3 => format!("{} * {end}.waited <= {time} * {end}.waited / 1000", attribute(random, b"ijde")),
        4 => format!("({end}.waited > {time} || {})", key(random)),
        _ => format!("({end}.waited < {time} ? {} : {})", band(random), band(random)),
    }
}

fn ends(random: &mut Random) -> [&'static str; 2] {
    random.pick(&[["a", "b"], ["b", "a"]])
}

fn compare(random: &mut Random) -> &'static str {
    random.pick(&["<", "<=", ">", ">=", "==", "!="])
}

fn attribute(random: &mut Random, kinds: &[u8]) -> String {
    format!("{}.{}", random.pick(&["a", "b"]), char::from(random.pick(kinds)))
}

/// `abs(x - y) <= r`, with `r` a constant, an attribute, or growing with the time waited.
fn band(random: &mut Random) -> String {
    let [x, y] = ends(random);
    let name = char::from(random.pick(b"iijdde"));
    let radius = radius(random);
    let side = format!("abs({x}.{name} - {y}.{name})");
    match random.below(4) {
        0 => format!("{radius} {} {side}", random.pick(&[">", ">=", "<"])),
        _ => format!("{side} {} {radius}", random.pick(&["<", "<=", "<=", "=="])),
    }
}

fn radius(random: &mut Random) -> String {
    let end = random.pick(&["a", "b"]);
    match random.below(10) {
        0 => "0".to_owned(),
        1 => random.below(5).to_string(),
        2 => format!("{}.5", random.below(5)),
        3 => "1 + min(a.waited, b.waited) / 1000".to_owned(),
        4 => format!("{end}.j"),
        5 => format!("({end}.waited > {} ? 3 : 1)", random.below(5_000)),
        6 => format!("({end}.f ? 3 : {})", number(random, 1)),
        7 => random.pick(&["min(a.j, b.j)", "min(a.e, b.e)", "min(a.e, b.d, 3)", "min(a.j, b.j) + 1"]).to_owned(),
        8 => format!("{end}.e"),
        _ => format!("max(1, {end}.waited / 500)"),
    }
}

/// A sum of squares or of absolute differences, perhaps weighted, on either side, perhaps with something else.
fn distance(random: &mut Random) -> String {
    let squared = random.one_in(2);
    let terms: Vec<String> = (0..1 + random.below(4)).map(|_| term(random, squared)).collect();
    let mut sum = terms.join(" + ");
    let mut limit = match random.below(4) {
        0 => random.below(30).to_string(),
        1 => format!("{}.25", random.below(10)),
        _ => radius(random),
    };
    match random.below(8) {
        0 => sum = format!("{sum} + {}", radius(random)),
        1 => sum = format!("{sum} - {}", number(random, 1)),
        2 => limit = format!("{limit} - {}", term(random, squared)),
        _ => {}
    }
    match random.below(4) {
        0 => format!("{limit} {} {sum}", random.pick(&[">", ">=", "<"])),
        _ => format!("{sum} {} {limit}", random.pick(&["<", "<=", "==", ">"])),
    }
}

fn term(random: &mut Random, squared: bool) -> String {
    let [x, y] = ends(random);
    let (name, other) = match random.below(4) {
        0 => random.pick(&[('d', 'e'), ('i', 'j'), ('i', 'd')]),
        _ => random.pick(&[('d', 'd'), ('e', 'e'), ('i', 'i'), ('j', 'j')]),
    };
    let difference = format!("({x}.{name} - {y}.{other})");
    let term = if squared { format!("{difference} * {difference}") } else { format!("abs{difference}") };
    match random.below(8) {
        0 => format!("2 * {term}"),
        1 => format!("0.5 * {term}"),
        2 => format!("{term} * {}", radius(random).replace(" + ", " * ")),
        3 => format!("{term} / 4.0"),
        4 => format!("{term} / {y}.e"),
        _ => term,
    }
}

/// Any comparison of any two numbers.
fn comparison(random: &mut Random) -> String {
    let depth = 1 + random.below(3);
    format!("{} {} {}", number(random, depth), compare(random), number(random, depth))
}

fn number(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.one_in(4) {
        return match random.below(9) {
            0 if random.one_in(3) => format!("duration('{}ms')", random.below(6)),
            0 => random.below(6).to_string(),
            1 => format!("{}.5", random.below(4)),
            8 => random.pick(&["0.0", "-0.0", "-1", "1073741824", "1e18", "9223372036854775807"]).to_owned(),
            2 => format!("{}.waited", random.pick(&["a", "b"])),
            3 => format!("size({})", attribute(random, b"stlm")),
            _ => attribute(random, b"ijde"),
        };
    }
    let [x, y] = [(); 2].map(|()| number(random, depth - 1));
    match random.below(10) {
        0 => format!("-({x})"),
        1 => format!("abs({x})"),
        2 => format!("({} ? {x} : {y})", condition(random, 0)),
        3 => format!("max({x}, {y})"),
        4 => format!("min({x}, {y})"),
        5 => format!("double({x})"),
        // `%` wants ints.
        6 => format!("{} % {}", attribute(random, b"ij"), random.pick(&["3", "a.j", "b.i"])),
        _ => format!("({x} {} {y})", random.pick(&["+", "-", "*", "/"])),
    }
}

fn key(random: &mut Random) -> String {
    let [x, y] = ends(random);
    match random.below(12) {
        6 => format!("({x}.f ? {x}.i : {x}.j) == ({y}.f ? {y}.i : {y}.j)"),
        7 => format!("({x}.s in {x}.l ? {x}.s : 'x') == ({y}.s in {y}.l ? {y}.s : 'x')"),
        8 => format!("({x}.i > 2 || {x}.f) == ({y}.i > 2 || {y}.f)"),
        9 => format!("{x}.d / 0.0 == {y}.d / {}", random.pick(&["0.0", "-0.0"])),
        10 => format!("size({x}.s) == size({y}.s)"),
        11 => format!("{x}.d * 2 - {x}.i == {y}.d * 2 - {y}.i"),
        0 => format!("{x}.i == {y}.d && {y}.i == {x}.d"),
        1 => format!("{x}.s == {y}.t && {x}.t == {y}.s"),
        2 => format!("{x}.i / 2 == {y}.i / 2"),
        3 => format!("min({x}.d, {x}.e) == min({y}.d, {y}.e)"),
        4 => format!("{x}.i == {y}.j"),
        _ => {
            let name = char::from(random.pick(b"ijdestfglm"));
            format!("{x}.{name} == {y}.{name}")
        }
    }
}

fn text(random: &mut Random) -> String {
    let [x, y] = [(); 2].map(|()| match random.below(5) {
        0 => random.pick(&["'x'", "'y'", "''"]).to_owned(),
        1 => format!("({} ? {} : 'x')", attribute(random, b"fg"), attribute(random, b"st")),
        _ => attribute(random, b"st"),
    });
    match random.below(8) {
        0 => format!("{x}.startsWith({y})"),
        7 => format!("{x}.{}({y})", random.pick(&["endsWith", "contains"])),
        1 => format!("{x} < {y}"),
        2 => format!("!({x} in [{y}, 'y'])"),
        3 => format!("{x} in ['y', {y}, {}]", attribute(random, b"st")),
        _ => format!("{x} {} {y}", random.pick(&["==", "!="])),
    }
}

fn list(random: &mut Random) -> String {
    let [x, y] = [(); 2].map(|()| match random.below(5) {
        0 => random.pick(&["['x']", "['x', 'y']", "[]"]).to_owned(),
        _ => attribute(random, b"lm"),
    });
    match random.below(5) {
        0 => format!("{x} {} {y}", random.pick(&["==", "!="])),
        1 => format!("{} in {x}", attribute(random, b"st")),
        2 => format!("!('x' in {x})"),
        3 => format!("size({x}) {} size({y})", compare(random)),
        _ => format!("{x}.intersects({y})"),
    }
}

fn flag(random: &mut Random) -> String {
    let [x, y] = [(); 2].map(|()| attribute(random, b"fg"));
    match random.below(6) {
        0 => x,
        1 => format!("!{x}"),
        2 => format!("has({})", attribute(random, b"ijdestfglm")),
        3 => format!("({x} in [{y}, true])"),
        4 => format!("(1 / {} > 0 ? {x} : {y})", attribute(random, b"ij")),
        _ => format!("{x} {} {y}", random.pick(&["==", "!="])),
    }
}

/// An element whose values are few, so that they meet, and now and then extreme.
pub fn row(random: &mut Random, schema: &Schema) -> Row {
    let wild = random.one_in(6);
    let slot = |kind| match random.below(12) {
        0 => None,
        1 if wild => Some(extreme(random, kind)),
        _ => Some(small(random, kind)),
    };
    Row::new(schema, schema.attributes().iter().map(|attribute| attribute.kind).map(slot).collect()).unwrap()
}

fn small(random: &mut Random, kind: ValueKind) -> Value {
    match kind {
        ValueKind::Int => Value::Int(random.below(9) as i64 - 3),
        ValueKind::Double => match random.below(3) {
            0 => Value::Double(random.below(9) as f64 / 2.0 - 1.0),
            1 => Value::Double(random.below(4_000) as f64 / 1_000.0),
            _ => Value::Double(random.pick(&[0.0, -0.0, 0.1, 0.3, 1.0, 1.000_000_01])),
        },
        ValueKind::String => Value::from(random.pick(&["x", "y", "z", ""])),
        ValueKind::Bool => Value::Bool(random.one_in(2)),
        ValueKind::StringList => {
            let entry = |random: &mut Random| Box::from(random.pick(&["x", "y", "z", "w"]));
            Value::StringList((0..random.below(3)).map(|_| entry(random)).collect())
        }
    }
}

fn extreme(random: &mut Random, kind: ValueKind) -> Value {
    const INTS: [i64; 10] = [
        i64::MAX,
        i64::MIN,
        1 << 30,
        (1 << 30) + 1,
        -(1 << 30),
        -(1 << 30) - 1,
        1 << 31,
        1 << 62,
        3_037_000_500,
        (1 << 53) + 1,
    ];
    const DOUBLES: [f64; 12] = [
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::MAX,
        -1e300,
        1.152_921_504_606_847e18,
        1.152_921_504_606_847_2e18,
        1e19,
        5e-324,
        1e-160,
        9_007_199_254_740_992.0,
        16_777_217.0,
    ];
    match kind {
        ValueKind::Int => Value::Int(random.pick(&INTS)),
        ValueKind::Double => Value::Double(random.pick(&DOUBLES)),
        kind => small(random, kind),
    }
}
