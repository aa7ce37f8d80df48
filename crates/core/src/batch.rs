//! Elements of one pool in columns, from the client's message to the log, the feed and the results: never taken apart
//! in between.
//!
//! Invariants: batch.B1 all columns have as many entries as there are elements; batch.B2 texts are UTF-8; batch.B3 a
//! batch never changes.

pub mod column;

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use dovetail_rule::{Row, Value};
use siphasher::sip128::SipHasher13;

pub use column::{Column, Strings, StringsWriter, Values};

use crate::{PoolId, ledger::ClientPart};

/// What the ledger keeps of an element beside its attributes, key and payload, in bytes: its slot, its key's
/// fingerprint, its times.
pub const ELEMENT_BYTES: usize = 64;
/// What an attribute takes, in bytes, whether or not the element has it: the other elements of a batch may.
pub const ATTRIBUTE_BYTES: usize = 8;
/// What a text takes in bytes beside its own, alone or in a list: where it ends.
pub const TEXT_BYTES: usize = 4;

/// Stands for a client's key in a pool: 128 bits. Making two collide takes the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u64; 2]);

impl Fingerprint {
    /// As checkpoints have it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let [one, other] = self.0;
        (u128::from(one) | u128::from(other) << 64).to_le_bytes()
    }

    /// What [`to_bytes`](Fingerprint::to_bytes) gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Fingerprint {
        let both = u128::from_le_bytes(bytes);
        Fingerprint([both as u64, (both >> 64) as u64])
    }

    /// Which of so many parts it belongs to; independent of its hash.
    #[inline]
    pub(crate) fn share(self, parts: usize) -> usize {
        (self.0[1] % parts as u64) as usize
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// What fingerprints are made with. Drawn anew by every process. Nothing that leaves it depends on it but the
/// fingerprints of idempotency keys in its checkpoints, which therefore have it, too.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct KeySecret(pub [u64; 2]);

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret")
    }
}

impl KeySecret {
    /// A key's fingerprint.
    #[must_use]
    pub fn fingerprint(self, pool: PoolId, key: &[u8]) -> Fingerprint {
        let [one, other] = self.0;
        let hash = SipHasher13::new_with_keys(one ^ u64::from(pool.0), other).hash(key);
        Fingerprint([hash.h1, hash.h2])
    }
}

/// What only the balancer needs of elements, as columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientColumns {
    /// The clients' own names, texts.
    pub keys: Strings,
    /// Opaque; none when all are empty.
    pub payloads: Option<Strings>,
    /// Times to live in milliseconds, as little-endian `u64`, 0 for none; none when all are 0.
    pub ttls_ms: Option<Bytes>,
    /// Texts, empty for none; none when all are empty.
    pub idempotency_keys: Option<Strings>,
    /// Who submitted them, texts, empty where that is not known; none when all are empty. No decision depends on them.
    pub owners: Option<Strings>,
}

impl ClientColumns {
    /// The client's name of an element.
    #[must_use]
    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        self.keys.get(index)
    }

    /// The payload of an element.
    #[must_use]
    #[inline]
    pub fn payload(&self, index: usize) -> &[u8] {
        self.payloads.as_ref().map_or(&[], |payloads| payloads.get(index))
    }

    /// The time to live of an element in milliseconds, 0 for none.
    #[must_use]
    #[inline]
    pub fn ttl_ms(&self, index: usize) -> u64 {
        self.ttls_ms.as_ref().map_or(0, |ttls_ms| column::number(ttls_ms, index))
    }

    /// The idempotency key of an element, empty for none.
    #[must_use]
    #[inline]
    pub fn idempotency_key(&self, index: usize) -> &[u8] {
        self.idempotency_keys.as_ref().map_or(&[], |keys| keys.get(index))
    }

    /// Who submitted an element, empty where that is not known.
    #[must_use]
    #[inline]
    pub fn owner(&self, index: usize) -> &[u8] {
        self.owners.as_ref().map_or(&[], |owners| owners.get(index))
    }

    /// A copy of its own: what it was made from may be larger.
    #[must_use]
    pub fn compact(&self) -> ClientColumns {
        ClientColumns {
            keys: self.keys.compact(),
            payloads: self.payloads.as_ref().map(Strings::compact),
            ttls_ms: self.ttls_ms.as_ref().map(|ttls_ms| Bytes::copy_from_slice(ttls_ms)),
            idempotency_keys: self.idempotency_keys.as_ref().map(Strings::compact),
            owners: self.owners.as_ref().map(Strings::compact),
        }
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let any = |strings: &Option<Strings>| strings.as_ref().map_or(0, Strings::total_bytes);
        let ttls_ms = self.ttls_ms.as_ref().map_or(0, Bytes::len);
        self.keys.total_bytes() + any(&self.payloads) + ttls_ms + any(&self.idempotency_keys) + any(&self.owners)
    }

    /// What belongs to one element.
    #[must_use]
    pub fn get(&self, index: usize) -> ClientPart {
        ClientPart {
            key: self.keys.text(index).into(),
            payload: Bytes::copy_from_slice(self.payload(index)),
            ttl_ms: self.ttl_ms(index),
            idempotency_key: self.idempotency_keys.as_ref().map_or("", |keys| keys.text(index)).into(),
            owner: self.owners.as_ref().map_or("", |owners| owners.text(index)).into(),
        }
    }
}

/// Makes [`ClientColumns`].
#[derive(Debug, Default)]
pub struct ClientWriter {
    keys: StringsWriter,
    payloads: StringsWriter,
    ttls_ms: Vec<u8>,
    any_ttl: bool,
    idempotency_keys: StringsWriter,
    owners: StringsWriter,
}

impl ClientWriter {
    /// Adds the part of an element whose submitter is not known.
    #[inline]
    pub fn push(&mut self, key: &[u8], payload: &[u8], ttl_ms: u64, idempotency_key: &[u8]) {
        self.push_owned(key, payload, ttl_ms, idempotency_key, &[]);
    }

    /// Adds what belongs to an element.
    #[inline]
    pub fn push_owned(&mut self, key: &[u8], payload: &[u8], ttl_ms: u64, idempotency_key: &[u8], owner: &[u8]) {
        self.keys.push(key);
        self.payloads.push(payload);
        self.ttls_ms.extend_from_slice(&ttl_ms.to_le_bytes());
        self.any_ttl |= ttl_ms > 0;
        self.idempotency_keys.push(idempotency_key);
        self.owners.push(owner);
    }

    /// Adds an element's of another batch.
    #[inline]
    pub fn push_of(&mut self, from: &ClientColumns, index: usize) {
        let (key, payload, ttl_ms) = (from.key(index), from.payload(index), from.ttl_ms(index));
        self.push_owned(key, payload, ttl_ms, from.idempotency_key(index), from.owner(index));
    }

    /// What was added.
    #[must_use]
    pub fn finish(self) -> ClientColumns {
        ClientColumns {
            keys: self.keys.finish(),
            payloads: self.payloads.finish_if_any(),
            ttls_ms: self.any_ttl.then(|| self.ttls_ms.into()),
            idempotency_keys: self.idempotency_keys.finish_if_any(),
            owners: self.owners.finish_if_any(),
        }
    }
}

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

    /// What stands for the key of an element.
    #[must_use]
    #[inline]
    pub fn fingerprint(&self, secret: KeySecret, index: usize) -> Fingerprint {
        secret.fingerprint(self.pool, self.clients.key(index))
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

/// A batch that is to be let in, and the fingerprints of its keys. They are computed outside the engine, and dropped
/// once the batch is in.
#[derive(Debug)]
pub struct Keyed {
    batch: Arc<Batch>,
    fingerprints: Box<[Fingerprint]>,
}

impl Keyed {
    /// Of all elements of a batch.
    #[must_use]
    pub fn new(batch: Batch, secret: KeySecret) -> Keyed {
        let fingerprints = (0..batch.len()).map(|index| batch.fingerprint(secret, index)).collect();
        batch.weights();
        Keyed { batch: Arc::new(batch), fingerprints }
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
        batch.weights();
        Keyed { batch: Arc::new(batch), ..self }
    }

    /// What stands for the key of an element.
    #[must_use]
    #[inline]
    pub fn fingerprint(&self, index: usize) -> Fingerprint {
        self.fingerprints[index]
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
fn columns_of<'a>(rows: impl ExactSizeIterator<Item = &'a Row> + Clone) -> Vec<Column> {
    let width = rows.clone().next().map_or(0, |row| row.values().len());
    assert!(rows.clone().all(|row| row.values().len() == width), "rows of one pool have one schema");
    (0..width).map(|attribute| Column::of(rows.clone().map(|row| row.values()[attribute].as_ref()))).collect()
}

/// The attributes of elements picked from batches of one pool.
#[must_use]
pub fn pick_columns<'a>(picked: impl ExactSizeIterator<Item = (&'a Batch, usize)> + Clone) -> Vec<Column> {
    let width = picked.clone().next().map_or(0, |(batch, _)| batch.attributes.len());
    let attribute = |at: usize| Column::pick(picked.clone().map(move |(batch, index)| (&batch.attributes[at], index)));
    (0..width).map(attribute).collect()
}
