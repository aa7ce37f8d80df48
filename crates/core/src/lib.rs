//! Dovetail's state machines: what a balancer, a matcher's slice and a gatherer's shard do with what they hear.
//!
//! Everything here is deterministic. Nothing reads a clock, draws a random number, touches a socket or a file, or spawns
//! anything: time comes in with the event, effects go out into the caller's buffer. The same machines run in the
//! simulator, in `dovetail up` and in the role binaries (DESIGN.md, section 6). `.ci/run` checks that it stays so.
//!
//! | module | what it is | section of DESIGN.md |
//! |---|---|---|
//! | [`oracle`] | the sequential program that defines the result | 2 |
//! | [`sequencer`] | gives ids, builds log frames | 3 |
//! | [`clock`] | the time of events, of two clocks | 4 |
//! | [`batch`] | elements in columns | 4 |
//! | [`hold`] | requests that wait for a decision | 4 |
//! | [`ledger`] | what the balancer knows: elements, keys, timers, the cut | 4 |
//! | [`mod@slice`] | one worker index's share of the pair space | 3.1 |
//! | [`shard`] | one shard's elements, and what it decides about them | 3.2 |
//! | [`explain`] | why an element is waiting | 5 |
//! | [`ring`], [`placement`] | which slice owns and which shard homes an element | 3.2 |
//! | [`reach`] | who has anything to do with an event | 3.2 |

pub mod batch;
pub mod clock;
pub mod event;
pub mod explain;
mod hash;
pub mod hold;
pub mod ids;
pub mod ledger;
pub mod message;
pub mod oracle;
pub mod placement;
pub mod planted;
pub mod pool;
pub mod reach;
pub mod ring;
pub mod sequencer;
pub mod shard;
pub mod slice;

pub use event::{Event, EventKind, Frame, LogFrame, WithdrawReason};
pub use ids::{ElementId, EventId, PoolId, ShardId, SliceId};
pub use message::{CandidateFrame, Claim, Close, DecisionFrame, Grant, ProbeList, Retirement};
pub use placement::{Place, Placement};
pub use pool::{DefineError, Pool, PoolDefinition};
pub use reach::Reach;
pub use ring::Ring;
