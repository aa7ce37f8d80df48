//! Refusals that a program can act on: a code, a reason, and the values, as `google.rpc` details beside the text.
//!
//! Everything a node refuses becomes a [`Fault`] first, so that all of it carries an `ErrorInfo`. What belongs to a reason, whoever
//! gives it (its code, when to try again), is a match here; a new reason does not compile without it.
//! Invariant: fault.F1 a status fits the headers that clients take (8 KiB): texts and values are cut.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

pub use crate::pb::ErrorReason as Reason;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "dovetail";

/// Longest message, in bytes. Of a longer one the beginning and the end are kept: the bound is at the end.
const MESSAGE_BYTES_MAX: usize = 1_280;
/// Longest value that comes back of what somebody sent, in bytes, in texts and details; and longest description of a field.
pub const ECHO_BYTES_MAX: usize = 256;

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
            Reason::NodeStopping | Reason::NodeStarting | Reason::KeyUndecided | Reason::ClockJumped => {
                Code::Unavailable
            }
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
            Reason::TooManyCalls | Reason::NodeStarting => Some(Duration::from_millis(200)),
            Reason::PoolFull
            | Reason::AllPoolsFull
            | Reason::SearchCost
            | Reason::SearchBusy
            | Reason::TimersLate
            | Reason::NodeStopping
            | Reason::KeyUndecided
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

/// What NOT_FOUND and ALREADY_EXISTS are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A pool, by its name.
    Pool,
    /// An element, by its id or its key.
    Element,
}

impl Resource {
    fn name(self) -> &'static str {
        match self {
            Resource::Pool => "dovetail.v1.Pool",
            Resource::Element => "dovetail.v1.Element",
        }
    }
}

/// A refusal on its way to a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    reason: Reason,
    message: String,
    metadata: Vec<(&'static str, String)>,
    field: Option<String>,
    resource: Option<Box<(Resource, String)>>,
    after: Option<Duration>,
}

impl Fault {
    /// A refusal with its text.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Fault {
        Fault { reason, message: message.into(), metadata: Vec::new(), field: None, resource: None, after: None }
    }

    /// With a value by its name: what was found, the bound, where to go on.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Fault {
        self.metadata.push((name, value.to_string()));
        self
    }

    /// In these words.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Fault {
        self.message = message.into();
        self
    }

    /// About this field of the request.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Fault {
        self.field = Some(field.into());
        self
    }

    /// About this pool or element.
    #[must_use]
    pub fn of(mut self, resource: Resource, name: impl Into<String>) -> Fault {
        self.resource = Some(Box::new((resource, name.into())));
        self
    }

    /// The same call may work after this, not after the time that is usual for its reason.
    #[must_use]
    pub fn after(mut self, after: Duration) -> Fault {
        self.after = Some(after);
        self
    }

    /// Its text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        let Fault { reason, message, metadata, field, resource, after } = fault;
        let message = cut(cut_quoted(message), MESSAGE_BYTES_MAX);
        let metadata: HashMap<String, String> =
            metadata.into_iter().map(|(name, value)| (name.to_owned(), cut(value, ECHO_BYTES_MAX))).collect();
        let mut details = ErrorDetails::with_error_info(reason.name(), DOMAIN, metadata);
        if let Some(field) = field {
            let text = cut(message.clone(), ECHO_BYTES_MAX);
            details.add_bad_request_violation(cut(field, ECHO_BYTES_MAX), text);
        }
        if let Some(after) = after.or(reason.retry_after()) {
            details.set_retry_info(Some(after));
        }
        if let Some((resource, name)) = resource.map(|boxed| *boxed) {
            details.set_resource_info(resource.name(), cut(name, ECHO_BYTES_MAX), "", "");
        }
        Status::with_error_details(reason.code(), message, details)
    }
}

/// A text whose quoted parts, as `{:?}` writes them, have no more bytes than a value: whatever was sent, it does not come back whole.
fn cut_quoted(text: String) -> String {
    if text.len() <= ECHO_BYTES_MAX {
        return text;
    }
    let (mut short, mut rest) = (String::with_capacity(text.len().min(MESSAGE_BYTES_MAX)), text.as_str());
    while let Some(open) = rest.find('"') {
        let (before, quoted) = rest.split_at(open + 1);
        short.push_str(before);
        let mut escaped = false;
        let close = quoted.bytes().position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        });
        let Some(close) = close else {
            rest = quoted;
            break;
        };
        short.push_str(&cut(quoted[..close].to_owned(), ECHO_BYTES_MAX));
        short.push('"');
        rest = &quoted[close + 1..];
    }
    short.push_str(rest);
    short
}

/// A text of so many bytes at most, for a message: what a client sent may be megabytes. The middle goes.
#[must_use]
pub fn cut_message(message: String) -> String {
    cut(cut_quoted(message), MESSAGE_BYTES_MAX)
}

/// The same of any length.
#[must_use]
pub fn cut(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    const MARK: usize = " [... 18446744073709551615 bytes ...] ".len();
    let kept = bytes_max.saturating_sub(MARK);
    let head = text.floor_char_boundary(kept * 2 / 3);
    let tail = text.ceil_char_boundary(text.len() - (kept - kept * 2 / 3));
    format!("{} [... {} bytes ...] {}", &text[..head], tail - head, &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_every_detail_that_was_given() {
        let fault = Fault::new(Reason::KeyWaiting, "key \"k\" is waiting")
            .with("element", 7)
            .at("element.key")
            .of(Resource::Element, "7");
        let status = Status::from(fault);
        assert_eq!((status.code(), status.message()), (Code::AlreadyExists, "key \"k\" is waiting"));
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str(), info.metadata["element"].as_str()),
            ("KEY_WAITING", "dovetail", "7")
        );
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "element.key");
        assert_eq!(details.resource_info().unwrap().resource_name, "7");
        assert!(details.retry_info().is_none());
        let full = Status::from(Fault::new(Reason::DiskFull, "full")).get_error_details();
        assert_eq!(full.retry_info().unwrap().retry_delay, Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_text_of_megabytes_is_cut_in_the_middle_and_the_status_fits_the_headers() {
        let huge = format!("unknown attribute {:?}, at most 64", "ä".repeat(1 << 20));
        let fault = Fault::new(Reason::AttributeUnknown, huge.clone())
            .with("attribute", &huge)
            .at(huge.clone())
            .of(Resource::Pool, huge);
        let status = Status::from(fault);
        assert!(status.message().starts_with("unknown attribute \"ä") && status.message().ends_with(", at most 64"));
        assert!(status.message().contains("bytes ...]"), "{}", status.message());
        // Not more than three bytes for each of the message, and four for three of the details.
        let headers = 3 * status.message().len() + status.details().len() * 4 / 3;
        assert!(headers < 8 << 10, "{headers} bytes");
    }

    #[test]
    fn values_are_cut_one_by_one_and_the_text_around_them_stays() {
        let (name, other) = ("n".repeat(600), format!("{:?}", "\"quoted\" ".repeat(100)));
        let fault = Fault::new(Reason::PoolUnknown, format!("pool {name:?} of {other} is not defined, \"duel\" is"));
        let text = Status::from(fault).message().to_owned();
        assert!(text.ends_with("is not defined, \"duel\" is") && text.contains("n\" of \""), "{text}");
        assert!(text.len() < 2 * ECHO_BYTES_MAX + 60, "{} bytes: {text}", text.len());
        let open = format!("no end: \"{}", "x".repeat(300));
        assert_eq!(cut_quoted(open.clone()), open);
    }

    #[test]
    fn a_text_of_the_length_allowed_stays() {
        assert_eq!(cut("x".repeat(256), 256), "x".repeat(256));
        assert!(cut("x".repeat(257), 256).len() <= 256);
    }

    #[test]
    fn reasons_are_named_as_error_info_wants_them() {
        for number in 0..1000 {
            let Ok(reason) = Reason::try_from(number) else { continue };
            let name = reason.name();
            assert!(name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{name}");
        }
    }
}
