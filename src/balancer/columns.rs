//! Columnar batches of a `Submit` stream. They mean what the same rows would.

use std::ops::Range;

use dovetail_core::{
    Pool,
    ledger::{Checked, Client, LedgerLimits, Submission},
};
use dovetail_rule::{Row, ValueKind};

use super::messages::RowRefused;
use crate::{
    convert::{ConvertError, SubmittedColumns},
    pb,
};

/// A batch whose columns fit each other.
pub(super) struct ColumnBatch<'a>(SubmittedColumns<'a>);

impl<'a> ColumnBatch<'a> {
    pub(super) fn read(columns: &'a pb::Columns) -> Result<ColumnBatch<'a>, ConvertError> {
        SubmittedColumns::read(columns).map(ColumnBatch)
    }

    pub(super) fn rows(&self) -> Range<usize> {
        0..self.0.count()
    }

    /// Checks every row, in order.
    pub(super) fn check(&self, pool: &Pool, limits: &LedgerLimits) -> Vec<Result<Checked, RowRefused>> {
        let Some(order) = self.order(pool) else {
            return self.rows().map(|row| Ok(self.submission(row).check(pool, limits)?)).collect();
        };
        let row = |index| {
            let row = Row::from_values(order.iter().map(|column| self.0.value((*column)?, index)));
            row.check(&pool.schema).map(|()| row)
        };
        self.rows().map(|index| Ok(self.client(index).check(pool, limits, || row(index))?)).collect()
    }

    /// Which column an attribute of the schema has, if each column is that of an attribute of its kind. Otherwise rows are made
    /// of the batch, for their conversions and their errors.
    fn order(&self, pool: &Pool) -> Option<Vec<Option<usize>>> {
        let mut order = vec![None; pool.schema.len()];
        for (column, (name, kind)) in self.0.attributes().enumerate() {
            let attribute = pool.schema.index_of(name)?;
            let fits = |found: ValueKind| found == pool.schema.attributes()[attribute].kind;
            if !kind.is_none_or(fits) || order[attribute].replace(column).is_some() {
                return None;
            }
        }
        Some(order)
    }

    fn client(&self, index: usize) -> Client {
        Client {
            key: self.0.key(index).into(),
            payload: self.0.payload(index),
            ttl_ms: self.0.ttl_ms(index),
            idempotency_key: self.0.idempotency_key(index).into(),
        }
    }

    fn submission(&self, index: usize) -> Submission {
        let attributes = self.0.attributes().enumerate();
        let value = |(column, (name, _)): (usize, (&str, _))| Some((name.to_owned(), self.0.value(column, index)?));
        Submission {
            key: self.0.key(index).to_owned(),
            attributes: attributes.filter_map(value).collect(),
            payload: self.0.payload(index),
            ttl_ms: self.0.ttl_ms(index),
            idempotency_key: self.0.idempotency_key(index).to_owned(),
        }
    }
}
