//! The clients of a run: some that submit, and one that watches.
//!
//! Every element's time is known to the run: when it was due or sent, when it was acknowledged, and when its match
//! came. Invariants: bench.D1 elements are dealt to the clients in turn; bench.D2 what was acknowledged is timed before
//! more is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::try_join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::driven::{Driven, SeenMatch};
use super::error::BenchError;
use super::plan::Manner;
use super::source::{Form, RowSource};
use dovetail::client::{
    Answer, Client, ClientError, ConnectOptions, MatchColumns, SubmitOptions, SubmitStream, Watch, WatchOptions,
};
use dovetail::pb;

/// Nothing acknowledged and nothing decided for so long is an error.
const STANDSTILL_MAX: Duration = Duration::from_secs(120);

/// What is submitted, how, and where.
#[derive(Clone, Debug)]
pub struct Load {
    /// The balancer.
    pub server: String,
    /// How to connect to it.
    pub connect: ConnectOptions,
    /// The pool; it is defined already.
    pub pool: String,
    /// The event that defined it.
    pub defined_at: u64,
    /// The elements.
    pub source: Arc<RowSource>,
    /// How they are submitted.
    pub manner: Manner,
}

/// What moves while a run goes well.
#[derive(Debug, Default)]
pub struct DriveProgress {
    acknowledged: AtomicU64,
    decided: AtomicU64,
}

impl DriveProgress {
    /// Returns when nothing has moved for too long.
    pub async fn standstill(&self) -> BenchError {
        let look = || (self.acknowledged.load(Ordering::Relaxed), self.decided.load(Ordering::Relaxed));
        let mut last = (look(), Instant::now());
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = look();
            if now != last.0 {
                last = (now, Instant::now());
            } else if last.1.elapsed() > STANDSTILL_MAX {
                return BenchError::Standstill { seconds: STANDSTILL_MAX.as_secs(), acknowledged: now.0 };
            }
        }
    }
}

/// Tasks that end with their owner.
struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    async fn done(&mut self) -> Result<T, BenchError> {
        (&mut self.0).await.map_err(|_| BenchError::Stopped)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Submits all of it, and returns when everything is decided and has come to the watcher.
///
/// # Errors
/// When a connection breaks, or an element is refused.
pub async fn drive(load: Load, progress: &Arc<DriveProgress>) -> Result<Driven, BenchError> {
    let n = load.source.len();
    let watcher = Client::connect_with(load.server.as_str(), &load.connect).await?;
    let options = WatchOptions { pool: load.pool.clone(), after: load.defined_at, ..WatchOptions::default() };
    let watching = match load.manner.form {
        Form::Rows => Watching::Rows(watcher.watch(options)),
        Form::Columns | Form::One => Watching::Columns(watcher.watch_columns(options)),
    };
    let connect = (0..load.manner.clients).map(async |_| {
        let client = Client::connect_with(load.server.as_str(), &load.connect).await?;
        let options = SubmitOptions { in_flight: load.manner.in_flight };
        let stream = match load.manner.form {
            Form::One => None,
            Form::Columns | Form::Rows => Some(client.submit(load.pool.as_str(), options).await?),
        };
        Ok::<_, ClientError>((client, stream))
    });
    let (clients, streams): (Vec<Client>, Vec<Option<SubmitStream>>) = try_join_all(connect).await?.into_iter().unzip();
    let load = Arc::new(load);
    let (last, last_told) = watch::channel(None);
    let begin = Instant::now();
    let due = load.manner.pace.start(begin, n).map_err(BenchError::Thread)?;
    let mut watching = Task(tokio::spawn(follow(watching, begin, last_told, Arc::clone(progress))));
    let submitting: Vec<_> = (0..)
        .zip(streams)
        .zip(&clients)
        .map(|((index, stream), client)| {
            let submitter = Submitter { load: Arc::clone(&load), index, begin, progress: Arc::clone(progress) };
            let (client, due) = (client.clone(), due.clone());
            Task(tokio::spawn(async move {
                match stream {
                    Some(stream) => submitter.run(stream, due).await,
                    None => submitter.run_ones(client, due).await,
                }
            }))
        })
        .collect();
    let mut driven = Driven {
        from: vec![Duration::ZERO; n],
        acknowledged: vec![Duration::ZERO; n],
        ids: vec![0; n],
        matches: Vec::new(),
        settled: Duration::ZERO,
        submitted_bytes: (0, 0),
        watched_bytes: 0,
    };
    for mut client in submitting {
        for batch in client.done().await?? {
            for (position, id) in batch.positions(&load).zip(batch.ids) {
                driven.from[position] = load.manner.pace.due(position).unwrap_or(batch.sent);
                driven.acknowledged[position] = batch.answered;
                driven.ids[position] = id;
            }
        }
    }
    // The watcher is there until it is told that it may go.
    _ = last.send(driven.ids.iter().copied().max().or(Some(0)));
    (driven.matches, driven.settled) = watching.done().await??;
    let bytes = |of: fn(&Client) -> u64| clients.iter().map(of).sum();
    driven.submitted_bytes = (bytes(|client| client.traffic().sent()), bytes(|client| client.traffic().received()));
    driven.watched_bytes = watcher.traffic().received();
    Ok(driven)
}

/// A batch that was sent.
#[derive(Debug)]
struct Batch {
    client: usize,
    /// Its elements among the client's own.
    first: usize,
    count: usize,
    sent: Duration,
    answered: Duration,
    ids: Vec<u64>,
}

impl Batch {
    fn positions(&self, load: &Load) -> impl Iterator<Item = usize> + Clone + use<> {
        let (client, clients) = (self.client, load.manner.clients);
        (self.first..self.first + self.count).map(move |own| client + own * clients)
    }
}

struct Submitter {
    load: Arc<Load>,
    index: usize,
    begin: Instant,
    progress: Arc<DriveProgress>,
}

impl Submitter {
    /// How many of the first `n` elements are dealt to this client.
    fn share(&self, n: usize) -> usize {
        n.saturating_sub(self.index).div_ceil(self.load.manner.clients)
    }

    async fn run(self, mut stream: SubmitStream, mut due: watch::Receiver<usize>) -> Result<Vec<Batch>, BenchError> {
        let own = self.share(self.load.source.len());
        let (mut sent, mut answered) = (0, 0);
        let mut batches: Vec<Batch> = Vec::new();
        loop {
            // What has come meanwhile is timed before the next batch takes its time.
            while let Some(answer) = stream.answer().now_or_never() {
                let Some(answer) = answer? else { break };
                self.answered(&mut batches, &mut answered, answer)?;
            }
            if sent == own && stream.unanswered() == 0 {
                return Ok(batches);
            }
            let ready = self.share(*due.borrow_and_update()) - sent;
            if ready > 0 && stream.has_room() {
                let (count, now) = (ready.min(self.load.manner.batch), self.begin.elapsed());
                let batch = Batch {
                    client: self.index,
                    first: sent,
                    count,
                    sent: now,
                    answered: Duration::ZERO,
                    ids: Vec::new(),
                };
                let answer =
                    self.load.source.send(&mut stream, self.load.manner.form, batch.positions(&self.load)).await?;
                assert!(answer.is_none(), "there was room, so no answer was waited for");
                batches.push(batch);
                sent += count;
                continue;
            }
            let (waits, may_send) = (stream.unanswered() > 0, stream.has_room() && sent < own);
            tokio::select! {
                answer = stream.answer(), if waits => {
                    if let Some(answer) = answer? {
                        self.answered(&mut batches, &mut answered, answer)?;
                    }
                }
                changed = due.changed(), if may_send => changed.map_err(|_| BenchError::Stopped)?,
            }
        }
    }

    /// Each element by a call of its own.
    async fn run_ones(self, client: Client, mut due: watch::Receiver<usize>) -> Result<Vec<Batch>, BenchError> {
        let mut batches = Vec::new();
        for first in 0..self.share(self.load.source.len()) {
            due.wait_for(|due| self.share(*due) > first).await.map_err(|_| BenchError::Stopped)?;
            let mut batch = Batch {
                client: self.index,
                first,
                count: 1,
                sent: self.begin.elapsed(),
                answered: Duration::ZERO,
                ids: Vec::new(),
            };
            let position = batch.positions(&self.load).next().unwrap_or_default();
            let element = self.load.source.submission(position);
            batch.ids = vec![client.submit_one(self.load.pool.as_str(), element).await?];
            batch.answered = self.begin.elapsed();
            self.progress.acknowledged.fetch_add(1, Ordering::Relaxed);
            batches.push(batch);
        }
        Ok(batches)
    }

    fn answered(&self, batches: &mut [Batch], next: &mut usize, answer: Answer) -> Result<(), BenchError> {
        let batch = &mut batches[*next];
        batch.answered = self.begin.elapsed();
        if let Some(refusal) = answer.refusals.into_iter().next() {
            let position = batch.positions(&self.load).nth(refusal.row as usize).unwrap_or_default() + 1;
            return Err(BenchError::Refused { position, reason: refusal.message });
        }
        self.progress.acknowledged.fetch_add(answer.ids.len() as u64, Ordering::Relaxed);
        batch.ids = answer.ids;
        *next += 1;
        Ok(())
    }
}

/// The watcher's stream, as rows if the elements are.
enum Watching {
    Rows(Watch),
    Columns(Watch<MatchColumns>),
}

impl Watching {
    /// The ids of the ends of some matches.
    async fn next(&mut self) -> Result<Option<Vec<(u64, u64)>>, ClientError> {
        Ok(match self {
            Watching::Rows(watch) => watch.next().await?.map(|part| {
                let ends = |found: &pb::Match| Some((found.a.as_ref()?.id, found.b.as_ref()?.id));
                part.matches.iter().filter_map(ends).collect()
            }),
            Watching::Columns(watch) => {
                watch.next().await?.map(|part| part.iter().map(|found| (found.a.id, found.b.id)).collect())
            }
        })
    }

    fn cursor(&self) -> u64 {
        match self {
            Watching::Rows(watch) => watch.cursor(),
            Watching::Columns(watch) => watch.cursor(),
        }
    }
}

/// Collects matches until everything through `last`, once that is known, is decided. Also says when that was.
async fn follow(
    mut watching: Watching,
    begin: Instant,
    mut last: watch::Receiver<Option<u64>>,
    progress: Arc<DriveProgress>,
) -> Result<(Vec<SeenMatch>, Duration), BenchError> {
    let (mut matches, mut at) = (Vec::new(), Duration::ZERO);
    loop {
        let through = *last.borrow_and_update();
        if through.is_some_and(|through| watching.cursor() >= through) {
            return Ok((matches, at));
        }
        tokio::select! {
            part = watching.next() => {
                let Some(part) = part? else { return Err(BenchError::Stopped) };
                at = begin.elapsed();
                matches.extend(part.into_iter().map(|(a, b)| SeenMatch { ends: (a.min(b), a.max(b)), at }));
                progress.decided.store(watching.cursor(), Ordering::Relaxed);
            }
            changed = last.changed() => changed.map_err(|_| BenchError::Stopped)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ArrivalPace;
    use crate::workload::Workload;

    #[test]
    fn every_element_is_dealt_to_one_client() {
        let load = Arc::new(Load {
            server: String::new(),
            connect: ConnectOptions::default(),
            pool: String::new(),
            defined_at: 1,
            source: Arc::new(RowSource::generated(Workload::W3, 10, None)),
            manner: Manner { clients: 3, batch: 256, form: Form::Columns, in_flight: 16, pace: ArrivalPace::FlatOut },
        });
        let mut dealt = Vec::new();
        for index in 0..3 {
            let (begin, progress) = (Instant::now(), Arc::default());
            let count = Submitter { load: Arc::clone(&load), index, begin, progress }.share(10);
            let (sent, answered) = (Duration::ZERO, Duration::ZERO);
            let batch = Batch { client: index, first: 0, count, sent, answered, ids: Vec::new() };
            dealt.push(batch.positions(&load).collect::<Vec<_>>());
        }
        assert_eq!(dealt, [vec![0, 3, 6, 9], vec![1, 4, 7], vec![2, 5, 8]]);
    }
}
