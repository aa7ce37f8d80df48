//! A word for each element, by id: dense where ids are, and small where they are not.
//!
//! Most elements end soon, and a few stay long: pages of neighbours go when the last of them does.

use std::collections::BTreeMap;

use crate::ElementId;

/// Elements of a page.
const PAGE: usize = 16;
/// Pages of a chapter.
const PAGES: usize = 64;
/// Elements of a chapter.
const CHAPTER: u64 = (PAGE * PAGES) as u64;

type Page = [u64; PAGE];

#[derive(Debug)]
struct Chapter {
    pages: [Option<Box<Page>>; PAGES],
    /// Pages there are.
    used: usize,
}

/// Words that are not 0, by element.
#[derive(Default)]
pub(super) struct Slots {
    chapters: BTreeMap<u64, Box<Chapter>>,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.after(ElementId(0))).finish()
    }
}

fn place(element: ElementId) -> (u64, usize, usize) {
    let within = (element.0 % CHAPTER) as usize;
    (element.0 / CHAPTER, within / PAGE, within % PAGE)
}

impl Slots {
    /// The word of an element; 0 when it has none.
    #[inline]
    pub(super) fn get(&self, element: ElementId) -> u64 {
        let (chapter, page, slot) = place(element);
        let chapter = self.chapters.get(&chapter);
        chapter.and_then(|chapter| chapter.pages[page].as_ref()).map_or(0, |page| page[slot])
    }

    /// Changes the word of an element. With 0 it has none any more.
    #[inline]
    pub(super) fn set(&mut self, element: ElementId, word: u64) {
        if word == 0 {
            return self.clear(element);
        }
        let (chapter, page, slot) = place(element);
        let chapter = self
            .chapters
            .entry(chapter)
            .or_insert_with(|| Box::new(Chapter { pages: [const { None }; PAGES], used: 0 }));
        let Chapter { pages, used } = &mut **chapter;
        let page = pages[page].get_or_insert_with(|| {
            *used += 1;
            Box::new([0; PAGE])
        });
        page[slot] = word;
    }

    fn clear(&mut self, element: ElementId) {
        let (number, at, slot) = place(element);
        let Some(chapter) = self.chapters.get_mut(&number) else { return };
        let Some(page) = &mut chapter.pages[at] else { return };
        page[slot] = 0;
        if page.iter().all(|&word| word == 0) {
            chapter.pages[at] = None;
            chapter.used -= 1;
            if chapter.used == 0 {
                self.chapters.remove(&number);
            }
        }
    }

    /// The words of the elements after one, ascending.
    pub(super) fn after(&self, element: ElementId) -> impl Iterator<Item = (ElementId, u64)> + '_ {
        let first = element.0.saturating_add(1);
        self.chapters.range(first / CHAPTER..).flat_map(move |(&number, chapter)| {
            // Pages before the first element asked for are not looked at.
            let skipped = if number == first / CHAPTER { (first % CHAPTER) as usize / PAGE } else { 0 };
            let pages = chapter.pages.iter().enumerate().skip(skipped);
            let words = pages.flat_map(move |(at, page)| {
                let from = number * CHAPTER + (at * PAGE) as u64;
                page.iter().flat_map(move |page| (from..).map(ElementId).zip(page.iter().copied()))
            });
            words.filter(move |&(element, word)| word != 0 && element.0 >= first)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_order_and_pages_go_with_the_last_of_them() {
        let mut slots = Slots::default();
        let ids = [1, 15, 16, 1023, 1024, 5_000, 1 << 40];
        for id in ids {
            slots.set(ElementId(id), id + 7);
        }
        let found = |slots: &Slots, after| slots.after(ElementId(after)).map(|(id, _)| id.0).collect::<Vec<_>>();
        assert_eq!(found(&slots, 0), ids);
        assert_eq!(found(&slots, 15), ids[2..]);
        assert_eq!(found(&slots, 1023), ids[4..]);
        assert!(ids.iter().all(|&id| slots.get(ElementId(id)) == id + 7) && slots.get(ElementId(2)) == 0);
        for id in ids {
            slots.set(ElementId(id), 0);
            slots.set(ElementId(id + 1), 0);
        }
        assert!(slots.chapters.is_empty());
    }
}
