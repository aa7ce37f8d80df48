//! Pools in which this slice alone searches for its elements: the sequential program, step by step.
//!
//! It looks neither at what others decided nor at the decided watermark, except to bound how far it runs ahead: a slice
//! that starts anew settles the same events alike, from the cut and the log alone.

use super::{FrameError, Prober, Shared, Slice};
use crate::{ElementId, EventId, Place, PoolId, Retirement, SliceId, planted::Bug};

impl Slice {
    /// Settles an arrival: it is matched with the lowest anchor that satisfies the rule, or waits. False when it has to
    /// wait for the decided watermark.
    pub(super) fn settle_arrival(
        &mut self,
        shared: &mut Shared,
        x: EventId,
        prober: &Prober<'_>,
        time_ms: u64,
    ) -> Result<bool, FrameError> {
        let place = self.place(x, prober.pool, prober.element, prober.row)?;
        if self.owner(place, prober.element) != self.id {
            return Ok(true);
        }
        self.settle_own_arrival(shared, x, prober, place, time_ms)
    }

    /// The same of an element that is this slice's, which has that place.
    pub(super) fn settle_own_arrival(
        &mut self,
        shared: &mut Shared,
        x: EventId,
        prober: &Prober<'_>,
        place: Place,
        time_ms: u64,
    ) -> Result<bool, FrameError> {
        if !self.ahead.may_settle(x, self.decided_seen()) {
            return Ok(false);
        }
        if !self.settle(x, prober, place, time_ms)? {
            self.pools.insert(shared, prober);
        }
        Ok(true)
    }

    /// Settles the search of an element that waits, if it does. False when it has to wait for the decided watermark.
    pub(super) fn settle_reprobe(&mut self, x: EventId, prober: &Prober<'_>, time_ms: u64) -> Result<bool, FrameError> {
        if self.pools.get(x, prober.pool)?.anchors.find(prober.element.0).is_none() {
            return Ok(true);
        }
        if !self.ahead.may_settle(x, self.decided_seen()) {
            return Ok(false);
        }
        let at = self.place(x, prober.pool, prober.element, prober.row)?;
        if self.settle(x, prober, at, time_ms)? {
            let pool = self.pools.get_mut(x, prober.pool)?;
            let slot = pool.anchors.find(prober.element.0).expect("it was found before");
            pool.anchors.remove(slot);
        }
        Ok(true)
    }

    /// Settles a withdrawal, if the element waits here.
    pub(super) fn settle_withdrawal(&mut self, x: EventId, element: ElementId, pool: PoolId) -> Result<(), FrameError> {
        let pool = self.pools.get_mut(x, pool)?;
        let Some(slot) = pool.anchors.find(element.0) else { return Ok(()) };
        let home = self.placement.home(pool.pool.place(element, &pool.anchors.row(slot)));
        pool.anchors.remove(slot);
        self.frames.settled(home, Retirement { x, element, anchor: None });
        Ok(())
    }

    /// Matches the prober, which has that place, with the lowest anchor that satisfies the rule. False when there is
    /// none.
    fn settle(&mut self, x: EventId, prober: &Prober<'_>, place: Place, time_ms: u64) -> Result<bool, FrameError> {
        self.stats.probes += 1;
        let pool = self.pools.get_mut(x, prober.pool)?;
        let Some(slot) = pool.first(x, prober, time_ms) else { return Ok(false) };
        let anchor = ElementId(pool.anchors.id(slot));
        if !self.planted.is(Bug::SettledAnchorStays) {
            pool.anchors.remove(slot);
        }
        self.stats.candidates += 1;
        self.frames
            .settled(self.placement.home(place), Retirement { x, element: prober.element, anchor: Some(anchor) });
        Ok(true)
    }

    /// The slice that searches for an element which has that place.
    pub(super) fn owner(&self, place: Place, element: ElementId) -> SliceId {
        let place = if self.planted.is(Bug::KeyIgnored) { Place::Id(element) } else { place };
        self.placement.owner(place)
    }
}
