//! Which element has a key, or had it last: a table whose entries share lines of memory.
//!
//! An entry takes 16 bytes, and four share a line of 64, where looking for a key mostly begins and ends. So a key costs
//! one read from memory, and those of many keys are asked for together ([`Keys::touch`]). There are many tables, each
//! of which grows at a time of its own: with ten million keys, one that grows moves twenty thousand. Invariants:
//! keys.K1 an entry is found from its home on, line after line, before the first that is not full; keys.K2 the entries
//! of a line come before its gaps.

use std::fmt;

use crate::{
    ElementId,
    batch::{Fingerprint, KeyHash},
};

/// Entries of a line.
const LINE: usize = 4;
/// A table grows when more than so many of eight entries are taken. Nearly all keys are in their own line then.
const TAKEN_MAX: usize = 5;
/// A table is made smaller when fewer than one in so many entries are taken.
const SPARSE: usize = 16;
/// Lines of a table that is not made smaller.
const SMALL: usize = 16;

/// Bits of an id. Ids are given one after the other: these last for two hundred years at ten million a second.
const ID_BITS: u32 = 56;
const ID_MAX: u64 = (1 << ID_BITS) - 1;

/// A key and its element: 72 bits of the key's fingerprint, beside the 9 that the table stands for, and the id. The
/// chance that two of a hundred million keys are taken for one is one in five hundred million.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Entry {
    hash: u64,
    /// 8 bits more of the fingerprint, and the id. 0 for none: ids begin at 1.
    rest: u64,
}

impl Entry {
    #[inline]
    fn new(key: Fingerprint, element: ElementId) -> Entry {
        assert!((1..=ID_MAX).contains(&element.0), "{element} is no id of an element");
        let [other, hash] = key.words();
        Entry { hash, rest: other << ID_BITS | element.0 }
    }

    #[inline]
    fn is_of(self, key: Fingerprint) -> bool {
        let [other, hash] = key.words();
        self.hash == hash && self.rest >> ID_BITS == other & (u64::MAX >> ID_BITS)
    }

    #[inline]
    fn element(self) -> ElementId {
        ElementId(self.rest & ID_MAX)
    }
}

/// Entries that share a line of memory.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line([Entry; LINE]);

/// Where an entry is in its table.
#[derive(Clone, Copy, PartialEq, Eq)]
struct At {
    line: usize,
    place: usize,
}

/// Open addressing, line after line. There is a gap at all times, unless there are no lines.
#[derive(Default)]
struct Table {
    /// None, or a power of two of them.
    lines: Box<[Line]>,
    taken: usize,
}

impl Table {
    /// The line where looking for an entry begins.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.lines.len() - 1)
    }

    /// Where the first entry is for which this holds among those that may have a hash, or where one would come. There
    /// are lines.
    #[inline]
    fn find(&self, hash: u64, is: impl Fn(Entry) -> bool) -> Result<At, At> {
        let mut line = self.home(hash);
        loop {
            // Without branches, since where an entry is in its line cannot be foreseen.
            let entries = &self.lines[line].0;
            let (mut same, mut taken) = (0_u32, 0);
            for (place, entry) in entries.iter().enumerate() {
                same |= u32::from(is(*entry)) << place;
                taken += usize::from(entry.rest != 0);
            }
            same &= (1 << taken) - 1;
            if same != 0 {
                return Ok(At { line, place: same.trailing_zeros() as usize });
            }
            if taken < LINE {
                return Err(At { line, place: taken });
            }
            line = (line + 1) & (self.lines.len() - 1);
        }
    }

    #[inline]
    fn entry(&mut self, at: At) -> &mut Entry {
        &mut self.lines[at.line].0[at.place]
    }

    /// Makes room for one more.
    #[inline]
    fn make_room(&mut self) {
        if 8 * self.taken >= TAKEN_MAX * LINE * self.lines.len() {
            self.resize((2 * self.lines.len()).max(1));
        }
    }

    #[cold]
    fn resize(&mut self, lines: usize) {
        let old = std::mem::replace(&mut self.lines, vec![Line::default(); lines].into());
        for entry in old.iter().flat_map(|line| line.0).filter(|entry| entry.rest != 0) {
            if let Err(at) = self.find(entry.hash, |_| false) {
                *self.entry(at) = entry;
            }
        }
    }

    /// Removes an entry, and moves others up, so that they are still found.
    fn remove(&mut self, mut gap: At) {
        let mask = self.lines.len() - 1;
        self.taken -= 1;
        let mut next = gap;
        loop {
            next.place += 1;
            if next.place == LINE {
                next = At { line: (next.line + 1) & mask, place: 0 };
            }
            let entry = *self.entry(next);
            if entry.rest == 0 {
                break;
            }
            // One may move to the gap unless its home is after that.
            let (from_home, from_gap) =
                (next.line.wrapping_sub(self.home(entry.hash)), next.line.wrapping_sub(gap.line));
            if from_home & mask >= from_gap & mask {
                *self.entry(gap) = entry;
                gap = next;
            }
        }
        *self.entry(gap) = Entry::default();
        if self.lines.len() > SMALL && SPARSE * self.taken < LINE * self.lines.len() {
            self.resize(self.lines.len() / 4);
        }
    }
}

/// Where a key's entry is, or would be, until the next change.
#[derive(Clone, Copy)]
pub(super) struct KeyAt {
    at: Result<At, At>,
    /// The element that has the key, or had it last.
    pub(super) last: Option<ElementId>,
}

/// Which element has a key, or had it last, of those that wait or are remembered.
pub(super) struct Keys(Box<[Table]>);

impl Default for Keys {
    fn default() -> Keys {
        Keys((0..KeyHash::PARTS).map(|_| Table::default()).collect())
    }
}

// In order: where an entry is depends on what was there before, and the model compares ledgers by what they print.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.iter().flat_map(|table| &table.lines).flat_map(|line| line.0);
        let mut known: Vec<_> = entries.filter(|entry| entry.rest != 0).map(|entry| (entry.hash, entry.rest)).collect();
        known.sort_unstable();
        f.debug_list().entries(known).finish()
    }
}

impl Keys {
    #[inline]
    fn table(&mut self, hash: KeyHash) -> &mut Table {
        &mut self.0[hash.part()]
    }

    /// Reads where keys are that are asked for next, or forgotten: they are all over the memory, and so the processor
    /// waits for many at a time.
    #[inline]
    pub(super) fn touch(&self, hashes: impl Iterator<Item = KeyHash>) {
        let mut read = 0;
        for hash in hashes {
            let table = &self.0[hash.part()];
            if let Some(line) = table.lines.get(hash.rest() as usize & table.lines.len().saturating_sub(1)) {
                read ^= line.0[0].rest;
            }
        }
        std::hint::black_box(read);
    }

    /// The element that has a key, or had it last.
    #[inline]
    pub(super) fn get(&self, key: Fingerprint) -> Option<ElementId> {
        let hash = key.hash();
        let table = &self.0[hash.part()];
        if table.lines.is_empty() {
            return None;
        }
        let at = table.find(hash.rest(), |entry| entry.is_of(key)).ok()?;
        Some(table.lines[at.line].0[at.place].element())
    }

    /// Finds a key, to [put](Keys::put) an element there.
    #[inline]
    pub(super) fn seek(&mut self, key: Fingerprint) -> KeyAt {
        let hash = key.hash();
        let table = self.table(hash);
        table.make_room();
        let at = table.find(hash.rest(), |entry| entry.is_of(key));
        KeyAt { at, last: at.ok().map(|at| table.entry(at).element()) }
    }

    /// Gives a key that was just found to an element.
    #[inline]
    pub(super) fn put(&mut self, KeyAt { at, .. }: KeyAt, key: Fingerprint, element: ElementId) {
        let table = self.table(key.hash());
        let (Ok(place) | Err(place)) = at;
        table.taken += usize::from(at.is_err());
        *table.entry(place) = Entry::new(key, element);
    }

    /// Gives a key to an element.
    pub(super) fn insert(&mut self, key: Fingerprint, element: ElementId) {
        let at = self.seek(key);
        self.put(at, key, element);
    }

    /// The same, unless a later element has it.
    pub(super) fn insert_older(&mut self, key: Fingerprint, element: ElementId) {
        let at = self.seek(key);
        self.put(at, key, at.last.map_or(element, |last| last.max(element)));
    }

    /// Forgets the key with this hash of an element, unless a later one has it.
    pub(super) fn remove_of(&mut self, hash: KeyHash, element: ElementId) {
        let table = self.table(hash);
        if table.lines.is_empty() {
            return;
        }
        if let Ok(at) = table.find(hash.rest(), |entry| entry.element() == element) {
            table.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{PoolId, batch::KeySecret, testing::Random};

    fn key(number: u64) -> Fingerprint {
        KeySecret([3, 4]).fingerprint(PoolId((number % 3) as u32), &number.to_le_bytes())
    }

    impl Keys {
        fn lines(&self) -> usize {
            self.0.iter().map(|table| table.lines.len()).sum()
        }

        /// The invariants.
        fn check(&self) {
            for table in &self.0 {
                let taken: Vec<Entry> =
                    table.lines.iter().flat_map(|line| line.0).filter(|entry| entry.rest != 0).collect();
                assert_eq!(taken.len(), table.taken);
                for entry in taken {
                    let found = table.find(entry.hash, |other| other == entry);
                    assert!(found.is_ok(), "an entry is found from its home on");
                }
                for line in &table.lines {
                    assert!(line.0.is_sorted_by_key(|entry| entry.rest == 0), "gaps come last");
                }
            }
        }
    }

    /// Anything may happen: it comes to the same as with the standard library's map.
    #[test]
    fn keys_are_those_of_a_map_whatever_is_done() {
        let mut random = Random(11);
        let mut below = |most| random.below(most);
        for numbers in [40, 5_000, 200_000] {
            let (mut keys, mut map) = (Keys::default(), HashMap::<u64, ElementId>::new());
            for step in 0..300_000 {
                let number = below(numbers);
                let element = ElementId(1 + below(1 << 40));
                // Grows first, then shrinks.
                match below(if step < 150_000 { 6 } else { 12 }) {
                    0 | 1 => {
                        keys.insert(key(number), element);
                        map.insert(number, element);
                    }
                    2 => {
                        keys.insert_older(key(number), element);
                        let last = map.entry(number).or_insert(element);
                        *last = element.max(*last);
                    }
                    3 => assert_eq!(keys.get(key(number)), map.get(&number).copied()),
                    4 => keys.remove_of(key(number).hash(), ElementId(u64::MAX >> 9)),
                    _ => {
                        if let Some(element) = map.remove(&number) {
                            keys.remove_of(key(number).hash(), element);
                        }
                    }
                }
            }
            keys.check();
            assert_eq!(keys.0.iter().map(|table| table.taken).sum::<usize>(), map.len());
            assert!((0..numbers).all(|number| keys.get(key(number)) == map.get(&number).copied()));
        }
    }

    #[test]
    fn entries_with_one_home_are_found_over_the_end_of_a_table_and_after_any_is_removed() {
        let (mut keys, home) = (Keys::default(), |number: u64| key(number).hash());
        // Of one table, and at home in the last line of sixteen.
        let crowd: Vec<u64> =
            (0..).filter(|&number| home(number).part() == 5 && home(number).rest() & 15 >= 14).take(36).collect();
        for removed in 0..crowd.len() {
            for &number in &crowd {
                keys.insert(key(number), ElementId(number + 1));
            }
            keys.check();
            keys.remove_of(home(crowd[removed]), ElementId(crowd[removed] + 1));
            keys.check();
            let found: Vec<u64> = crowd.iter().copied().filter(|&number| keys.get(key(number)).is_some()).collect();
            assert!(found.len() == crowd.len() - 1 && !found.contains(&crowd[removed]));
        }
    }

    #[test]
    fn tables_grow_by_themselves_and_are_small_again_once_little_is_left() {
        let (mut keys, most) = (Keys::default(), 200_000_u64);
        for number in 0..most {
            keys.insert(key(number), ElementId(number + 1));
        }
        let (lines, taken) = (keys.lines(), keys.0.iter().map(|table| table.taken).max().unwrap_or_default());
        assert!(taken < 2 * most as usize / KeyHash::PARTS, "{taken} in one table of {}", KeyHash::PARTS);
        // 16 bytes each, and at most as many again twice over.
        assert!((most as usize * 8 / TAKEN_MAX..most as usize * 16 / TAKEN_MAX).contains(&(LINE * lines)), "{lines}");
        for number in 20..most {
            keys.remove_of(key(number).hash(), ElementId(number + 1));
        }
        assert!(keys.lines() <= SMALL * KeyHash::PARTS, "{}", keys.lines());
        assert!((0..20).all(|number| keys.get(key(number)) == Some(ElementId(number + 1))));
        keys.check();
    }

    #[test]
    fn the_highest_id_is_held_exactly() {
        let mut keys = Keys::default();
        keys.insert(key(1), ElementId(ID_MAX));
        assert_eq!(keys.get(key(1)), Some(ElementId(ID_MAX)));
        keys.remove_of(key(1).hash(), ElementId(ID_MAX));
        assert_eq!(keys.get(key(1)), None);
    }

    #[test]
    #[should_panic(expected = "is no id of an element")]
    fn an_id_that_would_not_fit_is_refused() {
        Keys::default().insert(key(1), ElementId(ID_MAX + 1));
    }
}
