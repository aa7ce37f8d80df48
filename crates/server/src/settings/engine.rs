//! Who keeps the log, and when balancers that share it take over from one another.

use std::path::PathBuf;

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
