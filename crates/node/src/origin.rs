//! The log that a session began with, and whether it is still the one that the balancer serves.
//!
//! A session has built on a log, and has forgotten what was stable in it. A balancer of another log, or one whose
//! results end before what was forgotten, cannot be gone on with. Invariant: node.B1 what is forgotten is noted before
//! the cut is asked for: the cut only moves on, and what is forgotten while the answer is under way may be above it.

use dovetail_core::{EventId, Stable};
use thiserror::Error;

/// Why a session cannot go on with a balancer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogChanged {
    /// The balancer serves another log.
    #[error("the balancer's log is {found}, this session's was {was}")]
    OtherLog {
        /// The log that it serves.
        found: String,
        /// The log of this session.
        was: String,
    },
    /// The balancer has lost results, as an operator can see: its cut is below what was forgotten here because it was
    /// stable.
    #[error("the balancer's results end at {cut}, what is below {floor} is forgotten here")]
    ResultsLost {
        /// The balancer's cut.
        cut: Stable,
        /// What was forgotten.
        floor: EventId,
    },
}

impl LogChanged {
    /// Its kind, as a constant for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            LogChanged::OtherLog { .. } => "other_log",
            LogChanged::ResultsLost { .. } => "results_lost",
        }
    }
}

/// The log that a session began with.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    log_id: String,
    /// What was forgotten when the cut was asked for.
    asked: Option<EventId>,
}

impl Origin {
    pub(crate) fn new(log_id: String) -> Origin {
        Origin { log_id, asked: None }
    }

    /// The balancer is asked for its log and cut, while everything at or below `floor` is forgotten.
    pub(crate) fn ask(&mut self, floor: EventId) {
        self.asked = Some(floor);
    }

    /// The balancer's log and cut.
    ///
    /// # Errors
    /// When the session cannot go on with them.
    pub(crate) fn on_cut(&mut self, log_id: &str, cut: Stable) -> Result<(), LogChanged> {
        if log_id != self.log_id {
            return Err(LogChanged::OtherLog { found: log_id.to_owned(), was: self.log_id.clone() });
        }
        match self.asked.take() {
            Some(floor) if cut.event() < floor => Err(LogChanged::ResultsLost { cut, floor }),
            _ => Ok(()),
        }
    }
}
