//! The log as a matcher reads it: what its slices need of each frame, as its machine decides
//! ([`dovetail_node::balancer::feed`]).

use std::{collections::VecDeque, sync::Arc};

use dovetail_core::{Cursor, planted::Planted};
use dovetail_node::balancer::{Feed, FeedAction, FeedFrame, PublishedFrame, frame};
use futures::{Stream, StreamExt, stream};
use tokio::time::Instant;
use tonic::Status;

use super::{errors, node::Node};
use crate::{crash, rpc};
use dovetail_wire::node_pb::feed_response::Message;

/// Frames of a feed as they become durable, with what the slices need of them, and the stable cut whenever it moves.
pub(super) fn frames_and_stable(node: Arc<Node>, feed: Feed) -> impl Stream<Item = Result<Message, Status>> {
    let stable = tokio_stream::wrappers::WatchStream::new(node.stable.clone())
        .map(|stable| Ok(Message::Stable(stable.event().0)));
    let cursor = feed.cursor();
    let reader = FeedReader { node, feed, cursor, read: VecDeque::new(), lingers: None, ready: VecDeque::new() };
    let frames = stream::try_unfold(reader, |mut reader| async {
        let frame = reader.next().await?;
        Ok::<_, Status>(Some((frame, reader)))
    });
    stream::select(frames, stable)
}

/// Where a matcher is in the log.
struct FeedReader {
    node: Arc<Node>,
    feed: Feed,
    /// How far the log was read for it.
    cursor: Cursor,
    /// Frames up to there.
    read: VecDeque<Arc<PublishedFrame>>,
    /// When what is held back has waited long enough.
    lingers: Option<Instant>,
    /// Messages to send next: parts of a large frame.
    ready: VecDeque<Message>,
}

impl FeedReader {
    /// The next frame that concerns the slices, with what they need of it; or what was held, once that has waited long
    /// enough.
    async fn next(&mut self) -> Result<Message, Status> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            if let Some(frame) = self.read.pop_front() {
                match self.feed.on_frame(frame) {
                    Some(FeedAction::Send(frame)) => self.send(&frame),
                    Some(FeedAction::Linger) => self.lingers = Some(Instant::now() + rpc::LINGER),
                    None => {}
                }
                if self.lingers.is_some_and(|until| until <= Instant::now()) {
                    self.linger_is_over();
                }
                continue;
            }
            let next = self.node.frames.after(self.cursor);
            let step = match self.lingers {
                None => next.await,
                Some(until) => match tokio::time::timeout_at(until, next).await {
                    Ok(step) => step,
                    Err(_) => {
                        self.linger_is_over();
                        continue;
                    }
                },
            };
            let step = step.map_err(errors::tail)?;
            self.cursor = step.cursor;
            self.read.extend(step.entries);
        }
    }

    fn linger_is_over(&mut self) {
        if let Some(frame) = self.feed.on_linger() {
            self.send(&frame);
        }
    }

    fn send(&mut self, FeedFrame { after, audience, last }: &FeedFrame) {
        crash::point("balancer.frame.send");
        self.lingers = None;
        let FeedReader { node, feed, .. } = &*self;
        let owners = last.owners(|frame| {
            node.pools.with(|pools| frame::owners(frame, |id| pools.get(id), &node.placement, Planted::default()))
        });
        let needed = |place: usize, at: usize| feed.needs(&owners[place], at);
        let parts = dovetail_wire::log_frame_parts(last.frame(), (*after, audience), needed);
        self.ready.extend(parts.into_iter().map(Message::Frame));
    }
}
