//! A run: takes what happens next and gives it to the node it is for, until nothing happens any more.

use dovetail_core::Cursor;
use dovetail_core::planted::Bug;

use crate::{
    checks,
    clients::Clients,
    cx::Cx,
    engine::SimEngine,
    faults::{Faults, SimFault},
    net::{LinkId, Message, Net, NetStep, NetStreamId, Node, Request, Time},
    nodes::{BalancerNode, Fate, GathererNode, MatcherNode},
    rng::Rng,
    scenario::Scenario,
    stats::Stats,
    trace::Trace,
    truth::{Truth, differs},
    violation::Violation,
};

/// More steps than any run takes that gets anywhere.
const STEPS_MAX: u64 = 1_000_000;

/// Longer than several balancers need to find out which one writes, and that one to have everything decided.
const QUIET_MS: Time = 60_000;

/// What to run a seed with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Prints what happens.
    pub trace: bool,
    /// Plants a bug.
    pub bug: Option<Bug>,
    /// Applies every message twice; nothing may come of the second time.
    pub twice: bool,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct SimOutcome {
    /// What happened, in numbers.
    pub stats: Stats,
    /// The fingerprint of all that happened, in order.
    pub fingerprint: u64,
    /// What was found wrong.
    pub violation: Option<Violation>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, options: Options) -> SimOutcome {
    let mut sim = Sim::new(seed, options);
    let violation = sim.run().err();
    sim.outcome(violation)
}

#[derive(Debug)]
struct Sim {
    cx: Cx,
    balancers: Vec<BalancerNode>,
    matchers: Vec<MatcherNode>,
    gatherers: Vec<GathererNode>,
    clients: Clients,
    faults: Faults,
    steps: u64,
}

impl Sim {
    fn new(seed: u64, options: Options) -> Sim {
        let scenario = Scenario::draw(seed);
        let dice = Rng::new(seed);
        let shards = scenario.placement.shards() as usize;
        let cx = Cx {
            net: Net::new(scenario.net, dice.fork(10), scenario.balancers(), scenario.matchers, shards),
            engine: scenario.shared.map(|plan| SimEngine::new(plan, dice.fork(14))),
            truth: Truth::new(scenario.placement.clone()),
            stats: Stats { runs: 1, ..Stats::default() },
            trace: Trace::new(options.trace),
            rng: dice.fork(11),
            bug: options.bug,
            twice: options.twice,
            provoked: false,
            provoked_cut: false,
            scenario,
        };
        Sim {
            balancers: (0..cx.scenario.balancers()).map(BalancerNode::new).collect(),
            matchers: (0..cx.scenario.matchers).map(MatcherNode::new).collect(),
            gatherers: (0..shards).map(GathererNode::new).collect(),
            clients: Clients::new(dice.fork(12), cx.scenario.work.actions),
            faults: Faults::new(dice.fork(13), &cx),
            steps: 0,
            cx,
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.cx.trace.line(0, || format!("{:#?}", self.cx.scenario));
        for node in self.cx.net.nodes() {
            self.start(node)?;
        }
        self.cx.net.after(1, NetStep::Client);
        self.until_quiet()?;
        for _ in 0..self.cx.scenario.faults.rounds {
            self.disturb()?;
            self.until_quiet()?;
        }
        Ok(())
    }

    /// Goes on until nothing happens any more; then everything has to be decided.
    fn until_quiet(&mut self) -> Result<(), Violation> {
        // Since when nothing happens but what happens again and again.
        let mut quiet: Option<Time> = None;
        while let Some(step) = self.cx.net.pop() {
            self.dispatch(step)?;
            if self.cx.engine.is_some() && self.cx.net.is_quiet() {
                let since = *quiet.get_or_insert(self.cx.net.now());
                let checked = self.check_end();
                if checked.is_ok() || self.cx.net.now() > since + QUIET_MS {
                    return checked;
                }
            } else {
                quiet = None;
            }
            for fault in self.faults.draw(&mut self.cx) {
                self.on_fault(fault)?;
            }
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(Violation::Endless(STEPS_MAX));
            }
        }
        self.check_end()
    }

    /// An idle cluster loses some of its nodes, or all; clients may do a little more.
    fn disturb(&mut self) -> Result<(), Violation> {
        for fault in self.faults.disturb(&mut self.cx) {
            self.on_fault(fault)?;
        }
        self.clients.do_more(&mut self.cx);
        Ok(())
    }

    fn outcome(mut self, violation: Option<Violation>) -> SimOutcome {
        self.matchers.iter().for_each(|matcher| matcher.count(&mut self.cx));
        let events = self.cx.truth.durable().0;
        let outcomes = self.cx.truth.outcomes();
        self.cx.stats.events = events;
        let s = &mut self.cx.stats;
        s.shared_runs = u64::from(self.cx.engine.is_some());
        let refused =
            [s.matchers_refused_feed, s.matchers_refused_fetch, s.matchers_refused_known, s.gatherers_refused];
        s.refused_runs = u64::from(refused.iter().any(|&refused| refused > 0));
        (self.cx.stats.matches, self.cx.stats.withdrawals) = outcomes;
        self.cx.stats.pools_dropped = self.cx.truth.pools_dropped();
        SimOutcome { stats: self.cx.stats, fingerprint: self.cx.trace.fingerprint(), violation }
    }

    /// Everything is decided, stable and forgotten.
    fn check_end(&self) -> Result<(), Violation> {
        for balancer in &self.balancers {
            let ledger = balancer.ledger().expect("healed");
            let assigned = if balancer.is_active() { balancer.assigned() } else { ledger.recorded() };
            checks::check_ledger(&self.cx, ledger, assigned, balancer.results_floor())?;
        }
        let active = self.balancers.iter().filter(|balancer| balancer.is_active()).count();
        if active != 1 {
            return Err(differs("balancers that write, at the end,", active.to_string(), "one".to_owned()));
        }
        for gatherer in &self.gatherers {
            checks::check_shard(&self.cx, gatherer.shard().expect("healed"))?;
        }
        self.matchers.iter().try_for_each(|matcher| matcher.check_end(&self.cx))
    }

    fn dispatch(&mut self, step: NetStep) -> Result<(), Violation> {
        if let NetStep::Client = step {
            return self.clients.act(&mut self.cx, &mut self.balancers);
        }
        if let NetStep::ToEngine { from, incarnation, ask } = step {
            let Cx { net, engine, truth, .. } = &mut self.cx;
            let engine = engine.as_mut().expect("balancers share the log");
            return engine.on_ask(net, truth, (from, incarnation), ask);
        }
        let Some(node) = self.concerns(&step) else { return Ok(()) };
        if self.cx.net.paused(node) && !matches!(step, NetStep::Resume { .. }) {
            self.cx.net.hold(node, step);
            return Ok(());
        }
        if let NetStep::Timer { node, timer, .. } = &step {
            self.cx.trace.line(self.cx.net.now(), || format!("{node} timer {timer:?}"));
        }
        match step {
            NetStep::Subscribe { stream, request } => return self.on_subscribe(stream, request),
            NetStep::Message { stream, message } => return self.on_message(stream, message),
            NetStep::Lost { stream, node, .. } => self.on_lost(stream, node),
            NetStep::Call { from, incarnation, id, call, .. } => {
                self.cx.trace.line(self.cx.net.now(), || format!("{node} <- {from}: {call:?}"));
                let Node::Balancer(balancer) = node else { unreachable!("balancers are called") };
                self.balancers[balancer].on_call(&mut self.cx, (from, incarnation), id, call);
            }
            NetStep::Reply { to, id, by, term, reply, .. } => {
                self.cx.trace.line(self.cx.net.now(), || format!("{to} <- {by}: {reply:?}"));
                let (cx, by) = (&mut self.cx, (by, term));
                let fate = match to {
                    Node::Balancer(balancer) => self.balancers[balancer].on_reply(cx, id, &reply)?,
                    Node::Matcher(matcher) => self.matchers[matcher].on_reply(cx, id, by, &reply)?,
                    Node::Gatherer(gatherer) => self.gatherers[gatherer].on_reply(cx, id, by, &reply)?,
                };
                return self.follow(to, fate);
            }
            NetStep::FromEngine { to, said, .. } => {
                self.cx.trace.line(self.cx.net.now(), || format!("{node} <- engine: {said}"));
                self.cx.trace.note([self.cx.net.now(), 23, to as u64, said.fingerprint()]);
                let fate = self.balancers[to].on_engine(&mut self.cx, said)?;
                return self.follow(node, fate);
            }
            NetStep::Told { to, balancer, term, .. } => {
                self.cx.trace.line(self.cx.net.now(), || format!("{to} is told that {balancer} writes in {term}"));
                match to {
                    Node::Matcher(matcher) => self.matchers[matcher].on_told(&mut self.cx, balancer, term),
                    Node::Gatherer(gatherer) => self.gatherers[gatherer].on_told(&mut self.cx, balancer, term),
                    Node::Balancer(_) => unreachable!("balancers read it"),
                }
            }
            NetStep::ToEngine { .. } => unreachable!("the engine is no node"),
            NetStep::Timer { node, timer, .. } => match node {
                Node::Balancer(balancer) => {
                    let fate = self.balancers[balancer].on_timer(&mut self.cx, timer)?;
                    return self.follow(node, fate);
                }
                Node::Matcher(matcher) => self.matchers[matcher].on_timer(&mut self.cx, timer),
                Node::Gatherer(gatherer) => self.gatherers[gatherer].on_timer(&mut self.cx, timer),
            },
            NetStep::Restart { node, .. } => {
                self.cx.net.start(node);
                return self.start(node);
            }
            NetStep::Resume { node, .. } => {
                self.cx.trace.line(self.cx.net.now(), || format!("{node} goes on"));
                for held in self.cx.net.resume(node) {
                    self.dispatch(held)?;
                }
            }
            NetStep::Client => unreachable!("clients are no node"),
        }
        Ok(())
    }

    /// The node that a step concerns; none when the step has come to nothing.
    fn concerns(&self, step: &NetStep) -> Option<Node> {
        let net = &self.cx.net;
        let current = |node: Node, incarnation: u32| net.incarnation(node) == incarnation;
        match *step {
            // A request to a node that is down is refused by it, so to say.
            NetStep::Subscribe { stream, .. } => net.whole(stream).then(|| net.ends(stream).2),
            NetStep::Message { stream, .. } => net.whole(stream).then(|| net.ends(stream).0),
            NetStep::Lost { node, incarnation, .. }
            | NetStep::Timer { node, incarnation, .. }
            | NetStep::Resume { node, incarnation } => (net.up(node) && current(node, incarnation)).then_some(node),
            NetStep::Reply { to, incarnation, .. } => (net.up(to) && current(to, incarnation)).then_some(to),
            NetStep::Restart { node, incarnation } => current(node, incarnation).then_some(node),
            NetStep::Call { to, .. } => net.up(to).then_some(to),
            NetStep::FromEngine { to, incarnation, .. } => {
                let to = Node::Balancer(to);
                (net.up(to) && current(to, incarnation)).then_some(to)
            }
            NetStep::Told { to, incarnation, .. } => (net.up(to) && current(to, incarnation)).then_some(to),
            NetStep::ToEngine { .. } | NetStep::Client => None,
        }
    }

    fn on_subscribe(&mut self, stream: NetStreamId, request: Request) -> Result<(), Violation> {
        let cx = &mut self.cx;
        let (reader, _, server) = cx.net.ends(stream);
        cx.trace.line(cx.net.now(), || format!("{server} <- {reader}: {request:?} on stream {}", stream.0));
        cx.trace.note([cx.net.now(), 20, u64::from(stream.0), 0]);
        if !cx.net.up(server) {
            cx.net.sever(stream);
            return Ok(());
        }
        match (server, reader, request) {
            (Node::Balancer(balancer), Node::Matcher(matcher), Request::Feed { after }) => {
                self.balancers[balancer].on_subscribe(cx, stream, matcher, after.map(Cursor::event));
            }
            (Node::Matcher(matcher), _, Request::Candidates { shard, decided_seen_min, cursors }) => {
                let fate = self.matchers[matcher].on_subscribe(cx, stream, shard, &cursors, decided_seen_min)?;
                return self.follow(server, fate);
            }
            (Node::Gatherer(gatherer), _, Request::Decisions { after }) => {
                self.gatherers[gatherer].on_subscribe(cx, stream, after);
            }
            (server, reader, request) => unreachable!("{reader} asks {server} for {request:?}"),
        }
        Ok(())
    }

    fn on_message(&mut self, stream: NetStreamId, message: Message) -> Result<(), Violation> {
        let cx = &mut self.cx;
        let (reader, link, server) = cx.net.ends(stream);
        cx.trace.line(cx.net.now(), || format!("{reader} <- {server} {link:?}: {message}"));
        let [kind, first, second] = message.fingerprint();
        cx.trace.note([cx.net.now(), u64::from(stream.0), kind ^ (first << 8), second]);
        match (reader, link) {
            (Node::Balancer(balancer), LinkId::Shard(shard)) => {
                self.balancers[balancer].on_message(cx, stream, shard, &message)
            }
            (Node::Matcher(matcher), link) => {
                let fate = self.matchers[matcher].on_message(cx, stream, link, message)?;
                self.follow(reader, fate)
            }
            (Node::Gatherer(gatherer), link) => {
                let fate = self.gatherers[gatherer].on_message(cx, stream, link, message)?;
                self.follow(reader, fate)
            }
            (Node::Balancer(_), link) => unreachable!("a balancer reads no {link:?}"),
        }
    }

    fn on_lost(&mut self, stream: NetStreamId, node: Node) {
        let cx = &mut self.cx;
        cx.trace.note([cx.net.now(), 21, u64::from(stream.0), 0]);
        cx.trace.line(cx.net.now(), || format!("{node} lost stream {}", stream.0));
        match node {
            Node::Balancer(balancer) => self.balancers[balancer].on_lost(cx, stream),
            Node::Matcher(matcher) => self.matchers[matcher].on_lost(cx, stream),
            Node::Gatherer(gatherer) => self.gatherers[gatherer].on_lost(cx, stream),
        }
    }

    /// A node that was left behind begins anew, and one whose disk failed does so after a while.
    fn follow(&mut self, node: Node, fate: Fate) -> Result<(), Violation> {
        match fate {
            Fate::Goes => Ok(()),
            Fate::CursorTooOld => {
                self.cx.stats.restarts_behind += u64::from(matches!(node, Node::Gatherer(_)));
                self.stop(node, 1)
            }
            Fate::StepsDown | Fate::Fails => {
                let down = self.cx.rng.range(1, self.cx.scenario.faults.down_ms);
                self.stop(node, down)
            }
        }
    }

    fn on_fault(&mut self, fault: SimFault) -> Result<(), Violation> {
        let cx = &mut self.cx;
        cx.trace.line(cx.net.now(), || format!("FAULT {fault:?}"));
        match fault {
            SimFault::Crash { node, .. } if !cx.net.up(node) => {}
            SimFault::Pause { node, .. } if !cx.net.up(node) || cx.net.paused(node) => {}
            SimFault::Crash { node, down } => {
                match node {
                    Node::Balancer(_) => cx.stats.balancer_crashes += 1,
                    Node::Matcher(_) => cx.stats.matcher_crashes += 1,
                    Node::Gatherer(_) => cx.stats.gatherer_crashes += 1,
                }
                self.stop(node, down)?;
            }
            SimFault::Break => {
                let mut rng = cx.rng.fork(cx.trace.steps());
                if let Some(stream) = cx.net.some_stream(&mut rng) {
                    cx.stats.breaks += 1;
                    cx.net.sever(stream);
                }
            }
            SimFault::Pause { node, time } => {
                cx.stats.pauses += 1;
                cx.net.pause(node, time);
            }
            SimFault::EngineDown { time } => {
                cx.stats.engine_faults += 1;
                let (engine, net) = cx.engine();
                engine.go_down(net.now(), time);
            }
            SimFault::CutOff { balancer, time } => {
                cx.stats.engine_faults += 1;
                let (engine, net) = cx.engine();
                engine.cut(balancer, net.now(), time);
            }
            SimFault::Yields { balancer } => self.balancers[balancer].yields(),
            SimFault::LoseResults => self.lose_results()?,
        }
        Ok(())
    }

    fn lose_results(&mut self) -> Result<(), Violation> {
        self.cx.stats.results_lost += 1;
        for node in self.cx.net.nodes() {
            if self.cx.net.up(node) {
                let down = self.cx.rng.range(1, self.cx.scenario.faults.down_ms);
                self.stop(node, down)?;
            }
        }
        self.balancers.iter_mut().for_each(BalancerNode::lose_results);
        Ok(())
    }

    fn stop(&mut self, node: Node, down: u64) -> Result<(), Violation> {
        let cx = &mut self.cx;
        cx.trace.line(cx.net.now(), || format!("{node} stops for {down}"));
        cx.trace.note([cx.net.now(), 22, down, 0]);
        cx.net.stop(node);
        let incarnation = cx.net.incarnation(node);
        cx.net.after(down, NetStep::Restart { node, incarnation });
        match node {
            Node::Balancer(balancer) => self.balancers[balancer].crash(cx)?,
            Node::Matcher(matcher) => self.matchers[matcher].crash(cx),
            Node::Gatherer(gatherer) => self.gatherers[gatherer].crash(),
        }
        Ok(())
    }

    fn start(&mut self, node: Node) -> Result<(), Violation> {
        let cx = &mut self.cx;
        cx.trace.line(cx.net.now(), || format!("{node} starts"));
        match node {
            Node::Balancer(balancer) => self.balancers[balancer].start(cx)?,
            Node::Matcher(matcher) => self.matchers[matcher].start(cx),
            Node::Gatherer(gatherer) => self.gatherers[gatherer].start(cx),
        }
        Ok(())
    }
}
