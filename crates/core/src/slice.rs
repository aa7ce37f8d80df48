//! One worker index's share of the pair space (DESIGN.md, section 3.1).
//!
//! Reads the log in id order, lists for each probe the anchors it owns that satisfy the rule, and tells every shard what
//! concerns it. Decides nothing.
//! Invariants: S1 events are searched in ascending order, each once; S2 no list is longer than `list_max`; S3 an anchor
//! is left out at `x` only when it was retired by an event below `x` (R1); S4 frames above the stable cut are kept.

mod anchors;
mod frames;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use dovetail_rule::{Row, RowError};
use thiserror::Error;

use crate::{
    CandidateFrame, DecisionFrame, DefineError, ElementId, Event, EventId, EventKind, LogFrame, Placement, Pool,
    PoolDefinition, PoolId, Retirement, ShardId, SliceId,
    planted::{Bug, Planted},
    pool::Candidate,
};
use anchors::Anchors;
use frames::Frames;

/// A slice searches at most so many events ahead of the decided watermark, in units of `list_max`. Further ahead it would mostly
/// find anchors that are taken already, each at the cost of a test and of a candidate: one that fell behind would stay behind.
const AHEAD_EVENTS: u64 = 4;
/// The same for the candidates it has listed above the watermark: where nearly everything matches, few events make many.
const AHEAD_CANDIDATES: usize = 32;

/// The cluster's state at a cut, as far as one slice needs it.
#[derive(Clone, Debug, Default)]
pub struct SliceCut {
    /// Everything at or below is in the rest of this.
    pub through: EventId,
    /// Pools defined at or below the cut.
    pub pools: Vec<(PoolId, Arc<PoolDefinition>)>,
    /// Elements waiting at the cut. Those of other slices are passed over.
    pub waiting: Vec<WaitingElement>,
    /// Elements retired at or below the cut that events above it name: those reprobes and withdrawals are passed over, because
    /// nobody here would know that the elements are dead (R2). Named by element: of the events some may not be durable
    /// yet, and their ids could come again.
    pub left_out: BTreeSet<ElementId>,
}

/// An element that waits at a cut.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingElement {
    /// Its id.
    pub element: ElementId,
    /// Its pool.
    pub pool: PoolId,
    /// When it arrived, in milliseconds.
    pub arrived_ms: u64,
    /// Its attributes.
    pub row: Arc<Row>,
}

/// What a slice wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceEffect {
    /// Send a frame to a shard, after all that were sent to it before.
    Frame {
        /// The shard.
        to: ShardId,
        /// The frame.
        frame: Arc<CandidateFrame>,
    },
}

/// Why a log frame cannot be taken.
#[derive(Clone, Debug, Error)]
pub enum FrameError {
    /// Events are missing between what was received and the frame.
    #[error("log frame begins after {after}, but only events up to {received} were received")]
    Gap {
        /// What the frame follows.
        after: EventId,
        /// What was received.
        received: EventId,
    },
    /// An event names a pool that no event defined.
    #[error("event {x} names pool {pool}, which is not defined")]
    UnknownPool {
        /// The event.
        x: EventId,
        /// The pool.
        pool: PoolId,
    },
    /// An element's attributes are not those of its pool.
    #[error("event {x}: {source}; do the balancer and this matcher run the same version?")]
    Row {
        /// The event.
        x: EventId,
        /// What does not fit.
        source: Box<RowError>,
    },
    /// A pool that the balancer accepted does not compile here: the two run different versions.
    #[error("event {x}: {source}; do the balancer and this matcher run the same version?")]
    Define {
        /// The event.
        x: EventId,
        /// What is wrong with the pool.
        source: Box<DefineError>,
    },
}

/// A shard asked for frames that are no longer kept: it has to start from a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("candidates after {after} are gone, those after {floor} are kept")]
pub struct Behind {
    /// The cursor asked for.
    pub after: EventId,
    /// The lowest that works.
    pub floor: EventId,
}

/// What a shard gets when it subscribes.
#[derive(Clone, Debug)]
pub struct CandidateBacklog {
    /// The lowest `known` of any frame that it may still receive (R3).
    pub known: EventId,
    /// The frames after its cursor.
    pub frames: Vec<Arc<CandidateFrame>>,
}

/// Counts for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceStats {
    /// Times a search waited for the decided watermark.
    pub stalls: u64,
    /// Candidates listed.
    pub candidates: u64,
    /// Longest list.
    pub list_longest: usize,
}

/// A slice.
#[derive(Debug)]
pub struct Slice {
    id: SliceId,
    placement: Placement,
    list_max: usize,
    planted: Planted,
    pools: BTreeMap<PoolId, SlicePool>,
    /// Pool of each element owned here that waits.
    owned: HashMap<ElementId, PoolId>,
    /// Events that retired elements, until no frame of the log can name them any more.
    retired: HashMap<ElementId, EventId>,
    retired_at: BTreeSet<(EventId, ElementId)>,
    /// Elements retired at or below this event are not among the anchors.
    buried: EventId,
    /// No later frame of the log names an element retired at or below this event: the last frame's stable cut.
    nameless: EventId,
    /// Decided watermark by shard.
    decided: Vec<EventId>,
    stable: EventId,
    /// Where it started.
    cut: EventId,
    /// Elements dead at the cut whose reprobes and withdrawals are passed over.
    left_out: BTreeSet<ElementId>,
    received: EventId,
    through: EventId,
    pending: VecDeque<Arc<LogFrame>>,
    /// The probe that waits for the decided watermark, and the watermark it waits for.
    stalled: Option<(EventId, EventId)>,
    /// Probes above the decided watermark that found something, and how much.
    ahead: VecDeque<(EventId, usize)>,
    ahead_candidates: usize,
    frames: Frames,
    stats: SliceStats,
}

#[derive(Debug)]
struct SlicePool {
    pool: Pool,
    anchors: Anchors,
    rule_errors: u64,
}

/// An element that searches.
struct Prober<'a> {
    element: ElementId,
    pool: PoolId,
    row: &'a Arc<Row>,
    arrived_ms: u64,
}

impl Slice {
    /// Starts at a cut; the default cut is before every event.
    ///
    /// # Errors
    /// When a pool of the cut does not compile here.
    ///
    /// # Panics
    /// When `list_max` is below 2: a probe with one anchor listed and lost could not be decided.
    pub fn new(placement: Placement, id: SliceId, list_max: usize, cut: SliceCut) -> Result<Slice, FrameError> {
        assert!(list_max >= 2, "list_max is {list_max}, at least 2");
        let shards = placement.shards() as usize;
        let mut slice = Slice {
            id,
            list_max,
            planted: Planted::default(),
            pools: BTreeMap::new(),
            owned: HashMap::new(),
            retired: HashMap::new(),
            retired_at: BTreeSet::new(),
            buried: cut.through,
            nameless: EventId::ZERO,
            decided: vec![cut.through; shards],
            stable: cut.through,
            cut: cut.through,
            left_out: cut.left_out,
            received: cut.through,
            through: cut.through,
            pending: VecDeque::new(),
            stalled: None,
            ahead: VecDeque::new(),
            ahead_candidates: 0,
            frames: Frames::new(shards, cut.through),
            stats: SliceStats::default(),
            placement,
        };
        for (pool, definition) in cut.pools {
            slice.define(cut.through, pool, definition)?;
        }
        for waiting in cut.waiting {
            if slice.placement.owner(waiting.element) == id {
                slice.add_anchor(cut.through, waiting)?;
            }
        }
        Ok(slice)
    }

    /// Plants a bug.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// Takes the next frame of the log and searches as far as it may. A frame received before is passed over.
    ///
    /// # Errors
    /// When the frame cannot be the next one, or cannot be understood. The slice has to start anew.
    pub fn on_frame(&mut self, frame: Arc<LogFrame>, out: &mut Vec<SliceEffect>) -> Result<(), FrameError> {
        if frame.through <= self.received {
            return Ok(());
        }
        if frame.after > self.received {
            return Err(FrameError::Gap { after: frame.after, received: self.received });
        }
        self.received = frame.through;
        self.pending.push_back(frame);
        self.search(out)
    }

    /// Takes what a shard decided, and searches on where it waited for that.
    ///
    /// # Errors
    /// When a frame of the log that waited cannot be understood.
    pub fn on_decisions(
        &mut self,
        from: ShardId,
        decisions: &DecisionFrame,
        out: &mut Vec<SliceEffect>,
    ) -> Result<(), FrameError> {
        for retirement in &decisions.retirements {
            self.on_retirement(retirement);
        }
        if let Some(decided) = decisions.decided {
            let mark = &mut self.decided[from.0 as usize];
            *mark = decided.max(*mark);
        }
        self.search(out)?;
        self.tell(out);
        Ok(())
    }

    /// Takes retirements from the store, in place of those that `shard` no longer keeps: all up to `through`.
    ///
    /// # Errors
    /// When a frame of the log that waited cannot be understood.
    pub fn on_stored(
        &mut self,
        shard: ShardId,
        through: EventId,
        retirements: &[Retirement],
        out: &mut Vec<SliceEffect>,
    ) -> Result<(), FrameError> {
        let decisions = DecisionFrame { retirements: retirements.to_vec(), grants: Vec::new(), decided: Some(through) };
        self.on_decisions(shard, &decisions, out)
    }

    /// Takes the stable cut: frames at or below it will never be asked for again. Passes the news on when idle.
    pub fn on_stable(&mut self, stable: EventId, out: &mut Vec<SliceEffect>) {
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
    pub fn subscribe(&self, shard: ShardId, after: EventId) -> Result<CandidateBacklog, Behind> {
        self.frames.backlog(shard, after, self.known(), self.stable)
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
    pub fn known(&self) -> EventId {
        self.decided.iter().copied().min().expect("a placement has a shard")
    }

    /// A shard's watermark as known here; where to resume its decisions.
    #[must_use]
    pub fn decided(&self, shard: ShardId) -> EventId {
        self.decided[shard.0 as usize]
    }

    /// The lowest cursor from which candidates can be read.
    #[must_use]
    pub fn floor(&self) -> EventId {
        self.frames.floor()
    }

    /// Whether the search waits for the decided watermark.
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Candidate frames kept for shards that may ask again.
    #[must_use]
    pub fn frames_kept(&self) -> usize {
        self.frames.kept()
    }

    /// Retired elements remembered.
    #[must_use]
    pub fn retired_kept(&self) -> usize {
        self.retired.len()
    }

    /// Counts for people.
    #[must_use]
    pub fn stats(&self) -> &SliceStats {
        &self.stats
    }

    /// By pool: its name, the elements waiting that are owned here, and the pairs on which its rule failed.
    pub fn pools(&self) -> impl Iterator<Item = (&str, usize, u64)> {
        self.pools.values().map(|p| (p.pool.definition.name.as_str(), p.anchors.len(), p.rule_errors))
    }

    /// The elements waiting that are owned here, in no order.
    pub fn anchors(&self) -> impl Iterator<Item = ElementId> {
        self.owned.keys().copied()
    }

    fn search(&mut self, out: &mut Vec<SliceEffect>) -> Result<(), FrameError> {
        while let Some(frame) = self.pending.front().map(Arc::clone) {
            let from = frame.events.partition_point(|event| event.x <= self.through);
            for event in &frame.events[from..] {
                if !self.search_event(event, frame.time_ms)? {
                    self.flush(out);
                    return Ok(());
                }
                self.through = event.x;
            }
            self.through = frame.through;
            self.pending.pop_front();
            self.flush(out);
            self.nameless = frame.stable;
        }
        self.bury(self.through.next());
        self.forget();
        Ok(())
    }

    /// Searches one event. False when it has to wait for the decided watermark.
    fn search_event(&mut self, event: &Event, time_ms: u64) -> Result<bool, FrameError> {
        let x = event.x;
        self.bury(x);
        if let EventKind::Withdrawal { element, .. } | EventKind::Reprobe { element, .. } = &event.kind
            && self.left_out.contains(element)
            && !self.planted.is(Bug::R2FeedUnfiltered)
        {
            return Ok(true);
        }
        match &event.kind {
            EventKind::PoolDefined { pool, definition } => self.define(x, *pool, Arc::clone(definition))?,
            EventKind::Withdrawal { element, .. } => self.withdraw(x, *element),
            EventKind::Arrival { pool, row } => {
                let prober = Prober { element: ElementId::from(x), pool: *pool, row, arrived_ms: time_ms };
                let Some(anchors) = self.probe(x, &prober, time_ms)? else { return Ok(false) };
                self.list(x, prober.element, anchors, false);
                if self.placement.owner(prober.element) == self.id {
                    let arrival = WaitingElement {
                        element: prober.element,
                        pool: *pool,
                        arrived_ms: time_ms,
                        row: Arc::clone(row),
                    };
                    self.add_anchor(x, arrival)?;
                }
            }
            EventKind::Reprobe { element, pool, arrived_ms, row } => {
                let prober = Prober { element: *element, pool: *pool, row, arrived_ms: *arrived_ms };
                if !self.retired_below(*element, x) {
                    let Some(anchors) = self.probe(x, &prober, time_ms)? else { return Ok(false) };
                    // The owner announces a probe even when it found nothing: the home must know of it before later claims.
                    let announce = self.placement.owner(*element) == self.id;
                    self.list(x, prober.element, anchors, announce);
                }
            }
        }
        Ok(true)
    }

    /// Lists the anchors that may be matched with `prober` at `x`; none when the list would be too long for now.
    fn probe(&mut self, x: EventId, prober: &Prober<'_>, time_ms: u64) -> Result<Option<Vec<ElementId>>, FrameError> {
        let known = self.known();
        if self.stalled.is_some_and(|(at, until)| at == x && known < until) {
            return Ok(None);
        }
        self.stalled = None;
        if let Some(until) = self.too_far_ahead(x, known) {
            return Ok(self.stall(x, until));
        }
        // Events in flight below x can take two anchors each, so that many and two more always suffice (3.1).
        let flight = x.0.saturating_sub(known.0).max(1);
        let factor = if self.planted.is(Bug::ListFactorOne) { 1 } else { 2 };
        let need = usize::try_from(flight).unwrap_or(usize::MAX).saturating_mul(factor);
        let limit = need.min(self.list_max);
        let found = self.pools.get_mut(&prober.pool).ok_or(FrameError::UnknownPool { x, pool: prober.pool })?;
        let SlicePool { pool, anchors, rule_errors } = found;
        prober.row.check(&pool.schema).map_err(|source| FrameError::Row { x, source: Box::new(source) })?;
        let candidate = Candidate { element: prober.element, row: prober.row, arrived_ms: prober.arrived_ms };
        let (list, more) = anchors.satisfying(pool, candidate, time_ms, limit, rule_errors);
        if more && limit < need && !self.planted.is(Bug::NoWaitForDecided) {
            return Ok(self.stall(x, EventId(x.0 - self.list_max as u64 / 2)));
        }
        if !list.is_empty() {
            self.ahead.push_back((x, list.len()));
            self.ahead_candidates += list.len();
        }
        self.stats.candidates += list.len() as u64;
        self.stats.list_longest = self.stats.list_longest.max(list.len());
        Ok(Some(list))
    }

    /// The watermark to wait for before `x` is searched, when what is undecided below it is more than is worth while.
    fn too_far_ahead(&mut self, x: EventId, known: EventId) -> Option<EventId> {
        while let Some((_, listed)) = self.ahead.pop_front_if(|(x, _)| *x <= known) {
            self.ahead_candidates -= listed;
        }
        let events_max = AHEAD_EVENTS * self.list_max as u64;
        if x.0.saturating_sub(known.0) > events_max {
            return Some(EventId(x.0 - events_max));
        }
        let mut excess = self.ahead_candidates.saturating_sub(AHEAD_CANDIDATES * self.list_max);
        if excess == 0 {
            return None;
        }
        self.ahead.iter().find_map(|&(x, listed)| {
            let left = excess.saturating_sub(listed);
            (std::mem::replace(&mut excess, left) <= listed).then_some(x)
        })
    }

    /// Waits with event `x` until the decided watermark has reached `until`.
    fn stall(&mut self, x: EventId, until: EventId) -> Option<Vec<ElementId>> {
        self.stalled = Some((x, until));
        self.stats.stalls += 1;
        None
    }

    fn list(&mut self, x: EventId, prober: ElementId, anchors: Vec<ElementId>, announce: bool) {
        if anchors.is_empty() && !announce {
            return;
        }
        for &anchor in &anchors {
            self.frames.claim(self.placement.home(anchor), x, prober, anchor);
        }
        self.frames.probe(self.placement.home(prober), x, prober, anchors);
    }

    fn withdraw(&mut self, x: EventId, element: ElementId) {
        if self.retired_below(element, x) {
            return;
        }
        if self.remove_anchor(element) && !self.planted.is(Bug::CloseIgnored) {
            self.frames.close(self.placement.home(element), x, element);
        }
        self.retired.insert(element, x);
        self.retired_at.insert((x, element));
    }

    fn on_retirement(&mut self, retirement: &Retirement) {
        if retirement.x <= self.cut {
            return;
        }
        for element in retirement.ends() {
            if self.retired.get(&element).is_some_and(|&x| x <= retirement.x) {
                continue;
            }
            if let Some(later) = self.retired.insert(element, retirement.x) {
                self.retired_at.remove(&(later, element));
            }
            self.retired_at.insert((retirement.x, element));
            if retirement.x <= self.buried {
                self.remove_anchor(element);
            }
        }
    }

    /// Removes the anchors that events below `x` retired.
    fn bury(&mut self, x: EventId) {
        let last = if self.planted.is(Bug::R1LeftOutAtX) { x } else { x.prev() };
        if last <= self.buried {
            return;
        }
        let range = (self.buried.next(), ElementId(0))..=(last, ElementId(u64::MAX));
        let dead: Vec<ElementId> = self.retired_at.range(range).map(|&(_, element)| element).collect();
        for element in dead {
            self.remove_anchor(element);
        }
        self.buried = last;
    }

    fn retired_below(&self, element: ElementId, x: EventId) -> bool {
        self.retired.get(&element).is_some_and(|&at| at < x)
    }

    /// Forgets what no later frame of the log can name.
    fn forget(&mut self) {
        let last = self.nameless.min(self.buried);
        while let Some(&(at, element)) = self.retired_at.first()
            && at <= last
        {
            self.retired_at.pop_first();
            self.retired.remove(&element);
        }
        if self.nameless >= self.cut {
            self.left_out.clear();
        }
    }

    fn define(&mut self, x: EventId, pool: PoolId, definition: Arc<PoolDefinition>) -> Result<(), FrameError> {
        let pool =
            Pool::compile(pool, definition).map_err(|source| FrameError::Define { x, source: Box::new(source) })?;
        let anchors = Anchors::default();
        self.pools.entry(pool.id).or_insert(SlicePool { pool, anchors, rule_errors: 0 });
        Ok(())
    }

    fn add_anchor(&mut self, x: EventId, waiting: WaitingElement) -> Result<(), FrameError> {
        let pool = self.pools.get_mut(&waiting.pool).ok_or(FrameError::UnknownPool { x, pool: waiting.pool })?;
        let row_error = |source| FrameError::Row { x, source: Box::new(source) };
        waiting.row.check(&pool.pool.schema).map_err(row_error)?;
        self.owned.insert(waiting.element, waiting.pool);
        pool.anchors.insert(waiting.element, waiting.row, waiting.arrived_ms);
        Ok(())
    }

    fn remove_anchor(&mut self, element: ElementId) -> bool {
        let Some(pool) = self.owned.remove(&element) else { return false };
        let pool = self.pools.get_mut(&pool).expect("an owned element is in a pool");
        pool.anchors.remove(element);
        true
    }

    /// Tells of what the shards may forget by now, when there are no events to tell of.
    fn tell(&mut self, out: &mut Vec<SliceEffect>) {
        if self.pending.is_empty() {
            self.frames.news(self.known(), self.stable, out);
        }
    }

    fn flush(&mut self, out: &mut Vec<SliceEffect>) {
        self.frames.flush(self.through, self.known(), self.stable, out);
    }
}
