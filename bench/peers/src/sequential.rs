//! One thread, in memory: the answer that every other program is held against, and the figure of a program that gives
//! up everything else. Elements come in order; each takes the one that has waited longest and satisfies the rule, or
//! waits.
//!
//! Neither is written for a particular rule: the index knows only that both ends of a pair have the same key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use crate::answer::Pair;
use crate::workload::{Keyed, Workload, alike, anyone, distance, keyed, mix, opposite, points, reach};

/// Elements that wait, in the order in which they came.
type Waiting<E> = Vec<(u64, E)>;

/// Tests everyone who waits, one after the other.
pub fn scan<E: Copy>(elements: &[E], rule: impl Fn(&E, &E) -> bool) -> Vec<Pair> {
    let (mut waiting, mut pairs) = (Waiting::new(), Vec::with_capacity(elements.len() / 2));
    for (id, element) in (1..).zip(elements) {
        match waiting.iter().position(|(_, other)| rule(other, element)) {
            Some(place) => pairs.push((waiting.remove(place).0, id)),
            None => waiting.push((id, *element)),
        }
    }
    pairs
}

/// Tests only those who wait under the same key.
pub fn index<E: Copy>(elements: &[E], key: impl Fn(&E) -> i64, rule: impl Fn(&E, &E) -> bool) -> Vec<Pair> {
    let mut waiting: HashMap<i64, Waiting<E>, BuildHasherDefault<KeyHasher>> = HashMap::default();
    let mut pairs = Vec::with_capacity(elements.len() / 2);
    for (id, element) in (1..).zip(elements) {
        match waiting.entry(key(element)) {
            Entry::Vacant(bucket) => {
                bucket.insert(vec![(id, *element)]);
            }
            Entry::Occupied(mut bucket) => match bucket.get().iter().position(|(_, other)| rule(other, element)) {
                None => bucket.get_mut().push((id, *element)),
                Some(place) => {
                    pairs.push((bucket.get_mut().remove(place).0, id));
                    // W4 never asks for a key again.
                    if bucket.get().is_empty() {
                        bucket.remove();
                    }
                }
            },
        }
    }
    pairs
}

/// A hash of one integer: the standard one would be half of the time.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| mix(hash ^ u64::from(*byte)));
    }

    fn write_i64(&mut self, key: i64) {
        self.0 = mix(key as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A workload's elements, drawn, with both programs over them.
pub enum Task {
    /// W1 to W4.
    Keyed(Workload, Vec<Keyed>),
    /// W5, which has no key to index.
    Points(Vec<[f32; 8]>),
}

impl Task {
    /// Draws `n` elements.
    pub fn new(workload: Workload, n: usize) -> Task {
        keyed(workload, n).map_or_else(|| Task::Points(points(n)), |elements| Task::Keyed(workload, elements))
    }

    /// By the plain scan.
    pub fn scan(&self) -> Vec<Pair> {
        match self {
            Task::Keyed(Workload::W1, elements) => scan(elements, alike),
            Task::Keyed(Workload::W3, elements) => scan(elements, anyone),
            Task::Keyed(_, elements) => scan(elements, opposite),
            Task::Points(points) => {
                let reach = reach(points.len());
                scan(points, |a, b| distance(a, b) < reach)
            }
        }
    }

    /// By the index; by the scan where there is no key.
    pub fn index(&self) -> Vec<Pair> {
        let key = |element: &Keyed| element.key;
        match self {
            Task::Keyed(Workload::W1, elements) => index(elements, key, alike),
            Task::Keyed(Workload::W3, elements) => index(elements, key, anyone),
            Task::Keyed(_, elements) => index(elements, key, opposite),
            Task::Points(_) => self.scan(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;

    /// WORKLOADS.md, for 20,000 elements.
    const ANSWERS: [(Workload, u64, u64, u64, u64, u64); 5] = [
        (Workload::W1, 9_682, 636, 0x534f_d74c_5b1b_ed85, 0xfa20_9649_241e_5145, 0x81b4_fc96_8e56_fb4a),
        (Workload::W2, 8_197, 3_606, 0x9136_dbe4_56a9_4457, 0x1a8e_f6e2_8132_14c1, 0x9688_1075_a133_f912),
        (Workload::W3, 10_000, 0, 0xe7bf_4b0a_80a5_2c1a, 0x586c_2b0a_b5cc_2360, 0),
        (Workload::W4, 10_000, 0, 0xfe0e_2f37_beb6_c6ce, 0x64d1_7104_3a5d_13f0, 0),
        (Workload::W5, 4_943, 10_114, 0x98fd_7f71_4828_e7b8, 0x8a8f_58ad_1bb8_a444, 0xe7f8_43aa_f98f_a0e5),
    ];

    fn check(program: impl Fn(&Task) -> Vec<Pair>) {
        for (workload, matches, waiting, xor, sum, wait) in ANSWERS {
            let known = Answer { matches, waiting, xor, sum, wait };
            let pairs = program(&Task::new(workload, 20_000));
            assert_eq!(Answer::of(20_000, &pairs), Ok(known), "{workload:?}");
        }
    }

    #[test]
    fn the_scan_gives_the_known_answers() {
        check(Task::scan);
    }

    #[test]
    fn the_index_gives_the_known_answers() {
        check(Task::index);
    }

    #[test]
    fn the_last_of_an_odd_number_stays_alone_in_w4() {
        let pairs = Task::new(Workload::W4, 1_001).index();
        assert_eq!(Answer::of(1_001, &pairs).map(|answer| (answer.matches, answer.waiting)), Ok((500, 1)));
    }
}
