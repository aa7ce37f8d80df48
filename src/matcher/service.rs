//! What a matcher serves: candidates and inspection.

use std::sync::Arc;

use dovetail_core::{EventId, ShardId, SliceId};
use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status, service::Routes};

use super::{
    Node,
    engine::{Event, Subscription},
};
use crate::{
    convert, pb,
    pb::{
        candidates_response::Message,
        candidates_service_server::{CandidatesService, CandidatesServiceServer},
        inspect_service_server::{InspectService, InspectServiceServer},
    },
    rpc::{self, NODE_MESSAGE_BYTES_MAX},
    shutdown::Shutdown,
};

struct Service {
    node: Arc<Node>,
    stop: Shutdown,
}

/// Adds the matcher's services.
pub(super) fn add(routes: Routes, node: &Arc<Node>, stop: &Shutdown) -> Routes {
    let service = || Service { node: Arc::clone(node), stop: stop.clone() };
    let candidates = CandidatesServiceServer::new(service()).max_encoding_message_size(NODE_MESSAGE_BYTES_MAX);
    routes.add_service(candidates).add_service(InspectServiceServer::new(service()))
}

type CandidateStream = rpc::ResponseStream<pb::CandidatesResponse>;

#[tonic::async_trait]
impl CandidatesService for Service {
    type CandidatesStream = CandidateStream;

    async fn candidates(&self, request: Request<pb::CandidatesRequest>) -> Result<Response<CandidateStream>, Status> {
        let request = request.into_inner();
        self.node.identity.check(request.peer.as_ref())?;
        let (slice, shard) = (SliceId(request.slice), ShardId(request.shard));
        if !super::slices(&self.node).any(|own| own == slice) {
            let matcher = self.node.identity.index;
            return Err(Status::invalid_argument(format!("slice {slice} does not run on matcher {matcher}")));
        }
        let shards = self.node.placement.shards();
        if shard.0 >= shards {
            return Err(Status::invalid_argument(format!("shard {shard} is not below {shards}")));
        }
        let after = EventId(request.after);
        let known_min = EventId(request.known_min);
        let subscribed = self.node.ask(|reply| Event::Subscribe { slice, shard, after, known_min, reply }).await?;
        let (known, floor, frames) = match subscribed {
            Ok(Subscription { known, floor, backlog, live }) => {
                (known, floor, backlog_then_live(backlog, live).boxed())
            }
            // The hello alone says it: the reader sees that its cursor is below the floor.
            Err(behind) => (behind.floor, behind.floor, stream::empty().boxed()),
        };
        let hello = pb::CandidatesHello { peer: Some(self.node.identity.pb()), known: known.0, floor: floor.0 };
        let hello = stream::once(async { Message::Hello(hello) });
        let messages = hello.chain(frames).map(|message| Ok(pb::CandidatesResponse { message: Some(message) }));
        Ok(Response::new(rpc::until_stopped(messages, self.stop.clone())))
    }
}

fn backlog_then_live(
    backlog: Vec<Arc<dovetail_core::CandidateFrame>>,
    live: tokio::sync::mpsc::Receiver<Arc<dovetail_core::CandidateFrame>>,
) -> impl Stream<Item = Message> {
    stream::iter(backlog)
        .chain(tokio_stream::wrappers::ReceiverStream::new(live))
        .map(|frame| Message::Frame(convert::candidate_frame_pb(&frame)))
}

#[tonic::async_trait]
impl InspectService for Service {
    async fn inspect(&self, _: Request<pb::InspectRequest>) -> Result<Response<pb::InspectResponse>, Status> {
        // A node that starts has no state yet, but its links say what it waits for.
        let state = self.node.ask(|reply| Event::Inspect { reply }).await.ok();
        let through = state.iter().flat_map(|state| &state.slices).map(|slice| slice.through);
        let highest = through.max().unwrap_or_default();
        Ok(Response::new(self.node.inspect(highest, state.map(pb::inspect_response::State::Matcher))))
    }
}
