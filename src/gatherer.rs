//! A gatherer node: one shard on a thread of its own, reading every slice and every other shard, serving its decisions.
//!
//! Keeps no disk. A session begins at the balancer's cut; whatever goes wrong in it, the next one begins at a cut again.

mod engine;
mod service;

use std::{convert::Infallible, sync::Arc, thread, time::Duration};

use dovetail_core::{
    EventId, ShardId, SliceId,
    shard::{Fetch, Shard},
};

use crate::{
    convert, crash, pb,
    rpc::{self, Behind, CutAnswer, Diskless, Health, Inbox, Link, LinkError, Listener, RunError},
    settings::{Role, Settings},
    shutdown::Shutdown,
};
use engine::{Cursors, Engine, Event};

/// Events that wait for the engine. A full inbox holds its senders back, and through them the peers.
const INBOX: usize = 1024;

/// A gatherer.
type Node = Diskless<Event>;

/// Runs a gatherer until the signal.
///
/// # Errors
/// When it cannot listen, or its server fails.
pub async fn run(settings: Settings, listener: Listener, stop: Shutdown) -> Result<(), RunError> {
    let node = Node::new(Role::Gatherer, settings);
    let (served, told) = (Arc::clone(&node), stop.clone());
    node.run(listener, stop, |routes| service::add(routes, &served, &told), session).await
}

/// The shard that a gatherer is.
fn own_shard(node: &Node) -> ShardId {
    ShardId(node.identity.index)
}

/// The matcher that runs a slice, and its address.
fn matcher_of(node: &Node, slice: SliceId) -> (u32, &str) {
    let index = slice.0 % node.identity.cluster.matchers;
    (index, &node.settings.node.addresses.matchers[index as usize])
}

async fn fetch(node: &Node, inbox: &Inbox<Event>, fetch: Fetch) -> Result<(), LinkError> {
    let retirements = node.fetch(fetch.after, fetch.through).await?;
    inbox.tell(Event::Stored { fetch, retirements }).await
}

/// Runs one session and says why it ended.
async fn session(node: Arc<Node>, health: Health, session: Shutdown) -> String {
    let balancer = node.links.add(Role::Balancer, 0, node.balancer(), "cut");
    let Some(CutAnswer { log_id, cut, results_floor }) = read_cut(&node, &balancer, &session).await else {
        return "told to stop".into();
    };
    node.identity.reads_log(&log_id);
    tracing::info!(cut = %cut, "starting from the cut");
    crash::point("gatherer.session.begin");
    let (inbox, events) = Inbox::new(INBOX);
    let engine = Engine::new(Shard::new(node.placement.clone(), own_shard(&node), cut));
    let (ended, end) = tokio::sync::oneshot::channel();
    let spawned = thread::Builder::new().name("decide".into()).spawn(move || _ = ended.send(engine.run(events)));
    if let Err(error) = spawned {
        return format!("cannot start the deciding thread: {error}");
    }
    node.engine.set(Some(inbox.clone()));
    health.set(true).await;
    let (behind, mut is_behind) = Behind::new();
    for slice in node.placement.each_slice() {
        let (index, address) = matcher_of(&node, slice);
        let reader = SliceReader {
            node: Arc::clone(&node),
            link: node.links.add(Role::Matcher, index, address, format!("candidates of {slice}")),
            slice,
            inbox: inbox.clone(),
            stored: results_floor,
            behind: behind.clone(),
        };
        tokio::spawn(reader.read(session.clone()));
    }
    for shard in node.placement.each_shard().filter(|shard| *shard != own_shard(&node)) {
        let link = node.link_to(shard);
        tokio::spawn(read_peer(Arc::clone(&node), link, shard, inbox.clone(), behind.clone(), session.clone()));
    }
    tokio::select! {
        () = session.given() => "told to stop".into(),
        reason = is_behind.recv() => reason.unwrap_or_default(),
        reason = outdated(&node, &balancer, &session, &log_id, &inbox) => reason,
        ended = end => match ended {
            Ok(Ok(())) => "the deciding thread stopped".into(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the deciding thread panicked".into(),
        },
    }
}

/// The log and its cut, asked for until there is an answer. None when told to stop.
async fn read_cut(node: &Node, link: &Link, session: &Shutdown) -> Option<CutAnswer> {
    link.keep(session, || async {
        let answer = rpc::ask_cut(&node.identity, node.balancer(), link.traffic()).await?;
        link.read(answer.cut);
        Ok(answer)
    })
    .await
}

/// Returns once what this session knows is of no use any more: the balancer serves another log, or has lost results that
/// this node has forgotten.
async fn outdated(node: &Node, link: &Link, session: &Shutdown, log_id: &str, inbox: &Inbox<Event>) -> String {
    loop {
        tokio::select! {
            () = session.given() => return "told to stop".into(),
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
        let CutAnswer { log_id: found, cut, .. } =
            match rpc::ask_cut(&node.identity, node.balancer(), link.traffic()).await {
                Ok(answer) => answer,
                Err(error) => {
                    link.failed(&error);
                    continue;
                }
            };
        if found != log_id {
            return format!("the balancer's log is {found}, this session's was {log_id}");
        }
        link.read(cut);
        let Ok(Cursors { floor, .. }) = inbox.ask(|reply| Event::Cursors { reply }).await else { continue };
        // The cut only moves on, so it was not below the floor when it was told.
        if cut < floor {
            return format!("the balancer's results end at {cut}, this session has forgotten what is below {floor}");
        }
    }
}

/// Reads one slice's candidates into the engine.
struct SliceReader {
    node: Arc<Node>,
    link: Arc<Link>,
    slice: SliceId,
    inbox: Inbox<Event>,
    /// Retirements above this could be fetched when the session began.
    stored: EventId,
    behind: Behind,
}

impl SliceReader {
    async fn read(self, stop: Shutdown) {
        self.link.keep(&stop, || async { self.behind.tell(self.read_once().await) }).await;
    }

    async fn read_once(&self) -> Result<Infallible, LinkError> {
        use pb::candidates_response::Message;
        let (node, slice) = (&self.node, self.slice);
        let cursors = self.inbox.ask(|reply| Event::Cursors { reply }).await?;
        let after = cursors.through[slice.0 as usize];
        let mut client = rpc::candidates_client(matcher_of(node, slice).1, self.link.traffic())?;
        let request = pb::CandidatesRequest {
            peer: Some(node.identity.pb()),
            slice: slice.0,
            shard: own_shard(node).0,
            after: after.0,
            // Whatever it has not forgotten it need not fetch.
            known_min: self.stored.min(cursors.floor).0,
        };
        let mut stream = client.candidates(request).await?.into_inner();
        let Some(Message::Hello(hello)) = stream.message().await?.and_then(|response| response.message) else {
            return Err(LinkError::NoHello);
        };
        node.identity.check(hello.peer.as_ref())?;
        if hello.floor > after.0 {
            let reason = format!("{slice} keeps candidates after x{}, and {after} was read", hello.floor);
            return Err(LinkError::Behind(reason));
        }
        let known = EventId(hello.known);
        if let Some(needed) = self.inbox.ask(|reply| Event::SliceSubscribed { slice, known, reply }).await? {
            fetch(node, &self.inbox, needed).await?;
        }
        self.link.read(after);
        while let Some(response) = stream.message().await? {
            let Some(Message::Frame(frame)) = response.message else { return Err(LinkError::NoHello) };
            let through = EventId(frame.through);
            let frame = convert::candidate_frame(frame);
            self.inbox.tell(Event::Candidates { slice, frame }).await?;
            self.link.read(through);
        }
        Err(LinkError::Ended)
    }
}

/// Reads another shard's decisions into the engine until the session ends.
async fn read_peer(
    node: Arc<Node>,
    link: Arc<Link>,
    shard: ShardId,
    inbox: Inbox<Event>,
    behind: Behind,
    stop: Shutdown,
) {
    link.keep(&stop, || async { behind.tell(read_peer_once(&node, &link, shard, &inbox).await) }).await;
}

async fn read_peer_once(
    node: &Node,
    link: &Link,
    shard: ShardId,
    inbox: &Inbox<Event>,
) -> Result<Infallible, LinkError> {
    let after = inbox.ask(|reply| Event::Cursors { reply }).await?.decided[shard.0 as usize];
    let (floor, decisions) = node.subscribe_to(link, shard, after).await?;
    if let Some(needed) = inbox.ask(|reply| Event::PeerSubscribed { shard, floor, reply }).await? {
        fetch(node, inbox, needed).await?;
    }
    decisions.hand_on(link, after, |frame| inbox.tell(Event::Decisions { shard, frame })).await
}
