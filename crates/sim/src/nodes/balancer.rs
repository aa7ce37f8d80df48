//! The balancer: gives ids, logs, broadcasts what is durable, takes decisions, stores and publishes outcomes.

mod admission;
mod checkpoint;
mod clock;
mod feeds;
mod share;
mod shared;
mod state;
mod storage;

use std::collections::HashMap;

use clock::{Clock, EPOCH_MS};
use share::Share;
pub use state::{BalancerNode, Submitted};
use state::{Cut, LiveBalancer};

use dovetail_core::{
    Audience, Cursor, Decided, DecisionFrame, EventId, EventKind, ShardId, Stable,
    hold::Holds,
    ledger::{ClientPart, CutElements, Ledger},
    sequencer::Sequencer,
};
use dovetail_node::{
    Step,
    balancer::{DecisionLinks, Durability, FetchRefused, PartFrame, Replay, ResultsSpan, check_fetch, frame},
};

use crate::{
    checks,
    cx::Cx,
    disk::{File, SimDisk},
    link::SimLink,
    net::{Call, CallId, LinkId, Message, NetStreamId, Node, Reply, Timer},
    nodes::{Fate, balancer_id},
    truth::differs,
    violation::Violation,
};

/// Bytes an event counts for in a frame. Only the number of events matters here.
const EVENT_BYTES: usize = 100;

impl BalancerNode {
    /// A balancer with an empty disk, not started.
    #[must_use]
    pub fn new(index: usize) -> BalancerNode {
        BalancerNode {
            index,
            disk: SimDisk::default(),
            stable: Stable::ZERO,
            acknowledged: EventId::ZERO,
            full_until: 0,
            faults: 0,
            live: None,
        }
    }

    /// Reads the checkpoint, the log and the results, and goes on.
    ///
    /// # Errors
    /// When they do not fit one another, or truth.
    pub fn start(&mut self, cx: &mut Cx) -> Result<(), Violation> {
        let ledger = self.recover(cx)?;
        if ledger.stable() < self.stable {
            let what = "stable cut after a restart".to_owned();
            let bound_by = "what was told before".to_owned();
            return Err(Violation::Watermark {
                what,
                found: ledger.stable().event(),
                bound_by,
                bound: self.stable.event(),
            });
        }
        let (last, time_ms) = self.disk.end();
        let shared = cx.scenario.shared.is_some();
        if last != cx.truth.durable() && !shared {
            let (what, bound_by) = ("end of the log after a restart".to_owned(), "what was durable".to_owned());
            return Err(Violation::Watermark { what, found: last, bound_by, bound: cx.truth.durable() });
        }
        let links = cx.scenario.placement.each_shard().map(|shard| {
            SimLink::new(
                &mut cx.net,
                Node::Balancer(self.index),
                LinkId::Shard(shard),
                Node::Gatherer(shard.0 as usize),
            )
        });
        let links = links.collect();
        let ahead_ms = EPOCH_MS - cx.rng.below(cx.scenario.faults.skew_ms + 1);
        let clock = Clock::new(time_ms, ahead_ms, cx);
        let replay = Replay::new(&ledger, cx.planted());
        let share = shared.then(|| Share::new(cx, self.index, replay, time_ms));
        let mut holds = Holds::new(cx.scenario.streams.1);
        holds.plant(cx.planted());
        self.live = Some(LiveBalancer {
            index: self.index,
            share,
            sequencer: Sequencer::new(cx.scenario.frame, last, time_ms),
            clients: Vec::new(),
            outcomes: Vec::new(),
            written: ledger.stable().event(),
            links,
            decisions: DecisionLinks::new(cx.scenario.placement.shards(), cx.planted()),
            feeds: (0..cx.scenario.matchers).map(|_| None).collect(),
            durability: Durability::new(&ledger, cx.planted()),
            visible: Vec::new(),
            open: None,
            taken: [None; 3],
            broadcast: last,
            published: (ledger.decided().event(), 0),
            cuts: (0..cx.scenario.matchers).map(|_| None).collect(),
            frame_due_ms: None,
            due_at: None,
            clock,
            holds,
            streams: HashMap::new(),
            cut: self.disk.checkpoint.base.through,
            full: false,
            ledger,
        });
        if shared {
            let (engine, net) = cx.engine();
            engine.follow(net, self.index, last);
        }
        self.set_timers(cx);
        Ok(())
    }

    /// Loses what is not on disk.
    ///
    /// # Errors
    /// When what survived does not fit the truth.
    pub fn crash(&mut self, cx: &mut Cx) -> Result<(), Violation> {
        let assigned = self.live.take().map_or(EventId::ZERO, |live| live.sequencer.assigned());
        self.disk.log.crash(&mut cx.rng);
        self.disk.results.crash(&mut cx.rng);
        // A checkpoint that was on its way is there, or it is not.
        if let Some(next) = self.disk.next_checkpoint.take() {
            if cx.rng.chance(500) {
                self.disk.checkpoint = next;
            } else {
                cx.stats.checkpoints_lost += 1;
            }
        }
        for record in self.disk.log.safe() {
            if record.frame.through > cx.truth.durable() {
                cx.truth.on_durable(&record.frame, &record.clients)?;
            }
        }
        let end = self.disk.end().0;
        if end < self.acknowledged {
            let (what, bound_by) = ("end of the log after a crash".to_owned(), "what was acknowledged".to_owned());
            return Err(Violation::Watermark { what, found: end, bound_by, bound: self.acknowledged });
        }
        cx.stats.events_lost += assigned.0.saturating_sub(end.0);
        Ok(())
    }

    /// The results are gone while no node runs: it begins again at the checkpoint. Nobody knows what it told before.
    pub fn lose_results(&mut self) {
        let cut = self.disk.checkpoint.base.through;
        (self.disk.results, self.stable) = (File::begins_after(cut), Stable(cut));
    }

    /// The ledger, while it runs.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.live.as_ref().map(|live| &live.ledger)
    }

    /// Outcomes at or below are no longer stored.
    #[must_use]
    pub fn results_floor(&self) -> EventId {
        self.disk.results.floor()
    }

    /// The highest id given.
    #[must_use]
    pub fn assigned(&self) -> EventId {
        self.live.as_ref().map_or(EventId::ZERO, |live| live.sequencer.assigned())
    }

    /// Someone subscribes to the log.
    pub fn on_subscribe(&mut self, cx: &mut Cx, stream: NetStreamId, matcher: usize, after: Option<EventId>) {
        if !self.is_active() {
            let writes = self.writes();
            return cx.net.send(stream, Message::StandsBy(writes), &mut cx.stats);
        }
        let live = self.live.as_mut().expect("a node that is up is live");
        let cut = live.cuts[matcher].take();
        let feed = live.feeds[matcher].take().map(|reader| reader.stream);
        if let Some(before) = feed.or(cut.map(|cut| cut.stream)) {
            cx.net.sever(before);
        }
        live.keep();
        if after.is_none() {
            let (cut, cutting) = live.ledger.begin_cut();
            if !cut.left_out.is_empty() {
                cx.provoke();
            }
            live.cuts[matcher] = Some(Cut { stream, cut, cutting });
            live.keep();
            return self.read_cuts(cx);
        }
        self.feed(cx, stream, matcher, after, None);
    }

    /// Reads on in each cut, now and then all that is left.
    fn read_cuts(&mut self, cx: &mut Cx) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let (mut done, mut later) = (Vec::new(), false);
        for matcher in 0..live.cuts.len() {
            let Some(Cut { stream, cut, cutting }) = &mut live.cuts[matcher] else { continue };
            let mut last = false;
            for _ in 0..if cx.rng.chance(500) { usize::MAX } else { cx.rng.index(4) } {
                let most = cx.rng.index(6) + 1;
                match live.ledger.cut_part(cutting, (most, usize::MAX), |place| cx.scenario.owns(matcher, place)) {
                    Ok(CutElements { waiting, last: is_last }) => {
                        cut.waiting.extend(waiting);
                        last = is_last;
                    }
                    Err(gone) => unreachable!("{gone:?}: what a cut needs is kept"),
                }
                if last {
                    break;
                }
            }
            if last {
                done.push((matcher, *stream));
            } else {
                later = true;
            }
        }
        for (matcher, stream) in done {
            let live = self.live.as_mut().expect("a node that is up is live");
            let Cut { mut cut, .. } = live.cuts[matcher].take().expect("it was read");
            live.keep();
            cut.waiting.sort_unstable_by_key(|waiting| waiting.element);
            assert!(cut.waiting.is_sorted_by(|one, next| one.element < next.element), "each comes once: {cut:?}");
            self.feed(cx, stream, matcher, None, Some(cut));
        }
        if later {
            let delay = cx.net.delay();
            cx.net.timer(Node::Balancer(self.index), delay, Timer::Cut);
        }
    }

    /// Someone asks something.
    pub fn on_call(&mut self, cx: &mut Cx, (from, incarnation): (Node, u32), id: CallId, call: Call) {
        let by = (balancer_id(self.index), self.term());
        if !self.is_active() {
            let writes = self.writes();
            return cx.net.reply(by, (from, incarnation), id, Reply::StandsBy(writes));
        }
        let live = self.live.as_ref().expect("a node that is up is live");
        let reply = match call {
            Call::Cut => Reply::Cut { cut: live.ledger.stable(), floor: self.disk.results.floor() },
            Call::Retirements(fetch) => {
                let results =
                    ResultsSpan { floor: Cursor(self.disk.results.floor()), stable: Stable(self.disk.stable()) };
                match check_fetch(fetch, results, cx.planted()) {
                    Ok(()) => Reply::Retirements(fetch, self.disk.retirements(fetch.after, fetch.through).into()),
                    Err(FetchRefused::Gone(_)) => Reply::OutOfRange(fetch),
                    // Whoever asked has gone, and what it was told was stable has been lost.
                    Err(FetchRefused::NotStable { .. }) if cx.net.incarnation(from) != incarnation => return,
                    // It has stored less than the one before, or does not know that another has taken over.
                    Err(FetchRefused::NotStable { .. }) if live.share.is_some() => return,
                    Err(error @ FetchRefused::NotStable { .. }) => panic!("{fetch:?} is of what is stored: {error}"),
                }
            }
        };
        cx.net.reply(by, (from, incarnation), id, reply);
    }

    /// A message of a shard.
    ///
    /// # Errors
    /// When it contradicts the log, truth or an earlier decision.
    pub fn on_message(
        &mut self,
        cx: &mut Cx,
        stream: NetStreamId,
        shard: ShardId,
        message: &Message,
    ) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        if !live.links[shard.0 as usize].reads(stream) {
            return Ok(());
        }
        let Some(message) = live.links[shard.0 as usize].hold(message.clone()) else { return Ok(()) };
        self.on_shard_message(cx, shard, &message)
    }

    fn on_shard_message(&mut self, cx: &mut Cx, shard: ShardId, message: &Message) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        match message {
            Message::DecisionsHello { floor } if live.share.is_some() => {
                self.on_shared_hello(cx, shard, *floor);
                Ok(())
            }
            Message::Decisions(decisions) if live.share.is_some() => self.on_shared_decisions(cx, shard, decisions),
            Message::DecisionsHello { floor } => {
                let Step::Break(lost) = live.decisions.on_hello(shard, *floor) else { return Ok(()) };
                Err(differs(format!("what {shard} keeps"), lost.to_string(), "what comes next".to_owned()))
            }
            Message::Decisions(decisions) => self.on_decisions(cx, shard, decisions),
            other => unreachable!("decisions carry no {other}"),
        }
    }

    /// A stream ended.
    pub fn on_lost(&mut self, cx: &mut Cx, stream: NetStreamId) {
        let live = self.live.as_mut().expect("a node that is up is live");
        for feed in &mut live.feeds {
            *feed = feed.take().filter(|reader| reader.stream != stream);
        }
        for cut in &mut live.cuts {
            *cut = cut.take().filter(|cut| cut.stream != stream);
        }
        live.keep();
        for (link, shard) in live.links.iter_mut().zip((0..).map(ShardId)) {
            if let Some(share) = live.share.as_mut().filter(|_| link.reads(stream)) {
                share.forget(shard);
            }
            link.lost(&mut cx.net, stream);
        }
    }

    /// A timer went off.
    ///
    /// # Errors
    /// When what became durable does not fit the truth.
    pub fn on_timer(&mut self, cx: &mut Cx, timer: Timer) -> Result<Fate, Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        match timer {
            Timer::Subscribe(LinkId::Shard(shard)) => {
                let link = &mut live.links[shard.0 as usize];
                if live.share.as_mut().is_some_and(|share| link.is_down() && !share.may_read(shard)) {
                    let delay = cx.net.delay();
                    cx.net.timer(Node::Balancer(self.index), delay, timer);
                    return Ok(Fate::Goes);
                }
                if link.is_down()
                    && let Step::Subscribe(request) = live.decisions.on_dial(shard, &live.ledger)
                {
                    link.subscribe(&mut cx.net, request);
                }
            }
            Timer::Frame => {
                live.frame_due_ms = None;
                if !self.is_active() {
                    return Ok(Fate::Goes);
                }
                let live = self.live.as_mut().expect("it is live");
                let now_ms = live.clock.read(cx.net.now());
                if live.sequencer.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
                    self.take_frame(cx);
                }
                self.set_timers(cx);
            }
            Timer::LogSynced => return self.on_log_synced(cx),
            Timer::ResultsSynced => return self.on_results_synced(cx),
            Timer::CheckpointSynced => return Ok(self.on_checkpoint_synced(cx)),
            Timer::DiskRetry => {
                self.on_disk_retry(cx);
                self.free(cx)?;
            }
            Timer::Due => self.on_due(cx)?,
            Timer::Cut => self.read_cuts(cx),
            Timer::Feed(matcher) => self.read_feed(cx, matcher),
            Timer::FeedLinger(matcher) => self.on_feed_linger(cx, matcher),
            Timer::Tick => return self.on_tick(cx),
            Timer::EngineTimeout(id) => return self.on_engine_timeout(cx, id),
            Timer::CallTimeout(id) => self.on_fetch_timeout(cx, id),
            Timer::Subscribe(_) | Timer::Publish | Timer::Linger | Timer::Check => {
                unreachable!("a balancer sets no {timer:?}")
            }
        }
        Ok(Fate::Goes)
    }

    /// Gives an event its id and records it.
    fn push(&mut self, cx: &mut Cx, kind: EventKind, client: Option<ClientPart>) {
        let live = self.live.as_mut().expect("a node that is up is live");
        match &kind {
            EventKind::Arrival { .. } => cx.stats.arrivals += 1,
            EventKind::Reprobe { .. } => cx.stats.reprobes += 1,
            _ => {}
        }
        let (x, time_ms) = live.sequencer.push(live.ledger.to_tell(), kind.clone(), EVENT_BYTES);
        live.clients.extend(client.clone());
        live.ledger.record(x, time_ms, &kind, client).expect("drawn pools compile");
        if live.sequencer.full() || (live.log_idle(&self.disk) && live.may_take(cx)) {
            self.take_frame(cx);
        }
        self.set_timers(cx);
    }

    fn on_decisions(&mut self, cx: &mut Cx, shard: ShardId, decisions: &DecisionFrame) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        let moved = live.take(shard, decisions)?;
        if cx.twice {
            let first = live.outcomes.len();
            live.take(shard, decisions)?;
            checks::check_nothing("balancer", &live.outcomes[first..])?;
        }
        self.after_decisions(cx, moved)
    }

    fn after_decisions(&mut self, cx: &mut Cx, moved: Option<EventId>) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        if let Some(through) = moved {
            live.durability.on_decided(Decided(through), &mut live.visible);
        }
        live.durability.move_stable(&live.ledger, &mut live.visible);
        self.act(cx)?;
        let through = self.ledger().expect("it is live").decided();
        cx.truth.check_searched("decided watermark", None, through.event())?;
        self.write_results(cx);
        // It may have waited for these decisions.
        let live = self.live.as_ref().expect("it is live");
        if cx.scenario.paced && self.is_active() && live.log_idle(&self.disk) && live.may_take(cx) {
            self.take_frame(cx);
        }
        self.free(cx)
    }

    fn on_due(&mut self, cx: &mut Cx) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        live.due_at = None;
        if !self.may_write() {
            // It comes again with the room, or what is decided.
            return Ok(());
        }
        let most = cx.rng.index(8) + 1;
        self.write_due(cx, most);
        self.write_dropping(cx, most);
        self.write_late(cx, most);
        self.free(cx)
    }

    /// Sets timers for the open frame and for what the ledger has next.
    fn set_timers(&mut self, cx: &mut Cx) {
        if !self.is_active() {
            return;
        }
        let live = self.live.as_mut().expect("a node that is up is live");
        let now = cx.net.now();
        let now_ms = live.clock.read(now);
        if let Some(due_ms) = live.sequencer.due_ms().filter(|&due_ms| live.frame_due_ms != Some(due_ms)) {
            live.frame_due_ms = Some(due_ms);
            cx.net.timer(Node::Balancer(self.index), due_ms.saturating_sub(now_ms), Timer::Frame);
        }
        let at_once = (live.ledger.has_dropping() || live.ledger.late().len() > 0).then_some(now_ms);
        let due_ms = live.ledger.next_due_ms().into_iter().chain(live.holds.deadline_ms()).chain(at_once).min();
        if let Some(due_ms) = due_ms {
            let at = now + due_ms.saturating_sub(now_ms).max(1);
            if live.due_at.is_none_or(|set| at < set) {
                live.due_at = Some(at);
                cx.net.timer(Node::Balancer(self.index), at - now, Timer::Due);
            }
        }
    }
}

impl LiveBalancer {
    /// Whether the log has nothing to do.
    fn log_idle(&self, disk: &SimDisk) -> bool {
        self.share.as_ref().map_or_else(|| disk.log.idle(), Share::idle)
    }

    /// Keeps what the cuts that are read need.
    fn keep(&mut self) {
        self.ledger.keep_for(self.cuts.iter().flatten().map(|cut| cut.cutting.through()));
    }

    fn take(&mut self, shard: ShardId, decisions: &DecisionFrame) -> Result<Option<EventId>, Violation> {
        Ok(self.decisions.on_frame(shard, decisions, &mut self.ledger, &mut self.outcomes)?.map(Decided::event))
    }

    /// Whether a cluster with an idle disk gets the open frame: when it is busy with one frame at the most, or has
    /// decided nothing since the one before the last was taken, when it was busy already.
    fn may_go(&self) -> bool {
        let decided = self.ledger.decided();
        let under_way = self.taken.iter().flatten().filter(|(through, _)| *through > decided.event()).count();
        let [Some(_), Some((_, before)), Some((_, last))] = self.taken else { return under_way < 2 };
        under_way < 2 || (before == decided.event() && last == decided.event())
    }

    /// Whether the open frame may be taken while the disk is idle.
    fn may_take(&self, cx: &mut Cx) -> bool {
        let paced = self.durability.paced(&self.ledger);
        assert_eq!(paced, self.may_go(), "the open frame's pace, after {:?}", self.taken);
        (paced || !cx.scenario.paced) && cx.rng.chance(cx.scenario.disk.eager_permille)
    }
}

/// The audience of a frame, which most frames have.
fn audience(cx: &mut Cx, ledger: &Ledger, frame: &PartFrame) -> Audience {
    if !cx.rng.chance(cx.scenario.audience_permille) {
        return Audience::All;
    }
    let audience = frame::audience(frame, ledger, &cx.scenario.placement, cx.planted());
    cx.stats.audiences_told += u64::from(audience != Audience::All);
    audience
}
