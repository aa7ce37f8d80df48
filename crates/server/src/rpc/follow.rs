//! A balancer that takes over says so to those who read it.
//!
//! Who says so is believed as far as it proves who it is. In plain text nobody can: then the balancer at the address
//! that the settings have for it is asked whether it is this process.

use std::{sync::Arc, time::Duration};

use dovetail_node::{BalancerId, Term};
use futures::future::join_all;
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Request, Status};

use super::{ActiveBalancer, Links, NodeCall, NodeIdentity};
use crate::{caller::Caller, fault::Fault, settings::Addresses};
use dovetail::{Role, pb, reason::Reason};
use dovetail_wire::node_pb;

/// Longest time that a node may take to answer.
const ASK_MAX: Duration = Duration::from_secs(1);
/// Balancers that are asked at a time who they are. What is told meanwhile is not believed; the links hear it soon
/// enough.
const ASKS: usize = 4;

/// What a matcher or a gatherer does when it is told that a balancer writes.
#[derive(Clone, Debug)]
pub struct Follower {
    active: ActiveBalancer,
    links: Links,
    asks: Arc<Semaphore>,
}

impl Follower {
    /// Of a node that asks the balancer by these links.
    #[must_use]
    pub fn new(active: &ActiveBalancer, links: &Links) -> Follower {
        Follower { active: active.clone(), links: links.clone(), asks: Arc::new(Semaphore::new(ASKS)) }
    }

    /// A balancer writes from now on.
    ///
    /// # Errors
    /// When it is no balancer of the cluster, names no term, or is not the process that the cluster has for it.
    pub(super) async fn follow(
        &self,
        identity: &NodeIdentity,
        request: Request<node_pb::FollowRequest>,
    ) -> Result<node_pb::FollowResponse, Status> {
        identity.admit(NodeCall::Follow, &request, request.get_ref().peer.as_ref())?;
        let (caller, request) = (Caller::of(request.extensions()), request.into_inner());
        let peer = request.peer.as_ref().expect("it was checked");
        if peer.term == 0 {
            let text = "a balancer that writes names its term: peer.term is missing";
            return Err(Fault::new(Reason::FieldMissing, text).at("peer.term").into());
        }
        self.hear(peer, caller.as_ref()).await?;
        Ok(node_pb::FollowResponse { peer: Some(identity.pb()) })
    }

    /// A node that was let in says who it is: if it is a balancer that writes in a later term than was heard of, it is
    /// followed.
    ///
    /// # Errors
    /// When it is not the process that the cluster has for that balancer.
    pub async fn hear(&self, peer: &node_pb::Peer, caller: Option<&Caller>) -> Result<(), Status> {
        let (Some(term), pb::Role::Balancer) = (super::term(peer.term), peer.role()) else { return Ok(()) };
        let count = self.active.addresses().len();
        let Some(address) = self.active.addresses().get(peer.index as usize) else {
            let text = format!("there is no balancer {}; the cluster has {count}", peer.index);
            let fault = Fault::new(Reason::OutOfBounds, text).at("peer.index");
            return Err(fault.with("value", peer.index).with("bound", count).into());
        };
        if Some(term) <= self.active.term() {
            return Ok(());
        }
        let proved = caller.is_none_or(|caller| caller.connection.proved.is_some());
        if !proved && !self.confirm(peer, address).await {
            let text = format!(
                "the caller says that it is balancer {}, and that one, at {address}, does not say so",
                peer.index
            );
            return Err(Fault::new(Reason::PeerUnproved, text).with("address", address).into());
        }
        self.active.on_told(BalancerId(peer.index), term);
        Ok(())
    }

    /// Whether the balancer at the address is this process.
    async fn confirm(&self, peer: &node_pb::Peer, address: &str) -> bool {
        let Ok(_turn) = self.asks.try_acquire() else { return false };
        let route = self.links.route(Role::Balancer, peer.index, address);
        matches!(timeout(ASK_MAX, route.confirm(peer.instance)).await, Ok(Ok(true)))
    }
}

/// Tells all matchers and gatherers that this balancer writes in the term that its identity has. Returns the highest
/// term that they have heard of: when that is later, this balancer is over. Who does not answer in a second hears of it
/// from the balancer that it asks.
pub async fn tell_active(identity: &NodeIdentity, links: &Links, addresses: &Addresses) -> Option<Term> {
    let readers = addresses.all().filter(|(role, ..)| *role != Role::Balancer);
    let told = readers.map(|(role, index, address)| async move {
        let route = links.route(role, index, address);
        let request = node_pb::FollowRequest { peer: Some(identity.pb()) };
        let refused = match timeout(ASK_MAX, route.follow(request)).await {
            Ok(Ok(answer)) => return answer.peer.and_then(|peer| super::term(peer.term)),
            Ok(Err(status)) => status.message().to_owned(),
            Err(_) => format!("no answer within {ASK_MAX:?}"),
        };
        tracing::info!(peer = %role, index, address, error = refused, "not told that this balancer writes");
        None
    });
    join_all(told).await.into_iter().flatten().max()
}
