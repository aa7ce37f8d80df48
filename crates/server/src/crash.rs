//! Named places between the disk and the wire at which a test can end a process: see [`dovetail_log::crash`].
//!
//! A name says what would have been done next. They are in every build, and do
//! nothing unless a test asks.

pub use dovetail_log::crash::{Point, TEST_VARIABLE, VARIABLE, asked_for, point};

/// Says in the log that this process is going to end itself, so that it is not taken for a fault.
pub fn say_if_asked_for() {
    if let Some(point) = asked_for() {
        tracing::warn!(point, "a test asked this process to end");
    }
}

/// Every place of a balancer, beside those of its log.
pub const BALANCER: &[Point] = &[
    "balancer.frame.write",
    "balancer.frame.publish",
    "balancer.frame.send",
    "balancer.acknowledge",
    "balancer.outcomes.publish",
    "balancer.outcomes.write",
    "balancer.outcomes.send",
    "balancer.stable.publish",
    "balancer.cut.send",
    "balancer.checkpoint.begin",
    "balancer.checkpoint.made",
];

/// Every place of a matcher.
pub const MATCHER: &[Point] = &["matcher.session.begin", "matcher.frame.search", "matcher.candidates.send"];

/// Every place of a gatherer.
pub const GATHERER: &[Point] = &["gatherer.session.begin", "gatherer.candidates.take", "gatherer.decisions.send"];
