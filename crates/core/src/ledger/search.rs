//! What one search of a pool costs at worst, by what waits in it: the rule's cost on the longest values that wait,
//! times the elements that a slice may have to test.
//!
//! It bounds what may wait (`limits.search_cost_max`): what is decided is a prefix of the log, so while one search goes
//! on nothing after it is decided, in any pool. It decides nothing about matches. Invariants: search.V1 an element is
//! let in only while one search costs no more than the bound, but for elements that wait already when longer ones come;
//! search.V2 what is counted follows from what was let in and what has ended.

use std::{collections::HashMap, fmt};

use dovetail_rule::{ConjunctRole, Longest, Row, Split, table::Secret};

use super::{
    limits::{LedgerLimits, bound},
    refused::SubmitError,
};
use crate::{Pool, batch::Batch};

/// A search that costs less is of no account, in units: a fifth of a millisecond of a slice at worst.
pub const SEARCH_COSTLY: u64 = 100_000;
/// Rules that cost at most this are not counted by key: a slice tests a million elements of one key in about a tenth of
/// a second.
const CHEAP_UNITS: u64 = 64;

/// What searches of one pool cost.
pub(super) struct Searched {
    how: How,
    /// The attributes whose length the rule's cost depends on.
    texts: Box<[usize]>,
    /// By attribute: the longest value of the elements that wait, or have waited since the pool was last empty.
    longest: Box<[Longest]>,
    /// What the rule costs on these values. 1 where a search looks only at columns of numbers: many at a time, and what
    /// passes is a match.
    units: u64,
    by_columns: bool,
}

/// Which elements a search may have to test.
enum How {
    /// It finds without testing, or is never costly.
    Cheap,
    /// A slice's share of all.
    Share,
    /// The elements of its key, which are all in one slice: how many wait.
    Key { secret: Secret, waiting: HashMap<u64, u64> },
}

// Left out of `Debug`: it follows from which elements wait and have waited, and the model compares ledgers by what they
// print.
impl fmt::Debug for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Searched")
    }
}

impl Searched {
    pub(super) fn new(pool: &Pool, limits: &LedgerLimits) -> Searched {
        let (plan, attributes) = (pool.rule.plan(), pool.schema.len());
        let waiting_max = bound(pool.definition.waiting_max, limits.waiting_max);
        let share = waiting_max.div_ceil(limits.slices.into());
        let longest: Box<[Longest]> = vec![Longest::NONE; attributes].into();
        let counts = |&attribute: &usize| {
            let mut one = longest.clone();
            one[attribute] = Longest::CAPS;
            pool.rule.cost_within(&one) > pool.rule.cost_within(&longest)
        };
        let texts: Box<[usize]> = (0..attributes).filter(counts).collect();
        let by_columns = texts.is_empty() && plan.conjuncts().iter().all(|one| one.role() != ConjunctRole::Residual);
        let units_max = if by_columns { 1 } else { pool.rule.cost() };
        let costly = SEARCH_COSTLY.min(limits.search_cost_max);
        let above = |anchors: u64| units_max.saturating_mul(anchors) > costly;
        let how = match plan.split() {
            _ if plan.is_exact() => How::Cheap,
            Split::Index if above(share) => How::Share,
            Split::Key if units_max > CHEAP_UNITS && above(waiting_max) => {
                How::Key { secret: Secret(limits.key_secret.0), waiting: HashMap::new() }
            }
            Split::Index | Split::Key | Split::One => How::Cheap,
        };
        let mut searched = Searched { how, texts, longest, units: 1, by_columns };
        searched.units = searched.units_with(pool, &searched.longest);
        searched
    }

    /// Whether anything is counted of elements.
    pub(super) fn counts(&self) -> bool {
        !matches!(self.how, How::Cheap)
    }

    fn units_with(&self, pool: &Pool, longest: &[Longest]) -> u64 {
        if self.by_columns { 1 } else { pool.rule.cost_within(longest) }
    }

    /// The rule's cost once this element waits; with what is longest then, if that changes.
    fn joined(&self, pool: &Pool, batch: &Batch, row: usize) -> (u64, Option<Box<[Longest]>>) {
        let of = |&attribute: &usize| {
            let texts = batch.attributes()[attribute].texts(row);
            let entries = texts.len() as u64;
            self.longest[attribute].max(Longest { bytes: texts.max().unwrap_or(0) as u64, entries })
        };
        if self.texts.iter().all(|attribute| of(attribute) == self.longest[*attribute]) {
            return (self.units, None);
        }
        let mut longest = self.longest.clone();
        self.texts.iter().for_each(|attribute| longest[*attribute] = of(attribute));
        (self.units_with(pool, &longest), Some(longest))
    }

    /// How many elements a slice may have to test, of so many that wait in the pool, for one with this key.
    fn anchors(&self, waiting: u64, slices: u32, key: impl FnOnce(Secret) -> Option<u64>) -> u64 {
        match &self.how {
            How::Cheap => 0,
            How::Share => waiting.div_ceil(slices.into()),
            How::Key { secret, waiting } => key(*secret).and_then(|key| waiting.get(&key)).copied().unwrap_or_default(),
        }
    }

    /// What one search costs by now, for an element with this row: in units, at worst.
    pub(super) fn cost(&self, pool: &Pool, waiting: u64, slices: u32, row: impl FnOnce() -> Row) -> u64 {
        let key = |secret| pool.rule.plan().bucket_hash(&row(), secret);
        self.units.saturating_mul(self.anchors(waiting, slices, key))
    }

    /// Whether an element may join so many that wait.
    pub(super) fn check(
        &self,
        pool: &Pool,
        limits: &LedgerLimits,
        waiting: u64,
        batch: &Batch,
        row: usize,
    ) -> Result<(), SubmitError> {
        if !self.counts() {
            return Ok(());
        }
        let key = |secret| pool.rule.plan().bucket_hash(&batch.row(row), secret);
        let anchors = self.anchors(waiting, limits.slices, key);
        let (units, _) = self.joined(pool, batch, row);
        let bound = limits.search_cost_max;
        if units.saturating_mul(anchors) <= bound {
            return Ok(());
        }
        Err(SubmitError::SearchCost { pool: pool.definition.name.clone(), units, anchors, bound })
    }

    /// An element was let in.
    pub(super) fn arrived(&mut self, pool: &Pool, batch: &Batch, row: usize) {
        if !self.counts() {
            return;
        }
        if let (units, Some(longest)) = self.joined(pool, batch, row) {
            (self.units, self.longest) = (units, longest);
        }
        if let How::Key { secret, waiting } = &mut self.how
            && let Some(key) = pool.rule.plan().bucket_hash(&batch.row(row), *secret)
        {
            *waiting.entry(key).or_default() += 1;
        }
    }

    /// Whether [`ended`](Searched::ended) has to know anything of an element.
    pub(super) fn is_by_key(&self) -> bool {
        matches!(self.how, How::Key { .. })
    }

    /// What [`ended`](Searched::ended) has to know of an element.
    pub(super) fn key(&self, pool: &Pool, batch: &Batch, row: usize) -> Option<u64> {
        let How::Key { secret, .. } = &self.how else { return None };
        pool.rule.plan().bucket_hash(&batch.row(row), *secret)
    }

    /// Elements with these keys wait no longer, and so many still do.
    pub(super) fn ended(&mut self, pool: &Pool, keys: impl Iterator<Item = u64>, left: u64) {
        if let How::Key { waiting, .. } = &mut self.how {
            for key in keys {
                let Some(of) = waiting.get_mut(&key) else { continue };
                *of -= 1;
                if *of == 0 {
                    waiting.remove(&key);
                }
            }
        }
        if left == 0 && self.counts() {
            self.longest.fill(Longest::NONE);
            self.units = self.units_with(pool, &self.longest);
        }
    }

    /// What the rule costs on one pair of waiting elements, and how many elements may wait because of that, if that is
    /// bounded.
    pub(super) fn bound(&self, limits: &LedgerLimits) -> Option<(u64, u64)> {
        let most = limits.search_cost_max / self.units.max(1);
        match self.how {
            How::Cheap => None,
            How::Share => Some((self.units, most.saturating_mul(limits.slices.into()))),
            How::Key { .. } => Some((self.units, most)),
        }
    }
}

/// What the rule of a pool costs on one pair whose values are as long as may be, and how many elements may wait for
/// that (of one key, where the pool is split by key): none where more may wait anyway.
#[must_use]
pub fn search_bound(pool: &Pool, limits: &LedgerLimits) -> Option<(u64, u64)> {
    let searched = Searched::new(pool, limits);
    let units = searched.units_with(pool, &vec![Longest::CAPS; pool.schema.len()]);
    let (units, most) = Searched { units, ..searched }.bound(limits)?;
    (most < bound(pool.definition.waiting_max, limits.waiting_max)).then_some((units, most))
}
