//! The task that owns the sequencer and the ledger: one inbox for what makes events, one for decisions, one for reads, one clock.
//! Looks at many elements have an inbox of their own, of which one small part is taken after a turn of the others: nobody waits for
//! them. Of the others, reads are taken one in four while writes wait, and writes as many as there are while no reads do.
//!
//! Nothing is acknowledged, broadcast or published before the log has it. The open frame goes to the log as soon as the
//! disk is idle, so that one element goes at once and a flood goes in large frames.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::Duration,
};

use dovetail_core::{
    DecisionFrame, ElementId, EventId, EventKind, Placement, Pool, PoolId, ShardId, WithdrawReason,
    batch::{Batch, Run},
    clock::Jump,
    hold::{Ticket, Until},
    ledger::{Admitted, CutElements, Entry, LateDue, Ledger, Status, Stopped, Timing},
    planted::Planted,
    pool::Defaults,
    sequencer::{FrameLimits, Sequencer},
};
use dovetail_log::{DiskUse, Log};
use dovetail_node::balancer::{Decisions, Durability, PartFrame, PublishedFrame, Visible, frame};
use dovetail_rule::Row;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    checkpoint::{self, CheckpointError, Made},
    clock::Clock,
    ease::Hurry,
    held::{Admitting, Held, HeldRequests},
    messages::{
        CutPart, CutReader, DefinePoolError, Defined, Disk, DiskFull, DropPoolError, Dropping, ElementName, Event,
        Explaining, Found, Look, POOLS_MAX, PoolSummary, Reply, Request, SelectedPart, WaitingPart, Withdrawing,
        Written,
    },
    pools::Pools,
    presence::Standing,
    quota::Quotas,
    store::{self, Decided, LogWork, RESULT_BYTES, ResultsWork, Retention, Store},
    storms::Storms,
    tail::Tail,
    turns::{Turns, Wait, Whose},
    waiters::Waiters,
};
use crate::{
    caller::ClientId,
    convert::{OutcomeChunk, OutcomeWriter, PART_BYTES, Part},
    crash, pb,
    rpc::RunError,
    settings::{Limits, Settings},
    shutdown::Shutdown,
    time,
};

/// Frames on their way to the disk above which no more requests are taken.
const FRAMES_QUEUED: usize = 4;
/// Answers that wait for the disk, above which no more requests are taken: a retry makes no event, but has one.
const ACKS: usize = 65_536;
/// Messages handled before the open frame is looked at again.
const BATCH: usize = 256;
/// Reprobes and expiries written at a time while time waits for them.
const TIMERS: usize = 4096;
/// The same of pools that are late: what others of them cost is known then.
const LATE_PART: usize = 16;
/// Withdrawals written at a time of elements whose pools are dropped. What clients ask for goes in between.
const DROPS: usize = 512;
/// Elements looked at for one part of a pool's waiting elements.
const WAITING_PART: usize = 512;
/// The same for one part of a cut.
const CUT_PART: usize = 2048;
/// One of so many messages is a read while others wait: reads wait for writes, and a flood of neither keeps the other out.
const READ_SHARE: usize = 4;
/// Longest time without a look at the clock while a timer is set, in milliseconds: the clock may be set ahead.
const LOOK_MS: u64 = 500;
/// The same while none is.
const LOOK_MS_IDLE: u64 = 60_000;
/// What an event takes in a frame beside its attributes, key and payload, in bytes.
const EVENT_BYTES: usize = 48;

/// What an engine hears.
#[derive(Debug)]
pub(crate) struct Inboxes {
    /// What makes events.
    pub(crate) requests: mpsc::Receiver<Request>,
    /// What shards decided.
    pub(crate) events: mpsc::Receiver<Event>,
    /// Questions.
    pub(crate) reads: mpsc::Receiver<Event>,
    /// Questions about many elements.
    pub(crate) looks: mpsc::Receiver<Look>,
}

/// What others follow.
pub(crate) struct Parts {
    pub(crate) frames: Arc<Tail<PublishedFrame>>,
    pub(crate) outcomes: Arc<Tail<OutcomeChunk>>,
    pub(crate) stable: watch::Receiver<EventId>,
    pub(crate) pools: Arc<Pools>,
    /// The jump of the wall clock for which writes are refused.
    pub(crate) clock: watch::Receiver<Option<Jump>>,
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
    hurry: Hurry,
}

impl CheckpointPlan {
    /// One can be made that replaces some of the log. After an attempt, only when the log has grown.
    fn is_of_use(&self, stable: EventId) -> bool {
        !self.making && self.bytes > 0 && stable > self.made.through
    }

    /// A checkpoint costs as much as it is large; the log is allowed to grow by as much in between.
    fn is_due(&self, stable: EventId) -> bool {
        self.is_of_use(stable) && self.bytes >= self.bytes_max()
    }

    fn bytes_max(&self) -> u64 {
        self.bytes_min.max(self.made.bytes)
    }

    /// Presses the one being made, or does not: the log may have grown, or there may be no room for it to grow.
    fn press(&self, full: bool) {
        self.hurry.set(full || self.bytes >= self.bytes_max());
    }
}

/// A cut that is read, for as long as somebody reads it.
#[derive(Debug)]
struct CutRead {
    matcher: u32,
    through: EventId,
    alive: Weak<()>,
}

/// Something to say once an event is on disk, or is not for lack of room.
struct Ack {
    at: EventId,
    say: Box<dyn FnOnce(Result<(), DiskFull>) + Send>,
}

/// Who accepted the wall clock, and the milliseconds told: how far it was ahead, and the time events have then.
type Accepted = (oneshot::Sender<(u64, u64)>, (u64, u64));

/// The engine.
pub(crate) struct Engine {
    sequencer: Sequencer<Part>,
    ledger: Ledger,
    clock: Clock,
    /// Operators who accepted the wall clock, and what they are told once events have that time.
    accepted: Vec<Accepted>,
    /// A request that was taken from the inbox, before what is due was written.
    next: Option<Request>,
    /// What a pool has that does not say.
    defaults: Defaults,
    quotas: Quotas,
    /// Pools dropped above the stable cut.
    leaving: VecDeque<(EventId, PoolId)>,
    /// Requests that depend on what is not decided.
    held: HeldRequests,
    /// Whose searches cost much, and whose turn it is.
    turns: Turns,
    /// How many timers may be under way.
    storms: Storms,
    in_flight_max: u64,
    /// What is on its way to the disk, and what may be seen of it.
    durability: Durability,
    /// What has to be done for it, in this order.
    visible: Vec<Visible>,
    /// Frames that are on disk, and that readers of the log do not have yet.
    written_frames: Vec<Arc<PartFrame>>,
    /// Outcomes that are published, and on their way to the results.
    published: Vec<Arc<OutcomeChunk>>,
    acks: VecDeque<Ack>,
    /// What is read of the shards.
    decisions: Decisions,
    outcomes_new: OutcomeWriter,
    waiters: Waiters,
    standing: Standing,
    frames: Arc<Tail<PublishedFrame>>,
    outcomes: Arc<Tail<OutcomeChunk>>,
    pools: Arc<Pools>,
    placement: Placement,
    stable: watch::Sender<EventId>,
    log: mpsc::UnboundedSender<LogWork>,
    results: mpsc::UnboundedSender<ResultsWork>,
    /// Cuts to make checkpoints of.
    cuts: mpsc::UnboundedSender<EventId>,
    checkpoints: CheckpointPlan,
    /// What is on the disk, for people.
    stored: pb::StoredState,
    /// What the log and the results have asked of it.
    disk_use: [DiskUse; 2],
    /// Whether the disk is full for the log, and for the results.
    full: [bool; 2],
    written: mpsc::UnboundedReceiver<Written>,
    requests: mpsc::Receiver<Request>,
    events: mpsc::Receiver<Event>,
    reads: mpsc::Receiver<Event>,
    looks: mpsc::Receiver<Look>,
    /// Cuts that are read, one of each matcher at most.
    cuts_read: Vec<CutRead>,
    threads: Vec<JoinHandle<()>>,
    /// Whether a writing thread has ended though it should not.
    writers_gone: bool,
    log_id: String,
}

impl Engine {
    /// Starts the writing threads of an opened store.
    pub(crate) fn start(
        store: Store,
        settings: &Settings,
        placement: Placement,
        Inboxes { requests, events, reads, looks }: Inboxes,
    ) -> Result<(Engine, Parts), RunError> {
        let Store { log_id, log, results, maker, ledger, time_ms, log_bytes, results_floor, ledger_limits: _ } = store;
        let limits = &settings.node.limits;
        let retention = Retention { bytes_max: limits.results_bytes_max, age_ms_max: limits.results_ms_max };
        let made = maker.newest();
        let stored = pb::StoredState {
            checkpoint: made.through.0,
            checkpoint_bytes: made.bytes,
            log_floor: log.floor(),
            log_bytes: log.bytes(),
            results_floor: results_floor.0,
            results_bytes: results.bytes(),
            ..Default::default()
        };
        let disk_use = [log.disk_use(), results.disk_use()];
        let (cuts, cuts_inbox) = mpsc::unbounded_channel();
        let frames = Arc::new(Tail::new(ledger.recorded(), EventId::ZERO, log.reader()));
        let outcomes = Arc::new(Tail::new(ledger.stable(), results_floor, results.reader()));
        let (log_frames, frames_inbox) = mpsc::unbounded_channel();
        let (results_decided, decided_inbox) = mpsc::unbounded_channel();
        let (written_out, written) = mpsc::unbounded_channel();
        let hurry = Hurry::default();
        let threads = [
            store::write_log(log, frames_inbox, written_out.clone()),
            store::write_results(results, retention, decided_inbox, written_out.clone()),
            checkpoint::make_checkpoints(maker, cuts_inbox, hurry.clone(), written_out),
        ];
        let threads = threads.into_iter().collect::<Result<_, _>>().map_err(|_| RunError::Part("a writing thread"))?;
        let (stable, stable_out) = watch::channel(ledger.stable());
        let pools = Arc::new(Pools::new(&ledger));
        let leaving = ledger.pools_leaving().filter_map(|entry| Some((entry.dropped_at?, entry.pool.id))).collect();
        let clock = Clock::open(&settings.node.data, time_ms, limits.clock_jump_ms_max);
        let parts = Parts {
            clock: clock.refused(),
            frames: Arc::clone(&frames),
            outcomes: Arc::clone(&outcomes),
            stable: stable_out,
            pools: Arc::clone(&pools),
        };
        let mut engine = Engine {
            sequencer: Sequencer::new(frame_limits(limits), ledger.recorded(), time_ms),
            durability: Durability::new(&ledger, Planted::default()),
            visible: Vec::new(),
            written_frames: Vec::new(),
            published: Vec::new(),
            clock,
            accepted: Vec::new(),
            next: None,
            held: HeldRequests::new(limits.hold_ms_max),
            turns: Turns::new(),
            storms: Storms::new(),
            defaults: Defaults {
                waiting_max: limits.waiting_max as u64,
                payload_bytes_max: limits.payload_bytes_max as u64,
            },
            quotas: Quotas::new(limits.pools_prefix_max, limits.pools_client_max, &ledger),
            leaving,
            in_flight_max: limits.in_flight_max as u64,
            acks: VecDeque::new(),
            decisions: Decisions::new(placement.shards(), Planted::default()),
            outcomes_new: OutcomeWriter::new(RESULT_BYTES),
            waiters: Waiters::default(),
            standing: Standing::default(),
            log: log_frames,
            results: results_decided,
            cuts,
            checkpoints: CheckpointPlan {
                made,
                making: false,
                bytes: log_bytes,
                bytes_min: limits.checkpoint_bytes,
                hurry,
            },
            stored,
            disk_use,
            full: [false; 2],
            ledger,
            frames,
            outcomes,
            pools,
            placement,
            stable,
            written,
            requests,
            events,
            reads,
            looks,
            cuts_read: Vec::new(),
            threads,
            writers_gone: false,
            log_id,
        };
        // What the last process did not come to.
        engine.trim();
        Ok((engine, parts))
    }

    /// Runs until the signal, then puts on disk what was taken.
    pub(crate) async fn run(mut self, stop: Shutdown) -> Result<(), RunError> {
        loop {
            let due = self.due();
            // Nothing is taken while the disk is full, but who asks is told so.
            let taking = self.next.is_none() && (self.taking() || self.is_full());
            let mut look = None;
            tokio::select! {
                biased;
                Some(written) = self.written.recv() => self.on_written(written)?,
                Some(event) = self.events.recv() => self.on_event(event)?,
                Some(request) = self.requests.recv(), if taking => self.next = Some(request),
                Some(read) = self.reads.recv() => self.on_event(read)?,
                Some(next) = self.looks.recv() => look = Some(next),
                () = tokio::time::sleep_until(due) => {}
                () = stop.given() => break,
            }
            self.handle_waiting()?;
            self.seal();
            // One after each turn: what comes meanwhile goes first, and a flood of it does not keep this waiting for ever.
            if let Some(look) = look.or_else(|| self.looks.try_recv().ok()) {
                self.look(look);
            }
            self.standing.look(self.ledger.decided(), self.durability.durable(), Instant::now());
            if self.writers_gone {
                // One that met an error said so; this one panicked.
                while let Ok(written) = self.written.try_recv() {
                    self.on_written(written)?;
                }
                return Err(RunError::Part("a writing thread"));
            }
        }
        self.finish().await
    }

    /// Handles what else has come, so that a flood makes large frames.
    fn handle_waiting(&mut self) -> Result<(), RunError> {
        // It may have been open while this process stood still.
        self.seal();
        let timely = self.keep_time();
        if timely || self.is_full() {
            // Whoever hears it finds that event time has gone ahead.
            self.accepted.drain(..).for_each(|(reply, accepted)| _ = reply.send(accepted));
        }
        for message in 0..BATCH {
            let read_first = message % READ_SHARE == 0;
            if let Ok(written) = self.written.try_recv() {
                self.on_written(written)?;
            } else if let Ok(event) = self.events.try_recv() {
                self.on_event(event)?;
            } else if let Some(read) = read_first.then(|| self.reads.try_recv().ok()).flatten() {
                self.on_event(read)?;
            } else if let Some(request) = self.next_request(timely) {
                self.on_request(request);
            } else if let Ok(read) = self.reads.try_recv() {
                self.on_event(read)?;
            } else {
                break;
            }
        }
        self.drop_some(timely);
        self.write_late(timely);
        self.go_on(timely);
        self.release();
        Ok(())
    }

    /// Goes on with pools that are being dropped. Half of what may be in flight is left to clients.
    fn drop_some(&mut self, timely: bool) {
        if timely && self.may_drop() {
            let events = self.ledger.dropping(DROPS, self.sequencer.time_ms());
            events.into_iter().for_each(|kind| _ = self.push(kind));
        }
    }

    /// Writes some timers of pools that are late.
    fn write_late(&mut self, timely: bool) {
        if !(timely && self.may_write_late()) {
            return;
        }
        let mut left = self.storms.late(self.undecided_events());
        while left > 0 {
            let Engine { ledger, sequencer, turns, .. } = self;
            let mut refused = false;
            let may = |pool, units| {
                let may = turns.may(&(None, pool), units).is_ok();
                refused |= !may;
                may
            };
            let LateDue { events, stuck } = ledger.late_due(sequencer, left.min(LATE_PART), may);
            // Who is first in line may have left: with nothing under way that shows only when others ask again.
            let stuck = stuck && !(refused && self.turns.counts().1 == 0);
            self.storms.set_stuck(stuck, self.ledger.decided(), self.sequencer.time_ms());
            if events.is_empty() {
                break;
            }
            left = left.saturating_sub(self.push_timers(events));
        }
    }

    fn may_write_late(&mut self) -> bool {
        let stuck = self.storms.is_stuck(self.ledger.decided(), self.sequencer.time_ms());
        // The disk is left to clients when it is busy.
        let room = self.ledger.late().len() > 0 && !stuck && self.taking() && self.durability.queued() < 2;
        room && self.storms.late(self.undecided_events()) > 0
    }

    /// Writes timers. How much they count.
    fn push_timers(&mut self, events: Vec<EventKind>) -> usize {
        let count = events.into_iter().map(|kind| Storms::weight(self.push_at_cost(kind).1)).sum();
        self.storms.add(self.sequencer.assigned(), count);
        count
    }

    /// Events that have ids and are not decided.
    fn undecided_events(&self) -> usize {
        usize::try_from(self.sequencer.assigned().0 - self.ledger.decided().0).unwrap_or(usize::MAX)
    }

    fn may_drop(&self) -> bool {
        let in_flight = self.sequencer.assigned().0 - self.ledger.stable().0;
        self.ledger.has_dropping()
            && self.taking()
            && self.durability.queued() < 2
            && in_flight < self.in_flight_max.div_ceil(2)
    }

    /// The next request, if what is due was written, and there is room.
    fn next_request(&mut self, timely: bool) -> Option<Request> {
        if !(self.is_full() || (timely && self.taking())) {
            return None;
        }
        self.next.take().or_else(|| self.requests.try_recv().ok())
    }

    async fn finish(mut self) -> Result<(), RunError> {
        self.take_frame();
        // On a full disk there is no end to wait for.
        while self.durability.queued() > 0 && !self.full[Disk::Log as usize] {
            let Some(written) = self.written.recv().await else { return Err(RunError::Part("the log's thread")) };
            self.on_written(written)?;
        }
        let Engine { log, results, cuts, threads, .. } = self;
        // Without senders the threads close their files and end.
        drop((log, results, cuts));
        let joined = tokio::task::spawn_blocking(|| threads.into_iter().all(|thread| thread.join().is_ok()));
        if joined.await.unwrap_or(false) { Ok(()) } else { Err(RunError::Part("a writing thread")) }
    }

    /// Whether there is room for more events. What is not on disk as a result is in memory as frames and outcomes.
    fn taking(&self) -> bool {
        let in_flight = self.sequencer.assigned().0 - self.ledger.stable().0;
        self.durability.queued() < FRAMES_QUEUED
            && self.acks.len() < ACKS
            && in_flight < self.in_flight_max
            && !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.full.contains(&true)
    }

    /// When something is to be done though nothing comes.
    fn due(&mut self) -> Instant {
        let now_ms = self.clock.now_ms();
        let frame = self.sequencer.due_ms().filter(|_| self.durability.queued() < FRAMES_QUEUED);
        // One that is due by the clock but not by the open frame's time waits for that frame to be taken, which wakes this loop.
        let ready = |due_ms: &u64| *due_ms > now_ms || *due_ms <= self.sequencer.time_at(now_ms);
        let timer = self.ledger.next_due_ms().filter(ready).filter(|_| self.taking());
        // The wall clock may be set ahead while this waits.
        let waits = self.ledger.next_due_ms().is_some() || !self.held.is_empty() || self.clock.jump().is_some();
        let waits = waits || !self.cuts_read.is_empty();
        let look_ms = if waits { LOOK_MS } else { LOOK_MS_IDLE };
        let due_ms = frame.into_iter().chain(timer).min().map(|due_ms| due_ms.saturating_sub(now_ms));
        let accepted = !self.accepted.is_empty() && self.taking();
        let at_once = self.may_drop() || self.may_write_late() || self.ledger.has_unneeded() || accepted;
        let due_ms = if at_once { Some(0) } else { due_ms };
        let wait_ms = due_ms.into_iter().chain(self.held.over_in_ms()).min().map_or(look_ms, |ms| ms.min(look_ms));
        Instant::now() + Duration::from_millis(wait_ms)
    }

    /// Writes what is due, and lets time pass. Whether all of it is written, but for pools that are late: only then may clients make
    /// events.
    fn keep_time(&mut self) -> bool {
        let now_ms = self.clock.now_ms();
        // Whatever comes has the open frame's time. The clock may have leapt since that was opened: what came now would be old.
        if self.sequencer.due_ms().is_some_and(|due_ms| due_ms <= now_ms) && self.durability.queued() < FRAMES_QUEUED {
            self.take_frame();
        }
        let (mut left, mut share) = (TIMERS, self.storms.share(self.undecided_events(), self.ledger.late().len()));
        while left > 0 && self.taking() {
            match self.ledger.advance_time(&mut self.sequencer, now_ms, left, &mut share) {
                Timing::Done => return true,
                Timing::FrameFirst if self.sequencer.due_ms().is_some_and(|due_ms| due_ms <= now_ms) => {
                    self.take_frame();
                }
                // It is young, and its time is nearly now's.
                Timing::FrameFirst => return true,
                Timing::Due(events) => {
                    left -= events.len();
                    _ = self.push_timers(events);
                }
            }
        }
        false
    }

    /// Sends the open frame to the log when the disk is idle and the cluster not busy, or the frame is full or old.
    fn seal(&mut self) {
        let now_ms = self.clock.now_ms();
        let due = self.sequencer.due_ms().is_some_and(|due_ms| due_ms <= now_ms);
        let paced = self.durability.paced(&self.ledger);
        if (self.durability.queued() == 0 && paced) || (due && self.durability.queued() < FRAMES_QUEUED) {
            self.take_frame();
        }
    }

    fn take_frame(&mut self) {
        if let Some(frame) = self.sequencer.take() {
            let Engine { durability, ledger, placement, visible, .. } = self;
            let reach = |frame: &PartFrame, ledger: &Ledger| frame::reach(frame, ledger, placement, Planted::default());
            durability.on_frame(frame, ledger, reach, visible);
            self.act();
        }
    }

    /// Does what has to be done, in that order.
    fn act(&mut self) {
        let mut visible = std::mem::take(&mut self.visible);
        visible.drain(..).for_each(|visible| self.make_visible(visible));
        self.visible = visible;
    }

    fn make_visible(&mut self, visible: Visible) {
        match visible {
            Visible::Append(frame) => {
                crash::point("balancer.frame.write");
                self.writers_gone |= self.log.send(LogWork::Append(frame)).is_err();
            }
            Visible::Broadcast(through) => {
                crash::point("balancer.frame.publish");
                let frames = self.written_frames.drain(..).map(|frame| Arc::new(PublishedFrame::new(frame)));
                self.frames.publish(frames, through);
            }
            Visible::Acknowledge(through) => {
                while let Some(ack) = self.acks.pop_front_if(|ack| ack.at <= through) {
                    crash::point("balancer.acknowledge");
                    (ack.say)(Ok(()));
                }
            }
            Visible::Publish(through) => {
                let outcomes = self.outcomes_new.take();
                crash::point("balancer.outcomes.publish");
                self.outcomes.publish(outcomes.iter().map(Arc::clone), through);
                outcomes.iter().for_each(|outcomes| self.waiters.tell(outcomes));
                self.published = outcomes;
            }
            Visible::Store(through) => {
                crash::point("balancer.outcomes.write");
                let outcomes = std::mem::take(&mut self.published);
                let decided = ResultsWork::Append(Decided { through, outcomes });
                self.writers_gone |= self.results.send(decided).is_err();
            }
            Visible::TellStable(stable) => {
                self.frames.trim(stable);
                crash::point("balancer.stable.publish");
                self.stable.send_replace(stable);
                self.begin_checkpoint();
            }
        }
    }

    /// Gives an event that is no arrival its id and records it.
    fn push(&mut self, kind: EventKind) -> EventId {
        self.push_at_cost(kind).0
    }

    /// The same. Also what its search costs, in units, if it has one.
    fn push_at_cost(&mut self, kind: EventKind) -> (EventId, u64) {
        let bytes = EVENT_BYTES
            + match &kind {
                EventKind::Arrival { row, .. } | EventKind::Reprobe { row, .. } => row.bytes(),
                EventKind::PoolDefined { definition, .. } => definition.bytes(),
                EventKind::Withdrawal { .. } | EventKind::PoolClosed { .. } | EventKind::PoolDropped { .. } => 0,
            };
        let stable = self.ledger.stable();
        let part = |x| Part::Event(dovetail_core::Event { x, kind: kind.clone() });
        let (x, time_ms) = self.sequencer.push_run(stable, 1, bytes, part);
        let recorded = self.ledger.record(x, time_ms, &kind, None);
        recorded.expect("a pool was compiled before its event is written");
        let mut units = 0;
        match kind {
            EventKind::PoolDefined { pool, .. } => self.pools.add(self.ledger.pool(pool).pool.clone()),
            EventKind::PoolDropped { pool } => {
                self.pools.end(pool, x);
                self.quotas.dropped(pool, &self.ledger.pool_name(pool));
                self.leaving.push_back((x, pool));
            }
            EventKind::Reprobe { pool, row, .. } => {
                // What it costs counts, also if it is of a pool that is not late.
                units = self.ledger.search_cost(pool, || Row::clone(&row));
                self.turns.add(&(None, pool), x, units, 1);
            }
            _ => {}
        }
        if self.sequencer.full() {
            self.take_frame();
        }
        (x, units)
    }

    /// Answers when all that has an id by now is on disk: an answer tells of nothing that a crash could take back.
    fn ack<T: Send + 'static>(&mut self, reply: Reply<T>, answer: T) {
        let at = self.sequencer.assigned();
        // Whoever asked may have gone away; what was asked is done all the same.
        if at <= self.durability.durable() {
            _ = reply.send(Ok(answer));
        } else {
            self.acks.push_back(Ack { at, say: Box::new(move |stored| _ = reply.send(stored.map(|()| answer))) });
        }
    }

    fn on_request(&mut self, request: Request) {
        if self.is_full() {
            return request.refuse(DiskFull);
        }
        match request {
            Request::Submit { elements, stream, reply, room } => {
                self.take(stream, Held::Submit(Box::new(Admitting::new(elements, reply, room))));
            }
            Request::Define { pool, client, reply } => {
                let defined = self.define(*pool, client);
                self.ack(reply, defined);
            }
            Request::Drop { name, defined_at, reply } => {
                let dropping = self.drop_pool(name, defined_at);
                self.ack(reply, dropping);
            }
            Request::Withdraw { element, reply } => self.take_alone(Held::Withdraw { element, reply }),
            // Ids are never held: nobody else can have them.
            Request::WithdrawAll { elements, reply } => {
                let withdraw = |element| self.withdraw(&ElementName::Id(element));
                let withdrawing = elements.into_iter().map(withdraw).collect();
                self.ack(reply, withdrawing);
            }
        }
    }

    /// Takes a request that may have to be held.
    fn take(&mut self, stream: u64, request: Held) {
        if let Err(request) = self.held.behind(stream, request) {
            self.handle(stream, request, None, None, true);
        }
    }

    fn take_alone(&mut self, request: Held) {
        let stream = self.held.alone();
        self.take(stream, request);
    }

    /// Goes on with requests that are held no longer. Where there is no room for events, with those that make none.
    fn go_on(&mut self, timely: bool) {
        self.ledger.take_caught_up().into_iter().for_each(|pool| self.held.caught_up(pool));
        loop {
            let room = self.is_full() || (timely && self.taking());
            let Some(freed) = self.held.next(self.ledger.decided(), room) else { break };
            let refused = self.is_full() && freed.request.writes();
            let request = if refused { freed.request.refuse(DiskFull) } else { Some(freed.request) };
            match request {
                None => {}
                Some(request @ Held::Withdraw { .. }) if !room => {
                    self.held.hold_on(freed.stream, freed.asked.unwrap_or_default(), request);
                }
                Some(request) => {
                    let over = freed.over.then(|| self.held.held_ms(freed.ticket));
                    self.handle(freed.stream, request, freed.ticket, over, room);
                }
            }
        }
    }

    /// Does what is asked for, or holds it until what it depends on is decided. `over` says for how long it was held in vain;
    /// without `room` for events, nothing more of it is let in then.
    fn handle(&mut self, stream: u64, mut request: Held, ticket: Option<Ticket>, over: Option<u64>, room: bool) {
        let mut again = ticket;
        let undecided = match &mut request {
            Held::Submit(admitting) => {
                let undecided = self.admit(admitting, over, room);
                // For another row it takes its turn behind others.
                let row = admitting.row;
                if admitting.held_row.replace(row) != Some(row) {
                    again = None;
                }
                undecided
            }
            Held::Withdraw { element, .. } | Held::Get { element, .. } | Held::Explain { element, .. } => {
                let until = self.undecided(element).filter(|_| over.is_none());
                until.map(Wait::from)
            }
        };
        if let Some(wait) = undecided {
            request.fix(|name| self.find(name).map(ElementName::Id));
            return self.held.hold(stream, wait, request, again);
        }
        match request {
            Held::Submit(admitting) => {
                let (submitted, reply) = admitting.finish();
                self.ack(reply, submitted);
            }
            Held::Withdraw { element, reply } => {
                let withdrawing = self.withdraw(&element);
                self.ack(reply, withdrawing);
            }
            Held::Get { element, wait_ms, reply } => {
                let found = self.get(&element, wait_ms > 0);
                _ = reply.send((found, self.ledger.decided()));
            }
            Held::Explain { element, reply } => _ = reply.send(self.explain(&element)),
        }
    }

    /// Up to where the log has to be decided before it is known whether the element of a key still waits; none when it is known, or
    /// the element is named by its id.
    fn undecided(&self, name: &ElementName) -> Option<EventId> {
        match name {
            ElementName::Id(_) => None,
            ElementName::Key { .. } => self.ledger.undecided(self.find(name)?),
        }
    }

    /// Lets elements in, up to one that depends on what is not decided, or whose pool is late: then until when. When it was held in
    /// vain, such elements are refused; and where there is no room for events, all that are left.
    fn admit(&mut self, admitting: &mut Admitting, over: Option<u64>, room: bool) -> Option<Wait> {
        let keyed = admitting.batch.take()?;
        let mut asked = *admitting.asked.get_or_insert(self.ledger.recorded());
        let batch = keyed.batch();
        let whose: Whose = (admitting.client().cloned(), batch.pool());
        let mut undecided = None;
        while admitting.row < batch.len() && undecided.is_none() {
            let row = admitting.row;
            if let Some(held_ms) = over.filter(|_| !room) {
                self.turns.gave_up(&whose);
                admitting.refuse(self.ledger.held_in_vain(batch, row, held_ms).into());
                continue;
            }
            let units = self.ledger.search_cost(batch.pool(), || batch.row(row));
            // Nobody is let in while the pool is late: it has no turn then.
            let late = self.ledger.is_late(batch.pool());
            let may = if late { Ok(usize::MAX) } else { self.turns.may(&whose, units) };
            let turn = match (may, over) {
                (Ok(turn), _) => turn,
                (Err(_), Some(held_ms)) => {
                    self.turns.gave_up(&whose);
                    admitting.refuse(self.ledger.busy_in_vain(batch, row, held_ms).into());
                    continue;
                }
                (Err(wait), None) => {
                    undecided = Some(wait);
                    continue;
                }
            };
            let (to, bytes) = self.fits(batch, row, turn);
            let (first, time_ms) = (self.sequencer.assigned().next(), self.sequencer.time_ms());
            let Admitted { count, stopped } = self.ledger.admit_run(first, time_ms, &keyed, row..to, asked);
            if count > 0 {
                admitting.let_in(count, first);
                asked = EventId(first.0 + count as u64 - 1);
                self.turns.add(&whose, asked, units, count);
                let run = Run { batch: Arc::clone(batch), rows: row..row + count };
                let part = |first| Part::Arrivals(first, run);
                self.sequencer.push_run(self.ledger.stable(), count, bytes, part);
                if self.sequencer.full() {
                    self.take_frame();
                }
            }
            match stopped {
                None => {}
                Some(Stopped::Retry(element)) => admitting.let_in(1, element.arrival()),
                Some(Stopped::Refused(why)) => admitting.refuse(why.into()),
                Some(Stopped::Undecided(until)) => match over {
                    Some(held_ms) => {
                        admitting.refuse(self.ledger.held_in_vain(batch, admitting.row, held_ms).into());
                    }
                    None => undecided = Some(until.into()),
                },
                Some(Stopped::Late) => match over {
                    Some(held_ms) => {
                        admitting.refuse(self.ledger.late_in_vain(batch, admitting.row, held_ms).into());
                    }
                    None => undecided = Some(Until::CaughtUp(batch.pool()).into()),
                },
            }
        }
        admitting.batch = Some(keyed);
        admitting.asked = Some(asked);
        undecided
    }

    /// Up to which row, from `row` on and at least that one, elements fit the open frame and are at most `most`, and how many bytes
    /// they take.
    fn fits(&self, batch: &Batch, row: usize, most: usize) -> (usize, usize) {
        let (events, bytes_left) = (self.sequencer.events_left().min(most), self.sequencer.bytes_left());
        let all = batch.len() - row;
        let bytes = EVENT_BYTES * all + batch.bytes();
        if all <= events && bytes <= bytes_left {
            return (batch.len(), bytes);
        }
        let (mut to, mut bytes) = (row, 0);
        while to < batch.len() && (to == row || (to - row < events && bytes < bytes_left)) {
            bytes += EVENT_BYTES + batch.frame_bytes(to);
            to += 1;
        }
        (to, bytes)
    }

    fn define(&mut self, compiled: Pool, client: Option<ClientId>) -> Result<Defined, DefinePoolError> {
        let (pool, definition) = (self.ledger.next_pool(), Arc::clone(&compiled.definition));
        let compiled = Pool { id: pool, ..compiled };
        let notes = compiled.notes();
        if let Some(entry) = self.ledger.pool_named(&definition.name) {
            if entry.closed_at.is_some() {
                return Err(DefinePoolError::Dropping(definition.name.clone()));
            }
            let differences = entry.pool.differences(&compiled, self.defaults);
            if !differences.0.is_empty() {
                return Err(DefinePoolError::Redefined(definition.name.clone(), differences));
            }
            return Ok(Defined { at: entry.defined_at, created: false, notes });
        }
        if self.ledger.pool_count() >= POOLS_MAX {
            return Err(DefinePoolError::TooMany);
        }
        let within = self.quotas.check(&definition.name, client.as_ref());
        within.map_err(|source| DefinePoolError::Quota { pool: definition.name.clone(), source })?;
        self.quotas.defined(pool, &definition.name, client);
        Ok(Defined { at: self.push(EventKind::PoolDefined { pool, definition }), created: true, notes })
    }

    /// Closes a pool, if it is not closed. The rest follows.
    fn drop_pool(&mut self, name: String, meant: EventId) -> Result<Dropping, DropPoolError> {
        let Some(entry) = self.ledger.pool_named(&name) else { return Err(DropPoolError::Unknown(name)) };
        let (pool, found, waiting) = (entry.pool.id, entry.defined_at, entry.counts.waiting);
        if meant > EventId::ZERO && meant != found {
            return Err(DropPoolError::Another { name, found, meant });
        }
        let closed_at = entry.closed_at.unwrap_or_else(|| self.push(EventKind::PoolClosed { pool }));
        Ok(Dropping { pool, defined_at: found, closed_at, waiting })
    }

    fn withdraw(&mut self, name: &ElementName) -> Withdrawing {
        let Some(element) = self.find(name) else { return Withdrawing::Unknown };
        match self.ledger.status(element) {
            Status::Unknown => Withdrawing::Unknown,
            Status::Ended(x) => Withdrawing::Ended(x),
            Status::Waiting(entry) => {
                let (pool, closing) = (entry.pool, entry.closing);
                let ended = self.waiters.add(element);
                // Who is over expires, also where that is still to be written.
                let reason = self.ledger.reason_at(element, self.sequencer.time_ms(), WithdrawReason::Client);
                let kind = EventKind::Withdrawal { element, pool, reason };
                let at = closing.unwrap_or_else(|| self.push(kind));
                Withdrawing::Written { at, own: closing.is_none() && reason == WithdrawReason::Client, ended }
            }
        }
    }

    fn find(&self, name: &ElementName) -> Option<ElementId> {
        match name {
            ElementName::Id(element) => Some(*element),
            ElementName::Key { pool, key } => self.ledger.find(self.ledger.pool_named(pool)?.pool.id, key),
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), RunError> {
        match event {
            Event::Decisions { shard, frame } => self.on_decisions(shard, &frame)?,
            Event::Dial { shard, reply } => _ = reply.send(self.decisions.on_dial(shard, &self.ledger)),
            Event::Hello { shard, floor, reply } => _ = reply.send(self.decisions.on_hello(shard, floor)),
            Event::Get { element, wait_ms, reply } => self.take_alone(Held::Get { element, wait_ms, reply }),
            Event::Explain { element, reply } => self.take_alone(Held::Explain { element, reply }),
            Event::Pool { name, reply } => _ = reply.send(self.ledger.pool_named(&name).map(PoolSummary::of)),
            Event::Pools { reply } => _ = reply.send(self.ledger.pools().map(PoolSummary::of).collect()),
            Event::Assigned { reply } => _ = reply.send(self.sequencer.assigned()),
            Event::Standing { reply } => {
                let still = self.standing.still_for(Instant::now());
                _ = reply.send((still, self.ledger.decided(), self.durability.durable()));
            }
            Event::AcceptClock { reply } => self.accepted.push((reply, self.clock.accept())),
            Event::Inspect { reply } => _ = reply.send(self.inspect()),
        }
        Ok(())
    }

    fn on_decisions(&mut self, shard: ShardId, frame: &DecisionFrame) -> Result<(), RunError> {
        let moved = self.decisions.on_frame(shard, frame, &mut self.ledger, &mut self.outcomes_new)?;
        if let Some(through) = moved {
            self.turns.decided(through, self.clock.lasted_ms());
            self.storms.decided(through, self.clock.lasted_ms());
            self.durability.on_decided(through, &mut self.visible);
        }
        self.move_stable();
        Ok(())
    }

    fn on_written(&mut self, written: Written) -> Result<(), RunError> {
        match written {
            Written::Log(frames) => {
                let (frames, bytes) = frames?;
                let last = frames.last().map_or(self.durability.durable(), |frame| frame.through);
                self.turns.durable(last, self.clock.lasted_ms());
                self.storms.durable(last, self.clock.lasted_ms());
                self.checkpoints.bytes += bytes;
                self.checkpoints.press(self.is_full());
                self.durability.on_written(frames.len(), last, &mut self.visible);
                self.written_frames = frames;
                self.act();
            }
            Written::Results(through) => {
                let through = through?;
                self.durability.on_stored(through, &mut self.ledger, &mut self.visible);
                self.outcomes.trim(through);
                self.act();
                self.forget_pools();
            }
            Written::Checkpoint(made) => self.on_checkpoint(made),
            Written::Sized(Disk::Log, bytes) => self.stored.log_bytes = bytes,
            Written::Sized(Disk::Results, bytes) => self.stored.results_bytes = bytes,
            Written::Trimmed(Disk::Log, floor, bytes) => {
                (self.stored.log_floor, self.stored.log_bytes) = (floor.0, bytes);
            }
            Written::Trimmed(Disk::Results, floor, bytes) => {
                (self.stored.results_floor, self.stored.results_bytes) = (floor.0, bytes);
                self.ledger.on_results_trimmed(floor);
            }
            Written::Full(disk, full) => {
                self.full[disk as usize] = full;
                if full {
                    self.begin_checkpoint();
                }
                self.checkpoints.press(self.is_full());
                if full && disk == Disk::Log {
                    // What they were for may come to the disk later; until then nobody is kept waiting.
                    self.acks.drain(..).for_each(|ack| (ack.say)(Err(DiskFull)));
                    self.held.refuse_writes(DiskFull);
                }
            }
        }
        Ok(())
    }

    /// Does what decisions have brought about, and tells the stable cut, if it has moved.
    fn move_stable(&mut self) {
        self.durability.move_stable(&self.ledger, &mut self.visible);
        self.act();
        self.forget_pools();
    }

    /// Forgets the pools that the ledger has forgotten.
    fn forget_pools(&mut self) {
        let released = self.ledger.released();
        while let Some((_, pool)) = self.leaving.pop_front_if(|(x, _)| *x <= released) {
            self.pools.forget(pool, !self.ledger.pool_name(pool).starts_with('#'));
        }
    }

    /// Makes the next checkpoint if it is due, or if what it replaces may make room on a full disk.
    fn begin_checkpoint(&mut self) {
        let stable = self.ledger.stable();
        if self.checkpoints.is_due(stable) || (self.is_full() && self.checkpoints.is_of_use(stable)) {
            crash::point("balancer.checkpoint.begin");
            (self.checkpoints.making, self.checkpoints.bytes) = (true, 0);
            self.checkpoints.press(self.is_full());
            self.writers_gone |= self.cuts.send(stable).is_err();
        }
    }

    fn on_checkpoint(&mut self, made: Result<Made, CheckpointError>) {
        self.checkpoints.making = false;
        match made {
            Ok(made) => {
                crash::point("balancer.checkpoint.made");
                self.checkpoints.made = made;
                self.stored.checkpoint = made.through.0;
                self.stored.checkpoint_bytes = made.bytes;
                self.stored.checkpoint_error.clear();
                self.trim();
            }
            Err(error) => self.stored.checkpoint_error = error.to_string(),
        }
        self.begin_checkpoint();
    }

    /// Drops what the checkpoints replace.
    fn trim(&mut self) {
        let through = self.checkpoints.made.trim;
        if through > EventId::ZERO {
            self.writers_gone |= self.log.send(LogWork::Trim(through)).is_err();
            self.writers_gone |= self.results.send(ResultsWork::MayTrim(through)).is_err();
        }
    }

    fn get(&mut self, name: &ElementName, wait: bool) -> Found {
        let Some(element) = self.find(name) else { return Found::Unknown };
        match self.ledger.status(element) {
            Status::Waiting(entry) => {
                let pool = Arc::clone(&self.ledger.pool(entry.pool).pool.definition);
                let ended = wait.then(|| self.waiters.add(element));
                Found::Waiting { element, pool, entry: Box::new(entry), ended }
            }
            Status::Ended(x) => Found::Ended(element, x),
            Status::Unknown => Found::Unknown,
        }
    }

    fn explain(&mut self, name: &ElementName) -> Explaining {
        match self.get(name, false) {
            Found::Waiting { element, entry, .. } => Explaining::Waiting {
                pool: self.ledger.pool(entry.pool).pool.clone(),
                element,
                search_cost: self.ledger.search_cost(entry.pool, || Row::clone(&entry.row)),
                entry,
                time_ms: self.sequencer.time_at(self.clock.last_ms()),
            },
            not => Explaining::Not(not),
        }
    }

    fn look(&mut self, look: Look) {
        match look {
            Look::Waiting { pool, after, reply } => {
                let (elements, next) = self.ledger.waiting_after(pool, after, WAITING_PART, |_, _, _| true);
                let waits = |(element, entry): (ElementId, Entry)| (entry.waiting(element), entry.key);
                _ = reply.send(WaitingPart { elements: elements.into_iter().map(waits).collect(), next });
            }
            Look::Select { pool, after, wanted, reply } => {
                let (elements, next) = self.ledger.waiting_after(pool, after, WAITING_PART, wanted);
                _ = reply.send(SelectedPart { elements, next });
            }
            Look::BeginCut { matcher, reply } => {
                let (cut, cutting) = self.ledger.begin_cut();
                let alive = Arc::new(());
                // An earlier one of the same matcher may linger with a connection that nobody reads.
                self.cuts_read.retain(|cut| cut.matcher != matcher);
                self.cuts_read.push(CutRead { matcher, through: cutting.through(), alive: Arc::downgrade(&alive) });
                self.keep_for_cuts();
                _ = reply.send((cut, CutReader { cutting, _alive: alive }));
            }
            Look::CutPart { mut reader, owned, reply } => {
                let part = self.ledger.cut_part(&mut reader.cutting, (CUT_PART, PART_BYTES), &*owned);
                let part =
                    part.map(|CutElements { waiting, last }| CutPart { waiting, reader: (!last).then_some(reader) });
                _ = reply.send(part);
            }
        }
    }

    /// Forgets what nobody needs any more, and keeps what the cuts need that are read.
    fn release(&mut self) {
        if !self.cuts_read.is_empty() {
            self.keep_for_cuts();
            self.forget_pools();
        }
        if self.ledger.has_unneeded() {
            self.ledger.release();
        }
    }

    fn keep_for_cuts(&mut self) {
        self.cuts_read.retain(|cut| cut.alive.strong_count() > 0);
        self.ledger.keep_for(self.cuts_read.iter().map(|cut| cut.through));
    }

    fn stored(&self) -> pb::StoredState {
        let [log, results] = &self.disk_use;
        pb::StoredState {
            full: self.is_full(),
            log_appended_bytes: log.appended_bytes(),
            results_appended_bytes: results.appended_bytes(),
            log_syncs: log.syncs(),
            results_syncs: results.syncs(),
            ..self.stored.clone()
        }
    }

    fn inspect(&mut self) -> pb::BalancerState {
        let now_ms = self.clock.now_ms();
        let (held, held_ms) = self.held.counts();
        let (search_waits, search_cost) = self.turns.counts();
        let event_ms = self.sequencer.time_at(now_ms);
        let late: HashMap<PoolId, u64> =
            self.ledger.late().map(|(pool, due_ms)| (pool, event_ms.saturating_sub(due_ms))).collect();
        let count = |summary: PoolSummary| pb::PoolCount {
            pool: summary.definition.name.clone(),
            waiting: summary.counts.waiting,
            waiting_bytes: summary.counts.waiting_bytes,
            late_ms: late.get(&summary.id).copied().unwrap_or_default(),
            // The rest is the matchers' to tell.
            ..Default::default()
        };
        pb::BalancerState {
            assigned: self.sequencer.assigned().0,
            durable: self.durability.durable().0,
            decided: self.ledger.decided().0,
            stable: self.ledger.stable().0,
            // Sorted where the answer is made.
            pools: self.ledger.pools().map(PoolSummary::of).map(count).collect(),
            log_id: self.log_id.clone(),
            waiting: self.ledger.waiting() as u64,
            waiting_bytes: self.ledger.waiting_bytes(),
            // The service counts its own streams.
            client_streams: 0,
            shards: Vec::new(),
            stored: Some(self.stored()),
            // Who is there is for the service to tell.
            awaited: Vec::new(),
            undecided_ms: self.standing.still_for(Instant::now()).map_or(0, time::ms),
            in_flight_max: self.in_flight_max,
            held: held as u64,
            held_ms,
            search_waits,
            search_cost,
            late_pools: late.len() as u64,
            late_ms: late.values().copied().max().unwrap_or_default(),
            clock_ahead_ms: now_ms.saturating_sub(time::now_ms()),
            clock_jump_ms: self.clock.jump().map_or(0, |jump| jump.ahead_ms()),
            clock_refuses: self.clock.refused().borrow().is_some(),
            // Told where the answer is made.
            pools_left_out: 0,
        }
    }
}

fn frame_limits(limits: &Limits) -> FrameLimits {
    FrameLimits {
        events_max: limits.frame_events_max,
        bytes_max: limits.frame_bytes_max,
        age_ms_max: limits.frame_age_ms_max,
    }
}
