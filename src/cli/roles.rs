//! Where the binaries meet the roles: one function each, which returns once the role has stopped.

use std::net::SocketAddr;

use crate::settings::{Role, Settings, UpSettings};
use crate::shutdown::Shutdown;

/// Why a role could not start, or stopped without being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The role is not part of this build.
    #[error("the {0} is not linked yet")]
    NotLinked(Role),
}

/// Where everything listens, once `dovetail up` is ready to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The balancer.
    pub balancer: SocketAddr,
    /// The matchers, by index.
    pub matchers: Vec<SocketAddr>,
    /// The gatherers, by index.
    pub gatherers: Vec<SocketAddr>,
}

/// Runs a balancer until the signal, then drains it.
pub async fn run_balancer(settings: Settings, shutdown: Shutdown) -> Result<(), RunError> {
    let _ = (settings, shutdown);
    Err(RunError::NotLinked(Role::Balancer))
}

/// Runs a matcher until the signal, then drains it.
pub async fn run_matcher(settings: Settings, shutdown: Shutdown) -> Result<(), RunError> {
    let _ = (settings, shutdown);
    Err(RunError::NotLinked(Role::Matcher))
}

/// Runs a gatherer until the signal, then drains it.
pub async fn run_gatherer(settings: Settings, shutdown: Shutdown) -> Result<(), RunError> {
    let _ = (settings, shutdown);
    Err(RunError::NotLinked(Role::Gatherer))
}

/// Runs every role in this process until the signal, then drains them. Calls `started` once, when clients can connect.
pub async fn run_up(
    settings: UpSettings,
    shutdown: Shutdown,
    started: impl FnOnce(&Started) + Send,
) -> Result<(), RunError> {
    let _ = (settings, shutdown, started);
    Err(RunError::NotLinked(Role::Balancer))
}
