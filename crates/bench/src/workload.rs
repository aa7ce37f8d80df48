//! The workloads W1 to W5: elements that come out the same everywhere, with rules, and with answers that are known; and
//! pools of a given match probability, whose rule gives a planner nothing to split by.
//!
//! Invariant: an element's attributes follow from workload, number of elements and position alone.

mod answer;
mod sequential;

use std::collections::{BTreeSet, HashMap};

pub use answer::{AnswerError, KnownAnswer};
pub use sequential::sequential;

use dovetail::client::{Columns, value};
use dovetail::pb::{Attribute, AttributeType, PoolDefinition, Value};

/// W5's coordinates are whole numbers of this.
pub const UNIT: f64 = 1.0 / 16_777_216.0;

/// The numbers of [`Workload::Dense`] are below this.
pub const CIRCLE: u64 = 1_000_000;

/// From so many elements on W5 is as dense as with 100,000; below, as with 20,000.
const W5_MANY: usize = 60_000;

/// The workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Region, mode and skill: two equal, one near.
    W1,
    /// Riders and drivers: the same of 1,024 cells, different sides.
    W2,
    /// Everyone with everyone.
    W3,
    /// Join by correlation id: each key comes twice.
    W4,
    /// Near in eight dimensions: no key.
    W5,
    /// Of a million pairs so many match, by a number of each: nothing that a search could be split or shortened by.
    /// With all of them it is W3, but for the planner, which does not see that the rule is true of everyone.
    #[value(skip)]
    Dense(u32),
}

impl Workload {
    /// All that have a number.
    pub const ALL: [Workload; 5] = [Workload::W1, Workload::W2, Workload::W3, Workload::W4, Workload::W5];

    /// Its number, 1 to 5, and 6 for those of a given match probability.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Workload::W1 => 1,
            Workload::W2 => 2,
            Workload::W3 => 3,
            Workload::W4 => 4,
            Workload::W5 => 5,
            Workload::Dense(_) => 6,
        }
    }

    /// Its attributes.
    #[must_use]
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Workload::W1 => &["region", "mode", "skill"],
            Workload::W2 => &["side", "cell"],
            Workload::W3 => &[],
            Workload::W4 => &["key", "side"],
            Workload::Dense(_) => &["r"],
            Workload::W5 => &["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"],
        }
    }

    /// The rule for `n` elements; only W5's depends on how many there are.
    #[must_use]
    pub fn rule(self, n: usize) -> String {
        let rule = match self {
            Workload::W1 => "a.region == b.region && a.mode == b.mode && abs(a.skill - b.skill) <= 25",
            Workload::W2 => "a.cell == b.cell && a.side != b.side",
            Workload::W3 => "true",
            Workload::W4 => "a.key == b.key && a.side != b.side",
            Workload::Dense(per_million) => return format!("(a.r + b.r) % {CIRCLE} < {per_million}"),
            Workload::W5 => {
                let square = |x: &&str| format!("(a.{x} - b.{x}) * (a.{x} - b.{x})");
                let squares: Vec<String> = self.columns().iter().map(square).collect();
                return format!("{} < {}", squares.join(" + "), radius_squared(n));
            }
        };
        rule.to_owned()
    }

    fn value(self, cell: i64) -> Value {
        match self {
            Workload::W5 => value::double(cell as f64 * UNIT),
            _ => value::int(cell),
        }
    }

    /// The pool for `n` elements, under a name of its own.
    #[must_use]
    pub fn pool(self, name: &str, n: usize) -> PoolDefinition {
        let kind = if self == Workload::W5 { AttributeType::Double } else { AttributeType::Int };
        let attribute = |name: &&str| Attribute { name: (*name).to_owned(), r#type: kind.into() };
        PoolDefinition {
            name: name.to_owned(),
            attributes: self.columns().iter().map(attribute).collect(),
            rule: self.rule(n),
            ..PoolDefinition::default()
        }
    }

    /// The first `n` elements. The last of an odd number has no partner in W4.
    #[must_use]
    pub fn elements(self, n: usize) -> Elements {
        let mut draws = Draws::new(self.number());
        let cells = match self {
            Workload::W1 => {
                let row = |draws: &mut Draws| [draws.below(8) as i64, draws.below(4) as i64, draws.normal()];
                (0..n).flat_map(|_| row(&mut draws)).collect()
            }
            Workload::W2 => {
                let row = |draws: &mut Draws| [draws.below(2) as i64, draws.below(1024) as i64];
                (0..n).flat_map(|_| row(&mut draws)).collect()
            }
            Workload::W3 => Vec::new(),
            Workload::W4 => correlated(&mut draws, n),
            Workload::Dense(_) => (0..n).map(|_| draws.below(CIRCLE) as i64).collect(),
            Workload::W5 => (0..8 * n).map(|_| (draws.next() >> 40) as i64).collect(),
        };
        Elements { workload: self, n, cells }
    }
}

/// W5's rule: the square of the distance below which two of `n` elements match.
#[must_use]
pub fn radius_squared(n: usize) -> f64 {
    if n < W5_MANY { 0.068 } else { 0.0445 }
}

/// Elements of a workload, by position from 0.
#[derive(Clone, Debug)]
pub struct Elements {
    workload: Workload,
    n: usize,
    /// Row after row.
    cells: Vec<i64>,
}

impl Elements {
    /// Which workload's.
    #[must_use]
    pub fn workload(&self) -> Workload {
        self.workload
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The attributes of one, as a client submits them.
    #[must_use]
    pub fn attributes(&self, position: usize) -> HashMap<String, Value> {
        let named = self.workload.columns().iter().zip(self.row(position));
        named.map(|(name, &cell)| ((*name).to_owned(), self.workload.value(cell))).collect()
    }

    /// A batch of the elements at these positions with their attributes.
    #[must_use]
    pub fn columns(&self, batch: Columns, positions: &(impl Iterator<Item = usize> + Clone)) -> Columns {
        self.workload.columns().iter().enumerate().fold(batch, |batch, (column, name)| {
            let cells = positions.clone().map(|position| self.row(position)[column]);
            match self.workload {
                Workload::W5 => batch.doubles(name, cells.map(|cell| cell as f64 * UNIT)),
                _ => batch.ints(name, cells),
            }
        })
    }

    /// The attributes of one as numbers, in the order of [`Workload::columns`]; W5's are in units of [`UNIT`].
    #[must_use]
    pub fn row(&self, position: usize) -> &[i64] {
        let width = self.workload.columns().len();
        &self.cells[position * width..][..width]
    }
}

/// The output of SplitMix64 for a state.
#[inline]
#[must_use]
pub fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn new(workload: u64) -> Draws {
        Draws(0x5EED_0000 + workload)
    }

    fn next(&mut self) -> u64 {
        let drawn = mix(self.0);
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        drawn
    }

    fn below(&mut self, n: u64) -> u64 {
        ((self.next() >> 32) * n) >> 32
    }

    /// About normal, with a mean of 1,500 and a deviation of 300.
    fn normal(&mut self) -> i64 {
        let sum: u64 = (0..12).map(|_| self.next() >> 32).sum();
        1500 + ((300 * (sum as i64 - 6 * (1 << 32)) + (1 << 31)) >> 32)
    }
}

/// W4: pairs of positions that share a key, up to a fifth of all positions apart.
fn correlated(draws: &mut Draws, n: usize) -> Vec<i64> {
    let apart_max = (n / 5).min(200_000);
    let mut free: BTreeSet<usize> = (0..n).collect();
    let mut cells = vec![0; 2 * n];
    while let Some(p) = free.pop_first() {
        let (key, side) = (draws.next() as i64, draws.below(2) as i64);
        cells[2 * p..][..2].copy_from_slice(&[key, side]);
        let d = 1 + draws.below(apart_max.min(n - 1 - p) as u64) as usize;
        let near = free.range(p + d..).next().or_else(|| free.range(..p + d).next_back()).copied();
        let Some(q) = near else { break };
        free.remove(&q);
        cells[2 * q..][..2].copy_from_slice(&[key, 1 - side]);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(workload: Workload, n: usize) -> KnownAnswer {
        let elements = workload.elements(n);
        KnownAnswer::of(n, sequential(&elements, 0..n)).unwrap()
    }

    #[test]
    fn the_generators_give_the_known_answers() {
        for workload in Workload::ALL {
            assert_eq!(Some(found(workload, 20_000)), workload.answer(20_000), "{workload:?}");
        }
        for workload in [Workload::W1, Workload::W2, Workload::W4] {
            assert_eq!(Some(found(workload, 100_000)), workload.answer(100_000), "{workload:?}");
        }
    }

    #[test]
    fn a_million_elements_give_the_known_answers_where_that_takes_no_time() {
        for workload in [Workload::W2, Workload::W3, Workload::W4] {
            assert_eq!(Some(found(workload, 1_000_000)), workload.answer(1_000_000), "{workload:?}");
        }
    }

    #[test]
    fn the_rule_of_w5_is_as_wide_as_its_elements_are_sparse() {
        assert!(Workload::W5.rule(20_000).ends_with("(a.x7 - b.x7) * (a.x7 - b.x7) < 0.068"));
        assert!(Workload::W5.rule(100_000).ends_with("< 0.0445"));
    }

    #[test]
    fn few_elements_are_a_workload_too() {
        for workload in Workload::ALL {
            let elements = workload.elements(2);
            assert_eq!((elements.len(), elements.attributes(1).len()), (2, workload.columns().len()));
        }
    }
}
