//! The subscribers of a node, and what each is sent next.
//!
//! The results of a batch of inputs go to each reader as one message, once the reader can do something with them: until
//! then they are held back, and merged with what comes. What no reader waits for goes with the next message, or by
//! itself after a short while. Invariants: node.O1 a reader gets what is its own in order, and everything of it;
//! node.O2 while something is held back, a linger is under way; node.O3 a node has one stream at the most.

use std::collections::BTreeMap;

use dovetail_core::planted::{Bug, Planted};

use crate::{
    action::Action,
    ids::{NodeId, StreamId},
};

/// What one reader is sent next.
pub trait Queue {
    /// What is sent.
    type Message;

    /// Whether there is nothing to send.
    fn is_empty(&self) -> bool;

    /// Whether the reader may be waiting for what is there.
    fn is_due(&self) -> bool;

    /// What is there, as one message.
    fn take(&mut self) -> Self::Message;
}

#[derive(Clone, Debug)]
struct Subscriber<Q> {
    stream: StreamId,
    queue: Q,
}

/// The subscribers of a node.
#[derive(Clone, Debug)]
pub struct Readers<Q> {
    subscribers: BTreeMap<NodeId, Subscriber<Q>>,
    /// Whether a linger is under way.
    lingers: bool,
}

impl<Q> Default for Readers<Q> {
    fn default() -> Readers<Q> {
        Readers { subscribers: BTreeMap::new(), lingers: false }
    }
}

impl<Q: Queue> Readers<Q> {
    /// A node subscribes. A stream that it had ends.
    pub fn add(&mut self, node: NodeId, stream: StreamId, queue: Q, out: &mut Vec<Action<Q::Message>>) {
        let earlier = self.subscribers.insert(node, Subscriber { stream, queue });
        out.extend(earlier.map(|earlier| Action::End { stream: earlier.stream }));
    }

    /// A stream has ended.
    pub fn lost(&mut self, stream: StreamId) {
        self.subscribers.retain(|_, subscriber| subscriber.stream != stream);
    }

    /// What each is sent next.
    pub fn queues(&mut self) -> impl Iterator<Item = &mut Q> {
        self.subscribers.values_mut().map(|subscriber| &mut subscriber.queue)
    }

    /// What a node is sent next, if it reads.
    pub fn queue(&mut self, node: NodeId) -> Option<&mut Q> {
        self.subscribers.get_mut(&node).map(|subscriber| &mut subscriber.queue)
    }

    /// Sends what is waited for; the rest lingers.
    pub fn send_due(&mut self, planted: Planted, out: &mut Vec<Action<Q::Message>>) {
        self.send(Queue::is_due, out);
        let waits = self.subscribers.values().any(|subscriber| !subscriber.queue.is_empty());
        if waits && !self.lingers && !planted.is(Bug::LingerForgotten) {
            self.lingers = true;
            out.push(Action::Linger);
        }
    }

    /// The linger is over: sends whatever is there.
    pub fn on_linger(&mut self, out: &mut Vec<Action<Q::Message>>) {
        self.lingers = false;
        self.send(|_| true, out);
    }

    fn send(&mut self, which: impl Fn(&Q) -> bool, out: &mut Vec<Action<Q::Message>>) {
        for Subscriber { stream, queue } in self.subscribers.values_mut() {
            if !queue.is_empty() && which(queue) {
                out.push(Action::Send { to: *stream, message: queue.take() });
            }
        }
    }
}
