//! The reader's end of a subscription: which stream, and what waits for a fetch.

use std::collections::VecDeque;

use dovetail_core::shard::Fetch;
use dovetail_node::{BalancerId, Step};

use crate::{
    cx::Cx,
    net::{Call, CallId, LinkId, Message, Net, NetStreamId, Node, Request, Time, Timer},
};

/// A subscription as its reader has it.
#[derive(Debug)]
pub struct SimLink {
    reader: Node,
    id: LinkId,
    server: Node,
    stream: Option<NetStreamId>,
    fetch: Option<(CallId, Fetch)>,
    /// What follows is read though a fetch is under way; only with a planted bug.
    reads_on: bool,
    held: VecDeque<Message>,
}

impl SimLink {
    /// A subscription that is made after a short while.
    pub fn new(net: &mut Net, reader: Node, id: LinkId, server: Node) -> SimLink {
        let link = SimLink { reader, id, server, stream: None, fetch: None, reads_on: false, held: VecDeque::new() };
        link.later(net);
        link
    }

    /// Takes the step that the machine says, and asks a balancer if it has to. Returns what was held back, when it reads
    /// on.
    pub fn take_step(&mut self, cx: &mut Cx, step: Step, balancer: BalancerId) -> VecDeque<Message> {
        match step {
            Step::Subscribe(request) => {
                if let Node::Balancer(server) = &mut self.server {
                    *server = balancer.0 as usize;
                }
                self.subscribe(&mut cx.net, request);
            }
            Step::Fetch(fetch) => {
                self.fetch(&mut cx.net, fetch, balancer);
                cx.provoke();
            }
            Step::Read => return self.read(),
            Step::Break(_) => self.give_up(&mut cx.net),
        }
        VecDeque::new()
    }

    /// Asks for a stream, when there is none.
    pub fn subscribe(&mut self, net: &mut Net, request: Request) {
        if self.stream.is_none() {
            self.stream = Some(net.open(self.reader, self.id, self.server, request));
        }
    }

    /// Whether this is the stream that is read.
    #[must_use]
    pub fn reads(&self, stream: NetStreamId) -> bool {
        self.stream == Some(stream)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.stream.is_none()
    }

    /// Gives up the stream, to ask again.
    pub fn give_up(&self, net: &mut Net) {
        if let Some(stream) = self.stream {
            net.sever(stream);
        }
    }

    /// The stream is gone: subscribes again after a while. False when it was not the one that is read.
    pub fn lost(&mut self, net: &mut Net, stream: NetStreamId) {
        if self.reads(stream) {
            self.stream = None;
            self.fetch = None;
            self.held.clear();
            self.later(net);
        }
    }

    /// Fetches what must be applied before what follows on the stream.
    pub fn fetch(&mut self, net: &mut Net, fetch: Fetch, balancer: BalancerId) {
        let id = net.call(self.reader, balancer, Call::Retirements(fetch));
        self.fetch = Some((id, fetch));
        self.reads_on = false;
    }

    /// Reads on: returns what was held back.
    fn read(&mut self) -> VecDeque<Message> {
        self.reads_on = self.fetch.is_some();
        std::mem::take(&mut self.held)
    }

    /// An answer came. True when it is the one that was waited for.
    pub fn answered(&mut self, id: CallId) -> bool {
        self.fetch.take_if(|(waited, _)| *waited == id).is_some()
    }

    /// Whether this call is waited for.
    #[must_use]
    pub fn waits_for(&self, id: CallId) -> bool {
        self.fetch.is_some_and(|(waited, _)| waited == id)
    }

    /// Asks again when a call got no answer.
    pub fn timed_out(&mut self, net: &mut Net, id: CallId, balancer: BalancerId) {
        if let Some((_, fetch)) = self.fetch.filter(|&(waited, _)| waited == id) {
            self.fetch(net, fetch, balancer);
        }
    }

    /// An answer came. Returns what was held back when it is the one that was waited for.
    pub fn fetched(&mut self, id: CallId) -> Option<VecDeque<Message>> {
        self.answered(id).then(|| std::mem::take(&mut self.held))
    }

    /// Keeps a message for later when a fetch has to come first.
    pub fn hold(&mut self, message: Message) -> Option<Message> {
        if self.fetch.is_none() || self.reads_on {
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
