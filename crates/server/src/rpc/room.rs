//! Room for large answers, which are kept until their clients read them.
//!
//! A client may ask for many answers of megabytes on one connection and read none. So room is taken before an answer is
//! made; the answer is encoded at once, since it is smaller then, and its room is given back with its last byte that
//! was written to the connection. A call that finds no room waits in line as long as others come and go; once nothing
//! moves, waiting is of no use. A client has a share of its own. A client that has not read an answer in time never
//! will: its connection is closed. Invariants: answers.R1 the answers that were made and are not written yet take no
//! more than the bound; answers.R2 none takes it for longer than [`UNREAD_MAX`].

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, body::Body};

use super::{Share, Shares, Spent};
use crate::caller::Caller;

/// How long nothing moves before those who wait are sent away.
const STUCK: Duration = Duration::from_secs(3);

/// Longest time that a client may take to read an answer. Then its connection is closed: there is no other way to take
/// back what the connection has.
pub(super) const UNREAD_MAX: Duration = Duration::from_secs(300);

/// Room for so many bytes of answers. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Answers {
    bytes: Shares,
    moved: Arc<Moved>,
}

/// When some was last taken or given back, in milliseconds since it began.
#[derive(Debug)]
struct Moved {
    began: Instant,
    ms: AtomicU64,
}

impl Moved {
    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.ms.load(Ordering::Relaxed))
    }

    fn now(&self) {
        self.ms.store(crate::time::ms(self.began.elapsed()), Ordering::Relaxed);
    }
}

impl Answers {
    /// Room for so many bytes, of which one client may take so many of a hundred.
    #[must_use]
    pub fn new(most: usize, client_percent: usize) -> Answers {
        let moved = Moved { began: Instant::now(), ms: AtomicU64::new(0) };
        Answers { bytes: Shares::new(most, client_percent), moved: Arc::new(moved) }
    }

    /// Takes room for an answer of at most so many bytes.
    ///
    /// # Errors
    /// When there is none, and none is given back.
    pub async fn room(&self, caller: Option<&Caller>, bytes: usize) -> Result<AnswerRoom, Spent> {
        let mut waiting = self.bytes.wait(caller, bytes);
        loop {
            let until = self.moved.last() + STUCK;
            match tokio::time::timeout_at(until, &mut waiting).await {
                Ok(share) => {
                    self.moved.now();
                    let (share, moved) = (Mutex::new(share), Arc::clone(&self.moved));
                    return Ok(AnswerRoom(Arc::new(Held { share, moved, gone: CancellationToken::new() })));
                }
                Err(_) if self.moved.last() + STUCK <= Instant::now() => return Err(waiting.spent()),
                Err(_) => {}
            }
        }
    }
}

/// The room of one answer, given back with the last clone.
#[derive(Clone, Debug)]
pub struct AnswerRoom(Arc<Held>);

#[derive(Debug)]
struct Held {
    share: Mutex<Share>,
    moved: Arc<Moved>,
    /// Given when all of it is given back.
    gone: CancellationToken,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.moved.now();
        self.gone.cancel();
    }
}

impl AnswerRoom {
    /// An answer that has this room. The edge of the node finds it there.
    #[must_use]
    pub fn of<T>(self, answer: T) -> Response<T> {
        let mut response = Response::new(answer);
        response.extensions_mut().insert(self);
        response
    }

    /// Gives back what is more than so many bytes.
    fn keep(&self, bytes: usize) {
        self.0.share.lock().unwrap_or_else(PoisonError::into_inner).keep(bytes);
        self.0.moved.now();
    }

    /// Does something when the room is not given back in time.
    pub(super) fn by(&self, unread_max: Duration, late: impl FnOnce() + Send + 'static) {
        let (held, gone) = (Arc::downgrade(&self.0), self.0.gone.clone());
        tokio::spawn(async move {
            let in_time = tokio::time::timeout(unread_max, gone.cancelled()).await.is_ok();
            if !in_time && held.strong_count() > 0 {
                late();
            }
        });
    }

    /// Encodes an answer, whose bytes keep the room.
    pub(super) async fn hold(self, mut body: Body) -> Body {
        let (mut frames, mut bytes) = (VecDeque::new(), 0);
        while let Some(frame) = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await {
            bytes += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
            let room = self.clone();
            frames.push_back(frame.map(|frame| frame.map_data(|bytes| Bytes::from_owner(Kept { bytes, _room: room }))));
        }
        self.keep(bytes);
        Body::new(Whole(frames))
    }
}

/// Bytes of an answer, wherever they are on their way.
struct Kept {
    bytes: Bytes,
    _room: AnswerRoom,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The frames of an answer.
struct Whole(VecDeque<Result<Frame<Bytes>, Status>>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::shares::tests::caller;

    fn body(bytes: &'static [u8]) -> Body {
        Body::new(Whole([Ok(Frame::data(Bytes::from_static(bytes)))].into()))
    }

    async fn next(body: &mut Body) -> Bytes {
        let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await;
        frame.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn an_answer_keeps_the_room_of_its_bytes_until_the_last_of_them_is_gone() {
        let answers = Answers::new(100, 25);
        let free = || 100 - answers.bytes.taken();
        let room = answers.room(None, 80).await.unwrap();
        assert_eq!(free(), 20);
        let mut held = room.hold(body(b"answer")).await;
        assert_eq!(free(), 94, "what it does not need");
        let mut bytes = next(&mut held).await;
        assert_eq!(bytes, b"answer".as_slice());
        drop(held);
        let part = bytes.split_to(2);
        drop(bytes);
        assert_eq!(free(), 94, "some of it is not written");
        drop(part);
        assert_eq!(free(), 100);
    }

    #[tokio::test]
    async fn who_does_not_read_an_answer_in_time_is_told_of_and_who_does_is_not() {
        let answers = Answers::new(100, 100);
        let (late, mut is_late) = tokio::sync::mpsc::channel(2);
        let tell = |name| {
            let late = late.clone();
            move || _ = late.try_send(name)
        };
        let (read, unread) = (answers.room(None, 10).await.unwrap(), answers.room(None, 10).await.unwrap());
        read.by(Duration::from_secs(3_600), tell("read"));
        unread.by(Duration::from_millis(20), tell("unread"));
        drop(read);
        assert_eq!(is_late.recv().await, Some("unread"));
        drop((unread, late));
        assert_eq!(is_late.recv().await, None, "nobody waits for what was read");
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_for_others_and_not_for_those_who_never_go() {
        let answers = Answers::new(100, 25);
        let first = answers.room(None, 100).await.unwrap();
        let (waits, ()) = tokio::join!(answers.room(None, 100), async { drop(first) });
        let _never = waits.expect("the first gave it back");
        let stuck = tokio::time::timeout(STUCK * 4, answers.room(None, 1)).await;
        assert!(stuck.expect("it does not wait for ever").is_err());
        let at_once = tokio::time::timeout(STUCK / 2, answers.room(None, 1)).await;
        assert!(at_once.expect("nothing moved since").is_err());
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_leaves_room_for_others() {
        let answers = Answers::new(160, 25);
        let (greedy, honest) = (caller(1, 1), caller(2, 2));
        let _unread = answers.room(Some(&greedy), 1000).await.unwrap();
        let began = Instant::now();
        let spent = answers.room(Some(&greedy), 10).await.unwrap_err();
        assert_eq!(spent, Spent::Connection(greedy.client, 20));
        assert!(began.elapsed() < STUCK * 4);
        assert!(answers.room(Some(&honest), 20).await.is_ok());
    }
}
