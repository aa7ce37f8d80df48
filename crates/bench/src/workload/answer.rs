//! What a result comes to, and what it has to come to.

use super::{Workload, mix};

/// What a result comes to, independent of the order of its matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownAnswer {
    /// Pairs.
    pub matches: u64,
    /// Elements without a partner.
    pub waiting: u64,
    /// Of all pairs, exclusive or of their hashes.
    pub xor: u64,
    /// Of all pairs, wrapping sum of their hashes.
    pub sum: u64,
    /// Of the elements without a partner, wrapping sum of their hashes.
    pub wait: u64,
}

/// Pairs that no result can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// One element in two pairs.
    #[error("the element at position {0} is matched twice")]
    Twice(u64),
    /// An element that is none of those.
    #[error("position {position} is matched, but there are positions 1 to {n}")]
    Stranger {
        /// Its position.
        position: u64,
        /// How many there are.
        n: usize,
    },
}

impl KnownAnswer {
    /// Of pairs between positions 1 to `n`.
    ///
    /// # Errors
    /// When an element is in two pairs, or is none of those.
    pub fn of(n: usize, pairs: impl IntoIterator<Item = (u64, u64)>) -> Result<KnownAnswer, AnswerError> {
        let mut matched = vec![false; n];
        let mut answer = KnownAnswer::default();
        for (one, other) in pairs {
            for position in [one, other] {
                let at = usize::try_from(position).unwrap_or(usize::MAX).wrapping_sub(1);
                let matched = matched.get_mut(at).ok_or(AnswerError::Stranger { position, n })?;
                if std::mem::replace(matched, true) {
                    return Err(AnswerError::Twice(position));
                }
            }
            let h = mix(mix(one.min(other)) ^ one.max(other));
            answer.matches += 1;
            answer.xor ^= h;
            answer.sum = answer.sum.wrapping_add(h);
        }
        for (_, position) in matched.into_iter().zip(1..).filter(|(matched, _)| !matched) {
            answer.waiting += 1;
            answer.wait = answer.wait.wrapping_add(mix(position));
        }
        Ok(answer)
    }
}

impl Workload {
    /// The answer for `n` elements that are submitted in order, where it is known.
    #[must_use]
    pub fn answer(self, n: usize) -> Option<KnownAnswer> {
        let known = KNOWN.iter().find(|known| (known.0, known.1) == (self, n));
        known.map(|&(_, _, matches, waiting, xor, sum, wait)| KnownAnswer { matches, waiting, xor, sum, wait })
    }
}

/// Workload, number of elements, and then the fields of [`KnownAnswer`].
#[rustfmt::skip]
const KNOWN: [(Workload, usize, u64, u64, u64, u64, u64); 13] = [
    (Workload::W1, 20_000, 9_682, 636, 0x534f_d74c_5b1b_ed85, 0xfa20_9649_241e_5145, 0x81b4_fc96_8e56_fb4a),
    (Workload::W1, 100_000, 49_635, 730, 0xb0a5_c9e1_f03a_24ca, 0x23d9_ddbc_eeb8_89d8, 0x9885_dc55_0b25_0d0b),
    (Workload::W1, 1_000_000, 499_589, 822, 0x0d72_cdfc_3e8a_71c4, 0x936a_850a_9733_6c12, 0x9956_12c8_8265_68b1),
    (Workload::W2, 20_000, 8_197, 3_606, 0x9136_dbe4_56a9_4457, 0x1a8e_f6e2_8132_14c1, 0x9688_1075_a133_f912),
    (Workload::W2, 100_000, 45_770, 8_460, 0x9daa_8483_b55c_2f7d, 0x34b4_80fb_7646_e015, 0x6ac6_20ea_b14e_4970),
    (Workload::W2, 1_000_000, 487_203, 25_594, 0xb00f_e30d_8161_821a, 0x7b41_9b90_8447_053e, 0xd660_9e3b_c519_be2a),
    (Workload::W3, 20_000, 10_000, 0, 0xe7bf_4b0a_80a5_2c1a, 0x586c_2b0a_b5cc_2360, 0),
    (Workload::W3, 1_000_000, 500_000, 0, 0x0033_eeda_8da4_9b01, 0x92e1_d98b_0bc7_06ad, 0),
    (Workload::W4, 20_000, 10_000, 0, 0xfe0e_2f37_beb6_c6ce, 0x64d1_7104_3a5d_13f0, 0),
    (Workload::W4, 100_000, 50_000, 0, 0x7bf2_e9f6_3688_8d24, 0xf28c_6560_26d6_8e84, 0),
    (Workload::W4, 1_000_000, 500_000, 0, 0x8a05_956a_1726_c5ba, 0x2927_fa73_0180_b490, 0),
    (Workload::W5, 20_000, 4_943, 10_114, 0x98fd_7f71_4828_e7b8, 0x8a8f_58ad_1bb8_a444, 0xe7f8_43aa_f98f_a0e5),
    (Workload::W5, 100_000, 25_028, 49_944, 0xf1f3_47a2_ce0c_957a, 0xfe63_0a8c_5c0e_beec, 0x1b30_05f5_10ad_0ecb),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_pairs_and_of_their_ends_makes_no_difference() {
        assert_eq!(KnownAnswer::of(5, [(1, 4), (2, 3)]), KnownAnswer::of(5, [(3, 2), (4, 1)]));
    }

    #[test]
    fn who_is_paired_with_whom_makes_a_difference() {
        assert_ne!(KnownAnswer::of(5, [(1, 4), (2, 3)]), KnownAnswer::of(5, [(1, 3), (2, 4)]));
        assert_ne!(KnownAnswer::of(3, [(1, 2)]), KnownAnswer::of(3, [(1, 3)]));
    }

    #[test]
    fn an_element_in_two_pairs_is_an_error() {
        assert_eq!(KnownAnswer::of(3, [(1, 2), (3, 2)]), Err(AnswerError::Twice(2)));
    }

    #[test]
    fn an_element_that_was_never_submitted_is_an_error() {
        for position in [0, 4] {
            assert_eq!(KnownAnswer::of(3, [(1, position)]), Err(AnswerError::Stranger { position, n: 3 }));
        }
    }
}
