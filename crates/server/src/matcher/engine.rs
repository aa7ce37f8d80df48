//! The task that owns the matcher's machine: what the node reads, questions of others in between, no I/O.
//!
//! The machine decides ([`dovetail_node::matcher`]). The engine gives it what comes in, and does what it wants done.
//! It answers from the runtime's own thread, so that a frame of few events goes from socket to socket without waking
//! another. A long search blocks that thread, and says so: the runtime then reads and writes in another. What came of a
//! batch of events goes to each gatherer as one message, or of as many as were searched in a few milliseconds: what is
//! found does not wait for a search that takes long.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use dovetail_core::{
    ColumnFrame, Cursor, Decided, DecisionFrame, EventId, Retirement, ShardId, Stable,
    shard::Fetch,
    slice::{HotKey, SlicePoolStats, SliceRef},
};
use dovetail_node::{
    LinkId, Matcher, Step, StreamId,
    action::{Action, KnowsLess},
    link::Cursors,
    matcher::{CandidatesMessage, MatcherAction, MatcherEnd},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    crash,
    rpc::{self, Heard, Linger},
};
use dovetail::pb;

/// Messages that wait for a subscriber. Reaching it ends the subscription; the gatherer resumes from its cursors.
const SUBSCRIBER_MESSAGES: usize = 4096;
/// Events handled before what came of them is sent.
const BATCH: usize = 64;
/// Events of the log that will take longer than this, as far as the last ones tell, are searched where blocking does not
/// hold up reading and writing.
const SEARCH_TIME: Duration = Duration::from_millis(2);
/// What an event takes as far as the last ones tell, before there were any.
const EVENT_TIME: Duration = Duration::from_micros(8);

/// What a matcher's engine hears.
#[derive(Debug)]
pub(super) enum MatcherEvent {
    /// The next frame of the log.
    Frame(Arc<ColumnFrame>),
    /// The stable cut moved.
    Stable(Stable),
    /// The balancer no longer keeps the log after what was received, as it says.
    LogGone(String),
    /// A shard decided something.
    Decisions { shard: ShardId, frame: DecisionFrame },
    /// A link asks for its next step.
    Link { link: LinkId, input: MatcherLinkInput, reply: oneshot::Sender<LinkStep> },
    /// A gatherer subscribes to all slices of this node.
    Subscribe {
        shard: ShardId,
        cursors: Cursors,
        /// What its frames must know.
        decided_seen_min: Decided,
        reply: oneshot::Sender<SubscribeAnswer>,
    },
    /// The balancer keeps retirements above this, for a stream of which it was asked.
    ResultsFloor { stream: StreamId, floor: EventId, reply: oneshot::Sender<SubscribeAnswer> },
    /// An operator asks for this node's state.
    Inspect { reply: oneshot::Sender<pb::MatcherState> },
}

/// What happened to a link.
#[derive(Debug)]
pub(super) enum MatcherLinkInput {
    /// It has no stream.
    Dial,
    /// The balancer's log and cut.
    Cut { log_id: String, cut: Stable },
    /// The balancer answered.
    Feed,
    /// A shard answered, with its floor.
    Shard(Cursor),
    /// The store answered.
    Fetched(Fetch, Vec<Retirement>),
    /// The store no longer has what was asked for.
    Refused(Fetch),
}

/// What a link does next.
#[derive(Debug)]
pub(super) enum LinkStep {
    /// This.
    Step(Step),
    /// It asks for the balancer's log and cut.
    AskCut,
}

/// What comes of a gatherer's subscription.
#[derive(Debug)]
pub(super) enum SubscribeAnswer {
    /// It reads.
    Reads(CandidateSubscription),
    /// The balancer is to be asked above what it keeps retirements.
    AskResultsFloor(StreamId),
    /// It is refused.
    Refused(KnowsLess),
}

/// What a gatherer gets.
#[derive(Debug)]
pub(super) struct CandidateSubscription {
    /// A hello, and what its cursors do not cover.
    pub(super) first: Vec<CandidatesMessage>,
    pub(super) live: mpsc::Receiver<CandidatesMessage>,
}

/// The machine, and the streams that are served.
#[derive(Debug)]
pub(super) struct Engine {
    matcher: Matcher,
    /// By slice, in the machine's order.
    waits: Vec<Waited>,
    streams: BTreeMap<StreamId, mpsc::Sender<CandidatesMessage>>,
    /// Streams so far.
    numbered: u64,
    /// When what waits is sent.
    later: Linger,
    actions: Vec<MatcherAction>,
    /// The link that waits for its next step, which the event that is handled gives it.
    asking: Option<oneshot::Sender<LinkStep>>,
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

impl Engine {
    pub(super) fn new(matcher: Matcher) -> Engine {
        let waits = vec![Waited::default(); matcher.slices().len()];
        Engine {
            waits,
            matcher,
            streams: BTreeMap::new(),
            numbered: 0,
            later: Linger::default(),
            actions: Vec::new(),
            asking: None,
            per_event: EVENT_TIME,
        }
    }

    /// Handles events until all senders are gone, or the session cannot go on.
    pub(super) async fn run(mut self, mut heard: Heard<MatcherEvent>) -> Result<(), MatcherEnd> {
        loop {
            let event = match self.later.or(&mut heard).await {
                rpc::Next::Event(event) => event,
                rpc::Next::Due => {
                    self.matcher.on_linger(&mut self.actions);
                    self.act();
                    continue;
                }
                rpc::Next::Closed => return Ok(()),
            };
            let mut brief = self.handle(event)?;
            for _ in 1..BATCH {
                let Some(event) = heard.try_next() else { break };
                if !brief || !self.is_brief(self.events_to_search(&event)) {
                    self.publish();
                }
                brief = self.handle(event)?;
            }
            self.publish();
        }
    }

    /// Whether it was brief.
    fn handle(&mut self, event: MatcherEvent) -> Result<bool, MatcherEnd> {
        let events = self.events_to_search(&event);
        if events == 0 {
            self.on_event(event)?;
            return Ok(true);
        }
        let began = Instant::now();
        if self.is_brief(events) {
            self.on_event(event)?;
        } else {
            tokio::task::block_in_place(|| self.on_event(event))?;
        }
        let took = began.elapsed();
        // What took long is believed at once, and forgotten bit by bit.
        self.per_event = (took / u32::try_from(events).unwrap_or(u32::MAX)).max(self.per_event * 7 / 8);
        Ok(took <= SEARCH_TIME)
    }

    fn is_brief(&self, events: u64) -> bool {
        self.per_event.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX)) <= SEARCH_TIME
    }

    fn events_to_search(&self, event: &MatcherEvent) -> u64 {
        match event {
            MatcherEvent::Frame(frame) => self.matcher.work(Some(frame)),
            MatcherEvent::Decisions { .. } | MatcherEvent::Link { input: MatcherLinkInput::Fetched(..), .. } => {
                self.matcher.work(None)
            }
            MatcherEvent::Stable(_)
            | MatcherEvent::LogGone(_)
            | MatcherEvent::Link { .. }
            | MatcherEvent::Subscribe { .. }
            | MatcherEvent::ResultsFloor { .. }
            | MatcherEvent::Inspect { .. } => 0,
        }
    }

    fn on_event(&mut self, event: MatcherEvent) -> Result<(), MatcherEnd> {
        match event {
            MatcherEvent::Frame(frame) => {
                crash::point("matcher.frame.search");
                self.matcher.on_frame(&frame)?;
                self.note_waits();
            }
            MatcherEvent::Stable(stable) => self.matcher.on_stable(stable),
            MatcherEvent::LogGone(reason) => self.matcher.on_log_gone(reason)?,
            MatcherEvent::Decisions { shard, frame } => {
                self.matcher.on_decisions(shard, &frame)?;
                self.note_waits();
            }
            MatcherEvent::Link { link, input, reply } => {
                self.asking = Some(reply);
                self.on_link(link, input)?;
                self.act();
            }
            // A gatherer that comes again and again has what it asked before answered no more.
            MatcherEvent::Subscribe { reply, .. } if reply.is_closed() => {}
            MatcherEvent::Subscribe { shard, cursors, decided_seen_min, reply } => {
                self.numbered += 1;
                let stream = StreamId(self.numbered);
                self.matcher.on_subscribe(stream, shard, cursors, decided_seen_min, &mut self.actions);
                self.answer(stream, reply);
            }
            MatcherEvent::ResultsFloor { stream, floor, reply } => {
                self.matcher.on_results_floor(stream, floor, &mut self.actions)?;
                self.answer(stream, reply);
            }
            // The caller may have gone away meanwhile.
            MatcherEvent::Inspect { reply } => _ = reply.send(self.inspect()),
        }
        Ok(())
    }

    fn on_link(&mut self, link: LinkId, input: MatcherLinkInput) -> Result<(), MatcherEnd> {
        let (matcher, out) = (&mut self.matcher, &mut self.actions);
        match (input, link) {
            (MatcherLinkInput::Dial, _) => matcher.on_dial(link, out),
            (MatcherLinkInput::Cut { log_id, cut }, LinkId::Feed) => matcher.on_cut(&log_id, cut, out)?,
            (MatcherLinkInput::Feed, LinkId::Feed) => matcher.on_feed_hello(out),
            (MatcherLinkInput::Shard(floor), LinkId::Shard(shard)) => matcher.on_decisions_hello(shard, floor, out),
            (MatcherLinkInput::Fetched(fetch, retirements), LinkId::Shard(shard)) => {
                matcher.on_fetched(shard, fetch, &retirements, out)?;
                self.note_waits();
            }
            (MatcherLinkInput::Refused(fetch), LinkId::Shard(shard)) => matcher.on_refused(shard, fetch, out)?,
            (input, link) => unreachable!("{link:?} is told no {input:?}"),
        }
        Ok(())
    }

    /// Notes which slices wait for decisions now.
    fn note_waits(&mut self) {
        for (slice, waits) in self.matcher.slices().zip(&mut self.waits) {
            waits.on_step(slice.stalled(), Instant::now);
        }
    }

    /// Sends what came of a batch to those who wait for it, and to the others later.
    fn publish(&mut self) {
        self.matcher.publish(&mut self.actions);
        self.act();
    }

    /// Does what the machine wants done.
    fn act(&mut self) {
        for action in self.actions.drain(..) {
            match action {
                Action::Send { to, message } => {
                    crash::point("matcher.candidates.send");
                    // It is full when its reader is not fast enough.
                    let fits = self.streams.get(&to).is_some_and(|stream| stream.try_send(message).is_ok());
                    if !fits {
                        self.streams.remove(&to);
                        self.matcher.on_lost(to);
                    }
                }
                Action::End { stream } => _ = self.streams.remove(&stream),
                // The caller may have gone away meanwhile.
                Action::Link { step, .. } => {
                    _ = self.asking.take().expect("a step answers a link").send(LinkStep::Step(step));
                }
                Action::AskCut => _ = self.asking.take().expect("a link asked").send(LinkStep::AskCut),
                Action::Linger => self.later.arm(),
                Action::AskResultsFloor { stream } | Action::Refuse { stream, .. } => {
                    unreachable!("{stream:?} was answered")
                }
            }
        }
    }

    /// Answers the node that asked for a stream, and does whatever else the machine wants done.
    fn answer(&mut self, stream: StreamId, reply: oneshot::Sender<SubscribeAnswer>) {
        let (mut first, mut answer) = (Vec::new(), None);
        for action in std::mem::take(&mut self.actions) {
            match action {
                // What it gets first goes past the queue, and its bounds.
                Action::Send { to, message } if to == stream => first.push(message),
                Action::AskResultsFloor { stream: of } if of == stream => {
                    answer = Some(SubscribeAnswer::AskResultsFloor(stream));
                }
                Action::Refuse { stream: of, why } if of == stream => answer = Some(SubscribeAnswer::Refused(why)),
                action => self.actions.push(action),
            }
        }
        if !first.is_empty() {
            let (messages, live) = mpsc::channel(SUBSCRIBER_MESSAGES);
            self.streams.insert(stream, messages);
            answer = Some(SubscribeAnswer::Reads(CandidateSubscription { first, live }));
        }
        self.act();
        // Without an answer another stream has taken its place. The caller may have gone away meanwhile.
        _ = answer.map(|answer| reply.send(answer));
    }

    fn inspect(&self) -> pb::MatcherState {
        let slices = self.matcher.slices().zip(&self.waits);
        let slices = slices.map(|(slice, waits)| slice_state(slice, waits.total(Instant::now())));
        let mark = |id| match id {
            LinkId::Shard(shard) => {
                pb::ShardProgress { shard: shard.0, decided: self.matcher.decided(shard).event().0 }
            }
            LinkId::Feed | LinkId::Matcher(_) => unreachable!("a matcher reads shards, and the log"),
        };
        pb::MatcherState { slices: slices.collect(), shards: self.matcher.links().map(mark).collect() }
    }
}

fn slice_state(slice: SliceRef<'_>, stalled: Duration) -> pb::SliceState {
    pb::SliceState {
        slice: slice.id().0,
        through: slice.through().0,
        decided: slice.decided_seen().event().0,
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
        split: pb::PoolSplit::from(pool.split).into(),
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
