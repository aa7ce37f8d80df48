//! gRPC shells, client and binaries of Dovetail. The state machines are in `dovetail-core`.

pub mod cli;
pub mod client;
pub mod pb;
pub mod settings;
pub mod shutdown;
