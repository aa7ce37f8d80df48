//! The stream of outcomes: matches, withdrawals and expiries, each once, in order, across restarts.

use std::collections::BTreeMap;
use std::time::Duration;

use dovetail::client::{Client, EndView, MatchView, WatchOptions, by_id};
use dovetail::pb::{self, ElementState, EndReason, PoolDefinition, Submission, outcome};

use crate::harness::{PATIENCE, Which, dovetail, until, within};
use crate::load::{settled, submit};
use crate::time::{EQUAL, WAIT, player, pool, start};

/// All outcomes after a cursor, once everything submitted so far is decided, and up to where that is.
async fn outcomes_after(client: &Client, pool: &str, after: u64) -> (Vec<pb::Outcome>, u64) {
    let options = WatchOptions { pool: pool.to_owned(), after, until_settled: true, ..Default::default() };
    let mut watch = client.watch_outcomes(options);
    let mut outcomes: Vec<pb::Outcome> = Vec::new();
    while let Some(part) = within(PATIENCE, "settling", watch.next()).await.unwrap() {
        for outcome in part.outcomes {
            assert!(outcome.cursor > outcomes.last().map_or(after, |last| last.cursor), "cursors ascend");
            assert!(outcome.cursor <= part.settled);
            outcomes.push(outcome);
        }
    }
    (outcomes, watch.cursor())
}

fn matches(outcomes: &[pb::Outcome]) -> Vec<pb::Match> {
    let found = |outcome: &pb::Outcome| match &outcome.kind {
        Some(outcome::Kind::Match(found)) => {
            assert_eq!((found.cursor, &found.pool, found.time_ms), (outcome.cursor, &outcome.pool, outcome.time_ms));
            Some(found.clone())
        }
        _ => None,
    };
    outcomes.iter().filter_map(found).collect()
}

fn ended(outcomes: &[pb::Outcome]) -> BTreeMap<String, (u64, EndReason, Vec<u8>)> {
    let ended = |outcome: &pb::Outcome| match &outcome.kind {
        Some(outcome::Kind::Ended(ended)) => {
            Some((ended.key.clone(), (ended.id, ended.reason(), ended.payload.to_vec())))
        }
        _ => None,
    };
    outcomes.iter().filter_map(ended).collect()
}

/// All matches after a cursor that are watched as columns, as rows.
async fn columns_after(client: &Client, pool: &str, after: u64, arrival_times: bool) -> Vec<pb::Match> {
    let options =
        WatchOptions { pool: pool.to_owned(), after, until_settled: true, arrival_times, ..Default::default() };
    let mut watch = client.watch_columns(options);
    let mut matches = Vec::new();
    while let Some(part) = within(PATIENCE, "settling", watch.next()).await.unwrap() {
        let end = |end: EndView<'_>| {
            let (key, payload) = (end.key.to_owned(), end.payload.to_vec().into());
            Some(pb::MatchedElement { id: end.id, key, payload, arrived_ms: end.arrived_ms })
        };
        matches.extend(part.iter().map(|found| {
            let MatchView { cursor, pool, time_ms, a, b } = found;
            assert!(cursor <= part.settled());
            pb::Match { cursor, pool: pool.to_owned(), a: end(a), b: end(b), time_ms }
        }));
    }
    matches
}

fn without_arrivals(mut found: pb::Match) -> pb::Match {
    for end in [&mut found.a, &mut found.b].into_iter().flatten() {
        end.arrived_ms = None;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn matches_watched_as_columns_are_those_watched_as_rows() {
    let (mut cluster, client) = start("columns", pool(EQUAL)).await;
    client.define_pool(PoolDefinition { name: "other".to_owned(), ..pool(EQUAL) }).await.unwrap();
    // The pools take turns, and some of the elements have no payload.
    for round in 0..30 {
        for pool in ["duel", "other"] {
            let payload = |number: i64| vec![7; usize::try_from(number % 3).unwrap()];
            let pair = [2 * round, 2 * round + 1]
                .map(|number| Submission { payload: payload(number).into(), ..player(&format!("p{number}"), round) });
            submit(&client, pool, pair.to_vec()).await;
        }
    }
    for _ in 0..2 {
        let client = cluster.client().await;
        for pool in ["", "duel", "other"] {
            let rows = settled(&client, pool, 0, PATIENCE).await;
            assert_eq!(rows.len(), if pool.is_empty() { 60 } else { 30 });
            for skipped in [0, 1, 13, rows.len()] {
                let after = rows[..skipped].last().map_or(0, |last| last.cursor);
                let rest = &rows[skipped..];
                assert_eq!(columns_after(&client, pool, after, true).await, rest, "{pool:?} after {after}");
                // When the ends arrived comes to who asks for it.
                let without = columns_after(&client, pool, after, false).await;
                assert_eq!(without, rest.iter().cloned().map(without_arrivals).collect::<Vec<_>>());
            }
        }
        // From the results on the disk, too.
        cluster.kill(Which::Balancer);
        cluster.spawn(Which::Balancer);
        cluster.serving(Which::Balancer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_tells_how_long_its_elements_had_waited_also_after_a_restart() {
    let (mut cluster, client) = start("waited", pool(EQUAL)).await;
    let first = client.submit_one("duel", player("first", 1)).await.unwrap();
    let (waiting, _) = client.get_at(by_id(first), Duration::ZERO, first).await.unwrap();
    // Another millisecond, so that the two have waited differently.
    until("time goes on", async || {
        let explained = client.explain(by_id(first), 1).await.unwrap();
        (explained.time_ms > waiting.arrived_ms).then_some(())
    })
    .await;
    client.submit_one("duel", player("second", 1)).await.unwrap();
    for _ in 0..2 {
        let client = cluster.client().await;
        let found = settled(&client, "duel", 0, PATIENCE).await.remove(0);
        let arrived = [&found.a, &found.b].map(|end| end.as_ref().unwrap().arrived_ms.unwrap());
        assert_eq!(arrived, [waiting.arrived_ms, found.time_ms]);
        let waited = found.time_ms - waiting.arrived_ms;
        assert!(waited > 0, "the first waited for the second");
        let watch = ["watch", "--json", "--times", "--until-settled"];
        let (code, stdout, _) = dovetail(&cluster.server(), &watch).await;
        let line: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, &line["time_ms"]), (Some(0), &found.time_ms.into()));
        assert_eq!((&line["a"]["waited_ms"], &line["b"]["waited_ms"]), (&waited.into(), &0.into()));
        cluster.kill(Which::Balancer);
        cluster.spawn(Which::Balancer);
        cluster.serving(Which::Balancer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_an_elements_waiting_is_told_once_and_in_order_and_again_after_a_restart() {
    let (mut cluster, client) = start("outcomes", pool(EQUAL)).await;
    client.define_pool(PoolDefinition { name: "other".to_owned(), ..pool(EQUAL) }).await.unwrap();
    let pairs = (0..60).map(|number| player(&format!("p{number}"), number / 2)).collect();
    submit(&client, "duel", pairs).await;
    let mut expected = BTreeMap::new();
    for number in 0..10 {
        let payload = vec![number as u8; 3];
        let late = Submission {
            ttl_ms: Some(150),
            payload: payload.clone().into(),
            ..player(&format!("late{number}"), 1000 + number)
        };
        let id = client.submit_one("duel", late).await.unwrap();
        expected.insert(format!("late{number}"), (id, EndReason::Expired, payload));
        let back = client.submit_one("duel", player(&format!("back{number}"), 2000 + number)).await.unwrap();
        client.withdraw(by_id(back)).await.unwrap();
        expected.insert(format!("back{number}"), (back, EndReason::Withdrawn, vec![]));
    }
    let outcomes = until("all have expired", async || {
        let (outcomes, _) = outcomes_after(&client, "duel", 0).await;
        (outcomes.len() == 50).then_some(outcomes)
    })
    .await;
    assert_eq!(ended(&outcomes), expected);
    assert_eq!(matches(&outcomes), settled(&client, "duel", 0, PATIENCE).await);
    for (id, reason, _) in expected.values() {
        let found = client.get(by_id(*id), Duration::ZERO).await.unwrap();
        let state = if *reason == EndReason::Expired { ElementState::Expired } else { ElementState::Withdrawn };
        assert_eq!(found.state(), state);
        assert!(outcomes.iter().any(|outcome| outcome.cursor == found.ended_at), "both tell of one event");
    }

    for _ in 0..2 {
        let client = cluster.client().await;
        for skipped in [0, 1, 17, 49, 50] {
            let after = outcomes[..skipped].last().map_or(0, |last| last.cursor);
            assert_eq!(outcomes_after(&client, "duel", after).await.0, outcomes[skipped..]);
            assert_eq!(outcomes_after(&client, "", after).await.0, outcomes[skipped..]);
        }
        // A watcher of a pool in which nothing happens hears how far it is settled all the same.
        let last = outcomes[49].cursor;
        let (none, cursor) = outcomes_after(&client, "other", 0).await;
        assert!(none.is_empty() && cursor >= last, "settled {cursor}");
        cluster.kill(Which::Balancer);
        cluster.spawn(Which::Balancer);
        cluster.serving(Which::Balancer).await;
    }

    let server = cluster.server();
    let (code, text, _) = dovetail(&server, &["watch", "--outcomes", "--until-settled"]).await;
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!((code, text.lines().count(), count("- expired"), count("- withdrawn")), (Some(0), 51, 10, 10), "{text}");
    let (_, json, _) = dovetail(&server, &["watch", "--outcomes", "--until-settled", "--json"]).await;
    let (_, of_matches, _) = dovetail(&server, &["watch", "--until-settled", "--json"]).await;
    let (others, same): (Vec<&str>, Vec<&str>) = json.lines().partition(|line| line.contains("\"reason\""));
    assert_eq!((same, others.len()), (of_matches.lines().collect(), 20), "a match is the same line in both");
    let refused =
        client.watch_outcomes(WatchOptions { after: 1 << 40, ..Default::default() }).next().await.unwrap_err();
    assert!(refused.to_string().contains("cursor 1099511627776 is from the future"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_whose_time_ends_while_the_balancer_is_down_expires_once_it_is_back() {
    let (mut cluster, client) = start("down", pool(EQUAL)).await;
    let late = Submission { ttl_ms: Some(300), ..player("late", 1) };
    let id = client.submit_one("duel", late).await.unwrap();
    cluster.kill(Which::Balancer);
    // Well beyond its time to live.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.spawn(Which::Balancer);
    cluster.serving(Which::Balancer).await;
    let client = cluster.client().await;
    let found = client.get(by_id(id), WAIT).await.unwrap();
    assert_eq!(found.state(), ElementState::Expired);
    let (outcomes, _) = outcomes_after(&client, "", 0).await;
    assert_eq!(ended(&outcomes), [("late".to_owned(), (id, EndReason::Expired, vec![]))].into());
    assert_eq!((outcomes[0].cursor, outcomes.len()), (found.ended_at, 1));
    // An element that comes now is never matched with it.
    let next = client.submit_one("duel", player("next", 1)).await.unwrap();
    assert!(settled(&client, "duel", 0, PATIENCE).await.is_empty());
    assert_eq!(client.get(by_id(next), Duration::ZERO).await.unwrap().state(), ElementState::Waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_hears_how_far_it_is_settled_though_nothing_ends() {
    let (_cluster, client) = start("moves-on", pool(EQUAL)).await;
    let mut watch = client.watch_outcomes(WatchOptions::default());
    for number in 0..20 {
        let id = client.submit_one("duel", player(&format!("p{number}"), number)).await.unwrap();
        let waits = async {
            while watch.cursor() < id {
                assert_eq!(watch.next().await.unwrap().unwrap().outcomes, []);
            }
        };
        within(PATIENCE, "the watcher's cursor", waits).await;
    }
}
