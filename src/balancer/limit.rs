//! How many of something there may be at a time. One more is refused, with an error that names the cap.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::errors::RequestError;

/// A cap, and how much of it is taken.
#[derive(Debug)]
pub(crate) struct Limit {
    permits: Arc<Semaphore>,
    most: usize,
    /// Of what, as `watches are open`.
    what: &'static str,
    /// The setting.
    name: &'static str,
}

impl Limit {
    pub(crate) fn new(most: usize, what: &'static str, name: &'static str) -> Limit {
        Limit { permits: Arc::new(Semaphore::new(most)), most, what, name }
    }

    /// One more, for as long as the permit is held.
    pub(super) fn take(&self) -> Result<OwnedSemaphorePermit, RequestError> {
        let Limit { most, what, name, .. } = self;
        let full = |_| RequestError::Limit { most: *most, what, name };
        Arc::clone(&self.permits).try_acquire_owned().map_err(full)
    }

    /// How many there are.
    pub(super) fn taken(&self) -> usize {
        self.most - self.permits.available_permits()
    }
}
