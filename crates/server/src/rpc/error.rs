//! Why a node's server could not start, or stopped without being told to.

use std::net::SocketAddr;

use dovetail::tls::TlsError;
use thiserror::Error;

use crate::auth::AuthError;

/// Why a node could not serve, or stopped without being told to.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Reflection could not be set up.
    #[error("reflection cannot be set up: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Policy, keys or the audit log cannot be used.
    #[error("authentication cannot be set up: {0}")]
    Auth(#[from] AuthError),
    /// The task that runs a node's sessions panicked, or ended early: a bug.
    #[error("the node's session stopped unexpectedly")]
    SessionStopped,
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another process listens there, or choose another with --listen",
        _ => "",
    }
}
