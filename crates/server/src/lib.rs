//! The nodes of a cluster: gRPC around the state machines, one module a role, and their programs.
//!
//! The state machines are in `dovetail-core` and `dovetail-node`, the messages in `dovetail`, what is between them in
//! `dovetail-wire`.

/// What the nodes say they are: the version, and what it was built from, where that is known.
pub const VERSION: &str = env!("DOVETAIL_VERSION");

pub mod auth;
pub mod balancer;
pub mod caller;
mod closing;
pub mod crash;
pub mod failure;
pub mod fault;
pub mod gatherer;
pub mod matcher;
pub mod memory;
pub mod printable;
pub mod program;
pub mod roles;
pub mod rpc;
mod secret;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod time;
pub mod troubles;
pub mod up;
