//! Batches of elements as columns: one run of values per attribute, which costs a fraction of a map per element.

use std::collections::BTreeMap;

use dovetail_core::batch::{Column, StringsWriter, column::numbers as packed};
use dovetail_rule::{ATTRIBUTES_MAX, NAME_BYTES_MAX, Value};

use crate::{
    columns::{self, byte_strings_pb, column_pb, texts_pb},
    pb,
};

/// A batch of elements, column by column. Columns have a value for each key, in the order of the keys.
///
/// ```
/// use dovetail::client::Columns;
///
/// let riders = Columns::new(["rider-1", "rider-2"]).ints("cell", [17, 230]).optional_doubles("stars", [Some(4.5), None]);
/// assert_eq!(riders.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Columns(pb::Columns);

impl Columns {
    /// Elements with these keys.
    #[must_use]
    pub fn new<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Columns {
        let keys = texts(keys).finish();
        let count = u32::try_from(keys.len()).expect("a message has fewer elements");
        Columns(pb::Columns { count, keys: Some(texts_pb(&keys)), ..pb::Columns::default() })
    }

    /// How many elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.count == 0
    }

    /// An int attribute that each has.
    #[must_use]
    pub fn ints(self, name: &str, values: impl IntoIterator<Item = i64>) -> Columns {
        let bytes = packed(values.into_iter().map(i64::to_le_bytes));
        self.column(name, all_have(pb::column::Values::Ints(bytes)))
    }

    /// A double attribute that each has.
    #[must_use]
    pub fn doubles(self, name: &str, values: impl IntoIterator<Item = f64>) -> Columns {
        let bytes = packed(values.into_iter().map(f64::to_le_bytes));
        self.column(name, all_have(pb::column::Values::Doubles(bytes)))
    }

    /// A bool attribute that each has.
    #[must_use]
    pub fn bools(self, name: &str, values: impl IntoIterator<Item = bool>) -> Columns {
        let bytes = packed(values.into_iter().map(|value| [u8::from(value)]));
        self.column(name, all_have(pb::column::Values::Bools(bytes)))
    }

    /// A string attribute that each has.
    #[must_use]
    pub fn strings<S: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = S>) -> Columns {
        self.column(name, all_have(pb::column::Values::Strings(texts_pb(&texts(values).finish()))))
    }

    /// An int attribute that some have.
    #[must_use]
    pub fn optional_ints(self, name: &str, values: impl IntoIterator<Item = Option<i64>>) -> Columns {
        self.optional(name, values.into_iter().map(|value| value.map(Value::Int)))
    }

    /// A double attribute that some have.
    #[must_use]
    pub fn optional_doubles(self, name: &str, values: impl IntoIterator<Item = Option<f64>>) -> Columns {
        self.optional(name, values.into_iter().map(|value| value.map(Value::Double)))
    }

    /// A bool attribute that some have.
    #[must_use]
    pub fn optional_bools(self, name: &str, values: impl IntoIterator<Item = Option<bool>>) -> Columns {
        self.optional(name, values.into_iter().map(|value| value.map(Value::Bool)))
    }

    /// A string attribute that some have.
    #[must_use]
    pub fn optional_strings<S: Into<String>>(self, name: &str, values: impl IntoIterator<Item = Option<S>>) -> Columns {
        self.optional(name, values.into_iter().map(|value| Some(Value::String(value?.into().into()))))
    }

    /// An attribute that is a list of strings. None for those that do not have it.
    #[must_use]
    pub fn string_lists<S: Into<String>, L: IntoIterator<Item = S>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = Option<L>>,
    ) -> Columns {
        let list = |list: L| Value::StringList(list.into_iter().map(|entry| entry.into().into()).collect());
        self.optional(name, values.into_iter().map(|value| value.map(list)))
    }

    /// The payload of each, empty for none.
    #[must_use]
    pub fn payloads<B: AsRef<[u8]>>(mut self, payloads: impl IntoIterator<Item = B>) -> Columns {
        self.0.payloads =
            payloads.into_iter().collect::<StringsWriter>().finish_if_any().map(|payloads| byte_strings_pb(&payloads));
        self
    }

    /// The time to live of each in milliseconds, 0 for none, in place of the pool's.
    #[must_use]
    pub fn ttls_ms(mut self, ttls_ms: impl IntoIterator<Item = u64>) -> Columns {
        self.0.ttls_ms = packed(ttls_ms.into_iter().map(u64::to_le_bytes));
        self
    }

    /// The idempotency key of each, empty for none.
    #[must_use]
    pub fn idempotency_keys<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Columns {
        self.0.idempotency_keys = texts(keys).finish_if_any().map(|keys| texts_pb(&keys));
        self
    }

    /// The same elements as columns; none when they cannot be: values of one attribute are of several types, a value
    /// has no type, some but not all bring their own time to live, or there are more attributes, or longer names, than
    /// a pool can have.
    #[must_use]
    pub fn of(rows: &[pb::Submission]) -> Option<Columns> {
        let with_ttl = rows.iter().filter(|row| row.ttl_ms.is_some()).count();
        if with_ttl > 0 && with_ttl < rows.len() {
            return None;
        }
        let mut attributes: BTreeMap<&str, Vec<Option<&pb::Value>>> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            for (name, value) in &row.attributes {
                let values = attributes.entry(name).or_insert_with(|| Vec::with_capacity(rows.len()));
                values.resize(index, None);
                values.push(Some(value));
            }
        }
        if attributes.len() > ATTRIBUTES_MAX || attributes.keys().any(|name| name.len() > NAME_BYTES_MAX) {
            return None;
        }
        let mut columns = Columns::new(rows.iter().map(|row| &row.key))
            .payloads(rows.iter().map(|row| &row.payload))
            .idempotency_keys(rows.iter().map(|row| &row.idempotency_key));
        if with_ttl > 0 {
            columns = columns.ttls_ms(rows.iter().filter_map(|row| row.ttl_ms));
        }
        for (name, mut values) in attributes {
            values.resize(rows.len(), None);
            columns = columns.column(name, typed(&values)?);
        }
        Some(columns)
    }

    fn optional(self, name: &str, values: impl Iterator<Item = Option<Value>>) -> Columns {
        let values: Vec<Option<Value>> = values.collect();
        self.column(name, column_pb(&Column::of(values.iter().map(Option::as_ref))))
    }

    fn column(mut self, name: &str, column: pb::Column) -> Columns {
        self.0.attributes.push(pb::AttributeColumn { name: name.to_owned(), column: Some(column) });
        self
    }
}

impl From<Columns> for pb::Columns {
    /// As it is sent.
    fn from(columns: Columns) -> pb::Columns {
        columns.0
    }
}

fn texts<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> StringsWriter {
    let mut writer = StringsWriter::default();
    texts.into_iter().for_each(|text| writer.push(text.as_ref().as_bytes()));
    writer
}

/// A column of an attribute that every element has.
fn all_have(values: pb::column::Values) -> pb::Column {
    pb::Column { present: Vec::new().into(), values: Some(values) }
}

/// A column of values that are all of one type.
fn typed(values: &[Option<&pb::Value>]) -> Option<pb::Column> {
    use pb::value::Kind;
    // The common ones without a copy of each value.
    let numbers = |number: &dyn Fn(&Kind) -> Option<[u8; 8]>| {
        let mut bytes = Vec::with_capacity(values.len() * 8);
        for value in values {
            bytes.extend_from_slice(&number((*value)?.kind.as_ref()?)?);
        }
        Some(bytes.into())
    };
    let ints = |kind: &Kind| if let Kind::IntValue(int) = kind { Some(int.to_le_bytes()) } else { None };
    let doubles = |kind: &Kind| if let Kind::DoubleValue(double) = kind { Some(double.to_le_bytes()) } else { None };
    if let Some(ints) = numbers(&ints) {
        return Some(all_have(pb::column::Values::Ints(ints)));
    }
    if let Some(doubles) = numbers(&doubles) {
        return Some(all_have(pb::column::Values::Doubles(doubles)));
    }
    let core = |value: &Option<&pb::Value>| match value {
        None => Some(None),
        Some(value) => columns::value((*value).clone()).map(Some),
    };
    let values: Vec<Option<Value>> = values.iter().map(core).collect::<Option<_>>()?;
    let mut kinds = values.iter().flatten().map(Value::kind);
    let first = kinds.next()?;
    kinds.all(|kind| kind == first).then(|| column_pb(&Column::of(values.iter().map(Option::as_ref))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::value;

    fn row(key: &str, attributes: Vec<(&str, pb::Value)>) -> pb::Submission {
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        pb::Submission { key: key.to_owned(), attributes, ..pb::Submission::default() }
    }

    #[test]
    fn rows_that_no_column_can_hold_stay_rows() {
        let mixed = [row("a", vec![("n", value::int(1))]), row("b", vec![("n", value::double(1.0))])];
        assert_eq!(Columns::of(&mixed), None);
        assert_eq!(Columns::of(&[row("a", vec![("n", pb::Value { kind: None })])]), None);
        let ttl = pb::Submission { ttl_ms: Some(5), ..row("b", vec![]) };
        assert_eq!(Columns::of(&[row("a", vec![]), ttl.clone()]), None);
        assert!(Columns::of(&[ttl]).is_some());
        assert_eq!(Columns::of(&[row("a", vec![(&*"n".repeat(65), value::int(1))])]), None);
    }
}
