//! Bad input: the right code, the offending value and the bound in the message, and nothing else disturbed.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use dovetail::{
    client::{Client, ClientError, Columns, SubmitOptions, by_id, by_key, value},
    pb::{
        self, Attribute, AttributeType, ElementState, PoolDefinition, Submission,
        match_service_client::MatchServiceClient,
    },
    reason::Reason,
};
use dovetail_wire::node_pb::{self, candidates_service_client::CandidatesServiceClient};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Cluster, Place, SMALL, Shape, Which, channel, dovetail, inspect, program, run, until};
use crate::load::{settled, submit};
use crate::programs::{self, DOVETAIL};

const WAIT: Duration = Duration::from_secs(30);

fn pool(name: &str, rule: &str) -> PoolDefinition {
    let attribute = |name: &str, r#type: AttributeType| Attribute { name: name.to_owned(), r#type: r#type.into() };
    PoolDefinition {
        name: name.to_owned(),
        attributes: vec![attribute("skill", AttributeType::Int), attribute("region", AttributeType::String)],
        rule: rule.to_owned(),
        payload_bytes_max: 100,
        ..PoolDefinition::default()
    }
}

fn player(key: &str, skill: i64) -> Submission {
    let attributes = [("skill".to_owned(), value::int(skill)), ("region".to_owned(), value::string("eu"))].into();
    Submission { key: key.to_owned(), attributes, ..Submission::default() }
}

/// A small cluster with a pool in which one element waits.
struct Disturbed {
    cluster: Cluster,
    client: Client,
    waiting: u64,
}

impl Disturbed {
    async fn start(test: &str) -> Disturbed {
        let cluster = Cluster::start(test, SMALL).await;
        let client = cluster.client().await;
        client.define_pool(pool("duel", "a.skill == b.skill")).await.unwrap();
        let waiting = client.submit_one("duel", player("waits", 77)).await.unwrap();
        Disturbed { cluster, client, waiting }
    }

    fn raw(&self) -> MatchServiceClient<tonic::transport::Channel> {
        MatchServiceClient::new(channel(&self.cluster.server())).max_encoding_message_size(64 << 20)
    }

    /// Nothing else happened: the ids go on without a gap, and who waited is matched.
    async fn undisturbed(self) {
        let partner = self.client.submit_one("duel", player("partner", 77)).await.unwrap();
        assert_eq!(partner, self.waiting + 1, "what is refused takes no id");
        self.still_matches(partner).await;
    }

    async fn still_matches(self, partner: u64) {
        let found = self.client.get(by_id(self.waiting), WAIT).await.unwrap();
        assert_eq!(found.state(), ElementState::Matched);
        assert_eq!(found.r#match.unwrap().b.unwrap().id, partner);
    }
}

/// A refusal has this code, and says all of these.
fn check<T: std::fmt::Debug>(outcome: Result<T, ClientError>, code: Code, says: &[&str]) {
    match outcome {
        Err(ClientError::Refused(status)) => refused(&status, code, says),
        other => panic!("expected {code:?}, but was told {other:?}"),
    }
}

fn refused(status: &Status, code: Code, says: &[&str]) {
    assert_eq!(status.code(), code, "{status:?}");
    for part in says {
        assert!(status.message().contains(part), "no {part:?} in {:?}", status.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_that_cannot_be_let_in_is_refused_with_value_and_bound() {
    let it = Disturbed::start("elements").await;
    let with = |name: &str, value| {
        let mut element = player("bad", 1);
        element.attributes.insert(name.to_owned(), value);
        element
    };
    let duel: [(Submission, Code, &[&str]); 11] = [
        (
            with("skill", value::string("high")),
            Code::InvalidArgument,
            &["\"skill\"", "string", "int", "\"bad\"", "\"duel\""],
        ),
        (with("skill", value::double(1.5)), Code::InvalidArgument, &["\"skill\"", "double", "int"]),
        (with("region", value::string_list(["eu"])), Code::InvalidArgument, &["\"region\"", "list", "string"]),
        (with("colour", value::int(1)), Code::InvalidArgument, &["unknown attribute \"colour\""]),
        (with("skill", pb::Value { kind: None }), Code::InvalidArgument, &["\"skill\"", "no value"]),
        (
            Submission { payload: vec![b'x'; 101].into(), ..player("bad", 1) },
            Code::InvalidArgument,
            &["101 bytes", "at most 100"],
        ),
        (player("", 1), Code::InvalidArgument, &["key is 0 bytes", "at least 1", "at most 256"]),
        (player(&"k".repeat(257), 1), Code::InvalidArgument, &["key is 257 bytes", "at most 256"]),
        (
            Submission { idempotency_key: "i".repeat(257), ..player("bad", 1) },
            Code::InvalidArgument,
            &["idempotency key is 257 bytes", "at most 256"],
        ),
        (
            Submission { ttl_ms: Some(34_560_000_001), ..player("bad", 1) },
            Code::InvalidArgument,
            &["34560000001 ms", "at most 34560000000"],
        ),
        (player("waits", 1), Code::AlreadyExists, &["\"waits\"", "\"duel\"", &format!("element {}", it.waiting)]),
    ];
    for (element, code, says) in duel {
        check(it.client.submit_one("duel", element).await, code, says);
    }
    check(it.client.submit_one("duet", player("bad", 1)).await, Code::NotFound, &["pool \"duet\" is not defined"]);
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_256_bytes_and_a_payload_at_the_bound_are_good() {
    let it = Disturbed::start("bounds").await;
    let key = "k".repeat(256);
    let element = Submission { payload: vec![7; 100].into(), ttl_ms: Some(34_560_000_000), ..player(&key, 77) };
    let partner = it.client.submit_one("duel", element).await.unwrap();
    it.still_matches(partner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_with_another_body_is_refused_and_with_the_same_gets_the_first_id() {
    let it = Disturbed::start("idempotency").await;
    let element = Submission { idempotency_key: "once".to_owned(), ..player("ida", 1) };
    let first = it.client.submit_one("duel", element.clone()).await.unwrap();
    assert_eq!(it.client.submit_one("duel", element.clone()).await.unwrap(), first);
    let other = Submission { key: "other".to_owned(), ..element };
    let says = ["\"once\"", &format!("element {first}"), "another body"];
    check(it.client.submit_one("duel", other).await, Code::AlreadyExists, &says);
    let partner = it.client.submit_one("duel", player("partner", 77)).await.unwrap();
    assert_eq!(partner, first + 1);
    it.still_matches(partner).await;
}

/// A client that submits a lot uses up the quota of its own pool, and no key is forgotten for it.
#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_are_remembered_whatever_others_submit_and_across_a_restart() {
    let mut cluster = Cluster::start_with("remembered", SMALL, &[("idempotency-max", "20")]).await;
    let client = cluster.client().await;
    for name in ["duel", "other"] {
        let defined = client.define_pool(pool(name, "a.skill > b.skill && a.skill < b.skill"));
        assert_eq!(defined.await.unwrap().idempotency_ms, 86_400_000);
    }
    let once = |key: &str| Submission { idempotency_key: key.to_owned(), ..player(key, 1) };
    let first = client.submit_one("duel", once("ida")).await.unwrap();
    for number in 0..20 {
        client.submit_one("other", once(&format!("k{number}"))).await.unwrap();
    }
    for restarts in 0..2 {
        assert_eq!(client.submit_one("duel", once("ida")).await.unwrap(), first);
        assert!(client.submit_one("other", once("k0")).await.unwrap() > first);
        let error = client.submit_one("other", once("one more")).await.unwrap_err();
        assert_eq!((error.code(), error.reason()), (Some(Code::ResourceExhausted), Some(Reason::IdempotencyFull)));
        assert_eq!(error.value("pool"), Some("other".to_owned()));
        assert_eq!(
            (error.value("limit"), error.value("bound")),
            (Some("idempotency_max".to_owned()), Some("20".to_owned()))
        );
        let room_ms: u64 = error.value("room_ms").unwrap().parse().unwrap();
        assert!((86_000_000..=86_400_001).contains(&room_ms), "{room_ms}");
        client.submit_one("other", player(&format!("unkeyed{restarts}"), 2)).await.unwrap();
        client.submit_one("duel", once(&format!("later{restarts}"))).await.unwrap();
        cluster.kill(Which::Balancer);
        cluster.spawn(Which::Balancer);
        cluster.serving(Which::Balancer).await;
    }
    assert_eq!(client.get_pool("other").await.unwrap().idempotency_ms, 86_400_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_tell_programs_the_reason_and_the_values() {
    let it = Disturbed::start("reasons").await;
    let error = it.client.submit_one("duel", player("waits", 1)).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyWaiting));
    assert_eq!(error.value("element"), Some(it.waiting.to_string()), "who has the key");
    let error = it.client.get(by_key("duel", "nobody"), Duration::ZERO).await.unwrap_err();
    assert_eq!((error.reason(), error.value("key")), (Some(Reason::ElementUnknown), Some("nobody".to_owned())));
    let request = pb::WatchMatchesRequest { after: 1_000_000, ..Default::default() };
    let error = ClientError::from(it.raw().watch_matches(request).await.unwrap_err());
    assert_eq!((error.reason(), error.value("bound")), (Some(Reason::CursorFromFuture), Some(it.waiting.to_string())));
    let long = pb::GetElementRequest { element: Some(by_id(it.waiting)), wait_ms: 60_001, position: 0 };
    let details = it.raw().get_element(long).await.unwrap_err().get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "wait_ms");
    // A name as long as a call may have is not sent back: the answer would be larger than clients take.
    let mut huge = player("huge", 1);
    huge.attributes.insert("n".repeat(200 << 10), value::int(1));
    let error = it.client.submit_one("duel", huge.clone()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::AttributeUnknown), "{error}");
    assert!(error.to_string().len() < 2048);
    let mut stream = it.client.submit("duel", SubmitOptions::default()).await.unwrap();
    stream.send_rows(vec![huge]).await.unwrap();
    let answer = stream.answer().await.unwrap().unwrap();
    assert_eq!(answer.refusals[0].reason(), Reason::ElementSize, "a row that cannot fit is not unpacked");
    assert!(answer.refusals[0].message.contains("\"huge\"") && answer.refusals[0].message.len() < 2048);
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_which_every_row_is_refused_is_answered_within_what_clients_take() {
    let it = Disturbed::start("all-refused").await;
    let rows: Vec<_> = (0..65_536).map(|_| player("waits", 1)).collect();
    let columns = Columns::of(&rows).unwrap();
    let mut stream = it.client.submit("duel", SubmitOptions::default()).await.unwrap();
    stream.send_columns(columns).await.unwrap();
    let answer = stream.answer().await.unwrap().unwrap();
    assert_eq!(answer.refusals.len(), 65_536);
    let bytes: usize = answer.refusals.iter().map(|refusal| refusal.message.len()).sum();
    assert!(bytes < 4 << 20, "{bytes} bytes of text");
    let last = answer.refusals.last().unwrap();
    assert_eq!((last.reason(), last.holder, last.code), (Reason::KeyWaiting, it.waiting, 6));
    assert_eq!(last.message, format!("KEY_WAITING: element {}", it.waiting), "the server left its text out");
    drop(stream);
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_are_listed_in_pages_and_looked_up_by_name() {
    let it = Disturbed::start("pages").await;
    for number in 0..5 {
        it.client.define_pool(pool(&format!("p{number}"), "a.skill == b.skill")).await.unwrap();
    }
    let ask = |page_token: &str, view: pb::PoolView| pb::ListPoolsRequest {
        page_size: 4,
        page_token: page_token.to_owned(),
        view: view.into(),
    };
    let first = it.client.list_pools_page(ask("", pb::PoolView::Basic)).await.unwrap();
    let names = |page: &pb::ListPoolsResponse| {
        page.pools.iter().map(|status| status.definition.clone().unwrap().name).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&first), first.view()),
        (["duel", "p0", "p1", "p2"].map(str::to_owned).into(), pb::PoolView::Basic)
    );
    assert_eq!((first.pools[0].waiting, first.pools[0].definition.as_ref().unwrap().rule.as_str()), (1, ""));
    let second = it.client.list_pools_page(ask(&first.next_page_token, pb::PoolView::Unspecified)).await.unwrap();
    assert_eq!((names(&second), second.next_page_token.as_str()), (["p3", "p4"].map(str::to_owned).into(), ""));
    assert_eq!(second.pools[0].definition.as_ref().unwrap().rule, "a.skill == b.skill");
    assert_eq!(it.client.list_pools().await.unwrap().len(), 6);
    let duel = it.client.get_pool("duel").await.unwrap();
    assert_eq!((duel.definition, duel.waiting), (Some(pool("duel", "a.skill == b.skill")), 1));
    check(it.client.get_pool("duet").await, Code::NotFound, &["pool \"duet\" is not defined"]);
    check(it.client.get_pool("d".repeat(65)).await, Code::InvalidArgument, &["65 bytes", "at most 64"]);
    check(it.client.list_pools_page(ask("du et", pb::PoolView::Full)).await, Code::InvalidArgument, &["\"du et\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_does_not_disturb_its_batch() {
    let it = Disturbed::start("row").await;
    let mut bad = player("bad", 1);
    bad.attributes.insert("skill".to_owned(), value::bool(true));
    let mut stream = it.client.submit("duel", SubmitOptions::default()).await.unwrap();
    let rows = vec![player("good", 5), bad, player("good", 6), player("partner", 77), player("", 1)];
    stream.send(rows).await.unwrap();
    let answer = stream.answer().await.unwrap().unwrap();
    assert_eq!(answer.ids, [it.waiting + 1, 0, 0, it.waiting + 2, 0]);
    let told: Vec<_> = answer.refusals.iter().map(|refusal| (refusal.row, Code::from(refusal.code))).collect();
    assert_eq!(told, [(1, Code::InvalidArgument), (2, Code::AlreadyExists), (4, Code::InvalidArgument)]);
    for (refusal, says) in answer.refusals.iter().zip(["\"skill\" is bool", "\"good\"", "0 bytes"]) {
        assert!(refusal.message.contains(says), "no {says:?} in {refusal:?}");
    }
    // An unknown pool refuses every row of its batch, and the stream goes on.
    let partner = it.waiting + 2;
    assert_eq!(stream.finish().await.unwrap(), []);
    let mut stream = it.client.submit("duet", SubmitOptions::default()).await.unwrap();
    stream.send(vec![player("a", 1), player("b", 1)]).await.unwrap();
    let answer = stream.answer().await.unwrap().unwrap();
    assert_eq!(answer.ids, [0, 0]);
    assert!(answer.refusals.iter().all(|refusal| refusal.code == 5 && refusal.message.contains("\"duet\"")));
    it.still_matches(partner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_refuses_more_and_evicts_nobody() {
    let it = Disturbed::start("full").await;
    it.client.define_pool(PoolDefinition { waiting_max: 2, ..pool("small", "a.skill == b.skill") }).await.unwrap();
    for (key, skill) in [("a", 1), ("b", 2)] {
        it.client.submit_one("small", player(key, skill)).await.unwrap();
    }
    let says = ["\"small\"", "2 elements", "waiting_max"];
    check(it.client.submit_one("small", player("c", 3)).await, Code::ResourceExhausted, &says);
    let state = it.client.get(by_key("small", "a"), Duration::ZERO).await.unwrap().state();
    assert_eq!(state, ElementState::Waiting);
    let partner = it.client.submit_one("duel", player("partner", 77)).await.unwrap();
    it.still_matches(partner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_cannot_be_is_refused_with_place_and_reason() {
    let it = Disturbed::start("definitions").await;
    let with = |rule: &str| pool("new", rule);
    let untyped = Attribute { name: "x".to_owned(), r#type: 0 };
    let cases: [(PoolDefinition, &[&str]); 11] = [
        (with("a.skill == b.skil"), &["rule:1:14", "unknown attribute \"skil\"", "skill"]),
        (with("a.skill ==\n  b.region"), &["rule:1:", "int", "string"]),
        (with("a.skill == "), &["rule:1:", "expected"]),
        (with("a.skill + b.skill"), &["rule:1:", "int", "bool"]),
        (with(&"a.skill == b.skill && ".repeat(1000)), &["rule:1:1", "bytes, at most"]),
        (pool("new pool", "true"), &["\"new pool\"", "1 to 64"]),
        (pool(&"n".repeat(65), "true"), &["1 to 64"]),
        (PoolDefinition { attributes: vec![untyped], ..with("true") }, &["attribute type is 0"]),
        (PoolDefinition { reprobe_ms: vec![5000, 5000], ..with("true") }, &["5000 ms after 5000 ms"]),
        (PoolDefinition { ttl_ms: 34_560_000_001, ..with("true") }, &["34560000001 ms", "at most 34560000000"]),
        (PoolDefinition { payload_bytes_max: 65_537, ..with("true") }, &["65537", "at most 65536"]),
    ];
    for (definition, says) in cases {
        check(it.client.define_pool(definition).await, Code::InvalidArgument, says);
    }
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_can_be_defined_again_only_as_it_is() {
    let it = Disturbed::start("redefined").await;
    let same = pool("duel", "a.skill == b.skill");
    let again = it.client.define_pool(same.clone()).await.unwrap();
    assert_eq!((again.created, again.defined_at), (false, 1));
    for other in [
        PoolDefinition { rule: "a.skill != b.skill".to_owned(), ..same.clone() },
        PoolDefinition { ttl_ms: 5, ..same.clone() },
        PoolDefinition { attributes: same.attributes[..1].to_vec(), ..same.clone() },
    ] {
        check(it.client.define_pool(other).await, Code::AlreadyExists, &["\"duel\"", "another definition"]);
    }
    let pools = it.client.list_pools().await.unwrap();
    assert_eq!((pools.len(), pools[0].definition.as_ref()), (1, Some(&same)));
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_the_future_is_out_of_range() {
    let it = Disturbed::start("future").await;
    let request = pb::WatchMatchesRequest { after: 1_000_000, ..Default::default() };
    let status = it.raw().watch_matches(request).await.unwrap_err();
    let highest = it.waiting.to_string();
    refused(&status, Code::OutOfRange, &["1000000", "future", &highest]);
    let (code, stdout, stderr) = dovetail(&it.cluster.server(), &["watch", "--json", "--from", "1000000"]).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("1000000") && stderr.contains("OUT_OF_RANGE"), "{stderr}");
    let request = pb::WatchMatchesRequest { pool: "duet".to_owned(), ..Default::default() };
    refused(&it.raw().watch_matches(request).await.unwrap_err(), Code::NotFound, &["\"duet\""]);
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_names_no_element_or_waits_too_long_is_refused() {
    let it = Disturbed::start("calls").await;
    let mut raw = it.raw();
    let nothing = pb::GetElementRequest::default();
    refused(&raw.get_element(nothing).await.unwrap_err(), Code::InvalidArgument, &["element"]);
    let long = pb::GetElementRequest { element: Some(by_id(it.waiting)), wait_ms: 60_001, position: 0 };
    refused(&raw.get_element(long).await.unwrap_err(), Code::InvalidArgument, &["60001", "60000"]);
    let unknown = pb::GetElementRequest { element: Some(by_id(4711)), wait_ms: 0, position: 0 };
    refused(&raw.get_element(unknown).await.unwrap_err(), Code::NotFound, &["4711"]);
    let unknown = pb::GetElementRequest { element: Some(by_key("duel", "nobody")), wait_ms: 0, position: 0 };
    refused(&raw.get_element(unknown).await.unwrap_err(), Code::NotFound, &["\"nobody\"", "\"duel\""]);
    let empty = pb::SubmitOneRequest { pool: "duel".to_owned(), element: None };
    refused(&raw.submit_one(empty).await.unwrap_err(), Code::InvalidArgument, &["element"]);
    refused(
        &raw.define_pool(pb::DefinePoolRequest { pool: None }).await.unwrap_err(),
        Code::InvalidArgument,
        &["pool"],
    );
    let without = pb::SubmitRequest { pool: "duel".to_owned(), batch: None, ..Default::default() };
    let mut stream = raw.submit(tokio_stream::iter([without])).await.unwrap().into_inner();
    refused(&stream.message().await.unwrap_err(), Code::InvalidArgument, &["rows"]);
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_taken_and_refused_as_the_same_rows_would_be() {
    let it = Disturbed::start("columns").await;
    let long = "k".repeat(300);
    let rows: Vec<Submission> = vec![
        player("one", 1),
        player("", 2),
        player(&long, 3),
        Submission { payload: vec![0; 70_000].into(), ..player("heavy", 4) },
        player("one", 5),
        Submission { idempotency_key: "once".to_owned(), ..player("two", 6) },
        Submission { idempotency_key: "once".to_owned(), ..player("two", 6) },
        Submission { idempotency_key: "once".to_owned(), ..player("two", 7) },
        Submission { attributes: [("shoe".to_owned(), value::int(43))].into(), ..player("three", 8) },
        Submission { attributes: [].into(), ..player("four", 9) },
    ];
    // Of one type each, but "skill" is an int.
    let doubles =
        |skill: f64| Submission { attributes: [("skill".to_owned(), value::double(skill))].into(), ..player("d", 1) };
    for (number, rows) in [rows, vec![doubles(1.5)], Vec::new()].into_iter().enumerate() {
        let mut answers = Vec::new();
        for (pool, columns) in [("by-rows", false), ("by-columns", true)] {
            let pool = format!("{pool}-{number}");
            it.client.define_pool(self::pool(&pool, "a.skill < 0 && b.skill < 0")).await.unwrap();
            for pool in [pool.as_str(), "nowhere"] {
                let mut stream = it.client.submit(pool, SubmitOptions::default()).await.unwrap();
                if columns {
                    stream.send_columns(Columns::of(&rows).unwrap()).await.unwrap()
                } else {
                    stream.send_rows(rows.clone()).await.unwrap()
                };
                let answer = stream.finish().await.unwrap().remove(0);
                let first = answer.ids.iter().copied().find(|&id| id > 0).unwrap_or_default();
                let ids: Vec<u64> = answer.ids.iter().map(|id| id.saturating_sub(first.saturating_sub(1))).collect();
                // Pools have names of their own, ids go on.
                let told = answer.refusals.iter().map(|refusal| {
                    let text = refusal.message.replace("by-columns", "by-rows");
                    let digits =
                        text.chars().filter(|c| !(refusal.code == Code::AlreadyExists as i32 && c.is_ascii_digit()));
                    (refusal.row, refusal.code, digits.collect::<String>())
                });
                answers.push((columns, pool == "nowhere", ids, told.collect::<Vec<_>>()));
            }
        }
        let of = |columns| {
            answers.iter().filter(move |answer| answer.0 == columns).map(|(_, to, ids, told)| (to, ids, told))
        };
        assert_eq!(of(true).collect::<Vec<_>>(), of(false).collect::<Vec<_>>());
    }
    let partner = it.client.submit_one("duel", player("partner", 77)).await.unwrap();
    it.still_matches(partner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_do_not_fit_end_the_stream_and_say_why() {
    let it = Disturbed::start("misfit").await;
    let keys = || Some(pb::TextColumn { text: "ab".into(), ends: vec![1, 0, 0, 0, 2, 0, 0, 0].into() });
    let skill = |bytes: usize| pb::AttributeColumn {
        name: "skill".to_owned(),
        column: Some(pb::Column {
            present: Vec::new().into(),
            values: Some(pb::column::Values::Ints(vec![0; bytes].into())),
        }),
    };
    let batches = [
        (pb::Columns { count: 2, keys: keys(), attributes: vec![skill(15)], ..Default::default() }, "15"),
        (pb::Columns { count: 3, keys: keys(), ..Default::default() }, "3 elements take 12"),
        (pb::Columns { count: 2, ..Default::default() }, "keys is missing"),
        (pb::Columns { count: u32::MAX, keys: keys(), ..Default::default() }, "at most 65536"),
        (pb::Columns { count: 2, keys: keys(), attributes: vec![skill(16); 65], ..Default::default() }, "at most 64"),
        (
            pb::Columns {
                count: 2,
                keys: keys(),
                attributes: vec![pb::AttributeColumn { name: "n".repeat(65), ..skill(16) }],
                ..Default::default()
            },
            "name is 65 bytes",
        ),
        (pb::Columns { count: 2, keys: keys(), ttls_ms: vec![0; 9].into(), ..Default::default() }, "ttls_ms"),
    ];
    for (columns, says) in batches {
        let batch = Some(pb::submit_request::Batch::Columns(columns));
        let request = pb::SubmitRequest { pool: "duel".to_owned(), batch, ..Default::default() };
        let mut stream = it.raw().submit(tokio_stream::iter([request])).await.unwrap().into_inner();
        refused(&stream.message().await.unwrap_err(), Code::InvalidArgument, &[says]);
    }
    it.undisturbed().await;
}

/// Two bytes each on the wire, and 144 or more once they are unpacked.
#[tokio::test(flavor = "multi_thread")]
async fn millions_of_empty_rows_or_columns_in_a_message_are_counted_and_refused() {
    let it = Disturbed::start("empty-rows").await;
    let empty = vec![Submission::default(); 1_500_000];
    let rows = pb::submit_request::Batch::Rows(pb::Rows::of(&empty));
    let attributes = vec![pb::AttributeColumn::default(); 1_500_000];
    let columns = pb::submit_request::Batch::Columns(pb::Columns {
        keys: Some(pb::TextColumn::default()),
        attributes,
        ..Default::default()
    });
    for (batch, says) in [(rows, ["1500000 rows", "at most 65536"]), (columns, ["65 attribute columns", "at most 64"])]
    {
        let request = pb::SubmitRequest { pool: "duel".to_owned(), batch: Some(batch), ..Default::default() };
        let mut stream = it.raw().submit(tokio_stream::iter([request])).await.unwrap().into_inner();
        refused(&stream.message().await.unwrap_err(), Code::InvalidArgument, &says);
    }
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_that_is_too_large_is_refused_in_rows_and_in_columns() {
    let it = Disturbed::start("large-element").await;
    let attributes = (0..64).map(|at| Attribute { name: format!("l{at}"), r#type: 5 }).collect();
    let definition = PoolDefinition {
        name: "lists".to_owned(),
        attributes,
        rule: "a.l62.intersects(b.l63)".to_owned(),
        ..Default::default()
    };
    it.client.define_pool(definition).await.unwrap();
    let list = || pb::StringList { values: vec!["x".repeat(250); 8] };
    let value = || pb::Value { kind: Some(pb::value::Kind::StringListValue(list())) };
    let of = |key: &str, lists: usize| Submission {
        key: key.to_owned(),
        attributes: (0..lists).map(|at| (format!("l{at}"), value())).collect(),
        ..Default::default()
    };
    let says = "is 130564 bytes without its payload, at most 65536, which is element_bytes_max";
    let error = it.client.submit_one("lists", of("huge", 64)).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ElementSize), "{error}");
    assert!(error.to_string().contains(says), "{error}");
    let mut stream = it.client.submit("lists", SubmitOptions::default()).await.unwrap();
    for rows in [true, false] {
        let elements = vec![of(&format!("huge-{rows}"), 64), of(&format!("fits-{rows}"), 31)];
        if rows {
            stream.send_rows(elements).await.unwrap()
        } else {
            stream.send_columns(Columns::of(&elements).unwrap()).await.unwrap()
        };
        let answer = stream.answer().await.unwrap().unwrap();
        assert_eq!((answer.ids[0], answer.ids[1] > 0), (0, true));
        assert_eq!(answer.refusals[0].reason(), Reason::ElementSize, "{answer:?}");
    }
    let listed = it.client.get_pool("lists").await.unwrap();
    assert_eq!((listed.waiting, listed.waiting_bytes), (2, 2 * (64 + 64 * 8 + 31 * 8 * 254) + 9 + 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_bound_is_out_of_range() {
    let it = Disturbed::start("oversize").await;
    let huge = || Submission { payload: vec![0; 5 << 20].into(), ..player("huge", 1) };
    let request = pb::SubmitOneRequest { pool: "duel".to_owned(), element: Some(huge()) };
    refused(&it.raw().submit_one(request).await.unwrap_err(), Code::OutOfRange, &["too large", "4194304"]);
    let batch = Some(pb::submit_request::Batch::Rows(pb::Rows::of(&[huge()])));
    let request = pb::SubmitRequest { pool: "duel".to_owned(), batch, ..Default::default() };
    let mut stream = it.raw().submit(tokio_stream::iter([request])).await.unwrap().into_inner();
    refused(&stream.message().await.unwrap_err(), Code::OutOfRange, &["too large", "4194304"]);
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_disturbs_nobody() {
    let it = Disturbed::start("leaves").await;
    // A preface and half a frame; and a stream that is dropped without reading an answer.
    let mut socket = TcpStream::connect(it.cluster.address(Which::Balancer)).unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00").unwrap();
    drop(socket);
    let mut socket = TcpStream::connect(it.cluster.address(Which::Balancer)).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: dovetail\r\n\r\n").unwrap();
    let mut stream = it.client.submit("duel", SubmitOptions::default()).await.unwrap();
    let rows = (0..500).map(|number| player(&format!("left-{number}"), 1000 + number)).collect();
    stream.send(rows).await.unwrap();
    drop(stream);
    let partner = it.client.submit_one("duel", player("partner", 77)).await.unwrap();
    it.still_matches(partner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_line_is_told_by_its_number() {
    let it = Disturbed::start("ndjson").await;
    let text = "{\"key\":\"a\",\"attributes\":{\"skill\":77}}\n\n{\"key\":\"b\",\"attributes\":{\"skill\":}}\n{\"key\":\"c\"}\n";
    let file = it.cluster.place.file("bad.ndjson", text);
    let name = file.to_str().unwrap();
    let server = it.cluster.server();
    let (code, stdout, stderr) = dovetail(&server, &["submit", "--pool", "duel", name]).await;
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("submitted 1 elements") && stdout.ends_with("1 malformed\n"), "{stdout}");
    assert!(stderr.starts_with(&format!("{name}:3: malformed: ")), "{stderr}");
    // A refused line has its number as well.
    let file = it.cluster.place.file("refused.ndjson", "{\"key\":\"x\"}\n{\"key\":\"x\"}\n{\"key\":\"y\"}\n");
    let name = file.to_str().unwrap();
    let (code, stdout, stderr) = dovetail(&server, &["submit", "--pool", "duel", name]).await;
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("submitted 2 elements") && stdout.contains("1 refused"), "{stdout}");
    assert!(stderr.starts_with(&format!("{name}:2: refused: ")) && stderr.contains("ALREADY_EXISTS"), "{stderr}");
    let partner = it.waiting + 1;
    it.still_matches(partner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_the_first_thing_a_user_hears_of() {
    let it = Disturbed::start("port").await;
    let taken = it.cluster.address(Which::Balancer);
    let data = it.cluster.place.folder.join("other-data");
    let mut up = program(DOVETAIL);
    up.args(["up", "--listen", &taken, "--data"]).arg(&data);
    let mut commands = vec![up];
    for which in [Which::Balancer, Which::Matcher(0), Which::Gatherer(0)] {
        commands.push(it.cluster.command_with(which, &[("listen", &taken), ("data", data.to_str().unwrap())]));
    }
    for command in commands {
        let told = format!("{command:?}");
        let (code, stdout, stderr) = run(command).await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{told}\n{stderr}");
        assert!(stderr.contains(&taken) && stderr.contains("in use") && stderr.contains("--listen"), "{stderr}");
    }
    assert!(!data.join("log").exists(), "nothing is made before the port is bound");
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_has_one_balancer_and_one_cluster() {
    let mut it = Disturbed::start("folder").await;
    let second = |it: &Disturbed, name: &str| {
        let listen = format!("{}:7777", it.cluster.place.ip);
        run(it.cluster.command_with(Which::Balancer, &[("listen", &listen), ("cluster-name", name)]))
    };
    let folder = it.cluster.data();
    let folder = folder.to_str().unwrap();
    let (code, _, stderr) = second(&it, "tested").await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(folder) && stderr.contains("locked"), "{stderr}");
    it.cluster.stop(Which::Balancer).await;
    let (code, _, stderr) = second(&it, "other").await;
    assert_eq!(code, Some(1), "{stderr}");
    let says = [folder, "\"tested\"", "\"other\""];
    assert!(says.iter().all(|part| stderr.contains(part)), "{stderr}");
    it.cluster.spawn(Which::Balancer);
    it.cluster.serving(Which::Balancer).await;
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_place_of_the_data_folder_ends_the_balancer_with_its_name() {
    let place = Place::new("no-folder");
    let file = place.file("data", "not a folder");
    let mut command = program(programs::folder().join("dovetail-balancer"));
    command.args(["--listen", &format!("{}:7400", place.ip), "--data"]).arg(&file);
    let (code, _, stderr) = run(command).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(file.to_str().unwrap()), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_with_both_values_and_decides_nothing() {
    let it = Disturbed::start("stranger").await;
    let ip = it.cluster.place.ip;
    for (port, which) in [(7777, Which::Matcher(0)), (7778, Which::Gatherer(0))] {
        let listen = format!("{ip}:{port}");
        let command = it.cluster.command_with(which, &[("slices", "5"), ("listen", &listen)]);
        let stranger = it.cluster.extra(&format!("stranger-{port}"), command);
        let url = format!("http://{ip}:{port}");
        let says = ["slices 5", "slices 2", "digest"];
        until("the stranger says why it is refused", async || {
            let links = inspect(&url).await?.links;
            let told = |text: &str| says.iter().all(|part| text.contains(part));
            (links.iter().any(|link| told(&link.last_error)) && told(&stranger.log_text())).then_some(())
        })
        .await;
        assert_ne!(
            crate::harness::health(&url).await.map(|status| status as i32),
            Some(1),
            "a stranger is not serving"
        );
        let (code, stdout, _) = dovetail(&url, &["status"]).await;
        assert_eq!(code, Some(0));
        assert!(says.iter().all(|part| stdout.contains(part)), "{stdout}");
    }
    it.undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_read_another_log_are_told_so_and_start_again() {
    // The balancer's disk is lost, and it comes back with an empty log: what the others know means nothing to it.
    let mut cluster = Cluster::start("other-log", Shape { slices: 2, matchers: 1, gatherers: 2 }).await;
    let client = cluster.client().await;
    client.define_pool(pool("duel", "a.skill == b.skill")).await.unwrap();
    submit(&client, "duel", (0..100).map(|number| player(&format!("p{number}"), number / 2)).collect()).await;
    assert_eq!(settled(&client, "duel", 0, WAIT).await.len(), 50);
    cluster.stop(Which::Balancer).await;
    std::fs::remove_dir_all(cluster.data()).unwrap();
    cluster.spawn(Which::Balancer);
    cluster.serving(Which::Balancer).await;
    let client = until("the server takes connections", async || Client::connect(cluster.server()).await.ok()).await;
    client.define_pool(pool("duel", "a.skill == b.skill")).await.unwrap();
    let ids = submit(&client, "duel", (0..10).map(|number| player(&format!("p{number}"), number / 2)).collect()).await;
    assert_eq!(ids, (2..12).collect::<Vec<_>>(), "a new log");
    assert_eq!(settled(&client, "duel", 0, WAIT).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gatherer_that_asks_for_other_slices_than_a_matcher_runs_is_refused_with_both() {
    let it = Disturbed::start("other-slices").await;
    let matcher = it.cluster.url(Which::Matcher(0));
    let peer = until("the matcher says who it is", async || {
        let told = inspect(&matcher).await?;
        let digest = told.settings_digest;
        Some(node_pb::Peer {
            cluster: told.cluster,
            settings: told.settings,
            settings_digest: digest,
            role: pb::Role::Gatherer.into(),
            protocol: dovetail_wire::PROTOCOL,
            ..Default::default()
        })
    })
    .await;
    let mut client = CandidatesServiceClient::new(channel(&matcher));
    // The first is what a version asks that had a stream for each slice.
    for (slices, says) in [(vec![], "[]"), (vec![0, 7], "[s0, s7]"), (vec![0, 0], "[s0, s0]")] {
        let cursors = slices.into_iter().map(|slice| node_pb::SliceCursor { slice, after: 0 }).collect();
        let request = node_pb::CandidatesRequest { peer: Some(peer.clone()), cursors, ..Default::default() };
        let status = client.candidates(request).await.map(drop).unwrap_err();
        refused(&status, Code::InvalidArgument, &[says, "matcher 0 runs s0", "same version"]);
    }
    it.undisturbed().await;
}
