//! What clients, other nodes, disks and files may say: the bodies of the fuzz targets over their seeds, and a fixed
//! number of mutations of them (`HOSTILE_INPUTS`). Nothing may panic. `fuzz/README.md` says what each body holds its
//! input to.

#[path = "../fuzz/nodes/src/lib.rs"]
mod nodes;

use std::{fs, panic, path::Path};

/// Mutations of each target, unless `HOSTILE_INPUTS` says how many.
const INPUTS: u64 = 2000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let (at, to) = (random.below(input.len()), random.below(input.len() + 1));
    let (from, to) = (at.min(to), at.max(to));
    match random.below(8) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
        2 => input[at] = input[at].wrapping_add(1),
        3 => input[at] = random.next() as u8,
        4 if to - from < input.len() => drop(input.drain(from..to)),
        5 if input.len() < 8192 => {
            let again = input[from..to].to_vec();
            input.splice(at..at, again);
        }
        // The largest number there is on the wire.
        6 => drop(input.splice(at..at + 1, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1])),
        _ => {
            let some = random.below(other.len());
            let count = random.below(64).min(other.len() - some);
            input.splice(at..at, other[some..some + count].iter().copied());
        }
    }
}

/// What a fuzzer found worth keeping of a target, if one ever ran it, in the order of the files' names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/nodes/corpus").join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("it can be read")).collect()
}

fn hold(target: &str, share: u64, body: fn(&[u8])) {
    let mut seeds: Vec<Vec<u8>> = nodes::seeds(target).into_iter().map(|(_, bytes)| bytes).collect();
    seeds.extend(corpus(target));
    seeds.iter().for_each(|seed| body(seed));
    let inputs = std::env::var("HOSTILE_INPUTS").ok().and_then(|inputs| inputs.parse().ok()).unwrap_or(INPUTS);
    for number in 0..inputs / share {
        let mut random = Random(number);
        let mut input = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        for _ in 0..=random.below(4) {
            mutate(&mut input, other, &mut random);
        }
        let run = panic::catch_unwind(|| body(&input));
        // What it panicked with is above.
        assert!(run.is_ok(), "mutation {number} of the target {target}: {input:?}");
    }
}

#[test]
fn whatever_a_client_submits_is_read_or_refused() {
    hold("submit", 1, nodes::submit::run);
}

#[test]
fn whatever_another_node_says_is_taken_or_refused() {
    hold("peers", 1, nodes::peers::run);
}

#[test]
fn whatever_a_disk_gives_back_is_read_or_refused() {
    hold("disk", 10, nodes::disk::run);
}

#[test]
fn whatever_a_policy_or_a_credential_says_is_read_or_refused() {
    hold("access", 1, nodes::access::run);
}
