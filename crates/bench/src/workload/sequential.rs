//! The sequential program, written by hand for each workload: it shares no code with what it checks, the rule included.

use std::collections::HashMap;

use super::{CIRCLE, Elements, UNIT, Workload, radius_squared};

/// The pairs of the elements at these positions from 0, taken in this order: each is matched with the one that has
/// waited longest and may be. Pairs are of positions from 1.
///
/// W5 looks at all that wait: it takes as long as all pairs there are.
pub fn sequential(elements: &Elements, order: impl IntoIterator<Item = usize>) -> Vec<(u64, u64)> {
    let near = radius_squared(elements.len());
    // Those that wait, by what has to be equal.
    let mut waiting: HashMap<[i64; 2], Vec<usize>> = HashMap::new();
    let mut pairs = Vec::new();
    for position in order {
        let row = elements.row(position);
        let equal = match elements.workload() {
            Workload::W1 => [row[0], row[1]],
            Workload::W2 => [row[1], 0],
            Workload::W4 => [row[0], 0],
            Workload::W3 | Workload::W5 | Workload::Dense(_) => [0, 0],
        };
        let bucket = waiting.entry(equal).or_default();
        let found = bucket.iter().position(|&other| match elements.workload() {
            Workload::W1 => (row[2] - elements.row(other)[2]).abs() <= 25,
            Workload::W2 => row[0] != elements.row(other)[0],
            Workload::W3 => true,
            Workload::W4 => row[1] != elements.row(other)[1],
            Workload::W5 => are_near(row, elements.row(other), near),
            Workload::Dense(per_million) => {
                ((row[0] + elements.row(other)[0]) as u64) % CIRCLE < u64::from(per_million)
            }
        });
        match found {
            Some(place) => pairs.push((bucket.remove(place) as u64 + 1, position as u64 + 1)),
            None => bucket.push(position),
        }
    }
    pairs
}

/// Squares only add to the sum, so it can stop once that is too large.
fn are_near(one: &[i64], other: &[i64], near: f64) -> bool {
    let mut sum = 0.0;
    one.iter().zip(other).all(|(a, b)| {
        let distance = (a - b) as f64 * UNIT;
        sum += distance * distance;
        sum < near
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_waited_longest_is_taken_in_whatever_order_they_came() {
        let elements = Workload::W3.elements(5);
        assert_eq!(sequential(&elements, [0, 1, 2, 3, 4]), [(1, 2), (3, 4)]);
        assert_eq!(sequential(&elements, [4, 2, 0, 1, 3]), [(5, 3), (1, 2)]);
    }

    #[test]
    fn elements_that_all_match_are_paired_as_they_came() {
        let elements = Workload::Dense(1_000_000).elements(5);
        assert_eq!(sequential(&elements, 0..5), [(1, 2), (3, 4)]);
        assert_eq!(sequential(&Workload::Dense(0).elements(5), 0..5), []);
    }

    #[test]
    fn the_fewer_pairs_match_the_more_elements_wait() {
        let waiting =
            |per_million| 20_000 - 2 * sequential(&Workload::Dense(per_million).elements(20_000), 0..20_000).len();
        assert!(waiting(1_000_000) == 0 && waiting(100_000) < 40 && waiting(1_000) > 100);
    }
}
