//! Columnar batches of submissions.

use bytes::Bytes;
use dovetail_rule::{ATTRIBUTES_MAX, NAME_BYTES_MAX, Value, ValueKind};

use super::{
    ConvertError,
    columns::{Attribute, ByteStrings, Texts, fixed},
};
use crate::pb;

/// A batch whose columns fit each other. What is in them is still to be checked.
#[derive(Debug)]
pub struct SubmittedColumns<'a> {
    count: usize,
    keys: Texts<'a>,
    attributes: Vec<(&'a str, Attribute<'a>)>,
    payloads: Option<ByteStrings<'a>>,
    ttls_ms: Option<&'a [[u8; 8]]>,
    idempotency_keys: Option<Texts<'a>>,
}

impl<'a> SubmittedColumns<'a> {
    /// Checks sizes, ends and texts.
    ///
    /// # Errors
    /// When the columns do not fit each other or the count, or are not what they should be.
    pub fn read(columns: &'a pb::Columns) -> Result<SubmittedColumns<'a>, ConvertError> {
        let count = columns.count as usize;
        let named = |name: &'static str| move |source| ConvertError::AttributeColumn { name: name.to_owned(), source };
        let keys = columns.keys.as_ref().ok_or(ConvertError::Missing("columns.keys"))?;
        // No pool has more, or with longer names; each row would be refused with the name.
        if columns.attributes.len() > ATTRIBUTES_MAX {
            return Err(ConvertError::AttributeColumns { found: columns.attributes.len() });
        }
        let attribute = |sent: &'a pb::AttributeColumn| {
            if sent.name.len() > NAME_BYTES_MAX {
                return Err(ConvertError::AttributeName { found: sent.name.len() });
            }
            let column = sent.column.as_ref().ok_or(ConvertError::Missing("attributes.column"))?;
            let read = Attribute::read(count, column);
            Ok((&*sent.name, read.map_err(|source| ConvertError::AttributeColumn { name: sent.name.clone(), source })?))
        };
        let payloads = columns.payloads.as_ref().map(|column| ByteStrings::read(count, column));
        let ttls_ms = (!columns.ttls_ms.is_empty()).then(|| fixed::<8>("ttls_ms", count, &columns.ttls_ms));
        let idempotency_keys = columns.idempotency_keys.as_ref().map(|column| Texts::read(count, column));
        Ok(SubmittedColumns {
            count,
            keys: Texts::read(count, keys).map_err(named("keys"))?,
            attributes: columns.attributes.iter().map(attribute).collect::<Result<_, ConvertError>>()?,
            payloads: payloads.transpose().map_err(named("payloads"))?,
            ttls_ms: ttls_ms.transpose().map_err(named("ttls_ms"))?,
            idempotency_keys: idempotency_keys.transpose().map_err(named("idempotency_keys"))?,
        })
    }

    /// How many elements.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The attributes that have a column, each with the kind of its values if it has any.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, Option<ValueKind>)> {
        self.attributes.iter().map(|(name, column)| (*name, column.kind()))
    }

    /// The value of an element in the column with that number.
    #[must_use]
    pub fn value(&self, column: usize, index: usize) -> Option<Value> {
        self.attributes[column].1.get(index)
    }

    /// Its key.
    #[must_use]
    pub fn key(&self, index: usize) -> &'a str {
        self.keys.get(index)
    }

    /// Its payload.
    #[must_use]
    pub fn payload(&self, index: usize) -> Bytes {
        self.payloads.map_or_else(Bytes::new, |payloads| payloads.get(index))
    }

    /// Its time to live, if the batch has any.
    #[must_use]
    pub fn ttl_ms(&self, index: usize) -> Option<u64> {
        self.ttls_ms.map(|ttls_ms| u64::from_le_bytes(ttls_ms[index]))
    }

    /// Its idempotency key, empty for none.
    #[must_use]
    pub fn idempotency_key(&self, index: usize) -> &'a str {
        self.idempotency_keys.map_or("", |keys| keys.get(index))
    }
}
