//! What clients do: submit, submit again, withdraw, define pools.

use bytes::Bytes;
use dovetail_core::{ElementId, EventId, ledger::Submission};

use crate::{
    cx::Cx,
    net::{NetStep, Node},
    nodes::{BalancerNode, Submitted},
    pools::draw_attributes,
    rng::Rng,
    violation::Violation,
};

/// All clients.
#[derive(Debug)]
pub struct Clients {
    rng: Rng,
    /// Which stream the next submission goes into.
    streams: Rng,
    /// Which pools are dropped, and when.
    drops: Rng,
    /// Submissions so far.
    submitted: u64,
    left: u64,
    /// Submissions that can be made again: those with an idempotency key.
    made: Vec<(String, Submission)>,
}

impl Clients {
    /// Clients that have done nothing yet.
    #[must_use]
    pub fn new(rng: Rng, actions: u64) -> Clients {
        Clients { streams: rng.fork(1), drops: rng.fork(2), submitted: 0, rng, left: actions, made: Vec::new() }
    }

    /// Does something, and says when to do the next thing.
    ///
    /// # Errors
    /// When a balancer has forgotten what it had acknowledged.
    pub fn act(&mut self, cx: &mut Cx, balancers: &mut [BalancerNode]) -> Result<(), Violation> {
        // Clients find any that writes, also one that does not know that another does.
        let up = |index: usize| cx.net.up(Node::Balancer(index)) && !cx.net.paused(Node::Balancer(index));
        let found: Vec<usize> = (0..balancers.len()).filter(|&at| up(at) && balancers[at].is_active()).collect();
        let found = match found[..] {
            [] => {
                cx.net.after(20, NetStep::Client);
                return Ok(());
            }
            [only] => only,
            _ => found[cx.rng.index(found.len())],
        };
        let balancer = &mut balancers[found];
        if !balancer.may_write() {
            cx.stats.refused_full += 1;
            cx.net.after(20, NetStep::Client);
            return Ok(());
        }
        self.left -= 1;
        let work = &cx.scenario.work;
        let (all, pools) = (work.actions, work.pools.len() as u64);
        // The first pool before anything else, the others in mid-stream; all again now and then, which changes nothing.
        let defined = (all.saturating_sub(self.left) * pools / all + 1).min(pools);
        for number in 0..defined {
            let mut definition = cx.scenario.work.pools[usize::try_from(number).expect("few pools")].definition.clone();
            // One that was dropped comes again with another rule, which is split in another way.
            let others = ["a.role == b.role", "abs(a.skill - b.skill) <= 5", "true"];
            let next = balancer.ledger().map_or(0, |ledger| ledger.next_pool().0 as usize);
            if let Some(again) = next.checked_sub(cx.scenario.work.pools.len()) {
                definition.rule = others[again % others.len()].to_owned();
            }
            balancer.define(cx, &definition);
        }
        if cx.scenario.work.drop_permille > 0 && self.drops.chance(cx.scenario.work.drop_permille) {
            let number = usize::try_from(self.drops.below(defined)).expect("few pools");
            let name = cx.scenario.work.pools[number].definition.name.clone();
            balancer.drop_pool(cx, &name);
        }
        if self.rng.chance(cx.scenario.work.withdraw_permille) {
            let element = ElementId(self.rng.range(1, balancer.assigned().0.max(1)));
            balancer.withdraw(cx, element);
        } else {
            self.submit(cx, balancer, defined)?;
        }
        if self.left > 0 {
            let burst = self.rng.chance(cx.scenario.work.burst_permille);
            let gap = if burst { 0 } else { self.rng.range(1, cx.scenario.work.gap_ms) };
            cx.net.after(gap, NetStep::Client);
        }
        Ok(())
    }

    /// Adds a few actions when all were done.
    pub fn do_more(&mut self, cx: &mut Cx) {
        self.left = self.rng.below(8);
        if self.left > 0 {
            let gap = self.rng.range(1, 500);
            cx.net.after(gap, NetStep::Client);
        }
    }

    fn submit(&mut self, cx: &mut Cx, balancer: &mut BalancerNode, defined: u64) -> Result<(), Violation> {
        let again = !self.made.is_empty() && self.rng.chance(cx.scenario.work.retry_permille);
        let (pool, submission) = if again {
            self.made[self.rng.index(self.made.len())].clone()
        } else {
            self.draw_submission(cx, balancer.assigned(), defined)
        };
        if !submission.idempotency_key.is_empty() && !again {
            self.made.push((pool.clone(), submission.clone()));
        }
        let stream = self.streams.below(cx.scenario.streams.0);
        self.submitted += 1;
        balancer.submit(cx, stream, Submitted { number: self.submitted, pool, submission, asked: None })
    }

    fn draw_submission(&mut self, cx: &Cx, assigned: EventId, defined: u64) -> (String, Submission) {
        let work = &cx.scenario.work;
        let rng = &mut self.rng;
        let plan = &work.pools[usize::try_from(rng.below(defined)).expect("few pools")];
        let number = self.made.len() as u64 + assigned.0;
        let ttl_ms = rng.chance(work.ttl_permille).then(|| rng.range(1, 400));
        let submission = Submission {
            key: format!("key{}", rng.below(work.keys)),
            attributes: draw_attributes(plan, rng),
            payload: Bytes::from(vec![b'p'; rng.index(3)]),
            ttl_ms,
            idempotency_key: if rng.chance(work.keyed_permille) {
                format!("{number}-{}", rng.bits())
            } else {
                String::new()
            },
        };
        (plan.definition.name.clone(), submission)
    }
}
