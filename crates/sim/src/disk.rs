//! The balancer's disk: the log and the results. What was not synced may be gone after a crash, from the end.

use std::sync::Arc;

use dovetail_core::{
    EventId, LogFrame, Retirement,
    ledger::{ClientPart, Outcome},
};

use crate::rng::Rng;

/// A record of the log.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// What is broadcast.
    pub frame: Arc<LogFrame>,
    /// One per arrival, in order.
    pub clients: Vec<ClientPart>,
}

/// A record of the results.
#[derive(Clone, Debug)]
pub struct ResultRecord {
    /// Everything up to here is decided.
    pub through: EventId,
    /// Ascending.
    pub outcomes: Vec<Outcome>,
}

/// An append-only file.
#[derive(Debug)]
pub struct File<T> {
    records: Vec<T>,
    synced: usize,
    /// What a sync that was begun will have synced.
    syncing: Option<usize>,
}

impl<T> Default for File<T> {
    fn default() -> File<T> {
        File { records: Vec::new(), synced: 0, syncing: None }
    }
}

impl<T> File<T> {
    /// Appends a record; it is not safe yet.
    pub fn append(&mut self, record: T) {
        self.records.push(record);
    }

    /// Begins a sync of all there is. False when one is going on, or there is nothing to do.
    pub fn begin_sync(&mut self) -> bool {
        let begin = self.syncing.is_none() && self.synced < self.records.len();
        if begin {
            self.syncing = Some(self.records.len());
        }
        begin
    }

    /// Ends a sync; returns the records that are safe now.
    pub fn end_sync(&mut self) -> &[T] {
        let before = self.synced;
        self.synced = self.syncing.take().expect("a sync was begun");
        &self.records[before..self.synced]
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

/// Both files.
#[derive(Debug, Default)]
pub struct Disk {
    /// The log.
    pub log: File<LogRecord>,
    /// What was decided.
    pub results: File<ResultRecord>,
}

impl Disk {
    /// Everything at or below is stored as decided.
    #[must_use]
    pub fn stable(&self) -> EventId {
        self.results.safe().last().map_or(EventId::ZERO, |record| record.through)
    }

    /// The end of the durable log and its time.
    #[must_use]
    pub fn end(&self) -> (EventId, u64) {
        self.log.safe().last().map_or((EventId::ZERO, 0), |record| (record.frame.through, record.frame.time_ms))
    }

    /// The durable frames after an event.
    pub fn frames(&self, after: EventId) -> impl Iterator<Item = &Arc<LogFrame>> {
        let first = self.log.safe().partition_point(|record| record.frame.through <= after);
        self.log.safe()[first..].iter().map(|record| &record.frame)
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
