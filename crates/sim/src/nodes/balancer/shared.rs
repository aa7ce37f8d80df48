//! A balancer of several: what it does beside what one does that is alone. It follows the log, and takes over when
//! whoever writes is silent; what it writes goes to the engine, and is durable once that has it.
//!
//! The machines decide (`Leadership`, [`Appending`], [`TakingOver`], `DecisionsAhead`); this is what the server's
//! tasks and threads are. The copy of the log has what the engine took, and nothing else (shared.T4).

use std::mem;

use dovetail_core::{Cursor, Decided, DecisionFrame, ShardId, Stable, hold::Holds, planted::Bug, sequencer::Sequencer};
use dovetail_log::shared::{Appending, Heard, NextStep, Position, TakingOver, TermSeen, TookOver, WhatFollows};
use dovetail_node::{
    BalancerId, Step, Term, Writer,
    balancer::{Ahead, Asked, BalancerBeat, Reign, Replay, Standing},
};

use super::{
    clock::{Clock, EPOCH_MS},
    share::{BEAT_MS, InFlight, Share, Taking},
    state::BalancerNode,
};
use crate::{
    checks,
    cx::Cx,
    disk::LogRecord,
    net::{AskId, CallId, EngineAsk, EngineSaid, Entry, EntryKind, NetStep, Node, Put, Reply, Timer, Writes},
    nodes::{Fate, balancer_id},
    truth::differs,
    violation::Violation,
};

impl BalancerNode {
    /// Whether it writes, as far as it knows: one that is alone always does.
    #[must_use]
    pub fn is_active(&self) -> bool {
        let share = self.live.as_ref().map(|live| live.share.as_ref());
        share.is_some_and(|share| share.is_none_or(|share| share.leadership.is_active()))
    }

    /// In which term it writes; none of one that is alone.
    pub(super) fn term(&self) -> Option<Term> {
        self.share().and_then(Share::term)
    }

    /// Which balancer writes, as far as it knows.
    pub(super) fn writes(&self) -> Writes {
        let Reign { term, balancer, .. } = self.share()?.leadership.newest()?;
        Some((balancer, term))
    }

    /// The same, when it is another.
    fn another_that_writes(&self) -> Option<BalancerId> {
        let (balancer, _) = self.writes()?;
        (balancer != balancer_id(self.index)).then_some(balancer)
    }

    /// Whether no other balancer writes, as the engine knows.
    pub(super) fn is_newest(&self, cx: &Cx) -> bool {
        let newest = cx.engine.as_ref().and_then(|engine| engine.newest());
        self.share().is_none() || newest.map(|newest| newest.term) == self.term()
    }

    fn share(&self) -> Option<&Share> {
        self.live.as_ref()?.share.as_ref()
    }

    fn share_mut(&mut self) -> &mut Share {
        let live = self.live.as_mut().expect("a node that is up is live");
        live.share.as_mut().expect("it shares the log")
    }

    fn node(&self) -> Node {
        Node::Balancer(self.index)
    }

    /// An operator wants to stop it: another is to take over.
    pub fn yields(&mut self) {
        if let Some(share) = self.live.as_mut().and_then(|live| live.share.as_mut()) {
            share.yields = true;
        }
    }

    /// The engine says something.
    ///
    /// # Errors
    /// When it does not fit what was read.
    pub fn on_engine(&mut self, cx: &mut Cx, said: EngineSaid) -> Result<Fate, Violation> {
        match said {
            EngineSaid::Entry(entry) => self.on_entry(cx, entry)?,
            EngineSaid::Beat(beat) => self.on_beat(cx, &beat)?,
            EngineSaid::Heard(id, heard) => self.on_heard(cx, id, heard)?,
            EngineSaid::Follows(id, entry) => {
                let term = self.term();
                let own = |entry: &Entry, put: &InFlight| {
                    let EntryKind::Group(of, records) = &entry.kind else { return false };
                    let covers = |records: &[LogRecord]| {
                        Some((records.first()?.frame.after, records.last()?.frame.through, records.len()))
                    };
                    Some(*of) == term && covers(records) == covers(&put.records)
                };
                let Some(put) = self.share_mut().puts.front().filter(|put| put.id == id) else {
                    return Ok(Fate::Goes);
                };
                let follows = match &entry {
                    None => WhatFollows::None,
                    Some(entry) if own(entry, put) => WhatFollows::Own(entry.at),
                    Some(_) => WhatFollows::Another,
                };
                self.on_follows(cx, follows)?;
            }
            EngineSaid::Newest(id, newest) => {
                if self.share_mut().taking.as_ref().is_some_and(|taking| taking.id == id) {
                    self.on_newest(cx, newest);
                }
            }
        }
        self.settle(cx)
    }

    /// What was asked of the engine was not answered.
    ///
    /// # Errors
    /// When what follows does not fit what was read.
    pub(super) fn on_engine_timeout(&mut self, cx: &mut Cx, id: AskId) -> Result<Fate, Violation> {
        self.on_heard(cx, id, Heard::Nothing)?;
        self.settle(cx)
    }

    /// Says that it lives, and takes over if it has to.
    ///
    /// # Errors
    /// When the stable cut passes what it waits for.
    pub(super) fn on_tick(&mut self, cx: &mut Cx) -> Result<Fate, Violation> {
        let (index, now, stored) = (self.index, cx.net.now(), self.disk.stable());
        let live = self.live.as_mut().expect("a node that is up is live");
        let share = live.share.as_mut().expect("it shares the log");
        let beat = share.leadership.beat(live.durability.durable(), stored, share.yields);
        let (engine, net) = cx.engine();
        engine.send(net, index, EngineAsk::Beat(beat));
        if let Some(seen) = share.leadership.ask(stored, live.ledger.told(), now) {
            let id = engine.ask(net, index, put_term(seen, share.leadership.me()));
            share.taking = Some(Taking { id, seen, taking: TakingOver::default(), lost_to: None });
        }
        net.timer(Node::Balancer(index), BEAT_MS, Timer::Tick);
        self.bound(cx)?;
        self.settle(cx)
    }

    fn on_beat(&mut self, cx: &mut Cx, beat: &BalancerBeat) -> Result<(), Violation> {
        let now = cx.net.now();
        let share = self.share_mut();
        share.beats.insert(beat.balancer, (now, beat.stored));
        share.leadership.on_beat(beat, now);
        self.bound(cx)
    }

    /// The stable cut of the one that writes waits for the others.
    fn bound(&mut self, cx: &mut Cx) -> Result<(), Violation> {
        let now = cx.net.now();
        let live = self.live.as_mut().expect("a node that is up is live");
        let share = live.share.as_mut().expect("it shares the log");
        if !share.leadership.is_active() {
            return Ok(());
        }
        live.ledger.bound_stable(share.leadership.bound(now));
        live.durability.move_stable(&live.ledger, &mut live.visible);
        self.act(cx)
    }

    /// Nothing is secured that a balancer that was heard of lately has not stored.
    ///
    /// # Errors
    /// When something is.
    pub(super) fn check_secured(&self, cx: &Cx, before: Stable) -> Result<(), Violation> {
        let (Some(share), Some(ledger)) = (self.share(), self.ledger()) else { return Ok(()) };
        let grace = cx.scenario.shared.map_or(0, |plan| plan.grace_ms);
        if ledger.secured() == before || !share.was_active {
            return Ok(());
        }
        let lately = share.beats.values().filter(|(at, _)| at + grace >= cx.net.now()).map(|&(_, stored)| stored);
        match lately.min() {
            Some(bound) if ledger.secured().event() > bound => Err(Violation::Watermark {
                what: "what is secured".to_owned(),
                found: ledger.secured().event(),
                bound_by: "what a balancer that stands by has stored".to_owned(),
                bound,
            }),
            _ => Ok(()),
        }
    }

    fn on_entry(&mut self, cx: &mut Cx, Entry { at: _, kind }: Entry) -> Result<(), Violation> {
        let now = cx.net.now();
        let share = self.share_mut();
        match kind {
            EntryKind::Term(reign) => share.leadership.on_term(reign, now),
            // It has them already, or has them once it is answered.
            EntryKind::Group(term, _) if share.term() == Some(term) => {}
            EntryKind::Group(_, records) => {
                share.leadership.on_group(now);
                for record in records {
                    self.follow_record(cx, record)?;
                }
            }
        }
        Ok(())
    }

    /// A frame of another balancer: into the copy, and into the ledger.
    fn follow_record(&mut self, cx: &mut Cx, record: LogRecord) -> Result<(), Violation> {
        let record = LogRecord { published: record.read_back(), ..record };
        let (after, through) = (record.frame.after, record.frame.through);
        if after != self.disk.log.end() {
            return Err(differs("what follows the copy", after.to_string(), self.disk.log.end().to_string()));
        }
        let live = self.live.as_mut().expect("a node that is up is live");
        let share = live.share.as_mut().expect("it shares the log");
        share.replay.on_frame(record.published.frame(), &mut live.ledger)?;
        share.time_ms = record.frame.time_ms;
        self.disk.log.append_safe(record);
        live.durability.on_followed(after, through, &live.ledger, &mut live.visible);
        self.act(cx)?;
        self.take_held(cx)
    }

    /// Takes what was held back and is of events that are durable by now.
    fn take_held(&mut self, cx: &mut Cx) -> Result<(), Violation> {
        loop {
            let live = self.live.as_mut().expect("a node that is up is live");
            let decidable = live.durability.decidable(&live.ledger);
            let share = live.share.as_mut().expect("it shares the log");
            let Some((shard, frame)) = share.ahead.next(decidable) else { return Ok(()) };
            self.on_decisions(cx, shard, &frame)?;
        }
    }

    /// What a shard decided: taken once the log is there.
    pub(super) fn on_shared_decisions(
        &mut self,
        cx: &mut Cx,
        shard: ShardId,
        frame: &DecisionFrame,
    ) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        let decidable = live.durability.decidable(&live.ledger);
        let share = live.share.as_mut().expect("it shares the log");
        match share.ahead.on_frame(shard, frame.clone(), decidable) {
            Ahead::Take(frame) => self.on_decisions(cx, shard, &frame),
            Ahead::Held => {
                cx.stats.decisions_held += 1;
                Ok(())
            }
            Ahead::NoRoom => {
                cx.stats.decisions_refused += 1;
                live.links[shard.0 as usize].give_up(&mut cx.net);
                Ok(())
            }
        }
    }

    /// A shard says what it has forgotten: what is missing of that is fetched from the one that writes.
    pub(super) fn on_shared_hello(&mut self, cx: &mut Cx, shard: ShardId, floor: Cursor) {
        let writes = self.another_that_writes();
        let live = self.live.as_mut().expect("a node that is up is live");
        let step = live.decisions.on_hello_behind(shard, floor, live.durability.durable());
        let link = &mut live.links[shard.0 as usize];
        match (step, writes) {
            (Step::Fetch(fetch), Some(balancer)) => {
                cx.stats.standby_fetches += 1;
                link.fetch(&mut cx.net, fetch, balancer);
            }
            (Step::Fetch(_) | Step::Break(_), _) => link.give_up(&mut cx.net),
            (Step::Read, _) => {}
            (Step::Subscribe(_), _) => unreachable!("a hello is answered by no subscription"),
        }
    }

    /// The one that writes answered a fetch.
    ///
    /// # Errors
    /// When what it says contradicts the log.
    pub fn on_reply(&mut self, cx: &mut Cx, id: CallId, reply: &Reply) -> Result<Fate, Violation> {
        // What was refused is asked again when the call times out.
        let (fetch, retirements) = match reply {
            Reply::Retirements(fetch, retirements) => (*fetch, retirements),
            Reply::OutOfRange(fetch) => {
                let kept = "all that another has not stored".to_owned();
                return Err(differs("what the store keeps", format!("not all of {fetch:?}"), kept));
            }
            Reply::Cut { .. } | Reply::StandsBy(_) => return Ok(Fate::Goes),
        };
        let live = self.live.as_mut().expect("a node that is up is live");
        let mut links = live.links.iter_mut().zip((0..).map(ShardId));
        let Some((held, shard)) = links.find_map(|(link, shard)| Some((link.fetched(id)?, shard))) else {
            return Ok(Fate::Goes);
        };
        let moved = live.decisions.on_fetched(shard, fetch, retirements, &mut live.ledger, &mut live.outcomes)?;
        self.after_decisions(cx, moved.map(Decided::event))?;
        for message in held {
            self.on_shard_message(cx, shard, &message)?;
        }
        self.settle(cx)
    }

    /// A fetch was not answered: whoever writes now is asked.
    pub(super) fn on_fetch_timeout(&mut self, cx: &mut Cx, id: CallId) {
        let writes = self.another_that_writes();
        let live = self.live.as_mut().expect("a node that is up is live");
        for link in live.links.iter_mut().filter(|link| link.waits_for(id)) {
            match writes {
                Some(balancer) => link.timed_out(&mut cx.net, id, balancer),
                None => link.give_up(&mut cx.net),
            }
        }
    }

    /// Puts what waits, unless something is not answered for.
    pub(super) fn put_group(&mut self, cx: &mut Cx) {
        let (index, term) = (self.index, self.term());
        let most = if cx.planted().is(Bug::TwoInFlight) { 2 } else { 1 };
        let share = self.share_mut();
        let Some(term) = term.filter(|_| share.puts.len() < most && !share.queue.is_empty()) else { return };
        let records: Vec<LogRecord> = share.queue.drain(..).collect();
        let expects = Position(share.end.0 + share.puts.len() as u64);
        let (engine, net) = cx.engine();
        let id = engine.ask(net, index, put_group(expects, term, records.clone()));
        share.puts.push_back(InFlight { id, expects, records, appending: Appending::default() });
    }

    /// What became of something that was put, or of a look: nothing when it was not answered.
    fn on_heard(&mut self, cx: &mut Cx, id: AskId, heard: Heard) -> Result<(), Violation> {
        let there = cx.planted().is(Bug::UnknownIsThere);
        let share = self.share_mut();
        if let Some(taking) = share.taking.as_mut().filter(|taking| taking.id == id) {
            let next = taking.taking.on_put(heard);
            self.on_took_over(cx, next);
            return Ok(());
        }
        let Some(put) = share.puts.front_mut().filter(|put| put.id == id) else { return Ok(()) };
        let next = match put.appending.on_put(heard) {
            NextStep::Put if there => NextStep::Done(Position(put.expects.0 + 1)),
            next => next,
        };
        self.on_next(cx, next)
    }

    fn on_follows(&mut self, cx: &mut Cx, follows: WhatFollows) -> Result<(), Violation> {
        cx.stats.looked_for += 1;
        let put = self.share_mut().puts.front_mut().expect("it was looked for");
        let next = put.appending.on_look(follows);
        self.on_next(cx, next)
    }

    fn on_next(&mut self, cx: &mut Cx, next: NextStep) -> Result<(), Violation> {
        let (index, term) = (self.index, self.term());
        let share = self.share_mut();
        let put = share.puts.front_mut().expect("something was put");
        let (engine, net) = cx.engine();
        match (next, term) {
            (NextStep::Put, Some(term)) => {
                put.id = engine.ask(net, index, put_group(put.expects, term, put.records.clone()));
            }
            (NextStep::Look, _) => {
                let after = put.expects;
                put.id = engine.ask(net, index, |id| EngineAsk::After(id, after));
            }
            (NextStep::Done(at), _) => return self.on_taken(cx, at),
            (NextStep::Fenced, _) | (NextStep::Put, None) => share.leadership.on_fenced(),
            (NextStep::Full, _) => unreachable!("the engine has room"),
        }
        Ok(())
    }

    /// The log has a group: what waited for it may be seen.
    fn on_taken(&mut self, cx: &mut Cx, at: Position) -> Result<(), Violation> {
        let share = self.share_mut();
        let InFlight { records, .. } = share.puts.pop_front().expect("it was put");
        share.end = at;
        let last = records.last().expect("a group has records").frame.through;
        if last > cx.truth.durable() {
            let (what, bound_by) = ("what counts as taken".to_owned(), "the end of the shared log".to_owned());
            return Err(Violation::Watermark { what, found: last, bound_by, bound: cx.truth.durable() });
        }
        let written = records.len();
        let live = self.live.as_mut().expect("a node that is up is live");
        for record in records {
            checks::check_log_frame(cx, &record.frame)?;
            live.ledger.on_told(record.frame.stable);
            self.disk.log.append_safe(record);
        }
        live.durability.on_written(written, last, &mut live.visible);
        live.durability.move_stable(&live.ledger, &mut live.visible);
        self.act(cx)?;
        self.take_held(cx)?;
        self.put_group(cx);
        self.set_timers(cx);
        Ok(())
    }

    fn on_newest(&mut self, cx: &mut Cx, newest: Option<Reign>) {
        let share = self.share_mut();
        let (_, writer) = share.leadership.me();
        let taking = share.taking.as_mut().expect("it was asked");
        let seen = match newest {
            Some(newest) if taking.seen.is_none_or(|seen| newest.term > seen) => {
                let at = Position(newest.term.0);
                taking.lost_to = Some(newest);
                if newest.writer == writer { TermSeen::Own(at) } else { TermSeen::Another }
            }
            _ => TermSeen::Known,
        };
        let next = taking.taking.on_look(seen);
        self.on_took_over(cx, next);
    }

    fn on_took_over(&mut self, cx: &mut Cx, next: TookOver) {
        let (index, now) = (self.index, cx.net.now());
        let share = self.share_mut();
        let taking = share.taking.as_mut().expect("it was asked");
        let (engine, net) = cx.engine();
        match next {
            TookOver::Put => taking.id = engine.ask(net, index, put_term(taking.seen, share.leadership.me())),
            TookOver::Look => taking.id = engine.ask(net, index, EngineAsk::NewestTerm),
            TookOver::Won(at) => {
                share.taking = None;
                share.leadership.on_asked(Asked::Won(Term(at.0)), now);
            }
            TookOver::Lost => {
                let newest = taking.lost_to.expect("it was looked at");
                share.taking = None;
                share.leadership.on_asked(Asked::Lost(newest), now);
            }
            TookOver::Full => unreachable!("the engine has room"),
        }
    }

    /// It has become the one that writes, or is it no longer.
    fn settle(&mut self, cx: &mut Cx) -> Result<Fate, Violation> {
        let share = self.share_mut();
        match share.leadership.standing() {
            Standing::Active(term) if !share.was_active => {
                self.activate(cx, term);
                self.bound(cx)?;
                Ok(Fate::Goes)
            }
            Standing::Over if cx.planted().is(Bug::KeepsLedgerOnStepDown) => {
                self.keep_on_step_down(cx);
                Ok(Fate::Goes)
            }
            Standing::Over => {
                cx.stats.stepped_down += 1;
                Ok(Fate::StepsDown)
            }
            _ => Ok(Fate::Goes),
        }
    }

    fn activate(&mut self, cx: &mut Cx, term: Term) {
        let (me, node) = (balancer_id(self.index), self.node());
        cx.trace.line(cx.net.now(), || format!("{node} writes in {term}"));
        cx.stats.takeovers += 1;
        let ahead_ms = EPOCH_MS - cx.rng.below(cx.scenario.faults.skew_ms + 1);
        let live = self.live.as_mut().expect("a node that is up is live");
        let share = live.share.as_mut().expect("it shares the log");
        share.was_active = true;
        share.end = Position(term.0);
        let recorded = live.ledger.recorded();
        live.sequencer = Sequencer::new(cx.scenario.frame, recorded, share.time_ms);
        live.clock = Clock::new(share.time_ms, ahead_ms, cx);
        live.holds = Holds::new(cx.scenario.streams.1);
        live.holds.plant(cx.planted());
        live.streams.clear();
        live.broadcast = recorded;
        for to in cx.net.nodes().filter(|to| !matches!(to, Node::Balancer(_))) {
            let lost = cx.rng.chance(100);
            if cx.net.up(to) && !lost {
                let (incarnation, delay) = (cx.net.incarnation(to), cx.net.delay());
                cx.net.after(delay, NetStep::Told { to, incarnation, balancer: me, term });
            }
        }
        self.set_timers(cx);
    }

    /// A planted bug: it stands by with a ledger that has what the log did not take.
    fn keep_on_step_down(&mut self, cx: &mut Cx) {
        let (index, through) = (self.index, self.disk.log.end());
        let live = self.live.as_mut().expect("a node that is up is live");
        let (replay, time_ms) = (Replay::new(&live.ledger, cx.planted()), live.sequencer.time_ms());
        live.share = Some(Share::new(cx, index, replay, time_ms));
        let feeds = mem::take(&mut live.feeds).into_iter().map(|feed| {
            feed.into_iter().for_each(|feed| cx.net.sever(feed.stream));
            None
        });
        live.feeds = feeds.collect();
        let (engine, net) = cx.engine();
        engine.follow(net, index, through);
    }
}

fn put_term(seen: Option<Term>, (balancer, writer): (BalancerId, Writer)) -> impl FnOnce(AskId) -> EngineAsk {
    move |id| EngineAsk::Put(id, Put::Term { seen, balancer, writer })
}

fn put_group(expects: Position, term: Term, records: Vec<LogRecord>) -> impl FnOnce(AskId) -> EngineAsk {
    move |id| EngineAsk::Put(id, Put::Group { expects, term, records })
}
