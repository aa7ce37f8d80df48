//! What every role needs to serve and to subscribe: a hardened server, peers that know each other, links that resume.

mod accept;
mod clients;
mod connections;
mod descriptors;
mod dial;
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
mod responses;
mod room;
mod seldom;
mod serve;
mod shares;
mod slot;
mod unexpected;
mod way;

pub use clients::{
    CutAnswer, DecisionReader, ask_cut, fetch_retirements, fit, inspect, subscribe_decisions, unavailable,
};
pub use dial::dial;
pub use diskless::{SessionEnd, StatelessNode};
pub use edge::{Edge, services_of};
pub use error::ServeError;
pub use inbox::{Heard, Inbox, Questions};
pub use later::{LATER, Linger, Next};
pub use link::{Down, Link, LinkError, Links, or_cursor_too_old};
pub use peer::{NodeCall, NodeIdentity};
pub use process::Process;
pub use readers::{Again, ReaderFence, Reading};
pub use reads::Reads;
pub use responses::{ResponseStream, until_stopped};
pub use room::{AnswerRoom, Answers};
pub use serve::{Health, Listener, routes, serve_with};
pub use shares::{Share, Shares, Spent};
pub use slot::Current;
pub use unexpected::unexpected;
pub use way::{Local, LocalNodes, Messages, Route};
