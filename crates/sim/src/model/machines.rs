//! The real state machines as memoized automata.
//!
//! A machine is deterministic, so its state is a function of what it was given since it started. Machines are not
//! cloned: a state of the model names a machine's state by a number, and what a machine does with an input is computed
//! once, by building it again from a history that leads there, and then remembered. Two histories lead to the same
//! number when the canonical texts of the machines are equal ([`super::canon`]).
//!
//! That is sound if equal texts mean equal behaviour. [`Machines::audit`] tests just that: where several histories lead
//! to one number, every remembered step is taken again from the other histories, and has to come to the same.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hasher},
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{
        Arc, Once, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use dovetail_core::{
    Cursor, Decided, EventId, Placement, Retirement, ShardId, Stable,
    ledger::Status,
    planted::{Bug, Planted},
    shard::{Fetch, ShardEffect},
    slice::{Secret, SliceCut, SliceRef},
};
use dovetail_node::{
    Action, Gatherer, LinkId, Matcher, MatcherId, Step, StreamId,
    gatherer::{GathererAction, GathererEnd, GathererSettings, GathererStart},
    link::Cursors,
    matcher::{CutReader, MatcherAction, MatcherEnd, MatcherSettings},
};

use super::{
    balancer::{ModelBalancer, Shown},
    canon::canonical,
    script::Plan,
    wire::{ModelMessage, ModelNode, ModelStream, SHARDS, SLICES, shard_id, slice_id},
};
use crate::net;

/// A machine's state.
pub(super) type MachineId = u32;
/// A message: its number, and in the lowest bits what the model has to know of it at every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MessageId(u32);

/// What the model has to know of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It comes once.
    Once,
    /// It may come again.
    Repeatable,
    /// The same, and it is a frame of candidates without events.
    News,
    /// The answer of the store.
    Stored,
}

impl MessageId {
    fn new(number: usize, message: &ModelMessage) -> MessageId {
        let kind = match message {
            ModelMessage::Stored(..) => Kind::Stored,
            ModelMessage::Wire(net::Message::Candidates(frames))
                if frames.iter().all(|(_, frame)| frame.after == frame.through) =>
            {
                Kind::News
            }
            ModelMessage::Wire(wire) if wire.may_repeat() => Kind::Repeatable,
            ModelMessage::Wire(_) => Kind::Once,
        };
        MessageId(u32::try_from(number << 2).expect("fewer messages") | kind as u32)
    }

    pub(super) fn kind(self) -> Kind {
        [Kind::Once, Kind::Repeatable, Kind::News, Kind::Stored][(self.0 & 3) as usize]
    }

    fn index(self) -> usize {
        (self.0 >> 2) as usize
    }
}

/// Other histories kept for each state, for the audit.
const OTHERS_MAX: usize = 3;
/// The length of the longest list, which is the shortest allowed.
const LIST_MAX: usize = 2;

/// What a machine is given, or asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Input {
    /// A message of a stream.
    Message(ModelStream, MessageId),
    /// Someone subscribes to a stream from a cursor.
    Subscribe(ModelStream, EventId),
    /// The balancer writes the next events to the log.
    Write,
    /// A slice asks the balancer for the cut, and the log after it.
    Cut(u8),
    /// What the balancer holds back from a slice has waited long enough.
    Linger(u8),
    /// The balancer's results are on disk.
    Store,
}

impl Input {
    /// Whether it only asks.
    fn asks(self) -> bool {
        matches!(self, Input::Subscribe(..))
    }
}

/// What a machine begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Begin {
    /// The balancer, when its pool is defined and decided.
    Balancer,
    /// A slice from a cut.
    Slice(u8, u32),
    /// A shard from a cut.
    Shard(u8, EventId),
}

/// What comes of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StepOutcome {
    /// The state then.
    pub(super) next: MachineId,
    /// What is sent, in order.
    pub(super) sends: Vec<(ModelStream, MessageId)>,
    /// Retirements that a shard announced.
    pub(super) announced: Vec<Retirement>,
    /// A shard's watermark, where it moved; the balancer's, likewise.
    pub(super) decided: Option<(EventId, EventId)>,
    /// What left the balancer with it.
    pub(super) published: Vec<Retirement>,
    /// What has to be fetched before more is read from the stream.
    pub(super) fetch: Option<Fetch>,
    /// Frames that it needs are gone: it has to begin anew.
    pub(super) behind: bool,
    /// The cut that was asked for.
    pub(super) cut: u32,
    /// Of a slice: what it has searched then.
    pub(super) through: Option<EventId>,
    /// Of the balancer: whether something is published and not stored then.
    pub(super) unstored: bool,
    /// Of the balancer: from which slices something is held back for a while then, one bit each.
    pub(super) lingers: u8,
    /// Why it refuses, or panics.
    pub(super) wrong: Option<String>,
}

/// What of a machine's state the model looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// Shards' watermarks as known there; for a shard its own among them.
    pub(super) decided: [EventId; SHARDS],
    /// Slices' `through`; for a slice its own in both places.
    pub(super) through: [EventId; SLICES],
    /// Of a slice: what it has received of the log.
    pub(super) received: EventId,
    /// The balancer's stable cut.
    pub(super) stable: Stable,
    /// Up to where the balancer's results are on disk.
    pub(super) stored: EventId,
    /// The elements that the balancer would still withdraw or reprobe, one bit each, by the event of their arrival.
    pub(super) open: u32,
    /// What is still kept: candidates, undecided events, retirements, frames.
    pub(super) kept: usize,
}

enum Machine {
    Balancer(Box<ModelBalancer>),
    Matcher(Box<Matcher>),
    Gatherer(Box<Gatherer>),
}

#[derive(Clone, Copy, Debug)]
enum History {
    Begins(Begin),
    After(MachineId, Input),
}

#[derive(Debug)]
struct Known {
    facts: Facts,
    history: History,
    others: Vec<History>,
}

#[derive(Debug, Default)]
struct Memory {
    states: Vec<Known>,
    by_text: HashMap<u128, MachineId>,
    steps: HashMap<(MachineId, Input), Arc<StepOutcome>>,
    /// Steps that were only looked at, not taken in any run so far.
    tried: HashMap<(MachineId, Input), Arc<StepOutcome>>,
    begun: HashMap<Begin, Result<MachineId, String>>,
    messages: Vec<Arc<ModelMessage>>,
    message_by_text: HashMap<String, MessageId>,
    /// Each in its parts.
    cuts: Vec<Arc<[SliceCut]>>,
    cut_by_text: HashMap<String, u32>,
}

/// All machines of a model.
#[derive(Debug)]
pub(super) struct Machines {
    serial: u64,
    plan: Arc<Plan>,
    planted: Option<Bug>,
    memory: RwLock<Memory>,
}

/// What an audit found.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineAudit {
    /// Steps that were taken again from another history.
    pub steps: usize,
    /// Of these, those that came to something else. Must be 0.
    pub differ: usize,
}

impl Machines {
    pub(super) fn new(plan: Arc<Plan>, planted: Option<Bug>) -> Machines {
        silence_panics();
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Machines { serial, plan, planted, memory: RwLock::default() }
    }

    /// How many states of machines are known, and how many of their steps.
    pub(super) fn known(&self) -> (usize, usize) {
        let memory = self.memory.read().expect("nobody panics with it");
        (memory.states.len(), memory.steps.len())
    }

    pub(super) fn facts(&self, machine: MachineId) -> Facts {
        self.memory.read().expect("nobody panics with it").states[machine as usize].facts
    }

    pub(super) fn message(&self, id: MessageId) -> Arc<ModelMessage> {
        Arc::clone(&self.memory.read().expect("nobody panics with it").messages[id.index()])
    }

    /// The number of a message.
    pub(super) fn intern(&self, message: ModelMessage) -> MessageId {
        let text = format!("{message:?}");
        let mut memory = self.memory.write().expect("nobody panics with it");
        if let Some(&id) = memory.message_by_text.get(&text) {
            return id;
        }
        let id = MessageId::new(memory.messages.len(), &message);
        memory.messages.push(Arc::new(message));
        memory.message_by_text.insert(text, id);
        id
    }

    /// A machine's first state.
    pub(super) fn begin(&self, begin: Begin) -> Result<MachineId, String> {
        if let Some(known) = self.memory.read().expect("nobody panics with it").begun.get(&begin) {
            return known.clone();
        }
        let machine = caught(|| self.create(begin));
        let id = machine.map(|machine| self.number(&machine, History::Begins(begin)));
        self.memory.write().expect("nobody panics with it").begun.insert(begin, id.clone());
        id
    }

    /// What comes of giving a machine an input.
    pub(super) fn step(&self, machine: MachineId, input: Input) -> Rc<StepOutcome> {
        let key = (self.serial, machine, input);
        if let Some(known) = NEAR.with_borrow(|near| near.get(&key).map(Rc::clone)) {
            return known;
        }
        let outcome = Rc::new(StepOutcome::clone(&self.step_far(machine, input)));
        NEAR.with_borrow_mut(|near| {
            if near.keys().next().is_some_and(|&(serial, ..)| serial != self.serial) {
                near.clear();
            }
            near.insert(key, Rc::clone(&outcome));
        });
        outcome
    }

    fn step_far(&self, machine: MachineId, input: Input) -> Arc<StepOutcome> {
        if let Some(known) = self.memory.read().expect("nobody panics with it").steps.get(&(machine, input)) {
            return Arc::clone(known);
        }
        let outcome = self.try_step(machine, input);
        let mut memory = self.memory.write().expect("nobody panics with it");
        memory.tried.remove(&(machine, input));
        memory.steps.insert((machine, input), Arc::clone(&outcome));
        outcome
    }

    /// What would come of giving a machine an input, whether or not any run does.
    pub(super) fn try_step(&self, machine: MachineId, input: Input) -> Arc<StepOutcome> {
        let memory = self.memory.read().expect("nobody panics with it");
        let key = (machine, input);
        if let Some(known) = memory.steps.get(&key).or_else(|| memory.tried.get(&key)) {
            return Arc::clone(known);
        }
        let history = memory.states[machine as usize].history;
        drop(memory);
        let outcome = Arc::new(self.take(machine, history, input));
        self.memory.write().expect("nobody panics with it").tried.insert(key, Arc::clone(&outcome));
        outcome
    }

    /// Takes every known step again from every other history that is known to lead to where it begins.
    pub(super) fn audit(&self) -> MachineAudit {
        let memory = self.memory.read().expect("nobody panics with it");
        let steps: Vec<(MachineId, Input, Arc<StepOutcome>)> =
            memory.steps.iter().map(|(&(machine, input), outcome)| (machine, input, Arc::clone(outcome))).collect();
        let others: Vec<Vec<History>> = memory.states.iter().map(|known| known.others.clone()).collect();
        drop(memory);
        let mut audit = MachineAudit::default();
        for (machine, input, outcome) in steps {
            for &history in &others[machine as usize] {
                audit.steps += 1;
                audit.differ += usize::from(self.take(machine, history, input) != *outcome);
            }
        }
        audit
    }

    fn take(&self, machine: MachineId, history: History, input: Input) -> StepOutcome {
        let taken = caught(|| {
            let mut built = self.build(history);
            let mut outcome = self.give(&mut built, input);
            match &built {
                Machine::Matcher(matcher) => outcome.through = Some(only(matcher).through()),
                Machine::Balancer(balancer) => {
                    (outcome.unstored, outcome.lingers) = (balancer.unstored(), balancer.lingers());
                }
                Machine::Gatherer(_) => {}
            }
            outcome.next = if input.asks() || outcome.wrong.is_some() {
                machine
            } else {
                self.number(&built, History::After(machine, input))
            };
            Ok(outcome)
        });
        taken.unwrap_or_else(|wrong| StepOutcome { next: machine, wrong: Some(wrong), ..StepOutcome::default() })
    }

    /// Builds a machine again.
    fn build(&self, history: History) -> Machine {
        let mut inputs = Vec::new();
        let mut at = history;
        let begin = loop {
            match at {
                History::Begins(begin) => break begin,
                History::After(before, input) => {
                    inputs.push(input);
                    at = self.memory.read().expect("nobody panics with it").states[before as usize].history;
                }
            }
        };
        let mut machine = self.create(begin).expect("it was created before");
        for &input in inputs.iter().rev() {
            self.give(&mut machine, input);
        }
        machine
    }

    fn number(&self, machine: &Machine, history: History) -> MachineId {
        let text = digest(&machine.text());
        let facts = machine.facts(self.plan.start);
        let mut memory = self.memory.write().expect("nobody panics with it");
        if let Some(&id) = memory.by_text.get(&text) {
            let known = &mut memory.states[id as usize];
            if known.others.len() < OTHERS_MAX {
                known.others.push(history);
            }
            return id;
        }
        let id = MachineId::try_from(memory.states.len()).expect("fewer states");
        memory.states.push(Known { facts, history, others: Vec::new() });
        memory.by_text.insert(text, id);
        id
    }

    fn create(&self, begin: Begin) -> Result<Machine, String> {
        let planted = self.planted.map_or_else(Planted::default, Planted::bug);
        let placement = self.plan.placement.clone();
        Ok(match begin {
            Begin::Balancer => Machine::Balancer(Box::new(ModelBalancer::new(&self.plan, planted))),
            Begin::Slice(slice, cut) => {
                let cut = Arc::clone(&self.memory.read().expect("nobody panics with it").cuts[cut as usize]);
                Machine::Matcher(Box::new(matcher(placement, slice, &cut, planted)?))
            }
            Begin::Shard(shard, cut) => Machine::Gatherer(Box::new(gatherer(placement, shard, cut, planted))),
        })
    }

    fn give(&self, machine: &mut Machine, input: Input) -> StepOutcome {
        match machine {
            Machine::Balancer(balancer) => self.give_balancer(balancer, input),
            Machine::Matcher(matcher) => self.give_matcher(matcher, input),
            Machine::Gatherer(gatherer) => self.give_gatherer(gatherer, input),
        }
    }

    fn give_balancer(&self, balancer: &mut ModelBalancer, input: Input) -> StepOutcome {
        let mut outcome = StepOutcome::default();
        match self.tell_balancer(balancer, input, &mut outcome) {
            Ok(Shown { log, stable, published }) => {
                let log = log.into_iter().map(|(slice, frame)| (ModelStream::Log(slice), ModelMessage::log(frame)));
                let stable = stable.into_iter().flat_map(|stable| {
                    (0..SLICES as u8)
                        .map(move |slice| (ModelStream::Stable(slice), ModelMessage::stable(Stable(stable))))
                });
                outcome.sends = log.chain(stable).map(|(stream, message)| (stream, self.intern(message))).collect();
                if let Some((before, through, published)) = published {
                    (outcome.decided, outcome.published) = (Some((before, through)), published);
                }
            }
            Err(wrong) => outcome.wrong = Some(wrong),
        }
        outcome
    }

    fn tell_balancer(
        &self,
        balancer: &mut ModelBalancer,
        input: Input,
        outcome: &mut StepOutcome,
    ) -> Result<Shown, String> {
        match input {
            Input::Write => balancer.on_events(),
            Input::Store => balancer.on_stored(),
            Input::Linger(slice) => Ok(balancer.on_linger(slice)),
            Input::Cut(slice) => {
                let (cut, shown) = balancer.on_subscribe(slice);
                outcome.cut = self.cut(cut);
                Ok(shown)
            }
            Input::Message(ModelStream::Decisions(shard, _), message) => match &*self.message(message) {
                ModelMessage::Wire(net::Message::DecisionsHello { floor }) => {
                    balancer.on_hello(shard, *floor).map(|()| Shown::default())
                }
                ModelMessage::Wire(net::Message::Decisions(decisions)) => balancer.on_decisions(shard, decisions),
                other => unreachable!("a balancer reads no {other}"),
            },
            Input::Message(..) | Input::Subscribe(..) => unreachable!("a balancer is given no {input:?}"),
        }
    }

    /// Gives a matcher an input, and has it send at once whatever comes of it: that some of it may linger is delay,
    /// which streams have.
    fn give_matcher(&self, matcher: &mut Matcher, input: Input) -> StepOutcome {
        let mut out = Vec::new();
        let given = self.tell_matcher(matcher, input, &mut out);
        let mut outcome = StepOutcome { wrong: given.err().map(|end| end.to_string()), ..StepOutcome::default() };
        matcher.publish(&mut out);
        if out.contains(&Action::Linger) {
            matcher.on_linger(&mut out);
        }
        let streams = ModelStream::all();
        for action in out {
            match action {
                Action::Send { to, message } => {
                    let stream = streams[usize::try_from(to.0).expect("few streams")];
                    let messages = ModelMessage::of_matcher(message).into_iter();
                    outcome.sends.extend(messages.map(|message| (stream, self.intern(message))));
                }
                Action::Link { step: Step::Fetch(fetch), .. } => outcome.fetch = Some(fetch),
                // A stream that is asked for again has the number of the one before.
                Action::Link { .. } | Action::End { .. } | Action::Linger => {}
                Action::AskCut | Action::AskResultsFloor { .. } | Action::Refuse { .. } => {
                    unreachable!("the balancer does not crash, and keeps everything")
                }
            }
        }
        outcome
    }

    fn tell_matcher(
        &self,
        matcher: &mut Matcher,
        input: Input,
        out: &mut Vec<MatcherAction>,
    ) -> Result<(), MatcherEnd> {
        let (stream, message) = match input {
            Input::Subscribe(stream @ ModelStream::Candidates(slice, shard), after) => {
                subscribe(matcher, stream, (slice, after), shard, out);
                return Ok(());
            }
            Input::Message(stream, message) => (stream, self.message(message)),
            other => unreachable!("a matcher is given no {other:?}"),
        };
        match (stream, &*message) {
            (ModelStream::Log(_), ModelMessage::Wire(net::Message::Log(frame))) => matcher.on_frame(frame),
            (ModelStream::Stable(_), ModelMessage::Wire(net::Message::Stable(stable))) => {
                matcher.on_stable(*stable);
                Ok(())
            }
            (ModelStream::Decisions(shard, _), ModelMessage::Wire(net::Message::DecisionsHello { floor })) => {
                // The cursor that was asked for is the one of now.
                matcher.on_dial(LinkId::Shard(shard_id(shard)), out);
                matcher.on_decisions_hello(shard_id(shard), *floor, out);
                Ok(())
            }
            (ModelStream::Decisions(shard, _), ModelMessage::Wire(net::Message::Decisions(decisions))) => {
                matcher.on_decisions(shard_id(shard), decisions)
            }
            (ModelStream::Decisions(shard, _), ModelMessage::Stored(fetch, retirements)) => {
                matcher.on_fetched(shard_id(shard), *fetch, retirements, out)
            }
            (stream, other) => unreachable!("{stream} carries no {other}"),
        }
    }

    /// Gives a gatherer an input, and has it send at once whatever comes of it: that some of it may linger is delay,
    /// which streams have.
    fn give_gatherer(&self, gatherer: &mut Gatherer, input: Input) -> StepOutcome {
        let mut outcome = StepOutcome::default();
        let before = gatherer.shard().watermark();
        let mut out = Vec::new();
        match self.tell(gatherer, input, &mut out) {
            Err(GathererEnd::CursorTooOld { .. }) => outcome.behind = true,
            Err(end) => outcome.wrong = Some(end.to_string()),
            Ok(()) => {}
        }
        let after = gatherer.shard().watermark();
        outcome.decided = (after != before).then_some((before.event(), after.event()));
        outcome.announced.extend(gatherer.unpublished().iter().filter_map(|effect| match effect {
            ShardEffect::Retire(told) | ShardEffect::Settled(told) => Some(*told),
            ShardEffect::Grant { .. } | ShardEffect::Decided { .. } => None,
        }));
        gatherer.publish(&mut out);
        if out.contains(&Action::Linger) {
            gatherer.on_linger(&mut out);
        }
        let streams = ModelStream::all();
        for action in out {
            match action {
                Action::Send { to, message } => {
                    let stream = streams[usize::try_from(to.0).expect("few streams")];
                    outcome.sends.push((stream, self.intern(ModelMessage::of_gatherer(message))));
                }
                Action::Link { step: Step::Fetch(fetch), .. } => outcome.fetch = Some(fetch),
                // A stream that is asked for again has the number of the one before.
                Action::Link { .. } | Action::End { .. } | Action::Linger => {}
                Action::AskCut => unreachable!("nobody checks: there is one log, and it stays"),
                Action::AskResultsFloor { .. } | Action::Refuse { .. } => unreachable!("a gatherer refuses nobody"),
            }
        }
        outcome
    }

    fn tell(&self, gatherer: &mut Gatherer, input: Input, out: &mut Vec<GathererAction>) -> Result<(), GathererEnd> {
        let (stream, message) = match input {
            Input::Subscribe(stream @ ModelStream::Decisions(_, reader), after) => {
                gatherer.on_subscribe(number(stream), reader.id(), Cursor(after), out);
                return Ok(());
            }
            Input::Message(stream, message) => (stream, self.message(message)),
            other => unreachable!("a gatherer is given no {other:?}"),
        };
        let link = match stream {
            ModelStream::Candidates(slice, _) => LinkId::Matcher(MatcherId(u32::from(slice))),
            ModelStream::Decisions(peer, _) => LinkId::Shard(shard_id(peer)),
            ModelStream::Log(_) | ModelStream::Stable(_) => unreachable!("a gatherer does not read the log"),
        };
        match (link, &*message) {
            (LinkId::Matcher(matcher), ModelMessage::Wire(net::Message::CandidatesHello(slices))) => {
                // The cursor that was asked for is the one of now: what passed it meanwhile is left to the simulator.
                gatherer.on_dial(link, out);
                gatherer.on_candidates_hello(matcher, slices, out)
            }
            (LinkId::Matcher(matcher), ModelMessage::Wire(net::Message::Candidates(frames))) => {
                gatherer.on_candidates(matcher, frames)
            }
            (LinkId::Shard(peer), ModelMessage::Wire(net::Message::DecisionsHello { floor })) => {
                gatherer.on_dial(link, out);
                gatherer.on_decisions_hello(peer, *floor, out);
                Ok(())
            }
            (LinkId::Shard(peer), ModelMessage::Wire(net::Message::Decisions(decisions))) => {
                gatherer.on_decisions(peer, decisions)
            }
            (_, ModelMessage::Stored(fetch, retirements)) => gatherer.on_fetched(link, *fetch, retirements, out),
            (link, other) => unreachable!("{link:?} carries no {other}"),
        }
    }

    fn cut(&self, cut: Vec<SliceCut>) -> u32 {
        let text = format!("{cut:?}");
        let mut memory = self.memory.write().expect("nobody panics with it");
        if let Some(&id) = memory.cut_by_text.get(&text) {
            return id;
        }
        let id = u32::try_from(memory.cuts.len()).expect("few cuts");
        memory.cuts.push(cut.into());
        memory.cut_by_text.insert(text, id);
        id
    }
}

/// A gatherer from a cut. All that may read it do, whether or not their streams are whole: what is sent on others goes
/// nowhere.
fn gatherer(placement: Placement, shard: u8, cut: EventId, planted: Planted) -> Gatherer {
    let list_max = u32::try_from(LIST_MAX).expect("short lists");
    let matchers = (0..SLICES as u8).map(|slice| vec![slice_id(slice)]).collect();
    let settings = GathererSettings { placement, id: shard_id(shard), list_max, matchers };
    let start = GathererStart { log_id: String::new(), cut: Stable(cut), results_floor: EventId::ZERO };
    let mut gatherer = Gatherer::new(settings, start);
    gatherer.plant(planted);
    let mut out = Vec::new();
    for stream in ModelStream::all().into_iter().filter(|stream| stream.server() == ModelNode::Shard(shard)) {
        gatherer.on_subscribe(number(stream), stream.reader().id(), Cursor(cut), &mut out);
    }
    gatherer
}

/// A matcher of one slice from a cut. All that may read it do, whether or not their streams are whole: what is sent on
/// others goes nowhere.
fn matcher(placement: Placement, slice: u8, cut: &[SliceCut], planted: Planted) -> Result<Matcher, String> {
    let list_max = u32::try_from(LIST_MAX).expect("short lists");
    let settings = MatcherSettings { placement, slices: vec![slice_id(slice)], list_max, secret: Secret([0, 0]) };
    let through = cut[0].through;
    let mut reader = CutReader::new(String::new(), through);
    reader.plant(planted);
    cut.iter().try_for_each(|part| reader.on_part(part.clone())).map_err(|error| error.to_string())?;
    let start = reader.finish().map_err(|error| error.to_string())?;
    let mut matcher = Matcher::new(settings, start).map_err(|end| end.to_string())?;
    matcher.plant(planted);
    // With two elements there is nothing to find out about lists.
    matcher.tune(|slices| slices.set_complete_view_max(0));
    for shard in 0..SHARDS as u8 {
        subscribe(&mut matcher, ModelStream::Candidates(slice, shard), (slice, through), shard, &mut Vec::new());
    }
    Ok(matcher)
}

/// A matcher's slice.
fn only(matcher: &Matcher) -> SliceRef<'_> {
    matcher.slices().next().expect("a matcher has one")
}

/// A shard subscribes to the candidates of a matcher's slice.
fn subscribe(
    matcher: &mut Matcher,
    stream: ModelStream,
    (slice, after): (u8, EventId),
    shard: u8,
    out: &mut Vec<MatcherAction>,
) {
    let cursors = Cursors::new(vec![(slice_id(slice), Cursor(after))]);
    matcher.on_subscribe(number(stream), shard_id(shard), cursors, Decided::ZERO, out);
}

/// A stream as the machines number it.
fn number(stream: ModelStream) -> StreamId {
    StreamId(stream.index() as u64)
}

impl Machine {
    fn text(&self) -> String {
        match self {
            Machine::Balancer(balancer) => canonical(&format!("{balancer:?}")),
            Machine::Matcher(matcher) => {
                let mut anchors: Vec<u64> = only(matcher).anchors().map(|anchor| anchor.0).collect();
                anchors.sort_unstable();
                format!("{} anchors {anchors:?}", canonical(&format!("{matcher:?}")))
            }
            Machine::Gatherer(gatherer) => canonical(&format!("{gatherer:?}")),
        }
    }

    fn facts(&self, start: EventId) -> Facts {
        let shards = [ShardId(0), ShardId(1)];
        match self {
            Machine::Balancer(balancer) => {
                let ledger = balancer.ledger();
                let open = |&bit: &u32| {
                    let element = dovetail_core::ElementId(start.0 + 1 + u64::from(bit));
                    matches!(ledger.status(element), Status::Waiting(entry) if entry.closing.is_none())
                };
                Facts {
                    decided: shards.map(|shard| ledger.progress(shard).event()),
                    stable: ledger.stable(),
                    stored: balancer.stored(),
                    open: (0..16).filter(open).map(|bit| 1 << bit).sum(),
                    ..Facts::default()
                }
            }
            Machine::Matcher(matcher) => {
                let slice = only(matcher);
                Facts {
                    decided: shards.map(|shard| slice.decided(shard).event()),
                    through: [slice.through(); SLICES],
                    received: slice.received(),
                    kept: slice.frames_kept(),
                    ..Facts::default()
                }
            }
            Machine::Gatherer(gatherer) => {
                let shard = gatherer.shard();
                Facts {
                    decided: shards.map(|peer| shard.decided(peer).event()),
                    through: [0, 1].map(|slice| shard.through(slice_id(slice))),
                    kept: shard.timelines() + shard.undecided() + shard.retirements_kept(),
                    ..Facts::default()
                }
            }
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// Two independent hashes of a text.
fn digest(text: &str) -> u128 {
    let [low, high] = [0u8, 1].map(|which| {
        let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
        hasher.hash_one((which, text))
    });
    u128::from(high) << 64 | u128::from(low)
}

/// A hasher for small keys of our own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

pub(super) type QuickBuilder = std::hash::BuildHasherDefault<Quick>;

type Near = HashMap<(u64, MachineId, Input), Rc<StepOutcome>, QuickBuilder>;

thread_local! {
    /// What this thread has looked up, so that threads do not contend.
    static NEAR: RefCell<Near> = RefCell::default();
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Panics of machines are reported as findings; they print nothing.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CAUGHT.get() {
                told(info);
            }
        }));
    });
}

fn caught<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    CAUGHT.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    CAUGHT.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("no message")))
    })
}
