//! Bounded memory of what has been: elements that no longer wait, and idempotency keys.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, BuildHasherDefault, Hasher},
    sync::Arc,
};

use dovetail_rule::{Row, Value};

use super::{
    ClientPart,
    elements::{Elements, Slot},
};
use crate::{ElementId, EventId, PoolId, batch::Fingerprint, ring::FixedState};

/// A key of a pool.
type PoolKey = (PoolId, Arc<str>);

/// Which element has a key, or had it last, of those that wait or are remembered. In several maps, each of which grows at a time of
/// its own: nobody waits until millions of keys have moved.
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

    /// Takes an element that ended, and forgets those that are too many. A key goes with the element, unless a later one has it.
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

/// Idempotency keys, the latest ones, with the element each made and a digest of what was submitted.
#[derive(Debug)]
pub(super) struct Idempotency {
    most: usize,
    by_key: HashMap<PoolKey, (ElementId, u64)>,
    /// With the element each made: a key that was forgotten can come again.
    order: VecDeque<(PoolId, Arc<str>, ElementId)>,
}

/// An idempotency key as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The pool.
    pub pool: PoolId,
    /// The key.
    pub key: Arc<str>,
    /// The element it made.
    pub element: ElementId,
    /// Of what was submitted with it.
    pub digest: u64,
}

impl Idempotency {
    pub(super) fn new(most: usize) -> Idempotency {
        Idempotency { most, by_key: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, pool: PoolId, client: &ClientPart, row: &Row, element: ElementId) {
        if !client.idempotency_key.is_empty() {
            let digest = digest(client, row);
            self.restore(Remembered { pool, key: (*client.idempotency_key).into(), element, digest });
        }
    }

    /// Takes one that was remembered elsewhere, after all that are older.
    pub(super) fn restore(&mut self, remembered: Remembered) {
        if self.most == 0 {
            return;
        }
        let Remembered { pool, key, element, digest } = remembered;
        self.by_key.insert((pool, Arc::clone(&key)), (element, digest));
        self.order.push_back((pool, key, element));
        while self.order.len() > self.most
            && let Some((pool, key, made)) = self.order.pop_front()
        {
            let oldest = (pool, key);
            if self.by_key.get(&oldest).is_some_and(|&(element, _)| element == made) {
                self.by_key.remove(&oldest);
            }
        }
    }

    /// All of them, oldest first.
    pub(super) fn entries(&self) -> Vec<Remembered> {
        let entry = |(pool, key, made): &(PoolId, Arc<str>, ElementId)| {
            let &(element, digest) = self.by_key.get(&(*pool, Arc::clone(key)))?;
            (element == *made).then(|| Remembered { pool: *pool, key: Arc::clone(key), element, digest })
        };
        self.order.iter().filter_map(entry).collect()
    }

    /// The element that a key made, and whether the same body made it.
    pub(super) fn find(&self, pool: PoolId, client: &ClientPart, row: &Row) -> Option<(ElementId, bool)> {
        if client.idempotency_key.is_empty() {
            return None;
        }
        let (element, made_by) = *self.by_key.get(&(pool, Arc::from(&*client.idempotency_key)))?;
        Some((element, made_by == digest(client, row)))
    }
}

/// Kept in checkpoints, so it is the same in every version: the ring's hash, over our own bytes.
fn digest(client: &ClientPart, row: &Row) -> u64 {
    let mut hash = FixedState.build_hasher();
    sized(&mut hash, client.key.as_bytes());
    sized(&mut hash, &client.payload);
    hash.write(&client.ttl_ms.to_le_bytes());
    for value in row.values() {
        match value {
            None => hash.write(&[0]),
            Some(Value::Int(int)) => tagged(&mut hash, 1, &int.to_le_bytes()),
            Some(Value::Double(double)) => tagged(&mut hash, 2, &double.to_bits().to_le_bytes()),
            Some(Value::String(string)) => {
                hash.write(&[3]);
                sized(&mut hash, string.as_bytes());
            }
            Some(Value::Bool(bool)) => tagged(&mut hash, 4, &[u8::from(*bool)]),
            Some(Value::StringList(list)) => {
                tagged(&mut hash, 5, &(list.len() as u64).to_le_bytes());
                list.iter().for_each(|entry| sized(&mut hash, entry.as_bytes()));
            }
        }
    }
    hash.finish()
}

fn sized(hash: &mut impl Hasher, bytes: &[u8]) {
    hash.write(&(bytes.len() as u64).to_le_bytes());
    hash.write(bytes);
}

fn tagged(hash: &mut impl Hasher, tag: u8, bytes: &[u8]) {
    hash.write(&[tag]);
    hash.write(bytes);
}
