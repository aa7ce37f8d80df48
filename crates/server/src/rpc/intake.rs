//! How requests are received: how large a message may be, by when it has to be whole, and what may be on its way
//! meanwhile.
//!
//! A message that has begun is kept in memory until it is whole, whatever HTTP/2's windows say. So its bytes are taken
//! from a bound over all connections, with a share for each client, before more of it is read; who finds none waits,
//! and so does its sender. Invariants: intake.I1 the messages that have begun take no more memory than the bound says;
//! intake.I2 a message is whole in time, or its call ends; intake.I3 a call with one request has one, whole, or ends
//! with INVALID_ARGUMENT.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Sleep;
use tonic::{Status, body::Body};

use super::shares::{Share, Shares, Spent};
use crate::{caller::Caller, fault::Fault};
use dovetail::reason::Reason;

/// Bytes of messages that have begun, over all connections. Above it senders wait, and then are refused.
const BYTES: usize = 256 << 20;
/// What a call counts of them until its request begins: so much that one connection may have all its calls
/// (`connection_streams_max`) open before the first request comes, as a client does that opens thousands at once.
const CALL_BYTES: usize = 2 << 10;
/// Longest time until something has come: the first byte of a request, the length of a message, the end of a request.
const SOON: Duration = Duration::from_secs(20);
/// Slowest that a message may come on the whole, beside that, in bytes a second.
const SLOWEST: usize = 16 << 10;
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The messages of a node that have begun. Clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    bytes: Shares,
    soon: Duration,
}

/// What a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Most bytes of a message.
    pub(super) bytes: usize,
    /// Above this the decoder refuses a message, with OUT_OF_RANGE.
    pub(super) decoder_bytes: usize,
    /// How long nothing may come between two messages; none for a call with one.
    pub(super) idle: Option<Option<Duration>>,
}

impl Intake {
    pub(super) fn new(client_percent: usize) -> Intake {
        Intake { bytes: Shares::new(BYTES, client_percent), soon: SOON }
    }

    /// A request's body, received within the bounds.
    pub(super) fn receive(&self, body: Body, form: Form, caller: Option<Caller>) -> Body {
        let prefix = At::Prefix { have: 0, bytes: [0; PREFIX] };
        let intake = self.clone();
        Body::new(Received { body, form, intake, caller, at: prefix, got: false, share: None, timer: None, room: None })
    }

    /// Room for a message, as soon as there is some.
    async fn room(self, caller: Option<Caller>, bytes: usize) -> Result<Share, Spent> {
        let mut waiting = self.bytes.wait(caller.as_ref(), bytes);
        tokio::time::timeout(self.soon, &mut waiting).await.map_err(|_| waiting.spent())
    }
}

/// Where in the messages it is.
#[derive(Clone, Copy, Debug)]
enum At {
    Prefix { have: usize, bytes: [u8; PREFIX] },
    Message { bytes: usize, left: usize },
}

type Room = Pin<Box<dyn Future<Output = Result<Share, Spent>> + Send>>;

struct Received {
    body: Body,
    form: Form,
    intake: Intake,
    caller: Option<Caller>,
    at: At,
    /// Whether a message was whole.
    got: bool,
    /// Of the message that has begun.
    share: Option<Share>,
    /// Since when nothing is expected to be waited for any longer; made when there is nothing to read.
    timer: Option<Pin<Box<Sleep>>>,
    /// What is handed on once there is room for the rest of its message.
    room: Option<(Bytes, Room)>,
}

impl Received {
    /// Follows what came. Says how many bytes the message has that is not whole with it.
    fn follow(&mut self, mut data: &[u8]) -> Result<Option<usize>, Fault> {
        while !data.is_empty() {
            match &mut self.at {
                At::Prefix { .. } if self.got && self.form.idle.is_none() => {
                    return Err(malformed("more than one message, and this call has one"));
                }
                At::Prefix { have, bytes } => {
                    if *have == 0 {
                        // From the first byte of a message on, and no byte after it gives it more time.
                        self.timer = None;
                    }
                    let take = data.len().min(PREFIX - *have);
                    bytes[*have..*have + take].copy_from_slice(&data[..take]);
                    *have += take;
                    data = &data[take..];
                    if *have == PREFIX {
                        let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
                        self.begin(length)?;
                    }
                }
                At::Message { left, .. } => {
                    let take = data.len().min(*left);
                    *left -= take;
                    data = &data[take..];
                    if *left == 0 {
                        self.whole();
                    }
                }
            }
        }
        match self.at {
            At::Message { bytes, .. } if self.share.is_none() => {
                // The decoder refuses it at once.
                Ok((bytes <= self.form.decoder_bytes).then_some(bytes))
            }
            At::Message { .. } | At::Prefix { .. } => Ok(None),
        }
    }

    fn begin(&mut self, length: usize) -> Result<(), Fault> {
        let Form { bytes, decoder_bytes, .. } = self.form;
        if length > bytes && length <= decoder_bytes {
            let text = format!("the request has {length} bytes, and a request of this method at most {bytes}");
            return Err(Fault::new(Reason::OutOfBounds, text).with("value", length).with("bound", bytes));
        }
        (self.at, self.share, self.timer) = (At::Message { bytes: length, left: length }, None, None);
        if length == 0 {
            self.whole();
        }
        Ok(())
    }

    fn whole(&mut self) {
        (self.at, self.got, self.share) = (At::Prefix { have: 0, bytes: [0; PREFIX] }, true, None);
        self.timer = None;
    }

    /// How long nothing may come from here on, and what is missing then; none for ever.
    fn patience(&self) -> Option<(Duration, &'static str)> {
        let soon = self.intake.soon;
        match (self.at, self.form.idle) {
            (At::Message { bytes, .. }, _) => {
                Some((soon + Duration::from_millis((bytes * 1000 / SLOWEST) as u64), "the message is not whole"))
            }
            (At::Prefix { have: 1.., .. }, _) => Some((soon, "the message has no length")),
            (At::Prefix { .. }, Some(idle)) => idle.map(|idle| (idle, "nothing was sent")),
            (At::Prefix { .. }, None) if self.got => Some((soon, "the request has no end")),
            (At::Prefix { .. }, None) => Some((soon, "nothing was sent")),
        }
    }

    /// Nothing can be read: not for ever, and not for nothing.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        if self.form.idle.is_none() && !self.got && self.share.is_none() {
            match self.intake.bytes.take(self.caller.as_ref(), CALL_BYTES) {
                Ok(share) => self.share = Some(share),
                Err(spent) => return Poll::Ready(too_much(&spent)),
            }
        }
        let Some((patience, missing)) = self.patience() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        let text = format!("{missing} after {patience:?}, and so the call ends");
        Poll::Ready(Fault::new(Reason::DeadlinePassed, text).with("timeout_ms", patience.as_millis()))
    }

    /// Ends with a refusal. What came goes at once.
    fn end(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        (self.body, self.share, self.room, self.timer) = (Body::empty(), None, None, None);
        (self.at, self.got) = (At::Prefix { have: 0, bytes: [0; PREFIX] }, true);
        Poll::Ready(Some(Err(fault.into())))
    }

    fn at_end(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.at {
            At::Prefix { have: 0, .. } if self.got || self.form.idle.is_some() => Poll::Ready(None),
            At::Prefix { have: 0, .. } => self.end(malformed("no message, and this call has one")),
            At::Prefix { .. } => self.end(malformed("a message that ends before its length is told")),
            At::Message { bytes, left } => {
                let text = format!("a message of {bytes} bytes that ends after {}", bytes - left);
                self.end(malformed(&text))
            }
        }
    }
}

/// A request that is no message, whatever it is.
fn malformed(what: &str) -> Fault {
    Fault::new(Reason::MessageMalformed, format!("the request has {what}"))
}

fn too_much(spent: &Spent) -> Fault {
    spent.fault("bytes of requests are being received", "the most of a node")
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some((_, room)) = &mut self.room {
            let room = ready!(room.as_mut().poll(cx));
            let Some((data, _)) = self.room.take() else { return Poll::Ready(None) };
            return match room {
                Ok(share) => {
                    self.share = Some(share);
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(spent) => self.end(too_much(&spent)),
            };
        }
        let frame = match http_body::Body::poll_frame(Pin::new(&mut self.body), cx) {
            Poll::Pending => {
                let fault = ready!(self.wait(cx));
                return self.end(fault);
            }
            Poll::Ready(None) => return self.at_end(),
            Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => return Poll::Ready(Some(Ok(other))),
        };
        match self.follow(&data) {
            Err(fault) => self.end(fault),
            Ok(None) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(Some(bytes)) => {
                let room = Box::pin(self.intake.clone().room(self.caller.clone(), bytes));
                self.room = Some((data, room));
                self.poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // Only once that is known to be no refusal.
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tonic::Code;

    use super::*;
    use crate::rpc::shares::tests::caller;

    /// A body of what is sent to it.
    struct Sent(mpsc::UnboundedReceiver<Bytes>);

    impl http_body::Body for Sent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
        }
    }

    const ONE: Form = Form { bytes: 100, decoder_bytes: 1000, idle: None };
    const STREAM: Form = Form { bytes: 1000, decoder_bytes: 1000, idle: Some(None) };

    fn intake(bytes: usize) -> Intake {
        Intake { bytes: Shares::new(bytes, 25), soon: Duration::from_millis(40) }
    }

    fn message(length: usize) -> Vec<u8> {
        [&[0][..], &(length as u32).to_be_bytes(), &vec![7; length]].concat()
    }

    async fn next(body: &mut Body) -> Option<Result<Bytes, Status>> {
        let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    /// What comes of a request that is sent in these parts, and then ends, or does not.
    async fn received(form: Form, parts: &[&[u8]], ends: bool) -> Result<usize, Status> {
        let (send, sent) = mpsc::unbounded_channel();
        let mut body = intake(1 << 20).receive(Body::new(Sent(sent)), form, Some(caller(1, 1)));
        parts.iter().for_each(|part| send.send(Bytes::copy_from_slice(part)).unwrap());
        let _open = (!ends).then_some(send);
        let mut bytes = 0;
        while let Some(data) = next(&mut body).await {
            bytes += data?.len();
        }
        Ok(bytes)
    }

    async fn refused(form: Form, parts: &[&[u8]], ends: bool) -> (Code, String) {
        let status = received(form, parts, ends).await.unwrap_err();
        (status.code(), status.message().to_owned())
    }

    #[tokio::test]
    async fn messages_pass_however_they_are_cut() {
        let whole = message(90);
        assert_eq!(received(ONE, &[&whole], true).await.unwrap(), 95);
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(received(ONE, &bytes, true).await.unwrap(), 95);
        assert_eq!(received(ONE, &[&message(0)], true).await.unwrap(), 5);
        let many = [message(0), message(1000), message(3)].concat();
        for size in [1, 7, 1004, 2000] {
            let parts: Vec<&[u8]> = many.chunks(size).collect();
            assert_eq!(received(STREAM, &parts, true).await.unwrap(), many.len(), "in parts of {size}");
        }
        assert_eq!(received(STREAM, &[], true).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_no_request_is_an_invalid_argument() {
        let invalid = |text: &str| (Code::InvalidArgument, format!("the request has {text}"));
        assert_eq!(
            refused(ONE, &[&message(50)[..20]], true).await,
            invalid("a message of 50 bytes that ends after 15")
        );
        assert_eq!(refused(STREAM, &[&[0, 0]], true).await, invalid("a message that ends before its length is told"));
        assert_eq!(refused(ONE, &[], true).await, invalid("no message, and this call has one"));
        let two = [message(1), message(1)].concat();
        assert_eq!(refused(ONE, &[&two], true).await, invalid("more than one message, and this call has one"));
        let large = "101 bytes, and a request of this method at most 100";
        assert_eq!(refused(ONE, &[&message(101)[..5]], false).await, invalid(large));
    }

    #[tokio::test]
    async fn a_message_above_what_the_decoder_takes_is_for_the_decoder_to_refuse() {
        assert_eq!(received(ONE, &[&message(1001)], true).await.unwrap(), 1006);
    }

    #[tokio::test]
    async fn what_does_not_come_in_time_ends_the_call() {
        for (form, part) in [
            (ONE, vec![]),
            (ONE, vec![0, 0]),
            (ONE, message(50)[..20].to_vec()),
            (ONE, message(50)),
            (STREAM, vec![0]),
            (STREAM, message(5)[..6].to_vec()),
            (Form { idle: Some(Some(Duration::from_millis(5))), ..STREAM }, message(5)),
        ] {
            let (code, text) = refused(form, &[&part], false).await;
            assert_eq!(code, Code::DeadlineExceeded, "{part:?}: {text}");
        }
    }

    #[tokio::test]
    async fn messages_that_never_end_take_no_more_than_the_share_of_their_client() {
        // A connection may have 500 bytes, and its client 1,000.
        let intake = intake(4000);
        let begin = |caller| {
            let (send, sent) = mpsc::unbounded_channel();
            send.send(Bytes::copy_from_slice(&message(400)[..105])).unwrap();
            (send, intake.receive(Body::new(Sent(sent)), STREAM, Some(caller)))
        };
        let (send, mut first) = begin(caller(1, 1));
        assert_eq!(next(&mut first).await.unwrap().unwrap().len(), 105);
        assert_eq!(intake.bytes.taken(), 400);
        let (_open, mut second) = begin(caller(1, 1));
        let status = next(&mut second).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("10.0.0.1"), "{}", status.message());
        let (_open, mut other) = begin(caller(2, 2));
        assert!(next(&mut other).await.unwrap().is_ok(), "another client has a share of its own");
        let (_open, mut waits) = begin(caller(1, 1));
        let (data, ()) = tokio::join!(next(&mut waits), async {
            send.send(Bytes::copy_from_slice(&message(400)[105..])).unwrap();
            assert_eq!(next(&mut first).await.unwrap().unwrap().len(), 300);
        });
        assert_eq!(data.unwrap().unwrap().len(), 105, "the first was whole");
        drop((first, other, waits));
        assert_eq!(intake.bytes.taken(), 0);
    }

    #[tokio::test]
    async fn calls_without_a_request_are_bounded() {
        let intake = intake(8 * CALL_BYTES);
        let (_send, sent) = mpsc::unbounded_channel();
        let mut first = intake.receive(Body::new(Sent(sent)), ONE, Some(caller(1, 1)));
        assert!(futures::poll!(std::pin::pin!(next(&mut first))).is_pending());
        let (_send, sent) = mpsc::unbounded_channel();
        let mut second = intake.receive(Body::new(Sent(sent)), ONE, Some(caller(1, 1)));
        assert_eq!(next(&mut second).await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
    }
}
