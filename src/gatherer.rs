//! A gatherer node: one shard in a task of its own, reading every matcher and every other shard, serving its decisions.
//!
//! Keeps no disk. A session begins at the balancer's cut; whatever goes wrong in it, the next one begins at a cut again.

mod engine;
mod service;

use std::{convert::Infallible, sync::Arc, time::Duration};

use dovetail_core::{
    EventId, ShardId, SliceId,
    shard::{Fetch, Shard},
};

use crate::{
    convert, crash, pb,
    rpc::{self, Behind, CutAnswer, Diskless, Health, Inbox, Link, LinkError, Listener, Neighbours, RunError},
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
pub async fn run(
    settings: Settings,
    listener: Listener,
    neighbours: Neighbours,
    stop: Shutdown,
) -> Result<(), RunError> {
    let node = Node::new(Role::Gatherer, settings, &listener, neighbours);
    let (served, told) = (Arc::clone(&node), stop.clone());
    node.run(listener, stop, |routes| service::add(routes, &served, &told), session).await
}

/// The shard that a gatherer is.
fn own_shard(node: &Node) -> ShardId {
    ShardId(node.identity.index)
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
    tracing::info!(cut = cut.0, "starting from the cut");
    crash::point("gatherer.session.begin");
    let (inbox, events) = Inbox::new(INBOX);
    let shard = Shard::new(node.placement.clone(), own_shard(&node), cut);
    let engine = tokio::spawn(Engine::new(shard, node.identity.cluster.list_max).run(events));
    node.engine.set(Some(inbox.clone()));
    health.set(true).await;
    let (behind, mut is_behind) = Behind::new();
    for (matcher, address) in (0..).zip(&node.settings.node.addresses.matchers) {
        let reader = MatcherReader {
            link: node.links.add(Role::Matcher, matcher, address, "candidates"),
            slices: node.identity.cluster.slices_of(matcher).map(SliceId).collect(),
            node: Arc::clone(&node),
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
        ended = engine => match ended {
            Ok(Ok(())) => "the deciding task stopped".into(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the deciding task panicked".into(),
        },
    }
}

/// The log and its cut, asked for until there is an answer. None when told to stop.
async fn read_cut(node: &Node, link: &Link, session: &Shutdown) -> Option<CutAnswer> {
    link.keep(session, || async {
        let answer = rpc::ask_cut(&node.identity, link.way()).await?;
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
        // Before the cut is asked for: the cut only moves on, and what was forgotten by now was below it. The other way around, both may
        // have moved on in between.
        let Ok(Cursors { floor, .. }) = inbox.ask(|reply| Event::Cursors { reply }).await else { continue };
        let CutAnswer { log_id: found, cut, .. } = match rpc::ask_cut(&node.identity, link.way()).await {
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
        if cut < floor {
            return format!("the balancer's results end at {cut}, this session has forgotten what is below {floor}");
        }
    }
}

/// Reads the candidates of a matcher's slices into the engine.
struct MatcherReader {
    node: Arc<Node>,
    link: Arc<Link>,
    slices: Vec<SliceId>,
    inbox: Inbox<Event>,
    /// Retirements above this could be fetched when the session began.
    stored: EventId,
    behind: Behind,
}

impl MatcherReader {
    async fn read(self, stop: Shutdown) {
        self.link.keep(&stop, || async { self.behind.tell(self.read_once().await) }).await;
    }

    async fn read_once(&self) -> Result<Infallible, LinkError> {
        use pb::candidates_response::Message;
        let node = &self.node;
        let Cursors { through, floor, .. } = self.inbox.ask(|reply| Event::Cursors { reply }).await?;
        let mut cursors: Vec<_> = self.slices.iter().map(|&slice| (slice, through[slice.0 as usize])).collect();
        let cursor = |&(slice, after): &(SliceId, EventId)| pb::SliceCursor { slice: slice.0, after: after.0 };
        let request = pb::CandidatesRequest {
            peer: Some(node.identity.pb()),
            shard: own_shard(node).0,
            // Whatever it has not forgotten it need not fetch.
            known_min: self.stored.min(floor).0,
            cursors: cursors.iter().map(cursor).collect(),
        };
        let mut stream = self.link.way().candidates(request).await?;
        let Some(Message::Hello(hello)) = stream.message().await?.and_then(|response| response.message) else {
            return Err(LinkError::NoHello);
        };
        self.link.way().check(hello.peer.as_ref())?;
        node.identity.check(hello.peer.as_ref())?;
        let known = match check_slices(&cursors, &hello.slices) {
            // What is gone was known not to concern this shard before the answer came: it asks again.
            Err(LinkError::Behind(_)) if self.reached(&hello.slices).await? => return Err(LinkError::Ended),
            known => known?,
        };
        if let Some(needed) = self.inbox.ask(|reply| Event::SlicesSubscribed { known, reply }).await? {
            fetch(node, &self.inbox, needed).await?;
        }
        // How far all of them have come.
        let lowest = |cursors: &[(SliceId, EventId)]| cursors.iter().map(|&(_, through)| through).min();
        self.link.read(lowest(&cursors).unwrap_or_default());
        while let Some(response) = stream.message().await? {
            let Some(Message::Frames(message)) = response.message else { return Err(LinkError::NoHello) };
            let frames: Vec<_> = message.frames.into_iter().map(convert::candidate_frame).collect();
            for (slice, frame) in &frames {
                let cursor = cursors.iter_mut().find(|(asked, _)| asked == slice).ok_or(LinkError::NoHello)?;
                cursor.1 = frame.through.max(cursor.1);
            }
            self.inbox.tell(Event::Candidates { frames }).await?;
            self.link.read(lowest(&cursors).unwrap_or_default());
        }
        Err(LinkError::Ended)
    }

    /// Whether the shard has reached the floors by now.
    async fn reached(&self, slices: &[pb::SliceHello]) -> Result<bool, LinkError> {
        let Cursors { through, .. } = self.inbox.ask(|reply| Event::Cursors { reply }).await?;
        Ok(slices.iter().all(|hello| through[hello.slice as usize].0 >= hello.floor))
    }
}

/// What the frames of each slice know, if all that were asked answered and can go on from their cursors.
fn check_slices(cursors: &[(SliceId, EventId)], told: &[pb::SliceHello]) -> Result<Vec<(SliceId, EventId)>, LinkError> {
    if !cursors.iter().map(|(slice, _)| slice.0).eq(told.iter().map(|hello| hello.slice)) {
        return Err(LinkError::NoHello);
    }
    for (&(slice, after), hello) in cursors.iter().zip(told) {
        if hello.floor > after.0 {
            let reason = format!("{slice} keeps candidates after x{}, and {after} was read", hello.floor);
            return Err(LinkError::Behind(reason));
        }
    }
    Ok(told.iter().map(|hello| (SliceId(hello.slice), EventId(hello.known))).collect())
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
    let (floor, decisions) = node.subscribe_to(link, after).await?;
    if let Some(needed) = inbox.ask(|reply| Event::PeerSubscribed { shard, floor, reply }).await? {
        fetch(node, inbox, needed).await?;
    }
    decisions.hand_on(link, after, |frame| inbox.tell(Event::Decisions { shard, frame })).await
}
