//! The reader's end of a subscription: which stream, and what waits for a fetch.

use std::collections::VecDeque;

use dovetail_core::{EventId, shard::Fetch};

use crate::net::{Call, CallId, LinkId, Message, Net, Node, Request, StreamId, Time, Timer};

/// A subscription as its reader has it.
#[derive(Debug)]
pub struct Link {
    reader: Node,
    id: LinkId,
    server: Node,
    stream: Option<StreamId>,
    /// The cursor that candidates were asked for after.
    asked: EventId,
    fetch: Option<(CallId, Fetch)>,
    held: VecDeque<Message>,
}

impl Link {
    /// A subscription that is made after a short while.
    pub fn new(net: &mut Net, reader: Node, id: LinkId, server: Node) -> Link {
        let link = Link { reader, id, server, stream: None, asked: EventId::ZERO, fetch: None, held: VecDeque::new() };
        link.later(net);
        link
    }

    /// Asks for a stream, when there is none.
    pub fn subscribe(&mut self, net: &mut Net, request: Request) {
        if self.stream.is_none() {
            if let Request::Candidates { after, .. } = request {
                self.asked = after;
            }
            self.stream = Some(net.open(self.reader, self.id, self.server, request));
        }
    }

    /// Whether this is the stream that is read.
    #[must_use]
    pub fn reads(&self, stream: StreamId) -> bool {
        self.stream == Some(stream)
    }

    /// Gives up the stream, to ask again, when nothing comes on it because it was asked for from below `floor`.
    pub fn ask_again_below(&mut self, net: &mut Net, floor: EventId) -> bool {
        let below = self.asked < floor;
        if let Some(stream) = self.stream.filter(|_| below) {
            net.sever(stream);
        }
        below
    }

    /// The stream is gone: subscribes again after a while. False when it was not the one that is read.
    pub fn lost(&mut self, net: &mut Net, stream: StreamId) {
        if self.reads(stream) {
            self.stream = None;
            self.fetch = None;
            self.held.clear();
            self.later(net);
        }
    }

    /// Fetches what must be applied before what follows on the stream.
    pub fn fetch(&mut self, net: &mut Net, fetch: Fetch) {
        let id = net.call(self.reader, Call::Retirements(fetch));
        self.fetch = Some((id, fetch));
    }

    /// Asks again when a call got no answer.
    pub fn timed_out(&mut self, net: &mut Net, id: CallId) {
        if let Some((waited, fetch)) = self.fetch
            && waited == id
        {
            self.fetch(net, fetch);
        }
    }

    /// An answer came. Returns what was held back when it is the one that was waited for.
    pub fn fetched(&mut self, id: CallId) -> Option<VecDeque<Message>> {
        if self.fetch.is_some_and(|(waited, _)| waited == id) {
            self.fetch = None;
            return Some(std::mem::take(&mut self.held));
        }
        None
    }

    /// Keeps a message for later when a fetch has to come first.
    pub fn hold(&mut self, message: Message) -> Option<Message> {
        if self.fetch.is_none() {
            return Some(message);
        }
        self.held.push_back(message);
        None
    }

    fn later(&self, net: &mut Net) {
        let delay: Time = net.delay();
        net.timer(self.reader, delay, Timer::Subscribe(self.id));
    }
}
