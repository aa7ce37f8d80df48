//! The workloads W1 to W5 (WORKLOADS.md) as peers have them, and their rules.
//!
//! W1 to W4 have one shape, [`Keyed`]: every peer can then have one table, one script, one index. That is in
//! the peers' favour, who are spared a schema; Dovetail gets the attributes one by one.

use dovetail_bench::workload::{UNIT, radius_squared};
pub use dovetail_bench::workload::{Workload, mix};

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

/// The first `n` elements of a workload; `None` for W5, which has [`points`] instead.
pub fn keyed(workload: Workload, n: usize) -> Option<Vec<Keyed>> {
    let elements = workload.elements(n);
    let keyed = |position| {
        let row = elements.row(position);
        Some(match workload {
            Workload::W1 => Keyed { key: row[0] * 4 + row[1], skill: row[2] as i32, ..Keyed::default() },
            Workload::W2 => Keyed { key: row[1], side: row[0] as i16, ..Keyed::default() },
            Workload::W3 => Keyed::default(),
            Workload::W4 => Keyed { key: row[0], side: row[1] as i16, ..Keyed::default() },
            Workload::W5 | Workload::Dense(_) => return None,
        })
    };
    (0..n).map(keyed).collect()
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

/// The first `n` elements of W5.
pub fn points(n: usize) -> Vec<Point> {
    let elements = Workload::W5.elements(n);
    let point = |row: &[i64]| std::array::from_fn(|coordinate| row[coordinate] as f32 * UNIT as f32);
    (0..n).map(|position| point(elements.row(position))).collect()
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

/// W5's bound for `n` elements.
pub fn reach(n: usize) -> f32 {
    radius_squared(n) as f32
}

/// The squared distance, summed in the order of the coordinates.
pub fn distance(a: &Point, b: &Point) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + (x - y) * (x - y))
}
