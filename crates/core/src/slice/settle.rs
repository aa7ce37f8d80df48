//! Pools in which this slice alone searches for its elements: the sequential program, step by step.
//!
//! It looks neither at what others decided nor at the decided watermark, except to bound how far it runs ahead: a slice that
//! starts anew settles the same events alike, from the cut and the log alone.

use super::{FrameError, Prober, Slice};
use crate::{ElementId, EventId, Place, PoolId, Retirement, SliceId, planted::Bug};

impl Slice {
    /// Settles an arrival: it is matched with the lowest anchor that satisfies the rule, or waits. False when it has to wait
    /// for the decided watermark.
    pub(super) fn settle_arrival(&mut self, x: EventId, prober: &Prober<'_>, time_ms: u64) -> Result<bool, FrameError> {
        let place = self.pool(x, prober.pool)?.pool.place(prober.element, prober.row);
        if self.owner(place, prober.element) != self.id {
            return Ok(true);
        }
        if !self.ahead.may_settle(x, self.known()) {
            return Ok(false);
        }
        if !self.settle(x, prober, place, time_ms)? {
            self.add_anchor(x, prober.waiting())?;
        }
        Ok(true)
    }

    /// Settles the search of an element that waits, if it does. False when it has to wait for the decided watermark.
    pub(super) fn settle_reprobe(&mut self, x: EventId, prober: &Prober<'_>, time_ms: u64) -> Result<bool, FrameError> {
        let pool = self.pool(x, prober.pool)?;
        if !pool.anchors.contains(prober.element) {
            return Ok(true);
        }
        let place = pool.pool.place(prober.element, prober.row);
        if !self.ahead.may_settle(x, self.known()) {
            return Ok(false);
        }
        if self.settle(x, prober, place, time_ms)? {
            self.remove_settled(prober.element);
        }
        Ok(true)
    }

    /// Settles a withdrawal, if the element waits here.
    pub(super) fn settle_withdrawal(&mut self, x: EventId, element: ElementId, pool: PoolId) {
        let pool = &self.pools[&pool];
        if pool.anchors.contains(element) {
            let home = self.placement.home(pool.anchors.place(&pool.pool, element));
            self.remove_settled(element);
            self.frames.settled(home, Retirement { x, element, anchor: None });
        }
    }

    /// Matches the prober with the lowest anchor that satisfies the rule. False when there is none.
    fn settle(&mut self, x: EventId, prober: &Prober<'_>, place: Place, time_ms: u64) -> Result<bool, FrameError> {
        let pool = self.pools.get_mut(&prober.pool).expect("it was looked up");
        prober.row.check(&pool.pool.schema).map_err(|source| FrameError::Row { x, source: Box::new(source) })?;
        let (found, _) = pool.anchors.satisfying(&pool.pool, prober.candidate(), time_ms, 1, &mut pool.rule_errors);
        let Some(&anchor) = found.first() else { return Ok(false) };
        if !self.planted.is(Bug::SettledAnchorStays) {
            self.remove_settled(anchor);
        }
        self.stats.candidates += 1;
        self.frames
            .settled(self.placement.home(place), Retirement { x, element: prober.element, anchor: Some(anchor) });
        Ok(true)
    }

    fn remove_settled(&mut self, element: ElementId) {
        let pool = self.owned.remove(&element).expect("whoever asks has found it");
        self.pools.get_mut(&pool).expect("an owned element is in a pool").anchors.remove(element);
    }

    fn owner(&self, place: Place, element: ElementId) -> SliceId {
        let place = if self.planted.is(Bug::KeyIgnored) { Place::Id(element) } else { place };
        self.placement.owner(place)
    }
}
