//! Rules of one kind of test each, with waiting elements that nearly never satisfy them, so that a search looks at all.

use dovetail_rule::{Row, Rule, Schema, Value, ValueKind};

/// Numbers spread evenly, the same in every run.
pub struct Spread(u64);

impl Spread {
    pub fn new() -> Spread {
        Spread(0x5EED)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        ((self.next() >> 32) * n) >> 32
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 40) as f64 / 16_777_216.0
    }
}

/// What is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    IntBand,
    StringInequality,
    SetIntersection,
    Distance,
    Residual,
}

impl Case {
    pub const ALL: [Case; 5] =
        [Case::IntBand, Case::StringInequality, Case::SetIntersection, Case::Distance, Case::Residual];

    pub fn name(self) -> &'static str {
        match self {
            Case::IntBand => "int band",
            Case::StringInequality => "string inequality",
            Case::SetIntersection => "set intersection",
            Case::Distance => "distance, 8 doubles",
            Case::Residual => "residual (contains)",
        }
    }

    pub fn rule(self) -> String {
        match self {
            Case::IntBand => "abs(a.skill - b.skill) <= 25".to_owned(),
            Case::StringInequality => "a.role != b.role".to_owned(),
            Case::SetIntersection => "a.modes.intersects(b.modes)".to_owned(),
            Case::Residual => "a.name.contains(b.name)".to_owned(),
            Case::Distance => {
                let squares = (0..8).map(|k| format!("(a.x{k} - b.x{k}) * (a.x{k} - b.x{k})"));
                format!("{} < {LIMIT}", squares.collect::<Vec<_>>().join(" + "))
            }
        }
    }

    fn attributes(self) -> Vec<(String, ValueKind)> {
        match self {
            Case::IntBand => vec![("skill".to_owned(), ValueKind::Int)],
            Case::StringInequality => vec![("role".to_owned(), ValueKind::String)],
            Case::SetIntersection => vec![("modes".to_owned(), ValueKind::StringList)],
            Case::Residual => vec![("name".to_owned(), ValueKind::String)],
            Case::Distance => (0..8).map(|k| (format!("x{k}"), ValueKind::Double)).collect(),
        }
    }

    pub fn compile(self) -> (Schema, Rule) {
        let schema = Schema::new(self.attributes()).expect("a schema");
        let rule = Rule::compile(&self.rule(), &schema).expect("a rule");
        (schema, rule)
    }

    /// An element that waits.
    pub fn anchor(self, spread: &mut Spread) -> Row {
        let value = match self {
            // Probes are halfway between, and twice as far from either as the band is wide.
            Case::IntBand => Value::Int(spread.below(20_000) as i64 * 100),
            Case::StringInequality => Value::from("tank"),
            Case::SetIntersection => list(spread, 0),
            Case::Residual => Value::String(format!("player-{:016x}", spread.next()).into()),
            Case::Distance => return point(spread),
        };
        Row::from_values([Some(value)])
    }

    /// An element that searches.
    pub fn prober(self, spread: &mut Spread) -> Row {
        let value = match self {
            Case::IntBand => Value::Int(spread.below(20_000) as i64 * 100 + 50),
            Case::StringInequality => Value::from("tank"),
            Case::SetIntersection => list(spread, 1),
            Case::Residual => Value::from("xyz"),
            Case::Distance => return point(spread),
        };
        Row::from_values([Some(value)])
    }
}

/// Two points of the unit cube are so near to one another in one of 50,000 cases.
pub const LIMIT: f32 = 0.0445;

fn point(spread: &mut Spread) -> Row {
    Row::from_values((0..8).map(|_| Some(Value::Double(spread.unit()))))
}

/// Four of the even or of the odd strings of 32.
fn list(spread: &mut Spread, odd: u64) -> Value {
    let entries = (0..4).map(|_| format!("mode{}", spread.below(16) * 2 + odd).into());
    Value::StringList(entries.collect())
}
