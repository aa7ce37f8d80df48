//! A gatherer: reads every slice's candidates and every peer's decisions, runs its shard, serves its decisions.

use std::sync::Arc;

use dovetail_core::{
    DecisionFrame, EventId, ShardId, SliceId,
    planted::Bug,
    shard::{Reader, Shard, ShardEffect, ShardError},
};

use crate::{
    checks,
    cx::Cx,
    link::Link,
    net::{Call, CallId, LinkId, Message, Node, Reply, Request, StreamId, Time, Timer},
    nodes::Fate,
    violation::Violation,
};

/// Longest time that what came of a step waits for what comes of the next.
const BATCH_MS: Time = 30;

/// A gatherer.
#[derive(Debug)]
pub struct Gatherer {
    index: usize,
    live: Option<Live>,
}

/// What a crash takes.
#[derive(Debug)]
struct Live {
    /// The call for the cut, until there is a shard.
    cut: CallId,
    shard: Option<Shard>,
    /// Retirements above this could be fetched when it started.
    stored: EventId,
    slices: Vec<Link>,
    /// One per shard; its own is never used.
    peers: Vec<Link>,
    /// Who reads its decisions.
    readers: Vec<(Node, StreamId)>,
    /// What is not sent yet, because more may come of what is in the inbox.
    unsent: Vec<ShardEffect>,
}

impl Gatherer {
    /// A gatherer that is not started.
    #[must_use]
    pub fn new(index: usize) -> Gatherer {
        Gatherer { index, live: None }
    }

    /// Starts with nothing, from the cut.
    pub fn start(&mut self, cx: &mut Cx) {
        let cut = cx.net.call(self.node(), Call::Cut);
        self.live = Some(Live {
            cut,
            shard: None,
            stored: EventId::ZERO,
            slices: Vec::new(),
            peers: Vec::new(),
            readers: Vec::new(),
            unsent: Vec::new(),
        });
    }

    /// Loses everything.
    pub fn crash(&mut self) {
        self.live = None;
    }

    /// Its shard, when it has it.
    #[must_use]
    pub fn shard(&self) -> Option<&Shard> {
        self.live.as_ref().and_then(|live| live.shard.as_ref())
    }

    /// Someone subscribes to its decisions.
    pub fn on_subscribe(&mut self, cx: &mut Cx, stream: StreamId, after: EventId) {
        self.publish(cx);
        let live = self.live.as_mut().expect("a node that is up is live");
        let Some(shard) = &live.shard else {
            cx.net.sever(stream);
            return;
        };
        let (node, ..) = cx.net.ends(stream);
        live.readers.retain(|&(reader, before)| {
            if reader == node {
                cx.net.sever(before);
            }
            reader != node
        });
        let reader = match node {
            Node::Gatherer(peer) => Reader::Shard(shard_id(peer)),
            Node::Balancer => Reader::Balancer,
            Node::Matcher(_) => Reader::Matcher,
        };
        let overlap = after > shard.floor() && cx.rng.chance(cx.scenario.net.overlap_permille);
        let from = if overlap { EventId(cx.rng.range(shard.floor().0, after.0)) } else { after };
        let backlog = shard.subscribe(reader, from);
        cx.net.send(stream, Message::DecisionsHello { floor: backlog.floor }, &mut cx.stats);
        cx.net.send(stream, Message::Decisions(Arc::new(backlog.decisions)), &mut cx.stats);
        live.readers.push((node, stream));
    }

    /// A message of a slice or of a peer.
    ///
    /// # Errors
    /// When the shard refuses it, or decides what truth does not.
    pub fn on_message(
        &mut self,
        cx: &mut Cx,
        stream: StreamId,
        from: LinkId,
        message: Message,
    ) -> Result<Fate, Violation> {
        let Some(link) = self.link(from).filter(|link| link.reads(stream)) else { return Ok(Fate::Goes) };
        let Some(message) = link.hold(message) else { return Ok(Fate::Goes) };
        self.apply(cx, from, &message)
    }

    /// An answer of the balancer.
    ///
    /// # Errors
    /// When the shard refuses what it says.
    pub fn on_reply(&mut self, cx: &mut Cx, id: CallId, reply: &Reply) -> Result<Fate, Violation> {
        match reply {
            Reply::Cut { cut, floor } => self.on_cut(cx, id, *cut, *floor),
            Reply::OutOfRange(fetch) if cx.planted().is(Bug::RefusedGoesOn) => {
                return self.on_reply(cx, id, &Reply::Retirements(*fetch, [].into()));
            }
            Reply::OutOfRange(_) => {
                let live = self.live.as_mut().expect("a node that is up is live");
                let waits = live.slices.iter_mut().chain(&mut live.peers).any(|link| link.fetched(id).is_some());
                if waits {
                    cx.stats.gatherers_refused += 1;
                    return Ok(Fate::Behind);
                }
            }
            Reply::Retirements(fetch, retirements) => {
                let live = self.live.as_mut().expect("a node that is up is live");
                let links = live.slices.iter_mut().zip(0..).map(|(link, slice)| (link, LinkId::Slice(SliceId(slice))));
                let peers = live.peers.iter_mut().zip(0..).map(|(link, shard)| (link, LinkId::Shard(ShardId(shard))));
                let mut links = links.chain(peers);
                let Some((held, from)) = links.find_map(|(link, from)| Some((link.fetched(id)?, from))) else {
                    return Ok(Fate::Goes);
                };
                self.give(cx, |shard, out| shard.on_stored(*fetch, retirements, out))?;
                for message in &held {
                    if self.apply(cx, from, message)? == Fate::Behind {
                        return Ok(Fate::Behind);
                    }
                }
            }
        }
        Ok(Fate::Goes)
    }

    /// A stream ended.
    pub fn on_lost(&mut self, cx: &mut Cx, stream: StreamId) {
        let live = self.live.as_mut().expect("a node that is up is live");
        live.readers.retain(|&(_, reader)| reader != stream);
        for link in live.slices.iter_mut().chain(&mut live.peers) {
            link.lost(&mut cx.net, stream);
        }
    }

    /// A timer went off.
    pub fn on_timer(&mut self, cx: &mut Cx, timer: Timer) {
        if timer == Timer::Publish {
            return self.publish(cx);
        }
        let id = shard_id(self.index);
        let node = self.node();
        let live = self.live.as_mut().expect("a node that is up is live");
        match (timer, &live.shard) {
            (Timer::Subscribe(LinkId::Slice(slice)), Some(shard)) => {
                // Whatever it has not forgotten it need not fetch.
                let mut known_min = live.stored.min(shard.floor());
                if cx.planted().is(Bug::StaleCandidatesServed) || cx.planted().is(Bug::RefusedGoesOn) {
                    known_min = EventId::ZERO;
                }
                let request = Request::Candidates { slice, shard: id, after: shard.through(slice), known_min };
                live.slices[slice.0 as usize].subscribe(&mut cx.net, request);
            }
            (Timer::Subscribe(LinkId::Shard(peer)), Some(shard)) if peer != id => {
                let request = Request::Decisions { after: shard.decided(peer) };
                live.peers[peer.0 as usize].subscribe(&mut cx.net, request);
            }
            (Timer::Subscribe(LinkId::Shard(_)), Some(_)) => {}
            (Timer::CallTimeout(call), None) if live.cut == call => live.cut = cx.net.call(node, Call::Cut),
            (Timer::CallTimeout(call), _) => {
                for link in live.slices.iter_mut().chain(&mut live.peers) {
                    link.timed_out(&mut cx.net, call);
                }
            }
            (other, _) => unreachable!("a gatherer sets no {other:?}"),
        }
    }

    fn node(&self) -> Node {
        Node::Gatherer(self.index)
    }

    fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        let live = self.live.as_mut().expect("a node that is up is live");
        match id {
            LinkId::Slice(slice) => live.slices.get_mut(slice.0 as usize),
            LinkId::Shard(shard) => live.peers.get_mut(shard.0 as usize),
            LinkId::Feed => None,
        }
    }

    fn on_cut(&mut self, cx: &mut Cx, id: CallId, cut: EventId, stored: EventId) {
        let node = self.node();
        let placement = cx.scenario.placement.clone();
        let live = self.live.as_mut().expect("a node that is up is live");
        if live.shard.is_some() || live.cut != id {
            return;
        }
        let mut shard = Shard::new(placement.clone(), shard_id(self.index), cut);
        shard.plant(cx.planted());
        live.shard = Some(shard);
        live.stored = stored;
        let matcher = |slice| Node::Matcher(cx.scenario.matcher_of(slice));
        live.slices = placement
            .each_slice()
            .map(|slice| Link::new(&mut cx.net, node, LinkId::Slice(slice), matcher(slice)))
            .collect();
        live.peers = placement
            .each_shard()
            .map(|peer| Link::new(&mut cx.net, node, LinkId::Shard(peer), Node::Gatherer(peer.0 as usize)))
            .collect();
    }

    fn apply(&mut self, cx: &mut Cx, from: LinkId, message: &Message) -> Result<Fate, Violation> {
        match (from, message) {
            (LinkId::Slice(slice), Message::CandidatesHello { known, floor }) => {
                return Ok(self.on_slice_hello(cx, slice, *known, *floor));
            }
            (LinkId::Slice(slice), Message::Candidates(frame)) => {
                self.give(cx, |shard, out| shard.on_candidates(slice, frame, out))?;
            }
            (LinkId::Shard(peer), Message::DecisionsHello { floor }) => {
                let live = self.live.as_mut().expect("a node that is up is live");
                let shard = live.shard.as_ref().expect("links come after the cut");
                if let Some(fetch) = shard.on_peer_subscribed(peer, *floor) {
                    cx.stats.peer_fetches += 1;
                    cx.provoke();
                    live.peers[peer.0 as usize].fetch(&mut cx.net, fetch);
                }
            }
            (LinkId::Shard(peer), Message::Decisions(decisions)) => {
                self.give(cx, |shard, out| shard.on_decisions(peer, decisions, out))?;
            }
            (link, other) => unreachable!("{link:?} carries no {other}"),
        }
        Ok(Fate::Goes)
    }

    fn on_slice_hello(&mut self, cx: &mut Cx, slice: SliceId, known: EventId, floor: EventId) -> Fate {
        let live = self.live.as_mut().expect("a node that is up is live");
        let shard = live.shard.as_mut().expect("links come after the cut");
        if shard.through(slice) < floor {
            return Fate::Behind;
        }
        // It was passed in the slice since it asked.
        if live.slices[slice.0 as usize].ask_again_below(&mut cx.net, floor) {
            cx.stats.asked_again += 1;
            return Fate::Goes;
        }
        if let Some(fetch) = shard.on_slice_subscribed(slice, known) {
            cx.stats.slice_fetches += 1;
            cx.provoke();
            live.slices[slice.0 as usize].fetch(&mut cx.net, fetch);
        }
        Fate::Goes
    }

    /// Gives the shard something, holds what comes of it against truth, and sends it.
    fn give(
        &mut self,
        cx: &mut Cx,
        mut give: impl FnMut(&mut Shard, &mut Vec<ShardEffect>) -> Result<(), ShardError>,
    ) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        let shard = live.shard.as_mut().expect("links come after the cut");
        let before = shard.watermark();
        let first = live.unsent.len();
        give(shard, &mut live.unsent).map_err(|source| Violation::Shard { gatherer: self.index, source })?;
        if cx.twice {
            let first = live.unsent.len();
            give(shard, &mut live.unsent).map_err(|source| Violation::Shard { gatherer: self.index, source })?;
            checks::check_nothing(shard.id(), &live.unsent[first..])?;
        }
        for effect in &live.unsent[first..] {
            if let ShardEffect::Retire(told) | ShardEffect::Settled(told) = effect {
                cx.truth.on_announced(shard.id(), *told)?;
            }
        }
        checks::check_watermark(cx, shard, before)?;
        if cx.rng.chance(cx.scenario.net.batch_permille) {
            if first == 0 && !live.unsent.is_empty() {
                let delay = cx.rng.range(1, BATCH_MS);
                cx.net.timer(self.node(), delay, Timer::Publish);
            }
        } else {
            self.publish(cx);
        }
        Ok(())
    }

    /// Sends what came of one step or of several, in order, in one frame or in several.
    fn publish(&mut self, cx: &mut Cx) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let effects = std::mem::take(&mut live.unsent);
        let mut rest = &effects[..];
        while !rest.is_empty() {
            let mut len = rest.len();
            if len > 1 && cx.rng.chance(cx.scenario.net.split_permille) {
                len = cx.rng.index(len) + 1;
            }
            let (now, later) = rest.split_at(len);
            rest = later;
            let mut common = DecisionFrame::default();
            for effect in now {
                match *effect {
                    ShardEffect::Grant { .. } | ShardEffect::Settled(_) => {}
                    ShardEffect::Retire(retirement) => common.retirements.push(retirement),
                    ShardEffect::Decided { through } => common.decided = Some(through),
                }
            }
            let common = Arc::new(common);
            for &(node, stream) in &live.readers {
                let frame = for_reader(&common, now, node);
                if *frame != DecisionFrame::default() {
                    cx.net.send(stream, Message::Decisions(frame), &mut cx.stats);
                }
            }
        }
    }
}

/// The frame for one reader: what all get, and its own grants, or what was settled.
fn for_reader(common: &Arc<DecisionFrame>, effects: &[ShardEffect], reader: Node) -> Arc<DecisionFrame> {
    let mut own = DecisionFrame::clone(common);
    for effect in effects {
        match *effect {
            ShardEffect::Grant { to, grant } if Node::Gatherer(to.0 as usize) == reader => own.grants.push(grant),
            ShardEffect::Settled(settled) if reader == Node::Balancer => own.retirements.push(settled),
            _ => {}
        }
    }
    if own == **common { Arc::clone(common) } else { Arc::new(own) }
}

fn shard_id(index: usize) -> ShardId {
    ShardId(u32::try_from(index).expect("few shards"))
}
