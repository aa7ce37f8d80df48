//! Matches or outcomes, each once, across lost connections.
//!
//! Invariant: cursors handed out strictly ascend.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Streaming;

use dovetail_core::EventId;

use super::servers::{Calls, Next, Servers};
use super::{ClientError, service};
use crate::columns::{MatchedColumns, MatchedEnd};
use crate::pb::match_service_client::MatchServiceClient;
use crate::pb::{self, ResponseFormat};

/// First and longest pause between attempts to resume; it doubles in between.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Pause before the first attempt at a server that another names as the one that writes.
const FOLLOWED: Duration = Duration::from_millis(20);

/// What to watch, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// Only those of this pool; empty for all.
    pub pool: String,
    /// Only those after this cursor; 0 for all there are.
    pub after: u64,
    /// Only those decided from the first call of [`next`](Watch::next) on, which tells at once where that is; `after`
    /// is 0 then.
    pub from_now: bool,
    /// Ends once everything submitted before the call is decided and handed out. If the connection breaks meanwhile,
    /// before the call that resumed.
    pub until_settled: bool,
    /// With [`watch_columns`](super::Client::watch_columns): also when the ends of matches arrived. Rows always have
    /// it.
    pub arrival_times: bool,
    /// Longest time to try to resume without hearing from the server. Then the last error is returned.
    pub retry_max: Duration,
}

impl Default for WatchOptions {
    fn default() -> WatchOptions {
        WatchOptions {
            pool: String::new(),
            after: 0,
            from_now: false,
            until_settled: false,
            arrival_times: false,
            retry_max: Duration::from_secs(60),
        }
    }
}

/// A part of a watched stream: matches, matches as columns, or outcomes.
pub trait WatchedPart: Sealed + Sized + Send + 'static {}

impl WatchedPart for pb::WatchMatchesResponse {}
impl WatchedPart for MatchColumns {}
impl WatchedPart for pb::WatchOutcomesResponse {}

/// Some matches as columns, in order of their cursor, which cost a fraction of messages of their own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MatchColumns {
    columns: MatchedColumns,
    /// Those before were handed out already.
    from: usize,
    settled: u64,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchView<'a> {
    /// The event that completed it; also where to resume after it.
    pub cursor: u64,
    /// The pool.
    pub pool: &'a str,
    /// The time of the event that completed it, milliseconds since 1970 by the balancer's clock.
    pub time_ms: u64,
    /// The end with the lower id.
    pub a: EndView<'a>,
    /// The end with the higher id.
    pub b: EndView<'a>,
}

/// An element of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndView<'a> {
    /// Its id.
    pub id: u64,
    /// The client's key.
    pub key: &'a str,
    /// The client's payload.
    pub payload: &'a [u8],
    /// When it arrived, milliseconds since 1970 by the balancer's clock; none of a match that an earlier version
    /// stored.
    pub arrived_ms: Option<u64>,
}

impl MatchColumns {
    /// How many.
    pub fn len(&self) -> usize {
        self.columns.len() - self.from
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No further match will have a cursor at or below this one.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = MatchView<'_>> + DoubleEndedIterator {
        (self.from..self.columns.len()).map(|index| {
            let (cursor, time_ms) = self.columns.cursor(index);
            let [a, b] = self.columns.ends(index).map(|end| {
                let MatchedEnd { id, key, payload, arrived_ms } = end;
                EndView { id, key, payload, arrived_ms }
            });
            MatchView { cursor, pool: self.columns.pool(index), time_ms, a, b }
        })
    }
}

mod sealed {
    use super::*;

    /// What resuming needs to know of a stream.
    pub trait Sealed: Sized {
        /// Its message.
        type Sent: Send + 'static;
        /// Opens the stream after a cursor.
        fn open(
            service: &mut MatchServiceClient<Calls>,
            options: &WatchOptions,
            after: u64,
        ) -> impl Future<Output = Result<Streaming<Self::Sent>, tonic::Status>> + Send;
        /// Whether the pool that is watched was dropped, and nothing more will come.
        fn is_last(sent: &Self::Sent) -> bool;
        /// What a message says.
        fn read(sent: Self::Sent) -> Result<Self, ClientError>;
        /// Drops what is at or below a cursor. Returns the cursor after the rest.
        fn drop_through(&mut self, cursor: u64) -> u64;
    }
}
use sealed::Sealed;

async fn open_matches(
    service: &mut MatchServiceClient<Calls>,
    options: &WatchOptions,
    after: u64,
    format: ResponseFormat,
) -> Result<Streaming<pb::WatchMatchesResponse>, tonic::Status> {
    let WatchOptions { pool, until_settled, from_now, arrival_times, .. } = options.clone();
    let format = format.into();
    let request = pb::WatchMatchesRequest { pool, after, until_settled, format, from_now, arrival_times };
    Ok(service.watch_matches(request).await?.into_inner())
}

impl Sealed for MatchColumns {
    type Sent = pb::WatchMatchesResponse;

    async fn open(
        service: &mut MatchServiceClient<Calls>,
        options: &WatchOptions,
        after: u64,
    ) -> Result<Streaming<pb::WatchMatchesResponse>, tonic::Status> {
        open_matches(service, options, after, ResponseFormat::Columns).await
    }

    fn is_last(sent: &pb::WatchMatchesResponse) -> bool {
        sent.pool_dropped
    }

    fn read(sent: pb::WatchMatchesResponse) -> Result<MatchColumns, ClientError> {
        let pb::WatchMatchesResponse { matches, settled, columns, pool_dropped: _ } = sent;
        // An earlier version knows no columns, and sends what a later one would not.
        if !matches.is_empty() {
            let text = "it sent rows where columns were asked for, as versions before columns do";
            return Err(ClientError::Answer(text.to_owned()));
        }
        let columns = columns.as_ref().map(MatchedColumns::read).transpose();
        let columns = columns.map_err(|error| ClientError::Answer(error.to_string()))?.unwrap_or_default();
        Ok(MatchColumns { columns, from: 0, settled })
    }

    fn drop_through(&mut self, cursor: u64) -> u64 {
        self.from = self.columns.after(EventId(cursor));
        self.iter().next_back().map_or(0, |found| found.cursor).max(self.settled)
    }
}

impl Sealed for pb::WatchMatchesResponse {
    type Sent = Self;

    async fn open(
        service: &mut MatchServiceClient<Calls>,
        options: &WatchOptions,
        after: u64,
    ) -> Result<Streaming<Self>, tonic::Status> {
        open_matches(service, options, after, ResponseFormat::Rows).await
    }

    fn is_last(sent: &Self) -> bool {
        sent.pool_dropped
    }

    fn read(sent: Self) -> Result<Self, ClientError> {
        Ok(sent)
    }

    fn drop_through(&mut self, cursor: u64) -> u64 {
        self.matches.retain(|found| found.cursor > cursor);
        self.matches.last().map_or(0, |found| found.cursor).max(self.settled)
    }
}

impl Sealed for pb::WatchOutcomesResponse {
    type Sent = Self;

    async fn open(
        service: &mut MatchServiceClient<Calls>,
        options: &WatchOptions,
        after: u64,
    ) -> Result<Streaming<Self>, tonic::Status> {
        let WatchOptions { pool, until_settled, from_now, .. } = options.clone();
        let request = pb::WatchOutcomesRequest { pool, after, until_settled, from_now };
        Ok(service.watch_outcomes(request).await?.into_inner())
    }

    fn is_last(sent: &Self) -> bool {
        sent.pool_dropped
    }

    fn read(sent: Self) -> Result<Self, ClientError> {
        Ok(sent)
    }

    fn drop_through(&mut self, cursor: u64) -> u64 {
        self.outcomes.retain(|outcome| outcome.cursor > cursor);
        self.outcomes.last().map_or(0, |outcome| outcome.cursor).max(self.settled)
    }
}

/// An open watch: of matches, [as columns](super::Client::watch_columns) or not, or of [all
/// outcomes](super::Client::watch_outcomes).
#[derive(Debug)]
pub struct Watch<P: WatchedPart = pb::WatchMatchesResponse> {
    servers: Servers,
    /// The one that was asked last.
    at: usize,
    options: WatchOptions,
    cursor: u64,
    stream: Option<Streaming<P::Sent>>,
    /// Since the last message: when the first attempt failed, and the pause before the next.
    failing: Option<(Instant, Duration)>,
    resumed: u64,
    ended: bool,
}

impl<P: WatchedPart> Watch<P> {
    pub(super) fn new(servers: Servers, options: WatchOptions) -> Watch<P> {
        let cursor = options.after;
        Watch { servers, at: 0, options, cursor, stream: None, failing: None, resumed: 0, ended: false }
    }

    /// Where to resume from to get what comes next: everything at or below has been handed out.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// How often the connection was lost, and tried again.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// What comes next: some of them, perhaps none, and a new cursor. `None` when everything is settled and that was
    /// asked for, or when the pool that is watched was dropped and everything of it was handed out.
    ///
    /// A lost connection and UNAVAILABLE are met by resuming from the cursor, with growing pauses, of several servers at
    /// the one that writes or at the next. Any other error, and these after `retry_max`, end the watch. Can be dropped and called again.
    pub async fn next(&mut self) -> Result<Option<P>, ClientError> {
        while !self.ended {
            match self.receive().await {
                Ok(Some(mut part)) => {
                    self.failing = None;
                    // It knows where it is, and goes on from there.
                    self.options.from_now = false;
                    // What was handed out before the connection broke goes.
                    self.cursor = part.drop_through(self.cursor).max(self.cursor);
                    return Ok(Some(part));
                }
                Ok(None) if self.options.until_settled => self.ended = true,
                Ok(None) => self.pause(ClientError::Lost { reason: "the server ended the stream".to_owned() }).await?,
                Err(error) => self.pause(error).await?,
            }
        }
        Ok(None)
    }

    async fn receive(&mut self) -> Result<Option<P>, ClientError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let (at, calls) = self.servers.calls();
                self.at = at;
                none.insert(P::open(&mut service(calls), &self.options, self.cursor).await?)
            }
        };
        let message = stream.message().await?;
        self.ended |= message.as_ref().is_some_and(P::is_last);
        message.map(P::read).transpose()
    }

    async fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.stream = None;
        let now = Instant::now();
        let (since, pause) = self.failing.unwrap_or((now, BACKOFF.0));
        if !error.is_transient() || now.duration_since(since) + pause > self.options.retry_max {
            self.ended = true;
            return Err(error);
        }
        let (pause, next) = match self.servers.hear(self.at, &error) {
            Next::Followed => (FOLLOWED, pause),
            Next::Another | Next::Here => (pause, (2 * pause).min(BACKOFF.1)),
        };
        self.failing = Some((since, next));
        self.resumed += 1;
        tracing::debug!(cursor = self.cursor, %error, "watch resumes");
        sleep(pause).await;
        Ok(())
    }
}
