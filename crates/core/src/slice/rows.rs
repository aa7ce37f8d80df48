//! Arrivals that come in columns. They are searched as events are; what can be told of many rows at once is.
//!
//! Where the slice settles the pool it looks at its own rows alone: who owns which was computed for all slices of the
//! node ([`Arrivals::placed`]), and their keys are hashed column by column.

use std::{mem, ops::Range};

use super::{FrameError, Slice, prober::Prober, row_buffer::RowBuffer, shared::Shared};
use crate::{
    ElementId, EventId, SliceId,
    column_frame::{Arrivals, Placed},
    planted::Bug,
};

impl Slice {
    /// Searches for elements that arrive, row by row. False when it has to wait for the decided watermark.
    pub(super) fn search_rows(
        &mut self,
        shared: &mut Shared,
        arrivals: &Arrivals,
        rows: Range<usize>,
        time_ms: u64,
    ) -> Result<bool, FrameError> {
        let Some(&first) = arrivals.xs()[rows.clone()].first() else { return Ok(true) };
        let mut buffer = mem::take(&mut self.buffer);
        let searched = if self.pools.get(first, arrivals.pool())?.settled {
            self.apply_retirements_below(shared, first);
            self.settle_rows(shared, arrivals, rows, time_ms, &mut buffer)?
        } else {
            self.probe_rows(shared, arrivals, rows, time_ms, &mut buffer)?
        };
        self.buffer = buffer;
        Ok(searched)
    }

    /// The same in a pool where others own anchors, too.
    fn probe_rows(
        &mut self,
        shared: &mut Shared,
        arrivals: &Arrivals,
        rows: Range<usize>,
        time_ms: u64,
        buffer: &mut RowBuffer,
    ) -> Result<bool, FrameError> {
        let taken_in = shared.arrived(arrivals.pool(), arrivals.xs()[rows.start]);
        for at in rows {
            let x = arrivals.xs()[at];
            let row = match taken_in.as_ref().and_then(|taken_in| taken_in.row(x)) {
                Some(row) => row,
                None => buffer.set(0, arrivals.values(at)),
            };
            // Events that a frame leaves out do not concern this slice, and count as searched.
            self.through = x.prev();
            let (element, pool) = (ElementId::from(x), arrivals.pool());
            let prober = Prober { element, pool, row, arrived_ms: time_ms, key: None };
            if !self.search_arrival(shared, x, &prober, time_ms)? {
                return Ok(false);
            }
            self.through = x;
        }
        Ok(true)
    }

    /// The same in a pool that the slice settles.
    fn settle_rows(
        &mut self,
        shared: &mut Shared,
        arrivals: &Arrivals,
        rows: Range<usize>,
        time_ms: u64,
        buffer: &mut RowBuffer,
    ) -> Result<bool, FrameError> {
        let (xs, pool) = (arrivals.xs(), arrivals.pool());
        let entry = self.pools.get(xs[rows.start], pool)?;
        let placed = arrivals.placed(&entry.pool, &self.placement);
        let placed = placed.map_err(|(x, source)| FrameError::Row { x, source: Box::new(source) })?;
        let own: Vec<usize> = rows.clone().filter(|&at| self.owner_of(xs[at], placed, &rows, at) == self.id).collect();
        let last = self.ahead.settles_up_to(self.decided_seen());
        let (now, later) = own.split_at(own.partition_point(|&at| xs[at] <= last));
        let keys = entry.bucket_hashes(arrivals, now);
        for (number, &at) in now.iter().enumerate() {
            let (x, row) = (xs[at], buffer.set(0, arrivals.values(at)));
            let key = match &keys {
                Some(keys) => keys[number],
                None => self.pools.get(x, pool)?.bucket_hash(row),
            };
            let prober = Prober { element: ElementId::from(x), pool, row, arrived_ms: time_ms, key };
            assert!(self.settle_own_arrival(shared, x, &prober, placed.place(at), time_ms)?, "{x} is not above {last}");
        }
        let Some(&waits) = later.first() else {
            self.through = xs[rows.end - 1];
            return Ok(true);
        };
        self.through = xs[waits].prev();
        self.apply_retirements_below(shared, xs[waits]);
        Ok(self.ahead.may_settle(xs[waits], self.decided_seen()))
    }

    /// The slice that searches for a row, one of some neighbours.
    #[inline]
    fn owner_of(&self, x: EventId, placed: &Placed, rows: &Range<usize>, at: usize) -> SliceId {
        if self.planted.is(Bug::KeyIgnored) {
            return self.owner(placed.place(at), ElementId::from(x));
        }
        placed.owner(if self.planted.is(Bug::OwnersFromFirst) { at - rows.start } else { at })
    }
}
