//! What there is room for of something that all pools share: elements that wait, their bytes, idempotency keys that are
//! remembered.
//!
//! A pool may fill its own bound. Of what all pools share, every pool has a *reserve* to itself, however many pools
//! there are: an eighth of all, in [`POOLS`] parts. What a pool has above its reserve counts against the rest, and of
//! that a pool may have up to [`SHARE`] times what is left: so a pool that comes later finds more than its reserve. One
//! pool alone gets 7 of 9 parts. Pools whose names have one prefix are a *group*: most likely they belong to one
//! client. What they have together above their reserves is bounded in the same way, so that many pools take no more
//! than one from what others need. Where the bound is small, there is no reserve, and the last places go to the first
//! that ask. Invariants: room.M1 a pool that has less than its reserve is refused only for its own bound; room.M2 all
//! pools together never have more than the bound; room.M3 what a group of pools has of what is shared is what its pools
//! have above their reserves.

use std::{collections::BTreeMap, sync::Arc};

use super::refused::SubmitError;

/// Reserves there are: most pools of a cluster.
pub const POOLS: u64 = 10_000;
/// So many times what is left of what is not reserved, a pool may have of it.
pub const SHARE: u64 = 8;
/// And the pools of a group together, where what they have is given back as elements end.
pub const GROUP_SHARE: u64 = 2 * SHARE;
/// One in so many is reserved.
const RESERVED: u64 = 8;

/// What every pool may have of something that all together may have so much of.
#[must_use]
pub fn reserve(all_max: u64) -> u64 {
    all_max / RESERVED / POOLS
}

/// What a pool has above its reserve.
fn above(own: u64, all_max: u64) -> u64 {
    own.saturating_sub(reserve(all_max))
}

/// How much of something there is in all pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) all: u64,
    /// What pools have above their reserves.
    shared: u64,
    /// By group; those that have none are not in it.
    groups: BTreeMap<Arc<str>, u64>,
}

impl Taken {
    /// A pool of a group that had `own` has `more`, and all together may have `all_max`.
    pub(super) fn add(&mut self, group: &Arc<str>, own: u64, more: u64, all_max: u64) {
        self.all += more;
        let shared = above(own + more, all_max) - above(own, all_max);
        if shared > 0 {
            self.shared += shared;
            *self.groups.entry(Arc::clone(group)).or_default() += shared;
        }
    }

    /// A pool that had `own` has so much less.
    pub(super) fn remove(&mut self, group: &Arc<str>, own: u64, less: u64, all_max: u64) {
        self.all -= less;
        let shared = above(own, all_max) - above(own - less, all_max);
        if shared > 0 {
            self.shared -= shared;
            let of_group = self.groups.get_mut(group).expect("its pools have more than their reserves");
            *of_group -= shared;
            if *of_group == 0 {
                self.groups.remove(group);
            }
        }
    }

    fn of_group(&self, group: &str) -> u64 {
        self.groups.get(group).copied().unwrap_or(0)
    }
}

/// What a pool has of something, what would come to it, and the bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'a> {
    pub(super) taken: &'a Taken,
    pub(super) group: &'a str,
    /// What is counted of the pool.
    pub(super) own: u64,
    /// What will be before this comes.
    pub(super) before: u64,
    pub(super) more: u64,
    pub(super) own_max: u64,
    pub(super) all_max: u64,
    /// So many times what is left, a group may have.
    pub(super) group_share: u64,
}

/// The bound that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomFull {
    /// The pool's own.
    Own,
    /// What is not reserved.
    All,
    /// The pool's share of that.
    Share,
    /// The share of all pools whose names have its prefix.
    Group,
}

impl Room<'_> {
    /// The first bound that is reached. Where there is room for something, there is for each part of what comes before
    /// it and for itself, one after the other.
    pub(super) fn full(self) -> Option<RoomFull> {
        let Room { taken, group, own, before, more, own_max, all_max, group_share } = self;
        let own_then = own.saturating_add(before);
        if own_then.saturating_add(more) > own_max {
            return Some(RoomFull::Own);
        }
        let own_above = above(own_then, all_max);
        let more_above = above(own_then.saturating_add(more), all_max) - own_above;
        if more_above == 0 {
            return None;
        }
        let before_above = own_above - above(own, all_max);
        // What was there before the bounds were set lower may be above them.
        let shared = taken.shared.saturating_add(before_above);
        let left = (all_max - reserve(all_max) * POOLS).saturating_sub(shared);
        if more_above > left {
            return Some(RoomFull::All);
        }
        if own_above > left.saturating_mul(SHARE) {
            return Some(RoomFull::Share);
        }
        let of_group = taken.of_group(group).saturating_add(before_above);
        (of_group >= left.saturating_mul(group_share)).then_some(RoomFull::Group)
    }

    /// What the pools of the group have of what is shared.
    fn of_group(self) -> u64 {
        self.taken.of_group(self.group)
    }

    /// Why one more element of a pool is refused for the number of those that wait.
    pub(super) fn refused(self, full: RoomFull, pool: String) -> SubmitError {
        let Room { own, before, taken, own_max, all_max: bound, .. } = self;
        let (own, all) = (own + before, taken.all + before);
        match full {
            RoomFull::Own => SubmitError::PoolFull { pool, bound: own_max },
            RoomFull::All if all >= bound => SubmitError::TotalFull { bound },
            RoomFull::All | RoomFull::Share => SubmitError::ShareFull { pool, own, all, bound },
            RoomFull::Group => SubmitError::GroupFull { pool, group: self.of_group(), all, bound },
        }
    }

    /// The same for their bytes.
    pub(super) fn refused_bytes(self, full: RoomFull, pool: String) -> SubmitError {
        let Room { own, before, taken, more, own_max, all_max: bound, .. } = self;
        let (own, all) = (own + before, taken.all + before);
        match full {
            RoomFull::Own => SubmitError::PoolBytesFull { pool, own, more, bound: own_max },
            RoomFull::All if all.saturating_add(more) > bound => SubmitError::TotalBytesFull { all, more, bound },
            RoomFull::All | RoomFull::Share => SubmitError::ShareBytesFull { pool, own, all, bound },
            RoomFull::Group => SubmitError::GroupBytesFull { pool, group: self.of_group(), all, bound },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> Arc<str> {
        name.into()
    }

    fn room<'a>(taken: &'a Taken, group: &'a str, own: u64, all_max: u64) -> Room<'a> {
        Room { taken, group, own, before: 0, more: 1, own_max: u64::MAX, all_max, group_share: GROUP_SHARE }
    }

    /// A pool takes all it may. How much that is.
    fn fill(taken: &mut Taken, name: &str, all_max: u64, group_share: u64) -> u64 {
        let (mut own, group) = (0, group(name));
        while (Room { group_share, ..room(taken, name, own, all_max) }).full().is_none() {
            taken.add(&group, own, 1, all_max);
            own += 1;
        }
        own
    }

    /// Pools of groups of their own take all they may, one after the other.
    fn filled(all_max: u64, pools: usize) -> (Vec<u64>, Taken) {
        let mut taken = Taken::default();
        let own = (0..pools).map(|pool| fill(&mut taken, &format!("p{pool}."), all_max, GROUP_SHARE)).collect();
        (own, taken)
    }

    #[test]
    fn one_pool_alone_leaves_two_ninths_and_others_find_room() {
        let (pools, taken) = filled(900_000, 3);
        assert_eq!(pools[0], 11 + 790_000 * 8 / 9 + 1, "{pools:?}");
        assert!(pools[0] < 705_000 && pools[1] > 70_000 && pools[2] > 7_000, "{pools:?}");
        assert_eq!(taken.all, pools.iter().sum::<u64>());
    }

    #[test]
    fn many_pools_of_one_group_leave_others_as_much_as_one_group_may_not_have() {
        let (mut taken, all_max) = (Taken::default(), 900_000);
        let theirs: u64 = (0..600).map(|_| fill(&mut taken, "greedy.", all_max, GROUP_SHARE)).sum();
        assert!(theirs > 740_000, "{theirs}: one group alone has nearly all");
        let honest = fill(&mut taken, "honest.", all_max, GROUP_SHARE);
        assert!(honest > 40_000, "{honest}");
        assert!(fill(&mut taken, "third.", all_max, GROUP_SHARE) > 2_000);
    }

    #[test]
    fn a_group_may_have_half_where_nothing_is_given_back_soon_and_the_next_half_of_what_is_left() {
        let (mut taken, all_max) = (Taken::default(), 80_000);
        let theirs: u64 = (0..4).map(|_| fill(&mut taken, "greedy.", all_max, 1)).sum();
        assert_eq!(theirs, 35_000 + 4, "and four reserves");
        assert_eq!(fill(&mut taken, "honest.", all_max, 1), 17_500 + 1);
        let few = (0..1_000).map(|_| fill(&mut taken, "greedy.", all_max, 1));
        assert!(few.eq([1; 1_000]), "those that come then have their reserves");
    }

    #[test]
    fn however_many_pools_take_all_they_may_each_other_has_its_reserve() {
        let all_max = 1_000_000;
        assert_eq!(reserve(all_max), 12);
        let (pools, taken) = filled(all_max, POOLS as usize);
        assert!(pools.iter().all(|&own| own >= 12), "{pools:?}");
        assert!(taken.all <= all_max && taken.all > all_max - 10_000, "{}", taken.all);
    }

    #[test]
    fn few_have_no_reserve_and_are_all_used() {
        for all_max in 1..=9 {
            assert_eq!(filled(all_max, 2).0, [all_max, 0]);
        }
    }

    #[test]
    fn what_comes_before_in_a_batch_counts_as_if_it_were_there() {
        let (mut taken, mut own, all_max, a) = (Taken::default(), 0, 800_000, group("a."));
        loop {
            let batch = Room { before: 1_000, ..room(&taken, &a, own, all_max) };
            let mut then = taken.clone();
            then.add(&a, own, 1_000, all_max);
            assert_eq!(batch.full(), room(&then, &a, own + 1_000, all_max).full(), "at {own}");
            if batch.full().is_some() {
                break;
            }
            taken.add(&a, own, 500, all_max);
            own += 500;
        }
    }

    #[test]
    fn room_for_the_last_of_some_is_room_for_each_of_them() {
        let (all_max, mut roomy) = (800_000, 0);
        let runs: [&[u64]; 4] = [&[1, 1, 1, 1], &[2, 70_000, 1, 3], &[9, 1], &[80_000, 20_000, 1]];
        let cases = [0, 500_000, 700_000, 780_000].map(|theirs| [0, 5, 9, 300_000].map(|own| (theirs, own)));
        for (theirs, own) in cases.into_iter().flatten() {
            let mut taken = Taken::default();
            taken.add(&group("b."), 0, theirs, all_max);
            taken.add(&group("a."), 0, own, all_max);
            for (run, group_share) in runs.into_iter().flat_map(|run| [(run, 1), (run, GROUP_SHARE)]) {
                let at = |index: usize| {
                    let before = run[..index].iter().sum();
                    let own_max = 400_000;
                    Room { before, more: run[index], own_max, group_share, ..room(&taken, "a.", own, all_max) }
                };
                let each = (0..run.len()).all(|index| at(index).full().is_none());
                assert_eq!(at(run.len() - 1).full().is_none(), each, "{theirs} {own} {run:?}");
                roomy += u32::from(each);
            }
        }
        assert!((30..100).contains(&roomy), "{roomy} of 128");
    }

    #[test]
    fn what_was_added_is_what_is_removed() {
        let (mut taken, mut own, all_max, a) = (Taken::default(), 0, 7_654_321, group("a."));
        let steps = [3, 90, 40, 1, 1_000, 94, 95];
        let check = |taken: &Taken, own: u64| {
            let shared = own.saturating_sub(reserve(all_max));
            assert_eq!((taken.all, taken.shared, taken.of_group("a.")), (own, shared, shared));
        };
        for more in steps {
            taken.add(&a, own, more, all_max);
            own += more;
            check(&taken, own);
        }
        for less in steps {
            taken.remove(&a, own, less, all_max);
            own -= less;
            check(&taken, own);
        }
        assert_eq!(taken, Taken::default());
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let taken = Taken { all: u64::MAX, shared: u64::MAX, groups: BTreeMap::from([(group("a."), u64::MAX)]) };
        let huge = Room { before: 0, more: u64::MAX, ..room(&taken, "a.", u64::MAX, u64::MAX) };
        assert_eq!(huge.full(), None, "it has no more than it had");
        assert_eq!(Room { own: 0, all_max: 80_000, ..huge }.full(), Some(RoomFull::All));
    }
}
