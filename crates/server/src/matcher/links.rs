//! What a matcher reads once its session has begun: the log, and a task for each shard. They dial, decode, and do the
//! steps that the machine says.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use dovetail_core::{Cursor, EventId, ShardId, Stable};
use dovetail_node::{LinkId, Request, Step};

use super::{
    engine::{LinkStep, MatcherEvent, MatcherLinkInput},
    feed::{self, Feed},
    node::Node,
};
use crate::{
    rpc::{self, CutAnswer, Inbox, Link, LinkError},
    shutdown::Shutdown,
};
use dovetail_wire::node_pb;

/// Reads a shard's decisions into the engine until the session ends.
pub(super) fn spawn(node: &Arc<Node>, shard: ShardId, inbox: &Inbox<MatcherEvent>, session: &Shutdown) {
    let (id, link) = (LinkId::Shard(shard), node.link_to(shard));
    let reader = Reader { node: Arc::clone(node), id, link, inbox: inbox.clone() };
    let session = session.clone();
    tokio::spawn(async move { reader.link.keep(&session, || reader.read_shard(shard)).await });
}

/// Reads the log into the engine until the session ends, at first from the stream that its cut came on.
pub(super) fn spawn_feed(
    node: &Arc<Node>,
    link: Arc<Link>,
    first: Feed,
    inbox: &Inbox<MatcherEvent>,
    session: &Shutdown,
) {
    let reader = Reader { node: Arc::clone(node), id: LinkId::Feed, link, inbox: inbox.clone() };
    let (first, session) = (Mutex::new(Some(first)), session.clone());
    tokio::spawn(async move {
        let first = || first.lock().unwrap_or_else(PoisonError::into_inner).take();
        reader.link.keep(&session, || reader.read_log(first())).await
    });
}

struct Reader {
    node: Arc<Node>,
    id: LinkId,
    link: Arc<Link>,
    inbox: Inbox<MatcherEvent>,
}

impl Reader {
    /// One subscription to a shard's decisions, until it breaks.
    async fn read_shard(&self, shard: ShardId) -> Result<Infallible, LinkError> {
        let Step::Subscribe(Request::Decisions { after }) = self.step(MatcherLinkInput::Dial).await? else {
            unreachable!("a link to a shard asks for its decisions")
        };
        let (floor, decisions) = self.node.subscribe_to(&self.link, after).await?;
        self.greet(MatcherLinkInput::Shard(floor)).await?;
        decisions.hand_on(&self.link, after, |frame| self.inbox.tell(MatcherEvent::Decisions { shard, frame })).await
    }

    /// One subscription to the log, until it breaks. The first has begun.
    async fn read_log(&self, begun: Option<Feed>) -> Result<Infallible, LinkError> {
        let mut feed = match begun {
            Some(feed) => feed,
            None => self.resume().await?,
        };
        loop {
            let message = match feed.message().await.map_err(rpc::or_cursor_too_old) {
                Err(LinkError::CursorTooOld(reason)) => return self.log_gone(reason).await,
                message => message?,
            };
            self.on_message(message.ok_or(LinkError::Ended)?).await?;
        }
    }

    async fn resume(&self) -> Result<Feed, LinkError> {
        let LinkStep::AskCut = self.tell(MatcherLinkInput::Dial).await? else {
            unreachable!("the balancer is asked before its log is followed")
        };
        let CutAnswer { log_id, cut, .. } = rpc::ask_cut(&self.node.identity, self.link.route()).await?;
        let Step::Subscribe(Request::Feed { after }) = self.step(MatcherLinkInput::Cut { log_id, cut }).await? else {
            unreachable!("the log is followed, or the session ends")
        };
        let (hello, feed) = match feed::subscribe(&self.node, &self.link, after).await {
            Err(LinkError::CursorTooOld(reason)) => return self.log_gone(reason).await,
            subscribed => subscribed?,
        };
        self.link.route().check_answer(hello.peer.as_ref())?;
        self.node.identity.check(hello.peer.as_ref())?;
        self.greet(MatcherLinkInput::Feed).await?;
        self.link.read(after.unwrap_or_default());
        Ok(feed)
    }

    async fn on_message(&self, message: node_pb::FeedResponse) -> Result<(), LinkError> {
        use node_pb::feed_response::Message;
        match message.message {
            Some(Message::Frame(frame)) => {
                let frame = dovetail_wire::column_frame(frame)?;
                let through = frame.through();
                self.inbox.tell(MatcherEvent::Frame(Arc::new(frame))).await?;
                self.link.read(Cursor(through));
                Ok(())
            }
            Some(Message::Stable(stable)) => self.inbox.tell(MatcherEvent::Stable(Stable(EventId(stable)))).await,
            other => Err(rpc::unexpected("a frame of the log", other.as_ref())),
        }
    }

    /// The balancer no longer keeps what comes next: the session ends.
    async fn log_gone<T>(&self, reason: String) -> Result<T, LinkError> {
        self.inbox.tell(MatcherEvent::LogGone(reason)).await?;
        Err(LinkError::Stopped)
    }

    /// Tells of a hello, and fetches what has to be there before more is read.
    async fn greet(&self, hello: MatcherLinkInput) -> Result<(), LinkError> {
        let fetched = |fetch, of: Option<_>| {
            self.step(of.map_or(MatcherLinkInput::Refused(fetch), |of| MatcherLinkInput::Fetched(fetch, of)))
        };
        self.node.greet(self.step(hello).await?, fetched).await
    }

    /// The same as `tell`, of what is answered by a step.
    async fn step(&self, input: MatcherLinkInput) -> Result<Step, LinkError> {
        match self.tell(input).await? {
            LinkStep::Step(step) => Ok(step),
            LinkStep::AskCut => unreachable!("only a link to the balancer that dials asks for its cut"),
        }
    }

    /// Tells the machine what happened to the link, and returns what the link does next.
    async fn tell(&self, input: MatcherLinkInput) -> Result<LinkStep, LinkError> {
        self.inbox.ask(|reply| MatcherEvent::Link { link: self.id, input, reply }).await
    }
}
