//! Batches of submissions on their way to the engine: checked, as columns.

use dovetail_core::{
    Pool,
    batch::{Column, KeySecret, Keyed},
    ledger::{Checked, Client, LedgerLimits, check_columns},
};
use dovetail_rule::{Row, Value, ValueKind};

use super::messages::RowRefused;
use crate::convert::SubmittedColumns;

/// Elements to let in, and those that were refused already.
#[derive(Debug)]
pub(crate) struct Submitting {
    /// How many there are of both.
    pub(crate) count: usize,
    /// None when all were refused.
    pub(crate) batch: Option<Keyed>,
    /// By row of the batch, its place among all; none when the batch is all.
    pub(crate) places: Option<Box<[u32]>>,
    /// By place, ascending.
    pub(crate) refused: Vec<(u32, RowRefused)>,
}

impl Submitting {
    /// From rows of one pool that were checked one by one.
    pub(crate) fn rows(rows: Vec<Result<Checked, RowRefused>>, secret: KeySecret) -> Submitting {
        let count = rows.len();
        let (mut checked, mut places, mut refused) = (Vec::with_capacity(count), Vec::new(), Vec::new());
        for (place, row) in (0..).zip(rows) {
            match row {
                Ok(row) => {
                    checked.push(row);
                    places.push(place);
                }
                Err(why) => refused.push((place, why)),
            }
        }
        let batch = Checked::batch(&checked).map(|batch| Keyed::new(batch, secret));
        let places = (!refused.is_empty()).then(|| places.into());
        Submitting { count, batch, places, refused }
    }

    /// From columns. They mean what the same rows would.
    pub(super) fn columns(columns: &SubmittedColumns, pool: &Pool, limits: &LedgerLimits) -> Submitting {
        let order = order(columns, pool);
        if let Some(order) = &order {
            // The message may be larger than what is kept of it.
            let attribute = |column: &Option<usize>| {
                column.map_or_else(|| Column::missing(columns.count()), |column| columns.column(column).compact())
            };
            let attributes = order.iter().map(attribute).collect();
            if let Some(batch) = check_columns(pool, limits, attributes, columns.clients().compact()) {
                let batch = (!batch.is_empty()).then(|| Keyed::new(batch, limits.key_secret));
                return Submitting { count: columns.count(), batch, places: None, refused: Vec::new() };
            }
        }
        let row = |index| match &order {
            Some(order) => {
                let row = Row::from_values(order.iter().map(|column| columns.value((*column)?, index)));
                row.check(&pool.schema).map(|()| row)
            }
            None => Row::from_named(&pool.schema, named(columns, index)),
        };
        let client = |index| Client {
            key: columns.key(index).into(),
            payload: columns.payload(index),
            ttl_ms: columns.ttl_ms(index),
            idempotency_key: columns.idempotency_key(index).into(),
        };
        let rows = (0..columns.count()).map(|index| Ok(client(index).check(pool, limits, || row(index))?));
        Submitting::rows(rows.collect(), limits.key_secret)
    }
}

/// Which column an attribute of the schema has, if each column is that of an attribute of its kind. Otherwise values are given
/// by name, for their conversions and their errors.
fn order(columns: &SubmittedColumns, pool: &Pool) -> Option<Vec<Option<usize>>> {
    let mut order = vec![None; pool.schema.len()];
    for (column, (name, kind)) in columns.attributes().enumerate() {
        let attribute = pool.schema.index_of(name)?;
        let fits = |found: ValueKind| found == pool.schema.attributes()[attribute].kind;
        if !kind.is_none_or(fits) || order[attribute].replace(column).is_some() {
            return None;
        }
    }
    Some(order)
}

fn named(columns: &SubmittedColumns, index: usize) -> impl Iterator<Item = (String, Value)> + '_ {
    let named = columns.attributes().enumerate();
    named.filter_map(move |(column, (name, _))| Some((name.to_owned(), columns.value(column, index)?)))
}
