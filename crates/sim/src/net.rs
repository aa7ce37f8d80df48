//! The network and the clock: one queue of what will happen, and streams that keep their order until they break.
//!
//! A stream carries messages from its server to its reader, first in first out, each with a delay of its own. When it
//! breaks, all that is in flight is lost, and each end notices some time later. Streams overtake one another freely.
//! Invariant: nothing that was sent to one incarnation of a node reaches the next.

mod queue;
mod shared_log;
mod wire;

pub use crate::time::Time;
pub use queue::{NetStep, Timer};
pub use shared_log::{AskId, EngineAsk, EngineSaid, Entry, EntryKind, Put};
pub use wire::{Call, CallId, LinkId, Message, NetStreamId, Node, Reply, Request, SliceFrame, Writes};

use dovetail_node::{BalancerId, Term};

use crate::{rng::Rng, scenario::NetPlan, stats::Stats};
use queue::Queue;

#[derive(Debug)]
struct Stream {
    reader: Node,
    link: LinkId,
    server: Node,
    broken: bool,
    /// When the last message arrives; the next may not overtake it.
    last: Time,
    /// How many times slower than usual it is.
    lag: u64,
}

#[derive(Debug, Default)]
struct NodeState {
    down: bool,
    paused: bool,
    incarnation: u32,
    /// What came while it was paused.
    held: Vec<NetStep>,
}

/// The network.
#[derive(Debug)]
pub struct Net {
    now: Time,
    plan: NetPlan,
    rng: Rng,
    queue: Queue,
    streams: Vec<Stream>,
    nodes: Vec<NodeState>,
    matchers: usize,
    gatherers: usize,
    /// Whom each call was for.
    calls: Vec<BalancerId>,
}

impl Net {
    /// Between some balancers, at least one, matchers and gatherers.
    #[must_use]
    pub fn new(plan: NetPlan, rng: Rng, balancers: usize, matchers: usize, gatherers: usize) -> Net {
        let nodes = (0..balancers + matchers + gatherers).map(|_| NodeState::default()).collect();
        Net {
            now: 0,
            plan,
            rng,
            queue: Queue::default(),
            streams: Vec::new(),
            nodes,
            matchers,
            gatherers,
            calls: Vec::new(),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        let (matchers, gatherers, all) = (self.matchers, self.gatherers, self.nodes.len());
        (0..all).map(move |index| match index {
            0 => Node::Balancer(0),
            _ if index <= matchers => Node::Matcher(index - 1),
            _ if index <= matchers + gatherers => Node::Gatherer(index - 1 - matchers),
            _ => Node::Balancer(index - matchers - gatherers),
        })
    }

    /// What happens next, if anything.
    pub fn pop(&mut self) -> Option<NetStep> {
        let (at, step) = self.queue.pop()?;
        self.now = at;
        Some(step)
    }

    /// Lets `step` happen after a delay.
    pub fn after(&mut self, delay: Time, step: NetStep) {
        self.queue.push(self.now + delay, step);
    }

    /// Wakes this incarnation of a node after a delay.
    pub fn timer(&mut self, node: Node, delay: Time, timer: Timer) {
        let incarnation = self.incarnation(node);
        self.after(delay, NetStep::Timer { node, incarnation, timer });
    }

    /// A delay as the plan has them: mostly short, sometimes very long.
    pub fn delay(&mut self) -> Time {
        if self.rng.chance(self.plan.tail_permille) {
            self.rng.below(self.plan.tail_ms)
        } else {
            self.rng.range(1, self.plan.delay_ms)
        }
    }

    /// Opens a stream and sends its request.
    pub fn open(&mut self, reader: Node, link: LinkId, server: Node, request: Request) -> NetStreamId {
        let stream = NetStreamId(u32::try_from(self.streams.len()).expect("a run has fewer streams"));
        let lag = if self.rng.chance(self.plan.slow_permille) { self.rng.range(2, 20) } else { 1 };
        self.streams.push(Stream { reader, link, server, broken: false, last: self.now, lag });
        let delay = self.delay();
        self.after(delay, NetStep::Subscribe { stream, request });
        stream
    }

    /// Sends a message to the reader of a stream; lost when the stream is broken.
    pub fn send(&mut self, stream: NetStreamId, message: Message, stats: &mut Stats) {
        if self.streams[stream.index()].broken {
            return;
        }
        stats.messages += 1;
        let delay = self.delay() * self.streams[stream.index()].lag;
        let state = &mut self.streams[stream.index()];
        let at = state.last.max(self.now + delay);
        state.last = at;
        if message.may_repeat() && self.rng.chance(self.plan.repeat_permille) {
            stats.duplicates += 1;
            let again = at + self.rng.below(self.plan.tail_ms);
            self.queue.push(again, NetStep::Message { stream, message: message.clone() });
        }
        self.queue.push(at, NetStep::Message { stream, message });
    }

    /// Whether all that will happen happens again and again.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.queue.is_quiet()
    }

    /// Asks a balancer something. The caller sets a timer: a call may get no answer.
    pub fn call(&mut self, from: Node, to: BalancerId, call: Call) -> CallId {
        self.calls.push(to);
        let id = CallId(u32::try_from(self.calls.len()).expect("a run has fewer calls"));
        let delay = self.delay();
        let incarnation = self.incarnation(from);
        self.after(delay, NetStep::Call { to: Node::Balancer(to.0 as usize), from, incarnation, id, call });
        self.timer(from, self.plan.timeout_ms, Timer::CallTimeout(id));
        id
    }

    /// Whom a call was for.
    #[must_use]
    pub fn callee(&self, id: CallId) -> BalancerId {
        self.calls[id.0 as usize - 1]
    }

    /// Answers a call.
    pub fn reply(
        &mut self,
        (by, term): (BalancerId, Option<Term>),
        (to, incarnation): (Node, u32),
        id: CallId,
        reply: Reply,
    ) {
        let delay = self.delay();
        self.after(delay, NetStep::Reply { to, incarnation, id, by, term, reply });
    }

    /// The node that reads a stream, over which of its links, and the node that serves it.
    #[must_use]
    pub fn ends(&self, stream: NetStreamId) -> (Node, LinkId, Node) {
        let state = &self.streams[stream.index()];
        (state.reader, state.link, state.server)
    }

    /// Whether messages on a stream still arrive.
    #[must_use]
    pub fn whole(&self, stream: NetStreamId) -> bool {
        !self.streams[stream.index()].broken
    }

    /// Breaks a stream: what is in flight is lost, and both ends notice, each in its own time.
    pub fn sever(&mut self, stream: NetStreamId) {
        let state = &mut self.streams[stream.index()];
        if std::mem::replace(&mut state.broken, true) {
            return;
        }
        for node in [state.reader, state.server] {
            let (delay, incarnation) = (self.delay(), self.incarnation(node));
            self.after(delay, NetStep::Lost { stream, node, incarnation });
        }
    }

    /// A whole stream at random.
    pub fn some_stream(&mut self, rng: &mut Rng) -> Option<NetStreamId> {
        let whole: Vec<usize> = (0..self.streams.len()).filter(|&index| !self.streams[index].broken).collect();
        let index = *whole.get(rng.index(whole.len()))?;
        Some(NetStreamId(u32::try_from(index).expect("fewer streams")))
    }

    /// Stops a node: it loses its memory, its streams and what was on its way to it.
    pub fn stop(&mut self, node: Node) {
        let state = self.state(node);
        state.incarnation += 1;
        state.down = true;
        state.paused = false;
        state.held.clear();
        for index in 0..self.streams.len() {
            let ends = &self.streams[index];
            if !ends.broken && (ends.reader == node || ends.server == node) {
                self.sever(NetStreamId(u32::try_from(index).expect("fewer streams")));
            }
        }
    }

    /// A stopped node is there again.
    pub fn start(&mut self, node: Node) {
        self.state(node).down = false;
    }

    /// From now on what reaches a node is held back.
    pub fn pause(&mut self, node: Node, time: Time) {
        self.state(node).paused = true;
        let incarnation = self.incarnation(node);
        self.after(time, NetStep::Resume { node, incarnation });
    }

    /// Ends a pause; what was held back comes now, in order.
    pub fn resume(&mut self, node: Node) -> Vec<NetStep> {
        let state = self.state(node);
        state.paused = false;
        std::mem::take(&mut state.held)
    }

    /// Keeps what reaches a paused node.
    pub fn hold(&mut self, node: Node, step: NetStep) {
        self.state(node).held.push(step);
    }

    /// Whether a node runs.
    #[must_use]
    pub fn up(&self, node: Node) -> bool {
        !self.nodes[self.index(node)].down
    }

    /// Whether a node handles nothing for now.
    #[must_use]
    pub fn paused(&self, node: Node) -> bool {
        self.nodes[self.index(node)].paused
    }

    /// How often a node was stopped.
    #[must_use]
    pub fn incarnation(&self, node: Node) -> u32 {
        self.nodes[self.index(node)].incarnation
    }

    fn index(&self, node: Node) -> usize {
        match node {
            Node::Balancer(0) => 0,
            Node::Balancer(balancer) => self.matchers + self.gatherers + balancer,
            Node::Matcher(matcher) => 1 + matcher,
            Node::Gatherer(gatherer) => 1 + self.matchers + gatherer,
        }
    }

    fn state(&mut self, node: Node) -> &mut NodeState {
        let index = self.index(node);
        &mut self.nodes[index]
    }
}
