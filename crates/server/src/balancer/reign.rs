//! Which balancer writes, as this one knows it, for those who ask this one.

use std::sync::Arc;

use dovetail_node::{BalancerId, Term};
use tonic::Status;

use crate::rpc;

/// The balancer that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writes {
    /// Its index.
    pub(crate) balancer: BalancerId,
    /// Where it is, as the settings have it.
    pub(crate) address: Arc<str>,
    /// Since when.
    pub(crate) term: Term,
}

/// What a balancer is, and who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It shares its log with no other, and writes.
    Alone,
    /// It writes in a term.
    Active(Term),
    /// It follows the log.
    StandsBy(Option<Writes>),
}

impl Place {
    /// Whether it writes.
    pub(crate) fn is_active(&self) -> bool {
        !matches!(self, Place::StandsBy(_))
    }

    /// The term that it writes in; none of one that is alone.
    pub(crate) fn term(&self) -> Option<Term> {
        match self {
            Place::Active(term) => Some(*term),
            Place::Alone | Place::StandsBy(_) => None,
        }
    }

    /// Lets only those ask who may ask any that writes.
    pub(crate) fn check_active(&self) -> Result<(), Status> {
        match self {
            Place::Alone | Place::Active(_) => Ok(()),
            Place::StandsBy(writes) => Err(stands_by(writes.as_ref())),
        }
    }
}

/// Refuses what only the balancer that writes does.
pub(crate) fn stands_by(writes: Option<&Writes>) -> Status {
    rpc::stands_by(writes.map(|writes| (&*writes.address, writes.term)))
}
