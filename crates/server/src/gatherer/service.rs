//! What a gatherer serves: decisions and inspection.

use std::sync::{Arc, atomic::Ordering};

use dovetail_core::{Cursor, EventId, ShardId};
use dovetail_node::{BalancerId, MatcherId, NodeId, gatherer::DecisionMessage};
use futures::{StreamExt, stream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, service::Routes};

use super::{
    engine::{self, DecisionSubscription, GathererEvent},
    node::{Node, own_shard},
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
};
use dovetail_wire::{
    NODE_MESSAGE_BYTES_MAX,
    node_pb::{
        self,
        decisions_response::Message,
        decisions_service_server::{DecisionsService, DecisionsServiceServer},
    },
};

struct Service {
    node: Arc<Node>,
    stop: Shutdown,
}

/// Adds the gatherer's services, and offers them to the other nodes of the process.
pub(super) fn add(routes: Routes, node: &Arc<Node>, stop: &Shutdown) -> Routes {
    let service = || Service { node: Arc::clone(node), stop: stop.clone() };
    node.offer(Local::Decisions(Arc::new(service())));
    let decisions = DecisionsServiceServer::new(service()).max_encoding_message_size(NODE_MESSAGE_BYTES_MAX);
    routes.add_service(decisions).add_service(InspectServiceServer::new(service()))
}

type DecisionStream = rpc::ResponseStream<node_pb::DecisionsResponse>;

#[tonic::async_trait]
impl DecisionsService for Service {
    type DecisionsStream = DecisionStream;

    async fn decisions(&self, request: Request<node_pb::DecisionsRequest>) -> Result<Response<DecisionStream>, Status> {
        let identity = &self.node.identity;
        identity.admit(NodeCall::Decisions, &request, request.get_ref().peer.as_ref())?;
        let (caller, request) = (Caller::of(request.extensions()), request.into_inner());
        let peer = request.peer.as_ref().expect("it was checked");
        let node = match peer.role() {
            pb::Role::Gatherer => {
                if peer.index >= self.node.placement.shards() || peer.index == identity.index {
                    let own = own_shard(&self.node);
                    let text = format!("shard {own} has no peer g{}", peer.index);
                    return Err(Fault::new(Reason::OutOfBounds, text)
                        .at("peer.index")
                        .with("value", peer.index)
                        .into());
                }
                NodeId::Gatherer(ShardId(peer.index))
            }
            pb::Role::Balancer => NodeId::Balancer(BalancerId(peer.index)),
            pb::Role::Matcher | pb::Role::Unspecified => NodeId::Matcher(MatcherId(peer.index)),
        };
        let after = EventId(request.after);
        let reading = self.node.readers.take(peer, caller.as_ref()).await?;
        if peer.term > 0 {
            // It may be a balancer that has just taken over. Who is not believed reads all the same.
            let (follower, peer, caller) = (self.node.follower.clone(), peer.clone(), caller.clone());
            tokio::spawn(async move { follower.hear(&peer, caller.as_ref()).await });
        }
        let subscribed = self.node.ask(|reply| GathererEvent::Subscribe { node, after: Cursor(after), reply });
        let DecisionSubscription { first, live, unread } = reading.meanwhile(subscribed).await?;
        let live = ReceiverStream::new(live).inspect(move |message| {
            unread.fetch_sub(engine::decisions(message), Ordering::Relaxed);
        });
        let peer = identity.pb();
        let messages = stream::iter(first).chain(live).flat_map(move |message| stream::iter(encode(&peer, &message)));
        let responses = messages.map(|message| Ok(node_pb::DecisionsResponse { message: Some(message) }));
        Ok(Response::new(rpc::until_stopped(reading.of(responses), self.stop.clone())))
    }
}

/// A message as one of the wire, or as several when it is large.
fn encode(peer: &node_pb::Peer, message: &DecisionMessage) -> Vec<Message> {
    match message {
        DecisionMessage::Hello { floor } => {
            vec![Message::Hello(node_pb::DecisionsHello { peer: Some(peer.clone()), floor: floor.event().0 })]
        }
        DecisionMessage::Frame(frame) => dovetail_wire::decision_parts(frame).into_iter().map(Message::Frame).collect(),
    }
}

#[tonic::async_trait]
impl InspectService for Service {
    async fn inspect(&self, request: Request<pb::InspectRequest>) -> Result<Response<pb::InspectResponse>, Status> {
        let told = |state: pb::GathererState| {
            let highest = state.slices.iter().map(|slice| slice.through).max();
            (highest.unwrap_or_default(), pb::inspect_response::State::Gatherer(state))
        };
        self.node.inspected(&request, |reply| GathererEvent::Inspect { reply }, told).await
    }
}
