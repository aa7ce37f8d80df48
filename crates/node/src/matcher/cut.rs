//! The cut that a session begins at, as it is read: a hello, and parts up to the last.
//!
//! Parts have the elements in no order; each comes once, whatever ended while the balancer read them
//! (`dovetail_core::ledger`, cut.C1). A reader that finds it otherwise begins again. Invariant: node.C1 no slice
//! searches in a cut of which a part is missing, or in which an element comes twice.

use dovetail_core::{
    ElementId, EventId,
    planted::{Bug, Planted},
    slice::SliceCut,
};

use super::MatcherStart;
use crate::link::GivenUp;

/// A cut that is being read.
#[derive(Debug)]
pub struct CutReader {
    log_id: String,
    cut: SliceCut,
    planted: Planted,
}

impl CutReader {
    /// The hello has come: of which log, and after which event its frames follow.
    #[must_use]
    pub fn new(log_id: String, through: EventId) -> CutReader {
        CutReader { log_id, cut: SliceCut { through, ..SliceCut::default() }, planted: Planted::default() }
    }

    /// Plants a bug.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// A part has come; its own `through` says nothing.
    ///
    /// # Errors
    /// When the parts are no cut.
    pub fn on_part(&mut self, part: SliceCut) -> Result<(), GivenUp> {
        let SliceCut { through: _, pools, waiting, complete, left_out } = part;
        let through = self.cut.through;
        if let Some(waiting) = waiting.iter().find(|waiting| waiting.element > ElementId(through.0)) {
            return Err(GivenUp::AboveCut { element: waiting.element, through });
        }
        self.cut.pools.extend(pools);
        if self.planted.is(Bug::CutPartForgotten) {
            self.cut.waiting.clear();
        }
        self.cut.waiting.extend(waiting);
        self.cut.complete.extend(complete);
        self.cut.left_out.extend(left_out);
        Ok(())
    }

    /// That was the last part.
    ///
    /// # Errors
    /// When an element came twice.
    pub fn finish(mut self) -> Result<MatcherStart, GivenUp> {
        self.cut.waiting.sort_unstable_by_key(|waiting| waiting.element);
        let twice = self.cut.waiting.windows(2).find(|pair| pair[0].element == pair[1].element);
        match twice {
            Some(pair) => Err(GivenUp::Twice { element: pair[0].element }),
            None => Ok(MatcherStart { log_id: self.log_id, cut: self.cut }),
        }
    }
}
