//! What every node serves of its process: whether it is the one that calls itself so.

use tonic::{Request, Response, Status, service::Routes};

use super::NodeIdentity;
use dovetail_wire::node_pb::{
    self,
    node_service_server::{NodeService, NodeServiceServer},
};

/// The service.
#[derive(Debug)]
pub struct Process(NodeIdentity);

impl Process {
    /// Adds it for a node.
    pub fn add(routes: Routes, identity: &NodeIdentity) -> Routes {
        // The edge bounds its requests, as it does those of all calls between nodes.
        routes.add_service(NodeServiceServer::new(Process(identity.clone())))
    }
}

#[tonic::async_trait]
impl NodeService for Process {
    async fn confirm(
        &self,
        request: Request<node_pb::ConfirmRequest>,
    ) -> Result<Response<node_pb::ConfirmResponse>, Status> {
        let own = self.0.is_process(request.into_inner().instance);
        Ok(Response::new(node_pb::ConfirmResponse { own }))
    }
}
