//! What every node serves of its process: whether it is the one that calls itself so. Matchers and gatherers are told
//! here which balancer writes.

use tonic::{Request, Response, Status, service::Routes};

use super::{Follower, NodeIdentity};
use crate::fault::Fault;
use dovetail::reason::Reason;
use dovetail_wire::node_pb::{
    self,
    node_service_server::{NodeService, NodeServiceServer},
};

/// The service.
#[derive(Debug)]
pub struct Process {
    identity: NodeIdentity,
    follower: Option<Follower>,
}

impl Process {
    /// Adds it for a node; with who follows the balancer that writes, if it is none itself.
    pub fn add(routes: Routes, identity: &NodeIdentity, follower: Option<Follower>) -> Routes {
        // The edge bounds its requests, as it does those of all calls between nodes.
        routes.add_service(NodeServiceServer::new(Process { identity: identity.clone(), follower }))
    }
}

#[tonic::async_trait]
impl NodeService for Process {
    async fn confirm(
        &self,
        request: Request<node_pb::ConfirmRequest>,
    ) -> Result<Response<node_pb::ConfirmResponse>, Status> {
        let own = self.identity.is_process(request.into_inner().instance);
        Ok(Response::new(node_pb::ConfirmResponse { own }))
    }

    async fn follow(
        &self,
        request: Request<node_pb::FollowRequest>,
    ) -> Result<Response<node_pb::FollowResponse>, Status> {
        let Some(follower) = &self.follower else {
            let text = "this is a balancer, and follows none; matchers and gatherers do";
            return Err(Fault::new(Reason::OtherNode, text).into());
        };
        Ok(Response::new(follower.follow(&self.identity, request).await?))
    }
}
