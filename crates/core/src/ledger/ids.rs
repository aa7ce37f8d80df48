//! A set of elements that are mostly neighbours: a bit for each.

use std::collections::BTreeMap;

use crate::ElementId;

/// Words of a page.
const WORDS: usize = 8;
/// Elements of a page.
const PAGE: u64 = 64 * WORDS as u64;

#[derive(Debug, Default)]
pub(super) struct Ids(BTreeMap<u64, [u64; WORDS]>);

/// The page, the word in it, and the bit.
fn place(element: ElementId) -> (u64, usize, u64) {
    (element.0 / PAGE, (element.0 % PAGE / 64) as usize, 1 << (element.0 % 64))
}

impl Ids {
    pub(super) fn insert(&mut self, element: ElementId) {
        let (page, word, bit) = place(element);
        self.0.entry(page).or_default()[word] |= bit;
    }

    pub(super) fn contains(&self, element: ElementId) -> bool {
        let (page, word, bit) = place(element);
        self.0.get(&page).is_some_and(|page| page[word] & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_there_and_its_neighbours_are_not() {
        let mut ids = Ids::default();
        let inserted = [1, 63, 64, 511, 512, 1 << 40, u64::MAX];
        inserted.iter().for_each(|&id| ids.insert(ElementId(id)));
        let asked = inserted.iter().flat_map(|&id| [id - 1, id, id.saturating_add(1)]);
        for id in asked {
            assert_eq!(ids.contains(ElementId(id)), inserted.contains(&id), "{id}");
        }
    }
}
