//! From ids to slots: sorted, because ids ascend, so appending is all there is to inserting.
//!
//! Removing is lazy: an entry is dead when its slot has another id. Entries are 8 bytes: ids within 2^32 of one
//! another, which is nearly always all of them, share a base.

use crate::growth::push;

/// A sorted list of ids, with the slot of each.
#[derive(Debug, Default)]
pub(super) struct Index {
    runs: Vec<Run>,
    /// Dead entries among them, as far as is known.
    dead: usize,
    entries: usize,
}

#[derive(Debug)]
struct Run {
    base: u64,
    /// Less the base.
    ids: Vec<u32>,
    slots: Vec<u32>,
}

impl Index {
    /// Ids ascend.
    pub(super) fn push(&mut self, id: u64, slot: u32) {
        let fits = |run: &Run| id - run.base <= u64::from(u32::MAX);
        if !self.runs.last().is_some_and(fits) {
            self.runs.push(Run { base: id, ids: Vec::new(), slots: Vec::new() });
        }
        let run = self.runs.last_mut().expect("just pushed");
        push(&mut run.ids, (id - run.base) as u32);
        push(&mut run.slots, slot);
        self.entries += 1;
    }

    /// The slot an id had when it was pushed. The caller checks whether it still has it.
    pub(super) fn find(&self, id: u64) -> Option<u32> {
        let run = &self.runs[self.runs.partition_point(|run| run.base <= id).checked_sub(1)?];
        let at = run.ids.binary_search(&u32::try_from(id - run.base).ok()?).ok()?;
        Some(run.slots[at])
    }

    /// Takes notice that an element was removed; `ids` are those of the slots.
    pub(super) fn removed(&mut self, id: u64, ids: &[u64]) {
        if let Some(run) = self.runs.last_mut()
            && run.ids.last().is_some_and(|&last| run.base + u64::from(last) == id)
        {
            run.ids.pop();
            run.slots.pop();
            self.entries -= 1;
            return;
        }
        self.dead += 1;
        if self.dead > 64 + self.entries / 3 {
            self.compact(ids);
        }
    }

    #[cold]
    fn compact(&mut self, ids: &[u64]) {
        for run in &mut self.runs {
            let mut kept = 0;
            for at in 0..run.ids.len() {
                let (id, slot) = (run.ids[at], run.slots[at]);
                if ids[slot as usize] == run.base + u64::from(id) {
                    run.ids[kept] = id;
                    run.slots[kept] = slot;
                    kept += 1;
                }
            }
            run.ids.truncate(kept);
            run.slots.truncate(kept);
            if kept < run.ids.capacity() / 2 {
                run.ids.shrink_to(kept + kept / 4);
                run.slots.shrink_to(kept + kept / 4);
            }
        }
        self.runs.retain(|run| !run.ids.is_empty());
        self.entries = self.runs.iter().map(|run| run.ids.len()).sum();
        self.dead = 0;
    }

    /// Every id with the slot it had, ascending, dead ones too.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.runs
            .iter()
            .flat_map(|run| run.ids.iter().zip(&run.slots).map(|(&id, &slot)| (run.base + u64::from(id), slot)))
    }

    pub(super) fn bytes(&self) -> usize {
        let runs = self.runs.iter().map(|run| (run.ids.capacity() + run.slots.capacity()) * 4);
        self.runs.capacity() * size_of::<Run>() + runs.sum::<usize>()
    }
}
