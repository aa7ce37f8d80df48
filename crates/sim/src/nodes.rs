//! Thin shells around the state machines, as the gRPC shells are: subscribe, feed the machine, serve its effects.

mod balancer;
mod gatherer;
mod matcher;

pub use balancer::Balancer;
pub use gatherer::{Fate, Gatherer};
pub use matcher::Matcher;
