//! What a balancer of several has beside its ledger.

use std::collections::{BTreeMap, VecDeque};

use dovetail_core::{EventId, ShardId};
use dovetail_log::shared::{Appending, Position, TakingOver};
use dovetail_node::{
    BalancerId, Term, Writer,
    balancer::{DecisionsAhead, Leadership, LeadershipSettings, Reign, Replay, Standing},
};

use crate::{
    cx::Cx,
    disk::LogRecord,
    net::{AskId, Node, Time, Timer},
    nodes::balancer_id,
};

/// Between two beats.
pub(super) const BEAT_MS: Time = 200;
/// After what silence of whoever writes another takes over, and how much later each next one does.
const TAKEOVER_MS: Time = 1_000;
const STAGGER_MS: Time = 250;

/// What a balancer of several has beside its ledger.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) leadership: Leadership,
    pub(super) replay: Replay,
    pub(super) ahead: DecisionsAhead,
    /// Frames that were not put yet.
    pub(super) queue: VecDeque<LogRecord>,
    /// Groups that are not answered for: one, but for a planted bug.
    pub(super) puts: VecDeque<InFlight>,
    /// The last entry of the log, as the one that writes knows it.
    pub(super) end: Position,
    pub(super) taking: Option<Taking>,
    /// Of the last frame that was read.
    pub(super) time_ms: u64,
    pub(super) was_active: bool,
    /// It would rather another wrote.
    pub(super) yields: bool,
    /// When the others were heard of, and what they had stored; to hold what the stable cut waits for against it.
    pub(super) beats: BTreeMap<BalancerId, (Time, EventId)>,
}

/// A group on its way to the log.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The last thing that was asked about it.
    pub(super) id: AskId,
    pub(super) expects: Position,
    pub(super) records: Vec<LogRecord>,
    pub(super) appending: Appending,
}

/// A term that was asked for.
#[derive(Debug)]
pub(super) struct Taking {
    /// The last thing that was asked about it.
    pub(super) id: AskId,
    pub(super) seen: Option<Term>,
    pub(super) taking: TakingOver,
    /// The newest term, when it is another's.
    pub(super) lost_to: Option<Reign>,
}

impl Share {
    /// Of a balancer that starts, with what was read back.
    pub(super) fn new(cx: &mut Cx, index: usize, replay: Replay, time_ms: u64) -> Share {
        let plan = cx.scenario.shared.expect("balancers share the log");
        let writer = Writer(u128::from(cx.net.incarnation(Node::Balancer(index))) << 8 | index as u128);
        let settings = LeadershipSettings {
            me: balancer_id(index),
            writer,
            takeover_after_ms: TAKEOVER_MS,
            stagger_ms: STAGGER_MS,
            grace_ms: plan.grace_ms,
        };
        let delay = cx.rng.range(1, BEAT_MS);
        cx.net.timer(Node::Balancer(index), delay, Timer::Tick);
        Share {
            leadership: Leadership::new(settings, cx.net.now(), cx.planted()),
            replay,
            ahead: DecisionsAhead::new(cx.scenario.placement.shards(), plan.ahead_bytes_max),
            queue: VecDeque::new(),
            puts: VecDeque::new(),
            end: Position::ZERO,
            taking: None,
            time_ms,
            was_active: false,
            yields: false,
            beats: BTreeMap::new(),
        }
    }

    /// Whether the log has nothing to do.
    pub(super) fn idle(&self) -> bool {
        self.puts.is_empty() && self.queue.is_empty()
    }

    /// A frame is to be put.
    pub(super) fn queue(&mut self, record: LogRecord) {
        self.queue.push_back(record);
    }

    /// A shard is not read any more.
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.ahead.forget(shard);
    }

    /// Whether a shard may be read.
    pub(super) fn may_read(&mut self, shard: ShardId) -> bool {
        self.ahead.may_read(shard)
    }

    /// In which term it writes.
    pub(super) fn term(&self) -> Option<Term> {
        match self.leadership.standing() {
            Standing::Active(term) => Some(term),
            _ => None,
        }
    }
}
