//! The task that owns the gatherer's machine: what the node reads, questions of others in between, no I/O.
//!
//! The machine decides ([`dovetail_node::gatherer`]). The engine gives it what comes in, a batch at a time, and does
//! what it wants done: it hands messages to the streams that are served, steps to the tasks that read, and lets what is
//! held back linger.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dovetail_core::{CandidateFrame, Cursor, DecisionFrame, Retirement, ShardId, SliceId, Stable, shard::Fetch};
use dovetail_node::{
    Action, Gatherer, LinkId, MatcherId, NodeId, Step, StreamId,
    action::SliceHello,
    gatherer::{DecisionMessage, GathererEnd},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    crash,
    rpc::{Heard, Linger, Next},
};
use dovetail::pb;

/// Decision frames that wait for a subscriber. Reaching it ends the subscription; the reader resumes from its cursor.
const SUBSCRIBER_FRAMES: usize = 4096;
/// Decisions in them. Reaching it ends the subscription as well: 24 MiB.
const SUBSCRIBER_DECISIONS: usize = 1 << 20;
/// Events handled before what came of them is sent.
const BATCH: usize = 64;

/// What a gatherer's engine hears.
#[derive(Debug)]
pub(super) enum GathererEvent {
    /// Slices of a matcher found candidates.
    Candidates { matcher: MatcherId, frames: Vec<(SliceId, CandidateFrame)> },
    /// Another shard decided something.
    Decisions { shard: ShardId, frame: DecisionFrame },
    /// A link asks for its next step.
    Link { link: LinkId, input: GathererLinkInput, reply: oneshot::Sender<Step> },
    /// A node subscribes to the decisions, in place of what it had.
    Subscribe { node: NodeId, after: Cursor, reply: oneshot::Sender<DecisionSubscription> },
    /// It is time to see whether the session is still of use. Answered when the cut is to be asked for.
    Check { reply: oneshot::Sender<()> },
    /// The balancer's log and cut.
    Cut { log_id: String, cut: Stable },
    /// An operator asks for this node's state.
    Inspect { reply: oneshot::Sender<pb::GathererState> },
}

/// What happened to a link.
#[derive(Debug)]
pub(super) enum GathererLinkInput {
    /// It has no stream.
    Dial,
    /// The slices of a matcher answered.
    Slices(Vec<SliceHello>),
    /// A peer answered, with its floor.
    Peer(Cursor),
    /// The store answered.
    Fetched(Fetch, Vec<Retirement>),
    /// The store no longer has what was asked for.
    Refused(Fetch),
}

/// What a reader gets.
#[derive(Debug)]
pub(super) struct DecisionSubscription {
    /// A hello, and what its cursor does not cover.
    pub(super) first: Vec<DecisionMessage>,
    pub(super) live: mpsc::Receiver<DecisionMessage>,
    /// Decisions that wait in it: the reader that takes a message out counts it down.
    pub(super) unread: Arc<AtomicUsize>,
}

/// How many decisions a message has.
pub(super) fn decisions(message: &DecisionMessage) -> usize {
    match message {
        DecisionMessage::Hello { .. } => 0,
        DecisionMessage::Frame(frame) => frame.retirements.len() + frame.grants.len() + 1,
    }
}

/// The machine, and the streams that are served.
#[derive(Debug)]
pub(super) struct Engine {
    gatherer: Gatherer,
    streams: BTreeMap<StreamId, Subscriber>,
    /// Streams so far.
    numbered: u64,
    /// When what waits is sent.
    later: Linger,
    actions: Vec<Action<DecisionMessage>>,
    /// The link that waits for the answer to the event that is handled.
    asking: Asking,
}

#[derive(Debug, Default)]
struct Asking {
    step: Option<oneshot::Sender<Step>>,
    cut: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Subscriber {
    messages: mpsc::Sender<DecisionMessage>,
    unread: Arc<AtomicUsize>,
}

impl Subscriber {
    /// False when it does not read, or not fast enough.
    fn send(&self, message: DecisionMessage) -> bool {
        crash::point("gatherer.decisions.send");
        let count = decisions(&message);
        let unread = self.unread.fetch_add(count, Ordering::Relaxed);
        // One frame may be larger.
        if unread > 0 && unread + count > SUBSCRIBER_DECISIONS {
            return false;
        }
        self.messages.try_send(message).is_ok()
    }
}

impl Engine {
    pub(super) fn new(gatherer: Gatherer) -> Engine {
        Engine {
            gatherer,
            streams: BTreeMap::new(),
            numbered: 0,
            later: Linger::default(),
            actions: Vec::new(),
            asking: Asking::default(),
        }
    }

    /// Handles events until all senders are gone, or the session cannot go on.
    pub(super) async fn run(mut self, mut heard: Heard<GathererEvent>) -> Result<(), GathererEnd> {
        loop {
            let event = match self.later.or(&mut heard).await {
                Next::Event(event) => event,
                Next::Due => {
                    self.gatherer.on_linger(&mut self.actions);
                    self.act();
                    continue;
                }
                Next::Closed => return Ok(()),
            };
            self.on_event(event)?;
            for _ in 1..BATCH {
                let Some(event) = heard.try_next() else { break };
                self.on_event(event)?;
            }
            self.gatherer.publish(&mut self.actions);
            self.act();
        }
    }

    fn on_event(&mut self, event: GathererEvent) -> Result<(), GathererEnd> {
        match event {
            GathererEvent::Candidates { matcher, frames } => {
                crash::point("gatherer.candidates.take");
                self.gatherer.on_candidates(matcher, &frames)
            }
            GathererEvent::Decisions { shard, frame } => self.gatherer.on_decisions(shard, &frame),
            GathererEvent::Link { link, input, reply } => {
                self.asking.step = Some(reply);
                self.on_link(link, input)?;
                self.act();
                Ok(())
            }
            // A node that comes again and again has what it asked before answered no more.
            GathererEvent::Subscribe { reply, .. } if reply.is_closed() => Ok(()),
            GathererEvent::Subscribe { node, after, reply } => {
                let subscription = self.subscribe(node, after);
                // The caller may have gone away meanwhile.
                _ = reply.send(subscription);
                Ok(())
            }
            GathererEvent::Check { reply } => {
                self.asking.cut = Some(reply);
                self.gatherer.on_check(&mut self.actions);
                self.act();
                Ok(())
            }
            GathererEvent::Cut { log_id, cut } => self.gatherer.on_cut(&log_id, cut),
            GathererEvent::Inspect { reply } => {
                _ = reply.send(inspect(&self.gatherer));
                Ok(())
            }
        }
    }

    fn on_link(&mut self, link: LinkId, input: GathererLinkInput) -> Result<(), GathererEnd> {
        let (gatherer, out) = (&mut self.gatherer, &mut self.actions);
        match (input, link) {
            (GathererLinkInput::Dial, _) => gatherer.on_dial(link, out),
            (GathererLinkInput::Slices(slices), LinkId::Matcher(matcher)) => {
                gatherer.on_candidates_hello(matcher, &slices, out)?;
            }
            (GathererLinkInput::Peer(floor), LinkId::Shard(peer)) => gatherer.on_decisions_hello(peer, floor, out),
            (GathererLinkInput::Fetched(fetch, retirements), _) => {
                gatherer.on_fetched(link, fetch, &retirements, out)?;
            }
            (GathererLinkInput::Refused(fetch), _) => gatherer.on_refused(link, fetch, out)?,
            (GathererLinkInput::Slices(_) | GathererLinkInput::Peer(_), _) => {
                unreachable!("each link has its own hello")
            }
        }
        Ok(())
    }

    /// Does what the machine wants done.
    fn act(&mut self) {
        for action in self.actions.drain(..) {
            match action {
                Action::Send { to, message } => {
                    let fits = self.streams.get(&to).is_some_and(|subscriber| subscriber.send(message));
                    if !fits {
                        self.streams.remove(&to);
                        self.gatherer.on_lost(to);
                    }
                }
                Action::End { stream } => _ = self.streams.remove(&stream),
                // The caller may have gone away meanwhile.
                Action::Link { step, .. } => {
                    _ = self.asking.step.take().expect("a step answers a link").send(step);
                }
                Action::Linger => self.later.arm(),
                Action::AskCut => _ = self.asking.cut.take().expect("somebody asked").send(()),
                Action::AskResultsFloor { .. } | Action::Refuse { .. } => unreachable!("a gatherer refuses nobody"),
            }
        }
    }

    fn subscribe(&mut self, node: NodeId, after: Cursor) -> DecisionSubscription {
        self.numbered += 1;
        let stream = StreamId(self.numbered);
        self.gatherer.on_subscribe(stream, node, after, &mut self.actions);
        // What it gets first goes past the queue, and its bounds.
        let own = |action: &mut Action<_>| matches!(action, Action::Send { to, .. } if *to == stream);
        let first = self.actions.extract_if(.., own).filter_map(|action| match action {
            Action::Send { message, .. } => Some(message),
            _ => None,
        });
        let first = first.collect();
        let (messages, live) = mpsc::channel(SUBSCRIBER_FRAMES);
        let unread = Arc::<AtomicUsize>::default();
        self.streams.insert(stream, Subscriber { messages, unread: Arc::clone(&unread) });
        self.act();
        DecisionSubscription { first, live, unread }
    }
}

fn inspect(gatherer: &Gatherer) -> pb::GathererState {
    let shard = gatherer.shard();
    let placement = shard.placement();
    let slices =
        placement.each_slice().map(|slice| pb::SliceProgress { slice: slice.0, through: shard.through(slice).0 });
    let others = placement.each_shard().filter(|&other| other != shard.id());
    let others = others.map(|other| pb::ShardProgress { shard: other.0, decided: shard.decided(other).event().0 });
    pb::GathererState {
        shard: shard.id().0,
        decided: shard.watermark().event().0,
        slices: slices.collect(),
        timelines: shard.timelines() as u64,
        undecided: shard.undecided() as u64,
        retirements_kept: shard.retirements_kept() as u64,
        floor: shard.floor().0,
        accepted: shard.accepted(),
        shards: others.collect(),
    }
}
