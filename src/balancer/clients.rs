//! What clients use: `MatchService`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use dovetail_core::{
    ElementId, EventId, WithdrawReason,
    ledger::{KEY_BYTES_MAX, Outcome},
};
use prost::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};
use tonic::{Response, Status, Streaming, service::Routes};

use super::{
    Node, REQUEST_BYTES, errors, explain,
    messages::{ElementName, Event, Found, PoolSummary, Request, Withdrawing},
    submit,
    tail::TailError,
    watch::{self, Names, Watch},
};
use crate::{
    convert, pb,
    pb::match_service_server::{MatchService, MatchServiceServer},
    rpc::{self, ResponseStream},
    shutdown::Shutdown,
};

/// Longest time a `GetElement` may wait, in milliseconds.
const WAIT_MS_MAX: u32 = 60_000;

struct Service {
    node: Arc<Node>,
    stop: Shutdown,
}

/// Adds the client-facing service.
pub(super) fn add(routes: Routes, node: &Arc<Node>, stop: &Shutdown) -> Routes {
    let service = Service { node: Arc::clone(node), stop: stop.clone() };
    let most = node.settings.node.limits.message_bytes_max;
    routes.add_service(MatchServiceServer::new(service).max_decoding_message_size(most))
}

impl Node {
    /// Asks the engine something that makes no event.
    pub(super) async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Result<T, Status> {
        self.events.ask(event).await.map_err(errors::stopping)
    }

    /// Room for a submission of so many bytes.
    pub(super) async fn request_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let bytes = u32::try_from(bytes).unwrap_or(REQUEST_BYTES).clamp(1, REQUEST_BYTES);
        Arc::clone(&self.request_bytes).acquire_many_owned(bytes).await.map_err(errors::stopping)
    }

    /// Why something that makes an event was not answered.
    pub(super) fn unanswered(&self) -> Status {
        match self.disk_full.load(Ordering::Acquire) {
            true => Status::resource_exhausted(
                "the disk of the log is full, and this was not acknowledged; try again with the same idempotency key",
            ),
            false => errors::stopping(()),
        }
    }

    /// The outcome of an event that is decided.
    async fn outcome(&self, x: EventId) -> Result<Arc<Outcome>, Status> {
        let found = self.outcomes.find(x).await.map_err(|error| match error {
            TailError::Trimmed { .. } => Status::not_found(format!("the outcome of event {} is no longer kept", x.0)),
            other => errors::tail(&other),
        })?;
        found.ok_or_else(|| Status::internal(format!("the outcome of {x} is not in the results")))
    }

    async fn match_of(&self, outcome: &Outcome) -> Result<Option<pb::Match>, Status> {
        let pool = Names::default().get(self, outcome.pool).await?;
        Ok(watch::match_pb(outcome, &pool))
    }
}

fn element_name(element: Option<pb::ElementRef>) -> Result<ElementName, Status> {
    match element.and_then(|element| element.r#ref) {
        Some(pb::element_ref::Ref::Id(id)) => Ok(ElementName::Id(ElementId(id))),
        Some(pb::element_ref::Ref::Key(key)) => {
            errors::check_pool_name(&key.pool)?;
            if key.key.len() > KEY_BYTES_MAX {
                let text = format!("key is {} bytes, at most {KEY_BYTES_MAX}", key.key.len());
                return Err(Status::invalid_argument(text));
            }
            Ok(ElementName::Key { pool: key.pool, key: key.key })
        }
        None => Err(Status::invalid_argument("no element is named: set element.id, or element.key with pool and key")),
    }
}

fn describe(name: &ElementName) -> String {
    match name {
        ElementName::Id(element) => format!("element {}", element.0),
        ElementName::Key { pool, key } => format!("element with key {key:?} in pool {pool:?}"),
    }
}

/// No such element.
pub(super) fn unknown(name: &ElementName) -> Status {
    Status::not_found(format!("{} is not known", describe(name)))
}

impl Service {
    /// Asks the engine for something that makes an event. Answered once it is on disk, or refused when the node stops.
    async fn request<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Status> {
        tokio::select! {
            answer = self.node.requests.ask(request) => answer.map_err(|_| self.node.unanswered()),
            () = self.stop.given() => Err(errors::stopping(())),
        }
    }
}

#[tonic::async_trait]
impl MatchService for Service {
    type SubmitStream = ResponseStream<pb::SubmitResponse>;
    type WatchMatchesStream = ResponseStream<pb::WatchMatchesResponse>;

    async fn submit(
        &self,
        request: tonic::Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        Ok(Response::new(submit::serve(Arc::clone(&self.node), request.into_inner(), self.stop.clone())))
    }

    async fn submit_one(
        &self,
        request: tonic::Request<pb::SubmitOneRequest>,
    ) -> Result<Response<pb::SubmitOneResponse>, Status> {
        let request = request.into_inner();
        let room = self.node.request_room(request.encoded_len()).await?;
        let element = request.element.ok_or_else(|| Status::invalid_argument("no element is given: set element"))?;
        errors::check_pool_name(&request.pool)?;
        let (pool, rows) = (request.pool, vec![convert::submission(element)]);
        let submitted = self.request(|reply| Request::Submit { pool, rows, reply, room }).await?;
        let [row] = <[_; 1]>::try_from(submitted.rows).map_err(|_| Status::internal("one row has one outcome"))?;
        match row {
            Ok(element) => Ok(Response::new(pb::SubmitOneResponse { id: element.0 })),
            Err(refused) => Err(Status::new(errors::row_code(&refused), refused.to_string())),
        }
    }

    async fn withdraw(
        &self,
        request: tonic::Request<pb::WithdrawRequest>,
    ) -> Result<Response<pb::WithdrawResponse>, Status> {
        use pb::WithdrawOutcome as Outcome;
        let node = &self.node;
        let name = element_name(request.into_inner().element)?;
        let asked = name.clone();
        let withdrawing = self.request(|reply| Request::Withdraw { element: asked, reply }).await?;
        let (ended, own) = match withdrawing {
            Withdrawing::Unknown => {
                let response = pb::WithdrawResponse { outcome: Outcome::Unknown.into(), r#match: None };
                return Ok(Response::new(response));
            }
            Withdrawing::Ended(x) => (x, None),
            Withdrawing::Written { element, at, own } => {
                // The event is in the log; whether the element still waited there is for the cluster to decide.
                let mut decided = node.outcomes.watch();
                tokio::select! {
                    decided = decided.wait_for(|decided| *decided >= at) => {
                        decided.map_err(errors::stopping)?;
                    }
                    () = self.stop.given() => return Err(errors::stopping(())),
                }
                let own = own.then_some(at);
                let at_it = node.outcomes.find(at).await.map_err(|error| errors::tail(&error))?;
                let withdrawn = at_it.is_some_and(|outcome| outcome.element.id == element && outcome.anchor.is_none());
                match node.ask(|reply| Event::Get { element: ElementName::Id(element), reply }).await? {
                    _ if withdrawn => (at, own),
                    Found::Ended(_, x) => (x, own),
                    // It ended before, and that is forgotten already.
                    Found::Waiting { .. } | Found::Unknown => {
                        let response = pb::WithdrawResponse { outcome: Outcome::Unknown.into(), r#match: None };
                        return Ok(Response::new(response));
                    }
                }
            }
        };
        let outcome = node.outcome(ended).await?;
        let found = node.match_of(&outcome).await?;
        let outcome = match (&found, own) {
            (Some(_), _) => Outcome::AlreadyMatched,
            (None, Some(at)) if at == ended => Outcome::Withdrawn,
            (None, _) => Outcome::AlreadyWithdrawn,
        };
        Ok(Response::new(pb::WithdrawResponse { outcome: outcome.into(), r#match: found }))
    }

    async fn get_element(
        &self,
        request: tonic::Request<pb::GetElementRequest>,
    ) -> Result<Response<pb::GetElementResponse>, Status> {
        let request = request.into_inner();
        if request.wait_ms > WAIT_MS_MAX {
            let text = format!("wait_ms is {}, at most {WAIT_MS_MAX}", request.wait_ms);
            return Err(Status::invalid_argument(text));
        }
        let name = element_name(request.element)?;
        let node = &self.node;
        let until = Instant::now() + Duration::from_millis(request.wait_ms.into());
        let asked = name.clone();
        match node.ask(|reply| Event::Get { element: asked, reply }).await? {
            Found::Unknown => Err(unknown(&name)),
            Found::Ended(element, x) => ended(node, element, x).await.map(Response::new),
            Found::Waiting { element, pool, entry } => tokio::select! {
                ended_at = node.ask(|reply| Event::Ended { element, reply }) => {
                    ended(node, element, ended_at?).await.map(Response::new)
                }
                () = tokio::time::sleep_until(until) => Ok(Response::new(waiting(element, &pool, &entry))),
                () = self.stop.given() => Ok(Response::new(waiting(element, &pool, &entry))),
            },
        }
    }

    async fn explain(
        &self,
        request: tonic::Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        let request = request.into_inner();
        let name = element_name(request.element)?;
        tokio::select! {
            explained = explain::explain(&self.node, name, request.nearest) => explained.map(Response::new),
            () = self.stop.given() => Err(errors::stopping(())),
        }
    }

    async fn watch_matches(
        &self,
        request: tonic::Request<pb::WatchMatchesRequest>,
    ) -> Result<Response<Self::WatchMatchesStream>, Status> {
        let request = request.into_inner();
        let node = &self.node;
        let assigned = node.ask(|reply| Event::Assigned { reply }).await?;
        if request.after > assigned.0 {
            let text = format!("cursor {} is from the future: the highest id is {assigned}", request.after);
            return Err(Status::out_of_range(text.replace('x', "")));
        }
        let pool = match request.pool.as_str() {
            "" => None,
            name => {
                errors::check_pool_name(name)?;
                Some(pool_number(node, name).await?)
            }
        };
        let Ok(permit) = Arc::clone(&node.watchers).try_acquire_owned() else {
            let most = node.settings.node.limits.watchers_max;
            return Err(Status::resource_exhausted(format!("{most} watchers are open, which is watchers_max")));
        };
        let until = request.until_settled.then_some(assigned);
        // 0 is all there is; any other cursor must not skip what is gone.
        let after = if request.after == 0 { node.outcomes.floor() } else { EventId(request.after) };
        let watch = Watch { pool, after, until };
        let stream = watch::serve(Arc::clone(node), watch, permit);
        Ok(Response::new(rpc::until_stopped(stream, self.stop.clone())))
    }

    async fn define_pool(
        &self,
        request: tonic::Request<pb::DefinePoolRequest>,
    ) -> Result<Response<pb::DefinePoolResponse>, Status> {
        let pool = request.into_inner().pool.ok_or_else(|| Status::invalid_argument("no pool is given: set pool"))?;
        let definition = convert::pool_definition(pool).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let defined = self.request(|reply| Request::Define { definition, reply }).await?;
        let defined = defined.map_err(|error| errors::define(&error))?;
        Ok(Response::new(pb::DefinePoolResponse { defined_at: defined.at.0, created: defined.created }))
    }

    async fn list_pools(
        &self,
        _: tonic::Request<pb::ListPoolsRequest>,
    ) -> Result<Response<pb::ListPoolsResponse>, Status> {
        let pools = self.node.ask(|reply| Event::Pools { reply }).await?;
        let status = |pool: PoolSummary| pb::PoolStatus {
            pool: Some(convert::pool_definition_pb(&pool.definition)),
            defined_at: pool.defined_at.0,
            waiting: pool.counts.waiting,
            matches: pool.counts.matches,
            withdrawn: pool.counts.withdrawn,
            expired: pool.counts.expired,
        };
        Ok(Response::new(pb::ListPoolsResponse { pools: pools.into_iter().map(status).collect() }))
    }
}

async fn pool_number(node: &Node, name: &str) -> Result<dovetail_core::PoolId, Status> {
    let names = node.ask(|reply| Event::PoolNames { reply }).await?;
    let number = names.iter().position(|known| &**known == name);
    let number = number.ok_or_else(|| Status::not_found(format!("pool {name:?} is not defined")))?;
    Ok(dovetail_core::PoolId(u32::try_from(number).map_err(|_| Status::internal("too many pools"))?))
}

/// What became of an element, by the outcome that ended its waiting.
pub(super) async fn ended(node: &Node, element: ElementId, x: EventId) -> Result<pb::GetElementResponse, Status> {
    let outcome = node.outcome(x).await?;
    let end = match &outcome.anchor {
        Some(anchor) if anchor.id == element => anchor,
        _ => &outcome.element,
    };
    let state = match outcome.reason {
        None => pb::ElementState::Matched,
        Some(WithdrawReason::Client) => pb::ElementState::Withdrawn,
        Some(WithdrawReason::Expired) => pb::ElementState::Expired,
    };
    Ok(pb::GetElementResponse {
        id: element.0,
        pool: Names::default().get(node, outcome.pool).await?.as_ref().to_owned(),
        key: end.key.as_ref().to_owned(),
        state: state.into(),
        r#match: node.match_of(&outcome).await?,
        ended_at: x.0,
        ..Default::default()
    })
}

/// An element that waits.
pub(super) fn waiting(
    element: ElementId,
    pool: &dovetail_core::PoolDefinition,
    entry: &dovetail_core::ledger::Entry,
) -> pb::GetElementResponse {
    let named = pool.attributes.iter().zip(entry.row.values());
    let attributes = named
        .filter_map(|((name, _), value)| value.as_ref().map(|value| (name.clone(), convert::value_pb(Some(value)))));
    pb::GetElementResponse {
        id: element.0,
        pool: pool.name.clone(),
        key: entry.key.as_ref().to_owned(),
        state: pb::ElementState::Waiting.into(),
        arrived_ms: entry.arrived_ms,
        attributes: attributes.collect(),
        payload: entry.payload.clone(),
        ..Default::default()
    }
}
