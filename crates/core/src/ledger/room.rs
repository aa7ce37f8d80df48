//! What there is room for among the elements that wait: by pool and in all, in elements and in bytes.
//!
//! A pool may fill its own bound. Of what all pools share, every pool has a *reserve* to itself, however many pools there are: an
//! eighth of all, in [`POOLS`] parts. What a pool has above its reserve counts against the rest, and of that a pool may have up to
//! [`SHARE`] times what is left: so a pool that comes later finds more than its reserve. One pool alone gets 7 of 9 parts.
//! Where the bound is small, there is no reserve, and the last ones go to whoever comes first.
//! Invariants: M1 a pool that has less than its reserve is refused only for its own bound; M2 all pools together never have more than
//! the bound.

use super::SubmitError;

/// Reserves there are: most pools of a cluster.
pub const POOLS: u64 = 10_000;
/// So many times what is left of what is not reserved, a pool may have of it.
pub const SHARE: u64 = 8;
/// One in so many is reserved.
const RESERVED: u64 = 8;

/// What every pool may have of something that all together may have so much of.
#[must_use]
pub fn reserve(all_max: u64) -> u64 {
    all_max / RESERVED / POOLS
}

/// How much of something waits in all pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) all: u64,
    /// What pools have above their reserves.
    pub(super) shared: u64,
}

impl Waiting {
    /// A pool that had `own` has `more`, and all together may have `all_max`.
    pub(super) fn add(&mut self, own: u64, more: u64, all_max: u64) {
        *self = self.with(own, more, all_max);
    }

    pub(super) fn with(self, own: u64, more: u64, all_max: u64) -> Waiting {
        let reserve = reserve(all_max);
        let above = (own + more).saturating_sub(reserve) - own.saturating_sub(reserve);
        Waiting { all: self.all + more, shared: self.shared + above }
    }

    /// A pool that had `own` has so much less.
    pub(super) fn remove(&mut self, own: u64, less: u64, all_max: u64) {
        let reserve = reserve(all_max);
        self.all -= less;
        self.shared -= own.saturating_sub(reserve) - (own - less).saturating_sub(reserve);
    }
}

/// How much there is of something that waits, what would come to it, and the bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) own: u64,
    pub(super) waiting: Waiting,
    pub(super) more: u64,
    pub(super) own_max: u64,
    pub(super) all_max: u64,
}

/// The bound that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The pool's own.
    Own,
    /// What is not reserved.
    All,
    /// The pool's share of that.
    Share,
}

impl Room {
    /// The first bound that is reached.
    pub(super) fn full(self) -> Option<Full> {
        let Room { own, waiting, more, own_max, all_max } = self;
        let reserve = reserve(all_max);
        if own.saturating_add(more) > own_max {
            return Some(Full::Own);
        }
        let above = own.saturating_add(more).saturating_sub(reserve) - own.saturating_sub(reserve);
        if above == 0 {
            return None;
        }
        // What waited before the bounds were set lower may be above them.
        let left = (all_max - reserve * POOLS).saturating_sub(waiting.shared);
        if above > left {
            return Some(Full::All);
        }
        (own.saturating_sub(reserve) > left.saturating_mul(SHARE)).then_some(Full::Share)
    }

    /// Why one more element of a pool is refused for the number of those that wait.
    pub(super) fn refused(self, full: Full, pool: String) -> SubmitError {
        let Room { own, waiting: Waiting { all, .. }, own_max, all_max, .. } = self;
        match full {
            Full::Own => SubmitError::PoolFull { pool, bound: own_max },
            Full::All if all >= all_max => SubmitError::TotalFull { bound: all_max },
            Full::All | Full::Share => SubmitError::ShareFull { pool, own, all, bound: all_max },
        }
    }

    /// The same for their bytes.
    pub(super) fn refused_bytes(self, full: Full, pool: String) -> SubmitError {
        let Room { own, waiting: Waiting { all, .. }, more, own_max, all_max } = self;
        match full {
            Full::Own => SubmitError::PoolBytesFull { pool, own, more, bound: own_max },
            Full::All if all.saturating_add(more) > all_max => {
                SubmitError::TotalBytesFull { all, more, bound: all_max }
            }
            Full::All | Full::Share => SubmitError::ShareBytesFull { pool, own, all, bound: all_max },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pools that take all they may, one after the other.
    fn taken(all_max: u64, pools: usize) -> (Vec<u64>, Waiting) {
        let (mut waiting, mut taken) = (Waiting::default(), Vec::new());
        for _ in 0..pools {
            let mut own = 0;
            while (Room { own, waiting, more: 1, own_max: u64::MAX, all_max }).full().is_none() {
                waiting.add(own, 1, all_max);
                own += 1;
            }
            taken.push(own);
        }
        (taken, waiting)
    }

    #[test]
    fn one_pool_alone_leaves_two_ninths_and_others_find_room() {
        let (pools, waiting) = taken(900_000, 3);
        assert_eq!(pools[0], 11 + 790_000 * 8 / 9 + 1, "{pools:?}");
        assert!(pools[0] < 705_000 && pools[1] > 70_000 && pools[2] > 7_000, "{pools:?}");
        assert_eq!(waiting.all, pools.iter().sum::<u64>());
    }

    #[test]
    fn however_many_pools_take_all_they_may_each_other_has_its_reserve() {
        let all_max = 1_000_000;
        assert_eq!(reserve(all_max), 12);
        let (pools, waiting) = taken(all_max, POOLS as usize);
        assert!(pools.iter().all(|&own| own >= 12), "{pools:?}");
        assert!(waiting.all <= all_max && waiting.all > all_max - 10_000, "{waiting:?}");
    }

    #[test]
    fn few_have_no_reserve_and_are_all_used() {
        for all_max in 1..=9 {
            assert_eq!(taken(all_max, 2).0, [all_max, 0]);
        }
    }

    #[test]
    fn what_was_added_is_what_is_removed() {
        let (mut waiting, mut own, all_max) = (Waiting::default(), 0, 7_654_321);
        let steps = [3, 90, 40, 1, 1_000, 94, 95];
        for more in steps {
            waiting.add(own, more, all_max);
            own += more;
            assert_eq!(waiting, Waiting { all: own, shared: own.saturating_sub(reserve(all_max)) });
        }
        for less in steps {
            waiting.remove(own, less, all_max);
            own -= less;
            assert_eq!(waiting, Waiting { all: own, shared: own.saturating_sub(reserve(all_max)) });
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let waiting = Waiting { all: u64::MAX, shared: u64::MAX };
        let huge = Room { own: u64::MAX, waiting, more: u64::MAX, own_max: u64::MAX, all_max: u64::MAX };
        assert_eq!(huge.full(), None, "it has no more than it had");
        assert_eq!(Room { own: 0, all_max: 80_000, ..huge }.full(), Some(Full::All));
    }
}
