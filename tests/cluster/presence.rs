//! Who is there: what a balancer, its log and the commands say when a node is away, hangs, or has other settings.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use dovetail::client::{Client, SubmitOptions, WatchOptions, value};
use dovetail::pb::{Attribute, AttributeType, AwaitedNode, PoolDefinition, Role, Submission};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{Cluster, Process, Shape, Which, dovetail, health, program, until};
use crate::programs::DOVETAIL;

const FIVE: Shape = Shape { slices: 2, matchers: 2, gatherers: 2 };

/// A pool whose arrivals concern every slice.
async fn define(client: &Client) {
    let skill = Attribute { name: "skill".to_owned(), r#type: AttributeType::Int.into() };
    let rule = "abs(a.skill - b.skill) <= 5".to_owned();
    let pool = PoolDefinition { name: "duel".to_owned(), attributes: vec![skill], rule, ..Default::default() };
    client.define_pool(pool).await.unwrap();
}

/// An element that only one with the same number can be matched with.
async fn submit(client: &Client, key: &str, number: i64) -> u64 {
    let attributes = [("skill".to_owned(), value::int(100 * number))].into();
    client.submit_one("duel", Submission { key: key.to_owned(), attributes, ..Default::default() }).await.unwrap()
}

/// A command that goes on, with its stderr in a file.
fn start(cluster: &Cluster, name: &str, arguments: &[&str]) -> Process {
    let mut command: Command = program(DOVETAIL);
    command.args(arguments).env("DOVETAIL_SERVER", cluster.server()).stdout(Stdio::null());
    cluster.extra(name, command)
}

async fn says(process: &Process, text: &str) {
    until(&format!("it says {text:?}"), async || process.log_text().contains(text).then_some(())).await;
}

/// Waits until the balancer has noticed who is away.
async fn away(cluster: &Cluster) -> AwaitedNode {
    until("somebody is missed", async || {
        let state = cluster.balancer_state().await;
        (state.undecided_ms > 0).then(|| state.awaited.into_iter().next()).flatten()
    })
    .await
}

async fn all_is_well(cluster: &Cluster) {
    // Who is away for a moment only is nothing wrong yet, but may never have been there.
    until("the balancer knows all nodes", async || cluster.balancer_state().await.awaited.is_empty().then_some(()))
        .await;
    until("nothing is wrong any more", async || {
        let (code, stdout, _) = dovetail(&cluster.server(), &["status", "--check"]).await;
        (code == Some(0) && stdout == "ok: 5 nodes, nothing is wrong\n").then_some(())
    })
    .await;
}

/// Kills a node, and looks what is said about it until it is there again.
async fn check(test: &str, which: Which, name: &str, role: Role, index: u32) {
    let mut cluster = Cluster::start(test, FIVE).await;
    let (client, url) = (cluster.client().await, cluster.url(which));
    define(&client).await;
    let first = submit(&client, "first", 1).await.to_string();
    all_is_well(&cluster).await;
    cluster.kill(which);
    let watch = start(&cluster, "watch", &["watch", "--json"]);
    let mut ids = Vec::new();
    for number in 2..40 {
        ids.push(submit(&client, &format!("p{number}"), number).await);
    }
    let notice = format!("decisions wait for {name} ({url}, down for ");
    says(&watch, &notice).await;
    let awaited = away(&cluster).await;
    assert_eq!((awaited.role(), awaited.index, awaited.never_seen), (role, index, false));
    assert_eq!(awaited.address, url);

    let last = ids.last().unwrap().to_string();
    let (code, stdout, stderr) = dovetail(&cluster.server(), &["withdraw", &last, "--timeout", "4s"]).await;
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    assert!(stderr.contains(&notice) && stderr.contains("error: not done within 4s"), "{stderr}");
    let doubt = format!("the withdrawal may still take place; \"dovetail get {last}\" tells");
    assert!(stderr.contains(&doubt), "{stderr}");
    for command in [&["get", &first][..], &["explain", &first], &["list", "--pool", "duel"]] {
        let (code, stdout, stderr) = dovetail(&cluster.server(), command).await;
        assert!(code == Some(0) && stdout.contains("first"), "{command:?}: {stdout}{stderr}");
        assert!(stderr.contains(&notice) && stderr.contains("), so this is as of event "), "{command:?}: {stderr}");
    }
    let (code, stdout, stderr) = dovetail(&cluster.server(), &["get", &last, "--wait", "3s", "--json"]).await;
    assert_eq!((code, stdout.lines().count()), (Some(3), 1), "{stdout}");
    assert!(stdout.starts_with('{') && stderr.contains(&notice), "{stdout}{stderr}");
    let (code, stdout, _) = dovetail(&cluster.server(), &["status", "--check"]).await;
    assert_eq!(code, Some(1));
    assert!(stdout.contains(&format!("decisions_stand_still: balancer 0: {notice}")), "{stdout}");
    let silent = stdout.lines().find(|line| line.starts_with("node_unreachable: ")).unwrap();
    assert!(silent.starts_with(&format!("node_unreachable: {name}: no answer at {url}: ")), "{silent}");
    let start = format!("; start dovetail-{} --index {index} there again", name.split(' ').next().unwrap());
    assert!(silent.ends_with(&start), "{silent}");
    let (code, stdout, _) = dovetail(&cluster.server(), &["status", "--all", "--json"]).await;
    let nodes: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, nodes.len()), (Some(1), 4));
    assert_eq!(nodes[0]["balancer"]["awaited"][0]["index"], index);
    assert!(nodes[0]["balancer"]["undecided_ms"].as_u64().unwrap() >= 2000);
    let log = cluster.node(Which::Balancer).log_text();
    assert!(log.contains("decisions stand still") && log.contains(&format!("awaited=\"{name}\"")), "{log}");

    cluster.spawn(which);
    says(&watch, "decisions go on").await;
    all_is_well(&cluster).await;
    until("the log says so", async || {
        cluster.node(Which::Balancer).log_text().contains("decisions go on").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_matcher_is_named_by_whatever_waits_for_it() {
    check("away-matcher", Which::Matcher(1), "matcher 1", Role::Matcher, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gatherer_is_named_by_whatever_waits_for_it() {
    check("away-gatherer", Which::Gatherer(0), "gatherer 0", Role::Gatherer, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_came_is_missed_before_anything_waits_for_it() {
    let mut cluster = Cluster::start("never", FIVE).await;
    for which in [Which::Balancer, Which::Matcher(0)] {
        cluster.kill(which);
    }
    cluster.spawn(Which::Balancer);
    cluster.serving(Which::Balancer).await;
    let found = until("it is missed", async || {
        let (code, stdout, _) = dovetail(&cluster.server(), &["status", "--check"]).await;
        stdout.contains("node_away: ").then_some((code, stdout))
    })
    .await;
    let url = cluster.url(Which::Matcher(0));
    let expected = format!(
        "node_away: balancer 0: decisions will wait for matcher 0 ({url}, not seen since the balancer started "
    );
    assert!(found.0 == Some(1) && found.1.contains(&expected), "{}", found.1);
    let client = cluster.client().await;
    define(&client).await;
    let watch = start(&cluster, "watch", &["watch"]);
    submit(&client, "a", 1).await;
    says(&watch, &format!("decisions wait for matcher 0 ({url}, not seen since the balancer started ")).await;
    cluster.spawn(Which::Matcher(0));
    says(&watch, "decisions go on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gatherer_that_hangs_is_told_apart_once_its_connection_times_out() {
    let mut cluster = Cluster::start("hangs", FIVE).await;
    let client = cluster.client().await;
    define(&client).await;
    // One that hangs before the balancer has read from it has never been there.
    all_is_well(&cluster).await;
    cluster.node(Which::Gatherer(1)).signal("STOP");
    let watch = start(&cluster, "watch", &["watch"]);
    for number in 0..200 {
        submit(&client, &format!("p{number}"), number).await;
    }
    let url = cluster.url(Which::Gatherer(1));
    says(&watch, &format!("decisions wait for gatherer 1 ({url}, down for ")).await;
    cluster.node(Which::Gatherer(1)).signal("CONT");
    says(&watch, "decisions go on").await;
}

/// What a value is, as an index of logs sees it.
fn kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_the_json_logs_has_one_type_whoever_writes_it() {
    let flags = [("log-format", "json"), ("checkpoint-bytes", "1048576"), ("drain-ms-max", "200")];
    let mut cluster = Cluster::start_with("json", FIVE, &flags).await;
    let client = cluster.client().await;
    define(&client).await;
    // Enough for a checkpoint.
    let mut stream = client.submit("duel", SubmitOptions::default()).await.unwrap();
    for batch in 0..60 {
        let element = |number: i64| Submission {
            key: format!("{batch}-{number}"),
            attributes: [("skill".to_owned(), value::int(batch * 1000 + number))].into(),
            payload: vec![7; 200].into(),
            ..Default::default()
        };
        stream.send((0..200).map(element).collect()).await.unwrap();
    }
    stream.finish().await.unwrap();
    says(cluster.node(Which::Balancer), "made a checkpoint").await;
    cluster.kill(Which::Matcher(1));
    submit(&client, "waits", 1_000_000).await;
    says(cluster.node(Which::Balancer), "decisions stand still").await;
    let stranger = cluster.command_with(Which::Matcher(1), &[("list-max", "99")]);
    let stranger = cluster.extra("stranger", stranger);
    says(&stranger, "the cluster settings of this node and of its peer differ").await;
    drop(stranger);
    cluster.spawn(Which::Matcher(1));
    says(cluster.node(Which::Balancer), "decisions go on").await;
    cluster.kill(Which::Gatherer(0));
    cluster.spawn(Which::Gatherer(0));
    // One that is told to stop while a watch is open, and one that comes back.
    let mut watch = client.watch(WatchOptions::default());
    assert!(watch.next().await.unwrap().is_some());
    assert_eq!(cluster.stop(Which::Balancer).await.code(), Some(0));
    cluster.spawn(Which::Balancer);
    for which in cluster.all() {
        cluster.serving(which).await;
    }
    let mut kinds: BTreeMap<String, (&str, String)> = BTreeMap::new();
    for entry in std::fs::read_dir(&cluster.place.folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "log") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines().filter(|line| !line.starts_with("--- ")) {
            let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            for (name, value) in object.as_object().unwrap() {
                let (known, first) = kinds.entry(name.clone()).or_insert_with(|| (kind(value), line.to_owned()));
                assert_eq!(kind(value), *known, "{name} in\n{line}\nand in\n{first}");
            }
        }
    }
    for name in
        ["cut", "cursor", "index", "checkpoint", "last", "stable", "waiting", "took_ms", "still_ms", "undecided"]
    {
        assert_eq!(kinds.get(name).map(|(kind, _)| *kind), Some("number"), "{name}");
    }
    for name in ["error", "peer", "address", "stream", "awaited", "signal"] {
        assert_eq!(kinds.get(name).map(|(kind, _)| *kind), Some("string"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_other_settings_says_so_at_once_and_so_does_whoever_refuses_it() {
    let mut cluster = Cluster::start("settings", FIVE).await;
    cluster.kill(Which::Matcher(1));
    let stranger = cluster.command_with(Which::Matcher(1), &[("list-max", "99"), ("log-format", "json")]);
    let stranger = cluster.extra("stranger", stranger);
    says(&stranger, "the cluster settings of this node and of its peer differ").await;
    let log = stranger.log_text();
    let line = log.lines().find(|line| line.contains("of its peer differ")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["peer"]), (&"ERROR".into(), &"balancer".into()));
    let error = line["error"].as_str().unwrap();
    assert!(error.starts_with("FAILED_PRECONDITION: the peer's cluster settings"), "{error}");
    assert!(error.contains("list_max 99") && error.contains("list_max 256"), "{error}");
    let url = cluster.url(Which::Matcher(1));
    until("it answers health checks", async || health(&url).await.filter(|&is| is == ServingStatus::NotServing)).await;
    says(cluster.node(Which::Balancer), "refused a node with other cluster settings").await;
    // It tries again and again; that is told once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = |process: &Process, text: &str| process.log_text().matches(text).count();
    assert_eq!(told(cluster.node(Which::Balancer), "refused a node with other cluster settings"), 1);
    assert_eq!(told(&stranger, "of its peer differ"), 1);
    until("the check finds it, and that it is refused", async || {
        let (code, stdout, _) = dovetail(&cluster.server(), &["status", "--check"]).await;
        let differs = stdout.contains("settings_differ: matcher 1: has cluster \"tested\"");
        (code == Some(1) && differs && stdout.contains("refused: the peer's cluster settings")).then_some(())
    })
    .await;
}
