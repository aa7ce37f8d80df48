//! A probe as bounds are computed from it: expressions over the prober alone are evaluated by the rule's own evaluator.

use crate::eval::{Absent, Outcome, Pair};
use crate::filter::{Bound, Probe};
use crate::row::Side;

/// A probe with the pair that expressions over the prober alone are evaluated on: it stands at both ends.
pub(super) struct Probing<'a> {
    pub(super) pair: Pair<Side<'a>>,
    pub(super) oldest_waited_ms: i64,
}

impl<'a> Probing<'a> {
    pub(super) fn new(probe: &Probe<'a>) -> Probing<'a> {
        let pair = Pair { a: probe.side, b: probe.side };
        Probing { pair, oldest_waited_ms: probe.oldest_waited_ms.max(0) }
    }
}

/// A bound that depends on a value: missing satisfies nothing, and with an error every pair is the rule's to see.
pub(super) fn given<T>(value: Outcome<T>, bound: impl FnOnce(T) -> Bound) -> Bound {
    match value {
        Ok(value) => bound(value),
        Err(Absent::Missing) => Bound::Never,
        Err(Absent::Error(_)) => Bound::Always,
    }
}
