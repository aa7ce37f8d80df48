//! Which keys many searches have in common: only one slice searches for a key, so a hot one bounds what a pool can
//! take.
//!
//! A sample of the searches is counted by a few counters, the Space-Saving way (Metwally, Agrawal, El Abbadi:
//! "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005): a key without a counter takes the
//! lowest over, with its count. So no key with more than a sixteenth of the searches goes unnoticed. For people only:
//! nothing is decided by it.

use dovetail_rule::Row;

/// How many counters there are: a key with more than one search in so many has one.
const COUNTERS: usize = 16;
/// One search in so many is counted.
const EVERY: u32 = 16;
/// Counts are halved when so many searches have been counted: about every million searches.
const COUNTED_MAX: u32 = (1 << 20) / EVERY;
/// Keys below this share of the searches are not told of, in thousandths.
const PERMILLE_MIN: u32 = 20;

/// The keys of one pool.
#[derive(Debug, Default)]
pub(super) struct HotKeys {
    searches: u32,
    counted: u32,
    keys: Vec<u64>,
    counters: Vec<Counter>,
}

#[derive(Debug)]
struct Counter {
    count: u32,
    /// How much of the count may be another key's.
    inherited: u32,
    /// An element with the key.
    row: Row,
}

/// A key that many searches had in common lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// The key's parts with their values: `region = "eu", mode = 2`.
    pub key: String,
    /// At least this share of the pool's searches in the slice, in thousandths.
    pub searches_permille: u32,
    /// Elements waiting that have it.
    pub waiting: usize,
}

impl HotKeys {
    /// An element with a key searches.
    #[inline]
    pub(super) fn searched(&mut self, key: u64, row: &Row) {
        self.searches = self.searches.wrapping_add(1);
        if self.searches.is_multiple_of(EVERY) {
            self.count(key, row);
        }
    }

    fn count(&mut self, key: u64, row: &Row) {
        self.counted += 1;
        if let Some(at) = self.keys.iter().position(|&counted| counted == key) {
            self.counters[at].count += 1;
        } else if self.keys.len() < COUNTERS {
            self.keys.push(key);
            self.counters.push(Counter { count: 1, inherited: 0, row: row.clone() });
        } else {
            let lowest = (0..COUNTERS).min_by_key(|&at| self.counters[at].count).expect("there are some");
            let inherited = self.counters[lowest].count;
            self.keys[lowest] = key;
            self.counters[lowest] = Counter { count: inherited + 1, inherited, row: row.clone() };
        }
        if self.counted >= COUNTED_MAX {
            self.counted /= 2;
            for counter in &mut self.counters {
                counter.count /= 2;
                counter.inherited = counter.inherited.div_ceil(2);
            }
        }
    }

    /// Keys with an element that has each, and their share of the searches in thousandths; most first.
    pub(super) fn hottest(&self) -> Vec<(u64, &Row, u32)> {
        let share = |counter: &Counter| {
            let certain = u64::from(counter.count.saturating_sub(counter.inherited));
            u32::try_from(certain * 1000 / u64::from(self.counted.max(1))).unwrap_or(1000)
        };
        let shares = self.keys.iter().zip(&self.counters).map(|(&key, counter)| (key, &counter.row, share(counter)));
        let mut hot: Vec<_> = shares.filter(|&(_, _, permille)| permille >= PERMILLE_MIN).collect();
        hot.sort_by(|one, other| other.2.cmp(&one.2).then(one.0.cmp(&other.0)));
        hot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches by `keys`, again and again, `times` in all.
    fn hottest(keys: impl Iterator<Item = u64>, times: usize) -> Vec<(u64, u32)> {
        let mut hot = HotKeys::default();
        let row = Row::from_values([]);
        for key in keys.take(times) {
            hot.searched(key, &row);
        }
        hot.hottest().into_iter().map(|(key, _, permille)| (key, permille)).collect()
    }

    #[test]
    fn a_key_that_half_of_the_searches_have_is_told_with_its_share() {
        let mut n = 0u64;
        let mixed = std::iter::from_fn(|| {
            n += 1;
            let drawn = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
            Some(if drawn.is_multiple_of(2) { 7 } else { 1_000 + drawn % 5_000 })
        });
        let found = hottest(mixed, 200_000);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, 7);
        assert!((450..=550).contains(&found[0].1), "{found:?}");
    }

    #[test]
    fn among_many_keys_none_is_hot() {
        assert_eq!(hottest((0u64..).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40), 500_000), []);
    }

    #[test]
    fn a_key_that_was_hot_cools_down() {
        let cold = (0..4_000_000u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40);
        let was = std::iter::repeat_n(7, 1_000_000);
        let at = |after: usize| hottest(was.clone().chain(cold.clone()), 1_000_000 + after);
        assert_eq!(at(0), [(7, 1000)]);
        let later = at(3_000_000);
        assert!(later.iter().all(|&(_, permille)| permille < 300), "{later:?}");
    }
}
