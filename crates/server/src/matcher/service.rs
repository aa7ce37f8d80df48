//! What a matcher serves: candidates and inspection.

use std::sync::Arc;

use dovetail_core::{Cursor, Decided, EventId, ShardId, SliceId};
use dovetail_node::{
    action::{KnowsLess, SliceHello},
    link::Cursors,
    matcher::CandidatesMessage,
};
use futures::{StreamExt, stream};
use tonic::{Request, Response, Status, service::Routes};

use super::{
    engine::{CandidateSubscription, MatcherEvent, SubscribeAnswer},
    floor::ResultsFloor,
    node::{Node, slices},
};
use crate::{
    caller::Caller,
    fault::Fault,
    rpc::{self, Local, NodeCall},
    shutdown::Shutdown,
};
use dovetail::{
    pb::{
        self,
        inspect_service_server::{InspectService, InspectServiceServer},
    },
    reason::Reason,
    text,
};
use dovetail_wire::{
    NODE_MESSAGE_BYTES_MAX,
    node_pb::{
        self,
        candidates_response::Message,
        candidates_service_server::{CandidatesService, CandidatesServiceServer},
    },
};

/// Slices that an error names, at most.
const SHOWN_MAX: usize = 32;

struct Service {
    node: Arc<Node>,
    floor: Arc<ResultsFloor>,
    stop: Shutdown,
}

/// Adds the matcher's services, and offers them to the other nodes of the process.
pub(super) fn add(routes: Routes, node: &Arc<Node>, stop: &Shutdown) -> Routes {
    let floor = Arc::<ResultsFloor>::default();
    let service = || Service { node: Arc::clone(node), floor: Arc::clone(&floor), stop: stop.clone() };
    node.offer(Local::Candidates(Arc::new(service())));
    let candidates = CandidatesServiceServer::new(service()).max_encoding_message_size(NODE_MESSAGE_BYTES_MAX);
    routes.add_service(candidates).add_service(InspectServiceServer::new(service()))
}

type CandidateStream = rpc::ResponseStream<node_pb::CandidatesResponse>;

#[tonic::async_trait]
impl CandidatesService for Service {
    type CandidatesStream = CandidateStream;

    async fn candidates(
        &self,
        request: Request<node_pb::CandidatesRequest>,
    ) -> Result<Response<CandidateStream>, Status> {
        self.node.identity.admit(NodeCall::Candidates, &request, request.get_ref().peer.as_ref())?;
        let (caller, request) = (Caller::of(request.extensions()), request.into_inner());
        let peer = request.peer.as_ref();
        let (shard, shards) = (ShardId(request.shard), self.node.placement.shards());
        if shard.0 >= shards {
            let text = format!("shard {shard} is not below {shards}");
            let fault = Fault::new(Reason::OutOfBounds, text).at("shard");
            return Err(fault.with("value", shard.0).with("bound", shards).into());
        }
        // A gatherer is the shard of its index. Who asks for another's would take its place.
        if let Some(peer) = request.peer.as_ref().filter(|peer| peer.index != shard.0) {
            let text = format!("gatherer {} asks for the candidates of shard {shard}", peer.index);
            return Err(Fault::new(Reason::OutOfBounds, text).at("shard").with("value", shard.0).into());
        }
        let cursors = cursors(&self.node, &request.cursors)?;
        let peer = peer.expect("it was checked");
        let reading = self.node.readers.take(peer, caller.as_ref()).await?;
        let subscribed = self.subscribe(shard, cursors, Decided(EventId(request.decided_seen_min)));
        let CandidateSubscription { first, live } = reading.meanwhile(subscribed).await?;
        let live = tokio_stream::wrappers::ReceiverStream::new(live);
        let own = self.node.identity.pb();
        let messages = stream::iter(first).chain(live).flat_map(move |message| stream::iter(encode(&own, &message)));
        let messages = messages.map(|message| Ok(node_pb::CandidatesResponse { message: Some(message) }));
        Ok(Response::new(rpc::until_stopped(reading.of(messages), self.stop.clone())))
    }
}

/// A message as one of the wire, or as several when it is large.
fn encode(peer: &node_pb::Peer, message: &CandidatesMessage) -> Vec<Message> {
    let hello = |hello: &SliceHello| node_pb::SliceHello {
        slice: hello.slice.0,
        decided_seen_min: hello.decided_seen.event().0,
        floor: hello.floor.event().0,
    };
    match message {
        CandidatesMessage::Hello(slices) => {
            let slices = slices.iter().map(hello).collect();
            vec![Message::Hello(node_pb::CandidatesHello { peer: Some(peer.clone()), slices })]
        }
        CandidatesMessage::Frames(frames) => {
            dovetail_wire::candidate_parts(frames).into_iter().map(Message::Frames).collect()
        }
    }
}

impl Service {
    /// Subscribes. What a reader says that it needs is believed once the balancer says so itself, who is asked here.
    async fn subscribe(
        &self,
        shard: ShardId,
        cursors: Cursors,
        decided_seen_min: Decided,
    ) -> Result<CandidateSubscription, Status> {
        let asked = self.node.ask(|reply| MatcherEvent::Subscribe { shard, cursors, decided_seen_min, reply });
        let stream = match asked.await? {
            SubscribeAnswer::Reads(subscription) => return Ok(subscription),
            SubscribeAnswer::AskResultsFloor(stream) => stream,
            SubscribeAnswer::Refused(_) => unreachable!("nobody is refused before the balancer was asked"),
        };
        let floor = self.floor.get(&self.node).await?;
        match self.node.ask(|reply| MatcherEvent::ResultsFloor { stream, floor, reply }).await? {
            SubscribeAnswer::Reads(subscription) => Ok(subscription),
            SubscribeAnswer::Refused(less) => Err(knows_less(less, decided_seen_min, floor)),
            SubscribeAnswer::AskResultsFloor(_) => unreachable!("the balancer was asked"),
        }
    }
}

fn knows_less(KnowsLess { slice, decided_seen }: KnowsLess, decided_seen_min: Decided, floor: EventId) -> Status {
    let text = format!(
        "{slice} keeps frames whose decided_seen is {decided_seen}, and decided_seen_min is {decided_seen_min}; the balancer keeps retirements above {floor}"
    );
    Fault::new(Reason::CursorTooOld, text)
        .at("decided_seen_min")
        .with("value", decided_seen_min.event().0)
        .with("bound", decided_seen.event().0)
        .into()
}

/// Refuses a gatherer that does not ask for exactly the slices that run here: it would wait for the others for ever.
fn cursors(node: &Node, asked: &[node_pb::SliceCursor]) -> Result<Cursors, Status> {
    let own: Vec<SliceId> = slices(node).collect();
    // No more of them than there can be are looked at.
    let cursors = asked.iter().take(own.len() + 1).map(|cursor| (SliceId(cursor.slice), Cursor(EventId(cursor.after))));
    if let Some(cursors) = Cursors::of_slices(cursors.collect(), &own) {
        return Ok(cursors);
    }
    let named = |slices: &mut dyn Iterator<Item = SliceId>| {
        slices.take(SHOWN_MAX).map(|slice| slice.to_string()).collect::<Vec<_>>().join(", ")
    };
    let asked = named(&mut asked.iter().map(|cursor| SliceId(cursor.slice)));
    let asked = text::cut(asked, text::ECHO_BYTES_MAX);
    let text = format!(
        "matcher {} runs {}, but [{asked}] were asked for; do both run the same version?",
        node.identity.index,
        named(&mut own.into_iter()),
    );
    Err(Fault::new(Reason::OutOfBounds, text).at("cursors").into())
}

#[tonic::async_trait]
impl InspectService for Service {
    async fn inspect(&self, request: Request<pb::InspectRequest>) -> Result<Response<pb::InspectResponse>, Status> {
        let told = |state: pb::MatcherState| {
            let highest = state.slices.iter().map(|slice| slice.through).max();
            (highest.unwrap_or_default(), pb::inspect_response::State::Matcher(state))
        };
        self.node.inspected(&request, |reply| MatcherEvent::Inspect { reply }, told).await
    }
}
