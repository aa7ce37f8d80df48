//! Matches as columns, as clients watch them.

use super::outcomes::{EndWriter, OutcomeChunk};
use dovetail::pb;

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
