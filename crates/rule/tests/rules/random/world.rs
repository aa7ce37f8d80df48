//! Random schemas, and elements of them: what a rule of the other generators is put into.
//!
//! Those write about `i j` int, `d e` double, `s t` string, `f g` bool and `l m` list. Here these letters stand for
//! attributes of a schema in which there are any number of any kinds, in any order and under any names; two may stand
//! for one.

use dovetail_rule::{Row, Schema, Value, ValueKind};

use super::draw::Random;

const LETTERS: &str = "ijdestfglm";

/// Where the numbers of a world are: differences stay small, and what is exact or rounded, and what has a cell,
/// changes.
const INT_BASES: [i64; 12] = [
    0,
    0,
    0,
    (1 << 24) - 2,
    (1 << 30) - 2,
    -(1 << 30) - 2,
    (1 << 31) - 2,
    (1 << 53) - 2,
    (1 << 62) - 2,
    -(1 << 62) - 2,
    i64::MAX - 6,
    i64::MIN + 3,
];
const DOUBLE_BASES: [f64; 10] =
    [0.0, 0.0, 0.0, 1.0, 16_777_216.0, 9_007_199_254_740_992.0, 1.152_921_504_606_847e18, -1e30, 1e-308, 1e300];
const INTS: [i64; 14] = [
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
    1 << 30,
    (1 << 30) + 1,
    -(1 << 30),
    -(1 << 30) - 1,
    1 << 31,
    i32::MIN as i64,
    1 << 62,
    -(1 << 62) - 1,
    3_037_000_500,
    (1 << 53) + 1,
    16_777_217,
];
const DOUBLES: [f64; 18] = [
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    f64::MAX,
    f64::MIN,
    -1e300,
    1.152_921_504_606_847e18,
    1.152_921_504_606_847_2e18,
    -1.152_921_504_606_847_2e18,
    1e39,
    5e-324,
    -5e-324,
    1e-160,
    1e-46,
    -0.0,
    9_007_199_254_740_993.0,
    16_777_217.0,
    9_223_372_036_854_775_808.0,
];

/// A schema, and how its elements are drawn.
#[derive(Debug)]
pub struct World {
    pub schema: Schema,
    /// By letter.
    names: [Option<String>; 10],
    ints: Vec<i64>,
    doubles: Vec<f64>,
    strings: Vec<String>,
    missing_in: usize,
    extreme_in: usize,
}

impl World {
    pub fn draw(random: &mut Random) -> World {
        let most = if random.one_in(8) { 40 } else { 10 };
        let count = 1 + random.below(most);
        let mut attributes: Vec<(String, ValueKind)> = Vec::new();
        while attributes.len() < count {
            let name = name(random);
            if !attributes.iter().any(|(other, _)| *other == name) {
                attributes.push((name, random.pick(&ValueKind::ALL)));
            }
        }
        let schema = Schema::new(attributes.clone()).unwrap();
        let names = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|letter| {
            let of_kind: Vec<&String> =
                attributes.iter().filter(|(_, kind)| *kind as usize == letter / 2).map(|(name, _)| name).collect();
            (!of_kind.is_empty()).then(|| random.pick(&of_kind).clone())
        });
        let (int, double) = (random.pick(&INT_BASES), random.pick(&DOUBLE_BASES));
        let few = 2 + random.below(8);
        let ints = (0..few).map(|_| int.saturating_add(random.below(9) as i64 - 3)).collect();
        let doubles = (0..few).map(|_| near(random, double)).collect();
        // More strings than a signature has bits, at times, and some that begin alike.
        let kinds = random.pick(&[2, 4, 9, 150]);
        let strings = (0..kinds)
            .map(|number| match number {
                0 => String::new(),
                1 => "x".to_owned(),
                2 => "y".to_owned(),
                3 => "é".repeat(128),
                _ => format!("x{number}"),
            })
            .collect();
        let missing_in = random.pick(&[3, 12, 40, usize::MAX]);
        World { schema, names, ints, doubles, strings, missing_in, extreme_in: random.pick(&[4, 30, usize::MAX]) }
    }

    /// A rule about this schema; none if it has no attribute of a kind that the rule asks for.
    pub fn put(&self, rule: &str) -> Option<String> {
        let mut text = String::with_capacity(4 * rule.len());
        let chars: Vec<char> = rule.chars().collect();
        let word = |at: usize| chars.get(at).is_some_and(|char| char.is_ascii_alphanumeric() || *char == '_');
        for (at, char) in chars.iter().enumerate() {
            let named = at >= 2
                && chars[at - 1] == '.'
                && matches!(chars[at - 2], 'a' | 'b')
                && !(at >= 3 && word(at - 3))
                && !word(at + 1);
            match LETTERS.find(*char).filter(|_| named) {
                Some(letter) => text.push_str(self.names[letter].as_ref()?),
                None => text.push(*char),
            }
        }
        Some(text)
    }

    pub fn row(&self, random: &mut Random) -> Row {
        let mut values = Vec::with_capacity(self.schema.len());
        for attribute in self.schema.attributes() {
            let missing = random.one_in(self.missing_in);
            values.push((!missing).then(|| self.value(random, attribute.kind)));
        }
        Row::new(&self.schema, values).unwrap()
    }

    fn value(&self, random: &mut Random, kind: ValueKind) -> Value {
        let extreme = random.one_in(self.extreme_in);
        match kind {
            ValueKind::Int if extreme => Value::Int(random.pick(&INTS)),
            ValueKind::Int => Value::Int(random.pick(&self.ints)),
            ValueKind::Double if extreme => Value::Double(random.pick(&DOUBLES)),
            ValueKind::Double => Value::Double(random.pick(&self.doubles)),
            ValueKind::String => Value::String(random.pick(&self.strings).into()),
            ValueKind::Bool => Value::Bool(random.one_in(2)),
            ValueKind::StringList => {
                let len = if extreme { 10 + random.below(55) } else { random.below(4) };
                Value::StringList((0..len).map(|_| random.pick(&self.strings).into()).collect())
            }
        }
    }
}

fn name(random: &mut Random) -> String {
    let letters = "abijdestfglmxyz_ABZ";
    let len = 1 + random.below(8);
    let mut name: String = (0..len).map(|_| char::from(letters.as_bytes()[random.below(letters.len())])).collect();
    // No word of the language is of these letters and has a digit.
    name.push(char::from(b'0' + random.below(10) as u8));
    name
}

/// A double near another, by steps of every size.
fn near(random: &mut Random, base: f64) -> f64 {
    let whole = random.below(9) as f64 - 3.0;
    match random.below(6) {
        0 => base + whole / 2.0,
        1 => base + random.below(4_000) as f64 / 1_000.0,
        2 => (base + whole).next_up(),
        3 => (base + whole).next_down(),
        4 => base * (1.0 + whole / 4.0),
        _ => base + whole,
    }
}
