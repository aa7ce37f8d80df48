//! Elements of one pool in columns, from the client's message to the log, the feed and the results: never taken apart
//! in between.
//!
//! Invariants: batch.B1 all columns have as many entries as there are elements; batch.B2 texts are UTF-8; batch.B3 a
//! batch never changes.

mod client;
pub mod column;
mod kept;
mod key;
mod part;
mod pick;

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use dovetail_rule::{Row, Value};

pub use client::{ClientColumns, ClientPart, ClientWriter};
pub use column::{Column, Strings, StringsWriter, TEXT_BYTES, Values};
pub(crate) use kept::KeptRow;
pub(crate) use key::KeyHash;
pub use key::{Fingerprint, KeySecret};
pub use pick::{PickedRows, pick_rows};

use crate::PoolId;

/// What the ledger keeps of an element beside its attributes, key and payload, in bytes: its slot, its key's
/// fingerprint, its times.
pub const ELEMENT_BYTES: usize = 64;
/// What an attribute takes, in bytes, whether or not the element has it: the other elements of a batch may.
pub const ATTRIBUTE_BYTES: usize = 8;
/// Elements of one pool.
#[derive(Debug)]
pub struct Batch {
    pool: PoolId,
    /// In the order of the schema.
    attributes: Box<[Column]>,
    clients: ClientColumns,
    /// By row: what it and those before it take while they wait.
    weights: OnceLock<Box<[u32]>>,
}

impl Batch {
    /// A batch of columns that were checked: each has an entry for each key.
    #[must_use]
    pub fn new(pool: PoolId, attributes: Vec<Column>, clients: ClientColumns) -> Batch {
        Batch { pool, attributes: attributes.into(), clients, weights: OnceLock::new() }
    }

    /// A batch without elements.
    #[must_use]
    pub fn nobody(pool: PoolId) -> Batch {
        Batch::new(pool, Vec::new(), ClientColumns::default())
    }

    /// A batch of elements that were checked. Rows are of one schema.
    #[must_use]
    pub fn of(pool: PoolId, elements: &[(&Row, &ClientPart)]) -> Batch {
        let rows = elements.iter().map(|(row, _)| *row);
        let mut clients = ClientWriter::default();
        for (_, client) in elements {
            let ClientPart { key, payload, ttl_ms, idempotency_key, owner } = client;
            clients.push_owned(key.as_bytes(), payload, *ttl_ms, idempotency_key.as_bytes(), owner.as_bytes());
        }
        Batch::new(pool, columns_of(rows), clients.finish())
    }

    /// The same elements, of which this is known to have submitted all; empty where that is not known.
    #[must_use]
    pub fn owned_by(mut self, owner: &str) -> Batch {
        let count = self.len();
        let owners = || std::iter::repeat_n(owner, count).collect::<StringsWriter>();
        self.clients.owners = (!owner.is_empty()).then(|| owners().finish());
        self.weights = OnceLock::new();
        self
    }

    /// Elements picked from batches of one pool, in the order given.
    #[must_use]
    pub fn pick<'a>(picked: impl ExactSizeIterator<Item = (&'a Batch, usize)> + Clone) -> Option<Batch> {
        let pool = picked.clone().next()?.0.pool;
        let mut clients = ClientWriter::default();
        picked.clone().for_each(|(batch, index)| clients.push_of(&batch.clients, index));
        Some(Batch::new(pool, pick_columns(picked), clients.finish()))
    }

    /// A copy of its own: what it was made from may be larger.
    #[must_use]
    pub fn compact(self) -> Batch {
        let attributes = self.attributes.iter().map(Column::compact).collect();
        Batch::new(self.pool, attributes, self.clients.compact())
    }

    /// Bytes of all its columns.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.attributes.iter().map(Column::bytes).sum::<usize>() + self.clients.bytes()
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> PoolId {
        self.pool
    }

    /// How many elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In the order of the schema.
    #[must_use]
    pub fn attributes(&self) -> &[Column] {
        &self.attributes
    }

    /// What only the balancer needs.
    #[must_use]
    pub fn clients(&self) -> &ClientColumns {
        &self.clients
    }

    /// What stands for the keys of its elements.
    pub fn fingerprints(&self, secret: KeySecret) -> impl Iterator<Item = Fingerprint> + '_ {
        (0..self.len()).map(move |index| secret.fingerprint(self.pool, self.clients.key(index)))
    }

    /// The attributes of an element.
    #[must_use]
    pub fn row(&self, index: usize) -> Row {
        Row::from_values(self.values(index))
    }

    /// The values of an element, in the order of the schema.
    pub fn values(&self, index: usize) -> impl Iterator<Item = Option<Value>> + '_ {
        self.attributes.iter().map(move |column| column.get(index))
    }

    /// The same elements without their idempotency keys, which only their arrival needs. Columns are shared.
    #[must_use]
    pub fn without_idempotency_keys(&self) -> Batch {
        let clients = ClientColumns { idempotency_keys: None, ..self.clients.clone() };
        Batch { pool: self.pool, attributes: self.attributes.clone(), clients, weights: self.weights.clone() }
    }

    /// The bytes of an element's attributes, as [`attribute_bytes`] counts them.
    fn attribute_bytes(&self, index: usize) -> usize {
        let texts = |column: &Column| column.texts(index).map(|bytes| TEXT_BYTES + bytes).sum::<usize>();
        self.attributes.iter().map(|column| ATTRIBUTE_BYTES + texts(column)).sum()
    }

    /// The bytes of an element but for its payload: its attributes, its key and its idempotency key. What
    /// `element_bytes_max` bounds.
    #[must_use]
    pub fn element_bytes(&self, index: usize) -> usize {
        let clients = &self.clients;
        self.attribute_bytes(index) + clients.key(index).len() + clients.idempotency_key(index).len()
    }

    /// About how many bytes an element takes in a frame, without its key's and payload's ends.
    #[must_use]
    pub fn frame_bytes(&self, index: usize) -> usize {
        let clients = self.clients.payload(index).len() + self.clients.owner(index).len();
        4 * self.attributes.len() + self.element_bytes(index) + clients
    }

    /// What neighbouring elements take while they wait, in bytes: what the ledger keeps of each. The same for an
    /// element in whatever batch it is.
    #[must_use]
    pub fn waiting_bytes(&self, rows: Range<usize>) -> u64 {
        let weights = self.weights();
        let through = |end: usize| end.checked_sub(1).map_or(0, |last| u64::from(weights[last]));
        through(rows.end) - through(rows.start)
    }

    /// Finds out what elements take, once. Where there are many, the caller should not be one that others wait for.
    pub fn weights(&self) -> &[u32] {
        self.weights.get_or_init(|| {
            let mut sum = 0_u32;
            let weight = |index| {
                let clients = &self.clients;
                let clients = clients.key(index).len() + clients.payload(index).len() + clients.owner(index).len();
                u32::try_from(ELEMENT_BYTES + self.attribute_bytes(index) + clients).expect("a message is smaller")
            };
            let through = |index| {
                sum = sum.checked_add(weight(index)).expect("a batch is smaller than 4 GiB");
                sum
            };
            (0..self.len()).map(through).collect()
        })
    }
}

/// The bytes of a row's attributes: 8 for each, and 4 and its own for each text.
#[must_use]
pub fn attribute_bytes(row: &Row) -> usize {
    let text = |text: &str| TEXT_BYTES + text.len();
    let value = |value: &Option<Value>| match value {
        Some(Value::String(one)) => text(one),
        Some(Value::StringList(list)) => list.iter().map(|entry| text(entry)).sum(),
        Some(Value::Int(_) | Value::Double(_) | Value::Bool(_)) | None => 0,
    };
    row.values().iter().map(|one| ATTRIBUTE_BYTES + value(one)).sum()
}

/// A batch that is to be let in, and what stands for its keys, which is computed outside the engine.
#[derive(Debug)]
pub struct Keyed {
    batch: Arc<Batch>,
    /// Dropped once the batch is in.
    fingerprints: Box<[Fingerprint]>,
    /// Kept as long as the batch.
    kept: Arc<[KeptRow]>,
}

impl Keyed {
    /// Of all elements of a batch.
    #[must_use]
    pub fn new(batch: Batch, secret: KeySecret) -> Keyed {
        let fingerprints: Box<[Fingerprint]> = batch.fingerprints(secret).collect();
        let kept = KeptRow::each(&batch, &fingerprints);
        Keyed { batch: Arc::new(batch), fingerprints, kept }
    }

    /// The batch.
    #[must_use]
    pub fn batch(&self) -> &Arc<Batch> {
        &self.batch
    }

    /// The same elements, of which this is known to have submitted all.
    #[must_use]
    pub fn owned_by(self, owner: &str) -> Keyed {
        let batch = Arc::into_inner(self.batch).expect("nobody has it before it is let in");
        let batch = batch.owned_by(owner);
        // Who submitted them counts.
        let kept = KeptRow::each(&batch, &self.fingerprints);
        Keyed { batch: Arc::new(batch), kept, ..self }
    }

    /// What stands for the key of an element.
    #[must_use]
    #[inline]
    pub fn fingerprint(&self, index: usize) -> Fingerprint {
        self.fingerprints[index]
    }

    /// What the ledger keeps of all.
    #[inline]
    pub(crate) fn kept(&self) -> &Arc<[KeptRow]> {
        &self.kept
    }
}

/// Some neighbouring elements of a batch.
#[derive(Clone, Debug)]
pub struct Run {
    /// All of them.
    pub batch: Arc<Batch>,
    /// Which.
    pub rows: Range<usize>,
}

impl Run {
    /// All elements of a batch.
    #[must_use]
    pub fn all(batch: Arc<Batch>) -> Run {
        let rows = 0..batch.len();
        Run { batch, rows }
    }

    /// Whether it is all of the batch.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.rows.len() == self.batch.len()
    }
}

/// The columns of rows of one schema, in its order.
pub(crate) fn columns_of<'a>(rows: impl ExactSizeIterator<Item = &'a Row> + Clone) -> Vec<Column> {
    let width = rows.clone().next().map_or(0, |row| row.values().len());
    assert!(rows.clone().all(|row| row.values().len() == width), "rows of one pool have one schema");
    (0..width).map(|attribute| Column::of(rows.clone().map(|row| row.values()[attribute].as_ref()))).collect()
}

/// The attributes of elements picked from batches of one pool.
fn pick_columns<'a>(picked: impl ExactSizeIterator<Item = (&'a Batch, usize)> + Clone) -> Vec<Column> {
    let width = picked.clone().next().map_or(0, |(batch, _)| batch.attributes.len());
    let attribute = |at: usize| Column::pick(picked.clone().map(move |(batch, index)| (&batch.attributes[at], index)));
    (0..width).map(attribute).collect()
}
