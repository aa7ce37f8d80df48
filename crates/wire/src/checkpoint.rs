//! Chunks of a checkpoint.

use std::sync::Arc;

use bytes::Bytes;
use dovetail_core::{
    ElementId, EventId, PoolId,
    batch::{Fingerprint, KeySecret},
    ledger::{CheckpointElement, CheckpointHead, PoolBase, Remembered},
};
use prost::Message;

use super::error::ConvertError;
use super::pools::{pool_definition, pool_definition_pb};
use super::values::{row, row_pb};
use crate::storage_pb;

/// Most pools of a chunk. The largest there are make less than 3 MiB.
const ENTRIES: usize = 256;
/// Most idempotency keys of a chunk, of 44 bytes each.
const KEYS: usize = 16_384;
/// About the most bytes of elements in a chunk; one element more still fits a checkpoint's bound.
const KEPT_BYTES: usize = 1 << 20;

/// All of a checkpoint but its elements, as chunks.
pub fn base_chunks(base: &CheckpointHead) -> impl Iterator<Item = Vec<u8>> {
    let numbered = is_numbered(base);
    let next_pool = numbered.then_some(base.next_pool.0);
    let key_secret = base.secret.map(|secret| secret.0.map(u64::to_le_bytes).as_flattened().to_vec());
    let head = storage_pb::CheckpointHead {
        through: base.through.0,
        time_ms: base.time_ms,
        next_pool,
        key_secret: key_secret.unwrap_or_default().into(),
    };
    let stop = if numbered { vec![storage_pb::CheckpointPool::default()] } else { Vec::new() };
    let first = storage_pb::CheckpointChunk { head: Some(head), pools: stop, ..Default::default() };
    let all: Vec<(&PoolId, &PoolBase)> = base.pools.iter().collect();
    let chunks: Vec<Vec<storage_pb::CheckpointPool>> = all
        .chunks(ENTRIES)
        .map(|pools| pools.iter().map(|&(id, pool)| pool_pb(*id, pool, numbered)).collect())
        .collect();
    let pools = chunks.into_iter().map(move |pools| {
        if numbered {
            storage_pb::CheckpointChunk { numbered: pools, ..Default::default() }
        } else {
            storage_pb::CheckpointChunk { pools, ..Default::default() }
        }
    });
    let dropped = base.dropped.chunks(ENTRIES).map(|dropped| storage_pb::CheckpointChunk {
        dropped: dropped.iter().map(dropped_pb).collect(),
        ..Default::default()
    });
    let remembered = base
        .idempotency
        .chunks(KEYS)
        .map(|remembered| storage_pb::CheckpointChunk { keys: Some(remembered_pb(remembered)), ..Default::default() });
    [first].into_iter().chain(pools).chain(dropped).chain(remembered).map(|chunk| chunk.encode_to_vec())
}

/// Whether the numbers of pools, or that one is being dropped, do not follow from their places: one was dropped, or is
/// being.
fn is_numbered(base: &CheckpointHead) -> bool {
    let in_place = |(place, (id, pool)): (u32, (&PoolId, &PoolBase))| id.0 == place && pool.closed_at.is_none();
    let plain = (0..).zip(&base.pools).all(in_place) && base.next_pool.0 as usize == base.pools.len();
    !plain || !base.dropped.is_empty()
}

/// Collects elements into chunks.
#[derive(Debug, Default)]
pub struct KeptChunk {
    chunk: storage_pb::CheckpointChunk,
    bytes: usize,
}

impl KeptChunk {
    /// Adds an element. The chunk's bytes when it is full; it is empty then.
    pub fn push(&mut self, kept: &CheckpointElement) -> Option<Vec<u8>> {
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
    base: CheckpointHead,
    has_head: bool,
    numbered: bool,
    /// What idempotency keys get to be known by, where they are there as they came.
    secret: KeySecret,
}

impl ReadChunks {
    /// A checkpoint from its beginning. One that has idempotency keys as they came gets this secret.
    #[must_use]
    pub fn new(secret: KeySecret) -> ReadChunks {
        ReadChunks { secret, ..ReadChunks::default() }
    }

    /// Takes a chunk, and returns the elements in it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(&mut self, chunk: &[u8]) -> Result<Vec<CheckpointElement>, ConvertError> {
        let through = self.base.through.0;
        let chunk = storage_pb::CheckpointChunk::decode(chunk)
            .map_err(|error| ConvertError::Record { through, reason: error.to_string() })?;
        if let Some(head) = chunk.head {
            self.has_head = true;
            (self.base.through, self.base.time_ms) = (EventId(head.through), head.time_ms);
            self.numbered = head.next_pool.is_some();
            self.base.next_pool = PoolId(head.next_pool.unwrap_or_default());
            self.base.secret = Some(key_secret(&head.key_secret, self.secret)?);
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
        let (secret, time_ms) = (self.base.secret.unwrap_or(self.secret), self.base.time_ms);
        self.base.idempotency.extend(chunk.remembered.into_iter().map(|key| remembered(key, secret, time_ms)));
        if let Some(keys) = &chunk.keys {
            read_keys(keys, &mut self.base.idempotency)?;
        }
        chunk.kept.into_iter().map(kept).collect()
    }

    /// The base.
    ///
    /// # Errors
    /// When no chunk had a head.
    pub fn base(self) -> Result<CheckpointHead, ConvertError> {
        if self.has_head { Ok(self.base) } else { Err(ConvertError::Missing("the checkpoint's head")) }
    }
}

fn dropped_pb((pool, name): &(PoolId, Arc<str>)) -> storage_pb::CheckpointDroppedPool {
    storage_pb::CheckpointDroppedPool { pool: pool.0, name: name.as_ref().to_owned() }
}

fn pool_pb(id: PoolId, pool: &PoolBase, numbered: bool) -> storage_pb::CheckpointPool {
    storage_pb::CheckpointPool {
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

fn pool(pool: storage_pb::CheckpointPool) -> Result<PoolBase, ConvertError> {
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

fn remembered_pb(remembered: &[Remembered]) -> storage_pb::RememberedKeys {
    fn column<const N: usize>(of: &[Remembered], bytes: impl Fn(&Remembered) -> [u8; N]) -> Bytes {
        of.iter().flat_map(bytes).collect()
    }
    storage_pb::RememberedKeys {
        fingerprints: column(remembered, |key| key.key.to_bytes()),
        elements: column(remembered, |key| key.element.0.to_le_bytes()),
        digests: column(remembered, |key| key.digest.to_le_bytes()),
        arrived_ms: column(remembered, |key| key.arrived_ms.to_le_bytes()),
        pools: column(remembered, |key| key.pool.0.to_le_bytes()),
    }
}

fn read_keys(keys: &storage_pb::RememberedKeys, to: &mut Vec<Remembered>) -> Result<(), ConvertError> {
    let (fingerprints, more) = keys.fingerprints.as_chunks::<16>();
    let count = fingerprints.len();
    let fit = [&keys.elements, &keys.digests, &keys.arrived_ms].iter().all(|column| column.len() == count * 8);
    if !more.is_empty() || !fit || keys.pools.len() != count * 4 {
        return Err(ConvertError::Missing("a column of the idempotency keys, or its end"));
    }
    let column = |column: &Bytes, row: usize| u64::from_le_bytes(column.as_chunks::<8>().0[row]);
    to.extend((0..count).map(|row| Remembered {
        pool: PoolId(u32::from_le_bytes(keys.pools.as_chunks::<4>().0[row])),
        key: Fingerprint::from_bytes(fingerprints[row]),
        element: ElementId(column(&keys.elements, row)),
        digest: column(&keys.digests, row),
        arrived_ms: column(&keys.arrived_ms, row),
    }));
    Ok(())
}

/// The secret of a checkpoint; `own` where it has none.
fn key_secret(bytes: &[u8], own: KeySecret) -> Result<KeySecret, ConvertError> {
    match bytes.as_chunks::<8>() {
        ([], []) => Ok(own),
        (&[one, other], []) => Ok(KeySecret([one, other].map(u64::from_le_bytes))),
        _ => Err(ConvertError::Missing("a part of the secret of idempotency keys")),
    }
}

/// A key as earlier versions kept it. They did not say since when: it is remembered as if from now on.
fn remembered(remembered: storage_pb::RememberedKey, secret: KeySecret, time_ms: u64) -> Remembered {
    let storage_pb::RememberedKey { pool, key, element, digest } = remembered;
    let key = secret.fingerprint(PoolId(pool), key.as_bytes());
    Remembered { pool: PoolId(pool), key, element: ElementId(element), digest, arrived_ms: time_ms }
}

fn kept_pb(kept: &CheckpointElement) -> storage_pb::KeptElement {
    storage_pb::KeptElement {
        element: kept.element.0,
        pool: kept.pool.0,
        row: Some(row_pb(&kept.row)),
        arrived_ms: kept.arrived_ms,
        key: kept.key.as_ref().to_owned(),
        payload: kept.payload.clone(),
        expire_ms: kept.expire_ms,
        reprobe_ms: kept.reprobe_ms,
        owner: kept.owner.as_ref().to_owned(),
    }
}

fn kept(kept: storage_pb::KeptElement) -> Result<CheckpointElement, ConvertError> {
    Ok(CheckpointElement {
        element: ElementId(kept.element),
        pool: PoolId(kept.pool),
        row: row(kept.row)?,
        arrived_ms: kept.arrived_ms,
        key: kept.key.into(),
        payload: super::records::compact(kept.payload),
        expire_ms: kept.expire_ms,
        reprobe_ms: kept.reprobe_ms,
        owner: kept.owner.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: impl IntoIterator<Item = Vec<u8>>, secret: KeySecret) -> Result<CheckpointHead, ConvertError> {
        let mut read = ReadChunks::new(secret);
        for chunk in chunks {
            assert!(read.read(&chunk)?.is_empty(), "a base has no elements");
        }
        read.base()
    }

    fn base(keys: usize) -> CheckpointHead {
        let secret = KeySecret([5, 6]);
        let key = |number: usize| Remembered {
            pool: PoolId(number as u32 % 3),
            key: secret.fingerprint(PoolId(number as u32 % 3), number.to_string().as_bytes()),
            element: ElementId(number as u64 + 10),
            digest: number as u64 * 7,
            arrived_ms: number as u64 / 2,
        };
        let idempotency = (0..keys).map(key).collect();
        CheckpointHead {
            through: EventId(99_999),
            time_ms: 88,
            idempotency,
            secret: Some(secret),
            ..CheckpointHead::default()
        }
    }

    #[test]
    fn idempotency_keys_are_read_as_they_were_written_with_the_secret_they_are_known_by() {
        for keys in [0, 1, KEYS, 2 * KEYS + 1] {
            assert_eq!(read(base_chunks(&base(keys)), KeySecret([1, 2])).unwrap(), base(keys), "{keys} keys");
        }
    }

    /// Checkpoints of versions that remembered keys by their number.
    #[test]
    fn keys_of_earlier_versions_are_remembered_from_the_checkpoint_on() {
        let old = storage_pb::CheckpointChunk {
            head: Some(storage_pb::CheckpointHead { through: 7, time_ms: 500, ..Default::default() }),
            remembered: vec![storage_pb::RememberedKey { pool: 3, key: "once".to_owned(), element: 5, digest: 9 }],
            ..Default::default()
        };
        let own = KeySecret([1, 2]);
        let base = read([old.encode_to_vec()], own).unwrap();
        assert_eq!((base.time_ms, base.secret), (500, Some(own)));
        let key = own.fingerprint(PoolId(3), b"once");
        let expected = Remembered { pool: PoolId(3), key, element: ElementId(5), digest: 9, arrived_ms: 500 };
        assert_eq!(base.idempotency, [expected]);
    }

    #[test]
    fn columns_that_do_not_fit_each_other_are_refused() {
        let head = storage_pb::CheckpointHead { key_secret: vec![0; 16].into(), ..Default::default() };
        let good = remembered_pb(&base(3).idempotency);
        let short = |column: &Bytes| column.slice(1..);
        for keys in [
            storage_pb::RememberedKeys { fingerprints: short(&good.fingerprints), ..good.clone() },
            storage_pb::RememberedKeys { elements: short(&good.elements), ..good.clone() },
            storage_pb::RememberedKeys { digests: short(&good.digests), ..good.clone() },
            storage_pb::RememberedKeys { arrived_ms: short(&good.arrived_ms), ..good.clone() },
            storage_pb::RememberedKeys { pools: short(&good.pools), ..good.clone() },
        ] {
            let chunk =
                storage_pb::CheckpointChunk { head: Some(head.clone()), keys: Some(keys), ..Default::default() };
            assert!(read([chunk.encode_to_vec()], KeySecret::default()).is_err());
        }
        for bytes in [1, 8, 17] {
            let head = storage_pb::CheckpointHead { key_secret: vec![0; bytes].into(), ..Default::default() };
            let chunk = storage_pb::CheckpointChunk { head: Some(head), ..Default::default() };
            assert!(read([chunk.encode_to_vec()], KeySecret::default()).is_err());
        }
    }
}
