//! What a balancer lets in.

use std::sync::Arc;

use bytes::Bytes;
use dovetail_rule::{Row, RowError, Value};
use thiserror::Error;

use super::{ClientPart, Ledger, LedgerLimits};
use crate::{ElementId, Pool, PoolId, pool::DELAY_MS_MAX};

/// Longest key and longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// No pool and no setting can allow a larger payload, in bytes.
pub const PAYLOAD_BYTES_CAP: u64 = 65_536;

/// An element as a client submits it.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// The client's own name for it.
    pub key: String,
    /// By name.
    pub attributes: Vec<(String, Value)>,
    /// Opaque.
    pub payload: Bytes,
    /// Time to live in milliseconds; none for the pool's.
    pub ttl_ms: Option<u64>,
    /// Empty for none.
    pub idempotency_key: String,
}

/// What a submission comes to.
#[derive(Clone, Debug)]
pub enum Admission {
    /// A new element: give it an id and record its arrival.
    New {
        /// Its pool.
        pool: PoolId,
        /// Its attributes.
        row: Arc<Row>,
        /// What only the balancer needs.
        client: ClientPart,
    },
    /// A retry of the submission that made this element.
    Retry(ElementId),
}

/// Why a submission is refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SubmitError {
    /// No such pool.
    #[error("pool {0:?} is not defined")]
    UnknownPool(String),
    /// The key is empty or too long.
    #[error("key is {found} bytes, at least 1 and at most {KEY_BYTES_MAX}")]
    KeyLength {
        /// Its length.
        found: usize,
    },
    /// The idempotency key is too long.
    #[error("idempotency key is {found} bytes, at most {KEY_BYTES_MAX}")]
    IdempotencyKeyLength {
        /// Its length.
        found: usize,
    },
    /// An element with this key waits.
    #[error("key {key:?} is waiting in pool {pool:?} already, as element {}", element.0)]
    KeyWaiting {
        /// The pool.
        pool: String,
        /// The key.
        key: String,
        /// The element that has it.
        element: ElementId,
    },
    /// The attributes do not fit the schema.
    #[error("pool {pool:?}, key {key:?}: {source}")]
    Row {
        /// The pool.
        pool: String,
        /// The key.
        key: String,
        /// What does not fit.
        source: RowError,
    },
    /// The payload is too large.
    #[error("payload of key {key:?} is {found} bytes, at most {bound} in pool {pool:?}")]
    Payload {
        /// The pool.
        pool: String,
        /// The key.
        key: String,
        /// Its size.
        found: usize,
        /// The pool's bound.
        bound: u64,
    },
    /// The time to live is too long.
    #[error("ttl of key {key:?} is {found} ms, at most {DELAY_MS_MAX}")]
    Ttl {
        /// The key.
        key: String,
        /// The time to live.
        found: u64,
    },
    /// The pool is full.
    #[error("pool {pool:?} has {bound} elements waiting, which is its waiting_max")]
    PoolFull {
        /// The pool.
        pool: String,
        /// Its bound.
        bound: u64,
    },
    /// All pools together are full.
    #[error("{bound} elements wait in all pools together, which is waiting_total_max")]
    TotalFull {
        /// The bound.
        bound: u64,
    },
    /// The idempotency key came with another body before.
    #[error("idempotency key {key:?} made element {} from another body", element.0)]
    IdempotencyMismatch {
        /// The idempotency key.
        key: String,
        /// The element.
        element: ElementId,
    },
}

impl Submission {
    /// Checks what does not depend on other elements.
    ///
    /// # Errors
    /// When it cannot be let in, with the value and the bound.
    pub fn check(self, pool: &Pool, limits: &LedgerLimits) -> Result<Checked, SubmitError> {
        let Submission { key, attributes, payload, ttl_ms, idempotency_key } = self;
        let client = Client { key: key.into(), payload, ttl_ms, idempotency_key: idempotency_key.into() };
        client.check(pool, limits, || Row::from_named(&pool.schema, attributes))
    }
}

/// A submission without its attributes.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's own name for it.
    pub key: Arc<str>,
    /// Opaque.
    pub payload: Bytes,
    /// Time to live in milliseconds; none for the pool's.
    pub ttl_ms: Option<u64>,
    /// Empty for none.
    pub idempotency_key: Box<str>,
}

impl Client {
    /// Checks what does not depend on other elements. `row` makes the attributes.
    ///
    /// # Errors
    /// When it cannot be let in, with the value and the bound.
    pub fn check(
        self,
        pool: &Pool,
        limits: &LedgerLimits,
        row: impl FnOnce() -> Result<Row, RowError>,
    ) -> Result<Checked, SubmitError> {
        let definition = &pool.definition;
        let Client { key, payload, ttl_ms, idempotency_key } = self;
        let name = || definition.name.clone();
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(SubmitError::KeyLength { found: key.len() });
        }
        if idempotency_key.len() > KEY_BYTES_MAX {
            return Err(SubmitError::IdempotencyKeyLength { found: idempotency_key.len() });
        }
        let bound = bound(definition.payload_bytes_max, limits.payload_bytes_max).min(PAYLOAD_BYTES_CAP);
        if payload.len() as u64 > bound {
            return Err(SubmitError::Payload { pool: name(), key: (*key).into(), found: payload.len(), bound });
        }
        let ttl_ms = ttl_ms.unwrap_or(definition.ttl_ms);
        if ttl_ms > DELAY_MS_MAX {
            return Err(SubmitError::Ttl { key: (*key).into(), found: ttl_ms });
        }
        let row = row().map_err(|source| SubmitError::Row { pool: name(), key: (*key).into(), source })?;
        let client = ClientPart { key, payload, ttl_ms, idempotency_key };
        Ok(Checked { pool: pool.id, row: Arc::new(row), client })
    }
}

/// A submission that fits its pool. Whether it is let in depends on what else waits.
#[derive(Clone, Debug)]
pub struct Checked {
    pool: PoolId,
    row: Arc<Row>,
    client: ClientPart,
}

impl Ledger {
    /// Checks a submission. What is admitted has to be given an id and recorded before the next one is checked.
    ///
    /// # Errors
    /// When it cannot be let in, with the value and the bound.
    pub fn admit(&self, pool: &str, submission: Submission) -> Result<Admission, SubmitError> {
        let entry = self.pool_named(pool).ok_or_else(|| SubmitError::UnknownPool(pool.to_owned()))?;
        self.admit_checked(submission.check(&entry.pool, &self.limits)?)
    }

    /// The same for one that was checked beforehand.
    ///
    /// # Errors
    /// When it cannot be let in, with the value and the bound.
    ///
    /// # Panics
    /// When its pool is not known here.
    pub fn admit_checked(&self, checked: Checked) -> Result<Admission, SubmitError> {
        let Checked { pool, row, client } = checked;
        let entry = self.pool(pool);
        let definition = &entry.pool.definition;
        if let Some((element, same)) = self.idempotency.find(pool, &client, &row) {
            return if same {
                Ok(Admission::Retry(element))
            } else {
                Err(SubmitError::IdempotencyMismatch { key: client.idempotency_key.into(), element })
            };
        }
        let name = || definition.name.clone();
        // One that waits no longer is only remembered by its key.
        let holder = self.keys.get(&(pool, Arc::clone(&client.key)));
        if let Some(&element) = holder.filter(|element| self.elements.contains_key(element)) {
            return Err(SubmitError::KeyWaiting { pool: name(), key: (*client.key).into(), element });
        }
        let bound = bound(definition.waiting_max, self.limits.waiting_max);
        if entry.counts.waiting >= bound {
            return Err(SubmitError::PoolFull { pool: name(), bound });
        }
        let bound = self.limits.waiting_total_max;
        if self.elements.len() as u64 >= bound {
            return Err(SubmitError::TotalFull { bound });
        }
        Ok(Admission::New { pool, row, client })
    }
}

fn bound(own: u64, default: u64) -> u64 {
    if own == 0 { default } else { own }
}
