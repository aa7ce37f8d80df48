//! Decisions that are final: elements end, and outcomes leave.
//!
//! What is known of elements is all over the memory. So each step is taken for many ends before the next one, and the
//! processor waits for many at a time; and what is counted by pool is counted once for neighbours of one pool.

use super::{
    DEFINED, DecisionError, Ledger, OutcomeEndView, OutcomeView, Outcomes, PoolEntry, Unstable,
    elements::{At, EndedRow, View},
    expires,
};
use crate::{
    Decided, ElementId, EventId, PoolId, Retirement, WithdrawReason,
    batch::{KeptRow, KeyHash},
    hash::shrink,
    planted::Bug,
};

/// Decisions that are taken in one go: what is noted of them stays in the processor's cache.
const TOGETHER: usize = 512;

/// An element that ends, and what there is to know of it.
struct Ending {
    element: ElementId,
    x: EventId,
    at: At,
    pool: PoolId,
    bytes: u64,
    /// Of its key.
    hash: KeyHash,
    /// What its search is counted by.
    searched: Option<u64>,
    expire_ms: Option<u64>,
}

/// What there is to know of an outcome beside its ends.
struct Head {
    pool: PoolId,
    time_ms: u64,
    reason: Option<WithdrawReason>,
}

impl Ledger {
    /// Everything up to an event is decided: what was decided up to it leaves, in order.
    pub(super) fn advance(&mut self, decided: Decided, out: &mut impl Outcomes) -> Result<(), DecisionError> {
        if decided <= self.decided {
            return Ok(());
        }
        let reported = self.retirements.take(decided);
        for reported in reported.chunks(TOGETHER) {
            self.retire(reported, out)?;
        }
        self.elements.tidy();
        self.decided = decided;
        self.time_of(decided.event().next());
        Ok(())
    }

    /// Takes decisions that are final, ascending.
    fn retire(&mut self, reported: &[Retirement], out: &mut impl Outcomes) -> Result<(), DecisionError> {
        let endings = self.endings(reported)?;
        for endings in endings.chunk_by(|one, next| one.pool == next.pool) {
            self.end(endings[0].pool, endings);
        }
        let ended = endings.iter().map(|ending| (ending.element, ending.hash));
        self.ended.insert(ended, &mut self.elements, &mut self.keys);
        let heads = self.heads(reported, &endings)?;
        out.push(self.outcomes(reported, &heads, &endings));
        Ok(())
    }

    /// Marks elements as ended, and looks up what there is to know of them.
    fn endings(&mut self, reported: &[Retirement]) -> Result<Vec<Ending>, DecisionError> {
        self.elements.touch(reported.iter().flat_map(|reported| reported.ends()));
        let mut ends = Vec::with_capacity(2 * reported.len());
        for &reported in reported {
            for element in reported.ends() {
                let at =
                    self.elements.end(element, reported.x).ok_or(DecisionError::NotWaiting { element, reported })?;
                ends.push((element, reported.x, at));
            }
        }
        let ended = self.elements.ended(ends.iter().map(|&(.., at)| at));
        let mut entry: Option<&PoolEntry> = None;
        let ending = |(&(element, x, at), ended): (&(ElementId, EventId, At), EndedRow)| {
            let EndedRow { pool, kept: KeptRow { hash, bytes }, expires: may_expire } = ended;
            let known = entry.filter(|entry| entry.pool.id == pool).unwrap_or_else(|| self.pool(pool));
            entry = Some(known);
            let (mut searched, mut expire_ms) = (None, None);
            if may_expire || known.searched.is_by_key() {
                let View { batch, row, arrived_ms } = self.elements.view(at);
                expire_ms = expires(arrived_ms, batch.clients().ttl_ms(row));
                searched = known.searched.key(&known.pool, batch, row);
            }
            Ending { element, x, at, pool, bytes: bytes.into(), hash, searched, expire_ms }
        };
        Ok(ends.iter().zip(ended).map(ending).collect())
    }

    /// Elements of a pool that were marked as ended wait no longer.
    fn end(&mut self, pool: PoolId, endings: &[Ending]) {
        self.count_out(pool, endings);
        for &Ending { element, x, at, bytes, expire_ms, .. } in endings {
            self.timers.expires_not(pool, element, expire_ms);
            self.elements.leave(at, bytes);
            self.kept.ended_bytes += bytes;
            self.unstable.push_back(Unstable { x, element, at, pool, bytes: self.kept.ended_bytes });
        }
        *self.unstable_in.entry(pool).or_default() += endings.len() as u64;
        if !self.reprobes.is_empty() {
            for &Ending { element, .. } in endings {
                self.timers.searches_not(pool, element, self.reprobes.remove(&element));
            }
            shrink(&mut self.reprobes);
        }
        if !self.closing.is_empty() {
            for Ending { element, .. } in endings {
                self.closing.remove(element);
            }
            shrink(&mut self.closing);
        }
    }

    fn count_out(&mut self, pool: PoolId, endings: &[Ending]) {
        let (count, bytes) = (endings.len() as u64, endings.iter().map(|ending| ending.bytes).sum());
        let entry = self.pools.get_mut(&pool).expect(DEFINED);
        let PoolEntry { counts, group, .. } = entry;
        self.waiting.remove(group, counts.waiting, count, self.limits.waiting_total_max);
        counts.waiting -= count;
        if !self.planted.is(Bug::BytesKept) {
            self.waiting_bytes.remove(group, counts.waiting_bytes, bytes, self.limits.waiting_bytes_total_max);
            counts.waiting_bytes -= bytes;
        }
        entry.left(endings.iter().filter_map(|ending| ending.searched));
    }

    /// What there is to know of outcomes beside their ends; counts them.
    fn heads(&mut self, reported: &[Retirement], endings: &[Ending]) -> Result<Vec<Head>, DecisionError> {
        let (mut heads, mut first) = (Vec::with_capacity(reported.len()), 0);
        for &reported in reported {
            let pool = endings[first].pool;
            first += reported.ends().count();
            let withdrawn = || self.naming.get(&reported.x).and_then(|&(_, reason)| reason);
            let reason = match reported.anchor {
                Some(_) => None,
                None => Some(withdrawn().ok_or(DecisionError::NoWithdrawal { reported })?),
            };
            heads.push(Head { pool, time_ms: self.time_of(reported.x), reason });
        }
        for heads in heads.chunk_by(|one, next| one.pool == next.pool) {
            let counts = &mut self.pool_mut(heads[0].pool).counts;
            heads.iter().for_each(|head| counts.count(head.reason));
        }
        Ok(heads)
    }

    fn outcomes<'a>(
        &'a self,
        reported: &'a [Retirement],
        heads: &'a [Head],
        endings: &'a [Ending],
    ) -> impl Iterator<Item = OutcomeView<'a>> {
        let mut ends = endings.iter().map(|ending| {
            let View { batch, row, arrived_ms } = self.elements.view(ending.at);
            (OutcomeEndView { id: ending.element, arrived_ms, batch, row }, ending.bytes)
        });
        reported.iter().zip(heads).map(move |(reported, &Head { pool, time_ms, reason })| {
            let (element, bytes) = ends.next().expect("an outcome has an end");
            let anchor = reported.anchor.map(|_| ends.next().expect("a match has two ends"));
            let bytes = bytes + anchor.map_or(0, |(_, bytes)| bytes);
            OutcomeView { x: reported.x, pool, time_ms, element, anchor: anchor.map(|(end, _)| end), reason, bytes }
        })
    }
}
