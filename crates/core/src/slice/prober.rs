//! An element that searches.

use dovetail_rule::{
    Row,
    table::{self, Hint},
};

use crate::{ElementId, PoolId};

/// The element, as a slice searches for it.
pub(super) struct Prober<'a> {
    pub(super) element: ElementId,
    pub(super) pool: PoolId,
    pub(super) row: &'a Row,
    pub(super) arrived_ms: u64,
    /// The hash that keys are told apart by in the table, if the pool is split by key and the element has one.
    pub(super) key: Option<u64>,
}

impl Prober<'_> {
    /// For a table of elements that all wait.
    pub(super) fn in_table<'a>(&'a self, hint: Hint<'a>) -> table::Prober<'a> {
        self.before(u64::MAX, hint)
    }

    /// For a table in which elements from an id on do not wait yet.
    pub(super) fn before<'a>(&'a self, before: u64, hint: Hint<'a>) -> table::Prober<'a> {
        table::Prober { id: self.element.0, row: self.row, arrived_ms: self.arrived_ms, key: self.key, before, hint }
    }
}
