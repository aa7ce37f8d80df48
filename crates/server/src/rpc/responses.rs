//! Streams of responses, and how they end when the node stops.

use std::pin::Pin;

use futures::{Stream, StreamExt, future, stream};
use tonic::Status;

use crate::{fault::Fault, shutdown::Shutdown};
use dovetail::reason::Reason;

/// A stream of responses.
pub type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Ends a response stream with UNAVAILABLE when the node stops: graceful shutdown waits for open streams.
pub fn until_stopped<T: Send + 'static>(
    messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    stop: Shutdown,
) -> ResponseStream<T> {
    let given = {
        let stop = stop.clone();
        async move { stop.given().await }
    };
    let stopped = move || stop.is_given().then(|| Err(Fault::new(Reason::NodeStopping, "the node is stopping").into()));
    let last = stream::once(async move { stopped() }).filter_map(future::ready);
    Box::pin(messages.take_until(given).chain(last))
}
