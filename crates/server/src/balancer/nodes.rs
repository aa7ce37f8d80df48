//! What other nodes and operators use: the feed, the cut, the stored retirements, and inspection.

use std::{collections::BTreeSet, sync::Arc};

use dovetail_core::{
    Cursor, ElementId, EventId, PoolDefinition, PoolId, SliceId, Stable,
    ledger::{CUT_KEPT_BYTES_MAX, CUT_KEPT_MAX},
    planted::Planted,
    shard::Fetch,
    slice::{SliceCut, WaitingElement},
};
use dovetail_node::balancer::{Feed, LogSpan, ResultsSpan, check_fetch};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    errors, feed_reader,
    messages::{CutPart, CutReader, ElementScan, Event, OwnedBy},
    node::Node,
};
use crate::{
    auth::{Access, audit::AuditEvent},
    caller::Caller,
    crash,
    fault::Fault,
    rpc::{self, NodeCall, ResponseStream},
    shutdown::Shutdown,
};
use dovetail::{
    pb::{self, inspect_service_server::InspectService, operate_service_server::OperateService},
    reason::Reason,
};
use dovetail_wire::{
    Filling,
    node_pb::{self, feed_response::Message, feed_service_server::FeedService},
    storage_pb,
};

/// What a session serves to nodes and operators.
pub(super) struct Service {
    node: Arc<Node>,
    stop: Shutdown,
}

impl Service {
    /// Of a session that ends with the signal.
    pub(super) fn new(node: &Arc<Node>, stop: &Shutdown) -> Service {
        Service { node: Arc::clone(node), stop: stop.clone() }
    }
}

#[tonic::async_trait]
impl FeedService for Service {
    type FeedStream = ResponseStream<node_pb::FeedResponse>;
    type RetirementsStream = ResponseStream<node_pb::RetirementsResponse>;

    async fn feed(&self, request: Request<node_pb::FeedRequest>) -> Result<Response<Self::FeedStream>, Status> {
        let node = &self.node;
        let peer = request.get_ref().peer.as_ref();
        let admitted = node.identity.admit(NodeCall::Feed, &request, peer);
        admitted.inspect_err(|refusal| node.feed_readers.refused(peer, refusal.message()))?;
        let (caller, request) = (Caller::of(request.extensions()), request.into_inner());
        let peer = request.peer.as_ref();
        let refused = |refusal: &Status| node.feed_readers.refused(peer, refusal.message());
        let slices = check_slices(node, &request.slices)?;
        let reading = node.feeds.take(peer.expect("it was checked"), caller.as_ref()).await.inspect_err(refused)?;
        let log = LogSpan { floor: node.frames.floor(), durable: node.frames.head() };
        let feed = Feed::on_subscribe(slices.clone(), request.after.map(EventId).map(Cursor), log, Planted::default());
        let mut feed = feed.map_err(errors::feed)?;
        let cut = match request.after {
            Some(_) => None,
            None => {
                let peer = peer.expect("it was checked");
                let reading = node.cuts.take(peer, caller.as_ref()).await.inspect_err(refused)?;
                let (cut, reader) = node.look(|reply| ElementScan::BeginCut { matcher: peer.index, reply }).await?;
                feed.on_cut(Stable(cut.through));
                Some((cut, reader, reading))
            }
        };
        let reads = node.feed_readers.come(peer);
        let hello = node_pb::FeedHello { peer: Some(node.identity.pb()), after: feed.cursor().event().0 };
        let of = Arc::clone(node);
        let first = stream::once(async { Ok(Message::Hello(hello)) });
        let placement = node.placement.clone();
        let owned: Arc<dyn OwnedBy> = Arc::new(move |place| slices.contains(&placement.owner(place)));
        let parts = stream::iter(cut).flat_map(move |(cut, reader, reading)| {
            reading.of(cut_parts(Arc::clone(&of), (cut, reader), Arc::clone(&owned)))
        });
        let parts = parts.map(|part| part.map(Message::Cut));
        let messages = first.chain(parts).chain(feed_reader::frames_and_stable(Arc::clone(node), feed));
        let responses = messages.map(move |message| {
            let _ = &reads;
            message.map(|message| node_pb::FeedResponse { message: Some(message) })
        });
        Ok(Response::new(rpc::until_stopped(reading.of(responses), self.stop.clone())))
    }

    async fn cut(&self, request: Request<node_pb::CutRequest>) -> Result<Response<node_pb::CutResponse>, Status> {
        self.node.identity.admit(NodeCall::Cut, &request, request.get_ref().peer.as_ref())?;
        let cut = *self.node.stable.borrow();
        let results_floor = self.node.outcomes.floor().event().0;
        Ok(Response::new(node_pb::CutResponse {
            peer: Some(self.node.identity.pb()),
            cut: cut.event().0,
            results_floor,
        }))
    }

    async fn retirements(
        &self,
        request: Request<node_pb::RetirementsRequest>,
    ) -> Result<Response<Self::RetirementsStream>, Status> {
        self.node.identity.admit(NodeCall::Retirements, &request, request.get_ref().peer.as_ref())?;
        let (caller, request) = (Caller::of(request.extensions()), request.into_inner());
        let peer = request.peer.as_ref();
        let (after, through, stable) = (EventId(request.after), EventId(request.through), *self.node.stable.borrow());
        let results = ResultsSpan { floor: self.node.outcomes.floor(), stable };
        check_fetch(Fetch { after, through }, results, Planted::default()).map_err(errors::fetch)?;
        let node = Arc::clone(&self.node);
        let reading = node.fetches.take(peer.expect("it was checked"), caller.as_ref()).await?;
        let parts = stream::try_unfold(after, move |cursor| {
            let node = Arc::clone(&node);
            async move {
                if cursor >= through {
                    return Ok(None);
                }
                let step = node.outcomes.after(Cursor(cursor)).await.map_err(errors::tail)?;
                let mut rest = step.entries.iter().map(|outcomes| outcomes.chunk()).flat_map(|chunk| {
                    let within = chunk.after(cursor)..chunk.after(through);
                    within.map(|index| chunk.retirement(index))
                });
                let retirements = dovetail_wire::retirement_part(rest.by_ref());
                // What did not fit is read again.
                let cut_off = rest.next().is_some();
                let last = retirements.last().filter(|_| cut_off).map(|last| last.x);
                let term = node.identity.pb().term;
                let part = node_pb::RetirementsResponse { term, ..dovetail_wire::retirements_pb(&retirements) };
                Ok(Some((part, last.unwrap_or(step.cursor.event()))))
            }
        });
        Ok(Response::new(rpc::until_stopped(reading.of(parts), self.stop.clone())))
    }
}

fn check_slices(node: &Node, slices: &[u32]) -> Result<BTreeSet<SliceId>, Status> {
    let most = node.placement.slices();
    match slices.iter().find(|&&slice| slice >= most) {
        Some(slice) => {
            let fault = Fault::new(Reason::OutOfBounds, format!("slice s{slice} is not below {most}")).at("slices");
            Err(fault.with("value", slice).with("bound", most).into())
        }
        None => Ok(slices.iter().copied().map(SliceId).collect()),
    }
}

/// The parts of a cut, the last one marked. The elements are read from the engine as the parts are sent.
fn cut_parts(
    node: Arc<Node>,
    (cut, reader): (SliceCut, CutReader),
    owned: Arc<dyn OwnedBy>,
) -> impl Stream<Item = Result<node_pb::CutPart, Status>> {
    let first = stream::iter(split_cut(cut)).map(Ok);
    let through = reader.cutting.through();
    let elements = stream::try_unfold(Some(reader), move |reader| {
        let (node, owned) = (Arc::clone(&node), Arc::clone(&owned));
        async move {
            let Some(reader) = reader else { return Ok(None) };
            let part = node.look(|reply| ElementScan::CutPart { reader, owned, reply }).await?;
            let CutPart { waiting, reader } = part.map_err(|_| cut_gone(through))?;
            let last = reader.is_none().then(|| node_pb::CutPart { last: true, ..Default::default() });
            let parts = split_cut(SliceCut { waiting, ..SliceCut::default() }).chain(last);
            Ok::<_, Status>(Some((stream::iter(parts).map(Ok::<_, Status>), reader)))
        }
    });
    first.chain(elements.try_flatten())
}

fn cut_gone(through: EventId) -> Status {
    let text = format!(
        "the cut at {through} was read so slowly that more than {CUT_KEPT_MAX} elements or {CUT_KEPT_BYTES_MAX} bytes of them \
         ended meanwhile, or it was begun again: begin again"
    );
    Fault::new(Reason::CursorTooOld, text).with("bound", CUT_KEPT_MAX).into()
}

/// What a cut says, in messages that are not the last.
fn split_cut(cut: SliceCut) -> impl Iterator<Item = node_pb::CutPart> {
    enum Item {
        Pool(PoolId, Arc<PoolDefinition>),
        Complete(PoolId),
        LeftOut(ElementId),
        Waiting(WaitingElement),
    }
    let pools = cut.pools.into_iter().map(|(pool, definition)| Item::Pool(pool, definition));
    let (complete, left_out) =
        (cut.complete.into_iter().map(Item::Complete), cut.left_out.into_iter().map(Item::LeftOut));
    let mut items = pools.chain(complete).chain(left_out).chain(cut.waiting.into_iter().map(Item::Waiting));
    let (mut part, mut filling) = (node_pb::CutPart::default(), Filling::default());
    std::iter::from_fn(move || {
        crash::point("balancer.cut.send");
        for item in items.by_ref() {
            let mut next = node_pb::CutPart::default();
            match item {
                Item::Pool(pool, definition) => {
                    let definition = Some(dovetail_wire::pool_definition_pb(&definition));
                    next.pools.push(storage_pb::PoolDefined { pool: pool.0, definition });
                }
                Item::Complete(pool) => next.complete_pools.push(pool.0),
                Item::LeftOut(element) => next.retired.push(element.0),
                Item::Waiting(waiting) => next.waiting.push(dovetail_wire::waiting_pb(&waiting)),
            }
            if filling.begins_next(next.encoded_len()) {
                return Some(std::mem::replace(&mut part, next));
            }
            part.pools.append(&mut next.pools);
            part.complete_pools.append(&mut next.complete_pools);
            part.retired.append(&mut next.retired);
            part.waiting.append(&mut next.waiting);
        }
        let rest = std::mem::take(&mut part);
        (rest != node_pb::CutPart::default()).then_some(rest)
    })
}

#[tonic::async_trait]
impl OperateService for Service {
    async fn accept_clock(
        &self,
        request: Request<pb::AcceptClockRequest>,
    ) -> Result<Response<pb::AcceptClockResponse>, Status> {
        let access = Access::of(request.extensions());
        let (ahead_ms, event_ms) = self.node.ask(|reply| Event::AcceptClock { reply }).await?;
        access.tell(AuditEvent::ClockAccepted, |line| line.ahead_ms(ahead_ms));
        Ok(Response::new(pb::AcceptClockResponse { ahead_ms, event_ms }))
    }
}

#[tonic::async_trait]
impl InspectService for Service {
    async fn inspect(&self, request: Request<pb::InspectRequest>) -> Result<Response<pb::InspectResponse>, Status> {
        let caller = Caller::of(request.extensions());
        self.node.inspected.answer_whole(caller.as_ref(), || self.node.inspect()).await
    }
}

impl Node {
    /// What it says of itself.
    async fn inspect(&self) -> Result<pb::InspectResponse, Status> {
        let mut state = self.ask(|reply| Event::Inspect { reply }).await?;
        state.pools.sort_by(|a, b| a.pool.cmp(&b.pool));
        state.client_streams = (self.watchers.taken() + self.submit_streams.taken()) as u64;
        let mut response =
            rpc::inspect(&self.identity, &self.settings.node.addresses, self.placement.ring(), self.started_ms);
        state.awaited = self.awaited();
        response.links = self.links.pb(EventId(state.durable));
        state.shards =
            response.links.iter().map(|link| pb::ShardProgress { shard: link.index, decided: link.cursor }).collect();
        response.state = Some(pb::inspect_response::State::Balancer(state));
        rpc::fit(&mut response);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use dovetail_rule::{AttributeType, Row, Value};

    use super::*;

    #[test]
    fn a_cut_of_many_pools_and_fat_elements_comes_in_parts_of_a_mebibyte_and_says_the_same() {
        let attributes: Vec<_> = (0..64).map(|n| (format!("{n:064}"), AttributeType::StringList)).collect();
        let definition = |n: u32| PoolDefinition {
            name: format!("{n:064}"),
            attributes: attributes.clone(),
            rule: "r".repeat(1024),
            ttl_ms: 0,
            reprobe_ms: vec![u64::MAX; 32],
            waiting_max: 0,
            payload_bytes_max: 0,
        };
        let list = || Value::StringList((0..64).map(|_| "x".repeat(256).into()).collect());
        let row = Arc::new(Row::from_values((0..64).map(|_| Some(list())).collect::<Vec<_>>()));
        let waiting =
            |n| WaitingElement { element: ElementId(n), pool: PoolId(1), arrived_ms: 5, row: Arc::clone(&row) };
        let cut = SliceCut {
            through: EventId(1 << 40),
            pools: (0..2000).map(|n| (PoolId(n), Arc::new(definition(n)))).collect(),
            complete: (0..2000).map(PoolId).collect(),
            left_out: (0..300_000).map(|n| ElementId(u64::MAX - n)).collect(),
            waiting: (1..8).map(waiting).collect(),
        };
        let parts: Vec<node_pb::CutPart> = split_cut(cut.clone()).collect();
        let one_element = dovetail_wire::waiting_pb(&cut.waiting[0]).encoded_len() + 64;
        assert!(parts.iter().all(|part| part.encoded_len() <= dovetail_wire::PART_BYTES.max(one_element)));
        assert!(parts.iter().all(|part| !part.last) && parts.len() > 16, "{} parts", parts.len());
        let mut read = SliceCut { through: cut.through, ..SliceCut::default() };
        for part in parts {
            dovetail_wire::slice_cut_part(&mut read, part).unwrap();
        }
        assert_eq!(format!("{read:?}"), format!("{cut:?}"));
    }
}
