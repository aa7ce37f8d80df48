//! Columns: values of one kind one after the other, so that a batch is read and written without a step per field.
//!
//! A column that comes in is checked as a whole (sizes, ends, UTF-8, presence); after that a value is a slice away, and reading
//! one cannot fail.

use bytes::Bytes;
use dovetail_rule::{Row, Value, ValueKind};
use thiserror::Error;

use super::ConvertError;
use crate::pb;

/// Columns that do not fit each other, or are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ColumnError {
    /// Another number of bytes than its elements take.
    #[error("{what} has {found} bytes; {count} elements take {expected}")]
    Size {
        /// The part of the column.
        what: &'static str,
        /// Its bytes.
        found: usize,
        /// The elements.
        count: usize,
        /// The bytes they take.
        expected: usize,
    },
    /// An end before the one before it, or beyond what there is.
    #[error("end {index} is {found}, which is not from {least} to {most}")]
    End {
        /// Which one, from 0.
        index: usize,
        /// What it is.
        found: usize,
        /// The end before.
        least: usize,
        /// All there is.
        most: usize,
    },
    /// Something after the last end.
    #[error("the last end is {found}, but there are {bytes}")]
    Rest {
        /// The last end.
        found: usize,
        /// What there is.
        bytes: usize,
    },
    /// Text that is not UTF-8, as a whole or cut at its ends.
    #[error("text is not UTF-8 at byte {at}")]
    Utf8 {
        /// Where.
        at: usize,
    },
    /// A bool that is none.
    #[error("bool {index} is {found}, not 0 or 1")]
    Bool {
        /// Which one, from 0.
        index: usize,
        /// What it is.
        found: u8,
    },
    /// No values, though an element has the attribute.
    #[error("there are no values, but element {index} has the attribute")]
    NoValues {
        /// Which one, from 0.
        index: usize,
    },
}

/// Fixed-size numbers of `N` bytes each.
pub(super) fn fixed<'a, const N: usize>(
    what: &'static str,
    count: usize,
    bytes: &'a [u8],
) -> Result<&'a [[u8; N]], ColumnError> {
    match bytes.as_chunks() {
        (numbers, []) if numbers.len() == count => Ok(numbers),
        _ => Err(ColumnError::Size { what, found: bytes.len(), count, expected: count.saturating_mul(N) }),
    }
}

/// Ascending ends.
#[derive(Clone, Copy, Debug)]
struct Ends<'a>(&'a [[u8; 4]]);

impl<'a> Ends<'a> {
    /// `count` ends, the last of them at `most`.
    fn read(count: usize, bytes: &'a [u8], most: usize) -> Result<Ends<'a>, ColumnError> {
        let ends = Ends(fixed("ends", count, bytes)?);
        let mut least = 0;
        for index in 0..count {
            let found = ends.end(index);
            if found < least || found > most {
                return Err(ColumnError::End { index, found, least, most });
            }
            least = found;
        }
        if least < most { Err(ColumnError::Rest { found: least, bytes: most }) } else { Ok(ends) }
    }

    #[inline]
    fn end(self, index: usize) -> usize {
        u32::from_le_bytes(self.0[index]) as usize
    }

    #[inline]
    fn range(self, index: usize) -> std::ops::Range<usize> {
        index.checked_sub(1).map_or(0, |before| self.end(before))..self.end(index)
    }
}

/// Texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a> {
    text: &'a str,
    ends: Ends<'a>,
}

impl<'a> Texts<'a> {
    pub(super) fn read(count: usize, column: &'a pb::TextColumn) -> Result<Texts<'a>, ColumnError> {
        let text = std::str::from_utf8(&column.text).map_err(|error| ColumnError::Utf8 { at: error.valid_up_to() })?;
        let ends = Ends::read(count, &column.ends, text.len())?;
        match (0..count).map(|index| ends.end(index)).find(|&end| !text.is_char_boundary(end)) {
            Some(at) => Err(ColumnError::Utf8 { at }),
            None => Ok(Texts { text, ends }),
        }
    }

    /// How many in a column that does not say otherwise.
    fn count(column: &pb::TextColumn) -> usize {
        column.ends.len() / 4
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> &'a str {
        &self.text[self.ends.range(index)]
    }
}

/// Byte strings.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteStrings<'a> {
    bytes: &'a [u8],
    ends: Ends<'a>,
}

impl<'a> ByteStrings<'a> {
    pub(super) fn read(count: usize, column: &'a pb::BytesColumn) -> Result<ByteStrings<'a>, ColumnError> {
        Ok(ByteStrings { bytes: &column.bytes, ends: Ends::read(count, &column.ends, column.bytes.len())? })
    }

    /// A copy of its own: a slice would keep the whole batch in memory.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Bytes {
        Bytes::copy_from_slice(&self.bytes[self.ends.range(index)])
    }
}

#[derive(Clone, Copy, Debug)]
enum Values<'a> {
    None,
    Ints(&'a [[u8; 8]]),
    Doubles(&'a [[u8; 8]]),
    Strings(Texts<'a>),
    Bools(&'a [u8]),
    StringLists(Texts<'a>, Ends<'a>),
}

/// One attribute of many elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    /// A bit each; none when all have it.
    present: Option<&'a [u8]>,
    values: Values<'a>,
}

impl<'a> Attribute<'a> {
    pub(super) fn read(count: usize, column: &'a pb::Column) -> Result<Attribute<'a>, ColumnError> {
        use pb::column::Values as Sent;
        let present = match &*column.present {
            [] => None,
            bits if bits.len() == count.div_ceil(8) => Some(bits),
            bits => {
                let (found, expected) = (bits.len(), count.div_ceil(8));
                return Err(ColumnError::Size { what: "present", found, count, expected });
            }
        };
        let values = match &column.values {
            None => Values::None,
            Some(Sent::Ints(bytes)) => Values::Ints(fixed("ints", count, bytes)?),
            Some(Sent::Doubles(bytes)) => Values::Doubles(fixed("doubles", count, bytes)?),
            Some(Sent::Strings(texts)) => Values::Strings(Texts::read(count, texts)?),
            Some(Sent::Bools(bytes)) => Values::Bools(bools(count, bytes)?),
            Some(Sent::StringLists(lists)) => {
                let entries = lists.entries.as_ref();
                let most = entries.map_or(0, Texts::count);
                let ends = Ends::read(count, &lists.ends, most)?;
                entries
                    .map_or(Ok(Values::None), |entries| Ok(Values::StringLists(Texts::read(most, entries)?, ends)))?
            }
        };
        let column = Attribute { present, values };
        if matches!(values, Values::None)
            && let Some(index) = (0..count).find(|&index| column.has(index))
        {
            return Err(ColumnError::NoValues { index });
        }
        Ok(column)
    }

    /// The kind of its values, if there are any.
    pub(super) fn kind(&self) -> Option<ValueKind> {
        Some(match self.values {
            Values::None => return None,
            Values::Ints(_) => ValueKind::Int,
            Values::Doubles(_) => ValueKind::Double,
            Values::Strings(_) => ValueKind::String,
            Values::Bools(_) => ValueKind::Bool,
            Values::StringLists(..) => ValueKind::StringList,
        })
    }

    #[inline]
    fn has(&self, index: usize) -> bool {
        self.present.is_none_or(|bits| bits[index / 8] & (1 << (index % 8)) != 0)
    }

    /// The value of an element; none when it does not have the attribute.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<Value> {
        if !self.has(index) {
            return None;
        }
        Some(match self.values {
            Values::None => return None,
            Values::Ints(ints) => Value::Int(i64::from_le_bytes(ints[index])),
            Values::Doubles(doubles) => Value::Double(f64::from_le_bytes(doubles[index])),
            Values::Strings(texts) => Value::String(texts.get(index).into()),
            Values::Bools(bools) => Value::Bool(bools[index] != 0),
            Values::StringLists(entries, ends) => {
                Value::StringList(ends.range(index).map(|entry| entries.get(entry).into()).collect())
            }
        })
    }
}

fn bools(count: usize, bytes: &[u8]) -> Result<&[u8], ColumnError> {
    let bools = fixed::<1>("bools", count, bytes)?.as_flattened();
    match bools.iter().position(|&found| found > 1) {
        Some(index) => Err(ColumnError::Bool { index, found: bools[index] }),
        None => Ok(bools),
    }
}

/// What a batch has of each element beside its attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clients<'a> {
    keys: Texts<'a>,
    payloads: Option<ByteStrings<'a>>,
    ttls_ms: Option<&'a [[u8; 8]]>,
    idempotency_keys: Option<Texts<'a>>,
}

impl<'a> Clients<'a> {
    pub(super) fn read(
        count: usize,
        keys: &'a pb::TextColumn,
        payloads: Option<&'a pb::BytesColumn>,
        ttls_ms: &'a [u8],
        idempotency_keys: Option<&'a pb::TextColumn>,
    ) -> Result<Clients<'a>, ConvertError> {
        let named = |name: &str| {
            let name = name.to_owned();
            move |source| ConvertError::AttributeColumn { name, source }
        };
        let payloads = payloads.map(|column| ByteStrings::read(count, column));
        let ttls_ms = (!ttls_ms.is_empty()).then(|| fixed("ttls_ms", count, ttls_ms));
        let idempotency_keys = idempotency_keys.map(|column| Texts::read(count, column));
        Ok(Clients {
            keys: Texts::read(count, keys).map_err(named("keys"))?,
            payloads: payloads.transpose().map_err(named("payloads"))?,
            ttls_ms: ttls_ms.transpose().map_err(named("ttls_ms"))?,
            idempotency_keys: idempotency_keys.transpose().map_err(named("idempotency_keys"))?,
        })
    }

    pub(super) fn key(&self, index: usize) -> &'a str {
        self.keys.get(index)
    }

    pub(super) fn payload(&self, index: usize) -> Bytes {
        self.payloads.map_or_else(Bytes::new, |payloads| payloads.get(index))
    }

    /// None when the batch has none.
    pub(super) fn ttl_ms(&self, index: usize) -> Option<u64> {
        self.ttls_ms.map(|ttls_ms| u64::from_le_bytes(ttls_ms[index]))
    }

    pub(super) fn idempotency_key(&self, index: usize) -> &'a str {
        self.idempotency_keys.map_or("", |keys| keys.get(index))
    }
}

/// Texts or byte strings being written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    ends: Vec<u8>,
}

impl<B: AsRef<[u8]>> FromIterator<B> for Writer {
    fn from_iter<I: IntoIterator<Item = B>>(values: I) -> Writer {
        let mut writer = Writer::default();
        values.into_iter().for_each(|value| writer.push(value.as_ref()));
        writer
    }
}

impl Writer {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len() / 4
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.end(self.bytes.len());
    }

    fn end(&mut self, end: usize) {
        self.ends.extend_from_slice(&u32::try_from(end).expect("a message is smaller than 4 GiB").to_le_bytes());
    }

    pub(crate) fn texts(self) -> pb::TextColumn {
        pb::TextColumn { text: self.bytes.into(), ends: self.ends.into() }
    }

    /// None when all are empty.
    pub(crate) fn texts_if_any(self) -> Option<pb::TextColumn> {
        (!self.bytes.is_empty()).then(|| self.texts())
    }

    /// None when all are empty.
    pub(crate) fn byte_strings_if_any(self) -> Option<pb::BytesColumn> {
        (!self.bytes.is_empty()).then(|| pb::BytesColumn { bytes: self.bytes.into(), ends: self.ends.into() })
    }
}

/// The attributes of rows of one schema, in its order.
pub(crate) fn columns_pb(rows: &[&Row]) -> Vec<pb::Column> {
    let width = rows.first().map_or(0, |row| row.values().len());
    assert!(rows.iter().all(|row| row.values().len() == width), "rows of one pool have one schema");
    (0..width).map(|attribute| column_pb(rows.iter().map(|row| row.values()[attribute].as_ref()))).collect()
}

/// One attribute. Values are of one kind.
pub(crate) fn column_pb<'a>(values: impl ExactSizeIterator<Item = Option<&'a Value>> + Clone) -> pb::Column {
    use pb::column::Values as Sent;
    let mut present = vec![0; values.len().div_ceil(8)];
    let mut kind = None;
    let mut all = true;
    for (index, value) in values.clone().enumerate() {
        match value {
            Some(value) => {
                kind.get_or_insert(value.kind());
                present[index / 8] |= 1 << (index % 8);
            }
            None => all = false,
        }
    }
    let sent = kind.map(|kind| match kind {
        ValueKind::Int => Sent::Ints(numbers_pb(values.map(|value| match value {
            None => [0; 8],
            Some(Value::Int(int)) => int.to_le_bytes(),
            Some(_) => mixed(),
        }))),
        ValueKind::Double => Sent::Doubles(numbers_pb(values.map(|value| match value {
            None => [0; 8],
            Some(Value::Double(double)) => double.to_le_bytes(),
            Some(_) => mixed(),
        }))),
        ValueKind::Bool => Sent::Bools(numbers_pb(values.map(|value| match value {
            None => [0],
            Some(Value::Bool(bool)) => [u8::from(*bool)],
            Some(_) => mixed(),
        }))),
        ValueKind::String => {
            let text = |value: Option<&'a Value>| match value {
                None => "",
                Some(Value::String(text)) => text,
                Some(_) => mixed(),
            };
            Sent::Strings(values.map(text).collect::<Writer>().texts())
        }
        ValueKind::StringList => {
            let (mut entries, mut ends) = (Writer::default(), Writer::default());
            let mut end = 0;
            for value in values {
                match value {
                    None => {}
                    Some(Value::StringList(list)) => {
                        list.iter().for_each(|entry| entries.push(entry.as_bytes()));
                        end += list.len();
                    }
                    Some(_) => mixed(),
                }
                ends.end(end);
            }
            Sent::StringLists(pb::TextListColumn { entries: Some(entries.texts()), ends: ends.ends.into() })
        }
    });
    pb::Column { present: if all { Bytes::new() } else { present.into() }, values: sent }
}

fn mixed() -> ! {
    panic!("the values of one attribute are of one kind")
}

/// Little-endian numbers.
pub(crate) fn numbers_pb<const N: usize>(numbers: impl Iterator<Item = [u8; N]>) -> Bytes {
    let mut bytes = Vec::with_capacity(numbers.size_hint().0 * N);
    numbers.for_each(|number| bytes.extend_from_slice(&number));
    bytes.into()
}
