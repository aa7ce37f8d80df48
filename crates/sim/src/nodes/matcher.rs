//! A matcher: the machine that the server runs, with simulated streams, calls and timers.
//!
//! The machine decides; this is what the server's tasks are. What the network and the dice may do to it is here:
//! batches that go at any time, cuts in parts, backlogs that repeat, and lingers of any length.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dovetail_core::{
    Cursor, Decided, EventId, ShardId,
    slice::{Secret, SliceCut, SliceRef},
};
use dovetail_node::{
    Action, BalancerId, Balancers, LinkId, Matcher as Machine, Step, Term,
    link::Cursors,
    matcher::{CandidatesMessage, CutReader, MatcherAction, MatcherEnd, MatcherSettings, MatcherStart},
};

use crate::{
    checks,
    cx::Cx,
    link::SimLink,
    net::{Call, CallId, Message, NetStreamId, Node, Reply, Request, Time, Timer},
    nodes::{Fate, balancers, net, publishes, served, server, takes},
    violation::Violation,
};

/// Longest time that a message is held back for which no reader waits.
const HELD_MS: Time = 100;

/// A matcher.
#[derive(Debug)]
pub struct MatcherNode {
    index: usize,
    live: Option<Live>,
}

/// What a crash takes.
#[derive(Debug)]
struct Live {
    /// None before the cut has come.
    machine: Option<Machine>,
    /// The feed, and every shard once there is a cut.
    links: BTreeMap<LinkId, SimLink>,
    /// Which balancer it asks.
    balancers: Balancers,
    /// The call for the cut, before the feed is followed again.
    cut: Option<CallId>,
    /// Calls for what the balancer keeps, and the streams that wait for them.
    floors: Vec<(CallId, dovetail_node::StreamId)>,
    actions: Vec<MatcherAction>,
}

impl MatcherNode {
    /// A matcher that is not started.
    #[must_use]
    pub fn new(index: usize) -> MatcherNode {
        MatcherNode { index, live: None }
    }

    /// Starts with nothing, from the cut.
    pub fn start(&mut self, cx: &mut Cx) {
        let feed = SimLink::new(&mut cx.net, self.node(), LinkId::Feed, Node::Balancer(0));
        self.live = Some(Live {
            machine: None,
            balancers: balancers(cx),
            links: BTreeMap::from([(LinkId::Feed, feed)]),
            cut: None,
            floors: Vec::new(),
            actions: Vec::new(),
        });
    }

    /// Loses everything.
    pub fn crash(&mut self, cx: &mut Cx) {
        self.count(cx);
        self.live = None;
    }

    /// Its slices, when it has them.
    pub fn slices(&self) -> impl Iterator<Item = SliceRef<'_>> {
        self.live.iter().filter_map(|live| live.machine.as_ref()).flat_map(Machine::slices)
    }

    /// A shard subscribes to the candidates of all slices, and can take them if they know `decided_seen_min`.
    ///
    /// # Errors
    /// Never, by now.
    pub fn on_subscribe(
        &mut self,
        cx: &mut Cx,
        stream: NetStreamId,
        shard: ShardId,
        cursors: &Cursors,
        decided_seen_min: Decided,
    ) -> Result<Fate, Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        let Some(machine) = &mut live.machine else {
            cx.net.sever(stream);
            return Ok(Fate::Goes);
        };
        let cursors = overlapping(cx, machine, shard, cursors, decided_seen_min);
        machine.on_subscribe(served(stream), shard, cursors, decided_seen_min, &mut live.actions);
        self.go_on(cx)
    }

    /// A message of the feed or of a shard.
    ///
    /// # Errors
    /// When a slice refuses it.
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
        if live.machine.is_none() && matches!(message, Message::OutOfRange { .. }) {
            // The log was trimmed while the cut was read: it begins again.
            cx.stats.matchers_refused_feed += 1;
            return Ok(Fate::CursorTooOld);
        }
        match &message {
            Message::FeedHello { term, .. } if !live.balancers.on_answer(server(cx, stream), *term) => {
                cx.net.sever(stream);
                return Ok(Fate::Goes);
            }
            Message::StandsBy(writes) => {
                live.balancers.on_refused(server(cx, stream), *writes);
                cx.net.sever(stream);
                return Ok(Fate::Goes);
            }
            _ => {}
        }
        if let Message::FeedHello { cut: Some(cut), .. } = &message {
            self.on_cut(cx, cut)?;
            // The others have its frames already, and may go on without it.
            let plan = cx.scenario.keep;
            if plan.cut_break_permille > 0 && cx.rng.chance(plan.cut_break_permille) {
                cx.net.sever(stream);
                let time = cx.rng.range(1, plan.cut_break_ms);
                cx.net.pause(self.node(), time);
            }
            return Ok(Fate::Goes);
        }
        self.apply(cx, from, &message)
    }

    /// An answer of the balancer.
    ///
    /// # Errors
    /// When a slice refuses what it says.
    pub fn on_reply(
        &mut self,
        cx: &mut Cx,
        id: CallId,
        by: (BalancerId, Option<Term>),
        reply: &Reply,
    ) -> Result<Fate, Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        if !takes(cx, Node::Matcher(self.index), &mut live.balancers, (id, by), reply) {
            return Ok(Fate::Goes);
        }
        if let Reply::Cut { cut, floor } = reply {
            if live.cut.take_if(|asked| *asked == id).is_some() {
                return self.give(cx, false, |machine, out| machine.on_cut("", *cut, out));
            }
            let Some(at) = live.floors.iter().position(|&(asked, _)| asked == id) else { return Ok(Fate::Goes) };
            let (_, stream) = live.floors.remove(at);
            return self.give(cx, false, |machine, out| machine.on_results_floor(stream, *floor, out));
        }
        let Some(shard) = live.answered(id) else { return Ok(Fate::Goes) };
        self.give(cx, false, |machine, out| match reply {
            Reply::Retirements(fetch, retirements) => machine.on_fetched(shard, *fetch, retirements, out),
            Reply::OutOfRange(fetch) => machine.on_refused(shard, *fetch, out),
            Reply::Cut { .. } | Reply::StandsBy(_) => unreachable!("it was taken before"),
        })
    }

    /// A balancer says that it has taken over.
    pub fn on_told(&mut self, cx: &mut Cx, balancer: BalancerId, term: Term) {
        let live = self.live.as_mut().expect("a node that is up is live");
        if live.balancers.on_told(balancer, term) {
            live.links[&LinkId::Feed].give_up(&mut cx.net);
        }
    }

    /// A stream ended.
    pub fn on_lost(&mut self, cx: &mut Cx, stream: NetStreamId) {
        let live = self.live.as_mut().expect("a node that is up is live");
        if let Some(machine) = &mut live.machine {
            machine.on_lost(served(stream));
        }
        live.floors.retain(|&(_, waits)| waits != served(stream));
        if live.links[&LinkId::Feed].reads(stream) {
            live.balancers.on_silent(server(cx, stream));
        }
        live.links.values_mut().for_each(|link| link.lost(&mut cx.net, stream));
    }

    /// A timer went off.
    pub fn on_timer(&mut self, cx: &mut Cx, timer: Timer) {
        let live = self.live.as_mut().expect("a node that is up is live");
        match (timer, &mut live.machine) {
            (Timer::Publish, Some(machine)) => machine.publish(&mut live.actions),
            (Timer::Linger, Some(machine)) => machine.on_linger(&mut live.actions),
            (Timer::Subscribe(link), Some(machine)) => {
                if live.links[&link].is_down() {
                    machine.on_dial(link, &mut live.actions);
                }
            }
            (Timer::Subscribe(LinkId::Feed), None) => {
                let feed = live.links.get_mut(&LinkId::Feed).expect("it is there from the start");
                feed.take_step(cx, Step::Subscribe(Request::Feed { after: None }), live.balancers.asked());
            }
            (Timer::CallTimeout(id), Some(machine)) => {
                let silent = live.cut == Some(id)
                    || live.floors.iter().any(|(asked, _)| *asked == id)
                    || live.links.values().any(|link| link.waits_for(id));
                if silent {
                    live.balancers.on_silent(cx.net.callee(id));
                }
                if live.cut.take_if(|asked| *asked == id).is_some() {
                    machine.on_dial(LinkId::Feed, &mut live.actions);
                }
                // The node that waits for it asks again.
                for (_, stream) in live.floors.extract_if(.., |(asked, _)| *asked == id) {
                    cx.net.sever(net(stream));
                }
                live.links.values_mut().for_each(|link| link.timed_out(&mut cx.net, id, live.balancers.asked()));
            }
            (other, _) => unreachable!("a matcher sets no {other:?}"),
        }
        let read = live.serve(cx, self.index);
        assert!(read.is_empty(), "no timer lets a link read");
    }

    /// At the end: the slices keep what waits, and nothing else.
    ///
    /// # Errors
    /// When they keep more or less.
    pub fn check_end(&self, cx: &Cx) -> Result<(), Violation> {
        self.slices().try_for_each(|slice| checks::check_slice(cx, slice))
    }

    /// Adds what its slices counted.
    pub fn count(&self, cx: &mut Cx) {
        for slice in self.slices() {
            cx.stats.stalls += slice.stalls();
            cx.stats.looked_ahead += slice.looked_ahead();
            cx.stats.list_longest = cx.stats.list_longest.max(slice.stats().list_longest);
        }
    }

    fn node(&self) -> Node {
        Node::Matcher(self.index)
    }

    /// The cut has come. Its parts are as large as the dice say.
    fn on_cut(&mut self, cx: &mut Cx, cut: &SliceCut) -> Result<(), Violation> {
        let node = self.node();
        let live = self.live.as_mut().expect("a node that is up is live");
        assert!(live.machine.is_none(), "a cut comes once");
        let start = read(cx, cut);
        let settings = MatcherSettings {
            placement: cx.scenario.placement.clone(),
            slices: cx.scenario.slices_of(self.index).collect(),
            list_max: u32::try_from(cx.scenario.list_max).expect("short lists"),
            // Another for every matcher and every start: nothing may depend on it.
            secret: Secret([self.index as u64, cut.through.0]),
        };
        let mut machine = match Machine::new(settings, start) {
            Ok(machine) => machine,
            Err(end) => return self.end(cx, end).map(|_| ()),
        };
        machine.plant(cx.planted());
        machine.tune(|slices| {
            slices.look_ahead_from(cx.scenario.ahead_anchors_min);
            slices.set_complete_view_max(cx.scenario.complete_views.0);
        });
        for id in machine.links() {
            let LinkId::Shard(ShardId(shard)) = id else { unreachable!("a matcher reads shards, and the log") };
            live.links.insert(id, SimLink::new(&mut cx.net, node, id, Node::Gatherer(shard as usize)));
        }
        live.machine = Some(machine);
        Ok(())
    }

    fn apply(&mut self, cx: &mut Cx, from: LinkId, message: &Message) -> Result<Fate, Violation> {
        match (from, message) {
            (LinkId::Feed, Message::FeedHello { cut: None, .. }) => self.give(cx, false, |machine, out| {
                machine.on_feed_hello(out);
                Ok(())
            }),
            (LinkId::Feed, Message::OutOfRange { floor }) => {
                self.give(cx, false, |machine, _| machine.on_log_gone(format!("the log begins after {floor}")))
            }
            (LinkId::Feed, Message::Log(frame)) => self.give(cx, true, |machine, _| machine.on_frame(frame)),
            (LinkId::Feed, Message::Stable(stable)) => self.give(cx, true, |machine, _| {
                machine.on_stable(*stable);
                Ok(())
            }),
            (LinkId::Shard(shard), Message::DecisionsHello { floor }) => self.give(cx, false, |machine, out| {
                machine.on_decisions_hello(shard, *floor, out);
                Ok(())
            }),
            (LinkId::Shard(shard), Message::Decisions(decisions)) => {
                self.give(cx, true, |machine, _| machine.on_decisions(shard, decisions))
            }
            (link, other) => unreachable!("{link:?} carries no {other}"),
        }
    }

    /// Gives the machine something, looks at what its slices make of it, and does what it wants done.
    fn give(
        &mut self,
        cx: &mut Cx,
        repeats: bool,
        mut give: impl FnMut(&mut Machine, &mut Vec<MatcherAction>) -> Result<(), MatcherEnd>,
    ) -> Result<Fate, Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        let machine = live.machine.as_mut().expect("links are read after the cut");
        let (first, decided) = (machine.unpublished().len(), told(machine));
        if let Err(end) = give(machine, &mut live.actions) {
            return self.end(cx, end);
        }
        if told(machine) > decided {
            machine.slices().try_for_each(|slice| checks::check_retired(cx, slice))?;
        }
        if cx.twice && repeats {
            let first = machine.unpublished().len();
            if let Err(end) = give(machine, &mut live.actions) {
                return self.end(cx, end);
            }
            checks::check_nothing(Node::Matcher(self.index), &machine.unpublished()[first..])?;
        }
        for slice in machine.slices() {
            cx.truth.on_searched(slice.id(), slice.through())?;
        }
        // What was found before was sent, where a reader subscribed.
        for found in machine.unpublished().get(first..).unwrap_or_default() {
            let slice = machine.slices().find(|slice| slice.id() == found.slice);
            checks::check_frame(cx, &slice.expect("it is one of the machine's"), &found.frame)?;
        }
        if publishes(cx, Node::Matcher(self.index), first == 0 && !machine.unpublished().is_empty()) {
            machine.publish(&mut live.actions);
        }
        self.go_on(cx)
    }

    /// The session ends: the next one begins at a later cut.
    fn end(&self, cx: &mut Cx, end: MatcherEnd) -> Result<Fate, Violation> {
        match end {
            MatcherEnd::Frame(source) => return Err(Violation::Slice { matcher: self.index, source }),
            MatcherEnd::LogGone { .. } => cx.stats.matchers_refused_feed += 1,
            MatcherEnd::Refused { .. } => cx.stats.matchers_refused_fetch += 1,
            MatcherEnd::KnowsLess { .. } => cx.stats.matchers_refused_known += 1,
            MatcherEnd::Log(_) => {
                assert!(cx.scenario.shared.is_some(), "there is one log, and what was stable stays");
                cx.stats.sessions_outdated += 1;
            }
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
    /// The shard for which something was fetched, when this is the answer.
    fn answered(&mut self, id: CallId) -> Option<ShardId> {
        let link = self.links.iter_mut().find_map(|(&of, link)| link.answered(id).then_some(of))?;
        let LinkId::Shard(shard) = link else { unreachable!("nothing is fetched for the feed") };
        Some(shard)
    }

    /// Does what the machine wants done. Returns what was held back for links that read on.
    fn serve(&mut self, cx: &mut Cx, index: usize) -> Vec<(LinkId, Message)> {
        let mut read = Vec::new();
        for action in self.actions.drain(..) {
            match action {
                Action::Send { to, message } => send(cx, net(to), message),
                Action::End { stream } | Action::Refuse { stream, .. } => cx.net.sever(net(stream)),
                Action::Linger => {
                    cx.stats.held += 1;
                    let delay = cx.rng.range(1, HELD_MS);
                    cx.net.timer(Node::Matcher(index), delay, Timer::Linger);
                }
                Action::AskCut => {
                    self.cut = Some(cx.net.call(Node::Matcher(index), self.balancers.asked(), Call::Cut));
                }
                Action::AskResultsFloor { stream } => {
                    let call = cx.net.call(Node::Matcher(index), self.balancers.asked(), Call::Cut);
                    self.floors.push((call, stream));
                }
                Action::Link { link: id, step } => {
                    cx.stats.matcher_fetches += u64::from(matches!(step, Step::Fetch(_)));
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

/// Ascends whenever a slice is told of a watermark.
fn told(machine: &Machine) -> u64 {
    let shards = machine.links().filter_map(|id| if let LinkId::Shard(shard) = id { Some(shard) } else { None });
    shards.flat_map(|shard| machine.slices().map(move |slice| slice.decided(shard).event().0)).sum()
}

/// A cut as it is read, in parts.
fn read(cx: &mut Cx, cut: &SliceCut) -> MatcherStart {
    let told = cx.scenario.complete_views.1;
    let complete = cx.scenario.complete_views.0 > 0 && told > 0 && cx.rng.chance(told);
    let SliceCut { through, pools, waiting, left_out, .. } = cut.clone();
    let complete = if complete { cut.complete.clone() } else { BTreeSet::new() };
    let mut reader = CutReader::new(String::new(), through);
    reader.plant(cx.planted());
    let mut part = SliceCut { pools, complete, left_out, ..SliceCut::default() };
    let mut rest = &waiting[..];
    loop {
        let len = cx.rng.index(rest.len() + 1);
        let (now, later) = rest.split_at(if cx.rng.chance(cx.scenario.net.split_permille) { len } else { rest.len() });
        part.waiting.extend_from_slice(now);
        reader.on_part(std::mem::take(&mut part)).expect("it is a cut");
        rest = later;
        if rest.is_empty() {
            return reader.finish().expect("each comes once");
        }
    }
}

/// The cursors, or lower ones of which as much is known: what is sent then has been sent before.
fn overlapping(
    cx: &mut Cx,
    machine: &Machine,
    shard: ShardId,
    cursors: &Cursors,
    decided_seen_min: Decided,
) -> Cursors {
    let from = cursors.iter().map(|(slice, after)| {
        let served = machine.slices().find(|served| served.id() == slice);
        let served = served.expect("a gatherer asks for the slices of a matcher");
        let floor = served.floor();
        let overlap = after >= floor && cx.rng.chance(cx.scenario.net.overlap_permille);
        let from = if overlap { Cursor(EventId(cx.rng.range(floor.event().0, after.event().0))) } else { after };
        let known_enough = served.subscribe(shard, from).is_ok_and(|backlog| backlog.decided_seen >= decided_seen_min);
        (slice, if known_enough { from } else { after })
    });
    Cursors::new(from.collect())
}

/// Sends a message; frames in one or in several.
fn send(cx: &mut Cx, stream: NetStreamId, message: CandidatesMessage) {
    let frames = match message {
        CandidatesMessage::Hello(slices) => {
            return cx.net.send(stream, Message::CandidatesHello(slices.into()), &mut cx.stats);
        }
        CandidatesMessage::Frames(frames) => frames,
    };
    let mut frames = &frames[..];
    while !frames.is_empty() {
        let apart = cx.rng.chance(cx.scenario.net.split_permille);
        let (now, later) = frames.split_at(if apart { cx.rng.index(frames.len()) + 1 } else { frames.len() });
        cx.net.send(stream, Message::Candidates(Arc::from(now)), &mut cx.stats);
        frames = later;
    }
}
