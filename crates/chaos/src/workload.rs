//! The pools, and the elements of them: each drawn from its serial, so that any of them can be submitted again.

use dovetail::client::value;
use dovetail::pb::{Attribute, AttributeType, PoolDefinition, Submission};
use dovetail_sim::rng::Rng;

/// The attribute that says which element it is. The first of every pool.
pub const SERIAL: &str = "serial";

/// The kinds of pools there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChaosPool {
    /// Split by key.
    Keyed,
    /// Split by index: a band, which many pairs satisfy.
    Band,
    /// A widening rule with reprobes and a time to live.
    Widening,
    /// Dropped and defined again, over and over.
    Fleeting,
}

impl ChaosPool {
    /// Those that last.
    pub const ALL: [ChaosPool; 3] = [ChaosPool::Keyed, ChaosPool::Band, ChaosPool::Widening];

    pub fn name(self) -> &'static str {
        match self {
            ChaosPool::Keyed => "keyed",
            ChaosPool::Band => "band",
            ChaosPool::Widening => "widening",
            ChaosPool::Fleeting => "fleeting",
        }
    }

    pub fn definition(self) -> PoolDefinition {
        let attribute = |name: &str, kind: AttributeType| Attribute { name: name.to_owned(), r#type: kind.into() };
        let (attributes, rule) = match self {
            ChaosPool::Keyed => (
                vec![("region", AttributeType::String), ("role", AttributeType::Int)],
                "a.region == b.region && a.role != b.role",
            ),
            // More pairs than not find each other, and some are left to be dropped.
            ChaosPool::Fleeting => (vec![("skill", AttributeType::Int)], "abs(a.skill - b.skill) <= 6"),
            ChaosPool::Band => (
                vec![("skill", AttributeType::Int), ("modes", AttributeType::StringList)],
                "abs(a.skill - b.skill) <= 12 && a.modes.intersects(b.modes)",
            ),
            ChaosPool::Widening => {
                (vec![("skill", AttributeType::Int)], "abs(a.skill - b.skill) <= 1 + min(a.waited, b.waited) / 200")
            }
        };
        let serial = attribute(SERIAL, AttributeType::Int);
        let others = attributes.into_iter().map(|(name, kind)| attribute(name, kind));
        let widening = self == ChaosPool::Widening;
        PoolDefinition {
            name: self.name().to_owned(),
            attributes: [serial].into_iter().chain(others).collect(),
            rule: rule.to_owned(),
            ttl_ms: if widening { 8_000 } else { 0 },
            reprobe_ms: if widening { vec![250, 600, 1_200, 2_500, 5_000] } else { Vec::new() },
            ..PoolDefinition::default()
        }
    }

    /// The element with this serial.
    pub fn element(self, seed: u64, serial: u64) -> Submission {
        let mut rng = Rng::new(seed).fork(serial ^ 0x5E71_A100_0000_0000);
        let mut attributes = vec![(SERIAL.to_owned(), value::int(serial as i64))];
        match self {
            ChaosPool::Keyed => {
                attributes.push(("region".to_owned(), value::string(format!("r{}", rng.below(12)))));
                attributes.push(("role".to_owned(), value::int(rng.below(3) as i64)));
            }
            ChaosPool::Band => {
                let modes = ["ranked", "casual", "duo"];
                let first = rng.index(modes.len());
                let chosen = modes.iter().cycle().skip(first).take(rng.range(1, 2) as usize).copied();
                attributes.push(("skill".to_owned(), value::int(rng.below(3_000) as i64)));
                attributes.push(("modes".to_owned(), value::string_list(chosen)));
            }
            ChaosPool::Widening => attributes.push(("skill".to_owned(), value::int(rng.below(4_000) as i64))),
            ChaosPool::Fleeting => attributes.push(("skill".to_owned(), value::int(rng.below(600) as i64))),
        }
        let key = key(serial);
        Submission {
            idempotency_key: format!("once-{key}"),
            payload: payload(serial).into(),
            key,
            attributes: attributes.into_iter().collect(),
            // Some do not wait long, in every pool.
            ttl_ms: rng.chance(30).then(|| rng.range(50, 3_000)),
        }
    }
}

/// The key of the element with this serial.
pub fn key(serial: u64) -> String {
    format!("k{serial}")
}

/// Its payload: large enough, together, that the log needs checkpoints and trims.
pub fn payload(serial: u64) -> String {
    key(serial).repeat(1 + (serial % 257) as usize)
}
