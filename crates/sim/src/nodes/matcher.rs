//! A matcher: reads the feed and every shard's decisions, runs its slices, serves their candidates.

use std::{collections::BTreeMap, sync::Arc};

use dovetail_core::{
    CandidateFrame, EventId, ShardId, SliceId,
    planted::Bug,
    shard::Fetch,
    slice::{Behind, FrameError, Slice, SliceCut, SliceEffect},
};
use dovetail_node::{action::SliceHello, link::Cursors};
use dovetail_rule::table::Secret;

use crate::{
    checks,
    cx::Cx,
    link::Link,
    net::{Call, CallId, LinkId, Message, Node, Reply, Request, SliceFrame, StreamId, Time, Timer},
    nodes::Fate,
    violation::Violation,
};

/// Longest time that what does not concern a reader is held.
const HELD_MS: Time = 100;

/// A matcher.
#[derive(Debug)]
pub struct Matcher {
    index: usize,
    live: Option<Live>,
}

/// What a crash takes.
#[derive(Debug)]
struct Live {
    feed: Link,
    /// One per shard, once there is a cut.
    decisions: Vec<Link>,
    /// None before the cut has come.
    slices: Vec<Slice>,
    /// Who reads the candidates of all slices.
    readers: Vec<(ShardId, StreamId)>,
    /// Who says that a slice knows too little, until the balancer has said so itself.
    doubted: Vec<Doubted>,
    /// For readers that no event in them concerns; later.
    held: BTreeMap<(SliceId, ShardId), Arc<CandidateFrame>>,
}

/// A subscription for which a slice's frames know less than its reader can fill in, as that says.
#[derive(Debug)]
struct Doubted {
    call: CallId,
    stream: StreamId,
    shard: ShardId,
    cursors: Cursors,
    known_min: EventId,
}

impl Matcher {
    /// A matcher that is not started.
    #[must_use]
    pub fn new(index: usize) -> Matcher {
        Matcher { index, live: None }
    }

    /// Starts with nothing, from the cut.
    pub fn start(&mut self, cx: &mut Cx) {
        let feed = Link::new(&mut cx.net, self.node(), LinkId::Feed, Node::Balancer);
        self.live = Some(Live {
            feed,
            decisions: Vec::new(),
            slices: Vec::new(),
            readers: Vec::new(),
            doubted: Vec::new(),
            held: BTreeMap::new(),
        });
    }

    /// Loses everything.
    pub fn crash(&mut self, cx: &mut Cx) {
        if let Some(live) = self.live.take() {
            live.slices.iter().for_each(|slice| count(cx, slice));
        }
    }

    /// Its slices, when it has them.
    pub fn slices(&self) -> impl Iterator<Item = &Slice> {
        self.live.iter().flat_map(|live| &live.slices)
    }

    /// A shard subscribes to the candidates of all slices, and can take them if they know `known_min`.
    pub fn on_subscribe(
        &mut self,
        cx: &mut Cx,
        stream: StreamId,
        shard: ShardId,
        cursors: &Cursors,
        known_min: EventId,
    ) -> Fate {
        let live = self.live.as_mut().expect("a node that is up is live");
        if live.slices.is_empty() {
            cx.net.sever(stream);
            return Fate::Goes;
        }
        if live.knows_less(shard, cursors, known_min) {
            // A reader is not believed: the balancer is asked.
            let call = cx.net.call(Node::Matcher(self.index), Call::Cut);
            live.doubted.push(Doubted { call, stream, shard, cursors: cursors.clone(), known_min });
            return Fate::Goes;
        }
        live.readers.retain(|&(to, before)| {
            if to == shard {
                cx.net.sever(before);
            }
            to != shard
        });
        // It is in the backlog.
        live.held.retain(|&(_, to), _| to != shard);
        let (mut hellos, mut backlog, mut behind) = (Vec::new(), Vec::new(), false);
        for (slice, after) in cursors.iter() {
            let served = live.slice(slice);
            let floor = served.floor();
            let overlap = after >= floor && cx.rng.chance(cx.scenario.net.overlap_permille);
            let from = if overlap { EventId(cx.rng.range(floor.0, after.0)) } else { after };
            let known_enough = served.subscribe(shard, from).is_ok_and(|backlog| backlog.known >= known_min);
            match served.subscribe(shard, if known_enough { from } else { after }) {
                Ok(found) => {
                    hellos.push(SliceHello { slice, known: found.known, floor });
                    backlog.extend(found.frames.into_iter().map(|frame| (slice, frame)));
                }
                Err(Behind { floor, .. }) => {
                    hellos.push(SliceHello { slice, known: floor, floor });
                    behind = true;
                }
            }
        }
        cx.net.send(stream, Message::CandidatesHello(hellos.into()), &mut cx.stats);
        if !behind {
            live.readers.push((shard, stream));
            live.send(cx, shard, &backlog);
        }
        Fate::Goes
    }

    /// A message of the feed or of a shard.
    ///
    /// # Errors
    /// When a slice refuses it.
    pub fn on_message(
        &mut self,
        cx: &mut Cx,
        stream: StreamId,
        link: LinkId,
        message: Message,
    ) -> Result<Fate, Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        match link {
            LinkId::Feed if live.feed.reads(stream) => return self.on_feed(cx, stream, message),
            LinkId::Shard(shard) => {
                let Some(link) = live.decisions.get_mut(shard.0 as usize).filter(|link| link.reads(stream)) else {
                    return Ok(Fate::Goes);
                };
                let Some(message) = link.hold(message) else { return Ok(Fate::Goes) };
                self.on_shard(cx, shard, &message)?;
            }
            LinkId::Feed | LinkId::Matcher(_) => {}
        }
        Ok(Fate::Goes)
    }

    /// An answer of the balancer.
    ///
    /// # Errors
    /// When a slice refuses what it says.
    pub fn on_reply(&mut self, cx: &mut Cx, id: CallId, reply: &Reply) -> Result<Fate, Violation> {
        if let Reply::Cut { floor, .. } = reply {
            return Ok(self.on_floor(cx, id, *floor));
        }
        let live = self.live.as_mut().expect("a node that is up is live");
        let mut links = live.decisions.iter_mut().zip(0..);
        let Some((held, shard)) = links.find_map(|(link, shard)| Some((link.fetched(id)?, ShardId(shard)))) else {
            return Ok(Fate::Goes);
        };
        let (fetch, retirements) = match reply {
            Reply::Retirements(fetch, retirements) => (fetch, &retirements[..]),
            Reply::OutOfRange(fetch) if cx.planted().is(Bug::RefusedGoesOn) => (fetch, &[][..]),
            Reply::OutOfRange(_) => {
                cx.stats.matchers_refused_fetch += 1;
                return Ok(Fate::Behind);
            }
            Reply::Cut { .. } => unreachable!("it was taken before"),
        };
        self.each_slice(cx, |slice, out| slice.on_stored(shard, fetch.through, retirements, out))?;
        held.iter().try_for_each(|message| self.on_shard(cx, shard, message))?;
        Ok(Fate::Goes)
    }

    /// A stream ended.
    pub fn on_lost(&mut self, cx: &mut Cx, stream: StreamId) {
        let live = self.live.as_mut().expect("a node that is up is live");
        live.readers.retain(|&(_, reader)| reader != stream);
        live.doubted.retain(|doubted| doubted.stream != stream);
        live.feed.lost(&mut cx.net, stream);
        for link in &mut live.decisions {
            link.lost(&mut cx.net, stream);
        }
    }

    /// A timer went off.
    pub fn on_timer(&mut self, cx: &mut Cx, timer: Timer) {
        let live = self.live.as_mut().expect("a node that is up is live");
        match timer {
            Timer::Subscribe(LinkId::Feed) => {
                let after = live.slices.first().map(Slice::received);
                live.feed.subscribe(&mut cx.net, Request::Feed { after });
            }
            Timer::Subscribe(LinkId::Shard(shard)) => {
                let after = self.cursor(shard);
                let live = self.live.as_mut().expect("a node that is up is live");
                live.decisions[shard.0 as usize].subscribe(&mut cx.net, Request::Decisions { after });
            }
            Timer::Publish => {
                for ((slice, shard), frame) in std::mem::take(&mut live.held) {
                    live.send(cx, shard, &[(slice, frame)]);
                }
            }
            Timer::CallTimeout(id) => {
                // It asks again.
                for doubted in live.doubted.extract_if(.., |doubted| doubted.call == id) {
                    cx.net.sever(doubted.stream);
                }
                live.decisions.iter_mut().for_each(|link| link.timed_out(&mut cx.net, id));
            }
            other => unreachable!("a matcher sets no {other:?}"),
        }
    }

    /// At the end: the slices keep what waits, and nothing else.
    ///
    /// # Errors
    /// When they keep more or less.
    pub fn check_end(&self, cx: &Cx) -> Result<(), Violation> {
        let live = self.live.as_ref().expect("healed");
        live.slices.iter().try_for_each(|slice| checks::check_slice(cx, slice))
    }

    /// Adds what its slices counted.
    pub fn count(&self, cx: &mut Cx) {
        self.slices().for_each(|slice| count(cx, slice));
    }

    /// The balancer keeps retirements above `floor`: a slice whose frames know less, and less than its reader needs, starts anew
    /// with all of the matcher (R8). Other readers are refused, and ask again.
    fn on_floor(&mut self, cx: &mut Cx, id: CallId, floor: EventId) -> Fate {
        let live = self.live.as_mut().expect("a node that is up is live");
        let Some(at) = live.doubted.iter().position(|doubted| doubted.call == id) else { return Fate::Goes };
        let Doubted { stream, shard, cursors, known_min, .. } = live.doubted.remove(at);
        if live.knows_less(shard, &cursors, known_min.min(floor)) {
            cx.stats.matchers_refused_known += 1;
            return Fate::Behind;
        }
        cx.net.sever(stream);
        Fate::Goes
    }

    fn node(&self) -> Node {
        Node::Matcher(self.index)
    }

    /// A shard's watermark as every slice here knows it.
    fn cursor(&self, shard: ShardId) -> EventId {
        self.slices().map(|slice| slice.decided(shard)).min().expect("decisions are read once there are slices")
    }

    fn on_feed(&mut self, cx: &mut Cx, stream: StreamId, message: Message) -> Result<Fate, Violation> {
        match message {
            Message::FeedHello(None) => {}
            Message::FeedHello(Some(cut)) => {
                self.on_cut(cx, &cut)?;
                // The others have its frames already, and may go on without it.
                let plan = cx.scenario.keep;
                if plan.cut_break_permille > 0 && cx.rng.chance(plan.cut_break_permille) {
                    cx.net.sever(stream);
                    let time = cx.rng.range(1, plan.cut_break_ms);
                    cx.net.pause(self.node(), time);
                }
            }
            Message::OutOfRange { .. } => {
                cx.stats.matchers_refused_feed += 1;
                return Ok(Fate::Behind);
            }
            Message::Log(frame) => self.each_slice(cx, |slice, out| slice.on_frame(Arc::clone(&frame), out))?,
            Message::Stable(stable) => self.each_slice(cx, |slice, out| {
                slice.on_stable(stable, out);
                Ok(())
            })?,
            other => unreachable!("a feed carries no {other}"),
        }
        Ok(Fate::Goes)
    }

    fn on_cut(&mut self, cx: &mut Cx, cut: &SliceCut) -> Result<(), Violation> {
        let placement = cx.scenario.placement.clone();
        let ids: Vec<SliceId> = cx.scenario.slices_of(self.index).collect();
        let node = self.node();
        let live = self.live.as_mut().expect("a node that is up is live");
        assert!(live.slices.is_empty(), "a cut comes once");
        let told = cx.scenario.whole.1;
        let whole = cx.scenario.whole.0 > 0 && told > 0 && cx.rng.chance(told);
        for id in ids {
            let mut cut = cut.clone();
            if !whole {
                cut.whole.clear();
            }
            // Another for every slice and every start: nothing may depend on it.
            let secret = Secret([u64::from(id.0), cut.through.0]);
            let slice = Slice::new(placement.clone(), id, cx.scenario.list_max, secret, cut);
            let mut slice = slice.map_err(|source| Violation::Slice { matcher: self.index, source })?;
            slice.plant(cx.planted());
            slice.look_ahead_from(cx.scenario.ahead_anchors_min);
            slice.know_whole_up_to(cx.scenario.whole.0);
            live.slices.push(slice);
        }
        live.decisions = placement
            .each_shard()
            .map(|shard| Link::new(&mut cx.net, node, LinkId::Shard(shard), Node::Gatherer(shard.0 as usize)))
            .collect();
        Ok(())
    }

    fn on_shard(&mut self, cx: &mut Cx, shard: ShardId, message: &Message) -> Result<(), Violation> {
        match message {
            Message::DecisionsHello { floor } => {
                let after = self.cursor(shard);
                if after < *floor {
                    let live = self.live.as_mut().expect("a node that is up is live");
                    cx.stats.matcher_fetches += 1;
                    cx.provoke();
                    live.decisions[shard.0 as usize].fetch(&mut cx.net, Fetch { after, through: *floor });
                }
                Ok(())
            }
            Message::Decisions(decisions) => {
                self.each_slice(cx, |slice, out| slice.on_decisions(shard, decisions, out))
            }
            other => unreachable!("decisions carry no {other}"),
        }
    }

    /// Gives every slice the same, and sends what comes of it.
    fn each_slice(
        &mut self,
        cx: &mut Cx,
        mut give: impl FnMut(&mut Slice, &mut Vec<SliceEffect>) -> Result<(), FrameError>,
    ) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        let (mut effects, mut found) = (Vec::new(), Vec::new());
        for slice in &mut live.slices {
            give(slice, &mut effects).map_err(|source| Violation::Slice { matcher: self.index, source })?;
            if cx.twice {
                let first = effects.len();
                give(slice, &mut effects).map_err(|source| Violation::Slice { matcher: self.index, source })?;
                checks::check_nothing(slice.id(), &effects[first..])?;
            }
            cx.truth.on_searched(slice.id(), slice.through())?;
            for SliceEffect::Frame { to, frame } in effects.drain(..) {
                checks::check_frame(cx, slice, &frame)?;
                found.push(((slice.id(), to), frame));
            }
        }
        // Those of all slices for one reader go together, as far as the dice say.
        let mut sent: BTreeMap<ShardId, Vec<SliceFrame>> = BTreeMap::new();
        for ((slice, shard), frame) in found {
            let frames = sent.entry(shard).or_default();
            if live.hold_or_send(cx, (slice, shard), frame, frames) {
                cx.net.timer(Node::Matcher(self.index), cx.rng.range(1, HELD_MS), Timer::Publish);
            }
        }
        sent.iter().for_each(|(&shard, frames)| live.send(cx, shard, frames));
        Ok(())
    }
}

impl Live {
    fn slice(&self, slice: SliceId) -> &Slice {
        self.slices.iter().find(|served| served.id() == slice).expect("a gatherer asks for the slices of a matcher")
    }

    /// Whether a slice keeps frames for a reader that know less than `known_min`.
    fn knows_less(&self, shard: ShardId, cursors: &Cursors, known_min: EventId) -> bool {
        let known = |(slice, after)| self.slice(slice).subscribe(shard, after).map(|backlog| backlog.known);
        cursors.iter().any(|cursor| known(cursor).is_ok_and(|known| known < known_min))
    }

    /// Sends a frame behind what was held, or holds it if it does not concern the reader. True when it is the first.
    fn hold_or_send(
        &mut self,
        cx: &mut Cx,
        to: (SliceId, ShardId),
        mut frame: Arc<CandidateFrame>,
        sent: &mut Vec<SliceFrame>,
    ) -> bool {
        let held = self.held.remove(&to);
        let first = held.is_none();
        match held {
            Some(held) if frame.finds_nothing() => Arc::make_mut(&mut frame).follow(&held),
            Some(held) => sent.push((to.0, held)),
            None => {}
        }
        let hold = cx.scenario.reach_permille > 0 && !frame.reach.has(|slice| slice == to.0);
        if !(hold && cx.rng.chance(cx.scenario.net.batch_permille)) {
            sent.push((to.0, frame));
            return false;
        }
        cx.stats.held += 1;
        self.held.insert(to, frame);
        first
    }

    /// Sends frames in one message or in several.
    fn send(&self, cx: &mut Cx, shard: ShardId, mut frames: &[SliceFrame]) {
        let Some(&(_, stream)) = self.readers.iter().find(|&&(to, _)| to == shard) else { return };
        while !frames.is_empty() {
            let together = cx.rng.chance(cx.scenario.net.batch_permille);
            let (now, later) = frames.split_at(if together { cx.rng.index(frames.len()) + 1 } else { 1 });
            cx.net.send(stream, Message::Candidates(now.into()), &mut cx.stats);
            frames = later;
        }
    }
}

fn count(cx: &mut Cx, slice: &Slice) {
    cx.stats.stalls += slice.stalls();
    cx.stats.looked_ahead += slice.looked_ahead();
    cx.stats.list_longest = cx.stats.list_longest.max(slice.stats().list_longest);
}
