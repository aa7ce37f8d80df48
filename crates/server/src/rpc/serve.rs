//! A node's gRPC server: reflection, health, its role's services, and the connections that they are served by.

use std::{net::SocketAddr, pin::pin, time::Duration};

use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tower::Layer as _;

use super::{
    accept::{HANDSHAKE_MAX, Socket, accept},
    drive::{Answering, Driven},
    edge::{Edge, Edged, HEALTH, REFLECTION, services_of},
    error::ServeError,
};
use crate::{
    caller::Port,
    settings::{Limits, NodeSettings},
    shutdown::Shutdown,
    time,
};
use dovetail::pb::{TroubleKind, match_service_server};
use dovetail_certs::{FileTrouble, NodeName, Tls};

/// Between the end of the last call and that of the server.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// A bound socket. Bound before anything else starts, so that a taken port is the first thing a user hears of.
#[derive(Debug)]
pub struct Listener {
    /// The first is that for clients.
    listeners: Vec<(TcpListener, Port)>,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Listener, ServeError> {
        let refused = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Listener { listeners: vec![(listener, Port::ALL)], address, tls: None })
    }

    /// A port of its own for some; the others no longer serve those.
    async fn and(mut self, address: Option<SocketAddr>, port: Port) -> Result<Listener, ServeError> {
        let Some(address) = address else { return Ok(self) };
        let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
        for (_, other) in &mut self.listeners {
            other.clients &= !port.clients;
            other.nodes &= !port.nodes;
            other.operators &= !port.operators;
        }
        tracing::info!(%address, serves = %port, "listening at a port of its own");
        self.listeners.push((listener, port));
        Ok(self)
    }

    /// Binds where a node of a cluster listens, and reads its certificates, which have to name it.
    ///
    /// # Errors
    /// When the address is taken or not this machine's, or certificates cannot be used.
    pub async fn of(cluster: &str, node: &NodeSettings) -> Result<Listener, ServeError> {
        let own = NodeName { cluster: cluster.to_owned(), role: node.role, index: node.index };
        let tls = node.tls.clone().map(|settings| Tls::load(settings, Some(own))).transpose()?;
        let listener = Listener::bind(node.listen).await?.and(node.listen_nodes, Port::NODES).await?;
        Ok(listener.and(node.listen_operators, Port::OPERATORS).await?.with(tls))
    }

    /// The same, in TLS if there are certificates.
    #[must_use]
    pub fn with(self, tls: Option<Tls>) -> Listener {
        Listener { tls, ..self }
    }

    /// The certificates that it shows.
    #[must_use]
    pub fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Where it listens for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the signal, then gives open calls `drain_ms_max` to end. What is open by itself, as health watches
    /// and idle connections are, is not waited for.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn serve(self, routes: Routes, edge: Edge, stop: Shutdown, limits: &Limits) -> Result<(), ServeError> {
        if let Some(tls) = self.tls.clone() {
            let troubles = edge.troubles();
            let tell = move |trouble, text| match trouble {
                FileTrouble::Refused => troubles.set(TroubleKind::FileRefused, "tls", text),
                FileTrouble::Expires => troubles.set(TroubleKind::CertificateExpires, "tls.cert", text),
            };
            tokio::spawn(tls.watch(tell, stop.given_owned()));
        }
        let connections = accept(self.listeners, edge.connections(), HANDSHAKE_MAX, self.tls);
        tokio::spawn(edge.connections().nodes().look_up(stop.clone()));
        tokio::spawn(edge.connections().close_idle(limits.connection_idle_ms_max, stop.clone()));
        let server = serve_all(connections, edge.layer(routes), limits, &stop);
        let drain = Duration::from_millis(limits.drain_ms_max);
        let drained = async {
            stop.given().await;
            let drained = tokio::time::timeout(drain, edge.drained()).await;
            // For the last answers to leave, and the connections to close.
            tokio::time::sleep(LAST_ANSWERS).await;
            drained
        };
        tokio::select! {
            () = server => {}
            drained = drained => {
                if drained.is_err() {
                    tracing::warn!(drain_ms = time::ms(drain), "open requests did not end in time and are cut off");
                }
            }
        }
        Ok(())
    }
}

/// Serves connections until the signal, and then those that are open until their last calls end.
async fn serve_all(mut accepted: mpsc::Receiver<Socket>, edged: Edged, limits: &Limits, stop: &Shutdown) {
    let age_max = (limits.connection_age_ms_max > 0).then(|| Duration::from_millis(limits.connection_age_ms_max));
    let streams_max = u32::try_from(limits.connection_streams_max).unwrap_or(u32::MAX);
    let open = TaskTracker::new();
    loop {
        let socket = tokio::select! {
            () = stop.given() => break,
            socket = accepted.recv() => socket,
        };
        let Some(socket) = socket else { break };
        let answering = Answering { edged: edged.clone(), connection: socket.connection() };
        open.spawn(Driven::new(streams_max, (socket, answering), age_max, stop));
    }
    // From here on no connection is accepted.
    drop(accepted);
    open.close();
    open.wait().await;
}

/// Runs a node's server and its sessions. Both end with the signal; a session that panics ends the server too.
///
/// # Errors
/// When the server fails, or the sessions end before they are told to.
pub async fn serve_with(
    serving: impl Future<Output = Result<(), ServeError>>,
    sessions: impl Future<Output = ()> + Send + 'static,
    stop: &Shutdown,
) -> Result<(), ServeError> {
    let (mut serving, mut sessions) = (pin!(serving), tokio::spawn(sessions));
    tokio::select! {
        served = &mut serving => served?,
        ended = &mut sessions => {
            let told = stop.is_given() && ended.is_ok();
            stop.give();
            // The last answers are still on their way.
            serving.await?;
            return if told { Ok(()) } else { Err(ServeError::SessionStopped) };
        }
    }
    sessions.await.map_err(|_| ServeError::SessionStopped)
}

/// Routes with reflection (v1 for most clients, v1alpha for some) and health; the role adds its services. Both name
/// what the role serves, and nothing else.
///
/// # Errors
/// When the descriptors do not decode.
pub async fn routes(edge: &Edge, stop: &Shutdown) -> Result<(Routes, Health), ServeError> {
    let services = services_of(edge.role());
    let reflection = |own: &str| {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(dovetail_wire::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let names = services.iter().copied().chain([HEALTH, own]);
        names.fold(builder, |builder, name| builder.with_service_name(name))
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    let health_of_node = Health { reporter, services };
    health_of_node.set(false).await;
    let (stopping, edge, stop) = (health_of_node.clone(), edge.clone(), stop.clone());
    tokio::spawn(async move {
        stop.given().await;
        stopping.set(false).await;
        // Watchers of health hear that first.
        edge.end_quiet();
    });
    let routes = Routes::new(health)
        .add_service(reflection(REFLECTION[0]).build_v1()?)
        .add_service(reflection(REFLECTION[1]).build_v1alpha()?);
    Ok((routes, health_of_node))
}

/// The name under which a health check asks whether submissions are taken.
const WRITES: &str = "writes";

/// What a node answers to health checks: of all of it (no name), and of each service of its role.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: tonic_health::server::HealthReporter,
    services: &'static [&'static str],
}

impl Health {
    /// SERVING once the node has state and can do its part; NOT_SERVING while it starts and when it stops.
    pub async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in self.services.iter().chain(&[""]) {
            self.reporter.set_service_status(name, status).await;
        }
        if !serving {
            self.set_writes(false).await;
        }
    }

    /// SERVING, but for the service of clients, which serves where the balancer writes.
    pub async fn set_active(&self, active: bool) {
        let matching = if active { ServingStatus::Serving } else { ServingStatus::NotServing };
        let serves = |name: &str| name != match_service_server::SERVICE_NAME;
        for &name in self.services.iter().chain(&[""]) {
            let status = if serves(name) { ServingStatus::Serving } else { matching };
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Whether what writes is taken, which is asked for under the name `writes`. Nodes that take no writes do not
    /// report it.
    pub async fn set_writes(&self, serving: bool) {
        if self.services.contains(&match_service_server::SERVICE_NAME) {
            let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(WRITES, status).await;
        }
    }
}
