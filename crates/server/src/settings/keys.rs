//! The table of settings: one line each.
//!
//! The environment variable follows from the flag (`--list-max` is `DOVETAIL_LIST_MAX`), so a setting cannot have one
//! without the other.

use super::Program;
use dovetail::Role;

/// What a setting's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Text; checked where the typed settings are built.
    Text,
    /// A whole number.
    Count {
        /// The least it may be.
        min: u64,
        /// The most it may be.
        max: u64,
    },
    /// True or false. Its flag needs no value.
    Switch,
    /// Node addresses. `dovetail up`, which chooses the addresses itself, takes their number instead.
    Nodes {
        /// The most there may be.
        max: u64,
    },
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its place in the file, `section.key`.
    pub key: &'static str,
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// What a value looks like.
    pub kind: SettingKind,
    /// What it is without being set. See [`Setting::default_for`].
    pub default: &'static str,
    /// How `--help` names the value.
    pub value_name: &'static str,
    /// What it is, with its unit, and what happens when a cap is reached.
    pub help: &'static str,
}

/// The flag that names the settings file, and its environment variable.
pub const CONFIG: (&str, &str) = ("config", "DOVETAIL_CONFIG");

/// The largest `limits.frame_bytes_max`: a frame is one record of the log.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// The sections of the file, with what `--help` says about each.
pub const SECTIONS: [(&str, &str); 6] = [
    ("cluster", "Cluster, the same on every node ([cluster] in the file)"),
    ("node", "This node ([node] in the file)"),
    ("log", "The log of several balancers ([log] in the file)"),
    ("tls", "Certificates of this node ([tls] in the file)"),
    ("auth", "Who may do what at this node ([auth] in the file)"),
    ("limits", "Limits of this node ([limits] in the file)"),
];

const fn text(
    key: &'static str,
    flag: &'static str,
    default: &'static str,
    value_name: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, flag, kind: SettingKind::Text, default, value_name, help }
}

const fn count(
    key: &'static str,
    flag: &'static str,
    default: &'static str,
    bounds: (u64, u64),
    help: &'static str,
) -> Setting {
    Setting { key, flag, kind: SettingKind::Count { min: bounds.0, max: bounds.1 }, default, value_name: "N", help }
}

const fn switch(key: &'static str, flag: &'static str, help: &'static str) -> Setting {
    Setting { key, flag, kind: SettingKind::Switch, default: "false", value_name: "true|false", help }
}

const fn nodes(key: &'static str, flag: &'static str, max: u64, default: &'static str, help: &'static str) -> Setting {
    Setting { key, flag, kind: SettingKind::Nodes { max }, default, value_name: "URL,URL", help }
}

/// Every setting there is, in the order of `--help`.
pub const SETTINGS: &[Setting] = &[
    text("cluster.name", "cluster-name", "dovetail", "NAME", "Name of the cluster; the log's folder belongs to it"),
    count(
        "cluster.slices",
        "slices",
        "6",
        (1, 1024),
        "Slices of the pair space; slice s runs on matcher s mod matchers",
    ),
    nodes("cluster.matchers", "matchers", 1024, "http://127.0.0.1:7401", "The matchers, in order of their index"),
    nodes("cluster.gatherers", "gatherers", 256, "http://127.0.0.1:7402", "The gatherers, in order of their index"),
    text("cluster.balancer", "balancer", "http://127.0.0.1:7400", "URL", "The balancer"),
    nodes(
        "cluster.balancers",
        "balancers",
        7,
        "",
        "Several balancers, in order of their index, in place of cluster.balancer; they share a log: log.engine",
    ),
    count("cluster.block", "block", "64", (1, 1_048_576), "Neighbouring ids that share a gatherer"),
    count("cluster.virtual_nodes", "virtual-nodes", "160", (1, 4096), "Points of each gatherer on the ring"),
    count(
        "cluster.list_max",
        "list-max",
        "256",
        (2, 65_536),
        "Most candidates for one element in one message; a slice that needs more waits",
    ),
    text(
        "node.listen",
        "listen",
        "0.0.0.0:7400",
        "IP:PORT",
        "Where to listen; port 0 takes a free one. Without TLS, at loopback only, or with --insecure",
    ),
    text(
        "node.listen_nodes",
        "listen-nodes",
        "",
        "IP:PORT",
        "Where other nodes alone are served; if not given, where clients are",
    ),
    text(
        "node.listen_operators",
        "listen-operators",
        "",
        "IP:PORT",
        "Where operators alone are served (Inspect, reflection); if not given, where clients and nodes are",
    ),
    count("node.index", "index", "0", (0, 1023), "Which node of its role this is, from 0"),
    text("node.data", "data", "/var/lib/dovetail", "DIR", "Folder of the log; only a balancer has one"),
    text(
        "node.log",
        "log",
        "info",
        "FILTER",
        "What to log: off, error, warn, info, debug, trace, or info,dovetail=debug",
    ),
    text("node.log_format", "log-format", "text", "FORM", "How to log, to stderr: text or json"),
    switch(
        "node.insecure",
        "insecure",
        "Listen without TLS at an address that others reach; without it that is refused, as all can read along",
    ),
    count(
        "node.takeover_after_ms",
        "takeover-after-ms",
        "1000",
        (300, 60_000),
        "How long the balancer that writes may be silent before another takes over, in ms",
    ),
    count(
        "node.beat_ms",
        "beat-ms",
        "200",
        (20, 20_000),
        "Between two signs of life of a balancer of several, in ms; at most a third of takeover_after_ms",
    ),
    count(
        "node.standby_grace_ms",
        "standby-grace-ms",
        "10000",
        (1_000, 600_000),
        "How long what nodes forget waits for a balancer that is silent, in ms",
    ),
    text(
        "log.engine",
        "log-engine",
        "embedded",
        "NAME",
        "Who keeps the log: embedded, the balancer alone in its folder; jetstream, NATS servers for several balancers",
    ),
    text(
        "log.urls",
        "log-urls",
        "",
        "URL,URL",
        "The NATS servers, all of them: nats://HOST:PORT or tls://HOST:PORT, also with USER:PASSWORD@ before the host",
    ),
    text(
        "log.credentials",
        "log-credentials",
        "",
        "FILE",
        "Credentials for the NATS servers, as `nsc` writes them (.creds)",
    ),
    text(
        "log.authorities",
        "log-authorities",
        "",
        "FILE",
        "Authorities that sign for the NATS servers, in PEM; if not given, those of this machine",
    ),
    text(
        "log.stream",
        "log-stream",
        "",
        "NAME",
        "The stream of JetStream; if not given, dovetail- and the cluster's name",
    ),
    count(
        "log.replicas",
        "log-replicas",
        "3",
        (1, 5),
        "On how many NATS servers the log is kept: 1, 3 or 5; fixed when the stream is made",
    ),
    count(
        "log.max_bytes",
        "log-max-bytes",
        "34359738368",
        (16_777_216, 10_995_116_277_760),
        "Most bytes of log on each NATS server, less than its max_file; above it submissions are refused until some is trimmed",
    ),
    count(
        "log.patience_ms",
        "log-patience-ms",
        "2000",
        (100, 60_000),
        "How long the NATS servers may be silent before clients are told so, in ms",
    ),
    text(
        "tls.cert",
        "tls-cert",
        "",
        "FILE",
        "This node's certificate in PEM, with what signed it but for the authority",
    ),
    text("tls.key", "tls-key", "", "FILE", "The key of the certificate, in PEM"),
    text("tls.ca", "tls-ca", "", "FILE", "The authority that signs the certificates of nodes and clients, in PEM"),
    text(
        "tls.client_auth",
        "tls-client-auth",
        "optional",
        "HOW",
        "Certificates of clients: none, optional or required; nodes always show theirs",
    ),
    text(
        "auth.policy",
        "policy",
        "",
        "FILE",
        "Who may do what; what it does not grant is refused. Without it, all may do all",
    ),
    text("auth.api_keys", "api-keys", "", "FILE", "API keys by name, hashed, as `dovetail token new` prints them"),
    text("auth.jwks", "jwks", "", "FILE", "Public keys of tokens, a JSON Web Key Set: EdDSA, ES256, RS256"),
    text("auth.issuer", "token-issuer", "", "NAME", "The issuer of tokens: their `iss`"),
    text("auth.audience", "token-audience", "", "NAME", "The audience of tokens: one of their `aud`"),
    text(
        "auth.audit",
        "audit",
        "",
        "FILE",
        "Where to log who connected, was refused, defined, dropped: JSON lines; - is stderr",
    ),
    count(
        "auth.elements_per_s",
        "elements-per-s",
        "0",
        (0, 1_000_000_000),
        "Most elements a second of one client, 0 for any number; above it its streams are read later, its calls refused",
    ),
    count(
        "auth.bytes_per_s",
        "bytes-per-s",
        "0",
        (0, 1_000_000_000_000),
        "Most bytes of submissions a second of one client, 0 for any number; the same",
    ),
    count(
        "auth.calls_per_s",
        "calls-per-s",
        "0",
        (0, 1_000_000_000),
        "Most calls and streams begun a second by one client, 0 for any number; more are refused",
    ),
    count(
        "auth.streams",
        "client-streams",
        "0",
        (0, 1_000_000),
        "Most open streams (Submit, WatchMatches, WatchOutcomes) of one client, 0 for any number; more are refused",
    ),
    count(
        "limits.waiting_max",
        "waiting-max",
        "10000000",
        (1, 1_000_000_000),
        "Most waiting elements in a pool; more are refused",
    ),
    count(
        "limits.waiting_total_max",
        "waiting-total-max",
        "50000000",
        (1, 10_000_000_000),
        "Most waiting elements in all pools together; more are refused",
    ),
    count(
        "limits.waiting_bytes_max",
        "waiting-bytes-max",
        "4294967296",
        (1_048_576, 1_099_511_627_776),
        "Most bytes of waiting elements in a pool; more are refused",
    ),
    count(
        "limits.waiting_bytes_total_max",
        "waiting-bytes-total-max",
        "17179869184",
        (1_048_576, 10_995_116_277_760),
        "Most bytes of waiting elements in all pools together; more are refused",
    ),
    count(
        "limits.element_bytes_max",
        "element-bytes-max",
        "65536",
        (1024, 2_097_152),
        "Largest element, in bytes, without its payload; a larger one is refused",
    ),
    count(
        "limits.payload_bytes_max",
        "payload-bytes-max",
        "4096",
        (0, 65_536),
        "Largest payload, in bytes; a larger one is refused",
    ),
    count(
        "limits.in_flight_max",
        "in-flight-max",
        "1000000",
        (1, 100_000_000),
        "Most events whose outcome is not on disk yet; above it submissions wait",
    ),
    count(
        "limits.hold_ms_max",
        "hold-ms-max",
        "10000",
        (0, 600_000),
        "Longest time a submission is held because its key's element is not decided, in milliseconds; then it is refused",
    ),
    count(
        "limits.pools_prefix_max",
        "pools-prefix-max",
        "3000",
        (1, 10_000),
        "Most pools whose names have one prefix (up to the first dot, or else digit, - or _); more are refused",
    ),
    count(
        "limits.pools_client_max",
        "pools-client-max",
        "3300",
        (1, 10_000),
        "Most pools that are there and that one client has defined since the balancer started; more are refused",
    ),
    count(
        "limits.search_cost_max",
        "search-cost-max",
        "134217728",
        (1_048_576, 1 << 50),
        "Most units of one search in a slice, a rule's cost times the elements it may test; more elements are refused",
    ),
    count(
        "limits.frame_events_max",
        "frame-events-max",
        "4096",
        (1, 65_536),
        "Most events in a frame of the log; then it is closed",
    ),
    count(
        "limits.frame_bytes_max",
        "frame-bytes-max",
        "1048576",
        (4096, FRAME_BYTES_MAX as u64),
        "Most bytes in a frame of the log; then it is closed",
    ),
    count(
        "limits.frame_age_ms_max",
        "frame-age-ms-max",
        "2",
        (0, 1000),
        "Longest time a frame stays open, in milliseconds; then it is closed",
    ),
    count(
        "limits.ended_max",
        "ended-max",
        "4000000",
        (0, 1_000_000_000),
        "Most ended elements to remember; then the oldest are forgotten",
    ),
    count(
        "limits.idempotency_max",
        "idempotency-max",
        "1000000",
        (0, 1_000_000_000),
        "Most idempotency keys to remember of one pool; more are refused, not forgotten. At 0 none are remembered",
    ),
    count(
        "limits.idempotency_total_max",
        "idempotency-total-max",
        "10000000",
        (0, 1_000_000_000),
        "The same of pools whose names have one prefix, at about 100 bytes each; half of what others leave of twice this",
    ),
    count(
        "limits.idempotency_ms",
        "idempotency-ms",
        "86400000",
        (1_000, 3_153_600_000_000),
        "How long an idempotency key is remembered, in milliseconds",
    ),
    count(
        "limits.clock_jump_ms_max",
        "clock-jump-ms-max",
        "3600000",
        (1_000, 3_153_600_000_000),
        "How far the wall clock may jump ahead and be followed, in milliseconds; more is for `dovetail clock accept`",
    ),
    count(
        "limits.checkpoint_bytes",
        "checkpoint-bytes",
        "268435456",
        (1_048_576, 1_099_511_627_776),
        "Bytes of log, or as many as the last checkpoint has, after which the next is made",
    ),
    count(
        "limits.results_bytes_max",
        "results-bytes-max",
        "4294967296",
        (1_048_576, 1_099_511_627_776),
        "Most bytes of results; then the oldest go, and cursors among them are refused",
    ),
    count(
        "limits.results_ms_max",
        "results-ms-max",
        "604800000",
        (60_000, 315_360_000_000),
        "How long results are kept, in milliseconds; then they go",
    ),
    count("limits.watchers_max", "watchers-max", "1000", (1, 100_000), "Most open watches; more are refused"),
    count(
        "limits.calls_max",
        "calls-max",
        "10000",
        (1, 1_000_000),
        "Most calls under way (SubmitOne, Withdraw, GetElement, DefinePool); more are refused",
    ),
    count(
        "limits.waits_max",
        "waits-max",
        "100000",
        (1, 10_000_000),
        "Most calls of GetElement that wait, beside calls_max; more are refused",
    ),
    count(
        "limits.submit_streams_max",
        "submit-streams-max",
        "1000",
        (1, 100_000),
        "Most open Submit streams; more are refused",
    ),
    count(
        "limits.connections_max",
        "connections-max",
        "10000",
        (16, 1_000_000),
        "Most open connections, and never more than the process has file descriptors for; more are closed at once",
    ),
    count(
        "limits.client_connections_max",
        "client-connections-max",
        "2000",
        (1, 1_000_000),
        "Most open connections from one address; more are closed at once",
    ),
    count(
        "limits.connection_idle_ms_max",
        "connection-idle-ms-max",
        "1800000",
        (0, 31_536_000_000),
        "Longest time that a connection has no call open, in milliseconds; then it is closed; 0 is for ever",
    ),
    count(
        "limits.connection_age_ms_max",
        "connection-age-ms-max",
        "86400000",
        (0, 31_536_000_000),
        "Age of a connection, in milliseconds, from which new calls need another; open ones go on; 0 is for ever",
    ),
    count(
        "limits.client_share_percent",
        "client-share-percent",
        "25",
        (1, 100),
        "What one client may take of each cap of calls, streams and bytes, in percent; one connection takes half of it",
    ),
    count(
        "limits.scans_max",
        "scans-max",
        "64",
        (1, 10_000),
        "Most calls that look through a pool (Explain, ListElements, WithdrawElements), beside calls_max; more are refused",
    ),
    count(
        "limits.submit_idle_ms_max",
        "submit-idle-ms-max",
        "3600000",
        (0, 31_536_000_000),
        "Longest time without a batch on a Submit stream, in milliseconds; then it is ended; 0 is for ever",
    ),
    count(
        "limits.streams_max",
        "streams-max",
        "262144",
        (16, 10_000_000),
        "Most calls and streams of clients of all kinds; more are refused",
    ),
    count(
        "limits.connection_streams_max",
        "connection-streams-max",
        "16384",
        (16, 1_000_000),
        "Most calls and streams of one connection; more wait in the client, as gRPC has it",
    ),
    count(
        "limits.message_bytes_max",
        "message-bytes-max",
        "4194304",
        (65_536, 67_108_864),
        "Largest message from a client, in bytes; a larger one is refused",
    ),
    count(
        "limits.drain_ms_max",
        "drain-ms-max",
        "10000",
        (0, 600_000),
        "Longest time to finish open requests when stopping, in milliseconds",
    ),
];

/// The setting at `section.key`.
pub fn by_key(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

impl Setting {
    /// The section of the file it is in.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(section, _)| section)
    }

    /// Its environment variable.
    pub fn env(&self) -> String {
        format!("DOVETAIL_{}", self.flag.replace('-', "_").to_uppercase())
    }

    /// What it is without being set. Each role has a port of its own, and `dovetail up` keeps to this machine.
    pub fn default_for(&self, program: Program) -> &'static str {
        match (program, self.key) {
            (Program::Up, "node.listen") => "127.0.0.1:7400",
            (Program::Up, "node.data") => "./dovetail-data",
            // A person tries it in a terminal, and looks at the banner.
            (Program::Up, "node.log") => "warn",
            (Program::Up, "cluster.matchers" | "cluster.gatherers") => "2",
            (Program::Role(Role::Matcher), "node.listen") => "0.0.0.0:7401",
            (Program::Role(Role::Gatherer), "node.listen") => "0.0.0.0:7402",
            _ => self.default,
        }
    }

    /// Whether `program` has a flag for it. All settings may stand in a file that nodes share.
    pub fn is_flag_of(&self, program: Program) -> bool {
        const OTHERS: [&str; 8] = [
            "cluster.balancer",
            "cluster.balancers",
            "node.index",
            "node.listen_nodes",
            "node.listen_operators",
            "node.takeover_after_ms",
            "node.beat_ms",
            "node.standby_grace_ms",
        ];
        program != Program::Up || !(OTHERS.contains(&self.key) || self.key.starts_with("log."))
    }
}
