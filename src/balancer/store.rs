//! The data folder: the log and the results, read back when the node starts, written by a thread each.
//!
//! `DIR/log` has the events, `DIR/results` what was decided of them. Only the log is precious: the results are decided again,
//! identical, if their end is lost. Both carry the cluster's name; the results carry the log's id as well, so that neither can be
//! opened with a stranger.

use std::{fmt, sync::Arc, thread, time::Duration};

use dovetail_core::{
    EventId, Retirement,
    ledger::{Ledger, LedgerLimits, Outcome},
};
use dovetail_log::{EmbeddedLog, GROUP_BYTES_MAX, Log, LogReader, Options, RECORD_BYTES_LIMIT, Record};
use tokio::sync::mpsc;

use super::messages::Written;
use crate::{
    convert::{self, LoggedFrame},
    rpc::RunError,
    settings::{Settings, keys::FRAME_BYTES_MAX},
};

/// About how many bytes are read at a time when the node starts.
const READ_BYTES: usize = 4 << 20;
/// Most bytes of frames that share one fsync.
const GROUP_BYTES: usize = 8 << 20;
/// About the most bytes of one record of the results. One outcome more still fits the log's bound.
const RESULT_BYTES: usize = 4 << 20;
/// About the most bytes of results that share one fsync.
const RESULTS_BYTES: usize = 64 << 20;
// A frame is full when it has reached its bound, so it exceeds that by no more than one event; both bounds leave the log room.
const _: () = assert!(FRAME_BYTES_MAX + 2 * RESULT_BYTES < RECORD_BYTES_LIMIT, "a frame must fit a record of the log");
const _: () = assert!(RESULTS_BYTES + 2 * RESULT_BYTES < GROUP_BYTES_MAX, "results must fit an append of the log");
/// The results are written so often at the most. A crash decides again what was not written.
const RESULTS_EVERY: Duration = Duration::from_millis(20);

/// An opened data folder.
pub(crate) struct Store {
    pub(crate) log_id: String,
    pub(crate) log: EmbeddedLog,
    pub(crate) results: EmbeddedLog,
    pub(crate) ledger: Ledger,
    /// The time of the last event, in milliseconds.
    pub(crate) time_ms: u64,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("log_id", &self.log_id).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the folder, or makes it, and reads back what it says. Blocks.
    pub(crate) fn open(settings: &Settings) -> Result<Store, RunError> {
        let folder = &settings.node.data;
        let cluster = &settings.cluster.name;
        let (log, log_report) = EmbeddedLog::open(folder.join("log"), options(cluster))?;
        let log_id = format!("{:032x}", log.log_id());
        let of_log = options(&format!("{cluster}, results of log {log_id}"));
        let (results, results_report) = EmbeddedLog::open(folder.join("results"), of_log)?;
        for (name, report) in [("log", &log_report), ("results", &results_report)] {
            if let Some(torn) = &report.torn {
                tracing::warn!(name, ?torn, "an unacknowledged write was cut short by a crash, and was removed");
            }
        }
        let limits = LedgerLimits {
            waiting_max: settings.node.limits.waiting_max as u64,
            payload_bytes_max: settings.node.limits.payload_bytes_max as u64,
            ended_max: settings.node.limits.ended_max,
            idempotency_max: settings.node.limits.idempotency_max,
        };
        let mut ledger = Ledger::new(limits, settings.cluster.gatherers);
        let replayed = replay(&mut ledger, &*log.reader(), &*results.reader());
        let time_ms = replayed.map_err(|reason| RunError::Replay { folder: folder.display().to_string(), reason })?;
        tracing::info!(
            last = %ledger.recorded(),
            stable = %ledger.stable(),
            waiting = ledger.waiting(),
            pools = ledger.pools().len(),
            "the log was read back"
        );
        Ok(Store { log_id, log, results, ledger, time_ms })
    }
}

fn options(cluster: &str) -> Options {
    let mut options = Options::new(cluster);
    options.record_bytes_max = RECORD_BYTES_LIMIT;
    options
}

/// Reads the log into a ledger, and the results along with it. Returns the time of the last event.
fn replay(ledger: &mut Ledger, log: &dyn LogReader, results: &dyn LogReader) -> Result<u64, String> {
    let mut time_ms = 0;
    let mut results = Records::new(results);
    let mut frames = Records::new(log);
    let mut told = 0;
    while let Some(record) = frames.next()? {
        let LoggedFrame { frame, clients } = convert::log_record(&record).map_err(|error| error.to_string())?;
        let mut clients = clients.into_iter();
        for event in &frame.events {
            let arrives = matches!(event.kind, dovetail_core::EventKind::Arrival { .. });
            let client = if arrives { clients.next() } else { None };
            let recorded = ledger.record(event.x, frame.time_ms, &event.kind, client);
            recorded.map_err(|error| format!("event {}: {error}", event.x))?;
        }
        time_ms = frame.time_ms;
        while let Some(record) = results.next_through(frame.through.0)? {
            let outcomes = convert::result_record(&record).map_err(|error| error.to_string())?;
            let retirements: Vec<Retirement> = outcomes.iter().map(Outcome::retirement).collect();
            let restored = ledger.restore(EventId(record.through), &retirements);
            restored.map_err(|error| error.to_string())?;
        }
        if frame.through.0 / 1_000_000 > told {
            told = frame.through.0 / 1_000_000;
            tracing::info!(through = %frame.through, last = log.last(), "reading the log back");
        }
    }
    match results.next()? {
        Some(record) => Err(format!("the results reach x{}, the log only {}", record.through, ledger.recorded())),
        None => Ok(time_ms),
    }
}

/// The records of a store one by one.
struct Records<'a> {
    reader: &'a dyn LogReader,
    after: u64,
    read: std::vec::IntoIter<Record>,
    held: Option<Record>,
}

impl<'a> Records<'a> {
    fn new(reader: &'a dyn LogReader) -> Records<'a> {
        Records { reader, after: 0, read: Vec::new().into_iter(), held: None }
    }

    fn next(&mut self) -> Result<Option<Record>, String> {
        if let Some(record) = self.held.take() {
            return Ok(Some(record));
        }
        if self.read.len() == 0 {
            let records = self.reader.read_after(self.after, READ_BYTES).map_err(|error| error.to_string())?;
            self.after = records.last().map_or(self.after, |record| record.through);
            self.read = records.into_iter();
        }
        Ok(self.read.next())
    }

    /// The next record, if it reaches no further than `through`.
    fn next_through(&mut self, through: u64) -> Result<Option<Record>, String> {
        match self.next()? {
            Some(record) if record.through > through => {
                self.held = Some(record);
                Ok(None)
            }
            next => Ok(next),
        }
    }
}

/// Starts the thread that writes the log: whatever has come while the last write was under way shares the next fsync.
pub(crate) fn write_log(
    mut log: EmbeddedLog,
    mut frames: mpsc::UnboundedReceiver<LoggedFrame>,
    written: mpsc::UnboundedSender<Written>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("log".into()).spawn(move || {
        while let Some(first) = frames.blocking_recv() {
            let mut group = vec![first];
            let mut records = vec![convert::log_record_pb(&group[0])];
            let mut bytes = records[0].bytes.len();
            while bytes < GROUP_BYTES
                && let Ok(next) = frames.try_recv()
            {
                records.push(convert::log_record_pb(&next));
                bytes += records[records.len() - 1].bytes.len();
                group.push(next);
            }
            let appended = log.append(&records);
            let failed = appended.is_err();
            let frames = group.into_iter().map(|logged| logged.frame).collect();
            // The engine may be gone already; then nobody waits for it.
            _ = written.send(Written::Log(appended.map(|()| frames)));
            if failed {
                return;
            }
        }
        close(log);
    })
}

/// What was decided, to be written.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) through: EventId,
    pub(crate) outcomes: Vec<Arc<Outcome>>,
}

/// Starts the thread that writes the results.
pub(crate) fn write_results(
    mut results: EmbeddedLog,
    mut decided: mpsc::UnboundedReceiver<Decided>,
    written: mpsc::UnboundedSender<Written>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("results".into()).spawn(move || {
        while let Some(Decided { mut through, mut outcomes }) = decided.blocking_recv() {
            while let Ok(next) = decided.try_recv() {
                through = next.through;
                outcomes.extend(next.outcomes);
            }
            for group in result_groups(through, &outcomes) {
                let through = group.last().map_or(0, |record| record.through);
                let appended = results.append(&group);
                let failed = appended.is_err();
                _ = written.send(Written::Results(appended.map(|()| EventId(through))));
                if failed {
                    return;
                }
            }
            thread::sleep(RESULTS_EVERY);
        }
        close(results);
    })
}

/// Outcomes as records of bounded size, in groups of bounded size. The last record reaches `through`, and there is always one.
fn result_groups(through: EventId, outcomes: &[Arc<Outcome>]) -> Vec<Vec<Record>> {
    let mut groups = vec![Vec::new()];
    let mut group_bytes = 0;
    let mut rest = outcomes;
    loop {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|outcome| {
            let first = bytes == 0;
            bytes += convert::outcome_bytes(outcome);
            first || bytes <= RESULT_BYTES
        });
        let (chunk, others) = rest.split_at(fits.count());
        let last = if others.is_empty() { through } else { chunk.last().map_or(through, |outcome| outcome.x) };
        let record = convert::result_record_pb(last, chunk);
        if group_bytes + record.bytes.len() > RESULTS_BYTES {
            groups.push(Vec::new());
            group_bytes = 0;
        }
        group_bytes += record.bytes.len();
        groups.last_mut().expect("there is always one").push(record);
        if others.is_empty() {
            return groups;
        }
        rest = others;
    }
}

fn close(log: EmbeddedLog) {
    if let Err(error) = log.close() {
        tracing::warn!(error = %error, "the log was not closed in order; it will be checked when it is opened");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dovetail_core::{ElementId, PoolId, ledger::OutcomeEnd};

    use super::*;

    fn outcomes(count: u64, payload_bytes: usize) -> Vec<Arc<Outcome>> {
        let end = |id| OutcomeEnd { id: ElementId(id), key: "k".into(), payload: Bytes::from(vec![7; payload_bytes]) };
        let outcome = |x| Outcome {
            x: EventId(x),
            pool: PoolId(0),
            time_ms: 1,
            element: end(x),
            anchor: Some(end(x - 1)),
            reason: None,
        };
        (1..=count).map(|n| Arc::new(outcome(2 * n))).collect()
    }

    fn check(outcomes: &[Arc<Outcome>], through: u64) -> Vec<usize> {
        let groups = result_groups(EventId(through), outcomes);
        let records: Vec<&Record> = groups.iter().flatten().collect();
        assert!(records.iter().all(|record| record.bytes.len() < RECORD_BYTES_LIMIT));
        assert!(records.is_sorted_by(|a, b| a.through < b.through));
        assert_eq!(records.last().unwrap().through, through);
        let read = records.iter().flat_map(|record| convert::result_record(record).unwrap());
        assert!(read.eq(outcomes.iter().map(|outcome| (**outcome).clone())));
        groups.iter().map(Vec::len).collect()
    }

    // 600 pairs of 64 KiB payloads made one record that the log refuses, at every start again.
    #[test]
    fn a_burst_of_large_payloads_becomes_several_records() {
        assert_eq!(check(&outcomes(600, 65_536), 1_300), [16, 4]);
    }

    #[test]
    fn what_came_while_the_balancer_was_cut_off_becomes_several_appends() {
        assert_eq!(check(&outcomes(1_200, 65_536), 2_400), [16, 16, 7]);
    }

    #[test]
    fn a_watermark_without_outcomes_is_a_record_too() {
        assert_eq!(check(&[], 9), [1]);
    }
}
