//! What every role needs to serve and to subscribe: a hardened server, peers that know each other, links that resume.

mod accept;
mod caller;
mod clients;
mod connections;
mod descriptors;
mod diskless;
mod drive;
mod edge;
mod fault;
mod inbox;
mod intake;
mod known;
mod later;
mod line;
mod link;
mod peer;
mod plain;
mod process;
mod readers;
mod reads;
mod room;
mod seldom;
mod serve;
mod shares;
mod slot;
mod traffic;
mod troubles;
mod way;
mod wire;

pub use caller::{Caller, ClientId, Connection, Port};
pub use clients::{
    CutAnswer, Decisions, ResponseStream, ask_cut, fetch_retirements, fit, inspect, subscribe_decisions, unavailable,
    until_stopped,
};
pub use diskless::Diskless;
pub use edge::{Edge, services_of};
pub use fault::{DOMAIN, ECHO_BYTES_MAX, Fault, Reason, Resource, cut, cut_message};
pub use inbox::{Heard, Inbox, Questions};
pub use later::{LATER, Later, Next};
pub use link::{Down, Link, LinkError, Links, dial, or_behind};
pub use peer::{Identity, NodeCall};
pub use process::Process;
pub use readers::{Again, Readers, Reading};
pub use reads::Reads;
pub use room::{AnswerRoom, Answers};
pub use serve::{Health, Listener, RunError, routes, serve_with};
pub use shares::{Share, Shares, Spent};
pub use slot::Slot;
pub use traffic::{Counted, Dialled, Traffic};
pub use troubles::Troubles;
pub use way::{Messages, Near, Neighbours, Way};
pub use wire::Wire;

/// Largest message between nodes, in bytes. A message has [`PART_BYTES`](crate::convert::PART_BYTES) of items, or one item, and says
/// who is concerned: the largest item is what one event may find for one shard (a claim on each of 65,536 anchors, 2.2 MiB), the
/// longest reach that of every pair of 1,024 slices and 256 shards (3.3 MiB). `convert/parts.rs` tests that they fit.
pub const NODE_MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Now, in milliseconds since 1970. The only clock of the shells; state machines are told.
#[must_use]
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A duration in whole milliseconds.
#[must_use]
pub fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
