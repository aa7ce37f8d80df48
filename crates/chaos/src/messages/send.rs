//! Calls whose messages are bytes, and what comes of them.

use std::{io, net::SocketAddr, str::FromStr as _, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::MetadataValue,
    transport::Channel,
};

/// Longest time without an answer that a call must have. Nothing is that slow; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer that never ends is read.
const LOOK: Duration = Duration::from_millis(20);
/// How long the answer to a call is waited for that may wait itself.
const WAIT: Duration = Duration::from_millis(200);
/// Messages of it that are read.
const LOOK_MAX: usize = 64;

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A call to make.
#[derive(Debug)]
pub struct HostileCall {
    pub path: String,
    pub messages: Vec<Bytes>,
    pub token: Option<String>,
    /// Longest time that the server is told to take.
    pub deadline: Option<Duration>,
    /// Whether its answer may go on for ever.
    pub endless: bool,
    /// Whether it may be silent for as long as it likes, because it was asked to wait.
    pub waits: bool,
}

/// What came of it.
#[derive(Debug)]
pub enum CallAnswer {
    /// It ended well.
    Fine,
    /// The node refused it.
    Refused(Status),
    /// It was left while it went on, or while it waited as it was asked to.
    Left,
    /// The connection broke.
    Broken(String),
    /// Nothing came, or no end.
    Silent,
}

/// Makes a call.
pub async fn call(channel: Channel, call: HostileCall) -> CallAnswer {
    let HostileCall { path, messages, token, deadline, endless, waits } = call;
    let path = PathAndQuery::from_str(&path).expect("paths of methods are paths");
    let mut request = Request::new(tokio_stream::iter(messages));
    if let Some(token) = token.and_then(|token| MetadataValue::try_from(format!("Bearer {token}")).ok()) {
        request.metadata_mut().insert("authorization", token);
    }
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    let mut read = 0;
    let said = async {
        let mut grpc = Grpc::new(channel).max_decoding_message_size(64 << 20).max_encoding_message_size(64 << 20);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let mut answers = grpc.streaming(request, path, Raw).await?.into_inner();
        while let Some(_message) = answers.message().await? {
            read += 1;
            if endless && read >= LOOK_MAX {
                return Ok(None);
            }
        }
        Ok(Some(()))
    };
    let patience = match (endless, waits) {
        (true, _) => LOOK,
        (false, true) => WAIT,
        (false, false) => PATIENCE,
    };
    match timeout(patience, said).await {
        Err(_) if endless || waits => CallAnswer::Left,
        Err(_) => CallAnswer::Silent,
        Ok(Ok(Some(()))) => CallAnswer::Fine,
        Ok(Ok(None)) => CallAnswer::Left,
        Ok(Err(status)) => refused(status, deadline.is_some()),
    }
}

/// What a node says has no source: that is an error of this end, or of the connection.
fn refused(status: Status, deadline: bool) -> CallAnswer {
    match std::error::Error::source(&status) {
        // tonic ends it here too, and both may do so first.
        _ if deadline && status.code() == Code::Cancelled && status.message() == "Timeout expired" => CallAnswer::Left,
        Some(source) => CallAnswer::Broken(format!("{status}: {source}")),
        None => CallAnswer::Refused(status),
    }
}

/// Bytes to a port, as they are, until it closes or says nothing for a moment.
pub async fn garbage(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut socket = TcpStream::connect(to).await?;
    // A node that refuses the first bytes does not read the last.
    _ = socket.write_all(bytes).await;
    let mut answer = [0; 4096];
    while let Ok(Ok(1..)) = timeout(LOOK, socket.read(&mut answer)).await {}
    Ok(())
}
