//! Seeds that once found a bug in the protocol's state machines. Each must stay clean.
//!
//! A change of the scenario, of the faults or of the network gives every seed another meaning. Such a change needs new
//! seeds: bring the bug back, search, and write the new seed here. The same bugs are told as transcripts in
//! `crates/core/tests`, which do not change their meaning.

/// A seed, and the bug it found.
#[derive(Clone, Copy, Debug)]
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub bug: &'static str,
}

/// All of them.
pub const REGRESSIONS: &[Regression] = &[
    Regression { seed: 103, bug: "anchors that a slice's last event had retired stayed until the next event" },
    Regression { seed: 10, bug: "an idle slice told of a new known only when the stable cut moved as well" },
    Regression { seed: 282, bug: "a shard that subscribed late was not told what an idle slice had told the others" },
    Regression { seed: 42586, bug: "a cut left out an event that was not durable, whose id then was another event's" },
    Regression {
        seed: 9,
        bug: "a gatherer without memory was refused forever, for a slice kept frames that know too little",
    },
    Regression {
        seed: 20634,
        bug: "after the results were lost, an element searched again that slices had forgotten, and was matched twice",
    },
    Regression { seed: 20820, bug: "the same" },
];
