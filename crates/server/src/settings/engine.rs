//! Who keeps the log, and when balancers that share it take over from one another.

use std::path::PathBuf;

use super::{
    SettingsError,
    check::{count, form, text},
    layers::Layers,
};

/// Who keeps the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEngine {
    /// The balancer alone, in its data folder.
    Embedded,
    /// NATS servers, for all balancers; each has a copy.
    JetStream(Box<JetStreamSettings>),
}

/// Where a log on NATS JetStream is.
#[derive(Clone, PartialEq, Eq)]
pub struct JetStreamSettings {
    /// The servers: `nats://HOST:PORT` or `tls://HOST:PORT`, with a user before the host or not. One at least.
    pub urls: Vec<String>,
    /// A file of NATS with a token and the key that it belongs to.
    pub credentials: Option<PathBuf>,
    /// Authorities that the servers' certificates are of, in PEM; none for those of this machine.
    pub authorities: Option<PathBuf>,
    /// The stream; none for `dovetail-CLUSTER`.
    pub stream: Option<String>,
    /// On how many servers each entry is kept: 1, 3 or 5.
    pub replicas: usize,
    /// Most bytes that the stream keeps on each server.
    pub max_bytes: u64,
}

impl std::fmt::Debug for JetStreamSettings {
    /// Without URLs: they may have passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStreamSettings")
            .field("stream", &self.stream)
            .field("replicas", &self.replicas)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// When balancers that share a log take over from one another, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandbySettings {
    /// How long the engine that keeps the log may be silent before clients are told so.
    pub patience_ms: u64,
    /// How long the balancer that writes may be silent before another takes over.
    pub takeover_after_ms: u64,
    /// Between two signs of life.
    pub beat_ms: u64,
    /// How long the stable cut waits for a balancer that is silent.
    pub grace_ms: u64,
}

impl Default for StandbySettings {
    fn default() -> StandbySettings {
        StandbySettings { patience_ms: 2_000, takeover_after_ms: 1_000, beat_ms: 200, grace_ms: 10_000 }
    }
}

/// Signs of life in the time after which another takes over: one that is lost is no reason to.
const BEATS: u64 = 3;

pub(super) fn standby(layers: &Layers) -> Result<StandbySettings, SettingsError> {
    let settings = StandbySettings {
        patience_ms: count(layers, "log.patience_ms")?,
        takeover_after_ms: count(layers, "node.takeover_after_ms")?,
        beat_ms: count(layers, "node.beat_ms")?,
        grace_ms: count(layers, "node.standby_grace_ms")?,
    };
    let max = settings.takeover_after_ms / BEATS;
    if settings.beat_ms > max {
        return Err(SettingsError::Above {
            key: "node.beat_ms",
            found: settings.beat_ms,
            origin: layers.get("node.beat_ms").1,
            bound: "a third of node.takeover_after_ms",
            max,
            bound_origin: layers.get("node.takeover_after_ms").1,
        });
    }
    Ok(settings)
}

pub(super) fn engine(layers: &Layers) -> Result<LogEngine, SettingsError> {
    let (engine, origin) = text(layers, "log.engine")?;
    match engine.as_str() {
        "embedded" => Ok(LogEngine::Embedded),
        "jetstream" => jetstream(layers).map(|settings| LogEngine::JetStream(Box::new(settings))),
        _ => Err(form("log.engine", &engine, "embedded or jetstream", origin)),
    }
}

fn jetstream(layers: &Layers) -> Result<JetStreamSettings, SettingsError> {
    let given = |key| text(layers, key).map(|(text, _)| Some(text).filter(|text| !text.is_empty()));
    let (urls, origin) = text(layers, "log.urls")?;
    let urls: Vec<String> = urls.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect();
    let is_nats = |url: &String| url.starts_with("nats://") || url.starts_with("tls://");
    let expected =
        "addresses of NATS servers, such as nats://10.0.0.5:4222,nats://10.0.0.6:4222, for log.engine \"jetstream\"";
    if urls.is_empty() {
        return Err(form("log.urls", "", expected, origin));
    }
    if let Some(other) = urls.iter().find(|url| !is_nats(url)) {
        // What is before an @ may be a password.
        return Err(form("log.urls", other.rsplit('@').next().unwrap_or_default(), expected, origin));
    }
    let replicas = count(layers, "log.replicas")?;
    if replicas % 2 == 0 {
        let (_, origin) = layers.get("log.replicas");
        return Err(SettingsError::Form {
            key: "log.replicas",
            found: replicas.to_string(),
            expected: "1, 3 or 5".to_owned(),
            origin,
        });
    }
    Ok(JetStreamSettings {
        urls,
        credentials: given("log.credentials")?.map(PathBuf::from),
        authorities: given("log.authorities")?.map(PathBuf::from),
        stream: given("log.stream")?,
        replicas: replicas as usize,
        max_bytes: count(layers, "log.max_bytes")?,
    })
}
