//! What a result comes to, independent of the order of its pairs, and whether it may stand.

use std::collections::HashSet;

use serde::Serialize;
use thiserror::Error;

use crate::workload::mix;

/// Two positions, from 1, the lower one first.
pub type Pair = (u64, u64);

/// A result in five numbers, as in WORKLOADS.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Pairs.
    pub matches: u64,
    /// Elements left over.
    pub waiting: u64,
    /// XOR of the pairs' hashes.
    pub xor: u64,
    /// Their wrapping sum.
    pub sum: u64,
    /// Wrapping sum of the hashes of the elements left over.
    pub wait: u64,
}

/// A result that nobody may give, whatever order the peer promises.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WrongPair {
    /// An element in two pairs.
    #[error("element {id} is matched twice, the second time in {pair:?}")]
    Twice {
        /// The element.
        id: u64,
        /// The second pair.
        pair: Pair,
    },
    /// An element that was never submitted, or a pair the wrong way round.
    #[error("{pair:?} is no pair of two of the elements 1 to {elements}, lower first")]
    Unknown {
        /// The pair.
        pair: Pair,
        /// How many elements there are.
        elements: u64,
    },
}

impl Answer {
    /// Of `pairs` between the elements 1 to `elements`.
    pub fn of(elements: usize, pairs: &[Pair]) -> Result<Answer, WrongPair> {
        let elements = elements as u64;
        let mut matched = HashSet::with_capacity(2 * pairs.len());
        let mut answer = Answer::default();
        for &pair in pairs {
            let (low, high) = pair;
            if low == 0 || low >= high || high > elements {
                return Err(WrongPair::Unknown { pair, elements });
            }
            if let Some(id) = [low, high].into_iter().find(|&id| !matched.insert(id)) {
                return Err(WrongPair::Twice { id, pair });
            }
            let hash = mix(mix(low) ^ high);
            answer.matches += 1;
            answer.xor ^= hash;
            answer.sum = answer.sum.wrapping_add(hash);
        }
        answer.waiting = elements - 2 * answer.matches;
        answer.wait = (1..=elements).filter(|id| !matched.contains(id)).map(mix).fold(0, u64::wrapping_add);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_in_two_pairs_is_named() {
        assert_eq!(Answer::of(4, &[(1, 2), (2, 3)]), Err(WrongPair::Twice { id: 2, pair: (2, 3) }));
    }

    #[test]
    fn a_pair_of_what_was_not_submitted_is_named() {
        for pair in [(0, 1), (1, 5), (3, 3), (3, 2)] {
            assert_eq!(Answer::of(4, &[pair]), Err(WrongPair::Unknown { pair, elements: 4 }));
        }
    }

    #[test]
    fn the_order_of_pairs_does_not_show() {
        assert_eq!(Answer::of(9, &[(1, 2), (3, 7)]), Answer::of(9, &[(3, 7), (1, 2)]));
    }
}
