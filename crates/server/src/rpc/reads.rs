//! Answers that are the same for all callers: lists of pools, the state of a node.
//!
//! They are made of snapshots that callers share. A snapshot is made when the first of them has asked or later, so that
//! no caller is told less than was answered before it asked. Snapshots are made one at a time, with a pause in between
//! that grows with the time they take, and answers take turns by their bytes, so that however many ask, the engine and
//! the processor are busy with it for a small part of the time. Invariants: reads.A1 a snapshot is begun after every
//! caller that gets it has asked; reads.A2 between the beginnings of two is a pause; reads.A3 answers take no more than
//! so many bytes a second.

use std::{sync::Arc, time::Duration};

use prost::Message;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, sleep, sleep_until},
};
use tonic::{Response, Status};

use super::{AnswerRoom, Answers};
use crate::{caller::Caller, fault::Fault};
use dovetail::reason::Reason;

/// Pause from the beginning of one snapshot to that of the next, at least.
const PAUSE: Duration = Duration::from_millis(50);
/// It is so many times as long as the last one took: making them takes no more of an engine than one part of these.
const PAUSE_PARTS: u32 = 8;
/// The longest pause: every caller has an answer that soon.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Bytes of answers in a millisecond: 64 MiB in a second.
const BYTES_PER_MS: usize = 64 << 10;
/// Most bytes of one answer: what clients take.
const ANSWER_BYTES: usize = 4 << 20;
/// Bytes of answers that their readers have not read.
const UNREAD_BYTES: usize = 32 << 20;
/// What one client may have of them, of a hundred.
const CLIENT_PERCENT: usize = 50;

/// What those who ask share.
#[derive(Debug)]
pub struct Reads<T> {
    /// The last snapshot. The call that makes the next holds it.
    last: Mutex<Option<Snapshot<T>>>,
    turn: Arc<Semaphore>,
    unread: Answers,
}

#[derive(Debug)]
struct Snapshot<T> {
    begun: Instant,
    /// What it took to make.
    took: Duration,
    of: Arc<T>,
}

impl<T> Snapshot<T> {
    /// When the next may be begun.
    fn next(&self) -> Instant {
        self.begun + self.took.saturating_mul(PAUSE_PARTS).clamp(PAUSE, PAUSE_MAX)
    }
}

impl<T> Default for Reads<T> {
    fn default() -> Reads<T> {
        Reads {
            last: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            unread: Answers::new(UNREAD_BYTES, CLIENT_PERCENT),
        }
    }
}

impl<T> Reads<T> {
    /// A snapshot that was begun after this was asked.
    async fn get<E, F>(&self, make: impl FnOnce() -> F) -> Result<Arc<T>, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(snapshot) = &*last {
            if snapshot.begun > asked {
                return Ok(Arc::clone(&snapshot.of));
            }
            sleep_until(snapshot.next()).await;
        }
        let begun = Instant::now();
        let snapshot = Arc::new(make().await?);
        *last = Some(Snapshot { begun, took: begun.elapsed(), of: Arc::clone(&snapshot) });
        Ok(snapshot)
    }

    /// Room for an answer of a snapshot that was begun after this was asked, and its turn: `answer` makes it, and says
    /// how many bytes it has.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED while answers are not read, and what `make` and `answer` fail with.
    pub async fn answer<A, F>(
        &self,
        caller: Option<&Caller>,
        make: impl FnOnce() -> F,
        answer: impl FnOnce(&T) -> Result<(A, usize), Status>,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let room: AnswerRoom = self.unread.room(caller, ANSWER_BYTES).await.map_err(|_| {
            let text = format!("{UNREAD_BYTES} bytes of such answers wait to be read by their callers");
            Fault::new(Reason::TooManyCalls, text).with("bound", UNREAD_BYTES)
        })?;
        let snapshot = self.get(make).await?;
        let stopping = |_| Fault::new(Reason::NodeStopping, "the node is stopping");
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(stopping)?;
        let (answer, bytes) = answer(&snapshot)?;
        if let pause @ 1.. = bytes / BYTES_PER_MS {
            tokio::spawn(async move {
                sleep(Duration::from_millis(pause as u64)).await;
                drop(turn);
            });
        }
        Ok(room.of(answer))
    }
}

impl<T: Clone + Message> Reads<T> {
    /// A snapshot that was begun after this was asked, as an answer that waited for its turn.
    ///
    /// # Errors
    /// As those of [`answer`](Reads::answer).
    pub async fn answer_whole<F>(
        &self,
        caller: Option<&Caller>,
        make: impl FnOnce() -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.answer(caller, make, |snapshot| Ok((snapshot.clone(), snapshot.encoded_len()))).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicU64, Ordering},
    };

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_once_share_a_snapshot_and_nobody_gets_one_from_before_he_asked() {
        let (reads, made) = (Reads::<u64>::default(), AtomicU64::new(0));
        let make = async || {
            sleep(Duration::from_millis(3)).await;
            Ok::<_, Infallible>(made.fetch_add(1, Ordering::Relaxed))
        };
        assert_eq!(*reads.get(&make).await.unwrap(), 0);
        let began = Instant::now();
        let shared = join_all((0..500).map(|_| reads.get(&make))).await;
        assert!(shared.iter().all(|snapshot| **snapshot.as_ref().unwrap() == 1));
        assert!(began.elapsed() >= PAUSE - Duration::from_millis(4), "{:?}", began.elapsed());
        assert_eq!(*reads.get(&make).await.unwrap(), 2);
    }

    #[test]
    fn the_longer_a_snapshot_takes_the_longer_is_the_pause_and_never_for_long() {
        let pause = |took_ms| {
            let begun = Instant::now();
            (Snapshot { begun, took: Duration::from_millis(took_ms), of: Arc::new(()) }.next() - begun).as_millis()
        };
        assert_eq!([0, 6, 30, 100, 1_000_000].map(pause), [50, 50, 240, 800, 1_000]);
    }

    #[tokio::test]
    async fn answers_take_turns_by_their_bytes() {
        let reads = Reads::<()>::default();
        let began = Instant::now();
        for _ in 0..9 {
            reads.answer(None, async || Ok(()), |()| Ok(((), ANSWER_BYTES))).await.unwrap();
        }
        let least = Duration::from_millis((8 * ANSWER_BYTES / BYTES_PER_MS) as u64);
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());
        for _ in 0..1000 {
            reads.answer(None, async || Ok(()), |()| Ok(((), 100))).await.unwrap();
        }
    }
}
