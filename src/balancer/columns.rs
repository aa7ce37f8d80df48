//! Columnar batches of a `Submit` stream. They mean what the same rows would.

use dovetail_core::{
    Pool,
    ledger::{Checked, Client, LedgerLimits},
};
use dovetail_rule::{Row, RowError, Value, ValueKind};

use super::messages::RowRefused;
use crate::convert::SubmittedColumns;

/// Checks every element of a batch, in order.
pub(super) fn check(
    columns: &SubmittedColumns<'_>,
    pool: &Pool,
    limits: &LedgerLimits,
) -> Vec<Result<Checked, RowRefused>> {
    let order = order(columns, pool);
    let row = |index| match &order {
        Some(order) => in_order(columns, pool, order, index),
        None => Row::from_named(&pool.schema, named(columns, index)),
    };
    let client = |index| Client {
        key: columns.key(index).into(),
        payload: columns.payload(index),
        ttl_ms: columns.ttl_ms(index),
        idempotency_key: columns.idempotency_key(index).into(),
    };
    (0..columns.count()).map(|index| Ok(client(index).check(pool, limits, || row(index))?)).collect()
}

/// Which column an attribute of the schema has, if each column is that of an attribute of its kind. Otherwise values are given
/// by name, for their conversions and their errors.
fn order(columns: &SubmittedColumns<'_>, pool: &Pool) -> Option<Vec<Option<usize>>> {
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

fn in_order(
    columns: &SubmittedColumns<'_>,
    pool: &Pool,
    order: &[Option<usize>],
    index: usize,
) -> Result<Row, RowError> {
    let row = Row::from_values(order.iter().map(|column| columns.value((*column)?, index)));
    row.check(&pool.schema).map(|()| row)
}

fn named<'a>(columns: &'a SubmittedColumns<'_>, index: usize) -> impl Iterator<Item = (String, Value)> + 'a {
    let named = columns.attributes().enumerate();
    named.filter_map(move |(column, (name, _))| Some((name.to_owned(), columns.value(column, index)?)))
}
