//! Columns of rows that are picked from several batches: what of each column is looked at once for all rows of a batch.

use bytes::Bytes;
use dovetail_rule::{CellValues, Cells, ValueKind};

use super::{
    Batch, Column, StringsWriter, Values,
    column::{Presence, list_range, push_end},
};

/// Some rows of a batch, in order.
#[derive(Clone, Debug)]
pub struct PickedRows<'a> {
    /// The batch.
    pub batch: &'a Batch,
    /// Which of its rows.
    pub rows: Vec<u32>,
}

impl PickedRows<'_> {
    /// Whether they are all that the batch has.
    fn is_all(&self) -> bool {
        self.rows.len() == self.batch.len() && self.rows.iter().zip(0..).all(|(&row, at)| row == at)
    }
}

/// The attributes of rows that are picked from batches of one pool, in the order given.
#[must_use]
pub fn pick_rows(picked: &[PickedRows<'_>]) -> Vec<Column> {
    let Some(first) = picked.first() else { return Vec::new() };
    if let ([all], true) = (picked, first.is_all()) {
        return all.batch.attributes().to_vec();
    }
    (0..first.batch.attributes().len()).map(|attribute| Column::pick_rows(picked, attribute)).collect()
}

impl Column {
    /// One attribute of rows that are picked from batches.
    fn pick_rows(picked: &[PickedRows<'_>], attribute: usize) -> Column {
        let of = || picked.iter().map(|picked| (&picked.batch.attributes()[attribute], &*picked.rows));
        let count = picked.iter().map(|picked| picked.rows.len()).sum();
        let (present, kind) = presence(of(), count);
        let numbers = |words: fn(&Values) -> Option<&Bytes>| {
            let mut numbers = Vec::with_capacity(8 * count);
            for (column, rows) in of() {
                match words(&column.values) {
                    Some(words) => {
                        let words = words.as_chunks::<8>().0;
                        rows.iter().for_each(|&row| numbers.extend_from_slice(&words[row as usize]));
                    }
                    // One that has not the attribute may be of a column that has no values at all.
                    None => numbers.resize(numbers.len() + 8 * rows.len(), 0),
                }
            }
            Bytes::from(numbers)
        };
        let values = match kind {
            None => Values::None,
            Some(ValueKind::Int) => Values::Ints(numbers(|values| match values {
                Values::Ints(ints) => Some(ints),
                _ => None,
            })),
            Some(ValueKind::Double) => Values::Doubles(numbers(|values| match values {
                Values::Doubles(doubles) => Some(doubles),
                _ => None,
            })),
            Some(ValueKind::Bool) => {
                let mut bytes = Vec::with_capacity(count);
                for (column, rows) in of() {
                    match &column.values {
                        Values::Bools(bools) => bytes.extend(rows.iter().map(|&row| bools[row as usize])),
                        _ => bytes.resize(bytes.len() + rows.len(), 0),
                    }
                }
                Values::Bools(bytes.into())
            }
            Some(ValueKind::String) => {
                let mut texts = StringsWriter::default();
                for (column, rows) in of() {
                    match &column.values {
                        Values::Strings(of) => rows.iter().for_each(|&row| texts.push(of.get(row as usize))),
                        _ => rows.iter().for_each(|_| texts.push(b"")),
                    }
                }
                Values::Strings(texts.finish())
            }
            Some(ValueKind::StringList) => {
                let (mut into, mut into_ends) = (StringsWriter::default(), Vec::with_capacity(4 * count));
                for (column, rows) in of() {
                    for &row in rows {
                        if let Values::StringLists { entries, ends } = &column.values {
                            list_range(ends, row as usize).for_each(|entry| into.push(entries.get(entry)));
                        }
                        push_end(&mut into_ends, into.count());
                    }
                }
                Values::StringLists { entries: into.finish(), ends: into_ends.into() }
            }
        };
        Column { present, values }
    }

    /// A view of it.
    pub(crate) fn cells(&self) -> Cells<'_> {
        let values = match &self.values {
            Values::None => CellValues::None,
            Values::Ints(ints) => CellValues::Ints(ints.as_chunks().0),
            Values::Doubles(doubles) => CellValues::Doubles(doubles.as_chunks().0),
            Values::Bools(bools) => CellValues::Bools(bools),
            Values::Strings(texts) => CellValues::Texts { text: &texts.bytes, ends: texts.ends.as_chunks().0 },
            Values::StringLists { .. } => CellValues::Lists,
        };
        Cells { present: &self.present, values }
    }
}

/// Which of the rows have the attribute, and the kind of its values if one has.
fn presence<'a>(
    picked: impl Iterator<Item = (&'a Column, &'a [u32])> + Clone,
    count: usize,
) -> (Bytes, Option<ValueKind>) {
    let full = |(column, rows): (&Column, &[u32])| rows.is_empty() || column.present.is_empty();
    if count > 0 && picked.clone().all(full) {
        let kind = picked.filter(|(_, rows)| !rows.is_empty()).find_map(|(column, _)| column.kind());
        return (Bytes::new(), kind);
    }
    let (mut present, mut kind, mut at) = (Presence::new(count), None, 0);
    for (column, rows) in picked {
        for &row in rows {
            if column.has(row as usize) {
                present.set(at);
                kind = kind.or_else(|| column.kind());
            }
            at += 1;
        }
    }
    (present.finish(), kind)
}

#[cfg(test)]
mod tests {
    use dovetail_rule::{Row, Value};

    use super::*;
    use crate::{
        PoolId,
        batch::{ClientPart, pick_columns},
    };

    fn batch(number: u64, count: u64) -> Batch {
        let value = |kind: u64, n: u64| match kind {
            0 => Value::Int(n as i64 - 3),
            1 => Value::Double(n as f64 / 4.0),
            2 => Value::Bool(n.is_multiple_of(2)),
            3 => Value::String(format!("é{n}").into()),
            _ => Value::StringList((0..n % 3).map(|entry| format!("t{entry}").into()).collect()),
        };
        // Attribute 5 is of all, attribute 6 of none, the others of some or, in some batches, of none.
        let row = |n: u64| {
            let some =
                |kind: u64| (!(number * 3 + n + kind).is_multiple_of(3) && number % 4 != kind).then(|| value(kind, n));
            Row::from_values((0..5).map(some).chain([Some(Value::Int(9)), None]))
        };
        let rows: Vec<Row> = (0..count).map(row).collect();
        let client = ClientPart {
            key: "k".into(),
            payload: Bytes::new(),
            ttl_ms: 0,
            idempotency_key: "".into(),
            owner: "".into(),
        };
        Batch::of(PoolId(0), &rows.iter().map(|row| (row, &client)).collect::<Vec<_>>())
    }

    #[test]
    fn rows_of_several_batches_are_picked_as_one_by_one() {
        let batches: Vec<Batch> = (1..7).map(|number| batch(number, 4 * number)).collect();
        for choice in 0..400_u64 {
            let chosen = |number: usize, row: u32| {
                !(u64::from(row) * 7 + number as u64 * 3 + choice).is_multiple_of(1 + choice % 5)
            };
            let picked: Vec<PickedRows<'_>> = batches
                .iter()
                .enumerate()
                .filter(|(number, _)| choice >> number & 1 == 1)
                .map(|(number, batch)| PickedRows {
                    batch,
                    rows: (0..batch.len() as u32).filter(|&row| choice < 64 || chosen(number, row)).collect(),
                })
                .collect();
            let one_by_one: Vec<(&Batch, usize)> =
                picked.iter().flat_map(|picked| picked.rows.iter().map(|&row| (picked.batch, row as usize))).collect();
            if !one_by_one.is_empty() {
                assert_eq!(pick_rows(&picked), pick_columns(one_by_one.iter().copied()), "choice {choice}");
            }
        }
    }
}
