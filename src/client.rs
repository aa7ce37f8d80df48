//! A client of the balancer's `MatchService`.
//!
//! ```no_run
//! use dovetail::client::{Client, SubmitOptions, WatchOptions, value};
//! use dovetail::pb::{Attribute, AttributeType, PoolDefinition, Submission};
//!
//! # async fn example() -> Result<(), dovetail::client::ClientError> {
//! let client = Client::connect("http://127.0.0.1:7400").await?;
//! client
//!     .define_pool(PoolDefinition {
//!         name: "duel".to_owned(),
//!         attributes: vec![Attribute { name: "skill".to_owned(), r#type: AttributeType::Int.into() }],
//!         rule: "abs(a.skill - b.skill) <= 25".to_owned(),
//!         ..PoolDefinition::default()
//!     })
//!     .await?;
//!
//! // Batches are pipelined: `send` waits only while 16 of them are unanswered.
//! let mut submit = client.submit("duel", SubmitOptions::default()).await?;
//! let player = |key: &str, skill: i64| Submission {
//!     key: key.to_owned(),
//!     attributes: [("skill".to_owned(), value::int(skill))].into(),
//!     ..Submission::default()
//! };
//! submit.send(vec![player("ada", 1500), player("bob", 1510)]).await?;
//! for answer in submit.finish().await? {
//!     println!("ids {:?}, refused {:?}", answer.ids, answer.refusals);
//! }
//!
//! // Each match once, in order, across lost connections.
//! let mut watch = client.watch(WatchOptions { pool: "duel".to_owned(), ..WatchOptions::default() });
//! while let Some(part) = watch.next().await? {
//!     for found in part.matches {
//!         println!("{} at {}", found.pool, found.cursor);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod bearer;
mod columns;
mod error;
mod servers;
mod submit;
pub mod value;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use tonic::{Response, Status};

pub use bearer::{TOKEN_BYTES_MAX, Token};
pub use columns::Columns;
pub use error::{ClientError, code_name};
pub use submit::{Answer, SubmitOptions, SubmitStream};
pub use watch::{EndView, MatchColumns, MatchView, Watch, WatchOptions, WatchedPart};

use self::bearer::Bearer;
use self::servers::{Again, Calls, Servers};
use crate::address;
use crate::pb;
use crate::pb::inspect_service_client::InspectServiceClient;
use crate::pb::match_service_client::MatchServiceClient;
use crate::pb::operate_service_client::OperateServiceClient;
use crate::tls::{Files, OwnFiles};
use crate::traffic::Traffic;

/// Longest time to set up a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a silent connection is probed, and how long an answer may take. A server that is gone without a word is
/// noticed after their sum.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

/// Largest message taken from a server: the most its `message_bytes_max` can be.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Flow-control window of a stream, in bytes: enough to keep a watch on a fast link busy.
const WINDOW_BYTES: u32 = 4 << 20;

/// Longest wait that [`Client::get`] asks for; the server's own bound.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How to connect, beside where to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// For `https://`: the authority that signs the server's certificate, and our own certificate, if the server asks
    /// for one. Files in PEM, which are read again when a connection is set up after they have changed.
    pub tls: Files,
    /// What to show of who we are, with each call.
    pub token: Option<Token>,
    /// Send the token over plain text, too, to an address that others reach: everything on the way can read it.
    pub insecure: bool,
}

impl ConnectOptions {
    /// Trusts servers whose certificate the authority in this file signs.
    #[must_use]
    pub fn trust(mut self, ca: impl Into<PathBuf>) -> ConnectOptions {
        self.tls.ca = Some(ca.into());
        self
    }

    /// Shows this token with each call.
    #[must_use]
    pub fn bear(mut self, token: Token) -> ConnectOptions {
        self.token = Some(token);
        self
    }

    /// Shows the certificate in this file, with its key in that one.
    #[must_use]
    pub fn show(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> ConnectOptions {
        self.tls.own = Some(OwnFiles { cert: cert.into(), key: key.into() });
        self
    }
}

/// A connection to a server, or to one of several. Clones share it; it is set up again by itself when it breaks.
#[derive(Debug, Clone)]
pub struct Client {
    servers: Servers,
}

impl Client {
    /// Connects to a URL such as `http://127.0.0.1:7400`, or `127.0.0.1:7400`. Several, with commas between them, are of
    /// the balancers of one cluster: see [`connect_any`](Client::connect_any). Fails at once when nothing listens there.
    pub async fn connect(url: impl Into<String>) -> Result<Client, ClientError> {
        Client::connect_with(url, &ConnectOptions::default()).await
    }

    /// Connects as the options say. `https://` needs an authority that signs the server's certificate.
    pub async fn connect_with(url: impl Into<String>, options: &ConnectOptions) -> Result<Client, ClientError> {
        Client::connect_any(url.into().split(','), options).await
    }

    /// Connects to a cluster with several balancers, of which one writes at a time. Calls go to that one: where a
    /// balancer stands by, to the one that it names, if it is one of these; where one does not answer, to the next.
    ///
    /// A call that was refused because the balancer stands by, or for which there was no connection, is made again for
    /// up to 10 seconds; so is one that reads, and a [submission](Client::submit_one) with an idempotency key, when its
    /// connection is lost or its balancer stops. Others may have been done by then, and fail as they do with one server.
    pub async fn connect_any<U: Into<String>>(
        urls: impl IntoIterator<Item = U>,
        options: &ConnectOptions,
    ) -> Result<Client, ClientError> {
        let servers = Servers::connect(urls.into_iter().map(Into::into).collect(), options).await?;
        Ok(Client { servers })
    }

    /// The URL of the server that is asked: the one it was connected to, or that was followed since.
    pub fn url(&self) -> &str {
        self.servers.url()
    }

    /// What goes through its connections.
    pub fn traffic(&self) -> &Traffic {
        self.servers.traffic()
    }

    /// Defines a pool. Defining it again with the same definition changes nothing.
    pub async fn define_pool(&self, pool: pb::PoolDefinition) -> Result<pb::DefinePoolResponse, ClientError> {
        let request = pb::DefinePoolRequest { pool: Some(pool) };
        self.call(Again::NotDone, request, |mut service, request| async move { service.define_pool(request).await })
            .await
    }

    /// Drops a pool: those who wait in it end with the reason `DROPPED`, and then its name is free. With `defined_at`,
    /// only the pool that this event defined. Waits up to `wait`, at most [`WAIT_MAX`], for the pool to be gone; the
    /// answer says whether it is.
    pub async fn drop_pool(
        &self,
        name: impl Into<String>,
        defined_at: Option<u64>,
        wait: Duration,
    ) -> Result<pb::DropPoolResponse, ClientError> {
        let (defined_at, wait_ms) = (defined_at.unwrap_or_default(), wait.min(WAIT_MAX).as_millis() as u32);
        let request = pb::DropPoolRequest { name: name.into(), defined_at, wait_ms };
        self.call(Again::NotDone, request, |mut service, request| async move { service.drop_pool(request).await }).await
    }

    /// All pools with their definitions, by name. Reads page after page.
    pub async fn list_pools(&self) -> Result<Vec<pb::PoolStatus>, ClientError> {
        let mut request = pb::ListPoolsRequest { view: pb::PoolView::Full.into(), ..Default::default() };
        let mut pools = Vec::new();
        loop {
            let page = self.list_pools_page(request.clone()).await?;
            pools.extend(page.pools);
            if page.next_page_token.is_empty() {
                return Ok(pools);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// A page of the pools.
    pub async fn list_pools_page(&self, request: pb::ListPoolsRequest) -> Result<pb::ListPoolsResponse, ClientError> {
        self.call(Again::Same, request, |mut service, request| async move { service.list_pools(request).await }).await
    }

    /// One pool, by its name. NOT_FOUND when there is none.
    pub async fn get_pool(&self, name: impl Into<String>) -> Result<pb::PoolStatus, ClientError> {
        let request = pb::GetPoolRequest { name: name.into() };
        let answer = self
            .call(Again::Same, request, |mut service, request| async move { service.get_pool(request).await })
            .await?;
        answer.pool.ok_or_else(|| ClientError::Answer("a pool without a pool".to_owned()))
    }

    /// A pipelined stream of batches into one pool.
    pub async fn submit(&self, pool: impl Into<String>, options: SubmitOptions) -> Result<SubmitStream, ClientError> {
        SubmitStream::open(self.servers.clone(), pool.into(), options).await
    }

    /// Submits one element, and returns its id. For low rates; see [`submit`](Client::submit).
    pub async fn submit_one(&self, pool: impl Into<String>, element: pb::Submission) -> Result<u64, ClientError> {
        // The same key is answered with the same id, however often it is sent.
        let again = if element.idempotency_key.is_empty() { Again::NotDone } else { Again::Same };
        let request = pb::SubmitOneRequest { pool: pool.into(), element: Some(element) };
        Ok(self.call(again, request, |mut service, request| async move { service.submit_one(request).await }).await?.id)
    }

    /// An element and what became of it. Waits up to `wait`, at most [`WAIT_MAX`], for it to be matched or withdrawn.
    pub async fn get(&self, element: pb::ElementRef, wait: Duration) -> Result<pb::Element, ClientError> {
        Ok(self.get_at(element, wait, 0).await?.0)
    }

    /// The same from a state no older than a position: the id of an element, or what a withdrawal, a match or an
    /// earlier answer named. Waits for that up to `wait`, or [`WAIT_MAX`] when that is zero. The number is the position
    /// that the answer reflects.
    pub async fn get_at(
        &self,
        element: pb::ElementRef,
        wait: Duration,
        at: u64,
    ) -> Result<(pb::Element, u64), ClientError> {
        let wait_ms = wait.min(WAIT_MAX).as_millis() as u32;
        let request = pb::GetElementRequest { element: Some(element), wait_ms, position: at };
        let pb::GetElementResponse { element, position } = self
            .call(Again::Same, request, |mut service, request| async move { service.get_element(request).await })
            .await?;
        let element = element.ok_or_else(|| ClientError::Answer("an element without an element".to_owned()))?;
        Ok((element, position))
    }

    /// Why an element is still waiting, with at most `nearest` near misses (100 at most; 0 for the server's choice). Of
    /// one that waits no longer, what became of it.
    pub async fn explain(&self, element: pb::ElementRef, nearest: u32) -> Result<pb::ExplainResponse, ClientError> {
        let request = pb::ExplainRequest { element: Some(element), nearest_max: nearest };
        self.call(Again::Same, request, |mut service, request| async move { service.explain(request).await }).await
    }

    /// Takes a waiting element back. The answer says whether it was still waiting.
    pub async fn withdraw(&self, element: pb::ElementRef) -> Result<pb::WithdrawResponse, ClientError> {
        let request = pb::WithdrawRequest { element: Some(element) };
        self.call(Again::NotDone, request, |mut service, request| async move { service.withdraw(request).await }).await
    }

    /// A page of the elements that wait in a pool.
    pub async fn list_elements(
        &self,
        request: pb::ListElementsRequest,
    ) -> Result<pb::ListElementsResponse, ClientError> {
        self.call(Again::Same, request, |mut service, request| async move { service.list_elements(request).await })
            .await
    }

    /// Takes a page of the elements that wait in a pool back. Go on with `next_page_token` until that is empty.
    pub async fn withdraw_elements(
        &self,
        request: pb::WithdrawElementsRequest,
    ) -> Result<pb::WithdrawElementsResponse, ClientError> {
        self.call(
            Again::NotDone,
            request,
            |mut service, request| async move { service.withdraw_elements(request).await },
        )
        .await
    }

    /// The matches in order of their cursor, each once, across lost connections. Connects on the first
    /// [`next`](Watch::next).
    pub fn watch(&self, options: WatchOptions) -> Watch {
        self.watch_as(options)
    }

    /// Matches, and with them the elements that were withdrawn, expired, or were dropped with their pool, in order of
    /// their cursor, each once, across lost connections.
    pub fn watch_outcomes(&self, options: WatchOptions) -> Watch<pb::WatchOutcomesResponse> {
        self.watch_as(options)
    }

    /// Matches as columns, in order of their cursor, each once, across lost connections. Costs both sides a fraction of
    /// what [`watch`](Client::watch) does.
    pub fn watch_columns(&self, options: WatchOptions) -> Watch<MatchColumns> {
        self.watch_as(options)
    }

    /// Any of these.
    pub fn watch_as<P: WatchedPart>(&self, options: WatchOptions) -> Watch<P> {
        Watch::new(self.servers.clone(), options)
    }

    /// Lets event time follow the balancer's wall clock, which jumped ahead too far to be followed without a word.
    pub async fn accept_clock(&self) -> Result<pb::AcceptClockResponse, ClientError> {
        let accept =
            |calls| async move { OperateServiceClient::new(calls).accept_clock(pb::AcceptClockRequest {}).await };
        self.servers.call(Again::NotDone, accept).await
    }

    /// The node's state. Every role answers this.
    pub async fn inspect(&self) -> Result<pb::InspectResponse, ClientError> {
        let inspect = |calls| async move {
            let mut service = InspectServiceClient::new(calls).max_decoding_message_size(MESSAGE_BYTES_MAX);
            service.inspect(pb::InspectRequest {}).await
        };
        self.servers.call(Again::Same, inspect).await
    }

    async fn call<R: Clone, T, F>(
        &self,
        again: Again,
        request: R,
        call: impl Fn(MatchServiceClient<Calls>, R) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.servers.call(again, |calls| call(service(calls), request.clone())).await
    }
}

fn service(calls: Calls) -> MatchServiceClient<Calls> {
    MatchServiceClient::new(calls)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// What to show; never to who reads along.
fn bearer(url: &str, options: &ConnectOptions) -> Result<Bearer, ClientError> {
    let in_clear = !url.starts_with("https://") && address::loopback(url).is_none();
    if options.token.is_some() && in_clear && !options.insecure {
        return Err(ClientError::TokenInClear { url: url.to_owned() });
    }
    Bearer::new(options.token.as_ref()).map_err(|error| ClientError::Token { reason: error.to_string() })
}

/// Names an element by its id.
pub fn by_id(id: u64) -> pb::ElementRef {
    pb::ElementRef { r#ref: Some(pb::element_ref::Ref::Id(id)) }
}

/// Names the element that last had this key in the pool.
pub fn by_key(pool: impl Into<String>, key: impl Into<String>) -> pb::ElementRef {
    let key = pb::PoolKey { pool: pool.into(), key: key.into() };
    pb::ElementRef { r#ref: Some(pb::element_ref::Ref::Key(key)) }
}
