//! Which element an idempotency key made, for as long as that is promised.
//!
//! A key is remembered for a time (event time) after its element arrived, whatever others submit meanwhile: what would
//! be too much to remember is refused instead. A pool has a quota. All pools together have one, too, which is shared as
//! [`room`](super::room) has it: nothing is given back for long, so the pools of a group get no more than is left for
//! others, which is this quota where others have none. So at most twice the quota of all is remembered, at about a
//! hundred bytes each. Invariants: idempotency.I1 no key is forgotten before its time, unless its pool is dropped;
//! idempotency.I2 keys are forgotten in the order in which their elements arrived.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::{BuildHasher, BuildHasherDefault, Hasher},
    sync::Arc,
};

use dovetail_rule::{Row, Value};

use super::{
    limits::LedgerLimits,
    room::{self, Room, Taken},
};
use crate::{
    ElementId, PoolId,
    batch::{ClientPart, Fingerprint, KeySecret},
    planted::{Bug, Planted},
    ring::FixedState,
};

/// Maps of keys. Each grows, and shrinks, at a time of its own: no request waits while millions of keys are moved.
const MAPS: usize = 64;
/// A map that is emptier than a quarter is made smaller, unless it is this small.
const SMALL: usize = 256;

/// A fingerprint is a hash already.
#[derive(Debug, Default)]
struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a fingerprint writes a word")
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// An idempotency key as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The pool.
    pub pool: PoolId,
    /// What stands for the key, by the secret of the checkpoint that has it.
    pub key: Fingerprint,
    /// The element it made.
    pub element: ElementId,
    /// Of what was submitted with it.
    pub digest: u64,
    /// When the element arrived, in milliseconds.
    pub arrived_ms: u64,
}

impl Remembered {
    /// Whether it may be forgotten.
    fn is_over(&self, keep_ms: u64, now_ms: u64) -> bool {
        is_over(self.arrived_ms, keep_ms, now_ms)
    }
}

fn is_over(arrived_ms: u64, keep_ms: u64, now_ms: u64) -> bool {
    arrived_ms.saturating_add(keep_ms) < now_ms
}

/// Why no more keys of a pool are remembered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// The quota, and whether it is that of all pools together.
    pub(super) bound: usize,
    pub(super) total: bool,
    /// Until the oldest key of the pool is forgotten, in milliseconds.
    pub(super) room_ms: u64,
}

/// What a key made.
#[derive(Clone, Copy, Debug)]
struct Made {
    element: ElementId,
    digest: u64,
}

/// A key in the order of its pool.
#[derive(Clone, Copy, Debug)]
struct Turn {
    key: Fingerprint,
    /// A key that was forgotten can come again, and with a setting that has grown both are remembered.
    element: ElementId,
    arrived_ms: u64,
}

/// The keys of a pool, oldest first.
#[derive(Debug)]
struct OfPool {
    group: Arc<str>,
    turns: VecDeque<Turn>,
}

/// The keys that are remembered.
#[derive(Debug)]
pub(super) struct Idempotency {
    secret: KeySecret,
    keep_ms: u64,
    pool_max: usize,
    /// Most of all pools: twice what those of one group may have.
    all_max: u64,
    by_key: Box<[HashMap<Fingerprint, Made, BuildHasherDefault<FingerprintHasher>>]>,
    /// Of each pool that has any.
    order: HashMap<PoolId, OfPool>,
    /// When the oldest of each pool arrived.
    oldest: BTreeSet<(u64, PoolId)>,
    taken: Taken,
    planted: Planted,
}

impl Idempotency {
    pub(super) fn new(limits: &LedgerLimits) -> Idempotency {
        Idempotency {
            secret: limits.key_secret,
            keep_ms: limits.idempotency_ms,
            pool_max: limits.idempotency_max,
            all_max: (limits.idempotency_total_max as u64).saturating_mul(2),
            by_key: (0..MAPS).map(|_| HashMap::default()).collect(),
            order: HashMap::new(),
            oldest: BTreeSet::new(),
            taken: Taken::default(),
            planted: Planted::default(),
        }
    }

    #[cfg(feature = "planted")]
    pub(super) fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// Goes on with the secret of a checkpoint, whose keys are inserted then, oldest first.
    pub(super) fn restore(&mut self, secret: KeySecret) {
        assert_eq!(self.taken.all, 0, "keys by two secrets");
        self.secret = secret;
    }

    /// What is to be remembered of an element, if it has an idempotency key.
    pub(super) fn of(
        &self,
        pool: PoolId,
        client: &ClientPart,
        row: &Row,
        element: ElementId,
        arrived_ms: u64,
    ) -> Option<Remembered> {
        of(self.secret, pool, client, row, element, arrived_ms)
    }

    /// Remembers a key of a pool of a group; the quotas were asked before. Elements come in the order of their arrival.
    pub(super) fn insert(&mut self, group: &Arc<str>, remembered: Remembered) {
        // As an older version was told to: none.
        if self.pool_max == 0 {
            return;
        }
        let Remembered { pool, key, element, digest, arrived_ms } = remembered;
        let of_pool = || OfPool { group: Arc::clone(group), turns: VecDeque::new() };
        let OfPool { turns, .. } = self.order.entry(pool).or_insert_with(of_pool);
        if turns.is_empty() {
            self.oldest.insert((arrived_ms, pool));
        }
        self.taken.add(group, turns.len() as u64, 1, self.all_max);
        turns.push_back(Turn { key, element, arrived_ms });
        self.by_key[key.share(MAPS)].insert(key, Made { element, digest });
        if self.planted.is(Bug::IdempotencyForgottenByCount) && self.count(pool) > self.pool_max {
            self.forget_oldest(pool);
        }
    }

    /// It is `now_ms`: forgets what need not be remembered.
    pub(super) fn pass(&mut self, now_ms: u64) {
        let early = self.planted.is(Bug::IdempotencyForgottenEarly);
        let keep_ms = if early { self.keep_ms / 2 } else { self.keep_ms };
        while let Some(&(arrived_ms, pool)) = self.oldest.first()
            && is_over(arrived_ms, keep_ms, now_ms)
        {
            self.forget_oldest(pool);
        }
    }

    fn forget_oldest(&mut self, pool: PoolId) {
        let Some(OfPool { group, turns }) = self.order.get_mut(&pool) else { return };
        let Some(Turn { key, element, arrived_ms }) = turns.pop_front() else { return };
        self.taken.remove(group, turns.len() as u64 + 1, 1, self.all_max);
        match turns.front() {
            Some(next) if next.arrived_ms == arrived_ms => {}
            next => {
                self.oldest.remove(&(arrived_ms, pool));
                self.oldest.extend(next.map(|next| (next.arrived_ms, pool)));
            }
        }
        match turns.len() {
            0 => _ = self.order.remove(&pool),
            left if turns.capacity() > SMALL && left < turns.capacity() / 4 => turns.shrink_to(left * 2),
            _ => {}
        }
        let map = &mut self.by_key[key.share(MAPS)];
        if map.get(&key).is_some_and(|made| made.element == element) {
            map.remove(&key);
            if map.capacity() > SMALL && map.len() < map.capacity() / 4 {
                map.shrink_to(map.len() * 2);
            }
        }
    }

    /// Forgets the keys of a pool that is gone: no submission can name it.
    pub(super) fn forget_pool(&mut self, pool: PoolId) {
        while self.order.contains_key(&pool) {
            self.forget_oldest(pool);
        }
    }

    /// Whether one more key of a pool, which is of a group, would be too many.
    pub(super) fn full(&self, pool: PoolId, group: &str, now_ms: u64) -> Option<Full> {
        if self.pool_max == 0 || self.planted.is(Bug::IdempotencyForgottenByCount) {
            return None;
        }
        let room = Room {
            taken: &self.taken,
            group,
            own: self.count(pool) as u64,
            before: 0,
            more: 1,
            own_max: self.pool_max as u64,
            all_max: self.all_max,
            group_share: 1,
        };
        let (bound, total) = match room.full()? {
            room::RoomFull::Own => (self.pool_max, false),
            room::RoomFull::All | room::RoomFull::Share | room::RoomFull::Group => (self.total_max(), true),
        };
        let oldest = self.order.get(&pool).and_then(|of_pool| of_pool.turns.front());
        // Where a pool has none, some other's has to go.
        let arrived_ms = oldest.map(|turn| turn.arrived_ms).or(self.oldest.first().map(|&(arrived_ms, _)| arrived_ms));
        let over_ms = arrived_ms.unwrap_or(now_ms).saturating_add(self.keep_ms).saturating_add(1);
        Some(Full { bound, total, room_ms: over_ms.saturating_sub(now_ms) })
    }

    /// How many keys of a pool are remembered.
    pub(super) fn count(&self, pool: PoolId) -> usize {
        self.order.get(&pool).map_or(0, |of_pool| of_pool.turns.len())
    }

    fn total_max(&self) -> usize {
        usize::try_from(self.all_max / 2).unwrap_or(usize::MAX)
    }

    /// How many keys of all pools.
    pub(super) fn total(&self) -> usize {
        usize::try_from(self.taken.all).expect("each takes memory")
    }

    /// The element that a key made, and whether the same body made it. The body is looked at only where there is one.
    pub(super) fn find(
        &self,
        pool: PoolId,
        idempotency_key: &[u8],
        body: impl FnOnce() -> (ClientPart, Row),
    ) -> Option<(ElementId, bool)> {
        if idempotency_key.is_empty() || self.taken.all == 0 {
            return None;
        }
        let key = self.secret.fingerprint(pool, idempotency_key);
        let made = self.by_key[key.share(MAPS)].get(&key)?;
        let (client, row) = body();
        Some((made.element, made.digest == digest(&client, &row)))
    }
}

/// What is to be remembered of an element, if it has an idempotency key.
fn of(
    secret: KeySecret,
    pool: PoolId,
    client: &ClientPart,
    row: &Row,
    element: ElementId,
    arrived_ms: u64,
) -> Option<Remembered> {
    if client.idempotency_key.is_empty() {
        return None;
    }
    let key = secret.fingerprint(pool, client.idempotency_key.as_bytes());
    Some(Remembered { pool, key, element, digest: digest(client, row), arrived_ms })
}

/// Keys on their way from one checkpoint to the next: they are not looked up, so a list is enough.
#[derive(Debug)]
pub(super) struct FoldedKeys {
    secret: KeySecret,
    keep_ms: u64,
    none: bool,
    /// Oldest first.
    keys: VecDeque<Remembered>,
}

impl FoldedKeys {
    pub(super) fn new(limits: &LedgerLimits, secret: KeySecret, keys: Vec<Remembered>) -> FoldedKeys {
        FoldedKeys { secret, keep_ms: limits.idempotency_ms, none: limits.idempotency_max == 0, keys: keys.into() }
    }

    /// Takes an element that arrived, after all that are older.
    pub(super) fn arrived(&mut self, pool: PoolId, client: &ClientPart, row: &Row, element: ElementId, now_ms: u64) {
        self.keys.extend(of(self.secret, pool, client, row, element, now_ms).filter(|_| !self.none));
        self.pass(now_ms);
    }

    fn pass(&mut self, now_ms: u64) {
        while self.keys.pop_front_if(|oldest| oldest.is_over(self.keep_ms, now_ms)).is_some() {}
    }

    /// All that are remembered at a time, oldest first, and what they are known by. None are left here.
    pub(super) fn take(&mut self, now_ms: u64) -> (KeySecret, Vec<Remembered>) {
        self.pass(now_ms);
        (self.secret, std::mem::take(&mut self.keys).into())
    }
}

/// Kept in checkpoints, so it is the same in every version: the ring's hash, over our own bytes.
fn digest(client: &ClientPart, row: &Row) -> u64 {
    let mut hash = FixedState.build_hasher();
    sized(&mut hash, client.key.as_bytes());
    sized(&mut hash, &client.payload);
    hash.write(&client.ttl_ms.to_le_bytes());
    for value in row.values() {
        match value {
            None => hash.write(&[0]),
            Some(Value::Int(int)) => tagged(&mut hash, 1, &int.to_le_bytes()),
            Some(Value::Double(double)) => tagged(&mut hash, 2, &double.to_bits().to_le_bytes()),
            Some(Value::String(string)) => {
                hash.write(&[3]);
                sized(&mut hash, string.as_bytes());
            }
            Some(Value::Bool(bool)) => tagged(&mut hash, 4, &[u8::from(*bool)]),
            Some(Value::StringList(list)) => {
                tagged(&mut hash, 5, &(list.len() as u64).to_le_bytes());
                list.iter().for_each(|entry| sized(&mut hash, entry.as_bytes()));
            }
        }
    }
    hash.finish()
}

fn sized(hash: &mut impl Hasher, bytes: &[u8]) {
    hash.write(&(bytes.len() as u64).to_le_bytes());
    hash.write(bytes);
}

fn tagged(hash: &mut impl Hasher, tag: u8, bytes: &[u8]) {
    hash.write(&[tag]);
    hash.write(bytes);
}
