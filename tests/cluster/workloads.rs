//! The known answers, whatever the number of matchers and gatherers.

use std::time::{Duration, Instant};

use crate::harness::{Cluster, SEVEN, Shape, heavy};
use crate::load::{settled, submit};
use crate::workload::{KnownAnswer, Workload, position, submissions};

/// Longest time one workload may take.
const SETTLES_IN: Duration = Duration::from_secs(400);

const WORKLOADS: [(Workload, usize); 5] = [
    (Workload::W1, 100_000),
    (Workload::W2, 100_000),
    (Workload::W3, 20_000),
    (Workload::W4, 100_000),
    (Workload::W5, 20_000),
];

/// Runs the workloads one after the other in one cluster, each in a pool of its own.
async fn check(test: &str, shape: Shape) {
    let _heavy = heavy().await;
    let cluster = Cluster::start(test, shape).await;
    let client = cluster.client().await;
    for (workload, n) in WORKLOADS {
        let started = Instant::now();
        let pool = format!("{workload:?}");
        let defined = client.define_pool(workload.pool(&pool, n)).await.unwrap();
        let ids = submit(&client, &pool, submissions(workload, n)).await;
        let submitted = started.elapsed();
        let matches = settled(&client, &pool, defined.defined_at, SETTLES_IN).await;
        eprintln!("{test} {workload:?} {n}: submitted in {submitted:.1?}, settled in {:.1?}", started.elapsed());
        let ends = matches.iter().map(|found| {
            let [a, b] = [&found.a, &found.b].map(|end| end.as_ref().unwrap());
            assert_eq!((ids[position(&a.key) as usize - 1], a.id < b.id), (a.id, true), "element {}", a.key);
            (position(&a.key), position(&b.key))
        });
        assert_eq!(KnownAnswer::of(n, ends).unwrap(), workload.answer(n).unwrap(), "{workload:?} with {n} elements");
        let pools = client.list_pools().await.unwrap();
        let status =
            pools.iter().find(|status| status.definition.as_ref().is_some_and(|found| found.name == pool)).unwrap();
        let known = workload.answer(n).unwrap();
        assert_eq!((status.matches, status.waiting), (known.matches, known.waiting), "{workload:?} as listed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_processes_give_the_known_answers() {
    check("3x3", SEVEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_matcher_and_one_gatherer_give_the_known_answers() {
    check("1x1", Shape { slices: 1, matchers: 1, gatherers: 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_matchers_and_one_gatherer_give_the_known_answers() {
    check("2x1", Shape { slices: 3, matchers: 2, gatherers: 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_matcher_and_four_gatherers_give_the_known_answers() {
    check("1x4", Shape { slices: 4, matchers: 1, gatherers: 4 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_matchers_and_two_gatherers_give_the_known_answers() {
    check("5x2", Shape { slices: 8, matchers: 5, gatherers: 2 }).await;
}
