//! Matches as columns, as clients watch them: the columns that are stored, where these have nothing else, or new ones.

use std::ops::Range;

use dovetail_core::batch::{Strings, column::number};

use super::outcomes::{EndWriter, OutcomeChunk};
use dovetail::{
    columns::{MatchedEnds, byte_strings_pb, texts_pb},
    pb,
};

impl OutcomeChunk {
    /// Its outcomes from one on as matches of the pool of that one, which has this name; with when their ends arrived,
    /// or without. They share the chunk's bytes. None when another pool's are among them, or what is no match, or one
    /// whose anchor came after its prober.
    #[must_use]
    pub fn match_columns(&self, from: usize, pool: &str, arrivals: bool) -> Option<pb::MatchColumns> {
        let range = from..self.len();
        let [elements, anchors] = [&self.elements.ids, &self.anchors.ids];
        let matched = |index| (1..number(elements, index)).contains(&number(anchors, index));
        let pools = &self.pools.as_chunks::<4>().0[range.clone()];
        if !range.clone().all(matched) || pools.iter().any(|of| *of != pools[0]) {
            return None;
        }
        Some(pb::MatchColumns {
            cursors: self.xs.slice(8 * from..),
            times_ms: self.times_ms.slice(8 * from..),
            pool_places: Vec::new().into(),
            pools: vec![pool.to_owned()],
            a: Some(part(&self.anchors, range.clone(), arrivals)),
            b: Some(part(&self.elements, range, arrivals)),
        })
    }

    /// About how many bytes its outcomes from one on take in a message as columns; never fewer than they do.
    #[must_use]
    pub fn bytes_from(&self, from: usize) -> usize {
        (from..self.len()).map(|index| self.bytes(index)).sum()
    }
}

fn part(ends: &MatchedEnds, range: Range<usize>, arrivals: bool) -> pb::EndColumns {
    let payloads = ends.payloads.as_ref().map(|payloads| payloads.part(range.clone()));
    let arrived_ms = ends.arrived_ms.as_ref().filter(|_| arrivals);
    pb::EndColumns {
        ids: ends.ids.slice(8 * range.start..8 * range.end),
        keys: Some(texts_pb(&ends.keys.part(range.clone()))),
        payloads: payloads.as_ref().filter(|payloads: &&Strings| !payloads.bytes.is_empty()).map(byte_strings_pb),
        arrived_ms: arrived_ms.map(|ms| ms.slice(8 * range.start..8 * range.end)).unwrap_or_default(),
    }
}

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
