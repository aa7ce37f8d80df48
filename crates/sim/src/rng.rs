//! The only source of randomness: SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators",
//! OOPSLA 2014).
//!
//! One seed gives one run. Concerns draw from generators of their own ([`Rng::fork`]), so that a change of the faults
//! leaves the workload of a seed as it was.

/// A generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        Rng(mix(seed ^ 0x0D0F_E7A1_15E0_5EED))
    }

    /// A generator of its own for one concern.
    #[must_use]
    pub fn fork(&self, concern: u64) -> Rng {
        Rng(mix(self.0 ^ mix(concern.wrapping_add(0x9E37_79B9_7F4A_7C15))))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Less than `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a product: as even as a modulo, and faster.
        u64::try_from((u128::from(self.bits()) * u128::from(bound)) >> 64).expect("less than the bound")
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Less than `bound`, to index with.
    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("less than a usize")
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}

/// SplitMix64's output function; also used to fingerprint a trace.
#[must_use]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_numbers() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..8).map(|_| rng.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn a_fork_does_not_move_its_parent() {
        let mut rng = Rng::new(1);
        let mut other = rng.clone();
        let _ = rng.fork(3).bits();
        assert_eq!(rng.bits(), other.bits());
    }
}
