//! What will happen, by time; at one time, in the order in which it was planned.

use std::{cmp::Reverse, collections::BinaryHeap};

use dovetail_node::{BalancerId, Term};

use super::{AskId, Call, CallId, EngineAsk, EngineSaid, LinkId, Message, NetStreamId, Node, Reply, Request, Time};

/// Something that happens.
#[derive(Clone, Debug)]
pub enum NetStep {
    /// A request to subscribe reaches the server of a stream.
    Subscribe {
        /// The stream.
        stream: NetStreamId,
        /// What is asked for.
        request: Request,
    },
    /// A message reaches the reader of a stream.
    Message {
        /// The stream.
        stream: NetStreamId,
        /// The message.
        message: Message,
    },
    /// One end notices that a stream broke.
    Lost {
        /// The stream.
        stream: NetStreamId,
        /// The end.
        node: Node,
        /// Which incarnation of it had the stream.
        incarnation: u32,
    },
    /// A call reaches a balancer.
    Call {
        /// The balancer.
        to: Node,
        /// The node that calls.
        from: Node,
        /// Which incarnation of it.
        incarnation: u32,
        /// The call.
        id: CallId,
        /// What is asked.
        call: Call,
    },
    /// An answer reaches its caller.
    Reply {
        /// The node that called.
        to: Node,
        /// Which incarnation of it.
        incarnation: u32,
        /// The call.
        id: CallId,
        /// Who answers.
        by: BalancerId,
        /// In which term that one writes; none of one that is alone.
        term: Option<Term>,
        /// The answer.
        reply: Reply,
    },
    /// Something that a balancer asks reaches the engine that keeps the shared log.
    ToEngine {
        /// The balancer.
        from: usize,
        /// Which incarnation of it.
        incarnation: u32,
        /// What is asked.
        ask: EngineAsk,
    },
    /// Something that the engine says reaches a balancer.
    FromEngine {
        /// The balancer.
        to: usize,
        /// Which incarnation of it.
        incarnation: u32,
        /// What is said.
        said: EngineSaid,
    },
    /// A balancer that has taken over tells a node.
    Told {
        /// The node.
        to: Node,
        /// Which incarnation of it.
        incarnation: u32,
        /// The balancer.
        balancer: BalancerId,
        /// Its term.
        term: Term,
    },
    /// A node's own timer.
    Timer {
        /// The node.
        node: Node,
        /// Which incarnation of it set the timer.
        incarnation: u32,
        /// What for.
        timer: Timer,
    },
    /// A stopped node starts.
    Restart {
        /// The node.
        node: Node,
        /// Which incarnation of it.
        incarnation: u32,
    },
    /// A pause ends.
    Resume {
        /// The node.
        node: Node,
        /// Which incarnation of it was paused.
        incarnation: u32,
    },
    /// A client does something.
    Client,
}

/// What a node set a timer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Subscribe (again).
    Subscribe(LinkId),
    /// Give up on a call.
    CallTimeout(CallId),
    /// The balancer's open frame may be due.
    Frame,
    /// The balancer's log is on disk as far as it was written.
    LogSynced,
    /// The balancer's results are on disk as far as they were written.
    ResultsSynced,
    /// The balancer's checkpoint is on disk.
    CheckpointSynced,
    /// There may be room on the balancer's disk again.
    DiskRetry,
    /// A reprobe or an expiry may be due.
    Due,
    /// A gatherer sends what came of a batch, a matcher what it has held back.
    Publish,
    /// Reads on in the cuts that matchers begin with.
    Cut,
    /// A matcher, by its index, reads on in the balancer's log.
    Feed(usize),
    /// What the balancer has held back from a matcher has waited long enough.
    FeedLinger(usize),
    /// What a gatherer has held back has waited long enough.
    Linger,
    /// A balancer of several says that it lives, and looks whether it should write.
    Tick,
    /// A balancer gives up on what it asked the engine.
    EngineTimeout(AskId),
    /// A gatherer looks whether what it knows is still of use.
    Check,
}

impl NetStep {
    /// Whether it happens again and again, though nothing else does.
    #[must_use]
    pub fn is_background(&self) -> bool {
        match self {
            NetStep::Timer { timer, .. } => *timer == Timer::Tick,
            NetStep::ToEngine { ask, .. } => matches!(ask, EngineAsk::Beat(_)),
            NetStep::FromEngine { said, .. } => matches!(said, EngineSaid::Beat(_)),
            _ => false,
        }
    }
}

/// Bits of a place in the order that number what was planned; the time stands above them.
const PLANNED_BITS: u32 = 24;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Time and number in one word, so that they compare at once; then the slot.
    order: BinaryHeap<Reverse<(u64, u32)>>,
    steps: Vec<Option<NetStep>>,
    free: Vec<u32>,
    planned: u64,
    /// How many of the steps do not happen again and again.
    foreground: usize,
}

impl Queue {
    pub(super) fn push(&mut self, at: Time, step: NetStep) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.steps.push(None);
            u32::try_from(self.steps.len() - 1).expect("fewer steps at a time")
        });
        self.foreground += usize::from(!step.is_background());
        self.steps[slot as usize] = Some(step);
        assert!(self.planned >> PLANNED_BITS == 0, "a run plans fewer steps");
        self.order.push(Reverse((at << PLANNED_BITS | self.planned, slot)));
        self.planned += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(Time, NetStep)> {
        let Reverse((place, slot)) = self.order.pop()?;
        self.free.push(slot);
        let step = self.steps[slot as usize].take().expect("a planned step is there until it happens");
        self.foreground -= usize::from(!step.is_background());
        Some((place >> PLANNED_BITS, step))
    }

    /// Whether all that is planned happens again and again.
    pub(super) fn is_quiet(&self) -> bool {
        self.foreground == 0
    }
}
