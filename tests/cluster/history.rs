//! What a stopped balancer left on its disk, and what the sequential program makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dovetail::pb::Match;
use dovetail_core::{ElementId, EventKind, Retirement, oracle::Oracle};
use dovetail_log::{EmbeddedLog, Log as _, Options, Record};
use dovetail_wire::LoggedFrame;

use crate::harness::{Cluster, Which};

/// A log, and the decisions about it.
#[derive(Debug, Default)]
pub struct History {
    /// The clients' keys by id.
    pub keys: BTreeMap<u64, String>,
    /// The times of all arrivals, in milliseconds.
    pub arrived_ms: Vec<u64>,
    /// What the sequential program decides.
    pub oracle: Vec<Retirement>,
    /// What the cluster decided, as it is stored.
    pub stored: Vec<Retirement>,
    /// The elements that wait at the end.
    pub waiting: BTreeSet<u64>,
    /// Reprobes in the log.
    pub reprobes: usize,
}

impl History {
    /// Stops the balancer and reads its disk.
    pub async fn of(cluster: &mut Cluster) -> History {
        let status = cluster.stop(Which::Balancer).await;
        assert!(status.success(), "a balancer that is told to stop ends with {status}");
        History::read(&cluster.data(), "tested")
    }

    pub fn read(data: &Path, cluster: &str) -> History {
        let mut history = History::default();
        let mut oracle = Oracle::new();
        let (log, report) = EmbeddedLog::open(data.join("log"), Options::new(cluster)).unwrap();
        assert_eq!(report.torn, None, "a balancer that was told to stop leaves nothing torn");
        for record in records(&log) {
            history.take(&mut oracle, &dovetail_wire::log_record(&record).unwrap());
        }
        let log_id = log.log_id();
        drop(log);
        history.stored = stored_beside(data, cluster, log_id);
        history.waiting = oracle.waiting().map(|ElementId(id)| id).collect();
        history
    }

    fn take(&mut self, oracle: &mut Oracle, logged: &LoggedFrame) {
        let frame = &logged.frame;
        let mut clients = logged.clients.iter();
        for event in &frame.events {
            match event.kind {
                EventKind::Arrival { .. } => {
                    self.keys.insert(event.x.0, clients.next().unwrap().key.to_string());
                    self.arrived_ms.push(frame.time_ms);
                }
                EventKind::Reprobe { .. } => self.reprobes += 1,
                EventKind::Withdrawal { .. }
                | EventKind::PoolDefined { .. }
                | EventKind::PoolClosed { .. }
                | EventKind::PoolDropped { .. } => {}
            }
            self.oracle.extend(oracle.on_event(event.x, frame.time_ms, &event.kind).unwrap());
        }
    }

    /// The matches of the sequential program: cursor, lower id, higher id.
    pub fn pairs(&self) -> Vec<(u64, u64, u64)> {
        let pair = |retirement: &Retirement| {
            let (one, other) = (retirement.element.0, retirement.anchor?.0);
            Some((retirement.x.0, one.min(other), one.max(other)))
        };
        self.oracle.iter().filter_map(pair).collect()
    }

    /// What was handed out and what was stored is what the sequential program decides.
    pub fn check(&self, matches: &[Match]) {
        let id = |end: &Option<dovetail::pb::MatchedElement>| end.as_ref().unwrap().id;
        let found: Vec<_> = matches.iter().map(|found| (found.cursor, id(&found.a), id(&found.b))).collect();
        let expected = self.pairs();
        let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert_eq!(differ, None, "the first match (cursor, a, b) that differs from the sequential program's");
        assert_eq!(found.len(), expected.len(), "matches");
        let differ = self.stored.iter().zip(&self.oracle).find(|(stored, decided)| stored != decided);
        assert_eq!(differ, None, "the first stored decision that differs from the sequential program's");
        assert_eq!(self.stored.len(), self.oracle.len(), "decisions");
        for found in matches {
            for end in [&found.a, &found.b].into_iter().flatten() {
                assert_eq!(Some(&end.key), self.keys.get(&end.id), "the key of element {}", end.id);
            }
        }
    }
}

/// What the cluster decided, as it is stored: of a folder whose log may have lost its beginning.
pub fn stored(data: &Path, cluster: &str) -> Vec<Retirement> {
    let (log, _) = EmbeddedLog::open(data.join("log"), Options::new(cluster)).unwrap();
    stored_beside(data, cluster, log.log_id())
}

fn stored_beside(data: &Path, cluster: &str, log_id: u128) -> Vec<Retirement> {
    let options = Options::new(format!("{cluster}, results of log {log_id:032x}"));
    let (results, _) = EmbeddedLog::open(data.join("results"), options).unwrap();
    let outcomes = records(&results).into_iter().flat_map(|record| dovetail_wire::result_record(&record).unwrap());
    outcomes.map(|outcome| outcome.retirement()).collect()
}

fn records(log: &EmbeddedLog) -> Vec<Record> {
    let reader = log.reader();
    let mut records: Vec<Record> = Vec::new();
    loop {
        let after = records.last().map_or(0, |record| record.through);
        match reader.read_after(after, 4 << 20).unwrap() {
            more if more.is_empty() => return records,
            more => records.extend(more),
        }
    }
}
