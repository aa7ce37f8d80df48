//! Why a role of a node could not start, or stopped without being told to.

use thiserror::Error;

use crate::{auth::AuthError, balancer::BalancerError, rpc::ServeError};

/// Why a node ends without being told to.
#[derive(Debug, Error)]
pub enum RunError {
    /// It cannot serve.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// It is a balancer, and cannot read or write its log.
    #[error(transparent)]
    Balancer(BalancerError),
    /// A role of several in one process panicked.
    #[error("a role stopped unexpectedly")]
    Panicked,
}

impl From<BalancerError> for RunError {
    /// What ends any role is told alike.
    fn from(error: BalancerError) -> RunError {
        match error {
            BalancerError::Serve(error) => RunError::Serve(error),
            error => RunError::Balancer(error),
        }
    }
}

impl From<AuthError> for RunError {
    fn from(error: AuthError) -> RunError {
        RunError::Serve(ServeError::Auth(error))
    }
}

impl From<dovetail::tls::TlsError> for RunError {
    fn from(error: dovetail::tls::TlsError) -> RunError {
        RunError::Serve(ServeError::Tls(error))
    }
}

impl RunError {
    /// Whether settings, or files that they name, are wrong, so that no restart helps.
    #[must_use]
    pub fn is_of_settings(&self) -> bool {
        match self {
            RunError::Serve(ServeError::Auth(_)) => true,
            RunError::Balancer(error) => error.is_of_settings(),
            RunError::Serve(_) | RunError::Panicked => false,
        }
    }
}
