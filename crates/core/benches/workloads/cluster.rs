//! A workload through the state machines: a slice alone, which settles, or slices among others and the shard that
//! decides.
//!
//! Frames are made shortly before they are given, as a matcher decodes them, and dropped after; neither is timed.
//! Effects are drained, and the decided watermark comes back at once: nothing is waited for.

use std::{sync::Arc, time::Duration};

use dovetail_core::{
    Audience, ColumnFrame, Decided, DecisionFrame, Event, EventId, EventKind, LogFrame, Placement, PoolDefinition,
    PoolId, Retirement, Ring, ShardId, SliceId, Stable,
    shard::{Shard, ShardEffect},
    slice::{SliceCut, SliceEffect, Slices},
};
use dovetail_rule::{Row, table::Secret};

use crate::common::timed;

/// Events to a frame.
const FRAME: usize = 256;
/// Frames made at once: few enough to stay in the cache, enough for the clock.
const FRAMES: usize = 4;
/// The settings' default.
const LIST_MAX: usize = 256;

/// `n` arrivals of a pool, frame by frame.
pub struct Log<'a> {
    pub pool: Arc<PoolDefinition>,
    pub n: usize,
    pub row: &'a dyn Fn(usize) -> Arc<Row>,
}

impl Log<'_> {
    /// The pool is the first event, so that the element of arrival `at` has the id `at + 2`.
    fn definition(&self) -> Arc<ColumnFrame> {
        let kind = EventKind::PoolDefined { pool: PoolId(0), definition: Arc::clone(&self.pool) };
        let events = vec![Event { x: EventId(1), kind }];
        in_columns(LogFrame {
            after: EventId(0),
            through: EventId(1),
            time_ms: 0,
            stable: Stable::ZERO,
            audience: Audience::All,
            events,
        })
    }

    fn frames(&self, from: usize) -> Vec<Arc<ColumnFrame>> {
        let starts = (from..self.n.min(from + FRAMES * FRAME)).step_by(FRAME);
        starts.map(|start| self.frame(start, self.n.min(start + FRAME))).collect()
    }

    fn frame(&self, start: usize, end: usize) -> Arc<ColumnFrame> {
        let (after, through) = (EventId(start as u64 + 1), EventId(end as u64 + 1));
        let arrival = |at: usize| EventKind::Arrival { pool: PoolId(0), row: (self.row)(at) };
        let events = (start..end).map(|at| Event { x: EventId(at as u64 + 2), kind: arrival(at) }).collect();
        // Nobody reads slower than a few frames behind.
        let stable = EventId(after.0.saturating_sub(FRAMES as u64 * FRAME as u64));
        in_columns(LogFrame { after, through, time_ms: 0, stable: Stable(stable), audience: Audience::All, events })
    }
}

fn in_columns(frame: LogFrame) -> Arc<ColumnFrame> {
    Arc::new(ColumnFrame::in_columns(frame).expect("events ascend"))
}

fn pair(retirement: &Retirement) -> Option<(u32, u32)> {
    let (low, high) = retirement.pair()?;
    Some((low.0 as u32 - 1, high.0 as u32 - 1))
}

/// A slice that settles what it finds: the time it took, and the pairs.
pub fn settled(log: &Log<'_>) -> (Duration, Vec<(u32, u32)>) {
    let placement = Placement::new(1, 64, Arc::new(Ring::new(1, 64)));
    let mut slice =
        Slices::new(&placement, &[SliceId(0)], LIST_MAX, Secret([1, 2]), SliceCut::default()).expect("an empty cut");
    let (mut pairs, mut effects) = (Vec::with_capacity(log.n), Vec::new());
    let mut give = |frame: Arc<ColumnFrame>| {
        let decisions = DecisionFrame { decided: Some(Decided(frame.through())), ..DecisionFrame::default() };
        slice.on_frame(&frame, &mut effects).expect("a frame of the log");
        for SliceEffect::Frame { frame, .. } in effects.drain(..) {
            pairs.extend(frame.settled.iter().filter_map(pair));
        }
        slice.on_decisions(ShardId(0), &decisions, &mut effects).expect("decisions");
    };
    give(log.definition());
    let mut total = Duration::ZERO;
    for from in (0..log.n).step_by(FRAMES * FRAME) {
        let frames = log.frames(from);
        total += timed(|| frames.iter().for_each(|frame| give(Arc::clone(frame)))).0;
    }
    (total, pairs)
}

/// Slices that list candidates, and one shard that decides: the time of the slices, that of the shard, and the pairs.
pub fn decided(log: &Log<'_>, slices: u32) -> (Duration, Duration, Vec<(u32, u32)>) {
    let mut cluster = Cluster::new(slices, log.n);
    cluster.give(&log.definition());
    for from in (0..log.n).step_by(FRAMES * FRAME) {
        log.frames(from).iter().for_each(|frame| cluster.give(frame));
    }
    (cluster.searching, cluster.deciding, cluster.pairs)
}

struct Cluster {
    /// Each as if it were the only one of its matcher.
    slices: Vec<Slices>,
    shard: Shard,
    found: Vec<SliceEffect>,
    done: Vec<ShardEffect>,
    pairs: Vec<(u32, u32)>,
    searching: Duration,
    deciding: Duration,
}

impl Cluster {
    fn new(slices: u32, n: usize) -> Cluster {
        let placement = Placement::new(slices, 64, Arc::new(Ring::new(1, 64))).as_among_others();
        let slice =
            |id| Slices::new(&placement, &[id], LIST_MAX, Secret([1, 2]), SliceCut::default()).expect("an empty cut");
        Cluster {
            slices: placement.each_slice().map(slice).collect(),
            shard: Shard::new(placement, ShardId(0), EventId(0)),
            found: Vec::new(),
            done: Vec::new(),
            pairs: Vec::with_capacity(n),
            searching: Duration::ZERO,
            deciding: Duration::ZERO,
        }
    }

    fn give(&mut self, frame: &Arc<ColumnFrame>) {
        for at in 0..self.slices.len() {
            let Cluster { slices, found, .. } = self;
            self.searching += timed(|| slices[at].on_frame(frame, found).expect("a frame of the log")).0;
            self.pass_on();
        }
        // A slice that waits for decisions goes on when it has them, and what it finds then is to be decided too.
        while self.shard.watermark() < Decided(frame.through()) || !self.done.is_empty() {
            self.decide();
        }
    }

    fn pass_on(&mut self) {
        let Cluster { shard, found, done, .. } = self;
        self.deciding += timed(|| {
            for SliceEffect::Frame { slice, frame, .. } in found.drain(..) {
                shard.on_candidates(slice, &frame, done).expect("the slice's next frame");
            }
        })
        .0;
    }

    fn decide(&mut self) {
        let mut decisions = DecisionFrame::default();
        for effect in self.done.drain(..) {
            match effect {
                ShardEffect::Retire(retirement) | ShardEffect::Settled(retirement) => {
                    decisions.retirements.push(retirement);
                }
                ShardEffect::Decided { through } => decisions.decided = Some(through),
                ShardEffect::Grant { .. } => unreachable!("there is no other shard"),
            }
        }
        self.pairs.extend(decisions.retirements.iter().filter_map(pair));
        for at in 0..self.slices.len() {
            let Cluster { slices, found, .. } = self;
            self.searching += timed(|| slices[at].on_decisions(ShardId(0), &decisions, found).expect("decisions")).0;
            self.pass_on();
        }
    }
}
