//! Rows of a batch straight into columns of a pool's schema, without a message, a map and a value for each element.
//!
//! Only what is plain is read here: each attribute at most once and of the pool's kind, no field that the message does
//! not have. Whatever else comes, and whatever is wrong, is left to prost and to the checks of rows one by one, whose
//! errors are told. What is read here says what the messages say.

use bytes::Bytes;
use dovetail::{batch::Rows, columns, pb};
use dovetail_core::batch::{ClientColumns, Column, Strings, Values};
use dovetail_rule::{Schema, ValueKind};

/// The attributes of rows, in the order of a schema, and what they have beside them; none where they are not plain.
#[must_use]
pub fn row_columns(rows: &Rows, schema: &Schema) -> Option<(Vec<Column>, ClientColumns)> {
    if rows.len() > rows.packed().len() {
        return None;
    }
    let mut writer = RowWriter::new(rows.len(), schema);
    for row in rows.packed() {
        writer.row(row)?;
    }
    writer.finish()
}

/// What is left of some bytes of a message.
#[derive(Clone, Copy)]
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        if first < 0x80 {
            return Some(first.into());
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            // The tenth byte has one bit of use.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// What has its length before it.
    #[inline]
    fn delimited(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        let (found, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(found)
    }

    fn word(&mut self) -> Option<[u8; 8]> {
        let (found, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*found)
    }
}

/// Tags of `Submission`, of an entry of its map, of `Value`, and of `StringList`.
const KEY: u64 = 1 << 3 | 2;
const ATTRIBUTE: u64 = 2 << 3 | 2;
const PAYLOAD: u64 = 3 << 3 | 2;
const TTL_MS: u64 = 4 << 3;
const IDEMPOTENCY_KEY: u64 = 5 << 3 | 2;
const NAME: u64 = 1 << 3 | 2;
const VALUE: u64 = 2 << 3 | 2;
const INT: u64 = 1 << 3;
const DOUBLE: u64 = 2 << 3 | 1;
const STRING: u64 = 3 << 3 | 2;
const BOOL: u64 = 4 << 3;
const STRING_LIST: u64 = 5 << 3 | 2;
const ENTRY: u64 = 1 << 3 | 2;

/// Columns of rows, being made.
struct RowWriter<'a> {
    schema: &'a Schema,
    count: usize,
    /// Rows that are in.
    row: usize,
    keys: Texts,
    payloads: Texts,
    /// Of all rows, or of none: a column cannot say that some have the pool's.
    ttls_ms: Vec<u8>,
    idempotency_keys: Texts,
    attributes: Vec<Attribute>,
}

impl<'a> RowWriter<'a> {
    fn new(count: usize, schema: &'a Schema) -> RowWriter<'a> {
        let attribute = |kind| Attribute {
            values: Vec::new(),
            texts: Texts::default(),
            ends: Vec::new(),
            kind,
            have: 0,
            next: 0,
            present: Vec::new(),
        };
        RowWriter {
            schema,
            count,
            row: 0,
            keys: Texts::default(),
            payloads: Texts::default(),
            ttls_ms: Vec::new(),
            idempotency_keys: Texts::default(),
            attributes: schema.attributes().iter().map(|of| attribute(of.kind)).collect(),
        }
    }

    fn row(&mut self, row: &[u8]) -> Option<()> {
        let (mut key, mut payload, mut idempotency_key) = (None, None, None);
        let mut ttl_ms = None;
        let (mut left, mut guess) = (Left(row), 0);
        while !left.is_empty() {
            match left.varint()? {
                KEY if key.is_none() => key = Some(left.delimited()?),
                ATTRIBUTE => guess = self.attribute(left.delimited()?, guess)?,
                PAYLOAD if payload.is_none() => payload = Some(left.delimited()?),
                TTL_MS if ttl_ms.is_none() => ttl_ms = Some(left.varint()?),
                IDEMPOTENCY_KEY if idempotency_key.is_none() => idempotency_key = Some(left.delimited()?),
                _ => return None,
            }
        }
        self.keys.push(key.unwrap_or_default());
        self.payloads.push(payload.unwrap_or_default());
        self.idempotency_keys.push(idempotency_key.unwrap_or_default());
        match ttl_ms {
            Some(ttl_ms) if self.ttls_ms.len() == 8 * self.row => self.ttls_ms.extend_from_slice(&ttl_ms.to_le_bytes()),
            None if self.ttls_ms.is_empty() => {}
            _ => return None,
        }
        self.row += 1;
        Some(())
    }

    /// Reads an entry of the map of attributes, and returns which attribute is likely to be next. `guess` is which this
    /// one is: maps have no order, but often the same.
    fn attribute(&mut self, entry: &[u8], guess: usize) -> Option<usize> {
        let (mut name, mut value) = (None, None);
        let mut left = Left(entry);
        while !left.is_empty() {
            match left.varint()? {
                NAME if name.is_none() => name = Some(left.delimited()?),
                VALUE if value.is_none() => value = Some(left.delimited()?),
                _ => return None,
            }
        }
        let (name, value) = (name?, value?);
        let named = |at: &usize| self.schema.attributes()[*at].name.as_bytes() == name;
        let all = self.attributes.len();
        let at = (guess..all).chain(0..guess.min(all)).find(named)?;
        self.attributes[at].value(value, self.row, self.count)?;
        Some(at + 1)
    }

    fn finish(self) -> Option<(Vec<Column>, ClientColumns)> {
        let count = self.count;
        let attributes = self.attributes.into_iter().map(|attribute| attribute.finish(count));
        let clients = ClientColumns {
            keys: self.keys.texts(count)?,
            payloads: (!self.payloads.bytes.is_empty()).then(|| self.payloads.strings()),
            ttls_ms: (!self.ttls_ms.is_empty()).then(|| self.ttls_ms.into()),
            idempotency_keys: if self.idempotency_keys.bytes.is_empty() {
                None
            } else {
                Some(self.idempotency_keys.texts(count)?)
            },
            owners: None,
        };
        Some((attributes.collect::<Option<_>>()?, clients))
    }
}

/// Texts one after the other. Rows are of one message, which is smaller than 4 GiB.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u8>,
}

impl Texts {
    fn count(&self) -> usize {
        self.ends.len() / 4
    }

    #[inline]
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
    }

    /// Empty ones, until there are so many.
    fn pad(&mut self, count: usize) {
        while self.count() < count {
            self.push(&[]);
        }
    }

    fn strings(mut self) -> Strings {
        self.bytes.shrink_to_fit();
        Strings { bytes: self.bytes.into(), ends: self.ends.into() }
    }

    /// None when one of them is not UTF-8.
    fn texts(self, count: usize) -> Option<Strings> {
        let Strings { bytes, ends } = self.strings();
        columns::texts(count, &pb::TextColumn { text: bytes, ends }).ok()
    }
}

/// A column, being made.
struct Attribute {
    kind: ValueKind,
    /// Ints, doubles or bools, of the width of their kind.
    values: Vec<u8>,
    /// Strings, or the entries of all lists.
    texts: Texts,
    /// Where each list ends among its entries.
    ends: Vec<u8>,
    present: Vec<u8>,
    /// Rows that have it.
    have: usize,
    /// The row after the last that has it.
    next: usize,
}

impl Attribute {
    fn value(&mut self, value: &[u8], row: usize, count: usize) -> Option<()> {
        if self.next > row {
            return None;
        }
        let mut left = Left(value);
        match (self.kind, left.varint()?) {
            (ValueKind::Int, INT) => self.number(row, count, left.varint()?.to_le_bytes()),
            (ValueKind::Double, DOUBLE) => self.number(row, count, left.word()?),
            (ValueKind::Bool, BOOL) => self.number(row, count, [u8::from(left.varint()? != 0)]),
            (ValueKind::String, STRING) => {
                self.texts.pad(row);
                self.texts.push(left.delimited()?);
            }
            (ValueKind::StringList, STRING_LIST) => {
                self.pad_lists(row);
                let mut list = Left(left.delimited()?);
                while !list.is_empty() {
                    match list.varint()? {
                        ENTRY => self.texts.push(list.delimited()?),
                        _ => return None,
                    }
                }
                self.pad_lists(row + 1);
            }
            _ => return None,
        }
        if self.present.is_empty() {
            self.present = vec![0; count.div_ceil(8)];
        }
        self.present[row / 8] |= 1 << (row % 8);
        (self.have, self.next) = (self.have + 1, row + 1);
        left.is_empty().then_some(())
    }

    #[inline]
    fn number<const N: usize>(&mut self, row: usize, count: usize, number: [u8; N]) {
        if self.values.is_empty() {
            self.values = vec![0; N * count];
        }
        self.values.as_chunks_mut().0[row] = number;
    }

    /// Ends lists, until there are so many: what was added is of the first of them.
    fn pad_lists(&mut self, count: usize) {
        while self.ends.len() < 4 * count {
            self.ends.extend_from_slice(&(self.texts.count() as u32).to_le_bytes());
        }
    }

    fn finish(mut self, count: usize) -> Option<Column> {
        if self.have == 0 {
            return Some(Column::missing(count));
        }
        let values = match self.kind {
            ValueKind::Int => Values::Ints(self.values.into()),
            ValueKind::Double => Values::Doubles(self.values.into()),
            ValueKind::Bool => Values::Bools(self.values.into()),
            ValueKind::String => {
                self.texts.pad(count);
                Values::Strings(self.texts.texts(count)?)
            }
            ValueKind::StringList => {
                self.pad_lists(count);
                let entries = self.texts.count();
                Values::StringLists { entries: self.texts.texts(entries)?, ends: self.ends.into() }
            }
        };
        let present = if self.have == count { Bytes::new() } else { self.present.into() };
        Some(Column { present, values })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use dovetail::client::value;
    use dovetail_rule::{AttributeType, Row};
    use prost::Message;

    use super::*;
    use crate::{submission, tests::Draws};

    impl Draws {
        fn attributes(&mut self) -> HashMap<String, pb::Value> {
            let all = [
                ("i", value::int(self.below(1 << 32) as i64 - (1 << 31))),
                ("d", value::double(self.below(100) as f64 / 8.0)),
                ("s", value::string(self.text())),
                ("b", value::bool(self.below(2) == 1)),
                ("l", value::string_list((0..self.below(4)).map(|_| self.text()).collect::<Vec<_>>())),
            ];
            let some = all.map(|one| (self.below(4) > 0).then_some(one));
            some.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect()
        }

        fn rows(&mut self, count: u64) -> Vec<pb::Submission> {
            let (with_ttl, with_payload, with_key) = (self.below(2), self.below(2), self.below(2));
            let row = |_| pb::Submission {
                key: self.text(),
                attributes: self.attributes(),
                payload: if with_payload == 1 { self.text().into() } else { Bytes::new() },
                ttl_ms: (with_ttl == 1).then(|| self.below(3) << 40),
                idempotency_key: if with_key == 1 { self.text() } else { String::new() },
            };
            (0..count).map(row).collect()
        }
    }

    fn schema() -> Schema {
        let types = [
            ("s", AttributeType::String),
            ("i", AttributeType::Int),
            ("l", AttributeType::StringList),
            ("nobody", AttributeType::String),
            ("b", AttributeType::Bool),
            ("d", AttributeType::Double),
        ];
        Schema::new(types.map(|(name, of)| (name.to_owned(), of))).unwrap()
    }

    /// Whether rows were read here; then they are what prost says of them.
    fn plain(rows: &Rows) -> bool {
        let schema = schema();
        let Some((columns, clients)) = row_columns(rows, &schema) else { return false };
        let rows = rows.unpacked().expect("what is read here is a message");
        assert!(clients.keys.len() == rows.len() && columns.len() == schema.len());
        for (index, sent) in rows.into_iter().enumerate() {
            let sent = submission(sent).expect("it is a submission");
            let read = Row::from_values(columns.iter().map(|column| column.get(index)));
            // Compared as text: a double that is no number equals none.
            let row = Row::from_named(&schema, sent.attributes).expect("attributes of the schema");
            assert_eq!(format!("{read:?}"), format!("{row:?}"));
            let part = clients.get(index);
            assert_eq!((&*part.key, &part.payload), (&*sent.key, &sent.payload));
            assert_eq!(&*part.idempotency_key, &*sent.idempotency_key);
            assert_eq!(clients.ttls_ms.is_some().then_some(part.ttl_ms), sent.ttl_ms);
        }
        true
    }

    #[test]
    fn plain_rows_are_read_and_say_what_prost_says_of_them() {
        let mut draws = Draws(1);
        for count in (0..40).cycle().take(2_000) {
            assert!(plain(&Rows::of(&draws.rows(count))));
        }
    }

    #[test]
    fn whatever_is_not_plain_is_left_to_prost() {
        let row = |attributes: Vec<(&str, pb::Value)>| pb::Submission {
            attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..pb::Submission::default()
        };
        let none = pb::Value { kind: None };
        for attributes in [vec![("d", value::int(5))], vec![("x", value::int(5))], vec![("i", none)]] {
            assert!(!plain(&Rows::of(&[row(attributes)])));
        }
        let ttl = pb::Submission { ttl_ms: Some(5), ..pb::Submission::default() };
        assert!(plain(&Rows::of(&[ttl.clone(), ttl.clone()])));
        assert!(!plain(&Rows::of(&[ttl.clone(), row(Vec::new())])) && !plain(&Rows::of(&[row(Vec::new()), ttl])));
        let packed = |row: &[&[u8]]| {
            Rows::decode([&[0x0A, row.concat().len() as u8], row.concat().as_slice()].concat().as_slice())
        };
        let int: &[u8] = &[0x12, 7, 0x0A, 1, b'i', 0x12, 2, 0x08, 5];
        assert!(plain(&packed(&[int]).unwrap()));
        // One attribute twice, a key twice, a key that is not UTF-8, a field that nobody knows.
        for row in [&[int, int][..], &[b"\x0A\x01a\x0A\x01b"], &[b"\x0A\x01\xFF"], &[int, &[0x78, 1]]] {
            assert!(!plain(&packed(row).unwrap()), "{row:?}");
        }
    }

    #[test]
    fn rows_of_any_bytes_are_read_as_prost_reads_them_or_left_to_it() {
        let (mut draws, mut read) = (Draws(2), 0);
        for _ in 0..30_000 {
            let count = draws.below(3) + 1;
            let mut bytes = Rows::of(&draws.rows(count)).encode_to_vec();
            for _ in 0..=draws.below(2) {
                let at = draws.below(bytes.len() as u64) as usize;
                match draws.below(3) {
                    0 => bytes[at] = draws.below(256) as u8,
                    1 => bytes[at] ^= 1 << draws.below(8),
                    _ => bytes[at] = bytes[at].wrapping_add(1),
                }
            }
            read += Rows::decode(bytes.as_slice()).is_ok_and(|rows| plain(&rows)) as u32;
        }
        assert!(read > 3_000, "{read}");
    }
}
