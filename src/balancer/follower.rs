//! The log as a matcher follows it: what its slices need of each frame, and nothing of those that do not concern it until later.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use dovetail_core::{EventId, Reach, SliceId};
use futures::{Stream, StreamExt, stream};
use tokio::time::Instant;
use tonic::Status;

use super::{Node, errors, frame::PublishedFrame};
use crate::{convert, crash, pb::feed_response::Message, rpc};

/// Frames after a cursor as they become durable, with what the slices need of them, and the stable cut whenever it moves.
pub(super) fn frames_and_stable(
    node: Arc<Node>,
    slices: BTreeSet<SliceId>,
    after: EventId,
) -> impl Stream<Item = Result<Message, Status>> {
    let stable =
        tokio_stream::wrappers::WatchStream::new(node.stable.clone()).map(|stable| Ok(Message::Stable(stable.0)));
    let follower = Follower { node, slices, cursor: after, read: VecDeque::new(), held: None, ready: VecDeque::new() };
    let frames = stream::try_unfold(follower, |mut follower| async {
        let frame = follower.next().await?;
        Ok::<_, Status>(Some((frame, follower)))
    });
    stream::select(frames, stable)
}

/// Where a matcher is in the log.
struct Follower {
    node: Arc<Node>,
    slices: BTreeSet<SliceId>,
    cursor: EventId,
    /// Up to there.
    read: VecDeque<Arc<PublishedFrame>>,
    /// Frames that do not concern it, which wait for one that does.
    held: Option<Held>,
    /// Messages to send next: parts of a large frame.
    ready: VecDeque<Message>,
}

/// Frames in which there is nothing for a matcher's slices.
struct Held {
    /// The event before the first of them.
    after: EventId,
    /// The last of them.
    last: Arc<PublishedFrame>,
    reach: Reach,
    until: Instant,
}

impl Follower {
    /// The next frame that concerns the slices, with what they need of it; or what was held, once that has waited long enough.
    async fn next(&mut self) -> Result<Message, Status> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            if let Some(frame) = self.read.pop_front() {
                self.take(frame);
                continue;
            }
            let next = self.node.frames.after(self.cursor);
            let step = match &self.held {
                None => next.await,
                Some(held) => match tokio::time::timeout_at(held.until, next).await {
                    Ok(step) => step,
                    Err(_) => {
                        self.release();
                        continue;
                    }
                },
            };
            let step = step.map_err(errors::tail)?;
            self.cursor = step.cursor;
            self.read.extend(step.entries);
        }
    }

    /// Takes the next frame: with what was held if it concerns the slices, and else it is held, too.
    fn take(&mut self, frame: Arc<PublishedFrame>) {
        let concerned = frame.frame().reach.has(|slice| self.slices.contains(&slice));
        let held = match self.held.take() {
            Some(mut held) => {
                held.reach.join(&frame.frame().reach);
                Held { last: frame, ..held }
            }
            None => {
                let (after, reach) = (frame.frame().after, frame.frame().reach.clone());
                Held { after, last: frame, reach, until: Instant::now() + rpc::LATER }
            }
        };
        let long_enough = held.until <= Instant::now();
        self.held = Some(held);
        if concerned || long_enough {
            self.release();
        }
    }

    /// What is held is sent next, as one frame: in all but the last there is nothing for the slices.
    fn release(&mut self) {
        let Some(Held { after, last, reach, .. }) = self.held.take() else { return };
        crash::point("balancer.frame.send");
        let owners = last.owners(&self.node.pools, &self.node.placement);
        let needed = |place: usize, at: usize| owners[place].of(at).is_none_or(|slice| self.slices.contains(&slice));
        let parts = convert::log_frame_parts(last.frame(), (after, &reach), needed);
        self.ready.extend(parts.into_iter().map(Message::Frame));
    }
}
