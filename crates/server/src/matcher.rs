//! A matcher node: its machine ([`dovetail_node::Matcher`]) in a task of its own, tasks that read the log and every
//! shard's decisions, and the service of its candidates.
//!
//! Keeps no disk. A session begins at the balancer's cut; whatever goes wrong in it, the next one begins at a cut
//! again.

mod engine;
mod feed;
mod floor;
mod links;
mod node;
mod service;

use std::sync::Arc;

use crate::{
    rpc::{Listener, LocalNodes, ServeError},
    settings::Settings,
    shutdown::Shutdown,
};
use dovetail::Role;
use node::Node;

/// Runs a matcher until the signal.
///
/// # Errors
/// When it cannot listen, or its server fails.
pub async fn run(
    settings: Settings,
    listener: Listener,
    neighbours: LocalNodes,
    stop: Shutdown,
) -> Result<(), ServeError> {
    let node = Node::new(Role::Matcher, settings, &listener, neighbours);
    let (served, told) = (Arc::clone(&node), stop.clone());
    node.run(listener, stop, |routes| service::add(routes, &served, &told), feed::session).await
}
