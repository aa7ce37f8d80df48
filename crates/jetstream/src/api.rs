//! What is asked of JetStream about one stream: its requests and answers, in JSON over plain messages.
//!
//! Which server answers decides what an answer is worth. What is put, `get`, `info` and `purge` are answered by the
//! stream's leader, or by one that believes that it is; `get_of` by the replica of one server, which may lag, or lack what
//! it should have. Nothing here tries again.

use async_nats::{Client, HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dovetail_log::shared::{Position, PutError, SharedReadError};
use serde_json::{Value, json};

use crate::connection::{Connection, NoAnswer};
use crate::names::Names;

/// Codes of errors of JetStream.
pub(crate) mod code {
    pub const NO_MESSAGE: u64 = 10037;
    pub const MESSAGE_TOO_LARGE: u64 = 10054;
    pub const NAME_IN_USE: u64 = 10058;
    pub const NO_STREAM: u64 = 10059;
    pub const WRONG_LAST: u64 = 10071;
    pub const STORE_FAILED: u64 = 10077;
    pub const WRONG_LAST_IN_PROCESS: u64 = 10164;
    /// Too few servers are there, or there is no leader of them. Both may change.
    pub const NO_PEERS: u64 = 10005;
    pub const UNAVAILABLE: u64 = 10008;
}

/// What JetStream says when a bound of the stream is reached. Other failures to store have the same code.
const FULL: &str = "maximum bytes exceeded";

/// Why a question has no answer that helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// Nothing was heard, or nothing that can be read.
    Silence(String),
    /// JetStream says no.
    Refused { code: u64, why: String },
}

impl ApiError {
    /// In words.
    pub fn why(self) -> String {
        match self {
            ApiError::Silence(why) => why,
            ApiError::Refused { code, why } => format!("{why} ({code})"),
        }
    }
}

impl From<ApiError> for SharedReadError {
    fn from(error: ApiError) -> SharedReadError {
        SharedReadError::Unavailable { why: error.why() }
    }
}

/// A message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub at: u64,
    pub payload: Bytes,
}

/// Which message is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    At(u64),
    /// The first one of a subject from here on.
    From(u64, &'a str),
    /// The last one of a subject.
    Last(&'a str),
}

/// What must be so for a message to be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    /// This is the last message of the stream; 0 when there never was one.
    Last(u64),
    /// This is the last message of the same subject; 0 when there is none.
    LastOfSubject(u64),
}

/// How a stream is, as its leader says.
#[derive(Clone, Debug)]
pub(crate) struct StreamState {
    pub config: Value,
    pub cluster: Value,
    pub messages: u64,
    pub first: u64,
    pub last: u64,
}

impl StreamState {
    pub fn read(answer: &Value) -> StreamState {
        let number = |key: &str| answer["state"][key].as_u64().unwrap_or(0);
        StreamState {
            config: answer["config"].clone(),
            cluster: answer["cluster"].clone(),
            messages: number("messages"),
            first: number("first_seq"),
            last: number("last_seq"),
        }
    }

    /// The last message that was forgotten.
    pub fn floor(&self) -> u64 {
        self.first.saturating_sub(1)
    }
}

/// Asks something of JetStream.
pub(crate) async fn api(connection: &Connection, what: &str, body: &Value) -> Result<Value, ApiError> {
    let asked = connection.ask(format!("$JS.API.{what}"), None, text(body), connection.timeouts.api).await;
    let answer = asked.map_err(|error| match error {
        NoAnswer::Silence(why) => ApiError::Silence(why),
        NoAnswer::TooLarge => ApiError::Silence("the question is too large".to_owned()),
    })?;
    parse(&answer.payload)
}

fn text(body: &Value) -> Bytes {
    if body.is_null() { Bytes::new() } else { body.to_string().into() }
}

fn parse(answer: &[u8]) -> Result<Value, ApiError> {
    let answer: Value = serde_json::from_slice(answer)
        .map_err(|error| ApiError::Silence(format!("an answer that cannot be read: {error}")))?;
    let error = &answer["error"];
    if error.is_null() {
        return Ok(answer);
    }
    let why = error["description"].as_str().unwrap_or("an error without description").to_owned();
    Err(ApiError::Refused { code: error["err_code"].as_u64().unwrap_or(0), why })
}

/// How the stream is.
pub(crate) async fn info(connection: &Connection, stream: &str) -> Result<StreamState, ApiError> {
    Ok(StreamState::read(&api(connection, &format!("STREAM.INFO.{stream}"), &Value::Null).await?))
}

/// Forgets all messages before one. None of them may be the last.
pub(crate) async fn purge(connection: &Connection, stream: &str, before: u64) -> Result<(), ApiError> {
    api(connection, &format!("STREAM.PURGE.{stream}"), &json!({ "seq": before })).await.map(|_| ())
}

/// A message, as the leader has it. None when it has none such.
pub(crate) async fn get(connection: &Connection, stream: &str, which: Which<'_>) -> Result<Option<Stored>, ApiError> {
    let body = match which {
        Which::At(at) => json!({ "seq": at }),
        Which::From(at, subject) => json!({ "seq": at.max(1), "next_by_subj": subject }),
        Which::Last(subject) => json!({ "last_by_subj": subject }),
    };
    let answer = match api(connection, &format!("STREAM.MSG.GET.{stream}"), &body).await {
        Err(ApiError::Refused { code: code::NO_MESSAGE, .. }) => return Ok(None),
        answer => answer?,
    };
    let message = &answer["message"];
    let Some(at) = message["seq"].as_u64() else {
        return Err(ApiError::Silence("a message without its place".to_owned()));
    };
    let payload = STANDARD.decode(message["data"].as_str().unwrap_or(""));
    let payload = payload.map_err(|error| ApiError::Silence(format!("a message that cannot be read: {error}")))?;
    Ok(Some(Stored { at, payload: payload.into() }))
}

/// A message, as the server has it that a connection is to; another answers when that has no replica. None when it has
/// none such.
pub(crate) async fn get_of(
    connection: &Connection,
    server: &Client,
    stream: &str,
    at: u64,
) -> Result<Option<Stored>, ApiError> {
    let asked = connection.ask_one(server, format!("$JS.API.DIRECT.GET.{stream}"), text(&json!({ "seq": at }))).await;
    let answer = asked.map_err(|_| ApiError::Silence("a server that may have an entry does not answer".to_owned()))?;
    match answer.status {
        None => {}
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        Some(status) => return Err(ApiError::Silence(format!("a replica says {status}"))),
    }
    let found = answer.headers.as_ref().and_then(|headers| headers.get("Nats-Sequence"));
    let found = found.and_then(|at| at.as_str().parse().ok());
    Ok((found == Some(at)).then_some(Stored { at, payload: answer.payload }))
}

/// Puts a message, once. Returns where it is.
pub(crate) async fn put(
    connection: &Connection,
    names: &Names,
    subject: &str,
    condition: Condition,
    payload: Bytes,
) -> Result<Position, PutError> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Stream", names.stream.as_str());
    let (header, last) = match condition {
        Condition::Last(last) => ("Nats-Expected-Last-Sequence", last),
        Condition::LastOfSubject(last) => ("Nats-Expected-Last-Subject-Sequence", last),
    };
    headers.insert(header, last.to_string().as_str());
    let (bytes, timeout) = (payload.len(), connection.timeouts.ack);
    let too_large = || PutError::TooLarge { bytes, bytes_max: connection.client().max_payload() };
    let answer = match connection.ask(subject.to_owned(), Some(headers), payload, timeout).await {
        Ok(answer) => answer,
        Err(NoAnswer::TooLarge) => return Err(too_large()),
        Err(NoAnswer::Silence(why)) => return Err(PutError::Unknown { why }),
    };
    match parse(&answer.payload) {
        Ok(answer) => answer["seq"]
            .as_u64()
            .map(Position)
            .ok_or_else(|| PutError::Unknown { why: "an answer without a place".to_owned() }),
        Err(ApiError::Refused { code: code::WRONG_LAST | code::WRONG_LAST_IN_PROCESS, .. }) => Err(PutError::Refused),
        Err(ApiError::Refused { code: code::STORE_FAILED, why }) if why == FULL => Err(PutError::Full { why }),
        Err(ApiError::Refused { code: code::MESSAGE_TOO_LARGE, .. }) => Err(too_large()),
        Err(error) => Err(PutError::Unknown { why: error.why() }),
    }
}
