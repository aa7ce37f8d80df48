//! The generated packages of nodes: `dovetail.node.v1`, what they say to each other, and `dovetail.storage.v1`, what the
//! balancer stores. They lie as the generated code finds one from the other. That of clients is [`dovetail::pb`].
#![allow(missing_docs, clippy::all, unused_qualifications, rust_2018_idioms)]

pub mod node {
    pub mod v1 {
        tonic::include_proto!("dovetail.node.v1");
    }
}

pub mod storage {
    pub mod v1 {
        tonic::include_proto!("dovetail.storage.v1");
    }
}

/// The encoded descriptors of every service and what its messages are made of, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/served.bin"));
