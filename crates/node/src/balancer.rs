//! The balancer's side of the protocol: what each reader of its log is sent, and what it reads itself.
//!
//! | part | what it decides |
//! |---|---|
//! | [`feed`] | where a reader of the log begins, what it is sent of each frame, what is merged and held back for it |
//! | [`fetch`] | whether the store has all that a node has to fetch |
//! | [`leadership`] | which of several balancers writes |
//! | [`frame`] | what a frame consists of, which nodes it concerns, which slice needs which event |
//! | [`ahead`] | what becomes of decisions of events that its own log does not have yet |
//! | [`decisions`] | from where the shards are read, and what becomes of what they decide |
//! | [`durability`] | in which order what happens becomes visible: to the log first |
//! | [`pacing`] | when the open frame goes to the log under load |
//! | [`replay`] | what of log and results a ledger takes when it starts |
//!
//! A reader of the log is served at its own pace, from memory or from the store, so each has a machine of its own
//! ([`Feed`]).

pub mod ahead;
pub mod decisions;
pub mod durability;
pub mod feed;
pub mod fetch;
pub mod frame;
pub mod leadership;
pub mod pacing;
pub mod replay;

#[cfg(test)]
mod tests;

pub use ahead::{Ahead, DecisionsAhead};
pub use decisions::DecisionLinks;
pub use durability::{Durability, Visible};
pub use feed::{Feed, FeedAction, FeedFrame, FeedRefused, Gone, LogSpan, check_floor};
pub use fetch::{FetchRefused, ResultsSpan, check_fetch};
pub use frame::{Owners, Part, PartFrame, PublishedFrame};
pub use leadership::{Asked, BalancerBeat, Leadership, LeadershipSettings, Reign, Standing};
pub use pacing::Pacing;
pub use replay::{Replay, ReplayError, StoredOutcomes};
