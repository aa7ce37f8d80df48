//! What is under way, from an id to the decision, in the order of ids; and how long a decision took once its events
//! were on disk.
//!
//! Two windows are set by that: of searches that cost much ([`turns`](super::turns)) and of timers
//! ([`storms`](super::storms)). What they count, and how much of it there may be, is theirs. Invariant: what was let in
//! before the window changed last tells nothing of the new one.

use std::collections::VecDeque;

use dovetail_core::{Decided, EventId};

/// Parts of a window that are under way.
#[derive(Debug)]
pub(super) struct UnderWay<T> {
    parts: VecDeque<Part<T>>,
    /// The first so many are on disk.
    durable: usize,
    /// What was let in up to this was let in by the window before.
    settled: EventId,
}

/// Events up to one, and what they count.
#[derive(Debug)]
pub(super) struct Part<T> {
    pub(super) through: EventId,
    pub(super) of: T,
    /// When it was on disk, and so on its way to the matchers.
    since_ms: Option<u64>,
}

impl<T> Default for UnderWay<T> {
    fn default() -> UnderWay<T> {
        UnderWay { parts: VecDeque::new(), durable: 0, settled: EventId::ZERO }
    }
}

impl<T> UnderWay<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Part<T>> {
        self.parts.iter()
    }

    /// Events after all others have ids now.
    pub(super) fn push(&mut self, through: EventId, of: T) {
        self.parts.push_back(Part { through, of, since_ms: None });
    }

    /// The last, unless it is on disk: it may become more.
    pub(super) fn last_mut(&mut self) -> Option<&mut Part<T>> {
        self.parts.back_mut().filter(|last| last.since_ms.is_none())
    }

    /// Everything up to an event is on disk.
    pub(super) fn durable(&mut self, durable: EventId, now_ms: u64) {
        let new = self.parts.iter_mut().skip(self.durable);
        for part in new.take_while(|part| part.through <= durable) {
            part.since_ms = Some(now_ms);
            self.durable += 1;
        }
    }

    /// Takes out what is decided, a part at a time, with how long that took in milliseconds, if it tells something of
    /// the window.
    pub(super) fn next_decided(&mut self, decided: Decided, now_ms: u64) -> Option<(T, Option<u64>)> {
        let Part { through, of, since_ms } = self.parts.pop_front_if(|part| part.through <= decided.event())?;
        self.durable = self.durable.saturating_sub(1);
        let since_ms = since_ms.filter(|_| through > self.settled);
        Some((of, since_ms.map(|since_ms| now_ms.saturating_sub(since_ms))))
    }

    /// The window has changed, with so much decided.
    pub(super) fn settle(&mut self, decided: Decided) {
        self.settled = self.parts.back().map_or(decided.event(), |last| last.through);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_takes_from_the_disk_on_and_tells_nothing_of_a_window_that_came_after() {
        let x = EventId;
        let mut under_way = UnderWay::default();
        for number in 1..=3 {
            under_way.push(x(number), number);
        }
        under_way.durable(x(2), 100);
        assert_eq!(under_way.last_mut().map(|last| last.of), Some(3));
        assert_eq!(under_way.next_decided(Decided(x(1)), 107), Some((1, Some(7))));
        assert_eq!(under_way.next_decided(Decided(x(1)), 107), None);
        under_way.durable(x(3), 110);
        assert!(under_way.last_mut().is_none(), "it is on disk");
        under_way.settle(Decided(x(1)));
        under_way.push(x(4), 4);
        assert_eq!(under_way.next_decided(Decided(x(4)), 120), Some((2, None)));
        assert_eq!(under_way.next_decided(Decided(x(4)), 120), Some((3, None)));
        assert_eq!(
            under_way.next_decided(Decided(x(4)), 120),
            Some((4, None)),
            "it was decided before this process knew it to be on disk"
        );
        assert!(under_way.is_empty() && under_way.durable == 0);
    }
}
