//! gRPC shells, client and binaries of Dovetail. The state machines are in `dovetail-core`.

pub mod balancer;
pub mod bench;
pub mod cli;
pub mod client;
pub mod convert;
pub mod crash;
pub mod gatherer;
pub mod matcher;
pub mod pb;
pub mod rpc;
pub mod settings;
pub mod shutdown;
pub mod up;
