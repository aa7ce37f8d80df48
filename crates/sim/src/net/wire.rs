//! What nodes say to each other: the three resumable subscriptions and the two calls of `dovetail.node.v1`.

use std::{fmt, sync::Arc};

use dovetail_core::{
    CandidateFrame, ColumnFrame, Cursor, DecisionFrame, Event, EventId, Retirement, ShardId, SliceId, Stable,
    shard::Fetch, slice::SliceCut,
};
use dovetail_node::{BalancerId, MatcherId, NodeId, Term, action::SliceHello};
pub use dovetail_node::{LinkId, Request};

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A balancer, by its index.
    Balancer(usize),
    /// A matcher, by its index.
    Matcher(usize),
    /// A gatherer, by its index, which is its shard's.
    Gatherer(usize),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Balancer(0) => f.write_str("balancer"),
            Node::Balancer(balancer) => write!(f, "balancer{balancer}"),
            Node::Matcher(matcher) => write!(f, "matcher{matcher}"),
            Node::Gatherer(gatherer) => write!(f, "gatherer{gatherer}"),
        }
    }
}

impl Node {
    /// As the machines call it.
    #[must_use]
    pub fn id(self) -> NodeId {
        let number = |index: usize| u32::try_from(index).expect("few nodes");
        match self {
            Node::Balancer(balancer) => NodeId::Balancer(BalancerId(number(balancer))),
            Node::Matcher(matcher) => NodeId::Matcher(MatcherId(number(matcher))),
            Node::Gatherer(gatherer) => NodeId::Gatherer(ShardId(number(gatherer))),
        }
    }
}

/// A frame, and the slice that made it.
pub type SliceFrame = (SliceId, Arc<CandidateFrame>);

/// A stream, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetStreamId(pub u32);

impl NetStreamId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A call, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId(pub u32);

/// What a server sends.
#[derive(Clone, Debug)]
pub enum Message {
    /// First on a feed: frames follow after the cursor asked for, or after a cut.
    FeedHello {
        /// The cut, if the feed begins with one.
        cut: Option<Arc<SliceCut>>,
        /// In which term the balancer writes; none of one that is alone.
        term: Option<Term>,
    },
    /// Instead of all else on a feed: this balancer does not write.
    StandsBy(Writes),
    /// Instead of all else on a feed: the log no longer has what follows the cursor.
    OutOfRange {
        /// The lowest cursor that works.
        floor: Cursor,
    },
    /// A frame of the log.
    Log(Arc<ColumnFrame>),
    /// The stable cut.
    Stable(Stable),
    /// First on candidates: what each of the matcher's slices says.
    CandidatesHello(Arc<[SliceHello]>),
    /// Frames of the slices of a matcher, those of one slice in order.
    Candidates(Arc<[SliceFrame]>),
    /// First on decisions.
    DecisionsHello {
        /// The lowest cursor that needs no fetch.
        floor: Cursor,
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
            Message::FeedHello { cut, .. } => [1, cut.as_ref().map_or(0, |cut| cut.through.0), 0],
            Message::StandsBy(writes) => [9, writes.map_or(0, |(_, term)| term.0), 0],
            Message::Log(frame) => [2, frame.through().0, frame.len() as u64],
            Message::Stable(stable) => [3, stable.event().0, 0],
            Message::CandidatesHello(slices) => {
                let [mut known, mut floor] = [0; 2];
                for hello in slices.iter() {
                    known = known << 8 ^ hello.decided_seen.event().0;
                    floor = floor << 8 ^ hello.floor.event().0;
                }
                [4, known, floor]
            }
            Message::Candidates(frames) => {
                let [mut through, mut found] = [0; 2];
                for (_, frame) in frames.iter() {
                    through = through << 8 ^ frame.through.0;
                    found += (frame.probes.len() + frame.claims.len() + frame.settled.len()) as u64;
                }
                [5, through, found]
            }
            Message::DecisionsHello { floor } => [6, floor.event().0, 0],
            Message::Decisions(frame) => [
                7,
                frame.decided.map_or(0, |decided| decided.event().0),
                (frame.retirements.len() + frame.grants.len()) as u64,
            ],
            Message::OutOfRange { floor } => [8, floor.event().0, 0],
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::FeedHello { cut: None, .. } => f.write_str("feed hello"),
            Message::StandsBy(writes) => write!(f, "stands by, {writes:?} writes"),
            Message::FeedHello { cut: Some(cut), .. } => {
                let waiting: Vec<u64> = cut.waiting.iter().map(|waiting| waiting.element.0).collect();
                write!(f, "feed hello, cut {} waiting {waiting:?} left out {:?}", cut.through, cut.left_out)
            }
            Message::Log(frame) => {
                let events = frame.to_events().events;
                write!(
                    f,
                    "log ({}, {}] stable {} {:?}",
                    frame.after(),
                    frame.through(),
                    frame.stable(),
                    Events(&events)
                )
            }
            Message::OutOfRange { floor } => write!(f, "out of range, floor {floor}"),
            Message::Stable(stable) => write!(f, "stable {stable}"),
            Message::CandidatesHello(slices) => {
                f.write_str("candidates hello")?;
                slices.iter().try_for_each(|hello| {
                    write!(f, " {} known {} floor {}", hello.slice, hello.decided_seen, hello.floor)
                })
            }
            Message::Candidates(frames) => {
                f.write_str("candidates")?;
                frames.iter().try_for_each(|(slice, frame)| write_candidates(f, *slice, frame))
            }
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

fn write_candidates(f: &mut fmt::Formatter<'_>, slice: SliceId, frame: &CandidateFrame) -> fmt::Result {
    write!(f, " {slice} ({}, {}] known {} stable {}", frame.after, frame.through, frame.decided_seen, frame.stable)?;
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

struct Events<'a>(&'a [Event]);

impl fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use dovetail_core::EventKind as Kind;
        let events = self.0.iter().map(|event| match &event.kind {
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

/// Which balancer writes, and in which term, if that is known.
pub type Writes = Option<(BalancerId, Term)>;

/// What nodes ask the balancer.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// Where a gatherer that starts begins.
    Cut,
    /// Retirements from the store.
    Retirements(Fetch),
}

/// What a balancer answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Where to begin.
    Cut {
        /// The stable cut.
        cut: Stable,
        /// Retirements above this can be fetched.
        floor: EventId,
    },
    /// The retirements of a range.
    Retirements(Fetch, Arc<[Retirement]>),
    /// The store no longer has all of the range.
    OutOfRange(Fetch),
    /// This balancer does not write.
    StandsBy(Writes),
}
