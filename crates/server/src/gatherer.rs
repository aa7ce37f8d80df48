//! A gatherer node: its machine ([`dovetail_node::Gatherer`]) in a task of its own, tasks that read every matcher and
//! every other shard, and the service of its decisions.
//!
//! Keeps no disk. A session begins at the balancer's cut; whatever goes wrong in it, the next one begins at a cut
//! again.

mod engine;
mod links;
mod node;
mod service;

use std::{sync::Arc, time::Duration};

use dovetail_core::{Cursor, SliceId};
use dovetail_node::{
    Gatherer, LinkId,
    gatherer::{GathererEnd, GathererSettings, GathererStart},
};

use crate::{
    crash,
    rpc::{self, CutAnswer, Health, Inbox, Link, Listener, LocalNodes, ServeError, SessionEnd},
    settings::Settings,
    shutdown::Shutdown,
};
use dovetail::{Role, pb};
use engine::{Engine, GathererEvent};
use node::{Node, own_shard};

/// Events that wait for the engine. A full inbox holds its senders back, and through them the peers.
const INBOX: usize = 1024;
/// Between one look at the balancer's log and cut and the next.
const CHECK: Duration = Duration::from_secs(2);

/// Runs a gatherer until the signal.
///
/// # Errors
/// When it cannot listen, or its server fails.
pub async fn run(
    settings: Settings,
    listener: Listener,
    neighbours: LocalNodes,
    stop: Shutdown,
) -> Result<(), ServeError> {
    let node = Node::new(Role::Gatherer, settings, &listener, neighbours);
    let (served, told) = (Arc::clone(&node), stop.clone());
    node.run(listener, stop, |routes| service::add(routes, &served, &told), session).await
}

/// Runs one session until it ends.
async fn session(node: Arc<Node>, health: Health, session: Shutdown) -> SessionEnd<GathererEnd> {
    let balancer = node.links.add_balancer(&node.active, pb::NodeStream::Cut);
    let Some(CutAnswer { log_id, cut, results_floor }) = read_cut(&node, &balancer, &session).await else {
        return SessionEnd::Stopped;
    };
    node.identity.reads_log(&log_id);
    tracing::info!(cut = cut.event().0, "starting from the cut");
    crash::point("gatherer.session.begin");
    let start = GathererStart { log_id, cut, results_floor };
    let gatherer = Gatherer::new(settings(&node), start);
    let links: Vec<LinkId> = gatherer.links().collect();
    let (inbox, questions, heard) = Inbox::with_questions(INBOX);
    let engine = tokio::spawn(Engine::new(gatherer).run(heard));
    node.engine.set(Some(questions));
    health.set(true).await;
    links.into_iter().for_each(|link| links::spawn(&node, link, &inbox, &session));
    tokio::select! {
        () = session.given() => SessionEnd::Stopped,
        () = check(&node, &balancer, &session, &inbox) => SessionEnd::Stopped,
        ended = engine => SessionEnd::of_engine(ended),
    }
}

fn settings(node: &Node) -> GathererSettings {
    let cluster = &node.identity.cluster;
    let matchers = 0..u32::try_from(node.settings.node.addresses.matchers.len()).expect("settings bound them");
    GathererSettings {
        placement: node.placement.clone(),
        id: own_shard(node),
        list_max: cluster.list_max,
        matchers: matchers.map(|matcher| cluster.slices_of(matcher).map(SliceId).collect()).collect(),
    }
}

/// The log and its cut, asked for until there is an answer. None when told to stop.
async fn read_cut(node: &Node, link: &Link, session: &Shutdown) -> Option<CutAnswer> {
    link.keep(session, || async {
        let answer = rpc::ask_cut(&node.identity, link.route()).await?;
        link.read(Cursor(answer.cut.event()));
        Ok(answer)
    })
    .await
}

/// Tells the machine of the balancer's log and cut again and again, until told to stop: what this session knows may be
/// of no use any more.
async fn check(node: &Node, link: &Link, session: &Shutdown, inbox: &Inbox<GathererEvent>) {
    loop {
        tokio::select! {
            () = session.given() => return,
            () = tokio::time::sleep(CHECK) => {}
        }
        if inbox.ask(|reply| GathererEvent::Check { reply }).await.is_err() {
            // The engine has stopped, and says why.
            return std::future::pending().await;
        }
        match link.once(|| rpc::ask_cut(&node.identity, link.route())).await {
            Ok(CutAnswer { log_id, cut, .. }) => {
                link.read(Cursor(cut.event()));
                _ = inbox.tell(GathererEvent::Cut { log_id, cut }).await;
            }
            Err(error) => link.failed(&error),
        }
    }
}
