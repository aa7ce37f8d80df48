//! What goes wrong: crashes, broken streams, pauses; alone, together, and during recovery.

use crate::{
    cx::Cx,
    net::{Node, Time},
    rng::Rng,
};

/// How long after a fault others are likelier, in simulated milliseconds.
const HOT_MS: Time = 200;

/// One thing that goes wrong now. Nothing more happens to a node that is down, or paused, already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFault {
    /// A node loses its memory and stays down for a while.
    Crash {
        /// The node.
        node: Node,
        /// How long.
        down: Time,
    },
    /// A stream breaks.
    Break,
    /// A node handles nothing for a while.
    Pause {
        /// The node.
        node: Node,
        /// How long.
        time: Time,
    },
    /// The engine that keeps the shared log answers nothing for a while.
    EngineDown {
        /// How long.
        time: Time,
    },
    /// Nothing passes between a balancer and the engine for a while.
    CutOff {
        /// The balancer.
        balancer: usize,
        /// How long.
        time: Time,
    },
    /// An operator wants another balancer to write.
    Yields {
        /// The one that does not want to.
        balancer: usize,
    },
    /// All nodes stop, and the balancer's results are removed: what was decided after the checkpoint is decided again.
    LoseResults,
}

/// What may still go wrong in a run.
#[derive(Debug)]
pub struct Faults {
    rng: Rng,
    crashes: u64,
    breaks: u64,
    pauses: u64,
    /// How often the results may still be lost, and the dice for when.
    results_lost: (u64, Rng),
    /// The same of the engine.
    engine: (u64, Rng),
    hot_until: Time,
    /// What was decided to go wrong, and when.
    later: Option<(Time, SimFault)>,
}

impl Faults {
    /// The faults of a run.
    #[must_use]
    pub fn new(rng: Rng, cx: &Cx) -> Faults {
        let plan = &cx.scenario.faults;
        Faults {
            results_lost: (plan.results_lost, rng.fork(1)),
            engine: (cx.scenario.shared.map_or(0, |shared| shared.faults), rng.fork(2)),
            rng,
            crashes: plan.crashes,
            breaks: plan.breaks,
            pauses: plan.pauses,
            hot_until: 0,
            later: None,
        }
    }

    /// What goes wrong now: mostly nothing, sometimes several things.
    pub fn draw(&mut self, cx: &mut Cx) -> Vec<SimFault> {
        if let Some((_, fault)) = self.later.take_if(|(at, _)| *at <= cx.net.now()) {
            return vec![fault];
        }
        if std::mem::take(&mut cx.provoked_cut) && self.crashes > 0 && cx.scenario.faults.rate > 0 {
            self.crashes -= 1;
            let node = Node::Matcher(self.rng.index(cx.scenario.matchers));
            return vec![SimFault::Crash { node, down: 1 }];
        }
        let plan = cx.scenario.faults;
        if self.loses_results(plan.rate) {
            return vec![SimFault::LoseResults];
        }
        if let Some(fault) = self.engine_fault(plan.rate, cx.scenario.balancers()) {
            self.hot_until = cx.net.now() + HOT_MS;
            return vec![fault];
        }
        let left = self.crashes + self.breaks + self.pauses;
        if left == 0 || plan.rate == 0 {
            return Vec::new();
        }
        let rate = if cx.net.now() < self.hot_until { plan.rate * plan.hot } else { plan.rate };
        let provoked = std::mem::take(&mut cx.provoked);
        if !provoked && self.rng.below(100_000) >= rate {
            return Vec::new();
        }
        self.hot_until = cx.net.now() + HOT_MS;
        if provoked && plan.balancer && self.crashes > 0 && self.rng.chance(300) {
            self.crashes -= 1;
            return vec![SimFault::Crash { node: Node::Balancer(0), down: self.rng.range(1, plan.down_ms) }];
        }
        let strand = cx.scenario.keep.strand_permille;
        if strand > 0 && self.later.is_none() && self.crashes > 0 && self.pauses > 0 && self.rng.chance(strand) {
            return vec![self.strand(cx)];
        }
        let together = if self.rng.chance(150) { self.rng.range(2, 4) } else { 1 };
        (0..together).filter_map(|_| self.draw_one(cx)).collect()
    }

    /// What goes wrong when the cluster is idle: some nodes crash, or all of them, and a little more later.
    pub fn disturb(&mut self, cx: &mut Cx) -> Vec<SimFault> {
        let plan = cx.scenario.faults;
        self.crashes += plan.crashes.min(2);
        self.breaks += plan.breaks.min(3);
        self.hot_until = cx.net.now() + HOT_MS;
        if self.loses_results(50_000) {
            return vec![SimFault::LoseResults];
        }
        let share = self.rng.pick(&[150, 500, 1000]);
        let nodes = cx.net.nodes().filter(|&node| plan.balancer || !matches!(node, Node::Balancer(_)));
        let mut faults = Vec::new();
        for node in nodes {
            if self.rng.chance(share) {
                faults.push(SimFault::Crash { node, down: self.rng.range(1, plan.down_ms) });
            }
        }
        faults
    }

    /// Whether the results are lost now: so often, in a hundred thousand times, while they may be.
    fn loses_results(&mut self, rate: u64) -> bool {
        let (left, rng) = &mut self.results_lost;
        let loses = *left > 0 && rng.below(100_000) < rate;
        *left -= u64::from(loses);
        loses
    }

    /// Something goes wrong between the balancers and the engine, so often in a hundred thousand times.
    fn engine_fault(&mut self, rate: u64, balancers: usize) -> Option<SimFault> {
        let (left, rng) = &mut self.engine;
        if *left == 0 || rng.below(100_000) >= rate {
            return None;
        }
        *left -= 1;
        let time = rng.pick(&[300, 2_000, 15_000]);
        let balancer = rng.index(balancers);
        Some(match rng.below(4) {
            0 => SimFault::EngineDown { time },
            1 => SimFault::Yields { balancer },
            _ => SimFault::CutOff { balancer, time },
        })
    }

    /// A matcher handles nothing for long; what it found by then is decided, and later a gatherer forgets that.
    fn strand(&mut self, cx: &Cx) -> SimFault {
        self.crashes -= 1;
        self.pauses -= 1;
        let some = |rng: &mut Rng, of: fn(&Node) -> bool| {
            let nodes: Vec<Node> = cx.net.nodes().filter(of).collect();
            nodes[rng.index(nodes.len())]
        };
        let matcher = some(&mut self.rng, |node| matches!(node, Node::Matcher(_)));
        let gatherer = some(&mut self.rng, |node| matches!(node, Node::Gatherer(_)));
        let wait = self.rng.range(100, 2000);
        let down = self.rng.range(1, cx.scenario.faults.down_ms);
        self.later = Some((cx.net.now() + wait, SimFault::Crash { node: gatherer, down }));
        SimFault::Pause { node: matcher, time: wait + self.rng.range(1, 1000) }
    }

    fn draw_one(&mut self, cx: &Cx) -> Option<SimFault> {
        let plan = cx.scenario.faults;
        let kind = self.rng.below(self.crashes + self.breaks + self.pauses);
        if kind < self.crashes {
            let node = self.some_node(cx, plan.balancer);
            self.crashes -= 1;
            let down = self.rng.range(1, plan.down_ms);
            Some(SimFault::Crash { node, down })
        } else if kind < self.crashes + self.breaks {
            self.breaks -= 1;
            Some(SimFault::Break)
        } else if self.pauses > 0 {
            let node = self.some_node(cx, true);
            self.pauses -= 1;
            let time = self.rng.range(1, plan.pause_ms);
            Some(SimFault::Pause { node, time })
        } else {
            None
        }
    }

    fn some_node(&mut self, cx: &Cx, balancer: bool) -> Node {
        let nodes: Vec<Node> = cx.net.nodes().filter(|&node| balancer || !matches!(node, Node::Balancer(_))).collect();
        nodes[self.rng.index(nodes.len())]
    }
}
