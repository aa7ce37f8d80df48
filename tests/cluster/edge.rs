//! What every node does with calls before a service sees them: where to go, how many, until when, and what a stop waits
//! for.

use std::time::{Duration, Instant};

use dovetail::{
    client::{Client, ClientError, SubmitOptions, by_id, value},
    pb::{self, Attribute, AttributeType, PoolDefinition, Submission, match_service_client::MatchServiceClient},
    reason::Reason,
};
use dovetail_wire::node_pb;
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
    let cluster =
        Cluster::start_with("streams-max", SMALL, &[("streams-max", "16"), ("client-share-percent", "100")]).await;
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
    let mut candidates = node_pb::candidates_service_client::CandidatesServiceClient::new(channel(&cluster.server()));
    let error = ClientError::from(candidates.candidates(node_pb::CandidatesRequest::default()).await.unwrap_err());
    assert_eq!(error.reason(), Some(Reason::OtherNode), "{error}");
    assert!(error.to_string().contains("balancer 0"), "{error}");
    assert_eq!(client.list_pools().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_for_each_service_of_the_role_and_for_no_other() {
    let (cluster, _client) = started("health").await;
    let every = [
        "v1.MatchService",
        "node.v1.FeedService",
        "node.v1.CandidatesService",
        "node.v1.DecisionsService",
        "v1.InspectService",
    ];
    for (which, serves) in [
        (Which::Balancer, ["v1.MatchService", "node.v1.FeedService", "v1.InspectService"].as_slice()),
        (Which::Matcher(0), ["node.v1.CandidatesService", "v1.InspectService"].as_slice()),
        (Which::Gatherer(0), ["node.v1.DecisionsService", "v1.InspectService"].as_slice()),
    ] {
        let mut health = HealthClient::new(channel(&cluster.url(which)));
        for name in every {
            let service = format!("dovetail.{name}");
            let answer = health.check(HealthCheckRequest { service }).await;
            if serves.contains(&name) {
                assert_eq!(answer.unwrap().into_inner().status(), ServingStatus::Serving, "{which:?} {name}");
            } else {
                assert_eq!(answer.unwrap_err().code(), Code::NotFound, "{which:?} {name}");
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
    // One connection may have 8 MiB of the 64: two pages of 3 MiB.
    let (mut kept, mut refused) = (Vec::new(), None);
    while kept.len() < 40 && refused.is_none() {
        match within(PATIENCE, "a page or a refusal", unread(narrow.clone())).await {
            Ok(page) => kept.push(page),
            Err(status) => refused = Some(status),
        }
    }
    assert!((2..=4).contains(&kept.len()), "{} pages are kept", kept.len());
    let refused = ClientError::from(refused.expect("there is no more room"));
    assert_eq!(refused.reason(), Some(Reason::TooManyCalls), "{refused}");
    assert!(refused.to_string().contains("8388608 bytes of answers"), "{refused}");
    // Another connection has room, and submissions go on.
    let list = || {
        client.list_elements(pb::ListElementsRequest {
            filter: Some(pb::ElementFilter { pool: "duel".to_owned(), ..Default::default() }),
            ..Default::default()
        })
    };
    assert!(!within(PATIENCE, "a page", list()).await.unwrap().elements.is_empty());
    client.submit_one("duel", player("beside", -1)).await.unwrap();
    drop(kept);
    let listed = until("room for a page", async || list().await.ok()).await;
    assert!(listed.elements.len() > 700);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_with_all_that_it_may_have_is_in_the_way_of_no_other() {
    let flags = [("watchers-max", "16"), ("submit-streams-max", "16"), ("waits-max", "16")];
    let cluster = Cluster::start_with("shares", SMALL, &flags).await;
    let client = cluster.client().await;
    client.define_pool(duel()).await.unwrap();
    let id = client.submit_one("duel", player("waits", 1)).await.unwrap();
    // One client may have a quarter, and one connection half of that.
    let mut greedy = MatchServiceClient::new(channel(&cluster.server()));
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(greedy.watch_matches(pb::WatchMatchesRequest::default()).await.unwrap());
    }
    let refused = ClientError::from(greedy.watch_matches(pb::WatchMatchesRequest::default()).await.unwrap_err());
    assert_eq!((refused.code(), refused.reason()), (Some(Code::ResourceExhausted), Some(Reason::TooManyCalls)));
    let text = refused.to_string();
    for part in ["2 watchers are open", "127.0.0.1", "watchers_max", "client_share_percent"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let mut other = MatchServiceClient::new(channel(&cluster.server()));
    other.watch_matches(pb::WatchMatchesRequest::default()).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(greedy.submit(tokio_stream::pending::<pb::SubmitRequest>()).await.unwrap());
    }
    let mut third = greedy.submit(tokio_stream::pending::<pb::SubmitRequest>()).await.unwrap().into_inner();
    let refused = within(PATIENCE, "a refusal", third.message()).await.unwrap_err();
    assert_eq!(ClientError::from(refused).reason(), Some(Reason::TooManyCalls));
    let mut honest = client.submit("duel", SubmitOptions::default()).await.unwrap();
    honest.send(vec![player("partner", 1)]).await.unwrap();
    honest.finish().await.unwrap();
    let found = client.get(by_id(id), Duration::from_secs(10)).await.unwrap();
    assert_eq!(found.state(), pb::ElementState::Matched);
    drop((open, streams));
}

/// A call whose body is these bytes, on a connection of its own: its code, and the reason that it gives.
async fn raw_call(url: &str, path: &'static str, body: &'static [u8]) -> (Code, Option<Reason>) {
    use tonic::codegen::{Body as _, Service as _, http};
    let mut channel = channel(url);
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let request = http::Request::post(format!("{url}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(Whole(Some(tonic::codegen::Bytes::from_static(body)))))
        .unwrap();
    let response = within(PATIENCE, "an answer", channel.call(request)).await.unwrap();
    let mut status = tonic::Status::from_header_map(response.headers());
    let mut body = std::pin::pin!(response.into_body());
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Some(trailers) = frame.unwrap().trailers_ref() {
            status = tonic::Status::from_header_map(trailers);
        }
    }
    let error = ClientError::from(status.expect("an error"));
    (error.code().unwrap(), error.reason())
}

/// A body of these bytes.
struct Whole(Option<tonic::codegen::Bytes>);

impl tonic::codegen::Body for Whole {
    type Data = tonic::codegen::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_message_is_an_invalid_argument_of_every_call() {
    let (cluster, client) = started("malformed").await;
    // A tag of a wire type that there is none of; a message that ends early; two where one is asked for; one that is
    // too large.
    let bodies: [&'static [u8]; 4] =
        [b"\0\0\0\0\x01\x0f", b"\0\0\0\0\x09\x0a", b"\0\0\0\0\0\0\0\0\0\0", b"\0\0\x10\0\0"];
    let malformed = (Code::InvalidArgument, Some(Reason::MessageMalformed));
    for (which, path) in [
        (Which::Balancer, "/dovetail.v1.MatchService/SubmitOne"),
        (Which::Balancer, "/dovetail.v1.MatchService/WatchMatches"),
        (Which::Balancer, "/dovetail.node.v1.FeedService/Cut"),
        (Which::Balancer, "/dovetail.v1.InspectService/Inspect"),
        (Which::Balancer, "/grpc.health.v1.Health/Check"),
        (Which::Matcher(0), "/dovetail.node.v1.CandidatesService/Candidates"),
        (Which::Gatherer(0), "/dovetail.node.v1.DecisionsService/Decisions"),
    ] {
        let url = cluster.url(which);
        for body in &bodies[..3] {
            assert_eq!(raw_call(&url, path, body).await, malformed, "{path} with {body:?}");
        }
        let large = raw_call(&url, path, bodies[3]).await;
        assert_eq!(large, (Code::InvalidArgument, Some(Reason::OutOfBounds)), "{path}");
    }
    for body in &bodies[..2] {
        let answer = raw_call(&cluster.server(), "/dovetail.v1.MatchService/Submit", body).await;
        assert_eq!(answer, malformed, "Submit with {body:?}");
    }
    assert_eq!(client.list_pools().await.unwrap().len(), 1);
}
