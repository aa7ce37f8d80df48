//! What every node serves of its process: whether it is the one that calls itself so.

use tonic::{Request, Response, Status, service::Routes};

use super::Identity;
use crate::pb::{
    self,
    node_service_server::{NodeService, NodeServiceServer},
};

/// Largest request, in bytes: it has one number.
const REQUEST_BYTES_MAX: usize = 1 << 10;

/// The service.
#[derive(Debug)]
pub struct Process(Identity);

impl Process {
    /// Adds it for a node.
    pub fn add(routes: Routes, identity: &Identity) -> Routes {
        let service = NodeServiceServer::new(Process(identity.clone()));
        routes.add_service(service.max_decoding_message_size(REQUEST_BYTES_MAX))
    }
}

#[tonic::async_trait]
impl NodeService for Process {
    async fn confirm(&self, request: Request<pb::ConfirmRequest>) -> Result<Response<pb::ConfirmResponse>, Status> {
        let own = self.0.is_process(request.into_inner().instance);
        Ok(Response::new(pb::ConfirmResponse { own }))
    }
}
