//! Where the binaries meet the roles: one function each, which returns once the role has stopped. Files that settings
//! name are looked at first: what is wrong with them is a matter of settings.

use crate::{
    auth::Auth,
    balancer,
    failure::RunError,
    gatherer, matcher,
    rpc::{Listener, LocalNodes},
    settings::{Settings, UpSettings},
    shutdown::Shutdown,
    up::{self, Started},
};

/// Runs a balancer until the signal, then drains it.
pub async fn run_balancer(settings: Settings, shutdown: Shutdown) -> Result<(), RunError> {
    Auth::check(&settings.node.auth)?;
    let listener = Listener::of(&settings.cluster.name, &settings.node).await?;
    let opened = balancer::open(&settings).await?;
    Ok(balancer::run(opened, settings, listener, LocalNodes::default(), shutdown).await?)
}

/// Runs a matcher until the signal, then drains it.
pub async fn run_matcher(settings: Settings, shutdown: Shutdown) -> Result<(), RunError> {
    Auth::check(&settings.node.auth)?;
    let listener = Listener::of(&settings.cluster.name, &settings.node).await?;
    Ok(matcher::run(settings, listener, LocalNodes::default(), shutdown).await?)
}

/// Runs a gatherer until the signal, then drains it.
pub async fn run_gatherer(settings: Settings, shutdown: Shutdown) -> Result<(), RunError> {
    Auth::check(&settings.node.auth)?;
    let listener = Listener::of(&settings.cluster.name, &settings.node).await?;
    Ok(gatherer::run(settings, listener, LocalNodes::default(), shutdown).await?)
}

/// Runs every role in this process until the signal, then drains them. Calls `started` once, when clients can connect.
pub async fn run_up(settings: UpSettings, shutdown: Shutdown, started: impl FnOnce(&Started)) -> Result<(), RunError> {
    Auth::check(&settings.auth)?;
    up::run(settings, shutdown, started).await
}

#[cfg(test)]
mod tests;
