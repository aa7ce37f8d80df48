//! Answers that wait for the disk: an answer tells of nothing that a crash could take back.

use std::collections::VecDeque;

use dovetail_core::EventId;

use super::{messages::Reply, refused::NotWritten};
use crate::crash;

/// Something to say once an event is on disk, or is not in time.
struct Ack {
    at: EventId,
    say: Box<dyn FnOnce(Result<(), NotWritten>) + Send>,
}

/// All of them, in the order of their events.
#[derive(Default)]
pub(super) struct Acks(VecDeque<Ack>);

impl Acks {
    /// Answers once all up to here is on disk.
    pub(super) fn later<T: Send + 'static>(&mut self, at: EventId, reply: Reply<T>, answer: T) {
        // The caller may have gone away; what it asked for is done all the same.
        let say = Box::new(move |stored: Result<(), NotWritten>| _ = reply.send(stored.map(|()| answer)));
        self.0.push_back(Ack { at, say });
    }

    /// Gives the answers for which all is on disk.
    pub(super) fn acknowledge(&mut self, through: EventId) {
        while let Some(ack) = self.0.pop_front_if(|ack| ack.at <= through) {
            crash::point("balancer.acknowledge");
            (ack.say)(Ok(()));
        }
    }

    /// Tells all that wait that what they wait for is not in the log yet.
    pub(super) fn refuse(&mut self, why: &NotWritten) {
        self.0.drain(..).for_each(|ack| (ack.say)(Err(why.clone())));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
