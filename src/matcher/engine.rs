//! The task that searches: one inbox, all slices of the node, no I/O.
//!
//! It answers from the runtime's own thread, so that a frame of few events goes from socket to socket without waking another.
//! A long search blocks that thread, and says so: the runtime then reads and writes in another.
//! What came of a batch of events goes to each gatherer as one message, or of as many as were searched in a few milliseconds: what is
//! found does not wait for a search that takes long. What only lets a gatherer forget waits for what it needs.

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
    rpc::{self, Later, LinkError, Next},
};

/// Messages that wait for a subscriber. Reaching it ends the subscription; the gatherer resumes from its cursors.
const SUBSCRIBER_MESSAGES: usize = 4096;
/// Events handled before what came of them is sent.
const BATCH: usize = 64;
/// More events of the log than this are searched where blocking does not hold up reading and writing.
const SEARCH_BRIEF: u64 = 256;
/// So are events that will take longer than this, as far as the last ones tell.
const SEARCH_TIME: Duration = Duration::from_millis(2);

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
    /// A gatherer subscribes to all slices of this node.
    Subscribe {
        shard: ShardId,
        /// One for each slice.
        cursors: Vec<(SliceId, EventId)>,
        /// What its frames must know.
        known_min: EventId,
        /// The balancer has said that it keeps retirements above this alone: a slice whose frames know less starts anew with the
        /// session, if its frames do not know enough. Then there is no answer.
        results_floor: EventId,
        reply: oneshot::Sender<Result<Subscription, KnowsLess>>,
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

/// A frame, and the slice that made it.
pub(crate) type SliceFrame = (SliceId, Arc<CandidateFrame>);

/// What a gatherer gets.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// One for each slice that was asked for.
    pub(crate) slices: Vec<SliceHello>,
    /// Nothing when a slice no longer has what was asked for.
    pub(crate) backlog: Vec<SliceFrame>,
    pub(crate) live: mpsc::Receiver<Vec<SliceFrame>>,
}

/// The frames of a slice know less than their reader needs, and perhaps no more than the balancer can fill in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnowsLess {
    pub(crate) slice: SliceId,
    pub(crate) known: EventId,
}

/// What a slice says first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SliceHello {
    pub(crate) slice: SliceId,
    pub(crate) known: EventId,
    pub(crate) floor: EventId,
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
    /// When the news that waits is sent.
    later: Later,
    effects: Vec<SliceEffect>,
    /// What an event took of late.
    per_event: Duration,
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
    shard: ShardId,
    messages: mpsc::Sender<Vec<SliceFrame>>,
    /// What comes next.
    next: Vec<SliceFrame>,
    /// Whether it is waited for: news of what may be forgotten is not, nor are events that do not concern the reader.
    due: bool,
}

impl Subscriber {
    fn add(&mut self, slice: SliceId, mut frame: Arc<CandidateFrame>) {
        self.due |= frame.reach.has(|of| of == slice);
        // Behind what was found, one that says nothing else says all that others like it said.
        if frame.finds_nothing()
            && let Some((_, last)) = self.next.iter_mut().rfind(|(of, _)| *of == slice)
            && last.finds_nothing()
        {
            Arc::make_mut(&mut frame).follow(last);
            *last = frame;
            return;
        }
        self.next.push((slice, frame));
    }

    /// False when it does not read, or not fast enough.
    fn send(&mut self) -> bool {
        self.due = false;
        match self.next.is_empty() {
            true => !self.messages.is_closed(),
            false => {
                crash::point("matcher.candidates.send");
                self.messages.try_send(std::mem::take(&mut self.next)).is_ok()
            }
        }
    }
}

impl Engine {
    pub(crate) fn new(slices: Vec<Slice>, shards: u32, behind: rpc::Behind) -> Engine {
        let waits = vec![Waited::default(); slices.len()];
        let (subscribers, effects) = (Vec::new(), Vec::new());
        Engine {
            slices,
            waits,
            shards,
            behind,
            subscribers,
            later: Later::default(),
            effects,
            per_event: Duration::ZERO,
        }
    }

    /// Handles events until the inbox closes, or one cannot be understood.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Event>) -> Result<(), FrameError> {
        loop {
            let event = match self.later.or(&mut inbox).await {
                Next::Event(event) => event,
                Next::Due => {
                    self.send(|_| true);
                    continue;
                }
                Next::Closed => return Ok(()),
            };
            let mut brief = self.handle(event)?;
            for _ in 1..BATCH {
                let Ok(event) = inbox.try_recv() else { break };
                if !brief || !self.is_brief(self.events_to_search(&event)) {
                    self.publish();
                }
                brief = self.handle(event)?;
            }
            self.publish();
        }
    }

    /// Whether it was brief.
    fn handle(&mut self, event: Event) -> Result<bool, FrameError> {
        let events = self.events_to_search(&event);
        if events == 0 {
            self.on_event(event)?;
            return Ok(true);
        }
        let began = Instant::now();
        match self.is_brief(events) {
            true => self.on_event(event)?,
            false => tokio::task::block_in_place(|| self.on_event(event))?,
        }
        let took = began.elapsed();
        // What took long is believed at once, and forgotten bit by bit.
        self.per_event = (took / u32::try_from(events).unwrap_or(u32::MAX)).max(self.per_event * 7 / 8);
        Ok(events <= SEARCH_BRIEF && took <= SEARCH_TIME)
    }

    fn is_brief(&self, events: u64) -> bool {
        events <= SEARCH_BRIEF && self.per_event.saturating_mul(events as u32) <= SEARCH_TIME
    }

    fn events_to_search(&self, event: &Event) -> u64 {
        let pending = self.slices.iter().map(|slice| slice.received().0 - slice.through().0).max().unwrap_or_default();
        match event {
            Event::Frame(frame) => pending + (frame.through.0 - frame.after.0),
            Event::Decisions { .. } | Event::Stored { .. } => pending,
            Event::Stable(_) | Event::Cursors { .. } | Event::Subscribe { .. } | Event::Inspect { .. } => 0,
        }
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
            Event::Subscribe { shard, cursors, known_min, results_floor, reply } => {
                if let Some(subscription) = self.subscribe(shard, &cursors, known_min, results_floor) {
                    _ = reply.send(subscription);
                }
            }
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
                let readers = self.subscribers.iter_mut().filter(|subscriber| subscriber.shard == to);
                readers.for_each(|subscriber| subscriber.add(slice.id(), Arc::clone(&frame)));
            }
        }
        Ok(())
    }

    /// Sends what came of a batch to those who wait for it, and to the others later.
    fn publish(&mut self) {
        self.send(|subscriber| subscriber.due);
        if self.subscribers.iter().any(|subscriber| !subscriber.next.is_empty()) {
            self.later.arm();
        }
    }

    fn send(&mut self, which: impl Fn(&Subscriber) -> bool) {
        self.subscribers.retain_mut(|subscriber| !which(subscriber) || subscriber.send());
    }

    fn cursors(&self) -> Cursors {
        let lowest = |of: &dyn Fn(&Slice) -> EventId| self.slices.iter().map(of).min().expect("a matcher has a slice");
        Cursors {
            received: lowest(&Slice::received),
            decided: (0..self.shards).map(|shard| lowest(&|slice| slice.decided(ShardId(shard)))).collect(),
            floor: lowest(&Slice::floor),
        }
    }

    /// None when a slice knows too little, and the balancer keeps no more: that ends the session (R8). What a reader says alone
    /// never does.
    fn subscribe(
        &mut self,
        shard: ShardId,
        cursors: &[(SliceId, EventId)],
        known_min: EventId,
        results_floor: EventId,
    ) -> Option<Result<Subscription, KnowsLess>> {
        let (mut slices, mut frames, mut behind) = (Vec::new(), Vec::new(), false);
        for &(slice, after) in cursors {
            let own = self.slices.iter().find(|own| own.id() == slice);
            let served = own.expect("the service asks only for slices of this node");
            match served.subscribe(shard, after) {
                Ok(backlog) if backlog.known < known_min.min(results_floor) => {
                    self.start_anew(slice, backlog.known, results_floor);
                    return None;
                }
                Ok(backlog) if backlog.known < known_min => {
                    return Some(Err(KnowsLess { slice, known: backlog.known }));
                }
                Ok(backlog) => {
                    slices.push(SliceHello { slice, known: backlog.known, floor: served.floor() });
                    frames.extend(backlog.frames.into_iter().map(|frame| (slice, frame)));
                }
                // The hello alone says it: the reader sees that its cursor is below the floor.
                Err(Behind { floor, .. }) => {
                    slices.push(SliceHello { slice, known: floor, floor });
                    behind = true;
                }
            }
        }
        self.subscribers.retain(|subscriber| subscriber.shard != shard);
        let (messages, live) = mpsc::channel(SUBSCRIBER_MESSAGES);
        if behind {
            frames.clear();
        } else {
            self.subscribers.push(Subscriber { shard, messages, next: Vec::new(), due: false });
        }
        Some(Ok(Subscription { slices, backlog: frames, live }))
    }

    /// Frames that know so little name elements that are dead, and the retirements that would say so are gone from the store.
    fn start_anew(&mut self, slice: SliceId, known: EventId, results_floor: EventId) {
        self.subscribers.clear();
        let reason = format!("{slice} keeps frames that know {known}, and retirements are kept above {results_floor}");
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
        // Told where the answer is made.
        pools_left_out: 0,
    }
}

fn pool_count(pool: SlicePoolStats<'_>) -> pb::PoolCount {
    let hot = |hot: HotKey| pb::HotKey {
        key: hot.key,
        searches_permille: hot.searches_permille,
        waiting: hot.waiting as u64,
    };
    pb::PoolCount {
        // The balancer's to tell.
        waiting_bytes: 0,
        pool: pool.name.to_owned(),
        waiting: pool.waiting as u64,
        rule_errors: pool.rule_errors,
        split: pool.split.to_string(),
        hot_keys: pool.hot_keys.into_iter().map(hot).collect(),
        // The balancer's to tell.
        late_ms: 0,
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
