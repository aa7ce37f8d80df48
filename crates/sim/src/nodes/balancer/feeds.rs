//! The readers of the log: for each the machine that the server runs, at a pace and with lingers of the network's
//! choice.

use std::sync::Arc;

use dovetail_core::{Audience, Cursor, EventId, Frame, Stable, slice::SliceCut};
use dovetail_node::balancer::{Feed, FeedAction, FeedFrame, FeedRefused, LogSpan, PublishedFrame, check_floor, frame};

use super::state::{BalancerNode, LiveBalancer, ServedFeed};
use crate::{
    cx::Cx,
    disk::LogRecord,
    net::{Message, NetStreamId, Node, Time, Timer},
};

/// Longest time that frames are held back from a reader, and that a reader waits before it reads on.
const LINGER_MS: Time = 30;

impl BalancerNode {
    /// Frames after a cursor, or a cut and frames after it.
    pub(super) fn feed(
        &mut self,
        cx: &mut Cx,
        stream: NetStreamId,
        matcher: usize,
        after: Option<EventId>,
        cut: Option<SliceCut>,
    ) {
        let term = self.term();
        let live = self.live.as_mut().expect("a node that is up is live");
        let log = LogSpan { floor: Cursor(self.disk.log.floor()), durable: self.disk.log.end() };
        let begin = after.or(cut.as_ref().map(|cut| cut.through)).expect("a feed begins somewhere");
        let begins_at = |cx: &Cx, after: Cursor| -> Result<Feed, FeedRefused> {
            let slices = cx.scenario.slices_of(matcher).collect();
            if cut.is_some() {
                // The log may have been trimmed while the cut was read.
                check_floor(after, log.floor, cx.planted())?;
                let mut feed = Feed::on_subscribe(slices, None, log, cx.planted())?;
                feed.on_cut(Stable(after.event()));
                return Ok(feed);
            }
            Feed::on_subscribe(slices, Some(after), log, cx.planted())
        };
        let mut feed = match begins_at(cx, Cursor(begin)) {
            Ok(feed) => feed,
            Err(FeedRefused::Gone(gone)) => {
                return cx.net.send(stream, Message::OutOfRange { floor: gone.floor }, &mut cx.stats);
            }
            // Another writes, and has sent more.
            Err(FeedRefused::Ahead { .. }) if live.share.is_some() => return cx.net.sever(stream),
            Err(ahead @ FeedRefused::Ahead { .. }) => panic!("nothing is sent before it is on disk: {ahead}"),
        };
        if cx.rng.chance(cx.scenario.net.overlap_permille) {
            let from = EventId(cx.rng.range(begin.0.saturating_sub(20), begin.0)).max(log.floor.event());
            feed = begins_at(cx, Cursor(from)).unwrap_or(feed);
        }
        let hello = Message::FeedHello { cut: cut.map(Arc::new), term };
        cx.net.send(stream, hello, &mut cx.stats);
        let stable = Message::Stable(live.ledger.stable());
        let stable_first = cx.rng.chance(500);
        if stable_first {
            cx.net.send(stream, stable.clone(), &mut cx.stats);
        }
        live.feeds[matcher] = Some(ServedFeed { stream, feed, waits: false });
        self.read_feed(cx, matcher);
        if !stable_first {
            cx.net.send(stream, stable, &mut cx.stats);
        }
    }

    /// A matcher reads on from the disk, now and then not all that there is.
    pub(super) fn read_feed(&mut self, cx: &mut Cx, matcher: usize) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let Some(reader) = &mut live.feeds[matcher] else { return };
        reader.waits = false;
        let cursor = reader.feed.cursor();
        if let Err(gone) = check_floor(cursor, Cursor(self.disk.log.floor()), cx.planted()) {
            let stream = reader.stream;
            live.feeds[matcher] = None;
            return cx.net.send(stream, Message::OutOfRange { floor: gone.floor }, &mut cx.stats);
        }
        let stable = live.ledger.stable();
        for record in self.disk.records(cursor.event()) {
            // What is stable is no longer in memory, and a frame from the log has no audience.
            let frame =
                if record.frame.through <= stable.event() { record.read_back() } else { Arc::clone(&record.published) };
            if !live.read_frame(cx, matcher, frame) {
                return;
            }
        }
    }

    /// What a matcher was not sent has waited long enough.
    pub(super) fn on_feed_linger(&mut self, cx: &mut Cx, matcher: usize) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let Some(reader) = &mut live.feeds[matcher] else { return };
        if let Some(held) = reader.feed.on_linger() {
            live.send(cx, matcher, &held);
        }
    }
}

impl LiveBalancer {
    /// The next frame of the log, for a matcher that is there and reads. Whether it reads on.
    pub(super) fn read_frame(&mut self, cx: &mut Cx, matcher: usize, frame: Arc<PublishedFrame>) -> bool {
        let Some(reader) = self.feeds[matcher].as_mut().filter(|reader| !reader.waits) else { return false };
        match reader.feed.on_frame(frame) {
            Some(FeedAction::Send(frame)) => self.send(cx, matcher, &frame),
            Some(FeedAction::Linger) => {
                cx.stats.frames_held += 1;
                let delay = cx.rng.range(1, LINGER_MS);
                cx.net.timer(Node::Balancer(self.index), delay, Timer::FeedLinger(matcher));
            }
            None => {}
        }
        let reader = self.feeds[matcher].as_mut().expect("it was there");
        if cx.scenario.feed_pause_permille > 0 && cx.rng.chance(cx.scenario.feed_pause_permille) {
            reader.waits = true;
            let delay = cx.rng.range(1, LINGER_MS);
            cx.net.timer(Node::Balancer(self.index), delay, Timer::Feed(matcher));
        }
        !reader.waits
    }

    /// Sends a frame with the events that a matcher needs, in one message or in several, as the wire does with a large
    /// one. It still covers the ids of the others.
    fn send(&self, cx: &mut Cx, matcher: usize, FeedFrame { after, audience, last }: &FeedFrame) {
        let Some(ServedFeed { stream, feed, .. }) = &self.feeds[matcher] else { return };
        let pool = |id| Some(&self.ledger.find_pool(id)?.pool);
        let owners = last.owners(|frame| frame::owners(frame, pool, &cx.scenario.placement, cx.planted()));
        let parts = &last.frame().events;
        let needed = parts.iter().zip(owners).flat_map(|(part, owners)| {
            (0..part.len()).filter(move |&at| feed.needs(owners, at)).map(move |at| part.x(at))
        });
        let (mut begins, mut needed) = (*after, needed.peekable());
        let send = |cx: &mut Cx, after: EventId, through: EventId| {
            let needs = |place: usize, at: usize| {
                let x = parts[place].x(at);
                x > after && x <= through && feed.needs(&owners[place], at)
            };
            let frame = frame::pick(last.frame(), (after, through), audience, needs, cx.planted());
            cx.net.send(*stream, Message::Log(Arc::new(frame)), &mut cx.stats);
        };
        while let Some(x) = needed.next() {
            let parts = cx.scenario.feed_pause_permille > 0 && needed.peek().is_some();
            if parts && cx.rng.chance(cx.scenario.net.split_permille / 4) {
                send(cx, begins, x);
                begins = x;
            }
        }
        send(cx, begins, last.frame().through);
    }
}

impl LogRecord {
    /// The frame as it comes from the disk: without an audience.
    pub(super) fn read_back(&self) -> Arc<PublishedFrame> {
        let frame = self.published.frame();
        let read = Frame { audience: Audience::All, ..frame.clone() };
        Arc::new(PublishedFrame::new(Arc::new(read)))
    }
}
