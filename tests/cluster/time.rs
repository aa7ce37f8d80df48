//! What time does: elements expire, search again, are waited for; and a node that is told to stop finishes first.

use std::time::{Duration, Instant};

use dovetail::client::{Client, by_id, by_key, value};
use dovetail::pb::{self, Attribute, AttributeType, ElementState, PoolDefinition, Submission, WithdrawOutcome};

use crate::harness::{Cluster, PATIENCE, SMALL, Which, dovetail, until, within};
use crate::history::History;
use crate::load::{settled, submit};

/// Long enough for anything here; what is waited for ends the wait.
pub const WAIT: Duration = Duration::from_secs(30);

pub fn pool(rule: &str) -> PoolDefinition {
    let skill = Attribute { name: "skill".to_owned(), r#type: AttributeType::Int.into() };
    PoolDefinition {
        name: "duel".to_owned(),
        attributes: vec![skill],
        rule: rule.to_owned(),
        ..PoolDefinition::default()
    }
}

pub fn player(key: &str, skill: i64) -> Submission {
    let attributes = [("skill".to_owned(), value::int(skill))].into();
    Submission { key: key.to_owned(), attributes, ..Submission::default() }
}

pub async fn start(test: &str, pool: PoolDefinition) -> (Cluster, Client) {
    let cluster = Cluster::start(test, SMALL).await;
    let client = cluster.client().await;
    client.define_pool(pool).await.unwrap();
    (cluster, client)
}

pub const EQUAL: &str = "a.skill == b.skill";

#[tokio::test(flavor = "multi_thread")]
async fn an_element_expires_and_its_key_is_free_again() {
    let (_cluster, client) = start("ttl", PoolDefinition { ttl_ms: 300, ..pool(EQUAL) }).await;
    let own = Submission { ttl_ms: Some(100), ..player("own", 1) };
    let for_ever = Submission { ttl_ms: Some(0), ..player("stays", 3) };
    let stays = client.submit_one("duel", for_ever).await.unwrap();
    let mut ids = Vec::new();
    for element in [own, player("pools", 2)] {
        let submitted = Instant::now();
        let ttl = Duration::from_millis(element.ttl_ms.unwrap_or(300));
        let key = element.key.clone();
        let id = client.submit_one("duel", element.clone()).await.unwrap();
        let ended = client.get(by_id(id), WAIT).await.unwrap();
        assert_eq!((ended.state(), ended.id, &ended.key), (ElementState::Expired, id, &key));
        assert!(ended.ended_at > id && ended.r#match.is_none(), "{ended:?}");
        assert!(submitted.elapsed() >= ttl, "{key} expired after {:?}", submitted.elapsed());
        let again = client.submit_one("duel", element).await.unwrap();
        assert!(again > ended.ended_at, "a new element with a new id");
        assert_eq!(client.get(by_key("duel", &key), Duration::ZERO).await.unwrap().id, again, "the key's latest owner");
        ids.push(id);
    }
    let found = client.get(by_id(stays), Duration::ZERO).await.unwrap();
    assert_eq!(found.state(), ElementState::Waiting, "a ttl of 0 is none, whatever the pool's");
    // Who has expired is never matched.
    let id = client.submit_one("duel", Submission { ttl_ms: Some(0), ..player("late", 1) }).await.unwrap();
    let late = client.get(by_id(id), Duration::from_millis(200)).await.unwrap();
    if let Some(found) = late.r#match {
        assert!(!ids.contains(&found.a.unwrap().id), "an expired element was matched");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_widening_rule_matches_when_an_element_searches_again() {
    let rule = "abs(a.skill - b.skill) <= min(a.waited, b.waited) / 10";
    let (_cluster, client) = start("reprobe", PoolDefinition { reprobe_ms: vec![100, 250, 400], ..pool(rule) }).await;
    let one = client.submit_one("duel", player("one", 100)).await.unwrap();
    let other = client.submit_one("duel", player("other", 130)).await.unwrap();
    let far = client.submit_one("duel", player("far", 9000)).await.unwrap();
    let found = client.get(by_id(one), WAIT).await.unwrap();
    assert_eq!(found.state(), ElementState::Matched);
    let found = found.r#match.unwrap();
    assert_eq!((found.a.unwrap().id, found.b.unwrap().id), (one, other));
    // Neither arrival completed it: both have to have waited for 300 ms, and the schedule says 400.
    assert!(found.cursor > far, "matched at {}, by the arrival of an element", found.cursor);
    let arrived = client.get(by_id(far), Duration::ZERO).await.unwrap();
    assert_eq!(arrived.state(), ElementState::Waiting);
    let waited = found.time_ms - arrived.arrived_ms;
    assert!((290..10_000).contains(&waited), "matched {waited} ms after the third arrival");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_says_what_it_found() {
    let (_cluster, client) = start("withdraw", pool(EQUAL)).await;
    let waiting = client.submit_one("duel", player("waiting", 1)).await.unwrap();
    let a = client.submit_one("duel", player("a", 2)).await.unwrap();
    let b = client.submit_one("duel", player("b", 2)).await.unwrap();
    let check = async |element: pb::ElementRef, outcome: WithdrawOutcome| {
        let response = within(PATIENCE, "a withdrawal", client.withdraw(element)).await.unwrap();
        assert_eq!(response.outcome(), outcome);
        response.r#match
    };
    check(by_id(waiting), WithdrawOutcome::Withdrawn).await;
    check(by_key("duel", "waiting"), WithdrawOutcome::AlreadyWithdrawn).await;
    for element in [by_id(a), by_key("duel", "b")] {
        let found = check(element, WithdrawOutcome::AlreadyMatched).await.unwrap();
        assert_eq!((found.a.unwrap().id, found.b.unwrap().id, found.cursor), (a, b, b));
    }
    for element in [by_id(4711), by_key("duel", "nobody"), by_key("nowhere", "a")] {
        check(element, WithdrawOutcome::NotFound).await;
    }
    let state = client.get(by_id(waiting), Duration::ZERO).await.unwrap();
    assert_eq!(state.state(), ElementState::Withdrawn);
    // Its partner comes too late.
    let late = client.submit_one("duel", player("late", 1)).await.unwrap();
    assert_eq!(settled(&client, "duel", 0, PATIENCE).await.len(), 1);
    assert_eq!(client.get(by_id(late), Duration::ZERO).await.unwrap().state(), ElementState::Waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_an_element_hears_of_its_match_at_once() {
    let (_cluster, client) = start("wait", pool(EQUAL)).await;
    let id = client.submit_one("duel", player("ada", 1)).await.unwrap();
    let over = client.get(by_id(id), Duration::from_millis(50)).await.unwrap();
    assert_eq!(over.state(), ElementState::Waiting, "the time is over, and nothing has happened");
    assert_eq!(over.attributes["skill"], value::int(1));
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.get(by_id(id), WAIT).await.unwrap() })
    };
    let started = Instant::now();
    let bob = client.submit_one("duel", Submission { payload: "from bob".into(), ..player("bob", 1) }).await.unwrap();
    let found = within(PATIENCE, "the waiting call", waiting).await.unwrap();
    assert!(started.elapsed() < WAIT, "it did not wait until the end");
    assert_eq!((found.state(), found.ended_at), (ElementState::Matched, bob));
    let end = found.r#match.unwrap().b.unwrap();
    assert_eq!((end.key.as_str(), &end.payload[..]), ("bob", &b"from bob"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_until_settled_ends_with_everything_that_was_submitted_before() {
    let (cluster, client) = start("settled", pool("true")).await;
    let none = dovetail(&cluster.server(), &["watch", "--pool", "duel", "--json", "--until-settled"]).await;
    assert_eq!(none, (Some(0), String::new(), String::new()));
    let elements = (0..2000).map(|number| player(&format!("p{number}"), 0)).collect();
    submit(&client, "duel", elements).await;
    let (code, stdout, stderr) =
        dovetail(&cluster.server(), &["watch", "--pool", "duel", "--json", "--until-settled"]).await;
    assert_eq!((code, stdout.lines().count(), stderr.as_str()), (Some(0), 1000, ""));
    let middle: serde_json::Value = serde_json::from_str(stdout.lines().nth(499).unwrap()).unwrap();
    let from = middle["cursor"].to_string();
    let (_, rest, _) = dovetail(&cluster.server(), &["watch", "--json", "--from", &from, "--until-settled"]).await;
    assert_eq!(rest, stdout.split_inclusive('\n').skip(500).collect::<String>());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_told_to_stop_end_well_and_nothing_acknowledged_is_lost() {
    let (mut cluster, client) = start("drain", pool(EQUAL)).await;
    let ids =
        submit(&client, "duel", (0..3000).map(|number| player(&format!("p{number}"), number / 2)).collect()).await;
    // An open watch and an open submit stream do not keep a node from stopping.
    let mut watch = client.watch(dovetail::client::WatchOptions::default());
    watch.next().await.unwrap();
    let stream = client.submit("duel", dovetail::client::SubmitOptions::default()).await.unwrap();
    let started = Instant::now();
    for which in [Which::Balancer, Which::Matcher(0), Which::Gatherer(0)] {
        let status = cluster.stop(which).await;
        assert_eq!(status.code(), Some(0), "{which:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(30), "stopping took {:?}", started.elapsed());
    drop(stream);
    for which in cluster.all() {
        cluster.spawn(which);
    }
    for which in cluster.all() {
        cluster.serving(which).await;
    }
    let client = until("the server takes connections", async || Client::connect(cluster.server()).await.ok()).await;
    let matches = settled(&client, "duel", 0, PATIENCE).await;
    assert_eq!(matches.len(), 1500);
    let history = History::of(&mut cluster).await;
    history.check(&matches);
    assert_eq!(history.keys.keys().copied().collect::<Vec<_>>(), ids);
}
