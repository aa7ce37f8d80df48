//! The fuzz targets on the corpus and on a fixed number of random inputs. `fuzz/run.sh` is the fuzzer.

use crate::fuzz::bytes::END_OF_TEXT;
use crate::fuzz::{parser, planner};
use crate::{on_a_small_stack, rules};

/// What is inserted.
const LETTERS: &[u8] = b"()[]{}.,?:!-+*/%&|=<>'\"\\ eabi09";

/// A small seeded generator (SplitMix64), so that a failing seed can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Removes, replaces, repeats or inserts a few bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let to = (at + self.below(8)).min(bytes.len());
            match self.below(4) {
                0 => drop(bytes.drain(at..to)),
                1 if at < bytes.len() => bytes[at] = self.next() as u8,
                2 => {
                    let repeated = bytes[at..to].to_vec();
                    bytes.splice(at..at, repeated);
                }
                _ => bytes.insert(at, LETTERS[self.below(LETTERS.len())]),
            }
        }
    }
}

/// A rule as an input of either target: `first` says which schema, or that it is a text; rows come after it.
fn input(first: u8, rule: &[u8], rows: Vec<u8>) -> Vec<u8> {
    [&[first], rule, &[END_OF_TEXT], &rows].concat()
}

/// Runs a target, and tells the seed of an input it panics on.
fn run(target: fn(&[u8]) -> bool, inputs: impl Iterator<Item = (String, Vec<u8>)> + Send + 'static) -> (usize, usize) {
    on_a_small_stack(move || {
        let (mut accepted, mut all) = (0, 0);
        for (name, input) in inputs {
            let survived = std::panic::catch_unwind(|| target(&input));
            accepted += usize::from(survived.unwrap_or_else(|_| panic!("{name}: {input:?}")));
            all += 1;
        }
        (accepted, all)
    })
}

fn hostile(first: u8) -> impl Iterator<Item = (String, Vec<u8>)> {
    rules().into_iter().map(move |(name, rule)| (name, input(first, &rule, Random(1).bytes(200))))
}

fn damaged(first: u8, times: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    rules().into_iter().enumerate().flat_map(move |(index, (name, rule))| {
        (0..times).map(move |time| {
            let mut random = Random(index as u64 * times + time);
            let mut rule = rule.clone();
            random.mutate(&mut rule);
            let rows = random.below(200);
            (format!("{name}, damage {time}"), input(first, &rule, random.bytes(rows)))
        })
    })
}

fn random(inputs: u64, first: Option<u8>) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..inputs).map(move |seed| {
        let mut random = Random(seed);
        let len = random.below(300);
        let mut bytes = random.bytes(len + 1);
        bytes[0] = first.unwrap_or(bytes[0]);
        (format!("seed {seed}"), bytes)
    })
}

#[test]
fn the_parser_survives_hostile_rules_and_their_mutations() {
    let (accepted, all) = run(parser::run, hostile(0).chain(damaged(0, 40)));
    assert!(accepted > all / 30, "only {accepted} of {all} accepted");
    run(parser::run, random(10_000, None));
}

#[test]
fn generated_rules_survive_exchange_and_negation() {
    let (accepted, all) = run(planner::run, random(20_000, Some(0)));
    assert!(accepted > all * 3 / 4, "only {accepted} of {all} accepted");
    run(planner::run, hostile(255).chain(damaged(255, 10)));
}
