//! A matcher's session: the cut, then the log, then whatever interrupts it.

use std::sync::{Arc, Mutex, PoisonError};

use dovetail_core::{
    EventId,
    slice::{Slice, SliceCut},
};
use dovetail_rule::table::Secret;

use super::{Engine, Event, INBOX, Node, read_decisions, slices};
use crate::{
    convert, crash, pb,
    rpc::{self, Behind, CutAnswer, Health, Inbox, Link, LinkError, Messages},
    secret,
    settings::Role,
    shutdown::Shutdown,
};

type Feed = Messages<pb::FeedResponse>;

/// Runs one session and says why it ended.
pub(super) async fn session(node: Arc<Node>, health: Health, session: Shutdown) -> String {
    let link = node.links.add(Role::Balancer, 0, node.balancer(), "feed");
    let Some((log_id, cut, feed)) = first_feed(&node, &link, &session).await else {
        return "told to stop".into();
    };
    node.identity.reads_log(&log_id);
    let at = cut.through;
    tracing::info!(cut = at.0, waiting = cut.waiting.len(), pools = cut.pools.len(), "starting from the cut");
    crash::point("matcher.session.begin");
    let list_max = node.identity.cluster.list_max as usize;
    let secret = Secret(secret::draw());
    let each = slices(&node).map(|slice| Slice::new(node.placement.clone(), slice, list_max, secret, cut.clone()));
    let slices: Result<Vec<Slice>, _> = each.collect();
    let (behind, mut is_behind) = Behind::new();
    let engine = match slices {
        Ok(slices) => Engine::new(slices, node.placement.shards(), behind.clone()),
        Err(error) => return error.to_string(),
    };
    let (inbox, events) = Inbox::new(INBOX);
    let engine = tokio::spawn(engine.run(events));
    node.engine.set(Some(inbox.clone()));
    health.set(true).await;
    for shard in node.placement.each_shard() {
        let link = node.link_to(shard);
        tokio::spawn(read_decisions(Arc::clone(&node), link, shard, inbox.clone(), behind.clone(), session.clone()));
    }
    tokio::select! {
        () = session.given() => "told to stop".into(),
        reason = is_behind.recv() => reason.unwrap_or_default(),
        ended = engine => match ended {
            Ok(Ok(())) => "the search stopped".into(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the search panicked".into(),
        },
        other = read_feed(&node, &link, &session, &inbox, &log_id, feed) => other,
    }
}

/// The first feed of a session, with the cut. None when told to stop.
async fn first_feed(node: &Node, link: &Link, session: &Shutdown) -> Option<(String, SliceCut, Feed)> {
    link.keep(session, || async {
        let (hello, mut feed) = subscribe(node, link, None).await?;
        link.way().check(hello.peer.as_ref())?;
        node.identity.check(hello.peer.as_ref())?;
        let cut = read_cut(EventId(hello.after), &mut feed).await?;
        link.read(cut.through);
        Ok((hello.peer.map(|peer| peer.log_id).unwrap_or_default(), cut, feed))
    })
    .await
}

/// Reads the feed until told to stop, or until the balancer has another log or has lost results: then says so.
async fn read_feed(
    node: &Node,
    link: &Link,
    session: &Shutdown,
    inbox: &Inbox<Event>,
    log_id: &str,
    first: Feed,
) -> String {
    let first = Mutex::new(Some(first));
    let other_log = link.keep(session, || async {
        let begun = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut feed = match begun {
            Some(feed) => feed,
            None => {
                // Before the cut is asked for: what is gone by now was below it.
                let floor = inbox.ask(|reply| Event::Cursors { reply }).await?.floor;
                let CutAnswer { log_id: found, cut, .. } = rpc::ask_cut(&node.identity, link.way()).await?;
                if found != log_id {
                    return Ok(format!("the balancer's log is {found}, this session's was {log_id}"));
                }
                if cut < floor {
                    return Ok(format!("the balancer's results end at {cut}, candidates below {floor} are gone here"));
                }
                let after = inbox.ask(|reply| Event::Cursors { reply }).await?.received;
                let (hello, feed) = match subscribe(node, link, Some(after)).await {
                    Err(LinkError::Behind(reason)) => return Ok(reason),
                    subscribed => subscribed?,
                };
                link.way().check(hello.peer.as_ref())?;
                node.identity.check(hello.peer.as_ref())?;
                link.read(after);
                feed
            }
        };
        loop {
            let message = match feed.message().await.map_err(rpc::or_behind) {
                Err(LinkError::Behind(reason)) => return Ok(reason),
                message => message?,
            };
            let Some(message) = message else { return Err(LinkError::Ended) };
            on_message(link, inbox, message).await?;
        }
    });
    other_log.await.unwrap_or_else(|| "told to stop".into())
}

async fn on_message(link: &Link, inbox: &Inbox<Event>, message: pb::FeedResponse) -> Result<(), LinkError> {
    use pb::feed_response::Message;
    match message.message {
        Some(Message::Frame(frame)) => {
            let frame = convert::log_frame(frame)?;
            let through = frame.through;
            inbox.tell(Event::Frame(Arc::new(frame))).await?;
            link.read(through);
            Ok(())
        }
        Some(Message::Stable(stable)) => inbox.tell(Event::Stable(EventId(stable))).await,
        Some(Message::Hello(_) | Message::Cut(_)) | None => Err(LinkError::NoHello),
    }
}

async fn subscribe(node: &Node, link: &Link, after: Option<EventId>) -> Result<(pb::FeedHello, Feed), LinkError> {
    let request = pb::FeedRequest {
        peer: Some(node.identity.pb()),
        slices: slices(node).map(|slice| slice.0).collect(),
        after: after.map(|after| after.0),
    };
    let mut feed = link.way().feed(request).await.map_err(rpc::or_behind)?;
    match feed.message().await?.and_then(|message| message.message) {
        Some(pb::feed_response::Message::Hello(hello)) => Ok((hello, feed)),
        _ => Err(LinkError::NoHello),
    }
}

async fn read_cut(through: EventId, feed: &mut Feed) -> Result<SliceCut, LinkError> {
    let mut cut = SliceCut { through, ..SliceCut::default() };
    loop {
        match feed.message().await?.and_then(|message| message.message) {
            Some(pb::feed_response::Message::Cut(part)) => {
                if convert::slice_cut_part(&mut cut, part)? {
                    return Ok(cut);
                }
            }
            _ => return Err(LinkError::NoHello),
        }
    }
}
