//! Why the engine does not do what it is asked, and how what it is about is named.

use dovetail_core::{DefineError, ElementId, EventId, ledger::SubmitError, pool::Differences};
use thiserror::Error;

use super::{quota::QuotaError, reign::Writes};
use dovetail_wire::ConvertError;

/// Most pools of a cluster.
pub(crate) const POOLS_MAX: usize = 10_000;
// Each has its reserve of what all together may have waiting.
const _: () = assert!(POOLS_MAX as u64 <= dovetail_core::ledger::room::POOLS);

/// Why nothing was taken, or what was taken is not in the log.
#[derive(Clone, Debug)]
pub(crate) enum NotWritten {
    /// There is no room on the disk, or none in the engine that keeps the log.
    DiskFull,
    /// The engine that keeps the log does not answer.
    LogSilent,
    /// Nothing was taken: this balancer does not write.
    StandsBy(Option<Writes>),
}

/// An element as a client names it.
#[derive(Clone, Debug, Error)]
pub(crate) enum ElementName {
    #[error("element {}", .0.0)]
    Id(ElementId),
    #[error("element with key {key:?} in pool {pool:?}")]
    Key { pool: String, key: String },
}

/// Why a row was refused.
#[derive(Debug, Error)]
pub(crate) enum RowRefused {
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

/// Why a pool is not defined.
#[derive(Debug, Error)]
pub(crate) enum DefinePoolError {
    #[error(transparent)]
    Define(#[from] DefineError),
    #[error("pool {0:?} is defined already, with another definition, which cannot be changed: {1}")]
    Redefined(String, Differences),
    #[error("{POOLS_MAX} pools are defined, which is the most")]
    TooMany,
    #[error("pool {pool:?}: {source}")]
    Quota { pool: String, source: QuotaError },
    #[error("pool {0:?} is being dropped; its name is free once it is gone")]
    Dropping(String),
}

/// Why a pool is not dropped.
#[derive(Debug, Error)]
pub(crate) enum DropPoolError {
    #[error("pool {0:?} is not defined")]
    Unknown(String),
    #[error("pool {name:?} was defined by event {}, and the one that is to be dropped by {}", found.0, meant.0)]
    Another { name: String, found: EventId, meant: EventId },
}
