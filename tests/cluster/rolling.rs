//! Two versions in one cluster: nodes are replaced one by one while elements come in, and the matches are those of the
//! sequential program.
//!
//! `DOVETAIL_OLDER` names the folder with the programs of the older version: `.ci/upgrade` builds them and runs this.
//! Without it both versions are this one, and nodes are restarted one by one.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use dovetail::client::{Client, by_id, by_key};
use dovetail::pb::{ElementState, PoolDefinition, Submission};
use tokio::{sync::oneshot, task::JoinHandle, time::interval};

use crate::harness::{Cluster, PATIENCE, SEVEN, Which, heavy, run, until, until_in, within};
use crate::history::History;
use crate::load::{Load, Watcher, settled};
use crate::programs;
use crate::time::{EQUAL, WAIT, player, pool};

/// Between two batches of a pool.
const PACE: Duration = Duration::from_millis(40);
/// Elements in a batch.
const BATCH: u64 = 20;
/// Elements that come in while a replaced node serves, before the next is replaced.
const SERVED: u64 = 300;
/// Longest time a cluster may take to decide what came in while a node was away.
const SETTLES_IN: Duration = Duration::from_secs(120);

/// Split by key: a slice decides most of its matches alone.
const BY_KEY: &str = "by-key";
/// Split by index: every slice is asked about each element, and shards claim and grant. Elements search again, expire
/// and are withdrawn.
const BY_INDEX: &str = "by-index";

/// The programs of the older version.
fn older() -> PathBuf {
    env::var_os("DOVETAIL_OLDER").map_or_else(|| programs::folder().to_owned(), PathBuf::from)
}

/// The programs that the tests were built with.
fn newer() -> PathBuf {
    programs::folder().to_owned()
}

fn all(of: fn(u32) -> Which) -> [Which; 3] {
    [of(0), of(1), of(2)]
}

/// The skill of an element: in the pool that is split by key two in a row have the same.
fn skill(pool: &str, number: u64) -> u64 {
    if pool == BY_KEY { number / 2 * 7919 % 1000 } else { number * 7919 % 5000 }
}

fn element(pool: &str, number: u64) -> Submission {
    let key = format!("k{number}");
    let skill = i64::try_from(skill(pool, number)).unwrap();
    Submission { idempotency_key: key.clone(), payload: key.clone().into(), ..player(&key, skill) }
}

/// Elements that come into a pool, some every few milliseconds, until the task is told to stop. Of the pool that is
/// split by index one in a batch is withdrawn, unless it was matched before.
fn stream(cluster: &Cluster, pool: &'static str, mut stop: oneshot::Receiver<()>) -> JoinHandle<Load> {
    let server = cluster.server();
    tokio::spawn(async move {
        let mut load = Load::new(server.clone(), pool, Vec::new());
        let mut pace = interval(PACE);
        let mut withdrawing = None;
        while stop.try_recv().is_err() {
            pace.tick().await;
            let from = load.len() as u64;
            load.add((from..from + BATCH).map(|number| element(pool, number)));
            load.send(load.len()).await;
            if pool == BY_INDEX && withdrawing.as_ref().is_none_or(JoinHandle::is_finished) {
                withdrawing = Some(tokio::spawn(withdraw(server.clone(), format!("k{}", from + 7))));
            }
        }
        load.finish().await;
        load
    })
}

/// What becomes of the withdrawal is in the log; that it came to nothing while the balancer was away is no fault.
async fn withdraw(server: String, key: String) {
    let Ok(client) = Client::connect(server).await else { return };
    if let Err(error) = client.withdraw(by_key(BY_INDEX, key)).await {
        assert!(error.is_transient(), "{error}");
    }
}

/// A cluster that is upgraded, or goes back, while elements come in.
struct Rolling {
    cluster: Cluster,
    loads: Vec<(oneshot::Sender<()>, JoinHandle<Load>)>,
    watch: (oneshot::Sender<()>, JoinHandle<Watcher>),
    /// Nodes replaced so far.
    replaced: usize,
}

impl Rolling {
    /// Starts every node with the programs of a folder.
    async fn start(test: &str, folder: PathBuf) -> Rolling {
        let cluster = Cluster::start_from(folder, test, SEVEN).await;
        let client = cluster.client().await;
        let widening = "abs(a.skill - b.skill) <= 1 + min(a.waited, b.waited) / 50";
        let by_index = PoolDefinition { reprobe_ms: vec![50, 200], ttl_ms: 2000, ..pool(widening) };
        for (name, definition) in [(BY_KEY, pool(EQUAL)), (BY_INDEX, by_index)] {
            client.define_pool(PoolDefinition { name: name.to_owned(), ..definition }).await.unwrap();
        }
        let (stop, stopped) = oneshot::channel();
        let watch = (stop, Watcher::new(&cluster.server(), "", 0).spawn(stopped));
        let loads = [BY_KEY, BY_INDEX].map(|pool| {
            let (stop, stopped) = oneshot::channel();
            (stop, stream(&cluster, pool, stopped))
        });
        let mut rolling = Rolling { cluster, loads: loads.into(), watch, replaced: 0 };
        rolling.works().await;
        rolling
    }

    /// Replaces nodes, one after the other, by those of a folder.
    async fn replace(&mut self, folder: &Path, nodes: impl IntoIterator<Item = Which>) {
        for which in nodes {
            let status = self.cluster.stop(which).await;
            assert!(status.success(), "{which:?} that is told to stop ends with {status}");
            self.cluster.programs = folder.to_owned();
            self.cluster.spawn(which);
            self.cluster.serving(which).await;
            self.replaced += 1;
            self.works().await;
        }
    }

    /// Elements come in and are decided, by every slice and every shard; pools come and go.
    async fn works(&mut self) {
        let cluster = &self.cluster;
        let client =
            until("the balancer takes connections", async || Client::connect(cluster.server()).await.ok()).await;
        let given = until("the balancer tells its state", async || cluster.try_balancer_state().await).await;
        let served = format!("elements come in and are decided after {} nodes were replaced", self.replaced);
        let from = given.assigned;
        until_in(SETTLES_IN, &served, async || {
            let state = cluster.try_balancer_state().await?;
            (state.decided >= from + SERVED).then_some(())
        })
        .await;
        let name = format!("step-{}", self.replaced);
        client.define_pool(PoolDefinition { name: name.clone(), ..pool(EQUAL) }).await.unwrap();
        let mut ids = Vec::new();
        for (key, skill) in [("a", 1), ("b", 1), ("alone", 2)] {
            ids.push(client.submit_one(&name, player(key, skill)).await.unwrap());
        }
        let (found, _) = client.get_at(by_id(ids[0]), WAIT, ids[1]).await.unwrap();
        assert_eq!((found.state(), found.ended_at), (ElementState::Matched, ids[1]));
        let dropped = client.drop_pool(&name, None, WAIT).await.unwrap();
        assert!(dropped.dropped, "{dropped:?}");
        let alone = client.get(by_id(ids[2]), Duration::ZERO).await.unwrap();
        assert_eq!(alone.state(), ElementState::Dropped);
    }

    /// Ends the load, and compares what was matched with the sequential program's.
    async fn check(mut self) {
        let mut loads = Vec::new();
        for (stop, load) in self.loads {
            stop.send(()).unwrap();
            loads.push(within(SETTLES_IN, "the load", load).await.unwrap());
        }
        let client = self.cluster.client().await;
        // Elements search again after the last has come, and what that finds is told to those who still watch.
        until_in(SETTLES_IN, "what waits by index is matched or expires", async || {
            (client.get_pool(BY_INDEX).await.ok()?.waiting == 0).then_some(())
        })
        .await;
        let matches = settled(&client, "", 0, SETTLES_IN).await;
        self.watch.0.send(()).unwrap();
        let watched = within(PATIENCE, "the watcher", self.watch.1).await.unwrap();
        assert!(watched.matches == matches, "what was watched all along is not what is read back");
        let history = History::of(&mut self.cluster).await;
        history.check(&matches);
        assert!(history.reprobes > 0, "elements searched again");
        let acknowledged: usize = loads.iter().map(Load::len).sum();
        let alone = 3 * (self.replaced + 1);
        assert_eq!(history.keys.len(), acknowledged + alone, "the log has what was acknowledged, each once");
        let pair = |found: &dovetail::pb::Match| [&found.a, &found.b].map(|end| end.as_ref().unwrap().key.clone());
        let by_key: Vec<_> = matches.iter().filter(|found| found.pool == BY_KEY).map(pair).collect();
        assert!(by_key == oracle(&self.cluster, loads[0].len() as u64).await, "the command `oracle` has other matches");
    }
}

/// The keys that `dovetail oracle` matches of the first elements of the pool that is split by key.
async fn oracle(cluster: &Cluster, elements: u64) -> Vec<[String; 2]> {
    let definition = format!("name = {BY_KEY:?}\nrule = {EQUAL:?}\n[attributes]\nskill = \"int\"\n");
    let line = |number| format!("{{\"key\":\"k{number}\",\"attributes\":{{\"skill\":{}}}}}\n", skill(BY_KEY, number));
    let definition = cluster.place.file("by-key.toml", &definition);
    let lines = cluster.place.file("by-key.ndjson", &(0..elements).map(line).collect::<String>());
    let mut command = crate::harness::program(programs::DOVETAIL);
    command.arg("oracle").args([definition, lines]);
    let (code, stdout, stderr) = run(command).await;
    assert_eq!(code, Some(0), "{stderr}");
    let key = |line: &serde_json::Value, end: &str| line[end]["key"].as_str().unwrap().to_owned();
    let line = |line: &str| {
        let line = serde_json::from_str(line).unwrap();
        [key(&line, "a"), key(&line, "b")]
    };
    stdout.lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_upgraded_node_by_node_while_elements_come_in() {
    let _heavy = heavy().await;
    let mut rolling = Rolling::start("upgrade", older()).await;
    rolling.replace(&newer(), all(Which::Gatherer)).await;
    rolling.replace(&newer(), all(Which::Matcher)).await;
    rolling.replace(&newer(), [Which::Balancer]).await;
    rolling.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_back_to_the_older_version_node_by_node_while_elements_come_in() {
    let _heavy = heavy().await;
    let mut rolling = Rolling::start("back", newer()).await;
    rolling.replace(&older(), [Which::Balancer]).await;
    rolling.replace(&older(), all(Which::Matcher)).await;
    rolling.replace(&older(), all(Which::Gatherer)).await;
    rolling.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_of_the_older_version_works_among_newer_ones() {
    let _heavy = heavy().await;
    let mut rolling = Rolling::start("one", newer()).await;
    for which in [Which::Gatherer(1), Which::Matcher(1), Which::Balancer] {
        rolling.replace(&older(), [which]).await;
        rolling.replace(&newer(), [which]).await;
    }
    rolling.check().await;
}
