//! An engine that shares its log with other balancers: it follows what another writes, takes over when that one is
//! silent, and ends when another has taken over from it.
//!
//! Who writes is [`Leadership`](dovetail_node::balancer::Leadership)'s to say. What was followed is in the ledger as
//! what was read back at the start is; what shards decide of later events waits until these were followed.

use std::{future::pending, sync::Arc};

use dovetail_core::{
    Cursor, DecisionFrame, EventId, EventKind, Retirement, ShardId, ledger::Ledger, sequencer::Sequencer, shard::Fetch,
};
use dovetail_log::{AppendError, shared::Position};
use dovetail_node::{
    Step, Term,
    balancer::{Ahead, Part, PartFrame, Standing},
    link::GivenUp,
};
use tokio::sync::{mpsc, oneshot};

use super::{Ended, Engine, frame_limits};
use crate::{
    balancer::{
        beats,
        failure::BalancerError,
        refused::NotWritten,
        share::{Share, ShareInput},
        shared_log::{FollowError, FollowedPart},
        store::StoredLog,
        storms::Storms,
        turns::Turns,
        written::AskedFor,
    },
    settings::{NodeSettings, Settings},
};

/// What an engine has beside that shares the log of its store; nothing of one that does not.
pub(super) fn share(
    log: &StoredLog,
    ledger: &Ledger,
    time_ms: u64,
    followed: mpsc::Receiver<FollowedPart>,
    settings: &Settings,
) -> Result<Option<Share>, BalancerError> {
    let StoredLog::Shared(shared) = log else { return Ok(None) };
    let beats = beats::start(&*shared.engine).map_err(|_| BalancerError::Part("the thread of beats"))?;
    Ok(Some(Share::new(shared, (ledger, time_ms), beats, followed, settings)))
}

/// What comes next to an engine that shares its log; nothing ever to one that does not.
pub(super) async fn next(share: &mut Option<Share>) -> ShareInput {
    match share {
        Some(share) => share.next().await,
        None => pending().await,
    }
}

impl Engine {
    pub(super) fn on_share(&mut self, input: ShareInput) -> Result<(), BalancerError> {
        match input {
            ShareInput::Followed(FollowedPart::Term(term)) => {
                self.shared().on_term(&term);
                self.settle();
            }
            ShareInput::Followed(FollowedPart::Frames(frames, bytes)) => self.on_frames(frames, bytes)?,
            ShareInput::Heard(beat) => {
                self.shared().on_beat(beat);
                self.bound();
                self.settle();
            }
            ShareInput::Tick => self.on_tick(),
        }
        Ok(())
    }

    /// What only one has that shares its log.
    fn shared(&mut self) -> &mut Share {
        self.share.as_mut().expect("it shares its log")
    }

    /// The highest id given, or read of the log.
    pub(super) fn assigned(&self) -> EventId {
        if self.is_active() { self.sequencer.assigned() } else { self.ledger.recorded() }
    }

    /// Whether it writes.
    pub(super) fn is_active(&self) -> bool {
        self.share.as_ref().is_none_or(|share| share.was_active)
    }

    /// Whether another balancer has taken over from this one.
    pub(super) fn is_over(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.leadership.standing() == Standing::Over)
    }

    /// Whether the engine that keeps the log does not answer.
    pub(super) fn is_silent(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.silent)
    }

    /// Whether another is to take over.
    pub(super) fn is_yielding(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.yielding.is_some())
    }

    /// Frames of another balancer, which are in the copy.
    fn on_frames(&mut self, frames: Vec<Arc<PartFrame>>, bytes: u64) -> Result<(), BalancerError> {
        let Engine { share, ledger, durability, visible, .. } = self;
        let share = share.as_mut().expect("it shares its log");
        let now_ms = share.now_ms();
        share.leadership.on_group(now_ms);
        let replay = share.replay;
        for frame in &frames {
            replay.on_frame(frame, ledger).map_err(FollowError::from)?;
            share.time_ms = frame.time_ms;
            durability.on_followed(frame.after, frame.through, ledger, visible);
        }
        for frame in &frames {
            for part in &frame.events {
                if let Part::Event(event) = part {
                    self.note_pool(event.x, &event.kind);
                    if let EventKind::PoolDefined { pool, definition } = &event.kind {
                        self.quotas.defined(*pool, &definition.name, None);
                    }
                }
            }
        }
        if let Some(last) = frames.last() {
            self.frames.publish_stored(last.through);
        }
        self.disks.on_appended(bytes);
        self.act();
        self.forget_pools();
        self.take_held()
    }

    /// Says that it lives, takes over if it has to, and trims what nobody needs.
    fn on_tick(&mut self) {
        let (durable, told, kept) = (self.durability.durable(), self.ledger.told(), self.disks.kept());
        let drained = self.acks.len() == 0 && self.held.is_empty();
        let share = self.share.as_mut().expect("it shares its log");
        if share.yielding.is_some() {
            if !share.is_followed() {
                tracing::warn!("no other balancer is there to take over");
                share.yielding = None;
            } else if drained {
                share.give_way();
            }
        }
        share.beat(durable, kept);
        let now_ms = share.now_ms();
        if let Some(seen) = share.leadership.ask(share.stored, told, now_ms) {
            tracing::info!(seen = seen.map(|term| term.0), "asking to write the log");
            self.disks.take_over(seen.map(|term| Position(term.0)));
        }
        let share = self.shared();
        let (needed, unneeded) = (share.stored_by_all(), share.unneeded(kept));
        self.disks.keep_results(needed);
        if let Some(through) = unneeded.filter(|_| self.is_active()) {
            self.disks.trim_shared(through);
        }
        self.bound();
        self.settle();
    }

    /// The stable cut of the one that writes waits for the others.
    fn bound(&mut self) {
        let share = self.share.as_ref().expect("it shares its log");
        if share.was_active {
            self.ledger.bound_stable(share.leadership.bound(share.now_ms()));
            self.move_stable();
        }
    }

    pub(super) fn on_asked(&mut self, asked: &AskedFor) {
        if self.share.is_some() {
            self.shared().on_asked(asked);
            self.settle();
        }
    }

    /// It may have become the one that writes; and tells who is.
    fn settle(&mut self) {
        let share = self.shared();
        if let Standing::Active(term) = share.leadership.standing()
            && !share.was_active
        {
            self.activate(term);
        }
        let place = self.shared().place();
        self.place.send_if_modified(|known| {
            let changed = *known != place;
            *known = place;
            changed
        });
    }

    /// Writes from now on, behind all that was followed.
    fn activate(&mut self, term: Term) {
        let share = self.share.as_mut().expect("it shares its log");
        share.was_active = true;
        let recorded = self.ledger.recorded();
        tracing::info!(
            term = term.0,
            last = recorded.0,
            decided = self.ledger.decided().event().0,
            "this balancer writes"
        );
        let NodeSettings { data, limits, .. } = &share.settings;
        self.sequencer = Sequencer::new(frame_limits(limits), recorded, share.time_ms);
        self.clock.go_on(data, share.time_ms, limits.clock_jump_ms_max);
        // Their times are those of the clock before.
        (self.turns, self.storms) = (Turns::new(), Storms::new());
        self.bound();
    }

    /// A node has heard of a later term.
    pub(super) fn on_later(&mut self, term: Term) {
        if let Some(share) = &mut self.share {
            share.leadership.on_heard_of(Some(term));
        }
    }

    /// Another is to take over, if there is one.
    pub(super) fn on_yield(&mut self, reply: oneshot::Sender<()>) {
        match &mut self.share {
            Some(share) if share.was_active && share.is_followed() => share.yielding = Some(reply),
            _ => _ = reply.send(()),
        }
    }

    /// The engine that keeps the log does not answer, or does again.
    pub(super) fn on_silent(&mut self, silent: bool) {
        self.shared().silent = silent;
        if silent {
            // What they are for may come to the log later; until then no caller is kept waiting.
            self.acks.refuse(&NotWritten::LogSilent);
            self.held.refuse_writes(&NotWritten::LogSilent);
        }
    }

    /// Frames were not written. Whether that is no failure, because another writes.
    pub(super) fn on_unwritten(&mut self, error: &AppendError) -> bool {
        let Some(share) = &mut self.share else { return false };
        let over = matches!(error, AppendError::Fenced | AppendError::WriterOver { .. });
        if over {
            tracing::warn!(error = %error, "this balancer does not write any more");
            share.leadership.on_fenced();
        }
        over
    }

    /// Ends, for another balancer writes: what waits for an answer is told what is known, and nothing else is kept.
    pub(super) async fn step_down(mut self) -> Result<Ended, BalancerError> {
        let place = self.shared().place();
        tracing::info!(?place, "another balancer writes; this one begins anew");
        self.place.send_replace(place);
        let why = self.refusal_of_standby();
        // Nothing of these was taken. What was, and is not answered for, may be in the log.
        self.requests.close();
        let waiting = self.next.take().into_iter().chain(std::iter::from_fn(|| self.requests.try_recv().ok()));
        waiting.for_each(|request| request.refuse(why.clone()));
        self.close().await?;
        Ok(Ended::Over)
    }

    /// Ends the threads, and what they wait for.
    pub(super) async fn close(self) -> Result<(), BalancerError> {
        let Engine { disks, share, written, .. } = self;
        // The thread of the log may wait for room for what it followed, or for an answer.
        drop((share, written));
        disks.close().await
    }

    pub(super) fn on_dial(&mut self, shard: ShardId) -> Option<Step> {
        let may = self.share.as_mut().is_none_or(|share| share.on_dial(shard));
        may.then(|| self.decisions.on_dial(shard, &self.ledger))
    }

    pub(super) fn on_hello(&mut self, shard: ShardId, floor: Cursor) -> Step {
        let Some(share) = &self.share else { return self.decisions.on_hello(shard, floor) };
        match self.decisions.on_hello_behind(shard, floor, self.durability.durable()) {
            // There is nobody to fetch it from.
            Step::Fetch(Fetch { after, .. }) if !share.another_writes() => {
                Step::Break(GivenUp::DecisionsLost { shard, floor, read: Cursor(after) })
            }
            step => step,
        }
    }

    /// What was missing of a shard's decisions.
    pub(super) fn on_fetched(
        &mut self,
        shard: ShardId,
        fetch: Fetch,
        retirements: &[Retirement],
    ) -> Result<(), BalancerError> {
        let Engine { decisions, ledger, outcomes_new, .. } = self;
        let moved = decisions.on_fetched(shard, fetch, retirements, ledger, outcomes_new)?;
        self.after_decisions(moved);
        Ok(())
    }

    /// What a shard decided: taken once the log has what it is about.
    pub(super) fn on_shard_frame(&mut self, shard: ShardId, frame: DecisionFrame) -> Result<(), BalancerError> {
        let decidable = self.durability.decidable(&self.ledger);
        let Some(share) = &mut self.share else { return self.on_decisions(shard, &frame) };
        if share.has_left(shard) {
            return Ok(());
        }
        match share.ahead.on_frame(shard, frame, decidable) {
            Ahead::Take(frame) => self.on_decisions(shard, &frame)?,
            Ahead::Held => {}
            Ahead::NoRoom => share.leave(shard),
        }
        Ok(())
    }

    /// Takes what was held back and is of events that the log has by now.
    pub(super) fn take_held(&mut self) -> Result<(), BalancerError> {
        loop {
            let decidable = self.durability.decidable(&self.ledger);
            let Some(share) = &mut self.share else { return Ok(()) };
            let Some((shard, frame)) = share.ahead.next(decidable) else { return Ok(()) };
            self.on_decisions(shard, &frame)?;
        }
    }
}
