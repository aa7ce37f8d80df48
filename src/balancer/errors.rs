//! Errors as gRPC statuses: one exhaustive match for each.

use dovetail_core::{DefineError, EventId, ledger::SubmitError, pool::POOL_NAME_BYTES_MAX};
use tonic::{Code, Status};

use super::{
    messages::{DefinePoolError, DiskFull, RowRefused},
    tail::TailError,
};

/// The engine is gone: the node is stopping.
pub(super) fn stopping<E>(_: E) -> Status {
    Status::unavailable("the node is stopping")
}

/// Not acknowledged, but perhaps on its way to the disk: a retry with the same idempotency key finds out.
pub(super) fn disk_full(DiskFull: DiskFull) -> Status {
    Status::resource_exhausted(
        "the balancer's disk is full, and this was not acknowledged; try again, with the same idempotency key",
    )
}

/// Refuses names that no pool can have, before anything is made of them.
pub(super) fn check_pool_name(name: &str) -> Result<(), Status> {
    if name.len() > POOL_NAME_BYTES_MAX {
        let text = format!("pool name is {} bytes, at most {POOL_NAME_BYTES_MAX}", name.len());
        return Err(Status::invalid_argument(text));
    }
    Ok(())
}

/// A cursor or position above the highest id.
pub(super) fn future(what: &str, found: u64, assigned: EventId) -> Status {
    Status::out_of_range(format!("{what} {found} is from the future: the highest id is {}", assigned.0))
}

/// The code of a refused row.
pub(super) fn row_code(refused: &RowRefused) -> Code {
    match refused {
        RowRefused::Convert(_) => Code::InvalidArgument,
        RowRefused::Submit(error) => match error {
            SubmitError::UnknownPool(_) => Code::NotFound,
            SubmitError::KeyLength { .. }
            | SubmitError::IdempotencyKeyLength { .. }
            | SubmitError::Row { .. }
            | SubmitError::Payload { .. }
            | SubmitError::Ttl { .. } => Code::InvalidArgument,
            SubmitError::KeyWaiting { .. } | SubmitError::IdempotencyMismatch { .. } => Code::AlreadyExists,
            SubmitError::PoolFull { .. } | SubmitError::TotalFull { .. } => Code::ResourceExhausted,
            SubmitError::Undecided { .. } => Code::Unavailable,
        },
    }
}

/// A refused definition.
pub(super) fn define(error: &DefinePoolError) -> Status {
    let code = match error {
        DefinePoolError::Redefined(_) => Code::AlreadyExists,
        DefinePoolError::TooMany => Code::ResourceExhausted,
        DefinePoolError::Define(error) => match error {
            DefineError::Name(_)
            | DefineError::Schema { .. }
            | DefineError::Rule { .. }
            | DefineError::ReprobeCount { .. }
            | DefineError::ReprobeOrder { .. }
            | DefineError::Delay { .. }
            | DefineError::PayloadBound { .. } => Code::InvalidArgument,
        },
    };
    Status::new(code, error.to_string())
}

/// A follower that cannot go on.
pub(super) fn tail(error: &TailError) -> Status {
    match error {
        TailError::Closed => stopping(()),
        TailError::Trimmed { .. } => Status::out_of_range(error.to_string()),
        TailError::Read(_) | TailError::Convert(_) | TailError::Missing { .. } => Status::data_loss(error.to_string()),
        TailError::Thread => Status::internal(error.to_string()),
    }
}
