//! What a balancer has: what is on its disk, and what a crash takes.

use std::collections::HashMap;

use dovetail_core::{
    EventId, LogFrame, Stable,
    hold::Holds,
    ledger::{ClientPart, Cutting, Ledger, Outcome, Submission},
    sequencer::Sequencer,
    slice::SliceCut,
};
use dovetail_node::balancer::{DecisionLinks, Durability, Feed, Visible};

use super::{clock::Clock, share::Share};
use crate::{
    disk::SimDisk,
    link::SimLink,
    net::{NetStreamId, Time},
};

/// A balancer.
#[derive(Debug)]
pub struct BalancerNode {
    pub(super) index: usize,
    pub(super) disk: SimDisk,
    /// Watermarks that may not go back even when the balancer crashes.
    pub(super) stable: Stable,
    pub(super) acknowledged: EventId,
    /// Until then the disk is full.
    pub(super) full_until: Time,
    /// How often the disk has failed, or begun to be full.
    pub(super) faults: u64,
    pub(super) live: Option<LiveBalancer>,
}

/// What a crash takes.
#[derive(Debug)]
pub(super) struct LiveBalancer {
    pub(super) index: usize,
    /// Of one that shares the log with others.
    pub(super) share: Option<Share>,
    pub(super) sequencer: Sequencer,
    pub(super) ledger: Ledger,
    /// Client parts of the open frame.
    pub(super) clients: Vec<ClientPart>,
    /// Outcomes that are not written yet.
    pub(super) outcomes: Vec<Outcome>,
    /// Up to where results were written.
    pub(super) written: EventId,
    /// One per shard.
    pub(super) links: Vec<SimLink>,
    pub(super) decisions: DecisionLinks,
    /// By matcher.
    pub(super) feeds: Vec<Option<ServedFeed>>,
    pub(super) durability: Durability,
    /// What has to be done, in this order.
    pub(super) visible: Vec<Visible>,
    /// A frame that was taken and is not in the log yet.
    pub(super) open: Option<LogFrame>,
    /// Where the last frames that were taken end, and what was decided then.
    pub(super) taken: [Option<(EventId, EventId)>; 3],
    /// Up to where readers of the log were given it.
    pub(super) broadcast: EventId,
    /// Up to where clients see what was decided, and how many outcomes that are not written yet they see.
    pub(super) published: (EventId, usize),
    /// Cuts that are read, by matcher.
    pub(super) cuts: Vec<Option<Cut>>,
    /// What time of the open frame a timer is set for.
    pub(super) frame_due_ms: Option<u64>,
    /// When a timer for the ledger's timers is set.
    pub(super) due_at: Option<Time>,
    pub(super) clock: Clock,
    /// Submissions whose keys' elements are not decided.
    pub(super) holds: Holds<Submitted>,
    /// The last submission of each stream that was let in.
    pub(super) streams: HashMap<u64, u64>,
    /// The checkpoint it started from.
    pub(super) cut: EventId,
    /// The disk was full when it was last written to.
    pub(super) full: bool,
}

/// A cut that is read in parts, while the ledger goes on.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) stream: NetStreamId,
    pub(super) cut: SliceCut,
    pub(super) cutting: Cutting,
}

/// A matcher that reads the log.
#[derive(Debug)]
pub(super) struct ServedFeed {
    pub(super) stream: NetStreamId,
    pub(super) feed: Feed,
    /// It reads on later, from the disk.
    pub(super) waits: bool,
}

/// A submission of one of the clients' streams.
#[derive(Debug)]
pub struct Submitted {
    /// Counts all submissions.
    pub number: u64,
    /// The pool's name.
    pub pool: String,
    /// The element.
    pub submission: Submission,
    /// The highest id when it was first looked at.
    pub asked: Option<EventId>,
}
