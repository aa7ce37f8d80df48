//! A real matcher and a real gatherer among three balancers that are told what to say, over sockets.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use dovetail_core::Cursor;
use dovetail_node::Term;
use futures::{StreamExt, stream};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::{
    gatherer, matcher,
    rpc::{self, Links, Listener, LocalNodes, NodeIdentity, ResponseStream},
    settings::{Settings, Sources},
    shutdown::Shutdown,
};
use dovetail::{Role, client::Client, pb};
use dovetail_wire::node_pb::{
    self,
    feed_response::Message,
    feed_service_server::{FeedService, FeedServiceServer},
    node_service_client::NodeServiceClient,
    node_service_server::{NodeService, NodeServiceServer},
};

/// The cut of every balancer.
const CUT: u64 = 10;

/// What a balancer says.
#[derive(Clone, Debug)]
enum Says {
    /// It stands by, and knows who writes.
    StandsBy(Option<(String, u64)>),
    /// It writes.
    Writes,
}

#[derive(Debug)]
struct Heard {
    says: Says,
    /// Ends the feeds.
    end: Shutdown,
    /// Requests for the log: after what, and the term that the matcher had heard of.
    feeds: Vec<(Option<u64>, u64)>,
    /// Which roles asked for the cut.
    cuts: Vec<pb::Role>,
}

/// A balancer that says what it is told to.
#[derive(Clone, Debug)]
struct Stub {
    identity: NodeIdentity,
    heard: Arc<Mutex<Heard>>,
    /// One for each feed that is open.
    open: Arc<()>,
}

impl Stub {
    fn new(settings: &Settings, index: u32) -> Stub {
        let identity = NodeIdentity::new(settings.cluster.clone(), Role::Balancer, index);
        identity.reads_log("the log");
        let heard = Heard { says: Says::StandsBy(None), end: Shutdown::new(), feeds: Vec::new(), cuts: Vec::new() };
        Stub { identity, heard: Arc::new(Mutex::new(heard)), open: Arc::new(()) }
    }

    fn serve(&self, listener: TcpListener) -> JoinHandle<Result<(), tonic::transport::Error>> {
        let server = tonic::transport::Server::builder()
            .add_service(FeedServiceServer::new(self.clone()))
            .add_service(NodeServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)))
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }

    fn writes(&self, term: u64) {
        self.identity.is_in_term(Some(Term(term)));
        self.heard().says = Says::Writes;
    }

    fn stands_by(&self, active: Option<(&str, u64)>) {
        self.identity.is_in_term(None);
        let mut heard = self.heard();
        heard.says = Says::StandsBy(active.map(|(url, term)| (url.to_owned(), term)));
        std::mem::take(&mut heard.end).give();
    }

    fn check(&self) -> Result<(), Status> {
        match &self.heard().says {
            Says::Writes => Ok(()),
            Says::StandsBy(active) => {
                Err(rpc::stands_by(active.as_ref().map(|(url, term)| (url.as_str(), Term(*term)))))
            }
        }
    }

    /// Feeds that are open: each has a clone, beside the one that is kept here and those of the services.
    fn feeds_open(&self, idle: usize) -> usize {
        Arc::strong_count(&self.open) - idle
    }
}

#[tonic::async_trait]
impl FeedService for Stub {
    type FeedStream = ResponseStream<node_pb::FeedResponse>;
    type RetirementsStream = ResponseStream<node_pb::RetirementsResponse>;

    async fn feed(&self, request: Request<node_pb::FeedRequest>) -> Result<Response<Self::FeedStream>, Status> {
        let request = request.into_inner();
        let term = request.peer.unwrap_or_default().term;
        self.check()?;
        self.heard().feeds.push((request.after, term));
        let hello = node_pb::FeedHello { peer: Some(self.identity.pb()), after: request.after.unwrap_or(CUT) };
        let cut = request.after.is_none().then(|| node_pb::CutPart { last: true, ..Default::default() });
        let messages = [Message::Hello(hello)].into_iter().chain(cut.map(Message::Cut));
        let open = Arc::clone(&self.open);
        let end = self.heard().end.clone();
        let messages = stream::iter(messages).chain(stream::pending()).map(move |message| {
            let _ = &open;
            Ok(node_pb::FeedResponse { message: Some(message) })
        });
        Ok(Response::new(Box::pin(messages.take_until(end.given_owned()))))
    }

    async fn cut(&self, request: Request<node_pb::CutRequest>) -> Result<Response<node_pb::CutResponse>, Status> {
        self.heard().cuts.push(request.into_inner().peer.unwrap_or_default().role());
        self.check()?;
        Ok(Response::new(node_pb::CutResponse { peer: Some(self.identity.pb()), cut: CUT, results_floor: CUT }))
    }

    async fn retirements(
        &self,
        _: Request<node_pb::RetirementsRequest>,
    ) -> Result<Response<Self::RetirementsStream>, Status> {
        self.check()?;
        Ok(Response::new(Box::pin(stream::empty())))
    }
}

#[tonic::async_trait]
impl NodeService for Stub {
    async fn confirm(
        &self,
        request: Request<node_pb::ConfirmRequest>,
    ) -> Result<Response<node_pb::ConfirmResponse>, Status> {
        let own = self.identity.is_process(request.into_inner().instance);
        Ok(Response::new(node_pb::ConfirmResponse { own }))
    }

    async fn follow(&self, _: Request<node_pb::FollowRequest>) -> Result<Response<node_pb::FollowResponse>, Status> {
        Err(Status::unimplemented("a balancer follows none"))
    }
}

/// Three balancers, a matcher and a gatherer.
struct Cluster {
    balancers: Vec<Stub>,
    urls: Vec<String>,
    settings: Settings,
    stop: Shutdown,
    /// Of balancers that are never heard.
    _silent: Vec<TcpListener>,
}

impl Cluster {
    /// So many of the balancers do not answer: the first of them. Of the others, the first names the second, which
    /// writes in term 5.
    async fn start(silent: usize) -> Cluster {
        let any = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let sockets = [any().await, any().await, any().await];
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let urls: Vec<String> = sockets.iter().map(url).collect();
        let listen = || async { Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap() };
        let nodes = [listen().await, listen().await];
        let settings = |role| {
            let flags = [
                ("cluster.slices", "1".to_owned()),
                ("cluster.balancers", urls.join(",")),
                ("cluster.matchers", format!("http://{}", nodes[0].address())),
                ("cluster.gatherers", format!("http://{}", nodes[1].address())),
            ];
            Sources { flags: flags.into(), ..Sources::default() }.load(role).unwrap()
        };
        let (of_matcher, of_gatherer) = (settings(Role::Matcher), settings(Role::Gatherer));
        let balancers: Vec<Stub> = (0..3).map(|index| Stub::new(&of_matcher, index)).collect();
        let mut kept = Vec::new();
        for ((number, stub), socket) in (0..).zip(&balancers).zip(sockets) {
            if number < silent {
                kept.push(socket);
            } else {
                stub.serve(socket);
            }
        }
        balancers[0].stands_by(Some((&urls[1], 5)));
        balancers[1].writes(5);
        let stop = Shutdown::new();
        let cluster = Cluster { balancers, urls, settings: of_matcher.clone(), stop: stop.clone(), _silent: kept };
        let [of_matchers, of_gatherers] = nodes;
        tokio::spawn(matcher::run(of_matcher, of_matchers, LocalNodes::default(), stop.clone()));
        tokio::spawn(gatherer::run(of_gatherer, of_gatherers, LocalNodes::default(), stop));
        cluster
    }

    /// Tells the nodes that a balancer writes, as it does when it has taken over.
    async fn tell(&self, balancer: &NodeIdentity) -> Option<Term> {
        rpc::tell_active(balancer, &self.links(), &self.settings.node.addresses).await
    }

    fn links(&self) -> Links {
        Links::new(&self.settings.cluster.name, LocalNodes::default(), None)
    }

    /// Which balancer the matcher's link shows.
    async fn shown(&self) -> Option<(u32, String, bool)> {
        let client = Client::connect(self.settings.node.addresses.matchers[0].as_str()).await.ok()?;
        let state = client.inspect().await.ok()?;
        let link = state.links.into_iter().find(|link| link.role() == pb::Role::Balancer)?;
        Some((link.index, link.address, link.connected))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.give();
    }
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_the_balancer_that_writes_in_the_latest_term_without_a_new_session() {
    let cluster = Cluster::start(0).await;
    let [first, second, third] = &cluster.balancers[..] else { panic!("three balancers") };
    let idle: Vec<usize> = cluster.balancers.iter().map(|stub| Arc::strong_count(&stub.open)).collect();

    // The first stands by, and names the second.
    until("the matcher reads the second", async || second.heard().feeds == [(None, 5)]).await;
    until("it shows so", async || cluster.shown().await == Some((1, cluster.urls[1].clone(), true))).await;
    until("the gatherer, too", async || second.heard().cuts.contains(&pb::Role::Gatherer)).await;

    // The third takes over, and says so: nobody waits for the second to fall silent.
    third.writes(7);
    until("both have heard it", async || cluster.tell(&third.identity).await == Some(Term(7))).await;
    until("the matcher goes on at the third", async || third.heard().feeds == [(Some(CUT), 7)]).await;
    until("it has left the second", async || second.feeds_open(idle[1]) == 0).await;
    until("it shows so", async || cluster.shown().await == Some((2, cluster.urls[2].clone(), true))).await;
    until("the gatherer, too", async || third.heard().cuts.contains(&pb::Role::Gatherer)).await;

    // The second does not know that it is over, until it hears of it.
    assert_eq!(cluster.tell(&second.identity).await, Some(Term(7)));
    // Who is not the first balancer is not believed, whatever it says.
    let stranger = NodeIdentity::new(cluster.settings.cluster.clone(), Role::Balancer, 0);
    stranger.is_in_term(Some(Term(99)));
    let mut node = NodeServiceClient::connect(cluster.settings.node.addresses.matchers[0].clone()).await.unwrap();
    let refused = node.follow(node_pb::FollowRequest { peer: Some(stranger.pb()) }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let none = node.follow(node_pb::FollowRequest { peer: Some(cluster.balancers[0].identity.pb()) }).await;
    assert_eq!(none.unwrap_err().code(), Code::InvalidArgument, "it names no term");
    assert_eq!(third.feeds_open(idle[2]), 1);

    // The third steps down. Of those that answer, the one of the lower term is passed over.
    first.writes(3);
    second.writes(8);
    third.stands_by(None);
    until("the matcher goes on at the second", async || second.heard().feeds.last() == Some(&(Some(CUT), 8))).await;
    assert_eq!(first.heard().feeds, [], "the first is over");
    assert!(first.heard().cuts.contains(&pb::Role::Matcher), "it was asked");
    assert_eq!(second.heard().feeds.len(), 2);

    // A gatherer hears of a term from who reads its decisions, too.
    third.writes(9);
    let gatherer = cluster.links().route(Role::Gatherer, 0, &cluster.settings.node.addresses.gatherers[0]);
    let reading = rpc::subscribe_decisions(&third.identity, &gatherer, Cursor::ZERO).await.unwrap();
    until("the gatherer has heard it", async || cluster.tell(&second.identity).await == Some(Term(9))).await;
    drop(reading);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_that_takes_connections_and_says_nothing_is_left_for_the_next() {
    let began = Instant::now();
    let cluster = Cluster::start(1).await;
    let second = &cluster.balancers[1];
    until("the matcher reads the second", async || second.heard().feeds.len() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(8), "a second without a word, and one for an answer to a ping");
    until("the gatherer, too", async || second.heard().cuts.contains(&pb::Role::Gatherer)).await;
}
