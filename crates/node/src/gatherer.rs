//! A gatherer: one shard, what it reads of every matcher and of every other shard, and which nodes read its decisions.
//!
//! A session begins at the balancer's cut, with nothing undecided. It ends ([`GathererEnd`]) when it cannot go on; the
//! next one begins at a cut again. There is no state to repair.
//!
//! | rule | where |
//! |---|---|
//! | R3: what is forgotten here, and a slice may still name, is fetched before its frames are read | [`Gatherer::on_candidates_hello`] |
//! | below a peer's floor, likewise | [`Gatherer::on_decisions_hello`] |
//! | R4: retirements come before the watermark that covers them | `decisions.rs` |
//! | R8: frames whose `decided_seen` is below what the store can fill in are not asked for | [`Gatherer::on_dial`] |

mod decisions;
mod types;

#[cfg(test)]
mod tests;

use std::borrow::Borrow;

use dovetail_core::{
    CandidateFrame, Cursor, Decided, DecisionFrame, EventId, Retirement, ShardId, SliceId, Stable,
    planted::{Bug, Planted},
    shard::{Fetch, Reader, Shard, ShardEffect},
};

use crate::{
    action::{Action, Request, SliceHello, Step},
    ids::{LinkId, MatcherId, NodeId, StreamId},
    link::{Cursors, GivenUp, Handshake},
    origin::Origin,
    readers::Readers,
};
pub use decisions::DecisionMessage;
use decisions::DecisionQueue;
pub use types::{GathererEnd, GathererSettings, GathererStart};

/// What a gatherer wants done.
pub type GathererAction = Action<DecisionMessage>;

/// A subscription at a matcher.
#[derive(Clone, Debug)]
struct MatcherLink {
    /// Ascending.
    slices: Vec<SliceId>,
    handshake: Handshake<Cursors>,
}

/// A gatherer in a session.
#[derive(Debug)]
pub struct Gatherer {
    shard: Shard,
    planted: Planted,
    list_max: u32,
    origin: Origin,
    /// Retirements above this could be fetched when the session began.
    stored: EventId,
    /// By matcher.
    matchers: Vec<MatcherLink>,
    /// By shard; its own is never used.
    peers: Vec<Handshake<()>>,
    readers: Readers<DecisionQueue>,
    /// What came of inputs since the last was sent.
    effects: Vec<ShardEffect>,
}

impl Gatherer {
    /// Begins a session.
    #[must_use]
    pub fn new(settings: GathererSettings, start: GathererStart) -> Gatherer {
        let GathererSettings { placement, id, list_max, matchers } = settings;
        let GathererStart { log_id, cut, results_floor } = start;
        let peers = placement.each_shard().map(|_| Handshake::Down).collect();
        let matchers = matchers.into_iter().map(|slices| MatcherLink { slices, handshake: Handshake::Down });
        Gatherer {
            shard: Shard::new(placement, id, cut.event()),
            planted: Planted::default(),
            list_max,
            origin: Origin::new(log_id),
            stored: results_floor,
            matchers: matchers.collect(),
            peers,
            readers: Readers::default(),
            effects: Vec::new(),
        }
    }

    /// Plants a bug.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
        self.shard.plant(planted);
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// What the shard decided since the last [`Gatherer::publish`].
    #[must_use]
    pub fn unpublished(&self) -> &[ShardEffect] {
        &self.effects
    }

    /// What the gatherer reads: every matcher, and every other shard.
    pub fn links(&self) -> impl Iterator<Item = LinkId> + use<> {
        let own = self.shard.id();
        let matchers = (0..).take(self.matchers.len()).map(|matcher| LinkId::Matcher(MatcherId(matcher)));
        let peers = self.shard.placement().each_shard().filter(move |&peer| peer != own).map(LinkId::Shard);
        matchers.chain(peers)
    }

    /// A link has no stream, or its stream has ended: it subscribes from where the shard is.
    pub fn on_dial(&mut self, link: LinkId, out: &mut Vec<GathererAction>) {
        let request = match link {
            LinkId::Matcher(MatcherId(matcher)) => {
                let link = &mut self.matchers[matcher as usize];
                let cursors = link.slices.iter().map(|&slice| (slice, Cursor(self.shard.through(slice))));
                let cursors = Cursors::new(cursors.collect());
                link.handshake = Handshake::Asked(cursors.clone());
                Request::Candidates { shard: self.shard.id(), decided_seen_min: self.decided_seen_min(), cursors }
            }
            LinkId::Shard(peer) => {
                self.peers[peer.0 as usize] = Handshake::Asked(());
                Request::Decisions { after: Cursor(self.shard.decided(peer).event()) }
            }
            LinkId::Feed => unreachable!("a gatherer does not read the log"),
        };
        out.push(Action::Link { link, step: Step::Subscribe(request) });
    }

    /// The slices of a matcher answered, each with what its frames know.
    ///
    /// # Errors
    /// When a slice no longer keeps what the shard needs next.
    pub fn on_candidates_hello(
        &mut self,
        matcher: MatcherId,
        slices: &[SliceHello],
        out: &mut Vec<GathererAction>,
    ) -> Result<(), GathererEnd> {
        let step = self.greet(matcher, slices)?;
        self.matchers[matcher.0 as usize].handshake = Handshake::after(&step);
        self.go_on(LinkId::Matcher(matcher), step, out);
        Ok(())
    }

    fn greet(&mut self, matcher: MatcherId, slices: &[SliceHello]) -> Result<Step, GathererEnd> {
        let cursors = self.matchers[matcher.0 as usize].handshake.asked();
        if let Err(why) = cursors.check_slices(slices.iter().map(|hello| hello.slice)) {
            return Ok(Step::Break(why));
        }
        let mut gone = cursors.iter().zip(slices).filter(|((_, after), hello)| hello.floor > *after);
        if let Some(((slice, read), &SliceHello { floor, .. })) = gone.next() {
            // What is gone was known not to concern this shard before the answer came: it asks again.
            let passed = slices.iter().all(|hello| Cursor(self.shard.through(hello.slice)) >= hello.floor);
            if passed && !self.planted.is(Bug::NotAskedAgain) {
                return Ok(Step::Break(GivenUp::Passed));
            }
            if !passed && !self.planted.is(Bug::CursorTooOldTaken) {
                return Err(GathererEnd::CursorTooOld { slice, floor, read });
            }
        }
        let fetches = slices.iter().filter_map(|hello| self.shard.on_slice_subscribed(hello.slice, hello.decided_seen));
        // All reach up to the floor: the longest has the others in it.
        let fetch = if self.planted.is(Bug::ShorterFetched) {
            fetches.max_by_key(|fetch| fetch.after)
        } else {
            fetches.min_by_key(|fetch| fetch.after)
        };
        Ok(fetch.filter(|_| !self.planted.is(Bug::FetchIgnored)).map_or(Step::Read, Step::Fetch))
    }

    /// A peer answered: it no longer keeps what is at or below `floor`.
    pub fn on_decisions_hello(&mut self, peer: ShardId, floor: Cursor, out: &mut Vec<GathererAction>) {
        _ = self.peers[peer.0 as usize].asked();
        let fetch = self.shard.on_peer_subscribed(peer, floor).filter(|_| !self.planted.is(Bug::PeerFloorIgnored));
        let step = fetch.map_or(Step::Read, Step::Fetch);
        self.peers[peer.0 as usize] = Handshake::after(&step);
        self.go_on(LinkId::Shard(peer), step, out);
    }

    /// A message of a matcher: frames of its slices, those of one slice in order.
    ///
    /// # Errors
    /// When the shard cannot take one.
    pub fn on_candidates<F: Borrow<CandidateFrame>>(
        &mut self,
        matcher: MatcherId,
        frames: &[(SliceId, F)],
    ) -> Result<(), GathererEnd> {
        let link = &self.matchers[matcher.0 as usize];
        self.check_frame(&link.handshake);
        for (slice, frame) in frames {
            self.shard.on_candidates(*slice, frame.borrow(), &mut self.effects)?;
        }
        Ok(())
    }

    /// A message of a peer.
    ///
    /// # Errors
    /// When the shard cannot take it.
    pub fn on_decisions(&mut self, peer: ShardId, frame: &DecisionFrame) -> Result<(), GathererEnd> {
        self.check_frame(&self.peers[peer.0 as usize]);
        Ok(self.shard.on_decisions(peer, frame, &mut self.effects)?)
    }

    /// The store answered a link's fetch with all retirements of it: now the link may read.
    ///
    /// # Errors
    /// When one contradicts what is known.
    pub fn on_fetched(
        &mut self,
        link: LinkId,
        fetch: Fetch,
        retirements: &[Retirement],
        out: &mut Vec<GathererAction>,
    ) -> Result<(), GathererEnd> {
        match link {
            LinkId::Matcher(MatcherId(matcher)) => self.matchers[matcher as usize].handshake.on_fetched(fetch),
            LinkId::Shard(peer) => self.peers[peer.0 as usize].on_fetched(fetch),
            LinkId::Feed => unreachable!("a gatherer does not read the log"),
        }
        self.shard.on_stored(fetch, retirements, &mut self.effects)?;
        out.push(Action::Link { link, step: Step::Read });
        Ok(())
    }

    /// The store no longer has all that a link has to fetch: what this session forgot it can learn nowhere.
    ///
    /// # Errors
    /// Always: the next session begins at a later cut.
    pub fn on_refused(&mut self, link: LinkId, fetch: Fetch, out: &mut Vec<GathererAction>) -> Result<(), GathererEnd> {
        if self.planted.is(Bug::RefusedGoesOn) {
            return self.on_fetched(link, fetch, &[], out);
        }
        Err(GathererEnd::Refused { after: fetch.after, through: fetch.through })
    }

    /// A node subscribes to the decisions, in place of what it had, and knows the watermark as `after`. First it gets a
    /// hello and what its cursor does not cover.
    pub fn on_subscribe(&mut self, stream: StreamId, node: NodeId, after: Cursor, out: &mut Vec<GathererAction>) {
        // What is not sent yet is in the backlog, and would come twice.
        self.publish(out);
        let reader = match node {
            NodeId::Balancer(_) => Reader::Balancer,
            NodeId::Matcher(_) => Reader::Matcher,
            NodeId::Gatherer(shard) => Reader::Shard(shard),
        };
        let backlog = self.shard.subscribe(reader, after);
        let queue = DecisionQueue::new(reader, self.shard.watermark(), self.list_max, self.planted);
        self.readers.add(node, stream, queue, out);
        out.push(Action::Send { to: stream, message: DecisionMessage::Hello { floor: backlog.floor } });
        out.push(Action::Send { to: stream, message: DecisionMessage::Frame(backlog.decisions) });
    }

    /// A stream of decisions has ended: its reader is gone, or does not read fast enough.
    pub fn on_lost(&mut self, stream: StreamId) {
        self.readers.lost(stream);
    }

    /// Sends the results of a batch of inputs to the readers that may be waiting for them; the rest lingers.
    pub fn publish(&mut self, out: &mut Vec<GathererAction>) {
        if self.effects.is_empty() {
            return;
        }
        self.readers.queues().for_each(|queue| queue.add(&self.effects));
        self.effects.clear();
        self.readers.send_due(self.planted, out);
    }

    /// What was held back has waited long enough.
    pub fn on_linger(&mut self, out: &mut Vec<GathererAction>) {
        self.readers.on_linger(out);
    }

    /// It is time to see whether what this session knows is still of use.
    pub fn on_check(&mut self, out: &mut Vec<GathererAction>) {
        self.origin.ask(self.shard.forgotten());
        out.push(Action::AskCut);
    }

    /// The balancer's log and cut.
    ///
    /// # Errors
    /// When the balancer serves another log, or has lost results that this session has forgotten.
    pub fn on_cut(&mut self, log_id: &str, cut: Stable) -> Result<(), GathererEnd> {
        Ok(self.origin.on_cut(log_id, cut)?)
    }

    /// What its frames must know (R8): whatever it has not forgotten it need not fetch, and the rest was stored when it
    /// began.
    fn decided_seen_min(&self) -> Decided {
        if self.planted.is(Bug::StaleCandidatesServed) || self.planted.is(Bug::RefusedGoesOn) {
            return Decided::ZERO;
        }
        Decided(self.stored.min(self.shard.floor()))
    }

    fn go_on(&self, link: LinkId, step: Step, out: &mut Vec<GathererAction>) {
        let reads = matches!(step, Step::Fetch(_)) && self.planted.is(Bug::ReadsBeforeFetched);
        out.push(Action::Link { link, step });
        if reads {
            out.push(Action::Link { link, step: Step::Read });
        }
    }

    /// Frames are read only when they may be (node.K1).
    fn check_frame<A>(&self, handshake: &Handshake<A>) {
        if !self.planted.is(Bug::ReadsBeforeFetched) {
            handshake.on_frame();
        }
    }
}
