//! The acceptance protocol, checked exhaustively at a small size.
//!
//! The simulator draws millions of runs of clusters of any size; this checks *every* run of a tiny one: two slices, two
//! shards, a few elements, with every interleaving of message deliveries, a crash at every point, every order of
//! recovery, and every message repeated at every later point. The actors are the machines of [`dovetail_node`], with
//! the real slice, shard and ledger in them, not a copy of the protocol.
//!
//! | module | what it is |
//! |---|---|
//! | [`script`] | the events, which pairs match, where elements are homed |
//! | [`wire`] | nodes, streams, messages |
//! | `balancer` | the balancer's ledger, machines and disk |
//! | `machines`, `canon` | the real machines, memoized, and when two of their states are one |
//! | [`cluster`] | the model: states, actions, properties |
//! | `reduce` | what need not be explored, because it comes to the same |
//! | [`check`] | a run of the checker |

mod balancer;
mod canon;
pub mod check;
pub mod cluster;
mod machines;
mod reduce;
pub mod script;
pub mod wire;
