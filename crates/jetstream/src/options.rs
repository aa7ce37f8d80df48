//! How a shared log on JetStream is found, made and asked.

use std::path::PathBuf;
use std::time::Duration;

/// Largest message that is put, if servers take it.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// What a message has beside the records of its group: its headers, and who wrote it.
pub const MESSAGE_BYTES_SPARE: usize = 4096;

/// How a shared log on JetStream is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamOptions {
    /// Where the servers are: `nats://HOST:PORT`, or `tls://HOST:PORT`. They are tried in this order. All of them
    /// should be named: what one has damaged is asked of the others. One may name a user, who is then known to all:
    /// `nats://USER:PASSWORD@HOST:PORT`.
    pub urls: Vec<String>,
    /// The cluster's name: 1 to 64 of a-z A-Z 0-9 _ . -
    pub cluster: String,
    /// The stream's name; `dovetail-CLUSTER`, with `=` for each dot, when it is None.
    pub stream: Option<String>,
    /// On how many servers each entry is kept: 1, 3 or 5. With one nothing survives that server.
    pub replicas: usize,
    /// Most bytes that the stream keeps on each server. Above it groups are [`Full`](dovetail_log::shared::PutError::Full).
    pub max_bytes: u64,
    /// A file of NATS with a token and the key that it belongs to (`.creds`).
    pub credentials: Option<PathBuf>,
    /// Certificates; TLS is used without them, too, if a server wants it or a URL says so.
    pub tls: Option<NatsTls>,
    /// Which log it has to be.
    pub opening: Opening,
    /// How long is waited for what.
    pub timeouts: NatsTimeouts,
}

impl JetStreamOptions {
    /// A log of three replicas that is made if there is none.
    pub fn new(urls: Vec<String>, cluster: impl Into<String>, max_bytes: u64) -> JetStreamOptions {
        JetStreamOptions {
            urls,
            cluster: cluster.into(),
            stream: None,
            replicas: 3,
            max_bytes,
            credentials: None,
            tls: None,
            opening: Opening::default(),
            timeouts: NatsTimeouts::default(),
        }
    }
}

/// Files of TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsTls {
    /// Authorities that servers' certificates have to be of. None: those of this machine.
    pub authorities: Option<PathBuf>,
    /// A certificate of our own, and its key, for servers that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Which log a stream has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// This one: the stream is never made. For who has a copy of it.
    Existing {
        /// Its id.
        log_id: u128,
    },
    /// Whichever is there; it is made when there is none.
    OrMake {
        /// The id of the log that is made; drawn at random when it is None. A log that is there has to have it.
        log_id: Option<u128>,
        /// The event after which the first group of the log begins that is made.
        begins_after: u64,
    },
}

impl Default for Opening {
    fn default() -> Opening {
        Opening::OrMake { log_id: None, begins_after: 0 }
    }
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatsTimeouts {
    /// Between two pings of a server; when three in a row are not answered, another server is asked.
    pub ping: Duration,
    /// For the answer to one entry that is put. What is not answered is put again by who asked, until its own patience
    /// ends.
    pub ack: Duration,
    /// For the answer to every other question.
    pub api: Duration,
    /// For a connection to one server.
    pub connect: Duration,
    /// In all, to open the log: servers that have just started answer after seconds.
    pub open: Duration,
}

impl Default for NatsTimeouts {
    fn default() -> NatsTimeouts {
        NatsTimeouts {
            ping: Duration::from_millis(500),
            ack: Duration::from_millis(500),
            api: Duration::from_secs(2),
            connect: Duration::from_millis(500),
            open: Duration::from_secs(10),
        }
    }
}
