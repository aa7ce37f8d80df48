//! What every node does with calls before a service sees them: where to go, how many, until when, and what a stop waits for.

use std::time::{Duration, Instant};

use dovetail::client::{Client, ClientError, SubmitOptions, by_id, value};
use dovetail::pb::match_service_client::MatchServiceClient;
use dovetail::pb::{self, Attribute, AttributeType, PoolDefinition, Submission};
use dovetail::rpc::Reason;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::harness::{Cluster, PATIENCE, SMALL, Which, channel, until, within};

/// Calls that wait on one connection: more than the 4,096 that it once took.
const WAITING: usize = 6_000;

fn duel() -> PoolDefinition {
    let skill = Attribute { name: "skill".to_owned(), r#type: AttributeType::Int.into() };
    let rule = "a.skill == b.skill".to_owned();
    PoolDefinition { name: "duel".to_owned(), attributes: vec![skill], rule, ..Default::default() }
}

fn player(key: &str, skill: i64) -> Submission {
    let attributes = [("skill".to_owned(), value::int(skill))].into();
    Submission { key: key.to_owned(), attributes, ..Submission::default() }
}

async fn started(test: &str) -> (Cluster, Client) {
    let cluster = Cluster::start(test, SMALL).await;
    let client = cluster.client().await;
    client.define_pool(duel()).await.unwrap();
    (cluster, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_waiting_calls_do_not_hold_up_others_of_their_connection() {
    let (_cluster, client) = started("waiting-calls").await;
    let id = client.submit_one("duel", player("waits", 1)).await.unwrap();
    let waits = || {
        let client = client.clone();
        tokio::spawn(async move { client.get(by_id(id), Duration::from_secs(60)).await.map(|found| found.state()) })
    };
    let waiting: Vec<_> = (0..WAITING).map(|_| waits()).collect();
    let partner = within(PATIENCE, "a submission beside them", client.submit_one("duel", player("partner", 1))).await;
    assert_eq!(partner.unwrap(), id + 1);
    for waiting in waiting {
        let state = within(PATIENCE, "the end of a waiting call", waiting).await.unwrap().unwrap();
        assert_eq!(state, pb::ElementState::Matched);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_a_node_takes_are_refused_with_the_setting() {
    let cluster = Cluster::start_with("streams-max", SMALL, &[("streams-max", "16")]).await;
    let client = cluster.client().await;
    client.define_pool(duel()).await.unwrap();
    let request = || pb::WatchMatchesRequest::default();
    let mut open = Vec::new();
    for _ in 0..16 {
        // Each over a connection of its own: the cap is of all together.
        open.push(MatchServiceClient::new(channel(&cluster.server())).watch_matches(request()).await.unwrap());
    }
    let error = client.submit_one("duel", player("p", 1)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Some(Code::ResourceExhausted), Some(Reason::TooManyCalls)));
    assert_eq!((error.value("limit"), error.value("bound")), (Some("streams_max".to_owned()), Some("16".to_owned())));
    assert!(client.inspect().await.is_ok(), "operators are not counted");
    drop(open);
    until("there is room again", async || client.submit_one("duel", player("p", 1)).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_another_nodes_service_says_which_node_this_is_and_where_to_go() {
    let (cluster, client) = started("other-node").await;
    for (which, name) in [(Which::Matcher(0), "matcher 0"), (Which::Gatherer(0), "gatherer 0")] {
        let error = Client::connect(cluster.url(which)).await.unwrap().list_pools().await.unwrap_err();
        assert_eq!((error.code(), error.reason()), (Some(Code::Unimplemented), Some(Reason::OtherNode)));
        assert_eq!(error.value("balancer"), Some(cluster.server()));
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(&cluster.server()), "{text}");
    }
    let mut candidates = pb::candidates_service_client::CandidatesServiceClient::new(channel(&cluster.server()));
    let error = ClientError::from(candidates.candidates(pb::CandidatesRequest::default()).await.unwrap_err());
    assert_eq!(error.reason(), Some(Reason::OtherNode), "{error}");
    assert!(error.to_string().contains("balancer 0"), "{error}");
    assert_eq!(client.list_pools().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_for_each_service_of_the_role_and_for_no_other() {
    let (cluster, _client) = started("health").await;
    let every = ["MatchService", "FeedService", "CandidatesService", "DecisionsService", "InspectService"];
    for (which, serves) in [
        (Which::Balancer, ["MatchService", "FeedService", "InspectService"].as_slice()),
        (Which::Matcher(0), ["CandidatesService", "InspectService"].as_slice()),
        (Which::Gatherer(0), ["DecisionsService", "InspectService"].as_slice()),
    ] {
        let mut health = HealthClient::new(channel(&cluster.url(which)));
        for name in every {
            let service = format!("dovetail.v1.{name}");
            let answer = health.check(HealthCheckRequest { service }).await;
            match serves.contains(&name) {
                true => assert_eq!(answer.unwrap().into_inner().status(), ServingStatus::Serving, "{which:?} {name}"),
                false => assert_eq!(answer.unwrap_err().code(), Code::NotFound, "{which:?} {name}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_health_watches_reflection_and_idle_connections() {
    let (mut cluster, client) = started("stops").await;
    for which in [Which::Balancer, Which::Matcher(0), Which::Gatherer(0)] {
        let url = cluster.url(which);
        let idle = Client::connect(url.as_str()).await.unwrap();
        idle.inspect().await.unwrap();
        let mut health = HealthClient::new(channel(&url));
        let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        let mut reflection = ServerReflectionClient::new(channel(&url));
        let asks = tokio_stream::pending::<tonic_reflection::pb::v1::ServerReflectionRequest>();
        let reflection = reflection.server_reflection_info(asks).await.unwrap();
        let began = Instant::now();
        let status = cluster.stop(which).await;
        let took = began.elapsed();
        assert!(status.success(), "{which:?}: {status}");
        // A second at most, and some for a busy machine. What is open is waited for up to ten seconds.
        assert!(took < Duration::from_secs(4), "{which:?} took {took:?} to stop");
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing, "it is told first");
        drop((idle, reflection));
    }
    drop(client);
}

/// Asks for a page of elements that is never read, on a channel that lets the node write only a little of it.
async fn unread(channel: Channel) -> Result<tonic::Streaming<pb::ListElementsResponse>, tonic::Status> {
    let filter = pb::ElementFilter { pool: "duel".to_owned(), ..Default::default() };
    let request = pb::ListElementsRequest { filter: Some(filter), page_size: 10_000, ..Default::default() };
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/dovetail.v1.MatchService/ListElements");
    let codec = tonic_prost::ProstCodec::default();
    Ok(grpc.server_streaming(tonic::Request::new(request), path, codec).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_read_are_bounded_and_others_are_told_so() {
    let (cluster, client) = started("unread").await;
    let mut stream = client.submit("duel", SubmitOptions::default()).await.unwrap();
    let one = |number: i64| Submission { payload: vec![7; 4_000].into(), ..player(&format!("p{number}"), number) };
    stream.send((0..900).map(one).collect()).await.unwrap();
    stream.finish().await.unwrap();
    let narrow = Endpoint::from_shared(cluster.server()).unwrap();
    let narrow = narrow.initial_stream_window_size(1 << 16).initial_connection_window_size(1 << 16).connect_lazy();
    // 64 MiB, of pages of 3 MiB.
    let (mut kept, mut refused) = (Vec::new(), None);
    while kept.len() < 40 && refused.is_none() {
        match within(PATIENCE, "a page or a refusal", unread(narrow.clone())).await {
            Ok(page) => kept.push(page),
            Err(status) => refused = Some(status),
        }
    }
    assert!((16..=22).contains(&kept.len()), "{} pages are kept", kept.len());
    let refused = ClientError::from(refused.expect("there is no more room"));
    assert_eq!(refused.reason(), Some(Reason::TooManyCalls), "{refused}");
    assert!(refused.to_string().contains("67108864 bytes of answers"), "{refused}");
    // Others are told at once, and submissions go on.
    let list = || {
        client.list_elements(pb::ListElementsRequest {
            filter: Some(pb::ElementFilter { pool: "duel".to_owned(), ..Default::default() }),
            ..Default::default()
        })
    };
    let error = within(PATIENCE, "a refusal", list()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TooManyCalls), "{error}");
    client.submit_one("duel", player("beside", -1)).await.unwrap();
    drop(kept);
    let listed = until("room for a page", async || list().await.ok()).await;
    assert!(listed.elements.len() > 700);
}
