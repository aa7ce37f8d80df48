//! Watchers that resume from their cursor across every break.
//!
//! Most speak to the service itself, so that nothing that comes twice is dropped by the library; one uses the library.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dovetail::client::{Client, ClientError, WatchOptions};
use dovetail::pb::match_service_client::MatchServiceClient;
use dovetail::pb::{Match, WatchMatchesRequest, WatchMatchesResponse};
use tokio::time::sleep;
use tonic::{Code, Status};

use super::{AGAIN, Shared, channel};
use crate::workload::Pool;

/// Largest message taken.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A match as it was handed out: cursor, lower id, higher id.
pub type Seen = (u64, u64, u64);

/// What one watcher has seen.
#[derive(Debug)]
pub struct Watcher {
    /// None for all pools.
    pub pool: Option<Pool>,
    /// Whether through the library.
    pub library: bool,
    shared: Arc<Shared>,
    cursor: AtomicU64,
    seen: Mutex<Vec<Seen>>,
}

impl Watcher {
    pub fn new(pool: Option<Pool>, library: bool, shared: Arc<Shared>) -> Arc<Watcher> {
        Arc::new(Watcher { pool, library, shared, cursor: AtomicU64::new(0), seen: Mutex::default() })
    }

    /// Everything at or below was handed out.
    pub fn cursor(&self) -> u64 {
        self.cursor.load(Ordering::Acquire)
    }

    /// Takes the matches up to a cursor.
    pub fn take_through(&self, through: u64) -> Vec<Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let count = seen.partition_point(|(cursor, ..)| *cursor <= through);
        seen.drain(..count).collect()
    }

    /// Watches for ever.
    pub async fn run(self: Arc<Self>, url: String) {
        loop {
            let ended = match self.library {
                true => self.through_library(&url).await,
                false => self.one_stream(&url).await,
            };
            self.shared.journal.count("watches resumed", 1);
            if let Err(error) = ended {
                self.shared.journal.violation(format!("a watch of {} ended: {error}", self.name()));
            }
            sleep(AGAIN).await;
        }
    }

    pub fn name(&self) -> String {
        let pool = self.pool.map_or("all pools", Pool::name);
        if self.library { format!("{pool}, by the library") } else { pool.to_owned() }
    }

    async fn one_stream(&self, url: &str) -> Result<(), String> {
        let channel = channel(url).map_err(|error| error.to_string())?;
        let mut client = MatchServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let pool = self.pool.map_or("", Pool::name).to_owned();
        let request = WatchMatchesRequest { pool, after: self.cursor(), until_settled: false };
        let mut stream = match client.watch_matches(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return broken(&status),
        };
        loop {
            match stream.message().await {
                Ok(Some(response)) => self.take(response),
                Ok(None) => return Ok(()),
                Err(status) => return broken(&status),
            }
        }
    }

    async fn through_library(&self, url: &str) -> Result<(), String> {
        let client = self.shared.connect(url).await;
        let retry_max = Duration::from_secs(24 * 3600);
        let after = self.cursor();
        let pool = self.pool.map_or("", Pool::name).to_owned();
        let mut watch = client.watch(WatchOptions { pool, after, until_settled: false, retry_max });
        loop {
            match watch.next().await {
                Ok(Some(response)) => self.take(response),
                Ok(None) => return Err("it ended by itself".to_owned()),
                Err(error) if error.is_transient() => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn take(&self, response: WatchMatchesResponse) {
        let journal = &self.shared.journal;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cursor = self.cursor();
        journal.checked("cursors ascend, each once", 1 + response.matches.len() as u64);
        for found in &response.matches {
            if found.cursor <= cursor {
                journal.violation(format!("{} handed out {found:?} after cursor {cursor}", self.name()));
            }
            cursor = found.cursor;
            seen.push(triple(found));
        }
        if response.settled < cursor {
            journal.violation(format!("{} says settled {} after cursor {cursor}", self.name(), response.settled));
        }
        self.cursor.store(cursor.max(response.settled), Ordering::Release);
        if self.pool.is_none() && !self.library {
            journal.count("matches", response.matches.len() as u64);
            for found in &response.matches {
                journal.matched(found.time_ms);
                [&found.a, &found.b].into_iter().flatten().for_each(|end| self.shared.saw(end.id));
            }
        }
    }
}

/// A match as it is compared.
pub fn triple(found: &Match) -> Seen {
    let id = |end: &Option<dovetail::pb::MatchedElement>| end.as_ref().map_or(0, |end| end.id);
    (found.cursor, id(&found.a), id(&found.b))
}

/// A stream that broke, as it may.
fn broken(status: &Status) -> Result<(), String> {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled => Ok(()),
        _ => Err(status.to_string()),
    }
}

/// Reads what there is after a cursor, until everything submitted so far is settled.
pub async fn read_again(client: &Client, after: u64) -> Result<Vec<Seen>, ClientError> {
    let retry_max = Duration::from_secs(60);
    let mut watch = client.watch(WatchOptions { pool: String::new(), after, until_settled: true, retry_max });
    let mut seen = Vec::new();
    while let Some(response) = watch.next().await? {
        seen.extend(response.matches.iter().map(triple));
    }
    Ok(seen)
}
