//! What a gatherer reads: a task for each matcher and for each other shard. They dial, decode, and do the steps that
//! the machine says.

use std::{convert::Infallible, sync::Arc};

use dovetail_core::{Cursor, Decided, EventId, ShardId, SliceId};
use dovetail_node::{LinkId, MatcherId, Request, Step, action::SliceHello, link::Cursors};

use super::{
    engine::{GathererEvent, GathererLinkInput},
    node::Node,
};
use crate::{
    rpc::{self, Inbox, Link, LinkError},
    shutdown::Shutdown,
};
use dovetail::{Role, pb};
use dovetail_wire::node_pb;

/// Reads over a link into the engine until the session ends.
pub(super) fn spawn(node: &Arc<Node>, id: LinkId, inbox: &Inbox<GathererEvent>, session: &Shutdown) {
    let addresses = &node.settings.node.addresses;
    let link = match id {
        LinkId::Matcher(MatcherId(matcher)) => {
            node.links.add(Role::Matcher, matcher, &addresses.matchers[matcher as usize], pb::NodeStream::Candidates)
        }
        LinkId::Shard(shard) => node.link_to(shard),
        LinkId::Feed => unreachable!("a gatherer does not read the log"),
    };
    let reader = Reader { node: Arc::clone(node), id, link, inbox: inbox.clone() };
    let session = session.clone();
    tokio::spawn(async move { reader.link.keep(&session, || reader.read_once()).await });
}

struct Reader {
    node: Arc<Node>,
    id: LinkId,
    link: Arc<Link>,
    inbox: Inbox<GathererEvent>,
}

impl Reader {
    /// One subscription, until it breaks.
    async fn read_once(&self) -> Result<Infallible, LinkError> {
        let Step::Subscribe(request) = self.tell(GathererLinkInput::Dial).await? else {
            unreachable!("a link that dials subscribes")
        };
        match (self.id, request) {
            (LinkId::Matcher(matcher), Request::Candidates { shard, decided_seen_min, cursors }) => {
                self.read_matcher(matcher, shard, decided_seen_min, cursors).await
            }
            (LinkId::Shard(shard), Request::Decisions { after }) => self.read_peer(shard, after).await,
            (link, request) => unreachable!("{link:?} does not ask for {request:?}"),
        }
    }

    async fn read_matcher(
        &self,
        matcher: MatcherId,
        shard: ShardId,
        decided_seen_min: Decided,
        mut cursors: Cursors,
    ) -> Result<Infallible, LinkError> {
        use node_pb::candidates_response::Message;
        let identity = &self.node.identity;
        let cursor =
            |(slice, after): (SliceId, Cursor)| node_pb::SliceCursor { slice: slice.0, after: after.event().0 };
        let request = node_pb::CandidatesRequest {
            peer: Some(identity.pb()),
            shard: shard.0,
            decided_seen_min: decided_seen_min.event().0,
            cursors: cursors.iter().map(cursor).collect(),
        };
        let mut stream = self.link.route().candidates(request).await?;
        let hello = match stream.message().await?.ok_or(LinkError::Ended)?.message {
            Some(Message::Hello(hello)) => hello,
            other => return Err(rpc::unexpected("a hello", other.as_ref())),
        };
        self.link.route().check(hello.peer.as_ref())?;
        identity.check(hello.peer.as_ref())?;
        self.greet(GathererLinkInput::Slices(hello.slices.into_iter().map(slice_hello).collect())).await?;
        self.link.read(cursors.lowest());
        while let Some(response) = stream.message().await? {
            let message = match response.message {
                Some(Message::Frames(message)) => message,
                other => return Err(rpc::unexpected("frames of candidates", other.as_ref())),
            };
            let frames = message.frames.into_iter().map(dovetail_wire::candidate_frame);
            let frames = frames.collect::<Result<Vec<_>, _>>()?;
            for (slice, frame) in &frames {
                cursors.on_frame(*slice, frame.through)?;
            }
            self.inbox.tell(GathererEvent::Candidates { matcher, frames }).await?;
            self.link.read(cursors.lowest());
        }
        Err(LinkError::Ended)
    }

    async fn read_peer(&self, shard: ShardId, after: Cursor) -> Result<Infallible, LinkError> {
        let (floor, decisions) = self.node.subscribe_to(&self.link, after).await?;
        self.greet(GathererLinkInput::Peer(floor)).await?;
        decisions.hand_on(&self.link, after, |frame| self.inbox.tell(GathererEvent::Decisions { shard, frame })).await
    }

    /// Tells of a hello, and fetches what has to be there before more is read (R3).
    async fn greet(&self, hello: GathererLinkInput) -> Result<(), LinkError> {
        let fetched = |fetch, of: Option<_>| {
            self.tell(of.map_or(GathererLinkInput::Refused(fetch), |of| GathererLinkInput::Fetched(fetch, of)))
        };
        self.node.greet(self.tell(hello).await?, fetched).await
    }

    /// Tells the machine what happened to the link, and returns what the link does next.
    async fn tell(&self, input: GathererLinkInput) -> Result<Step, LinkError> {
        self.inbox.ask(|reply| GathererEvent::Link { link: self.id, input, reply }).await
    }
}

fn slice_hello(hello: node_pb::SliceHello) -> SliceHello {
    SliceHello {
        slice: SliceId(hello.slice),
        decided_seen: Decided(EventId(hello.decided_seen_min)),
        floor: Cursor(EventId(hello.floor)),
    }
}
