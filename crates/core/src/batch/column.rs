//! Columns: values of one kind one after the other, as they are on the wire and in the log: little-endian numbers, ends
//! of texts.
//!
//! A column is made only from bytes that were checked; reading a value cannot fail then.

use bytes::Bytes;
use dovetail_rule::{Value, ValueKind};

/// What a text takes in bytes beside its own, alone or in a list: where it ends.
pub const TEXT_BYTES: usize = 4;

/// Byte strings or texts, one after the other, and where each of them ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    /// All of them.
    pub bytes: Bytes,
    /// Where each ends, as little-endian `u32`.
    pub ends: Bytes,
}

impl Strings {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() / 4
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    #[inline]
    fn end(&self, index: usize) -> usize {
        end(&self.ends, index)
    }

    #[inline]
    fn range(&self, index: usize) -> std::ops::Range<usize> {
        index.checked_sub(1).map_or(0, |before| self.end(before))..self.end(index)
    }

    /// One of them.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.range(index)]
    }

    /// One that is text.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn text(&self, index: usize) -> &str {
        std::str::from_utf8(self.get(index)).expect("texts were checked when they came")
    }

    /// A copy of its own: what it was made from may be larger.
    #[must_use]
    pub fn compact(&self) -> Strings {
        Strings { bytes: copy(&self.bytes), ends: copy(&self.ends) }
    }

    /// Bytes of all of them, and of their ends.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len()
    }

    /// Some neighbouring ones.
    #[must_use]
    pub fn part(&self, range: std::ops::Range<usize>) -> Strings {
        if range == (0..self.len()) {
            return self.clone();
        }
        let from = range.start.checked_sub(1).map_or(0, |before| self.end(before));
        let to = range.end.checked_sub(1).map_or(0, |last| self.end(last)).max(from);
        let mut ends = Vec::with_capacity(4 * range.len());
        range.for_each(|index| push_end(&mut ends, self.end(index) - from));
        Strings { bytes: self.bytes.slice(from..to), ends: ends.into() }
    }
}

#[inline]
fn end(ends: &[u8], index: usize) -> usize {
    let at = 4 * index;
    u32::from_le_bytes(ends[at..at + 4].try_into().expect("four bytes")) as usize
}

/// Makes [`Strings`].
#[derive(Debug, Default)]
pub struct StringsWriter {
    bytes: Vec<u8>,
    ends: Vec<u8>,
}

impl StringsWriter {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.ends.len() / 4
    }

    /// Adds one.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        push_end(&mut self.ends, self.bytes.len());
    }

    /// Adds many, for which room is made once.
    pub fn extend<'a>(&mut self, strings: impl Iterator<Item = &'a [u8]> + Clone) {
        let (mut bytes, mut count) = (0, 0);
        strings.clone().for_each(|string| (bytes, count) = (bytes + string.len(), count + 1));
        self.bytes.reserve(bytes);
        self.ends.reserve(4 * count);
        strings.for_each(|string| self.push(string));
    }

    /// What was added.
    #[must_use]
    pub fn finish(self) -> Strings {
        Strings { bytes: self.bytes.into(), ends: self.ends.into() }
    }

    /// What was added; none when all are empty.
    #[must_use]
    pub fn finish_if_any(self) -> Option<Strings> {
        (!self.bytes.is_empty()).then(|| self.finish())
    }
}

impl<B: AsRef<[u8]>> FromIterator<B> for StringsWriter {
    fn from_iter<I: IntoIterator<Item = B>>(strings: I) -> StringsWriter {
        let mut writer = StringsWriter::default();
        strings.into_iter().for_each(|string| writer.push(string.as_ref()));
        writer
    }
}

pub(super) fn push_end(ends: &mut Vec<u8>, end: usize) {
    ends.extend_from_slice(&u32::try_from(end).expect("a message is smaller than 4 GiB").to_le_bytes());
}

/// The values of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// No element has the attribute.
    #[default]
    None,
    /// Little-endian.
    Ints(Bytes),
    /// Little-endian.
    Doubles(Bytes),
    /// Texts.
    Strings(Strings),
    /// 0 or 1, a byte each.
    Bools(Bytes),
    /// Texts, and where each element's end among them.
    StringLists {
        /// Of all elements.
        entries: Strings,
        /// How many entries there are up to each element, as little-endian `u32`.
        ends: Bytes,
    },
}

/// One attribute of many elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// A bit each, the lowest first; empty when all have the attribute.
    pub present: Bytes,
    /// What those have that have it, and anything for the others.
    pub values: Values,
}

impl Column {
    /// An attribute that none of so many elements has.
    #[must_use]
    pub fn missing(count: usize) -> Column {
        Column { present: Presence::new(count).finish(), values: Values::None }
    }

    /// Columns of values, which are of one kind.
    #[must_use]
    pub fn of<'a>(values: impl ExactSizeIterator<Item = Option<&'a Value>> + Clone) -> Column {
        let mut present = Presence::new(values.len());
        let mut kind = None;
        for (index, value) in values.clone().enumerate() {
            if let Some(value) = value {
                kind.get_or_insert(value.kind());
                present.set(index);
            }
        }
        let values = match kind {
            None => Values::None,
            Some(ValueKind::Int) => Values::Ints(numbers(values.map(|value| match value {
                None => [0; 8],
                Some(Value::Int(int)) => int.to_le_bytes(),
                Some(_) => mixed(),
            }))),
            Some(ValueKind::Double) => Values::Doubles(numbers(values.map(|value| match value {
                None => [0; 8],
                Some(Value::Double(double)) => double.to_le_bytes(),
                Some(_) => mixed(),
            }))),
            Some(ValueKind::Bool) => Values::Bools(numbers(values.map(|value| match value {
                None => [0],
                Some(Value::Bool(bool)) => [u8::from(*bool)],
                Some(_) => mixed(),
            }))),
            Some(ValueKind::String) => {
                let text = |value: Option<&'a Value>| match value {
                    None => "",
                    Some(Value::String(text)) => text,
                    Some(_) => mixed(),
                };
                Values::Strings(values.map(text).collect::<StringsWriter>().finish())
            }
            Some(ValueKind::StringList) => {
                let (mut entries, mut ends) = (StringsWriter::default(), Vec::new());
                for value in values {
                    match value {
                        None => {}
                        Some(Value::StringList(list)) => list.iter().for_each(|entry| entries.push(entry.as_bytes())),
                        Some(_) => mixed(),
                    }
                    push_end(&mut ends, entries.count());
                }
                Values::StringLists { entries: entries.finish(), ends: ends.into() }
            }
        };
        Column { present: present.finish(), values }
    }

    /// Values picked from columns of one attribute, in the order given.
    #[must_use]
    pub fn pick<'a>(picked: impl ExactSizeIterator<Item = (&'a Column, usize)> + Clone) -> Column {
        let mut present = Presence::new(picked.len());
        let mut kind = None;
        for (at, (column, index)) in picked.clone().enumerate() {
            if column.has(index) {
                present.set(at);
                kind = kind.or_else(|| column.kind());
            }
        }
        // One that has not the attribute may be of a column that has no values at all.
        let values = match kind {
            None => Values::None,
            Some(ValueKind::Int) => Values::Ints(numbers(picked.map(|(column, index)| match &column.values {
                Values::Ints(ints) => word(ints, index),
                _ => [0; 8],
            }))),
            Some(ValueKind::Double) => Values::Doubles(numbers(picked.map(|(column, index)| match &column.values {
                Values::Doubles(doubles) => word(doubles, index),
                _ => [0; 8],
            }))),
            Some(ValueKind::Bool) => Values::Bools(numbers(picked.map(|(column, index)| match &column.values {
                Values::Bools(bools) => [bools[index]],
                _ => [0],
            }))),
            Some(ValueKind::String) => {
                let text = |(column, index): (&'a Column, usize)| match &column.values {
                    Values::Strings(texts) => texts.get(index),
                    _ => &[],
                };
                Values::Strings(picked.map(text).collect::<StringsWriter>().finish())
            }
            Some(ValueKind::StringList) => {
                let (mut into, mut into_ends) = (StringsWriter::default(), Vec::new());
                for (column, index) in picked {
                    if let Values::StringLists { entries, ends } = &column.values {
                        list_range(ends, index).for_each(|entry| into.push(entries.get(entry)));
                    }
                    push_end(&mut into_ends, into.count());
                }
                Values::StringLists { entries: into.finish(), ends: into_ends.into() }
            }
        };
        Column { present: present.finish(), values }
    }

    /// The kind of its values, if there are any.
    #[must_use]
    pub fn kind(&self) -> Option<ValueKind> {
        Some(match self.values {
            Values::None => return None,
            Values::Ints(_) => ValueKind::Int,
            Values::Doubles(_) => ValueKind::Double,
            Values::Strings(_) => ValueKind::String,
            Values::Bools(_) => ValueKind::Bool,
            Values::StringLists { .. } => ValueKind::StringList,
        })
    }

    /// Whether an element has the attribute.
    #[must_use]
    #[inline]
    pub fn has(&self, index: usize) -> bool {
        self.present.get(index / 8).is_none_or(|bits| bits & (1 << (index % 8)) != 0)
    }

    /// The value of an element; none when it does not have the attribute.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<Value> {
        if !self.has(index) {
            return None;
        }
        Some(match &self.values {
            Values::None => return None,
            Values::Ints(ints) => Value::Int(i64::from_le_bytes(word(ints, index))),
            Values::Doubles(doubles) => Value::Double(f64::from_le_bytes(word(doubles, index))),
            Values::Strings(texts) => Value::String(texts.text(index).into()),
            Values::Bools(bools) => Value::Bool(bools[index] != 0),
            Values::StringLists { entries, ends } => {
                Value::StringList(list_range(ends, index).map(|entry| entries.text(entry).into()).collect())
            }
        })
    }

    /// The lengths of an element's texts, and how many entries its list has.
    pub fn texts(&self, index: usize) -> impl ExactSizeIterator<Item = usize> {
        let (of, range) = match &self.values {
            Values::Strings(texts) if self.has(index) => (Some(texts), index..index + 1),
            Values::StringLists { entries, ends } if self.has(index) => (Some(entries), list_range(ends, index)),
            _ => (None, 0..0),
        };
        range.map(move |entry| of.map_or(0, |of| of.get(entry).len()))
    }

    /// The bytes of texts that are stored for an element, whether or not it has the attribute.
    #[must_use]
    pub fn stored_bytes(&self, index: usize) -> usize {
        match &self.values {
            Values::Strings(texts) => texts.get(index).len(),
            Values::StringLists { entries, ends } => {
                list_range(ends, index).map(|entry| TEXT_BYTES + entries.get(entry).len()).sum()
            }
            Values::None | Values::Ints(_) | Values::Doubles(_) | Values::Bools(_) => 0,
        }
    }

    /// A copy of its own: what it was made from may be larger.
    #[must_use]
    pub fn compact(&self) -> Column {
        let values = match &self.values {
            Values::None => Values::None,
            Values::Ints(ints) => Values::Ints(copy(ints)),
            Values::Doubles(doubles) => Values::Doubles(copy(doubles)),
            Values::Bools(bools) => Values::Bools(copy(bools)),
            Values::Strings(texts) => Values::Strings(texts.compact()),
            Values::StringLists { entries, ends } => {
                Values::StringLists { entries: entries.compact(), ends: copy(ends) }
            }
        };
        Column { present: copy(&self.present), values }
    }

    /// Bytes of all its values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.present.len()
            + match &self.values {
                Values::None => 0,
                Values::Ints(bytes) | Values::Doubles(bytes) | Values::Bools(bytes) => bytes.len(),
                Values::Strings(texts) => texts.total_bytes(),
                Values::StringLists { entries, ends } => entries.total_bytes() + ends.len(),
            }
    }
}

/// Which elements have an attribute, being found out.
pub(super) struct Presence {
    bits: Vec<u8>,
    count: usize,
    missing: usize,
}

impl Presence {
    pub(super) fn new(count: usize) -> Presence {
        Presence { bits: vec![0; count.div_ceil(8)], count, missing: count }
    }

    pub(super) fn set(&mut self, index: usize) {
        self.bits[index / 8] |= 1 << (index % 8);
        self.missing -= 1;
    }

    pub(super) fn finish(self) -> Bytes {
        if self.missing == 0 && self.count > 0 { Bytes::new() } else { self.bits.into() }
    }
}

fn copy(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[inline]
fn word(words: &[u8], index: usize) -> [u8; 8] {
    let at = 8 * index;
    words[at..at + 8].try_into().expect("eight bytes")
}

pub(super) fn list_range(ends: &[u8], index: usize) -> std::ops::Range<usize> {
    index.checked_sub(1).map_or(0, |before| end(ends, before))..end(ends, index)
}

/// The lists of some neighbouring elements.
pub(super) fn part_of_lists(entries: &Strings, ends: &Bytes, rows: std::ops::Range<usize>) -> (Strings, Bytes) {
    let from = rows.start.checked_sub(1).map_or(0, |before| end(ends, before));
    let mut part = Vec::with_capacity(4 * rows.len());
    rows.clone().for_each(|row| push_end(&mut part, end(ends, row) - from));
    let to = rows.end.checked_sub(1).map_or(0, |last| end(ends, last)).max(from);
    (entries.part(from..to), part.into())
}

fn mixed() -> ! {
    panic!("the values of one attribute are of one kind")
}

/// One of the little-endian numbers of 8 bytes.
#[must_use]
#[inline]
pub fn number(words: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(word(words, index))
}

/// Numbers of one size.
#[must_use]
pub fn numbers<const N: usize>(numbers: impl Iterator<Item = [u8; N]>) -> Bytes {
    let mut bytes = Vec::with_capacity(numbers.size_hint().0 * N);
    numbers.for_each(|number| bytes.extend_from_slice(&number));
    bytes.into()
}
