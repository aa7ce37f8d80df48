//! Which deliveries need not be delayed, and which messages need not be kept, found out from the machines themselves.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, RwLock},
};

use dovetail_core::{EventId, Retirement};

use super::{
    machines::{Input, Kind, MachineId, Machines, MessageId, Outcome},
    script::Plan,
    wire::{Message, Node, STREAMS, Stream},
};
use crate::net;

/// The first messages of streams, where they are a hello or what the store answered: nothing else comes before them.
pub(super) type Heads = [Option<MessageId>; STREAMS];

/// A node reads at most so many streams.
const READ_MAX: usize = 4;

/// What is claimed of a message that waits for its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Claim {
    /// Whatever else is read before it, it changes nothing.
    Inert,
    /// Whatever else is read before it, reading it first comes to the same.
    Eager,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    claim: Claim,
    machine: MachineId,
    stream: u8,
    message: MessageId,
    heads: [Option<MessageId>; READ_MAX],
    /// Of a shard: the watermark that the balancer has of it.
    told: EventId,
}

#[derive(Debug, Default)]
struct Memo {
    known: HashMap<Key, bool>,
    used: HashSet<Key>,
    refuted: HashSet<Key>,
    sent: Arc<[Vec<MessageId>; STREAMS]>,
    sent_count: usize,
}

/// What is known of claims.
#[derive(Debug)]
pub(super) struct Reduction {
    machines: Arc<Machines>,
    plan: Arc<Plan>,
    streams: [Stream; STREAMS],
    memo: RwLock<Memo>,
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
}

impl Reduction {
    pub(super) fn new(machines: Arc<Machines>, plan: Arc<Plan>) -> Reduction {
        Reduction { machines, plan, streams: Stream::all(), memo: RwLock::default() }
    }

    pub(super) fn inert(&self, machine: MachineId, stream: usize, message: MessageId, heads: &Heads) -> bool {
        self.claim(self.key(Claim::Inert, machine, stream, message, heads, EventId::ZERO))
    }

    pub(super) fn eager(
        &self,
        machine: MachineId,
        stream: usize,
        queue: &[MessageId],
        heads: &Heads,
        told: EventId,
    ) -> bool {
        let key = self.key(Claim::Eager, machine, stream, queue[0], heads, told);
        if !self.claim(key) {
            return false;
        }
        // Frames without events behind it are read with it.
        let mut next = self.machines.try_step(machine, Input::Message(self.streams[stream], queue[0])).next;
        for &message in queue[1..].iter().take_while(|message| message.kind() == Kind::News) {
            let mut behind = key;
            (behind.machine, behind.message) = (next, message);
            if !self.claim(behind) {
                return false;
            }
            next = self.machines.try_step(next, Input::Message(self.streams[stream], message)).next;
        }
        true
    }

    fn key(
        &self,
        claim: Claim,
        machine: MachineId,
        stream: usize,
        message: MessageId,
        heads: &Heads,
        told: EventId,
    ) -> Key {
        let mut near = [None; READ_MAX];
        let read = self.read_by(self.streams[stream].reader());
        read.zip(&mut near).for_each(|((index, _), near)| *near = heads[index]);
        // Of the stream itself only what comes before the message matters.
        let stream = u8::try_from(stream).expect("few streams");
        Key { claim, machine, stream, message, heads: near, told }
    }

    fn read_by(&self, node: Node) -> impl Iterator<Item = (usize, Stream)> + '_ {
        self.streams.iter().copied().enumerate().filter(move |(_, stream)| stream.reader() == node)
    }

    /// Whether a claim holds as far as is known; that it was used is noted.
    fn claim(&self, key: Key) -> bool {
        let memo = self.memo.read().expect("nobody panics with it");
        if memo.refuted.contains(&key) {
            return false;
        }
        match memo.known.get(&key) {
            Some(false) => return false,
            Some(true) if memo.used.contains(&key) => return true,
            _ => {}
        }
        drop(memo);
        let mut diamonds = 0;
        let holds = self.explore(key, &mut diamonds);
        if holds {
            self.memo.write().expect("nobody panics with it").used.insert(key);
        }
        holds
    }

    /// Follows a claim to those it rests on. One that is being followed already is taken to hold; [`Reduction::verify`] finds
    /// those that held only by that.
    fn explore(&self, key: Key, diamonds: &mut usize) -> bool {
        let mut memo = self.memo.write().expect("nobody panics with it");
        if let Some(&known) = memo.known.get(&key) {
            return known;
        }
        memo.known.insert(key, true);
        drop(memo);
        let mut rests_on = Vec::new();
        let holds = self.local(key, &mut rests_on, diamonds)
            && rests_on.into_iter().all(|key| self.explore(key, diamonds));
        if !holds {
            self.memo.write().expect("nobody panics with it").known.insert(key, false);
        }
        holds
    }

    /// Whether a claim holds where it is made, and what it rests on further on.
    fn local(&self, key: Key, rests_on: &mut Vec<Key>, diamonds: &mut usize) -> bool {
        let Key { claim, machine, stream, message, heads, told } = key;
        let own = self.streams[usize::from(stream)];
        let first = self.machines.try_step(machine, Input::Message(own, message));
        let fits = match claim {
            Claim::Inert => nothing(&first, machine),
            Claim::Eager => {
                first.wrong.is_none()
                    && !first.behind
                    && first.decided.is_none_or(|(_, through)| through <= told)
                    && first.sends.iter().all(|(_, message)| message.kind() != Kind::News)
            }
        };
        if !fits {
            return false;
        }
        let sent = self.sent();
        for (near, (index, other)) in self.read_by(own.reader()).enumerate() {
            if claim == Claim::Eager && index == usize::from(stream) {
                continue;
            }
            let head = heads[near];
            let may_come: &[MessageId] = match &head {
                Some(head) => std::slice::from_ref(head),
                None => &sent[index],
            };
            for &next in may_come {
                if head.is_none() && !self.fits(machine, other, next) {
                    continue;
                }
                let then = self.machines.try_step(machine, Input::Message(other, next));
                if claim == Claim::Eager {
                    *diamonds += 1;
                    if !self.diamond((machine, own, message, &first), (other, next, &then)) {
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
                heads[near] = then.fetch.map(|fetch| {
                    let stored: Vec<Retirement> = self.plan.decided(fetch.after, fetch.through).collect();
                    self.machines.intern(Message::Stored(fetch, stored.into()))
                });
                let further = Key { machine: then.next, heads, ..key };
                if further != key {
                    rests_on.push(further);
                }
            }
        }
        true
    }

    /// Whether two messages of different streams come to the same in both orders: the same state, the same sent on each stream,
    /// and each does what it does alone.
    fn diamond(
        &self,
        (machine, own, message, first): (MachineId, Stream, MessageId, &Outcome),
        (other, next, then): (Stream, MessageId, &Outcome),
    ) -> bool {
        let after_first = self.machines.try_step(first.next, Input::Message(other, next));
        if then.wrong.is_some() || after_first.wrong.is_some() {
            return then.wrong.is_some() && after_first.wrong.is_some();
        }
        let after_then = self.machines.try_step(then.next, Input::Message(own, message));
        let alike = |one: &Outcome, other: &Outcome| {
            one.wrong == other.wrong
                && one.announced == other.announced
                && one.decided == other.decided
                && one.fetch == other.fetch
                && one.behind == other.behind
        };
        let _ = machine;
        after_first.next == after_then.next
            && alike(first, &after_then)
            && alike(then, &after_first)
            && self.streams.iter().all(|stream| {
                let of = |outcome: &Outcome| -> Vec<MessageId> {
                    outcome.sends.iter().filter(|(to, _)| to == stream).map(|&(_, message)| message).collect()
                };
                [of(first), of(&after_first)].concat() == [of(then), of(&after_then)].concat()
            })
    }

    /// Whether a message can be the next of a stream. What a cursor passes over is left out, and what it would refuse.
    fn fits(&self, machine: MachineId, stream: Stream, message: MessageId) -> bool {
        let facts = self.machines.facts(machine);
        let message = self.machines.message(message);
        match (stream, &*message) {
            (Stream::Candidates(slice, _), Message::Wire(net::Message::Candidates(frame))) => {
                let received = facts.through[usize::from(slice)];
                frame.after <= received && frame.through >= received
            }
            (Stream::Log(_), Message::Wire(net::Message::Log(frame))) => {
                frame.after <= facts.received && frame.through > facts.received
            }
            _ => true,
        }
    }

    fn sent(&self) -> Arc<[Vec<MessageId>; STREAMS]> {
        let count = self.machines.sent_count();
        let memo = self.memo.read().expect("nobody panics with it");
        if memo.sent_count == count {
            return Arc::clone(&memo.sent);
        }
        drop(memo);
        let sent = Arc::new(self.machines.sent());
        let mut memo = self.memo.write().expect("nobody panics with it");
        memo.sent = Arc::clone(&sent);
        memo.sent_count = sent.iter().map(Vec::len).sum();
        sent
    }

    /// Looks at every claim that was used again, now that all messages are known.
    pub(super) fn verify(&self) -> Verified {
        let mut verified = Verified::default();
        let used = {
            let mut memo = self.memo.write().expect("nobody panics with it");
            memo.known.clear();
            std::mem::take(&mut memo.used)
        };
        let mut rests: HashMap<Key, Vec<Key>> = HashMap::new();
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
        let mut above: HashMap<Key, Vec<Key>> = HashMap::new();
        for (&key, rests_on) in &rests {
            rests_on.iter().for_each(|&on| above.entry(on).or_default().push(key));
        }
        let mut failed: HashSet<Key> = HashSet::new();
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
        verified.used = used.len();
        verified.refuted = used.iter().filter(|key| failed.contains(key)).count();
        verified.hold = rests.len() - failed.len();
        verified
    }
}

/// Nothing comes of a step.
fn nothing(outcome: &Outcome, machine: MachineId) -> bool {
    let told = outcome.wrong.is_none() && !outcome.behind && outcome.fetch.is_none() && outcome.decided.is_none();
    told && outcome.next == machine && outcome.sends.is_empty() && outcome.announced.is_empty()
}
