//! The balancer's checkpoints: folded forward beside the running ledger, and what may be trimmed once one is durable.

use dovetail_core::{EventId, Stable, ledger::CheckpointBuilder, planted::Bug};

use super::{BalancerNode, storage::Synced};
use crate::{
    checks,
    cx::Cx,
    disk::{Checkpoint, LogRecord},
    net::{Node, Timer},
    nodes::Fate,
    violation::Violation,
};

impl BalancerNode {
    /// Sometimes begins to write a checkpoint, of some cut that is stable.
    pub(super) fn begin_checkpoint(&mut self, cx: &mut Cx) -> Result<(), Violation> {
        let plan = cx.scenario.keep;
        let (from, stable) = (self.disk.checkpoint.base.through, self.stable);
        if plan.checkpoint_permille == 0 || self.disk.next_checkpoint.is_some() || stable == Stable(from) {
            return Ok(());
        }
        if !cx.rng.chance(plan.checkpoint_permille) {
            return Ok(());
        }
        let newest = cx.rng.chance(500);
        let through = if newest { stable } else { Stable(EventId(cx.rng.range(from.next().0, stable.event().0))) };
        let checkpoint = self.fold(cx, through.event());
        checks::check_checkpoint(cx, &checkpoint)?;
        self.disk.next_checkpoint = Some(checkpoint);
        let delay = cx.rng.range(1, plan.checkpoint_ms);
        cx.net.timer(Node::Balancer(self.index), delay, Timer::CheckpointSynced);
        cx.provoke();
        if cx.planted().is(Bug::TrimsBeforeDurable) {
            self.trim(cx, through.event());
        }
        Ok(())
    }

    /// The checkpoint is on disk, unless the disk failed or is full: then the one before still holds.
    pub(super) fn on_checkpoint_synced(&mut self, cx: &mut Cx) -> Fate {
        let next = self.disk.next_checkpoint.take().expect("one was begun");
        match self.end_sync(cx) {
            Synced::Failed => return Fate::Fails,
            Synced::Full => return Fate::Goes,
            Synced::Done => {}
        }
        cx.stats.checkpoints += 1;
        let through = next.base.through;
        self.disk.checkpoint = next;
        self.trim(cx, through);
        cx.provoke();
        Fate::Goes
    }

    /// The checkpoint of a cut, from the one before and what the log and the results have in between.
    fn fold(&self, cx: &Cx, through: EventId) -> Checkpoint {
        let Checkpoint { base, kept } = self.disk.checkpoint.clone();
        let mut fold = CheckpointBuilder::new(base, through, &cx.scenario.ledger);
        for outcome in self.disk.results.safe().iter().flat_map(|record| &record.outcomes) {
            if outcome.x != through || !cx.planted().is(Bug::CheckpointKeepsRetired) {
                fold.on_outcome(outcome);
            }
        }
        for record in self.disk.log.safe() {
            for (event, client) in record.events() {
                fold.on_event(event.x, record.frame.time_ms, &event.kind, client);
            }
        }
        let old = kept.into_iter().filter_map(|kept| fold.keep(kept));
        let arrived = |record: &LogRecord| {
            let arrived = record.events().filter_map(|(event, client)| {
                fold.arrived(event.x, record.frame.time_ms, &event.kind, client.cloned())
            });
            arrived.collect::<Vec<_>>()
        };
        let mut kept: Vec<_> = old.chain(self.disk.log.safe().iter().flat_map(arrived)).collect();
        if cx.planted().is(Bug::CheckpointForgetsReprobes) {
            kept.iter_mut().for_each(|kept| kept.reprobe_ms = None);
        }
        let mut base = fold.base();
        if cx.planted().is(Bug::CheckpointForgetsKeys) {
            base.idempotency.clear();
        }
        if cx.planted().is(Bug::CheckpointForgetsClosed) {
            base.pools.values_mut().for_each(|pool| pool.closed_at = None);
        }
        if cx.planted().is(Bug::PoolNumberReused) {
            base.next_pool = dovetail_core::PoolId(0);
        }
        Checkpoint { base, kept }
    }

    /// Drops what the checkpoint at `cut` stands for: some of the log, some of the results, all, or nothing.
    fn trim(&mut self, cx: &mut Cx, cut: EventId) {
        let (log, mut results) = (some_floor(cx, cut), some_floor(cx, cut));
        if cx.planted().is(Bug::ResultsTrimmedAboveCut) {
            results = self.stable.event();
        }
        // Those that stand by may have to fetch what they have not stored.
        let balancers = u32::try_from(cx.scenario.balancers()).expect("few balancers");
        if let Some(share) = self.live.as_ref().and_then(|live| live.share.as_ref()) {
            results = results.min(share.leadership.stored_by_all(balancers));
        }
        cx.stats.frames_trimmed += self.disk.log.trim(log) as u64;
        cx.stats.results_trimmed += self.disk.results.trim(results) as u64;
        let live = self.live.as_mut().expect("a node that is up is live");
        live.ledger.on_results_trimmed(self.disk.results.floor());
    }
}

fn some_floor(cx: &mut Cx, cut: EventId) -> EventId {
    match cx.rng.below(4) {
        0 => EventId::ZERO,
        1 => EventId(cx.rng.below(cut.0)),
        _ => cut,
    }
}
