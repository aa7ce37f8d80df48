//! The engine that keeps the log of several balancers: one place, as an engine with replicas that agree is, which cannot
//! be relied upon to answer.
//!
//! What balancers put may be lost, come late, or be taken without an answer; what they look up may be answered by
//! somebody who does not know the last entry; for a while nothing may be answered at all, or one balancer be cut off.
//! Entries reach those that follow in order, each late. Invariants: engine.G1 an entry is taken on its condition alone,
//! whoever puts it, and whenever it comes; engine.G2 a group is behind the entry of its term, and before that of any
//! other, as every shared log promises: what the condition is there for.

use dovetail_core::EventId;
use dovetail_log::shared::{Heard, Position};
use dovetail_node::{Term, balancer::Reign};

use crate::{
    net::{AskId, EngineAsk, EngineSaid, Entry, EntryKind, Net, NetStep, Node, Put, Time, Timer},
    rng::Rng,
    scenario::SharedPlan,
    truth::{Truth, differs},
    violation::Violation,
};

#[derive(Clone, Copy, Debug)]
struct Follower {
    incarnation: u32,
    /// When the last entry reaches it; the next may not overtake it.
    last: Time,
    /// Until then nothing passes between it and the engine.
    cut_off: Time,
}

/// The engine.
#[derive(Debug)]
pub struct SimEngine {
    plan: SharedPlan,
    rng: Rng,
    entries: Vec<Entry>,
    asked: u32,
    /// By balancer, once it follows.
    followers: Vec<Option<Follower>>,
    /// Until then nothing is answered.
    down_until: Time,
}

impl SimEngine {
    /// An empty log.
    #[must_use]
    pub fn new(plan: SharedPlan, rng: Rng) -> SimEngine {
        let followers = vec![None; plan.balancers];
        SimEngine { plan, rng, entries: Vec::new(), asked: 0, followers, down_until: 0 }
    }

    /// The newest term.
    #[must_use]
    pub fn newest(&self) -> Option<Reign> {
        newest(&self.entries)
    }

    /// A balancer follows from behind the group that ends its copy. What comes reaches this incarnation of it.
    ///
    /// # Panics
    /// When no group ends there: the copy has something that the log does not have.
    pub fn follow(&mut self, net: &mut Net, balancer: usize, through: EventId) {
        let ends_there = |entry: &Entry| match &entry.kind {
            EntryKind::Group(_, records) => records.last().is_some_and(|record| record.frame.through == through),
            EntryKind::Term(_) => false,
        };
        let next = if through == EventId::ZERO {
            0
        } else {
            1 + self.entries.iter().position(ends_there).expect("a copy is of the log, and ends with a group of it")
        };
        let cut_off = self.followers[balancer].map_or(0, |follower| follower.cut_off);
        let incarnation = net.incarnation(Node::Balancer(balancer));
        self.followers[balancer] = Some(Follower { incarnation, last: net.now(), cut_off });
        for index in next..self.entries.len() {
            self.deliver(net, balancer, index);
        }
    }

    /// Asks something, and sets a timer for when there is no answer. It may be lost, and come late.
    pub fn ask(&mut self, net: &mut Net, balancer: usize, ask: impl FnOnce(AskId) -> EngineAsk) -> AskId {
        self.asked += 1;
        let id = AskId(self.asked);
        self.send(net, balancer, ask(id));
        net.timer(Node::Balancer(balancer), self.plan.patience_ms, Timer::EngineTimeout(id));
        id
    }

    /// Says something that needs no answer.
    pub fn send(&mut self, net: &mut Net, balancer: usize, ask: EngineAsk) {
        if self.cut_off(balancer, net.now()) || self.rng.chance(self.plan.lost_permille) {
            return;
        }
        let late = matches!(ask, EngineAsk::Put(..)) && self.rng.chance(self.plan.late_permille);
        let delay = if late { self.rng.range(1, self.plan.late_ms) } else { net.delay() };
        let incarnation = net.incarnation(Node::Balancer(balancer));
        net.after(delay, NetStep::ToEngine { from: balancer, incarnation, ask });
    }

    /// Something that was asked has come.
    ///
    /// # Errors
    /// When what is taken breaks the rules of the log.
    pub fn on_ask(
        &mut self,
        net: &mut Net,
        truth: &mut Truth,
        (from, incarnation): (usize, u32),
        ask: EngineAsk,
    ) -> Result<(), Violation> {
        if net.now() < self.down_until {
            return Ok(());
        }
        let said = match ask {
            EngineAsk::Put(id, put) => EngineSaid::Heard(id, self.on_put(net, truth, put)?),
            EngineAsk::After(id, after) => {
                // Somebody who does not know the last entry.
                let known = self.entries.len() - usize::from(self.is_stale());
                let next = self.entries[..known].iter().find(|entry| entry.at > after);
                EngineSaid::Follows(id, next.cloned())
            }
            EngineAsk::NewestTerm(id) => {
                let known = self.entries.len() - usize::from(self.is_stale());
                EngineSaid::Newest(id, newest(&self.entries[..known]))
            }
            EngineAsk::Beat(beat) => {
                for to in (0..self.followers.len()).filter(|&to| to != from) {
                    let lost = self.rng.chance(self.plan.lost_permille) || self.cut_off(to, net.now());
                    let incarnation = net.incarnation(Node::Balancer(to));
                    let delay = net.delay();
                    if !lost {
                        net.after(delay, NetStep::FromEngine { to, incarnation, said: EngineSaid::Beat(beat) });
                    }
                }
                return Ok(());
            }
        };
        if !self.cut_off(from, net.now()) && !self.rng.chance(self.plan.answer_lost_permille) {
            let delay = net.delay();
            net.after(delay, NetStep::FromEngine { to: from, incarnation, said });
        }
        Ok(())
    }

    /// Nothing is answered for a while.
    pub fn go_down(&mut self, now: Time, time: Time) {
        self.down_until = now + time;
    }

    /// Nothing passes between a balancer and the engine for a while.
    pub fn cut(&mut self, balancer: usize, now: Time, time: Time) {
        if let Some(follower) = &mut self.followers[balancer] {
            follower.cut_off = now + time;
        }
    }

    fn cut_off(&self, balancer: usize, now: Time) -> bool {
        self.followers[balancer].is_some_and(|follower| now < follower.cut_off)
    }

    fn is_stale(&mut self) -> bool {
        !self.entries.is_empty() && self.rng.chance(self.plan.stale_permille)
    }

    fn last(&self) -> Position {
        self.entries.last().map_or(Position::ZERO, |entry| entry.at)
    }

    fn on_put(&mut self, net: &mut Net, truth: &mut Truth, put: Put) -> Result<Heard, Violation> {
        let newest = self.newest().map(|reign| reign.term);
        let at = Position(self.last().0 + 1);
        let kind = match put {
            Put::Group { expects, .. } if expects != self.last() => return Ok(Heard::Refused),
            Put::Term { seen, .. } if seen != newest => return Ok(Heard::Refused),
            Put::Group { term, .. } if newest != Some(term) => {
                return Err(differs(format!("the term of a group at {at}"), term.to_string(), format!("{newest:?}")));
            }
            Put::Group { term, records, .. } => {
                for record in &records {
                    truth.on_durable(&record.frame, &record.clients)?;
                }
                EntryKind::Group(term, records)
            }
            Put::Term { balancer, writer, .. } => EntryKind::Term(Reign { term: Term(at.0), balancer, writer }),
        };
        self.entries.push(Entry { at, kind });
        for balancer in 0..self.followers.len() {
            if self.followers[balancer].is_some() {
                self.deliver(net, balancer, self.entries.len() - 1);
            }
        }
        Ok(Heard::Taken(at))
    }

    fn deliver(&mut self, net: &mut Net, balancer: usize, index: usize) {
        let delay = net.delay();
        let entry = self.entries[index].clone();
        let follower = self.followers[balancer].as_mut().expect("it follows");
        let arrives = (net.now().max(follower.cut_off).max(self.down_until) + delay).max(follower.last);
        follower.last = arrives;
        let said = EngineSaid::Entry(entry);
        let incarnation = follower.incarnation;
        net.after(arrives - net.now(), NetStep::FromEngine { to: balancer, incarnation, said });
    }
}

/// The newest term of some entries.
fn newest(entries: &[Entry]) -> Option<Reign> {
    entries.iter().rev().find_map(|entry| match entry.kind {
        EntryKind::Term(reign) => Some(reign),
        EntryKind::Group(..) => None,
    })
}
