//! Settings: what a cluster agrees on, and what each node has to itself.
//!
//! Defaults, then a TOML file, then the environment, then flags; the last one that speaks wins. Every setting is one
//! line of the table in [`keys`], which gives its key, flag, variable, default and bounds.
//!
//! [`ClusterSettings`] must be equal on every node: peers compare its digest when they connect. Addresses are not part
//! of it, because the same node may have another address from elsewhere; but those of several balancers are, by which
//! nodes tell each other which of them writes.

mod check;
mod engine;
mod error;
mod flags;
pub mod keys;
mod layers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::auth::AuthSettings;
use dovetail::Role;
use dovetail_certs::TlsSettings;
pub use engine::{JetStreamSettings, LogEngine, StandbySettings};
pub use error::{Origin, SettingsError};
pub use flags::{HELP_NAMES, RoleFlags, UpFlags};
pub use layers::{Sources, known_names};

/// What a role's binary runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Equal on every node.
    pub cluster: ClusterSettings,
    /// This node's own.
    pub node: NodeSettings,
}

/// What `dovetail up` runs on: every role in one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpSettings {
    /// How many of everything.
    pub cluster: ClusterSettings,
    /// Where the balancer listens for clients; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The log's folder.
    pub data: PathBuf,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Certificates; none for plain text.
    pub tls: Option<TlsSettings>,
    /// Caps, for every role.
    pub limits: Limits,
    /// Who may do what.
    pub auth: AuthSettings,
}

/// What must be equal on every node. [`digest`](ClusterSettings::digest) covers every field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The cluster's name, 1 to 64 of `a-z A-Z 0-9 _ . -`. The log's folder belongs to it.
    pub name: String,
    /// Slices of the pair space, 1 to 1,024. Slice `s` runs on matcher `s` modulo the number of matchers.
    pub slices: u32,
    /// Matcher nodes, 1 to `slices`.
    pub matchers: u32,
    /// Gatherer nodes, which are the shards, 1 to 256.
    pub gatherers: u32,
    /// Neighbouring ids that share a home, 1 to 1,048,576.
    pub block: u64,
    /// Points of each shard on the ring, 1 to 4,096.
    pub virtual_nodes: u32,
    /// K: most candidates a slice sends for one probe, 2 to 65,536. Where more would be needed, the slice waits for the
    /// decided watermark.
    pub list_max: u32,
    /// Where several balancers are, 2 to 7, in order of their index; empty of one, whose address need not agree.
    pub balancers: Vec<String>,
}

impl ClusterSettings {
    /// FNV-1a over the fields in words of 8 little-endian bytes, finished with SplitMix64's mixer. Fixed for good:
    /// nodes of different builds compare it. Without several balancers it is what builds computed that knew of one.
    pub fn digest(&self) -> u64 {
        let ClusterSettings { name, slices, matchers, gatherers, block, virtual_nodes, list_max, balancers } = self;
        let mut bytes = b"dovetail.settings.v1".to_vec();
        bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        for &word in &[*slices, *matchers, *gatherers, *virtual_nodes, *list_max] {
            bytes.extend_from_slice(&u64::from(word).to_le_bytes());
        }
        bytes.extend_from_slice(&block.to_le_bytes());
        for balancer in balancers {
            bytes.extend_from_slice(&(balancer.len() as u64).to_le_bytes());
            bytes.extend_from_slice(balancer.as_bytes());
        }
        let fnv = bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        let z = (fnv ^ (fnv >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The slices that matcher `index` runs, ascending.
    pub fn slices_of(&self, index: u32) -> impl Iterator<Item = u32> + use<> {
        assert!(index < self.matchers, "matcher {index} of {}", self.matchers);
        (index..self.slices).step_by(self.matchers as usize)
    }
}

impl fmt::Display for ClusterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClusterSettings { name, slices, matchers, gatherers, block, virtual_nodes, list_max, balancers } = self;
        write!(
            f,
            "cluster {name:?}, slices {slices}, matchers {matchers}, gatherers {gatherers}, block {block}, \
             virtual_nodes {virtual_nodes}, list_max {list_max}"
        )?;
        if balancers.is_empty() { Ok(()) } else { write!(f, ", balancers {}", balancers.join(" ")) }
    }
}

/// What one node has to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// What it does. Given by the binary.
    pub role: Role,
    /// Its index among its role, below the number of nodes with it.
    pub index: u32,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where it listens for nodes only; none where it listens for clients.
    pub listen_nodes: Option<SocketAddr>,
    /// Where it listens for operators only; none where it listens for the others.
    pub listen_operators: Option<SocketAddr>,
    /// The log's folder. Only a balancer has one.
    pub data: PathBuf,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Certificates; none for plain text.
    pub tls: Option<TlsSettings>,
    /// The other nodes, as seen from this one.
    pub addresses: Addresses,
    /// Caps.
    pub limits: Limits,
    /// Who may do what.
    pub auth: AuthSettings,
    /// Who keeps the log. Only a balancer has one.
    pub engine: LogEngine,
    /// When balancers take over from one another.
    pub standby: StandbySettings,
}

impl NodeSettings {
    /// Where the other nodes find this one.
    #[must_use]
    pub fn address(&self) -> &str {
        self.addresses.of(self.role, self.index)
    }
}

/// Where the nodes are. Each is a URL that tonic can dial, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The balancers, by index: one at least.
    pub balancers: Vec<String>,
    /// By index.
    pub matchers: Vec<String>,
    /// By index.
    pub gatherers: Vec<String>,
}

impl Addresses {
    /// Of a node that there is.
    #[must_use]
    pub fn of(&self, role: Role, index: u32) -> &str {
        match role {
            Role::Balancer => &self.balancers[index as usize],
            Role::Matcher => &self.matchers[index as usize],
            Role::Gatherer => &self.gatherers[index as usize],
        }
    }

    /// Every node with its role and index: the balancers, the matchers, the gatherers.
    pub fn all(&self) -> impl Iterator<Item = (Role, u32, &str)> {
        let of = |role, addresses| {
            (0..).zip(addresses).map(move |(index, address): (u32, &String)| (role, index, &**address))
        };
        let balancers = of(Role::Balancer, &self.balancers);
        balancers.chain(of(Role::Matcher, &self.matchers)).chain(of(Role::Gatherer, &self.gatherers))
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// A level, or directives such as `info,dovetail=debug`.
    pub filter: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Caps, and what happens when one is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most elements waiting in a pool that does not say otherwise. Reaching it refuses new elements with
    /// RESOURCE_EXHAUSTED; nothing is evicted.
    pub waiting_max: usize,
    /// Most elements waiting in all pools together. More are refused with RESOURCE_EXHAUSTED; nothing is evicted. One
    /// pool gets at most 7 of 9 parts, pools whose names have one prefix at most 14 of 17, and every pool has a
    /// reserve, so that no pool takes the room of all others; see `dovetail_core::ledger::room`.
    pub waiting_total_max: usize,
    /// Most bytes of elements waiting in a pool, as the ledger counts them: 64 an element, 8 an attribute, 4 a text,
    /// and the bytes of its key, its texts and its payload. Reaching it refuses new elements with RESOURCE_EXHAUSTED;
    /// nothing is evicted.
    pub waiting_bytes_max: u64,
    /// The same of all pools together. Shared as `waiting_total_max` is.
    pub waiting_bytes_total_max: u64,
    /// Largest element in bytes, without its payload: its key, its idempotency key, 8 an attribute, and 4 and its own
    /// for each text. A larger one is refused with INVALID_ARGUMENT. Payloads have a bound of their own, so what a pool
    /// allows them goes on working.
    pub element_bytes_max: u64,
    /// Largest payload in a pool that does not say otherwise, in bytes. A larger one is refused with INVALID_ARGUMENT.
    pub payload_bytes_max: usize,
    /// Most events assigned whose outcome is not on disk yet. Above it submissions wait.
    pub in_flight_max: usize,
    /// Longest time that a submission is held whose key belongs to an element that is not decided, in milliseconds; so
    /// are reads and withdrawals by key. Then the submission is refused with UNAVAILABLE, and the others are answered
    /// by what is known.
    pub hold_ms_max: u64,
    /// Most pools whose names have one prefix. Above it the next is refused with RESOURCE_EXHAUSTED.
    pub pools_prefix_max: usize,
    /// Most pools that one client has defined. Above it the next is refused with RESOURCE_EXHAUSTED.
    pub pools_client_max: usize,
    /// Most units of cost that one search may take in a slice at worst: the rule's cost on the longest values that
    /// wait, times the elements that a slice may have to test. More elements are refused with RESOURCE_EXHAUSTED.
    pub search_cost_max: u64,
    /// Most events in one frame of the log. A frame that reaches it is closed.
    pub frame_events_max: usize,
    /// Most bytes in one frame of the log. A frame that reaches it is closed.
    pub frame_bytes_max: usize,
    /// Longest time a frame stays open for more events, in milliseconds.
    pub frame_age_ms_max: u64,
    /// Most matched and withdrawn elements that GetElement remembers. Above it the oldest are forgotten.
    pub ended_max: usize,
    /// How long an idempotency key is remembered, at least, in milliseconds of event time. Then the same submission
    /// makes a new element.
    pub idempotency_ms: u64,
    /// Most idempotency keys remembered of one pool, at about 100 bytes each. Above it new submissions with such a key
    /// are refused there with RESOURCE_EXHAUSTED until the oldest may be forgotten; none is forgotten early. At 0 none
    /// are remembered.
    pub idempotency_max: usize,
    /// Most idempotency keys remembered of pools whose names have one prefix, and of all together twice as many: where
    /// others have some, a prefix may have half of what those leave of that. Above it pools that have more than their
    /// reserve are refused more, as above.
    pub idempotency_total_max: usize,
    /// How far the balancer's wall clock may jump ahead at once and be followed, in milliseconds. Above it event time
    /// goes on with the boot-time clock, and after ten seconds what writes is refused with UNAVAILABLE, until it is
    /// right or an operator accepts it.
    pub clock_jump_ms_max: u64,
    /// Bytes of log, or as many as the last checkpoint has, after which the next is made.
    pub checkpoint_bytes: u64,
    /// Most bytes of results. Above it the oldest go.
    pub results_bytes_max: u64,
    /// How long results are kept, in milliseconds.
    pub results_ms_max: u64,
    /// Most open WatchMatches and WatchOutcomes streams. Above it new ones are refused with RESOURCE_EXHAUSTED.
    pub watchers_max: usize,
    /// Most calls under way of those that are answered once: SubmitOne, Withdraw, GetElement, DefinePool. More are
    /// refused with RESOURCE_EXHAUSTED.
    pub calls_max: usize,
    /// Most calls of GetElement that wait, beside `calls_max`. More are refused with RESOURCE_EXHAUSTED.
    pub waits_max: usize,
    /// Most open Submit streams. Above it new ones are refused with RESOURCE_EXHAUSTED.
    pub submit_streams_max: usize,
    /// Most open connections, of nodes, clients and operators; at most as many as there are file descriptors beside
    /// those that the node needs itself. Above it a new one takes the place of one that has no call open, or else is
    /// closed at once.
    pub connections_max: usize,
    /// The same from one address.
    pub client_connections_max: usize,
    /// Longest time that a connection has no call open, in milliseconds. Then it is closed. 0 is for ever.
    pub connection_idle_ms_max: u64,
    /// Age of a connection, in milliseconds, from which it takes no new calls: the client makes another, and streams
    /// that are open go on. 0 is for ever.
    pub connection_age_ms_max: u64,
    /// What one client may take of each of the caps here, and of the bytes that are received and answered, in percent;
    /// one of its connections takes half of that. More is refused with RESOURCE_EXHAUSTED.
    pub client_share_percent: usize,
    /// Most calls that look through a pool: Explain, ListElements, WithdrawElements. Above it new ones are refused with
    /// RESOURCE_EXHAUSTED.
    pub scans_max: usize,
    /// Longest time without a batch on a Submit stream whose answers are given, in milliseconds. Then it is ended with
    /// DEADLINE_EXCEEDED. 0 is for ever.
    pub submit_idle_ms_max: u64,
    /// Most calls and streams of clients of all kinds together, but for health and reflection, which have a bound of
    /// their own. More are refused with RESOURCE_EXHAUSTED; other nodes and operators are not counted.
    pub streams_max: usize,
    /// Most calls and streams of one connection. More wait in the client, without a word: above what the other caps let
    /// one client do.
    pub connection_streams_max: usize,
    /// Largest gRPC message from a client, in bytes. A larger one is refused with OUT_OF_RANGE by the transport.
    pub message_bytes_max: usize,
    /// Longest time open requests may take once the node is told to stop, in milliseconds. Then they are cut off.
    pub drain_ms_max: u64,
}

/// Which program reads the settings: defaults and flags differ a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `dovetail up`.
    Up,
    /// A role's own binary.
    Role(Role),
}
