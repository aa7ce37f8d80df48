//! The data folder: the log, the results and the checkpoints, read back when the node starts, written by a thread each.
//!
//! `DIR/log` has the events since the last checkpoints in `DIR/checkpoints`, `DIR/results` what was decided. Log and
//! checkpoints are precious; the results after the newest checkpoint are decided again, identical, if they are lost.
//! All carry the cluster's name or the log's id, so that none can be opened with a stranger.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use dovetail_core::{
    EventId, Stable,
    batch::KeySecret,
    ledger::{Ledger, LedgerLimits},
    planted::Planted,
};
use dovetail_log::{
    AppendError, Content, EmbeddedLog, GROUP_BYTES_MAX, Log, LogReader, Options, RECORD_BYTES_LIMIT, Record, TrimError,
    checkpoint::{CheckpointOptions, Checkpoints},
    shared::{CopyError, Copying, Engine, Position, WriterId},
};
use dovetail_node::balancer::Replay;
use tokio::sync::mpsc;

use super::{
    checkpoint::{Maker, read_ledger},
    failure::{BalancerError, CheckpointWorkError, RecoveryError},
    records::Records,
    shared_log::{FollowError, Pace, SharedLog},
    written::{Disk, Written},
};
use crate::{
    secret,
    settings::{Limits, Settings, keys::FRAME_BYTES_MAX},
    time,
};
use dovetail_wire::{OutcomeChunk, PartFrame, Prepared, PublishedOutcomes, storage_pb};

/// Most bytes of frames that share one fsync.
const GROUP_BYTES: usize = 8 << 20;
/// About the most bytes of one record of the results. One outcome more still fits the log's bound.
pub(super) const RESULT_BYTES: usize = 4 << 20;
/// About the most bytes of results that share one fsync.
const RESULTS_BYTES: usize = 64 << 20;
// A frame is full when it has reached its bound, so it exceeds that by no more than one event; both bounds leave the
// log room.
const _: () = assert!(FRAME_BYTES_MAX + 2 * RESULT_BYTES < RECORD_BYTES_LIMIT, "a frame must fit a record of the log");
const _: () = assert!(RESULTS_BYTES + 2 * RESULT_BYTES < GROUP_BYTES_MAX, "results must fit an append of the log");
/// About the most bytes of results that are read back for those who ask what became of an element. Above it the oldest
/// are only for watchers.
const REMEMBERED_BYTES: u64 = 512 << 20;
/// How long a writer waits for room on a full disk before it tries again.
pub(super) const FULL_PAUSE: Duration = Duration::from_millis(500);
/// Old results are looked for so often.
const RETENTION_EVERY: Duration = Duration::from_secs(10);
/// The results are written so often at the most. A crash decides again what was not written.
const RESULTS_EVERY: Duration = Duration::from_millis(20);

/// An opened data folder.
pub(crate) struct Store {
    pub(crate) log_id: String,
    pub(crate) log: StoredLog,
    pub(crate) results: EmbeddedLog,
    pub(crate) maker: Maker,
    pub(crate) ledger: Ledger,
    /// The time of the last event, in milliseconds.
    pub(crate) time_ms: u64,
    /// Bytes of the log after the newest checkpoint.
    pub(crate) log_bytes: u64,
    /// The oldest cursor that results can be read after.
    pub(crate) results_floor: EventId,
    /// What the ledger checks submissions against.
    pub(crate) ledger_limits: LedgerLimits,
}

/// The log of a data folder.
pub(crate) enum StoredLog {
    /// The balancer's alone.
    Own(Box<EmbeddedLog>),
    /// A copy of the one that it shares.
    Shared(Box<SharedLog>),
}

impl StoredLog {
    /// What is in the folder.
    pub(crate) fn here(&mut self) -> &mut EmbeddedLog {
        match self {
            StoredLog::Own(log) => log,
            StoredLog::Shared(shared) => shared.copying.copy(),
        }
    }
}

/// What a folder's log has to be a copy of, and how it goes on with it.
pub(crate) struct Sharing {
    pub(crate) engine: Box<dyn Engine>,
    /// This process: another each time that it begins anew.
    pub(crate) me: WriterId,
    /// Where others find it.
    pub(crate) address: String,
    /// How long an append is asked for before clients are told that nothing answers.
    pub(crate) patience: Duration,
    pub(crate) pace: Pace,
}

/// Who a folder's log belongs to: a copy is told from a log of a balancer's own.
fn belongs_to(cluster: &str, shared: bool) -> String {
    if shared { format!("{cluster}, a copy of its shared log") } else { cluster.to_owned() }
}

/// The id of the log that a folder has a copy of; none when it has none yet.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn copy_of(settings: &Settings) -> Result<Option<u128>, BalancerError> {
    let found = EmbeddedLog::identify(settings.node.data.join("log"))?;
    let shared = belongs_to(&settings.cluster.name, true);
    // Of another, opening it says so.
    Ok(found.filter(|(_, cluster)| *cluster == shared).map(|(log_id, _)| log_id))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("log_id", &self.log_id).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the folder, or makes it, and reads back what it says. Blocks.
    pub(crate) fn open(settings: &Settings, sharing: Option<Sharing>) -> Result<Store, BalancerError> {
        let folder = &settings.node.data;
        let cluster = &settings.cluster.name;
        let log_id = sharing.as_ref().map(|sharing| sharing.engine.identity().log_id);
        let of_cluster = Options { log_id, ..options(&belongs_to(cluster, sharing.is_some())) };
        let (log, log_report) = EmbeddedLog::open(folder.join("log"), of_cluster)?;
        let log_id = format!("{:032x}", log.log_id());
        let of_log = options(&format!("{cluster}, results of log {log_id}"));
        let (mut results, results_report) = EmbeddedLog::open(folder.join("results"), of_log)?;
        for (name, report) in [("log", &log_report), ("results", &results_report)] {
            if let Some(torn) = &report.torn {
                tracing::warn!(name, ?torn, "an unacknowledged write was cut short by a crash, and was removed");
            }
        }
        let (mut checkpoints, report) =
            Checkpoints::open(folder.join("checkpoints"), CheckpointOptions::new(log.log_id()))?;
        if report.unfinished {
            tracing::info!("a checkpoint that a crash had cut short was removed");
        }
        let cannot = |source: RecoveryError| BalancerError::Replay { folder: folder.clone(), source: Box::new(source) };
        let ledger_limits = ledger_limits(&settings.node.limits, settings.cluster.slices);
        let (mut ledger, time_ms) = restore(&mut checkpoints, &log, ledger_limits, settings.cluster.gatherers)
            .map_err(|error| cannot(error.into()))?;
        if sharing.is_some() {
            ledger.share_log();
        }
        let from = ledger.stable();
        match results.last() {
            0 if from > Stable::ZERO => {
                tracing::warn!(
                    checkpoint = from.event().0,
                    "there are no results; those before the checkpoint are gone"
                );
                results.append(&[dovetail_wire::results_begin_pb(from.event())])?;
            }
            last if last < from.event().0 => {
                let folder = folder.join("results");
                return Err(cannot(RecoveryError::ResultsShort {
                    last: EventId(last),
                    checkpoint: from.event(),
                    folder,
                }));
            }
            _ => {}
        }
        let results_floor = results_floor(&results).map_err(cannot)?;
        if results_floor > from.event() {
            let (floor, checkpoint, folder) = (results_floor, from.event(), folder.join("results"));
            return Err(cannot(RecoveryError::ResultsGap { floor, checkpoint, folder }));
        }
        let replayed = replay(&mut ledger, time_ms, &*log.reader(), &results, results_floor).map_err(cannot)?;
        ledger.on_results_trimmed(results_floor);
        tracing::info!(
            checkpoint = from.event().0,
            last = ledger.recorded().0,
            stable = ledger.stable().event().0,
            waiting = ledger.waiting(),
            pools = ledger.pool_count(),
            "the log was read back"
        );
        let (time_ms, log_bytes) = replayed;
        let maker = Maker { checkpoints, log: log.reader(), results: results.reader(), ledger_limits };
        let log = match sharing {
            None => StoredLog::Own(Box::new(log)),
            Some(Sharing { mut engine, me, address, patience, pace }) => {
                let copying =
                    Copying::begin(&mut *engine, log).map_err(|error| FollowError::from(CopyError::from(error)))?;
                StoredLog::Shared(Box::new(SharedLog { copying, engine, me, address, patience, pace }))
            }
        };
        Ok(Store { log_id, log, results, maker, ledger, time_ms, log_bytes, results_floor, ledger_limits })
    }
}

/// The settings that bound what a ledger holds, and a new secret.
fn ledger_limits(limits: &Limits, slices: u32) -> LedgerLimits {
    // Its keys are drawn at random.
    LedgerLimits {
        key_secret: KeySecret(secret::draw()),
        waiting_max: limits.waiting_max as u64,
        waiting_total_max: limits.waiting_total_max as u64,
        waiting_bytes_max: limits.waiting_bytes_max,
        waiting_bytes_total_max: limits.waiting_bytes_total_max,
        element_bytes_max: limits.element_bytes_max,
        payload_bytes_max: limits.payload_bytes_max as u64,
        ended_max: limits.ended_max,
        idempotency_ms: limits.idempotency_ms,
        idempotency_max: limits.idempotency_max,
        idempotency_total_max: limits.idempotency_total_max,
        search_cost_max: limits.search_cost_max,
        slices,
    }
}

/// A ledger from the newest checkpoint that can be read, or from nothing; and the time of its cut.
fn restore(
    checkpoints: &mut Checkpoints,
    log: &EmbeddedLog,
    limits: LedgerLimits,
    shards: u32,
) -> Result<(Ledger, u64), CheckpointWorkError> {
    let loaded = checkpoints.load(log.floor()..=log.last(), |reader| read_ledger(reader, limits, shards))?;
    for error in &loaded.passed_over {
        tracing::error!(error = %error, "a checkpoint is damaged; an older one is used");
    }
    Ok(loaded.state.map_or_else(|| (Ledger::new(limits, shards), 0), |(_, state)| state))
}

/// The oldest cursor that results can be read after.
fn results_floor(results: &EmbeddedLog) -> Result<EventId, RecoveryError> {
    let first = results.reader().read_after(results.floor(), 1)?;
    match first.first() {
        Some(record) if dovetail_wire::results_begin(record)? => Ok(EventId(record.through)),
        _ => Ok(EventId(results.floor())),
    }
}

fn options(cluster: &str) -> Options {
    let mut options = Options::new(cluster);
    options.record_bytes_max = RECORD_BYTES_LIMIT;
    options
}

/// Reads the log after a ledger's checkpoint into it, and the results along with it; results before the checkpoint say
/// what became of elements. Returns the time of the last event, and the bytes of log that were read.
fn replay(
    ledger: &mut Ledger,
    mut time_ms: u64,
    log: &dyn LogReader,
    results: &EmbeddedLog,
    results_floor: EventId,
) -> Result<(u64, u64), RecoveryError> {
    let from = ledger.recorded();
    let replay = Replay::new(ledger, Planted::default());
    let restore = |ledger: &mut Ledger, record: &Record| -> Result<(), RecoveryError> {
        let outcomes = dovetail_wire::result_chunk(record)?;
        Ok(replay.on_results(EventId(record.through), outcomes.as_ref(), ledger)?)
    };
    // Of results before the checkpoint, the latest.
    let recent = EventId(results.trim_point(REMEMBERED_BYTES)).max(results_floor).min(from);
    let reader = results.reader();
    let mut results = Records::new(&*reader, recent);
    while let Some(record) = results.next_through(from.0)? {
        restore(ledger, &record)?;
    }
    let mut frames = Records::new(log, from);
    let (mut told, mut bytes) = (0, 0);
    while let Some(record) = frames.next()? {
        bytes += record.bytes.len() as u64;
        let frame = dovetail_wire::log_parts(&record, true)?;
        replay.on_frame(&frame, ledger)?;
        time_ms = frame.time_ms;
        while let Some(record) = results.next_through(frame.through.0)? {
            restore(ledger, &record)?;
        }
        if frame.through.0 / 1_000_000 > told {
            told = frame.through.0 / 1_000_000;
            tracing::info!(through = frame.through.0, last = log.last(), "reading the log back");
        }
    }
    while let Some(record) = results.next()? {
        restore(ledger, &record)?;
    }
    Ok((time_ms, bytes))
}

/// What the thread of the log does.
#[derive(Debug)]
pub(crate) enum LogWork {
    /// Appends a frame.
    Append(Arc<PartFrame>),
    /// Forgets what a checkpoint replaces.
    Trim(EventId),
    /// Forgets what no balancer needs of the log that they share.
    TrimShared(EventId),
    /// Asks for a term behind this one: to write the log that it follows.
    TakeOver(Option<Position>),
}

/// A log as the thread has it that writes it.
pub(super) trait WrittenLog {
    /// Appends records, all of them or none.
    fn put<C: Content>(&mut self, records: &[C]) -> Result<(), AppendError>;
    /// Forgets what is here up to an event, or less. Returns up to where.
    fn forget(&mut self, through: EventId) -> Result<u64, TrimError>;
    /// Forgets what no balancer needs of a log that is shared.
    fn forget_shared(&mut self, _: EventId) {}
    /// What it takes on the disk here.
    fn bytes_here(&mut self) -> u64;
    /// Closes its files.
    fn end(self);
}

impl WrittenLog for EmbeddedLog {
    fn put<C: Content>(&mut self, records: &[C]) -> Result<(), AppendError> {
        self.append_content(records)
    }

    fn forget(&mut self, through: EventId) -> Result<u64, TrimError> {
        self.trim(through.0)
    }

    fn bytes_here(&mut self) -> u64 {
        self.bytes()
    }

    fn end(self) {
        close(self);
    }
}

/// Starts the thread that writes a log of the balancer's own.
pub(super) fn write_own_log(
    log: EmbeddedLog,
    work: mpsc::UnboundedReceiver<LogWork>,
    written: mpsc::UnboundedSender<Written>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("log".into()).spawn(move || write_log(log, work, &written))
}

/// Writes the log: whatever has come while the last write was under way shares the next fsync. Returns when nobody has
/// more, or it cannot be written.
pub(super) fn write_log(
    mut log: impl WrittenLog,
    mut work: mpsc::UnboundedReceiver<LogWork>,
    written: &mpsc::UnboundedSender<Written>,
) {
    let mut held = VecDeque::new();
    // The engine may be gone at any time; then nothing waits for this.
    while let Some(next) = held.pop_front().or_else(|| work.blocking_recv()) {
        let first = match next {
            LogWork::Append(frame) => frame,
            other => {
                see_to(&mut log, other, written);
                continue;
            }
        };
        let mut records = vec![dovetail_wire::log_record_pb(&first)];
        let mut frames = vec![first];
        let mut bytes = records[0].bytes_len();
        while bytes < GROUP_BYTES
            && let Some(next) = held.pop_front().or_else(|| work.try_recv().ok())
        {
            match next {
                LogWork::Append(frame) => {
                    records.push(dovetail_wire::log_record_pb(&frame));
                    bytes += records[records.len() - 1].bytes_len();
                    frames.push(frame);
                }
                other => see_to(&mut log, other, written),
            }
        }
        let appended = append(&mut log, &records, Disk::Log, written, |log| {
            // What a checkpoint has replaced makes room; frames wait their turn.
            while let Ok(next) = work.try_recv() {
                match next {
                    frame @ LogWork::Append(..) => held.push_back(frame),
                    other => see_to(log, other, written),
                }
            }
            !work.is_closed()
        });
        let failed = appended.is_err();
        _ = written.send(Written::Log(appended.map(|()| (frames, bytes as u64))));
        if failed {
            return;
        }
    }
    log.end();
}

/// Does what is asked of the log beside appending to it.
fn see_to(log: &mut impl WrittenLog, work: LogWork, written: &mpsc::UnboundedSender<Written>) {
    match work {
        LogWork::Trim(through) => trim_log(log, through, written),
        LogWork::TrimShared(through) => log.forget_shared(through),
        // It writes.
        LogWork::TakeOver(_) | LogWork::Append(_) => {}
    }
}

/// Trims the log. What is trimmed is durable elsewhere, so it makes no difference what is appended before or after.
pub(super) fn trim_log(log: &mut impl WrittenLog, through: EventId, written: &mpsc::UnboundedSender<Written>) {
    match log.forget(through) {
        Ok(floor) => {
            let bytes = log.bytes_here();
            _ = written.send(Written::Trimmed(Disk::Log, EventId(floor), bytes));
        }
        // The log is poisoned: the next append says so, and ends the node.
        Err(error) => tracing::error!(error = %error, "the log was not trimmed"),
    }
}

/// Appends. When there is no room and nothing was written it says so and waits for some; `make_room` may help, and ends
/// the wait by returning false.
fn append<L: WrittenLog, C: Content>(
    log: &mut L,
    records: &[C],
    disk: Disk,
    written: &mpsc::UnboundedSender<Written>,
    mut make_room: impl FnMut(&mut L) -> bool,
) -> Result<(), AppendError> {
    let (mut was_full, had_bytes) = (false, log.bytes_here());
    loop {
        match log.put(records) {
            Err(full @ (AppendError::DiskFull { .. } | AppendError::EngineFull { .. })) => {
                if !was_full {
                    match &full {
                        AppendError::DiskFull { file, source } => {
                            tracing::error!(file = %file.display(), error = %source, "the disk is full; waiting for room");
                        }
                        full => tracing::error!(error = %full, "the shared log is full; waiting for room"),
                    }
                    _ = written.send(Written::Full(disk, true));
                }
                was_full = true;
                thread::sleep(FULL_PAUSE);
                if !make_room(log) {
                    return Err(full);
                }
            }
            done => {
                if was_full && done.is_ok() {
                    tracing::info!("there is room again");
                    _ = written.send(Written::Full(disk, false));
                }
                if log.bytes_here() != had_bytes {
                    let bytes = log.bytes_here();
                    _ = written.send(Written::Sized(disk, bytes));
                }
                return done;
            }
        }
    }
}

/// What was decided, to be written.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) through: EventId,
    pub(crate) outcomes: Vec<Arc<PublishedOutcomes>>,
}

/// What the thread of the results does.
#[derive(Debug)]
pub(crate) enum ResultsWork {
    /// Appends what was decided.
    Append(Decided),
    /// Results up to here may go when they are too many or too old: checkpoints have what the log needs of them.
    MayTrim(EventId),
}

/// How long results stay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) bytes_max: u64,
    pub(crate) age_ms_max: u64,
}

/// Starts the thread that writes the results, and drops old ones.
pub(crate) fn write_results(
    mut results: EmbeddedLog,
    retention: Retention,
    mut work: mpsc::UnboundedReceiver<ResultsWork>,
    written: mpsc::UnboundedSender<Written>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("results".into()).spawn(move || {
        let (mut may_trim, mut looked) = (EventId::ZERO, Instant::now());
        while let Some(first) = work.blocking_recv() {
            let mut waiting = UnwrittenResults { may_trim, decided: None };
            waiting.take(first);
            while let Ok(more) = work.try_recv() {
                waiting.take(more);
            }
            let mut due = waiting.may_trim > may_trim;
            may_trim = waiting.may_trim;
            let mut next = waiting.decided;
            while let Some(decided) = next.take() {
                // Those that no watcher has read are gathered here.
                let chunks: Vec<&OutcomeChunk> = decided.outcomes.iter().map(|outcomes| outcomes.chunk()).collect();
                for group in result_groups(decided.through, &chunks) {
                    let through = group.last().map_or(0, Content::through);
                    let mut waiting = UnwrittenResults { may_trim, decided: next.take() };
                    let appended = append(&mut results, &group, Disk::Results, &written, |results| {
                        while let Ok(more) = work.try_recv() {
                            waiting.take(more);
                        }
                        trim_results(results, retention, waiting.may_trim, &written);
                        !work.is_closed()
                    });
                    (may_trim, next) = (waiting.may_trim, waiting.decided);
                    let failed = appended.is_err();
                    _ = written.send(Written::Results(appended.map(|()| EventId(through))));
                    if failed {
                        return;
                    }
                }
            }
            due |= looked.elapsed() >= RETENTION_EVERY;
            if due {
                looked = Instant::now();
                trim_results(&mut results, retention, may_trim, &written);
            }
            thread::sleep(RESULTS_EVERY);
        }
        close(results);
    })
}

/// What the thread of the results has heard of and not done.
struct UnwrittenResults {
    may_trim: EventId,
    decided: Option<Decided>,
}

impl UnwrittenResults {
    fn take(&mut self, work: ResultsWork) {
        match (work, &mut self.decided) {
            (ResultsWork::MayTrim(through), _) => self.may_trim = through,
            (ResultsWork::Append(more), None) => self.decided = Some(more),
            (ResultsWork::Append(more), Some(decided)) => {
                decided.through = more.through;
                decided.outcomes.extend(more.outcomes);
            }
        }
    }
}

fn trim_results(
    results: &mut EmbeddedLog,
    retention: Retention,
    may_trim: EventId,
    written: &mpsc::UnboundedSender<Written>,
) {
    if let Some(floor) = drop_old(results, retention, may_trim) {
        _ = written.send(Written::Trimmed(Disk::Results, floor, results.bytes()));
    }
}

/// Drops results that are too many or too old, as far as they may go. The new floor, if it has moved.
fn drop_old(results: &mut EmbeddedLog, retention: Retention, may_trim: EventId) -> Option<EventId> {
    let oldest_ms = time::now_ms().saturating_sub(retention.age_ms_max);
    let reader = results.reader();
    // The first outcome after a segment is older than the segment's last, or not much younger.
    let too_old = |last: u64| {
        let first = reader.read_after(last, 1).ok()?;
        let outcomes = dovetail_wire::result_chunk(first.first()?).ok()??;
        Some(outcomes.time_ms(0) < oldest_ms)
    };
    let segments = results.segments();
    let aged = segments.iter().take_while(|segment| too_old(segment.last) == Some(true)).last();
    let through = results.trim_point(retention.bytes_max).max(aged.map_or(0, |segment| segment.last)).min(may_trim.0);
    let floor = results.floor();
    if through <= floor {
        return None;
    }
    match results.trim(through) {
        Ok(new) => (new > floor).then_some(EventId(new)),
        Err(error) => {
            tracing::error!(error = %error, "old results were not removed");
            None
        }
    }
}

/// Outcomes as records, in groups of bounded size. The last record reaches `through`, and there is always one.
fn result_groups(through: EventId, outcomes: &[&OutcomeChunk]) -> Vec<Vec<Prepared<storage_pb::ResultRecord>>> {
    let Some((last, others)) = outcomes.split_last() else {
        return vec![vec![dovetail_wire::result_record_pb(through, None)]];
    };
    let others = others.iter().map(|chunk| dovetail_wire::result_record_pb(chunk.last(), Some(chunk)));
    let mut groups = vec![Vec::new()];
    let mut group_bytes = 0;
    for record in others.chain([dovetail_wire::result_record_pb(through, Some(last))]) {
        if group_bytes + record.bytes_len() > RESULTS_BYTES {
            groups.push(Vec::new());
            group_bytes = 0;
        }
        group_bytes += record.bytes_len();
        groups.last_mut().expect("there is always one").push(record);
    }
    groups
}

pub(super) fn close(log: EmbeddedLog) {
    if let Err(error) = log.close() {
        tracing::warn!(error = %error, "the log was not closed in order; it will be checked when it is opened");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dovetail_core::{
        ElementId, PoolId,
        ledger::{Outcome, OutcomeEnd},
    };

    use super::*;
    use dovetail_wire::OutcomeWriter;

    fn outcomes(count: u64, payload_bytes: usize) -> Vec<Arc<OutcomeChunk>> {
        let end = |id| OutcomeEnd {
            id: ElementId(id),
            key: "k".into(),
            payload: Bytes::from(vec![7; payload_bytes]),
            arrived_ms: Some(3),
            owner: "".into(),
        };
        let outcome = |x| Outcome {
            x: EventId(x),
            pool: PoolId(0),
            time_ms: 1,
            element: end(x),
            anchor: Some(end(x - 1)),
            reason: None,
        };
        let mut writer = OutcomeWriter::new(RESULT_BYTES);
        (1..=count).for_each(|n| writer.push_outcome(&outcome(2 * n)));
        writer.take()
    }

    fn check(outcomes: &[Arc<OutcomeChunk>], through: u64) -> Vec<usize> {
        let chunks: Vec<&OutcomeChunk> = outcomes.iter().map(|chunk| &**chunk).collect();
        let groups = result_groups(EventId(through), &chunks);
        let records: Vec<Record> = groups.iter().flatten().map(Prepared::record).collect();
        assert!(records.iter().all(|record| record.bytes.len() < RECORD_BYTES_LIMIT));
        assert!(records.is_sorted_by(|a, b| a.through < b.through));
        assert_eq!(records.last().unwrap().through, through);
        let read = records.iter().flat_map(|record| dovetail_wire::result_record(record).unwrap());
        assert!(read.eq(outcomes.iter().flat_map(|chunk| chunk.iter())));
        groups.iter().map(Vec::len).collect()
    }

    // 600 pairs of 64 KiB payloads made one record that the log refuses, at every start again.
    #[test]
    fn a_burst_of_large_payloads_becomes_several_records() {
        assert_eq!(check(&outcomes(600, 65_536), 1_300), [15, 4]);
    }

    #[test]
    fn what_came_while_the_balancer_was_cut_off_becomes_several_appends() {
        assert_eq!(check(&outcomes(1_200, 65_536), 2_400), [15, 15, 8]);
    }

    #[test]
    fn a_watermark_without_outcomes_is_a_record_too() {
        assert_eq!(check(&[], 9), [1]);
    }
}
