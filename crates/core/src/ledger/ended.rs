//! Bounded memory of what has been: elements that no longer wait.

use std::collections::VecDeque;

use super::{
    elements::{Elements, Slot},
    keys::Keys,
};
use crate::{ElementId, EventId, batch::KeyHash};

/// The order in which elements were matched or withdrawn, of the latest ones.
#[derive(Debug)]
pub(super) struct Ended {
    most: usize,
    order: VecDeque<(ElementId, KeyHash)>,
}

impl Ended {
    pub(super) fn new(most: usize) -> Ended {
        Ended { most, order: VecDeque::new() }
    }

    /// Takes elements that ended, and forgets those that are too many. A key goes with the element, unless a later one
    /// has it.
    pub(super) fn insert(
        &mut self,
        ended: impl Iterator<Item = (ElementId, KeyHash)>,
        elements: &mut Elements,
        keys: &mut Keys,
    ) {
        self.order.extend(ended);
        let too_many = self.order.len().saturating_sub(self.most);
        keys.touch(self.order.range(..too_many).map(|&(_, hash)| hash));
        for _ in 0..too_many {
            self.forget_oldest(elements, keys);
        }
    }

    fn forget_oldest(&mut self, elements: &mut Elements, keys: &mut Keys) {
        let Some((oldest, hash)) = self.order.pop_front() else { return };
        elements.forget(oldest);
        keys.remove_of(hash, oldest);
    }

    /// Forgets what outcomes at or below `floor` ended.
    pub(super) fn forget(&mut self, floor: EventId, elements: &mut Elements, keys: &mut Keys) {
        while let Some(&(oldest, _)) = self.order.front()
            && !matches!(elements.get(oldest), Slot::Ended(x) if x > floor)
        {
            self.forget_oldest(elements, keys);
        }
    }
}
