//! What only the balancer needs of elements: of one, and of a batch as columns.

use std::sync::Arc;

use bytes::Bytes;

use super::column::{Strings, StringsWriter, number};

/// What only the balancer needs of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPart {
    /// The client's own name for it.
    pub key: Arc<str>,
    /// Opaque.
    pub payload: Bytes,
    /// Time to live in milliseconds; 0 for none.
    pub ttl_ms: u64,
    /// Empty for none.
    pub idempotency_key: Box<str>,
    /// Who submitted it; empty where that is not known.
    pub owner: Arc<str>,
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
        self.ttls_ms.as_ref().map_or(0, |ttls_ms| number(ttls_ms, index))
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
