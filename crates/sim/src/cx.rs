//! What every node is given along with what happens to it.

use dovetail_core::planted::{Bug, Planted};

use crate::{engine::SimEngine, net::Net, rng::Rng, scenario::Scenario, stats::Stats, trace::Trace, truth::Truth};

/// A run's surroundings: everything but the nodes.
#[derive(Debug)]
pub struct Cx {
    /// What the seed stands for.
    pub scenario: Scenario,
    /// The network and the clock.
    pub net: Net,
    /// What keeps the log, when balancers share it.
    pub engine: Option<SimEngine>,
    /// What should be.
    pub truth: Truth,
    /// What happened, in numbers.
    pub stats: Stats,
    /// What happened.
    pub trace: Trace,
    /// Dice for what nodes and disks are free to do.
    pub rng: Rng,
    /// A bug that is planted in every node.
    pub bug: Option<Bug>,
    /// Every message is applied twice, to see that the second time changes nothing.
    pub twice: bool,
    /// A fault should come soon: something worth disturbing has begun.
    pub provoked: bool,
    /// A matcher should start anew soon: the stable cut that it gets is about to move.
    pub provoked_cut: bool,
}

impl Cx {
    /// The planted bug as the state machines take it.
    #[must_use]
    pub fn planted(&self) -> Planted {
        self.bug.map_or(Planted::default(), Planted::bug)
    }

    /// What keeps the log that balancers share, and the network that leads there.
    ///
    /// # Panics
    /// When one is alone.
    pub fn engine(&mut self) -> (&mut SimEngine, &mut Net) {
        (self.engine.as_mut().expect("balancers share the log"), &mut self.net)
    }

    /// Notes that something has begun that faults like to disturb.
    pub fn provoke(&mut self) {
        self.provoked |= self.rng.chance(self.scenario.faults.fetch_permille);
    }
}
