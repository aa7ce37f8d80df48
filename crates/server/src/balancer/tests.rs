//! Three balancers on a log that an engine in memory keeps, with real matchers and gatherers, over sockets.

#[path = "../../../../tests/pairs.rs"]
mod pairs;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use dovetail_log::shared::{Engine, LogIdentity, LostPut, MemoryEngine, WriterId, take_over};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Opened, engines::Engines, failure::BalancerError, open_with, shared_log::Pace};
use crate::{
    gatherer, matcher,
    rpc::{Listener, LocalNodes},
    settings::{Settings, Sources},
    shutdown::Shutdown,
};
use dovetail::{
    Role,
    client::{Client, ConnectOptions, by_id, by_key},
    pb,
    reason::Reason,
};
use pairs::{Acknowledged, check, element, pool, submit};

const PACE: Pace =
    Pace { beat: Duration::from_millis(40), takeover_after: Duration::from_millis(300), grace: Duration::from_secs(2) };

/// A balancer that runs.
struct Process {
    stop: Shutdown,
    ended: JoinHandle<Result<(), BalancerError>>,
}

/// Three balancers, two matchers and two gatherers.
struct Cluster {
    engine: MemoryEngine,
    urls: Vec<String>,
    settings: Vec<Settings>,
    running: Vec<Option<Process>>,
    folder: PathBuf,
    stop: Shutdown,
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Cluster {
    /// The nodes but the balancers run.
    async fn new(name: &str) -> Cluster {
        let folder = std::env::temp_dir().join(format!("dovetail-balancers-{}-{name}", std::process::id()));
        _ = std::fs::remove_dir_all(&folder);
        let identity = LogIdentity { cluster: "dovetail".to_owned(), log_id: 0xD0, begins_after: 0 };
        let engine = MemoryEngine::new(identity, usize::MAX, 8 << 20);
        let listen = || async { Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap() };
        let nodes = [listen().await, listen().await, listen().await, listen().await];
        let mut urls = Vec::new();
        for _ in 0..3 {
            // The port is free again once it is known.
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("http://{}", socket.local_addr().unwrap()));
        }
        let at = |nodes: &[Listener]| {
            nodes.iter().map(|node| format!("http://{}", node.address())).collect::<Vec<_>>().join(",")
        };
        let (matchers, gatherers) = (at(&nodes[..2]), at(&nodes[2..]));
        let settings = |role, index: usize| {
            let mut flags = vec![
                ("cluster.slices", "3".to_owned()),
                ("cluster.balancers", urls.join(",")),
                ("cluster.matchers", matchers.clone()),
                ("cluster.gatherers", gatherers.clone()),
                ("node.index", index.to_string()),
            ];
            if role == Role::Balancer {
                flags.push(("node.listen", urls[index].trim_start_matches("http://").to_owned()));
                flags.push(("node.data", folder.join(index.to_string()).display().to_string()));
                // The one in memory is given in its place.
                flags.extend([("log.engine", "jetstream".to_owned()), ("log.urls", "nats://nowhere:1".to_owned())]);
            }
            let mut settings: Settings =
                Sources { flags: flags.into_iter().collect(), ..Sources::default() }.load(role).unwrap();
            // So that some are made.
            settings.node.limits.checkpoint_bytes = 10_000;
            settings
        };
        let stop = Shutdown::new();
        for (number, listener) in nodes.into_iter().enumerate() {
            let of_process = LocalNodes::default();
            if number < 2 {
                let settings = settings(Role::Matcher, number);
                tokio::spawn(matcher::run(settings, listener, of_process, stop.clone()));
            } else {
                let settings = settings(Role::Gatherer, number - 2);
                tokio::spawn(gatherer::run(settings, listener, of_process, stop.clone()));
            }
        }
        let settings = (0..3).map(|index| settings(Role::Balancer, index)).collect();
        Cluster { engine, urls, settings, running: (0..3).map(|_| None).collect(), folder, stop }
    }

    fn engines(&self) -> Engines {
        let engine = self.engine.clone();
        let open = Arc::new(move |copy_of: Option<u128>| {
            assert!(copy_of.is_none_or(|copy_of| copy_of == 0xD0));
            Ok(engine.another())
        });
        Engines { open, patience: Duration::from_millis(500), pace: PACE }
    }

    async fn start(&mut self, index: usize) {
        let settings = self.settings[index].clone();
        let listener = Listener::of(&settings.cluster.name, &settings.node).await.unwrap();
        let opened: Opened = open_with(&settings, Some(self.engines())).await.unwrap();
        let stop = Shutdown::new();
        let ended = tokio::spawn(super::run(opened, settings, listener, LocalNodes::default(), stop.clone()));
        self.running[index] = Some(Process { stop, ended });
    }

    /// Stops one as SIGTERM does.
    async fn end(&mut self, index: usize) {
        let process = self.running[index].take().unwrap();
        process.stop.give();
        process.ended.await.unwrap().unwrap();
    }

    /// The state of one, if it answers.
    async fn state(&self, index: usize) -> Option<pb::BalancerState> {
        let client = Client::connect(self.urls[index].as_str()).await.ok()?;
        match client.inspect().await.ok()?.state? {
            pb::inspect_response::State::Balancer(state) => Some(state),
            _ => None,
        }
    }

    /// The one that writes.
    async fn active(&self) -> Option<usize> {
        for index in (0..3).filter(|&index| self.running[index].is_some()) {
            let shared = self.state(index).await.and_then(|state| state.shared);
            if shared.is_some_and(|shared| shared.active) {
                return Some(index);
            }
        }
        None
    }

    async fn until_active(&self) -> usize {
        let mut active = None;
        until("one writes", async || {
            active = self.active().await;
            active.is_some()
        })
        .await;
        active.unwrap()
    }

    /// Where those are that run.
    fn urls_running(&self) -> impl Iterator<Item = &String> {
        self.urls.iter().zip(&self.running).filter_map(|(url, running)| running.as_ref().map(|_| url))
    }

    async fn client(&self) -> Client {
        let urls = self.urls.iter().map(String::as_str);
        Client::connect_any(urls, &ConnectOptions::default()).await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.give();
        self.running.iter().flatten().for_each(|process| process.stop.give());
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_writes_and_the_others_stand_by_and_say_so() {
    let mut cluster = Cluster::new("stand-by").await;
    for index in 0..3 {
        cluster.start(index).await;
    }
    let active = cluster.until_active().await;
    let client = cluster.client().await;
    client.define_pool(pool()).await.unwrap();
    let mut acknowledged = Acknowledged::new();
    for number in 0..50 {
        acknowledged.insert(number, submit(&client, number).await.0);
    }
    check(cluster.urls_running(), &acknowledged).await;
    let [first, second] = acknowledged[&7];
    for standby in (0..3).filter(|&index| index != active) {
        let alone = Client::connect(cluster.urls[standby].as_str()).await.unwrap();
        let refused = alone.submit_one("pairs", element(99, 'a')).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::StandsBy), "{refused}");
        assert_eq!(refused.value("active"), Some(cluster.urls[active].clone()));
        assert_eq!(alone.get(by_id(first), Duration::ZERO).await.unwrap_err().reason(), Some(Reason::StandsBy));
        // As of a position it is the same everywhere.
        let (element, position) = alone.get_at(by_key("pairs", "7b"), Duration::ZERO, second).await.unwrap();
        assert_eq!((element.id, position >= second), (second, true));
        let shared = cluster.state(standby).await.unwrap().shared.unwrap();
        assert_eq!((shared.active, shared.active_address), (false, cluster.urls[active].clone()));
    }
    let mut stable = 0;
    until("the stable cut goes on", async || {
        acknowledged.insert(1_000 + stable, submit(&client, 1_000 + stable).await.0);
        stable += 1;
        cluster.state(active).await.unwrap().stable > acknowledged[&49][1]
    })
    .await;
    check(cluster.urls_running(), &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_while_balancers_stop_start_and_are_fenced_every_acknowledged_element_is_there_once() {
    let mut cluster = Cluster::new("rolls").await;
    for index in 0..3 {
        cluster.start(index).await;
    }
    cluster.until_active().await;
    let client = cluster.client().await;
    client.define_pool(pool()).await.unwrap();
    let writes = {
        let client = client.clone();
        let stop = cluster.stop.child();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut acknowledged = Acknowledged::new();
            for number in 0.. {
                acknowledged.insert(number, submit(&client, number).await.0);
                if stopped.is_given() {
                    break;
                }
            }
            acknowledged
        });
        (stop, task)
    };
    for round in 0..12_u64 {
        let active = cluster.until_active().await;
        match round % 4 {
            0 => {
                cluster.end(active).await;
                let next = cluster.until_active().await;
                assert_ne!(next, active);
                cluster.start(active).await;
            }
            // Somebody takes over who never writes.
            1 => {
                let mut engine = cluster.engine.another();
                let before = engine.newest_term().unwrap().map(|term| term.at);
                let stranger = WriterId(u128::from(round));
                drop(take_over(engine, before, stranger, "http://elsewhere", Duration::from_secs(1)).unwrap());
                until("another writes again", async || {
                    let term = cluster.engine.clone().newest_term().unwrap().map(|term| term.at);
                    term > before && cluster.active().await.is_some()
                })
                .await;
            }
            2 => {
                [LostPut::Request, LostPut::Answer, LostPut::Late]
                    .into_iter()
                    .for_each(|lost| cluster.engine.lose(lost));
                tokio::time::sleep(Duration::from_millis(100)).await;
                cluster.engine.arrive();
            }
            // One that stands by comes back to what others wrote meanwhile.
            _ => {
                let standby = (active + 1) % 3;
                cluster.end(standby).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                cluster.start(standby).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cluster.until_active().await;
    writes.0.give();
    let acknowledged = writes.1.await.unwrap();
    assert!(acknowledged.len() > 50, "{}", acknowledged.len());
    check(cluster.urls_running(), &acknowledged).await;
}
