//! The transport skeleton: a cluster's messages without the cluster. What it reaches, no cluster of this layout over
//! gRPC exceeds.
//!
//! A client, a balancer, matchers and gatherers, each a process of one thread. A batch of 256 elements of 100 bytes
//! takes the hops that it takes in Dovetail: client to balancer, and back as an acknowledgement; balancer to every
//! matcher; each matcher to the gatherer whose turn it is, 8 bytes an element; when all matchers have, gatherer to
//! balancer; balancer to client. Nobody matches, and nothing is written to disk.
//!
//! A node prints where it listens, reads whom to follow from a line of its standard input, and ends when that is
//! closed: it cannot outlive who started it.

pub mod node;
pub mod run;

mod pb {
    #![allow(missing_docs, clippy::all, unused_qualifications, rust_2018_idioms)]
    tonic::include_proto!("dovetail.peers.v1");
}

/// Bytes of an element.
pub const ELEMENT_BYTES: usize = 100;
/// Bytes of what a matcher or a gatherer says of one.
const RESULT_BYTES: usize = 8;
/// As Dovetail's nodes have it.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// As Dovetail's nodes have it.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Batches that wait for a follower, at most: more hold the sender back.
const QUEUE_MAX: usize = 64;

/// Where a batch goes to: one queue for each follower, which takes the other end when it comes.
type Queue = tokio::sync::mpsc::Sender<Result<pb::FollowResponse, tonic::Status>>;

/// A failure of the transport, or of a process that takes part.
#[derive(Debug, thiserror::Error)]
pub enum SkeletonError {
    /// A connection.
    #[error("{address}: {source}")]
    Connection {
        /// The other end.
        address: String,
        /// What happened.
        source: tonic::transport::Error,
    },
    /// A call.
    #[error("{}: {}", .0.code(), .0.message())]
    Call(#[from] tonic::Status),
    /// A server.
    #[error(transparent)]
    Server(#[from] tonic::transport::Error),
    /// A process or its pipes.
    #[error("a node: {0}")]
    Node(#[from] std::io::Error),
    /// A stream that ended while something was still to come.
    #[error("{results} of {batches} batches came back")]
    Short {
        /// How many came.
        results: u64,
        /// How many were sent.
        batches: u64,
    },
}
