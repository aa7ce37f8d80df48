//! Matches as columns, as clients watch them.

use bytes::Bytes;
use dovetail_core::{
    EventId,
    batch::{Strings, column::number},
};
use thiserror::Error;

use super::{ColumnError, byte_strings, byte_strings_pb, fixed, texts, texts_pb};
use crate::pb;

/// Columns of matches that are none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MatchColumnsError {
    /// One is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// One is not what it should be.
    #[error(transparent)]
    Column(#[from] ColumnError),
}

/// One element each of many matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedEnds {
    /// Their ids: 8 bytes each, little-endian, as all numbers here.
    pub ids: Bytes,
    /// The clients' keys.
    pub keys: Strings,
    /// The clients' payloads; none when none has one.
    pub payloads: Option<Strings>,
    /// When they arrived, 0 where it is not known; none when it is known of none.
    pub arrived_ms: Option<Bytes>,
}

impl MatchedEnds {
    /// Checks columns of elements, which the message calls `what`.
    ///
    /// # Errors
    /// When the columns do not fit each other.
    pub fn read(
        count: usize,
        sent: Option<&pb::EndColumns>,
        what: &'static str,
    ) -> Result<MatchedEnds, MatchColumnsError> {
        let missing = MatchColumnsError::Missing;
        let pb::EndColumns { ids, keys, payloads, arrived_ms } = sent.ok_or(missing(what))?;
        Ok(MatchedEnds {
            ids: fixed::<8>("ids", count, ids)?,
            keys: texts(count, keys.as_ref().ok_or(missing("keys"))?)?,
            payloads: payloads.as_ref().map(|column| byte_strings(count, column)).transpose()?,
            arrived_ms: if arrived_ms.is_empty() { None } else { Some(fixed::<8>("arrived_ms", count, arrived_ms)?) },
        })
    }

    /// As sent.
    #[must_use]
    pub fn pb(&self) -> pb::EndColumns {
        let payloads = self.payloads.as_ref().map(byte_strings_pb);
        let arrived_ms = self.arrived_ms.clone().unwrap_or_default();
        pb::EndColumns { ids: self.ids.clone(), keys: Some(texts_pb(&self.keys)), payloads, arrived_ms }
    }

    /// The payload of one; empty for none.
    #[must_use]
    pub fn payload(&self, index: usize) -> &[u8] {
        self.payloads.as_ref().map_or(&[], |payloads| payloads.get(index))
    }

    /// When one arrived, if that is known.
    #[must_use]
    pub fn arrived_ms(&self, index: usize) -> Option<u64> {
        let arrived_ms = number(self.arrived_ms.as_ref()?, index);
        (arrived_ms > 0).then_some(arrived_ms)
    }
}

/// Matches in columns that fit each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatchedColumns {
    cursors: Bytes,
    times_ms: Bytes,
    pools: Vec<String>,
    /// By match.
    pool_places: Vec<u32>,
    /// None when there are no matches.
    ends: Option<[MatchedEnds; 2]>,
}

impl MatchedColumns {
    /// Checks sizes, ends and texts.
    ///
    /// # Errors
    /// When the columns do not fit each other.
    pub fn read(sent: &pb::MatchColumns) -> Result<MatchedColumns, MatchColumnsError> {
        let count = sent.cursors.len() / 8;
        let pool_places: Vec<u32> = if sent.pool_places.is_empty() {
            vec![0; count]
        } else {
            fixed::<4>("pool_places", count, &sent.pool_places)?;
            sent.pool_places.as_chunks().0.iter().map(|place| u32::from_le_bytes(*place)).collect()
        };
        if pool_places.iter().any(|&place| place as usize >= sent.pools.len()) {
            return Err(MatchColumnsError::Missing("pools"));
        }
        Ok(MatchedColumns {
            cursors: fixed::<8>("cursors", count, &sent.cursors)?,
            times_ms: fixed::<8>("times_ms", count, &sent.times_ms)?,
            pools: sent.pools.clone(),
            pool_places,
            ends: Some([
                MatchedEnds::read(count, sent.a.as_ref(), "a")?,
                MatchedEnds::read(count, sent.b.as_ref(), "b")?,
            ]),
        })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cursors.len() / 8
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cursors.is_empty()
    }

    /// The first one after a cursor; as many as there are when there is none.
    #[must_use]
    pub fn after(&self, cursor: EventId) -> usize {
        self.cursors.as_chunks().0.partition_point(|x| u64::from_le_bytes(*x) <= cursor.0)
    }

    /// The event that completed one, and its time in milliseconds.
    #[must_use]
    pub fn cursor(&self, index: usize) -> (u64, u64) {
        (number(&self.cursors, index), number(&self.times_ms, index))
    }

    /// The name of its pool.
    #[must_use]
    pub fn pool(&self, index: usize) -> &str {
        &self.pools[self.pool_places[index] as usize]
    }

    /// Its ends, the lower id first.
    #[must_use]
    pub fn ends(&self, index: usize) -> [MatchedEnd<'_>; 2] {
        let ends = self.ends.as_ref().expect("there is a match");
        ends.each_ref().map(|ends| MatchedEnd {
            id: number(&ends.ids, index),
            key: ends.keys.text(index),
            payload: ends.payload(index),
            arrived_ms: ends.arrived_ms(index),
        })
    }
}

/// An end of a match, in its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchedEnd<'a> {
    /// Its id.
    pub id: u64,
    /// The client's key.
    pub key: &'a str,
    /// The client's payload.
    pub payload: &'a [u8],
    /// When it arrived, milliseconds since 1970; none where that is not known.
    pub arrived_ms: Option<u64>,
}
