//! What every role needs to serve and to subscribe: a hardened server, peers that know each other, links that resume.

mod accept;
mod clients;
mod connections;
mod descriptors;
mod diskless;
mod drive;
mod edge;
mod error;
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
mod unexpected;
mod way;

pub use clients::{
    CutAnswer, Decisions, ResponseStream, ask_cut, fetch_retirements, fit, inspect, subscribe_decisions, unavailable,
    until_stopped,
};
pub use diskless::{Diskless, SessionEnd};
pub use edge::{Edge, services_of};
pub use error::ServeError;
pub use inbox::{Heard, Inbox, Questions};
pub use later::{LATER, Later, Next};
pub use link::{Down, Link, LinkError, Links, dial, or_cursor_too_old};
pub use peer::{Identity, NodeCall};
pub use process::Process;
pub use readers::{Again, Readers, Reading};
pub use reads::Reads;
pub use room::{AnswerRoom, Answers};
pub use serve::{Health, Listener, routes, serve_with};
pub use shares::{Share, Shares, Spent};
pub use slot::Slot;
pub use unexpected::unexpected;
pub use way::{Messages, Near, Neighbours, Way};
