//! Processes that end at each of the named places between disk and wire: whatever was acknowledged is there afterwards,
//! and the result is the sequential program's.
//!
//! `DOVETAIL_CRASH_ROUNDS` says how often each place is visited (1): at its first visit, its second, its third, and
//! again. Up to 10: a process has addresses for 254 clusters.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use dovetail_server::crash::{self, Point};
use tokio::sync::oneshot;

use crate::harness::{Cluster, PATIENCE, SMALL, Which, heavy, within};
use crate::load::{Load, Watcher, settled};
use crate::workload::{KnownAnswer, Workload, position, submissions};

const N: usize = 20_000;
const SETTLES_IN: Duration = Duration::from_secs(240);
const SIGABRT: i32 = 6;

/// Ends a node when it comes to a place for the nth time, in the middle of a load, and starts it again.
async fn check(which: Which, point: Point, visit: u64) {
    let mut cluster = Cluster::start_with("crash-point", SMALL, &[("checkpoint-bytes", "1048576")]).await;
    let client = cluster.client().await;
    client.define_pool(Workload::W1.pool("w1", N)).await.unwrap();
    cluster.kill(which);
    let asked = format!("{point}:{visit}");
    cluster.spawn_with(which, &[(crash::TEST_VARIABLE, "1"), (crash::VARIABLE, &asked)]);
    if which == Which::Balancer {
        // A node asks for the cut.
        cluster.kill(Which::Matcher(0));
        cluster.spawn(Which::Matcher(0));
    }
    let (stop, stopped) = oneshot::channel();
    let watching = Watcher::new(&cluster.server(), "w1", 0).spawn(stopped);
    let mut elements = submissions(Workload::W1, N);
    // Enough of a log for checkpoints.
    elements.iter_mut().for_each(|element| element.payload = vec![7; 100].into());
    let mut load = Load::new(cluster.server(), "w1", elements);
    let dies = async {
        let status = within(PATIENCE, &format!("coming to {point}:{visit}"), cluster.ended(which)).await;
        assert_eq!(status.signal(), Some(SIGABRT), "{point}:{visit} ended {which:?} with {status}");
        assert!(cluster.log_text(which).contains("a test asked this process to end"), "{point}: it did not say so");
        cluster.spawn(which);
        cluster.serving(which).await;
    };
    within(SETTLES_IN, "the load", async { tokio::join!(load.finish(), dies) }).await;
    let matches = settled(&client, "w1", 0, SETTLES_IN).await;
    stop.send(()).unwrap();
    let watched = within(PATIENCE, "the watcher", watching).await.unwrap();
    assert!(watched.matches == matches, "{point}:{visit}: what was watched is not what is read back");
    let ends = matches.iter().map(|found| {
        let [a, b] = [&found.a, &found.b].map(|end| {
            let end = end.as_ref().unwrap();
            assert_eq!(end.id, load.ids[position(&end.key) as usize - 1], "{point}:{visit}: an id was given again");
            position(&end.key)
        });
        (a, b)
    });
    assert_eq!(KnownAnswer::of(N, ends).unwrap(), Workload::W1.answer(N).unwrap(), "{point}:{visit}");
}

async fn check_all(which: Which, points: &[Point]) {
    let _heavy = heavy().await;
    let rounds = std::env::var("DOVETAIL_CRASH_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    for &point in points {
        // There is one session to begin, one cut to send, and there are few checkpoints.
        let few = point.contains("session") || point.contains("cut") || point.contains("checkpoint");
        for round in 1..=rounds {
            check(which, point, if few { 1 } else { 1 + (round - 1) % 3 }).await;
        }
        eprintln!("{point}: {rounds} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_ends_anywhere_loses_nothing() {
    check_all(Which::Balancer, crash::BALANCER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matcher_that_ends_anywhere_changes_nothing() {
    check_all(Which::Matcher(0), crash::MATCHER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gatherer_that_ends_anywhere_changes_nothing() {
    check_all(Which::Gatherer(0), crash::GATHERER).await;
}
