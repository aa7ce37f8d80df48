//! Why a node refuses something, as a program reads it: a name and a code, the same in every answer.
//!
//! What belongs to a reason wherever it is given (its code, when to try again) is a match here; a new reason does not
//! compile without it.

use std::time::Duration;

use tonic::Code;

pub use crate::pb::ErrorReason as Reason;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "dovetail";

impl Reason {
    /// As `ErrorInfo` has it: `KEY_WAITING`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.as_str_name().trim_start_matches("ERROR_REASON_")
    }

    /// The code that goes with it.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Reason::Unspecified => Code::Unknown,
            Reason::FieldMissing
            | Reason::OutOfBounds
            | Reason::FieldsConflict
            | Reason::MessageMalformed
            | Reason::PoolName
            | Reason::KeyLength
            | Reason::IdempotencyKeyLength
            | Reason::AttributeUnknown
            | Reason::AttributeType
            | Reason::AttributeRepeated
            | Reason::AttributeTooLong
            | Reason::AttributeNoValue
            | Reason::PayloadSize
            | Reason::ElementSize
            | Reason::TtlLength
            | Reason::BatchSize
            | Reason::ColumnsMalformed
            | Reason::PoolAttributes
            | Reason::PoolRule
            | Reason::PoolReprobes
            | Reason::PoolDelay
            | Reason::PoolPayloadBound
            | Reason::PageToken => Code::InvalidArgument,
            Reason::PoolUnknown | Reason::ElementUnknown => Code::NotFound,
            Reason::KeyWaiting | Reason::IdempotencyKeyReused | Reason::PoolDefinedOtherwise | Reason::NodeTaken => {
                Code::AlreadyExists
            }
            Reason::PoolFull
            | Reason::AllPoolsFull
            | Reason::IdempotencyFull
            | Reason::SearchCost
            | Reason::SearchBusy
            | Reason::TimersLate
            | Reason::TooManyPools
            | Reason::PoolQuota
            | Reason::TooManyCalls
            | Reason::DiskFull => Code::ResourceExhausted,
            Reason::CursorFromFuture | Reason::CursorTooOld => Code::OutOfRange,
            Reason::PositionNotReached | Reason::DeadlinePassed => Code::DeadlineExceeded,
            Reason::NodeStopping
            | Reason::NodeStarting
            | Reason::KeyUndecided
            | Reason::ClockJumped
            | Reason::StandsBy
            | Reason::LogSilent => Code::Unavailable,
            Reason::OtherNode | Reason::MethodUnknown => Code::Unimplemented,
            Reason::PeerDiffers | Reason::PoolDropping | Reason::PoolIsAnother | Reason::TlsNeeded => {
                Code::FailedPrecondition
            }
            Reason::PeerUnproved => Code::PermissionDenied,
            Reason::LogUnreadable => Code::DataLoss,
            Reason::Internal => Code::Internal,
            Reason::CredentialsMissing | Reason::CredentialsRefused => Code::Unauthenticated,
            Reason::NotPermitted => Code::PermissionDenied,
            Reason::RateLimited => Code::ResourceExhausted,
        }
    }

    /// After how long the same call may work, where that comes by itself.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Reason::TooManyCalls | Reason::NodeStarting | Reason::StandsBy => Some(Duration::from_millis(200)),
            Reason::PoolFull
            | Reason::AllPoolsFull
            | Reason::SearchCost
            | Reason::SearchBusy
            | Reason::TimersLate
            | Reason::NodeStopping
            | Reason::KeyUndecided
            | Reason::LogSilent
            | Reason::NodeTaken => Some(Duration::from_secs(1)),
            // Who knows better says so with the fault.
            Reason::DiskFull | Reason::IdempotencyFull | Reason::ClockJumped => Some(Duration::from_secs(10)),
            Reason::Unspecified
            | Reason::FieldMissing
            | Reason::OutOfBounds
            | Reason::FieldsConflict
            | Reason::MessageMalformed
            | Reason::PoolName
            | Reason::KeyLength
            | Reason::IdempotencyKeyLength
            | Reason::AttributeUnknown
            | Reason::AttributeType
            | Reason::AttributeRepeated
            | Reason::AttributeTooLong
            | Reason::AttributeNoValue
            | Reason::PayloadSize
            | Reason::ElementSize
            | Reason::TtlLength
            | Reason::BatchSize
            | Reason::ColumnsMalformed
            | Reason::PoolAttributes
            | Reason::PoolRule
            | Reason::PoolReprobes
            | Reason::PoolDelay
            | Reason::PoolPayloadBound
            | Reason::PageToken
            | Reason::PoolUnknown
            | Reason::PoolDropping
            | Reason::PoolIsAnother
            | Reason::ElementUnknown
            | Reason::KeyWaiting
            | Reason::IdempotencyKeyReused
            | Reason::PoolDefinedOtherwise
            | Reason::TooManyPools
            | Reason::PoolQuota
            | Reason::CursorFromFuture
            | Reason::CursorTooOld
            | Reason::PositionNotReached
            | Reason::DeadlinePassed
            | Reason::OtherNode
            | Reason::MethodUnknown
            | Reason::PeerDiffers
            | Reason::PeerUnproved
            | Reason::TlsNeeded
            | Reason::LogUnreadable
            | Reason::Internal
            | Reason::CredentialsMissing
            | Reason::CredentialsRefused
            | Reason::NotPermitted
            // It comes with the fault: after how long depends on who calls.
            | Reason::RateLimited => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_named_as_error_info_wants_them() {
        for number in 0..1000 {
            let Ok(reason) = Reason::try_from(number) else { continue };
            let name = reason.name();
            assert!(name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{name}");
        }
    }
}
