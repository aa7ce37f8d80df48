//! Strangers from many addresses take everything that a stranger may have: the nodes reach one another all the same,
//! and serve the clients that they know.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dovetail::{
    client::{Client, ClientError, by_id, value},
    pb::{self, Attribute, AttributeType, ElementState, PoolDefinition, Submission},
    reason::Reason,
    tls::{Files, TlsHandshake as _, Trust},
};
use dovetail_wire::node_pb::{
    self, candidates_service_client::CandidatesServiceClient, decisions_service_client::DecisionsServiceClient,
};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use crate::harness::{Cluster, PATIENCE, Shape, Which, until, within};

const FOUR: Shape = Shape { slices: 2, matchers: 1, gatherers: 2 };
/// Places at each node; a quarter is kept for others than strangers.
const PLACES: &str = "64";
/// Of them from one address.
const OF_ADDRESS: &str = "16";
/// Addresses of strangers, and connections that each wants at each node.
const ADDRESSES: u8 = 8;
const EACH: usize = 12;
/// An address that neither a node nor another test has.
fn address(number: u8) -> IpAddr {
    let process = std::process::id();
    IpAddr::from([127, 251 + (process / 256 % 4) as u8, (process % 256) as u8, number + 1])
}

async fn dial(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// Connects from an address; with TLS where there is some.
async fn connect(from: IpAddr, to: SocketAddr, trust: Option<Trust>) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_: Uri| {
        let trust = trust.clone();
        Box::pin(async move {
            let stream = dial(from, to).await?;
            let stream: Box<dyn Stream> = match trust {
                Some(trust) => Box::new(trust.connect(&to.ip().to_string(), stream).await?),
                None => Box::new(stream),
            };
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        })
    });
    Endpoint::from_shared(format!("http://{to}")).unwrap().connect_with_connector(connector).await
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for S {}

/// Keeps a call open for as long as it may: one whose request does not end.
async fn hold(channel: Channel, which: Which) -> Result<(), Status> {
    let path = match which {
        Which::Balancer => "/dovetail.v1.MatchService/Submit",
        Which::Matcher(_) | Which::Gatherer(_) => "/dovetail.v1.InspectService/Inspect",
    };
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<pb::SubmitRequest, pb::SubmitResponse>::default();
    let never = Request::new(tokio_stream::pending());
    let mut answers = grpc.streaming(never, PathAndQuery::from_static(path), codec).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// Strangers at all nodes, until they are dropped.
struct Strangers {
    /// Calls that were refused for lack of places, by node.
    refused: Vec<(Which, Arc<AtomicU64>)>,
    _tasks: JoinSet<()>,
}

impl Strangers {
    /// Each takes what it can, in three ways, and comes again whenever it is sent away.
    fn come(cluster: &Cluster) -> Strangers {
        let files = Files { ca: Some(cluster.certs().join("client-ada/ca.pem")), ..Files::default() };
        let trust = Trust::load(files).unwrap();
        let (mut tasks, mut refused) = (JoinSet::new(), Vec::new());
        for which in cluster.all() {
            let to: SocketAddr = cluster.address(which).parse().unwrap();
            let count = Arc::<AtomicU64>::default();
            for number in 0..usize::from(ADDRESSES) * EACH {
                let from = address((number / EACH) as u8);
                let (trust, count) = (trust.clone(), Arc::clone(&count));
                tasks.spawn(async move {
                    loop {
                        match number % 6 {
                            // It says nothing at all.
                            0 => {
                                if let Ok(mut stream) = dial(from, to).await {
                                    _ = stream.read_u8().await;
                                }
                            }
                            // It makes no call.
                            1 => {
                                if let Ok(stream) = dial(from, to).await
                                    && let Ok(mut stream) = trust.connect(&to.ip().to_string(), stream).await
                                {
                                    while stream.read_u8().await.is_ok() {}
                                }
                            }
                            _ => {
                                if let Ok(channel) = connect(from, to, Some(trust.clone())).await
                                    && let Err(status) = hold(channel, which).await
                                {
                                    let fault = ClientError::from(status);
                                    let full = fault.reason() == Some(Reason::TooManyCalls)
                                        && fault.value("limit").as_deref() == Some("connections_max");
                                    count.fetch_add(u64::from(full), Ordering::Relaxed);
                                }
                            }
                        }
                        tokio::task::yield_now().await;
                    }
                });
            }
            refused.push((which, count));
        }
        Strangers { refused, _tasks: tasks }
    }

    /// Waits until they have all that they may have at a node, and are told so.
    async fn are_everywhere(&self) {
        for (which, count) in &self.refused {
            let before = count.load(Ordering::Relaxed);
            until(&format!("strangers have the places of {which:?}"), async || {
                (count.load(Ordering::Relaxed) > before).then_some(())
            })
            .await;
        }
    }
}

fn duel() -> PoolDefinition {
    let skill = Attribute { name: "skill".to_owned(), r#type: AttributeType::Int.into() };
    let rule = "a.skill == b.skill".to_owned();
    PoolDefinition { name: "duel".to_owned(), attributes: vec![skill], rule, ..Default::default() }
}

/// A pair for each of some numbers, so that every shard and slice has some.
async fn pairs_match(client: &Client, begin: i64) {
    let mut ids = Vec::new();
    for number in begin..begin + 8 {
        for side in ["a", "b"] {
            let attributes = [("skill".to_owned(), value::int(number))].into();
            let player = Submission { key: format!("{number}{side}"), attributes, ..Submission::default() };
            ids.push(client.submit_one("duel", player).await.unwrap());
        }
    }
    for id in ids {
        let found = within(PATIENCE, "a match", client.get(by_id(id), PATIENCE)).await.unwrap();
        assert_eq!(found.state(), ElementState::Matched, "element {id}");
    }
}

/// Ada, who comes anew.
async fn named(cluster: &Cluster) -> Client {
    until("ada finds a place", async || Client::connect_with(cluster.server(), &cluster.options()).await.ok()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_with_all_their_places_keep_out_no_node_that_restarts_and_no_client_that_proves_its_name() {
    let flags = [("connections-max", PLACES), ("client-connections-max", OF_ADDRESS)];
    let mut cluster = Cluster::start_secure("strangers", FOUR, &flags).await;
    let strangers = Strangers::come(&cluster);
    strangers.are_everywhere().await;
    let client = named(&cluster).await;
    client.define_pool(duel()).await.unwrap();
    pairs_match(&client, 0).await;
    for (number, which) in [Which::Gatherer(1), Which::Matcher(0), Which::Balancer].into_iter().enumerate() {
        cluster.kill(which);
        cluster.spawn(which);
        cluster.serving(which).await;
        strangers.are_everywhere().await;
        let client = named(&cluster).await;
        pairs_match(&client, 100 * (number as i64 + 1)).await;
    }
}

/// Claims to be gatherer 0 with numbers that no process has, again and again, from an address. Counts how it is
/// answered.
async fn claim(from: u8, matcher: SocketAddr, gatherer: SocketAddr, peer: node_pb::Peer, refused: Arc<AtomicU64>) {
    loop {
        let mut peer = peer.clone();
        peer.instance = instance();
        let status = if from.is_multiple_of(2) {
            let Ok(channel) = connect(address(from), matcher, None).await else { continue };
            let cursors = (0..FOUR.slices).map(|slice| node_pb::SliceCursor { slice, after: 0 }).collect();
            let request = node_pb::CandidatesRequest { peer: Some(peer), shard: 0, decided_seen_min: 0, cursors };
            CandidatesServiceClient::new(channel).candidates(request).await.map(drop)
        } else {
            let Ok(channel) = connect(address(from), gatherer, None).await else { continue };
            let request = node_pb::DecisionsRequest { peer: Some(peer), after: 0 };
            DecisionsServiceClient::new(channel).decisions(request).await.map(drop)
        };
        let reason = status.err().and_then(|status| ClientError::from(status).reason());
        refused.fetch_add(u64::from(reason == Some(Reason::NodeTaken)), Ordering::Relaxed);
    }
}

/// A number that no process has.
fn instance() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_confirms_who_it_is_keeps_no_other_node_out() {
    let mut cluster = Cluster::start("confirms-never", FOUR).await;
    let client = cluster.client().await;
    client.define_pool(duel()).await.unwrap();
    pairs_match(&client, 0).await;
    let told = cluster.inspect(Which::Balancer).await.unwrap();
    let peer = node_pb::Peer {
        cluster: told.cluster,
        settings: told.settings,
        settings_digest: told.settings_digest,
        role: pb::Role::Gatherer.into(),
        protocol: dovetail_wire::PROTOCOL,
        ..node_pb::Peer::default()
    };
    // It keeps its places, and says nothing any more.
    cluster.node(Which::Gatherer(0)).signal("STOP");
    let [matcher, gatherer] =
        [Which::Matcher(0), Which::Gatherer(1)].map(|which| cluster.address(which).parse::<SocketAddr>().unwrap());
    let (refused, mut claims) = (Arc::<AtomicU64>::default(), JoinSet::new());
    for from in 0..48 {
        claims.spawn(claim(from, matcher, gatherer, peer.clone(), Arc::clone(&refused)));
    }
    until("claims are refused", async || (refused.load(Ordering::Relaxed) > 48).then_some(())).await;
    let began = Instant::now();
    cluster.kill(Which::Gatherer(1));
    cluster.spawn(Which::Gatherer(1));
    cluster.serving(Which::Gatherer(1)).await;
    until("gatherer 1 is read and reads, but for gatherer 0", async || {
        let [at_balancer, at_matcher, own] = [
            cluster.inspect(Which::Balancer).await?,
            cluster.inspect(Which::Matcher(0)).await?,
            cluster.inspect(Which::Gatherer(1)).await?,
        ];
        let is = |link: &pb::PeerLink, index| link.role() == pb::Role::Gatherer && link.index == index;
        let read =
            [at_balancer, at_matcher].iter().all(|node| node.links.iter().any(|link| is(link, 1) && link.connected));
        let reads = own.links.iter().filter(|link| !is(link, 0)).all(|link| link.connected);
        (read && reads).then_some(())
    })
    .await;
    // A claim on gatherer 0 takes a second each. One after the other they would take most of a minute.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "gatherer 1 was kept out for {took:?}");
    cluster.node(Which::Gatherer(0)).signal("CONT");
    pairs_match(&client, 100).await;
}
