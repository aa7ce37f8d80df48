//! The task that decides: one inbox, one shard, no I/O.
//!
//! What came of a batch of events goes to each reader as one message, and only when the reader can do something with it: the
//! balancer publishes nothing above a watermark, a matcher is in no hurry to forget, and a peer waits for grants and retirements
//! alone. What waits goes with the next message, or by itself after a short while.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dovetail_core::{
    CandidateFrame, DecisionFrame, EventId, Retirement, ShardId, SliceId,
    shard::{DecisionBacklog, Fetch, Reader, Shard, ShardEffect, ShardError},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    crash, pb,
    rpc::{Later, Next},
};

/// Decision frames that wait for a subscriber. Reaching it ends the subscription; the reader resumes from its cursor.
const SUBSCRIBER_FRAMES: usize = 4096;
/// Decisions in them. Reaching it ends the subscription as well: 24 MiB.
const SUBSCRIBER_DECISIONS: usize = 1 << 20;
/// Events handled before what came of them is sent.
const BATCH: usize = 64;
/// A matcher's watermark is held back by fewer events than this, and by fewer than half of `list_max`: its lists are hardly longer
/// for it, and no slice waits for what is held back. Once all events before the one that waits are decided, the last watermark
/// told is less than this behind it; a slice whose list is too long waits for one that is half of `list_max` behind, and one that
/// has listed too many candidates for one with 32 full lists in between.
const MATCHER_LAG_MAX: u64 = 16;
/// Most retirements that wait for the balancer's watermark.
const HELD_MAX: usize = 4096;

/// What a gatherer's engine hears.
#[derive(Debug)]
pub(crate) enum Event {
    /// Slices found candidates.
    Candidates { frames: Vec<(SliceId, CandidateFrame)> },
    /// Another shard decided something.
    Decisions { shard: ShardId, frame: DecisionFrame },
    /// The slices of a matcher answered a subscription, each with what its frames know.
    SlicesSubscribed { known: Vec<(SliceId, EventId)>, reply: oneshot::Sender<Option<Fetch>> },
    /// Another shard answered a subscription.
    PeerSubscribed { shard: ShardId, floor: EventId, reply: oneshot::Sender<Option<Fetch>> },
    /// Retirements from the store.
    Stored { fetch: Fetch, retirements: Vec<Retirement> },
    /// Where to resume.
    Cursors { reply: oneshot::Sender<Cursors> },
    /// A node subscribes to the decisions, in place of what it had. It is known by its role and index.
    Subscribe { who: Who, reader: Reader, after: EventId, reply: oneshot::Sender<Subscription> },
    /// Somebody looks.
    Inspect { reply: oneshot::Sender<pb::GathererState> },
}

/// A node, by role and index.
pub(crate) type Who = (i32, u32);

/// Where to resume.
#[derive(Debug)]
pub(crate) struct Cursors {
    /// By slice.
    pub(crate) through: Vec<EventId>,
    /// By shard.
    pub(crate) decided: Vec<EventId>,
    /// At or below it nothing is remembered.
    pub(crate) floor: EventId,
}

/// What a reader gets.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) backlog: DecisionBacklog,
    pub(crate) live: mpsc::Receiver<DecisionFrame>,
    /// Decisions that wait in it: whoever takes a frame out counts it down.
    pub(crate) unread: Arc<AtomicUsize>,
}

/// How many decisions a frame has.
pub(crate) fn decisions(frame: &DecisionFrame) -> usize {
    frame.retirements.len() + frame.grants.len() + 1
}

/// A shard and who reads it.
#[derive(Debug)]
pub(crate) struct Engine {
    shard: Shard,
    shards: u32,
    slices: u32,
    /// A matcher's watermark is behind by less than this.
    matcher_lag_max: u64,
    subscribers: Vec<Subscriber>,
    /// When what waits is sent.
    later: Later,
    effects: Vec<ShardEffect>,
}

#[derive(Debug)]
struct Subscriber {
    who: Who,
    reader: Reader,
    frames: mpsc::Sender<DecisionFrame>,
    unread: Arc<AtomicUsize>,
    /// What comes next.
    next: DecisionFrame,
    /// The watermark it was told.
    told: EventId,
}

impl Subscriber {
    /// Takes its share of what came of a batch. Decisions stay in their order, and the last watermark covers them all (R4).
    fn add(&mut self, effects: &[ShardEffect]) {
        for effect in effects {
            match (effect, self.reader) {
                (ShardEffect::Retire(retirement), _) | (ShardEffect::Settled(retirement), Reader::Balancer) => {
                    self.next.retirements.push(*retirement);
                }
                (ShardEffect::Grant { to, grant }, Reader::Shard(shard)) if *to == shard => {
                    self.next.grants.push(*grant);
                }
                (ShardEffect::Decided { through }, _) => self.next.decided = Some(*through),
                (ShardEffect::Settled(_) | ShardEffect::Grant { .. }, _) => {}
            }
        }
    }

    fn waits(&self) -> bool {
        self.next != DecisionFrame::default()
    }

    /// Whether the reader may be waiting for what comes next.
    fn due(&self, matcher_lag_max: u64) -> bool {
        let DecisionFrame { retirements, grants, decided } = &self.next;
        match self.reader {
            Reader::Balancer => decided.is_some() || retirements.len() >= HELD_MAX,
            Reader::Shard(_) => !retirements.is_empty() || !grants.is_empty(),
            Reader::Matcher => decided.is_some_and(|decided| decided.0 >= self.told.0 + matcher_lag_max),
        }
    }

    /// False when it does not read, or not fast enough.
    fn send(&mut self) -> bool {
        if !self.waits() {
            return !self.frames.is_closed();
        }
        crash::point("gatherer.decisions.send");
        self.told = self.next.decided.unwrap_or(self.told);
        let count = decisions(&self.next);
        let unread = self.unread.fetch_add(count, Ordering::Relaxed);
        // One frame may be larger.
        if unread > 0 && unread + count > SUBSCRIBER_DECISIONS {
            return false;
        }
        self.frames.try_send(std::mem::take(&mut self.next)).is_ok()
    }
}

impl Engine {
    /// `list_max` is the cluster's.
    pub(crate) fn new(shard: Shard, list_max: u32) -> Engine {
        let (slices, shards) = (shard.placement().slices(), shard.placement().shards());
        let matcher_lag_max = (u64::from(list_max) / 2).min(MATCHER_LAG_MAX);
        let (subscribers, effects) = (Vec::new(), Vec::new());
        Engine { shard, shards, slices, matcher_lag_max, subscribers, later: Later::default(), effects }
    }

    /// Handles events until the inbox closes, or one cannot be applied.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Event>) -> Result<(), ShardError> {
        loop {
            let event = match self.later.or(&mut inbox).await {
                Next::Event(event) => event,
                Next::Due => {
                    self.send(|_| true);
                    continue;
                }
                Next::Closed => return Ok(()),
            };
            self.on_event(event)?;
            for _ in 1..BATCH {
                match inbox.try_recv() {
                    Ok(event) => self.on_event(event)?,
                    Err(_) => break,
                }
            }
            self.publish();
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), ShardError> {
        let (shard, out) = (&mut self.shard, &mut self.effects);
        match event {
            Event::Candidates { frames } => {
                crash::point("gatherer.candidates.take");
                frames.iter().try_for_each(|(slice, frame)| shard.on_candidates(*slice, frame, out))?;
            }
            Event::Decisions { shard: from, frame } => shard.on_decisions(from, &frame, out)?,
            Event::Stored { fetch, retirements } => shard.on_stored(fetch, &retirements, out)?,
            // Whoever asked may have gone away meanwhile.
            Event::SlicesSubscribed { known, reply } => {
                let needed = known.into_iter().filter_map(|(slice, known)| shard.on_slice_subscribed(slice, known));
                // All reach up to the floor.
                _ = reply.send(needed.min_by_key(|fetch| fetch.after));
            }
            Event::PeerSubscribed { shard: peer, floor, reply } => {
                _ = reply.send(shard.on_peer_subscribed(peer, floor));
            }
            Event::Cursors { reply } => _ = reply.send(self.cursors()),
            Event::Subscribe { who, reader, after, reply } => _ = reply.send(self.subscribe(who, reader, after)),
            Event::Inspect { reply } => _ = reply.send(self.inspect()),
        }
        Ok(())
    }

    /// Sends what came of a batch: retirements to all, to peers their grants, to balancers what slices settled, and to all the
    /// watermark. What no reader waits for goes later.
    fn publish(&mut self) {
        if self.effects.is_empty() {
            return;
        }
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.add(&self.effects));
        self.effects.clear();
        let lag_max = self.matcher_lag_max;
        self.send(|subscriber| subscriber.due(lag_max));
        if self.subscribers.iter().any(Subscriber::waits) {
            self.later.arm();
        }
    }

    fn send(&mut self, which: impl Fn(&Subscriber) -> bool) {
        self.subscribers.retain_mut(|subscriber| !which(subscriber) || subscriber.send());
    }

    fn cursors(&self) -> Cursors {
        Cursors {
            through: (0..self.slices).map(|slice| self.shard.through(SliceId(slice))).collect(),
            decided: (0..self.shards).map(|shard| self.shard.decided(ShardId(shard))).collect(),
            floor: self.shard.floor(),
        }
    }

    fn subscribe(&mut self, who: Who, reader: Reader, after: EventId) -> Subscription {
        // What is not sent yet is in the backlog, and would come twice; it may, but a grant to no reader must not get lost.
        self.publish();
        self.subscribers.retain(|subscriber| subscriber.who != who && !subscriber.frames.is_closed());
        let (frames, live) = mpsc::channel(SUBSCRIBER_FRAMES);
        let unread = Arc::<AtomicUsize>::default();
        let backlog = self.shard.subscribe(reader, after);
        let told = self.shard.watermark();
        let next = DecisionFrame::default();
        self.subscribers.push(Subscriber { who, reader, frames, unread: Arc::clone(&unread), next, told });
        Subscription { backlog, live, unread }
    }

    fn inspect(&self) -> pb::GathererState {
        let shard = &self.shard;
        let cursors = self.cursors();
        let slices = (0..).zip(&cursors.through).map(|(slice, through)| pb::SliceMark { slice, through: through.0 });
        let others = (0..).zip(&cursors.decided).map(|(shard, decided)| pb::ShardMark { shard, decided: decided.0 });
        pb::GathererState {
            shard: shard.id().0,
            decided: shard.watermark().0,
            slices: slices.collect(),
            timelines: shard.timelines() as u64,
            undecided: shard.undecided() as u64,
            retirements_kept: shard.retirements_kept() as u64,
            floor: shard.floor().0,
            accepted: shard.accepted(),
            shards: others.filter(|mark| mark.shard != shard.id().0).collect(),
        }
    }
}
