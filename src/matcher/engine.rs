//! The thread that searches: one inbox, all slices of the node, no I/O.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dovetail_core::{
    CandidateFrame, DecisionFrame, EventId, LogFrame, Retirement, ShardId, SliceId,
    slice::{Behind, FrameError, HotKey, Slice, SliceEffect, SlicePoolStats},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    crash, pb,
    rpc::{self, LinkError},
};

/// Candidate frames that wait for a subscriber. Reaching it ends the subscription; the gatherer resumes from its cursor.
const SUBSCRIBER_FRAMES: usize = 4096;

/// What a matcher's engine hears.
#[derive(Debug)]
pub(crate) enum Event {
    /// The next frame of the log.
    Frame(Arc<LogFrame>),
    /// The stable cut moved.
    Stable(EventId),
    /// A shard decided something.
    Decisions { shard: ShardId, frame: DecisionFrame },
    /// Retirements from the store, in place of what a shard no longer keeps.
    Stored { shard: ShardId, through: EventId, retirements: Vec<Retirement> },
    /// Where to resume.
    Cursors { reply: oneshot::Sender<Cursors> },
    /// A gatherer subscribes to a slice.
    Subscribe {
        slice: SliceId,
        shard: ShardId,
        after: EventId,
        /// What its frames must know, or the session ends. Then there is no answer.
        known_min: EventId,
        reply: oneshot::Sender<Result<Subscription, Behind>>,
    },
    /// Somebody looks.
    Inspect { reply: oneshot::Sender<pb::MatcherState> },
}

/// Where to resume.
#[derive(Debug)]
pub(crate) struct Cursors {
    pub(crate) received: EventId,
    /// By shard.
    pub(crate) decided: Vec<EventId>,
    /// At or below it no candidates are kept.
    pub(crate) floor: EventId,
}

/// What a gatherer gets.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) known: EventId,
    pub(crate) floor: EventId,
    pub(crate) backlog: Vec<Arc<CandidateFrame>>,
    pub(crate) live: mpsc::Receiver<Arc<CandidateFrame>>,
}

/// All slices of a node and who reads them.
#[derive(Debug)]
pub(crate) struct Engine {
    slices: Vec<Slice>,
    /// By slice.
    waits: Vec<Waited>,
    shards: u32,
    /// Ends the session.
    behind: rpc::Behind,
    subscribers: Vec<Subscriber>,
    effects: Vec<SliceEffect>,
}

/// How long a slice has waited for the decided watermark. The slice itself reads no clock.
#[derive(Clone, Copy, Debug, Default)]
struct Waited {
    /// Until the wait under way, if there is one.
    before: Duration,
    since: Option<Instant>,
}

impl Waited {
    /// The clock is read only when a wait begins or ends.
    fn on_step(&mut self, stalled: bool, now: impl FnOnce() -> Instant) {
        match self.since {
            None if stalled => self.since = Some(now()),
            Some(since) if !stalled => {
                self.before += now().duration_since(since);
                self.since = None;
            }
            _ => {}
        }
    }

    fn total(&self, now: Instant) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[derive(Debug)]
struct Subscriber {
    slice: SliceId,
    shard: ShardId,
    frames: mpsc::Sender<Arc<CandidateFrame>>,
}

impl Engine {
    pub(crate) fn new(slices: Vec<Slice>, shards: u32, behind: rpc::Behind) -> Engine {
        let waits = vec![Waited::default(); slices.len()];
        Engine { slices, waits, shards, behind, subscribers: Vec::new(), effects: Vec::new() }
    }

    /// Handles events until the inbox closes, or one cannot be understood.
    pub(crate) fn run(mut self, mut inbox: mpsc::Receiver<Event>) -> Result<(), FrameError> {
        while let Some(event) = inbox.blocking_recv() {
            self.on_event(event)?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), FrameError> {
        match event {
            Event::Frame(frame) => {
                crash::point("matcher.frame.search");
                self.each(|slice, out| slice.on_frame(Arc::clone(&frame), out))?;
            }
            Event::Stable(stable) => self.each(|slice, out| {
                slice.on_stable(stable, out);
                Ok(())
            })?,
            Event::Decisions { shard, frame } => self.each(|slice, out| slice.on_decisions(shard, &frame, out))?,
            Event::Stored { shard, through, retirements } => {
                self.each(|slice, out| slice.on_stored(shard, through, &retirements, out))?;
            }
            // Whoever asked may have gone away meanwhile.
            Event::Cursors { reply } => _ = reply.send(self.cursors()),
            Event::Subscribe { slice, shard, after, known_min, reply } => match self.subscribe(slice, shard, after) {
                Ok(Subscription { known, .. }) if known < known_min => self.start_anew(slice, known, known_min),
                subscribed => _ = reply.send(subscribed),
            },
            Event::Inspect { reply } => _ = reply.send(self.inspect()),
        }
        Ok(())
    }

    fn each(
        &mut self,
        mut step: impl FnMut(&mut Slice, &mut Vec<SliceEffect>) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        for (slice, waits) in self.slices.iter_mut().zip(&mut self.waits) {
            step(slice, &mut self.effects)?;
            waits.on_step(slice.stalled(), Instant::now);
            for SliceEffect::Frame { to, frame } in self.effects.drain(..) {
                crash::point("matcher.candidates.send");
                let reads = |s: &Subscriber| s.slice == slice.id() && s.shard == to;
                self.subscribers.retain(|s| !reads(s) || s.frames.try_send(Arc::clone(&frame)).is_ok());
            }
        }
        Ok(())
    }

    fn cursors(&self) -> Cursors {
        let lowest = |of: &dyn Fn(&Slice) -> EventId| self.slices.iter().map(of).min().expect("a matcher has a slice");
        Cursors {
            received: lowest(&Slice::received),
            decided: (0..self.shards).map(|shard| lowest(&|slice| slice.decided(ShardId(shard)))).collect(),
            floor: lowest(&Slice::floor),
        }
    }

    fn subscribe(&mut self, slice: SliceId, shard: ShardId, after: EventId) -> Result<Subscription, Behind> {
        let served =
            self.slices.iter().find(|s| s.id() == slice).expect("the service asks only for slices of this node");
        let backlog = served.subscribe(shard, after)?;
        let (frames, live) = mpsc::channel(SUBSCRIBER_FRAMES);
        self.subscribers.retain(|s| s.slice != slice || s.shard != shard);
        self.subscribers.push(Subscriber { slice, shard, frames });
        Ok(Subscription { known: backlog.known, floor: served.floor(), backlog: backlog.frames, live })
    }

    /// Frames that know so little name elements that are dead, and the retirements that would say so are gone from the store.
    fn start_anew(&mut self, slice: SliceId, known: EventId, known_min: EventId) {
        self.subscribers.clear();
        let reason = format!("{slice} keeps frames that know {known}, and retirements are kept above {known_min}");
        // Told to the session, which ends.
        _ = self.behind.tell::<()>(Err(LinkError::Behind(reason)));
    }

    fn inspect(&self) -> pb::MatcherState {
        let decided = self.cursors().decided;
        let marks = (0..).zip(decided).map(|(shard, decided)| pb::ShardMark { shard, decided: decided.0 });
        let slices =
            self.slices.iter().zip(&self.waits).map(|(slice, waits)| slice_state(slice, waits.total(Instant::now())));
        pb::MatcherState { slices: slices.collect(), shards: marks.collect() }
    }
}

fn slice_state(slice: &Slice, stalled: Duration) -> pb::SliceState {
    pb::SliceState {
        slice: slice.id().0,
        through: slice.through().0,
        decided: slice.known().0,
        pending: slice.received().0.saturating_sub(slice.through().0),
        frames_kept: slice.frames_kept() as u64,
        stalls: slice.stalls(),
        stalled: slice.stalled(),
        pools: slice.pools().map(pool_count).collect(),
        candidates: slice.stats().candidates,
        probes: slice.stats().probes,
        stalled_ms: stalled.as_millis() as u64,
    }
}

fn pool_count(pool: SlicePoolStats<'_>) -> pb::PoolCount {
    let hot = |hot: HotKey| pb::HotKey {
        key: hot.key,
        searches_permille: hot.searches_permille,
        waiting: hot.waiting as u64,
    };
    pb::PoolCount {
        pool: pool.name.to_owned(),
        waiting: pool.waiting as u64,
        rule_errors: pool.rule_errors,
        split: pool.split.to_string(),
        hot_keys: pool.hot_keys.into_iter().map(hot).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up_and_the_one_under_way_counts() {
        let (began, mut waited) = (Instant::now(), Waited::default());
        let at = |ms| began + Duration::from_millis(ms);
        for (ms, stalled) in [(1, false), (10, true), (25, true), (30, false), (40, false), (100, true)] {
            waited.on_step(stalled, || at(ms));
        }
        assert_eq!(waited.total(at(150)), Duration::from_millis(20 + 50));
    }
}
