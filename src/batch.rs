//! Messages whose weight on the wire says little of what they take unpacked: they are read by hand, so that nothing is
//! unpacked before it was counted.
//!
//! An empty row is two bytes, and 144 once it is unpacked. So rows stay packed until they are looked at, one after the
//! other, and an attribute beyond what any pool has is counted and not kept. To clients these are the messages of
//! `match.proto`, byte by byte. Invariant: batch.M1 a message takes its own size, and 4 bytes a row or 256 a column of
//! those that may be, whatever is in it.

use std::mem;

use bytes::{Buf, BufMut, Bytes};
use dovetail_rule::ATTRIBUTES_MAX;
use prost::{
    DecodeError, Message,
    encoding::{
        DecodeContext, WireType, bytes as byte_strings, encode_key, encode_varint, encoded_len_varint, key_len,
        message, skip_field, uint32,
    },
};

use crate::pb;

/// Most rows of a batch.
pub const ROWS_MAX: usize = 65_536;

/// A batch as rows, each as it was encoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// One after the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
    /// Rows above the most: they are counted, for the refusal.
    beyond: usize,
}

impl Rows {
    /// Packs rows.
    ///
    /// # Panics
    /// When they take 4 GiB, which no message does.
    #[must_use]
    pub fn of(rows: &[pb::Submission]) -> Rows {
        let mut packed = Rows { ends: Vec::with_capacity(rows.len()), ..Rows::default() };
        for row in rows {
            row.encode_raw(&mut packed.bytes);
            packed.end();
        }
        packed
    }

    fn end(&mut self) {
        self.ends.push(u32::try_from(self.bytes.len()).expect("a message is smaller than 4 GiB"));
    }

    /// How many there are, or were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() + self.beyond
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each as it was encoded; of more than [`ROWS_MAX`] the first ones.
    pub fn packed(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        let mut begin = 0;
        self.ends.iter().map(move |&end| &self.bytes[mem::replace(&mut begin, end as usize)..end as usize])
    }

    /// Unpacks all of them.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn unpacked(&self) -> Result<Vec<pb::Submission>, DecodeError> {
        self.packed().map(pb::Submission::decode).collect()
    }
}

/// The key of a packed row, whatever else is in it; empty when there is none that can be read.
#[must_use]
pub fn key_of(row: &[u8]) -> String {
    #[derive(Clone, PartialEq, Message)]
    struct Keyed {
        #[prost(string, tag = "1")]
        key: String,
    }
    Keyed::decode(row).map(|keyed| keyed.key).unwrap_or_default()
}

/// A row at the beginning of a piece of a message, and how many bytes its length takes before it. None where it takes
/// more care.
fn first_row(piece: &[u8]) -> Option<(&[u8], usize)> {
    let (len, before) = match *piece {
        [len @ ..0x80, ..] => (usize::from(len), 1),
        [low, high @ ..0x80, ..] => (usize::from(low & 0x7f) | usize::from(high) << 7, 2),
        _ => return None,
    };
    Some((piece.get(before..before + len)?, before))
}

impl Message for Rows {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for row in self.packed() {
            encode_key(1, WireType::LengthDelimited, buf);
            encode_varint(row.len() as u64, buf);
            buf.put_slice(row);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != 1 {
            return skip_field(wire_type, tag, buf, ctx);
        }
        if self.ends.len() == ROWS_MAX {
            self.beyond += 1;
            return skip_field(wire_type, tag, buf, ctx);
        }
        if self.ends.is_empty() {
            // It is what is left of the message.
            self.bytes.reserve(buf.remaining());
        }
        match first_row(buf.chunk()) {
            Some((row, before)) if wire_type == WireType::LengthDelimited => {
                self.bytes.extend_from_slice(row);
                let taken = before + row.len();
                buf.advance(taken);
            }
            _ => {
                let mut row = Bytes::new();
                byte_strings::merge(wire_type, &mut row, buf, ctx)?;
                self.bytes.extend_from_slice(&row);
            }
        }
        self.end();
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.packed().map(|row| key_len(1) + encoded_len_varint(row.len() as u64) + row.len()).sum()
    }

    fn clear(&mut self) {
        *self = Rows::default();
    }
}

/// A batch as columns, as `match.proto` has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// How many elements.
    pub count: u32,
    /// The key of each.
    pub keys: Option<pb::TextColumn>,
    /// Attributes, each at most once, in any order; of more than any pool has, one more than that.
    pub attributes: Vec<pb::AttributeColumn>,
    /// The payload of each; absent when none has one.
    pub payloads: Option<pb::BytesColumn>,
    /// Time to live of each in milliseconds: 8 bytes each, little-endian. Empty for the pool's default.
    pub ttls_ms: Bytes,
    /// The idempotency key of each, empty for none; absent when none has one.
    pub idempotency_keys: Option<pb::TextColumn>,
}

impl Message for Columns {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        let Columns { count, keys, attributes, payloads, ttls_ms, idempotency_keys } = self;
        if *count != 0 {
            uint32::encode(1, count, buf);
        }
        if let Some(keys) = keys {
            message::encode(2, keys, buf);
        }
        attributes.iter().for_each(|attribute| message::encode(3, attribute, buf));
        if let Some(payloads) = payloads {
            message::encode(4, payloads, buf);
        }
        if !ttls_ms.is_empty() {
            byte_strings::encode(5, ttls_ms, buf);
        }
        if let Some(keys) = idempotency_keys {
            message::encode(6, keys, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => uint32::merge(wire_type, &mut self.count, buf, ctx),
            2 => message::merge(wire_type, self.keys.get_or_insert_default(), buf, ctx),
            // One too many says that there are too many.
            3 if self.attributes.len() > ATTRIBUTES_MAX => skip_field(wire_type, tag, buf, ctx),
            3 => message::merge_repeated(wire_type, &mut self.attributes, buf, ctx),
            4 => message::merge(wire_type, self.payloads.get_or_insert_default(), buf, ctx),
            5 => byte_strings::merge(wire_type, &mut self.ttls_ms, buf, ctx),
            6 => message::merge(wire_type, self.idempotency_keys.get_or_insert_default(), buf, ctx),
            _ => skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let Columns { count, keys, attributes, payloads, ttls_ms, idempotency_keys } = self;
        let text = |tag, column: &Option<pb::TextColumn>| {
            column.as_ref().map_or(0, |column| message::encoded_len(tag, column))
        };
        let count = if *count == 0 { 0 } else { uint32::encoded_len(1, count) };
        let attributes = message::encoded_len_repeated(3, attributes);
        let payloads = payloads.as_ref().map_or(0, |column| message::encoded_len(4, column));
        let ttls_ms = if ttls_ms.is_empty() { 0 } else { byte_strings::encoded_len(5, ttls_ms) };
        count + text(2, keys) + attributes + payloads + ttls_ms + text(6, idempotency_keys)
    }

    fn clear(&mut self) {
        *self = Columns::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(tag_and_nothing: [u8; 2], count: usize) -> Vec<u8> {
        tag_and_nothing.repeat(count)
    }

    #[test]
    fn rows_come_back_as_they_were_and_as_prost_has_them() {
        #[derive(Clone, PartialEq, Message)]
        struct Plain {
            #[prost(message, repeated, tag = "1")]
            rows: Vec<pb::Submission>,
        }
        let row =
            |key: &str| pb::Submission { key: key.to_owned(), payload: vec![7; 300].into(), ..Default::default() };
        let large = pb::Submission { payload: vec![7; 20_000].into(), ..row("eve") };
        let plain = Plain { rows: vec![row("ada"), pb::Submission::default(), row("bob"), large] };
        let rows = Rows::of(&plain.rows);
        assert_eq!(rows.encode_to_vec(), plain.encode_to_vec());
        assert_eq!(rows.encoded_len(), plain.encoded_len());
        let read = Rows::decode(&*plain.encode_to_vec()).unwrap();
        assert_eq!((read.unpacked().unwrap(), read.len()), (plain.rows.clone(), 4));
        // In pieces, as a message may come.
        let bytes = plain.encode_to_vec();
        for at in [1, 2, 100, bytes.len() - 1] {
            assert_eq!(Rows::decode((&bytes[..at]).chain(&bytes[at..])).unwrap(), rows, "{at}");
        }
        assert_eq!(read.packed().map(key_of).collect::<Vec<_>>(), ["ada", "", "bob", "eve"]);
    }

    #[test]
    fn two_million_empty_rows_are_counted_and_not_kept() {
        let read = Rows::decode(&*repeated([0x0A, 0], 2 << 20)).unwrap();
        assert_eq!((read.len(), read.packed().len()), (2 << 20, ROWS_MAX));
        assert!(Rows::decode([0x0A, 5, 0].as_slice()).is_err(), "a row that ends too early");
    }

    #[test]
    fn two_million_empty_attributes_are_not_kept() {
        let read = Columns::decode(&*repeated([0x1A, 0], 2 << 20)).unwrap();
        assert_eq!(read.attributes.len(), ATTRIBUTES_MAX + 1);
    }

    #[test]
    fn columns_come_back_as_they_were() {
        let text = |text: &'static [u8]| Some(pb::TextColumn { text: text.into(), ends: vec![1, 0, 0, 0].into() });
        let attribute = |name: &str| pb::AttributeColumn {
            name: name.to_owned(),
            column: Some(pb::Column { values: Some(pb::column::Values::Bools(vec![1].into())), ..Default::default() }),
        };
        let columns = Columns {
            count: 1,
            keys: text(b"k"),
            attributes: vec![attribute("x"), attribute("y")],
            payloads: Some(pb::BytesColumn { bytes: vec![9; 200].into(), ends: vec![200, 0, 0, 0].into() }),
            ttls_ms: vec![1; 8].into(),
            idempotency_keys: text(b"i"),
        };
        let bytes = columns.encode_to_vec();
        assert_eq!(bytes.len(), columns.encoded_len());
        assert_eq!(Columns::decode(&*bytes).unwrap(), columns);
        assert_eq!((Columns::default().encoded_len(), Columns::decode(&[][..]).unwrap()), (0, Columns::default()));
    }
}
