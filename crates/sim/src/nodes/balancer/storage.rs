//! The balancer and its disk: frames and results become durable, and come back after a crash.

use std::{mem, sync::Arc};

use dovetail_core::{
    EventKind, Retirement,
    ledger::{Ledger, Outcome},
};

use super::Balancer;
use crate::{
    cx::Cx,
    disk::{LogRecord, ResultRecord},
    net::{Message, Node, Timer},
    violation::Violation,
};

impl Balancer {
    /// Replays the disk. Results are put in early or late, as they may be.
    pub(super) fn recover(&mut self, cx: &mut Cx) -> Result<Ledger, Violation> {
        let mut ledger = Ledger::new(cx.scenario.ledger, cx.scenario.placement.shards());
        let interleaved = cx.rng.chance(500);
        let mut results = self.disk.results.safe().iter().peekable();
        let restore = |ledger: &mut Ledger, record: &ResultRecord| {
            let retirements: Vec<Retirement> = record.outcomes.iter().map(Outcome::retirement).collect();
            ledger.restore(record.through, &retirements)
        };
        for record in self.disk.log.safe() {
            let mut clients = record.clients.iter();
            for event in &record.frame.events {
                let arrival = matches!(event.kind, EventKind::Arrival { .. });
                let client = arrival.then(|| clients.next().expect("an arrival has a client part").clone());
                let defined = ledger.record(event.x, record.frame.time_ms, &event.kind, client);
                defined.expect("what was recorded once is recorded again");
            }
            while let Some(results) = results.next_if(|results| interleaved && results.through <= record.frame.through)
            {
                restore(&mut ledger, results)?;
            }
        }
        for record in results {
            restore(&mut ledger, record)?;
        }
        Ok(ledger)
    }

    pub(super) fn take_frame(&mut self, cx: &mut Cx) {
        let live = self.live.as_mut().expect("a node that is up is live");
        if let Some(frame) = live.sequencer.take() {
            self.disk.log.append(LogRecord { frame: Arc::new(frame), clients: mem::take(&mut live.clients) });
            self.sync_log(cx);
        }
    }

    pub(super) fn sync_log(&mut self, cx: &mut Cx) {
        if self.disk.log.begin_sync() {
            let delay = cx.rng.range(1, cx.scenario.disk.log_ms);
            cx.net.timer(Node::Balancer, delay, Timer::LogSynced);
        }
    }

    pub(super) fn on_log_synced(&mut self, cx: &mut Cx) -> Result<(), Violation> {
        let live = self.live.as_mut().expect("a node that is up is live");
        for record in self.disk.log.end_sync() {
            cx.truth.on_durable(&record.frame, &record.clients)?;
            for (matcher, feed) in live.feeds.iter().enumerate() {
                if let &Some(feed) = feed {
                    cx.net.send(feed, Message::Log(live.share(cx, matcher, &record.frame)), &mut cx.stats);
                }
            }
        }
        self.sync_log(cx);
        Ok(())
    }

    pub(super) fn write_results(&mut self, cx: &mut Cx) {
        let live = self.live.as_mut().expect("a node that is up is live");
        let through = live.ledger.decided();
        if through > live.written && self.disk.results.idle() {
            live.written = through;
            self.disk.results.append(ResultRecord { through, outcomes: mem::take(&mut live.outcomes) });
            if self.disk.results.begin_sync() {
                let delay = cx.rng.range(1, cx.scenario.disk.results_ms);
                cx.net.timer(Node::Balancer, delay, Timer::ResultsSynced);
            }
        }
    }

    pub(super) fn on_results_synced(&mut self, cx: &mut Cx) {
        let live = self.live.as_mut().expect("a node that is up is live");
        self.disk.results.end_sync();
        self.stable = self.disk.stable();
        live.ledger.on_stable(self.stable);
        for &feed in live.feeds.iter().flatten() {
            cx.net.send(feed, Message::Stable(self.stable), &mut cx.stats);
        }
        self.write_results(cx);
    }
}
