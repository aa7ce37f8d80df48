//! Draws a round's faults.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use dovetail_sim::rng::Rng;

use super::{ChaosFault, Planned, Trouble};
use crate::shape::{ClusterNode, ClusterShape, DialledLink};

/// Longer than any time after which a silent connection is given up: the servers' 20 s and 20 s.
const LONGER_THAN_TIMEOUTS_MS: u64 = 42_000;

/// Mean gap between two faults.
const GAP_MS: u64 = 1_500;

/// Faults begin after this, and end this much before the round does.
const MARGIN_MS: u64 = 500;

/// What a round is like. Everything waits while one node cannot be reached, so most rounds leave it room to get
/// something done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Faults that are over soon.
    Mild,
    /// Any.
    Harsh,
    /// Any, and long enough to freeze a node for longer than every timeout.
    Long,
}

impl Weather {
    fn of(seed: u64, round: u64) -> (Weather, Rng) {
        let mut rng = Rng::new(seed).fork(!round);
        let weather = match rng.below(10) {
            0..6 => Weather::Mild,
            6..9 => Weather::Harsh,
            _ => Weather::Long,
        };
        (weather, rng)
    }
}

/// Draws the faults of a round of `length`.
pub fn draw(seed: u64, round: u64, shape: ClusterShape, length: Duration) -> Vec<Planned> {
    let mut drawing = Drawing {
        weather: Weather::of(seed, round).0,
        rng: Rng::new(seed).fork(round),
        nodes: shape.nodes().into_iter().map(|node| (node, 0)).collect(),
        links: shape.links().into_iter().map(|link| (link, 0)).collect(),
        end_ms: (length.as_millis() as u64).saturating_sub(MARGIN_MS),
    };
    let mut plan = Vec::new();
    let mut at_ms = MARGIN_MS + drawing.gap();
    while at_ms < drawing.end_ms {
        plan.extend(drawing.fault(at_ms));
        at_ms += drawing.gap();
    }
    plan
}

/// How long the next round is.
pub fn length(seed: u64, round: u64, left: Duration) -> Duration {
    let (weather, mut rng) = Weather::of(seed, round);
    let drawn = match weather {
        Weather::Mild | Weather::Harsh => rng.range(8_000, 25_000),
        Weather::Long => rng.range(LONGER_THAN_TIMEOUTS_MS + 3_000, LONGER_THAN_TIMEOUTS_MS + 15_000),
    };
    left.min(Duration::from_millis(drawn))
}

struct Drawing {
    weather: Weather,
    rng: Rng,
    /// Until when each has a fault.
    nodes: BTreeMap<ClusterNode, u64>,
    links: BTreeMap<DialledLink, u64>,
    end_ms: u64,
}

impl Drawing {
    /// Exponential, at most ten times the mean.
    fn gap(&mut self) -> u64 {
        let even = (self.rng.below(1 << 20) + 1) as f64 / f64::from(1 << 20);
        ((-even.ln() * GAP_MS as f64) as u64).min(10 * GAP_MS)
    }

    fn fault(&mut self, at_ms: u64) -> Option<Planned> {
        let free: Vec<ClusterNode> =
            self.nodes.iter().filter(|(_, until)| **until <= at_ms).map(|(node, _)| *node).collect();
        let (fault, lasts_ms) = match self.rng.below(100) {
            0..38 => (ChaosFault::Kill(self.victims(&free)?), self.pause_ms()),
            38..52 => (ChaosFault::Freeze(self.one(&free)?), self.freeze_ms()),
            52..60 => (ChaosFault::Restart(self.one(&free)?), self.rng.range(0, 1_500)),
            _ => (ChaosFault::Network(self.bad_links(at_ms)?, Trouble::draw(&mut self.rng)), self.trouble_ms()),
        };
        let until_ms = (at_ms + lasts_ms).min(self.end_ms);
        if let ChaosFault::Network(links, _) = &fault {
            self.links.extend(links.iter().map(|link| (*link, until_ms)));
        }
        // One that is told to stop takes a while to drain.
        let busy_until_ms = if matches!(fault, ChaosFault::Restart(_)) { until_ms + 3_000 } else { until_ms };
        self.nodes.extend(fault.nodes().iter().map(|node| (*node, busy_until_ms)));
        Some(Planned { at_ms, until_ms, fault })
    }

    /// One of the free ones; the balancer about as often as all matchers together.
    fn one(&mut self, free: &[ClusterNode]) -> Option<ClusterNode> {
        let role = self.rng.below(3);
        let of_role = |node: &&ClusterNode| match node {
            ClusterNode::Balancer => role == 0,
            ClusterNode::Matcher(_) => role == 1,
            ClusterNode::Gatherer(_) => role == 2,
        };
        let of_role: Vec<ClusterNode> = free.iter().filter(of_role).copied().collect();
        (!of_role.is_empty()).then(|| self.rng.pick(&of_role))
    }

    fn victims(&mut self, free: &[ClusterNode]) -> Option<Vec<ClusterNode>> {
        match self.rng.below(100) {
            0..75 => self.one(free).map(|node| vec![node]),
            75..92 => {
                let mut left = free.to_vec();
                let count = self.rng.range(2, 4).min(left.len() as u64);
                let mut victims: Vec<ClusterNode> =
                    (0..count).map(|_| left.swap_remove(self.rng.index(left.len()))).collect();
                victims.sort();
                (!victims.is_empty()).then_some(victims)
            }
            _ => (free.len() == self.nodes.len()).then(|| free.to_vec()),
        }
    }

    fn bad_links(&mut self, at_ms: u64) -> Option<Vec<DialledLink>> {
        let free: Vec<DialledLink> =
            self.links.iter().filter(|(_, until)| **until <= at_ms).map(|(link, _)| *link).collect();
        let first = if free.is_empty() { return None } else { self.rng.pick(&free) };
        Some(match self.rng.below(100) {
            0..65 => vec![first],
            // One node is cut off from all others.
            65..85 => free.into_iter().filter(|link| link.touches(first.to)).collect(),
            // All nodes are cut off from one another.
            85..88 => free,
            _ => (0..self.rng.range(2, 6)).map(|_| self.rng.pick(&free)).collect::<BTreeSet<_>>().into_iter().collect(),
        })
    }

    fn pause_ms(&mut self) -> u64 {
        match self.rng.below(10) {
            0..5 => self.rng.range(0, 50),
            _ if self.weather == Weather::Mild => self.rng.range(50, 500),
            _ => self.rng.range(50, 4_000),
        }
    }

    fn freeze_ms(&mut self) -> u64 {
        match self.rng.below(10) {
            _ if self.weather == Weather::Mild => self.rng.range(10, 1_000),
            0..6 => self.rng.range(10, 1_500),
            6..8 => self.rng.range(1_500, 17_000),
            _ => self.rng.range(LONGER_THAN_TIMEOUTS_MS, LONGER_THAN_TIMEOUTS_MS + 3_000),
        }
    }

    fn trouble_ms(&mut self) -> u64 {
        match self.rng.below(10) {
            _ if self.weather == Weather::Mild => self.rng.range(0, 1_000),
            0..4 => self.rng.range(0, 500),
            4..8 => self.rng.range(500, 6_000),
            _ => self.rng.range(6_000, 20_000),
        }
    }
}

impl Trouble {
    fn draw(rng: &mut Rng) -> Trouble {
        match rng.below(100) {
            0..30 => Trouble::Cut,
            30..45 => Trouble::Delay { ms: rng.range(1, 400) },
            45..60 => Trouble::Throttle { bytes_per_s: rng.range(1_000, 100_000) },
            60..72 => Trouble::Silent,
            72..80 => Trouble::SilentThenCut,
            80..90 => Trouble::OneWayTo,
            _ => Trouble::OneWayFrom,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN: ClusterShape = ClusterShape { slices: 6, matchers: 3, gatherers: 3 };
    const LENGTH: Duration = Duration::from_secs(60);

    #[test]
    fn the_same_seed_and_round_plan_the_same_faults() {
        let plan = |seed, round| {
            draw(seed, round, SEVEN, LENGTH).iter().map(|planned| format!("{planned}\n")).collect::<String>()
        };
        assert_eq!(plan(1, 1), plan(1, 1));
        assert_ne!(plan(1, 1), plan(1, 2));
        assert_ne!(plan(1, 1), plan(2, 1));
    }

    #[test]
    fn every_kind_of_fault_is_drawn_and_all_are_over_when_the_round_is() {
        let mut kinds = BTreeMap::new();
        for seed in 0..50 {
            for planned in draw(seed, seed % 3, SEVEN, LENGTH) {
                assert!(planned.at_ms <= planned.until_ms && planned.until_ms < 60_000, "{planned}");
                *kinds.entry(planned.fault.kind()).or_insert(0) += 1;
            }
        }
        assert_eq!(kinds.len(), 11, "{kinds:?}");
    }

    #[test]
    fn no_node_has_two_faults_at_a_time() {
        for seed in 0..50 {
            let mut busy = BTreeMap::new();
            for planned in draw(seed, 0, SEVEN, LENGTH) {
                for &node in planned.fault.nodes() {
                    let before = busy.insert(node, planned.until_ms);
                    assert!(before.is_none_or(|until| until <= planned.at_ms), "{node} in {planned}");
                }
            }
        }
    }
}
