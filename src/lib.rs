//! gRPC shells, client and binaries of Dovetail. The state machines are in `dovetail-core`.

pub mod pb;
