//! A node of the skeleton: balancer, matcher or gatherer.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::pb::skeleton_service_client::SkeletonServiceClient;
use super::pb::skeleton_service_server::{SkeletonService, SkeletonServiceServer};
use super::pb::{FollowRequest, FollowResponse, SubmitRequest, SubmitResponse};
use super::{CONNECTION_WINDOW_BYTES, QUEUE_MAX, Queue, RESULT_BYTES, STREAM_WINDOW_BYTES, SkeletonError};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Numbers batches, broadcasts them to matchers, and hands results to the client.
    Balancer,
    /// Says something of each element to the gatherer whose turn it is.
    Matcher,
    /// Takes the lowest of what the matchers said.
    Gatherer,
}

type Receiver = mpsc::Receiver<Result<FollowResponse, Status>>;

struct Node {
    /// One for each follower. The balancer's last one is the client.
    queues: Arc<Vec<Queue>>,
    /// Their other ends, until a follower comes for one.
    unclaimed: Mutex<Vec<Option<Receiver>>>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SkeletonService for Node {
    type SubmitStream = Responses<SubmitResponse>;
    type FollowStream = ReceiverStream<Result<FollowResponse, Status>>;

    async fn submit(&self, request: Request<Streaming<SubmitRequest>>) -> Result<Response<Self::SubmitStream>, Status> {
        let queues = Arc::clone(&self.queues);
        let mut batches = request.into_inner();
        let (acknowledge, acknowledged) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(async move {
            let mut sequence = 0;
            // Whoever is gone ends it; the client counts what comes back.
            while let Some(Ok(SubmitRequest { count, elements })) = batches.next().await {
                sequence += 1;
                for matcher in &queues[..queues.len() - 1] {
                    let cells = elements.clone();
                    matcher.send(Ok(FollowResponse { sequence, count, cells })).await.ok();
                }
                acknowledge.send(Ok(SubmitResponse { sequence })).await.ok();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(acknowledged))))
    }

    async fn follow(&self, request: Request<FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let FollowRequest { follower } = request.into_inner();
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        let followers = unclaimed.len();
        let receiver = unclaimed.get_mut(follower as usize).and_then(Option::take);
        receiver.map(|receiver| Response::new(ReceiverStream::new(receiver))).ok_or_else(|| {
            let text = format!("follower {follower} is none of {followers}, or follows already");
            Status::failed_precondition(text)
        })
    }
}

/// Runs a node until its standard input is closed: the `index`-th of its role, with so many followers.
pub async fn run(role: Role, index: u32, followers: usize) -> Result<(), SkeletonError> {
    let (queues, receivers): (Vec<_>, Vec<_>) = (0..followers).map(|_| mpsc::channel(QUEUE_MAX)).unzip();
    let queues = Arc::new(queues);
    let unclaimed = Mutex::new(receivers.into_iter().map(Some).collect());
    let service = SkeletonServiceServer::new(Node { queues: Arc::clone(&queues), unclaimed });

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    // Here, since the server's own setting is for listeners that it opens: small messages would wait for delayed
    // acknowledgements, and the figure be that of a timer.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(service)
        .serve_with_incoming(incoming);
    println!("{address}");

    let mut input = BufReader::new(tokio::io::stdin());
    let work = async {
        let mut line = String::new();
        input.read_line(&mut line).await?;
        let (inbox, events) = mpsc::channel(QUEUE_MAX);
        let sources = line.split_whitespace().count();
        for source in line.split_whitespace() {
            tokio::spawn(pump(source.to_owned(), index, inbox.clone()));
        }
        tokio::spawn(handle(role, events, queues, sources));
        // Nothing more is said: this waits for the end.
        input.read_to_end(&mut Vec::new()).await?;
        Ok(())
    };
    tokio::select! {
        ended = server => Ok(ended?),
        ended = work => ended,
    }
}

/// Subscribes to a node.
pub async fn follow(address: &str, follower: u32) -> Result<Streaming<FollowResponse>, SkeletonError> {
    let request = FollowRequest { follower };
    Ok(connect(address).await?.follow(request).await?.into_inner())
}

/// Connects to a node.
pub async fn connect(address: &str) -> Result<SkeletonServiceClient<tonic::transport::Channel>, SkeletonError> {
    let failed = |source| SkeletonError::Connection { address: address.to_owned(), source };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
    let endpoint = endpoint
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    Ok(SkeletonServiceClient::new(endpoint.connect().await.map_err(failed)?))
}

async fn pump(address: String, follower: u32, inbox: mpsc::Sender<FollowResponse>) -> Result<(), SkeletonError> {
    let mut stream = follow(&address, follower).await.inspect_err(|error| eprintln!("{address}: {error}"))?;
    while let Some(batch) = stream.message().await? {
        if inbox.send(batch).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn handle(role: Role, mut events: mpsc::Receiver<FollowResponse>, queues: Arc<Vec<Queue>>, sources: usize) {
    let mut incomplete = HashMap::new();
    while let Some(batch) = events.recv().await {
        let (to, batch) = match role {
            Role::Balancer => (queues.len() - 1, batch),
            Role::Matcher => {
                let turn = batch.sequence % queues.len() as u64;
                (turn as usize, FollowResponse { cells: first_bytes(&batch), ..batch })
            }
            Role::Gatherer => {
                let (lowest, missing) = incomplete.remove(&batch.sequence).unwrap_or((batch.cells.clone(), sources));
                let cells = lower(&lowest, &batch.cells);
                if missing > 1 {
                    incomplete.insert(batch.sequence, (cells, missing - 1));
                    continue;
                }
                (0, FollowResponse { cells, ..batch })
            }
        };
        // A follower that is gone counts what it has.
        queues[to].send(Ok(batch)).await.ok();
    }
}

/// What a matcher says: the first bytes of each element, so that it has read them all.
fn first_bytes(batch: &FollowResponse) -> Bytes {
    let width = batch.cells.len() / (batch.count as usize).max(1);
    let mut cells = BytesMut::with_capacity(RESULT_BYTES * batch.count as usize);
    for element in batch.cells.chunks_exact(width.max(RESULT_BYTES)) {
        cells.put_slice(&element[..RESULT_BYTES]);
    }
    cells.freeze()
}

/// The lower of two numbers for each element.
fn lower(one: &[u8], other: &[u8]) -> Bytes {
    let mut cells = BytesMut::with_capacity(one.len());
    for (one, other) in one.chunks_exact(RESULT_BYTES).zip(other.chunks_exact(RESULT_BYTES)) {
        cells.put_slice(one.min(other));
    }
    cells.freeze()
}
