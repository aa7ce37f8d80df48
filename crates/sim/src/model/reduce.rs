//! Which deliveries need not be delayed, and which messages need not be kept, found out from the machines themselves.
//!
//! Two deliveries to different nodes commute: each takes from the front of one stream and adds to the back of others.
//! So what can make a difference is the order in which one node reads its streams. A *claim* is about a node's state
//! and the first messages of one of its streams, the *word*. It is made with all that may be read before the word:
//! whatever was ever sent on the other streams, where the cursor lets it pass. [`Reduction::local`] gives the machine
//! both, in both orders, and the claim also rests on itself in the state behind each of these messages. So it covers
//! every delay of the word.
//!
//! | claim | what has to hold, here and further on | so |
//! |---|---|---|
//! | `Inert` | reading it changes nothing, sends nothing | it is dropped, or its repetition is left out |
//! | `Eager` | both orders: the same state, on each stream the same messages in the same order, and each message does what it does alone; it moves no watermark above what the balancer has, and no slice tells news by it | it is read at once |
//! | `EagerThroughCrash` | the same, and a machine that begins anew is served the same messages before and after, and asked for the same | the crash comes after it |
//!
//! *Why that is enough.* Take a run that reads the word later, or never, and read it first instead. Nothing else at the
//! node comes out differently, by the diamonds, one after the other; nothing elsewhere does, since the same is sent.
//! What reaches other nodes at once ([`super::cluster`]: watermarks to the balancer, stable cuts, news) is not sent by
//! it. So each state that is wrong is reached by a run that reads the word first, and by induction on the length of the
//! run by one that the checker takes. Words of several messages also claim each of their ends where it begins, since
//! others may come in between.
//!
//! *All that was ever sent* is known only in the end. Claims are made with what is known so far, and
//! [`Reduction::verify`] looks at all of them again; when one fails, it is never made again and all is explored anew.
//! In the end the messages of the reduced runs are all messages: take a run that sends another one first; up to there
//! it is as some reduced run.
//!
//! *A crash and its restart are one step.* No machine hears from a node that is down, and what is sent to it is lost as
//! well when it crashes later; so in every run the crash can be moved to just before the restart.
//!
//! This is for machines that do not begin anew: after the last crash, while every stream is whole. Should a machine
//! begin anew all the same, or read what no claim allows for, no claim is made any more, and all is explored without.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dovetail_core::{Cursor, Decided, EventId, Retirement};

use super::{
    machines::{Input, Kind, MachineId, Machines, MessageId, QuickBuilder, StepOutcome},
    script::Plan,
    wire::{ModelMessage, ModelNode, ModelStream, NODES, STREAMS},
};
use crate::net;

/// The first messages of streams, where they are a hello or what the store answered: nothing else comes before them.
pub(super) type Heads = [Option<MessageId>; STREAMS];

/// A node reads at most so many streams.
const READ_MAX: usize = 4;

/// Messages of one stream, one behind the other.
type Word = [Option<MessageId>; WORD_MAX];

/// The longest that is considered.
const WORD_MAX: usize = 4;

/// What is claimed of a message that waits for its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Claim {
    /// Whatever else is read before it, it changes nothing.
    Inert,
    /// The same, and any other node may yet crash.
    InertThroughCrash,
    /// Whatever else is read before it, reading it first comes to the same.
    Eager,
    /// The same, and the node that is named as the victim may yet crash and subscribe to the reader.
    EagerThroughCrash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    claim: Claim,
    victim: Option<ModelNode>,
    machine: MachineId,
    stream: u8,
    word: Word,
    heads: [Option<MessageId>; READ_MAX],
    /// Of a shard: the watermark that the balancer has of it.
    told: EventId,
}

#[derive(Debug, Default)]
struct Memo {
    known: HashMap<Key, bool, QuickBuilder>,
    used: HashSet<Key, QuickBuilder>,
    refuted: HashSet<Key, QuickBuilder>,
}

/// What was ever sent on each stream before a crash, and after one of a node; but not what comes once in a session.
type Sent = [[BTreeSet<MessageId>; STREAMS]; NODES];

/// What is read, of which stream, after the crash of a node or before any.
type Read = HashSet<(u64, Option<ModelNode>, MachineId, usize, MessageId), QuickBuilder>;

/// What is known of claims.
#[derive(Debug)]
pub(super) struct Reduction {
    machines: Arc<Machines>,
    plan: Arc<Plan>,
    streams: [ModelStream; STREAMS],
    memo: RwLock<Memo>,
    sent: RwLock<Arc<Sent>>,
    serial: u64,
    round: AtomicU64,
    /// Whether a node may crash after another one did: then anything that was ever sent may come.
    many: bool,
    disabled: AtomicBool,
    /// Whether a message was found that makes a difference when it comes again; then no claim is made before it has.
    harmful: AtomicBool,
    changed: AtomicBool,
}

/// What the claims rest on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verified {
    /// Claims that were used, and how many of them do not hold.
    pub(super) used: usize,
    pub(super) refuted: usize,
    /// Claims that hold, with those that they rest on.
    pub(super) hold: usize,
    /// Pairs of messages that were given to a machine in both orders.
    pub(super) diamonds: usize,
    /// Whether something happened that claims do not allow for, and that was not known before.
    pub(super) changed: bool,
}

impl Verified {
    /// Whether all that was left out was rightly left out.
    pub(super) fn holds(self) -> bool {
        self.refuted == 0 && !self.changed
    }
}

impl Reduction {
    pub(super) fn new(machines: Arc<Machines>, plan: Arc<Plan>, many: bool) -> Reduction {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Reduction {
            machines,
            plan,
            streams: ModelStream::all(),
            memo: RwLock::default(),
            sent: RwLock::default(),
            serial,
            round: AtomicU64::new(0),
            many,
            disabled: AtomicBool::new(false),
            harmful: AtomicBool::new(false),
            changed: AtomicBool::new(false),
        }
    }

    /// Something happened that claims do not allow for.
    pub(super) fn disable(&self) {
        if !self.disabled.swap(true, Ordering::Relaxed) {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// A message makes a difference when it comes again.
    pub(super) fn note_harmful(&self) {
        if !self.harmful.swap(true, Ordering::Relaxed) {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether claims can be made while a message may yet come again.
    pub(super) fn repeats_are_harmless(&self) -> bool {
        !self.harmful.load(Ordering::Relaxed)
    }

    /// Notes that a message is read: it has to be one that claims allow for.
    pub(super) fn note_read(&self, victim: Option<ModelNode>, machine: MachineId, stream: usize, message: MessageId) {
        let key = (self.serial, victim, machine, stream, message);
        if !FIT.with_borrow(|fit| fit.contains(&key)) {
            if !self.fits(victim, machine, self.streams[stream], message) {
                self.disable();
            }
            FIT.with_borrow_mut(|fit| fit.insert(key));
        }
    }

    /// Notes that a message was sent.
    pub(super) fn note(&self, victim: Option<ModelNode>, stream: usize, message: MessageId) {
        let key = (self.serial, victim, stream, message);
        if !NOTED.with_borrow_mut(|noted| noted.insert(key)) {
            return;
        }
        let mut sent = self.sent.write().expect("nobody panics with it");
        let after = victim.map_or(0, ModelNode::index);
        if !sent[after][stream].contains(&message) {
            Arc::make_mut(&mut sent)[after][stream].insert(message);
        }
    }

    /// Whether a message that was read, which brought its reader to `machine`, changes nothing when it comes again,
    /// whatever is read before that.
    pub(super) fn harmless(
        &self,
        (victim, crashes): (Option<ModelNode>, bool),
        machine: MachineId,
        stream: usize,
        message: MessageId,
        heads: &Heads,
    ) -> bool {
        let mut heads = *heads;
        // It was the first of its stream; what the store answers would be read before it comes again.
        heads[stream] = None;
        let claim = if crashes { Claim::InertThroughCrash } else { Claim::Inert };
        self.claim(self.key(claim, (victim, machine), stream, &[message], &heads, EventId::ZERO))
    }

    pub(super) fn inert(
        &self,
        victim: Option<ModelNode>,
        machine: MachineId,
        stream: usize,
        message: MessageId,
        heads: &Heads,
    ) -> bool {
        self.claim(self.key(Claim::Inert, (victim, machine), stream, &[message], heads, EventId::ZERO))
    }

    /// How many messages of a stream may as well be read now. A frame without events is read with what is before it.
    pub(super) fn eager(
        &self,
        victim: Option<ModelNode>,
        machine: MachineId,
        stream: usize,
        queue: &[MessageId],
        heads: &Heads,
        told: EventId,
    ) -> usize {
        let key = |len: usize| self.key(Claim::Eager, (victim, machine), stream, &queue[..len], heads, told);
        words(queue).find(|&len| self.claim(key(len))).unwrap_or(0)
    }

    /// How many messages of a stream may as well be read before `victim` crashes as after it.
    pub(super) fn eager_through_crash(
        &self,
        victim: ModelNode,
        machine: MachineId,
        stream: usize,
        queue: &[MessageId],
        told: EventId,
    ) -> usize {
        let (claim, on) = (Claim::EagerThroughCrash, (Some(victim), machine));
        let key = |len: usize| self.key(claim, on, stream, &queue[..len], &[None; STREAMS], told);
        words(queue).find(|&len| self.claim(key(len))).unwrap_or(0)
    }

    fn key(
        &self,
        claim: Claim,
        (victim, machine): (Option<ModelNode>, MachineId),
        stream: usize,
        messages: &[MessageId],
        heads: &Heads,
        told: EventId,
    ) -> Key {
        let mut near = [None; READ_MAX];
        let read = self.read_by(self.streams[stream].reader());
        for ((index, _), near) in read.zip(&mut near) {
            // What is read eagerly is the first of its stream itself.
            *near = match claim {
                Claim::Inert => heads[index],
                Claim::InertThroughCrash | Claim::EagerThroughCrash => None,
                Claim::Eager => heads[index].filter(|_| index != stream),
            };
        }
        let mut word = [None; WORD_MAX];
        word.iter_mut().zip(messages).for_each(|(place, &message)| *place = Some(message));
        let stream = u8::try_from(stream).expect("few streams");
        Key { claim, victim, machine, stream, word, heads: near, told }
    }

    fn read_by(&self, node: ModelNode) -> impl Iterator<Item = (usize, ModelStream)> + '_ {
        self.streams.iter().copied().enumerate().filter(move |(_, stream)| stream.reader() == node)
    }

    /// Whether a claim holds as far as is known; that it was used is noted.
    fn claim(&self, key: Key) -> bool {
        if self.disabled.load(Ordering::Relaxed) {
            return false;
        }
        let age = (self.serial, self.round.load(Ordering::Relaxed));
        let near = NEAR.with_borrow_mut(|(near_age, near)| {
            if *near_age != age {
                *near_age = age;
                near.clear();
            }
            near.get(&key).copied()
        });
        near.unwrap_or_else(|| {
            let holds = self.claim_far(key);
            NEAR.with_borrow_mut(|(_, near)| near.insert(key, holds));
            holds
        })
    }

    fn claim_far(&self, key: Key) -> bool {
        let memo = self.memo.read().expect("nobody panics with it");
        if memo.refuted.contains(&key) {
            return false;
        }
        drop(memo);
        let mut diamonds = 0;
        let holds = self.explore(key, &mut diamonds);
        if holds {
            self.memo.write().expect("nobody panics with it").used.insert(key);
        }
        holds
    }

    /// Follows a claim to those it rests on. One that is being followed already is taken to hold; [`Reduction::verify`]
    /// finds those that held only by that.
    fn explore(&self, key: Key, diamonds: &mut usize) -> bool {
        let mut memo = self.memo.write().expect("nobody panics with it");
        if let Some(&known) = memo.known.get(&key) {
            return known;
        }
        memo.known.insert(key, true);
        drop(memo);
        let mut rests_on = Vec::new();
        let holds =
            self.local(key, &mut rests_on, diamonds) && rests_on.into_iter().all(|key| self.explore(key, diamonds));
        if !holds {
            self.memo.write().expect("nobody panics with it").known.insert(key, false);
        }
        holds
    }

    /// Whether a claim holds where it is made, and what it rests on further on.
    fn local(&self, key: Key, rests_on: &mut Vec<Key>, diamonds: &mut usize) -> bool {
        let Key { claim, machine, stream, word, heads, told, .. } = key;
        let own = self.streams[usize::from(stream)];
        let read = self.read_word(machine, own, word);
        let fits = match claim {
            Claim::Inert | Claim::InertThroughCrash => nothing(&read[0], machine),
            Claim::Eager | Claim::EagerThroughCrash => {
                let local = |read: &Arc<StepOutcome>| {
                    read.wrong.is_none()
                        && !read.behind
                        && read.decided.is_none_or(|(_, through)| through <= told)
                        && read.sends.iter().all(|(_, message)| message.kind() != Kind::News)
                };
                let (last, before) = read.split_last().expect("a word is not empty");
                read.iter().all(local) && before.iter().all(|read| read.fetch.is_none()) && last.wrong.is_none()
            }
        };
        if !fits {
            return false;
        }
        if claim == Claim::EagerThroughCrash && !self.served_alike(key, &read) {
            return false;
        }
        let (eager, through_crash) = match claim {
            Claim::Inert => (false, false),
            Claim::InertThroughCrash => (false, true),
            Claim::Eager => (true, false),
            Claim::EagerThroughCrash => (true, true),
        };
        if word[1].is_some() {
            let mut rest = key;
            rest.machine = read[0].next;
            rest.word = [word[1], word[2], word[3], None];
            rests_on.push(rest);
        }
        for (near, (index, other)) in self.read_by(own.reader()).enumerate() {
            if eager && index == usize::from(stream) {
                continue;
            }
            let may_come = match heads[near] {
                Some(head) => vec![head],
                None => self.may_come(key, index),
            };
            for next in may_come {
                let then = self.machines.try_step(machine, Input::Message(other, next));
                if eager {
                    *diamonds += 1;
                    if !self.diamond((own, word, &read), (other, next, &then)) {
                        return false;
                    }
                }
                if then.wrong.is_some() {
                    continue;
                }
                if then.behind {
                    return false;
                }
                let mut heads = heads;
                let heads_near = then.fetch.map(|fetch| {
                    let stored: Vec<Retirement> = self.plan.decided(fetch.after, fetch.through).collect();
                    self.machines.intern(ModelMessage::Stored(fetch, stored.into()))
                });
                if !through_crash {
                    heads[near] = heads_near;
                }
                let further = Key { machine: then.next, heads, ..key };
                if further != key {
                    rests_on.push(further);
                }
            }
        }
        true
    }

    /// Whether a victim that begins anew is served alike before a word is read and after it: what it is told first and
    /// what it is told by the word come to the same messages. And whether the reader asks it for the same.
    fn served_alike(&self, key: Key, read: &[Arc<StepOutcome>]) -> bool {
        let victim = key.victim.expect("it is named");
        let reader = self.streams[usize::from(key.stream)].reader();
        let after = read[read.len() - 1].next;
        if read.iter().any(|read| read.sends.iter().any(|(to, _)| to.reader() == ModelNode::Balancer)) {
            return false;
        }
        let [one, other] = [key.machine, after].map(|machine| self.machines.facts(machine));
        let asks_alike = match victim {
            ModelNode::Slice(slice) => one.through[usize::from(slice)] == other.through[usize::from(slice)],
            ModelNode::Shard(shard) => one.decided[usize::from(shard)] == other.decided[usize::from(shard)],
            ModelNode::Balancer => false,
        };
        let asks_alike = asks_alike || matches!((victim, reader), (ModelNode::Slice(_), ModelNode::Slice(_)));
        let served = |stream: &&ModelStream| stream.server() == reader && stream.reader() == victim;
        asks_alike
            && self.streams.iter().filter(served).all(|&stream| {
                self.plan.cursors().all(|cursor| {
                    let [before, after] = [key.machine, after]
                        .map(|machine| self.machines.try_step(machine, Input::Subscribe(stream, cursor)));
                    let told = read.iter().flat_map(|read| &read.sends).filter(|(to, _)| *to == stream);
                    before.sends.iter().chain(told).eq(&after.sends)
                })
            })
    }

    /// The messages that may be the next of a stream.
    fn may_come(&self, key: Key, index: usize) -> Vec<MessageId> {
        let Key { claim, victim, machine, stream, .. } = key;
        let (stream, other) = (self.streams[usize::from(stream)], self.streams[index]);
        let sent = Arc::clone(&self.sent.read().expect("nobody panics with it"));
        // What was sent before a crash may come after it. Hellos, and what the store answers, only come after one of an
        // end of the stream; where it has been that is known, see `Heads`.
        let repeats = |next: &MessageId| matches!(next.kind(), Kind::Repeatable | Kind::News);
        let through_crash = matches!(claim, Claim::InertThroughCrash | Claim::EagerThroughCrash);
        let mut all = BTreeSet::new();
        for after in [None].into_iter().chain(ModelNode::mortal().map(Some)) {
            let crashes = match (claim, after) {
                (_, None) => true,
                (Claim::InertThroughCrash, Some(node)) => node != stream.server() && node != stream.reader(),
                (_, after) => after == victim,
            };
            if crashes || self.many {
                let sent = sent[after.map_or(0, ModelNode::index)][index].iter().copied();
                let as_of = if through_crash { after } else { victim };
                let fits = |next: &MessageId| self.fits(as_of, machine, other, *next);
                all.extend(sent.filter(|next| repeats(next) || through_crash && after.is_some()).filter(fits));
            }
        }
        all.into_iter().collect()
    }

    fn read_word(&self, machine: MachineId, stream: ModelStream, word: Word) -> Vec<Arc<StepOutcome>> {
        let mut at = machine;
        let read = word.iter().flatten().map(|&message| {
            let outcome = self.machines.try_step(at, Input::Message(stream, message));
            at = outcome.next;
            outcome
        });
        read.collect()
    }

    /// Whether a word and a message of another stream come to the same in both orders: the same state, the same sent on
    /// each stream, and each does what it does alone.
    fn diamond(
        &self,
        (own, word, read): (ModelStream, Word, &[Arc<StepOutcome>]),
        (other, next, then): (ModelStream, MessageId, &Arc<StepOutcome>),
    ) -> bool {
        let after_word = self.machines.try_step(read[read.len() - 1].next, Input::Message(other, next));
        if then.wrong.is_some() || after_word.wrong.is_some() {
            return then.wrong.is_some() && after_word.wrong.is_some();
        }
        let read_then = self.read_word(then.next, own, word);
        let alike = |one: &StepOutcome, other: &StepOutcome| {
            one.wrong == other.wrong
                && one.announced == other.announced
                && one.decided == other.decided
                && one.fetch == other.fetch
                && one.behind == other.behind
        };
        let of = |stream: ModelStream, one: &[Arc<StepOutcome>], other: &[Arc<StepOutcome>]| -> Vec<MessageId> {
            let sends = one.iter().chain(other).flat_map(|outcome| &outcome.sends);
            sends.filter(|&&(to, _)| to == stream).map(|&(_, message)| message).collect()
        };
        let (after, then) = (std::slice::from_ref(&after_word), std::slice::from_ref(then));
        after_word.next == read_then[read_then.len() - 1].next
            && alike(&then[0], &after_word)
            && read.iter().zip(&read_then).all(|(one, other)| alike(one, other))
            && self.streams.iter().all(|&stream| of(stream, read, after) == of(stream, then, &read_then))
    }

    /// Whether a message can be the next of a stream. What a cursor passes over is left out, and what it would refuse;
    /// and, but for a shard that began anew, what repeats decisions.
    fn fits(&self, victim: Option<ModelNode>, machine: MachineId, stream: ModelStream, message: MessageId) -> bool {
        let anew = |node| self.many || victim == Some(node);
        let facts = self.machines.facts(machine);
        let message = self.machines.message(message);
        match (stream, &*message) {
            (ModelStream::Candidates(slice, _), ModelMessage::Wire(net::Message::Candidates(frames))) => {
                let (_, frame) = &frames[0];
                let received = facts.through[usize::from(slice)];
                // One that began anew sends again what was received.
                let old = anew(stream.server()) && frame.through <= received;
                frame.after <= received && (frame.through >= received || old)
            }
            // A slice keeps what is above the stable cut, and that is never above a shard's watermark.
            (ModelStream::Candidates(_, shard), ModelMessage::Wire(net::Message::CandidatesHello(slices))) => {
                slices[0].floor <= Cursor(facts.decided[usize::from(shard)])
            }
            (ModelStream::Log(_), ModelMessage::Wire(net::Message::Log(frame))) => {
                frame.after() <= facts.received && frame.through() > facts.received
            }
            (ModelStream::Decisions(shard, reader), ModelMessage::Wire(net::Message::Decisions(frame))) => {
                let told = facts.decided[usize::from(shard)];
                // One that grants what the reader has decided without it has not yet said that it decided.
                let grant =
                    |x| matches!(reader, ModelNode::Shard(own) if x > facts.decided[usize::from(own)].min(told));
                anew(stream.server())
                    || anew(reader)
                    || frame.decided.is_some_and(|decided| decided > Decided(told))
                    || frame.retirements.iter().any(|retirement| retirement.x > told)
                    || frame.grants.iter().any(|offer| grant(offer.x))
            }
            _ => true,
        }
    }

    /// Looks at every claim that was used again, now that all messages are known.
    pub(super) fn verify(&self) -> Verified {
        let mut verified = Verified::default();
        self.round.fetch_add(1, Ordering::Relaxed);
        let used = {
            let mut memo = self.memo.write().expect("nobody panics with it");
            memo.known.clear();
            std::mem::take(&mut memo.used)
        };
        let mut rests: HashMap<Key, Vec<Key>, QuickBuilder> = HashMap::default();
        let mut fail: Vec<Key> = Vec::new();
        let mut open: Vec<Key> = used.iter().copied().collect();
        while let Some(key) = open.pop() {
            if rests.contains_key(&key) {
                continue;
            }
            let mut rests_on = Vec::new();
            if !self.local(key, &mut rests_on, &mut verified.diamonds) {
                fail.push(key);
                rests_on.clear();
            }
            open.extend(&rests_on);
            rests.insert(key, rests_on);
        }
        // What rests on a claim that fails, fails.
        let mut above: HashMap<Key, Vec<Key>, QuickBuilder> = HashMap::default();
        for (&key, rests_on) in &rests {
            rests_on.iter().for_each(|&on| above.entry(on).or_default().push(key));
        }
        let mut failed: HashSet<Key, QuickBuilder> = HashSet::default();
        while let Some(key) = fail.pop() {
            if failed.insert(key) {
                fail.extend(above.get(&key).into_iter().flatten());
            }
        }
        let mut memo = self.memo.write().expect("nobody panics with it");
        for &key in rests.keys() {
            memo.known.insert(key, !failed.contains(&key));
        }
        memo.refuted.extend(&failed);
        verified.changed = self.changed.swap(false, Ordering::Relaxed);
        verified.used = used.len();
        verified.refuted = used.iter().filter(|key| failed.contains(key)).count();
        verified.hold = rests.len() - failed.len();
        verified
    }
}

/// Lengths of what may be read as one: a frame without events is read with what is before it.
fn words(queue: &[MessageId]) -> impl Iterator<Item = usize> + '_ {
    let ends = |&len: &usize| queue.get(len).is_none_or(|next| next.kind() != Kind::News);
    (1..=queue.len().min(WORD_MAX)).filter(ends)
}

/// Nothing comes of a step.
fn nothing(outcome: &StepOutcome, machine: MachineId) -> bool {
    let told = outcome.wrong.is_none() && !outcome.behind && outcome.fetch.is_none() && outcome.decided.is_none();
    told && outcome.next == machine && outcome.sends.is_empty() && outcome.announced.is_empty()
}

/// Messages that were noted, by reduction, the node that crashed, and stream.
type Noted = HashSet<(u64, Option<ModelNode>, usize, MessageId), QuickBuilder>;
/// Claims that were looked up, and in which round of which reduction.
type Near = ((u64, u64), HashMap<Key, bool, QuickBuilder>);

thread_local! {
    /// What this thread has noted, so that threads do not contend.
    static NOTED: RefCell<Noted> = RefCell::default();
    /// What this thread has looked up in a round of one reduction.
    static NEAR: RefCell<Near> = RefCell::default();
    /// Steps that were found to fit.
    static FIT: RefCell<Read> = RefCell::default();
}
