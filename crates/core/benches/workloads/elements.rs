//! The five workloads: their elements, their rules, and the matches that are known to come of them.

use std::sync::Arc;

use dovetail_core::PoolDefinition;
use dovetail_rule::{AttributeType, Row, Value};

/// The output of SplitMix64 for a state.
pub fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        let out = mix(self.0);
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        out
    }

    fn below(&mut self, n: u64) -> i64 {
        (((self.next() >> 32) * n) >> 32) as i64
    }

    fn skill(&mut self) -> i64 {
        let sum: i64 = (0..12).map(|_| (self.next() >> 32) as i64).sum();
        1500 + ((300 * (sum - (6i64 << 32)) + (1i64 << 31)) >> 32)
    }
}

/// What comes of a workload: how many matches, how many still wait, and a checksum of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub matches: usize,
    pub waiting: usize,
    pub xor: u64,
    pub sum: u64,
    pub wait: u64,
}

impl Answer {
    /// Of `n` elements, of which these were matched, lower id first.
    pub fn of(n: usize, pairs: &[(u32, u32)]) -> Answer {
        let mut matched = vec![false; n + 1];
        let mut answer = Answer { matches: pairs.len(), waiting: n - 2 * pairs.len(), xor: 0, sum: 0, wait: 0 };
        for &(i, j) in pairs {
            for element in [i, j] {
                assert!(!std::mem::replace(&mut matched[element as usize], true), "{element} is matched twice");
            }
            let hash = mix(mix(u64::from(i)) ^ u64::from(j));
            answer.xor ^= hash;
            answer.sum = answer.sum.wrapping_add(hash);
        }
        let waiting = (1..=n).filter(|&element| !matched[element]);
        answer.wait = waiting.fold(0, |wait, element| wait.wrapping_add(mix(element as u64)));
        answer
    }
}

/// A workload of which every element has some ints, as the programs written by hand take them.
pub struct Ints {
    pub number: u64,
    pub names: &'static [&'static str],
    pub rule: &'static str,
    pub rows: Vec<[i64; 3]>,
}

impl Ints {
    pub fn new(number: u64, n: usize) -> Ints {
        let mut random = SplitMix(0x5EED_0000 + number);
        let (names, rule): (&[&str], _) = match number {
            1 => (
                &["region", "mode", "skill"],
                "a.region == b.region && a.mode == b.mode && abs(a.skill - b.skill) <= 25",
            ),
            2 => (&["side", "cell"], "a.cell == b.cell && a.side != b.side"),
            3 => (&[], "true"),
            4 => (&["key", "side"], "a.key == b.key && a.side != b.side"),
            _ => unreachable!("the fifth has doubles"),
        };
        let rows = match number {
            1 => (0..n).map(|_| [random.below(8), random.below(4), random.skill()]).collect(),
            2 => (0..n).map(|_| [random.below(2), random.below(1024), 0]).collect(),
            3 => vec![[0; 3]; n],
            _ => pairs_of_keys(&mut random, n),
        };
        Ints { number, names, rule, rows }
    }

    pub fn pool(&self) -> Arc<PoolDefinition> {
        pool(self.names.iter().map(|&name| (name.to_owned(), AttributeType::Int)).collect(), self.rule.to_owned())
    }

    pub fn row(&self, at: usize) -> Arc<Row> {
        Arc::new(Row::from_values(self.rows[at][..self.names.len()].iter().map(|&int| Some(Value::Int(int)))))
    }
}

/// The fourth workload: every key comes twice, some way apart, once from either side.
fn pairs_of_keys(random: &mut SplitMix, n: usize) -> Vec<[i64; 3]> {
    let farthest = (n / 5).min(200_000);
    let mut rows: Vec<Option<[i64; 3]>> = vec![None; n];
    for p in 0..n {
        if rows[p].is_some() {
            continue;
        }
        let (key, side) = (random.next() as i64, random.below(2));
        let after = p + 1 + random.below(farthest.min(n - 1 - p) as u64) as usize;
        let later = (after..n).find(|&q| rows[q].is_none());
        let q = later.unwrap_or_else(|| (p + 1..after).rfind(|&q| rows[q].is_none()).expect("n is even"));
        rows[p] = Some([key, side, 0]);
        rows[q] = Some([key, 1 - side, 0]);
    }
    rows.into_iter().map(|row| row.expect("all were given out")).collect()
}

/// The fifth: points, and who is near matches.
pub struct Points {
    pub limit: f32,
    pub points: Vec<[f32; 8]>,
}

impl Points {
    pub fn new(n: usize) -> Points {
        let mut random = SplitMix(0x5EED_0005);
        let mut point = || std::array::from_fn(|_| (random.next() >> 40) as f32 / 16_777_216.0);
        Points { limit: if n > 20_000 { 0.0445 } else { 0.068 }, points: (0..n).map(|_| point()).collect() }
    }

    pub fn rule(&self) -> String {
        let squares: Vec<String> = (0..8).map(|k| format!("(a.x{k} - b.x{k}) * (a.x{k} - b.x{k})")).collect();
        format!("{} < {}", squares.join(" + "), self.limit)
    }

    pub fn attributes() -> Vec<(String, AttributeType)> {
        (0..8).map(|k| (format!("x{k}"), AttributeType::Double)).collect()
    }

    pub fn pool(&self) -> Arc<PoolDefinition> {
        pool(Points::attributes(), self.rule())
    }

    pub fn row(&self, at: usize) -> Arc<Row> {
        Arc::new(Row::from_values(self.points[at].iter().map(|&x| Some(Value::Double(f64::from(x))))))
    }
}

fn pool(attributes: Vec<(String, AttributeType)>, rule: String) -> Arc<PoolDefinition> {
    Arc::new(PoolDefinition {
        name: "bench".to_owned(),
        attributes,
        rule,
        ttl_ms: 0,
        reprobe_ms: vec![],
        waiting_max: 0,
        payload_bytes_max: 0,
    })
}

/// What is known to come of a workload of that size.
pub fn known(number: u64, n: usize) -> Option<Answer> {
    let answer = |matches, waiting, xor, sum, wait| Some(Answer { matches, waiting, xor, sum, wait });
    match (number, n) {
        (1, 20_000) => answer(9_682, 636, 0x534f_d74c_5b1b_ed85, 0xfa20_9649_241e_5145, 0x81b4_fc96_8e56_fb4a),
        (1, 1_000_000) => answer(499_589, 822, 0x0d72_cdfc_3e8a_71c4, 0x936a_850a_9733_6c12, 0x9956_12c8_8265_68b1),
        (2, 20_000) => answer(8_197, 3_606, 0x9136_dbe4_56a9_4457, 0x1a8e_f6e2_8132_14c1, 0x9688_1075_a133_f912),
        (2, 1_000_000) => answer(487_203, 25_594, 0xb00f_e30d_8161_821a, 0x7b41_9b90_8447_053e, 0xd660_9e3b_c519_be2a),
        (3, 20_000) => answer(10_000, 0, 0xe7bf_4b0a_80a5_2c1a, 0x586c_2b0a_b5cc_2360, 0),
        (3, 1_000_000) => answer(500_000, 0, 0x0033_eeda_8da4_9b01, 0x92e1_d98b_0bc7_06ad, 0),
        (4, 20_000) => answer(10_000, 0, 0xfe0e_2f37_beb6_c6ce, 0x64d1_7104_3a5d_13f0, 0),
        (4, 1_000_000) => answer(500_000, 0, 0x8a05_956a_1726_c5ba, 0x2927_fa73_0180_b490, 0),
        (5, 20_000) => answer(4_943, 10_114, 0x98fd_7f71_4828_e7b8, 0x8a8f_58ad_1bb8_a444, 0xe7f8_43aa_f98f_a0e5),
        (5, 100_000) => answer(25_028, 49_944, 0xf1f3_47a2_ce0c_957a, 0xfe63_0a8c_5c0e_beec, 0x1b30_05f5_10ad_0ecb),
        _ => None,
    }
}

/// Whether that came of it, where it is known.
pub fn check(number: u64, n: usize, pairs: &[(u32, u32)]) {
    if let Some(known) = known(number, n) {
        assert_eq!(Answer::of(n, pairs), known, "workload {number} of {n} elements");
    }
}
