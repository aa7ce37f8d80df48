//! Connections, from the listener to the server: who is let in, and by when it has to have said something.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::Connection;

/// Longest time from accepting a connection to its first byte.
const PREFACE_MAX: Duration = Duration::from_secs(10);
/// How long to wait when a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A connection's socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    connection: Connection,
}

impl Connected for Socket {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connections that have said something. tonic waits for ever for one that has not, and keepalive does not cover it.
pub(super) fn accept(listener: tokio::net::TcpListener) -> ReceiverStream<io::Result<Socket>> {
    let (accepted, connections) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut number = 0;
        loop {
            let stream = tokio::select! {
                () = accepted.closed() => return,
                stream = listener.accept() => stream,
            };
            let Ok((stream, from)) = stream else {
                // Too many open files, most likely. They close by and by.
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            };
            number += 1;
            let connection = Connection { number, address: from.ip().to_canonical() };
            let accepted = accepted.clone();
            tokio::spawn(async move {
                let spoke = tokio::time::timeout(PREFACE_MAX, stream.peek(&mut [0])).await;
                if matches!(spoke, Ok(Ok(1))) && stream.set_nodelay(true).is_ok() {
                    // A server that stops takes no more.
                    _ = accepted.send(Ok(Socket { stream, connection })).await;
                }
            });
        }
    });
    ReceiverStream::new(connections)
}
