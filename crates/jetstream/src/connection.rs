//! A connection to the servers, with a runtime of its own that threads wait on.
//!
//! Nothing is handed to the client library while no server is connected: it would keep it, however much that becomes,
//! and send it once there is a connection, when nobody waits for it any more.

use std::future::Future;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, HeaderMap, Message, Request, RequestErrorKind, ServerAddr};
use bytes::Bytes;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::JetStreamOpenError;
use crate::options::{JetStreamOptions, NatsTimeouts};

/// So many questions in a row without an answer, and another server is asked.
const SILENT_MAX: u32 = 3;
/// How often it is looked whether there is a connection.
const LOOK: Duration = Duration::from_millis(5);
/// How often servers are tried that do not answer: at first, and later.
const AGAIN: Duration = Duration::from_millis(20);
const AGAIN_LATER: Duration = Duration::from_millis(200);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The message is above what servers take. It was not sent.
    TooLarge,
    /// Nothing was heard, or that nobody listens.
    Silence(String),
}

/// A connection to one of several servers, which is made again when it breaks.
pub(crate) struct Connection {
    client: Client,
    /// None only while this is dropped.
    runtime: Option<Runtime>,
    pub timeouts: NatsTimeouts,
    options: JetStreamOptions,
    /// A connection to each server of its own, once it was wanted: a server that has a replica answers for it itself.
    to_each: OnceCell<Vec<Client>>,
    /// Questions in a row that were not answered.
    silent: AtomicU32,
    /// Questions that were not answered.
    unanswered: AtomicU64,
}

impl Connection {
    /// Connects to the first server that answers.
    pub fn open(options: &JetStreamOptions) -> Result<Connection, JetStreamOpenError> {
        let servers = options.urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
        let user = user(&servers)?;
        let urls = servers.iter().map(shown).collect::<Vec<_>>().join(", ");
        let unavailable = |why: String| JetStreamOpenError::Unavailable { urls: urls.clone(), why };
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("nats").enable_all().build();
        let runtime = runtime.map_err(|error| unavailable(error.to_string()))?;
        let client = runtime.block_on(async {
            let until = Instant::now() + options.timeouts.open;
            let mut heard = "timed out".to_owned();
            loop {
                let connecting = connect_options(options, user.clone())?.connect(servers.clone());
                match timeout_at(until, connecting).await {
                    Ok(Ok(client)) => return Ok(client),
                    Ok(Err(error)) => heard = with_causes(&error),
                    Err(_) => {}
                }
                if Instant::now() + AGAIN_LATER >= until {
                    return Err(unavailable(heard));
                }
                sleep(AGAIN_LATER).await;
            }
        })?;
        Ok(Connection {
            client,
            runtime: Some(runtime),
            timeouts: options.timeouts,
            options: options.clone(),
            to_each: OnceCell::new(),
            silent: AtomicU32::new(0),
            unanswered: AtomicU64::new(0),
        })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("it is there until this is dropped").handle()
    }

    /// Waits for a future. Not from a thread of a runtime.
    pub fn wait_for<F: Future>(&self, future: F) -> F::Output {
        self.handle().block_on(future)
    }

    /// Questions that were not answered so far.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Asks something, and waits so long for the answer.
    pub async fn ask(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
        patience: Duration,
    ) -> Result<Message, NoAnswer> {
        let until = Instant::now() + patience;
        if !self.connected(until).await {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return Err(NoAnswer::Silence("no server is connected".to_owned()));
        }
        let mut request = Request::new().payload(payload).timeout(Some(patience));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        match timeout_at(until, self.client.send_request(subject, request)).await {
            Ok(Ok(answer)) => {
                self.silent.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) if error.kind() == RequestErrorKind::MaxPayloadExceeded => Err(NoAnswer::TooLarge),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                self.silent.store(0, Ordering::Relaxed);
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                Err(NoAnswer::Silence("nobody takes it: the stream has no leader, or is gone".to_owned()))
            }
            Ok(Err(error)) => Err(self.heard_nothing(with_causes(&error)).await),
            Err(_) => Err(self.heard_nothing(format!("no answer for {} ms", patience.as_millis())).await),
        }
    }

    /// Says something that nobody answers. False if it is not on its way.
    pub async fn tell(&self, subject: String, reply: Option<String>, payload: Bytes, patience: Duration) -> bool {
        if self.client.connection_state() != State::Connected {
            return false;
        }
        let sent = async {
            match reply {
                Some(reply) => self.client.publish_with_reply(subject, reply, payload).await.is_ok(),
                None => self.client.publish(subject, payload).await.is_ok(),
            }
        };
        timeout(patience, sent).await.unwrap_or(false)
    }

    /// A connection to each server that is named, whether it answers or not.
    pub async fn to_each(&self) -> &[Client] {
        let connect = || async {
            let mut clients = Vec::new();
            let servers: Vec<ServerAddr> = self.options.urls.iter().filter_map(|url| parse(url).ok()).collect();
            let user = user(&servers).ok().flatten();
            for server in servers {
                let Ok(options) = connect_options(&self.options, user.clone()) else { continue };
                clients.extend(options.retry_on_initial_connect().connect(server).await);
            }
            let until = Instant::now() + self.timeouts.connect;
            for client in &clients {
                is_connected(client, until).await;
            }
            clients
        };
        self.to_each.get_or_init(connect).await
    }

    /// Asks one server something. Nothing is waited for when there is no connection to it.
    pub async fn ask_one(&self, client: &Client, subject: String, payload: Bytes) -> Result<Message, NoAnswer> {
        if client.connection_state() != State::Connected {
            return Err(NoAnswer::Silence("a server is not connected".to_owned()));
        }
        match timeout(self.timeouts.ack, client.request(subject, payload)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(NoAnswer::Silence(with_causes(&error))),
            Err(_) => Err(NoAnswer::Silence("a server does not answer".to_owned())),
        }
    }

    /// Waits until there is a connection.
    async fn connected(&self, until: Instant) -> bool {
        is_connected(&self.client, until).await
    }

    /// Perhaps it is the server at the other end of this connection that does not answer.
    async fn heard_nothing(&self, why: String) -> NoAnswer {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        if self.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_MAX {
            self.silent.store(0, Ordering::Relaxed);
            if self.client.connection_state() == State::Connected {
                _ = timeout(LOOK, self.client.force_reconnect()).await;
            }
        }
        NoAnswer::Silence(why)
    }
}

impl Drop for Connection {
    /// Whoever drops it may be a thread of another runtime, which must not wait.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn is_connected(client: &Client, until: Instant) -> bool {
    while client.connection_state() != State::Connected {
        if Instant::now() >= until {
            return false;
        }
        sleep(LOOK).await;
    }
    true
}

fn parse(url: &str) -> Result<ServerAddr, JetStreamOpenError> {
    url.parse::<ServerAddr>().map_err(|error| {
        // What is before an @ may be a password.
        let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
        JetStreamOpenError::Url { url: shown.to_owned(), why: with_causes(&error) }
    })
}

/// Without user and password.
fn shown(server: &ServerAddr) -> String {
    format!("{}:{}", server.host(), server.port())
}

/// The user that URLs name, with the password: the library looks for neither there. There is one for all servers.
fn user(servers: &[ServerAddr]) -> Result<Option<(String, String)>, JetStreamOpenError> {
    let mut user = None;
    for server in servers {
        let refused = |why: &str| JetStreamOpenError::Url { url: shown(server), why: why.to_owned() };
        let Some(name) = server.username() else { continue };
        let no_text = || refused("its user or password is no text");
        let named = decoded(name).zip(decoded(server.password().unwrap_or_default())).ok_or_else(no_text)?;
        if user.get_or_insert_with(|| named.clone()) != &named {
            return Err(refused("it has another user or password than a URL before it"));
        }
    }
    Ok(user)
}

/// Text of a URL, with what is written as %XX in it.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        let hex = |at: usize| char::from(*others.get(at)?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, hex(0).zip(hex(1))) {
            (b'%', Some((high, low))) => {
                bytes.push(16 * high + low);
                rest = &others[2..];
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn connect_options(
    options: &JetStreamOptions,
    user: Option<(String, String)>,
) -> Result<ConnectOptions, JetStreamOpenError> {
    let mut connect = ConnectOptions::new()
        .name("dovetail")
        .max_reconnects(None)
        .retain_servers_order()
        .ignore_discovered_servers()
        .ping_interval(options.timeouts.ping)
        .connection_timeout(options.timeouts.connect)
        .request_timeout(Some(options.timeouts.api))
        .reconnect_delay_callback(|attempts| if attempts < 4 { AGAIN } else { AGAIN_LATER });
    if let Some((user, password)) = user {
        connect = connect.user_and_password(user, password);
    }
    if let Some(file) = &options.credentials {
        let invalid = |why: String| JetStreamOpenError::File { file: file.clone(), why };
        let text = std::fs::read_to_string(file).map_err(|error| invalid(error.to_string()))?;
        connect = connect.credentials(&text).map_err(|error| invalid(error.to_string()))?;
    }
    if let Some(tls) = &options.tls {
        connect = connect.require_tls(true);
        if let Some(file) = &tls.authorities {
            connect = connect.add_root_certificates(readable(file)?);
        }
        if let Some((certificate, key)) = &tls.own {
            connect = connect.add_client_certificate(readable(certificate)?, readable(key)?);
        }
    }
    Ok(connect)
}

/// A file that can be read: the library would say of one that cannot only that there is no connection.
fn readable(file: &std::path::Path) -> Result<std::path::PathBuf, JetStreamOpenError> {
    let opened = std::fs::File::open(file);
    opened.map_err(|error| JetStreamOpenError::File { file: file.to_owned(), why: error.to_string() })?;
    Ok(file.to_owned())
}

/// An error, and what it comes from.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_of(urls: &[&str]) -> Result<Option<(String, String)>, JetStreamOpenError> {
        user(&urls.iter().map(|url| parse(url).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn a_user_of_urls_is_that_of_all_servers() {
        let me = Some(("me".to_owned(), "a@b%c".to_owned()));
        assert_eq!(user_of(&["nats://me:a%40b%25c@a:1", "nats://b:2"]), Ok(me.clone()));
        assert_eq!(user_of(&["nats://b:2", "tls://me:a%40b%25c@a"]), Ok(me));
        assert_eq!(user_of(&["nats://b:2"]), Ok(None));
        let told = user_of(&["nats://me:x@a:1", "nats://me:y@b:2"]).unwrap_err().to_string();
        assert_eq!(told, "\"b:2\" is no address of a server: it has another user or password than a URL before it");
        assert!(user_of(&["nats://%ff:x@a:1"]).is_err());
    }
}
