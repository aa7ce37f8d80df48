//! The slices of one matcher. All are given the same, and what they have in common is searched once for all of them; what
//! each of them sends, and when, is as if it were alone.

use std::{ops::Deref, sync::Arc};

use super::{
    CandidateBacklog, CursorTooOld, FrameError, Secret, Slice, SliceCut, SliceEffect, SlicePoolStats, shared::Shared,
};
#[cfg(feature = "planted")]
use crate::planted::Planted;
use crate::{
    Cursor, Decided, DecisionFrame, ElementId, EventId, Placement, Retirement, ShardId, SliceId, Stable,
    column_frame::ColumnFrame, planted::Bug,
};

/// Slices that are given the same.
#[derive(Debug)]
pub struct Slices {
    /// Ascending.
    slices: Vec<Slice>,
    shared: Shared,
}

/// One of some slices, to look at.
#[derive(Clone, Copy, Debug)]
pub struct SliceRef<'a> {
    slice: &'a Slice,
    shared: &'a Shared,
}

impl Slices {
    /// Starts at a cut; the default cut is before every event. The secret keys the tables of what waits; nothing that
    /// is found depends on it.
    ///
    /// # Errors
    /// When a pool of the cut does not compile here.
    ///
    /// # Panics
    /// When there is no slice, or slices do not ascend; when `list_max` is below 2: a probe with one anchor listed and
    /// lost could not be decided.
    pub fn new(
        placement: &Placement,
        ids: &[SliceId],
        list_max: usize,
        secret: Secret,
        cut: SliceCut,
    ) -> Result<Slices, FrameError> {
        assert!(list_max >= 2, "list_max is {list_max}, at least 2");
        assert!(!ids.is_empty(), "a matcher has a slice");
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?} are not ascending");
        let mut shared = Shared::new(placement.clone(), ids, secret, cut.through);
        let slice = |&id| Slice::new(placement.clone(), id, list_max, secret, &cut, &mut shared);
        let mut slices: Vec<Slice> = ids.iter().map(slice).collect::<Result<_, _>>()?;
        let mut waiting = cut.waiting;
        waiting.sort_unstable_by_key(|waiting| waiting.element);
        for waiting in &waiting {
            slices.iter_mut().try_for_each(|slice| slice.on_waiting(&mut shared, waiting))?;
        }
        Ok(Slices { slices, shared })
    }

    /// Plants a bug.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Planted) {
        self.shared.planted = planted;
        for slice in &mut self.slices {
            (slice.planted, slice.pools.planted) = (planted, planted);
        }
    }

    /// Looks ahead in pools of so many anchors or more, instead of where it is worth while. What is found stays the
    /// same: this is for simulations, whose pools are small.
    pub fn look_ahead_from(&mut self, anchors_min: usize) {
        self.shared.ahead_anchors_min = anchors_min;
        self.slices.iter_mut().for_each(|slice| slice.pools.ahead_anchors_min = anchors_min);
    }

    /// Slices have a complete view of pools of at most so many waiting elements. What is decided stays the same.
    pub fn set_complete_view_max(&mut self, waiting_max: usize) {
        self.slices.iter_mut().for_each(|slice| slice.set_complete_view_max(&mut self.shared, waiting_max));
    }

    /// Takes the next frame of the log and searches as far as each slice may. A frame received before is passed over.
    ///
    /// # Errors
    /// When the frame cannot be the next one, or cannot be understood. The slices have to start anew.
    pub fn on_frame(&mut self, frame: &Arc<ColumnFrame>, out: &mut Vec<SliceEffect>) -> Result<(), FrameError> {
        let Slices { slices, shared } = self;
        slices.iter_mut().try_for_each(|slice| slice.on_frame(shared, Arc::clone(frame), out))
    }

    /// Takes what a shard decided, and searches on where a slice waited for that.
    ///
    /// # Errors
    /// When a frame of the log that waited cannot be understood.
    pub fn on_decisions(
        &mut self,
        from: ShardId,
        decisions: &DecisionFrame,
        out: &mut Vec<SliceEffect>,
    ) -> Result<(), FrameError> {
        let Slices { slices, shared } = self;
        let DecisionFrame { retirements, decided, .. } = decisions;
        slices.iter_mut().try_for_each(|slice| slice.on_decisions(shared, from, (retirements, *decided), out))
    }

    /// Takes retirements from the store, in place of those that `shard` no longer keeps: all up to `through`.
    ///
    /// # Errors
    /// When a frame of the log that waited cannot be understood.
    pub fn on_stored(
        &mut self,
        shard: ShardId,
        through: EventId,
        retirements: &[Retirement],
        out: &mut Vec<SliceEffect>,
    ) -> Result<(), FrameError> {
        let Slices { slices, shared } = self;
        let mut retirements = retirements;
        for slice in slices {
            slice.on_decisions(shared, shard, (retirements, Some(Decided(through))), out)?;
            if slice.planted.is(Bug::FetchedForOneSlice) {
                retirements = &[];
            }
        }
        Ok(())
    }

    /// Takes the stable cut: frames at or below it will never be asked for again. Passes the news on when idle.
    pub fn on_stable(&mut self, stable: Stable, out: &mut Vec<SliceEffect>) {
        self.slices.iter_mut().for_each(|slice| slice.on_stable(stable, out));
    }

    /// The backlog of a slice for a shard that has read up to `after`. What comes later goes out as effects.
    ///
    /// # Errors
    /// When frames after its cursor are gone.
    ///
    /// # Panics
    /// When the slice is none of these.
    pub fn subscribe(&self, slice: SliceId, shard: ShardId, after: Cursor) -> Result<CandidateBacklog, CursorTooOld> {
        self.get(slice).subscribe(shard, after)
    }

    /// One of them.
    ///
    /// # Panics
    /// When it is none of these.
    #[must_use]
    pub fn get(&self, slice: SliceId) -> SliceRef<'_> {
        let at = self.slices.binary_search_by_key(&slice, Slice::id);
        let slice = &self.slices[at.expect("only slices of this matcher are asked for")];
        SliceRef { slice, shared: &self.shared }
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SliceRef<'_>> {
        self.slices.iter().map(|slice| SliceRef { slice, shared: &self.shared })
    }
}

impl Deref for SliceRef<'_> {
    type Target = Slice;

    fn deref(&self) -> &Slice {
        self.slice
    }
}

impl<'a> SliceRef<'a> {
    /// What there is to say of each pool, in order of definition.
    pub fn pools(self) -> impl Iterator<Item = SlicePoolStats<'a>> {
        self.slice.pools.iter().map(move |entry| SlicePoolStats {
            name: &entry.pool.definition.name,
            waiting: if entry.lists() { entry.own } else { self.slice.own_anchors(self.shared, entry).count() },
            rule_errors: entry.rule_errors,
            split: entry.pool.split(),
            hot_keys: entry.hot_keys(),
        })
    }

    /// The elements waiting that are owned by the slice, in no order.
    pub fn anchors(self) -> impl Iterator<Item = ElementId> + use<'a> {
        self.slice.pools.iter().flat_map(move |entry| self.slice.own_anchors(self.shared, entry))
    }
}
