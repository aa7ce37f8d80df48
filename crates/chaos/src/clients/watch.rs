//! Watchers that resume from their cursor across every break.
//!
//! Most speak to the service itself, so that nothing that comes twice is dropped by the library; one uses the library.
//! One watches all outcomes, not only matches.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dovetail::client::{Client, ClientError, WatchOptions};
use dovetail::pb::match_service_client::MatchServiceClient;
use dovetail::pb::outcome::Kind;
use dovetail::pb::{EndReason, Match, Outcome, WatchMatchesRequest, WatchMatchesResponse, WatchOutcomesRequest};
use tokio::time::sleep;
use tonic::{Code, Status, transport::Channel};

use super::{AGAIN, Shared, channel};
use crate::workload::ChaosPool;

/// Largest message taken.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// An outcome as it was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenOutcome {
    pub cursor: u64,
    pub what: SeenReason,
}

/// What an outcome says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenReason {
    /// Lower id, higher id.
    Pair(u64, u64),
    Withdrawn(u64),
    Expired(u64),
    Dropped(u64),
    /// Nothing that can be understood.
    Nothing,
}

impl SeenOutcome {
    /// A match.
    pub fn of(found: &Match) -> SeenOutcome {
        let id = |end: &Option<dovetail::pb::MatchedElement>| end.as_ref().map_or(0, |end| end.id);
        SeenOutcome { cursor: found.cursor, what: SeenReason::Pair(id(&found.a), id(&found.b)) }
    }

    fn outcome(outcome: &Outcome) -> SeenOutcome {
        let what = match &outcome.kind {
            Some(Kind::Match(found)) if found.cursor == outcome.cursor => SeenOutcome::of(found).what,
            Some(Kind::Ended(ended)) => match ended.reason() {
                EndReason::Withdrawn => SeenReason::Withdrawn(ended.id),
                EndReason::Expired => SeenReason::Expired(ended.id),
                EndReason::Dropped => SeenReason::Dropped(ended.id),
                EndReason::Unspecified => SeenReason::Nothing,
            },
            Some(Kind::Match(_)) | None => SeenReason::Nothing,
        };
        SeenOutcome { cursor: outcome.cursor, what }
    }

    pub fn is_pair(&self) -> bool {
        matches!(self.what, SeenReason::Pair(..))
    }
}

/// Which stream is watched, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchStream {
    Matches,
    /// The same, by the client library.
    Library,
    Outcomes,
}

/// What one watcher has seen.
#[derive(Debug)]
pub struct Watcher {
    /// None for all pools.
    pub pool: Option<ChaosPool>,
    pub stream: WatchStream,
    shared: Arc<Shared>,
    cursor: AtomicU64,
    seen: Mutex<Vec<SeenOutcome>>,
}

impl Watcher {
    pub fn new(pool: Option<ChaosPool>, stream: WatchStream, shared: Arc<Shared>) -> Arc<Watcher> {
        Arc::new(Watcher { pool, stream, shared, cursor: AtomicU64::new(0), seen: Mutex::default() })
    }

    /// Everything at or below was handed out.
    pub fn cursor(&self) -> u64 {
        self.cursor.load(Ordering::Acquire)
    }

    /// Takes what was seen up to a cursor.
    pub fn take_through(&self, through: u64) -> Vec<SeenOutcome> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let count = seen.partition_point(|seen| seen.cursor <= through);
        seen.drain(..count).collect()
    }

    /// Watches for ever.
    pub async fn run(self: Arc<Self>, url: String) {
        loop {
            let ended = match self.stream {
                WatchStream::Matches => self.matches(&url).await,
                WatchStream::Library => self.through_library(&url).await,
                WatchStream::Outcomes => self.outcomes(&url).await,
            };
            self.shared.journal.count("watches resumed", 1);
            if let Err(error) = ended {
                self.shared.journal.violation(format!("a watch of {} ended: {error}", self.name()));
            }
            sleep(AGAIN).await;
        }
    }

    pub fn name(&self) -> String {
        let pool = self.pool.map_or("all pools", ChaosPool::name);
        match self.stream {
            WatchStream::Matches => pool.to_owned(),
            WatchStream::Library => format!("{pool}, by the library"),
            WatchStream::Outcomes => format!("{pool}, all outcomes"),
        }
    }

    fn pool_name(&self) -> String {
        self.pool.map_or("", ChaosPool::name).to_owned()
    }

    async fn matches(&self, url: &str) -> Result<(), String> {
        let request = WatchMatchesRequest { pool: self.pool_name(), after: self.cursor(), ..Default::default() };
        let mut stream = match service(url)?.watch_matches(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return broken(&status),
        };
        loop {
            match stream.message().await {
                Ok(Some(response)) => self.take_matches(&response),
                Ok(None) => return Ok(()),
                Err(status) => return broken(&status),
            }
        }
    }

    async fn outcomes(&self, url: &str) -> Result<(), String> {
        let request = WatchOutcomesRequest {
            pool: self.pool_name(),
            after: self.cursor(),
            until_settled: false,
            from_now: false,
        };
        let mut stream = match service(url)?.watch_outcomes(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return broken(&status),
        };
        loop {
            match stream.message().await {
                Ok(Some(response)) => {
                    let outcomes: Vec<SeenOutcome> = response.outcomes.iter().map(SeenOutcome::outcome).collect();
                    self.take(outcomes, response.settled);
                }
                Ok(None) => return Ok(()),
                Err(status) => return broken(&status),
            }
        }
    }

    async fn through_library(&self, url: &str) -> Result<(), String> {
        let client = self.shared.connect(url).await;
        let retry_max = Duration::from_secs(24 * 3600);
        let after = self.cursor();
        let pool = self.pool_name();
        let mut watch = client.watch(WatchOptions { pool, after, retry_max, ..WatchOptions::default() });
        loop {
            match watch.next().await {
                Ok(Some(response)) => self.take_matches(&response),
                Ok(None) => return Err("it ended by itself".to_owned()),
                Err(error) if error.is_transient() => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn take_matches(&self, response: &WatchMatchesResponse) {
        self.take(response.matches.iter().map(SeenOutcome::of).collect(), response.settled);
        if self.pool.is_none() && self.stream == WatchStream::Matches {
            self.shared.journal.count("matches", response.matches.len() as u64);
            for found in &response.matches {
                self.shared.journal.matched(found.time_ms);
                [&found.a, &found.b].into_iter().flatten().for_each(|end| self.shared.saw(end.id, found.cursor));
            }
        }
    }

    fn take(&self, outcomes: Vec<SeenOutcome>, settled: u64) {
        let journal = &self.shared.journal;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cursor = self.cursor();
        journal.checked("cursors ascend, each once", 1 + outcomes.len() as u64);
        for outcome in outcomes {
            if outcome.cursor <= cursor {
                journal.violation(format!("{} handed out {outcome:?} after cursor {cursor}", self.name()));
            }
            cursor = outcome.cursor;
            seen.push(outcome);
        }
        if settled < cursor {
            journal.violation(format!("{} says settled {settled} after cursor {cursor}", self.name()));
        }
        self.cursor.store(cursor.max(settled), Ordering::Release);
    }
}

fn service(url: &str) -> Result<MatchServiceClient<Channel>, String> {
    let channel = channel(url).map_err(|error| error.to_string())?;
    Ok(MatchServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// A stream that broke, as it may.
fn broken(status: &Status) -> Result<(), String> {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled => Ok(()),
        _ => Err(status.to_string()),
    }
}

/// Reads what there is after a cursor, until everything submitted so far is settled.
pub async fn read_again(client: &Client, after: u64) -> Result<Vec<SeenOutcome>, ClientError> {
    let retry_max = Duration::from_secs(60);
    let mut watch = client.watch(WatchOptions { after, until_settled: true, retry_max, ..WatchOptions::default() });
    let mut seen = Vec::new();
    while let Some(response) = watch.next().await? {
        seen.extend(response.matches.iter().map(SeenOutcome::of));
    }
    Ok(seen)
}
