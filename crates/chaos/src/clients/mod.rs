//! Clients that go on through everything, and note what they were told.
//!
//! Nothing is judged here that needs the log; the [`Evidence`] is for the audit.

pub mod ask;
pub mod drop;
pub mod submit;
pub mod watch;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dovetail::{
    client::{Client, ClientError},
    pb::{EndReason, Match},
    tls::Trust,
    traffic::Traffic,
};
use tokio::sync::watch as signal;
use tonic::transport::{Channel, Endpoint};

use super::{journal::Journal, secure, workload::ChaosPool};

/// Longest wait for an answer before a call is given up and made again.
pub const ANSWER: Duration = Duration::from_secs(6);

/// Pause before the next try.
pub const AGAIN: Duration = Duration::from_millis(50);

/// Acknowledged elements remembered for questions.
const RECENT_MAX: usize = 20_000;

/// An element that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    pub pool: ChaosPool,
    pub serial: u64,
    pub id: u64,
}

/// An answered withdrawal.
#[derive(Clone, Debug)]
pub struct Withdrawn {
    pub element: Acked,
    pub outcome: dovetail::pb::WithdrawOutcome,
    pub found: Option<Match>,
    pub reason: EndReason,
    /// Calls to withdraw it that had been made by then, by all clients.
    pub calls: u64,
}

/// An answered `GetElement` about an element that waits no longer.
#[derive(Clone, Debug)]
pub struct Looked {
    pub element: Acked,
    pub state: dovetail::pb::ElementState,
    pub found: Option<Match>,
    pub ended_at: u64,
}

/// What clients were told since the last audit.
#[derive(Debug, Default)]
pub struct Evidence {
    pub acked: Vec<Acked>,
    pub withdrawn: Vec<Withdrawn>,
    pub looked: Vec<Looked>,
}

/// What all clients share.
#[derive(Debug)]
pub struct Shared {
    pub seed: u64,
    pub journal: Arc<Journal>,
    /// Told once, when the clients are to finish.
    pub stop: signal::Receiver<bool>,
    serials: AtomicU64,
    /// By submitter: everything below was acknowledged.
    pending: Mutex<HashMap<usize, u64>>,
    evidence: Mutex<Evidence>,
    recent: Mutex<VecDeque<Acked>>,
    /// Calls to withdraw an element.
    withdrawing: Mutex<HashMap<u64, u64>>,
    /// The cursor of an element's match, once a watcher has seen it.
    seen: Mutex<HashMap<u64, u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(seed: u64, journal: Arc<Journal>, stop: signal::Receiver<bool>) -> Shared {
        Shared {
            seed,
            journal,
            stop,
            serials: AtomicU64::new(1),
            pending: Mutex::default(),
            evidence: Mutex::default(),
            recent: Mutex::default(),
            withdrawing: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    pub fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when the clients are to finish.
    pub async fn stopped(&self) {
        // A sender that is gone stops too.
        _ = self.stop.clone().wait_for(|stop| *stop).await;
    }

    /// A serial that no other element has.
    pub fn serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    /// The next serial.
    pub fn serials(&self) -> u64 {
        self.serials.load(Ordering::Relaxed)
    }

    /// The lowest serial that this submitter has sent and heard nothing of; none when it has heard of all.
    pub fn set_pending(&self, submitter: usize, lowest: Option<u64>) {
        lock(&self.pending).insert(submitter, lowest.unwrap_or(u64::MAX));
    }

    /// Everything below was acknowledged, or is not submitted yet.
    pub fn pending(&self) -> u64 {
        lock(&self.pending).values().copied().min().unwrap_or(u64::MAX)
    }

    /// The same of one that no client is to ask about: its pool does not last.
    pub fn acked_alone(&self, acked: Acked) {
        self.journal.count("elements", 1);
        lock(&self.evidence).acked.push(acked);
    }

    pub fn acked(&self, acked: Acked) {
        self.acked_alone(acked);
        let mut recent = lock(&self.recent);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(acked);
    }

    /// A call to withdraw an element is made.
    pub fn withdrawing(&self, element: u64) {
        *lock(&self.withdrawing).entry(element).or_default() += 1;
    }

    /// How many were made.
    pub fn withdraw_calls(&self, element: u64) -> u64 {
        lock(&self.withdrawing).get(&element).copied().unwrap_or(0)
    }

    pub fn withdrawn(&self, withdrawn: Withdrawn) {
        lock(&self.evidence).withdrawn.push(withdrawn);
    }

    pub fn looked(&self, looked: Looked) {
        lock(&self.evidence).looked.push(looked);
    }

    pub fn take_evidence(&self) -> Evidence {
        std::mem::take(&mut lock(&self.evidence))
    }

    /// An acknowledged element; of the last `of` ones.
    pub fn recent(&self, draw: impl FnOnce(u64) -> u64, of: usize) -> Option<Acked> {
        let recent = lock(&self.recent);
        let of = of.min(recent.len());
        if of == 0 {
            return None;
        }
        recent.get(recent.len() - 1 - draw(of as u64) as usize).copied()
    }

    /// A watcher saw the match of an element.
    pub fn saw(&self, element: u64, cursor: u64) {
        let mut seen = lock(&self.seen);
        if seen.len() > 4 * RECENT_MAX {
            seen.clear();
        }
        seen.insert(element, cursor);
    }

    /// The cursor of its match, when one was seen.
    pub fn seen(&self, element: u64) -> Option<u64> {
        lock(&self.seen).get(&element).copied()
    }

    /// Notes an error of a call: one that may be expected while things are broken is met by trying again.
    pub async fn survive(&self, what: &str, error: &ClientError) {
        if error.is_transient() {
            self.journal.count("retries", 1);
        } else {
            self.journal.violation(format!("{what} failed: {error}"));
        }
        tokio::time::sleep(AGAIN).await;
    }

    /// A connection, however long it takes.
    pub async fn connect(&self, url: &str) -> Client {
        let options = secure::options();
        loop {
            match tokio::time::timeout(ANSWER, Client::connect_with(url, &options)).await {
                Ok(Ok(client)) => return client,
                Ok(Err(error)) => self.survive("connecting", &error).await,
                Err(_) => self.journal.count("retries", 1),
            }
        }
    }
}

/// A channel that is connected when it is used, and soon notices a silent end.
pub fn channel(url: &str) -> Result<Channel, tonic::transport::Error> {
    channel_with(url, secure::trust())
}

/// The same of another client.
pub fn channel_with(url: &str, trust: Trust) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(Duration::from_secs(3));
    let endpoint =
        endpoint.http2_keep_alive_interval(Duration::from_secs(3)).keep_alive_timeout(Duration::from_secs(6));
    Ok(endpoint.connect_with_connector_lazy(Traffic::default().connector(trust)))
}
