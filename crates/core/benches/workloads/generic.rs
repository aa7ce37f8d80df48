//! The programs that workloads 1 to 4 are measured by: rows in a hash map by key, each bucket searched from its oldest
//! row on.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use crate::elements::Ints;

/// A row as such a program would have it: as small as it can be.
#[derive(Clone, Copy)]
pub struct Compact {
    id: u32,
    skill: i32,
    key: u64,
    side: u8,
}

/// The rows of a workload.
pub fn compact(ints: &Ints) -> Vec<Compact> {
    let row = |(row, id): (&[i64; 3], u32)| {
        let (key, side, skill) = match ints.number {
            1 => (row[0] * 4 + row[1], 0, row[2]),
            2 => (row[1], row[0], 0),
            _ => (row[0], row[1], 0),
        };
        Compact { id, skill: skill as i32, key: key as u64, side: side as u8 }
    };
    ints.rows.iter().zip(1..).map(row).collect()
}

/// Matches every row with the oldest that fits.
pub fn run(number: u64, rows: &[Compact], pairs: &mut Vec<(u32, u32)>) {
    match number {
        1 => indexed(rows, pairs, |row| row.key as u16, |a, b| a.skill.abs_diff(b.skill) <= 25),
        2 => indexed(rows, pairs, |row| row.key as u16, |a, b| a.side != b.side),
        3 => indexed(rows, pairs, |_| (), |_, _| true),
        _ => indexed(rows, pairs, |row| row.key, |a, b| a.side != b.side),
    }
}

fn indexed<K: Hash + Eq>(
    rows: &[Compact],
    pairs: &mut Vec<(u32, u32)>,
    key: impl Fn(&Compact) -> K,
    matches: impl Fn(&Compact, &Compact) -> bool,
) {
    let mut buckets: HashMap<K, VecDeque<Compact>> = HashMap::new();
    for row in rows {
        let bucket = buckets.entry(key(row)).or_default();
        let Some(at) = bucket.iter().position(|waiting| matches(waiting, row)) else {
            bucket.push_back(*row);
            continue;
        };
        pairs.push((bucket[at].id, row.id));
        bucket.remove(at);
        if bucket.is_empty() {
            buckets.remove(&key(row));
        }
    }
}
