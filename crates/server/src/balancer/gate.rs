//! The way to what a balancer serves while it follows its log, writes it, or begins anew: a session of it at a time.
//!
//! What only the balancer that writes does, others refuse, and say which one that is: the log, the cut, stored
//! retirements, and all that clients ask but what is true of any log that has come as far. That is watches, and an
//! element as of a position. Invariant: gate.G1 nothing is asked of a session that has ended.

use std::sync::{Arc, PoisonError, RwLock};

use tonic::{Request, Response, Status, Streaming, service::Routes};

use super::{
    clients, nodes,
    reign::{self, Place, Writes},
};
use crate::{
    rpc::{Links, Local, NodeIdentity, Process, ResponseStream},
    settings::Settings,
};
use dovetail::pb::{
    self,
    inspect_service_server::{InspectService, InspectServiceServer},
    match_service_server::{MatchService, MatchServiceServer},
    operate_service_server::{OperateService, OperateServiceServer},
};
use dovetail_wire::{
    NODE_MESSAGE_BYTES_MAX,
    node_pb::{
        self,
        feed_service_server::{FeedService, FeedServiceServer},
    },
};

/// What a session serves.
pub(super) struct Session {
    pub(super) clients: clients::Service,
    pub(super) nodes: nodes::Service,
    pub(super) place: tokio::sync::watch::Receiver<Place>,
}

/// The way to the session there is. Clones are of the same.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<RwLock<Way>>);

#[derive(Default)]
struct Way {
    session: Option<Arc<Session>>,
    /// Who wrote when the last session ended.
    writes: Option<Writes>,
}

impl Gate {
    /// Opens the way to a session.
    pub(super) fn open(&self, session: Session) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).session = Some(Arc::new(session));
    }

    /// Closes it, when a session has ended.
    pub(super) fn close(&self) {
        let mut way = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = way.session.take()
            && let Place::StandsBy(writes) = &*session.place.borrow()
        {
            way.writes.clone_from(writes);
        }
    }

    /// The session, whether it writes or not.
    fn any(&self) -> Result<Arc<Session>, Status> {
        let way = self.0.read().unwrap_or_else(PoisonError::into_inner);
        way.session.clone().ok_or_else(|| reign::stands_by(way.writes.as_ref()))
    }

    /// The session, if it writes.
    fn active(&self) -> Result<Arc<Session>, Status> {
        let session = self.any()?;
        session.place.borrow().check_active()?;
        Ok(session)
    }

    /// Adds all services, and offers those for nodes to the others of the process.
    pub(super) fn add(&self, routes: Routes, identity: &NodeIdentity, settings: &Settings, links: &Links) -> Routes {
        links.offer(settings.node.address(), Local::Feed(Arc::new(self.clone())));
        let most = settings.node.limits.message_bytes_max;
        let feed = FeedServiceServer::new(self.clone()).max_encoding_message_size(NODE_MESSAGE_BYTES_MAX);
        let routes = routes
            .add_service(MatchServiceServer::new(self.clone()).max_decoding_message_size(most))
            .add_service(feed)
            .add_service(InspectServiceServer::new(self.clone()))
            .add_service(OperateServiceServer::new(self.clone()));
        Process::add(routes, identity, None)
    }
}

#[tonic::async_trait]
impl MatchService for Gate {
    type SubmitStream = ResponseStream<pb::SubmitResponse>;
    type WatchMatchesStream = ResponseStream<pb::WatchMatchesResponse>;
    type WatchOutcomesStream = ResponseStream<pb::WatchOutcomesResponse>;

    async fn submit(
        &self,
        request: Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let session = self.active()?;
        session.clients.submit(request).await
    }

    async fn submit_one(
        &self,
        request: Request<pb::SubmitOneRequest>,
    ) -> Result<Response<pb::SubmitOneResponse>, Status> {
        let session = self.active()?;
        session.clients.submit_one(request).await
    }

    async fn withdraw(&self, request: Request<pb::WithdrawRequest>) -> Result<Response<pb::WithdrawResponse>, Status> {
        let session = self.active()?;
        session.clients.withdraw(request).await
    }

    async fn get_element(
        &self,
        request: Request<pb::GetElementRequest>,
    ) -> Result<Response<pb::GetElementResponse>, Status> {
        let session = if request.get_ref().position > 0 { self.any()? } else { self.active()? };
        session.clients.get_element(request).await
    }

    async fn list_elements(
        &self,
        request: Request<pb::ListElementsRequest>,
    ) -> Result<Response<pb::ListElementsResponse>, Status> {
        let session = self.active()?;
        session.clients.list_elements(request).await
    }

    async fn withdraw_elements(
        &self,
        request: Request<pb::WithdrawElementsRequest>,
    ) -> Result<Response<pb::WithdrawElementsResponse>, Status> {
        let session = self.active()?;
        session.clients.withdraw_elements(request).await
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Result<Response<pb::ExplainResponse>, Status> {
        let session = self.active()?;
        session.clients.explain(request).await
    }

    async fn watch_matches(
        &self,
        request: Request<pb::WatchMatchesRequest>,
    ) -> Result<Response<Self::WatchMatchesStream>, Status> {
        let session = if request.get_ref().until_settled { self.active()? } else { self.any()? };
        session.clients.watch_matches(request).await
    }

    async fn watch_outcomes(
        &self,
        request: Request<pb::WatchOutcomesRequest>,
    ) -> Result<Response<Self::WatchOutcomesStream>, Status> {
        let session = if request.get_ref().until_settled { self.active()? } else { self.any()? };
        session.clients.watch_outcomes(request).await
    }

    async fn define_pool(
        &self,
        request: Request<pb::DefinePoolRequest>,
    ) -> Result<Response<pb::DefinePoolResponse>, Status> {
        let session = self.active()?;
        session.clients.define_pool(request).await
    }

    async fn drop_pool(&self, request: Request<pb::DropPoolRequest>) -> Result<Response<pb::DropPoolResponse>, Status> {
        let session = self.active()?;
        session.clients.drop_pool(request).await
    }

    async fn list_pools(
        &self,
        request: Request<pb::ListPoolsRequest>,
    ) -> Result<Response<pb::ListPoolsResponse>, Status> {
        let session = self.active()?;
        session.clients.list_pools(request).await
    }

    async fn get_pool(&self, request: Request<pb::GetPoolRequest>) -> Result<Response<pb::GetPoolResponse>, Status> {
        let session = self.active()?;
        session.clients.get_pool(request).await
    }
}

#[tonic::async_trait]
impl FeedService for Gate {
    type FeedStream = ResponseStream<node_pb::FeedResponse>;
    type RetirementsStream = ResponseStream<node_pb::RetirementsResponse>;

    async fn feed(&self, request: Request<node_pb::FeedRequest>) -> Result<Response<Self::FeedStream>, Status> {
        let session = self.active()?;
        session.nodes.feed(request).await
    }

    async fn cut(&self, request: Request<node_pb::CutRequest>) -> Result<Response<node_pb::CutResponse>, Status> {
        let session = self.active()?;
        session.nodes.cut(request).await
    }

    async fn retirements(
        &self,
        request: Request<node_pb::RetirementsRequest>,
    ) -> Result<Response<Self::RetirementsStream>, Status> {
        let session = self.active()?;
        session.nodes.retirements(request).await
    }
}

#[tonic::async_trait]
impl OperateService for Gate {
    async fn accept_clock(
        &self,
        request: Request<pb::AcceptClockRequest>,
    ) -> Result<Response<pb::AcceptClockResponse>, Status> {
        let session = self.active()?;
        session.nodes.accept_clock(request).await
    }
}

#[tonic::async_trait]
impl InspectService for Gate {
    async fn inspect(&self, request: Request<pb::InspectRequest>) -> Result<Response<pb::InspectResponse>, Status> {
        let session = self.any()?;
        session.nodes.inspect(request).await
    }
}
