//! Checkpoints and what is removed behind them, on a real disk, through real restarts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dovetail::client::{Client, ClientError, SubmitOptions, by_id, by_key, value};
use dovetail::pb::{self, Attribute, AttributeType, ElementState, Match, PoolDefinition, Submission};
use tonic::Code;

use crate::harness::{Cluster, SEVEN, SMALL, Which, dovetail, heavy, until, until_in, within};
use crate::load::{Load, Watcher, submit};
use crate::workload::{KnownAnswer, Workload, position, submissions};

const SETTLES_IN: Duration = Duration::from_secs(240);

/// As small as the settings allow, so that there are many.
const OFTEN: [(&str, &str); 2] = [("checkpoint-bytes", "1048576"), ("results-bytes-max", "1048576")];

async fn stored(cluster: &Cluster) -> pb::StoredState {
    cluster.balancer_state().await.stored.unwrap()
}

/// The floor of what is kept, and all matches after a cursor that is chosen by it. A checkpoint that is done meanwhile
/// moves the floor, and then both are asked for again.
async fn what_is_kept(cluster: &Cluster, pool: &str, cursor: impl Fn(u64) -> u64) -> (u64, Vec<Match>) {
    until_in(SETTLES_IN, "a floor and what is kept above it agree", async || {
        let floor = stored(cluster).await.results_floor;
        let mut watcher = Watcher::new(&cluster.server(), pool, cursor(floor));
        let read = watcher.read(true).await;
        if stored(cluster).await.results_floor != floor {
            return None;
        }
        read.unwrap();
        Some((floor, watcher.matches))
    })
    .await
}

async fn bounce_balancer(cluster: &mut Cluster) {
    cluster.kill(Which::Balancer);
    cluster.spawn(Which::Balancer);
    cluster.serving(Which::Balancer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_goes_on_from_checkpoints_and_its_disk_does_not_grow_with_history() {
    let _heavy = heavy().await;
    let n = 100_000;
    let mut cluster = Cluster::start_with("checkpoints", SEVEN, &OFTEN).await;
    let client = cluster.client().await;
    client.define_pool(Workload::W1.pool("w1", n)).await.unwrap();
    // With payloads, so that there are several checkpoints, and segments of results below the older of the last two.
    let mut load = Load::new(cluster.server(), "w1", carrying(Workload::W1, n));
    let mut watcher = Watcher::new(&cluster.server(), "w1", 0);
    for part in 1..=10 {
        load.send(n * part / 10).await;
        watcher.read(true).await.unwrap();
        if part % 3 == 0 {
            bounce_balancer(&mut cluster).await;
        }
    }
    load.finish().await;
    watcher.read(true).await.unwrap();
    let ends = watcher.matches.iter().map(|found| {
        let [a, b] = [&found.a, &found.b].map(|end| position(&end.as_ref().unwrap().key));
        (a, b)
    });
    assert_eq!(KnownAnswer::of(n, ends).unwrap(), Workload::W1.answer(n).unwrap());
    // How far the last two checkpoints are apart depends on how fast the disk is: until there is one behind which the
    // log can be trimmed, elements of another pool let it grow.
    client.define_pool(pool()).await.unwrap();
    let mut more = 0..;
    let stored = until("the log is trimmed", async || {
        let stored = stored(&cluster).await;
        if stored.log_floor > n as u64 / 5 && stored.results_floor > 0 {
            return Some(stored);
        }
        submit(&client, "slow", more.by_ref().take(100).map(element).collect()).await;
        None
    })
    .await;
    assert!(stored.checkpoint > stored.log_floor && stored.checkpoint_error.is_empty(), "{stored:?}");
    // A segment that the older of the last two checkpoints needs, the one that is written, and the next, made ready.
    assert!(stored.log_bytes.max(stored.results_bytes) <= 3 * (8 << 20), "{stored:?}");

    // From a cursor that is gone there is no answer with a gap in it.
    let mut old = client.watch(dovetail::client::WatchOptions { after: 1, ..Default::default() });
    let refused = old.next().await.unwrap_err().to_string();
    assert!(refused.contains("cursor 1 is older than what is kept; the oldest that works is"), "{refused}");
    let (_, kept) = what_is_kept(&cluster, "w1", |floor| floor).await;
    assert!(kept == watcher.matches[watcher.matches.len() - kept.len()..] && !kept.is_empty());
    // What became of an element whose outcome is gone is not known any more; an element that waits is.
    let first = watcher.matches[0].a.as_ref().unwrap().id;
    let refused = client.get(by_id(first), Duration::ZERO).await.unwrap_err().to_string();
    assert!(refused.contains("NOT_FOUND"), "{refused}");
}

fn pool() -> PoolDefinition {
    PoolDefinition {
        name: "slow".to_owned(),
        attributes: vec![Attribute { name: "n".to_owned(), r#type: AttributeType::Int.into() }],
        rule: "abs(a.n - b.n) <= a.waited / 10000".to_owned(),
        ttl_ms: 3_600_000,
        reprobe_ms: vec![1_800_000],
        ..PoolDefinition::default()
    }
}

fn element(number: i64) -> Submission {
    Submission {
        key: format!("e{number}"),
        attributes: [("n".to_owned(), value::int(number * 1_000_000))].into(),
        payload: vec![7; 1_000].into(),
        idempotency_key: format!("i{number}"),
        ..Submission::default()
    }
}

async fn check_waiting(client: &Client, ids: &[u64]) {
    for number in [1, 700, 2_999] {
        let found = client.get(by_key("slow", format!("e{number}")), Duration::ZERO).await.unwrap();
        assert_eq!((found.id, found.state()), (ids[number], ElementState::Waiting));
        assert_eq!(found.payload.len(), 1_000);
        // A retry of what was submitted long ago is still the first element.
        assert_eq!(client.submit_one("slow", element(number as i64)).await.unwrap(), ids[number]);
        let other = Submission { payload: vec![8].into(), ..element(number as i64) };
        let refused = client.submit_one("slow", other).await.unwrap_err().to_string();
        assert!(refused.contains("from another body"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_survives_in_a_checkpoint_with_all_that_belongs_to_it() {
    let mut cluster = Cluster::start_with("kept", SMALL, &OFTEN).await;
    let client = cluster.client().await;
    client.define_pool(pool()).await.unwrap();
    // 3 MB of log: at least one checkpoint.
    let ids = submit(&client, "slow", (0..3_000).map(element).collect()).await;
    until("a checkpoint is made", async || (stored(&cluster).await.checkpoint > 700).then_some(())).await;
    check_waiting(&client, &ids).await;
    bounce_balancer(&mut cluster).await;
    let client = cluster.client().await;
    check_waiting(&client, &ids).await;
    let pools = client.list_pools().await.unwrap();
    assert_eq!((pools[0].waiting, pools[0].matches), (3_000, 0));
    // A matcher that comes anew gets them with the cut, and finds them.
    cluster.kill(Which::Matcher(0));
    cluster.spawn(Which::Matcher(0));
    let twin = Submission { key: "twin".to_owned(), idempotency_key: String::new(), ..element(700) };
    let twin = client.submit_one("slow", twin).await.unwrap();
    let found = client.get(by_id(twin), Duration::from_secs(60)).await.unwrap();
    assert_eq!(found.state(), ElementState::Matched);
    assert_eq!(found.r#match.unwrap().a.unwrap().id, ids[700]);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_may_be_lost_below_a_checkpoint() {
    let mut cluster = Cluster::start_with("results-lost", SMALL, &OFTEN).await;
    let client = cluster.client().await;
    client.define_pool(Workload::W2.pool("w2", 50_000)).await.unwrap();
    submit(&client, "w2", submissions(Workload::W2, 50_000)).await;
    // A checkpoint that is made meanwhile may have dropped the first.
    let (_, matches) = what_is_kept(&cluster, "w2", |floor| floor).await;
    let checkpoint = until("a checkpoint is made", async || {
        let stored = stored(&cluster).await;
        (stored.checkpoint > 0).then_some(stored.checkpoint)
    })
    .await;
    // The last frame tells that what is above the checkpoint is stable.
    client.define_pool(pool()).await.unwrap();
    let first = client.submit_one("slow", element(0)).await.unwrap();
    until("it is stable", async || (cluster.balancer_state().await.stable >= first).then_some(())).await;
    client.submit_one("slow", element(1)).await.unwrap();
    stop_all(&mut cluster).await;
    std::fs::remove_dir_all(cluster.data().join("results")).unwrap();
    for which in [Which::Balancer, Which::Matcher(0)] {
        cluster.spawn(which);
        cluster.serving(which).await;
    }
    // Nothing is written before that is decided again: matchers may have forgotten what it is about.
    let client = cluster.client().await;
    let submitting = tokio::spawn(async move { client.submit_one("slow", element(2)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!submitting.is_finished(), "{:?}", submitting.await);
    cluster.spawn(Which::Gatherer(0));
    let third = within(SETTLES_IN, "a submission", submitting).await.unwrap().unwrap();
    assert!(third > first + 1);
    for which in cluster.all() {
        cluster.serving(which).await;
    }
    // What is above the checkpoint is decided again, identically; what is below is gone, and said to be.
    let client = cluster.client().await;
    let (floor, again) = what_is_kept(&cluster, "w2", |_| 0).await;
    assert!(floor >= checkpoint, "{floor} {checkpoint}");
    let above: Vec<_> = matches.into_iter().filter(|found| found.cursor > floor).collect();
    assert!(again == above, "{} matches above {floor}, {} came again", above.len(), again.len());
    let mut old = client.watch(dovetail::client::WatchOptions { after: 1, ..Default::default() });
    assert!(old.next().await.unwrap_err().to_string().contains("older than what is kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_with_a_gap_behind_a_damaged_checkpoint_are_refused_and_decided_again_without() {
    let _heavy = heavy().await;
    let mut cluster = Cluster::start_with("results-gap", SMALL, &OFTEN).await;
    let client = cluster.client().await;
    client.define_pool(Workload::W2.pool("w2", 50_000)).await.unwrap();
    let mut load = Load::new(cluster.server(), "w2", carrying(Workload::W2, 50_000));
    for part in 1..=10 {
        load.send(5_000 * part).await;
        // All of it is stable: there may be a checkpoint of it.
        what_is_kept(&cluster, "w2", |floor| floor).await;
    }
    load.finish().await;
    let (_, matches) = what_is_kept(&cluster, "w2", |floor| floor).await;
    until("there are two checkpoints", async || (checkpoints(&cluster).len() == 2).then_some(())).await;
    // The results begin at the newer one.
    stop_all(&mut cluster).await;
    std::fs::remove_dir_all(cluster.data().join("results")).unwrap();
    start_all(&mut cluster).await;
    let (floor, _) = what_is_kept(&cluster, "w2", |floor| floor).await;
    stop_all(&mut cluster).await;
    let [older, newer] = &checkpoints(&cluster)[..] else { panic!("there are two") };
    assert_eq!(cut(newer), floor);
    let mut bytes = std::fs::read(newer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(newer, bytes).unwrap();
    cluster.spawn(Which::Balancer);
    assert_eq!(cluster.ended(Which::Balancer).await.code(), Some(1));
    let log = cluster.log_text(Which::Balancer);
    let at = cut(older);
    let told =
        format!("the results begin after x{floor}, and the newest checkpoint that can be read is at x{at}; without");
    assert!(log.contains(&told) && log.contains("a checkpoint is damaged; an older one is used"), "{log}");
    // Without them everything after the older one is decided again, identically.
    std::fs::remove_dir_all(cluster.data().join("results")).unwrap();
    start_all(&mut cluster).await;
    let (floor, again) = what_is_kept(&cluster, "w2", |floor| floor).await;
    assert!(floor >= at);
    let above: Vec<_> = matches.into_iter().filter(|found| found.cursor > floor).collect();
    assert!(again == above, "{} matches above {floor}, {} came again", above.len(), again.len());
}

/// The elements of a workload, with payloads.
fn carrying(workload: Workload, n: usize) -> Vec<Submission> {
    let carrying = |element| Submission { payload: vec![b'.'; 64].into(), ..element };
    submissions(workload, n).into_iter().map(carrying).collect()
}

/// The checkpoints of a cluster, the older first.
fn checkpoints(cluster: &Cluster) -> Vec<PathBuf> {
    let files = std::fs::read_dir(cluster.data().join("checkpoints")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "ckpt")).collect();
    files.sort();
    files
}

/// The event up to which a checkpoint is, from its name.
fn cut(checkpoint: &Path) -> u64 {
    checkpoint.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

async fn start_all(cluster: &mut Cluster) {
    for which in cluster.all() {
        cluster.spawn(which);
    }
    for which in cluster.all() {
        cluster.serving(which).await;
    }
}

async fn stop_all(cluster: &mut Cluster) {
    for which in cluster.all() {
        cluster.stop(which).await;
    }
}

/// Submits until the server refuses. Returns the ids of what was acknowledged, in order, and the refusal.
async fn fill(client: &Client, from: usize) -> (Vec<u64>, ClientError) {
    let mut stream = client.submit("slow", SubmitOptions { in_flight: 4 }).await.unwrap();
    let mut ids = Vec::new();
    for batch in from.. {
        let rows = (0..16)
            .map(|row| element((16 * batch + row) as i64))
            .map(|row| Submission { payload: vec![7; 4_000].into(), ..row });
        match stream.send(rows.collect()).await {
            Ok(answer) => ids.extend(answer.into_iter().flat_map(|answer| answer.ids)),
            Err(error) => return (ids, error),
        }
    }
    unreachable!("a disk is finite")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_to_be_full_and_nothing_acknowledged_is_lost() {
    // The log's segments double: 1 + 2 + 4 + 8 MiB fit at first, one of 16 with the first room, one of 32, and a
    // checkpoint that is tried meanwhile, with the second.
    let fillers = [("filler-1", 18), ("filler-2", 80)];
    let mut cluster = Cluster::start_on("full", SMALL, 124, &fillers).await;
    let mut client = cluster.client().await;
    client.define_pool(pool()).await.unwrap();
    let mut acknowledged = Vec::new();
    for (round, (filler, _)) in (1..).zip(fillers) {
        let (ids, refused) = fill(&client, acknowledged.len() / 16).await;
        assert!(ids.len() > 2_000, "{} elements were taken", ids.len());
        acknowledged.extend(ids);
        let full = |error: &ClientError| {
            error.code() == Some(Code::ResourceExhausted) && error.to_string().contains("disk is full")
        };
        assert!(full(&refused), "{refused}");
        let other = element(-round);
        for refused in [
            client.submit_one("slow", other.clone()).await.unwrap_err(),
            client.withdraw(by_id(acknowledged[0])).await.unwrap_err(),
            client.define_pool(PoolDefinition { name: "more".to_owned(), ..pool() }).await.unwrap_err(),
        ] {
            assert!(full(&refused), "{refused}");
        }
        let (_, status, _) = dovetail(&cluster.server(), &["status"]).await;
        assert!(status.contains("the disk is full: submissions are refused until there is room"), "{status}");
        // What is there can be read.
        let last = *acknowledged.last().unwrap();
        assert_eq!(client.get(by_id(last), Duration::ZERO).await.unwrap().state(), ElementState::Waiting);
        if filler == "filler-2" {
            bounce_balancer(&mut cluster).await;
            client = cluster.client().await;
            let waiting = client.list_pools().await.unwrap()[0].waiting;
            assert!(waiting >= acknowledged.len() as u64, "{waiting} wait, {} were acknowledged", acknowledged.len());
            // It finds out when the segment that is open is full, and that may have room for a little more.
            let (ids, refused) = fill(&client, acknowledged.len() / 16).await;
            acknowledged.extend(ids);
            assert!(full(&refused), "{refused}");
        }
        cluster.disk().free(filler).await;
        until("there is room", async || (!stored(&cluster).await.full).then_some(())).await;
        // Without a restart. What was not acknowledged may have been taken meanwhile, and is the same one then.
        let id = client.submit_one("slow", other.clone()).await.unwrap();
        assert!(id > *acknowledged.last().unwrap());
        assert_eq!(client.submit_one("slow", other).await.unwrap(), id);
        client.withdraw(by_id(id)).await.unwrap();
        // All that was acknowledged, by its first id.
        let again = acknowledged.len();
        let rows = (0..again).map(|number| Submission { payload: vec![7; 4_000].into(), ..element(number as i64) });
        assert!(
            submit(&client, "slow", rows.collect()).await == acknowledged,
            "an acknowledged element is another one"
        );
    }
}
