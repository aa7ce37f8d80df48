//! What is on the disk, and the threads that write it: one for the log, one for the results, one for checkpoints.
//!
//! The engine hands over what is to be written, and hears of it by [`Written`]; what it hears of room, sizes and
//! checkpoints it tells here. Invariants: disks.D1 a checkpoint is begun only if it replaces some of the log, and one
//! at a time; disks.D2 the log and the results are trimmed only behind a checkpoint that is whole.

use std::{sync::Arc, thread::JoinHandle};

use dovetail_core::{EventId, Stable};
use dovetail_log::{DiskUse, EmbeddedLog, Log as _, shared::Position};
use tokio::sync::mpsc;

use super::{
    checkpoint::{self, Maker},
    copy,
    failure::{BalancerError, CheckpointWorkError},
    shared_log::FollowedPart,
    store::{self, Decided, LogWork, ResultsWork, Retention, StoredLog},
    throttle::Urgency,
    written::{Disk, Made, Written},
};
use crate::{crash, settings::Limits};
use dovetail::pb;
use dovetail_wire::{PartFrame, PublishedOutcomes};

/// The data folder of a running balancer.
#[derive(Debug)]
pub(super) struct Disks {
    log: mpsc::UnboundedSender<LogWork>,
    results: mpsc::UnboundedSender<ResultsWork>,
    /// Cuts to make checkpoints of.
    cuts: mpsc::UnboundedSender<EventId>,
    threads: Vec<JoinHandle<()>>,
    /// A thread has ended though it should not.
    writers_gone: bool,
    checkpoints: CheckpointPlan,
    /// Why the last checkpoint could not be made; empty if it was.
    checkpoint_error: String,
    files: PerDisk,
    /// Others may still fetch what is above.
    results_needed: EventId,
}

/// Those of the log, and those of the results.
#[derive(Debug)]
struct PerDisk {
    log: Files,
    results: Files,
}

impl PerDisk {
    fn of(&mut self, disk: Disk) -> &mut Files {
        match disk {
            Disk::Log => &mut self.log,
            Disk::Results => &mut self.results,
        }
    }
}

/// The files of the log, or of the results.
#[derive(Debug)]
struct Files {
    /// What they have asked of the disk.
    used: DiskUse,
    /// What is at or below is gone.
    floor: EventId,
    bytes: u64,
    /// The disk has no room for more.
    full: bool,
}

/// When checkpoints are made.
#[derive(Debug)]
struct CheckpointPlan {
    /// The newest.
    made: Made,
    /// One is being made.
    making: bool,
    /// Bytes of log since the newest, or since the last that could not be made.
    bytes: u64,
    /// Fewest bytes of log between two.
    bytes_min: u64,
    /// The one being made is late: the log has grown by what the next one waits for.
    urgency: Urgency,
}

impl CheckpointPlan {
    /// One can be made that replaces some of the log. After an attempt, only when the log has grown.
    fn is_of_use(&self, stable: Stable) -> bool {
        !self.making && self.bytes > 0 && stable > Stable(self.made.through)
    }

    /// A checkpoint costs as much as it is large; the log is allowed to grow by as much in between.
    fn is_due(&self, stable: Stable) -> bool {
        self.is_of_use(stable) && self.bytes >= self.bytes_max()
    }

    fn bytes_max(&self) -> u64 {
        self.bytes_min.max(self.made.bytes)
    }

    /// Marks the checkpoint that is being made urgent once the log has grown to where the next is due, or the disk is
    /// full.
    fn set_urgent(&self, full: bool) {
        self.urgency.set(full || self.bytes >= self.bytes_max());
    }
}

/// What a store has on disk, and what has grown since its newest checkpoint.
pub(super) struct OpenedStores {
    pub(super) log: StoredLog,
    pub(super) results: EmbeddedLog,
    pub(super) maker: Maker,
    /// Bytes of the log after the newest checkpoint.
    pub(super) log_bytes: u64,
    pub(super) results_floor: EventId,
}

impl Disks {
    /// Starts the writing threads, and trims what the last process did not come to. What is followed of a log that is
    /// shared goes to `followed`.
    pub(super) fn start(
        opened: OpenedStores,
        limits: &Limits,
        followed: mpsc::Sender<FollowedPart>,
    ) -> Result<(Disks, mpsc::UnboundedReceiver<Written>), BalancerError> {
        let OpenedStores { mut log, results, maker, log_bytes, results_floor } = opened;
        let here = log.here();
        let files = PerDisk {
            log: Files { used: here.disk_use(), floor: EventId(here.floor()), bytes: here.bytes(), full: false },
            results: Files { used: results.disk_use(), floor: results_floor, bytes: results.bytes(), full: false },
        };
        let made = maker.newest();
        let retention = Retention { bytes_max: limits.results_bytes_max, age_ms_max: limits.results_ms_max };
        let (log_work, log_inbox) = mpsc::unbounded_channel();
        let (results_work, results_inbox) = mpsc::unbounded_channel();
        let (cuts, cuts_inbox) = mpsc::unbounded_channel();
        let (written_out, written) = mpsc::unbounded_channel();
        let urgency = Urgency::default();
        let log_thread = match log {
            StoredLog::Own(log) => store::write_own_log(*log, log_inbox, written_out.clone()),
            StoredLog::Shared(log) => copy::start(*log, log_inbox, followed, written_out.clone()),
        };
        let threads = [
            log_thread,
            store::write_results(results, retention, results_inbox, written_out.clone()),
            checkpoint::make_checkpoints(maker, cuts_inbox, urgency.clone(), written_out),
        ];
        let threads =
            threads.into_iter().collect::<Result<_, _>>().map_err(|_| BalancerError::Part("a writing thread"))?;
        let bytes_min = limits.checkpoint_bytes;
        let checkpoints = CheckpointPlan { made, making: false, bytes: log_bytes, bytes_min, urgency };
        let mut disks = Disks {
            log: log_work,
            results: results_work,
            cuts,
            threads,
            writers_gone: false,
            checkpoints,
            checkpoint_error: String::new(),
            files,
            results_needed: EventId(u64::MAX),
        };
        disks.trim();
        Ok((disks, written))
    }

    /// Hands a frame to the log.
    pub(super) fn append(&mut self, frame: Arc<PartFrame>) {
        self.writers_gone |= self.log.send(LogWork::Append(frame)).is_err();
    }

    /// Hands outcomes to the results.
    pub(super) fn store(&mut self, through: EventId, outcomes: Vec<Arc<PublishedOutcomes>>) {
        self.writers_gone |= self.results.send(ResultsWork::Append(Decided { through, outcomes })).is_err();
    }

    /// Notes that so many bytes of frames are on disk.
    pub(super) fn on_appended(&mut self, bytes: u64) {
        self.checkpoints.bytes += bytes;
        self.checkpoints.set_urgent(self.is_full());
    }

    /// Notes how many bytes there are.
    pub(super) fn on_sized(&mut self, disk: Disk, bytes: u64) {
        self.files.of(disk).bytes = bytes;
    }

    /// Notes what is gone.
    pub(super) fn on_trimmed(&mut self, disk: Disk, floor: EventId, bytes: u64) {
        let files = self.files.of(disk);
        files.floor = floor;
        files.bytes = bytes;
    }

    /// Notes that there is no room, or that there is again.
    pub(super) fn on_full(&mut self, disk: Disk, full: bool, stable: Stable) {
        self.files.of(disk).full = full;
        if full {
            self.begin_checkpoint(stable);
        }
        self.checkpoints.set_urgent(self.is_full());
    }

    /// Notes how a checkpoint went, and begins with the next if it is due.
    pub(super) fn on_checkpoint(&mut self, made: Result<Made, CheckpointWorkError>, stable: Stable) {
        self.checkpoints.making = false;
        match made {
            Ok(made) => {
                crash::point("balancer.checkpoint.made");
                self.checkpoints.made = made;
                self.checkpoint_error.clear();
                self.trim();
            }
            Err(error) => self.checkpoint_error = error.to_string(),
        }
        self.begin_checkpoint(stable);
    }

    /// Makes the next checkpoint if it is due, or if what it replaces may make room on a full disk.
    pub(super) fn begin_checkpoint(&mut self, stable: Stable) {
        if self.checkpoints.is_due(stable) || (self.is_full() && self.checkpoints.is_of_use(stable)) {
            crash::point("balancer.checkpoint.begin");
            self.checkpoints.making = true;
            self.checkpoints.bytes = 0;
            self.checkpoints.set_urgent(self.is_full());
            self.writers_gone |= self.cuts.send(stable.event()).is_err();
        }
    }

    /// Drops what the newest checkpoint replaces.
    fn trim(&mut self) {
        let through = self.checkpoints.made.trim;
        if through > EventId::ZERO {
            self.writers_gone |= self.log.send(LogWork::Trim(through)).is_err();
            self.trim_results();
        }
    }

    /// Lets results go that neither the newest checkpoint nor another balancer needs.
    fn trim_results(&mut self) {
        let through = self.checkpoints.made.trim.min(self.results_needed);
        self.writers_gone |= self.results.send(ResultsWork::MayTrim(through)).is_err();
    }

    /// Asks for a term, to write the log that is shared.
    pub(super) fn take_over(&mut self, seen: Option<Position>) {
        self.writers_gone |= self.log.send(LogWork::TakeOver(seen)).is_err();
    }

    /// No balancer needs what is at or below of the log that is shared.
    pub(super) fn trim_shared(&mut self, through: EventId) {
        self.writers_gone |= self.log.send(LogWork::TrimShared(through)).is_err();
    }

    /// Other balancers may still fetch results above this event.
    pub(super) fn keep_results(&mut self, above: EventId) {
        if above != self.results_needed {
            self.results_needed = above;
            self.trim_results();
        }
    }

    /// Up to here nothing is needed of the log to begin again.
    pub(super) fn kept(&self) -> EventId {
        self.checkpoints.made.trim
    }

    /// Whether there is no room for the log, or none for the results.
    pub(super) fn is_full(&self) -> bool {
        self.files.log.full || self.files.results.full
    }

    /// Whether there is none for the log.
    pub(super) fn log_is_full(&self) -> bool {
        self.files.log.full
    }

    /// Whether a writing thread has ended though it should not.
    pub(super) fn writers_gone(&self) -> bool {
        self.writers_gone
    }

    /// What is there, for people.
    pub(super) fn stored(&self) -> pb::StoredState {
        let PerDisk { log, results } = &self.files;
        pb::StoredState {
            checkpoint: self.checkpoints.made.through.0,
            checkpoint_bytes: self.checkpoints.made.bytes,
            checkpoint_error: self.checkpoint_error.clone(),
            log_floor: log.floor.0,
            log_bytes: log.bytes,
            results_floor: results.floor.0,
            results_bytes: results.bytes,
            full: self.is_full(),
            log_appended_bytes: log.used.appended_bytes(),
            results_appended_bytes: results.used.appended_bytes(),
            log_syncs: log.used.syncs(),
            results_syncs: results.used.syncs(),
        }
    }

    /// Closes the files once all is written that was handed over.
    pub(super) async fn close(self) -> Result<(), BalancerError> {
        let Disks { log, results, cuts, threads, .. } = self;
        // Without senders the threads close their files and end.
        drop((log, results, cuts));
        let joined = tokio::task::spawn_blocking(|| threads.into_iter().all(|thread| thread.join().is_ok()));
        if joined.await.unwrap_or(false) { Ok(()) } else { Err(BalancerError::Part("a writing thread")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(bytes: u64, made_bytes: u64) -> CheckpointPlan {
        let made = Made { through: EventId(10), bytes: made_bytes, trim: EventId(5) };
        CheckpointPlan { made, making: false, bytes, bytes_min: 100, urgency: Urgency::default() }
    }

    #[test]
    fn a_checkpoint_is_due_once_the_log_has_grown_by_as_much_as_the_last_took() {
        assert!(!plan(99, 50).is_due(Stable(EventId(11))) && plan(100, 50).is_due(Stable(EventId(11))));
        assert!(!plan(199, 200).is_due(Stable(EventId(11))) && plan(200, 200).is_due(Stable(EventId(11))));
    }

    #[test]
    fn none_is_of_use_that_replaces_nothing_or_while_one_is_made() {
        assert!(!plan(1_000, 0).is_of_use(Stable(EventId(10))), "all up to there is in the newest");
        assert!(!plan(0, 0).is_of_use(Stable(EventId(11))), "the log has not grown");
        let making = CheckpointPlan { making: true, ..plan(1_000, 0) };
        assert!(plan(1_000, 0).is_of_use(Stable(EventId(11))) && !making.is_of_use(Stable(EventId(11))));
    }
}
