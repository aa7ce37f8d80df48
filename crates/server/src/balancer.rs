//! A balancer node: gives ids, logs, broadcasts, and serves clients what was decided.
//!
//! One task, the engine, owns the sequencer and the ledger; two threads write the log and the results; everything else
//! asks the engine, or follows what it has published.

mod acks;
mod answers;
mod beats;
mod checkpoint;
mod clients;
mod clock;
mod columns;
mod copy;
mod decisions;
mod disks;
mod elements;
mod engine;
mod engines;
mod errors;
mod explain;
mod failure;
mod feed_reader;
mod gate;
mod held;
mod limit;
mod list;
mod messages;
mod node;
mod nodes;
mod pools;
mod presence;
mod quota;
mod records;
mod refusals;
mod refused;
mod reign;
mod session;
mod share;
mod shared_log;
mod store;
mod storms;
mod submit;
mod tailed_log;
mod throttle;
mod turns;
mod under_way;
mod waiters;
mod waits;
mod watch;
mod written;

#[cfg(test)]
mod tests;

use std::pin::pin;

use crate::{
    rpc::{self, Edge, Links, Listener, LocalNodes, NodeIdentity, ServeError},
    settings::Settings,
    shutdown::Shutdown,
    time,
};
use dovetail::Role;
use engine::Ended;
use engines::Engines;
pub use failure::{BalancerError, RecoveryError};
use gate::Gate;
use session::Balancer;
use store::Store;

/// A data folder that was opened and read back, and how that is done again.
pub struct Opened {
    store: Store,
    engines: Option<Engines>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Opens the data folder, or makes it, and reads back what it says.
///
/// # Errors
/// When it is another cluster's, in use, damaged, or cannot be read; or the log that it is a copy of cannot be.
pub async fn open(settings: &Settings) -> Result<Opened, BalancerError> {
    open_with(settings, Engines::of(settings)).await
}

/// The same; with the engine that keeps the log that several balancers share.
///
/// # Errors
/// When it is another cluster's, in use, damaged, or cannot be read.
async fn open_with(settings: &Settings, engines: Option<Engines>) -> Result<Opened, BalancerError> {
    let (opens, settings) = (engines.clone(), settings.clone());
    let (opened, store) = tokio::sync::oneshot::channel();
    // Engines are asked by threads that belong to no runtime.
    let thread = std::thread::Builder::new().name("open".into());
    let thread = thread.spawn(move || {
        let sharing = opens.map(|engines| engines.open(&settings)).transpose();
        // Whoever waits may have been told to stop.
        _ = opened.send(sharing.and_then(|sharing| Store::open(&settings, sharing)));
    });
    thread.map_err(|_| BalancerError::Part("the thread that opens the log"))?;
    let store = store.await.map_err(|_| BalancerError::Part("opening the log"))??;
    Ok(Opened { store, engines })
}

/// Runs a balancer until the signal.
///
/// # Errors
/// When its log cannot be read or written, it cannot listen, or its server fails.
pub async fn run(
    opened: Opened,
    settings: Settings,
    listener: Listener,
    neighbours: LocalNodes,
    stop: Shutdown,
) -> Result<(), BalancerError> {
    Box::pin(run_sessions(opened, settings, listener, neighbours, stop)).await
}

/// One session after the other, each of which begins with the folder as it is then.
async fn run_sessions(
    opened: Opened,
    settings: Settings,
    listener: Listener,
    neighbours: LocalNodes,
    told: Shutdown,
) -> Result<(), BalancerError> {
    let Opened { store, engines } = opened;
    let identity = NodeIdentity::new(settings.cluster.clone(), Role::Balancer, settings.node.index);
    let links = Links::new(&settings.cluster.name, neighbours, listener.tls());
    // One that writes lets another take over first.
    let stop = Shutdown::new();
    let gate = Gate::default();
    let (address, limits) = (listener.address(), settings.node.limits.clone());
    let edge = Edge::new(&identity, &settings.node, &stop).map_err(ServeError::Auth)?;
    let (routes, health) = rpc::routes(&edge, &stop).await?;
    let routes = gate.add(routes, &identity, &settings, &links);
    let balancer = Balancer { settings, identity, links, gate, health, started_ms: time::now_ms() };
    let mut session = balancer.begin(store).await?;
    tracing::info!(%address, log_id = balancer.identity.log_id(), "balancer is listening");
    let mut serving = pin!(listener.serve(routes, edge, stop.clone(), &limits));
    let mut gives_way = false;
    let served = loop {
        let ended = tokio::select! {
            served = &mut serving => break served,
            () = told.given(), if !gives_way => {
                gives_way = true;
                session.give_way(&stop);
                continue;
            }
            // The engine ends by itself only when it failed, or another balancer writes.
            ended = session.ended() => ended,
        };
        balancer.end(&session);
        match (ended, &engines) {
            (Ok(Ended::Over), Some(engines)) if !told.is_given() => {
                let reopened = tokio::select! {
                    reopened = balancer.reopen(engines) => reopened,
                    () = told.given() => {
                        stop.give();
                        return Ok(serving.await?);
                    }
                };
                session = balancer.begin(reopened?).await?;
            }
            (Ok(_), _) => {
                stop.give();
                return Ok(serving.await?);
            }
            (Err(error), _) => {
                stop.give();
                return Err(error);
            }
        }
    };
    session.engine_stop.give();
    session.ended().await?;
    Ok(served?)
}
