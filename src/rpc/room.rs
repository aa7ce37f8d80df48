//! Room for large answers, which are kept until their clients read them.
//!
//! A client may ask for many answers of megabytes on one connection and read none. So room is taken before an answer is made; the answer
//! is encoded at once, since it is smaller then, and its room is given back with its last byte that was written to the connection.
//! Who finds no room waits as long as others come and go; once nothing moves, waiting is of no use.
//! Invariant: R1 the answers that were made and are not written yet take no more than the bound.

use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{Response, Status, body::Body};

/// How long nothing moves before those who wait are sent away.
const STUCK: Duration = Duration::from_secs(3);

/// Room for so many bytes of answers. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Answers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes: Arc<Semaphore>,
    most: usize,
    began: Instant,
    /// When some was last taken or given back, in milliseconds since it began.
    moved_ms: AtomicU64,
}

impl Shared {
    fn moved(&self) -> Instant {
        self.began + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }

    fn moves(&self) {
        self.moved_ms.store(super::ms(self.began.elapsed()), Ordering::Relaxed);
    }
}

impl Answers {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(most: usize) -> Answers {
        let most = most.min(Semaphore::MAX_PERMITS);
        let (bytes, began) = (Arc::new(Semaphore::new(most)), Instant::now());
        Answers(Arc::new(Shared { bytes, most, began, moved_ms: AtomicU64::new(0) }))
    }

    /// Takes room for an answer of at most so many bytes; none when there is none, and nobody gives any back.
    pub async fn room(&self, bytes: usize) -> Option<AnswerRoom> {
        let Answers(shared) = self;
        let bytes = u32::try_from(bytes.min(shared.most)).unwrap_or(u32::MAX);
        let mut taken = pin!(Arc::clone(&shared.bytes).acquire_many_owned(bytes));
        loop {
            tokio::select! {
                biased;
                permit = &mut taken => {
                    shared.moves();
                    let permit = Mutex::new(permit.ok()?);
                    return Some(AnswerRoom(Arc::new(Share { permit, shared: Arc::clone(shared) })));
                }
                () = tokio::time::sleep_until(shared.moved() + STUCK) => {
                    if shared.moved() + STUCK <= Instant::now() {
                        return None;
                    }
                }
            }
        }
    }
}

/// The room of one answer, given back with the last clone.
#[derive(Clone, Debug)]
pub struct AnswerRoom(Arc<Share>);

#[derive(Debug)]
struct Share {
    permit: Mutex<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shared.moves();
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
        let mut permit = self.0.permit.lock().unwrap_or_else(PoisonError::into_inner);
        let more = permit.num_permits().saturating_sub(bytes);
        drop(permit.split(more));
        self.0.shared.moves();
    }

    /// Encodes an answer, whose bytes keep the room.
    pub(super) async fn hold(self, mut body: Body) -> Body {
        let (mut frames, mut bytes) = (VecDeque::new(), 0);
        while let Some(frame) = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await {
            bytes += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
            let room = self.clone();
            frames.push_back(frame.map(|frame| frame.map_data(|bytes| Bytes::from_owner(Held { bytes, _room: room }))));
        }
        self.keep(bytes);
        Body::new(Whole(frames))
    }
}

/// Bytes of an answer, wherever they are on their way.
struct Held {
    bytes: Bytes,
    _room: AnswerRoom,
}

impl AsRef<[u8]> for Held {
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

    fn body(bytes: &'static [u8]) -> Body {
        Body::new(Whole([Ok(Frame::data(Bytes::from_static(bytes)))].into()))
    }

    async fn next(body: &mut Body) -> Bytes {
        let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await;
        frame.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn an_answer_keeps_the_room_of_its_bytes_until_the_last_of_them_is_gone() {
        let answers = Answers::new(100);
        let free = || answers.0.bytes.available_permits();
        let room = answers.room(80).await.unwrap();
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
    async fn who_finds_no_room_waits_for_others_and_not_for_those_who_never_go() {
        let answers = Answers::new(100);
        let first = answers.room(100).await.unwrap();
        let (waits, ()) = tokio::join!(answers.room(100), async { drop(first) });
        let _never = waits.expect("the first gave it back");
        let stuck = tokio::time::timeout(STUCK * 4, answers.room(1)).await;
        assert!(stuck.expect("it does not wait for ever").is_none());
        let at_once = tokio::time::timeout(STUCK / 2, answers.room(1)).await;
        assert!(at_once.expect("nothing moved since").is_none());
    }
}
