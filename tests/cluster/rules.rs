//! Rules, schemas and definitions of pools as clients meet them: notes, refusals, definitions that come again, times.

use dovetail::client::{ClientError, by_id, value};
use dovetail::pb::{self, Attribute, AttributeType, NoteCode, PoolDefinition, Submission};
use tonic::Code;

use crate::harness::{Cluster, SMALL, dovetail};
use crate::time::WAIT;

fn pool(name: &str, rule: &str) -> PoolDefinition {
    let attribute = |name: &str, r#type: AttributeType| Attribute { name: name.to_owned(), r#type: r#type.into() };
    PoolDefinition {
        name: name.to_owned(),
        attributes: vec![
            attribute("skill", AttributeType::Int),
            attribute("start", AttributeType::Timestamp),
            attribute("length", AttributeType::Duration),
        ],
        rule: rule.to_owned(),
        ..Default::default()
    }
}

/// What a refusal says.
fn refused<T: std::fmt::Debug>(outcome: Result<T, ClientError>, code: Code) -> String {
    match outcome {
        Err(ClientError::Refused(status)) if status.code() == code => status.message().to_owned(),
        other => panic!("expected {code:?}, but was told {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_may_be_a_mistake_is_answered_with_notes() {
    let cluster = Cluster::start("notes", SMALL).await;
    let client = cluster.client().await;
    let widens = "abs(a.skill - b.skill) <= 25 + min(a.waited, b.waited) / 1000";
    let codes = |answer: pb::DefinePoolResponse| answer.notes.iter().map(pb::Note::code).collect::<Vec<_>>();
    let once = client.define_pool(pool("once", widens)).await.unwrap();
    assert!(once.created && once.notes[0].text.contains("reprobe"), "{once:?}");
    assert_eq!(codes(once), [NoteCode::WaitedWithoutReprobe]);
    // Also when it is there already.
    let again = client.define_pool(pool("once", widens)).await.unwrap();
    assert!(!again.created);
    assert_eq!(codes(again), [NoteCode::WaitedWithoutReprobe]);
    let late = PoolDefinition { ttl_ms: 10_000, reprobe_ms: vec![5_000, 10_000], ..pool("late", widens) };
    assert_eq!(codes(client.define_pool(late).await.unwrap()), [NoteCode::ReprobeNeverHappens]);
    let fine = PoolDefinition { ttl_ms: 60_000, reprobe_ms: vec![5_000, 10_000], ..pool("fine", widens) };
    assert_eq!(codes(client.define_pool(fine).await.unwrap()), []);
    let define = ["pool", "define", "loud", "--attribute", "skill=int", "--rule", "a.skill > b.skill"];
    let (code, stdout, stderr) = dovetail(&cluster.server(), &define).await;
    assert_eq!((code, stdout.contains("\"loud\" is defined")), (Some(0), true), "{stdout}");
    assert!(stderr.starts_with("note: not the same with a and b exchanged"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_comes_again_is_compared_by_its_meaning() {
    let cluster = Cluster::start("again", SMALL).await;
    let client = cluster.client().await;
    let first = PoolDefinition { ttl_ms: 60_000, ..pool("duel", "a.skill == b.skill && a.length > 5000") };
    let defined = client.define_pool(first.clone()).await.unwrap();
    let mut same =
        PoolDefinition { rule: "(a.skill==b.skill)\n&& a.length > duration('5s')".to_owned(), ..first.clone() };
    same.attributes.reverse();
    let again = client.define_pool(same).await.unwrap();
    assert_eq!((again.created, again.defined_at), (false, defined.defined_at));
    assert_eq!(client.list_pools().await.unwrap()[0].definition.as_ref(), Some(&first), "it stays as it was");

    let other = PoolDefinition { ttl_ms: 5, rule: "a.skill == b.skill".to_owned(), ..first.clone() };
    let text = refused(client.define_pool(other).await, Code::AlreadyExists);
    for part in [
        "rule is defined as a.skill == b.skill && a.length > 5000, and given as a.skill == b.skill",
        "ttl is defined as 1m, and given as 5ms",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let mut other = first.clone();
    other.attributes[0].r#type = AttributeType::Double.into();
    let text = refused(client.define_pool(other).await, Code::AlreadyExists);
    assert!(text.contains("attribute \"skill\" is defined as int, and given as double"), "{text}");
    // What is wrong by itself is told first.
    let wrong = PoolDefinition { rule: "a.skil == b.skill".to_owned(), ttl_ms: 5, ..first };
    let text = refused(client.define_pool(wrong).await, Code::InvalidArgument);
    assert!(text.contains("unknown attribute \"skil\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_cannot_be_is_refused_with_its_line_and_what_to_write() {
    let cluster = Cluster::start("carets", SMALL).await;
    let client = cluster.client().await;
    let rule = "a.skill == b.skill\n\t&& a.skill and b.skill";
    let expected =
        "pool \"duel\": rule:2:13: \"and\" is no operator: write \"&&\"\n\t&& a.skill and b.skill\n\t           ^^^";
    assert_eq!(refused(client.define_pool(pool("duel", rule)).await, Code::InvalidArgument), expected);
    let define =
        ["pool", "define", "duel", "--attribute", "tags=list", "--rule", "a.tags.contains('é') || a.tags == b.tags"];
    let (code, stdout, stderr) = dovetail(&cluster.server(), &define).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    let expected = "error: pool \"duel\": rule:1:1: a.tags is list<string>, but \"contains\" needs string; write 'é' in a.tags \
                    (INVALID_ARGUMENT)\na.tags.contains('é') || a.tags == b.tags\n^^^^^^\n";
    assert_eq!(stderr, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_matched_as_ints_and_shown_as_times() {
    let cluster = Cluster::start("times", SMALL).await;
    let (client, server) = (cluster.client().await, cluster.server());
    let rule = "abs(a.start - b.start) <= duration('30m') && a.start >= timestamp('2026-01-01T00:00:00Z') && \
                b.start >= timestamp('2026-01-01T00:00:00Z')";
    let defined = client.define_pool(pool("slots", rule)).await.unwrap();
    assert_eq!(defined.notes, []);
    let element = |key: &str, start: i64| Submission {
        key: key.to_owned(),
        attributes: [("start".to_owned(), value::int(start)), ("length".to_owned(), value::int(-90_000))].into(),
        ..Default::default()
    };
    let new_year = 1_767_225_600_000;
    let early = client.submit_one("slots", element("early", new_year - 1)).await.unwrap();
    let first = client.submit_one("slots", element("first", new_year)).await.unwrap();
    let found = client.get(by_id(first), std::time::Duration::ZERO).await.unwrap();
    assert_eq!(found.attributes["start"], value::int(new_year));
    assert_eq!(found.attribute_types["start"], i32::from(AttributeType::Timestamp));
    let (_, stdout, _) = dovetail(&server, &["get", &first.to_string()]).await;
    assert!(stdout.contains("length = \"-1m30s\"") && stdout.contains("start = \"2026-01-01T00:00:00Z\""), "{stdout}");
    let (_, stdout, _) = dovetail(&server, &["explain", &early.to_string()]).await;
    assert!(stdout.contains("start = \"2025-12-31T23:59:59.999Z\""), "{stdout}");
    let list = ["list", "--pool", "slots", "--where", "start=2026-01-01T01:00:00+01:00", "--where", "length=-1m30s"];
    let (code, stdout, stderr) = dovetail(&server, &list).await;
    assert_eq!((code, stdout.lines().count()), (Some(0), 2), "{stdout}{stderr}");
    assert!(stdout.contains("first") && stdout.contains("start=\"2026-01-01T00:00:00Z\""), "{stdout}");
    let second = client.submit_one("slots", element("second", new_year + 1_800_000)).await.unwrap();
    let ended = client.get(by_id(first), WAIT).await.unwrap();
    assert_eq!(ended.r#match.unwrap().b.unwrap().id, second);
    let text = element("text", 0);
    let text = Submission { attributes: [("start".to_owned(), value::string("2026-01-01T00:00:00Z"))].into(), ..text };
    let said = refused(client.submit_one("slots", text).await, Code::InvalidArgument);
    assert!(said.contains("declares timestamp: an int of milliseconds since 1970"), "{said}");
}
