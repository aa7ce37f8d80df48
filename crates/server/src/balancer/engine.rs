//! The task that owns the sequencer and the ledger: one inbox for what makes events, one for decisions, one for reads,
//! one clock. Looks at many elements have an inbox of their own, of which one small part is taken after a turn of the
//! others, so that no request waits for them. Of the others, one in four is a read while writes wait, and all are
//! writes while no read waits.
//!
//! Nothing is acknowledged, broadcast or published before the log has it. The open frame goes to the log as soon as the
//! disk is idle, so that one element goes at once and a flood goes in large frames.

mod following;
mod questions;
mod requests;

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use dovetail_core::{
    Decided, DecisionFrame, EventId, EventKind, Placement, PoolId, ShardId, Stable,
    clock::Jump,
    ledger::{LateDue, Ledger, Timing},
    planted::Planted,
    pool::Defaults,
    sequencer::{FrameLimits, Sequencer},
};
use dovetail_log::Log as _;
use dovetail_node::balancer::{DecisionLinks, Durability, PartFrame, PublishedFrame, Visible, frame};
use dovetail_rule::Row;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    acks::Acks,
    clock::Clock,
    disks::{Disks, OpenedStores},
    failure::BalancerError,
    held::{HeldRequest, HeldRequests},
    messages::{ElementScan, Event, PoolSummary, Request},
    pools::Pools,
    presence::DecisionStall,
    quota::Quotas,
    refused::NotWritten,
    reign::Place,
    share::Share,
    shared_log,
    store::{RESULT_BYTES, Store},
    storms::Storms,
    tailed_log::TailedLog,
    turns::Turns,
    waiters::Waiters,
    written::{Disk, Written},
};
use crate::{
    crash,
    settings::{Limits, Settings},
    shutdown::Shutdown,
};
use dovetail_wire::{OutcomeCollector, Part, PublishedOutcomes};

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
/// One of so many messages is a read while others wait: reads wait for writes, and a flood of neither keeps the other
/// out.
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
    pub(crate) looks: mpsc::Receiver<ElementScan>,
}

/// What others follow.
pub(crate) struct Parts {
    pub(crate) frames: Arc<TailedLog<PublishedFrame>>,
    pub(crate) outcomes: Arc<TailedLog<PublishedOutcomes>>,
    pub(crate) stable: watch::Receiver<Stable>,
    pub(crate) pools: Arc<Pools>,
    /// The jump of the wall clock for which writes are refused.
    pub(crate) clock: watch::Receiver<Option<Jump>>,
    /// Whether this balancer writes.
    pub(crate) place: watch::Receiver<Place>,
    /// Tells that a shard is to be left, of a balancer that shares its log.
    pub(crate) leave: Option<Arc<[Notify]>>,
}

/// A cut that is read, for as long as a node reads it.
#[derive(Debug)]
struct CutRead {
    matcher: u32,
    through: EventId,
    alive: Weak<()>,
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
    published: Vec<Arc<PublishedOutcomes>>,
    /// Answers that wait for the disk.
    acks: Acks,
    /// What is read of the shards.
    decisions: DecisionLinks,
    outcomes_new: OutcomeCollector,
    waiters: Waiters,
    standing: DecisionStall,
    frames: Arc<TailedLog<PublishedFrame>>,
    outcomes: Arc<TailedLog<PublishedOutcomes>>,
    pools: Arc<Pools>,
    placement: Placement,
    stable: watch::Sender<Stable>,
    disks: Disks,
    written: mpsc::UnboundedReceiver<Written>,
    requests: mpsc::Receiver<Request>,
    events: mpsc::Receiver<Event>,
    reads: mpsc::Receiver<Event>,
    looks: mpsc::Receiver<ElementScan>,
    /// Cuts that are read, one of each matcher at most.
    cuts_read: Vec<CutRead>,
    log_id: String,
    /// What it has beside, if it shares its log with other balancers.
    share: Option<Share>,
    place: watch::Sender<Place>,
}

/// How an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to.
    Stopped,
    /// Another balancer writes. What this one knows may not be in the log: it begins anew.
    Over,
}

impl Engine {
    /// Starts the writing threads of an opened store.
    pub(crate) fn start(
        store: Store,
        settings: &Settings,
        placement: Placement,
        Inboxes { requests, events, reads, looks }: Inboxes,
    ) -> Result<(Engine, Parts), BalancerError> {
        let Store { log_id, mut log, results, maker, ledger, time_ms, log_bytes, results_floor, ledger_limits: _ } =
            store;
        let limits = &settings.node.limits;
        let (follow, followed) = mpsc::channel(shared_log::FOLLOWED);
        let share = following::share(&log, &ledger, time_ms, followed, settings)?;
        let place = watch::Sender::new(share.as_ref().map_or(Place::Alone, Share::place));
        let frames = Arc::new(TailedLog::new(ledger.recorded(), EventId::ZERO, log.here().reader()));
        let outcomes = Arc::new(TailedLog::new(ledger.stable().event(), results_floor, results.reader()));
        let (disks, written) =
            Disks::start(OpenedStores { log, results, maker, log_bytes, results_floor }, limits, follow)?;
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
            place: place.subscribe(),
            leave: share.as_ref().map(|share| Arc::clone(&share.leave)),
        };
        let engine = Engine {
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
            acks: Acks::default(),
            decisions: DecisionLinks::new(placement.shards(), Planted::default()),
            outcomes_new: OutcomeCollector::new(RESULT_BYTES),
            waiters: Waiters::default(),
            standing: DecisionStall::default(),
            disks,
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
            log_id,
            share,
            place,
        };
        Ok((engine, parts))
    }

    /// Runs until the signal, then puts on disk what was taken; or until another balancer writes.
    pub(crate) async fn run(mut self, stop: Shutdown) -> Result<Ended, BalancerError> {
        loop {
            let due = self.due();
            // Nothing is taken while nothing can be written, but who asks is told so.
            let taking = self.next.is_none() && !self.is_yielding() && (self.taking() || self.refuses());
            let mut look = None;
            tokio::select! {
                biased;
                input = following::next(&mut self.share) => self.on_share(input)?,
                Some(written) = self.written.recv() => self.on_written(written)?,
                Some(event) = self.events.recv() => self.on_event(event)?,
                Some(request) = self.requests.recv(), if taking => self.next = Some(request),
                Some(read) = self.reads.recv() => self.on_event(read)?,
                Some(next) = self.looks.recv() => look = Some(next),
                () = tokio::time::sleep_until(due) => {}
                () = stop.given() => break,
            }
            if self.is_over() {
                return Box::pin(self.step_down()).await;
            }
            self.handle_waiting()?;
            self.seal();
            // One after each turn: what comes meanwhile goes first, and a flood of it does not keep this waiting for
            // ever.
            if let Some(look) = look.or_else(|| self.looks.try_recv().ok()) {
                self.look(look);
            }
            self.standing.look(self.ledger.decided(), self.durability.durable(), Instant::now());
            if self.disks.writers_gone() {
                // One that met an error said so; this one panicked.
                while let Ok(written) = self.written.try_recv() {
                    self.on_written(written)?;
                }
                return Err(BalancerError::Part("a writing thread"));
            }
        }
        Box::pin(self.finish()).await
    }

    /// Handles what else has come, so that a flood makes large frames.
    fn handle_waiting(&mut self) -> Result<(), BalancerError> {
        // It may have been open while this process stood still.
        self.seal();
        let timely = self.keep_time();
        if timely || self.refuses() {
            // A caller that gets it finds that event time has gone ahead.
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
        usize::try_from(self.sequencer.assigned().0 - self.ledger.decided().event().0).unwrap_or(usize::MAX)
    }

    fn may_drop(&self) -> bool {
        let in_flight = self.sequencer.assigned().0 - self.ledger.secured().event().0;
        self.ledger.has_dropping()
            && self.taking()
            && self.durability.queued() < 2
            && in_flight < self.in_flight_max.div_ceil(2)
    }

    /// The next request, if what is due was written, and there is room.
    fn next_request(&mut self, timely: bool) -> Option<Request> {
        if self.is_yielding() || !(self.refuses() || (timely && self.taking())) {
            return None;
        }
        self.next.take().or_else(|| self.requests.try_recv().ok())
    }

    async fn finish(mut self) -> Result<Ended, BalancerError> {
        self.take_frame();
        // On a full disk there is no end to wait for, nor when nothing answers.
        while self.durability.queued() > 0 && !self.disks.log_is_full() && !self.is_silent() && !self.is_over() {
            let Some(written) = self.written.recv().await else { return Err(BalancerError::Part("the log's thread")) };
            self.on_written(written)?;
        }
        self.close().await?;
        Ok(Ended::Stopped)
    }

    /// Whether there is room for more events, and they may be written. What is not on disk as a result is in memory as
    /// frames and outcomes.
    fn taking(&self) -> bool {
        let in_flight = self.sequencer.assigned().0 - self.ledger.secured().event().0;
        self.durability.queued() < FRAMES_QUEUED
            && self.acks.len() < ACKS
            && in_flight < self.in_flight_max
            && self.ledger.may_write()
            && !self.refuses()
    }

    /// Whether nothing is written now, and who asks is told so.
    fn refuses(&self) -> bool {
        self.disks.is_full() || self.is_silent() || !self.is_active()
    }

    /// Why that is so.
    fn refusal(&self) -> Option<NotWritten> {
        if !self.is_active() {
            return Some(self.refusal_of_standby());
        }
        if self.is_silent() {
            return Some(NotWritten::LogSilent);
        }
        self.disks.is_full().then_some(NotWritten::DiskFull)
    }

    /// Why a balancer that does not write takes nothing.
    fn refusal_of_standby(&self) -> NotWritten {
        match &*self.place.borrow() {
            Place::StandsBy(writes) => NotWritten::StandsBy(writes.clone()),
            Place::Alone | Place::Active(_) => NotWritten::StandsBy(None),
        }
    }

    /// When something is to be done though nothing comes.
    fn due(&mut self) -> Instant {
        let now_ms = self.clock.now_ms();
        let frame = self.sequencer.due_ms().filter(|_| self.durability.queued() < FRAMES_QUEUED);
        // One that is due by the clock but not by the open frame's time waits for that frame to be taken, which wakes
        // this loop.
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

    /// Writes what is due, and lets time pass. Whether all of it is written, but for pools that are late: only then may
    /// clients make events.
    fn keep_time(&mut self) -> bool {
        let now_ms = self.clock.now_ms();
        // Whatever comes has the open frame's time. The clock may have leapt since that was opened: what came now would
        // be old.
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

    /// Closes the open frame and hands it to the log. Nothing of it is acknowledged or broadcast before the log has
    /// said that it is on disk ([`Written::Log`]), and nothing decided of it is published before that; [`Durability`]
    /// says in which order.
    fn take_frame(&mut self) {
        if let Some(frame) = self.sequencer.take() {
            let Engine { durability, ledger, placement, visible, .. } = self;
            let audience =
                |frame: &PartFrame, ledger: &Ledger| frame::audience(frame, ledger, placement, Planted::default());
            durability.on_frame(frame, ledger, audience, visible);
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
                self.disks.append(frame);
            }
            Visible::Broadcast(through) => {
                crash::point("balancer.frame.publish");
                let frames = self.written_frames.drain(..).map(|frame| Arc::new(PublishedFrame::new(frame)));
                self.frames.publish(frames, through);
            }
            Visible::Acknowledge(through) => self.acks.acknowledge(through),
            Visible::Publish(through) => {
                let outcomes = self.outcomes_new.take();
                crash::point("balancer.outcomes.publish");
                self.outcomes.publish(outcomes.iter().map(Arc::clone), through.event());
                outcomes.iter().for_each(|outcomes| self.waiters.tell(outcomes));
                self.published = outcomes;
            }
            Visible::Store(through) => {
                crash::point("balancer.outcomes.write");
                let outcomes = std::mem::take(&mut self.published);
                self.disks.store(through.event(), outcomes);
            }
            Visible::TellStable(stable) => {
                self.frames.trim(stable.event());
                crash::point("balancer.stable.publish");
                self.stable.send_replace(stable);
                self.disks.begin_checkpoint(stable);
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
        let stable = self.ledger.to_tell();
        let part = |x| Part::Event(dovetail_core::Event { x, kind: kind.clone() });
        let (x, time_ms) = self.sequencer.push_run(stable, 1, bytes, part);
        let recorded = self.ledger.record(x, time_ms, &kind, None);
        recorded.expect("a pool was compiled before its event is written");
        let mut units = 0;
        self.note_pool(x, &kind);
        if let EventKind::Reprobe { pool, row, .. } = kind {
            // What it costs counts, also if it is of a pool that is not late.
            units = self.ledger.search_cost(pool, || Row::clone(&row));
            self.turns.add(&(None, pool), x, units, 1);
        }
        if self.sequencer.full() {
            self.take_frame();
        }
        (x, units)
    }

    /// Follows the ledger with what pools there are.
    fn note_pool(&mut self, x: EventId, kind: &EventKind) {
        match *kind {
            EventKind::PoolDefined { pool, .. } => self.pools.add(self.ledger.pool(pool).pool.clone()),
            EventKind::PoolDropped { pool } => {
                self.pools.end(pool, x);
                self.quotas.dropped(pool, &self.ledger.pool_name(pool));
                self.leaving.push_back((x, pool));
            }
            _ => {}
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), BalancerError> {
        match event {
            Event::Decisions { shard, frame } => self.on_shard_frame(shard, frame)?,
            Event::Dial { shard, reply } => _ = reply.send(self.on_dial(shard)),
            Event::Hello { shard, floor, reply } => _ = reply.send(self.on_hello(shard, floor)),
            Event::Fetched { shard, fetch, retirements } => self.on_fetched(shard, fetch, &retirements)?,
            Event::Later { term } => self.on_later(term),
            Event::Yield { reply } => self.on_yield(reply),
            Event::Get { element, wait_ms, reply } => self.take_alone(HeldRequest::Get { element, wait_ms, reply }),
            Event::Explain { element, reply } => self.take_alone(HeldRequest::Explain { element, reply }),
            Event::Pool { name, reply } => _ = reply.send(self.ledger.pool_named(&name).map(PoolSummary::of)),
            Event::Pools { reply } => _ = reply.send(self.ledger.pools().map(PoolSummary::of).collect()),
            Event::Assigned { reply } => _ = reply.send(self.assigned()),
            Event::Standing { reply } => {
                let still = self.standing.still_for(Instant::now());
                _ = reply.send((still, self.ledger.decided().event(), self.durability.durable()));
            }
            Event::AcceptClock { reply } => self.accepted.push((reply, self.clock.accept())),
            Event::Inspect { reply } => _ = reply.send(self.inspect()),
        }
        Ok(())
    }

    fn on_decisions(&mut self, shard: ShardId, frame: &DecisionFrame) -> Result<(), BalancerError> {
        let moved = self.decisions.on_frame(shard, frame, &mut self.ledger, &mut self.outcomes_new)?;
        self.after_decisions(moved);
        Ok(())
    }

    /// Something may be decided: up to here, if that has moved.
    fn after_decisions(&mut self, moved: Option<Decided>) {
        if let Some(through) = moved {
            self.turns.decided(through, self.clock.lasted_ms());
            self.storms.decided(through, self.clock.lasted_ms());
            self.durability.on_decided(through, &mut self.visible);
        }
        self.move_stable();
    }

    fn on_written(&mut self, written: Written) -> Result<(), BalancerError> {
        match written {
            Written::Log(Err(error)) if self.on_unwritten(&error) => {}
            Written::Log(frames) => {
                let (frames, bytes) = frames?;
                if self.share.is_some() {
                    frames.iter().for_each(|frame| self.ledger.on_told(frame.stable));
                }
                let last = frames.last().map_or(self.durability.durable(), |frame| frame.through);
                self.turns.durable(last, self.clock.lasted_ms());
                self.storms.durable(last, self.clock.lasted_ms());
                self.disks.on_appended(bytes);
                self.durability.on_written(frames.len(), last, &mut self.visible);
                self.written_frames = frames;
                self.act();
                if self.share.is_some() {
                    self.move_stable();
                    self.take_held()?;
                }
            }
            Written::Results(through) => {
                let through = through?;
                if let Some(share) = &mut self.share {
                    share.stored = through;
                }
                self.durability.on_stored(through, &mut self.ledger, &mut self.visible);
                self.outcomes.trim(through);
                self.act();
                self.forget_pools();
            }
            Written::Asked(asked) => self.on_asked(&asked),
            Written::Silent(silent) => self.on_silent(silent),
            Written::Followed(error) => return Err(error.into()),
            Written::Checkpoint(made) => self.disks.on_checkpoint(made, self.ledger.stable()),
            Written::Sized(disk, bytes) => self.disks.on_sized(disk, bytes),
            Written::Trimmed(disk, floor, bytes) => {
                self.disks.on_trimmed(disk, floor, bytes);
                if disk == Disk::Results {
                    self.ledger.on_results_trimmed(floor);
                }
            }
            Written::Full(disk, full) => {
                self.disks.on_full(disk, full, self.ledger.stable());
                if full && disk == Disk::Log {
                    // What they were for may come to the disk later; until then no caller is kept waiting.
                    self.acks.refuse(&NotWritten::DiskFull);
                    self.held.refuse_writes(&NotWritten::DiskFull);
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
}

fn frame_limits(limits: &Limits) -> FrameLimits {
    FrameLimits {
        events_max: limits.frame_events_max,
        bytes_max: limits.frame_bytes_max,
        age_ms_max: limits.frame_age_ms_max,
    }
}
