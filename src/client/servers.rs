//! Where a client's calls go: to its server, or of several to the one that writes, as far as it knows.
//!
//! Whoever refuses because it stands by says which one writes; whoever does not answer is left for the next. Calls, and
//! streams until they have begun, are made again where that can do no harm. Invariants: servers.U1 nothing is sent, and
//! no token shown, to a server that the client was not given, whatever a server names; servers.U2 a call that may have
//! been done is made again only if doing it twice is the same.

use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};
use tonic_health::pb::health_client::HealthClient;

use super::bearer::Bearer;
use super::{CONNECT_TIMEOUT, ClientError, ConnectOptions, KEEPALIVE, WINDOW_BYTES, error};
use crate::address::{self, AddressError};
use crate::reason::Reason;
use crate::standby::StandsBy;
use crate::tls::Trust;
use crate::traffic::Traffic;

/// Longest time to set up a connection to one of several servers.
const CONNECT_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(1);
/// As [`KEEPALIVE`], of several servers: there are others to ask.
const KEEPALIVE_OF_SEVERAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(1));
/// Longest time in which a call is made again. One balancer takes over from another within two seconds.
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// First and longest pause before that; it doubles in between.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// What calls go by: a channel, and the token with each of them.
pub(crate) type Calls = InterceptedService<Channel, Bearer>;

/// When a call is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// When it was not done: the server stands by, or was not reached.
    NotDone,
    /// Also when it may have been done: it reads, or is the same however often it is done.
    Same,
}

/// The servers of a client. Clones are of the same.
#[derive(Debug, Clone)]
pub(super) struct Servers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// One at least.
    all: Vec<Server>,
    bearer: Bearer,
    traffic: Traffic,
    asked: Mutex<Asked>,
}

#[derive(Debug)]
struct Server {
    url: String,
    channel: Channel,
}

#[derive(Debug)]
struct Asked {
    at: usize,
    /// The highest that was heard of; 0 for none.
    term: u64,
}

/// What an error says about where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// At the server that writes, which is known now.
    Followed,
    /// At the next of several.
    Another,
    /// Nowhere else.
    Here,
}

impl Servers {
    /// Connects to the first that can be reached.
    pub(super) async fn connect(urls: Vec<String>, options: &ConnectOptions) -> Result<Servers, ClientError> {
        let several = urls.len() > 1;
        let traffic = Traffic::default();
        let (mut all, mut bearer, mut at, mut failed) = (Vec::new(), Bearer::default(), None, None);
        for url in urls {
            let url = address::node_url(&url)?;
            let trust = trust(&url, options)?;
            bearer = super::bearer(&url, options)?;
            let endpoint = endpoint(&url, several)?;
            let channel = if at.is_some() {
                endpoint.connect_with_connector_lazy(traffic.connector(trust))
            } else {
                match endpoint.connect_with_connector(traffic.connector(trust.clone())).await {
                    Ok(channel) => match proved(&url, &channel, &traffic).await {
                        Ok(()) => {
                            at = Some(all.len());
                            channel
                        }
                        Err(error) => {
                            failed.get_or_insert(error);
                            channel
                        }
                    },
                    Err(error) => {
                        let reason = error::why_not_connected(error::deepest(&error), options.tls.ca.as_deref());
                        failed.get_or_insert(ClientError::Connect { url: url.clone(), reason });
                        endpoint.connect_with_connector_lazy(traffic.connector(trust))
                    }
                }
            };
            all.push(Server { url, channel });
        }
        let nowhere = || ClientError::Url(AddressError::Host { found: String::new() });
        let at = at.ok_or_else(|| failed.unwrap_or_else(nowhere))?;
        Ok(Servers(Arc::new(Shared { all, bearer, traffic, asked: Mutex::new(Asked { at, term: 0 }) })))
    }

    /// The URL of the one that is asked.
    pub(super) fn url(&self) -> &str {
        &self.0.all[self.at()].url
    }

    /// What goes through the connections to all of them.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    /// The server to ask, and what its calls go by.
    pub(super) fn calls(&self) -> (usize, Calls) {
        let at = self.at();
        (at, InterceptedService::new(self.0.all[at].channel.clone(), self.0.bearer.clone()))
    }

    /// Makes a call; and again, at another server, where that is of use and does no harm.
    pub(super) async fn call<T, F>(&self, again: Again, call: impl Fn(Calls) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        Ok(self.call_at(again, call).await?.1)
    }

    /// The same, with the server that answered.
    pub(super) async fn call_at<T, F>(&self, again: Again, call: impl Fn(Calls) -> F) -> Result<(usize, T), ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (began, mut pause) = (Instant::now(), PAUSE.0);
        loop {
            let tried = Instant::now();
            let (at, calls) = self.calls();
            let status = match call(calls).await {
                Ok(response) => return Ok((at, response.into_inner())),
                Err(status) => status,
            };
            let done = !was_not_done(&status);
            let error = ClientError::from(status);
            let next = self.hear(at, &error);
            let harmless = again == Again::Same || !done;
            if next == Next::Here || !harmless || began.elapsed() + pause > AGAIN_MAX {
                return Err(error);
            }
            tracing::debug!(%error, "call is made again");
            match next {
                Next::Followed => sleep_until(tried + PAUSE.0).await,
                Next::Another | Next::Here => {
                    sleep(pause).await;
                    pause = (2 * pause).min(PAUSE.1);
                }
            }
        }
    }

    /// Something failed at a server: says where to go on.
    pub(super) fn hear(&self, at: usize, error: &ClientError) -> Next {
        let Shared { all, asked, .. } = &*self.0;
        let stands_by = error.stands_by();
        if all.len() == 1 || (stands_by.is_none() && !is_silence(error)) {
            return Next::Here;
        }
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let named = stands_by.and_then(|StandsBy { active }| active);
        if let Some((url, term)) = named
            && term > asked.term
            && let Some(writes) =
                all.iter().position(|server| address::node_url(&url).is_ok_and(|url| server.url == url))
        {
            *asked = Asked { at: writes, term };
            return if writes == at { Next::Another } else { Next::Followed };
        }
        // Another call may have left it before.
        if asked.at == at {
            asked.at = (at + 1) % all.len();
        }
        Next::Another
    }

    fn at(&self) -> usize {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).at
    }
}

fn endpoint(url: &str, several: bool) -> Result<Endpoint, ClientError> {
    let none = |_| AddressError::Host { found: url.to_owned() };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(none)?;
    let (keepalive, connect) =
        if several { (KEEPALIVE_OF_SEVERAL, CONNECT_TIMEOUT_OF_SEVERAL) } else { (KEEPALIVE, CONNECT_TIMEOUT) };
    Ok(endpoint
        .connect_timeout(connect)
        .http2_keep_alive_interval(keepalive.0)
        .keep_alive_timeout(keepalive.1)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES))
}

/// With TLS, a server says whether it takes our certificate only after the client is done with the handshake, and then
/// there is no call yet that could be told why. So one is made that every server answers.
async fn proved(url: &str, channel: &Channel, traffic: &Traffic) -> Result<(), ClientError> {
    if !url.starts_with("https://") {
        return Ok(());
    }
    // Without the token: it is not known yet which server takes it, and every caller may ask for health.
    let check = tonic_health::pb::HealthCheckRequest::default();
    let mut health = HealthClient::new(channel.clone());
    let answer = match tokio::time::timeout(CONNECT_TIMEOUT, health.check(check)).await {
        Ok(answer) => answer.map(drop).map_err(ClientError::from),
        Err(_) => Err(ClientError::Lost { reason: format!("no answer within {CONNECT_TIMEOUT:?}") }),
    };
    match answer {
        Err(ClientError::Lost { reason }) => {
            Err(ClientError::Connect { url: url.to_owned(), reason: traffic.broken().unwrap_or(reason) })
        }
        _ => Ok(()),
    }
}

/// Which certificates are believed to be the server's.
fn trust(url: &str, options: &ConnectOptions) -> Result<Trust, ClientError> {
    if !url.starts_with("https://") {
        return Ok(Trust::default());
    }
    if options.tls.ca.is_none() {
        return Err(ClientError::NoAuthority { url: url.to_owned() });
    }
    Ok(Trust::load(options.tls.clone())?)
}

/// Whether a call cannot have been done: the server says so, or there was no connection to send it by.
fn was_not_done(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    StandsBy::of(status).is_some()
}

/// Whether the server was not reached, did not answer, or is going away or coming.
fn is_silence(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { .. } | ClientError::Lost { .. } => true,
        error => matches!(error.reason(), Some(Reason::NodeStopping | Reason::NodeStarting)),
    }
}
