//! Data folders of earlier versions: they are read, what is in them is decided alike, and they are written on.
//!
//! The folders in `old` were made before elements had owners and pools could be dropped; `old/make.sh` says how.

use std::{fs, path::Path, time::Duration};

use dovetail::client::{Client, by_id, by_key};
use dovetail::pb::{ElementState, Match, Submission};
use tonic::Code;

use crate::harness::{Cluster, PATIENCE, Place, SMALL, Which};
use crate::history::{self, History};
use crate::load::settled;
use crate::time::{WAIT, player};

/// Bytes of the first segment of a log; the second has twice as many.
const SEGMENT: u64 = 1 << 20;

/// A copy of a folder in `old`, and with `results` what was decided.
fn copy(name: &str, to: &Path, results: bool) {
    let from = crate::programs::root().join("tests/cluster/old").join(name);
    for part in ["log", "checkpoints", "results"] {
        if !results && part == "results" {
            continue;
        }
        // A folder that had nothing in it is not kept.
        let Ok(files) = fs::read_dir(from.join(part)) else { continue };
        fs::create_dir_all(to.join(part)).unwrap();
        for file in files.map(Result::unwrap) {
            let copied = to.join(part).join(file.file_name());
            fs::copy(file.path(), &copied).unwrap();
            if copied.extension().is_some_and(|extension| extension == "seg") {
                let number: u64 = copied.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                fs::File::options().write(true).open(&copied).unwrap().set_len(number * SEGMENT).unwrap();
            }
        }
    }
}

/// However old the folders are, what they say is remembered.
const KEPT: [(&str, &str); 2] = [("idempotency-ms", "3153600000000"), ("results-ms-max", "315360000000")];

/// A cluster whose balancer finds such a folder.
async fn start(name: &str, results: bool) -> Cluster {
    let place = Place::new(&format!("old-{name}-{results}"));
    copy(name, &place.data(), results);
    Cluster::start_in(place, SMALL, &KEPT).await
}

fn pairs(matches: &[Match]) -> Vec<(u64, String, String)> {
    let key = |end: &Option<dovetail::pb::MatchedElement>| end.as_ref().unwrap().key.clone();
    matches.iter().map(|found| (found.cursor, key(&found.a), key(&found.b))).collect()
}

async fn waiting(client: &Client) -> Vec<(String, u64, u64)> {
    let pools = client.list_pools().await.unwrap();
    pools.into_iter().map(|pool| (pool.definition.unwrap().name, pool.waiting, pool.matches)).collect()
}

fn counts(of: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    of.iter().map(|&(name, waiting, matches)| (name.to_owned(), waiting, matches)).collect()
}

/// What was the version's own to tell: elements, their retries, and what became of them.
async fn tells_of_its_elements(client: &Client) {
    let again = |n: i64, idempotency_key: &str| Submission {
        idempotency_key: idempotency_key.to_owned(),
        payload: format!("p{n}").into_bytes().into(),
        ..player(&format!("e{n}"), n % 45)
    };
    assert_eq!(client.submit_one("equal", again(0, "once-e0")).await.unwrap(), 4, "a retry gets the first id");
    let error = client.submit_one("equal", again(20, "")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::AlreadyExists), "its key waits: {error}");
    let waits = client.get(by_key("equal", "e20"), Duration::ZERO).await.unwrap();
    assert_eq!((waits.state(), &waits.payload[..]), (ElementState::Waiting, &b"p20"[..]));
}

/// Drops a pool of the old folder, and has another of its name match.
async fn drops_a_pool(cluster: &mut Cluster) {
    let client = cluster.client().await;
    let gone = client.get_pool("gone").await.unwrap();
    let last = client.get(by_key("gone", "g59"), Duration::ZERO).await.unwrap();
    let waits = client.get(by_key("gone", "g30"), Duration::ZERO).await.unwrap();
    assert_eq!((last.state(), waits.state()), (ElementState::Matched, ElementState::Waiting));
    let dropped = client.drop_pool("gone", Some(gone.defined_at), WAIT).await.unwrap();
    assert!(dropped.dropped && dropped.waiting == 20, "{dropped:?}");
    assert!(client.define_pool(gone.definition.unwrap()).await.unwrap().created, "the name is free");
    cluster.kill(Which::Balancer);
    cluster.spawn(Which::Balancer);
    cluster.serving(Which::Balancer).await;
    let client = cluster.client().await;
    let old = client.get(by_id(waits.id), Duration::ZERO).await.unwrap();
    assert_eq!((old.state(), old.key.as_str(), old.pool.as_str()), (ElementState::Dropped, "g30", "gone"));
    let one = client.submit_one("gone", player("g30", 30)).await.unwrap();
    let two = client.submit_one("gone", player("another", 30)).await.unwrap();
    let (found, _) = client.get_at(by_id(one), WAIT, two).await.unwrap();
    assert_eq!(found.state(), ElementState::Matched, "of the new pool alone: {found:?}");
    // One of the old elements waits for this one.
    let three = client.submit_one("equal", player("e20-partner", 20)).await.unwrap();
    assert_eq!(client.get_at(by_key("equal", "e20"), WAIT, three).await.unwrap().0.state(), ElementState::Matched);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_from_before_owners_and_drops_is_decided_alike_and_its_pools_can_be_dropped() {
    let old = Place::new("old-log");
    copy("log", &old.data(), true);
    let written = History::read(&old.data(), "tested");
    assert_eq!((written.stored.len(), &written.stored), (41, &written.oracle), "by the version that wrote it, too");
    // Without what that version decided, this one decides it anew.
    let mut cluster = start("log", false).await;
    let client = cluster.client().await;
    let found = settled(&client, "", 0, PATIENCE).await;
    assert_eq!(waiting(&client).await, counts(&[("equal", 29, 15), ("gone", 20, 20), ("near", 50, 5)]));
    tells_of_its_elements(&client).await;
    drops_a_pool(&mut cluster).await;
    let all = settled(&cluster.client().await, "", 0, PATIENCE).await;
    assert_eq!(pairs(&all[..found.len()]), pairs(&found));
    let now = History::of(&mut cluster).await;
    now.check(&all);
    assert_eq!(now.stored[..written.stored.len()], written.stored, "decided alike");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_from_before_owners_and_drops_is_gone_on_from_and_its_pools_can_be_dropped() {
    let old = Place::new("old-checkpoint");
    copy("checkpoint", &old.data(), true);
    let written = history::stored(&old.data(), "tested");
    let mut cluster = start("checkpoint", true).await;
    let client = cluster.client().await;
    let expected = counts(&[("equal", 29, 15), ("fill", 0, 36), ("gone", 20, 20), ("near", 50, 5)]);
    assert_eq!(waiting(&client).await, expected);
    let found = settled(&client, "", 0, PATIENCE).await;
    let stored: Vec<u64> = written.iter().filter(|of| of.anchor.is_some()).map(|of| of.x.0).collect();
    assert_eq!(found.iter().map(|found| found.cursor).collect::<Vec<_>>(), stored, "what was decided is told again");
    tells_of_its_elements(&client).await;
    drops_a_pool(&mut cluster).await;
    let all = settled(&cluster.client().await, "", 0, PATIENCE).await;
    assert_eq!(pairs(&all[..found.len()]), pairs(&found));
}
