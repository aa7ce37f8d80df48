//! Dovetail's state machines: what a balancer, a matcher's slice and a gatherer's shard do with what they hear.
//!
//! Everything here is deterministic. Nothing reads a clock, draws a random number, touches a socket or a file, or
//! spawns anything: time comes in with the event, effects go out into the caller's buffer. The same machines run in the
//! simulator, in `dovetail up` and in the role binaries. `.ci/pure-core` checks that it stays so. The protocol is in
//! docs/protocol.md, the words in docs/glossary.md.
//!
//! | module | what it is | section of docs/protocol.md |
//! |---|---|---|
//! | [`oracle`] | the sequential program that defines the result | The definition |
//! | [`sequencer`] | gives ids, builds log frames | Time, and keys that come again |
//! | [`clock`] | the time of events, made from two clocks | Time, and keys that come again |
//! | [`batch`] | elements in columns | (docs/architecture.md, Columns) |
//! | [`hold`] | requests that wait for a decision | Time, and keys that come again |
//! | [`ledger`] | what the balancer knows: elements, keys, timers, the cut | Who does what |
//! | [`column_frame`] | the log as a slice reads it | (docs/architecture.md, Columns) |
//! | [`mod@slice`] | one worker index's share of the pair space | Who does what, Bounded search |
//! | [`shard`] | one shard's elements, and what it decides about them | Who does what, Forgetting |
//! | [`explain`] | why an element is waiting | |
//! | [`ring`], [`placement`] | which slice owns and which shard homes an element | Split by key |
//! | [`positions`] | watermarks and cursors, each its own type | Who does what |
//! | [`audience`] | which slices and shards an event concerns | Who is concerned |

pub mod audience;
pub mod batch;
pub mod clock;
pub mod column_frame;
pub mod event;
pub mod explain;
mod hash;
pub mod hold;
pub mod ids;
pub mod ledger;
pub mod message;
pub mod oracle;
mod place;
pub mod placement;
pub mod planted;
pub mod pool;
pub mod positions;
pub mod ring;
pub mod sequencer;
pub mod shard;
pub mod slice;
#[cfg(test)]
mod testing;

pub use audience::Audience;
pub use column_frame::ColumnFrame;
pub use event::{Event, EventKind, Frame, LogFrame, WithdrawReason};
pub use ids::{ElementId, EventId, PoolId, ShardId, SliceId};
pub use message::{CandidateFrame, Claim, DecisionFrame, Grant, ProbeList, Retirement, WithdrawalNotice};
pub use placement::{Place, Placement};
pub use pool::{DefineError, Pool, PoolDefinition};
pub use positions::{Cursor, Decided, News, Stable};
pub use ring::Ring;
