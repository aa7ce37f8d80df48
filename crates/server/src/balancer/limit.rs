//! How many of something there may be at a time, in all and for one client. One more is refused, with an error that
//! names the cap.

use crate::caller::Caller;
use crate::rpc::{Share, Shares};

use super::errors::RequestError;

/// A cap, and how much of it is taken.
#[derive(Debug)]
pub(crate) struct Limit {
    shares: Shares,
    /// Of what, as `watches are open`.
    what: &'static str,
    /// The setting.
    name: &'static str,
}

impl Limit {
    /// So many, of which one client may have so many of a hundred.
    pub(crate) fn new(most: usize, client_percent: usize, what: &'static str, name: &'static str) -> Limit {
        Limit { shares: Shares::new(most, client_percent), what, name }
    }

    /// One more, for as long as the share is held.
    pub(super) fn take(&self, caller: Option<&Caller>) -> Result<Share, RequestError> {
        let Limit { shares, what, name } = self;
        shares.take(caller, 1).map_err(|spent| RequestError::Limit { spent, what, name })
    }

    /// How many there are.
    pub(super) fn taken(&self) -> usize {
        self.shares.taken()
    }
}
