//! gRPC shells, client and binaries of Dovetail. The state machines are in `dovetail-core`.

/// What the binaries say they are: the version, and what it was built from, where that is known.
pub const VERSION: &str = env!("DOVETAIL_VERSION");

pub mod address;
pub mod auth;
pub mod balancer;
pub mod batch;
pub mod bench;
pub mod caller;
pub mod certs;
pub mod cli;
pub mod client;
mod closing;
pub mod columns;
pub mod convert;
pub mod crash;
pub mod fault;
pub mod gatherer;
pub mod matcher;
pub mod memory;
pub mod pb;
pub mod printable;
pub mod program;
pub mod reason;
mod role;
pub mod roles;
pub mod rpc;
mod secret;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod text;
pub mod time;
pub mod tls;
pub mod traffic;
pub mod troubles;
pub mod up;

pub use role::Role;
