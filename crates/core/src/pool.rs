//! Pools: a schema, a rule, and what applies to elements that bring nothing else.

mod differences;
mod notes;
mod places;

use std::sync::Arc;

pub use differences::{Defaults, Difference, Differences};
pub use notes::{Note, NoteCode};

use dovetail_rule::{AttributeType, Row, Rule, RuleError, Schema, SchemaError, Side, Split};
use thiserror::Error;

use crate::{ElementId, PoolId, place::Place};

/// Longest name of a pool, in bytes.
pub const POOL_NAME_BYTES_MAX: usize = 64;
/// Most entries of a reprobe schedule.
pub const REPROBES_MAX: usize = 32;
/// Longest time to live, and latest reprobe, in milliseconds: 400 days.
pub const DELAY_MS_MAX: u64 = 400 * 24 * 3600 * 1000;
/// No pool and no setting can allow a larger payload, in bytes.
pub const PAYLOAD_BYTES_CAP: u64 = 65_536;

/// A pool as a client defines it. Text that came from outside; [`Pool::compile`] checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDefinition {
    /// Unique in the cluster.
    pub name: String,
    /// The schema, in order.
    pub attributes: Vec<(String, AttributeType)>,
    /// A CEL expression over `a` (lower id) and `b` (higher id).
    pub rule: String,
    /// Time to live of elements that bring none, in milliseconds; 0 for none.
    pub ttl_ms: u64,
    /// When a waiting element searches again, in milliseconds after its arrival, strictly ascending.
    pub reprobe_ms: Vec<u64>,
    /// Most elements waiting; 0 for the balancer's default.
    pub waiting_max: u64,
    /// Largest payload, in bytes; 0 for the balancer's default.
    pub payload_bytes_max: u64,
}

impl PoolDefinition {
    /// About how many bytes it takes in a frame of the log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(name, _)| 8 + name.len()).sum();
        32 + self.name.len() + self.rule.len() + attributes + 10 * self.reprobe_ms.len()
    }
}

/// What pools are grouped by: a name up to its first dot, with it; without a dot, up to the first digit, hyphen or
/// underscore. So `team-a.ranked` is of the group `team-a.`, and `duel-17` of `duel`.
#[must_use]
pub fn name_prefix(name: &str) -> &str {
    let end = match name.find('.') {
        Some(dot) => dot + 1,
        None => name.find(|c: char| c.is_ascii_digit() || matches!(c, '-' | '_')).unwrap_or(name.len()),
    };
    &name[..end]
}

/// Why a pool cannot be defined.
#[derive(Clone, Debug, Error)]
pub enum DefineError {
    /// The name is empty, too long, or has a character that names may not have.
    #[error("pool name {0:?} is not 1 to {POOL_NAME_BYTES_MAX} of a-z A-Z 0-9 _ - .")]
    Name(String),
    /// The attributes do not make a schema.
    #[error("pool {pool:?}: {source}")]
    Schema {
        /// The pool.
        pool: String,
        /// What is wrong with them.
        source: SchemaError,
    },
    /// The rule is not one. The text shows the line, and carets under the place.
    #[error("pool {pool:?}: {shown}")]
    Rule {
        /// The pool.
        pool: String,
        /// What is wrong with it, and where.
        source: Box<RuleError>,
        /// The error with its line.
        shown: String,
    },
    /// The reprobe schedule is too long.
    #[error("pool {pool:?} has {found} reprobes, at most {REPROBES_MAX}")]
    ReprobeCount {
        /// The pool.
        pool: String,
        /// Entries in the schedule.
        found: usize,
    },
    /// The reprobe schedule does not ascend.
    #[error(
        "pool {pool:?} reprobes at {found} ms after {before} ms; each must be later than the one before, and the first above 0"
    )]
    ReprobeOrder {
        /// The pool.
        pool: String,
        /// The entry before.
        before: u64,
        /// The entry that is not later.
        found: u64,
    },
    /// The pool allows larger payloads than there may be.
    #[error("pool {pool:?} has a payload_bytes_max of {found}, at most {PAYLOAD_BYTES_CAP}")]
    PayloadBound {
        /// The pool.
        pool: String,
        /// Its bound.
        found: u64,
    },
    /// A delay is too long.
    #[error("pool {pool:?} has {what} of {found} ms, at most {DELAY_MS_MAX}")]
    Delay {
        /// The pool.
        pool: String,
        /// `a ttl` or `a reprobe`.
        what: &'static str,
        /// The delay.
        found: u64,
    },
}

/// A pool, ready to search.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its number.
    pub id: PoolId,
    /// What was defined.
    pub definition: Arc<PoolDefinition>,
    /// Its attributes.
    pub schema: Schema,
    /// Which pairs may match.
    pub rule: Rule,
}

/// An element as a rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its id; the lower of two is the rule's `a`.
    pub element: ElementId,
    /// Its attributes.
    pub row: &'a Row,
    /// When it arrived, in milliseconds.
    pub arrived_ms: u64,
}

impl Pool {
    /// Checks a definition and makes it ready.
    ///
    /// # Errors
    /// When anything in it cannot work, with the value and the bound.
    pub fn compile(id: PoolId, definition: Arc<PoolDefinition>) -> Result<Pool, DefineError> {
        let pool = definition.name.clone();
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if pool.is_empty() || pool.len() > POOL_NAME_BYTES_MAX || !pool.chars().all(named) {
            return Err(DefineError::Name(pool));
        }
        check_bounds(&definition)?;
        let schema = Schema::new(definition.attributes.iter().cloned())
            .map_err(|source| DefineError::Schema { pool: pool.clone(), source })?;
        let rule = Rule::compile(&definition.rule, &schema).map_err(|source| {
            let shown = source.render(&definition.rule);
            DefineError::Rule { pool, source: Box::new(source), shown }
        })?;
        Ok(Pool { id, definition, schema, rule })
    }

    /// How the search is shared out.
    #[must_use]
    pub fn split(&self) -> Split {
        self.rule.plan().split()
    }

    /// What an element's owner and home follow from.
    #[must_use]
    pub fn place(&self, element: ElementId, row: &Row) -> Place {
        match self.split() {
            Split::Key => Place::Key(self.rule.plan().key_hash(row).unwrap_or(element.0)),
            // Another for each pool, so that they do not all meet in one slice.
            Split::One => Place::Key(u64::from(self.id.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            Split::Index => Place::Id(element),
        }
    }

    /// Whether two elements may match at `time_ms`. An error in the rule counts as "no" and is added to `errors`.
    #[must_use]
    pub fn test(&self, one: Candidate<'_>, other: Candidate<'_>, time_ms: u64, errors: &mut u64) -> bool {
        let (a, b) = if one.element < other.element { (one, other) } else { (other, one) };
        let side = |candidate: Candidate<'_>| waited(candidate.arrived_ms, time_ms);
        let (a_waited, b_waited) = (side(a), side(b));
        let tested = self.rule.test(Side { row: a.row, waited_ms: a_waited }, Side { row: b.row, waited_ms: b_waited });
        tested.unwrap_or_else(|_| {
            *errors += 1;
            false
        })
    }
}

pub(crate) fn waited(arrived_ms: u64, time_ms: u64) -> i64 {
    i64::try_from(time_ms.saturating_sub(arrived_ms)).unwrap_or(i64::MAX)
}

fn check_bounds(definition: &PoolDefinition) -> Result<(), DefineError> {
    let pool = || definition.name.clone();
    if definition.ttl_ms > DELAY_MS_MAX {
        return Err(DefineError::Delay { pool: pool(), what: "a ttl", found: definition.ttl_ms });
    }
    if definition.payload_bytes_max > PAYLOAD_BYTES_CAP {
        return Err(DefineError::PayloadBound { pool: pool(), found: definition.payload_bytes_max });
    }
    if definition.reprobe_ms.len() > REPROBES_MAX {
        return Err(DefineError::ReprobeCount { pool: pool(), found: definition.reprobe_ms.len() });
    }
    let mut before = 0;
    for &found in &definition.reprobe_ms {
        if found <= before {
            return Err(DefineError::ReprobeOrder { pool: pool(), before, found });
        }
        if found > DELAY_MS_MAX {
            return Err(DefineError::Delay { pool: pool(), what: "a reprobe", found });
        }
        before = found;
    }
    Ok(())
}
