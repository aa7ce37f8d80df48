//! The workloads W1 to W5 and their checksums, from their definition (shared/WORKLOADS.md).

use std::collections::BTreeSet;

use dovetail::client::value;
use dovetail::pb::{Attribute, AttributeType, PoolDefinition, Submission, Value};

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn new(workload: u64) -> Draws {
        Draws(0x5EED_0000 + workload)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        ((self.next() >> 32) * n) >> 32
    }

    fn normal(&mut self) -> i64 {
        let sum: u64 = (0..12).map(|_| self.next() >> 32).sum();
        1500 + ((300 * (sum as i64 - 6 * (1 << 32)) + (1 << 31)) >> 32)
    }
}

fn mix(z: u64) -> u64 {
    Draws(z).next()
}

/// What a result comes to, independent of the order of the matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub matches: u64,
    pub waiting: u64,
    pub xor: u64,
    pub sum: u64,
    pub wait: u64,
}

impl Answer {
    /// Of matches between positions 1 to `n`.
    pub fn of(n: u64, matches: impl IntoIterator<Item = (u64, u64)>) -> Answer {
        let mut waiting: BTreeSet<u64> = (1..=n).collect();
        let mut answer = Answer::default();
        for (one, other) in matches {
            for end in [one, other] {
                assert!(waiting.remove(&end), "element {end} is matched twice, or was never submitted");
            }
            let h = mix(mix(one.min(other)) ^ one.max(other));
            answer.matches += 1;
            answer.xor ^= h;
            answer.sum = answer.sum.wrapping_add(h);
        }
        answer.waiting = waiting.len() as u64;
        answer.wait = waiting.into_iter().map(mix).fold(0, u64::wrapping_add);
        answer
    }
}

/// The workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Region, mode and skill.
    W1,
    /// Riders and drivers.
    W2,
    /// Everyone with everyone.
    W3,
    /// Join by correlation id.
    W4,
    /// Near in eight dimensions: no key. For 20,000 elements.
    W5,
}

/// W5's coordinates are whole numbers of this.
const UNIT: f64 = 1.0 / 16_777_216.0;

impl Workload {
    fn columns(self) -> &'static [&'static str] {
        match self {
            Workload::W1 => &["region", "mode", "skill"],
            Workload::W2 => &["side", "cell"],
            Workload::W3 => &[],
            Workload::W4 => &["key", "side"],
            Workload::W5 => &["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"],
        }
    }

    fn rule(self) -> String {
        let rule = match self {
            Workload::W1 => "a.region == b.region && a.mode == b.mode && abs(a.skill - b.skill) <= 25",
            Workload::W2 => "a.cell == b.cell && a.side != b.side",
            Workload::W3 => "true",
            Workload::W4 => "a.key == b.key && a.side != b.side",
            Workload::W5 => {
                let square = |x: &&str| format!("(a.{x} - b.{x}) * (a.{x} - b.{x})");
                return self.columns().iter().map(square).collect::<Vec<_>>().join(" + ") + " < 0.068";
            }
        };
        rule.to_owned()
    }

    fn value(self, int: i64) -> Value {
        if self == Workload::W5 { value::double(int as f64 * UNIT) } else { value::int(int) }
    }

    /// The pool, under a name of its own.
    pub fn pool(self, name: &str) -> PoolDefinition {
        let kind = if self == Workload::W5 { AttributeType::Double } else { AttributeType::Int };
        let attribute = |name: &&str| Attribute { name: (*name).to_owned(), r#type: kind.into() };
        PoolDefinition {
            name: name.to_owned(),
            attributes: self.columns().iter().map(attribute).collect(),
            rule: self.rule(),
            ..PoolDefinition::default()
        }
    }

    /// The elements. The one at position `i`, from 1, has the key `k{i}`, also as its idempotency key.
    pub fn elements(self, n: usize) -> Vec<Submission> {
        let submission = |(position, row): (usize, Vec<i64>)| {
            let key = format!("k{}", position + 1);
            let named = self.columns().iter().zip(row);
            Submission {
                idempotency_key: key.clone(),
                key,
                attributes: named.map(|(name, int)| ((*name).to_owned(), self.value(int))).collect(),
                ..Submission::default()
            }
        };
        self.rows(n).into_iter().enumerate().map(submission).collect()
    }

    fn rows(self, n: usize) -> Vec<Vec<i64>> {
        let mut draws = Draws::new(self as u64 + 1);
        match self {
            Workload::W1 => {
                let row = |draws: &mut Draws| vec![draws.below(8) as i64, draws.below(4) as i64, draws.normal()];
                (0..n).map(|_| row(&mut draws)).collect()
            }
            Workload::W2 => {
                let row = |draws: &mut Draws| vec![draws.below(2) as i64, draws.below(1024) as i64];
                (0..n).map(|_| row(&mut draws)).collect()
            }
            Workload::W3 => vec![Vec::new(); n],
            Workload::W4 => correlated(&mut draws, n),
            Workload::W5 => (0..n).map(|_| (0..8).map(|_| (draws.next() >> 40) as i64).collect()).collect(),
        }
    }

    /// The answer that is known.
    pub fn answer(self, n: usize) -> Answer {
        let (matches, waiting, xor, sum, wait) = match (self, n) {
            (Workload::W1, 20_000) => (9_682, 636, 0x534f_d74c_5b1b_ed85, 0xfa20_9649_241e_5145, 0x81b4_fc96_8e56_fb4a),
            (Workload::W1, 100_000) => {
                (49_635, 730, 0xb0a5_c9e1_f03a_24ca, 0x23d9_ddbc_eeb8_89d8, 0x9885_dc55_0b25_0d0b)
            }
            (Workload::W2, 20_000) => {
                (8_197, 3_606, 0x9136_dbe4_56a9_4457, 0x1a8e_f6e2_8132_14c1, 0x9688_1075_a133_f912)
            }
            (Workload::W2, 100_000) => {
                (45_770, 8_460, 0x9daa_8483_b55c_2f7d, 0x34b4_80fb_7646_e015, 0x6ac6_20ea_b14e_4970)
            }
            (Workload::W3, 20_000) => (10_000, 0, 0xe7bf_4b0a_80a5_2c1a, 0x586c_2b0a_b5cc_2360, 0),
            (Workload::W4, 20_000) => (10_000, 0, 0xfe0e_2f37_beb6_c6ce, 0x64d1_7104_3a5d_13f0, 0),
            (Workload::W4, 100_000) => (50_000, 0, 0x7bf2_e9f6_3688_8d24, 0xf28c_6560_26d6_8e84, 0),
            (Workload::W5, 20_000) => {
                (4_943, 10_114, 0x98fd_7f71_4828_e7b8, 0x8a8f_58ad_1bb8_a444, 0xe7f8_43aa_f98f_a0e5)
            }
            _ => panic!("the answer of {self:?} for {n} elements is not known"),
        };
        Answer { matches, waiting, xor, sum, wait }
    }
}

/// W4: pairs of positions that share a key, up to a fifth of all positions apart.
fn correlated(draws: &mut Draws, n: usize) -> Vec<Vec<i64>> {
    let apart_max = (n / 5).min(200_000);
    let mut free: BTreeSet<usize> = (0..n).collect();
    let mut rows = vec![Vec::new(); n];
    while let Some(p) = free.pop_first() {
        let (key, side) = (draws.next(), draws.below(2) as i64);
        let d = 1 + draws.below(apart_max.min(n - 1 - p) as u64) as usize;
        let q = free.range(p + d..).next().or_else(|| free.range(..p + d).next_back()).copied().unwrap();
        free.remove(&q);
        rows[p] = vec![key as i64, side];
        rows[q] = vec![key as i64, 1 - side];
    }
    rows
}

/// The position in the key that [`Workload::elements`] gave.
pub fn position(key: &str) -> u64 {
    key.strip_prefix('k').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{key:?} is not our key"))
}

fn may_match(workload: Workload, a: &[i64], b: &[i64]) -> bool {
    match workload {
        Workload::W1 => a[0] == b[0] && a[1] == b[1] && (a[2] - b[2]).abs() <= 25,
        Workload::W2 => a[1] == b[1] && a[0] != b[0],
        Workload::W3 => true,
        Workload::W4 => a[0] == b[0] && a[1] != b[1],
        Workload::W5 => a.iter().zip(b).map(|(a, b)| ((a - b) as f64 * UNIT).powi(2)).sum::<f64>() < 0.068,
    }
}

#[test]
fn the_generators_give_the_known_answers() {
    for workload in [Workload::W1, Workload::W2, Workload::W3, Workload::W4, Workload::W5] {
        let rows = workload.rows(20_000);
        let (mut waiting, mut matches) = (Vec::new(), Vec::new());
        for (index, row) in rows.iter().enumerate() {
            match waiting.iter().position(|&other: &usize| may_match(workload, &rows[other], row)) {
                Some(place) => matches.push((waiting.remove(place) as u64 + 1, index as u64 + 1)),
                None => waiting.push(index),
            }
        }
        assert_eq!(Answer::of(20_000, matches), workload.answer(20_000), "{workload:?}");
    }
}
