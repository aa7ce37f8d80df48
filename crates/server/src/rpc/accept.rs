//! Connections, from the listener to the server: who is let in, and by when it has to have said something.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    connections::{Bounds, ConnectionPlace, Connections, Full},
    plain::tell_plain,
    seldom::Seldom,
};
use crate::{
    caller::{Connection, Port},
    closing,
};
use dovetail::traffic::Wire;
use dovetail_certs::{HandshakeError, Proved, Tls};

/// Longest time from accepting a connection to the end of HTTP/2's preface.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long to wait when a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Connections that are refused are told of in the log once in so long.
const REFUSED_EVERY: Duration = Duration::from_secs(10);
/// What the log says of handshakes that failed comes once in so long.
const FAILED_EVERY: Duration = Duration::from_secs(1);
/// The first byte of a client that speaks TLS: the record of a handshake.
const TLS_BEGINS: u8 = 0x16;
/// What a client of HTTP/2 says first.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection's socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Wire<TcpStream, TlsStream<TcpStream>>,
    /// What was read of it already.
    begun: Bytes,
    connection: Connection,
    /// Done when it has to go.
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: ConnectionPlace,
}

impl Socket {
    /// Whose it is.
    pub(super) fn connection(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.begun.is_empty() {
            let bytes = self.begun.len().min(buffer.remaining());
            let begun = self.begun.split_to(bytes);
            buffer.put_slice(&begun);
            return Poll::Ready(Ok(()));
        }
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

dovetail::writes_to!(Socket, stream);

/// Connections that have begun to speak HTTP/2, of all ports. One that does not in time, or is one too many, is closed.
pub(super) fn accept(
    listeners: Vec<(TcpListener, Port)>,
    open: Connections,
    handshake_max: Duration,
    tls: Option<Tls>,
) -> mpsc::Receiver<Socket> {
    let (accepted, connections) = mpsc::channel(64);
    let handshakes = Handshakes { tls, most: handshake_max, failed: Seldom::new(FAILED_EVERY) };
    let entrance =
        Entrance { accepted, open, number: AtomicU64::new(0), refused: Seldom::new(REFUSED_EVERY), handshakes };
    let entrance = Arc::new(entrance);
    for (listener, port) in listeners {
        tokio::spawn(Arc::clone(&entrance).accept(listener, port));
    }
    connections
}

/// What the ports of a node share.
struct Entrance {
    accepted: mpsc::Sender<Socket>,
    open: Connections,
    /// Of the last connection.
    number: AtomicU64,
    /// Tells of connections that were one too many.
    refused: Seldom,
    handshakes: Handshakes,
}

impl Entrance {
    async fn accept(self: Arc<Self>, listener: TcpListener, port: Port) {
        loop {
            let stream = tokio::select! {
                () = self.accepted.closed() => return,
                stream = listener.accept() => stream,
            };
            let Ok((stream, from)) = stream else {
                // Too many open files, most likely, of this machine. They close by and by.
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            };
            let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
            let connection = Connection { number, address: from.ip().to_canonical(), port, proved: None };
            let place = match self.open.admit(&connection) {
                Ok(place) => place,
                // Dropped, and so closed: who waits in the listener's queue would take the place of others there.
                Err(full) => {
                    say_refused(&self.refused, full, self.open.bounds(), connection.address);
                    continue;
                }
            };
            let entrance = Arc::clone(&self);
            tokio::spawn(async move {
                if let Some(socket) = entrance.handshakes.in_time(stream, connection, place).await {
                    // A server that stops takes no more.
                    _ = entrance.accepted.send(socket).await;
                }
            });
        }
    }
}

fn say_refused(seldom: &Seldom, full: Full, bounds: Bounds, address: IpAddr) {
    let Some(left_out) = seldom.now() else { return };
    let (limit, bound) = match full {
        Full::Node => ("connections_max, or the open files of the process", bounds.node),
        Full::Address => ("client_connections_max", bounds.address),
    };
    tracing::warn!(%address, limit, bound, left_out, "too many connections are open, and one more is closed");
}

/// What comes before HTTP/2's frames.
struct Handshakes {
    /// None for plain text.
    tls: Option<Tls>,
    /// How long all of it may take.
    most: Duration,
    /// Tells of handshakes of TLS that failed.
    failed: Seldom,
}

impl Handshakes {
    /// The connection, once it speaks; none when it takes too long, breaks, or has to go.
    async fn in_time(&self, stream: TcpStream, connection: Connection, place: ConnectionPlace) -> Option<Socket> {
        let closed = place.close.clone();
        tokio::select! {
            // On the heap: a handshake is large.
            socket = tokio::time::timeout(self.most, Box::pin(self.establish(stream, connection, place))) => socket.ok()?.ok(),
            () = closed.cancelled() => None,
        }
    }

    async fn establish(
        &self,
        stream: TcpStream,
        mut connection: Connection,
        place: ConnectionPlace,
    ) -> io::Result<Socket> {
        stream.set_nodelay(true)?;
        let mut stream = match &self.tls {
            None => Wire::Plain(stream),
            Some(tls) => {
                let (stream, proved) = self.encrypt(tls, stream, &connection).await?;
                connection.proved = proved.map(Arc::new);
                Wire::Tls(Box::new(stream))
            }
        };
        // What is no preface is for the server to refuse.
        let begun = first_words(&mut stream).await?;
        let closed = Box::pin(place.close.clone().cancelled_owned());
        Ok(Socket { stream, begun, connection, closed, _place: place })
    }

    /// The handshake of TLS, and who is at the other end.
    async fn encrypt(
        &self,
        tls: &Tls,
        stream: TcpStream,
        connection: &Connection,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Proved>)> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != TLS_BEGINS {
            tell_plain(stream).await?;
            return Err(io::Error::other("it speaks no TLS"));
        }
        let HandshakeError { error, stream } = match tls.accept(stream).await {
            Ok(accepted) => return Ok(accepted),
            Err(refused) => refused,
        };
        if let Some(stream) = stream {
            // It was told why, and may have sent its first call meanwhile.
            _ = closing::close(stream).await;
        }
        // Nothing was said: a probe whether the port is open.
        let silent = error.kind() == io::ErrorKind::UnexpectedEof;
        if !silent && let Some(left_out) = self.failed.now() {
            tracing::warn!(address = %connection.address, %error, left_out, "a connection is refused: no handshake of TLS");
        }
        Err(error)
    }
}

/// What a client says first: all of HTTP/2's preface, or up to where it is something else.
pub(super) async fn first_words(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let (mut said, mut bytes) = ([0; PREFACE.len()], 0);
    while bytes < said.len() && PREFACE.starts_with(&said[..bytes]) {
        match stream.read(&mut said[bytes..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => bytes += more,
        }
    }
    Ok(Bytes::copy_from_slice(&said[..bytes]))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt as _;

    use super::{super::known::KnownHosts, *};

    async fn listening(bounds: Bounds, handshake_max: Duration) -> (mpsc::Receiver<Socket>, std::net::SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Connections::new(bounds, KnownHosts::default(), None);
        (accept(vec![(listener, Port::ALL)], open, handshake_max, None), address)
    }

    const MANY: Bounds = Bounds { node: 100, address: 100, process: usize::MAX };

    #[tokio::test]
    async fn what_came_before_the_frames_is_read_again_by_the_server() {
        let (mut sockets, address) = listening(MANY, HANDSHAKE_MAX).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        for part in [&PREFACE[..1], &PREFACE[1..], b"frames"] {
            client.write_all(part).await.unwrap();
        }
        let mut socket = sockets.recv().await.unwrap();
        let mut read = vec![0; PREFACE.len() + 6];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(read, [&PREFACE[..], b"frames"].concat());
        assert_eq!((socket.connection().number, socket.connection().address), (1, Ipv4Addr::LOCALHOST.into()));
    }

    #[tokio::test]
    async fn what_is_no_preface_is_handed_on_at_once() {
        let (mut sockets, address) = listening(MANY, HANDSHAKE_MAX).await;
        TcpStream::connect(address).await.unwrap().write_all(b"PUT").await.unwrap();
        let mut socket = sockets.recv().await.unwrap();
        let mut read = String::new();
        socket.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "PUT");
    }

    #[tokio::test]
    async fn a_client_that_stops_within_the_preface_is_closed() {
        let most = Duration::from_millis(50);
        let (_sockets, address) = listening(MANY, most).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"P").await.unwrap();
        let began = std::time::Instant::now();
        let closed = tokio::time::timeout(HANDSHAKE_MAX, client.read(&mut [0])).await.expect("it is closed in time");
        assert_eq!(closed.unwrap_or(0), 0);
        assert!(began.elapsed() >= most, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_at_once_and_one_that_has_to_go_ends() {
        let (mut sockets, address) = listening(Bounds { node: 1, ..MANY }, HANDSHAKE_MAX).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(PREFACE).await.unwrap();
        let mut socket = sockets.recv().await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
        socket.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
        socket._place.close.cancel();
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "as if the client had ended it");
    }
}
