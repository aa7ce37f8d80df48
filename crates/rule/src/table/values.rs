//! The exact values of one attribute, by slot.

use crate::growth::grow;
use crate::strings::Strings;
use crate::value::{Value, ValueKind};

/// One bit per slot; those beyond the last one ever set cost nothing.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    #[inline]
    pub(super) fn get(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    #[inline]
    pub(super) fn set(&mut self, index: usize, bit: bool) {
        if index / 64 >= self.0.len() {
            if !bit {
                return;
            }
            grow(&mut self.0, index / 64 + 1, 0);
        }
        let word = &mut self.0[index / 64];
        *word = *word & !(1 << (index % 64)) | u64::from(bit) << (index % 64);
    }

    fn permuted(&self, order: &[u32]) -> Bits {
        let mut bits = Bits::default();
        for (to, &from) in order.iter().enumerate().filter(|&(_, &from)| self.get(from as usize)) {
            let _ = from;
            bits.set(to, true);
        }
        bits
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * 8
    }
}

/// A typed column.
#[derive(Debug)]
pub(super) enum Values {
    Int {
        ints: Vec<i64>,
        missing: Bits,
    },
    /// NaN is missing.
    Double(Vec<f64>),
    Bool {
        bools: Bits,
        missing: Bits,
    },
    /// Symbols; 0 is missing.
    String(Vec<u32>),
    /// Symbols.
    List(Vec<Option<Box<[u32]>>>),
}

impl Values {
    pub(super) fn new(kind: ValueKind) -> Values {
        match kind {
            ValueKind::Int => Values::Int { ints: Vec::new(), missing: Bits::default() },
            ValueKind::Double => Values::Double(Vec::new()),
            ValueKind::Bool => Values::Bool { bools: Bits::default(), missing: Bits::default() },
            ValueKind::String => Values::String(Vec::new()),
            ValueKind::StringList => Values::List(Vec::new()),
        }
    }

    /// Makes room for `slots`.
    pub(super) fn grow(&mut self, slots: usize) {
        match self {
            Values::Int { ints, .. } => grow(ints, slots, 0),
            Values::Double(doubles) => grow(doubles, slots, f64::NAN),
            Values::Bool { .. } => {}
            Values::String(symbols) => grow(symbols, slots, 0),
            Values::List(lists) => grow(lists, slots, None),
        }
    }

    /// Sets a free slot. The value has the column's kind.
    #[inline]
    pub(super) fn set(&mut self, slot: usize, value: Option<&Value>, strings: &mut Strings) {
        match (self, value) {
            (Values::Int { ints, missing }, Some(&Value::Int(int))) => {
                ints[slot] = int;
                missing.set(slot, false);
            }
            (Values::Int { missing, .. }, None) => missing.set(slot, true),
            (Values::Double(doubles), Some(&Value::Double(double))) => doubles[slot] = double,
            (Values::Double(doubles), None) => doubles[slot] = f64::NAN,
            (Values::Bool { bools, missing }, Some(&Value::Bool(bool))) => {
                bools.set(slot, bool);
                missing.set(slot, false);
            }
            (Values::Bool { missing, .. }, None) => missing.set(slot, true),
            (Values::String(symbols), Some(Value::String(text))) => symbols[slot] = strings.intern(text),
            (Values::String(symbols), None) => symbols[slot] = 0,
            (Values::List(lists), Some(Value::StringList(list))) => {
                lists[slot] = Some(list.iter().map(|entry| strings.intern(entry)).collect());
            }
            (Values::List(lists), None) => lists[slot] = None,
            _ => unreachable!("a row of another schema than the table's"),
        }
    }

    /// Releases what a slot's value holds.
    #[inline]
    pub(super) fn clear(&mut self, slot: usize, strings: &mut Strings) {
        match self {
            Values::Int { .. } | Values::Double(_) | Values::Bool { .. } => {}
            Values::String(symbols) => strings.release(std::mem::take(&mut symbols[slot])),
            Values::List(lists) => {
                let list = lists[slot].take().unwrap_or_default();
                list.iter().for_each(|&symbol| strings.release(symbol));
            }
        }
    }

    /// A word that only equal values have; `None` for a missing one, and for lists.
    #[inline]
    pub(super) fn word(&self, slot: usize) -> Option<u64> {
        match self {
            Values::Int { ints, missing } => (!missing.get(slot)).then(|| ints[slot] as u64),
            Values::Double(doubles) => (!doubles[slot].is_nan()).then(|| doubles[slot].to_bits()),
            Values::Bool { bools, missing } => (!missing.get(slot)).then(|| u64::from(bools.get(slot))),
            Values::String(symbols) => (symbols[slot] != 0).then(|| u64::from(symbols[slot])),
            Values::List(_) => None,
        }
    }

    pub(super) fn value(&self, slot: usize, strings: &Strings) -> Option<Value> {
        match self {
            Values::Int { ints, missing } => (!missing.get(slot)).then(|| Value::Int(ints[slot])),
            Values::Double(doubles) => (!doubles[slot].is_nan()).then(|| Value::Double(doubles[slot])),
            Values::Bool { bools, missing } => (!missing.get(slot)).then(|| Value::Bool(bools.get(slot))),
            Values::String(symbols) => match symbols[slot] {
                0 => None,
                symbol => Some(Value::String(strings.text(symbol).into())),
            },
            Values::List(lists) => lists[slot]
                .as_ref()
                .map(|list| Value::StringList(list.iter().map(|&symbol| strings.text(symbol).into()).collect())),
        }
    }

    /// Keeps the slots of `order`, in that order, in no more memory than they need.
    pub(super) fn permute(&mut self, order: &[u32]) {
        match self {
            Values::Int { ints, missing } => {
                *missing = missing.permuted(order);
                *ints = order.iter().map(|&slot| ints[slot as usize]).collect();
            }
            Values::Double(doubles) => *doubles = order.iter().map(|&slot| doubles[slot as usize]).collect(),
            Values::Bool { bools, missing } => {
                *bools = bools.permuted(order);
                *missing = missing.permuted(order);
            }
            Values::String(symbols) => *symbols = order.iter().map(|&slot| symbols[slot as usize]).collect(),
            Values::List(lists) => *lists = order.iter().map(|&slot| lists[slot as usize].take()).collect(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Values::Int { ints, missing } => ints.capacity() * 8 + missing.bytes(),
            Values::Double(doubles) => doubles.capacity() * 8,
            Values::Bool { bools, missing } => bools.bytes() + missing.bytes(),
            Values::String(symbols) => symbols.capacity() * 4,
            Values::List(lists) => {
                let entries: usize = lists.iter().flatten().map(|list| list.len() * 4).sum();
                lists.capacity() * size_of::<Option<Box<[u32]>>>() + entries
            }
        }
    }
}
