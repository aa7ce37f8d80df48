//! The cluster's state at the stable cut, read in parts while the ledger goes on.
//!
//! A cut is of the event that was stable when it began, `through`. What waits there is what waits still, and what ended
//! after it: an element that ended is still known by its row as long as its end is above the stable cut, and, while a
//! cut is read, above the cut's `through` ([`Ledger::keep_for`]), unless that is too much. Parts look at elements in
//! the order of their ids. Each part notes what was decided when it looked; an element ended by event `x` was found
//! waiting exactly if less than `x` was decided then. The others are found last, among those that ended. Invariant:
//! cut.C1 whatever is recorded and decided between the parts, together they have each element that waits at `through`
//! once, and no other.

use std::collections::BTreeSet;

use dovetail_rule::Split;

use super::{At, ENDED_PER_WAITING, Ledger, Slot, Unstable};
use crate::{
    ElementId, EventId, Place, PoolId,
    planted::Bug,
    slice::{COMPLETE_VIEW_MAX, SliceCut, WaitingElement},
};

/// Elements whose rows are forgotten at a time.
const RELEASED_MAX: usize = 65_536;

/// A cut that is being read.
#[derive(Clone, Debug)]
pub struct Cutting {
    through: EventId,
    complete: BTreeSet<PoolId>,
    /// Up to which element each part looked, and what was decided then.
    looked: Vec<(ElementId, EventId)>,
    /// Those that ended: looked at after the first event, up to the second. None before all elements were looked at.
    ended: Option<(EventId, EventId)>,
}

impl Cutting {
    /// What it is a cut of.
    #[must_use]
    pub fn through(&self) -> EventId {
        self.through
    }

    /// What was decided when an element was looked at.
    fn decided_at(&self, element: ElementId) -> EventId {
        let part = self.looked.partition_point(|&(upto, _)| upto < element);
        self.looked.get(part).expect("all elements up to the cut were looked at").1
    }
}

/// Some of the elements of a cut.
#[derive(Debug)]
pub struct CutElements {
    /// In no order.
    pub waiting: Vec<WaitingElement>,
    /// There are no others.
    pub last: bool,
}

/// What a cut still needs was forgotten: it has to begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutGone;

impl Ledger {
    /// The state at the stable cut; `mine` chooses the elements that come with it, in ascending order. Where few wait
    /// in a pool that is split by index, all of them come.
    #[must_use]
    pub fn cut(&self, mine: impl Fn(Place) -> bool) -> SliceCut {
        let (mut cut, mut cutting) = self.begin_cut();
        loop {
            let part = self.cut_part(&mut cutting, (usize::MAX / ENDED_PER_WAITING, usize::MAX), &mine);
            let CutElements { waiting, last } = part.expect("nothing is forgotten meanwhile");
            cut.waiting.extend(waiting);
            if last {
                cut.waiting.sort_unstable_by_key(|waiting| waiting.element);
                return cut;
            }
        }
    }

    /// Begins to read the state at the stable cut: all of it but the elements, which come in parts.
    #[must_use]
    pub fn begin_cut(&self) -> (SliceCut, Cutting) {
        let through = self.stable.event();
        let complete = self.complete_at_cut();
        let defined = self.pools.values().filter(|pool| pool.defined_at <= through);
        let pools = defined.map(|entry| (entry.pool.id, entry.pool.definition.clone())).collect();
        let cut =
            SliceCut { through, pools, waiting: Vec::new(), complete: complete.clone(), left_out: self.left_out() };
        (cut, Cutting { through, complete, looked: Vec::new(), ended: None })
    }

    /// The next elements: of about so many that are looked at, and of so many bytes, but of one.
    ///
    /// # Errors
    /// When the ledger was not told to keep what the cut needs, or kept too much for it.
    pub fn cut_part(
        &self,
        cutting: &mut Cutting,
        (most, bytes_max): (usize, usize),
        mine: impl Fn(Place) -> bool,
    ) -> Result<CutElements, CutGone> {
        if self.released > cutting.through {
            return Err(CutGone);
        }
        let mut part =
            Part { waiting: Vec::new(), left: most.max(1) * ENDED_PER_WAITING, bytes_left: bytes_max, full: false };
        let last = match cutting.ended {
            None => {
                self.cut_waiting(cutting, &mut part, mine);
                self.planted.is(Bug::CutForgetsEnded) && cutting.ended.is_some()
            }
            Some(range) => self.cut_ended(cutting, range, &mut part, mine),
        };
        Ok(CutElements { waiting: part.waiting, last })
    }

    fn cut_waiting(&self, cutting: &mut Cutting, part: &mut Part, mine: impl Fn(Place) -> bool) {
        let all = ElementId(cutting.through.0);
        let mut upto = all;
        let after = cutting.looked.last().map_or(ElementId(0), |&(upto, _)| upto);
        for (element, at) in self.elements.known_after(after).take_while(|&(element, _)| element <= all) {
            if let Some(at) = at {
                part.add(self.at_cut(&cutting.complete, element, at, &mine));
            }
            if part.is_full(if at.is_some() { ENDED_PER_WAITING } else { 1 }) {
                upto = element;
                break;
            }
        }
        cutting.looked.push((upto, self.decided.event()));
        if upto == all {
            cutting.ended = Some((cutting.through, self.decided.event()));
        }
    }

    /// Adds those that had ended when they were looked at. Whether these were the last.
    fn cut_ended(
        &self,
        cutting: &mut Cutting,
        (after, upto): (EventId, EventId),
        part: &mut Part,
        mine: impl Fn(Place) -> bool,
    ) -> bool {
        let from = self.unstable.partition_point(|unstable| unstable.x <= after);
        let mut looked_at = after;
        for &Unstable { x, element, at, .. } in self.unstable.range(from..).take_while(|unstable| unstable.x <= upto) {
            // An event ends two elements at most: both are in one part.
            if part.full && x > looked_at {
                cutting.ended = Some((looked_at, upto));
                return false;
            }
            looked_at = x;
            if element.arrival() <= cutting.through && cutting.decided_at(element) >= x {
                part.add(self.at_cut(&cutting.complete, element, at, &mine));
            }
            part.is_full(ENDED_PER_WAITING);
        }
        true
    }

    fn at_cut(
        &self,
        complete: &BTreeSet<PoolId>,
        element: ElementId,
        at: At,
        mine: impl Fn(Place) -> bool,
    ) -> Option<WaitingElement> {
        let view = self.elements.view(at);
        let (pool, row) = (view.batch.pool(), view.batch.row(view.row));
        let mine = complete.contains(&pool) || mine(self.pool(pool).pool.place(element, &row));
        mine.then(|| WaitingElement { element, pool, arrived_ms: view.arrived_ms, row: row.into() })
    }

    /// From now on what ends above these events is kept, for the cuts that are read, as far as it is there still; with
    /// none, nothing is kept for any.
    pub fn keep_for(&mut self, cuts: impl IntoIterator<Item = EventId>) {
        let mut cuts: Vec<EventId> = cuts.into_iter().filter(|through| *through >= self.released).collect();
        cuts.sort_unstable();
        cuts.dedup();
        if cuts != self.kept.cuts {
            self.kept.cuts = cuts;
            self.release();
        }
    }

    /// What ended at or below it is kept for no cut, and pools that were dropped by then are forgotten.
    #[must_use]
    pub fn released(&self) -> EventId {
        self.released
    }

    /// Whether there are rows of elements that are no longer needed: they are forgotten a few at a time.
    #[must_use]
    pub fn has_unneeded(&self) -> bool {
        self.unstable.front().is_some_and(|unstable| unstable.x <= self.released)
    }

    /// Forgets some of the rows of elements that ended at or below the stable cut, but for those that a cut still
    /// needs.
    pub fn release(&mut self) {
        while let Some(&oldest) = self.kept.cuts.first()
            && self.keeps_too_much(oldest)
        {
            self.kept.cuts.remove(0);
        }
        let through = self.kept.cuts.first().copied().map_or(self.stable.event(), |cut| cut.min(self.stable.event()));
        if through > self.released {
            self.released = through;
            self.forget_dropped(through);
        }
        for _ in 0..RELEASED_MAX {
            let unneeded = |unstable: &mut Unstable| unstable.x <= self.released;
            let Some(Unstable { at, pool, .. }) = self.unstable.pop_front_if(unneeded) else { break };
            self.elements.release(at);
            let count = self.unstable_in.get_mut(&pool).expect("it was counted");
            *count -= 1;
            if *count == 0 {
                self.unstable_in.remove(&pool);
            }
        }
    }

    /// Whether what ended above an event, and would be forgotten without the cut that is of it, is too much.
    fn keeps_too_much(&self, through: EventId) -> bool {
        let ended_by = |x| {
            let count = self.unstable.partition_point(|unstable| unstable.x <= x);
            (count, self.unstable.get(count.saturating_sub(1)).map_or(0, |last| last.bytes))
        };
        let ((before, bytes_before), (upto, bytes_upto)) = (ended_by(through), ended_by(self.stable.event()));
        upto - before > self.kept.most || bytes_upto - bytes_before > self.kept.bytes_max
    }

    /// Elements retired at or below the cut that events above it name.
    fn left_out(&self) -> BTreeSet<ElementId> {
        let mut forgotten: Option<BTreeSet<ElementId>> = None;
        let mut ended_above = |element: ElementId| {
            let above = || self.unstable.iter().filter(|unstable| !self.stable.covers(unstable.x));
            forgotten.get_or_insert_with(|| above().map(|unstable| unstable.element).collect()).contains(&element)
        };
        let naming = self.naming.range(self.stable.event().next()..).map(|(_, &(element, _))| element);
        let dead = naming.filter(|element| self.stable.covers(element.arrival())).filter(|&element| {
            match self.elements.get(element) {
                Slot::Waiting(_) => false,
                Slot::Ended(x) => self.stable.covers(x),
                // What ended it is not remembered.
                Slot::None => !ended_above(element),
            }
        });
        dead.collect()
    }

    /// Pools that are split by index in which few wait at the stable cut. There may be others in which many arrived
    /// since, or ended.
    fn complete_at_cut(&self) -> BTreeSet<PoolId> {
        let defined = self.pools.values().filter(|pool| self.stable.covers(pool.defined_at));
        let by_index = defined.filter(|entry| entry.pool.split() == Split::Index);
        let ended = |pool: PoolId| self.unstable_in.get(&pool).copied().unwrap_or_default();
        let few = by_index.filter(|entry| entry.counts.waiting + ended(entry.pool.id) <= COMPLETE_VIEW_MAX as u64);
        few.map(|entry| entry.pool.id).collect()
    }
}

/// A part that is being made.
struct Part {
    waiting: Vec<WaitingElement>,
    left: usize,
    bytes_left: usize,
    full: bool,
}

impl Part {
    fn add(&mut self, waiting: Option<WaitingElement>) {
        if let Some(waiting) = waiting {
            self.bytes_left = self.bytes_left.saturating_sub(waiting.row.bytes());
            self.waiting.push(waiting);
        }
    }

    /// Whether it is, once something was looked at that counts for so much.
    fn is_full(&mut self, cost: usize) -> bool {
        self.left = self.left.saturating_sub(cost);
        self.full = self.left == 0 || self.bytes_left == 0;
        self.full
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use dovetail_rule::{AttributeType, Row, Value};

    use super::*;
    use crate::Decided;
    use crate::{
        EventKind, PoolDefinition, Retirement, ShardId,
        batch::KeySecret,
        ledger::{ClientPart, LedgerLimits, Outcome},
    };

    fn ledger() -> Ledger {
        let limits = LedgerLimits {
            waiting_max: 100,
            waiting_total_max: 100,
            waiting_bytes_max: u64::MAX,
            waiting_bytes_total_max: u64::MAX,
            element_bytes_max: 65_536,
            payload_bytes_max: 4,
            ended_max: 2,
            idempotency_ms: 100,
            idempotency_max: 2,
            idempotency_total_max: 3,
            search_cost_max: u64::MAX,
            slices: 1,
            key_secret: KeySecret([0; 2]),
        };
        let mut ledger = Ledger::new(limits, 1);
        let definition = PoolDefinition {
            name: "p".to_owned(),
            attributes: vec![("x".to_owned(), AttributeType::Int)],
            rule: "a.x == b.x".to_owned(),
            ttl_ms: 0,
            reprobe_ms: Vec::new(),
            waiting_max: 0,
            payload_bytes_max: 0,
        };
        let defined = EventKind::PoolDefined { pool: PoolId(0), definition: Arc::new(definition) };
        ledger.record(EventId(1), 0, &defined, None).unwrap();
        ledger
    }

    /// Elements that arrive up to an event; then each is paired with the one before.
    fn arrive_and_end(ledger: &mut Ledger, upto: u64, end: bool) {
        for x in ledger.recorded().0 + 1..=upto {
            let row = Arc::new(Row::from_values([Some(Value::Int(1))]));
            let key = format!("{x}").as_str().into();
            let client =
                ClientPart { key, payload: Bytes::new(), ttl_ms: 0, idempotency_key: "".into(), owner: "".into() };
            ledger.record(EventId(x), 0, &EventKind::Arrival { pool: PoolId(0), row }, Some(client)).unwrap();
            if end && x % 2 == 1 {
                let anchor = Some(ElementId(x - 1));
                ledger.on_retirements(&[Retirement { x: EventId(x), element: ElementId(x), anchor }]).unwrap();
            }
            ledger.on_decided(ShardId(0), Decided(EventId(x)), &mut Vec::<Outcome>::new()).unwrap();
            ledger.on_stored(EventId(x));
        }
    }

    #[test]
    fn the_oldest_cut_is_given_up_when_too_much_ends_while_it_is_read() {
        for (most, bytes_max) in [(10, u64::MAX), (usize::MAX, 600)] {
            let mut ledger = ledger();
            (ledger.kept.most, ledger.kept.bytes_max) = (most, bytes_max);
            arrive_and_end(&mut ledger, 5, false);
            let (_, mut old) = ledger.begin_cut();
            ledger.keep_for([old.through()]);
            arrive_and_end(&mut ledger, 13, true);
            let (_, mut new) = ledger.begin_cut();
            ledger.keep_for([new.through(), old.through()]);
            assert_eq!((ledger.released(), ledger.unstable.len()), (EventId(5), 8));
            arrive_and_end(&mut ledger, 17, true);
            ledger.keep_for([new.through(), old.through()]);
            assert_eq!(ledger.cut_part(&mut old, (1, usize::MAX), |_| true).unwrap_err(), CutGone);
            assert!(ledger.cut_part(&mut new, (1, usize::MAX), |_| true).is_ok());
            assert_eq!((ledger.released(), ledger.unstable.len()), (EventId(13), 4));
            ledger.keep_for([]);
            assert_eq!((ledger.released(), ledger.unstable.len()), (EventId(17), 0));
            assert!(ledger.unstable_in.is_empty());
        }
    }
}
