//! A run of the skeleton: starts the nodes, sends batches, counts what comes back.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::node::{Role, connect, follow};
use super::pb::SubmitRequest;
use super::{ELEMENT_BYTES, QUEUE_MAX, SkeletonError};

/// What runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Matchers.
    pub matchers: usize,
    /// Gatherers.
    pub gatherers: usize,
    /// Elements in a batch.
    pub batch: usize,
    /// Batches on their way at once.
    pub in_flight: usize,
}

/// A node's process. It is told whom to follow once all are there.
struct Process {
    address: String,
    input: ChildStdin,
    /// Kept: its fall kills the process.
    _child: Child,
    /// Kept: a closed pipe would fail the node's last words.
    _output: BufReader<ChildStdout>,
}

/// How long it takes until at least `elements` elements, in whole batches, are back, and how many they were.
pub async fn run(elements: usize, options: &Options) -> Result<(u64, Duration), SkeletonError> {
    let Options { matchers, gatherers, .. } = *options;
    let mut balancer = Process::start(Role::Balancer, 0, matchers + 1).await?;
    let mut matching = Vec::new();
    for index in 0..matchers {
        matching.push(Process::start(Role::Matcher, index, gatherers).await?);
    }
    let mut gathering = Vec::new();
    for index in 0..gatherers {
        gathering.push(Process::start(Role::Gatherer, index, 1).await?);
    }
    let addresses = |nodes: &[Process]| nodes.iter().map(|node| node.address.clone()).collect::<Vec<_>>().join(" ");
    let (matcher_addresses, gatherer_addresses) = (addresses(&matching), addresses(&gathering));
    balancer.tell(&gatherer_addresses).await?;
    for matcher in &mut matching {
        matcher.tell(&balancer.address).await?;
    }
    for gatherer in &mut gathering {
        gatherer.tell(&matcher_addresses).await?;
    }
    client(&balancer.address, matchers as u32, elements, options).await
}

impl Process {
    async fn start(role: Role, index: usize, followers: usize) -> Result<Process, SkeletonError> {
        let missing = || std::io::Error::other("a pipe is missing");
        let role = match role {
            Role::Balancer => "balancer",
            Role::Matcher => "matcher",
            Role::Gatherer => "gatherer",
        };
        let mut child = Command::new(std::env::current_exe()?)
            .args(["node", role, &index.to_string(), &followers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or_else(missing)?;
        let mut output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut address = String::new();
        output.read_line(&mut address).await?;
        Ok(Process { address: address.trim_end().to_owned(), input, _child: child, _output: output })
    }

    async fn tell(&mut self, sources: &str) -> Result<(), SkeletonError> {
        self.input.write_all(format!("{sources}\n").as_bytes()).await?;
        Ok(self.input.flush().await?)
    }
}

/// Sends batches, so many at once, and waits for all of them to be back. The first tenth is before the clock starts:
/// connections open their windows meanwhile.
async fn client(
    balancer: &str,
    follower: u32,
    elements: usize,
    options: &Options,
) -> Result<(u64, Duration), SkeletonError> {
    let batches = elements.div_ceil(options.batch) as u64;
    let warm = batches.div_ceil(10);
    let batch =
        SubmitRequest { count: options.batch as u32, elements: Bytes::from(vec![7; ELEMENT_BYTES * options.batch]) };
    let mut results = follow(balancer, follower).await?;
    let (sender, outgoing) = mpsc::channel(QUEUE_MAX);
    let mut acknowledged = connect(balancer).await?.submit(ReceiverStream::new(outgoing)).await?.into_inner();
    let room = Arc::new(Semaphore::new(options.in_flight));
    let places = Arc::clone(&room);
    tokio::spawn(async move {
        for _ in 0..warm + batches {
            let Ok(place) = places.acquire().await else { break };
            place.forget();
            if sender.send(batch.clone()).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move { while let Some(Ok(_)) = acknowledged.next().await {} });

    let mut began = Instant::now();
    for back in 0..warm + batches {
        if back == warm {
            began = Instant::now();
        }
        if results.message().await?.is_none() {
            return Err(SkeletonError::Short { results: back, batches: warm + batches });
        }
        room.add_permits(1);
    }
    Ok((batches * options.batch as u64, began.elapsed()))
}
