//! Why a submission is refused.

use dovetail_rule::RowError;
use thiserror::Error;

use super::limits::KEY_BYTES_MAX;
use crate::{
    ElementId,
    pool::{DELAY_MS_MAX, name_prefix},
};

/// Why a submission is refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SubmitError {
    /// No such pool.
    #[error("pool {0:?} is not defined")]
    UnknownPool(String),
    /// The key is empty or too long.
    #[error("key is {found} bytes, at least 1 and at most {KEY_BYTES_MAX}")]
    KeyLength {
        /// Its length.
        found: usize,
    },
    /// The idempotency key is too long.
    #[error("idempotency key is {found} bytes, at most {KEY_BYTES_MAX}")]
    IdempotencyKeyLength {
        /// Its length.
        found: usize,
    },
    /// The pool is being dropped.
    #[error("pool {0:?} is being dropped, and takes no more elements")]
    PoolDropping(String),
    /// An element with this key waits.
    #[error("key {key:?} is waiting in pool {pool:?} already, as element {}", element.0)]
    KeyWaiting {
        /// The pool.
        pool: String,
        /// The key.
        key: String,
        /// The element that has it.
        element: ElementId,
    },
    /// Whether it can be let in was not decided in time.
    #[error(
        "pool {pool:?}: whether key {key:?} is free was not decided within {held_ms} ms; try again, and see whether a node is down"
    )]
    Undecided {
        /// The pool.
        pool: String,
        /// The key.
        key: String,
        /// How long it was held, in milliseconds.
        held_ms: u64,
    },
    /// The attributes do not fit the schema.
    #[error("pool {pool:?}, key {key:?}: {source}")]
    Row {
        /// The pool.
        pool: String,
        /// The key.
        key: String,
        /// What does not fit.
        source: RowError,
    },
    /// The payload is too large.
    #[error("payload of key {key:?} is {found} bytes, at most {bound} in pool {pool:?}")]
    Payload {
        /// The pool.
        pool: String,
        /// The key.
        key: String,
        /// Its size.
        found: usize,
        /// The pool's bound.
        bound: u64,
    },
    /// The element is too large.
    #[error(
        "element with key {key:?} is {found} bytes without its payload, at most {bound}, which is element_bytes_max"
    )]
    ElementBytes {
        /// The key.
        key: String,
        /// Its bytes.
        found: usize,
        /// The bound.
        bound: u64,
    },
    /// The time to live is too long.
    #[error("ttl of key {key:?} is {found} ms, at most {DELAY_MS_MAX}")]
    Ttl {
        /// The key.
        key: String,
        /// The time to live.
        found: u64,
    },
    /// The pool is full.
    #[error("pool {pool:?} has {bound} elements waiting, which is its waiting_max")]
    PoolFull {
        /// The pool.
        pool: String,
        /// Its bound.
        bound: u64,
    },
    /// All pools together are full.
    #[error("{bound} elements wait in all pools together, which is waiting_total_max")]
    TotalFull {
        /// The bound.
        bound: u64,
    },
    /// What is left of what all pools together may have is for pools that have less.
    #[error(
        "pool {pool:?} has {own} of the {all} elements waiting in all pools together; those left until {bound}, which is \
         waiting_total_max, are for pools that have less"
    )]
    ShareFull {
        /// The pool.
        pool: String,
        /// How many wait in it.
        own: u64,
        /// And in all.
        all: u64,
        /// The bound of all.
        bound: u64,
    },
    /// What is left of what all pools together may have is for groups of pools that have less.
    #[error(
        "pools whose names begin with {:?} have {group} of the {all} elements waiting in all pools together; those left until \
         {bound}, which is waiting_total_max, are for others",
        name_prefix(pool)
    )]
    GroupFull {
        /// The pool.
        pool: String,
        /// What the group has above the reserves of its pools.
        group: u64,
        /// And all.
        all: u64,
        /// The bound of all.
        bound: u64,
    },
    /// The pool is full of bytes.
    #[error(
        "pool {pool:?} has {own} bytes of elements waiting, and {more} more are above {bound}, which is waiting_bytes_max"
    )]
    PoolBytesFull {
        /// The pool.
        pool: String,
        /// What it has.
        own: u64,
        /// What the element takes.
        more: u64,
        /// The bound.
        bound: u64,
    },
    /// All pools together are full of bytes.
    #[error(
        "{all} bytes of elements wait in all pools together, and {more} more are above {bound}, which is \
         waiting_bytes_total_max"
    )]
    TotalBytesFull {
        /// What they have.
        all: u64,
        /// What the element takes.
        more: u64,
        /// The bound.
        bound: u64,
    },
    /// The bytes that are left of what all pools together may have are for pools that have less.
    #[error(
        "pool {pool:?} has {own} of the {all} bytes of elements waiting in all pools together; those left until {bound}, \
         which is waiting_bytes_total_max, are for pools that have less"
    )]
    ShareBytesFull {
        /// The pool.
        pool: String,
        /// What it has.
        own: u64,
        /// What all have.
        all: u64,
        /// The bound of all.
        bound: u64,
    },
    /// The bytes that are left of what all pools together may have are for groups of pools that have less.
    #[error(
        "pools whose names begin with {:?} have {group} of the {all} bytes of elements waiting in all pools together; those left \
         until {bound}, which is waiting_bytes_total_max, are for others",
        name_prefix(pool)
    )]
    GroupBytesFull {
        /// The pool.
        pool: String,
        /// What the group has above the reserves of its pools.
        group: u64,
        /// What all have.
        all: u64,
        /// The bound of all.
        bound: u64,
    },
    /// As many idempotency keys are remembered as may be.
    #[error("{}", idempotency_full(pool, *bound, *total, *room_ms))]
    IdempotencyFull {
        /// The pool.
        pool: String,
        /// The bound that is reached.
        bound: usize,
        /// Whether it is that of all pools together.
        total: bool,
        /// Until the oldest key of the pool is forgotten, in milliseconds.
        room_ms: u64,
    },
    /// One search would cost too much.
    #[error(
        "pool {pool:?}: one search tests up to {anchors} elements in a slice, and its rule costs up to {units} units on what waits: \
         that is more than {bound}, which is search_cost_max; fewer or shorter elements may wait, or a rule that costs less"
    )]
    SearchCost {
        /// The pool.
        pool: String,
        /// What the rule costs on a pair at worst, with this element.
        units: u64,
        /// Elements that a slice may have to test.
        anchors: u64,
        /// The bound on their product.
        bound: u64,
    },
    /// Searches of its pool were under way for too long.
    #[error(
        "pool {pool:?}: key {key:?} waited {held_ms} ms for the pool's searches, which cost much, and was not let in"
    )]
    SearchBusy {
        /// The pool.
        pool: String,
        /// The key.
        key: String,
        /// How long it was held, in milliseconds.
        held_ms: u64,
    },
    /// Timers of its pool were due and not written for too long.
    #[error(
        "pool {pool:?}: key {key:?} waited {held_ms} ms for elements of the pool that expire or search again, of which more are \
         due than can be written at once, and was not let in"
    )]
    TimersLate {
        /// The pool.
        pool: String,
        /// The key.
        key: String,
        /// How long it was held, in milliseconds.
        held_ms: u64,
    },
    /// The idempotency key came with another body before.
    #[error("idempotency key {key:?} made element {} from another body", element.0)]
    IdempotencyMismatch {
        /// The idempotency key.
        key: String,
        /// The element.
        element: ElementId,
    },
}

fn idempotency_full(pool: &str, bound: usize, total: bool, room_ms: u64) -> String {
    let room = format!("the oldest is forgotten in {room_ms} ms; submissions without an idempotency key go on");
    if total {
        return format!(
            "pools whose names begin with {:?} have their share of the idempotency keys that are remembered; idempotency_total_max \
             is {bound}: {room}",
            name_prefix(pool)
        );
    }
    format!("{bound} idempotency keys are remembered of pool {pool:?}, which is idempotency_max: {room}")
}
