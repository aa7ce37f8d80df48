//! The log's events, and the frames they are logged and broadcast in.

use std::sync::Arc;

use dovetail_rule::{Row, Split};

use crate::{Audience, ElementId, EventId, Place, Pool, PoolDefinition, PoolId, Stable};

/// Why an element was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithdrawReason {
    /// A client asked for it.
    Client,
    /// Its time to live ended.
    Expired,
    /// Its pool is dropped.
    Dropped,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id.
    pub x: EventId,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// The pool of its element; none for one that concerns no element.
    #[must_use]
    pub fn pool(&self) -> Option<PoolId> {
        match &self.kind {
            EventKind::Arrival { pool, .. } | EventKind::Reprobe { pool, .. } | EventKind::Withdrawal { pool, .. } => {
                Some(*pool)
            }
            EventKind::PoolDefined { .. } | EventKind::PoolClosed { .. } | EventKind::PoolDropped { .. } => None,
        }
    }

    /// The place of its element, when one slice alone searches for it: no element elsewhere can meet it. None when the
    /// event matters everywhere, or `pool_of` does not know the pool.
    #[must_use]
    pub fn only_at<'p>(&self, pool_of: impl Fn(PoolId) -> Option<&'p Pool>) -> Option<Place> {
        let (pool, element, row) = match &self.kind {
            EventKind::Arrival { pool, row } => (*pool, ElementId::from(self.x), row),
            EventKind::Reprobe { element, pool, row, .. } => (*pool, *element, row),
            // Small, and not known to be of a pool with a key.
            EventKind::Withdrawal { .. }
            | EventKind::PoolDefined { .. }
            | EventKind::PoolClosed { .. }
            | EventKind::PoolDropped { .. } => return None,
        };
        let pool = pool_of(pool)?;
        (pool.split() != Split::Index).then(|| pool.place(element, row))
    }
}

/// What an event says. Topology events will be a further kind.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A new element, whose id is the event's; it searches.
    Arrival {
        /// The pool.
        pool: PoolId,
        /// The attributes.
        row: Arc<Row>,
    },
    /// An element is not to wait any longer.
    Withdrawal {
        /// The element.
        element: ElementId,
        /// Its pool.
        pool: PoolId,
        /// Why.
        reason: WithdrawReason,
    },
    /// A waiting element searches again. Carries all a search needs: a slice keeps only the elements it owns.
    Reprobe {
        /// The element.
        element: ElementId,
        /// Its pool.
        pool: PoolId,
        /// The time of its arrival, in milliseconds.
        arrived_ms: u64,
        /// Its attributes.
        row: Arc<Row>,
    },
    /// A pool begins.
    PoolDefined {
        /// Its number.
        pool: PoolId,
        /// What the client defined.
        definition: Arc<PoolDefinition>,
    },
    /// A pool is being dropped: no element arrives in it any more, and none searches again. Those that wait are
    /// withdrawn by events of their own.
    PoolClosed {
        /// Its number.
        pool: PoolId,
    },
    /// A pool that was closed is gone: every event of it is decided and stable, and no element of it waits. No later
    /// event names it, and no later pool has its number; its name may be another's.
    PoolDropped {
        /// Its number.
        pool: PoolId,
    },
}

/// A run of events that were logged together, one by one.
pub type LogFrame = Frame<Event>;

/// A run of events that were logged together, `(after, through]`, as what there is of them: events, or runs of some.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame<E> {
    /// The last event before this frame.
    pub after: EventId,
    /// The last event of this frame.
    pub through: EventId,
    /// `time(x)` of each of its events, in milliseconds since 1970. Never decreases from frame to frame.
    pub time_ms: u64,
    /// The stable cut when the frame was opened. No reprobe or withdrawal in it names an element retired at or below.
    pub stable: Stable,
    /// The slices and shards that its events concern. Not logged: a frame that is read back concerns all.
    pub audience: Audience,
    /// The events, ascending.
    pub events: Vec<E>,
}
