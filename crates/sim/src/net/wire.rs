//! What nodes say to each other: the three resumable subscriptions and the two calls of `cluster.proto`.

use std::{fmt, sync::Arc};

use dovetail_core::{
    CandidateFrame, DecisionFrame, EventId, LogFrame, Retirement, ShardId, SliceId, shard::Fetch, slice::SliceCut,
};

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The balancer.
    Balancer,
    /// A matcher, by its index.
    Matcher(usize),
    /// A gatherer, by its index, which is its shard's.
    Gatherer(usize),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Balancer => f.write_str("balancer"),
            Node::Matcher(matcher) => write!(f, "matcher{matcher}"),
            Node::Gatherer(gatherer) => write!(f, "gatherer{gatherer}"),
        }
    }
}

/// A stream, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(pub u32);

impl StreamId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A call, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId(pub u32);

/// One of a node's subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkId {
    /// A matcher's, to the log.
    Feed,
    /// A gatherer's, to a slice's candidates.
    Slice(SliceId),
    /// Anyone's, to a shard's decisions.
    Shard(ShardId),
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// The log after an event, or from the cut.
    Feed {
        /// The cursor; none to start from the cut.
        after: Option<EventId>,
    },
    /// A slice's candidates.
    Candidates {
        /// The slice.
        slice: SliceId,
        /// For this shard.
        shard: ShardId,
        /// The cursor.
        after: EventId,
        /// The lowest `known` that the shard can take: what retired above it, and it does not know, is still in the store.
        known_min: EventId,
    },
    /// A shard's decisions.
    Decisions {
        /// The cursor: the shard's watermark as the reader knows it.
        after: EventId,
    },
}

/// What a server sends.
#[derive(Clone, Debug)]
pub enum Message {
    /// First on a feed: frames follow after the cursor asked for, or after a cut.
    FeedHello(Option<Arc<SliceCut>>),
    /// Instead of all else on a feed: the log no longer has what follows the cursor.
    OutOfRange {
        /// The lowest cursor that works.
        floor: EventId,
    },
    /// A frame of the log.
    Log(Arc<LogFrame>),
    /// The stable cut.
    Stable(EventId),
    /// First on candidates.
    CandidatesHello {
        /// The lowest `known` of any frame that follows.
        known: EventId,
        /// The lowest cursor that works.
        floor: EventId,
    },
    /// A frame of candidates.
    Candidates(Arc<CandidateFrame>),
    /// First on decisions.
    DecisionsHello {
        /// The lowest cursor that needs no fetch.
        floor: EventId,
    },
    /// Decisions.
    Decisions(Arc<DecisionFrame>),
}

impl Message {
    /// Whether a stream may deliver it again, late. A hello comes once.
    #[must_use]
    pub fn may_repeat(&self) -> bool {
        matches!(self, Message::Log(_) | Message::Stable(_) | Message::Candidates(_) | Message::Decisions(_))
    }

    /// What identifies it in a trace.
    #[must_use]
    pub fn fingerprint(&self) -> [u64; 3] {
        match self {
            Message::FeedHello(cut) => [1, cut.as_ref().map_or(0, |cut| cut.through.0), 0],
            Message::Log(frame) => [2, frame.through.0, frame.events.len() as u64],
            Message::Stable(stable) => [3, stable.0, 0],
            Message::CandidatesHello { known, floor } => [4, known.0, floor.0],
            Message::Candidates(frame) => {
                [5, frame.through.0, (frame.probes.len() + frame.claims.len() + frame.settled.len()) as u64]
            }
            Message::DecisionsHello { floor } => [6, floor.0, 0],
            Message::Decisions(frame) => {
                [7, frame.decided.map_or(0, |decided| decided.0), (frame.retirements.len() + frame.grants.len()) as u64]
            }
            Message::OutOfRange { floor } => [8, floor.0, 0],
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::FeedHello(None) => f.write_str("feed hello"),
            Message::FeedHello(Some(cut)) => {
                let waiting: Vec<u64> = cut.waiting.iter().map(|waiting| waiting.element.0).collect();
                write!(f, "feed hello, cut {} waiting {waiting:?} left out {:?}", cut.through, cut.left_out)
            }
            Message::Log(frame) => {
                write!(f, "log ({}, {}] stable {} {:?}", frame.after, frame.through, frame.stable, Events(frame))
            }
            Message::OutOfRange { floor } => write!(f, "out of range, floor {floor}"),
            Message::Stable(stable) => write!(f, "stable {stable}"),
            Message::CandidatesHello { known, floor } => write!(f, "candidates hello known {known} floor {floor}"),
            Message::Candidates(frame) => write_candidates(f, frame),
            Message::DecisionsHello { floor } => write!(f, "decisions hello floor {floor}"),
            Message::Decisions(frame) => {
                f.write_str("decisions")?;
                frame.retirements.iter().try_for_each(|retirement| write!(f, " [{retirement}]"))?;
                for grant in &frame.grants {
                    write!(f, " grant {} {} {}", grant.x, grant.prober, grant.anchor)?;
                }
                frame.decided.map_or(Ok(()), |decided| write!(f, " decided {decided}"))
            }
        }
    }
}

fn write_candidates(f: &mut fmt::Formatter<'_>, frame: &CandidateFrame) -> fmt::Result {
    write!(f, "candidates ({}, {}] known {} stable {}", frame.after, frame.through, frame.known, frame.stable)?;
    for list in &frame.probes {
        let anchors: Vec<u64> = list.anchors.iter().map(|anchor| anchor.0).collect();
        write!(f, " probe {} {} {anchors:?}", list.x, list.prober)?;
    }
    for claim in &frame.claims {
        write!(f, " claim {} {} on {}", claim.x, claim.prober, claim.anchor)?;
    }
    frame.closes.iter().try_for_each(|close| write!(f, " close {} {}", close.x, close.element))?;
    frame.settled.iter().try_for_each(|settled| write!(f, " settled [{settled}]"))
}

struct Events<'a>(&'a LogFrame);

impl fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use dovetail_core::EventKind as Kind;
        let events = self.0.events.iter().map(|event| match &event.kind {
            Kind::Arrival { pool, .. } => format!("{} arrival {pool}", event.x),
            Kind::Withdrawal { element, .. } => format!("{} withdrawal {element}", event.x),
            Kind::Reprobe { element, .. } => format!("{} reprobe {element}", event.x),
            Kind::PoolDefined { pool, definition } => format!("{} {pool} {:?}", event.x, definition.rule),
            Kind::PoolClosed { pool } => format!("{} closes {pool}", event.x),
            Kind::PoolDropped { pool } => format!("{} drops {pool}", event.x),
        });
        f.debug_list().entries(events).finish()
    }
}

/// What nodes ask the balancer.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// Where a gatherer that starts begins.
    Cut,
    /// Retirements from the store.
    Retirements(Fetch),
}

/// What the balancer answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Where to begin.
    Cut {
        /// The stable cut.
        cut: EventId,
        /// Retirements above this can be fetched.
        floor: EventId,
    },
    /// The retirements of a range.
    Retirements(Fetch, Arc<[Retirement]>),
    /// The store no longer has all of the range.
    OutOfRange(Fetch),
}
