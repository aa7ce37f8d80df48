//! Matches as columns, as clients watch them.

use bytes::Bytes;
use dovetail_core::{EventId, batch::column::number};

use super::{
    ConvertError,
    columns::fixed,
    outcomes::{EndWriter, Ends, OutcomeChunk, after},
};
use crate::pb;

/// Makes columns of matches.
#[derive(Debug, Default)]
pub struct MatchWriter {
    cursors: Vec<u8>,
    times_ms: Vec<u8>,
    pools: Vec<String>,
    pool_places: Vec<u8>,
    last_pool: u32,
    a: EndWriter,
    b: EndWriter,
}

impl MatchWriter {
    /// Leaves out when elements arrived: most do not need it, and it is a sixth of what a match takes.
    #[must_use]
    pub fn without_arrivals() -> MatchWriter {
        MatchWriter { a: EndWriter::without_arrived(), b: EndWriter::without_arrived(), ..MatchWriter::default() }
    }

    /// Adds an outcome, if it is a match.
    pub fn push(&mut self, outcomes: &OutcomeChunk, index: usize, pool: &str) {
        let Some([a, b]) = outcomes.pair(index) else { return };
        self.cursors.extend_from_slice(&outcomes.x(index).0.to_le_bytes());
        self.times_ms.extend_from_slice(&outcomes.time_ms(index).to_le_bytes());
        if self.pools.get(self.last_pool as usize).is_none_or(|last| last != pool) {
            let place = self.pools.iter().position(|known| known == pool).unwrap_or_else(|| {
                self.pools.push(pool.to_owned());
                self.pools.len() - 1
            });
            self.last_pool = u32::try_from(place).expect("few pools");
        }
        self.pool_places.extend_from_slice(&self.last_pool.to_le_bytes());
        self.a.push_of(a, index);
        self.b.push_of(b, index);
    }

    /// What was added; none if nothing was.
    #[must_use]
    pub fn finish(mut self) -> Option<pb::MatchColumns> {
        if self.cursors.is_empty() {
            return None;
        }
        Some(pb::MatchColumns {
            cursors: self.cursors.into(),
            times_ms: self.times_ms.into(),
            pool_places: if self.pools.len() > 1 { self.pool_places.into() } else { Vec::new().into() },
            pools: self.pools,
            a: Some(self.a.take().pb()),
            b: Some(self.b.take().pb()),
        })
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
    ends: Option<[Ends; 2]>,
}

impl MatchedColumns {
    /// Checks sizes, ends and texts.
    ///
    /// # Errors
    /// When the columns do not fit each other.
    pub fn read(sent: &pb::MatchColumns) -> Result<MatchedColumns, ConvertError> {
        let count = sent.cursors.len() / 8;
        let pool_places: Vec<u32> = if sent.pool_places.is_empty() {
            vec![0; count]
        } else {
            fixed::<4>("pool_places", count, &sent.pool_places)?;
            sent.pool_places.as_chunks().0.iter().map(|place| u32::from_le_bytes(*place)).collect()
        };
        if pool_places.iter().any(|&place| place as usize >= sent.pools.len()) {
            return Err(ConvertError::Missing("pools"));
        }
        Ok(MatchedColumns {
            cursors: fixed::<8>("cursors", count, &sent.cursors)?,
            times_ms: fixed::<8>("times_ms", count, &sent.times_ms)?,
            pools: sent.pools.clone(),
            pool_places,
            ends: Some([Ends::read(count, sent.a.as_ref(), "a")?, Ends::read(count, sent.b.as_ref(), "b")?]),
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
        after(&self.cursors, cursor)
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
