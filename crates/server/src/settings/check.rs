//! From merged layers to typed settings. Every bound is checked here, and every refusal names value, bound and origin.

use std::net::SocketAddr;
use std::path::PathBuf;

use figment::value::Value;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::keys::{self, SettingKind};
use super::layers::Layers;
use super::{
    Addresses, ClusterSettings, JetStreamSettings, Limits, LogEngine, LogFormat, LogSettings, NodeSettings, Origin,
    Settings, SettingsError, StandbySettings, UpSettings,
};
use crate::auth::{AuthSettings, Rates};
use dovetail::{
    Role, address,
    tls::{Files, OwnFiles},
};
use dovetail_certs::{ClientAuth, TlsSettings};

/// Longest cluster name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Signs of life in the time after which another balancer takes over: one that is lost is no reason to.
const BEATS: u64 = 3;

pub(super) fn settings(layers: &Layers, role: Role) -> Result<Settings, SettingsError> {
    let addresses = Addresses {
        balancers: balancers(layers)?,
        matchers: urls(layers, "cluster.matchers")?,
        gatherers: urls(layers, "cluster.gatherers")?,
    };
    let mut cluster = cluster(layers, addresses.matchers.len() as u64, addresses.gatherers.len() as u64)?;
    if addresses.balancers.len() > 1 {
        cluster.balancers.clone_from(&addresses.balancers);
    }
    let tls = tls(layers)?;
    one_scheme(layers, &addresses, tls.as_ref())?;
    let index = index(layers, role, &addresses)?;
    let node = NodeSettings {
        role,
        index,
        listen: listen(layers, "node.listen", tls.is_some(), addresses.of(role, index))?,
        listen_nodes: other_port(layers, "node.listen_nodes", tls.is_some())?,
        listen_operators: other_port(layers, "node.listen_operators", tls.is_some())?,
        data: data(layers)?,
        log: log(layers)?,
        tls,
        addresses,
        limits: limits(layers)?,
        auth: auth(layers)?,
        engine: engine(layers, role)?,
        standby: standby(layers)?,
    };
    if role == Role::Balancer && node.addresses.balancers.len() > 1 && node.engine == LogEngine::Embedded {
        let (_, origin) = layers.get("log.engine");
        let expected = "jetstream where cluster.balancers names several: they share a log";
        return Err(form("log.engine", "embedded", expected, origin));
    }
    Ok(Settings { cluster, node })
}

pub(super) fn up(layers: &Layers) -> Result<UpSettings, SettingsError> {
    let cluster = cluster(layers, how_many(layers, "cluster.matchers")?, how_many(layers, "cluster.gatherers")?)?;
    let tls = tls(layers)?;
    let listen = listen(layers, "node.listen", tls.is_some(), "")?;
    Ok(UpSettings {
        cluster,
        listen,
        data: data(layers)?,
        log: log(layers)?,
        tls,
        limits: limits(layers)?,
        auth: auth(layers)?,
    })
}

fn cluster(layers: &Layers, matchers: u64, gatherers: u64) -> Result<ClusterSettings, SettingsError> {
    let slices = count(layers, "cluster.slices")?;
    if matchers > slices {
        return Err(SettingsError::Above {
            key: "cluster.matchers",
            found: matchers,
            origin: layers.get("cluster.matchers").1,
            bound: "cluster.slices",
            max: slices,
            bound_origin: layers.get("cluster.slices").1,
        });
    }
    Ok(ClusterSettings {
        name: name(layers)?,
        slices: slices as u32,
        matchers: matchers as u32,
        gatherers: gatherers as u32,
        block: count(layers, "cluster.block")?,
        virtual_nodes: count(layers, "cluster.virtual_nodes")? as u32,
        list_max: count(layers, "cluster.list_max")? as u32,
        balancers: Vec::new(),
    })
}

fn limits(layers: &Layers) -> Result<Limits, SettingsError> {
    let cap = |key| count(layers, key).map(|value| value as usize);
    let limits = Limits {
        waiting_max: cap("limits.waiting_max")?,
        waiting_total_max: cap("limits.waiting_total_max")?,
        waiting_bytes_max: count(layers, "limits.waiting_bytes_max")?,
        waiting_bytes_total_max: count(layers, "limits.waiting_bytes_total_max")?,
        element_bytes_max: count(layers, "limits.element_bytes_max")?,
        payload_bytes_max: cap("limits.payload_bytes_max")?,
        in_flight_max: cap("limits.in_flight_max")?,
        hold_ms_max: count(layers, "limits.hold_ms_max")?,
        pools_prefix_max: cap("limits.pools_prefix_max")?,
        pools_client_max: cap("limits.pools_client_max")?,
        search_cost_max: count(layers, "limits.search_cost_max")?,
        frame_events_max: cap("limits.frame_events_max")?,
        frame_bytes_max: cap("limits.frame_bytes_max")?,
        frame_age_ms_max: count(layers, "limits.frame_age_ms_max")?,
        ended_max: cap("limits.ended_max")?,
        idempotency_ms: count(layers, "limits.idempotency_ms")?,
        idempotency_max: cap("limits.idempotency_max")?,
        idempotency_total_max: cap("limits.idempotency_total_max")?,
        clock_jump_ms_max: count(layers, "limits.clock_jump_ms_max")?,
        checkpoint_bytes: count(layers, "limits.checkpoint_bytes")?,
        results_bytes_max: count(layers, "limits.results_bytes_max")?,
        results_ms_max: count(layers, "limits.results_ms_max")?,
        watchers_max: cap("limits.watchers_max")?,
        calls_max: cap("limits.calls_max")?,
        waits_max: cap("limits.waits_max")?,
        submit_streams_max: cap("limits.submit_streams_max")?,
        connections_max: cap("limits.connections_max")?,
        client_connections_max: cap("limits.client_connections_max")?,
        connection_idle_ms_max: count(layers, "limits.connection_idle_ms_max")?,
        connection_age_ms_max: count(layers, "limits.connection_age_ms_max")?,
        client_share_percent: cap("limits.client_share_percent")?,
        scans_max: cap("limits.scans_max")?,
        submit_idle_ms_max: count(layers, "limits.submit_idle_ms_max")?,
        streams_max: cap("limits.streams_max")?,
        connection_streams_max: cap("limits.connection_streams_max")?,
        message_bytes_max: cap("limits.message_bytes_max")?,
        drain_ms_max: count(layers, "limits.drain_ms_max")?,
    };
    Ok(limits)
}

fn auth(layers: &Layers) -> Result<AuthSettings, SettingsError> {
    let file =
        |key| Ok::<_, SettingsError>(Some(PathBuf::from(text(layers, key)?.0)).filter(|path| *path != PathBuf::new()));
    let auth = AuthSettings {
        policy: file("auth.policy")?,
        api_keys: file("auth.api_keys")?,
        jwks: file("auth.jwks")?,
        issuer: text(layers, "auth.issuer")?.0,
        audience: text(layers, "auth.audience")?.0,
        audit: text(layers, "auth.audit")?.0,
        rates: Rates {
            elements_per_s: count(layers, "auth.elements_per_s")?,
            calls_per_s: count(layers, "auth.calls_per_s")?,
            bytes_per_s: count(layers, "auth.bytes_per_s")?,
            streams: count(layers, "auth.streams")?,
        },
    };
    let needs = |key, needed| {
        let (found, origin) = text(layers, key)?;
        Err(form(key, &found, needed, origin))
    };
    let credentials = [("auth.api_keys", auth.api_keys.is_some()), ("auth.jwks", auth.jwks.is_some())];
    if let (None, Some((key, _))) = (&auth.policy, credentials.into_iter().find(|(_, is_set)| *is_set)) {
        return needs(
            key,
            "a file beside auth.policy, which says who may do what; without a policy no credential is checked",
        );
    }
    if auth.jwks.is_some() && (auth.issuer.is_empty() || auth.audience.is_empty()) {
        return needs("auth.jwks", "a file beside auth.issuer and auth.audience, which tokens have to name");
    }
    Ok(auth)
}

fn standby(layers: &Layers) -> Result<StandbySettings, SettingsError> {
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

fn engine(layers: &Layers, role: Role) -> Result<LogEngine, SettingsError> {
    let (engine, origin) = text(layers, "log.engine")?;
    match engine.as_str() {
        "embedded" => Ok(LogEngine::Embedded),
        // In a file that nodes share, without what others need not know.
        "jetstream" if role != Role::Balancer && text(layers, "log.urls")?.0.is_empty() => Ok(LogEngine::Embedded),
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
    if let Some(at) = urls.iter().position(|url| !is_nats(url)) {
        // Not shown: a part of it may be a password, which a comma ends.
        let (key, found) = ("log.urls", format!("no address in part {}", at + 1));
        return Err(SettingsError::Form { key, found, expected: expected.to_owned(), origin });
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

fn name(layers: &Layers) -> Result<String, SettingsError> {
    let (name, origin) = text(layers, "cluster.name")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(form("cluster.name", &name, "1 to 64 of a-z A-Z 0-9 _ . -", origin));
    }
    Ok(name)
}

/// Where to listen. Without TLS only at loopback, unless it is said that the network may be trusted. A node that others
/// reach at `own`, a loopback address, and that is not told where to listen, listens there.
fn listen(layers: &Layers, key: &'static str, tls: bool, own: &str) -> Result<SocketAddr, SettingsError> {
    let (listen, origin) = text(layers, key)?;
    let expected = "IP:PORT, such as 127.0.0.1:7400 or [::]:7400";
    let listen: SocketAddr = listen.parse().map_err(|_| form(key, &listen, expected, origin.clone()))?;
    if tls || listen.ip().to_canonical().is_loopback() || switch(layers, "node.insecure")? {
        return Ok(listen);
    }
    match address::loopback(own) {
        Some(loopback) if origin == Origin::Default => Ok(SocketAddr::new(loopback, listen.port())),
        _ => Err(SettingsError::PlainText { key, listen, origin }),
    }
}

/// A port for some of the node's callers; none when they share that of the others.
fn other_port(layers: &Layers, key: &'static str, tls: bool) -> Result<Option<SocketAddr>, SettingsError> {
    if text(layers, key)?.0.is_empty() { Ok(None) } else { listen(layers, key, tls, "").map(Some) }
}

fn tls(layers: &Layers) -> Result<Option<TlsSettings>, SettingsError> {
    let file = |key| text(layers, key).map(|(path, _)| (!path.is_empty()).then(|| PathBuf::from(path)));
    let (auth, origin) = text(layers, "tls.client_auth")?;
    let clients = match auth.as_str() {
        "none" => ClientAuth::None,
        "optional" => ClientAuth::Optional,
        "required" => ClientAuth::Required,
        _ => return Err(form("tls.client_auth", &auth, "none, optional or required", origin)),
    };
    let own = match (file("tls.cert")?, file("tls.key")?) {
        (Some(cert), Some(key)) => Some(OwnFiles { cert, key }),
        (None, None) => None,
        (None, Some(_)) => return Err(unfit(layers, "tls.key", "tls.cert, the certificate it is of, is not given")),
        (Some(_), None) => return Err(unfit(layers, "tls.cert", "tls.key, its key, is not given")),
    };
    let ca = file("tls.ca")?;
    match (own, ca) {
        (_, None) if clients == ClientAuth::Required => {
            Err(unfit(layers, "tls.client_auth", "tls.ca, which signs the certificates of clients, is not given"))
        }
        // An authority alone is what clients have in their environment.
        (None, _) => Ok(None),
        (own, ca) => Ok(Some(TlsSettings { files: Files { own, ca }, clients })),
    }
}

/// Nodes speak TLS to one another, all of them, or none does: one that does not would be the place to listen at.
fn one_scheme(layers: &Layers, addresses: &Addresses, tls: Option<&TlsSettings>) -> Result<(), SettingsError> {
    let of = |key: &'static str, urls: &[String]| match (tls, urls.iter().find(|url| is_tls(url) != tls.is_some())) {
        (_, None) => Ok(()),
        (None, Some(url)) => Err((key, url.clone(), "tls.cert, tls.key and tls.ca are not given; TLS needs them")),
        (Some(_), Some(url)) => {
            Err((key, url.clone(), "tls.cert is given, and then all nodes speak TLS; write https://"))
        }
    };
    let refused = |(key, url, reason)| {
        let found = format!("{url:?}");
        SettingsError::Tls { key, found, origin: layers.get(key).1, reason }
    };
    of(balancers_key(layers), &addresses.balancers).map_err(refused)?;
    of("cluster.matchers", &addresses.matchers).map_err(refused)?;
    of("cluster.gatherers", &addresses.gatherers).map_err(refused)?;
    match tls {
        Some(tls) if tls.files.ca.is_none() => Err(unfit(
            layers,
            "tls.ca",
            "tls.cert is given, and other nodes are believed only with an authority that signs for them",
        )),
        _ => Ok(()),
    }
}

fn is_tls(url: &str) -> bool {
    url.starts_with("https://")
}

/// A setting of TLS without another that it needs.
fn unfit(layers: &Layers, key: &'static str, reason: &'static str) -> SettingsError {
    let (value, origin) = layers.get(key);
    let found =
        value.as_str().filter(|text| !text.is_empty()).map_or("not given".to_owned(), |text| format!("{text:?}"));
    SettingsError::Tls { key, found, origin, reason }
}

fn switch(layers: &Layers, key: &'static str) -> Result<bool, SettingsError> {
    let (value, origin) = layers.get(key);
    value.to_bool().ok_or_else(|| not(key, &value, "true or false", origin))
}

fn data(layers: &Layers) -> Result<PathBuf, SettingsError> {
    let (data, origin) = text(layers, "node.data")?;
    if data.is_empty() { Err(form("node.data", &data, "a folder", origin)) } else { Ok(data.into()) }
}

fn log(layers: &Layers) -> Result<LogSettings, SettingsError> {
    let (filter, origin) = text(layers, "node.log")?;
    if !is_filter(&filter) {
        let allowed =
            "off, error, warn, info, debug or trace, or also targets with levels, such as info,dovetail=debug";
        return Err(form("node.log", &filter, allowed, origin));
    }
    let (format, origin) = text(layers, "node.log_format")?;
    let format = match format.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => return Err(form("node.log_format", &format, "text or json", origin)),
    };
    Ok(LogSettings { filter, format })
}

/// Whether a log filter says what it was meant to. tracing takes any word that is no level for the name of a module,
/// and is silent about all others then.
fn is_filter(filter: &str) -> bool {
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    let mut parts = filter.split(',').map(str::trim).filter(|part| !part.is_empty());
    // The last one: a span's field, in brackets, may have an equal sign of its own.
    let means = |part: &str| match part.rsplit_once('=') {
        Some((target, level)) => !target.trim().is_empty() && is_level(level.trim()),
        // One of our own modules, with all that it says.
        _ => is_level(part) || part.starts_with("dovetail"),
    };
    parts.all(means) && EnvFilter::try_new(filter).is_ok()
}

fn index(layers: &Layers, role: Role, addresses: &Addresses) -> Result<u32, SettingsError> {
    let (list, nodes) = match role {
        Role::Balancer => (balancers_key(layers), addresses.balancers.len()),
        Role::Matcher => ("cluster.matchers", addresses.matchers.len()),
        Role::Gatherer => ("cluster.gatherers", addresses.gatherers.len()),
    };
    let index = count(layers, "node.index")?;
    let nodes = nodes as u64;
    if index < nodes {
        return Ok(index as u32);
    }
    let (origin, list_origin) = (layers.get("node.index").1, layers.get(list).1);
    Err(SettingsError::Index { index, origin, list, count: nodes, list_origin })
}

/// The setting that names the balancers: the list, if it is given.
fn balancers_key(layers: &Layers) -> &'static str {
    let given = layers.get("cluster.balancers").0.as_str() != Some("");
    if given { "cluster.balancers" } else { "cluster.balancer" }
}

/// Several balancers, or one.
fn balancers(layers: &Layers) -> Result<Vec<String>, SettingsError> {
    let one = one_url(layers, "cluster.balancer")?;
    if balancers_key(layers) == "cluster.balancer" {
        return Ok(vec![one]);
    }
    let all = urls(layers, "cluster.balancers")?;
    let origin = |key| layers.get(key).1;
    if let Some(twice) = (1..all.len()).find(|&at| all[..at].contains(&all[at])) {
        return Err(form("cluster.balancers", &all[twice], "a list that names each once", origin("cluster.balancers")));
    }
    match origin("cluster.balancer") {
        Origin::Default => Ok(all),
        _ if all == [one.as_str()] => Ok(all),
        balancer => {
            Err(SettingsError::Balancers { one, origin: balancer, all, list_origin: origin("cluster.balancers") })
        }
    }
}

fn one_url(layers: &Layers, key: &'static str) -> Result<String, SettingsError> {
    let (url, origin) = text(layers, key)?;
    check_url(key, &url, &origin)
}

fn urls(layers: &Layers, key: &'static str) -> Result<Vec<String>, SettingsError> {
    let (value, origin) = layers.get(key);
    let Some(list) = value.as_array() else { return Err(not(key, &value, "a list of URLs", origin)) };
    node_bound(key, list.len() as i128, &origin)?;
    let url = |entry: &Value| match entry.as_str() {
        Some(url) => check_url(key, url, &origin),
        None => Err(not(key, entry, URL_FORM, origin.clone())),
    };
    list.iter().map(url).collect()
}

/// `dovetail up`: a number, or as many as are listed.
fn how_many(layers: &Layers, key: &'static str) -> Result<u64, SettingsError> {
    let (value, origin) = layers.get(key);
    let number = match (&value, whole(&value)) {
        (Value::Array(_, list), _) if list.iter().all(is_url) => list.len() as i128,
        (_, Some(number)) => number,
        _ => return Err(not(key, &value, "a number, or a list of URLs to count", origin)),
    };
    node_bound(key, number, &origin)
}

fn node_bound(key: &'static str, number: i128, origin: &Origin) -> Result<u64, SettingsError> {
    let Some(SettingKind::Nodes { max }) = keys::by_key(key).map(|setting| setting.kind) else {
        panic!("{key} has no nodes")
    };
    in_range(key, number, (1, max), origin)
}

fn count(layers: &Layers, key: &'static str) -> Result<u64, SettingsError> {
    let Some(SettingKind::Count { min, max }) = keys::by_key(key).map(|setting| setting.kind) else {
        panic!("{key} is no count")
    };
    let (value, origin) = layers.get(key);
    match whole(&value) {
        Some(number) => in_range(key, number, (min, max), &origin),
        None => Err(not(key, &value, "a whole number", origin)),
    }
}

/// A whole number of any width; figment keeps signed and unsigned ones apart.
fn whole(value: &Value) -> Option<i128> {
    value.to_i128().or_else(|| value.to_u128().map(|number| i128::try_from(number).unwrap_or(i128::MAX)))
}

fn in_range(key: &'static str, number: i128, (min, max): (u64, u64), origin: &Origin) -> Result<u64, SettingsError> {
    let within = u64::try_from(number).ok().filter(|within| (min..=max).contains(within));
    within.ok_or_else(|| SettingsError::Range { key, found: number.to_string(), min, max, origin: origin.clone() })
}

fn text(layers: &Layers, key: &'static str) -> Result<(String, Origin), SettingsError> {
    let (value, origin) = layers.get(key);
    match value.as_str() {
        Some(text) => Ok((text.to_owned(), origin)),
        None => Err(not(key, &value, "text", origin)),
    }
}

const URL_FORM: &str = "a URL such as http://10.0.0.2:7401";

fn check_url(key: &'static str, url: &str, origin: &Origin) -> Result<String, SettingsError> {
    let refused = |source| SettingsError::Address { key, source: Box::new(source), origin: origin.clone() };
    address::node_url(url).map_err(refused)
}

fn is_url(value: &Value) -> bool {
    value.as_str().is_some_and(|text| address::node_url(text).is_ok())
}

fn form(key: &'static str, found: &str, expected: &str, origin: Origin) -> SettingsError {
    SettingsError::Form { key, found: format!("{found:?}"), expected: expected.to_owned(), origin }
}

/// A value of another type than expected.
fn not(key: &'static str, value: &Value, expected: &str, origin: Origin) -> SettingsError {
    let found = match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, text) => format!("{text:?}"),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => match (whole(value), number.to_f64()) {
            (Some(number), _) => number.to_string(),
            (None, Some(number)) => format!("{number:?}"),
            (None, None) => "a number".to_owned(),
        },
        Value::Array(..) => "a list".to_owned(),
        Value::Dict(..) | Value::Empty(..) => "a table".to_owned(),
    };
    SettingsError::Form { key, found, expected: expected.to_owned(), origin }
}
