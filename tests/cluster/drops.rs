//! Pools that are dropped: who waits ends, watches end, the name is free, and a crash in between changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use dovetail::client::{Client, ClientError, WatchOptions, by_id, by_key, value};
use dovetail::pb::{self, Attribute, AttributeType, ElementState, EndReason, PoolDefinition, Submission, outcome};
use tonic::Code;

use crate::harness::{Cluster, PATIENCE, SEVEN, SMALL, Which, dovetail, heavy, until, until_in, within};
use crate::load::{Load, settled, submit};
use crate::time::{EQUAL, WAIT, player, pool, start};
use crate::workload::{KnownAnswer, Workload, position, submissions};

/// What became of a pool's elements, by id, when the watch of it has come to its end.
async fn watched(client: &Client, pool: &str, after: u64) -> (BTreeMap<u64, EndReason>, u64) {
    let mut watch = client.watch_outcomes(WatchOptions { pool: pool.to_owned(), after, ..Default::default() });
    let (mut ends, mut last) = (BTreeMap::new(), 0);
    while let Some(part) = within(10 * PATIENCE, "the end of the pool", watch.next()).await.unwrap() {
        for outcome in part.outcomes {
            assert!(outcome.cursor > last && outcome.pool == pool, "{outcome:?} after {last}");
            last = outcome.cursor;
            match outcome.kind.unwrap() {
                outcome::Kind::Match(found) => {
                    for end in [found.a, found.b] {
                        assert_eq!(ends.insert(end.unwrap().id, EndReason::Unspecified), None);
                    }
                }
                outcome::Kind::Ended(ended) => assert_eq!(ends.insert(ended.id, ended.reason()), None),
            }
        }
    }
    (ends, watch.cursor())
}

fn refused(error: &ClientError, code: Code, text: &str) {
    assert!(error.code() == Some(code) && error.to_string().contains(text), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_dropped_ends_who_waits_and_its_name_is_another_pools() {
    let (mut cluster, client) = start("drop", pool(EQUAL)).await;
    client.define_pool(PoolDefinition { name: "other".to_owned(), ..pool(EQUAL) }).await.unwrap();
    let stays = client.submit_one("other", player("stays", 1)).await.unwrap();
    let waits: Vec<u64> = submit(&client, "duel", (0..40).map(|n| player(&format!("w{n}"), n)).collect()).await;
    let partner = client.submit_one("duel", player("partner", 7)).await.unwrap();
    let watcher = tokio::spawn({
        let client = client.clone();
        async move { watched(&client, "duel", 0).await }
    });
    let defined_at = client.get_pool("duel").await.unwrap().defined_at;
    let error = client.drop_pool("duel", Some(defined_at + 1), WAIT).await.unwrap_err();
    refused(&error, Code::FailedPrecondition, &format!("was defined by event {defined_at}"));
    let dropped = client.drop_pool("duel", Some(defined_at), WAIT).await.unwrap();
    assert!(dropped.dropped && dropped.closed_at > partner && dropped.waiting >= 39, "{dropped:?}");
    let (ends, end) = within(PATIENCE, "the watch", watcher).await.unwrap();
    let expected = waits.iter().map(|&id| (id, EndReason::Dropped)).chain([(partner, EndReason::Unspecified)]);
    let mut expected: BTreeMap<u64, EndReason> = expected.collect();
    expected.insert(waits[7], EndReason::Unspecified);
    assert_eq!(ends, expected);
    assert!(end > dropped.closed_at);

    // The pool is unknown now; a watch that comes too late is told of everything all the same.
    for error in [
        client.submit_one("duel", player("late", 1)).await.unwrap_err(),
        client.drop_pool("duel", None, WAIT).await.unwrap_err(),
        client.get_pool("duel").await.unwrap_err(),
    ] {
        refused(&error, Code::NotFound, "\"duel\" is not defined");
    }
    assert_eq!(watched(&client, "duel", 0).await.0, expected);
    assert_eq!(watched(&client, "duel", end).await.0, BTreeMap::new());

    // Another pool of this name, with other attributes, has the same keys again.
    let attributes = vec![Attribute { name: "map".to_owned(), r#type: AttributeType::String.into() }];
    let rule = "a.map == b.map".to_owned();
    let again = PoolDefinition { attributes, rule, ..pool(EQUAL) };
    assert!(client.define_pool(again).await.unwrap().created);
    let element = |key: &str| Submission {
        key: key.to_owned(),
        attributes: [("map".to_owned(), value::string("dust"))].into(),
        ..Submission::default()
    };
    let one = client.submit_one("duel", element("w1")).await.unwrap();
    for round in 0..2 {
        let client = cluster.client().await;
        let old = client.get(by_id(waits[1]), Duration::ZERO).await.unwrap();
        assert_eq!((old.state(), old.pool.as_str(), old.key.as_str()), (ElementState::Dropped, "duel", "w1"));
        assert_eq!(client.get(by_key("duel", "w1"), Duration::ZERO).await.unwrap().id, one);
        assert_eq!(client.get(by_id(stays), Duration::ZERO).await.unwrap().state(), ElementState::Waiting);
        let pools = client.list_pools().await.unwrap();
        let counts = pools.iter().map(|pool| (pool.waiting, pool.matches, pool.dropping)).collect::<Vec<_>>();
        assert_eq!(counts, [(1, 0, false), (1, 0, false)], "{pools:?}");
        if round == 0 {
            cluster.kill(Which::Balancer);
            cluster.kill(Which::Matcher(0));
            cluster.spawn(Which::Balancer);
            cluster.spawn(Which::Matcher(0));
            cluster.serving(Which::Balancer).await;
        }
    }
    let client = cluster.client().await;
    let two = client.submit_one("duel", element("w2")).await.unwrap();
    let found = settled(&client, "duel", 0, PATIENCE).await;
    let ids = found.iter().map(|found| [&found.a, &found.b].map(|end| end.as_ref().unwrap().id));
    assert_eq!(ids.collect::<Vec<_>>(), [[one, two]], "of the new pool alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_dies_while_a_pool_is_dropped_goes_on_where_the_log_ends() {
    let _heavy = heavy().await;
    let (waiting, n) = (30_000, 20_000);
    // So that there are checkpoints of a pool that is being dropped.
    let flags = [("checkpoint-bytes", "1048576"), ("in-flight-max", "4000")];
    let mut cluster = Cluster::start_with("drop-crash", SEVEN, &flags).await;
    let client = cluster.client().await;
    client.define_pool(Workload::W1.pool("w1", n)).await.unwrap();
    client.define_pool(pool(EQUAL)).await.unwrap();
    let carrying = |n: i64| Submission { payload: vec![7; 100].into(), ..player(&format!("w{n}"), n) };
    let mut load = Load::new(cluster.server(), "duel", (0..waiting).map(carrying).collect());
    load.finish().await;
    let waits = load.ids;
    let mut load = Load::new(cluster.server(), "w1", submissions(Workload::W1, n));
    let dropping = async {
        let told = client.drop_pool("duel", None, Duration::ZERO).await.unwrap();
        assert!(!told.dropped && told.waiting == waiting as u64, "{told:?}");
        let refused_now = client.submit_one("duel", player("late", -1)).await.unwrap_err();
        refused(&refused_now, Code::FailedPrecondition, "is being dropped");
        for after in [1_000, 12_000, 25_000] {
            until_in(10 * PATIENCE, "some have ended", async || match client.get_pool("duel").await {
                Ok(status) => {
                    assert!(status.dropping, "{status:?}");
                    (status.dropped >= after).then_some(())
                }
                Err(error) => (error.code() == Some(Code::NotFound)).then_some(()),
            })
            .await;
            cluster.kill(Which::Balancer);
            cluster.spawn(Which::Balancer);
            cluster.serving(Which::Balancer).await;
        }
        until_in(10 * PATIENCE, "the pool is gone", async || {
            let error = client.get_pool("duel").await.err()?;
            (error.code() == Some(Code::NotFound)).then_some(())
        })
        .await;
    };
    within(Duration::from_secs(400), "the load", Box::pin(async { tokio::join!(load.finish(), dropping) })).await;
    let (ends, _) = watched(&client, "duel", 0).await;
    assert!(ends == waits.iter().map(|&id| (id, EndReason::Dropped)).collect(), "{} ends", ends.len());
    let matches = settled(&client, "w1", 0, Duration::from_secs(240)).await;
    let ends = matches.iter().map(|found| {
        let [a, b] = [&found.a, &found.b].map(|end| position(&end.as_ref().unwrap().key));
        (a, b)
    });
    assert_eq!(KnownAnswer::of(n, ends).unwrap(), Workload::W1.answer(n).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_are_defined_and_dropped_again_and_again_without_a_trace() {
    let flags = [("checkpoint-bytes", "1048576"), ("pools-prefix-max", "3")];
    let mut cluster = Cluster::start_with("drop-again", SMALL, &flags).await;
    let client = cluster.client().await;
    for round in 0..20 {
        for number in 0..3 {
            client.define_pool(PoolDefinition { name: format!("a{number}"), ..pool(EQUAL) }).await.unwrap();
        }
        let fourth = PoolDefinition { name: "a3".to_owned(), ..pool(EQUAL) };
        let error = client.define_pool(fourth).await.unwrap_err();
        refused(&error, Code::ResourceExhausted, "3 pools have names that begin with \"a\"");
        let id = client.submit_one("a1", player("one", round)).await.unwrap();
        for number in 0..3 {
            assert!(client.drop_pool(format!("a{number}"), None, WAIT).await.unwrap().dropped);
        }
        assert_eq!(client.get(by_id(id), Duration::ZERO).await.unwrap().state(), ElementState::Dropped);
        if round == 10 {
            cluster.kill(Which::Balancer);
            cluster.spawn(Which::Balancer);
            cluster.serving(Which::Balancer).await;
        }
    }
    let all: pb::BalancerState = cluster.balancer_state().await;
    assert!(all.pools.is_empty(), "{all:?}");
    // The matcher forgets them, too.
    until("the matcher has no pools", async || {
        let state = cluster.inspect(Which::Matcher(0)).await?.state?;
        let pb::inspect_response::State::Matcher(matcher) = state else { return None };
        matcher.slices.iter().all(|slice| slice.pools.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_drops_a_pool_and_waits_until_it_is_gone() {
    let (cluster, client) = start("drop-command", pool(EQUAL)).await;
    submit(&client, "duel", (0..3).map(|n| player(&format!("w{n}"), n)).collect()).await;
    until("all wait", async || (client.get_pool("duel").await.unwrap().waiting == 3).then_some(())).await;
    let (code, stdout, stderr) = dovetail(&cluster.server(), &["pool", "drop", "duel"]).await;
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("drop pool \"duel\", in which 3 elements wait; add --yes"), "{stderr}");
    let (code, stdout, stderr) = dovetail(&cluster.server(), &["pool", "drop", "duel", "--yes"]).await;
    assert_eq!((code, stdout.as_str()), (Some(0), "pool \"duel\" is dropped; 3 elements waited in it\n"), "{stderr}");
    let (code, _, stderr) = dovetail(&cluster.server(), &["pool", "drop", "duel", "--yes"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("pool \"duel\" is not defined"), "{stderr}");
    let watch = ["watch", "--outcomes", "--until-settled"];
    let (code, stdout, _) = dovetail(&cluster.server(), &watch).await;
    assert_eq!((code, stdout.matches("- dropped").count()), (Some(0), 3), "{stdout}");
}
