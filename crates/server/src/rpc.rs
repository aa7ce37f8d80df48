//! What every role needs to serve and to subscribe: a hardened server, peers that know each other, links that resume.

mod accept;
mod active;
mod clients;
mod connections;
mod current;
mod descriptors;
mod dial;
mod drive;
mod edge;
mod error;
mod follow;
mod inbox;
mod intake;
mod known;
mod line;
mod linger;
mod link;
mod peer;
mod plain;
mod process;
mod readers;
mod reads;
mod responses;
mod room;
mod route;
mod seldom;
mod serve;
mod shares;
mod stands_by;
mod stateless;
mod unexpected;

pub use active::{ActiveBalancer, LaterTerm};
pub use clients::{
    CutAnswer, DecisionReader, ask_cut, fetch_retirements, fit, inspect, subscribe_decisions, unavailable,
};
pub use current::Current;
pub use dial::dial;
pub use edge::{Edge, services_of};
pub use error::ServeError;
pub use follow::{Follower, tell_active};
pub use inbox::{Heard, Inbox, Questions};
pub use linger::{LINGER, Linger, Next};
pub use link::{Down, Link, LinkError, Links, or_cursor_too_old};
pub use peer::{NodeCall, NodeIdentity, term};
pub use process::Process;
pub use readers::{Again, ReaderFence, Reading};
pub use reads::Reads;
pub use responses::{ResponseStream, until_stopped};
pub use room::{AnswerRoom, Answers};
pub use route::{Local, LocalNodes, Messages, Route};
pub use serve::{Health, Listener, routes, serve_with};
pub use shares::{Share, Shares, Spent};
pub use stands_by::stands_by;
pub use stateless::{SessionEnd, StatelessNode};
pub use unexpected::unexpected;
