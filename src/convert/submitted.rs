//! Columnar batches of submissions.

use bytes::Bytes;
use dovetail_rule::{ATTRIBUTES_MAX, NAME_BYTES_MAX, Value, ValueKind};

use super::{
    ConvertError,
    columns::{Attribute, Clients},
};
use crate::pb;

/// A batch whose columns fit each other. What is in them is still to be checked.
#[derive(Debug)]
pub struct SubmittedColumns<'a> {
    count: usize,
    clients: Clients<'a>,
    attributes: Vec<(&'a str, Attribute<'a>)>,
}

impl<'a> SubmittedColumns<'a> {
    /// Checks sizes, ends and texts.
    ///
    /// # Errors
    /// When the columns do not fit each other or the count, or are not what they should be.
    pub fn read(columns: &'a pb::Columns) -> Result<SubmittedColumns<'a>, ConvertError> {
        let pb::Columns { count, keys, attributes, payloads, ttls_ms, idempotency_keys } = columns;
        let count = *count as usize;
        let keys = keys.as_ref().ok_or(ConvertError::Missing("columns.keys"))?;
        // No pool has more, or with longer names; each row would be refused with the name.
        if attributes.len() > ATTRIBUTES_MAX {
            return Err(ConvertError::AttributeColumns { found: attributes.len() });
        }
        let attribute = |sent: &'a pb::AttributeColumn| {
            if sent.name.len() > NAME_BYTES_MAX {
                return Err(ConvertError::AttributeName { found: sent.name.len() });
            }
            let column = sent.column.as_ref().ok_or(ConvertError::Missing("attributes.column"))?;
            let read = Attribute::read(count, column);
            Ok((&*sent.name, read.map_err(|source| ConvertError::AttributeColumn { name: sent.name.clone(), source })?))
        };
        Ok(SubmittedColumns {
            count,
            clients: Clients::read(count, keys, payloads.as_ref(), ttls_ms, idempotency_keys.as_ref())?,
            attributes: attributes.iter().map(attribute).collect::<Result<_, ConvertError>>()?,
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
        self.clients.key(index)
    }

    /// Its payload.
    #[must_use]
    pub fn payload(&self, index: usize) -> Bytes {
        self.clients.payload(index)
    }

    /// Its time to live, if the batch has any.
    #[must_use]
    pub fn ttl_ms(&self, index: usize) -> Option<u64> {
        self.clients.ttl_ms(index)
    }

    /// Its idempotency key, empty for none.
    #[must_use]
    pub fn idempotency_key(&self, index: usize) -> &'a str {
        self.clients.idempotency_key(index)
    }
}
