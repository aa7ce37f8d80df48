//! The model: a cluster's state, what may happen in it, and what must hold.

use std::{fmt, rc::Rc, sync::Arc};

use dovetail_core::{EventId, EventKind, Retirement, planted::Bug, shard::Fetch};
use stateright::{Model, Property};

use super::{
    balancer::ModelBalancer,
    machines::{Begin, Input, Kind, MachineId, Machines, MessageId, StepOutcome},
    reduce::Reduction,
    script::{Plan, Script},
    wire::{ModelMessage, ModelNode, ModelStream, NODES, SHARDS, SLICES, STREAMS, shard_id},
};

/// What may go wrong, and how the log comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultBudget {
    /// Crashes of a slice or of a shard: memory is lost, and everything in flight to and from it.
    pub crashes: u8,
    /// Messages that are delivered a second time, at any time after the first while the stream is whole.
    pub duplicates: u8,
    /// Whether events are written while the cluster decides, each with the stable cut of then. If not, the whole log is
    /// there from the start.
    pub growing: bool,
    /// How streams come back after a crash.
    pub reconnect: Reconnect,
    /// Whether results are stored at any time later; if not, at once.
    pub lazy_store: bool,
    /// Whether a hello, and what the store answers to its reader, may be read later than at once.
    pub late_hellos: bool,
    /// Whether orders that are known to make no difference are left out (`ModelCluster::at_once`).
    pub reduced: bool,
}

/// How streams come back after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// All that can be, when the node begins anew; what they carry is in flight as long as may be.
    Together,
    /// Each on its own, at any time.
    Apart,
}

/// A cluster's state. Machines and messages are numbers, see `machines`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// None while a node is down.
    machines: [Option<MachineId>; NODES],
    /// What is in flight, stream by stream.
    messages: Vec<MessageId>,
    lengths: [u8; STREAMS],
    /// Which streams are whole, one bit each.
    whole: u16,
    /// How many events the log has; follows from the balancer.
    written: u8,
    /// Whether the log has ended.
    ended: bool,
    /// How many events each slice has searched; follows from its machine.
    searched: [u8; SLICES],
    /// Whether the balancer has published what it has not stored; follows from its machine.
    unstored: bool,
    /// From which slices the balancer holds something back for a while, one bit each; follows from its machine.
    lingers: u8,
    /// Which events' retirements were announced, one bit each.
    announced: u16,
    crashes: u8,
    /// The node that crashed last; only noted where runs are reduced.
    victim: Option<ModelNode>,
    duplicates: u8,
    /// What will come again.
    again: Option<(u8, MessageId)>,
    wrong: Option<Box<Wrong>>,
}

impl State {
    fn offset(&self, stream: usize) -> usize {
        self.lengths[..stream].iter().map(|&length| usize::from(length)).sum()
    }

    fn queue(&self, stream: usize) -> &[MessageId] {
        let from = self.offset(stream);
        &self.messages[from..from + usize::from(self.lengths[stream])]
    }

    fn push(&mut self, stream: usize, message: MessageId) {
        let at = self.offset(stream + 1);
        self.messages.insert(at, message);
        self.lengths[stream] += 1;
    }

    fn push_front(&mut self, stream: usize, message: MessageId) {
        let at = self.offset(stream);
        self.messages.insert(at, message);
        self.lengths[stream] += 1;
    }

    fn pop(&mut self, stream: usize) -> MessageId {
        self.lengths[stream] -= 1;
        self.messages.remove(self.offset(stream))
    }

    fn remove(&mut self, stream: usize, at: usize) {
        self.lengths[stream] -= 1;
        self.messages.remove(self.offset(stream) + at);
    }

    fn clear(&mut self, stream: usize) {
        let from = self.offset(stream);
        self.messages.drain(from..from + usize::from(self.lengths[stream]));
        self.lengths[stream] = 0;
    }

    fn is_whole(&self, stream: usize) -> bool {
        self.whole >> stream & 1 == 1
    }

    fn all_whole(&self) -> bool {
        self.whole == u16::MAX >> (16 - STREAMS)
    }

    fn in_flight(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Nothing will happen any more unless something goes wrong.
    fn quiet(&self) -> bool {
        self.ended
            && self.again.is_none()
            && self.all_whole()
            && !self.in_flight()
            && !self.unstored
            && self.lingers == 0
    }
}

/// What was found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// What was decided is not what the oracle decides.
    Diverged(String),
    /// A machine refused a message, or panicked.
    Refused(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Wrong::Diverged(text) | Wrong::Refused(text)) = self;
        f.write_str(text)
    }
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelAction {
    /// The next event is written.
    Write,
    /// What the balancer holds back from a slice has waited long enough.
    Linger(u8),
    /// What the balancer published is on disk: the stable cut moves there, and slices hear of it.
    Store,
    /// The first message of a stream is delivered.
    Deliver(u8),
    /// The same, and it will come again.
    DeliverTwice(u8),
    /// What was to come again comes.
    Again,
    /// A node loses its memory and its streams.
    Crash(ModelNode),
    /// A node that is down begins anew at the cut.
    Restart(ModelNode),
    /// The two in one.
    Reset(ModelNode),
    /// The reader of a broken stream subscribes from its cursor.
    Subscribe(u8),
}

/// A script with its faults.
#[derive(Clone, Debug)]
pub struct ModelCluster {
    faults: FaultBudget,
    plan: Arc<Plan>,
    machines: Arc<Machines>,
    reduction: Arc<Reduction>,
    streams: [ModelStream; STREAMS],
}

impl ModelCluster {
    /// A cluster that runs a script.
    #[must_use]
    pub fn new(script: &Script, faults: FaultBudget, planted: Option<Bug>) -> ModelCluster {
        let plan = Arc::new(Plan::new(script));
        let machines = Arc::new(Machines::new(Arc::clone(&plan), planted));
        let reduction = Arc::new(Reduction::new(Arc::clone(&machines), Arc::clone(&plan), faults.crashes > 1));
        ModelCluster { faults, machines, reduction, plan, streams: ModelStream::all() }
    }

    /// The same cluster with other faults; machines' states have the same numbers.
    #[must_use]
    pub(super) fn with(&self, faults: FaultBudget) -> ModelCluster {
        let reduction =
            Arc::new(Reduction::new(Arc::clone(&self.machines), Arc::clone(&self.plan), faults.crashes > 1));
        ModelCluster { faults, reduction, ..self.clone() }
    }

    /// The machines, if nothing will happen any more.
    pub(super) fn rest(&self, state: &State) -> Option<[Option<MachineId>; NODES]> {
        state.quiet().then_some(state.machines)
    }

    /// The machines.
    pub(super) fn machines(&self) -> &Machines {
        &self.machines
    }

    /// What is left out because it makes no difference.
    pub(super) fn reduction(&self) -> &Reduction {
        &self.reduction
    }

    /// Walks at random, so that claims are first made with many messages known.
    pub(super) fn stroll(&self, walks: u64) {
        let mut drawn = 0x9E37_79B9_7F4A_7C15u64;
        for _ in 0..walks {
            let mut state = self.init_states().pop().expect("there is one");
            let mut actions = Vec::new();
            loop {
                actions.clear();
                self.actions(&state, &mut actions);
                drawn ^= drawn << 13;
                drawn ^= drawn >> 7;
                drawn ^= drawn << 17;
                let count = u64::try_from(actions.len()).expect("few actions");
                let Some(&action) = actions.get(usize::try_from(drawn % count.max(1)).expect("few actions")) else {
                    break;
                };
                let Some(next) = self.next_state(&state, action) else { break };
                state = next;
            }
        }
    }

    /// What an action does in a state, for people.
    #[must_use]
    pub fn describe(&self, state: &State, action: ModelAction) -> String {
        let message = |id| self.machines.message(id);
        match action {
            ModelAction::Write => format!("log: {} is written", self.end(state).next()),
            ModelAction::Linger(slice) => format!("s{slice} is sent what was held back"),
            ModelAction::Store => "results are on disk".to_owned(),
            ModelAction::Deliver(stream) | ModelAction::DeliverTwice(stream) => {
                let twice = if matches!(action, ModelAction::DeliverTwice(_)) { " (to come again)" } else { "" };
                let queue = state.queue(usize::from(stream));
                format!("{}: {}{twice}", self.streams[usize::from(stream)], message(queue[0]))
            }
            ModelAction::Again => {
                let (stream, id) = state.again.expect("it is enabled");
                format!("{}: {} AGAIN", self.streams[usize::from(stream)], message(id))
            }
            ModelAction::Crash(node) => format!("{node} CRASHES"),
            ModelAction::Restart(node) => format!("{node} begins anew at the cut"),
            ModelAction::Reset(node) => format!("{node} CRASHES and begins anew at the cut"),
            ModelAction::Subscribe(stream) => format!("{}: subscribes", self.streams[usize::from(stream)]),
        }
    }

    /// What is wrong with a state.
    #[must_use]
    pub fn wrong(&self, state: &State) -> Option<String> {
        let stuck = || (state.quiet() && !self.complete(state)).then(|| self.progress(state));
        let kept = || (state.quiet() && self.kept(state) > 0).then(|| format!("{} things kept", self.kept(state)));
        state.wrong.as_ref().map(|wrong| wrong.to_string()).or_else(stuck).or_else(kept)
    }

    fn progress(&self, state: &State) -> String {
        let facts = |node: ModelNode| state.machines[node.index()].map(|machine| self.machines.facts(machine));
        let mut text = format!("stuck: the log ends at {}", self.end(state));
        for node in ModelNode::mortal() {
            if let Some(facts) = facts(node) {
                text += &format!(
                    ", {node} through {} decided {}",
                    facts.through[0].min(facts.through[1]),
                    facts.decided.map(|d| d.to_string()).join("/")
                );
            }
        }
        text
    }

    fn end(&self, state: &State) -> EventId {
        EventId(self.plan.start.0 + u64::from(state.written))
    }

    fn bit(&self, x: EventId) -> u16 {
        1 << self.plan.at(x)
    }

    /// What is kept of candidates, retirements and frames.
    fn kept(&self, state: &State) -> usize {
        state.machines.iter().flatten().map(|&machine| self.machines.facts(machine).kept).sum()
    }

    /// Everything is decided, as the oracle says, and every node knows.
    fn complete(&self, state: &State) -> bool {
        let end = self.end(state);
        let all = state.machines.iter().flatten().all(|&machine| self.machines.facts(machine).decided == [end; SHARDS]);
        let searched = (0..SLICES as u8).all(|slice| {
            let machine = state.machines[ModelNode::Slice(slice).index()];
            machine.is_some_and(|machine| self.machines.facts(machine).through == [end; SLICES])
        });
        let expected: u16 = self.plan.decided(self.plan.start, end).map(|told| self.bit(told.x)).sum();
        all && searched && state.announced == expected
    }

    /// A node stops: its memory and what is in flight to and from it are gone.
    fn stop(&self, state: &mut State, node: ModelNode) {
        state.machines[node.index()] = None;
        for (index, stream) in self.streams.iter().enumerate() {
            if stream.reader() == node || stream.server() == node {
                self.sever(state, index);
            }
        }
    }

    fn sever(&self, state: &mut State, index: usize) {
        state.whole &= !(1 << index);
        state.clear(index);
        state.again = state.again.filter(|&(stream, _)| usize::from(stream) != index);
    }

    fn start(&self, state: &mut State, node: ModelNode) {
        let balancer = state.machines[ModelNode::Balancer.index()].expect("it does not crash");
        let stable = self.machines.facts(balancer).stable;
        let begun = match node {
            ModelNode::Balancer => self.machines.begin(Begin::Balancer),
            ModelNode::Slice(slice) => {
                for stream in [ModelStream::Log(slice), ModelStream::Stable(slice)] {
                    state.whole |= 1 << stream.index();
                }
                let searched = u8::try_from(stable.event().0 - self.plan.start.0).expect("few events");
                state.searched[usize::from(slice)] = searched;
                let cut = self.ask_balancer(state, Input::Cut(slice)).cut;
                self.machines.begin(Begin::Slice(slice, cut))
            }
            ModelNode::Shard(shard) => {
                // What is above the cut it has to announce again (R5).
                let again = self.plan.decided(stable.event(), self.end(state));
                let again = again.filter(|told| self.plan.home(told.element) == shard_id(shard));
                again.for_each(|told| state.announced &= !self.bit(told.x));
                self.machines.begin(Begin::Shard(shard, stable.event()))
            }
        };
        match begun {
            Ok(machine) => state.machines[node.index()] = Some(machine),
            Err(error) => state.wrong = Some(Box::new(Wrong::Refused(format!("{node}: {error}")))),
        }
    }

    /// A node begins anew, and with it what streams come back at once.
    fn restart(&self, state: &mut State, node: ModelNode) {
        self.start(state, node);
        if self.faults.reconnect == Reconnect::Apart {
            return;
        }
        for (index, stream) in self.streams.iter().enumerate() {
            let up = [stream.server(), stream.reader()].iter().all(|node| state.machines[node.index()].is_some());
            if !state.is_whole(index) && up && state.wrong.is_none() {
                self.subscribe(state, index);
            }
        }
    }

    /// The reader of a stream subscribes; both ends are up.
    fn subscribe(&self, state: &mut State, index: usize) {
        let stream = self.streams[index];
        let [server, reader] = [stream.server(), stream.reader()].map(|node| state.machines[node.index()].expect("up"));
        let facts = self.machines.facts(reader);
        let cursor = match stream {
            ModelStream::Candidates(slice, _) => facts.through[usize::from(slice)],
            ModelStream::Decisions(shard, _) => facts.decided[usize::from(shard)],
            ModelStream::Log(_) | ModelStream::Stable(_) => unreachable!("a slice reads the feed from its start"),
        };
        state.whole |= 1 << index;
        let outcome = self.machines.step(server, Input::Subscribe(stream, cursor));
        self.follow(state, stream.server(), index, &outcome);
    }

    fn deliver_first(&self, state: &mut State, index: usize) {
        let message = state.pop(index);
        if self.faults.reduced && state.all_whole() {
            let machine = state.machines[self.streams[index].reader().index()].expect("whole streams have a reader");
            self.reduction.note_read(state.victim, machine, index, message);
        }
        self.deliver(state, index, message);
    }

    fn deliver(&self, state: &mut State, index: usize, message: MessageId) {
        let reader = self.streams[index].reader();
        let machine = state.machines[reader.index()].expect("whole streams have a reader");
        let outcome = self.machines.step(machine, Input::Message(self.streams[index], message));
        state.machines[reader.index()] = Some(outcome.next);
        self.follow(state, reader, index, &outcome);
    }

    /// Gives the balancer what does not come by a stream.
    fn ask_balancer(&self, state: &mut State, input: Input) -> Rc<StepOutcome> {
        let outcome = self.machines.step(state.machines[0].expect("it does not crash"), input);
        state.machines[0] = Some(outcome.next);
        self.follow(state, ModelNode::Balancer, 0, &outcome);
        outcome
    }

    /// The slices to which the balancer may send what it has held back.
    fn lingering(&self, state: &State) -> impl Iterator<Item = u8> + use<> {
        let (lingers, whole) = (state.lingers, state.whole);
        (0..SLICES as u8)
            .filter(move |&slice| lingers >> slice & 1 == 1 && whole >> ModelStream::Log(slice).index() & 1 == 1)
    }

    /// Delivers what is delivered at once.
    fn settle(&self, state: &mut State) {
        while state.wrong.is_none() {
            let last = self.last(state);
            let at_once = |&index: &usize| state.lengths[index] > 0 && self.at_once(state, index, last);
            if let Some(index) = (0..STREAMS).find(at_once) {
                self.deliver_first(state, index);
            } else if !self.faults.lazy_store && state.unstored {
                self.ask_balancer(state, Input::Store);
            } else if let Some(slice) = self.lingering(state).next().filter(|_| !self.faults.growing) {
                // The log has all that it will ever have: when it is sent is delay, which the stream has.
                self.ask_balancer(state, Input::Linger(slice));
            } else if !self.reducible(state) || !self.reduce(state) {
                return;
            }
        }
    }

    /// Whether no node will begin anew any more.
    fn reducible(&self, state: &State) -> bool {
        self.faults.reduced && state.crashes == 0 && state.all_whole() && self.no_repeats(state)
    }

    /// Whether nothing comes again, or only what makes no difference then.
    fn no_repeats(&self, state: &State) -> bool {
        state.again.is_none() && (state.duplicates == 0 || self.reduction.repeats_are_harmless())
    }

    /// Drops a message that changes nothing whenever it is read, or delivers one that may as well be read now. False
    /// when there is none.
    fn reduce(&self, state: &mut State) -> bool {
        let heads = self.heads(state);
        for index in 0..STREAMS {
            if state.lengths[index] == 0 {
                continue;
            }
            let reader = self.streams[index].reader();
            let machine = state.machines[reader.index()].expect("all streams are whole");
            for at in 0..usize::from(state.lengths[index]) {
                let message = state.queue(index)[at];
                let repeats = matches!(message.kind(), Kind::Repeatable | Kind::News);
                if repeats && self.reduction.inert(state.victim, machine, index, message, &heads) {
                    state.remove(index, at);
                    return true;
                }
            }
            let told = self.told(state, reader);
            let eager = self.reduction.eager(state.victim, machine, index, state.queue(index), &heads, told);
            if !self.harmless(state, index, eager) {
                continue;
            }
            for _ in 0..eager {
                self.deliver_first(state, index);
            }
            if eager > 0 {
                return true;
            }
        }
        false
    }

    /// Whether a crash of `victim` may as well come later: after something that comes to the same before it and after
    /// it.
    fn crashes_later(&self, state: &State, victim: ModelNode) -> bool {
        let calm = state.crashes == 1 && state.all_whole() && self.no_repeats(state);
        if !calm || self.faults.reconnect == Reconnect::Apart {
            return false;
        }
        (0..STREAMS).any(|index| {
            let (reader, queue) = (self.streams[index].reader(), state.queue(index));
            let once = |head: &MessageId| matches!(head.kind(), Kind::Once | Kind::Stored);
            let apart = reader != victim && self.streams[index].server() != victim && reader != ModelNode::Balancer;
            if !apart || queue.first().is_none_or(once) {
                return false;
            }
            let machine = state.machines[reader.index()].expect("all streams are whole");
            let told = self.told(state, reader);
            let eager = self.reduction.eager_through_crash(victim, machine, index, queue, told);
            eager > 0 && self.harmless(state, index, eager)
        })
    }

    /// The watermark that the balancer has of a shard.
    fn told(&self, state: &State, reader: ModelNode) -> EventId {
        match reader {
            ModelNode::Shard(shard) => {
                let balancer = state.machines[ModelNode::Balancer.index()].expect("it does not crash");
                self.machines.facts(balancer).decided[usize::from(shard)]
            }
            ModelNode::Slice(_) | ModelNode::Balancer => EventId::ZERO,
        }
    }

    /// The first messages of streams, where nothing can come before them.
    fn heads(&self, state: &State) -> [Option<MessageId>; STREAMS] {
        std::array::from_fn(|index| {
            state.queue(index).first().copied().filter(|head| matches!(head.kind(), Kind::Once | Kind::Stored))
        })
    }

    /// Whether none of the first messages of a stream, once read, changes anything when it comes again.
    fn harmless(&self, state: &State, index: usize, len: usize) -> bool {
        if state.duplicates == 0 {
            return true;
        }
        let heads = self.heads(state);
        let mut machine = state.machines[self.streams[index].reader().index()].expect("whole streams have a reader");
        state.queue(index)[..len].iter().all(|&message| {
            machine = self.machines.try_step(machine, Input::Message(self.streams[index], message)).next;
            let repeats = matches!(message.kind(), Kind::Repeatable | Kind::News);
            let crash = (state.victim, state.crashes > 0);
            !repeats || self.reduction.harmless(crash, machine, index, message, &heads)
        })
    }

    /// Whether nothing can go wrong any more, and no event come. A hello in flight may yet send its reader back to the
    /// cut.
    fn last(&self, state: &State) -> bool {
        let calm = |message: &MessageId| matches!(message.kind(), Kind::Repeatable | Kind::News);
        let over = state.crashes == 0 && self.no_repeats(state);
        over && state.ended && state.all_whole() && state.messages.iter().all(calm)
    }

    /// Whether the first message of a stream is delivered as soon as it is the first, and not at any time later.
    ///
    /// What the balancer reads and says of the stable cut is: its lateness is that of [`Action::Store`]. So is a frame
    /// of candidates without events: a shard only forgets when it takes one, and it may forget too early but not too
    /// late. A hello, and what the store answers to its reader, are read at once unless [`FaultBudget::late_hellos`] says
    /// otherwise; that leaves runs out, those in which a reader hears much else between a server's restart and its
    /// hello. The rest follows from what can still happen when nothing can go wrong any more. A slice that has searched
    /// the whole log says nothing more but such frames, so that it makes no difference when it hears of decisions. A
    /// shard that has read all candidates has one stream left that anything can come on, so that nothing can overtake
    /// its first message.
    fn at_once(&self, state: &State, index: usize, last: bool) -> bool {
        if !self.faults.reduced {
            return false;
        }
        if !self.faults.late_hellos && matches!(state.queue(index)[0].kind(), Kind::Once | Kind::Stored) {
            return true;
        }
        let searched = |slice: u8| state.searched[usize::from(slice)] == state.written;
        match self.streams[index] {
            ModelStream::Decisions(_, ModelNode::Balancer) | ModelStream::Stable(_) => true,
            ModelStream::Candidates(..) => state.queue(index)[0].kind() == Kind::News,
            ModelStream::Decisions(_, ModelNode::Slice(slice)) => {
                last && searched(slice) && self.harmless(state, index, 1)
            }
            ModelStream::Decisions(_, ModelNode::Shard(shard)) => {
                let drained =
                    |slice| searched(slice) && state.lengths[ModelStream::Candidates(slice, shard).index()] == 0;
                last && (0..SLICES as u8).all(drained) && self.harmless(state, index, 1)
            }
            ModelStream::Log(_) => false,
        }
    }

    fn push(&self, state: &mut State, index: usize, message: MessageId) {
        state.push(index, message);
        if self.faults.reduced {
            self.reduction.note(state.victim, index, message);
        }
    }

    /// Checks what came of a step of `node`, and sends what it wants sent.
    fn follow(&self, state: &mut State, node: ModelNode, index: usize, outcome: &StepOutcome) {
        if let Some(wrong) = &outcome.wrong {
            state.wrong = Some(Box::new(Wrong::Refused(format!("{node}: {wrong}"))));
            return;
        }
        if let Err(diverged) = self.check(state, node, outcome) {
            state.wrong = Some(Box::new(Wrong::Diverged(diverged)));
            return;
        }
        match node {
            ModelNode::Balancer => (state.unstored, state.lingers) = (outcome.unstored, outcome.lingers),
            ModelNode::Slice(slice) => {
                if let Some(through) = outcome.through {
                    let searched = u8::try_from(through.0 - self.plan.start.0).expect("few events");
                    state.searched[usize::from(slice)] = searched;
                }
            }
            ModelNode::Shard(_) => {}
        }
        for &(stream, message) in &outcome.sends {
            let to = stream.index();
            if state.is_whole(to) {
                self.push(state, to, message);
            }
        }
        if let Some(fetch) = outcome.fetch {
            match self.fetched(state, fetch) {
                Ok(stored) => {
                    state.push_front(index, stored);
                    if self.faults.reduced {
                        self.reduction.note(state.victim, index, stored);
                    }
                }
                Err(wrong) => state.wrong = Some(Box::new(Wrong::Refused(format!("{node}: {wrong}")))),
            }
        }
        if outcome.behind {
            self.stop(state, node);
            if self.faults.reduced {
                self.reduction.disable();
                self.restart(state, node);
            }
        }
    }

    /// The store has what the balancer published, which was checked to be what the oracle says.
    fn fetched(&self, state: &State, fetch: Fetch) -> Result<MessageId, String> {
        let balancer = state.machines[ModelNode::Balancer.index()].expect("it does not crash");
        ModelBalancer::check_fetch(fetch, self.machines.facts(balancer).stored)?;
        let stored: Vec<Retirement> = self.plan.decided(fetch.after, fetch.through).collect();
        Ok(self.machines.intern(ModelMessage::Stored(fetch, stored.into())))
    }

    fn check(&self, state: &mut State, node: ModelNode, outcome: &StepOutcome) -> Result<(), String> {
        let end = self.end(state);
        for &told in &outcome.announced {
            let expected = (told.x > self.plan.start && told.x <= end).then(|| self.plan.decides(told.x)).flatten();
            if expected != Some(told) {
                return Err(format!("{node} announced [{told}], the oracle says {}", shown(expected)));
            }
            state.announced |= self.bit(told.x);
        }
        let Some((before, through)) = outcome.decided else { return Ok(()) };
        if through > end || through < before {
            return Err(format!("{node} went from {before} to {through}, the log ends at {end}"));
        }
        match node {
            ModelNode::Balancer => {
                let expected: Vec<Retirement> = self.plan.decided(before, through).collect();
                if outcome.published != expected {
                    let (found, expected) = (&outcome.published, &expected);
                    return Err(format!("published in ({before}, {through}]: {found:?}, the oracle says {expected:?}"));
                }
            }
            ModelNode::Shard(shard) => {
                let here = |told: &Retirement| self.plan.home(told.element) == shard_id(shard);
                let mut missing = self.plan.decided(before, through).filter(here);
                if let Some(told) = missing.find(|told| state.announced & self.bit(told.x) == 0) {
                    return Err(format!("{node} has decided up to {through}, but did not announce [{told}]"));
                }
            }
            ModelNode::Slice(_) => {}
        }
        Ok(())
    }

    /// Writes the next frame. A client's withdrawal, or a reprobe, is not written when the balancer knows that the
    /// element has ended; then the log ends before it.
    fn write(&self, state: &mut State) {
        let x = self.end(state).next();
        let balancer = state.machines[ModelNode::Balancer.index()].expect("it does not crash");
        let open = self.machines.facts(balancer).open;
        let allowed = match &self.plan.events[self.plan.at(x)].kind {
            EventKind::Withdrawal { element, .. } | EventKind::Reprobe { element, .. } => {
                open >> self.plan.at(element.arrival()) & 1 == 1
            }
            EventKind::Arrival { .. }
            | EventKind::PoolDefined { .. }
            | EventKind::PoolClosed { .. }
            | EventKind::PoolDropped { .. } => true,
        };
        if !allowed {
            state.ended = true;
            return;
        }
        let through = self.plan.frame(x).through;
        state.written = u8::try_from(through.0 - self.plan.start.0).expect("few events");
        state.ended = through == self.plan.end();
        self.ask_balancer(state, Input::Write);
    }
}

fn shown(told: Option<Retirement>) -> String {
    told.map_or_else(|| "nothing".to_owned(), |told| format!("[{told}]"))
}

impl Model for ModelCluster {
    type State = State;
    type Action = ModelAction;

    /// All nodes have subscribed to one another, and nothing has happened yet.
    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            machines: [None; NODES],
            messages: Vec::new(),
            lengths: [0; STREAMS],
            whole: 0,
            written: 0,
            ended: false,
            searched: [0; SLICES],
            unstored: false,
            lingers: 0,
            announced: 0,
            crashes: self.faults.crashes,
            victim: None,
            duplicates: self.faults.duplicates,
            again: None,
            wrong: None,
        };
        let balancer = self.machines.begin(Begin::Balancer);
        state.machines[0] = Some(balancer.expect("a balancer begins with nothing but a pool"));
        ModelNode::mortal().for_each(|node| self.start(&mut state, node));
        for index in 0..STREAMS {
            if !matches!(self.streams[index], ModelStream::Log(_) | ModelStream::Stable(_)) {
                self.subscribe(&mut state, index);
            }
        }
        while let Some(index) = (0..STREAMS).find(|&index| state.lengths[index] > 0) {
            let message = state.pop(index);
            self.deliver(&mut state, index, message);
        }
        if !self.faults.growing {
            while !state.ended {
                self.write(&mut state);
            }
            while let Some(slice) = self.lingering(&state).next() {
                self.ask_balancer(&mut state, Input::Linger(slice));
            }
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<ModelAction>) {
        if state.wrong.is_some() {
            return;
        }
        if !state.ended {
            actions.push(ModelAction::Write);
        }
        if self.faults.lazy_store && state.unstored {
            actions.push(ModelAction::Store);
        }
        if self.faults.growing {
            actions.extend(self.lingering(state).map(ModelAction::Linger));
        }
        for index in 0..STREAMS {
            let Some(message) = state.queue(index).first() else { continue };
            let index = u8::try_from(index).expect("few streams");
            actions.push(ModelAction::Deliver(index));
            let repeats = matches!(message.kind(), Kind::Repeatable | Kind::News);
            let makes_a_difference = || !self.faults.reduced || !self.harmless(state, usize::from(index), 1);
            if state.duplicates > 0 && repeats && makes_a_difference() {
                self.reduction.note_harmful();
                actions.push(ModelAction::DeliverTwice(index));
            }
        }
        // While the reader waits for the store, what comes again waits as well.
        let held = |index: u8| {
            let first = state.queue(usize::from(index)).first();
            first.is_some_and(|first| first.kind() == Kind::Stored)
        };
        if state.again.is_some_and(|(index, _)| !held(index)) {
            actions.push(ModelAction::Again);
        }
        let up = |node: ModelNode| state.machines[node.index()].is_some();
        for node in ModelNode::mortal() {
            match (up(node), state.crashes > 0) {
                (true, true) if self.faults.reduced => {
                    if !self.crashes_later(state, node) {
                        actions.push(ModelAction::Reset(node));
                    }
                }
                (true, true) => actions.push(ModelAction::Crash(node)),
                (true, false) => {}
                (false, _) => actions.push(ModelAction::Restart(node)),
            }
        }
        if self.faults.reconnect == Reconnect::Together {
            return;
        }
        for (index, stream) in (0u8..).zip(&self.streams) {
            if !state.is_whole(usize::from(index)) && up(stream.server()) && up(stream.reader()) {
                actions.push(ModelAction::Subscribe(index));
            }
        }
    }

    fn next_state(&self, state: &State, action: ModelAction) -> Option<State> {
        let mut next = state.clone();
        let state = &mut next;
        match action {
            ModelAction::Write => self.write(state),
            ModelAction::Linger(slice) => {
                self.ask_balancer(state, Input::Linger(slice));
            }
            ModelAction::Store => {
                self.ask_balancer(state, Input::Store);
            }
            ModelAction::Deliver(index) => self.deliver_first(state, usize::from(index)),
            ModelAction::DeliverTwice(index) => {
                let message = state.pop(usize::from(index));
                state.duplicates -= 1;
                state.again = Some((index, message));
                self.deliver(state, usize::from(index), message);
            }
            ModelAction::Again => {
                let (index, message) = state.again.take()?;
                self.deliver(state, usize::from(index), message);
            }
            ModelAction::Crash(node) => {
                state.crashes -= 1;
                self.stop(state, node);
            }
            ModelAction::Restart(node) => self.restart(state, node),
            ModelAction::Reset(node) => {
                state.crashes -= 1;
                state.victim = Some(node);
                self.stop(state, node);
                self.restart(state, node);
            }
            ModelAction::Subscribe(index) => self.subscribe(state, usize::from(index)),
        }
        self.settle(state);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<ModelCluster>> {
        vec![
            Property::always("what is decided is what the oracle decides", |_, state: &State| {
                !matches!(state.wrong.as_deref(), Some(Wrong::Diverged(_)))
            }),
            Property::always("no machine refuses a message", |_, state: &State| {
                !matches!(state.wrong.as_deref(), Some(Wrong::Refused(_)))
            }),
            Property::always(
                "where nothing can happen everything is decided",
                |cluster: &ModelCluster, state: &State| !state.quiet() || cluster.complete(state),
            ),
            Property::always("then nothing is kept", |cluster: &ModelCluster, state: &State| {
                !state.quiet() || cluster.kept(state) == 0
            }),
        ]
    }

    fn format_action(&self, action: &ModelAction) -> String {
        format!("{action:?}")
    }
}
