//! What clients use: `MatchService`.

use std::{sync::Arc, time::Duration};

use dovetail_core::{ElementId, EventId, Pool, PoolId, ledger::KEY_BYTES_MAX};
use futures::StreamExt as _;
use prost::Message;
use tokio::{sync::watch as signal, time::Instant};
use tonic::{Response, Status, Streaming};

use super::{
    answers,
    columns::Checking,
    elements,
    errors::{self, RequestError},
    explain, list,
    messages::{Dropping, Event, Found, Reply, Request, Withdrawing},
    node::Node,
    refused::ElementName,
    submit,
    waits::Wait,
    watch::{self, Columns, Items, Watch},
};
use crate::{
    auth::{Access, Take, Verb, audit::AuditEvent},
    caller::Caller,
    rpc::{self, ResponseStream, Share},
    shutdown::Shutdown,
};
use dovetail::pb::{self, ResponseFormat, match_service_server::MatchService};

/// Longest time a `GetElement` may wait, in milliseconds.
const WAIT_MS_MAX: u32 = 60_000;
/// What a session serves to clients.
pub(super) struct Service {
    node: Arc<Node>,
    stop: Shutdown,
}

/// By when something has to be there.
#[derive(Clone, Copy)]
struct By {
    ms: u32,
    until: Instant,
}

impl By {
    fn in_ms(ms: u32) -> By {
        By { ms, until: Instant::now() + Duration::from_millis(ms.into()) }
    }
}

fn element_name(element: Option<pb::ElementRef>) -> Result<ElementName, RequestError> {
    match element.and_then(|element| element.r#ref) {
        Some(pb::element_ref::Ref::Id(id)) => Ok(ElementName::Id(ElementId(id))),
        Some(pb::element_ref::Ref::Key(key)) => {
            errors::check_pool_name(&key.pool)?;
            if key.key.len() > KEY_BYTES_MAX {
                return Err(RequestError::KeyLength { field: "key", found: key.key.len() });
            }
            Ok(ElementName::Key { pool: key.pool, key: key.key })
        }
        None => {
            let field = "element.id, or element.key with pool and key";
            Err(RequestError::Missing { what: "no element is named", field })
        }
    }
}

/// What a call may do.
fn access<T>(request: &tonic::Request<T>) -> Access {
    Access::of(request.extensions())
}

/// Whose call it is.
fn caller<T>(request: &tonic::Request<T>) -> Option<Caller> {
    Caller::of(request.extensions())
}

/// A call that asks for an element.
struct Getting {
    access: Access,
    name: ElementName,
    wait_ms: u32,
    at: u64,
    counted: Counted,
}

/// What such a call counts as, until it ends.
enum Counted {
    Wait(Wait),
    Call { _share: Share },
}

impl Counted {
    /// Done when it is a wait that has to end for another.
    async fn is_over(&mut self) {
        let told = match self {
            Counted::Wait(wait) => (&mut wait.over).await.is_ok(),
            Counted::Call { .. } => false,
        };
        if !told {
            std::future::pending::<()>().await;
        }
    }
}

impl Service {
    /// Of a session that ends with the signal.
    pub(super) fn new(node: &Arc<Node>, stop: &Shutdown) -> Service {
        Service { node: Arc::clone(node), stop: stop.clone() }
    }

    /// Checks what is asked for, and counts the call.
    fn begin_to_get(&self, request: tonic::Request<pb::GetElementRequest>) -> Result<Getting, Status> {
        let (caller, access) = (caller(&request), access(&request));
        let pb::GetElementRequest { element, wait_ms, position: at } = request.into_inner();
        if wait_ms > WAIT_MS_MAX {
            let (found, most) = (wait_ms.into(), WAIT_MS_MAX.into());
            return Err(RequestError::Above { field: "wait_ms", found, most }.into());
        }
        let name = element_name(element)?;
        if let ElementName::Key { pool, .. } = &name {
            access.scope(Verb::Read, pool)?;
        }
        let counted = if wait_ms > 0 || at > 0 {
            Counted::Wait(self.node.waits.take(caller.as_ref())?)
        } else {
            Counted::Call { _share: self.node.calls.take(caller.as_ref())? }
        };
        Ok(Getting { access, name, wait_ms, at, counted })
    }

    /// Asks the engine for something that makes an event. Answered once it is on disk, or refused when the node stops.
    async fn request<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Status> {
        self.node.check_clock()?;
        let answer = self.unless_stopped(self.node.requests.ask(request)).await?;
        Ok(answer.map_err(errors::stopping)??)
    }

    /// The element that a call may withdraw, and whether another client owns it; none when it is not known. From then
    /// on it is named by its id: the key may be another element's by now.
    async fn withdrawable(&self, access: &Access, name: ElementName) -> Result<Option<(ElementName, bool)>, Status> {
        if !access.is_asked() {
            return Ok(Some((name, false)));
        }
        let node = &self.node;
        if let ElementName::Key { pool, .. } = &name {
            access.scope(Verb::Withdraw, pool)?;
        }
        let (found, _) = node.ask(|reply| Event::Get { element: name, wait_ms: 0, reply }).await?;
        let (element, others) = match found {
            Found::Unknown => return Ok(None),
            Found::Waiting { element, pool, entry, .. } => {
                access.may_of(Verb::Withdraw, &pool.name, &entry.owner)?;
                (element, *entry.owner != *access.owner())
            }
            Found::Ended(element, x) => {
                let Some(outcome) = node.outcome(x).await? else { return Ok(None) };
                let pool = node.pools.name(outcome.pool);
                access.may_of(Verb::Withdraw, &pool, &answers::end_of(&outcome, element).owner)?;
                (element, false)
            }
        };
        Ok(Some((ElementName::Id(element), others)))
    }

    async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Result<T, Status> {
        tokio::select! {
            done = future => Ok(done),
            () = self.stop.given() => Err(errors::stopping(())),
        }
    }

    /// Waits until everything up to `at` is there.
    async fn reach(
        &self,
        what: &'static str,
        mut there: signal::Receiver<EventId>,
        at: EventId,
        by: By,
    ) -> Result<(), Status> {
        let reached = async { there.wait_for(|there| *there >= at).await.map(drop) };
        match self.unless_stopped(tokio::time::timeout_at(by.until, reached)).await? {
            Ok(reached) => reached.map_err(errors::stopping),
            Err(_) => Err(RequestError::NotReached { what, at, there: *there.borrow(), ms: by.ms }.into()),
        }
    }

    /// Waits until a pool is dropped, and that is on disk. False when the time is over.
    async fn until_dropped(&self, pool: PoolId, by: By) -> Result<bool, Status> {
        let mut drops = self.node.pools.drops();
        let dropped = async {
            loop {
                match self.node.pools.dropped_at(pool) {
                    Some(x) => break self.node.frames.watch().wait_for(|durable| *durable >= x).await.map(drop),
                    None => drops.changed().await?,
                }
            }
        };
        match self.unless_stopped(tokio::time::timeout_at(by.until, dropped)).await? {
            Ok(dropped) => dropped.map(|()| true).map_err(errors::stopping),
            Err(_) => Ok(false),
        }
    }

    async fn watch<T: Items>(
        &self,
        (caller, access): (Option<&Caller>, Access),
        pool: &str,
        (after, from_now): (u64, bool),
        until_settled: bool,
    ) -> Result<Response<ResponseStream<T::Response>>, Status> {
        let node = &self.node;
        if from_now && after > 0 {
            return Err(RequestError::Conflict { fields: ["from_now", "after"] }.into());
        }
        let assigned = node.ask(|reply| Event::Assigned { reply }).await?;
        if after > assigned.0 {
            // One that stands by may not have read so far.
            node.place.borrow().check_active()?;
            return Err(RequestError::Future { what: "cursor", found: after, highest: assigned }.into());
        }
        let (all, named) = (pool.is_empty(), pool.to_owned());
        let may = move || if all { access.may_everywhere(Verb::Watch) } else { access.may(Verb::Watch, &named) };
        may()?;
        let pool = match pool {
            "" => None,
            name => {
                errors::check_pool_name(name)?;
                let watched = node.pools.watched(name, *node.stable.borrow());
                Some(watched.ok_or_else(|| RequestError::UnknownPool(name.to_owned()))?)
            }
        };
        let permit = node.watchers.take(caller)?;
        let after = if from_now { node.outcomes.head() } else { EventId(after) };
        let watch = Watch { pool, after, until: until_settled.then_some(assigned), tell_first: from_now };
        // The policy may change while it watches.
        let stream =
            watch::serve::<T>(Arc::clone(node), watch, permit).map(move |part| may().map_err(Status::from).and(part));
        Ok(Response::new(rpc::until_stopped(stream, self.stop.clone())))
    }
}

#[tonic::async_trait]
impl MatchService for Service {
    type SubmitStream = ResponseStream<pb::SubmitResponse>;
    type WatchMatchesStream = ResponseStream<pb::WatchMatchesResponse>;
    type WatchOutcomesStream = ResponseStream<pb::WatchOutcomesResponse>;

    async fn submit(
        &self,
        request: tonic::Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let (caller, access) = (caller(&request), access(&request));
        let (node, stop) = (Arc::clone(&self.node), self.stop.clone());
        Ok(Response::new(submit::serve(node, caller, request.into_inner(), access, stop)))
    }

    async fn submit_one(
        &self,
        request: tonic::Request<pb::SubmitOneRequest>,
    ) -> Result<Response<pb::SubmitOneResponse>, Status> {
        let caller = caller(&request);
        let _call = self.node.calls.take(caller.as_ref())?;
        let access = access(&request);
        let request = request.into_inner();
        let bytes = request.encoded_len();
        access.may(Verb::Submit, &request.pool)?;
        access.pace(Take { elements: 1, bytes: bytes as u64, ..Take::default() }, Duration::ZERO).await?;
        let missing = RequestError::Missing { what: "no element is given", field: "element" };
        let element = request.element.ok_or(missing)?;
        errors::check_pool_name(&request.pool)?;
        let pool = self.node.pools.named(&request.pool);
        let pool = pool.as_deref().ok_or(request.pool);
        let checked = submit::check(&self.node, &pool, || dovetail_wire::submission(element));
        let mut checking = Checking::default();
        checking.push(checked).await;
        let elements = checking.finish(self.node.ledger_limits.key_secret).owned_by(access.owner());
        let room = self.node.request_room(bytes, caller.map(|caller| caller.client)).await;
        let stream = self.node.next_stream();
        let submitted = self.request(|reply| Request::Submit { elements, stream, reply, room }).await?;
        match (submitted.refused.into_first(), submitted.ids.first()) {
            (Some(refused), _) => Err(RequestError::Row(refused).into()),
            (None, Some(&id)) => Ok(Response::new(pb::SubmitOneResponse { id })),
            (None, None) => Err(RequestError::Internal("one row has one outcome".to_owned()).into()),
        }
    }

    async fn withdraw(
        &self,
        request: tonic::Request<pb::WithdrawRequest>,
    ) -> Result<Response<pb::WithdrawResponse>, Status> {
        let _call = self.node.calls.take(caller(&request).as_ref())?;
        let access = access(&request);
        let name = element_name(request.into_inner().element)?;
        let unknown = || pb::WithdrawResponse { outcome: pb::WithdrawOutcome::NotFound.into(), ..Default::default() };
        let Some((name, others)) = self.withdrawable(&access, name).await? else {
            return Ok(Response::new(unknown()));
        };
        let (outcome, position, own) = match self.request(|reply| Request::Withdraw { element: name, reply }).await? {
            Withdrawing::Unknown => return Ok(Response::new(unknown())),
            Withdrawing::Ended(x) => match self.node.outcome(x).await? {
                Some(outcome) => (Arc::new(outcome), x, false),
                None => return Ok(Response::new(unknown())),
            },
            // The event is in the log; whether the element still waited there is for the cluster to decide.
            Withdrawing::Written { at, own, ended } => {
                let outcome = self.unless_stopped(ended).await?.map_err(errors::stopping)?;
                let own = own && outcome.x == at;
                (outcome, at, own)
            }
        };
        let found = watch::match_pb(&outcome, &self.node.pools.name(outcome.pool));
        let how = match (&found, own) {
            (Some(_), _) => pb::WithdrawOutcome::AlreadyMatched,
            (None, true) => pb::WithdrawOutcome::Withdrawn,
            (None, false) => pb::WithdrawOutcome::AlreadyWithdrawn,
        };
        if others && how == pb::WithdrawOutcome::Withdrawn {
            access.tell(AuditEvent::Withdrew, |line| line.element(outcome.element.id.0));
        }
        Ok(Response::new(pb::WithdrawResponse {
            outcome: how.into(),
            r#match: found,
            position: position.0,
            reason: watch::end_reason(&outcome).into(),
        }))
    }

    async fn get_element(
        &self,
        request: tonic::Request<pb::GetElementRequest>,
    ) -> Result<Response<pb::GetElementResponse>, Status> {
        let Getting { access, name, wait_ms, at, mut counted } = self.begin_to_get(request)?;
        let node = &self.node;
        let by = By::in_ms(if wait_ms == 0 { WAIT_MS_MAX } else { wait_ms });
        if at > 0 {
            let assigned = node.ask(|reply| Event::Assigned { reply }).await?;
            if at > assigned.0 && node.place.borrow().is_active() {
                return Err(RequestError::Future { what: "position", found: at, highest: assigned }.into());
            }
            let (there, at) = (node.outcomes.watch(), EventId(at));
            // On the heap: a call that waits keeps room for all that it ever awaits, and there may be a hundred
            // thousand.
            let reached = Box::pin(self.reach("decided", there.clone(), at, by));
            tokio::select! {
                reached = reached => reached?,
                () = counted.is_over() => {
                    let there = *there.borrow();
                    return Err(RequestError::NotReached { what: "decided", at, there, ms: by.ms }.into());
                }
            }
        }
        let asked = name.clone();
        let (found, decided) = node.ask(|reply| Event::Get { element: asked, wait_ms, reply }).await?;
        let element = match found {
            Found::Unknown => return Err(answers::unknown(&name)),
            Found::Ended(element, x) => {
                let outcome = node.outcome(x).await?.ok_or_else(|| answers::unknown(&name))?;
                answers::may_read(node, &access, element, &outcome)?;
                answers::ended(node, element, &outcome)
            }
            Found::Waiting { element, pool, entry, ended: end } => {
                access.may_of(Verb::Read, &pool.name, &entry.owner)?;
                // What is not on disk may be gone after a crash, and its id another's.
                Box::pin(self.reach("on disk", node.frames.watch(), element.arrival(), by)).await?;
                let end = async {
                    let end = end?;
                    tokio::select! {
                        end = tokio::time::timeout_at(by.until, end) => end.ok()?.ok(),
                        // Another wait of this client takes its place: what is known is told before its time.
                        () = counted.is_over() => None,
                    }
                };
                match self.unless_stopped(end).await? {
                    Some(outcome) => answers::ended(node, element, &outcome),
                    None => answers::waiting(element, &pool, &entry),
                }
            }
        };
        let position = decided.max(EventId(element.ended_at)).0;
        Ok(Response::new(pb::GetElementResponse { element: Some(element), position }))
    }

    async fn list_elements(
        &self,
        request: tonic::Request<pb::ListElementsRequest>,
    ) -> Result<Response<pb::ListElementsResponse>, Status> {
        let (caller, access) = (caller(&request), access(&request));
        let _call = self.node.scans.take(caller.as_ref())?;
        let request = request.into_inner();
        access.may(Verb::List, pool_of(&request.filter))?;
        let listed = elements::list(&self.node, caller, request);
        self.unless_stopped(listed).await?
    }

    async fn withdraw_elements(
        &self,
        request: tonic::Request<pb::WithdrawElementsRequest>,
    ) -> Result<Response<pb::WithdrawElementsResponse>, Status> {
        let _call = self.node.scans.take(caller(&request).as_ref())?;
        let access = access(&request);
        let request = request.into_inner();
        let pool = pool_of(&request.filter).to_owned();
        access.may(Verb::WithdrawMany, &pool)?;
        let withdrawn = self.unless_stopped(elements::withdraw(&self.node, request)).await??;
        if access.is_asked() && withdrawn.withdrawn > 0 {
            access.tell(AuditEvent::Withdrew, |line| line.pool(&pool).count(withdrawn.withdrawn));
        }
        Ok(Response::new(withdrawn))
    }

    async fn explain(
        &self,
        request: tonic::Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        let (caller, access) = (caller(&request), access(&request));
        let _call = self.node.scans.take(caller.as_ref())?;
        let request = request.into_inner();
        let name = element_name(request.element)?;
        if let ElementName::Key { pool, .. } = &name {
            access.scope(Verb::Read, pool)?;
        }
        self.unless_stopped(explain::explain(&self.node, (caller, &access), name, request.nearest_max)).await?
    }

    async fn watch_matches(
        &self,
        request: tonic::Request<pb::WatchMatchesRequest>,
    ) -> Result<Response<Self::WatchMatchesStream>, Status> {
        let caller = caller(&request);
        let who = (caller.as_ref(), access(&request));
        let pb::WatchMatchesRequest { pool, after, until_settled, format, from_now, arrival_times } =
            request.into_inner();
        let none = RequestError::NoSuch { field: "format", found: format, most: ResponseFormat::Columns.into() };
        match (ResponseFormat::try_from(format).map_err(|_| none)?, arrival_times) {
            (ResponseFormat::Columns, true) => {
                self.watch::<Columns<true>>(who, &pool, (after, from_now), until_settled).await
            }
            (ResponseFormat::Columns, false) => {
                self.watch::<Columns<false>>(who, &pool, (after, from_now), until_settled).await
            }
            (ResponseFormat::Rows | ResponseFormat::Unspecified, _) => {
                self.watch::<Vec<pb::Match>>(who, &pool, (after, from_now), until_settled).await
            }
        }
    }

    async fn watch_outcomes(
        &self,
        request: tonic::Request<pb::WatchOutcomesRequest>,
    ) -> Result<Response<Self::WatchOutcomesStream>, Status> {
        let caller = caller(&request);
        let who = (caller.as_ref(), access(&request));
        let pb::WatchOutcomesRequest { pool, after, until_settled, from_now } = request.into_inner();
        self.watch::<Vec<pb::Outcome>>(who, &pool, (after, from_now), until_settled).await
    }

    async fn define_pool(
        &self,
        request: tonic::Request<pb::DefinePoolRequest>,
    ) -> Result<Response<pb::DefinePoolResponse>, Status> {
        let (caller, access) = (caller(&request), access(&request));
        let _call = self.node.calls.take(caller.as_ref())?;
        let missing = RequestError::Missing { what: "no pool is given", field: "pool" };
        let pool = request.into_inner().pool.ok_or(missing)?;
        access.may(Verb::Define, &pool.name)?;
        let name = pool.name.clone();
        let definition = dovetail_wire::pool_definition(pool).map_err(RequestError::Definition)?;
        // What cannot be is refused here, before how it differs from what is there: nothing large waits for the engine,
        // and the engine plans no rules but those that it writes. It gives the number.
        let pool = Pool::compile(PoolId(0), Arc::new(definition));
        let pool = Box::new(pool.map_err(|error| RequestError::Define(error.into()))?);
        let client = caller.map(|caller| caller.client);
        let defined = self.request(|reply| Request::Define { pool, client, reply }).await?;
        let defined = defined.map_err(RequestError::Define)?;
        if defined.created {
            access.tell(AuditEvent::Defined, |line| line.pool(&name));
        }
        let notes = defined.notes.into_iter().map(dovetail_wire::note_pb).collect();
        Ok(Response::new(pb::DefinePoolResponse {
            defined_at: defined.at.0,
            created: defined.created,
            notes,
            idempotency_ms: self.node.ledger_limits.idempotency_ms,
        }))
    }

    async fn drop_pool(
        &self,
        request: tonic::Request<pb::DropPoolRequest>,
    ) -> Result<Response<pb::DropPoolResponse>, Status> {
        let (caller, access) = (caller(&request), access(&request));
        let pb::DropPoolRequest { name, defined_at, wait_ms } = request.into_inner();
        if wait_ms > WAIT_MS_MAX {
            let (found, most) = (wait_ms.into(), WAIT_MS_MAX.into());
            return Err(RequestError::Above { field: "wait_ms", found, most }.into());
        }
        let _call = self.node.calls.take(caller.as_ref())?;
        errors::check_pool_name(&name)?;
        access.may(Verb::Drop, &name)?;
        let dropped_name = name.clone();
        let (by, defined_at) = (By::in_ms(wait_ms), EventId(defined_at));
        let dropping = self.request(|reply| Request::Drop { name, defined_at, reply }).await?;
        let Dropping { pool, defined_at, closed_at, waiting } = dropping.map_err(RequestError::Drop)?;
        access.tell(AuditEvent::Dropped, |line| line.pool(&dropped_name).count(waiting));
        let dropped = wait_ms > 0 && self.until_dropped(pool, by).await?;
        Ok(Response::new(pb::DropPoolResponse { defined_at: defined_at.0, closed_at: closed_at.0, waiting, dropped }))
    }

    async fn list_pools(
        &self,
        request: tonic::Request<pb::ListPoolsRequest>,
    ) -> Result<Response<pb::ListPoolsResponse>, Status> {
        let _call = self.node.calls.take(caller(&request).as_ref())?;
        let (node, access) = (&self.node, access(&request));
        let (caller, request) = (caller(&request), request.into_inner());
        let all = || async {
            let mut all = node.ask(|reply| Event::Pools { reply }).await?;
            all.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
            Ok(all)
        };
        let listed = node.listed.answer(caller.as_ref(), all, |all| {
            let mut answer = if access.is_asked() {
                let seen = all.iter().filter(|pool| access.sees(&pool.definition.name));
                list::pools(&seen.cloned().collect::<Vec<_>>(), request)?
            } else {
                list::pools(all, request)?
            };
            let idempotency_ms = node.ledger_limits.idempotency_ms;
            answer.pools.iter_mut().for_each(|pool| pool.idempotency_ms = idempotency_ms);
            let bytes = answer.encoded_len();
            Ok((answer, bytes))
        });
        self.unless_stopped(listed).await?
    }

    async fn get_pool(
        &self,
        request: tonic::Request<pb::GetPoolRequest>,
    ) -> Result<Response<pb::GetPoolResponse>, Status> {
        let _call = self.node.calls.take(caller(&request).as_ref())?;
        let access = access(&request);
        let name = request.into_inner().name;
        errors::check_pool_name(&name)?;
        access.scope(Verb::See, &name)?;
        let asked = name.clone();
        let pool = self.node.ask(|reply| Event::Pool { name: asked, reply }).await?;
        let pool = pool.ok_or(RequestError::UnknownPool(name))?;
        let mut pool = list::status(&pool, pb::PoolView::Full);
        pool.idempotency_ms = self.node.ledger_limits.idempotency_ms;
        Ok(Response::new(pb::GetPoolResponse { pool: Some(pool) }))
    }
}

/// The pool that a filter names; none that it does not is granted by name.
fn pool_of(filter: &Option<pb::ElementFilter>) -> &str {
    filter.as_ref().map_or("", |filter| &filter.pool)
}
