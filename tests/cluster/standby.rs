//! Three balancers, whose log three NATS servers keep: one writes, the others stand by. Balancers are killed, told to
//! stop and stopped in their tracks, and so are the servers; what was acknowledged is matched once, on every balancer
//! alike.
//!
//! `DOVETAIL_KILLS=100 cargo test --release -p dovetail-cli --test cluster standby -- --nocapture` kills more often than
//! the tests do otherwise, and tells how long it took from each kill to the next match.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use dovetail::{
    client::{Client, ConnectOptions, by_id},
    pb::{self, inspect_response::State},
    reason::Reason,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    harness::{PATIENCE, Place, Process, heavy, inspect, program, until, within},
    pairs::{Acknowledged, check, element, pool, submit},
    programs,
};

const BALANCERS: usize = 3;

/// Where `tests/foreign/install.sh` puts the program. None, after a message, when it is not there; not in CI.
fn nats_server() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools/bin/nats-server");
    let found = installed.is_file().then_some(installed);
    if found.is_none() {
        let told = "there is no nats-server: run `bash tests/foreign/install.sh` once";
        assert!(std::env::var_os("CI").is_none(), "{told}");
        eprintln!("skipped: {told}");
    }
    found
}

/// Three NATS servers, three balancers, two matchers, two gatherers.
struct Standbys {
    nats: Vec<Option<Process>>,
    balancers: Vec<Option<Process>>,
    _others: Vec<Process>,
    place: Place,
    nats_server: PathBuf,
}

impl Standbys {
    async fn start(test: &str) -> Option<Standbys> {
        let nats_server = nats_server()?;
        let none = || (0..BALANCERS).map(|_| None).collect();
        let (nats, balancers) = (none(), none());
        let mut cluster = Standbys { nats, balancers, _others: Vec::new(), place: Place::new(test), nats_server };
        (0..3).for_each(|server| cluster.start_nats(server));
        for index in 0..2 {
            for (role, port) in [("matcher", 7500), ("gatherer", 7600)] {
                let command = cluster.command(role, index, port + index);
                cluster._others.push(Process::start(command, cluster.log(role, index)));
            }
        }
        (0..BALANCERS).for_each(|index| cluster.start_balancer(index));
        Some(cluster)
    }

    fn log(&self, role: &str, index: usize) -> PathBuf {
        self.place.folder.join(format!("{role}-{index}.log"))
    }

    fn urls(&self, port: usize, count: usize) -> Vec<String> {
        (0..count).map(|index| format!("http://{}:{}", self.place.ip, port + index)).collect()
    }

    fn balancer_urls(&self) -> Vec<String> {
        self.urls(7400, BALANCERS)
    }

    fn start_nats(&mut self, server: usize) {
        let (ip, folder) = (self.place.ip, self.place.folder.join(format!("nats-{server}")));
        let routes: Vec<String> = (0..3).map(|other| format!("\"nats-route://{ip}:{}\"", 6222 + other)).collect();
        let text = format!(
            "server_name: n{server}\nlisten: \"{ip}:{}\"\nmax_payload: 8MB\n\
             jetstream {{ store_dir: {folder:?}, max_file: 4GB, max_mem: 64MB, sync_interval: always }}\n\
             cluster {{ name: tested, listen: \"{ip}:{}\", routes: [{}] }}\n",
            4222 + server,
            6222 + server,
            routes.join(", ")
        );
        let mut command = Command::new(&self.nats_server);
        command.arg("-c").arg(self.place.file(&format!("nats-{server}.conf"), &text)).env("GOMAXPROCS", "2");
        self.nats[server] = Some(Process::start(command, self.log("nats", server)));
    }

    fn command(&self, role: &str, index: usize, port: usize) -> Command {
        let nats: Vec<String> = (0..3).map(|server| format!("nats://{}:{}", self.place.ip, 4222 + server)).collect();
        let mut command = program(programs::folder().join(format!("dovetail-{role}")));
        for (flag, value) in [
            ("cluster-name", "tested".to_owned()),
            ("slices", "4".to_owned()),
            ("balancers", self.balancer_urls().join(",")),
            ("matchers", self.urls(7500, 2).join(",")),
            ("gatherers", self.urls(7600, 2).join(",")),
            ("index", index.to_string()),
            ("listen", format!("{}:{port}", self.place.ip)),
            ("data", self.place.folder.join(format!("data-{index}")).display().to_string()),
            ("log-engine", "jetstream".to_owned()),
            ("log-urls", nats.join(",")),
            ("log-max-bytes", (1_u64 << 30).to_string()),
            ("checkpoint-bytes", (1_u64 << 20).to_string()),
        ] {
            command.arg(format!("--{flag}={value}"));
        }
        command
    }

    fn start_balancer(&mut self, index: usize) {
        let process = Process::start(self.command("balancer", index, 7400 + index), self.log("balancer", index));
        assert!(self.balancers[index].replace(process).is_none());
    }

    fn balancer(&mut self, index: usize) -> &mut Process {
        self.balancers[index].as_mut().unwrap()
    }

    /// kill -9.
    fn kill(&mut self, index: usize) {
        drop(self.balancers[index].take().unwrap());
    }

    async fn state(&self, index: usize) -> Option<pb::BalancerState> {
        match inspect(&self.balancer_urls()[index]).await?.state? {
            State::Balancer(state) => Some(state),
            _ => None,
        }
    }

    /// The one that writes.
    async fn active(&self) -> Option<usize> {
        for index in (0..BALANCERS).filter(|&index| self.balancers[index].is_some()) {
            let asked = tokio::time::timeout(Duration::from_secs(1), self.state(index)).await;
            if asked.ok().flatten().and_then(|state| state.shared).is_some_and(|shared| shared.active) {
                return Some(index);
            }
        }
        None
    }

    async fn until_active(&self) -> usize {
        until("a balancer writes", async || self.active().await).await
    }

    /// Waits until a balancer that stands by has all that the log had.
    async fn until_follows(&self, index: usize, through: u64) {
        until("it has followed", async || self.state(index).await.filter(|state| state.decided >= through).map(drop))
            .await;
    }

    async fn client(&self) -> Client {
        until("a balancer answers", async || {
            Client::connect_any(self.balancer_urls(), &ConnectOptions::default()).await.ok()
        })
        .await
    }
}

async fn define(client: &Client) {
    until("the pool is defined", async || client.define_pool(pool()).await.ok()).await;
}

/// Submits pairs, from a number on, until it is told to stop.
struct Load {
    stop: watch::Sender<bool>,
    task: JoinHandle<Acknowledged>,
}

impl Load {
    fn start(client: Client, first: u64) -> Load {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut acknowledged = Acknowledged::new();
            for number in first.. {
                if *stopped.borrow() {
                    break;
                }
                acknowledged.insert(number, submit(&client, number).await.0);
            }
            acknowledged
        });
        Load { stop, task }
    }

    async fn end(self) -> Acknowledged {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

fn kills() -> u64 {
    std::env::var("DOVETAIL_KILLS").ok().map_or(3, |kills| kills.parse().expect("DOVETAIL_KILLS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_the_balancer_that_writes_costs_time_and_nothing_else() {
    let _heavy = heavy().await;
    let Some(mut cluster) = Standbys::start("kill-9").await else { return };
    let client = cluster.client().await;
    define(&client).await;
    let load = Load::start(client.clone(), 1_000_000);
    let (mut acknowledged, mut gaps) = (Acknowledged::new(), Vec::new());
    for number in 0..kills() {
        let active = cluster.until_active().await;
        cluster.kill(active);
        let killed = Instant::now();
        let (ids, _) = submit(&client, number).await;
        let ended = within(PATIENCE, "a match after a kill", async {
            loop {
                match client.get_at(by_id(ids[0]), Duration::from_secs(10), ids[1]).await {
                    Ok((element, _)) if element.ended_at > 0 => return element,
                    Ok(_) => {}
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
        });
        assert_eq!(ended.await.id, ids[0]);
        gaps.push(killed.elapsed());
        acknowledged.insert(number, ids);
        cluster.start_balancer(active);
        cluster.until_follows(active, ids[1]).await;
    }
    acknowledged.extend(load.end().await);
    check(&cluster.balancer_urls(), &acknowledged).await;
    gaps.sort_unstable();
    let at = |percent: usize| gaps[(gaps.len() - 1) * percent / 100];
    eprintln!(
        "{} kills, {} pairs; from kill to match p50 {:?}, p99 {:?}, most {:?}",
        gaps.len(),
        acknowledged.len(),
        at(50),
        at(99),
        at(100)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancers_that_are_told_to_stop_hand_over_and_no_client_is_refused() {
    let _heavy = heavy().await;
    let Some(mut cluster) = Standbys::start("hand-over").await else { return };
    let client = cluster.client().await;
    define(&client).await;
    let mut acknowledged = Acknowledged::new();
    for round in 0..3_u64 {
        let active = cluster.until_active().await;
        let standby = (active + 1) % BALANCERS;
        let alone = Client::connect(cluster.balancer_urls()[standby].as_str()).await.unwrap();
        let refused = alone.submit_one("pairs", element(99, 'a')).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::StandsBy), "{refused}");
        assert_eq!(refused.value("active"), Some(cluster.balancer_urls()[active].clone()));
        cluster.balancer(active).signal("TERM");
        for number in round * 1_000..round * 1_000 + 200 {
            let (ids, refused) = submit(&client, number).await;
            assert_eq!(refused, 0, "pair {number} was refused");
            acknowledged.insert(number, ids);
        }
        assert_eq!(cluster.balancer(active).ended().await.code(), Some(0));
        assert_ne!(cluster.until_active().await, active);
        cluster.kill(active);
        cluster.start_balancer(active);
        cluster.until_follows(active, acknowledged[&(round * 1_000)][1]).await;
    }
    check(&cluster.balancer_urls(), &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_that_stands_still_is_over_and_servers_that_are_killed_lose_nothing() {
    let _heavy = heavy().await;
    let Some(mut cluster) = Standbys::start("stand-still").await else { return };
    let client = cluster.client().await;
    define(&client).await;
    let load = Load::start(client.clone(), 0);
    let active = cluster.until_active().await;
    cluster.balancer(active).signal("STOP");
    until("another writes", async || cluster.active().await.filter(|other| *other != active)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.balancer(active).signal("CONT");
    until("it stands by", async || {
        let shared = cluster.state(active).await?.shared?;
        (!shared.active && shared.active_address != cluster.balancer_urls()[active]).then_some(())
    })
    .await;
    // All servers at once: what was acknowledged is on their disks.
    let before = client.submit_one("pairs", element(1 << 40, 'a')).await.unwrap();
    (0..3).for_each(|server| cluster.nats[server] = None);
    let alone = Client::connect(cluster.balancer_urls()[cluster.until_active().await].as_str()).await.unwrap();
    until("clients are told that the log is silent", async || {
        let refused = alone.submit_one("pairs", element(1 << 41, 'a')).await.err()?;
        (refused.reason() == Some(Reason::LogSilent)).then_some(())
    })
    .await;
    (0..3).for_each(|server| cluster.start_nats(server));
    let mut acknowledged = Acknowledged::new();
    for number in [1 << 40, 1 << 41] {
        acknowledged.insert(number, submit(&client, number).await.0);
    }
    assert_eq!(acknowledged[&(1 << 40)][0], before);
    acknowledged.extend(load.end().await);
    check(&cluster.balancer_urls(), &acknowledged).await;
}
