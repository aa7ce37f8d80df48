//! A server that answers as it is told. It takes every element, except those whose key begins with `bad`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dovetail::pb::{
    self, AttributeType,
    inspect_service_server::{InspectService, InspectServiceServer},
    match_service_server::{MatchService, MatchServiceServer},
};
use dovetail_core::{Pool, PoolId};
use dovetail_wire::{SubmittedColumns, value_pb};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status, Streaming};

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A call of WatchMatches: what it sends, and how it ends; without an end it stays open.
pub struct WatchCall {
    pub sends: Vec<pb::WatchMatchesResponse>,
    pub ends: Option<Result<(), Status>>,
}

/// What the server has seen, and what it will say.
#[derive(Default)]
pub struct Script {
    pub pools: Vec<pb::PoolDefinition>,
    pub defined: Vec<pb::PoolDefinition>,
    /// Batches received, by key.
    pub batches: Vec<Vec<pb::Submission>>,
    /// A Submit stream breaks when it comes to this batch, from 0 on.
    pub breaks_at: Option<usize>,
    pub watches: VecDeque<WatchCall>,
    pub watched: Vec<pb::WatchMatchesRequest>,
    pub element: Option<pb::Element>,
    /// What an answer about it reflects.
    pub position: u64,
    pub withdraw: Option<pb::WithdrawResponse>,
    /// What it says about itself; without it, that it is gatherer 3.
    pub node: Option<pb::InspectResponse>,
    /// What was asked for of many elements.
    pub listed: Vec<pb::ElementFilter>,
    pub withdrawn: Vec<pb::WithdrawElementsRequest>,
    /// How often a drop was asked for.
    pub drops: u32,
    /// What every call of `MatchService` is answered with.
    pub refuses: Option<Status>,
}

impl Script {
    /// Whether there is such a pool; none is asked for with an empty name.
    fn defined(&self, name: &str) -> Result<(), Status> {
        if name.is_empty() || self.pools.iter().any(|pool| pool.name == name) {
            Ok(())
        } else {
            Err(Status::not_found(format!("pool {name:?} is not defined")))
        }
    }
}

#[derive(Clone)]
struct Service {
    script: Arc<Mutex<Script>>,
    /// Every answer to a batch takes one; a test that does not care has plenty.
    answers: Arc<Semaphore>,
}

/// A running server. Dropping it breaks every connection, as kill -9 would.
pub struct Fake {
    address: SocketAddr,
    service: Service,
    runtime: Option<Runtime>,
}

impl Fake {
    /// Starts with the pool `duel`, of region and skill.
    pub fn start() -> Fake {
        let attribute = |name: &str, kind: AttributeType| pb::Attribute { name: name.to_owned(), r#type: kind.into() };
        let duel = pb::PoolDefinition {
            name: "duel".to_owned(),
            attributes: vec![attribute("region", AttributeType::String), attribute("skill", AttributeType::Int)],
            rule: "a.region == b.region".to_owned(),
            ..Default::default()
        };
        let script = Script { pools: vec![duel], ..Default::default() };
        let service =
            Service { script: Arc::new(Mutex::new(script)), answers: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) };
        Fake::listen(([127, 0, 0, 1], 0).into(), service)
    }

    fn listen(address: SocketAddr, service: Service) -> Fake {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::thread::scope(|scope| {
            // Apart from the test's own runtime, if it has one.
            scope.spawn(|| runtime.block_on(TcpListener::bind(address)).unwrap()).join().unwrap()
        });
        let address = listener.local_addr().unwrap();
        let refuses = Arc::clone(&service.script);
        let served = tonic::transport::Server::builder()
            .add_service(MatchServiceServer::with_interceptor(service.clone(), move |request| {
                refuses.lock().unwrap().refuses.clone().map_or(Ok(request), Err)
            }))
            .add_service(InspectServiceServer::new(service.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(served);
        Fake { address, service, runtime: Some(runtime) }
    }

    /// Breaks every connection, and listens again at the same address.
    pub fn restart(&mut self) {
        self.stop();
        *self = Fake::listen(self.address, self.service.clone());
    }

    /// Breaks every connection, and stops listening.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed within the test's own runtime.
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// It writes, or refuses whatever is asked.
    pub fn refuses(&self, with: impl Into<Option<Status>>) {
        self.script().refuses = with.into();
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.service.script.lock().unwrap()
    }

    /// From now on, batches are answered only as `answer` allows.
    pub fn hold_answers(&self) {
        self.service.answers.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn answer(&self, batches: usize) {
        self.service.answers.add_permits(batches);
    }

    /// Waits until the server has seen it.
    pub fn until(&self, what: &str, mut seen: impl FnMut(&Script) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !seen(&self.script()) {
            assert!(Instant::now() < deadline, "the server never saw {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Keys of the batches received.
    pub fn keys(&self) -> Vec<Vec<String>> {
        let keys = |batch: &Vec<pb::Submission>| batch.iter().map(|row| row.key.clone()).collect();
        self.script().batches.iter().map(keys).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A match of the pool `duel` between the elements `cursor - 1` and `cursor`.
pub fn found(cursor: u64) -> pb::Match {
    let end = |id: u64| Some(pb::MatchedElement { id, key: format!("p{id}"), ..Default::default() });
    pb::Match { cursor, pool: "duel".to_owned(), a: end(cursor - 1), b: end(cursor), time_ms: 0 }
}

/// A message of matches at these cursors.
pub fn part(cursors: &[u64], settled: u64) -> pb::WatchMatchesResponse {
    pb::WatchMatchesResponse {
        matches: cursors.iter().map(|&cursor| found(cursor)).collect(),
        settled,
        ..Default::default()
    }
}

fn outcomes(part: pb::WatchMatchesResponse) -> pb::WatchOutcomesResponse {
    let outcome = |cursor, kind| pb::Outcome { cursor, pool: "duel".to_owned(), time_ms: 0, kind: Some(kind) };
    let both = |found: pb::Match| {
        let expired = pb::Ended { id: found.cursor - 2, key: "late".to_owned(), reason: 2, ..Default::default() };
        [
            outcome(found.cursor - 1, pb::outcome::Kind::Ended(expired)),
            outcome(found.cursor, pb::outcome::Kind::Match(found)),
        ]
    };
    let outcomes = part.matches.into_iter().flat_map(both).collect();
    pb::WatchOutcomesResponse { outcomes, settled: part.settled, pool_dropped: part.pool_dropped }
}

impl Service {
    fn take(&self, batch: Vec<pb::Submission>, next_id: &mut u64) -> pb::SubmitResponse {
        let mut response = pb::SubmitResponse::default();
        for (row, element) in batch.iter().enumerate() {
            if element.key.starts_with("bad") {
                let message = format!("key {:?} is already waiting", element.key);
                let code = Code::AlreadyExists as i32;
                let reason = pb::ErrorReason::KeyWaiting.into();
                response.refusals.push(pb::Refusal { row: row as u32, code, message, reason, holder: 1 });
                response.ids.push(0);
            } else {
                response.ids.push(*next_id);
                *next_id += 1;
            }
        }
        self.script.lock().unwrap().batches.push(batch);
        response
    }
}

/// A batch as rows.
fn rows(batch: pb::submit_request::Batch) -> Vec<pb::Submission> {
    let columns = match batch {
        pb::submit_request::Batch::Rows(rows) => return rows.unpacked().unwrap(),
        pb::submit_request::Batch::Columns(columns) => columns,
    };
    let read = SubmittedColumns::read(columns).unwrap();
    let row = |index| {
        let value = |(column, (name, _)): (usize, (&str, _))| {
            Some((name.to_owned(), value_pb(Some(&read.value(column, index)?))))
        };
        pb::Submission {
            key: read.key(index).to_owned(),
            attributes: read.attributes().enumerate().filter_map(value).collect(),
            payload: read.payload(index),
            ttl_ms: read.ttl_ms(index),
            idempotency_key: read.idempotency_key(index).to_owned(),
        }
    };
    (0..read.count()).map(row).collect()
}

#[tonic::async_trait]
impl MatchService for Service {
    type SubmitStream = Replies<pb::SubmitResponse>;
    type WatchMatchesStream = Replies<pb::WatchMatchesResponse>;
    type WatchOutcomesStream = Replies<pb::WatchOutcomesResponse>;

    async fn submit(
        &self,
        request: Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let (service, mut requests) = (self.clone(), request.into_inner());
        let (unanswered, mut to_answer) = mpsc::unbounded_channel();
        let taking = service.clone();
        tokio::spawn(async move {
            let (mut next_id, mut number) = (2, 0);
            while let Some(Ok(request)) = requests.next().await {
                let breaks = taking.script.lock().unwrap().breaks_at == Some(number);
                let rows = rows(request.batch.expect("a batch"));
                let response = if breaks {
                    Err(Status::unavailable("the node is going down"))
                } else {
                    Ok(taking.take(rows, &mut next_id))
                };
                if unanswered.send(response).is_err() || breaks {
                    break;
                }
                number += 1;
            }
        });
        let (replies, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(response) = to_answer.recv().await {
                service.answers.acquire().await.unwrap().forget();
                if replies.send(response).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn submit_one(
        &self,
        request: Request<pb::SubmitOneRequest>,
    ) -> Result<Response<pb::SubmitOneResponse>, Status> {
        let element = request.into_inner().element.unwrap_or_default();
        match self.take(vec![element], &mut 2).refusals.pop() {
            None => Ok(Response::new(pb::SubmitOneResponse { id: 2 })),
            Some(refusal) => Err(Status::already_exists(refusal.message)),
        }
    }

    async fn withdraw(&self, _: Request<pb::WithdrawRequest>) -> Result<Response<pb::WithdrawResponse>, Status> {
        Ok(Response::new(self.script.lock().unwrap().withdraw.clone().unwrap_or_default()))
    }

    async fn get_element(&self, _: Request<pb::GetElementRequest>) -> Result<Response<pb::GetElementResponse>, Status> {
        let script = self.script.lock().unwrap();
        let element = Some(script.element.clone().ok_or_else(|| Status::not_found("element 17 is not known"))?);
        Ok(Response::new(pb::GetElementResponse { element, position: script.position }))
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Result<Response<pb::ExplainResponse>, Status> {
        let element = self.script.lock().unwrap().element.clone();
        let element = Some(element.ok_or_else(|| Status::not_found("element 17 is not known"))?);
        // What was asked for comes back as what was found.
        let anchors = request.into_inner().nearest_max.into();
        Ok(Response::new(pb::ExplainResponse { element, anchors, ..Default::default() }))
    }

    async fn watch_matches(
        &self,
        request: Request<pb::WatchMatchesRequest>,
    ) -> Result<Response<Self::WatchMatchesStream>, Status> {
        let mut script = self.script.lock().unwrap();
        let request = request.into_inner();
        script.defined(&request.pool)?;
        script.watched.push(request);
        let Some(call) = script.watches.pop_front() else { return Err(Status::internal("no call was expected")) };
        let sends = tokio_stream::iter(call.sends.into_iter().map(Ok));
        Ok(Response::new(match call.ends {
            Some(Ok(())) => Box::pin(sends),
            Some(Err(status)) => Box::pin(sends.chain(tokio_stream::once(Err(status)))),
            None => Box::pin(sends.chain(tokio_stream::pending())),
        }))
    }

    async fn watch_outcomes(
        &self,
        request: Request<pb::WatchOutcomesRequest>,
    ) -> Result<Response<Self::WatchOutcomesStream>, Status> {
        let pb::WatchOutcomesRequest { pool, after, until_settled, from_now } = request.into_inner();
        // The matches of the script, each with an element that expired just before it.
        let of_matches = Request::new(pb::WatchMatchesRequest {
            pool,
            after,
            until_settled,
            format: pb::ResponseFormat::Rows.into(),
            from_now,
            arrival_times: false,
        });
        let matches = self.watch_matches(of_matches).await?.into_inner();
        Ok(Response::new(Box::pin(matches.map(|part| part.map(outcomes)))))
    }

    async fn define_pool(
        &self,
        request: Request<pb::DefinePoolRequest>,
    ) -> Result<Response<pb::DefinePoolResponse>, Status> {
        let pool = request.into_inner().pool.unwrap_or_default();
        if pool.rule == "other" {
            return Err(Status::already_exists(format!("pool {:?} is defined with another rule", pool.name)));
        }
        let compiled = dovetail_wire::pool_definition(pool.clone()).ok().and_then(|definition| {
            Some(
                Pool::compile(PoolId(0), Arc::new(definition))
                    .ok()?
                    .notes()
                    .into_iter()
                    .map(dovetail_wire::note_pb)
                    .collect(),
            )
        });
        self.script.lock().unwrap().defined.push(pool);
        let notes = compiled.unwrap_or_default();
        Ok(Response::new(pb::DefinePoolResponse { defined_at: 1, created: true, notes, ..Default::default() }))
    }

    async fn list_pools(
        &self,
        request: Request<pb::ListPoolsRequest>,
    ) -> Result<Response<pb::ListPoolsResponse>, Status> {
        let request = request.into_inner();
        let all = self.script.lock().unwrap().pools.clone();
        // Two on a page, whatever is asked for: a page may have fewer.
        let from = request.page_token.parse().unwrap_or(0);
        let pools = all.iter().skip(from).take(2).map(status).collect();
        let next_page_token = if from + 2 < all.len() { (from + 2).to_string() } else { String::new() };
        Ok(Response::new(pb::ListPoolsResponse { pools, next_page_token, view: request.view }))
    }

    async fn list_elements(
        &self,
        request: Request<pb::ListElementsRequest>,
    ) -> Result<Response<pb::ListElementsResponse>, Status> {
        let request = request.into_inner();
        let mut script = self.script.lock().unwrap();
        let filter = request.filter.unwrap_or_default();
        script.defined(&filter.pool)?;
        script.listed.push(filter);
        let elements = script.element.iter().cloned().collect();
        // One more page, which is empty.
        let next_page_token = if request.page_token.is_empty() { "more".to_owned() } else { String::new() };
        let elements = if next_page_token.is_empty() { Vec::new() } else { elements };
        Ok(Response::new(pb::ListElementsResponse { elements, next_page_token }))
    }

    async fn withdraw_elements(
        &self,
        request: Request<pb::WithdrawElementsRequest>,
    ) -> Result<Response<pb::WithdrawElementsResponse>, Status> {
        let request = request.into_inner();
        let next_page_token = if request.page_token.is_empty() { "more".to_owned() } else { String::new() };
        self.script.lock().unwrap().withdrawn.push(request);
        let (withdrawn, matched, ended, position) = (1000, 2, 3, 4711);
        let counts = pb::WithdrawElementsResponse { withdrawn, matched, ended, position, next_page_token };
        Ok(Response::new(counts))
    }

    async fn drop_pool(&self, request: Request<pb::DropPoolRequest>) -> Result<Response<pb::DropPoolResponse>, Status> {
        let pb::DropPoolRequest { name, defined_at, wait_ms } = request.into_inner();
        let mut script = self.script.lock().unwrap();
        if !script.pools.iter().any(|pool| pool.name == name) {
            return Err(Status::not_found(format!("pool {name:?} is not defined")));
        }
        // The first call comes to the end of its time.
        script.drops += 1;
        let dropped = script.drops > 1;
        assert!(wait_ms > 0);
        Ok(Response::new(pb::DropPoolResponse { defined_at, closed_at: 7, waiting: 1234, dropped }))
    }

    async fn get_pool(&self, request: Request<pb::GetPoolRequest>) -> Result<Response<pb::GetPoolResponse>, Status> {
        let name = request.into_inner().name;
        let pools = self.script.lock().unwrap().pools.clone();
        let pool = pools.iter().find(|pool| pool.name == name).map(status);
        let unknown = || Status::not_found(format!("pool {name:?} is not defined"));
        Ok(Response::new(pb::GetPoolResponse { pool: Some(pool.ok_or_else(unknown)?) }))
    }
}

fn status(pool: &pb::PoolDefinition) -> pb::PoolStatus {
    pb::PoolStatus { definition: Some(pool.clone()), defined_at: 1, waiting: 1234, ..Default::default() }
}

#[tonic::async_trait]
impl InspectService for Service {
    async fn inspect(&self, _: Request<pb::InspectRequest>) -> Result<Response<pb::InspectResponse>, Status> {
        if let Some(node) = self.script.lock().unwrap().node.clone() {
            return Ok(Response::new(node));
        }
        let role = pb::Role::Gatherer.into();
        Ok(Response::new(pb::InspectResponse { role, index: 3, ..Default::default() }))
    }
}
