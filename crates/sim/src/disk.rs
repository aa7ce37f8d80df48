//! The balancer's disk: the log, the results, and the checkpoint that both may be trimmed behind.
//!
//! What was not synced may be gone after a crash, from the end. A checkpoint replaces the one before at once, or not at
//! all. Invariants: disk.D1 the log begins, and the results begin, at or below the checkpoint; disk.D2 the checkpoint
//! is at or below the end of both.

use std::{collections::BTreeMap, sync::Arc};

use dovetail_core::{
    Audience, Event, EventId, EventKind, Frame, LogFrame, PoolId, Retirement,
    batch::{Batch, Run},
    ledger::{CheckpointElement, CheckpointHead, ClientPart, Outcome},
};
use dovetail_node::balancer::{Part, PartFrame, PublishedFrame};
use dovetail_rule::Row;

use crate::rng::Rng;

/// A record of the log.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// Event by event.
    pub frame: Arc<LogFrame>,
    /// What is broadcast.
    pub published: Arc<PublishedFrame>,
    /// One per arrival, in order.
    pub clients: Vec<ClientPart>,
}

impl LogRecord {
    /// Of a frame, and what belongs to its arrivals. `parts` are the same events, with the slices that they concern.
    #[must_use]
    pub fn new(frame: LogFrame, parts: Arc<PartFrame>, clients: Vec<ClientPart>) -> LogRecord {
        let frame = Arc::new(LogFrame { audience: parts.audience.clone(), ..frame });
        LogRecord { frame, published: Arc::new(PublishedFrame::new(parts)), clients }
    }

    /// The events, each arrival with its client part.
    pub fn events(&self) -> impl Iterator<Item = (&Event, Option<&ClientPart>)> {
        let mut clients = self.clients.iter();
        self.frame.events.iter().map(move |event| {
            let arrival = matches!(event.kind, EventKind::Arrival { .. });
            (event, arrival.then(|| clients.next().expect("an arrival has a client part")))
        })
    }
}

/// A frame as the balancer has it: the arrivals of one pool are one batch, of which runs are in the frame.
#[must_use]
pub fn parts(frame: &LogFrame, clients: &[ClientPart]) -> PartFrame {
    let mut arrived: BTreeMap<PoolId, Vec<(&Row, &ClientPart)>> = BTreeMap::new();
    let mut each = clients.iter();
    for event in &frame.events {
        if let EventKind::Arrival { pool, row } = &event.kind {
            let client = each.next().expect("an arrival has a client part");
            arrived.entry(*pool).or_default().push((row, client));
        }
    }
    let batches = arrived.iter().map(|(&pool, elements)| (pool, Arc::new(Batch::of(pool, elements))));
    let mut batches: BTreeMap<PoolId, (Arc<Batch>, usize)> = batches.map(|(pool, batch)| (pool, (batch, 0))).collect();
    let mut parts: Vec<Part> = Vec::new();
    for event in &frame.events {
        let EventKind::Arrival { pool, .. } = &event.kind else {
            parts.push(Part::Event(event.clone()));
            continue;
        };
        let (batch, rows) = batches.get_mut(pool).expect("it has an arrival");
        *rows += 1;
        match parts.last_mut() {
            Some(Part::Arrivals(_, run)) if Arc::ptr_eq(&run.batch, batch) => run.rows.end = *rows,
            _ => {
                let run = Run { batch: Arc::clone(batch), rows: *rows - 1..*rows };
                parts.push(Part::Arrivals(event.x, run));
            }
        }
    }
    let &LogFrame { after, through, time_ms, stable, .. } = frame;
    Frame { after, through, time_ms, stable, audience: Audience::All, events: parts }
}

/// A record of the results.
#[derive(Clone, Debug)]
pub struct ResultRecord {
    /// Everything up to here is decided.
    pub through: EventId,
    /// Ascending.
    pub outcomes: Vec<Outcome>,
}

/// What a balancer starts from.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// All but the elements.
    pub base: CheckpointHead,
    /// The elements that wait, ascending.
    pub kept: Vec<CheckpointElement>,
}

/// An append-only file that can be trimmed from the front.
#[derive(Debug)]
pub struct File<T> {
    /// Everything at or below was trimmed.
    floor: EventId,
    records: Vec<T>,
    synced: usize,
    /// What a sync that was begun will have synced.
    syncing: Option<usize>,
}

impl<T> Default for File<T> {
    fn default() -> File<T> {
        File { floor: EventId::ZERO, records: Vec::new(), synced: 0, syncing: None }
    }
}

/// Something that ends with an event.
pub trait DiskRecord {
    /// The last event it covers.
    fn through(&self) -> EventId;
}

impl DiskRecord for LogRecord {
    fn through(&self) -> EventId {
        self.frame.through
    }
}

impl DiskRecord for ResultRecord {
    fn through(&self) -> EventId {
        self.through
    }
}

impl<T> File<T> {
    /// An empty file that goes on after an event.
    #[must_use]
    pub fn begins_after(floor: EventId) -> File<T> {
        File { floor, ..File::default() }
    }
}

impl<T: DiskRecord> File<T> {
    /// Appends a record; it is not safe yet.
    pub fn append(&mut self, record: T) {
        self.records.push(record);
    }

    /// Appends a record that is safe at once.
    pub fn append_safe(&mut self, record: T) {
        self.append(record);
        self.begin_sync();
        self.end_sync();
    }

    /// Begins a sync of all there is. False when one is going on, or there is nothing to do.
    pub fn begin_sync(&mut self) -> bool {
        let begin = self.syncing.is_none() && self.synced < self.records.len();
        if begin {
            self.syncing = Some(self.records.len());
        }
        begin
    }

    /// Everything that was written, safe or not.
    #[must_use]
    pub fn written(&self) -> &[T] {
        &self.records
    }

    /// Ends a sync; returns the records that are safe now.
    pub fn end_sync(&mut self) -> &[T] {
        let before = self.synced;
        self.synced = self.syncing.take().expect("a sync was begun");
        &self.records[before..self.synced]
    }

    /// A sync fails, and leaves everything as it was: there is no room.
    pub fn abort_sync(&mut self) {
        self.syncing = None;
    }

    /// Drops the safe records at or below an event. Returns how many.
    pub fn trim(&mut self, through: EventId) -> usize {
        let trimmed = self.safe().partition_point(|record| record.through() <= through);
        if let Some(last) = self.records.drain(..trimmed).next_back() {
            self.floor = last.through();
        }
        self.synced -= trimmed;
        self.syncing = self.syncing.map(|syncing| syncing - trimmed);
        trimmed
    }

    /// Everything at or below was trimmed.
    #[must_use]
    pub fn floor(&self) -> EventId {
        self.floor
    }

    /// The last event that is safe, or was before it was trimmed.
    #[must_use]
    pub fn end(&self) -> EventId {
        self.safe().last().map_or(self.floor, DiskRecord::through)
    }

    /// Whether the disk has nothing to do.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.syncing.is_none()
    }

    /// The records that are safe.
    #[must_use]
    pub fn safe(&self) -> &[T] {
        &self.records[..self.synced]
    }

    /// A crash: of what was not synced some prefix is left, and is safe from now on. Returns what is lost.
    pub fn crash(&mut self, rng: &mut Rng) -> Vec<T> {
        let left = self.synced + rng.index(self.records.len() - self.synced + 1);
        self.synced = left;
        self.syncing = None;
        self.records.split_off(left)
    }
}

/// All files.
#[derive(Debug, Default)]
pub struct SimDisk {
    /// The log.
    pub log: File<LogRecord>,
    /// What was decided.
    pub results: File<ResultRecord>,
    /// The newest durable checkpoint; at first that of nothing.
    pub checkpoint: Checkpoint,
    /// One that is written, but not durable yet.
    pub next_checkpoint: Option<Checkpoint>,
}

impl SimDisk {
    /// Everything at or below is stored as decided.
    #[must_use]
    pub fn stable(&self) -> EventId {
        self.results.end()
    }

    /// The end of the durable log and its time.
    #[must_use]
    pub fn end(&self) -> (EventId, u64) {
        let Checkpoint { base, .. } = &self.checkpoint;
        let last = self.log.safe().last().map(|record| (record.frame.through, record.frame.time_ms));
        last.unwrap_or((base.through, base.time_ms))
    }

    /// The durable frames after an event.
    pub fn records(&self, after: EventId) -> impl Iterator<Item = &LogRecord> {
        let first = self.log.safe().partition_point(|record| record.frame.through <= after);
        self.log.safe()[first..].iter()
    }

    /// The stored retirements of `(after, through]`, ascending.
    #[must_use]
    pub fn retirements(&self, after: EventId, through: EventId) -> Vec<Retirement> {
        let first = self.results.safe().partition_point(|record| record.through <= after);
        let outcomes = self.results.safe()[first..].iter().flat_map(|record| &record.outcomes);
        let wanted = outcomes.filter(|outcome| outcome.x > after && outcome.x <= through);
        wanted.map(Outcome::retirement).collect()
    }
}
