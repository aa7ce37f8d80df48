//! gRPC shells, client and binaries of Dovetail. The state machines are in `dovetail-core`.

/// What the binaries say they are: the version, and what it was built from, where that is known.
pub const VERSION: &str = env!("DOVETAIL_VERSION");

pub mod address;
pub mod auth;
pub mod balancer;
pub mod bench;
pub mod cli;
pub mod client;
mod closing;
pub mod convert;
pub mod crash;
pub mod gatherer;
pub mod matcher;
pub mod memory;
pub mod pb;
pub mod rpc;
mod secret;
pub mod settings;
pub mod shutdown;
pub mod tls;
pub mod up;
pub mod wire;
