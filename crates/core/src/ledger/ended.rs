//! Bounded memory of what has been: elements that no longer wait.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use super::elements::{Elements, Slot};
use crate::{ElementId, EventId, batch::Fingerprint, hash::shrink};

/// Which element has a key, or had it last, of those that wait or are remembered. In several maps, each of which grows
/// at a time of its own: no request waits while millions of keys are moved.
#[derive(Debug)]
pub(super) struct Keys(Box<[KeyMap]>);

type KeyMap = HashMap<Fingerprint, ElementId, BuildHasherDefault<FingerprintHasher>>;

/// Maps of keys.
const KEY_MAPS: usize = 64;

impl Default for Keys {
    fn default() -> Keys {
        Keys((0..KEY_MAPS).map(|_| KeyMap::default()).collect())
    }
}

impl Keys {
    #[inline]
    fn map(&mut self, key: Fingerprint) -> &mut KeyMap {
        &mut self.0[key.share(KEY_MAPS)]
    }

    #[inline]
    pub(super) fn get(&self, key: Fingerprint) -> Option<ElementId> {
        self.0[key.share(KEY_MAPS)].get(&key).copied()
    }

    #[inline]
    pub(super) fn insert(&mut self, key: Fingerprint, element: ElementId) {
        self.map(key).insert(key, element);
    }

    /// The same, unless a later element has it.
    pub(super) fn insert_older(&mut self, key: Fingerprint, element: ElementId) {
        let last = self.map(key).entry(key).or_insert(element);
        *last = element.max(*last);
    }

    fn remove_of(&mut self, key: Fingerprint, element: ElementId) {
        let map = self.map(key);
        if map.get(&key) == Some(&element) {
            map.remove(&key);
            shrink(map);
        }
    }
}

/// A fingerprint is a hash already.
#[derive(Debug, Default)]
pub(super) struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a fingerprint writes a word")
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// The order in which elements were matched or withdrawn, of the latest ones.
#[derive(Debug)]
pub(super) struct Ended {
    most: usize,
    order: VecDeque<(ElementId, Fingerprint)>,
}

impl Ended {
    pub(super) fn new(most: usize) -> Ended {
        Ended { most, order: VecDeque::new() }
    }

    /// Takes an element that ended, and forgets those that are too many. A key goes with the element, unless a later
    /// one has it.
    pub(super) fn insert(&mut self, element: ElementId, key: Fingerprint, elements: &mut Elements, keys: &mut Keys) {
        self.order.push_back((element, key));
        while self.order.len() > self.most {
            self.forget_oldest(elements, keys);
        }
    }

    fn forget_oldest(&mut self, elements: &mut Elements, keys: &mut Keys) {
        let Some((oldest, key)) = self.order.pop_front() else { return };
        elements.forget(oldest);
        keys.remove_of(key, oldest);
    }

    /// Forgets what outcomes at or below `floor` ended.
    pub(super) fn forget(&mut self, floor: EventId, elements: &mut Elements, keys: &mut Keys) {
        while let Some(&(oldest, _)) = self.order.front()
            && !matches!(elements.get(oldest), Slot::Ended(x) if x > floor)
        {
            self.forget_oldest(elements, keys);
        }
    }
}
