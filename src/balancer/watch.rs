//! The `WatchMatches` stream: every match after a cursor, in order, once.

use std::sync::Arc;

use dovetail_core::{EventId, PoolId, ledger::Outcome};
use futures::{Stream, stream};
use tonic::Status;

use super::{Node, errors};
use crate::{convert, crash, pb};

/// About the most bytes of one message; most gRPC clients take no more than 4 MiB.
const MESSAGE_BYTES: usize = 1 << 20;

/// What a watcher wants.
pub(super) struct Watch {
    /// Only of this pool.
    pub(super) pool: Option<PoolId>,
    /// After this cursor.
    pub(super) after: EventId,
    /// Ends once everything up to here is decided and sent.
    pub(super) until: Option<EventId>,
}

/// Serves one watcher. The permit counts it.
pub(super) fn serve(
    node: Arc<Node>,
    watch: Watch,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> impl Stream<Item = Result<pb::WatchMatchesResponse, Status>> {
    let state = (node, watch, permit, Names::default(), false);
    stream::unfold(state, |(node, mut watch, permit, mut names, ended)| async move {
        if ended || watch.until.is_some_and(|until| watch.after >= until) {
            return None;
        }
        let response = next(&node, &mut watch, &mut names).await;
        let ended = response.is_err();
        Some((response, (node, watch, permit, names, ended)))
    })
}

async fn next(node: &Node, watch: &mut Watch, names: &mut Names) -> Result<pb::WatchMatchesResponse, Status> {
    let step = node.outcomes.after(watch.after).await.map_err(|error| errors::tail(&error))?;
    watch.after = step.cursor;
    let mut matches = Vec::new();
    let mut bytes = 0;
    for outcome in &step.entries {
        if bytes > MESSAGE_BYTES {
            // The rest of the step is read again with the next message.
            watch.after = outcome.x.prev();
            break;
        }
        let wanted = outcome.anchor.is_some() && watch.pool.is_none_or(|pool| pool == outcome.pool);
        if wanted && let Some(found) = match_pb(outcome, &names.get(node, outcome.pool).await?) {
            bytes += convert::outcome_bytes(outcome);
            matches.push(found);
        }
    }
    crash::point("balancer.outcomes.send");
    Ok(pb::WatchMatchesResponse { matches, settled: watch.after.0 })
}

/// The names of pools, asked for when a number is new.
#[derive(Default)]
pub(super) struct Names(Vec<Arc<str>>);

impl Names {
    pub(super) async fn get(&mut self, node: &Node, pool: PoolId) -> Result<Arc<str>, Status> {
        if self.0.len() <= pool.0 as usize {
            self.0 = node.ask(|reply| super::Event::PoolNames { reply }).await?;
        }
        Ok(Arc::clone(&self.0[pool.0 as usize]))
    }
}

/// A match as clients see it; none for a withdrawal.
pub(super) fn match_pb(outcome: &Outcome, pool: &str) -> Option<pb::Match> {
    let anchor = outcome.anchor.as_ref()?;
    let (a, b) = if anchor.id < outcome.element.id { (anchor, &outcome.element) } else { (&outcome.element, anchor) };
    let end = |end: &dovetail_core::ledger::OutcomeEnd| pb::MatchedElement {
        id: end.id.0,
        key: end.key.as_ref().to_owned(),
        payload: end.payload.clone(),
    };
    let (a, b) = (Some(end(a)), Some(end(b)));
    Some(pb::Match { cursor: outcome.x.0, pool: pool.to_owned(), a, b, time_ms: outcome.time_ms })
}
