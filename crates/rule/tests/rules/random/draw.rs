//! Random draws: numbers, values and rows, from a seed.

use dovetail_rule::{Row, Schema, Value, ValueKind};

/// A small seeded generator (SplitMix64), so that a failing seed can be run again.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

pub const INTS: [i64; 12] = [0, 1, -1, 2, 3, 7, i64::MAX, i64::MIN, (1 << 53) + 1, -1000, 1 << 30, -(1 << 30) - 1];
pub const DOUBLES: [f64; 13] = [
    0.0,
    -0.0,
    0.5,
    1.0,
    -1.5,
    2.0,
    1e308,
    9_007_199_254_740_992.0,
    9_223_372_036_854_775_808.0,
    -1e-3,
    1.152_921_504_606_847e18,
    16_777_217.0,
    5e-324,
];
pub const STRINGS: [&str; 6] = ["", "x", "y", "xy", "é", "a\"\\\n'"];

fn value(random: &mut Random, kind: ValueKind) -> Value {
    match kind {
        ValueKind::Int => Value::Int(random.pick(&INTS)),
        ValueKind::Double => match random.below(12) {
            0 => Value::Double(f64::NAN),
            1 => Value::Double(f64::INFINITY),
            _ => Value::Double(random.pick(&DOUBLES)),
        },
        ValueKind::String => Value::from(random.pick(&STRINGS)),
        ValueKind::Bool => Value::Bool(random.one_in(2)),
        ValueKind::StringList => {
            let len = if random.one_in(4) { 20 } else { random.below(4) };
            Value::StringList((0..len).map(|_| random.pick(&STRINGS).into()).collect())
        }
    }
}

pub fn random_row(random: &mut Random, schema: &Schema) -> Row {
    let slot = |kind| if random.one_in(5) { None } else { Some(value(random, kind)) };
    let values = schema.attributes().iter().map(|attribute| attribute.kind).map(slot).collect();
    Row::new(schema, values).unwrap()
}
