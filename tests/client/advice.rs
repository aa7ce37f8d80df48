//! What commands say beside an answer or an error: what it is worth, and what can be done.

use dovetail::pb::inspect_response::State;
use dovetail::pb::{self, ElementState, WithdrawOutcome};

use crate::commands::{done, run};
use crate::fake::Fake;

fn waiting() -> pb::Element {
    pb::Element {
        id: 3,
        pool: "duel".to_owned(),
        key: "p3".to_owned(),
        state: ElementState::Waiting.into(),
        ..Default::default()
    }
}

/// A balancer whose decisions wait for a gatherer, or go on.
fn balancer(undecided_ms: u64) -> pb::InspectResponse {
    let away = pb::AwaitedNode {
        role: pb::Role::Gatherer.into(),
        index: 1,
        address: "http://g1".to_owned(),
        down_ms: 31_000,
        ..Default::default()
    };
    let state = pb::BalancerState { undecided_ms, stable: 17, awaited: vec![away], ..Default::default() };
    pb::InspectResponse { state: Some(State::Balancer(state)), ..Default::default() }
}

#[test]
fn an_answer_of_who_waits_says_when_decisions_stand_still() {
    let fake = Fake::start();
    fake.script().element = Some(waiting());
    fake.script().position = 16;
    fake.script().node = Some(balancer(30_000));
    let stale = |at| format!("decisions wait for gatherer 1 (http://g1, down for 31s), so this is as of event {at}\n");
    for (command, at) in [("get 3", 16), ("explain 3", 17), ("explain 3 --json", 17), ("list --pool duel", 17)] {
        let (code, stdout, stderr) = run(Some(&fake), &command.split(' ').collect::<Vec<_>>());
        assert_eq!((code, stderr), (Some(0), stale(at)), "{command}");
        assert!(stdout.contains("p3"), "{command}: {stdout}");
    }
    fake.script().node = Some(balancer(0));
    for command in ["get 3", "explain 3", "list --pool duel"] {
        let (code, _, stderr) = run(Some(&fake), &command.split(' ').collect::<Vec<_>>());
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{command}");
    }
    fake.script().node = Some(balancer(30_000));
    fake.script().element.as_mut().unwrap().state = ElementState::Matched.into();
    let (_, _, stderr) = run(Some(&fake), &["get", "3"]);
    assert_eq!(stderr, "", "what has ended stays so");
}

#[test]
fn a_withdrawal_without_an_answer_may_still_take_place_and_it_is_said_how_to_know() {
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for (command, tells) in [
        ("withdraw 3", "\"dovetail get 3\" tells"),
        ("withdraw --pool duel --key p3", "\"dovetail get\" with the same pool and key tells"),
        ("withdraw --pool duel --key-prefix p --yes", "\"dovetail list\" with the same filter tells who still waits"),
    ] {
        let arguments: Vec<&str> = command.split(' ').chain(["--timeout", "300ms", "--server", &url]).collect();
        let expected = format!(
            "error: not done within 300ms, which is --timeout, with the server at {url}; the withdrawal may still take \
             place; {tells}\n"
        );
        assert_eq!(run(None, &arguments), done(3, "", &expected), "{command}");
    }
    let (_, _, stderr) = run(None, &["withdraw", "3", "--server", "http://127.0.0.1:1"]);
    assert!(stderr.starts_with("error: no server") && !stderr.contains("still"), "never sent: {stderr}");
}

#[test]
fn a_pool_that_is_not_defined_is_said_by_every_command_that_names_one() {
    let fake = Fake::start();
    fake.script().withdraw =
        Some(pb::WithdrawResponse { outcome: WithdrawOutcome::NotFound.into(), ..Default::default() });
    let expected = done(1, "", "error: pool \"duet\" is not defined (NOT_FOUND); there are: duel\n");
    for command in [
        "get --pool duet --key a",
        "explain --pool duet --key a",
        "withdraw --pool duet --key a",
        "list --pool duet",
        "list --pool duet --where skill=1",
        "watch --json --pool duet",
        "watch --json --outcomes --pool duet",
    ] {
        assert_eq!(run(Some(&fake), &command.split(' ').collect::<Vec<_>>()), expected, "{command}");
    }
    let (_, _, stderr) = run(Some(&fake), &["get", "--pool", "duel", "--key", "a"]);
    assert_eq!(stderr, "error: element 17 is not known (NOT_FOUND)\n");
}

#[test]
fn what_is_missing_is_named_with_its_alternatives() {
    for (command, part) in [
        ("get", "<ID|--key <KEY>>"),
        ("explain", "<ID|--key <KEY>>"),
        ("get --pool chess", "--key <KEY>"),
        ("get --key a", "--pool <POOL>"),
        ("get abc", "an id is a number; a key needs --pool and --key"),
        ("withdraw abc", "an id is a number; a key needs --pool and --key"),
        ("pool define", "<NAME|--file <FILE>>"),
        ("pool define duel", "--rule <RULE>"),
        ("rule plan", "<RULE|--file <FILE>>"),
    ] {
        let (code, _, stderr) = run(None, &command.split(' ').collect::<Vec<_>>());
        let said = stderr.split("Usage:").next().unwrap();
        assert!(code == Some(2) && said.contains(part), "{command}: {stderr}");
    }
}

#[test]
fn a_server_that_is_no_address_is_wrong_usage_for_every_command() {
    for command in ["status", "status --all", "status --check", "status --watch", "pool list", "get 3", "watch"] {
        for server in ["x y", "ftp://127.0.0.1:1", "http://127.0.0.1:1,https://b"] {
            let arguments: Vec<&str> = command.split(' ').chain(["--server", server]).collect();
            let (code, stdout, stderr) = run(None, &arguments);
            assert_eq!((code, stdout.as_str()), (Some(2), ""), "{command} {server}: {stderr}");
            assert!(stderr.starts_with("error: --server: "), "{command} {server}: {stderr}");
        }
    }
}
