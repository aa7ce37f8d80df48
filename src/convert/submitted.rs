//! Columnar batches of submissions.

use bytes::Bytes;
use dovetail_core::batch::{ClientColumns, Column};
use dovetail_rule::{ATTRIBUTES_MAX, NAME_BYTES_MAX, Value, ValueKind};

use super::{ConvertError, clients};
use crate::{columns, pb};

/// A batch whose columns fit each other. What is in them is still to be checked.
#[derive(Debug)]
pub struct SubmittedColumns {
    count: usize,
    clients: ClientColumns,
    attributes: Vec<(String, Column)>,
}

impl SubmittedColumns {
    /// Checks sizes, ends and texts.
    ///
    /// # Errors
    /// When the columns do not fit each other or the count, or are not what they should be.
    pub fn read(sent: pb::Columns) -> Result<SubmittedColumns, ConvertError> {
        let pb::Columns { count, keys, attributes, payloads, ttls_ms, idempotency_keys } = sent;
        let count = count as usize;
        let keys = keys.ok_or(ConvertError::Missing("columns.keys"))?;
        // No pool has more, or with longer names; each row would be refused with the name.
        if attributes.len() > ATTRIBUTES_MAX {
            return Err(ConvertError::AttributeColumns { found: attributes.len() });
        }
        let attribute = |sent: pb::AttributeColumn| {
            let name = sent.name;
            if name.len() > NAME_BYTES_MAX {
                return Err(ConvertError::AttributeName { found: name.len() });
            }
            let column = sent.column.ok_or(ConvertError::Missing("attributes.column"))?;
            match columns::column(count, &column) {
                Ok(column) => Ok((name, column)),
                Err(source) => Err(ConvertError::AttributeColumn { name, source }),
            }
        };
        Ok(SubmittedColumns {
            count,
            // Who submits is not for the client to say.
            clients: clients::clients(count, &keys, payloads.as_ref(), &ttls_ms, idempotency_keys.as_ref(), None)?,
            attributes: attributes.into_iter().map(attribute).collect::<Result<_, ConvertError>>()?,
        })
    }

    /// How many elements.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The attributes that have a column, each with the kind of its values if it has any.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Option<ValueKind>)> {
        self.attributes.iter().map(|(name, column)| (&**name, column.kind()))
    }

    /// The column with that number.
    #[must_use]
    pub fn column(&self, column: usize) -> &Column {
        &self.attributes[column].1
    }

    /// The value of an element in the column with that number.
    #[must_use]
    pub fn value(&self, column: usize, index: usize) -> Option<Value> {
        self.attributes[column].1.get(index)
    }

    /// All there is beside the attributes.
    #[must_use]
    pub fn clients(&self) -> &ClientColumns {
        &self.clients
    }

    /// Its key.
    #[must_use]
    pub fn key(&self, index: usize) -> &str {
        self.clients.keys.text(index)
    }

    /// A copy of its payload.
    #[must_use]
    pub fn payload(&self, index: usize) -> Bytes {
        Bytes::copy_from_slice(self.clients.payload(index))
    }

    /// Its time to live, if the batch has any.
    #[must_use]
    pub fn ttl_ms(&self, index: usize) -> Option<u64> {
        self.clients.ttls_ms.as_ref().map(|_| self.clients.ttl_ms(index))
    }

    /// Its idempotency key, empty for none.
    #[must_use]
    pub fn idempotency_key(&self, index: usize) -> &str {
        self.clients.idempotency_keys.as_ref().map_or("", |keys| keys.text(index))
    }
}
