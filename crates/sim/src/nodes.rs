//! Thin shells around the state machines, as the gRPC shells are: subscribe, feed the machine, serve its effects.

mod balancer;
mod gatherer;
mod matcher;

pub use balancer::{Balancer, Submitted};
pub use gatherer::Gatherer;
pub use matcher::Matcher;

/// What a node comes to when something happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Goes,
    /// What it needs is gone, or what it has is too old for others: it has to begin anew, from a later cut.
    Behind,
    /// Its disk failed: it stops, and comes back from what is durable.
    Fails,
}
