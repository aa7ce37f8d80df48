//! A connection and all its calls, in one task.
//!
//! A client that opens thousands of calls at once would have thousands of tasks in the runtime's queue, and the single
//! call of another would wait for all of them, several times until it is answered. So calls are no tasks: a connection
//! has one place in the queue, however many calls it has, and its turn is over after some time, whatever is left to do.
//! Invariants: drive.D1 a turn ends soon after its time, whatever the client sends; drive.D2 in every turn frames are
//! read and written, and calls go on, and neither takes the time of the other; drive.D3 what is left when a part is
//! over goes on in the next turn; drive.D4 a call that panics ends itself, and not its connection; drive.D5 a client
//! that does not read is not read: no call begins while bytes wait to be written to its socket.

use std::{
    cell::Cell,
    convert::Infallible,
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use hyper::{body::Incoming, rt::Executor, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{
    body::Body,
    codegen::http::{Request, Response},
};
use tower::{ServiceExt as _, util::Oneshot};

use super::edge::Edged;
use crate::{caller::Connection, closing::Rest, shutdown::Shutdown};

/// How long frames are read in a turn, and how long calls go on then.
const PART: Duration = Duration::from_micros(250);
/// A connection is asked whether it lives when nothing came for so long, and is given as long to answer.
const ALIVE: Duration = Duration::from_secs(20);

thread_local! {
    /// When the part of a turn that is going on is over.
    static OVER: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Whether the connection whose turn it is has had its time. Never outside of turns.
fn is_over() -> bool {
    OVER.get().is_some_and(|over| Instant::now() >= over)
}

/// Runs a part of a turn.
fn for_a_part<T>(run: impl FnOnce() -> T) -> T {
    OVER.set(Some(Instant::now() + PART));
    let done = run();
    OVER.set(None);
    done
}

/// A socket that is read while it is the turn of its connection, and while nothing waits to be written.
struct Paced<S> {
    socket: S,
    /// What was written last had no room.
    full: bool,
    /// What comes after its end.
    rest: Option<Rest>,
}

impl<S> Paced<S> {
    fn new(socket: S) -> Paced<S> {
        Paced { socket, full: false, rest: None }
    }

    /// Notes what came of writing.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<T>) -> Poll<T> {
        if self.full && result.is_ready() {
            // It was not read meanwhile.
            cx.waker().wake_by_ref();
        }
        self.full = result.is_pending();
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if is_over() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.full {
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(cx, buffer);
        self.wrote(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(cx, buffers);
        self.wrote(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.wrote(cx, flushed)
    }

    /// Also reads what the client still sends: of a connection that is reset it would not get the last answers.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.rest.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        }
        this.rest.get_or_insert_default().poll_read(&mut this.socket, cx).map(Ok)
    }
}

/// What hyper would spawn: a call, until its answer is handed over.
struct Call(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Call {
    fn of(call: impl Future<Output = ()> + Send + 'static) -> Call {
        Call(Box::pin(AssertUnwindSafe(call).catch_unwind().map(drop)))
    }
}

impl Future for Call {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if is_over() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.0.as_mut().poll(cx)
    }
}

/// Calls that have begun since their connection last looked.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<Vec<Call>>>);

impl Begun {
    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Begun {
    fn execute(&self, call: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Call::of(call));
    }
}

/// The open calls of a connection.
struct Calls {
    begun: Begun,
    open: FuturesUnordered<Call>,
}

impl Calls {
    fn new() -> Calls {
        // A lap through all calls is a reason to pause, and the only call would make one whenever it goes on: here is
        // one that never does.
        let open = FuturesUnordered::from_iter([Call::of(std::future::pending())]);
        Calls { begun: Begun::default(), open }
    }

    /// Goes on with those that can, for a part of a turn.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        self.open.extend(self.begun.take());
        for_a_part(|| while let Poll::Ready(Some(())) = self.open.poll_next_unpin(cx) {});
    }
}

/// What answers the calls of a connection.
pub(super) struct Answering {
    pub edged: Edged,
    pub connection: Connection,
}

impl hyper::service::Service<Request<Incoming>> for Answering {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Oneshot<Edged, Request<Body>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.connection.clone());
        self.edged.clone().oneshot(request)
    }
}

/// HTTP/2 with the bounds that its defaults lack.
fn bounded(begun: Begun, streams_max: u32) -> http2::Builder<Begun> {
    let mut builder = http2::Builder::new(begun);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams_max)
        .max_local_error_reset_streams(1024)
        .keep_alive_interval(ALIVE)
        .keep_alive_timeout(ALIVE)
        .max_header_list_size(16 << 10)
        // What a client may send before it is read: streams that are held back fill theirs.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    builder
}

type Http2<S> = http2::Connection<TokioIo<Paced<S>>, Answering, Begun>;

/// Serves a connection until it ends. With the signal, and after the time it may be open if there is one, it takes no
/// more calls, and ends with the last of them.
pub(super) struct Driven<S: AsyncRead + AsyncWrite + Unpin> {
    connection: Pin<Box<Http2<S>>>,
    calls: Calls,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    age: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Driven<S> {
    pub fn new(
        streams_max: u32,
        (socket, answering): (S, Answering),
        age_max: Option<Duration>,
        stop: &Shutdown,
    ) -> Driven<S> {
        let (calls, io) = (Calls::new(), TokioIo::new(Paced::new(socket)));
        let connection = Box::pin(bounded(calls.begun.clone(), streams_max).serve_connection(io, answering));
        // One of its own: the same for all would be a lock for all, in each turn.
        let stop = Some(Box::pin(stop.child().given_owned()));
        let age = age_max.map(|age| Box::pin(tokio::time::sleep(age)));
        Driven { connection, calls, stop, age }
    }

    /// Whether it has to end; says so once.
    fn ends(&mut self, cx: &mut Context<'_>) -> bool {
        let stopped = self.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready());
        let old = self.age.as_mut().is_some_and(|age| age.as_mut().poll(cx).is_ready());
        if stopped || old {
            (self.stop, self.age) = (None, None);
        }
        stopped || old
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Future for Driven<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.ends(cx) {
            self.connection.as_mut().graceful_shutdown();
        }
        // What went wrong with it concerns its client, who knows.
        if for_a_part(|| self.connection.as_mut().poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        // The frames that come of it are for the next turn, for which they wake this task.
        self.calls.go_on(cx);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::{Wake, Waker},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
        sync::oneshot,
    };

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Goes on once, and says how often the task was woken meanwhile.
    fn go_on(calls: &mut Calls) -> usize {
        let woken = Arc::new(Woken::default());
        calls.go_on(&mut Context::from_waker(&Waker::from(Arc::clone(&woken))));
        woken.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_part_of_a_turn_is_over_after_its_time_and_no_time_passes_outside_of_turns() {
        assert!(!is_over());
        for_a_part(|| {
            assert!(!is_over());
            std::thread::sleep(PART);
            assert!(is_over());
        });
        assert!(!is_over());
    }

    #[test]
    fn thousands_of_calls_go_on_in_several_turns_and_all_of_them_do() {
        let (mut calls, done) = (Calls::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..1_000 {
            let done = Arc::clone(&done);
            calls.begun.execute(async move {
                std::thread::sleep(PART / 10);
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut turns = 0;
        while done.load(Ordering::Relaxed) < 1_000 {
            let before = done.load(Ordering::Relaxed);
            let woken = go_on(&mut calls);
            let so_many = done.load(Ordering::Relaxed) - before;
            assert!((1..=10).contains(&so_many), "{so_many} in one turn");
            assert!(woken > 0 || before + so_many == 1_000, "what is left is gone on with");
            turns += 1;
        }
        assert!(turns >= 100, "{turns}");
    }

    #[test]
    fn a_call_that_always_has_something_to_do_leaves_time_to_others() {
        let mut calls = Calls::new();
        calls.begun.execute(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let (done, ended) = oneshot::channel();
        calls.begun.execute(async move { _ = done.send(()) });
        assert!((0..3).any(|_| go_on(&mut calls) > 0) && !ended.is_empty());
    }

    #[test]
    fn calls_that_wait_wake_nothing_and_go_on_when_they_can() {
        let mut calls = Calls::new();
        let (done, waits) = oneshot::channel();
        let (heard, hears) = oneshot::channel();
        calls.begun.execute(async move { _ = heard.send(waits.await) });
        // Once around all of them, and no more.
        go_on(&mut calls);
        assert_eq!(go_on(&mut calls), 0);
        let woken = Arc::new(Woken::default());
        calls.go_on(&mut Context::from_waker(&Waker::from(Arc::clone(&woken))));
        done.send(7).unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        go_on(&mut calls);
        assert_eq!(hears.blocking_recv().unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn who_does_not_read_is_not_read_until_he_does() {
        let (socket, mut client) = tokio::io::duplex(16);
        let mut socket = Paced::new(socket);
        client.write_all(b"more").await.unwrap();
        socket.write_all(&[7; 16]).await.unwrap();
        assert!(socket.write(&[8; 16]).now_or_never().is_none(), "there is no room");
        assert!(socket.read(&mut [0; 4]).now_or_never().is_none());
        client.read_exact(&mut [0; 16]).await.unwrap();
        let woken = Arc::new(Woken::default());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(
            Pin::new(&mut socket).poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 4])).is_pending(),
            "nothing was written"
        );
        let waker = Waker::from(Arc::clone(&woken));
        assert!(Pin::new(&mut socket).poll_write(&mut Context::from_waker(&waker), &[8; 16]).is_ready());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "to read what came meanwhile");
        let mut read = [0; 4];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"more");
    }

    /// A socket that takes what is written before it can send it, as TLS does.
    struct Buffering {
        socket: DuplexStream,
        sent: bool,
    }

    impl AsyncRead for Buffering {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.socket).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Buffering {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buffer.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.sent { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_was_buffered_keeps_the_socket_from_being_read_until_it_is_sent_and_no_longer() {
        let (socket, mut client) = tokio::io::duplex(16);
        let mut socket = Paced::new(Buffering { socket, sent: false });
        client.write_all(b"more").await.unwrap();
        socket.write_all(&[7; 16]).await.unwrap();
        assert!(socket.flush().now_or_never().is_none());
        assert!(socket.read(&mut [0; 4]).now_or_never().is_none());
        socket.socket.sent = true;
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(Pin::new(&mut socket).poll_flush(&mut Context::from_waker(&waker)).is_ready());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "to read what came meanwhile");
        let mut read = [0; 4];
        assert_eq!(socket.read(&mut read).now_or_never().unwrap().unwrap(), 4);
        assert_eq!(&read, b"more");
    }

    #[test]
    fn a_call_that_panics_ends_itself_alone() {
        let mut calls = Calls::new();
        let (done, ended) = oneshot::channel();
        calls.begun.execute(async { panic!("it is told so") });
        calls.begun.execute(async move { _ = done.send(()) });
        // To tell of a panic may take longer than a turn.
        while calls.open.len() > 1 || !calls.begun.0.lock().unwrap().is_empty() {
            go_on(&mut calls);
        }
        ended.blocking_recv().unwrap();
    }
}
