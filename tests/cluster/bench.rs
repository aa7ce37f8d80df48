//! `dovetail bench`, as a user runs it: it starts its own clusters, and cleans up behind itself.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Cluster, Done, Place, SEVEN, heavy, program, run};
use crate::programs::DOVETAIL;

/// Runs a bench whose files go into `place`.
async fn bench(place: &Place, arguments: &[&str]) -> Done {
    let mut command = program(DOVETAIL);
    command.arg("bench").args(arguments).env("TMPDIR", &place.folder);
    run(command).await
}

/// The report of a bench that worked.
async fn report(place: &Place, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = bench(place, arguments).await;
    assert_eq!(code, Some(0), "{stderr}\n{stdout}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_processes_are_measured_and_their_checksum_is_the_known_one() {
    let _heavy = heavy().await;
    let place = Place::new("bench");
    let report = report(&place, &["--workload", "w2", "--elements", "20000", "--json"]).await;
    let round = &report["rounds"][0];
    let found = &round["result"];
    assert_eq!((&found["check"], &found["against"]), (&"matches".into(), &"known answer".into()), "{found}");
    assert_eq!((&found["found"]["matches"], &found["found"]["xor"]), (&8197.into(), &"9136dbe456a94457".into()));
    assert_eq!(report["summary"]["correct"], true);
    for quantity in ["elements_per_s", "matches_per_s", "acknowledged_per_s"] {
        assert!(positive(&report["summary"][quantity]["median"]), "{quantity}: {report}");
    }
    let latencies = (&round["submit_to_acknowledge"]["count"], &round["submit_to_match"]["count"]);
    assert_eq!(latencies, (&20_000.into(), &8197.into()));
    let streams = round["streams"].as_array().unwrap();
    for stream in ["submit", "acknowledgements", "feed", "candidates", "decisions", "matches"] {
        assert!(streams.iter().any(|of| of["stream"] == stream && positive(&of["bytes"])), "{stream}: {streams:?}");
    }
    assert!(positive(&round["disk"]["log_syncs"]) && positive(&round["disk"]["log_bytes"]), "{round}");
    // Every element is searched for once, by the slice that has its key.
    assert_eq!(round["search"]["probes"], 20_000);
    if cfg!(target_os = "linux") {
        let roles: Vec<_> =
            round["usage"].as_array().unwrap().iter().map(|of| (&of["role"], &of["processes"])).collect();
        let expected = [("balancer", 1), ("matchers", 3), ("gatherers", 3)].map(|(role, n)| (role.into(), n.into()));
        assert_eq!(roles, expected.iter().map(|(role, n): &(Value, Value)| (role, n)).collect::<Vec<_>>());
    }
    assert!(is_empty(&place.folder), "the cluster's files are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_clients_at_a_fixed_rate_are_checked_in_the_order_of_their_ids() {
    let _heavy = heavy().await;
    let place = Place::new("bench-up");
    let arguments = "--up --workload w1 --elements 3000 --clients 3 --rate 6000 --rounds 2 --json";
    let report = report(&place, &arguments.split(' ').collect::<Vec<_>>()).await;
    for round in report["rounds"].as_array().unwrap() {
        assert_eq!(round["result"]["against"], "sequential program");
        // The last element is due after half a second.
        assert!(round["seconds"].as_f64().unwrap() >= 0.4998, "{round}");
    }
    assert_eq!(report["rounds"].as_array().unwrap().len(), 2);
    assert_eq!((&report["summary"]["correct"], &report["summary"]["latency_from"]), (&true.into(), &"due".into()));
    assert!(is_empty(&place.folder), "the cluster's files are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tls_costs_is_measured_with_certificates_of_the_run() {
    let _heavy = heavy().await;
    let place = Place::new("bench-tls");
    for shape in [&["--matchers", "2", "--gatherers", "2"][..], &["--up"]] {
        let load = ["--tls", "--workload", "w2", "--elements", "20000", "--json"];
        let report = report(&place, &[&load, shape].concat()).await;
        assert_eq!((&report["cluster"]["tls"], &report["summary"]["correct"]), (&true.into(), &true.into()));
        assert_eq!(report["rounds"][0]["silent"], Value::Array(Vec::new()), "every node was asked over TLS");
        assert!(is_empty(&place.folder), "the cluster's files are left, and its keys");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_runs_is_measured_with_a_described_workload() {
    let _heavy = heavy().await;
    let cluster = Cluster::start("bench-server", SEVEN).await;
    let server = cluster.server();
    let files = ["--pool-file", "examples/riders.toml", "--input", "examples/riders.csv", "--server", &server];
    let (code, stdout, stderr) = bench(&cluster.place, &files).await;
    assert_eq!(code, Some(0), "{stderr}");
    for part in ["120 elements flat out", "3 matchers, 3 gatherers", "submit to match", "are not known"] {
        assert!(stdout.contains(part), "no {part:?} in\n{stdout}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_refused_with_the_value() {
    let place = Place::new("bench-bad");
    for (arguments, code, expected) in [
        ("--workload w4 --elements 7", 2, "must be even, not 7"),
        ("--matchers 4 --slices 2", 2, "4 matchers need as many slices or more, --slices is 2"),
        ("--rate 0", 2, "\"0\" is not a number of elements a second, 0.1 to 100000000"),
        ("--elements 1", 2, "1 is not in 2..=50000000"),
        ("--data /proc/none", 1, "cannot make the folder /proc/none/dovetail-bench-"),
        ("--pool-file none.toml --input none.csv", 1, "none.toml"),
        ("--server http://127.0.0.1:1", 1, "no server at http://127.0.0.1:1"),
    ] {
        let done = bench(&place, &arguments.split(' ').collect::<Vec<_>>()).await;
        assert_eq!((done.0, done.1.as_str()), (Some(code), ""), "{arguments}");
        assert!(done.2.contains(expected), "{arguments}: {}", done.2);
    }
}
