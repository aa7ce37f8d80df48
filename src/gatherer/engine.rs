//! The thread that decides: one inbox, one shard, no I/O.

use std::sync::Arc;

use dovetail_core::{
    CandidateFrame, DecisionFrame, EventId, Retirement, ShardId, SliceId,
    shard::{DecisionBacklog, Fetch, Reader, Shard, ShardEffect, ShardError},
};
use tokio::sync::{mpsc, oneshot};

use crate::{crash, pb};

/// Decision frames that wait for a subscriber. Reaching it ends the subscription; the reader resumes from its cursor.
const SUBSCRIBER_FRAMES: usize = 4096;
/// Events handled before what came of them is sent.
const BATCH: usize = 64;

/// What a gatherer's engine hears.
#[derive(Debug)]
pub(crate) enum Event {
    /// A slice found candidates.
    Candidates { slice: SliceId, frame: CandidateFrame },
    /// Another shard decided something.
    Decisions { shard: ShardId, frame: DecisionFrame },
    /// A slice answered a subscription.
    SliceSubscribed { slice: SliceId, known: EventId, reply: oneshot::Sender<Option<Fetch>> },
    /// Another shard answered a subscription.
    PeerSubscribed { shard: ShardId, floor: EventId, reply: oneshot::Sender<Option<Fetch>> },
    /// Retirements from the store.
    Stored { fetch: Fetch, retirements: Vec<Retirement> },
    /// Where to resume.
    Cursors { reply: oneshot::Sender<Cursors> },
    /// Somebody subscribes to the decisions.
    Subscribe { reader: Reader, after: EventId, reply: oneshot::Sender<Subscription> },
    /// Somebody looks.
    Inspect { reply: oneshot::Sender<pb::GathererState> },
}

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
    pub(crate) live: mpsc::Receiver<Arc<DecisionFrame>>,
}

/// A shard and who reads it.
#[derive(Debug)]
pub(crate) struct Engine {
    shard: Shard,
    shards: u32,
    slices: u32,
    subscribers: Vec<Subscriber>,
    effects: Vec<ShardEffect>,
}

#[derive(Debug)]
struct Subscriber {
    reader: Reader,
    frames: mpsc::Sender<Arc<DecisionFrame>>,
}

impl Engine {
    pub(crate) fn new(shard: Shard) -> Engine {
        let (slices, shards) = (shard.placement().slices(), shard.placement().shards());
        Engine { shard, shards, slices, subscribers: Vec::new(), effects: Vec::new() }
    }

    /// Handles events until the inbox closes, or one cannot be applied.
    pub(crate) fn run(mut self, mut inbox: mpsc::Receiver<Event>) -> Result<(), ShardError> {
        while let Some(event) = inbox.blocking_recv() {
            self.on_event(event)?;
            for _ in 1..BATCH {
                match inbox.try_recv() {
                    Ok(event) => self.on_event(event)?,
                    Err(_) => break,
                }
            }
            self.publish();
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), ShardError> {
        let (shard, out) = (&mut self.shard, &mut self.effects);
        match event {
            Event::Candidates { slice, frame } => {
                crash::point("gatherer.candidates.take");
                shard.on_candidates(slice, &frame, out)?;
            }
            Event::Decisions { shard: from, frame } => shard.on_decisions(from, &frame, out)?,
            Event::Stored { fetch, retirements } => shard.on_stored(fetch, &retirements, out)?,
            // Whoever asked may have gone away meanwhile.
            Event::SliceSubscribed { slice, known, reply } => _ = reply.send(shard.on_slice_subscribed(slice, known)),
            Event::PeerSubscribed { shard: peer, floor, reply } => {
                _ = reply.send(shard.on_peer_subscribed(peer, floor));
            }
            Event::Cursors { reply } => _ = reply.send(self.cursors()),
            Event::Subscribe { reader, after, reply } => _ = reply.send(self.subscribe(reader, after)),
            Event::Inspect { reply } => _ = reply.send(self.inspect()),
        }
        Ok(())
    }

    /// Sends what came of a batch: retirements to all, to peers their grants, to balancers what slices settled, and to all the
    /// watermark, which comes last (R4).
    fn publish(&mut self) {
        let mut common = DecisionFrame::default();
        let mut settled = Vec::new();
        let mut grants = vec![Vec::new(); self.shards as usize];
        for effect in self.effects.drain(..) {
            match effect {
                ShardEffect::Retire(retirement) => common.retirements.push(retirement),
                ShardEffect::Settled(retirement) => settled.push(retirement),
                ShardEffect::Grant { to, grant } => grants[to.0 as usize].push(grant),
                ShardEffect::Decided { through } => common.decided = Some(through),
            }
        }
        let silent = common == DecisionFrame::default();
        if !silent {
            crash::point("gatherer.decisions.send");
        }
        let common = Arc::new(common);
        self.subscribers.retain(|subscriber| {
            let frame = match subscriber.reader {
                Reader::Shard(shard) if !grants[shard.0 as usize].is_empty() => {
                    Arc::new(DecisionFrame { grants: grants[shard.0 as usize].clone(), ..(*common).clone() })
                }
                Reader::Balancer if !settled.is_empty() => {
                    let retirements = common.retirements.iter().chain(&settled).copied().collect();
                    Arc::new(DecisionFrame { retirements, ..(*common).clone() })
                }
                _ if silent => return !subscriber.frames.is_closed(),
                _ => Arc::clone(&common),
            };
            subscriber.frames.try_send(frame).is_ok()
        });
    }

    fn cursors(&self) -> Cursors {
        Cursors {
            through: (0..self.slices).map(|slice| self.shard.through(SliceId(slice))).collect(),
            decided: (0..self.shards).map(|shard| self.shard.decided(ShardId(shard))).collect(),
            floor: self.shard.floor(),
        }
    }

    fn subscribe(&mut self, reader: Reader, after: EventId) -> Subscription {
        // What is not sent yet is in the backlog, and would come twice; it may, but a grant to no reader must not get lost.
        self.publish();
        let (frames, live) = mpsc::channel(SUBSCRIBER_FRAMES);
        let backlog = self.shard.subscribe(reader, after);
        self.subscribers.push(Subscriber { reader, frames });
        Subscription { backlog, live }
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
