//! The balancer and its disk: frames and results become durable, and come back after a crash. The disk may fail, and be
//! full.

use std::{mem, sync::Arc};

use dovetail_core::{EventId, Stable, ledger::Ledger};
use dovetail_node::balancer::{PartFrame, Replay, Visible};

use super::{BalancerNode, LiveBalancer, audience};
use crate::{
    checks,
    cx::Cx,
    disk::{self, Checkpoint, LogRecord, ResultRecord},
    net::{Message, Node, Timer},
    nodes::Fate,
    violation::Violation,
};

/// How a sync ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// All that was written is safe.
    Done,
    /// Nothing of it is: there is no room.
    Full,
    /// It is unknown how much of it is: the balancer has to stop.
    Failed,
}

impl BalancerNode {
    /// Starts from the checkpoint and replays what the disk has after it. Results are put in early or late, as they may
    /// be.
    pub(super) fn recover(&mut self, cx: &mut Cx) -> Result<Ledger, Violation> {
        checks::check_disk(&self.disk)?;
        let Checkpoint { base, kept } = self.disk.checkpoint.clone();
        let cut = base.through;
        let ledger = Ledger::from_checkpoint(cx.scenario.ledger, cx.scenario.placement.shards(), base);
        let mut ledger = ledger.expect("what was defined once compiles again");
        ledger.plant(cx.planted());
        if cx.scenario.shared.is_some() {
            ledger.share_log();
        }
        ledger.keep(kept);
        let replay = Replay::new(&ledger, cx.planted());
        let interleaved = cx.rng.chance(500);
        let mut results = self.disk.results.safe().iter().peekable();
        let restore = |ledger: &mut Ledger, record: &ResultRecord| {
            replay.on_results(record.through, Some(&record.outcomes[..]), ledger)
        };
        while let Some(before) = results.next_if(|results| results.through <= cut) {
            restore(&mut ledger, before)?;
        }
        for record in self.disk.log.safe() {
            // The cut may be in the midst of a frame.
            replay.on_frame(record.published.frame(), &mut ledger)?;
            while let Some(results) = results.next_if(|results| interleaved && results.through <= record.frame.through)
            {
                restore(&mut ledger, results)?;
            }
        }
        for record in results {
            restore(&mut ledger, record)?;
        }
        cx.stats.checkpoint_starts += u64::from(cut.0 > 0);
        Ok(ledger)
    }

    pub(super) fn take_frame(&mut self, cx: &mut Cx) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let Some(frame) = live.sequencer.take() else { return };
        let parts = disk::parts(&frame, &live.clients);
        let LiveBalancer { durability, ledger, visible, .. } = live;
        durability.on_frame(parts, ledger, |parts, ledger| audience(cx, ledger, parts), visible);
        live.taken = [live.taken[1], live.taken[2], Some((frame.through, live.ledger.decided().event()))];
        live.open = Some(frame);
        let done = self.act(cx);
        done.expect("nothing is decided by a frame that is taken");
    }

    /// Does what has to be done, in that order.
    pub(super) fn act(&mut self, cx: &mut Cx) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        for visible in mem::take(&mut live.visible) {
            match visible {
                Visible::Append(parts) => self.append(cx, parts),
                Visible::Broadcast(through) => self.broadcast(cx, through),
                Visible::Acknowledge(through) => self.acknowledged = through.max(self.acknowledged),
                Visible::Publish(through) => self.publish(cx, through.event())?,
                Visible::Store(_) => self.write_results(cx),
                Visible::TellStable(stable) => self.tell_stable(cx, stable)?,
            }
        }
        Ok(())
    }

    fn append(&mut self, cx: &mut Cx, parts: Arc<PartFrame>) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let frame = live.open.take().expect("it was just taken");
        let record = LogRecord::new(frame, parts, mem::take(&mut live.clients));
        match &mut live.share {
            Some(share) => share.queue(record),
            None => self.disk.log.append(record),
        }
        self.sync_log(cx);
    }

    /// Gives frames to the readers of the log.
    fn broadcast(&mut self, cx: &mut Cx, through: EventId) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let records = self.disk.log.written();
        let first = records.partition_point(|record| record.frame.through <= live.broadcast);
        for record in records[first..].iter().take_while(|record| record.frame.through <= through) {
            for matcher in 0..live.feeds.len() {
                live.read_frame(cx, matcher, Arc::clone(&record.published));
            }
        }
        live.broadcast = through.max(live.broadcast);
    }

    /// Clients see what was decided.
    fn publish(&mut self, cx: &mut Cx, through: EventId) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        let before = mem::replace(&mut live.published, (through, live.outcomes.len()));
        cx.stats.outcomes_repeated += cx.truth.on_published(before.0, through, &live.outcomes[before.1..])?;
        Ok(())
    }

    pub(super) fn sync_log(&mut self, cx: &mut Cx) {
        if cx.scenario.shared.is_some() {
            if !self.full() {
                self.put_group(cx);
            }
            return;
        }
        if !self.full() && self.disk.log.begin_sync() {
            let delay = cx.rng.range(1, cx.scenario.disk.log_ms);
            cx.net.timer(Node::Balancer(self.index), delay, Timer::LogSynced);
        }
    }

    pub(super) fn on_log_synced(&mut self, cx: &mut Cx) -> Result<Fate, Violation> {
        match self.end_sync(cx) {
            Synced::Failed => return Ok(Fate::Fails),
            Synced::Full => {
                self.disk.log.abort_sync();
                return Ok(self.on_full(cx));
            }
            Synced::Done => {}
        }
        let live = self.live.as_mut().expect("a node that is up is live");
        let written = self.disk.log.end_sync();
        for record in written {
            checks::check_log_frame(cx, &record.frame)?;
            cx.truth.on_durable(&record.frame, &record.clients)?;
        }
        let last = written.last().map_or(live.durability.durable(), |record| record.frame.through);
        live.durability.on_written(written.len(), last, &mut live.visible);
        self.act(cx)?;
        self.sync_log(cx);
        Ok(Fate::Goes)
    }

    pub(super) fn write_results(&mut self, cx: &mut Cx) {
        if self.full() || !self.disk.results.idle() {
            return;
        }
        let live = self.live.as_mut().expect("a node that is up is live");
        let through = live.ledger.decided().event();
        if through > live.written {
            (live.written, live.published.1) = (through, 0);
            self.disk.results.append(ResultRecord { through, outcomes: mem::take(&mut live.outcomes) });
        }
        if self.disk.results.begin_sync() {
            let delay = cx.rng.range(1, cx.scenario.disk.results_ms);
            cx.net.timer(Node::Balancer(self.index), delay, Timer::ResultsSynced);
            let often = cx.scenario.keep.cut_break_permille;
            cx.provoked_cut |= often > 0 && cx.rng.chance(often / 10);
        }
    }

    pub(super) fn on_results_synced(&mut self, cx: &mut Cx) -> Result<Fate, Violation> {
        match self.end_sync(cx) {
            Synced::Failed => return Ok(Fate::Fails),
            Synced::Full => {
                self.disk.results.abort_sync();
                return Ok(self.on_full(cx));
            }
            Synced::Done => {}
        }
        let live = self.live.as_mut().expect("a node that is up is live");
        self.disk.results.end_sync();
        let secured = live.ledger.secured();
        live.durability.on_stored(self.disk.stable(), &mut live.ledger, &mut live.visible);
        self.check_secured(cx, secured)?;
        self.act(cx)?;
        self.write_results(cx);
        self.begin_checkpoint(cx)?;
        Ok(Fate::Goes)
    }

    /// Tells the stable cut.
    ///
    /// # Errors
    /// When others that may go on with the log would not know of it (ledger.L5).
    fn tell_stable(&mut self, cx: &mut Cx, stable: Stable) -> Result<(), Violation> {
        let told = cx.truth.told();
        if cx.scenario.shared.is_some() && stable.event() > told {
            let (what, bound_by) =
                ("the stable cut that nodes hear".to_owned(), "what the shared log tells".to_owned());
            return Err(Violation::Watermark { what, found: stable.event(), bound_by, bound: told });
        }
        let live = self.live.as_mut().expect("a node that is up is live");
        self.stable = stable;
        for reader in live.feeds.iter().flatten() {
            cx.net.send(reader.stream, Message::Stable(self.stable), &mut cx.stats);
        }
        if live.ledger.has_dropping() {
            self.set_timers(cx);
        }
        Ok(())
    }

    /// Whether the disk was full when it was last written to. Then nothing is let in, and nothing acknowledged.
    #[must_use]
    pub fn full(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.full)
    }

    /// Whether events may be written: the disk has room, and all that the log says is stable is decided.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.is_active() && self.live.as_ref().is_some_and(|live| !live.full && live.ledger.may_write())
    }

    /// There may be room again.
    pub(super) fn on_disk_retry(&mut self, cx: &mut Cx) {
        self.live.as_mut().expect("a node that is up is live").full = false;
        self.sync_log(cx);
        self.write_results(cx);
        self.set_timers(cx);
    }

    /// Throws the dice for how a sync ends.
    pub(super) fn end_sync(&mut self, cx: &mut Cx) -> Synced {
        let plan = cx.scenario.keep;
        let now = cx.net.now();
        if now < self.full_until {
            return Synced::Full;
        }
        if self.faults >= plan.disk_faults || !cx.rng.chance(plan.disk_fault_permille) {
            return Synced::Done;
        }
        self.faults += 1;
        if cx.rng.chance(500) {
            cx.stats.disk_errors += 1;
            return Synced::Failed;
        }
        cx.stats.disk_full += 1;
        self.full_until = now + cx.rng.range(1, plan.full_ms);
        Synced::Full
    }

    /// No room for the log or the results: waits for some, or stops.
    fn on_full(&mut self, cx: &mut Cx) -> Fate {
        if cx.scenario.keep.full_stops {
            return Fate::Fails;
        }
        let live = self.live.as_mut().expect("a node that is up is live");
        if !mem::replace(&mut live.full, true) {
            let delay = cx.rng.range(1, cx.scenario.keep.full_ms);
            cx.net.timer(Node::Balancer(self.index), delay, Timer::DiskRetry);
        }
        Fate::Goes
    }
}
