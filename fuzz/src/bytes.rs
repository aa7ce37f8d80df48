//! Bytes as a source of decisions. After the last comes 0 for ever, so every prefix of an input is an input.

use dovetail_rule::{ATTRIBUTES_MAX, LIST_LEN_MAX, Row, STRING_BYTES_MAX, Schema, Value, ValueKind};

/// Ends the rule in an input. No UTF-8 text has it.
pub const END_OF_TEXT: u8 = 0xff;

const INTS: [i64; 12] = [0, 1, -1, 2, 3, 60, 1_000, i64::MAX, i64::MIN, i64::MIN + 1, (1 << 53) + 1, -(1 << 31)];
const DOUBLES: [f64; 12] = [
    0.0,
    -0.0,
    0.5,
    1.0,
    -1.5,
    f64::MAX,
    f64::MIN_POSITIVE,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    9_007_199_254_740_992.0,
    9_223_372_036_854_775_808.0,
];
const STRINGS: [&str; 8] = ["", "x", "y", "xy", "é", "a\"\\\n'", "\0", "x\u{10ffff}"];

/// What is left of an input.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number from 0 to `bound - 1`; `bound` is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn eight(&mut self) -> [u8; 8] {
        std::array::from_fn(|_| self.byte())
    }

    /// Everything up to [`END_OF_TEXT`]; what is no UTF-8 is replaced.
    pub fn text(&mut self) -> String {
        let len = self.0.iter().position(|byte| *byte == END_OF_TEXT).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(len);
        self.0 = rest.get(1..).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// Two attributes of every kind (`i j` int, `d e` double, `s t` string, `f g` bool, `l m` lists) for 0, as in the
    /// corpus; otherwise some number of them, of drawn kinds, some with names as long as may be.
    pub fn schema(&mut self) -> Schema {
        let count = self.below(ATTRIBUTES_MAX + 1);
        if count == 0 {
            let kinds = ["ij", "de", "st", "fg", "lm"].into_iter().zip(ValueKind::ALL);
            let attributes = kinds.flat_map(|(names, kind)| names.chars().map(move |name| (name.to_string(), kind)));
            return Schema::new(attributes).expect("ten different letters are a schema");
        }
        let attributes = (0..count).map(|index| {
            let name = match index {
                0..26 => char::from(b'a' + index as u8).to_string(),
                _ => format!("{}{index}", "n".repeat(dovetail_rule::NAME_BYTES_MAX - 2)),
            };
            (name, self.pick(&ValueKind::ALL))
        });
        Schema::new(attributes).expect("at most 64 different names are a schema")
    }

    /// A row of `schema`. Its strings and lists are as long as may be more often than by chance.
    pub fn row(&mut self, schema: &Schema) -> Row {
        let values = schema.attributes().iter().map(|attribute| self.value(attribute.kind)).collect();
        Row::new(schema, values).expect("drawn values are within the caps of a row")
    }

    fn value(&mut self, kind: ValueKind) -> Option<Value> {
        let tag = self.byte();
        if tag == 0 {
            return None;
        }
        Some(match kind {
            ValueKind::Int if tag < 200 => Value::Int(INTS[usize::from(tag) % INTS.len()]),
            ValueKind::Int => Value::Int(i64::from_le_bytes(self.eight())),
            ValueKind::Double if tag < 200 => Value::Double(DOUBLES[usize::from(tag) % DOUBLES.len()]),
            ValueKind::Double => Value::Double(f64::from_le_bytes(self.eight())),
            ValueKind::Bool => Value::Bool(tag & 1 == 1),
            ValueKind::String => Value::String(self.string(tag).into()),
            ValueKind::StringList => {
                let len = if tag < 200 { usize::from(tag) % 4 } else { self.below(LIST_LEN_MAX + 1) };
                let prefix = if tag > 230 { STRING_BYTES_MAX - 3 } else { 0 };
                let entry = |bytes: &mut Bytes<'_>| match bytes.byte() {
                    // Ranks after a long common prefix: what sorting and searching dislike.
                    rank if tag >= 200 => format!("{}{rank:03}", "x".repeat(prefix)),
                    entry => bytes.string(entry),
                };
                Value::StringList((0..len).map(|_| entry(self).into()).collect())
            }
        })
    }

    fn string(&mut self, tag: u8) -> String {
        if tag < 200 {
            return STRINGS[usize::from(tag) % STRINGS.len()].to_owned();
        }
        // A short unit over and over, and one letter that disturbs it: what substring search dislikes.
        let (len, unit) = (usize::from(self.byte()) + 1, usize::from(tag) % 5 + 1);
        let unit: Vec<u8> = (0..unit).map(|_| b'a' + self.byte() % 3).collect();
        let mut text: Vec<u8> = unit.iter().copied().cycle().take(len).collect();
        text[usize::from(self.byte()) % len] = b'a' + self.byte() % 3;
        String::from_utf8(text).expect("letters are text")
    }
}
