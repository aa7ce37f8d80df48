//! A matcher's session: the cut, then the log, then whatever interrupts it.

use std::sync::Arc;

use dovetail_core::{
    Cursor, EventId,
    slice::{Secret, SliceCut},
};
use dovetail_node::{
    LinkId, Matcher,
    matcher::{CutReader, MatcherEnd, MatcherSettings, MatcherStart},
};

use super::{
    engine::Engine,
    links,
    node::{Node, slices},
};
use crate::{
    crash,
    rpc::{self, Health, Inbox, Link, LinkError, Messages, SessionEnd},
    secret,
    shutdown::Shutdown,
};
use dovetail::pb;
use dovetail_wire::node_pb;

/// Events that wait for the engine. A full inbox holds its senders back, and through them the peers.
const INBOX: usize = 1024;

pub(super) type Feed = Messages<node_pb::FeedResponse>;

/// Runs one session until it ends.
pub(super) async fn session(node: Arc<Node>, health: Health, session: Shutdown) -> SessionEnd<MatcherEnd> {
    let link = node.links.add_balancer(&node.active, pb::NodeStream::Feed);
    let Some((start, feed)) = first_feed(&node, &link, &session).await else {
        return SessionEnd::Stopped;
    };
    node.identity.reads_log(&start.log_id);
    let cut = &start.cut;
    tracing::info!(cut = cut.through.0, waiting = cut.waiting.len(), pools = cut.pools.len(), "starting from the cut");
    crash::point("matcher.session.begin");
    let matcher = match Matcher::new(settings(&node), start) {
        Ok(matcher) => matcher,
        Err(end) => return SessionEnd::Machine(end),
    };
    let shards: Vec<LinkId> = matcher.links().collect();
    let (inbox, questions, heard) = Inbox::with_questions(INBOX);
    let engine = tokio::spawn(Engine::new(matcher).run(heard));
    node.engine.set(Some(questions));
    health.set(true).await;
    for id in shards {
        let LinkId::Shard(shard) = id else { unreachable!("a matcher reads shards, and the log") };
        links::spawn(&node, shard, &inbox, &session);
    }
    links::spawn_feed(&node, link, feed, &inbox, &session);
    drop(inbox);
    tokio::select! {
        () = session.given() => SessionEnd::Stopped,
        ended = engine => SessionEnd::of_engine(ended),
    }
}

fn settings(node: &Node) -> MatcherSettings {
    MatcherSettings {
        placement: node.placement.clone(),
        slices: slices(node).collect(),
        list_max: node.identity.cluster.list_max,
        secret: Secret(secret::draw()),
    }
}

/// The first feed of a session, with the cut. None when told to stop.
async fn first_feed(node: &Node, link: &Link, session: &Shutdown) -> Option<(MatcherStart, Feed)> {
    link.keep(session, || async {
        let (hello, mut feed) = subscribe(node, link, None).await?;
        link.route().check_answer(hello.peer.as_ref())?;
        node.identity.check(hello.peer.as_ref())?;
        let log_id = hello.peer.map(|peer| peer.log_id).unwrap_or_default();
        let start = read_cut(CutReader::new(log_id, EventId(hello.after)), &mut feed).await?;
        link.read(Cursor(start.cut.through));
        Ok((start, feed))
    })
    .await
}

pub(super) async fn subscribe(
    node: &Node,
    link: &Link,
    after: Option<Cursor>,
) -> Result<(node_pb::FeedHello, Feed), LinkError> {
    let request = node_pb::FeedRequest {
        peer: Some(node.identity.pb()),
        slices: slices(node).map(|slice| slice.0).collect(),
        after: after.map(|after| after.event().0),
    };
    let mut feed = link.route().feed(request).await.map_err(rpc::or_cursor_too_old)?;
    match feed.message().await?.ok_or(LinkError::Ended)?.message {
        Some(node_pb::feed_response::Message::Hello(hello)) => Ok((hello, feed)),
        other => Err(rpc::unexpected("a hello", other.as_ref())),
    }
}

async fn read_cut(mut cut: CutReader, feed: &mut Feed) -> Result<MatcherStart, LinkError> {
    loop {
        match feed.message().await?.ok_or(LinkError::Ended)?.message {
            Some(node_pb::feed_response::Message::Cut(message)) => {
                let mut part = SliceCut::default();
                let last = dovetail_wire::slice_cut_part(&mut part, message)?;
                cut.on_part(part)?;
                if last {
                    return Ok(cut.finish()?);
                }
            }
            other => return Err(rpc::unexpected("a part of the cut", other.as_ref())),
        }
    }
}
