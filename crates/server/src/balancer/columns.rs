//! Batches of submissions on their way to the engine: checked, as columns.

use dovetail_core::{
    Pool,
    batch::{Batch, Column, KeySecret, Keyed},
    ledger::{Checked, ClientFields, LedgerLimits, check_columns},
};
use dovetail_rule::{Row, Value, ValueKind};

use tokio::sync::OwnedSemaphorePermit;

use super::{refusals::Refusals, refused::RowRefused};
use crate::{caller::ClientId, rpc::Share};
use dovetail::batch::Rows;
use dovetail_wire::SubmittedColumns;

/// Rows that are unpacked and checked before they become part of a batch.
const ROWS_AT_A_TIME: usize = 1024;
/// Rows that are checked before others go on.
const ROWS_A_TURN: u32 = 256;

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
    pub(crate) refused: Refusals,
}

/// The bytes that a submission may take of those that may wait for the engine.
#[derive(Debug)]
pub(crate) struct Room {
    /// Of its client, and of all: until it is handled, or held.
    pub(crate) on_the_way: Option<Share>,
    /// Of its stream: until it is answered. So a stream that is held is read no further.
    pub(crate) _of_stream: Option<OwnedSemaphorePermit>,
    /// As it was encoded.
    pub(crate) bytes: usize,
    /// Whose it is; none within the process.
    pub(crate) client: Option<ClientId>,
}

impl Submitting {
    /// The client that submits all of it; empty where clients are not authenticated.
    pub(super) fn owned_by(mut self, owner: &str) -> Submitting {
        if !owner.is_empty() {
            self.batch = self.batch.map(|batch| batch.owned_by(owner));
        }
        self
    }

    /// From rows, straight into columns. None when any is to be refused, or takes more care: then they are read one by
    /// one, for the reasons.
    pub(super) fn rows(rows: &Rows, pool: &Pool, limits: &LedgerLimits) -> Option<Submitting> {
        let (attributes, clients) = dovetail_wire::row_columns(rows, &pool.schema)?;
        let batch = check_columns(pool, limits, attributes, clients)?;
        let batch = (!batch.is_empty()).then(|| Keyed::new(batch, limits.key_secret));
        Some(Submitting { count: rows.len(), batch, places: None, refused: Refusals::default() })
    }

    /// From columns. They mean what the same rows would.
    pub(super) async fn columns(columns: &SubmittedColumns, pool: &Pool, limits: &LedgerLimits) -> Submitting {
        let order = order(columns, pool);
        if let Some(order) = &order {
            // The message may be larger than what is kept of it.
            let attribute = |column: &Option<usize>| {
                column.map_or_else(|| Column::missing(columns.count()), |column| columns.column(column).compact())
            };
            let attributes = order.iter().map(attribute).collect();
            if let Some(batch) = check_columns(pool, limits, attributes, columns.clients().compact()) {
                let batch = (!batch.is_empty()).then(|| Keyed::new(batch, limits.key_secret));
                return Submitting { count: columns.count(), batch, places: None, refused: Refusals::default() };
            }
        }
        let row = |index| match &order {
            Some(order) => {
                let row = Row::from_values(order.iter().map(|column| columns.value((*column)?, index)));
                row.check(&pool.schema).map(|()| row)
            }
            None => Row::from_named(&pool.schema, named(columns, index)),
        };
        let client = |index| ClientFields {
            key: columns.key(index).into(),
            payload: columns.payload(index),
            ttl_ms: columns.ttl_ms(index),
            idempotency_key: columns.idempotency_key(index).into(),
        };
        let mut rows = Checking::default();
        for index in 0..columns.count() {
            rows.push(client(index).check(pool, limits, || row(index)).map_err(Into::into)).await;
        }
        rows.finish(limits.key_secret)
    }
}

/// Rows of one pool that are checked one by one. A row takes far more than its part of a batch, above all where a pool
/// has many attributes: so few of them are there at a time. And checking many takes a while, so that others go on in
/// between.
#[derive(Debug, Default)]
pub(super) struct Checking {
    count: u32,
    checked: Vec<Checked>,
    parts: Vec<Batch>,
    places: Vec<u32>,
    refused: Refusals,
}

impl Checking {
    /// The next row.
    pub(super) async fn push(&mut self, row: Result<Checked, RowRefused>) {
        match row {
            Ok(row) => {
                self.checked.push(row);
                self.places.push(self.count);
            }
            Err(why) => self.refused.push(self.count, why),
        }
        self.count += 1;
        if self.checked.len() == ROWS_AT_A_TIME {
            self.parts.extend(Checked::batch(&self.checked));
            self.checked.clear();
        }
        if self.count.is_multiple_of(ROWS_A_TURN) {
            tokio::task::yield_now().await;
        }
    }

    /// All rows came.
    pub(super) fn finish(self, secret: KeySecret) -> Submitting {
        let Checking { count, checked, mut parts, places, refused } = self;
        parts.extend(Checked::batch(&checked));
        drop(checked);
        let all: Vec<(&Batch, usize)> =
            parts.iter().flat_map(|batch| (0..batch.len()).map(move |row| (batch, row))).collect();
        let batch = if parts.len() > 1 { Batch::pick(all.iter().copied()) } else { parts.pop() };
        let batch = batch.map(|batch| Keyed::new(batch, secret));
        let places = (!refused.is_empty()).then(|| places.into());
        Submitting { count: count as usize, batch, places, refused }
    }
}

/// Which column an attribute of the schema has, if each column is that of an attribute of its kind. Otherwise values
/// are given by name, for their conversions and their errors.
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
