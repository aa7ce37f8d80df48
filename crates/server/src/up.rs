//! `dovetail up`: every role in one process, by the same shells as the role binaries. Each listens at a loopback
//! socket, for clients and for people; to one another they hand their messages as they are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures::future::try_join_all;

use crate::{
    balancer,
    failure::RunError,
    gatherer, matcher,
    rpc::{Listener, LocalNodes, ServeError},
    settings::{Addresses, LogEngine, NodeSettings, Settings, StandbySettings, UpSettings},
    shutdown::Shutdown,
};
use dovetail::Role;
use dovetail_certs::Tls;

/// Where everything listens, once it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The balancer.
    pub balancer: SocketAddr,
    /// The matchers, by index.
    pub matchers: Vec<SocketAddr>,
    /// The gatherers, by index.
    pub gatherers: Vec<SocketAddr>,
}

/// Runs every role until the signal. Calls `started` once, when clients can connect.
///
/// # Errors
/// When any role cannot start, or stops without being told to; the others are stopped then.
pub async fn run(settings: UpSettings, stop: Shutdown, started: impl FnOnce(&Started)) -> Result<(), RunError> {
    // Nodes of one process do not dial one another: the certificate is for clients to check.
    let tls = settings.tls.clone().map(|tls| Tls::load(tls, None)).transpose()?;
    let balancer = Listener::bind(settings.listen).await?.with(tls.clone());
    let matchers = bind(settings.cluster.matchers, tls.as_ref()).await?;
    let gatherers = bind(settings.cluster.gatherers, tls.as_ref()).await?;
    let places = Started {
        balancer: balancer.address(),
        matchers: matchers.iter().map(Listener::address).collect(),
        gatherers: gatherers.iter().map(Listener::address).collect(),
    };
    let url = |address: SocketAddr| local_url(address, tls.is_some());
    let urls = |addresses: &[SocketAddr]| addresses.iter().map(|&address| url(address)).collect();
    let addresses = Addresses {
        balancers: vec![url(places.balancer)],
        matchers: urls(&places.matchers),
        gatherers: urls(&places.gatherers),
    };
    let node = |role, index, listen| Settings {
        cluster: settings.cluster.clone(),
        node: NodeSettings {
            role,
            index,
            listen,
            // Nodes of one process do not dial one another.
            listen_nodes: None,
            listen_operators: None,
            data: settings.data.clone(),
            log: settings.log.clone(),
            tls: settings.tls.clone(),
            addresses: addresses.clone(),
            limits: settings.limits.clone(),
            auth: settings.auth.clone(),
            engine: LogEngine::Embedded,
            standby: StandbySettings::default(),
        },
    };
    let neighbours = LocalNodes::new(addresses.all().map(|(_, _, address)| address.to_owned()));
    let mut roles = tokio::task::JoinSet::new();
    let of_balancer = node(Role::Balancer, 0, places.balancer);
    let opened = balancer::open(&of_balancer).await?;
    let running = balancer::run(opened, of_balancer, balancer, neighbours.clone(), stop.clone());
    roles.spawn(async { running.await.map_err(RunError::from) });
    for (index, listener) in (0..).zip(matchers) {
        let settings = node(Role::Matcher, index, listener.address());
        let running = matcher::run(settings, listener, neighbours.clone(), stop.clone());
        roles.spawn(async { running.await.map_err(RunError::from) });
    }
    for (index, listener) in (0..).zip(gatherers) {
        let settings = node(Role::Gatherer, index, listener.address());
        let running = gatherer::run(settings, listener, neighbours.clone(), stop.clone());
        roles.spawn(async { running.await.map_err(RunError::from) });
    }
    started(&places);
    let mut outcome = Ok(());
    while let Some(ended) = roles.join_next().await {
        let ended = ended.unwrap_or(Err(RunError::Panicked));
        if !stop.is_given() {
            stop.give();
        }
        outcome = outcome.and(ended);
    }
    neighbours.part();
    outcome
}

async fn bind(nodes: u32, tls: Option<&Tls>) -> Result<Vec<Listener>, ServeError> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    try_join_all((0..nodes).map(async |_| Ok(Listener::bind(any).await?.with(tls.cloned())))).await
}

/// How something on this machine reaches a listener, wildcard addresses included.
#[must_use]
pub fn local_url(listener: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    match (listener.ip().is_unspecified(), listener.is_ipv6()) {
        (true, false) => format!("{scheme}://127.0.0.1:{}", listener.port()),
        (true, true) => format!("{scheme}://[::1]:{}", listener.port()),
        (false, _) => format!("{scheme}://{listener}"),
    }
}
