//! The log and the results, read back into a ledger when a balancer starts.
//!
//! A ledger begins at a checkpoint, or at nothing. The checkpoint's cut may be in the midst of a frame, of a run of a
//! frame, and of a record of the results: what is at or below it the ledger has already. A record of the results may
//! come once the log reaches as far, or later. Invariants: node.Y1 each event above the checkpoint is recorded once,
//! none at or below it; node.Y2 the results never pass the log; node.Y3 what was decided at or below the checkpoint is
//! remembered to answer requests, and decides nothing.

use dovetail_core::{
    DefineError, EventId, Retirement,
    batch::Run,
    ledger::{DecisionError, Ledger, Outcome},
    planted::{Bug, Planted},
};
use thiserror::Error;

use super::frame::{Part, PartFrame};

/// What a record of the results has, ascending.
pub trait StoredOutcomes {
    /// How many there are.
    fn count(&self) -> usize;

    /// The event of one of them.
    fn x(&self, index: usize) -> EventId;

    /// One of them.
    fn outcome(&self, index: usize) -> Outcome;

    /// What it retired.
    fn retirement(&self, index: usize) -> Retirement;
}

impl StoredOutcomes for [Outcome] {
    fn count(&self) -> usize {
        self.len()
    }

    fn x(&self, index: usize) -> EventId {
        self[index].x
    }

    fn outcome(&self, index: usize) -> Outcome {
        self[index].clone()
    }

    fn retirement(&self, index: usize) -> Retirement {
        self[index].retirement()
    }
}

/// Why a log and its results cannot be read back.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// An event cannot have happened.
    #[error("event {x}: {source}")]
    Event {
        /// The event.
        x: EventId,
        /// Why not.
        source: DefineError,
    },
    /// The results do not fit the log.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// The log has lost its end, or the results are another log's.
    #[error("the results reach {through}, the log only {recorded}")]
    ResultsAhead {
        /// The last event that the results cover.
        through: EventId,
        /// The last event of the log.
        recorded: EventId,
    },
}

/// A replay into a ledger that begins at a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// The checkpoint's cut.
    from: EventId,
    planted: Planted,
}

impl Replay {
    /// Into a ledger that has what its checkpoint says, and nothing else.
    #[must_use]
    pub fn new(ledger: &Ledger, planted: Planted) -> Replay {
        Replay { from: ledger.recorded(), planted }
    }

    /// The next frame of the log.
    ///
    /// # Errors
    /// When an event in it cannot have happened.
    pub fn on_frame(self, frame: &PartFrame, ledger: &mut Ledger) -> Result<(), ReplayError> {
        ledger.on_told(frame.stable);
        for part in &frame.events {
            match part {
                Part::Event(event) if event.x > self.from => {
                    let recorded = ledger.record(event.x, frame.time_ms, &event.kind, None);
                    recorded.map_err(|source| ReplayError::Event { x: event.x, source })?;
                }
                Part::Event(_) => {}
                Part::Arrivals(first, run) => self.on_arrivals(*first, run, frame.time_ms, ledger),
            }
        }
        Ok(())
    }

    /// Of a run, what is above the checkpoint.
    fn on_arrivals(self, first: EventId, Run { batch, rows }: &Run, time_ms: u64, ledger: &mut Ledger) {
        let known = usize::try_from((self.from.0 + 1).saturating_sub(first.0)).unwrap_or(usize::MAX);
        let left = rows.start.saturating_add(known).min(rows.end)..rows.end;
        if left.is_empty() {
            return;
        }
        let rows = if self.planted.is(Bug::ReplayTakesFirstRows) { rows.start..rows.start + left.len() } else { left };
        ledger.record_run(EventId(first.0 + known as u64), time_ms, &Run { batch: batch.clone(), rows });
    }

    /// The next record of the results, which covers everything up to `through`; none of an empty one.
    ///
    /// # Errors
    /// When it does not fit the log that was read, or that does not reach as far.
    pub fn on_results<R: StoredOutcomes + ?Sized>(
        self,
        through: EventId,
        outcomes: Option<&R>,
        ledger: &mut Ledger,
    ) -> Result<(), ReplayError> {
        let recorded = ledger.recorded();
        if through > recorded {
            return Err(ReplayError::ResultsAhead { through, recorded });
        }
        let mut retirements = Vec::new();
        if let Some(outcomes) = outcomes {
            // One that reaches over the checkpoint's cut is in it up to there.
            let known = (0..outcomes.count()).take_while(|&index| outcomes.x(index) <= self.from).count();
            if through <= self.from || !self.planted.is(Bug::ReplayForgetsOverCut) {
                (0..known).for_each(|index| ledger.remember(&outcomes.outcome(index)));
            }
            retirements.extend((known..outcomes.count()).map(|index| outcomes.retirement(index)));
        }
        if through > self.from {
            ledger.restore(through, &retirements)?;
        }
        Ok(())
    }
}
