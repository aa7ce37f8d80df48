//! The sequential program that defines the result (docs/protocol.md, "The definition").
//!
//! Slow and obvious, on purpose: one ordered map, one loop. It shares no search code with the rest of the crate;
//! only the rule itself, the meaning of a pair, is the same. Everything is tested against it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use dovetail_rule::Row;

use crate::{DefineError, ElementId, EventId, EventKind, Pool, PoolId, Retirement, pool::Candidate};

/// The waiting set after a prefix of the log.
#[derive(Debug, Default)]
pub struct Oracle {
    pools: HashMap<PoolId, Pool>,
    waiting: BTreeMap<ElementId, Waiting>,
    rule_errors: u64,
}

#[derive(Debug)]
struct Waiting {
    pool: PoolId,
    row: Arc<Row>,
    arrived_ms: u64,
}

impl Oracle {
    /// Before every event.
    #[must_use]
    pub fn new() -> Oracle {
        Oracle::default()
    }

    /// Takes the next event, and says what it decided: a match, a withdrawal, or nothing.
    ///
    /// # Errors
    /// When the event defines an invalid pool.
    pub fn on_event(&mut self, x: EventId, time_ms: u64, kind: &EventKind) -> Result<Option<Retirement>, DefineError> {
        match kind {
            EventKind::PoolDefined { pool, definition } => {
                self.pools.insert(*pool, Pool::compile(*pool, Arc::clone(definition))?);
                Ok(None)
            }
            EventKind::Arrival { pool, row } => {
                let element = ElementId::from(x);
                let arrival = Waiting { pool: *pool, row: Arc::clone(row), arrived_ms: time_ms };
                let anchor = self.lowest_partner(element, &arrival, time_ms);
                match anchor {
                    Some(anchor) => _ = self.waiting.remove(&anchor),
                    None => _ = self.waiting.insert(element, arrival),
                }
                Ok(anchor.map(|anchor| Retirement { x, element, anchor: Some(anchor) }))
            }
            EventKind::Reprobe { element, .. } => {
                let Some(prober) = self.waiting.remove(element) else { return Ok(None) };
                let anchor = self.lowest_partner(*element, &prober, time_ms);
                match anchor {
                    Some(anchor) => _ = self.waiting.remove(&anchor),
                    None => _ = self.waiting.insert(*element, prober),
                }
                Ok(anchor.map(|anchor| Retirement { x, element: *element, anchor: Some(anchor) }))
            }
            // The waiting elements leave by withdrawals, which follow as events.
            EventKind::PoolClosed { .. } => Ok(None),
            EventKind::PoolDropped { pool } => {
                let waits = self.waiting.values().any(|waiting| waiting.pool == *pool);
                assert!(!waits, "{x} drops {pool}, of which elements wait");
                self.pools.remove(pool).expect("a pool is defined before it is dropped");
                Ok(None)
            }
            EventKind::Withdrawal { element, .. } => {
                let waited = self.waiting.remove(element).is_some();
                Ok(waited.then_some(Retirement { x, element: *element, anchor: None }))
            }
        }
    }

    /// The elements waiting, ascending.
    pub fn waiting(&self) -> impl Iterator<Item = ElementId> {
        self.waiting.keys().copied()
    }

    /// Pairs on which a rule failed with an error, and so did not match.
    #[must_use]
    pub fn rule_errors(&self) -> u64 {
        self.rule_errors
    }

    fn lowest_partner(&mut self, element: ElementId, prober: &Waiting, time_ms: u64) -> Option<ElementId> {
        let pool = self.pools.get(&prober.pool).expect("a pool is defined before its elements arrive");
        let prober_candidate = Candidate { element, row: &prober.row, arrived_ms: prober.arrived_ms };
        let errors = &mut self.rule_errors;
        let mut partners = self.waiting.iter().filter(|(_, anchor)| anchor.pool == prober.pool);
        let found = partners.find(|&(&id, anchor)| {
            let anchor = Candidate { element: id, row: &anchor.row, arrived_ms: anchor.arrived_ms };
            pool.test(prober_candidate, anchor, time_ms, errors)
        });
        found.map(|(&id, _)| id)
    }
}
