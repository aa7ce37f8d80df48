//! Matches, each once, across lost connections.
//!
//! Invariant: cursors handed out strictly ascend.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Streaming;
use tonic::transport::Channel;

use super::ClientError;
use crate::pb;
use crate::pb::match_service_client::MatchServiceClient;

/// First and longest pause between attempts to resume; it doubles in between.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What to watch, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// Only matches of this pool; empty for all.
    pub pool: String,
    /// Only matches after this cursor; 0 for all there are.
    pub after: u64,
    /// Ends once everything submitted before the call is decided and handed out. If the connection breaks meanwhile, before
    /// the call that resumed.
    pub until_settled: bool,
    /// Longest time to try to resume without hearing from the server. Then the last error is returned.
    pub retry_max: Duration,
}

impl Default for WatchOptions {
    fn default() -> WatchOptions {
        WatchOptions { pool: String::new(), after: 0, until_settled: false, retry_max: Duration::from_secs(60) }
    }
}

/// An open watch.
#[derive(Debug)]
pub struct Watch {
    service: MatchServiceClient<Channel>,
    options: WatchOptions,
    cursor: u64,
    stream: Option<Streaming<pb::WatchMatchesResponse>>,
    /// Since the last message: when the first attempt failed, and the pause before the next.
    failing: Option<(Instant, Duration)>,
    resumed: u64,
    ended: bool,
}

impl Watch {
    pub(super) fn new(service: MatchServiceClient<Channel>, options: WatchOptions) -> Watch {
        let cursor = options.after;
        Watch { service, options, cursor, stream: None, failing: None, resumed: 0, ended: false }
    }

    /// Where to resume from to get what comes next: everything at or below has been handed out.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// How often the connection was lost, and tried again.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// What comes next: some matches, perhaps none, and a new cursor. `None` when everything is settled and that was
    /// asked for.
    ///
    /// A lost connection and UNAVAILABLE are met by resuming from the cursor, with growing pauses. Any other error, and
    /// these after `retry_max`, end the watch. Can be dropped and called again.
    pub async fn next(&mut self) -> Result<Option<pb::WatchMatchesResponse>, ClientError> {
        while !self.ended {
            match self.receive().await {
                Ok(Some(mut response)) => {
                    self.failing = None;
                    self.advance(&mut response);
                    return Ok(Some(response));
                }
                Ok(None) if self.options.until_settled => self.ended = true,
                Ok(None) => self.pause(ClientError::Lost { reason: "the server ended the stream".to_owned() }).await?,
                Err(error) => self.pause(error).await?,
            }
        }
        Ok(None)
    }

    async fn receive(&mut self) -> Result<Option<pb::WatchMatchesResponse>, ClientError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let WatchOptions { pool, until_settled, .. } = &self.options;
                let request =
                    pb::WatchMatchesRequest { pool: pool.clone(), after: self.cursor, until_settled: *until_settled };
                none.insert(self.service.watch_matches(request).await?.into_inner())
            }
        };
        Ok(stream.message().await?)
    }

    /// Drops what was handed out before the connection broke, and moves the cursor.
    fn advance(&mut self, response: &mut pb::WatchMatchesResponse) {
        let after = self.cursor;
        response.matches.retain(|found| found.cursor > after);
        let last = response.matches.last().map_or(0, |found| found.cursor);
        self.cursor = after.max(response.settled).max(last);
    }

    async fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.stream = None;
        let now = Instant::now();
        let (since, pause) = self.failing.unwrap_or((now, BACKOFF.0));
        if !error.is_transient() || now.duration_since(since) + pause > self.options.retry_max {
            self.ended = true;
            return Err(error);
        }
        self.failing = Some((since, (2 * pause).min(BACKOFF.1)));
        self.resumed += 1;
        tracing::debug!(cursor = self.cursor, %error, "watch resumes");
        sleep(pause).await;
        Ok(())
    }
}
