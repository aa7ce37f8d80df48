//! What a client is told is true, and stays true: reading one's writes, and withdrawals, under races and restarts.

use std::time::Duration;

use dovetail::client::{Client, ClientError, WatchOptions, by_id, by_key};
use dovetail::pb::{ElementState, EndReason, PoolDefinition, Submission, WithdrawOutcome, WithdrawResponse};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::harness::{Cluster, PATIENCE, SMALL, Which, dovetail, until, within};
use crate::time::{EQUAL, WAIT, player, pool, start};

const GATHERER: Which = Which::Gatherer(0);
/// Long enough for what would happen at once, and short enough to wait for in vain.
const MOMENT: Duration = Duration::from_millis(300);

async fn restart_balancer(cluster: &mut Cluster) -> Client {
    cluster.kill(Which::Balancer);
    cluster.spawn(Which::Balancer);
    cluster.serving(Which::Balancer).await;
    cluster.client().await
}

/// Two elements that match.
async fn pair(client: &Client, name: &str, skill: i64) -> (u64, u64) {
    let a = client.submit_one("duel", player(&format!("{name}-a"), skill)).await.unwrap();
    (a, client.submit_one("duel", player(&format!("{name}-b"), skill)).await.unwrap())
}

fn withdraw(client: &Client, id: u64) -> JoinHandle<Result<WithdrawResponse, ClientError>> {
    let client = client.clone();
    tokio::spawn(async move { client.withdraw(by_id(id)).await })
}

/// Waits until an event is on disk.
async fn durable(cluster: &Cluster, x: u64) {
    until("an event is on disk", async || (cluster.balancer_state().await.durable >= x).then_some(())).await;
}

fn refused(error: &ClientError, code: Code, parts: &[&str]) {
    assert_eq!(error.code(), Some(code), "{error}");
    assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error} has not all of {parts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_never_from_before_the_position_it_was_asked_for() {
    let (mut cluster, client) = start("at", pool(EQUAL)).await;
    for number in 0..100 {
        let (a, b) = pair(&client, &format!("p{number}"), number).await;
        let (found, position) = client.get_at(by_key("duel", format!("p{number}-a")), Duration::ZERO, b).await.unwrap();
        assert_eq!((found.id, found.state(), found.ended_at), (a, ElementState::Matched, b));
        assert!(position >= b, "an answer says what it reflects");
    }
    let alone = client.submit_one("duel", player("alone", 1000)).await.unwrap();
    let position = client.withdraw(by_id(alone)).await.unwrap().position;
    let (found, _) = client.get_at(by_id(alone), Duration::ZERO, position).await.unwrap();
    assert_eq!((found.state(), found.ended_at), (ElementState::Withdrawn, position));

    let highest = cluster.balancer_state().await.assigned;
    let error = client.get_at(by_id(alone), Duration::ZERO, highest + 1).await.unwrap_err();
    refused(&error, Code::OutOfRange, &[&format!("position {}", highest + 1), &format!("highest id is {highest}")]);
    let (_, shown, _) = dovetail(&cluster.server(), &["get", &alone.to_string(), "--at", &position.to_string()]).await;
    assert!(shown.contains("withdrawn"), "{shown}");

    // While nothing is decided there is no answer but the one that says so.
    cluster.node(GATHERER).signal("STOP");
    let (a, b) = pair(&client, "slow", 2000).await;
    assert_eq!(client.get(by_id(a), Duration::ZERO).await.unwrap().state(), ElementState::Waiting);
    let error = client.get_at(by_id(a), MOMENT, b).await.unwrap_err();
    refused(&error, Code::DeadlineExceeded, &[&format!("position {b}"), &format!("up to {highest}"), "300 ms"]);
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.get_at(by_id(a), Duration::ZERO, b).await })
    };
    cluster.node(GATHERER).signal("CONT");
    assert_eq!(within(PATIENCE, "an answer", waiting).await.unwrap().unwrap().0.state(), ElementState::Matched);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_holds_across_restarts_even_when_all_results_are_lost() {
    let (mut cluster, mut client) = start("at-restart", pool(EQUAL)).await;
    let mut last = 0;
    for number in 0..3 {
        // Killed before its results are on disk, as likely as not.
        let (a, b) = pair(&client, &format!("p{number}"), number).await;
        client = restart_balancer(&mut cluster).await;
        let (found, position) = client.get_at(by_id(a), Duration::ZERO, b).await.unwrap();
        assert_eq!((found.state(), found.ended_at), (ElementState::Matched, b));
        last = position;
    }
    let (a, b) = pair(&client, "seen", 100).await;
    let (seen, position) = client.get_at(by_id(a), WAIT, b).await.unwrap();
    assert!(position > last);
    for which in cluster.all() {
        cluster.stop(which).await;
    }
    std::fs::remove_dir_all(cluster.data().join("results")).unwrap();
    for which in [Which::Balancer, Which::Matcher(0)] {
        cluster.spawn(which);
    }
    cluster.serving(Which::Balancer).await;
    let client = cluster.client().await;
    // An older state is all there is now. A client that saw a newer one does not get it.
    assert_eq!(client.get(by_id(a), Duration::ZERO).await.unwrap().state(), ElementState::Waiting);
    let error = client.get_at(by_id(a), MOMENT, position).await.unwrap_err();
    refused(&error, Code::DeadlineExceeded, &[&format!("position {position}"), "up to 0"]);
    cluster.spawn(GATHERER);
    let (again, _) = client.get_at(by_id(a), Duration::ZERO, position).await.unwrap();
    assert_eq!((again.state(), again.r#match), (seen.state(), seen.r#match));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_withdrawals_at_once_one_withdraws_and_the_others_say_so() {
    let (mut cluster, client) = start("withdraw-twice", pool(EQUAL)).await;
    let alone = client.submit_one("duel", player("alone", 1)).await.unwrap();
    cluster.node(GATHERER).signal("STOP");
    let withdrawals: Vec<_> = (0..5).map(|_| withdraw(&client, alone)).collect();
    durable(&cluster, alone + 1).await;
    cluster.node(GATHERER).signal("CONT");
    let mut outcomes = Vec::new();
    for withdrawal in withdrawals {
        let answer = within(PATIENCE, "a withdrawal", withdrawal).await.unwrap().unwrap();
        assert_eq!((answer.position, answer.reason(), &answer.r#match), (alone + 1, EndReason::Withdrawn, &None));
        outcomes.push(answer.outcome());
    }
    outcomes.sort_unstable();
    let already = WithdrawOutcome::AlreadyWithdrawn;
    assert_eq!(outcomes, [WithdrawOutcome::Withdrawn, already, already, already, already]);
    assert_eq!(cluster.balancer_state().await.assigned, alone + 1, "one event is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_and_a_match_at_once_have_one_outcome() {
    let (_cluster, client) = start("withdraw-race", pool(EQUAL)).await;
    let (mut withdrawn, mut matched) = (0, 0);
    for number in 0..200 {
        let a = client.submit_one("duel", player(&format!("a{number}"), number)).await.unwrap();
        let submitting = {
            let client = client.clone();
            tokio::spawn(async move { client.submit_one("duel", player(&format!("b{number}"), number)).await.unwrap() })
        };
        if number % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let answer = within(PATIENCE, "a withdrawal", client.withdraw(by_id(a))).await.unwrap();
        let b = submitting.await.unwrap();
        let [of_a, of_b] = [a, b].map(|id| client.get_at(by_id(id), Duration::ZERO, b.max(answer.position)));
        let ((of_a, _), (of_b, _)) = (of_a.await.unwrap(), of_b.await.unwrap());
        match answer.outcome() {
            WithdrawOutcome::Withdrawn => {
                withdrawn += 1;
                assert_eq!((of_a.state(), of_a.ended_at), (ElementState::Withdrawn, answer.position));
                assert_eq!(of_b.state(), ElementState::Waiting);
            }
            WithdrawOutcome::AlreadyMatched => {
                matched += 1;
                let found = answer.r#match.unwrap();
                assert_eq!((found.cursor, found.a.as_ref().unwrap().id, found.b.as_ref().unwrap().id), (b, a, b));
                assert_eq!((&of_a.r#match, &of_b.r#match), (&Some(found.clone()), &Some(found)));
            }
            other => panic!("element {a}: {other:?}"),
        }
        if of_b.state() == ElementState::Waiting {
            client.withdraw(by_id(b)).await.unwrap();
        }
    }
    eprintln!("{withdrawn} were withdrawn, {matched} were matched");
}

// What ended the element was looked up only afterwards. By then it could be forgotten, and the answer was `unknown`.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_waited_for_does_not_depend_on_what_is_remembered() {
    let mut cluster = Cluster::start_with("forgets", SMALL, &[("ended-max", "0")]).await;
    let client = cluster.client().await;
    client.define_pool(pool(EQUAL)).await.unwrap();
    let c = client.submit_one("duel", player("c", 2)).await.unwrap();
    cluster.node(GATHERER).signal("STOP");
    let (a, b) = pair(&client, "p", 1).await;
    let late = Submission { ttl_ms: Some(1), ..player("late", 3) };
    let late = client.submit_one("duel", late).await.unwrap();
    durable(&cluster, late + 1).await;
    let withdrawals = [a, b, c, late].map(|id| withdraw(&client, id));
    let asked = {
        let client = client.clone();
        tokio::spawn(async move { client.get(by_id(a), WAIT).await.unwrap() })
    };
    // Three withdrawals; that of the one that has expired makes no event.
    durable(&cluster, late + 4).await;
    tokio::time::sleep(MOMENT).await;
    cluster.node(GATHERER).signal("CONT");
    let mut answers = Vec::new();
    for withdrawal in withdrawals {
        let answer = within(PATIENCE, "a withdrawal", withdrawal).await.unwrap().unwrap();
        let cursor = answer.r#match.as_ref().map(|found| found.cursor);
        answers.push((answer.outcome(), answer.reason(), cursor));
    }
    let matched = (WithdrawOutcome::AlreadyMatched, EndReason::Unspecified, Some(b));
    let withdrawn = (WithdrawOutcome::Withdrawn, EndReason::Withdrawn, None);
    assert_eq!(answers, [matched, matched, withdrawn, (WithdrawOutcome::AlreadyWithdrawn, EndReason::Expired, None)]);
    let found = within(PATIENCE, "the answer", asked).await.unwrap();
    assert_eq!((found.state(), found.ended_at), (ElementState::Matched, b));
    // A client that asks now hears that nothing is remembered.
    for id in [a, b, c, late] {
        let answer = client.withdraw(by_id(id)).await.unwrap();
        assert_eq!((answer.outcome(), answer.position), (WithdrawOutcome::NotFound, 0));
        refused(&client.get(by_id(id), Duration::ZERO).await.unwrap_err(), Code::NotFound, &[&id.to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_that_a_restart_left_unanswered_is_retried_and_tells_the_same_end() {
    let (mut cluster, client) = start("withdraw-retry", pool(EQUAL)).await;
    let alone = client.submit_one("duel", player("alone", 1)).await.unwrap();
    cluster.node(GATHERER).signal("STOP");
    let (a, b) = pair(&client, "p", 2).await;
    let unanswered = [withdraw(&client, alone), withdraw(&client, a)];
    durable(&cluster, b + 2).await;
    let client = restart_balancer(&mut cluster).await;
    for withdrawal in unanswered {
        assert!(withdrawal.await.unwrap().unwrap_err().is_transient());
    }
    let retried = [withdraw(&client, alone), withdraw(&client, a)];
    tokio::time::sleep(MOMENT).await;
    cluster.node(GATHERER).signal("CONT");
    let [of_alone, of_a] = retried.map(|retry| within(PATIENCE, "a retry", retry));
    let (of_alone, of_a) = (of_alone.await.unwrap().unwrap(), of_a.await.unwrap().unwrap());
    // Its own first try withdrew it. That is not told from another client's, but from having expired.
    assert_eq!((of_alone.outcome(), of_alone.reason()), (WithdrawOutcome::AlreadyWithdrawn, EndReason::Withdrawn));
    assert!((b + 1..=b + 2).contains(&of_alone.position), "no second event was written: {of_alone:?}");
    assert_eq!((of_a.outcome(), of_a.r#match.unwrap().cursor), (WithdrawOutcome::AlreadyMatched, b));
    assert_eq!(cluster.balancer_state().await.assigned, b + 2);
    // Once more after another restart, with all of it decided.
    let client = restart_balancer(&mut cluster).await;
    let again = within(PATIENCE, "a retry", client.withdraw(by_id(alone))).await.unwrap();
    assert_eq!(
        (again.outcome(), again.reason(), again.position),
        (of_alone.outcome(), of_alone.reason(), of_alone.position)
    );
    assert_eq!(client.withdraw(by_id(a)).await.unwrap().outcome(), WithdrawOutcome::AlreadyMatched);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_has_caps_that_the_errors_name() {
    let flags = [("waiting-total-max", "3"), ("waits-max", "1"), ("watchers-max", "1")];
    let cluster = Cluster::start_with("caps", SMALL, &flags).await;
    let client = cluster.client().await;
    for name in ["duel", "other"] {
        client.define_pool(PoolDefinition { name: name.to_owned(), ..pool(EQUAL) }).await.unwrap();
    }
    let mut ids = Vec::new();
    for (number, pool) in (0..).zip(["duel", "duel", "other"]) {
        ids.push(client.submit_one(pool, player(&format!("p{number}"), number)).await.unwrap());
    }
    for pool in ["duel", "other"] {
        let error = client.submit_one(pool, player("more", 9)).await.unwrap_err();
        refused(&error, Code::ResourceExhausted, &["3 elements wait in all pools together", "waiting_total_max"]);
    }
    client.withdraw(by_id(ids[2])).await.unwrap();
    client.submit_one("duel", player("more", 9)).await.unwrap();

    let waits = {
        let client = client.clone();
        let id = ids[0];
        tokio::spawn(async move {
            loop {
                // The question below may come first, and take its place for a moment.
                match client.get(by_id(id), WAIT).await {
                    Ok(found) => return found,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        })
    };
    let error = until("it waits", async || client.get(by_id(ids[1]), Duration::from_millis(1)).await.err()).await;
    refused(&error, Code::ResourceExhausted, &["1 calls wait", "waits_max"]);
    assert!(client.get(by_id(ids[1]), Duration::ZERO).await.is_ok(), "whoever does not wait is answered");
    client.withdraw(by_id(ids[0])).await.unwrap();
    assert_eq!(waits.await.unwrap().state(), ElementState::Withdrawn);

    let mut watch = client.watch(WatchOptions::default());
    watch.next().await.unwrap();
    let error = client.watch_outcomes(WatchOptions::default()).next().await.unwrap_err();
    refused(&error, Code::ResourceExhausted, &["1 watchers are open", "watchers_max"]);
}
