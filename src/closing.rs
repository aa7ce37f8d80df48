//! How a connection ends whose client is told something at last.
//!
//! Closed with bytes that nobody has read, it would be reset, and what was written lost. So what the client still sends is read and
//! forgotten, until it has closed the connection, or said nothing for a while, or said too much.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Most bytes that are read of it.
const BYTES_MAX: u64 = 64 << 10;
/// Longest time for it to close the connection.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Ends a connection.
pub(crate) async fn close(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(BYTES_MAX);
    let gone = tokio::time::timeout(CLOSE_MAX, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    gone.map_or(Ok(()), |read| read.map(|_| ()))
}
