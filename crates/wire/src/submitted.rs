//! Columnar batches of submissions.

use bytes::Bytes;
use dovetail_core::batch::{ClientColumns, Column};
use dovetail_rule::{ATTRIBUTES_MAX, NAME_BYTES_MAX, Value, ValueKind};

use super::clients;
use super::error::ConvertError;
use dovetail::{columns, pb};

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

#[cfg(test)]
mod tests {
    use dovetail::client::{Columns, value};

    use super::*;

    fn row(key: &str, attributes: Vec<(&str, pb::Value)>) -> pb::Submission {
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        pb::Submission { key: key.to_owned(), attributes, ..pb::Submission::default() }
    }

    #[test]
    fn rows_as_columns_say_the_same() {
        let mut rows = vec![
            row("a", vec![("n", value::int(-5)), ("s", value::string("x")), ("l", value::string_list(["p", "q"]))]),
            row("bé", vec![("d", value::double(0.5)), ("b", value::bool(true))]),
            row("c", vec![("n", value::int(i64::MAX)), ("s", value::string("")), ("l", value::string_list([""; 0]))]),
        ];
        rows[1].payload = vec![1, 2, 3].into();
        rows[2].idempotency_key = "once".to_owned();
        let columns = Columns::of(&rows).unwrap().into();
        let read = SubmittedColumns::read(columns).unwrap();
        let names: Vec<&str> = read.attributes().map(|(name, _)| name).collect();
        for (index, row) in rows.iter().enumerate() {
            assert_eq!(read.key(index), row.key);
            assert_eq!(read.payload(index), row.payload);
            assert_eq!(read.idempotency_key(index), row.idempotency_key);
            assert_eq!(read.ttl_ms(index), None);
            for (column, name) in names.iter().enumerate() {
                let sent = row.attributes.get(*name).map(|value| columns::value(value.clone()).unwrap());
                assert_eq!(read.value(column, index), sent, "{name} of {index}");
            }
        }
    }

    #[test]
    fn a_batch_is_built_column_by_column() {
        let built = Columns::new(["a", "b"])
            .ints("i", [1, 2])
            .doubles("d", [0.5, 1.5])
            .bools("b", [true, false])
            .strings("s", ["x", "y"])
            .optional_ints("oi", [None, Some(7)])
            .optional_strings("os", [Some("z"), None])
            .string_lists("l", [Some(vec!["p"]), None])
            .payloads([b"one".as_slice(), b""])
            .ttls_ms([5, 0]);
        let read = SubmittedColumns::read(built.into()).unwrap();
        let values = |index| (0..7).map(|column| read.value(column, index)).collect::<Vec<_>>();
        let text = |text: &str| Some(Value::String(text.into()));
        let list = Some(Value::StringList(["p".into()].into()));
        let first =
            [Some(Value::Int(1)), Some(Value::Double(0.5)), Some(Value::Bool(true)), text("x"), None, text("z")];
        assert_eq!(values(0), first.into_iter().chain([list]).collect::<Vec<_>>());
        let second =
            [Some(Value::Int(2)), Some(Value::Double(1.5)), Some(Value::Bool(false)), text("y"), Some(Value::Int(7))];
        assert_eq!(values(1), second.into_iter().chain([None, None]).collect::<Vec<_>>());
        assert_eq!((read.ttl_ms(0), read.payload(0)), (Some(5), b"one".as_slice().into()));
    }
}
