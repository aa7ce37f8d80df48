//! Elements in and matches out, by clients that live through a server's death.

use std::time::Duration;

use dovetail::client::{Client, SubmitOptions, SubmitStream};
use dovetail::pb::match_service_client::MatchServiceClient;
use dovetail::pb::{Match, ResponseFormat, Submission, WatchMatchesRequest, WatchMatchesResponse};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::harness::{PATIENCE, channel, within};

/// Elements in a message.
const BATCH: usize = 256;

/// Elements on their way into a pool, in order. What was not acknowledged when the server died is sent again.
#[derive(Debug)]
pub struct Load {
    server: String,
    pool: String,
    elements: Vec<Submission>,
    /// Of the elements acknowledged so far.
    pub ids: Vec<u64>,
    sent: usize,
    stream: Option<SubmitStream>,
    /// Times the stream broke.
    pub broken: usize,
}

impl Load {
    pub fn new(server: String, pool: &str, elements: Vec<Submission>) -> Load {
        Load { server, pool: pool.to_owned(), elements, ids: Vec::new(), sent: 0, stream: None, broken: 0 }
    }

    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// More elements.
    pub fn add(&mut self, elements: impl Iterator<Item = Submission>) {
        self.elements.extend(elements);
    }

    /// Sends up to this many elements in all, without waiting for the last acknowledgements.
    pub async fn send(&mut self, through: usize) {
        while self.sent < through {
            let sent = self.try_send(through).await;
            self.survive(sent);
        }
    }

    /// Sends the rest, and returns when all is acknowledged.
    pub async fn finish(&mut self) {
        while self.ids.len() < self.elements.len() {
            self.send(self.elements.len()).await;
            let answered = self.try_finish().await;
            self.survive(answered);
        }
        assert!(self.ids.is_sorted_by(|one, next| one < next), "ids are given in order, and never again");
    }

    async fn try_send(&mut self, through: usize) -> Result<(), dovetail::client::ClientError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let client = Box::pin(connected(&self.server)).await;
                none.insert(client.submit(&self.pool, SubmitOptions::default()).await?)
            }
        };
        let end = through.min(self.sent + BATCH);
        let answer = stream.send(self.elements[self.sent..end].to_vec()).await?;
        self.sent = end;
        self.ids.extend(answer.into_iter().flat_map(taken));
        Ok(())
    }

    async fn try_finish(&mut self) -> Result<(), dovetail::client::ClientError> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        stream.close();
        while let Some(answer) = stream.answer().await? {
            self.ids.extend(taken(answer));
        }
        self.stream = None;
        Ok(())
    }

    fn survive(&mut self, outcome: Result<(), dovetail::client::ClientError>) {
        if let Err(error) = outcome {
            assert!(error.is_transient(), "{error}");
            self.broken += 1;
            self.stream = None;
            self.sent = self.ids.len();
        }
    }
}

/// A client of a server that may be away for a while. Spelled out, so that tasks can wait for it.
async fn connected(server: &str) -> Client {
    let connecting = async {
        loop {
            match Client::connect(server).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    within(PATIENCE, "connecting", connecting).await
}

fn taken(answer: dovetail::client::Answer) -> Vec<u64> {
    assert_eq!(answer.refusals, [], "every element is good");
    answer.ids
}

/// Submits all of it to a server that lives, and returns the ids.
pub async fn submit(client: &Client, pool: &str, elements: Vec<Submission>) -> Vec<u64> {
    let mut load = Load::new(client.url().to_owned(), pool, elements);
    load.finish().await;
    assert_eq!(load.broken, 0, "nothing died");
    load.ids
}

/// The matches of a pool (of all for "") after a cursor, once everything submitted so far is decided.
pub async fn settled(client: &Client, pool: &str, after: u64, patience: Duration) -> Vec<Match> {
    let mut watcher = Watcher::new(client.url(), pool, after);
    within(patience, "settling", watcher.read(true)).await.unwrap();
    watcher.matches
}

/// Watches matches, and checks what it is promised: nothing at or below the cursor it asked from, and strictly
/// ascending cursors. Unlike the client library it drops nothing that came twice.
#[derive(Debug)]
pub struct Watcher {
    server: String,
    pool: String,
    pub cursor: u64,
    pub matches: Vec<Match>,
    /// Times the stream broke.
    pub broken: usize,
}

impl Watcher {
    pub fn new(server: &str, pool: &str, after: u64) -> Watcher {
        Watcher { server: server.to_owned(), pool: pool.to_owned(), cursor: after, matches: Vec::new(), broken: 0 }
    }

    /// Watches one stream to its end.
    pub async fn read(&mut self, until_settled: bool) -> Result<(), Status> {
        let request = WatchMatchesRequest {
            pool: self.pool.clone(),
            after: self.cursor,
            until_settled,
            format: ResponseFormat::Rows.into(),
            from_now: false,
            arrival_times: false,
        };
        let client = MatchServiceClient::new(channel(&self.server));
        let mut stream = client.max_decoding_message_size(64 << 20).watch_matches(request).await?.into_inner();
        while let Some(response) = stream.next().await {
            self.take(response?);
        }
        Ok(())
    }

    fn take(&mut self, response: WatchMatchesResponse) {
        for found in response.matches {
            assert!(found.cursor > self.cursor, "match {} comes after cursor {}", found.cursor, self.cursor);
            self.cursor = found.cursor;
            self.matches.push(found);
        }
        assert!(response.settled >= self.cursor, "settled {} after {}", response.settled, self.cursor);
        self.cursor = response.settled;
    }

    /// Watches through every death of the server, until the task is asked to end: then until all is settled.
    pub fn spawn(mut self, stop: tokio::sync::oneshot::Receiver<()>) -> JoinHandle<Watcher> {
        tokio::spawn(async move {
            tokio::select! {
                () = self.read_for_ever() => {}
                _ = stop => {}
            }
            while let Err(error) = self.read(true).await {
                self.survive(&error).await;
            }
            self
        })
    }

    async fn read_for_ever(&mut self) {
        loop {
            let ended = self.read(false).await;
            self.survive(&ended.err().unwrap_or_else(|| Status::unavailable("the stream ended"))).await;
        }
    }

    async fn survive(&mut self, error: &Status) {
        let died = matches!(error.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled);
        assert!(died, "a watch ended with {error:?}");
        self.broken += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
