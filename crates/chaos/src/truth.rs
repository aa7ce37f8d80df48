//! The log as it was broadcast, and what the sequential program makes of it.
//!
//! Invariants of the log are checked as frames come; what the cluster said about them is checked by the
//! [`audit`](super::audit).

use std::{
    collections::{BTreeMap, HashMap, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Receiver},
};

use dovetail_core::{EventId, EventKind, LogFrame, PoolId, Retirement, WithdrawReason, oracle::Oracle};
use dovetail_rule::Value;

use super::{
    clients::watch::{SeenOutcome, SeenReason},
    journal::Journal,
};

/// What the sequential program decided at an event.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    pub retirement: Retirement,
    /// Why, for a withdrawal.
    pub reason: Option<WithdrawReason>,
    pool: PoolId,
}

impl Decided {
    /// As watchers see it.
    pub fn seen(&self) -> SeenOutcome {
        let Retirement { x, element, .. } = self.retirement;
        let what = match (self.retirement.pair(), self.reason) {
            (Some((a, b)), _) => SeenReason::Pair(a.0, b.0),
            (None, Some(WithdrawReason::Client)) => SeenReason::Withdrawn(element.0),
            (None, Some(WithdrawReason::Expired)) => SeenReason::Expired(element.0),
            (None, Some(WithdrawReason::Dropped)) => SeenReason::Dropped(element.0),
            (None, None) => SeenReason::Nothing,
        };
        SeenOutcome { cursor: x.0, what }
    }
}

/// An element that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub serial: u64,
    pool: PoolId,
    /// The event that ended its waiting.
    pub ended_at: Option<u64>,
}

/// The log so far, and what follows from it.
#[derive(Debug)]
pub struct LogTruth {
    journal: Arc<Journal>,
    oracle: Oracle,
    pub through: u64,
    time_ms: u64,
    pools: HashMap<PoolId, String>,
    elements: HashMap<u64, Arrived>,
    serials: HashMap<u64, u64>,
    decided: BTreeMap<u64, Decided>,
    /// Of each frame its last event, and a digest.
    frames: BTreeMap<u64, u64>,
}

impl LogTruth {
    pub fn new(journal: Arc<Journal>) -> LogTruth {
        LogTruth {
            journal,
            oracle: Oracle::new(),
            through: 0,
            time_ms: 0,
            pools: HashMap::new(),
            elements: HashMap::new(),
            serials: HashMap::new(),
            decided: BTreeMap::new(),
            frames: BTreeMap::new(),
        }
    }

    /// Takes frames until there are no more. Blocks.
    pub fn follow(truth: &Mutex<LogTruth>, frames: &Receiver<LogFrame>) {
        while let Ok(frame) = frames.recv() {
            lock(truth).take(&frame);
        }
    }

    /// Takes the next frame of the log.
    pub fn take(&mut self, frame: &LogFrame) {
        let follows = frame.after.0 == self.through && frame.time_ms >= self.time_ms;
        let ascend = frame.events.is_sorted_by(|one, next| one.x < next.x);
        let within = frame.events.iter().all(|event| frame.after < event.x && event.x <= frame.through);
        self.journal.check("ids ascend in the log, each once", follows && ascend && within, || {
            format!(
                "{} to {} at {} ms came after {} at {} ms",
                frame.after, frame.through, frame.time_ms, self.through, self.time_ms
            )
        });
        for event in &frame.events {
            self.take_event(event.x, frame.time_ms, &event.kind);
        }
        (self.through, self.time_ms) = (frame.through.0, frame.time_ms);
        self.frames.insert(frame.through.0, digest(frame));
    }

    fn take_event(&mut self, x: EventId, time_ms: u64, kind: &EventKind) {
        let reason = match kind {
            EventKind::PoolDefined { pool, definition } => {
                self.pools.insert(*pool, definition.name.clone());
                None
            }
            EventKind::Arrival { pool, row } => {
                let serial = match row.values().first() {
                    Some(Some(Value::Int(serial))) => *serial as u64,
                    _ => 0,
                };
                let before = self.serials.insert(serial, x.0);
                self.journal.check("each element is in the log once", before.is_none(), || {
                    format!("k{serial} is logged at {x} and at {before:?}")
                });
                self.elements.insert(x.0, Arrived { serial, pool: *pool, ended_at: None });
                None
            }
            EventKind::Reprobe { .. } => {
                self.journal.count("reprobes", 1);
                None
            }
            EventKind::Withdrawal { reason, .. } => Some(*reason),
            EventKind::PoolClosed { .. } | EventKind::PoolDropped { .. } => None,
        };
        match self.oracle.on_event(x, time_ms, kind) {
            Ok(None) => {}
            Ok(Some(retirement)) => self.decide(retirement, reason),
            Err(error) => self.journal.violation(format!("{x} in the log: {error}")),
        }
    }

    fn decide(&mut self, retirement: Retirement, reason: Option<WithdrawReason>) {
        if reason == Some(WithdrawReason::Expired) {
            self.journal.count("expiries", 1);
        }
        let x = retirement.x.0;
        for end in retirement.ends() {
            self.elements.get_mut(&end.0).expect("who is retired has arrived").ended_at = Some(x);
        }
        let pool = self.elements[&retirement.element.0].pool;
        self.decided.insert(x, Decided { retirement, reason, pool });
    }

    /// The id of the element with this serial.
    pub fn id_of(&self, serial: u64) -> Option<u64> {
        self.serials.get(&serial).copied()
    }

    pub fn element(&self, id: u64) -> Option<Arrived> {
        self.elements.get(&id).copied()
    }

    /// What ended an element's waiting.
    pub fn end_of(&self, id: u64) -> Option<Decided> {
        self.decided_at(self.elements.get(&id)?.ended_at?)
    }

    pub fn decided_at(&self, x: u64) -> Option<Decided> {
        self.decided.get(&x).copied()
    }

    /// The digest of the frame that ends with this event.
    pub fn frame(&self, through: u64) -> Option<u64> {
        self.frames.get(&through).copied()
    }

    /// The outcomes of a pool, or of all, in this range of cursors.
    pub fn outcomes(&self, pool: Option<&str>, range: RangeInclusive<u64>) -> Vec<SeenOutcome> {
        let of_pool = |decided: &&Decided| pool.is_none_or(|pool| self.pools[&decided.pool] == pool);
        self.decided.range(range).map(|(_, decided)| decided).filter(of_pool).map(Decided::seen).collect()
    }

    /// Elements waiting at the end of the log so far.
    pub fn waiting(&self) -> usize {
        self.oracle.waiting().count()
    }
}

/// Of all that is in a frame.
pub fn digest(frame: &LogFrame) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{frame:?}").hash(&mut hasher);
    hasher.finish()
}

pub fn lock(truth: &Mutex<LogTruth>) -> MutexGuard<'_, LogTruth> {
    truth.lock().unwrap_or_else(PoisonError::into_inner)
}
