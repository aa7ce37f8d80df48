//! A word for each element, by id: dense where ids are, and small where they are not.
//!
//! Most elements end soon, and a few stay long. A page of neighbours is an array while many of them have a word, a list
//! when few have, and goes with the last of them. The newest pages are found by their place in a window, so a word is
//! two steps away; pages that were left behind are in a map. Invariants: slots.P1 the pages of the map are below those
//! of the window; slots.P2 the window is about as long as it has arrays, so memory follows the words, however far apart
//! their ids are.

use std::collections::{BTreeMap, VecDeque};

use crate::ElementId;

/// Elements of a page.
const PAGE: usize = 1024;
/// An array that has fewer words becomes a list. A list that has twice as many entries becomes an array.
const FEW: usize = PAGE / 4;
/// Pages of the window that need not be arrays.
const SLACK: usize = 64;

/// Words of neighbours. None of them is 0.
#[derive(Debug, Default)]
enum Page {
    #[default]
    Empty,
    Dense(Dense),
    Sparse(Sparse),
}

#[derive(Debug)]
struct Dense {
    words: Box<[u64; PAGE]>,
    /// How many are not 0.
    used: usize,
}

#[derive(Debug, Default)]
struct Sparse {
    /// By slot, ascending. The word of one that has gone is 0, so that the others need not move.
    entries: Vec<(u16, u64)>,
    /// How many are not 0.
    used: usize,
}

/// Words that are not 0, by element.
#[derive(Default)]
pub(super) struct Slots {
    /// Pages that the window has left behind, by number. None is empty.
    behind: BTreeMap<u64, Page>,
    window: VecDeque<Page>,
    /// The number of the window's first page, or of the next one.
    first: u64,
    /// Arrays in the window.
    dense: usize,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.after(ElementId(0))).finish()
    }
}

/// The page of an element, and its slot there.
#[inline]
fn place(element: ElementId) -> (u64, usize) {
    (element.0 / PAGE as u64, (element.0 % PAGE as u64) as usize)
}

impl Dense {
    fn new() -> Dense {
        Dense { words: Box::new([0; PAGE]), used: 0 }
    }

    #[inline]
    fn set(&mut self, slot: usize, word: u64) {
        let old = std::mem::replace(&mut self.words[slot], word);
        self.used = self.used + usize::from(word != 0) - usize::from(old != 0);
    }
}

impl Sparse {
    fn find(&self, slot: usize) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&slot, |&(slot, _)| usize::from(slot))
    }

    fn get(&self, slot: usize) -> u64 {
        self.find(slot).map_or(0, |at| self.entries[at].1)
    }

    fn set(&mut self, slot: usize, word: u64) {
        match self.find(slot) {
            Ok(at) => {
                let old = std::mem::replace(&mut self.entries[at].1, word);
                self.used = self.used + usize::from(word != 0) - usize::from(old != 0);
            }
            Err(_) if word == 0 => {}
            Err(at) => {
                self.entries.insert(at, (slot as u16, word));
                self.used += 1;
            }
        }
        if self.used < self.entries.len() / 2 {
            self.entries.retain(|&(_, word)| word != 0);
            self.entries.shrink_to_fit();
        }
    }
}

impl Page {
    #[inline]
    fn get(&self, slot: usize) -> u64 {
        match self {
            Page::Dense(dense) => dense.words[slot],
            Page::Empty => 0,
            Page::Sparse(sparse) => sparse.get(slot),
        }
    }

    #[inline]
    fn get_mut(&mut self, slot: usize) -> Option<&mut u64> {
        let word = match self {
            Page::Dense(dense) => &mut dense.words[slot],
            Page::Empty => return None,
            Page::Sparse(sparse) => {
                let at = sparse.find(slot).ok()?;
                &mut sparse.entries[at].1
            }
        };
        (*word != 0).then_some(word)
    }

    #[inline]
    fn is_dense(&self) -> bool {
        matches!(self, Page::Dense(_))
    }

    #[inline]
    fn is_empty(&self) -> bool {
        matches!(self, Page::Empty)
    }

    /// What it is like may change.
    #[inline]
    fn set(&mut self, slot: usize, word: u64) {
        match self {
            Page::Dense(dense) => {
                dense.set(slot, word);
                self.settle();
            }
            Page::Sparse(sparse) => {
                sparse.set(slot, word);
                if sparse.used == 0 {
                    *self = Page::Empty;
                } else if sparse.entries.len() > 2 * FEW {
                    self.thicken();
                }
            }
            Page::Empty if word == 0 => {}
            Page::Empty => *self = Page::Sparse(Sparse { entries: vec![(slot as u16, word)], used: 1 }),
        }
    }

    /// Makes an array of few words a list.
    #[inline]
    fn settle(&mut self) {
        if matches!(self, Page::Dense(dense) if dense.used < FEW) {
            self.thin();
        }
    }

    #[cold]
    fn thin(&mut self) {
        let entries: Vec<(u16, u64)> = self.from(0).map(|(slot, word)| (slot as u16, word)).collect();
        let used = entries.len();
        *self = if used == 0 { Page::Empty } else { Page::Sparse(Sparse { entries, used }) };
    }

    /// Makes it an array, which may have few words for now.
    #[cold]
    fn thicken(&mut self) {
        let mut dense = Dense::new();
        self.from(0).for_each(|(slot, word)| dense.set(slot, word));
        *self = Page::Dense(dense);
    }

    /// The words that are not 0, from a slot on.
    fn from(&self, first: usize) -> impl Iterator<Item = (usize, u64)> + '_ {
        let words = if let Page::Dense(dense) = self { &dense.words[..] } else { &[] };
        let entries = if let Page::Sparse(sparse) = self { &sparse.entries[..] } else { &[] };
        let listed = entries.iter().map(|&(slot, word)| (usize::from(slot), word));
        let all = words.iter().copied().enumerate().skip(first).chain(listed);
        all.filter(move |&(slot, word)| word != 0 && slot >= first)
    }
}

impl Slots {
    /// The word of an element; 0 when it has none.
    #[inline]
    pub(super) fn get(&self, element: ElementId) -> u64 {
        let (number, slot) = place(element);
        if number < self.first {
            return self.behind.get(&number).map_or(0, |page| page.get(slot));
        }
        let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        self.window.get(at).map_or(0, |page| page.get(slot))
    }

    /// The word of an element that has one. It must not become 0.
    #[inline]
    pub(super) fn get_mut(&mut self, element: ElementId) -> Option<&mut u64> {
        let (number, slot) = place(element);
        if number < self.first {
            return self.behind.get_mut(&number)?.get_mut(slot);
        }
        self.window.get_mut(usize::try_from(number - self.first).ok()?)?.get_mut(slot)
    }

    /// Changes the word of an element. With 0 it has none any more.
    #[inline]
    pub(super) fn set(&mut self, element: ElementId, word: u64) {
        let (number, slot) = place(element);
        if number < self.first {
            return self.set_behind(number, slot, word);
        }
        let at = usize::try_from(number - self.first).unwrap_or(usize::MAX - 1);
        let newest = at + 1 == self.window.len();
        match self.window.get_mut(at) {
            // More is to come into the newest page.
            Some(Page::Dense(dense)) if word != 0 || newest => dense.set(slot, word),
            Some(_) => self.change(at, |page| page.set(slot, word)),
            None if word == 0 => {}
            None => {
                self.extend_to(number);
                self.change(usize::try_from(number - self.first).expect("it was made"), |page| page.set(slot, word));
            }
        }
    }

    /// Gives words to neighbours, which had none.
    pub(super) fn set_run(&mut self, first: ElementId, words: impl ExactSizeIterator<Item = u64>) {
        let (mut id, mut words) = (first, words);
        while words.len() > 0 {
            let (number, slot) = place(id);
            let count = words.len().min(PAGE - slot);
            let ids = (id.0..).map(ElementId);
            id = ElementId(id.0 + count as u64);
            if number < self.first || number + 1 < self.first + self.window.len() as u64 {
                ids.zip(words.by_ref().take(count)).for_each(|(id, word)| self.set(id, word));
                continue;
            }
            self.extend_to(number);
            // More is to come into the newest page.
            let fill = |page: &mut Page| {
                if !page.is_dense() {
                    page.thicken();
                }
                let Page::Dense(dense) = page else { unreachable!("it was made one") };
                words.by_ref().take(count).zip(slot..).for_each(|(word, slot)| dense.set(slot, word));
            };
            self.change(usize::try_from(number - self.first).expect("it was made"), fill);
        }
    }

    /// Changes a page of the window.
    fn change(&mut self, at: usize, change: impl FnOnce(&mut Page)) {
        let page = &mut self.window[at];
        let before = page.is_dense();
        change(page);
        let (after, empty) = (page.is_dense(), page.is_empty());
        self.dense = self.dense + usize::from(after) - usize::from(before);
        if empty || before != after {
            self.leave_behind(0);
        }
    }

    #[cold]
    fn set_behind(&mut self, number: u64, slot: usize, word: u64) {
        if word == 0 && !self.behind.contains_key(&number) {
            return;
        }
        let page = self.behind.entry(number).or_default();
        page.set(slot, word);
        if page.is_empty() {
            self.behind.remove(&number);
        }
    }

    /// Makes the window reach as far as a page, which is not below it.
    fn extend_to(&mut self, number: u64) {
        if number < self.first + self.window.len() as u64 {
            return;
        }
        let newest = self.window.len().checked_sub(1);
        newest.into_iter().for_each(|at| self.change(at, Page::settle));
        let more = |slots: &Slots| (number - slots.first).saturating_sub(slots.window.len() as u64);
        self.leave_behind(usize::try_from(more(self)).unwrap_or(usize::MAX));
        if self.window.is_empty() {
            self.first = number;
        }
        let len = usize::try_from(number - self.first).expect("few pages are between") + 1;
        self.window.resize_with(len, Page::default);
    }

    /// Shortens the window where it begins with an empty page, and where it would be long for the arrays that it has
    /// once there are so many more pages.
    fn leave_behind(&mut self, more: usize) {
        while let Some(first) = self.window.front()
            && (first.is_empty() || self.window.len().saturating_add(more) > 2 * self.dense + SLACK)
        {
            let page = self.window.pop_front().expect("it is there");
            self.dense -= usize::from(page.is_dense());
            if !page.is_empty() {
                self.behind.insert(self.first, page);
            }
            self.first += 1;
        }
    }

    /// The words of the elements after one, ascending.
    pub(super) fn after(&self, element: ElementId) -> impl Iterator<Item = (ElementId, u64)> + '_ {
        let (number, slot) = place(ElementId(element.0.saturating_add(1)));
        let from = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.window.len());
        let behind = self.behind.range(number..).map(|(&number, page)| (number, page));
        let pages = behind.chain((self.first + from as u64..).zip(self.window.range(from..)));
        pages.flat_map(move |(of, page)| {
            let first = if of == number { slot } else { 0 };
            page.from(first).map(move |(slot, word)| (ElementId(of * PAGE as u64 + slot as u64), word))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn found(slots: &Slots, after: u64) -> Vec<u64> {
        slots.after(ElementId(after)).map(|(id, _)| id.0).collect()
    }

    #[test]
    fn words_are_found_in_order_and_pages_go_with_the_last_of_them() {
        let mut slots = Slots::default();
        let ids = [5_000, 1, 15, 1_023, 1_024, 1 << 40, 3 << 50];
        for id in ids {
            slots.set(ElementId(id), id + 7);
        }
        let mut sorted = ids;
        sorted.sort_unstable();
        assert_eq!(found(&slots, 0), sorted);
        assert_eq!(found(&slots, 15), sorted[2..]);
        assert_eq!(found(&slots, 1_023), sorted[3..]);
        assert!(ids.iter().all(|&id| slots.get(ElementId(id)) == id + 7) && slots.get(ElementId(2)) == 0);
        for id in ids {
            slots.set(ElementId(id), 0);
            slots.set(ElementId(id + 1), 0);
        }
        assert!(slots.window.is_empty() && slots.behind.is_empty() && slots.dense == 0, "{slots:?}");
    }

    #[test]
    fn few_words_of_a_page_are_a_list_and_many_an_array() {
        let mut slots = Slots::default();
        let all = PAGE as u64;
        slots.set_run(ElementId(0), (0..PAGE).map(|id| 1 + id as u64));
        for id in (0..all).filter(|id| id % 100 != 0) {
            slots.set(ElementId(id), 0);
        }
        assert!(slots.window[0].is_dense(), "more may come into the newest page");
        slots.set_run(ElementId(all), std::iter::once(1));
        slots.set(ElementId(all), 0);
        assert!(matches!(slots.window[0], Page::Sparse(_)));
        assert_eq!(found(&slots, 0), [100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000]);
        for id in 0..all {
            slots.set(ElementId(id), 2 + id);
        }
        assert!(matches!(slots.window[0], Page::Dense(Dense { used: PAGE, .. })));
        assert_eq!(found(&slots, 1_000).len(), 23);
    }

    #[test]
    fn one_element_that_stays_does_not_keep_a_window_as_long_as_the_log() {
        let (mut slots, pages) = (Slots::default(), 10_000_u64);
        for page in 0..pages {
            let first = page * PAGE as u64;
            slots.set_run(ElementId(first), (0..PAGE).map(|_| 1));
            // Of every hundredth page one stays, and of the first half of them.
            let stays = |slot: u64| (page % 100 == 0 && slot == 0) || (page == 0 && slot < PAGE as u64 / 2);
            (0..PAGE as u64).filter(|&slot| !stays(slot)).for_each(|slot| slots.set(ElementId(first + slot), 0));
        }
        assert!(slots.window.len() <= SLACK + 2, "{}", slots.window.len());
        let kept = slots.behind.len() + slots.window.iter().filter(|page| !page.is_empty()).count();
        assert_eq!(kept, 100 + 1, "and the newest");
        assert_eq!(found(&slots, 0).len(), PAGE / 2 - 1 + 99);
    }

    /// Anything may happen: it comes to the same as with a map.
    #[test]
    fn words_are_those_of_a_map_whatever_is_done() {
        let mut random = Random(7);
        let mut below = |most| random.below(most);
        for spread in [3_000, 300_000, 1 << 45] {
            let (mut slots, mut map, mut next) = (Slots::default(), BTreeMap::<u64, u64>::new(), 1);
            for step in 0..4_000 {
                match below(6) {
                    0 => {
                        let count = below(1_500);
                        slots.set_run(ElementId(next), (0..count as usize).map(|at| at as u64 + 1));
                        map.extend((0..count).map(|at| (next + at, at + 1)));
                        next += count + below(2) * below(spread);
                    }
                    1 => {
                        let id = below(next + spread);
                        next = next.max(id + 1);
                        slots.set(ElementId(id), step + 1);
                        map.insert(id, step + 1);
                    }
                    2 => {
                        let gone: Vec<u64> = map.range(below(next)..).map(|(&id, _)| id).take(500).collect();
                        for id in gone.into_iter().filter(|_| below(8) > 0) {
                            slots.set(ElementId(id), 0);
                            map.remove(&id);
                        }
                    }
                    3 => {
                        let first: Vec<u64> = map.keys().copied().take(700).collect();
                        for id in first {
                            slots.set(ElementId(id), 0);
                            map.remove(&id);
                        }
                    }
                    _ => {
                        let id = below(next + 5);
                        assert_eq!(slots.get(ElementId(id)), map.get(&id).copied().unwrap_or_default(), "{id}");
                    }
                }
                if step % 50 == 0 {
                    let after = below(next);
                    let found = slots.after(ElementId(after)).map(|(id, word)| (id.0, word));
                    assert!(found.eq(map.range(after + 1..).map(|(&id, &word)| (id, word))), "step {step}");
                    assert!(slots.behind.values().all(|page| !page.is_empty()));
                    assert!(slots.behind.keys().all(|&number| number < slots.first));
                    assert_eq!(slots.dense, slots.window.iter().filter(|page| page.is_dense()).count());
                    assert!(slots.window.len() <= 2 * slots.dense + SLACK + 1);
                }
            }
        }
    }
}
