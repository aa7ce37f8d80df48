//! The workloads W1 to W5 (WORKLOADS.md): elements that anybody can draw again, and the rules that pair them.
//!
//! W1 to W4 are drawn into one shape, [`Keyed`]: every peer can then have one table, one script, one index. That is in
//! the peers' favour, who are spared a schema; Dovetail gets the attributes one by one.

use std::collections::BTreeSet;

use clap::ValueEnum;

/// The output of SplitMix64 for a state.
pub fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        let drawn = mix(self.0);
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        drawn
    }

    fn below(&mut self, n: u64) -> u64 {
        ((self.next() >> 32) * n) >> 32
    }

    /// About normal around 1500, with a deviation of 300.
    fn normal(&mut self) -> i64 {
        let sum: i64 = (0..12).map(|_| (self.next() >> 32) as i64).sum();
        1500 + ((300 * (sum - (6 << 32)) + (1 << 31)) >> 32)
    }
}

/// An element of W1 to W4. Its id is its position, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keyed {
    /// What both ends of a pair must have alike: W1's region and mode, W2's cell, W4's key.
    pub key: i64,
    /// W2 and W4: 0 or 1, and different at the two ends.
    pub side: i16,
    /// W1: at most 25 apart.
    pub skill: i32,
}

/// An element of W5: near another when the squared distance is below [`reach`].
pub type Point = [f32; 8];

/// The workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Same region, same mode, skills at most 25 apart.
    W1,
    /// Riders and drivers of one cell.
    W2,
    /// Everyone with everyone.
    W3,
    /// Join by a correlation id.
    W4,
    /// Near in eight dimensions: a rule without a key.
    W5,
}

impl Workload {
    fn draws(self) -> Draws {
        Draws(0x5EED_0000 + 1 + self as u64)
    }

    /// The first `n` elements; `None` for W5, which has [`points`] instead.
    pub fn keyed(self, n: usize) -> Option<Vec<Keyed>> {
        let mut draws = self.draws();
        let mut draw = |one: fn(&mut Draws) -> Keyed| Some((0..n).map(|_| one(&mut draws)).collect());
        match self {
            Workload::W1 => draw(|draws| {
                let (region, mode) = (draws.below(8), draws.below(4));
                Keyed { key: (region * 4 + mode) as i64, skill: draws.normal() as i32, ..Keyed::default() }
            }),
            Workload::W2 => draw(|draws| {
                let side = draws.below(2) as i16;
                Keyed { key: draws.below(1024) as i64, side, ..Keyed::default() }
            }),
            Workload::W3 => Some(vec![Keyed::default(); n]),
            Workload::W4 => Some(correlated(&mut draws, n)),
            Workload::W5 => None,
        }
    }
}

/// Elements with their ids.
pub type Numbered = Vec<(u64, Keyed)>;

/// Splits elements by key among at most `workers`, so that each pair is one worker's: all of W3 has one key.
pub fn by_key(elements: &[Keyed], workers: usize) -> Vec<Numbered> {
    let mut parts = vec![Numbered::new(); workers];
    for (id, element) in (1..).zip(elements) {
        parts[(mix(element.key as u64) % workers as u64) as usize].push((id, *element));
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// W4: pairs of positions that share a key, at most a fifth of all positions apart.
fn correlated(draws: &mut Draws, n: usize) -> Vec<Keyed> {
    let apart_max = (n / 5).min(200_000);
    let mut free: BTreeSet<usize> = (0..n).collect();
    let mut elements = vec![Keyed::default(); n];
    while let Some(p) = free.pop_first() {
        let (key, side) = (draws.next() as i64, draws.below(2) as i16);
        elements[p] = Keyed { key, side, skill: 0 };
        let apart = 1 + draws.below(apart_max.min(n - 1 - p) as u64) as usize;
        let near = free.range(p + apart..).next().or_else(|| free.range(..p + apart).next_back()).copied();
        // The last position of an odd number stays alone.
        let Some(q) = near else { break };
        free.remove(&q);
        elements[q] = Keyed { key, side: 1 - side, skill: 0 };
    }
    elements
}

/// The first `n` elements of W5.
pub fn points(n: usize) -> Vec<Point> {
    let mut draws = Workload::W5.draws();
    let unit = (-24_f32).exp2();
    (0..n).map(|_| std::array::from_fn(|_| (draws.next() >> 40) as f32 * unit)).collect()
}

/// W1's rule.
pub fn alike(a: &Keyed, b: &Keyed) -> bool {
    a.key == b.key && (a.skill - b.skill).abs() <= 25
}

/// The rule of W2 and W4.
pub fn opposite(a: &Keyed, b: &Keyed) -> bool {
    a.key == b.key && a.side != b.side
}

/// W3's rule.
pub fn anyone(_: &Keyed, _: &Keyed) -> bool {
    true
}

/// W5's bound for `n` elements. WORKLOADS.md has it for 20,000 and 100,000: fewer near ones each when there are more in
/// all.
pub fn reach(n: usize) -> f32 {
    if n <= 20_000 { 0.068 } else { 0.0445 }
}

/// The squared distance, summed in the order of the coordinates.
pub fn distance(a: &Point, b: &Point) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + (x - y) * (x - y))
}
