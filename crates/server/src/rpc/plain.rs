//! Tells a client that speaks in plain text that it should speak TLS, in its own language.
//!
//! A client of HTTP/2 has the answer as that of its first calls: a status, which any client of gRPC reads. The end of
//! the connection comes a while later: a client that sees both at once may tell its caller of the end alone. What else
//! it says is read and forgotten.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Take},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::Instant,
};
use tonic::Status;

use super::accept::{PREFACE, first_words};
use crate::{closing, fault::Fault};
use dovetail::reason::Reason;

/// What to do about it.
const TEXT: &str = "this port speaks TLS: write https://";
/// Most bytes that are read of such a client.
const BYTES_MAX: u64 = 64 << 10;
/// Longest time for its first call to come.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How long calls are answered from the first on.
const CALLS_FOR: Duration = Duration::from_secs(1);
/// Largest frame that is taken: as large as one may be that was not told otherwise.
const FRAME_BYTES_MAX: usize = 16 << 10;

// Kinds of frames.
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
/// Of settings and pings: an answer.
const ACK: u8 = 1;
/// Of headers: all of them, and nothing follows.
const ALL: u8 = 0x4 | 0x1;
const INADEQUATE_SECURITY: u8 = 12;
/// Headers: the status 200, of the static table.
const OK: u8 = 0x88;

/// Answers, and waits until the client has gone.
pub(super) async fn tell_plain(mut stream: TcpStream) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = reader.take(BYTES_MAX);
    let said = first_words(&mut reader).await?;
    if said == PREFACE.as_slice() {
        frame(&mut writer, SETTINGS, 0, 0, &[]).await?;
        let (mut last_call, mut until) = (0, Instant::now() + CALL_MAX);
        while let Ok(call) = tokio::time::timeout_at(until, next_call(&mut reader, &mut writer)).await {
            let Some(call) = call? else { break };
            frame(&mut writer, HEADERS, ALL, call, &answer()).await?;
            if last_call == 0 {
                until = Instant::now() + CALLS_FOR;
            }
            last_call = call;
        }
        let mut last = last_call.to_be_bytes().to_vec();
        last.extend([0, 0, 0, INADEQUATE_SECURITY]);
        last.extend(TEXT.as_bytes());
        frame(&mut writer, GO_AWAY, 0, 0, &last).await?;
    } else if said[0].is_ascii_uppercase() {
        let length = TEXT.len() + 1;
        let text = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{TEXT}\n"
        );
        writer.write_all(text.as_bytes()).await?;
    }
    closing::close(stream).await
}

/// Reads up to the headers of a call: its stream; none when what comes is no frame.
async fn next_call(reader: &mut Take<ReadHalf<'_>>, writer: &mut WriteHalf<'_>) -> io::Result<Option<u32>> {
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > FRAME_BYTES_MAX {
            return Ok(None);
        }
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).await?;
        match kind {
            HEADERS => return Ok(Some(u32::from_be_bytes(stream) & (u32::MAX >> 1))),
            SETTINGS if flags & ACK == 0 => frame(writer, SETTINGS, ACK, 0, &[]).await?,
            PING if flags & ACK == 0 => frame(writer, PING, ACK, 0, &payload).await?,
            _ => {}
        }
    }
}

async fn frame(writer: &mut WriteHalf<'_>, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
    let [_, length @ ..] = u32::try_from(payload.len()).map_err(io::Error::other)?.to_be_bytes();
    let mut frame = Vec::with_capacity(9 + payload.len());
    frame.extend(length);
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    writer.write_all(&frame).await
}

/// The headers of the answer: a status, as an answer without messages has it.
fn answer() -> Vec<u8> {
    let status = Status::from(Fault::new(Reason::TlsNeeded, TEXT));
    let response = status.into_http::<()>();
    let mut block = vec![OK];
    for (name, value) in response.headers() {
        // A name and a value as they are, and not to be remembered.
        block.push(0);
        string(&mut block, name.as_str().as_bytes());
        string(&mut block, value.as_bytes());
    }
    block
}

/// A string of HPACK as it is: its length, by sevens of bits from 127 on, and its bytes.
fn string(block: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len().checked_sub(127) {
        None => block.push(bytes.len() as u8),
        Some(mut rest) => {
            block.push(127);
            while rest >= 128 {
                block.push(rest as u8 | 128);
                rest >>= 7;
            }
            block.push(rest as u8);
        }
    }
    block.extend(bytes);
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::net::TcpListener;
    use tonic::{Code, transport::Endpoint};
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_types::StatusExt as _;

    use super::*;

    /// A port that speaks TLS alone.
    async fn port() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tell_plain(stream));
            }
        });
        address
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_of_grpc_reads_it_every_time() {
        let url = format!("http://{}", port().await);
        for number in 0..100 {
            let channel = Endpoint::from_shared(url.clone()).unwrap().connect().await.unwrap();
            let mut client = HealthClient::new(channel);
            for _ in 0..2 {
                let refused = client.check(HealthCheckRequest::default()).await.unwrap_err();
                assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, TEXT), "{number}");
                let info = refused.get_error_details().error_info().cloned().unwrap();
                assert_eq!(info.reason, "TLS_NEEDED");
            }
        }
    }

    #[tokio::test]
    async fn a_client_of_http_1_reads_it() {
        let mut client = TcpStream::connect(port().await).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with(&format!("\r\n\r\n{TEXT}\n")), "{text}");
    }

    #[tokio::test]
    async fn whoever_says_anything_else_is_closed() {
        for said in [&b"\x00\x01"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x01\x00\x00\x00\x00\x01"] {
            let mut client = TcpStream::connect(port().await).await.unwrap();
            client.write_all(said).await.unwrap();
            let mut rest = vec![];
            client.read_to_end(&mut rest).await.unwrap();
        }
    }
}
