//! Routes to other nodes: over a socket, or by calling the service of a node of the same process.
//!
//! Both go to the same service, with the same messages. Within a process they are handed over as they are: nothing
//! is encoded, and columns of bytes are shared.

use std::sync::{Arc, Mutex, PoisonError};

use dovetail_node::{BalancerId, Term};
use tonic::{Request, Status, Streaming, transport::Channel};

use super::{ActiveBalancer, LinkError, dial::dial, responses::ResponseStream};
use crate::fault::Fault;
use dovetail::{Role, pb, reason::Reason, traffic::Traffic};
use dovetail_certs::NodeTrust;
use dovetail_wire::{
    NODE_MESSAGE_BYTES_MAX,
    node_pb::{
        self, candidates_service_client::CandidatesServiceClient, candidates_service_server::CandidatesService,
        decisions_service_client::DecisionsServiceClient, decisions_service_server::DecisionsService,
        feed_service_client::FeedServiceClient, feed_service_server::FeedService,
        node_service_client::NodeServiceClient,
    },
};

/// What a balancer serves to nodes.
pub type LocalFeed = dyn FeedService<
        FeedStream = ResponseStream<node_pb::FeedResponse>,
        RetirementsStream = ResponseStream<node_pb::RetirementsResponse>,
    >;
/// What a matcher serves to nodes.
pub type LocalCandidates = dyn CandidatesService<CandidatesStream = ResponseStream<node_pb::CandidatesResponse>>;
/// What a gatherer serves to nodes.
pub type LocalDecisions = dyn DecisionsService<DecisionsStream = ResponseStream<node_pb::DecisionsResponse>>;

/// The nodes of one process, by address. A node alone in its process has none.
#[derive(Clone, Debug, Default)]
pub struct LocalNodes(Arc<[LocalNode]>);

#[derive(Debug)]
struct LocalNode {
    address: String,
    service: Mutex<Option<Local>>,
}

/// The service of a node in this process.
#[derive(Clone)]
pub enum Local {
    /// Of the balancer.
    Feed(Arc<LocalFeed>),
    /// Of a matcher.
    Candidates(Arc<LocalCandidates>),
    /// Of a gatherer.
    Decisions(Arc<LocalDecisions>),
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Local::Feed(_) => "feed",
            Local::Candidates(_) => "candidates",
            Local::Decisions(_) => "decisions",
        })
    }
}

impl LocalNodes {
    /// Nodes that will offer their services under these addresses.
    pub fn new(addresses: impl IntoIterator<Item = String>) -> LocalNodes {
        let node = |address| LocalNode { address, service: Mutex::default() };
        LocalNodes(addresses.into_iter().map(node).collect())
    }

    /// Offers a service to the others of the process. Without others, nothing happens.
    pub fn offer(&self, address: &str, service: Local) {
        if let Some(neighbour) = self.find(address) {
            neighbour.set(Some(service));
        }
    }

    /// Takes all offers back, when the nodes have ended: a service has its node, and the node has its neighbours.
    pub fn part(&self) {
        self.0.iter().for_each(|neighbour| neighbour.set(None));
    }

    fn find(&self, address: &str) -> Option<&LocalNode> {
        self.0.iter().find(|neighbour| neighbour.address == address)
    }

    /// None when no node of this process has the address.
    fn service(&self, address: &str) -> Option<Result<Local, Status>> {
        let service = self.find(address)?.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(service.ok_or_else(|| Fault::new(Reason::NodeStarting, "the node is starting, or has stopped").into()))
    }
}

impl LocalNode {
    fn set(&self, service: Option<Local>) {
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = service;
    }
}

/// The route to one node: over sockets, or by calls within the process.
#[derive(Clone, Debug)]
pub struct Route {
    address: String,
    traffic: Traffic,
    neighbours: LocalNodes,
    trust: NodeTrust,
    /// Of a balancer, which one it is.
    balancer: Option<(ActiveBalancer, BalancerId)>,
}

/// What follows of a response.
pub enum Messages<T> {
    /// From a socket.
    Remote(Box<Streaming<T>>),
    /// From a node of this process.
    Local(ResponseStream<T>),
}

impl<T> std::fmt::Debug for Messages<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Messages::Remote(_) => "messages from a socket",
            Messages::Local(_) => "messages of this process",
        })
    }
}

impl<T> Messages<T> {
    /// The next; None at the end.
    ///
    /// # Errors
    /// With what ended the stream before that.
    pub async fn message(&mut self) -> Result<Option<T>, Status> {
        use futures::TryStreamExt as _;
        match self {
            Messages::Remote(stream) => stream.message().await,
            Messages::Local(stream) => stream.try_next().await,
        }
    }
}

impl Route {
    /// To the node at `address`, which has to be one that is trusted.
    pub fn new(address: &str, neighbours: &LocalNodes, trust: NodeTrust) -> Route {
        let (address, neighbours) = (address.to_owned(), neighbours.clone());
        Route { address, traffic: Traffic::default(), neighbours, trust, balancer: None }
    }

    /// The same of a balancer, whose answers are taken only while none of a later term was heard of.
    #[must_use]
    pub fn of_balancer(self, active: &ActiveBalancer, balancer: BalancerId) -> Route {
        Route { balancer: Some((active.clone(), balancer)), ..self }
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What went through its sockets; nothing when there are none.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Refuses an answer of another node than the one that was dialled: an address in the wrong place of the settings.
    /// With certificates, its certificate was that of the right one; this is for when there are none.
    ///
    /// # Errors
    /// FAILED_PRECONDITION, with both.
    pub fn check(&self, peer: Option<&node_pb::Peer>) -> Result<(), Status> {
        let (Some(wanted), Some(peer)) = (&self.trust.wanted, peer) else { return Ok(()) };
        if (pb::Role::from(wanted.role), wanted.index) == (peer.role(), peer.index) {
            return Ok(());
        }
        let found = Role::try_from(peer.role()).map_or("a node of no role", Role::name);
        let address = &self.address;
        let text = format!(
            "{wanted} was dialled at {address}, but the node that answers says that it is {found} {}",
            peer.index
        );
        Err(Fault::new(Reason::PeerDiffers, text).into())
    }

    /// Refuses an answer of another node, as [`check`](Route::check) does, and one of a balancer that is over.
    ///
    /// # Errors
    /// With the nodes, or the terms.
    pub fn check_answer(&self, peer: Option<&node_pb::Peer>) -> Result<(), LinkError> {
        self.check(peer)?;
        self.check_term(peer.and_then(|peer| super::term(peer.term)))
    }

    /// Refuses what a balancer says in a term, when a later one was heard of.
    ///
    /// # Errors
    /// With both.
    pub fn check_term(&self, term: Option<Term>) -> Result<(), LinkError> {
        self.balancer.as_ref().map_or(Ok(()), |(active, balancer)| active.on_answer(*balancer, term))
    }

    fn channel(&self) -> Result<Channel, Status> {
        let several = self.balancer.as_ref().is_some_and(|(active, _)| active.addresses().len() > 1);
        dial(&self.address, &self.traffic, self.trust.clone(), several)
            .map_err(|error| Status::invalid_argument(format!("{}: {error}", self.address)))
    }

    /// The service of a node of this process, if it leads to one; `of_role` tells one of the right role.
    fn local<S>(&self, of_role: impl FnOnce(&Local) -> Option<S>) -> Result<Option<S>, Status> {
        let Some(local) = self.neighbours.service(&self.address).transpose()? else { return Ok(None) };
        let other = || Status::unimplemented(format!("the node at {} serves {local:?}", self.address));
        of_role(&local).map(Some).ok_or_else(other)
    }

    fn local_feed(&self) -> Result<Option<Arc<LocalFeed>>, Status> {
        self.local(|local| if let Local::Feed(service) = local { Some(Arc::clone(service)) } else { None })
    }

    fn local_candidates(&self) -> Result<Option<Arc<LocalCandidates>>, Status> {
        self.local(|local| if let Local::Candidates(service) = local { Some(Arc::clone(service)) } else { None })
    }

    fn local_decisions(&self) -> Result<Option<Arc<LocalDecisions>>, Status> {
        self.local(|local| if let Local::Decisions(service) = local { Some(Arc::clone(service)) } else { None })
    }

    fn remote_feed(&self) -> Result<FeedServiceClient<Channel>, Status> {
        Ok(FeedServiceClient::new(self.channel()?).max_decoding_message_size(NODE_MESSAGE_BYTES_MAX))
    }

    fn remote_candidates(&self) -> Result<CandidatesServiceClient<Channel>, Status> {
        Ok(CandidatesServiceClient::new(self.channel()?).max_decoding_message_size(NODE_MESSAGE_BYTES_MAX))
    }

    fn remote_decisions(&self) -> Result<DecisionsServiceClient<Channel>, Status> {
        Ok(DecisionsServiceClient::new(self.channel()?).max_decoding_message_size(NODE_MESSAGE_BYTES_MAX))
    }

    /// Asks the node whether it is the process that calls itself so.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn confirm(&self, instance: u64) -> Result<bool, Status> {
        let mut node = NodeServiceClient::new(self.channel()?);
        Ok(node.confirm(node_pb::ConfirmRequest { instance }).await?.into_inner().own)
    }

    /// Tells the node that this balancer writes, and what it answers.
    ///
    /// # Errors
    /// When it refuses, or cannot be reached.
    pub async fn follow(&self, request: node_pb::FollowRequest) -> Result<node_pb::FollowResponse, Status> {
        let mut node = NodeServiceClient::new(self.channel()?);
        Ok(node.follow(request).await?.into_inner())
    }

    /// Subscribes to the balancer's feed.
    ///
    /// # Errors
    /// When it refuses, or cannot be reached.
    pub async fn feed(&self, request: node_pb::FeedRequest) -> Result<Messages<node_pb::FeedResponse>, Status> {
        Ok(match self.local_feed()? {
            Some(local) => Messages::Local(local.feed(Request::new(request)).await?.into_inner()),
            None => Messages::Remote(Box::new(self.remote_feed()?.feed(request).await?.into_inner())),
        })
    }

    /// Asks the balancer for the stable cut.
    ///
    /// # Errors
    /// When it refuses, or cannot be reached.
    pub async fn cut(&self, request: node_pb::CutRequest) -> Result<node_pb::CutResponse, Status> {
        Ok(match self.local_feed()? {
            Some(local) => local.cut(Request::new(request)).await?.into_inner(),
            None => self.remote_feed()?.cut(request).await?.into_inner(),
        })
    }

    /// Asks the balancer for retirements of its store.
    ///
    /// # Errors
    /// When it refuses, or cannot be reached.
    pub async fn retirements(
        &self,
        request: node_pb::RetirementsRequest,
    ) -> Result<Messages<node_pb::RetirementsResponse>, Status> {
        Ok(match self.local_feed()? {
            Some(local) => Messages::Local(local.retirements(Request::new(request)).await?.into_inner()),
            None => Messages::Remote(Box::new(self.remote_feed()?.retirements(request).await?.into_inner())),
        })
    }

    /// Subscribes to a matcher's candidates.
    ///
    /// # Errors
    /// When it refuses, or cannot be reached.
    pub async fn candidates(
        &self,
        request: node_pb::CandidatesRequest,
    ) -> Result<Messages<node_pb::CandidatesResponse>, Status> {
        Ok(match self.local_candidates()? {
            Some(local) => Messages::Local(local.candidates(Request::new(request)).await?.into_inner()),
            None => Messages::Remote(Box::new(self.remote_candidates()?.candidates(request).await?.into_inner())),
        })
    }

    /// Subscribes to a gatherer's decisions.
    ///
    /// # Errors
    /// When it refuses, or cannot be reached.
    pub async fn decisions(
        &self,
        request: node_pb::DecisionsRequest,
    ) -> Result<Messages<node_pb::DecisionsResponse>, Status> {
        Ok(match self.local_decisions()? {
            Some(local) => Messages::Local(local.decisions(Request::new(request)).await?.into_inner()),
            None => Messages::Remote(Box::new(self.remote_decisions()?.decisions(request).await?.into_inner())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dovetail_certs::NodeName;

    #[test]
    fn an_answer_of_another_node_than_was_dialled_is_refused_with_both() {
        let wanted = NodeName { cluster: "c".to_owned(), role: Role::Matcher, index: 1 };
        let trust = NodeTrust { wanted: Some(wanted), ..NodeTrust::default() };
        let route = Route::new("http://10.0.0.2:7401", &LocalNodes::default(), trust);
        let peer = |role: pb::Role, index| node_pb::Peer { role: role.into(), index, ..Default::default() };
        assert!(route.check(Some(&peer(pb::Role::Matcher, 1))).is_ok());
        for (role, index, says) in [
            (pb::Role::Matcher, 0, "it is matcher 0"),
            (pb::Role::Gatherer, 1, "it is gatherer 1"),
            (pb::Role::Unspecified, 1, "no role"),
        ] {
            let refused = route.check(Some(&peer(role, index))).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
            let text = refused.message();
            assert!(
                text.contains("matcher 1 of cluster \"c\" was dialled at http://10.0.0.2:7401") && text.contains(says),
                "{text}"
            );
        }
    }
}
