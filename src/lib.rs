//! The protocol of Dovetail, and a client of it: what an application depends on.
//!
//! [`client`] submits, watches and asks, over [`tls`] where the address says so; [`pb`] has the messages, [`reason`]
//! why a node refuses. The other modules are what clients and nodes share.

pub mod address;
pub mod batch;
pub mod client;
pub mod columns;
pub mod pb;
pub mod reason;
mod role;
pub mod standby;
pub mod text;
pub mod tls;
pub mod traffic;
mod words;

pub use role::Role;
