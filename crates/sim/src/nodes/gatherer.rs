//! A gatherer: the machine that the server runs, with simulated streams, calls and timers.
//!
//! The machine decides; this is what the server's tasks are. What the network and the dice may do to it is here:
//! batches that go at any time, frames that are parted, backlogs that repeat, and lingers of any length.

use std::{collections::BTreeMap, sync::Arc};

use dovetail_core::{
    Cursor, DecisionFrame, EventId, ShardId, Stable,
    shard::{Shard, ShardEffect},
};
use dovetail_node::{
    Action, BalancerId, Balancers, Gatherer as Machine, LinkId, MatcherId, Step, Term,
    gatherer::{DecisionMessage, GathererAction, GathererEnd, GathererSettings, GathererStart},
};

use crate::{
    checks,
    cx::Cx,
    link::SimLink,
    net::{Call, CallId, Message, NetStreamId, Node, Reply, Time, Timer},
    nodes::{Fate, balancers, net, publishes, served, takes},
    violation::Violation,
};

/// Longest time that a message is held back for which no reader waits.
const HELD_MS: Time = 30;

/// Longest time until a gatherer looks whether what it knows is still of use.
const CHECK_MS: Time = 2_000;

/// A gatherer.
#[derive(Debug)]
pub struct GathererNode {
    index: usize,
    live: Option<Live>,
}

/// What a crash takes.
#[derive(Debug)]
struct Live {
    /// The call for the cut, until there is a machine.
    cut: CallId,
    /// Which balancer it asks.
    balancers: Balancers,
    /// The call for the cut of one that may have taken over.
    check: Option<CallId>,
    machine: Option<Machine>,
    links: BTreeMap<LinkId, SimLink>,
    actions: Vec<GathererAction>,
}

impl GathererNode {
    /// A gatherer that is not started.
    #[must_use]
    pub fn new(index: usize) -> GathererNode {
        GathererNode { index, live: None }
    }

    /// Starts with nothing, from the cut.
    pub fn start(&mut self, cx: &mut Cx) {
        let balancers = balancers(cx);
        let cut = cx.net.call(self.node(), balancers.asked(), Call::Cut);
        let (machine, links) = (None, BTreeMap::new());
        self.live = Some(Live { cut, balancers, check: None, machine, links, actions: Vec::new() });
    }

    /// Loses everything.
    pub fn crash(&mut self) {
        self.live = None;
    }

    /// Its shard, when it has it.
    #[must_use]
    pub fn shard(&self) -> Option<&Shard> {
        self.live.as_ref().and_then(|live| live.machine.as_ref()).map(Machine::shard)
    }

    /// Someone subscribes to its decisions.
    pub fn on_subscribe(&mut self, cx: &mut Cx, stream: NetStreamId, after: Cursor) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let Some(machine) = &mut live.machine else {
            cx.net.sever(stream);
            return;
        };
        let (node, ..) = cx.net.ends(stream);
        let floor = machine.shard().floor();
        let overlap = after > Cursor(floor) && cx.rng.chance(cx.scenario.net.overlap_permille);
        let from = if overlap { EventId(cx.rng.range(floor.0, after.event().0)) } else { after.event() };
        machine.on_subscribe(served(stream), node.id(), Cursor(from), &mut live.actions);
        live.serve(cx, self.index);
    }

    /// A message of a matcher or of a peer.
    ///
    /// # Errors
    /// When the shard refuses it, or decides what truth does not.
    pub fn on_message(
        &mut self,
        cx: &mut Cx,
        stream: NetStreamId,
        from: LinkId,
        message: Message,
    ) -> Result<Fate, Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        let Some(link) = live.links.get_mut(&from).filter(|link| link.reads(stream)) else { return Ok(Fate::Goes) };
        let Some(message) = link.hold(message) else { return Ok(Fate::Goes) };
        self.apply(cx, from, &message)
    }

    /// An answer of the balancer.
    ///
    /// # Errors
    /// When the shard refuses what it says.
    pub fn on_reply(
        &mut self,
        cx: &mut Cx,
        id: CallId,
        by: (BalancerId, Option<Term>),
        reply: &Reply,
    ) -> Result<Fate, Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        if !takes(cx, Node::Gatherer(self.index), &mut live.balancers, (id, by), reply) {
            return Ok(Fate::Goes);
        }
        if let Reply::Cut { cut, floor } = reply {
            if let (Some(machine), true) = (&mut live.machine, live.check.take_if(|check| *check == id).is_some()) {
                return match machine.on_cut("", *cut) {
                    Ok(()) => Ok(Fate::Goes),
                    Err(end) => self.end(cx, end),
                };
            }
            self.on_cut(cx, id, *cut, *floor);
            return Ok(Fate::Goes);
        }
        let mut links = live.links.iter_mut();
        let Some(link) = links.find_map(|(&id_of, link)| link.answered(id).then_some(id_of)) else {
            return Ok(Fate::Goes);
        };
        let given = |machine: &mut Machine, out: &mut Vec<GathererAction>| match reply {
            Reply::Retirements(fetch, retirements) => machine.on_fetched(link, *fetch, retirements, out),
            Reply::OutOfRange(fetch) => machine.on_refused(link, *fetch, out),
            Reply::Cut { .. } | Reply::StandsBy(_) => unreachable!("it was taken before"),
        };
        self.give(cx, false, given)
    }

    /// A balancer says that it has taken over: after a while this node looks whether what it knows is still of use.
    pub fn on_told(&mut self, cx: &mut Cx, balancer: BalancerId, term: Term) {
        let live = self.live.as_mut().expect("a node that is up is live");
        live.balancers.on_told(balancer, term);
        self.check_later(cx);
    }

    fn check_later(&self, cx: &mut Cx) {
        let delay = cx.rng.range(1, CHECK_MS);
        cx.net.timer(self.node(), delay, Timer::Check);
    }

    /// A stream ended.
    pub fn on_lost(&mut self, cx: &mut Cx, stream: NetStreamId) {
        let live = self.live.as_mut().expect("a node that is up is live");
        if let Some(machine) = &mut live.machine {
            machine.on_lost(served(stream));
        }
        for link in live.links.values_mut() {
            link.lost(&mut cx.net, stream);
        }
    }

    /// A timer went off.
    pub fn on_timer(&mut self, cx: &mut Cx, timer: Timer) {
        let node = self.node();
        let live = self.live.as_mut().expect("a node that is up is live");
        match (timer, &mut live.machine) {
            (Timer::Publish, Some(machine)) => machine.publish(&mut live.actions),
            (Timer::Linger, Some(machine)) => machine.on_linger(&mut live.actions),
            (Timer::Subscribe(link), Some(machine)) => {
                if live.links[&link].is_down() {
                    machine.on_dial(link, &mut live.actions);
                }
            }
            (Timer::CallTimeout(call), None) if live.cut == call => {
                live.balancers.on_silent(cx.net.callee(call));
                live.cut = cx.net.call(node, live.balancers.asked(), Call::Cut);
            }
            (Timer::CallTimeout(call), _) => {
                let mut checks = live.check.take_if(|check| *check == call).is_some();
                if checks || live.links.values().any(|link| link.waits_for(call)) {
                    live.balancers.on_silent(cx.net.callee(call));
                    checks |= cx.scenario.shared.is_some();
                }
                let asked = live.balancers.asked();
                live.links.values_mut().for_each(|link| link.timed_out(&mut cx.net, call, asked));
                if checks {
                    self.check_later(cx);
                }
                return;
            }
            (Timer::Check, None) => {}
            (Timer::Check, Some(machine)) if live.check.is_none() => machine.on_check(&mut live.actions),
            (Timer::Check, Some(_)) => {}
            (other, _) => unreachable!("a gatherer sets no {other:?}"),
        }
        live.serve(cx, self.index);
    }

    fn node(&self) -> Node {
        Node::Gatherer(self.index)
    }

    fn on_cut(&mut self, cx: &mut Cx, id: CallId, cut: Stable, results_floor: EventId) {
        let node = self.node();
        let scenario = &cx.scenario;
        let live = self.live.as_mut().expect("a node that is up is live");
        if live.machine.is_some() || live.cut != id {
            return;
        }
        let settings = GathererSettings {
            placement: scenario.placement.clone(),
            id: shard_id(self.index),
            list_max: u32::try_from(scenario.list_max).expect("short lists"),
            matchers: (0..scenario.matchers).map(|matcher| scenario.slices_of(matcher).collect()).collect(),
        };
        let mut machine = Machine::new(settings, GathererStart { log_id: String::new(), cut, results_floor });
        machine.plant(cx.planted());
        let server = |link| match link {
            LinkId::Matcher(MatcherId(matcher)) => Node::Matcher(matcher as usize),
            LinkId::Shard(ShardId(shard)) => Node::Gatherer(shard as usize),
            LinkId::Feed => unreachable!("a gatherer does not read the log"),
        };
        live.links = machine.links().map(|link| (link, SimLink::new(&mut cx.net, node, link, server(link)))).collect();
        live.machine = Some(machine);
    }

    fn apply(&mut self, cx: &mut Cx, from: LinkId, message: &Message) -> Result<Fate, Violation> {
        match (from, message) {
            (LinkId::Matcher(matcher), Message::CandidatesHello(slices)) => {
                self.give(cx, false, |machine, out| machine.on_candidates_hello(matcher, slices, out))
            }
            (LinkId::Matcher(matcher), Message::Candidates(frames)) => {
                self.give(cx, true, |machine, _| machine.on_candidates(matcher, frames))
            }
            (LinkId::Shard(peer), Message::DecisionsHello { floor }) => self.give(cx, false, |machine, out| {
                machine.on_decisions_hello(peer, *floor, out);
                Ok(())
            }),
            (LinkId::Shard(peer), Message::Decisions(decisions)) => {
                self.give(cx, true, |machine, _| machine.on_decisions(peer, decisions))
            }
            (link, other) => unreachable!("{link:?} carries no {other}"),
        }
    }

    /// Gives the machine something, holds what comes of it against truth, and does what it wants done.
    fn give(
        &mut self,
        cx: &mut Cx,
        repeats: bool,
        mut give: impl FnMut(&mut Machine, &mut Vec<GathererAction>) -> Result<(), GathererEnd>,
    ) -> Result<Fate, Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        let machine = live.machine.as_mut().expect("links come after the cut");
        let before = machine.shard().watermark();
        let first = machine.unpublished().len();
        if let Err(end) = give(machine, &mut live.actions) {
            return self.end(cx, end);
        }
        if cx.twice && repeats {
            let first = machine.unpublished().len();
            if let Err(end) = give(machine, &mut live.actions) {
                return self.end(cx, end);
            }
            checks::check_nothing(machine.shard().id(), &machine.unpublished()[first..])?;
        }
        for effect in &machine.unpublished()[first..] {
            if let ShardEffect::Retire(told) | ShardEffect::Settled(told) = effect {
                cx.truth.on_announced(machine.shard().id(), *told)?;
            }
        }
        checks::check_watermark(cx, machine.shard(), before.event())?;
        if publishes(cx, Node::Gatherer(self.index), first == 0 && !machine.unpublished().is_empty()) {
            machine.publish(&mut live.actions);
        }
        self.go_on(cx)
    }

    /// The session ends: the next one begins at a later cut.
    fn end(&self, cx: &mut Cx, end: GathererEnd) -> Result<Fate, Violation> {
        match end {
            GathererEnd::Shard(source) => return Err(Violation::Shard { gatherer: self.index, source }),
            GathererEnd::Refused { .. } => cx.stats.gatherers_refused += 1,
            GathererEnd::CursorTooOld { .. } => {}
            GathererEnd::Log(_) => cx.stats.sessions_outdated += 1,
        }
        Ok(Fate::CursorTooOld)
    }

    /// Does what the machine wants done; links that read on are given what was held back for them.
    fn go_on(&mut self, cx: &mut Cx) -> Result<Fate, Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        for (from, message) in live.serve(cx, self.index) {
            if self.apply(cx, from, &message)? == Fate::CursorTooOld {
                return Ok(Fate::CursorTooOld);
            }
        }
        Ok(Fate::Goes)
    }
}

impl Live {
    /// Does what the machine wants done. Returns what was held back for links that read on.
    fn serve(&mut self, cx: &mut Cx, index: usize) -> Vec<(LinkId, Message)> {
        let mut read = Vec::new();
        for action in self.actions.drain(..) {
            match action {
                Action::Send { to, message } => send(cx, to, message),
                Action::End { stream } => cx.net.sever(net(stream)),
                Action::Linger => {
                    let delay = cx.rng.range(1, HELD_MS);
                    cx.net.timer(Node::Gatherer(index), delay, Timer::Linger);
                }
                Action::AskCut => {
                    self.check = Some(cx.net.call(Node::Gatherer(index), self.balancers.asked(), Call::Cut));
                }
                Action::AskResultsFloor { .. } | Action::Refuse { .. } => unreachable!("a gatherer refuses nobody"),
                Action::Link { link: id, step } => {
                    match (&step, id) {
                        (Step::Fetch(_), LinkId::Matcher(_)) => cx.stats.slice_fetches += 1,
                        (Step::Fetch(_), LinkId::Shard(_) | LinkId::Feed) => cx.stats.peer_fetches += 1,
                        (Step::Break(_), _) => cx.stats.asked_again += 1,
                        (Step::Subscribe(_) | Step::Read, _) => {}
                    }
                    let link = self.links.get_mut(&id).expect("a step is of a link");
                    read.extend(
                        link.take_step(cx, step, self.balancers.asked()).into_iter().map(|message| (id, message)),
                    );
                }
            }
        }
        read
    }
}

/// Sends a message, in one frame or in several, as the wire does with a large one.
fn send(cx: &mut Cx, to: dovetail_node::StreamId, message: DecisionMessage) {
    let mut frame = match message {
        DecisionMessage::Hello { floor } => {
            return cx.net.send(net(to), Message::DecisionsHello { floor }, &mut cx.stats);
        }
        DecisionMessage::Frame(frame) => frame,
    };
    while frame.retirements.len() + frame.grants.len() > 1 && cx.rng.chance(cx.scenario.net.split_permille) {
        let mut part = DecisionFrame::default();
        if frame.retirements.is_empty() {
            let len = cx.rng.index(frame.grants.len()) + 1;
            part.grants = frame.grants.drain(..len).collect();
        } else {
            let len = cx.rng.index(frame.retirements.len()) + 1;
            part.retirements = frame.retirements.drain(..len).collect();
        }
        cx.net.send(net(to), Message::Decisions(Arc::new(part)), &mut cx.stats);
    }
    cx.net.send(net(to), Message::Decisions(Arc::new(frame)), &mut cx.stats);
}

fn shard_id(index: usize) -> ShardId {
    ShardId(u32::try_from(index).expect("few shards"))
}
