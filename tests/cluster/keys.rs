//! Keys that come again: what an undecided element's key means is the log's to say, and is waited for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use dovetail::client::{SubmitOptions, by_key};
use dovetail::pb::{ElementState, PoolDefinition, WithdrawOutcome};
use tonic::Code;

use crate::harness::{Cluster, PATIENCE, SEVEN, SMALL, Which, dovetail, program, run, until, within};
use crate::load::settled;
use crate::programs::DOVETAIL;
use crate::time::{EQUAL, WAIT, player, pool};

/// Small numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a program said of a file: the pairs as keys, and which lines were refused.
#[derive(Debug, PartialEq)]
struct Said {
    pairs: Vec<(String, String)>,
    refused: BTreeSet<u64>,
}

impl Said {
    fn new(matches: &str, stderr: &str) -> Said {
        let pair = |line: &str| {
            let found: serde_json::Value = serde_json::from_str(line).unwrap();
            let key = |end: &str| found[end]["key"].as_str().unwrap().to_owned();
            (key("a"), key("b"))
        };
        let refused = |line: &str| line.contains("is waiting in pool") || line.contains("is already waiting");
        // `file:line: refused: ...`
        let number = |line: &str| line.split(':').nth(1).unwrap().parse().unwrap();
        let refused = stderr.lines().filter(|line| refused(line)).map(number).collect();
        Said { pairs: matches.lines().map(pair).collect(), refused }
    }
}

/// Few keys, so that most lines name one that came before, often just before.
fn file(dice: &mut Dice) -> String {
    let (keys, skills) = (2 + dice.below(40), 1 + dice.below(30));
    let mut text = String::new();
    for _ in 0..300 {
        let (key, skill) = (dice.below(keys), dice.below(skills));
        writeln!(text, r#"{{"key":"k{key}","attributes":{{"skill":{skill}}}}}"#).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_and_the_oracle_agree_on_files_in_which_keys_come_again() {
    let cluster = Cluster::start("keys-again", SEVEN).await;
    let rules = ["a.skill == b.skill", "abs(a.skill - b.skill) <= 1", "a.skill != b.skill", "a.skill < b.skill"];
    // No element expires meanwhile; a search again finds no element that was not there when its own came.
    let times = ["", "ttl = '1h'\n", "reprobe = ['20ms', '1h']\n", "ttl = '1h'\nreprobe = ['15ms', '30ms']\n"];
    let mut dice = Dice(11);
    let (mut matched, mut refused) = (0, 0);
    for number in 0..12 {
        let rule = rules[number % rules.len()];
        let times = times[(number / 2) % times.len()];
        let definition = format!("name = 'p{number}'\nrule = '{rule}'\n{times}[attributes]\nskill = 'int'\n");
        let definition = cluster.place.file(&format!("p{number}.toml"), &definition);
        let elements = cluster.place.file(&format!("e{number}.ndjson"), &file(&mut dice));
        let (definition, elements) = (definition.to_str().unwrap(), elements.to_str().unwrap());
        let mut oracle = program(DOVETAIL);
        oracle.args(["oracle", definition, elements]);
        let (_, stdout, stderr) = run(oracle).await;
        let expected = Said::new(&stdout, &stderr);

        let server = cluster.server();
        let (code, _, stderr) = dovetail(&server, &["pool", "define", "--file", definition]).await;
        assert_eq!(code, Some(0), "{stderr}");
        let (name, batch) = (format!("p{number}"), ["1", "7", "100", "1000"][number % 4]);
        let (_, _, stderr) = dovetail(&server, &["submit", "--pool", &name, "--batch", batch, elements]).await;
        let watch = ["watch", "--pool", &name, "--json", "--until-settled"];
        let (_, stdout, _) = dovetail(&server, &watch).await;
        assert_eq!(Said::new(&stdout, &stderr), expected, "{rule} {times}, in batches of {batch}");
        matched += expected.pairs.len();
        refused += expected.refused.len();
    }
    assert!(matched > 300 && refused > 300, "{matched} pairs, {refused} refused: the files are too tame");
}

/// Ann and bob are matched, which cannot be decided: the gatherer is away.
async fn undecided(test: &str, flags: &[(&'static str, &'static str)]) -> (Cluster, dovetail::client::Client) {
    let mut cluster = Cluster::start_with(test, SMALL, flags).await;
    let client = cluster.client().await;
    client.define_pool(PoolDefinition { ..pool(EQUAL) }).await.unwrap();
    settled(&client, "duel", 0, PATIENCE).await;
    cluster.kill(Which::Gatherer(0));
    for key in ["ann", "bob"] {
        client.submit_one("duel", player(key, 1)).await.unwrap();
    }
    (cluster, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_matched_and_queues_again_is_held_until_that_is_decided_and_others_go_on() {
    let (mut cluster, client) = undecided("held", &[("hold-ms-max", "600000")]).await;
    let mut stream = client.submit("duel", SubmitOptions::default()).await.unwrap();
    // The first is held, and the other two behind it.
    for batch in [vec![player("ann", 2), player("dan", 5)], vec![player("eve", 6)]] {
        assert!(stream.send(batch).await.unwrap().is_none());
    }
    let withdrawn = {
        let client = client.clone();
        tokio::spawn(async move { client.withdraw(by_key("duel", "bob")).await.unwrap() })
    };
    until("all are held", async || (cluster.balancer_state().await.held == 3).then_some(())).await;
    // Other streams go on.
    let cid = within(PATIENCE, "another stream", client.submit_one("duel", player("cid", 2))).await.unwrap();
    // Last, for they are held for a second at most.
    let asked: Vec<_> = [by_key("duel", "bob"), by_key("duel", "ann")]
        .map(|element| (client.clone(), element))
        .into_iter()
        .map(|(client, element)| tokio::spawn(async move { client.get(element, WAIT).await.unwrap() }))
        .collect();
    until("the reads are held", async || (cluster.balancer_state().await.held == 5).then_some(())).await;
    assert!(cluster.balancer_state().await.held_ms > 0);

    cluster.spawn(Which::Gatherer(0));
    stream.close();
    let first = within(PATIENCE, "an answer", stream.answer()).await.unwrap().unwrap();
    let second = within(PATIENCE, "an answer", stream.answer()).await.unwrap().unwrap();
    assert_eq!((first.refusals.len(), second.refusals.len()), (0, 0));
    let ids: Vec<u64> = first.ids.into_iter().chain(second.ids).collect();
    assert!(ids.is_sorted() && ids[0] > cid, "{ids:?}, in the order of their stream");
    for asked in asked {
        // They are about those who had the keys when they were asked for, though ann is back by now.
        let found = asked.await.unwrap();
        assert!(found.id < cid && found.state() == ElementState::Matched, "{found:?}");
    }
    assert_eq!(withdrawn.await.unwrap().outcome(), WithdrawOutcome::AlreadyMatched);
    let ann = client.get(by_key("duel", "ann"), WAIT).await.unwrap();
    assert_eq!((ann.id, ann.r#match.unwrap().a.unwrap().id), (ids[0], cid), "the key's latest owner");
    assert_eq!(cluster.balancer_state().await.held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_held_for_longer_than_the_setting_says() {
    let (mut cluster, client) = undecided("held-in-vain", &[("hold-ms-max", "200")]).await;
    let refused = client.submit_one("duel", player("ann", 2)).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unavailable), "{refused}");
    let text = refused.to_string();
    // It says how long that was, which is longer where there is much else to do.
    let held_ms = text.split_once("was not decided within ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    assert!(text.contains("\"ann\"") && text.contains("\"duel\"") && held_ms >= Some(200_u64), "{text}");
    // In a batch those are refused that are undecided, and the others are let in.
    let mut stream = client.submit("duel", SubmitOptions::default()).await.unwrap();
    stream.send(vec![player("ann", 2), player("bob", 2), player("fay", 3)]).await.unwrap();
    stream.close();
    let answer = within(PATIENCE, "an answer", stream.answer()).await.unwrap().unwrap();
    let codes: Vec<_> = answer.refusals.iter().map(|refusal| (refusal.row, refusal.code)).collect();
    assert_eq!((codes, answer.ids[2] > 0), (vec![(0, Code::Unavailable as i32), (1, Code::Unavailable as i32)], true));
    // Reads are answered by what is known.
    let found = client.get(by_key("duel", "ann"), Duration::ZERO).await.unwrap();
    assert_eq!(found.state(), ElementState::Waiting);
    cluster.spawn(Which::Gatherer(0));
    until("it is decided", async || client.submit_one("duel", player("ann", 2)).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_by_key_are_held_no_longer_than_they_wait_or_a_second() {
    let (_cluster, client) = undecided("held-reads", &[("hold-ms-max", "600000")]).await;
    for wait in [Duration::ZERO, Duration::from_millis(100)] {
        let read = client.get(by_key("duel", "ann"), wait);
        let found = within(Duration::from_secs(20), "a read", read).await.unwrap();
        assert_eq!(found.state(), ElementState::Waiting, "what is known: it waits");
    }
    let explained = within(Duration::from_secs(20), "an explanation", client.explain(by_key("duel", "ann"), 1)).await;
    assert_eq!(explained.unwrap().acceptable, 1, "bob, whom the gatherer is to match with ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_held_takes_nobody_elses_room() {
    let (mut cluster, client) = undecided("held-stream", &[("hold-ms-max", "600000")]).await;
    let mut stream = client.submit("duel", SubmitOptions { in_flight: 64 }).await.unwrap();
    stream.send(vec![player("ann", 2)]).await.unwrap();
    // Some 200 MB behind it, as far as they are taken.
    let sent = tokio::spawn(async move {
        let payload = bytes::Bytes::from(vec![7; 4096]);
        for batch in 0..60_i64 {
            let row = |row: i64| dovetail::pb::Submission {
                payload: payload.clone(),
                ..player(&format!("p{batch}-{row}"), 1_000 + batch * 1_000 + row)
            };
            if stream.send((0..900).map(row).collect()).await.is_err() {
                break;
            }
        }
        stream
    });
    until("it is held", async || (cluster.balancer_state().await.held > 0).then_some(())).await;
    for number in 0..20 {
        let other = client.submit_one("duel", player(&format!("other{number}"), -number));
        within(PATIENCE, "another stream", other).await.unwrap();
    }
    cluster.spawn(Which::Gatherer(0));
    let mut stream = within(2 * PATIENCE, "the rest is taken", sent).await.unwrap();
    stream.close();
    let mut ids = Vec::new();
    while let Some(answer) = within(PATIENCE, "an answer", stream.answer()).await.unwrap() {
        assert_eq!(answer.refusals.len(), 0);
        ids.extend(answer.ids);
    }
    assert!(ids.is_sorted(), "in the order of their stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_refused_in_time_though_no_more_events_may_be_in_flight() {
    let flags = [("hold-ms-max", "300"), ("in-flight-max", "40")];
    let (cluster, client) = undecided("held-in-flight", &flags).await;
    let held = {
        let client = client.clone();
        tokio::spawn(async move { client.submit_one("duel", player("ann", 2)).await })
    };
    until("it is held", async || (cluster.balancer_state().await.held > 0).then_some(())).await;
    let mut filling = client.submit("duel", SubmitOptions::default()).await.unwrap();
    filling.send((0..100).map(|number| player(&format!("p{number}"), 10 + number)).collect()).await.unwrap();
    let refused = within(Duration::from_secs(20), "the refusal", held).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unavailable), "{refused}");
    assert_eq!(cluster.balancer_state().await.held, 0);
}
