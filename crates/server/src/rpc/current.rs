//! What the running session of a node serves, while there is one.

use tokio::sync::watch;
use tonic::Status;

use crate::fault::Fault;
use dovetail::reason::Reason;

/// Holds the way into a node's engine. Empty while the node starts or starts again.
#[derive(Clone, Debug)]
pub struct Current<T>(watch::Sender<Option<T>>);

impl<T> Default for Current<T> {
    fn default() -> Current<T> {
        Current(watch::Sender::new(None))
    }
}

impl<T: Clone> Current<T> {
    /// Opens or closes the way.
    pub fn set(&self, session: Option<T>) {
        self.0.send_replace(session);
    }

    /// The way, if it is open.
    ///
    /// # Errors
    /// UNAVAILABLE while the node starts: the caller tries again.
    pub fn get(&self) -> Result<T, Status> {
        self.0
            .borrow()
            .clone()
            .ok_or_else(|| Fault::new(Reason::NodeStarting, "the node is starting and has no state yet").into())
    }
}
