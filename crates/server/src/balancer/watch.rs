//! The streams `WatchMatches` and `WatchOutcomes`: everything after a cursor, in order, once.

use std::{marker::PhantomData, sync::Arc};

use dovetail_core::{
    Cursor, EventId, PoolId, WithdrawReason,
    ledger::{Outcome, OutcomeEnd},
};
use futures::{Stream, stream};
use tonic::Status;

use super::{errors, node::Node, pools::Dropped, tailed_log::TailError};
use crate::{crash, rpc::Share};
use dovetail::pb;
use dovetail_wire::{MatchWriter, OutcomeChunk, PublishedOutcomes};

/// About the most bytes of one message; most gRPC clients take no more than 4 MiB.
const MESSAGE_BYTES: usize = 1 << 20;
/// Fewest matches of a message that shares the columns that are stored: fewer are gathered with those that follow.
const SHARED_MIN: usize = 256;
/// What a message of its own adds to an outcome, beside the name of its pool: tags, lengths and numbers.
const ROW_BYTES: usize = 96;

/// Some of what a stream consists of.
pub(super) trait Items: Default + Send + 'static {
    /// A message of it.
    type Response: Send + 'static;
    /// Adds what the stream says of an outcome, if anything.
    fn push(&mut self, outcomes: &OutcomeChunk, index: usize, pool: &str);
    /// Never fewer bytes than what the stream says of an outcome takes.
    fn bytes(outcomes: &OutcomeChunk, index: usize, pool: &str) -> usize {
        ROW_BYTES + 2 * pool.len() + outcomes.bytes(index)
    }
    /// Some outcomes, from one on, all at once, where that is cheaper than one by one; then the stream says of them what
    /// it would say so.
    fn shared(_outcomes: &OutcomeChunk, _from: usize, _pool: &str) -> Option<Self> {
        None
    }
    /// All of them, up to where there is nothing else, and whether the pool was dropped, and so nothing will be.
    fn response(self, settled: EventId, pool_dropped: bool) -> Self::Response;
}

impl Items for Vec<pb::Match> {
    type Response = pb::WatchMatchesResponse;

    fn push(&mut self, outcomes: &OutcomeChunk, index: usize, pool: &str) {
        self.extend(match_pb(&outcomes.get(index), pool));
    }

    fn response(self, settled: EventId, pool_dropped: bool) -> pb::WatchMatchesResponse {
        pb::WatchMatchesResponse { matches: self, settled: settled.0, columns: None, pool_dropped }
    }
}

/// Matches as columns; with `ARRIVALS`, with when their ends arrived.
pub(super) enum Columns<const ARRIVALS: bool> {
    /// Gathered one by one.
    Written(MatchWriter),
    /// Those that are stored.
    Shared(pb::MatchColumns),
}

impl<const ARRIVALS: bool> Default for Columns<ARRIVALS> {
    fn default() -> Self {
        Columns::Written(if ARRIVALS { MatchWriter::default() } else { MatchWriter::without_arrivals() })
    }
}

impl<const ARRIVALS: bool> Items for Columns<ARRIVALS> {
    type Response = pb::WatchMatchesResponse;

    fn bytes(outcomes: &OutcomeChunk, index: usize, _: &str) -> usize {
        outcomes.bytes(index)
    }

    fn push(&mut self, outcomes: &OutcomeChunk, index: usize, pool: &str) {
        let Columns::Written(writer) = self else { unreachable!("what is shared is all there is") };
        writer.push(outcomes, index, pool);
    }

    fn shared(outcomes: &OutcomeChunk, from: usize, pool: &str) -> Option<Self> {
        outcomes.match_columns(from, pool, ARRIVALS).map(Columns::Shared)
    }

    fn response(self, settled: EventId, pool_dropped: bool) -> pb::WatchMatchesResponse {
        let columns = match self {
            Columns::Written(writer) => writer.finish(),
            Columns::Shared(columns) => Some(columns),
        };
        pb::WatchMatchesResponse { matches: Vec::new(), settled: settled.0, columns, pool_dropped }
    }
}

impl Items for Vec<pb::Outcome> {
    type Response = pb::WatchOutcomesResponse;

    fn push(&mut self, outcomes: &OutcomeChunk, index: usize, pool: &str) {
        let outcome = outcomes.get(index);
        let what = match match_pb(&outcome, pool) {
            Some(found) => pb::outcome::Kind::Match(found),
            None => pb::outcome::Kind::Ended(ended_pb(&outcome)),
        };
        let (cursor, time_ms) = (outcome.x.0, outcome.time_ms);
        self.push(pb::Outcome { cursor, pool: pool.to_owned(), time_ms, kind: Some(what) });
    }

    fn response(self, settled: EventId, pool_dropped: bool) -> pb::WatchOutcomesResponse {
        pb::WatchOutcomesResponse { outcomes: self, settled: settled.0, pool_dropped }
    }
}

/// What a watcher wants.
pub(super) struct Watch {
    /// Only of this pool, and until it is dropped.
    pub(super) pool: Option<(PoolId, Dropped)>,
    /// After this cursor; after 0 comes all there is.
    pub(super) after: EventId,
    /// Ends once everything up to here is decided and sent.
    pub(super) until: Option<EventId>,
    /// Tells at once where it begins.
    pub(super) tell_first: bool,
}

impl Watch {
    /// Nothing more is wanted.
    fn is_settled(&self) -> bool {
        self.until.is_some_and(|until| self.after >= until)
    }

    /// Nothing more will ever come.
    fn is_dropped(&self) -> bool {
        let dropped = self.pool.as_ref().and_then(|(_, dropped)| dropped.get());
        dropped.is_some_and(|&dropped| self.after >= dropped)
    }
}

struct Watcher<T> {
    node: Arc<Node>,
    watch: Watch,
    names: Names,
    ended: bool,
    /// Counts it.
    _permit: Share,
    item: PhantomData<T>,
}

/// Serves one watcher. The permit counts it.
pub(super) fn serve<T: Items>(
    node: Arc<Node>,
    watch: Watch,
    permit: Share,
) -> impl Stream<Item = Result<T::Response, Status>> {
    let watcher =
        Watcher::<T> { node, watch, names: Names::default(), ended: false, _permit: permit, item: PhantomData };
    stream::unfold(watcher, |mut watcher| async move {
        if std::mem::take(&mut watcher.watch.tell_first) {
            let begins = T::default().response(watcher.watch.after, false);
            return Some((Ok(begins), watcher));
        }
        if watcher.ended || watcher.watch.is_settled() {
            return None;
        }
        if watcher.watch.is_dropped() {
            watcher.ended = true;
            return Some((Ok(T::default().response(watcher.watch.after, true)), watcher));
        }
        let response = watcher.next().await;
        watcher.ended = response.is_err();
        Some((response, watcher))
    })
}

impl<T: Items> Watcher<T> {
    async fn next(&mut self) -> Result<T::Response, Status> {
        let Watcher { node, watch, names, .. } = self;
        let (from, step) = loop {
            // Any cursor but 0 must not skip what is gone.
            let after = if watch.after == EventId::ZERO { node.outcomes.floor() } else { Cursor(watch.after) };
            if watch.until.is_some_and(|until| after >= Cursor(until)) {
                watch.after = after.event();
                return Ok(T::default().response(after.event(), false));
            }
            match node.outcomes.after(after).await {
                // Trimmed since the floor was read.
                Err(TailError::Trimmed { .. }) if watch.after == EventId::ZERO => {}
                step => break (after, step.map_err(errors::tail)?),
            }
        };
        watch.after = step.cursor.event();
        if let Some((items, through)) = shared::<T>(&step.entries, from.event(), watch, node, names) {
            watch.after = through.unwrap_or(watch.after);
            crash::point("balancer.outcomes.send");
            return Ok(items.response(watch.after, false));
        }
        let mut items = T::default();
        let mut bytes = 0;
        'step: for chunk in step.entries.iter().map(|outcomes| outcomes.chunk()) {
            for index in chunk.after(from.event())..chunk.len() {
                if bytes > MESSAGE_BYTES {
                    // The rest of the step is read again with the next message.
                    watch.after = chunk.x(index).prev();
                    break 'step;
                }
                let pool = chunk.pool(index);
                if watch.pool.as_ref().is_none_or(|(of, _)| *of == pool) {
                    let name = names.get(node, pool);
                    bytes += T::bytes(chunk, index, name);
                    items.push(chunk, index, name);
                }
            }
        }
        crash::point("balancer.outcomes.send");
        Ok(items.response(watch.after, false))
    }
}

/// The first outcomes after a cursor, if they are many that are stored together and nothing else: then they need not be
/// gathered. And where they end, if others follow.
fn shared<T: Items>(
    outcomes: &[Arc<PublishedOutcomes>],
    from: EventId,
    watch: &Watch,
    node: &Node,
    names: &mut Names,
) -> Option<(T, Option<EventId>)> {
    let at = outcomes.iter().position(|outcomes| outcomes.last() > from)?;
    let chunk = outcomes[at].chunk();
    let first = chunk.after(from);
    let pool = chunk.pool(first);
    if chunk.len() - first < SHARED_MIN
        || watch.pool.as_ref().is_some_and(|(of, _)| *of != pool)
        || chunk.bytes_from(first) > MESSAGE_BYTES
    {
        return None;
    }
    let items = T::shared(chunk, first, names.get(node, pool))?;
    Some((items, (at + 1 < outcomes.len()).then(|| chunk.last())))
}

/// The name of a pool, asked for when it is another than the last.
#[derive(Default)]
struct Names(Option<(PoolId, Arc<str>)>);

impl Names {
    fn get(&mut self, node: &Node, pool: PoolId) -> &str {
        if self.0.as_ref().is_none_or(|(last, _)| *last != pool) {
            self.0 = None;
        }
        &self.0.get_or_insert_with(|| (pool, node.pools.name(pool))).1
    }
}

/// A match as clients see it; none for a withdrawal.
pub(super) fn match_pb(outcome: &Outcome, pool: &str) -> Option<pb::Match> {
    let anchor = outcome.anchor.as_ref()?;
    let (a, b) = if anchor.id < outcome.element.id { (anchor, &outcome.element) } else { (&outcome.element, anchor) };
    let end = |end: &OutcomeEnd| pb::MatchedElement {
        id: end.id.0,
        key: end.key.as_ref().to_owned(),
        payload: end.payload.clone(),
        arrived_ms: end.arrived_ms,
    };
    let (a, b) = (Some(end(a)), Some(end(b)));
    Some(pb::Match { cursor: outcome.x.0, pool: pool.to_owned(), a, b, time_ms: outcome.time_ms })
}

fn ended_pb(outcome: &Outcome) -> pb::Ended {
    let OutcomeEnd { id, key, payload, arrived_ms, owner: _ } = &outcome.element;
    let reason = end_reason(outcome).into();
    pb::Ended { id: id.0, key: key.as_ref().to_owned(), payload: payload.clone(), reason, arrived_ms: *arrived_ms }
}

/// Why an element waits no longer, though it was not matched; unspecified for a match.
pub(super) fn end_reason(outcome: &Outcome) -> pb::EndReason {
    match outcome.reason {
        None => pb::EndReason::Unspecified,
        Some(WithdrawReason::Client) => pb::EndReason::Withdrawn,
        Some(WithdrawReason::Expired) => pb::EndReason::Expired,
        Some(WithdrawReason::Dropped) => pb::EndReason::Dropped,
    }
}
