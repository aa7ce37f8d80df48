//! The way into a node's engine: bounded, and closed when the engine has stopped.

use tokio::sync::{mpsc, oneshot};

use super::LinkError;

/// Sends events to an engine. A full inbox holds the sender back, and through it the peer.
#[derive(Debug)]
pub struct Inbox<E>(mpsc::Sender<E>);

impl<E> Clone for Inbox<E> {
    fn clone(&self) -> Inbox<E> {
        Inbox(self.0.clone())
    }
}

impl<E> Inbox<E> {
    /// An inbox for so many events, and what the engine reads.
    #[must_use]
    pub fn new(events_max: usize) -> (Inbox<E>, mpsc::Receiver<E>) {
        let (sender, receiver) = mpsc::channel(events_max);
        (Inbox(sender), receiver)
    }

    /// Sends an event.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn tell(&self, event: E) -> Result<(), LinkError> {
        self.0.send(event).await.map_err(|_| LinkError::Stopped)
    }

    /// Sends a question and waits for its answer.
    ///
    /// # Errors
    /// When the engine has stopped, or stops before it answers.
    pub async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> E) -> Result<T, LinkError> {
        let (reply, answer) = oneshot::channel();
        self.tell(event(reply)).await?;
        answer.await.map_err(|_| LinkError::Stopped)
    }
}
