//! Everything about a waiting element that has nothing to do with where it is searched for: exact values, id, arrival.
//!
//! Invariants: slab.B1 every vector that is used at all is as long as `ids`; slab.B2 `ids` of a free slot is [`FREE`],
//! and `places` of a free slot is the next free one, last freed first, so that what is written next is still in the
//! cache.

use crate::eval::{Element, List, unreachable_attribute};
use crate::expr::AttributeRef;
use crate::growth::grow;
use crate::row::Row;
use crate::schema::Schema;
use crate::secret::Secret;
use crate::strings::Strings;
use crate::table::layout::{KEY_WORDS, KeyWords};
use crate::table::values::Values;
use crate::value::Value;

/// The id of a free slot: no element's.
pub(super) const FREE: u64 = u64::MAX;
/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// The elements, by slot.
#[derive(Debug)]
pub(super) struct Slab {
    pub(super) ids: Vec<u64>,
    /// Of a chained element, the next of its chain, or [`NONE`]; of one in a bucket, its lane there.
    pub(super) places: Vec<u32>,
    /// What the buckets go by; not used if there is but one.
    pub(super) keys: Vec<u32>,
    /// Not used if the rule does not look at it.
    arrivals: Vec<u64>,
    columns: Box<[Values]>,
    pub(super) strings: Strings,
    keyed: bool,
    timed: bool,
    free: u32,
    pub(super) len: usize,
}

impl Slab {
    pub(super) fn new(schema: &Schema, secret: Secret, keyed: bool, timed: bool) -> Slab {
        Slab {
            ids: Vec::new(),
            places: Vec::new(),
            keys: Vec::new(),
            arrivals: Vec::new(),
            columns: schema.attributes().iter().map(|attribute| Values::new(attribute.kind)).collect(),
            strings: Strings::new(secret),
            keyed,
            timed,
            free: NONE,
            len: 0,
        }
    }

    pub(super) fn insert(&mut self, id: u64, row: &Row, arrived_ms: u64, key: u32) -> u32 {
        assert_eq!(row.values().len(), self.columns.len(), "a table holds rows of its own schema");
        if self.free == NONE {
            self.grow();
        }
        let slot = self.free;
        let index = slot as usize;
        self.free = self.places[index];
        self.ids[index] = id;
        if self.keyed {
            self.keys[index] = key;
        }
        if self.timed {
            self.arrivals[index] = arrived_ms;
        }
        for (column, value) in self.columns.iter_mut().zip(row.values()) {
            column.set(index, value.as_ref(), &mut self.strings);
        }
        self.len += 1;
        slot
    }

    #[cold]
    fn grow(&mut self) {
        let old = self.ids.len();
        let new = old + (old / 8).max(16);
        assert!(new <= (1 << 31), "a table has at most 2^31 slots");
        grow(&mut self.ids, new, FREE);
        grow(&mut self.places, new, NONE);
        if self.keyed {
            grow(&mut self.keys, new, 0);
        }
        if self.timed {
            grow(&mut self.arrivals, new, 0);
        }
        self.columns.iter_mut().for_each(|column| column.grow(new));
        self.free_from(old);
    }

    /// Makes a chain of the slots from `first` on, which are all that are free.
    fn free_from(&mut self, first: usize) {
        let len = self.ids.len();
        for slot in first..len {
            self.places[slot] = if slot + 1 < len { slot as u32 + 1 } else { NONE };
        }
        self.free = if first < len { first as u32 } else { NONE };
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let index = slot as usize;
        for column in &mut self.columns {
            column.clear(index, &mut self.strings);
        }
        self.ids[index] = FREE;
        self.places[index] = std::mem::replace(&mut self.free, slot);
        self.len -= 1;
    }

    /// Whether most slots are free, so that [`permute`](Slab::permute) is worth its while.
    pub(super) fn sparse(&self) -> bool {
        self.ids.len() > 256 && self.len < self.ids.len() / 4
    }

    /// Keeps the slots of `order`, which are all that are in use, in that order: the first becomes slot 0. Places are
    /// as before.
    pub(super) fn permute(&mut self, order: &[u32]) {
        debug_assert_eq!(order.len(), self.len, "every element keeps a slot");
        let pick = |from: &[u32]| order.iter().map(|&slot| from[slot as usize]).collect();
        self.ids = order.iter().map(|&slot| self.ids[slot as usize]).collect();
        self.places = pick(&self.places);
        if self.keyed {
            self.keys = pick(&self.keys);
        }
        if self.timed {
            self.arrivals = order.iter().map(|&slot| self.arrivals[slot as usize]).collect();
        }
        self.columns.iter_mut().for_each(|column| column.permute(order));
        self.strings.shrink();
        self.free = NONE;
    }

    /// A word of an element's value that only equal values have; `None` if it is missing, or a list.
    #[inline]
    fn word(&self, slot: u32, attribute: usize) -> Option<u64> {
        self.columns[attribute].word(slot as usize)
    }

    /// The words of an element's key.
    #[inline]
    pub(super) fn key_words(&self, slot: u32, key: &[usize]) -> Option<KeyWords> {
        let mut words = [0; KEY_WORDS];
        for (word, &attribute) in words.iter_mut().zip(key) {
            *word = self.word(slot, attribute)?;
        }
        Some(words)
    }

    /// The same for an element that need not wait here.
    #[inline]
    pub(super) fn key_words_of(&self, row: &Row, key: &[usize]) -> Option<KeyWords> {
        let mut words = [0; KEY_WORDS];
        for (word, &attribute) in words.iter_mut().zip(key) {
            *word = match row.values()[attribute].as_ref()? {
                Value::Int(int) => *int as u64,
                Value::Double(double) => double.to_bits(),
                Value::Bool(bool) => u64::from(*bool),
                Value::String(text) => u64::from(self.strings.find(text)),
                Value::StringList(_) => return None,
            };
        }
        Some(words)
    }

    /// Whether arrivals are kept.
    pub(super) fn timed(&self) -> bool {
        self.timed
    }

    #[inline]
    pub(super) fn arrived_ms(&self, slot: u32) -> u64 {
        if self.timed { self.arrivals[slot as usize] } else { 0 }
    }

    pub(super) fn row(&self, slot: u32) -> Row {
        Row::from_values(self.columns.iter().map(|column| column.value(slot as usize, &self.strings)))
    }

    /// A waiting element as the evaluator sees it.
    pub(super) fn held(&self, slot: u32, waited_ms: i64) -> HeldRow<'_> {
        HeldRow { slab: self, slot: slot as usize, waited_ms }
    }

    pub(super) fn bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| size_of::<Values>() + column.bytes()).sum();
        let words = self.ids.capacity() + self.arrivals.capacity();
        let halves = self.places.capacity() + self.keys.capacity();
        words * 8 + halves * 4 + columns + self.strings.bytes()
    }
}

/// How long an element that arrived then has waited.
pub(super) fn waited(arrived_ms: u64, time_ms: u64) -> i64 {
    i64::try_from(time_ms.saturating_sub(arrived_ms)).unwrap_or(i64::MAX)
}

/// A waiting element's values.
#[derive(Clone, Copy)]
pub(super) struct HeldRow<'a> {
    slab: &'a Slab,
    slot: usize,
    waited_ms: i64,
}

impl<'a> HeldRow<'a> {
    /// A string attribute's symbol; 0 when it is missing.
    pub(super) fn symbol(self, attribute: &AttributeRef) -> u32 {
        match &self.slab.columns[attribute.index] {
            Values::String(symbols) => symbols[self.slot],
            _ => unreachable_attribute(attribute),
        }
    }

    pub(super) fn strings(self) -> &'a Strings {
        &self.slab.strings
    }
}

impl<'a> Element<'a> for HeldRow<'a> {
    fn waited_ms(self) -> i64 {
        self.waited_ms
    }

    fn has(self, attribute: &AttributeRef) -> bool {
        match &self.slab.columns[attribute.index] {
            Values::Int { missing, .. } | Values::Bool { missing, .. } => !missing.get(self.slot),
            Values::Double(doubles) => !doubles[self.slot].is_nan(),
            Values::String(symbols) => symbols[self.slot] != 0,
            Values::List(lists) => lists[self.slot].is_some(),
        }
    }

    #[inline]
    fn int(self, attribute: &AttributeRef) -> Option<i64> {
        match &self.slab.columns[attribute.index] {
            Values::Int { ints, missing } => (!missing.get(self.slot)).then(|| ints[self.slot]),
            _ => unreachable_attribute(attribute),
        }
    }

    #[inline]
    fn double(self, attribute: &AttributeRef) -> Option<f64> {
        match &self.slab.columns[attribute.index] {
            Values::Double(doubles) => Some(doubles[self.slot]).filter(|double| !double.is_nan()),
            _ => unreachable_attribute(attribute),
        }
    }

    fn bool(self, attribute: &AttributeRef) -> Option<bool> {
        match &self.slab.columns[attribute.index] {
            Values::Bool { bools, missing } => (!missing.get(self.slot)).then(|| bools.get(self.slot)),
            _ => unreachable_attribute(attribute),
        }
    }

    fn string(self, attribute: &AttributeRef) -> Option<&'a str> {
        match self.symbol(attribute) {
            0 => None,
            symbol => Some(self.slab.strings.text(symbol)),
        }
    }

    fn list(self, attribute: &AttributeRef) -> Option<List<'a>> {
        match &self.slab.columns[attribute.index] {
            Values::List(lists) => lists[self.slot].as_deref().map(|list| List::Interned(list, &self.slab.strings)),
            _ => unreachable_attribute(attribute),
        }
    }
}
