//! The decisions of the shards as the balancer reads them.
//!
//! A shard is read from its own progress in the ledger: whatever it decided up to there is known. It forgets only what this
//! balancer has said is on its disk, so it always keeps what comes next, unless results were lost. A balancer that stands
//! by may be behind that: it fetches from the one that writes what is missing, before it reads on, as nodes do (R3). As
//! with every link, no frame is taken before the hello (node.K1). Invariants: node.D1 the retirements of a message are
//! known before its watermark covers them (R4); node.D2 nothing is read of a shard that has forgotten what the ledger
//! does not know.

use dovetail_core::{
    Cursor, Decided, DecisionFrame, EventId, Retirement, ShardId,
    ledger::{DecisionError, Ledger, Outcomes},
    planted::{Bug, Planted},
    shard::Fetch,
};

use crate::{
    action::{Request, Step},
    link::{GivenUp, Handshake},
};

/// What the balancer reads of every shard.
#[derive(Clone, Debug)]
pub struct DecisionLinks {
    /// By shard, with the cursor that was asked for.
    links: Vec<Handshake<Cursor>>,
    planted: Planted,
}

impl DecisionLinks {
    /// Of so many shards, of which none is read yet.
    #[must_use]
    pub fn new(shards: u32, planted: Planted) -> DecisionLinks {
        DecisionLinks { links: (0..shards).map(|_| Handshake::Down).collect(), planted }
    }

    /// There is no stream of a shard, or it has ended: subscribes from where the ledger is.
    pub fn on_dial(&mut self, shard: ShardId, ledger: &Ledger) -> Step {
        let progress = |shard| ledger.progress(ShardId(shard));
        let highest = || (0..).take(self.links.len()).map(progress).max().unwrap_or_default();
        let after = if self.planted.is(Bug::DecisionsFromHighest) { highest() } else { ledger.progress(shard) };
        *self.link(shard) = Handshake::Asked(after);
        Step::Subscribe(Request::Decisions { after })
    }

    /// A shard answered: it no longer keeps what is at or below `floor`.
    pub fn on_hello(&mut self, shard: ShardId, floor: Cursor) -> Step {
        // There is nobody to fetch from.
        self.on_hello_behind(shard, floor, EventId::ZERO)
    }

    /// The same of a balancer that stands by, whose log is recorded up to an event: what is missing is fetched, once the
    /// log has it.
    pub fn on_hello_behind(&mut self, shard: ShardId, floor: Cursor, recorded: EventId) -> Step {
        let link = self.link(shard);
        let read = *link.asked();
        let step = if floor <= read {
            Step::Read
        } else if floor.event() <= recorded {
            Step::Fetch(Fetch { after: read.event(), through: floor.event() })
        } else {
            Step::Break(GivenUp::DecisionsLost { shard, floor, read })
        };
        let step = if self.planted.is(Bug::StandbyFloorIgnored) { Step::Read } else { step };
        *self.link(shard) = Handshake::after(&step);
        step
    }

    /// What was fetched for a shard has come: all retirements of it. Returns as [`DecisionLinks::on_frame`] does.
    ///
    /// # Errors
    /// When it contradicts the log or an earlier decision.
    pub fn on_fetched(
        &mut self,
        shard: ShardId,
        fetch: Fetch,
        retirements: &[Retirement],
        ledger: &mut Ledger,
        out: &mut impl Outcomes,
    ) -> Result<Option<Decided>, DecisionError> {
        self.link(shard).on_fetched(fetch);
        let frame = DecisionFrame {
            retirements: retirements.to_vec(),
            decided: Some(Decided(fetch.through)),
            ..DecisionFrame::default()
        };
        self.on_frame(shard, &frame, ledger, out)
    }

    /// A message of a shard. Returns up to where everything is decided, if that has moved; what came of it is in `out`.
    ///
    /// # Errors
    /// When it contradicts the log or an earlier decision.
    pub fn on_frame(
        &mut self,
        shard: ShardId,
        frame: &DecisionFrame,
        ledger: &mut Ledger,
        out: &mut impl Outcomes,
    ) -> Result<Option<Decided>, DecisionError> {
        self.link(shard).on_frame();
        let before = ledger.decided();
        if self.planted.is(Bug::WatermarkReadFirst)
            && let Some(decided) = frame.decided
        {
            ledger.on_decided(shard, decided, out)?;
        }
        ledger.on_retirements(&frame.retirements)?;
        if let Some(decided) = frame.decided {
            ledger.on_decided(shard, decided, out)?;
        }
        let decided = ledger.decided();
        Ok((decided > before).then_some(decided))
    }

    fn link(&mut self, shard: ShardId) -> &mut Handshake<Cursor> {
        &mut self.links[shard.0 as usize]
    }
}
