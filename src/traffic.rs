//! Connections that count the bytes that go through them.
//!
//! Counted is what a socket gives and takes: HTTP/2 with its frames, headers and pings. What TCP and IP add is not seen
//! here, nor what they send again. A count goes on when its connection is set up again.

mod wire;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tower::Service;

pub use wire::Wire;

use crate::tls::TlsHandshake;

/// The count of one connection, or of all that were set up with it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Bytes>);

#[derive(Debug, Default)]
struct Bytes {
    received: AtomicU64,
    sent: AtomicU64,
    /// How reading broke last: the reason that those who wait for answers may not be told.
    broken: Mutex<Option<String>>,
}

impl Traffic {
    /// Bytes that came in.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Bytes that went out.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// How reading broke last, if it did.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        self.0.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets up connections that are counted here, without Nagle's delay; in TLS where the URL says so, with those who
    /// are trusted.
    pub fn connector<H: TlsHandshake>(
        &self,
        trust: H,
    ) -> impl Service<Uri, Response = TokioIo<Dialled>, Error = io::Error, Future: Send> + Clone + Send + use<H> {
        let (traffic, trust) = (self.clone(), Arc::new(trust));
        tower::service_fn(move |uri: Uri| {
            let (traffic, trust) = (traffic.clone(), Arc::clone(&trust));
            // On the heap: a handshake is large.
            Box::pin(async move {
                let host = uri.host().ok_or_else(|| io::Error::other(format!("{uri} names no host")))?;
                // An IPv6 address stands in brackets.
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let encrypted = uri.scheme_str() == Some("https");
                let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
                let stream = TcpStream::connect((host, port)).await?;
                stream.set_nodelay(true)?;
                let counted = Counted { stream, traffic: traffic.clone() };
                let stream = if encrypted {
                    Wire::Tls(Box::new(trust.connect(host, counted).await?))
                } else {
                    Wire::Plain(counted)
                };
                Ok(TokioIo::new(Dialled { stream, traffic }))
            })
        })
    }
}

/// A connection to another, counted below its encryption.
#[derive(Debug)]
pub struct Dialled {
    stream: Wire<Counted<TcpStream>, TlsStream<Counted<TcpStream>>>,
    traffic: Traffic,
}

impl AsyncRead for Dialled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &read {
            *self.traffic.0.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
        read
    }
}

crate::writes_to!(Dialled, stream);

/// A stream whose bytes are counted.
#[derive(Debug)]
pub struct Counted<S> {
    stream: S,
    traffic: Traffic,
}

impl<S: Unpin> Counted<S> {
    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(&mut self.stream)
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.traffic.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream().poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        self.traffic.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, buffer);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, buffers);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_comes_in_and_what_goes_out_is_counted_apart() {
        let (near, mut far) = tokio::io::duplex(64);
        let traffic = Traffic::default();
        let mut counted = Counted { stream: near, traffic: traffic.clone() };
        counted.write_all(b"seven b").await.unwrap();
        far.write_all(b"abc").await.unwrap();
        let mut three = [0; 3];
        counted.read_exact(&mut three).await.unwrap();
        assert_eq!((&three, traffic.received(), traffic.sent()), (b"abc", 3, 7));
    }

    #[tokio::test]
    async fn an_address_without_a_host_is_an_error() {
        let connected =
            Traffic::default().connector(crate::tls::Trust::default()).call(Uri::from_static("/path")).await;
        assert_eq!(connected.map(drop).unwrap_err().to_string(), "/path names no host");
    }
}
