//! One worker index's share of the pair space (docs/protocol.md, "Who does what").
//!
//! Reads the log in id order, lists for each probe the anchors it owns that satisfy the rule, and tells every shard
//! what concerns it. In a pool that is split by index it decides nothing. In one where it alone searches for an element
//! (split by key, or a cluster of one slice) it sees every conflict: there it is the sequential program, and settles
//! matches itself. Invariants: slice.S1 events are searched in ascending order, each once; slice.S2 no list is longer
//! than `list_max`; slice.S3 an anchor is left out at `x` only when it was retired by an event below `x` (R1); slice.S4
//! frames above the stable cut are kept; slice.S5 what is settled follows from the cut and the log alone, never from
//! what others decided.

mod complete;
mod frames;
mod hot;
mod lookahead;
mod others;
mod pools;
mod prober;
mod retired;
mod row_buffer;
mod rows;
mod settle;
mod shared;
mod slices;
mod types;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use dovetail_rule::Row;

use crate::{
    Audience, Cursor, Decided, ElementId, Event, EventId, EventKind, News, Place, Placement, PoolId, Retirement,
    ShardId, SliceId, Stable,
    column_frame::{ColumnFrame, Step},
    planted::{Bug, Planted},
};
pub use dovetail_rule::table::Secret;
use frames::Frames;
pub use hot::HotKey;
use lookahead::Lookahead;
use others::{Flight, OthersView};
pub(crate) use pools::COMPLETE_VIEW_MAX;
use pools::{Pools, SlicePool};
use prober::Prober;
use retired::Retired;
use row_buffer::RowBuffer;
use shared::{Search, Shared};
pub use slices::{SliceRef, Slices};
pub use types::{
    CandidateBacklog, CursorTooOld, FrameError, SliceCut, SliceEffect, SlicePoolStats, SliceStats, WaitingElement,
};

/// A slice, one of those of a matcher ([`Slices`]).
#[derive(Debug)]
pub struct Slice {
    id: SliceId,
    placement: Placement,
    list_max: usize,
    planted: Planted,
    pools: Pools,
    retired: Retired,
    /// What was decided in pools with a complete view, and what is in flight in the others.
    flight: Flight,
    /// No later frame of the log names an element retired at or below this event: the highest stable cut of those
    /// that were searched.
    named_above: Stable,
    /// Decided watermark by shard.
    decided: Vec<Decided>,
    stable: Stable,
    /// Where it started.
    cut: EventId,
    /// Elements dead at the cut whose reprobes and withdrawals are passed over.
    left_out: BTreeSet<ElementId>,
    received: EventId,
    through: EventId,
    pending: VecDeque<Arc<ColumnFrame>>,
    buffer: RowBuffer,
    /// The last frame that was looked ahead into.
    looked_ahead: EventId,
    ahead: Lookahead,
    frames: Frames,
    stats: SliceStats,
}

impl Slice {
    /// Starts at a cut, but for what waits there.
    ///
    /// # Errors
    /// When a pool of the cut does not compile here.
    fn new(
        placement: Placement,
        id: SliceId,
        list_max: usize,
        secret: Secret,
        cut: &SliceCut,
        shared: &mut Shared,
    ) -> Result<Slice, FrameError> {
        let shards = placement.shards() as usize;
        let mut slice = Slice {
            id,
            list_max,
            planted: Planted::default(),
            pools: Pools::new(secret),
            retired: Retired::new(cut.through),
            flight: Flight::default(),
            named_above: Stable::ZERO,
            decided: vec![Decided(cut.through); shards],
            stable: Stable(cut.through),
            cut: cut.through,
            left_out: cut.left_out.clone(),
            received: cut.through,
            through: cut.through,
            pending: VecDeque::new(),
            buffer: RowBuffer::default(),
            looked_ahead: cut.through,
            ahead: Lookahead::new(list_max),
            frames: Frames::new(
                id,
                shards,
                cut.through,
                News { decided_seen: Decided(cut.through), stable: Stable(cut.through) },
            ),
            stats: SliceStats::default(),
            placement,
        };
        for (pool, definition) in &cut.pools {
            let others = if cut.complete.contains(pool) { OthersView::Complete } else { OthersView::Unknown };
            slice.pools.define(shared, cut.through, *pool, Arc::clone(definition), &slice.placement, others)?;
        }
        Ok(slice)
    }

    /// Takes in an element that waits at the cut, after all with lower ids.
    fn on_waiting(&mut self, shared: &mut Shared, waiting: &WaitingElement) -> Result<(), FrameError> {
        let &WaitingElement { element, pool, arrived_ms, ref row } = waiting;
        let place = self.place(self.cut, pool, element, row)?;
        let entry = self.pools.get(self.cut, pool)?;
        if entry.is_complete() || self.placement.owner(place) == self.id {
            let key = entry.bucket_hash(row);
            self.pools.insert(shared, &Prober { element, pool, row, arrived_ms, key });
        }
        Ok(())
    }

    /// Takes the next frame of the log and searches as far as it may. A frame received before is passed over.
    fn on_frame(
        &mut self,
        shared: &mut Shared,
        frame: Arc<ColumnFrame>,
        out: &mut Vec<SliceEffect>,
    ) -> Result<(), FrameError> {
        if frame.through() <= self.received {
            return Ok(());
        }
        if frame.after() > self.received {
            return Err(FrameError::Gap { after: frame.after(), received: self.received });
        }
        self.received = frame.through();
        self.pending.push_back(frame);
        self.search(shared, out)
    }

    /// Takes what a shard decided, and searches on where it waited for that.
    fn on_decisions(
        &mut self,
        shared: &mut Shared,
        from: ShardId,
        (retirements, decided): (&[Retirement], Option<Decided>),
        out: &mut Vec<SliceEffect>,
    ) -> Result<(), FrameError> {
        for retirement in retirements {
            self.on_retirement(shared, retirement);
        }
        if let Some(decided) = decided {
            self.decided[from.0 as usize].raise(decided);
        }
        self.search(shared, out)?;
        self.tell(out);
        Ok(())
    }

    /// Takes the stable cut: frames at or below it will never be asked for again. Passes the news on when idle.
    fn on_stable(&mut self, stable: Stable, out: &mut Vec<SliceEffect>) {
        if stable <= self.stable {
            return;
        }
        self.stable = stable;
        self.frames.trim(stable);
        self.tell(out);
    }

    /// The backlog for a shard that has read up to `after`. What comes later goes out as effects.
    ///
    /// # Errors
    /// When frames after its cursor are gone.
    pub fn subscribe(&self, shard: ShardId, after: Cursor) -> Result<CandidateBacklog, CursorTooOld> {
        self.frames.backlog(shard, after, self.own_news())
    }

    /// Which slice this is.
    #[must_use]
    pub fn id(&self) -> SliceId {
        self.id
    }

    /// The last event received from the log; where to resume the feed.
    #[must_use]
    pub fn received(&self) -> EventId {
        self.received
    }

    /// The last event searched.
    #[must_use]
    pub fn through(&self) -> EventId {
        self.through
    }

    /// The decided watermark: the lowest of all shards'.
    #[must_use]
    pub fn decided_seen(&self) -> Decided {
        self.decided.iter().copied().min().expect("a placement has a shard")
    }

    /// A shard's watermark as known here; where to resume its decisions.
    #[must_use]
    pub fn decided(&self, shard: ShardId) -> Decided {
        self.decided[shard.0 as usize]
    }

    /// The lowest cursor from which candidates can be read.
    #[must_use]
    pub fn floor(&self) -> Cursor {
        self.frames.floor()
    }

    /// Times a search waited for the decided watermark.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.ahead.waits()
    }

    /// Whether the search waits for the decided watermark.
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.ahead.waiting()
    }

    /// Searches that were looked ahead for.
    #[must_use]
    pub fn looked_ahead(&self) -> u64 {
        self.pools.looked_ahead
    }

    /// Candidate frames kept for shards that may ask again.
    #[must_use]
    pub fn frames_kept(&self) -> usize {
        self.frames.kept()
    }

    /// Retired elements remembered.
    #[must_use]
    pub fn retired_kept(&self) -> usize {
        self.retired.len() + self.flight.gone()
    }

    /// Counts for people.
    #[must_use]
    pub fn stats(&self) -> &SliceStats {
        &self.stats
    }

    /// The elements of a pool that wait here and are the slice's own, in no order.
    fn own_anchors<'a>(
        &'a self,
        shared: &'a Shared,
        entry: &'a SlicePool,
    ) -> impl Iterator<Item = ElementId> + use<'a> {
        let all = entry.is_complete();
        let listed = entry.lists().then(|| shared.own(entry.pool.id, self.id, self.through));
        let kept = entry.anchors.ids().map(ElementId).filter(move |&element| !all || self.owns(element));
        kept.chain(listed.into_iter().flatten())
    }

    /// Searches as far as it may.
    fn search(&mut self, shared: &mut Shared, out: &mut Vec<SliceEffect>) -> Result<(), FrameError> {
        self.search_frames(shared, out)?;
        shared.reached(self.id, self.through);
        Ok(())
    }

    fn search_frames(&mut self, shared: &mut Shared, out: &mut Vec<SliceEffect>) -> Result<(), FrameError> {
        while let Some(frame) = self.pending.front().map(Arc::clone) {
            if self.looked_ahead < frame.through() {
                self.looked_ahead = frame.through();
                self.pools.look_ahead(&frame, self.through);
                self.pools.take_in(shared, &frame, self.through);
            }
            for step in frame.steps_above(self.through) {
                let defines = matches!(&step, Step::Event(Event { kind: EventKind::PoolDefined { .. }, .. }));
                let searched = match step {
                    Step::Event(event) => self.search_event(shared, event, frame.time_ms())?,
                    Step::Arrivals(arrivals, rows) => self.search_rows(shared, arrivals, rows, frame.time_ms())?,
                };
                if defines {
                    self.pools.take_in(shared, &frame, self.through);
                }
                if !searched {
                    self.flush(&frame, out);
                    return Ok(());
                }
            }
            self.through = frame.through();
            self.pending.pop_front();
            self.flush(&frame, out);
            self.named_above = frame.stable().max(self.named_above);
        }
        self.apply_retirements_below(shared, self.through.next());
        self.flight.decided(self.decided_seen());
        self.forget();
        Ok(())
    }

    /// Searches one event. False when it has to wait for the decided watermark.
    fn search_event(&mut self, shared: &mut Shared, event: &Event, time_ms: u64) -> Result<bool, FrameError> {
        // Events that a frame leaves out do not concern this slice, and count as searched.
        self.through = event.x.prev();
        let searched = match &event.kind {
            EventKind::Arrival { pool, row } => {
                let key = self.bucket_hash(event.x, *pool, row)?;
                let prober = Prober { element: ElementId::from(event.x), pool: *pool, row, arrived_ms: time_ms, key };
                self.search_arrival(shared, event.x, &prober, time_ms)?
            }
            _ => self.search_other(shared, event, time_ms)?,
        };
        if searched {
            self.through = event.x;
        }
        Ok(searched)
    }

    /// Searches for an element that arrives. False when it has to wait for the decided watermark.
    fn search_arrival(
        &mut self,
        shared: &mut Shared,
        x: EventId,
        prober: &Prober<'_>,
        time_ms: u64,
    ) -> Result<bool, FrameError> {
        self.apply_retirements_below(shared, x);
        if self.pools.get(x, prober.pool)?.settled {
            return self.settle_arrival(shared, x, prober, time_ms);
        }
        if !self.note(shared, x, prober.pool)? {
            return Ok(false);
        }
        if self.pools.get(x, prober.pool)?.is_complete() {
            return self.search_complete_arrival(shared, x, prober, time_ms);
        }
        let Some(anchors) = self.probe(shared, x, prober, time_ms)? else { return Ok(false) };
        self.list(x, prober.element, anchors, false);
        if self.owns(prober.element) {
            self.pools.insert(shared, prober);
        }
        self.noted(x, prober.pool, Some(prober));
        Ok(true)
    }

    /// Searches one event that is no arrival. False when it has to wait for the decided watermark.
    fn search_other(&mut self, shared: &mut Shared, event: &Event, time_ms: u64) -> Result<bool, FrameError> {
        let x = event.x;
        self.apply_retirements_below(shared, x);
        if let EventKind::Withdrawal { element, .. } | EventKind::Reprobe { element, .. } = &event.kind
            && self.left_out.contains(element)
            && !self.planted.is(Bug::R2FeedUnfiltered)
        {
            return Ok(true);
        }
        let Some(pool) = event.pool().filter(|&pool| self.pools.get(x, pool).is_ok_and(|entry| !entry.settled)) else {
            return self.search_in(shared, event, time_ms);
        };
        if !self.note(shared, x, pool)? {
            return Ok(false);
        }
        if self.pools.get(x, pool)?.is_complete() {
            return self.search_complete(shared, event, time_ms);
        }
        let searched = self.search_in(shared, event, time_ms)?;
        if searched {
            self.noted(x, pool, None);
        }
        Ok(searched)
    }

    /// Searches one event that is no arrival, of a pool that is settled, or of one where only the slice's own anchors
    /// are known.
    fn search_in(&mut self, shared: &mut Shared, event: &Event, time_ms: u64) -> Result<bool, FrameError> {
        let x = event.x;
        match &event.kind {
            EventKind::PoolDefined { pool, definition } => {
                let (definition, others) = (Arc::clone(definition), OthersView::Complete);
                self.pools.define(shared, x, *pool, definition, &self.placement, others)?;
            }
            EventKind::PoolClosed { pool } => {
                if self.planted.is(Bug::SliceForgetsClosed) {
                    self.forget_pool(shared, *pool);
                }
            }
            // Nothing of it is in flight. An element that is not known to be retired yet will be, and is then looked up
            // in vain.
            EventKind::PoolDropped { pool } => self.forget_pool(shared, *pool),
            EventKind::Withdrawal { element, pool, .. } => {
                if self.pools.get(x, *pool)?.settled {
                    self.settle_withdrawal(x, *element, *pool)?;
                } else {
                    self.withdraw(shared, x, *element);
                }
            }
            EventKind::Arrival { .. } => unreachable!("it is no arrival"),
            EventKind::Reprobe { element, pool, arrived_ms, row } => {
                let key = self.bucket_hash(x, *pool, row)?;
                let prober = Prober { element: *element, pool: *pool, row, arrived_ms: *arrived_ms, key };
                if self.pools.get(x, *pool)?.settled {
                    return self.settle_reprobe(x, &prober, time_ms);
                }
                if !self.retired.below(*element, x) {
                    let Some(anchors) = self.probe(shared, x, &prober, time_ms)? else { return Ok(false) };
                    // The owner announces a probe even when it found nothing: the home must know of it before later
                    // claims.
                    let announce = self.owns(*element);
                    self.list(x, prober.element, anchors, announce);
                }
            }
        }
        Ok(true)
    }

    /// Lists the anchors that may be matched with `prober` at `x`; none when the list would be too long for now.
    fn probe(
        &mut self,
        shared: &mut Shared,
        x: EventId,
        prober: &Prober<'_>,
        time_ms: u64,
    ) -> Result<Option<Vec<ElementId>>, FrameError> {
        let decided_seen = self.decided_seen();
        if !self.ahead.may_search(x, decided_seen) {
            return Ok(None);
        }
        // Events in flight below x can take two anchors each, so that many and two more always suffice (3.1).
        let flight = x.0.saturating_sub(decided_seen.event().0).max(1);
        let factor = if self.planted.is(Bug::ListFactorOne) { 1 } else { 2 };
        let need = usize::try_from(flight).unwrap_or(usize::MAX).saturating_mul(factor);
        let limit = need.min(self.list_max);
        let pool = self.pools.get_mut(x, prober.pool)?;
        prober.row.check(&pool.pool.schema).map_err(|source| FrameError::Row { x, source: Box::new(source) })?;
        let (errors, mut list) = (pool.rule_errors, Vec::new());
        let search = Search { x, prober, time_ms, limit, slice: self.id };
        let more = shared.search(&search, &mut pool.rule_errors, &mut list);
        if more && limit < need && !self.planted.is(Bug::NoWaitForDecided) {
            // It searches again, and counts then.
            pool.rule_errors = errors;
            self.ahead.wait(x, Decided(EventId(x.0 - self.list_max as u64 / 2)));
            return Ok(None);
        }
        self.ahead.searched(x, list.len());
        self.stats.probes += 1;
        self.stats.candidates += list.len() as u64;
        self.stats.list_longest = self.stats.list_longest.max(list.len());
        Ok(Some(list))
    }

    fn list(&mut self, x: EventId, prober: ElementId, anchors: Vec<ElementId>, announce: bool) {
        if anchors.is_empty() && !announce {
            return;
        }
        for &anchor in &anchors {
            self.frames.claim(self.placement.home_of(anchor), x, prober, anchor);
        }
        self.frames.probe(self.placement.home_of(prober), x, prober, anchors);
    }

    fn withdraw(&mut self, shared: &mut Shared, x: EventId, element: ElementId) {
        if self.retired.below(element, x) {
            return;
        }
        if self.remove(shared, element) && !self.planted.is(Bug::CloseIgnored) {
            self.frames.close(self.placement.home_of(element), x, element);
        }
        self.retired.insert(element, x);
    }

    fn on_retirement(&mut self, shared: &mut Shared, retirement: &Retirement) {
        if retirement.x <= self.cut {
            return;
        }
        if self.flight.knows(retirement.x) {
            return;
        }
        for element in retirement.ends() {
            if self.retired.insert(element, retirement.x) {
                self.remove(shared, element);
                self.left(retirement.x, element);
            }
        }
    }

    /// Removes the anchors that events below `x` retired.
    #[inline]
    fn apply_retirements_below(&mut self, shared: &mut Shared, x: EventId) {
        let last = if self.planted.is(Bug::R1LeftOutAtX) { x } else { x.prev() };
        if self.retired.skip_through(last) {
            return;
        }
        for (x, element) in self.retired.apply_through(last) {
            self.remove(shared, element);
            self.left(x, element);
        }
    }

    /// Removes an anchor of a pool that is split by index. False when there is none: an element that has not arrived
    /// yet is none.
    fn remove(&mut self, shared: &mut Shared, element: ElementId) -> bool {
        let own = self.owns(element) && element.0 <= self.through.0;
        if !own && self.planted.is(Bug::SiblingRemoved) {
            shared.remove_anywhere(element);
        }
        self.pools.remove(shared, element, own)
    }

    /// Forgets a pool, which no later event names.
    fn forget_pool(&mut self, shared: &mut Shared, pool: PoolId) {
        if self.pools.forget(pool) {
            shared.forget(pool);
        }
    }

    /// Forgets the retired elements that no later frame of the log can name.
    fn forget(&mut self) {
        // Nor are departures reported again: a decision comes at most once more, and is then not looked up.
        let last = self.named_above.event().min(self.decided_seen().event());
        self.retired.forget(last);
        self.flight.forget(last);
        if self.named_above.covers(self.cut) {
            self.left_out.clear();
        }
    }

    /// The hash that the keys of a pool are told apart by, if it is split by key. The row is checked.
    fn bucket_hash(&self, x: EventId, pool: PoolId, row: &Row) -> Result<Option<u64>, FrameError> {
        let entry = self.pools.get(x, pool)?;
        row.check(&entry.pool.schema).map_err(|source| FrameError::Row { x, source: Box::new(source) })?;
        Ok(entry.bucket_hash(row))
    }

    /// Where an element belongs. Its row is checked.
    fn place(&self, x: EventId, pool: PoolId, element: ElementId, row: &Row) -> Result<Place, FrameError> {
        let pool = &self.pools.get(x, pool)?.pool;
        row.check(&pool.schema).map_err(|source| FrameError::Row { x, source: Box::new(source) })?;
        Ok(pool.place(element, row))
    }

    fn own_news(&self) -> News {
        News { decided_seen: self.decided_seen(), stable: self.stable }
    }

    /// Whether an element of a pool that is split by index is an anchor here.
    fn owns(&self, element: ElementId) -> bool {
        self.placement.owner(Place::Id(element)) == self.id
    }

    /// Tells the shards what they may forget by now, when there are no events to report.
    fn tell(&mut self, out: &mut Vec<SliceEffect>) {
        if self.pending.is_empty() {
            self.frames.news(self.own_news(), out);
        }
    }

    /// Sends what was found so far in a frame.
    fn flush(&mut self, frame: &ColumnFrame, out: &mut Vec<SliceEffect>) {
        // Of what was searched already and of what comes: a pair's last event may be either.
        let untold = self.through < frame.through() && self.planted.is(Bug::AudienceUntold);
        let audience = if untold { &Audience::nobody() } else { frame.audience() };
        self.frames.flush(self.through, audience, self.own_news(), out);
    }
}
