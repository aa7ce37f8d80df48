//! How a connection ends whose client is told something at last.
//!
//! Closed with bytes that were not read, it would be reset, and what was written lost. So what the client still sends
//! is read and dropped, until it has closed the connection, or said nothing for a while, or said too much.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

/// Most bytes that are read of it.
const BYTES_MAX: usize = 64 << 10;
/// Bytes that are read at a time.
const CHUNK: usize = 4 << 10;
/// Longest time for it to close the connection.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Ends a connection.
pub(crate) async fn close(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = Rest::default();
    poll_fn(|cx| rest.poll_read(&mut stream, cx)).await;
    Ok(())
}

/// What a client sends that was told the last.
#[derive(Debug)]
pub(crate) struct Rest {
    bytes: usize,
    over: Pin<Box<Sleep>>,
}

impl Default for Rest {
    /// Nothing yet, and from now on.
    fn default() -> Rest {
        Rest { bytes: 0, over: Box::pin(tokio::time::sleep(CLOSE_MAX)) }
    }
}

impl Rest {
    /// Reads it, until there is no more to wait for.
    pub fn poll_read(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        while self.bytes < BYTES_MAX {
            let mut read = ReadBuf::uninit(&mut chunk);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => self.bytes += read.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_a_client_still_says_is_read_until_it_closes_or_says_too_much_or_nothing() {
        let read = async |said: usize, closes: bool| {
            let (mut stream, mut client) = tokio::io::duplex(BYTES_MAX * 2);
            client.write_all(&vec![7; said]).await.unwrap();
            let client = (!closes).then_some(client);
            let (mut rest, began) = (Rest::default(), tokio::time::Instant::now());
            poll_fn(|cx| rest.poll_read(&mut stream, cx)).await;
            drop(client);
            let mut left = vec![];
            stream.read_to_end(&mut left).await.unwrap();
            (left.len(), began.elapsed())
        };
        assert_eq!(read(1000, true).await.0, 0);
        assert_eq!(read(BYTES_MAX + CHUNK, false).await.0, CHUNK);
        let (left, took) = read(1000, false).await;
        assert!(left == 0 && took >= CLOSE_MAX, "{left} bytes after {took:?}");
    }
}
