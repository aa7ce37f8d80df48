//! Chunks of a checkpoint.

use std::sync::Arc;

use dovetail_core::{
    ElementId, EventId, PoolId,
    ledger::{Base, Kept, PoolBase, Remembered},
};
use prost::Message;

use super::{ConvertError, pool_definition, pool_definition_pb, row, row_pb};
use crate::pb;

/// Most pools of a chunk, and most idempotency keys. The largest there are make less than 3 MiB.
const ENTRIES: usize = 256;
/// About the most bytes of elements in a chunk; one element more still fits a checkpoint's bound.
const KEPT_BYTES: usize = 1 << 20;

/// All of a checkpoint but its elements, as chunks.
pub fn base_chunks(base: &Base) -> impl Iterator<Item = Vec<u8>> {
    let numbered = is_numbered(base);
    let next_pool = numbered.then_some(base.next_pool.0);
    let head = pb::CheckpointHead { through: base.through.0, time_ms: base.time_ms, next_pool };
    let stop = if numbered { vec![pb::CheckpointPool::default()] } else { Vec::new() };
    let first = pb::CheckpointChunk { head: Some(head), pools: stop, ..Default::default() };
    let all: Vec<(&PoolId, &PoolBase)> = base.pools.iter().collect();
    let chunks: Vec<Vec<pb::CheckpointPool>> = all
        .chunks(ENTRIES)
        .map(|pools| pools.iter().map(|&(id, pool)| pool_pb(*id, pool, numbered)).collect())
        .collect();
    let pools = chunks.into_iter().map(move |pools| match numbered {
        true => pb::CheckpointChunk { numbered: pools, ..Default::default() },
        false => pb::CheckpointChunk { pools, ..Default::default() },
    });
    let dropped = base
        .dropped
        .chunks(ENTRIES)
        .map(|dropped| pb::CheckpointChunk { dropped: dropped.iter().map(dropped_pb).collect(), ..Default::default() });
    let remembered = base.idempotency.chunks(ENTRIES).map(|remembered| pb::CheckpointChunk {
        remembered: remembered.iter().map(remembered_pb).collect(),
        ..Default::default()
    });
    [first].into_iter().chain(pools).chain(dropped).chain(remembered).map(|chunk| chunk.encode_to_vec())
}

/// Whether the numbers of pools, or that one is being dropped, do not follow from their places: one was dropped, or is being.
fn is_numbered(base: &Base) -> bool {
    let in_place = |(place, (id, pool)): (u32, (&PoolId, &PoolBase))| id.0 == place && pool.closed_at.is_none();
    let plain = (0..).zip(&base.pools).all(in_place) && base.next_pool.0 as usize == base.pools.len();
    !plain || !base.dropped.is_empty()
}

/// Collects elements into chunks.
#[derive(Debug, Default)]
pub struct KeptChunk {
    chunk: pb::CheckpointChunk,
    bytes: usize,
}

impl KeptChunk {
    /// Adds an element. The chunk's bytes when it is full; it is empty then.
    pub fn push(&mut self, kept: &Kept) -> Option<Vec<u8>> {
        let kept = kept_pb(kept);
        self.bytes += kept.encoded_len();
        self.chunk.kept.push(kept);
        if self.bytes >= KEPT_BYTES { self.take() } else { None }
    }

    /// The chunk's bytes, if there is anything in it.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let chunk = std::mem::take(self).chunk;
        (!chunk.kept.is_empty()).then(|| chunk.encode_to_vec())
    }
}

/// A checkpoint being read: what is known of its base so far, which is all of it once elements come.
#[derive(Debug, Default)]
pub struct ReadChunks {
    base: Base,
    has_head: bool,
    numbered: bool,
}

impl ReadChunks {
    /// Takes a chunk, and returns the elements in it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(&mut self, chunk: &[u8]) -> Result<Vec<Kept>, ConvertError> {
        let through = self.base.through.0;
        let chunk = pb::CheckpointChunk::decode(chunk)
            .map_err(|error| ConvertError::Record { through, reason: error.to_string() })?;
        if let Some(head) = chunk.head {
            self.has_head = true;
            (self.base.through, self.base.time_ms) = (EventId(head.through), head.time_ms);
            self.numbered = head.next_pool.is_some();
            self.base.next_pool = PoolId(head.next_pool.unwrap_or_default());
        }
        // With numbers, what is here only stops versions that know none.
        for pool in chunk.pools.into_iter().filter(|_| !self.numbered) {
            self.base.pools.insert(self.base.next_pool, self::pool(pool)?);
            self.base.next_pool.0 += 1;
        }
        for pool in chunk.numbered {
            let number = PoolId(pool.pool.ok_or(ConvertError::Missing("pool"))?);
            self.base.pools.insert(number, self::pool(pool)?);
        }
        let dropped = chunk.dropped.into_iter().map(|dropped| (PoolId(dropped.pool), dropped.name.into()));
        self.base.dropped.extend(dropped);
        self.base.idempotency.extend(chunk.remembered.into_iter().map(remembered));
        chunk.kept.into_iter().map(kept).collect()
    }

    /// The base.
    ///
    /// # Errors
    /// When no chunk had a head.
    pub fn base(self) -> Result<Base, ConvertError> {
        if self.has_head { Ok(self.base) } else { Err(ConvertError::Missing("the checkpoint's head")) }
    }
}

fn dropped_pb((pool, name): &(PoolId, Arc<str>)) -> pb::CheckpointDroppedPool {
    pb::CheckpointDroppedPool { pool: pool.0, name: name.as_ref().to_owned() }
}

fn pool_pb(id: PoolId, pool: &PoolBase, numbered: bool) -> pb::CheckpointPool {
    pb::CheckpointPool {
        definition: Some(pool_definition_pb(&pool.definition)),
        defined_at: pool.defined_at.0,
        matches: pool.matches,
        withdrawn: pool.withdrawn,
        expired: pool.expired,
        pool: numbered.then_some(id.0),
        closed_at: pool.closed_at.map(|x| x.0),
        dropped: pool.dropped,
    }
}

fn pool(pool: pb::CheckpointPool) -> Result<PoolBase, ConvertError> {
    Ok(PoolBase {
        definition: Arc::new(pool_definition(pool.definition.ok_or(ConvertError::Missing("definition"))?)?),
        defined_at: EventId(pool.defined_at),
        matches: pool.matches,
        withdrawn: pool.withdrawn,
        expired: pool.expired,
        closed_at: pool.closed_at.map(EventId),
        dropped: pool.dropped,
    })
}

fn remembered_pb(remembered: &Remembered) -> pb::RememberedKey {
    pb::RememberedKey {
        pool: remembered.pool.0,
        key: remembered.key.as_ref().to_owned(),
        element: remembered.element.0,
        digest: remembered.digest,
    }
}

fn remembered(remembered: pb::RememberedKey) -> Remembered {
    let pb::RememberedKey { pool, key, element, digest } = remembered;
    Remembered { pool: PoolId(pool), key: key.into(), element: ElementId(element), digest }
}

fn kept_pb(kept: &Kept) -> pb::KeptElement {
    pb::KeptElement {
        element: kept.element.0,
        pool: kept.pool.0,
        row: Some(row_pb(&kept.row)),
        arrived_ms: kept.arrived_ms,
        key: kept.key.as_ref().to_owned(),
        payload: kept.payload.clone(),
        expire_ms: kept.expire_ms,
        reprobe_ms: kept.reprobe_ms,
    }
}

fn kept(kept: pb::KeptElement) -> Result<Kept, ConvertError> {
    Ok(Kept {
        element: ElementId(kept.element),
        pool: PoolId(kept.pool),
        row: row(kept.row)?,
        arrived_ms: kept.arrived_ms,
        key: kept.key.into(),
        payload: super::frames::compact(kept.payload),
        expire_ms: kept.expire_ms,
        reprobe_ms: kept.reprobe_ms,
    })
}
