//! What nodes ask of each other, as calls.

use std::convert::Infallible;

use dovetail_core::{Cursor, DecisionFrame, EventId, Retirement, Ring, Stable};
use prost::Message as _;
use tonic::Status;

use super::{Link, LinkError, Messages, NodeIdentity, Route, or_cursor_too_old, unexpected};
use crate::{fault::Fault, settings::Addresses};
use dovetail::{Role, pb, reason::Reason, text::cut};
use dovetail_wire::node_pb;

/// The engine of this node stopped: the caller tries again.
#[must_use]
pub fn unavailable(error: LinkError) -> Status {
    Fault::new(Reason::NodeStopping, error.to_string()).into()
}

/// A subscription at a shard.
#[derive(Debug)]
pub struct DecisionReader(Messages<node_pb::DecisionsResponse>);

impl DecisionReader {
    /// Hands decisions on until the stream breaks, and notes on the link how far it has come.
    ///
    /// # Errors
    /// Always: with what broke it.
    pub async fn hand_on<F>(
        mut self,
        link: &Link,
        after: Cursor,
        mut tell: impl FnMut(DecisionFrame) -> F,
    ) -> Result<Infallible, LinkError>
    where
        F: Future<Output = Result<(), LinkError>>,
    {
        link.read(after);
        while let Some(frame) = self.next().await? {
            let decided = frame.decided;
            tell(frame).await?;
            if let Some(decided) = decided {
                link.read(Cursor(decided.event()));
            }
        }
        Err(LinkError::Ended)
    }

    async fn next(&mut self) -> Result<Option<DecisionFrame>, LinkError> {
        use node_pb::decisions_response::Message;
        let Some(response) = self.0.message().await? else { return Ok(None) };
        match response.message {
            Some(Message::Frame(frame)) => Ok(Some(dovetail_wire::decision_frame(&frame)?)),
            other => Err(unexpected("a frame of decisions", other.as_ref())),
        }
    }
}

/// Subscribes to a shard. Returns its floor and what follows.
///
/// # Errors
/// When the shard cannot be reached, or is a stranger.
pub async fn subscribe_decisions(
    identity: &NodeIdentity,
    gatherer: &Route,
    after: Cursor,
) -> Result<(Cursor, DecisionReader), LinkError> {
    let mut stream =
        gatherer.decisions(node_pb::DecisionsRequest { peer: Some(identity.pb()), after: after.event().0 }).await?;
    match stream.message().await?.ok_or(LinkError::Ended)?.message {
        Some(node_pb::decisions_response::Message::Hello(hello)) => {
            gatherer.check(hello.peer.as_ref())?;
            identity.check(hello.peer.as_ref())?;
            Ok((Cursor(EventId(hello.floor)), DecisionReader(stream)))
        }
        other => Err(unexpected("a hello", other.as_ref())),
    }
}

/// The id of the balancer's log, and the stable cut. Asked by a node without a log: the answer may name another than
/// this node has read.
///
/// # Errors
/// When the balancer cannot be reached, or is a stranger.
pub async fn ask_cut(identity: &NodeIdentity, balancer: &Route) -> Result<CutAnswer, LinkError> {
    let peer = node_pb::Peer { log_id: String::new(), ..identity.pb() };
    let answer = balancer.cut(node_pb::CutRequest { peer: Some(peer) }).await?;
    balancer.check_answer(answer.peer.as_ref())?;
    Ok(CutAnswer {
        log_id: answer.peer.map(|peer| peer.log_id).unwrap_or_default(),
        cut: Stable(EventId(answer.cut)),
        results_floor: EventId(answer.results_floor),
    })
}

/// Where a balancer's log is.
#[derive(Clone, Debug)]
pub struct CutAnswer {
    /// The log's id.
    pub log_id: String,
    /// The stable cut.
    pub cut: Stable,
    /// Retirements above this can be fetched.
    pub results_floor: EventId,
}

/// Retirements `(after, through]` from the balancer's store.
///
/// # Errors
/// When the balancer cannot be reached, or has no such range.
pub async fn fetch_retirements(
    identity: &NodeIdentity,
    balancer: &Route,
    after: EventId,
    through: EventId,
) -> Result<Vec<Retirement>, LinkError> {
    let request = node_pb::RetirementsRequest { peer: Some(identity.pb()), after: after.0, through: through.0 };
    let mut stream = balancer.retirements(request).await.map_err(or_cursor_too_old)?;
    let mut retirements = Vec::new();
    while let Some(part) = stream.message().await.map_err(or_cursor_too_old)? {
        balancer.check_term(super::term(part.term))?;
        retirements.extend(dovetail_wire::retirements(&part)?);
    }
    tracing::info!(after = after.0, through = through.0, retirements = retirements.len(), "fetched from the store");
    Ok(retirements)
}

/// What every role says of itself; the role adds links and state.
#[must_use]
pub fn inspect(identity: &NodeIdentity, addresses: &Addresses, ring: &Ring, started_ms: u64) -> pb::InspectResponse {
    let shares = ring.shares_permille(4096);
    let node = |(role, index, address): (Role, u32, &str)| pb::NodeAddress {
        role: pb::Role::from(role).into(),
        index,
        address: address.to_owned(),
    };
    pb::InspectResponse {
        role: pb::Role::from(identity.role).into(),
        index: identity.index,
        cluster: identity.cluster.name.clone(),
        settings: identity.cluster.to_string(),
        settings_digest: identity.cluster.digest(),
        build: crate::VERSION.to_owned(),
        started_ms,
        links: Vec::new(),
        ring: (0..).zip(shares).map(|(shard, permille)| pb::RingShare { shard, permille }).collect(),
        state: None,
        nodes: addresses.all().map(node).collect(),
        troubles: identity.troubles.pb(),
    }
}

/// Most bytes of an answer to `Inspect`, and of the pools of a matcher's slices together.
const INSPECT_BYTES: usize = 3 << 20;
/// Most bytes of an error that a link shows.
const LINK_ERROR_BYTES: usize = 512;

/// Leaves out what would make an answer larger than clients take: a matcher with many slices and thousands of pools has
/// megabytes to tell. Pools in which nothing waits go first.
pub fn fit(response: &mut pb::InspectResponse) {
    use pb::inspect_response::State;
    for link in &mut response.links {
        link.last_error = cut(std::mem::take(&mut link.last_error), LINK_ERROR_BYTES);
    }
    if let Some(State::Balancer(state)) = &mut response.state {
        state.awaited.iter_mut().for_each(|node| node.why = cut(std::mem::take(&mut node.why), LINK_ERROR_BYTES));
    }
    if response.encoded_len() <= INSPECT_BYTES {
        return;
    }
    match &mut response.state {
        Some(State::Balancer(state)) => state.pools_left_out = fit_pools(&mut state.pools, INSPECT_BYTES / 2),
        Some(State::Matcher(state)) => {
            let each = INSPECT_BYTES / 2 / state.slices.len().max(1);
            for slice in &mut state.slices {
                slice.pools_left_out = fit_pools(&mut slice.pools, each);
            }
        }
        Some(State::Gatherer(_)) | None => {}
    }
}

/// Keeps so many bytes of pools, in their order. Returns how many are left out.
fn fit_pools(pools: &mut Vec<pb::PoolCount>, bytes_max: usize) -> u64 {
    let all = pools.len();
    // With their tags and lengths.
    let mut by_waiting: Vec<(u64, usize)> =
        pools.iter().enumerate().map(|(index, pool)| (pool.waiting, index)).collect();
    by_waiting.sort_by_key(|&(waiting, index)| (std::cmp::Reverse(waiting), index));
    let (mut kept, mut bytes) = (vec![false; all], 0);
    for (_, index) in by_waiting {
        bytes += pools[index].encoded_len() + 8;
        if bytes > bytes_max {
            break;
        }
        kept[index] = true;
    }
    let mut kept = kept.into_iter();
    pools.retain(|_| kept.next() == Some(true));
    (all - pools.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools() -> Vec<pb::PoolCount> {
        let hot = || pb::HotKey { key: "k".repeat(200), searches_permille: 999, waiting: 5 };
        let pool = |number: u64| pb::PoolCount {
            pool: format!("{number:064}"),
            waiting: number % 10,
            hot_keys: (0..3).map(|_| hot()).collect(),
            ..Default::default()
        };
        (0..10_000).map(pool).collect()
    }

    #[test]
    fn the_state_of_many_slices_and_pools_fits_and_says_what_is_missing() {
        let slice = |slice| pb::SliceState { slice, pools: pools(), ..Default::default() };
        let state = pb::MatcherState { slices: (0..64).map(slice).collect(), shards: Vec::new() };
        let mut response = pb::InspectResponse {
            state: Some(pb::inspect_response::State::Matcher(state)),
            links: vec![pb::PeerLink { last_error: "e".repeat(1 << 20), ..Default::default() }],
            ..Default::default()
        };
        fit(&mut response);
        assert!(response.encoded_len() <= INSPECT_BYTES, "{} bytes", response.encoded_len());
        let Some(pb::inspect_response::State::Matcher(state)) = response.state else { panic!("no matcher") };
        for slice in state.slices {
            assert_eq!(slice.pools.len() as u64 + slice.pools_left_out, 10_000);
            assert!(
                !slice.pools.is_empty() && slice.pools.iter().all(|pool| pool.waiting == 9),
                "those with most stay"
            );
            assert!(slice.pools.is_sorted_by_key(|pool| pool.pool.clone()), "in their order");
        }
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let state = pb::BalancerState { pools: pools()[..100].to_vec(), ..Default::default() };
        let state = Some(pb::inspect_response::State::Balancer(state));
        let response = pb::InspectResponse { state, ..Default::default() };
        let mut fitted = response.clone();
        fit(&mut fitted);
        assert_eq!(fitted, response);
    }
}
