//! The engines that keep a log which balancers share.

use std::{sync::Arc, time::Duration};

use dovetail_jetstream::{JetStreamEngine, JetStreamOptions, NatsTls, Opening};
use dovetail_log::shared::{Engine as LogEngine, WriterId};

use super::{
    failure::BalancerError,
    shared_log::Pace,
    store::{self, Sharing},
};
use crate::settings::{self, JetStreamSettings, Settings, StandbySettings};

/// How the engine is opened that keeps a log which balancers share: of a log whose id is given, if the folder has a copy
/// of one.
type OpenEngine = dyn Fn(Option<u128>) -> Result<Box<dyn LogEngine>, BalancerError> + Send + Sync;

/// The engine that keeps the log, and what is waited for.
#[derive(Clone)]
pub(super) struct Engines {
    pub(super) open: Arc<OpenEngine>,
    pub(super) patience: Duration,
    pub(super) pace: Pace,
}

impl Engines {
    /// Those that settings name; none where the balancer keeps its log alone.
    pub(super) fn of(settings: &Settings) -> Option<Engines> {
        let settings::LogEngine::JetStream(engine) = &settings.node.engine else { return None };
        let (cluster, engine) = (settings.cluster.name.clone(), engine.clone());
        let open = Arc::new(move |copy_of| open_jetstream(&cluster, &engine, copy_of));
        let StandbySettings { patience_ms, takeover_after_ms, beat_ms, grace_ms } = settings.node.standby;
        let ms = Duration::from_millis;
        let pace = Pace { beat: ms(beat_ms), takeover_after: ms(takeover_after_ms), grace: ms(grace_ms) };
        Some(Engines { open, patience: ms(patience_ms), pace })
    }

    /// Opens the engine, for the log that a folder has a copy of. Blocks; called by threads that belong to no runtime.
    pub(super) fn open(&self, settings: &Settings) -> Result<Sharing, BalancerError> {
        let engine = (self.open)(store::copy_of(settings)?)?;
        let mut me = [0; 16];
        getrandom::fill(&mut me).map_err(|_| BalancerError::Part("the source of randomness"))?;
        Ok(Sharing {
            engine,
            me: WriterId(u128::from_le_bytes(me)),
            address: settings.node.address().to_owned(),
            patience: self.patience,
            pace: self.pace,
        })
    }
}

/// Opens the log of a cluster on NATS servers. It is made if it is not there, unless the folder has a copy of it.
fn open_jetstream(
    cluster: &str,
    settings: &JetStreamSettings,
    copy_of: Option<u128>,
) -> Result<Box<dyn LogEngine>, BalancerError> {
    let JetStreamSettings { urls, credentials, authorities, stream, replicas, max_bytes } = settings;
    let mut options = JetStreamOptions::new(urls.clone(), cluster, *max_bytes);
    (options.stream, options.replicas, options.credentials) = (stream.clone(), *replicas, credentials.clone());
    options.tls = authorities.clone().map(|authorities| NatsTls { authorities: Some(authorities), own: None });
    options.opening = match copy_of {
        Some(log_id) => Opening::Existing { log_id },
        None => Opening::OrMake { log_id: None, begins_after: 0 },
    };
    let engine = JetStreamEngine::open(&options)?;
    // Whether they do cannot be seen from here.
    tracing::info!(replicas, "the log is on NATS servers, which have to run with `sync_interval: always`");
    if *replicas == 1 {
        tracing::warn!(
            "log.replicas is 1: the log is lost with the one server that has it, but for the balancers' copies"
        );
    }
    Ok(Box::new(engine))
}
