//! What connects the state machines of [`dovetail_core`]: one machine for each role, which the server, the simulator
//! and the model drive alike.
//!
//! A machine decides everything that the protocol says about streams: which cursors to subscribe from, what to fetch
//! before the first frame is read, what a reader is sent and when, when a session has to begin anew. Inputs are
//! messages, ends of streams, what was fetched, and timers; what it wants done is plain data ([`Action`]) in the
//! caller's buffer. It has no clock, no socket and no task, knows no protobuf and no tokio: a shell decodes messages,
//! gives them to the machine, does what the machine says, and bounds its queues.
//!
//! | module | what it is |
//! |---|---|
//! | [`balancer`] | what each reader of the log is sent; when a frame is taken; which of several balancers writes |
//! | [`balancers`] | which of several balancers a node asks |
//! | [`gatherer`] | a shard, what it reads, and its readers |
//! | [`matcher`] | slices, what they read, and their readers |
//! | [`link`] | a subscription of a node at another: how it is set up, and what has to be fetched first |
//! | [`readers`] | the subscribers of a node: what each is sent next, merged and held back |
//! | [`origin`] | whether a session can go on with the balancer's log |
//! | [`action`] | what a machine wants done |

pub mod action;
pub mod balancer;
pub mod balancers;
pub mod gatherer;
pub mod ids;
pub mod link;
pub mod matcher;
pub mod origin;
pub mod readers;
#[cfg(test)]
mod testing;

pub use action::{Action, Request, Step};
pub use balancers::Balancers;
pub use gatherer::Gatherer;
pub use ids::{BalancerId, LinkId, MatcherId, NodeId, StreamId, Term, Writer};
pub use matcher::Matcher;
