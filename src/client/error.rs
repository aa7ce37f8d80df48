//! Why a call failed.

use std::error::Error;
use std::path::Path;

use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};

use crate::address::AddressError;
use crate::reason::{DOMAIN, Reason};
use crate::standby::StandsBy;
use crate::tls::TlsError;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Not an address that can be dialled.
    #[error(transparent)]
    Url(#[from] AddressError),
    /// TLS, and no authority is trusted.
    #[error(
        "{url} asks for TLS, but no authority is named that signs the server's certificate: give --tls-ca or DOVETAIL_TLS_CA, \
         a file in PEM (in a program, ConnectOptions::trust)"
    )]
    NoAuthority {
        /// What was to be dialled.
        url: String,
    },
    /// A token, and nothing that hides it on its way.
    #[error(
        "a token would go to {url} in plain text, for all on the way to read: use https://, or say that this may be with --insecure \
         (in a program, ConnectOptions::insecure)"
    )]
    TokenInClear {
        /// What was to be dialled.
        url: String,
    },
    /// A token that cannot be shown.
    #[error("the token cannot be used: {reason}")]
    Token {
        /// Why.
        reason: String,
    },
    /// Certificates that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nothing listens there, or it does not speak HTTP/2.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// What was dialled.
        url: String,
        /// The operating system's reason.
        reason: String,
    },
    /// The server answered with an error, with what it said about it.
    #[error("{}", with_code(.0))]
    Refused(Box<Status>),
    /// The connection broke. What was sent and not answered may or may not have been taken.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// The operating system's or the transport's reason.
        reason: String,
    },
    /// The server's answer does not fit what was asked.
    #[error("the server's answer makes no sense: {0}")]
    Answer(String),
}

impl ClientError {
    /// The gRPC code, where the server sent one.
    pub fn code(&self) -> Option<Code> {
        self.refusal().map(Status::code)
    }

    /// Why the server refused, where it said so.
    pub fn reason(&self) -> Option<Reason> {
        let info = self.info()?;
        Reason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
    }

    /// A value that the server named beside the reason, such as `element` or `oldest`.
    pub fn value(&self, name: &str) -> Option<String> {
        self.info()?.metadata.remove(name)
    }

    /// What a balancer said that stands by: another one writes.
    pub fn stands_by(&self) -> Option<StandsBy> {
        StandsBy::of(self.refusal()?)
    }

    fn info(&self) -> Option<ErrorInfo> {
        self.refusal()?.get_details_error_info().filter(|info| info.domain == DOMAIN)
    }

    /// What the server sent, where it refused.
    fn refusal(&self) -> Option<&Status> {
        match self {
            ClientError::Refused(status) => Some(status),
            ClientError::Url(_)
            | ClientError::NoAuthority { .. }
            | ClientError::Tls(_)
            | ClientError::TokenInClear { .. }
            | ClientError::Token { .. }
            | ClientError::Connect { .. }
            | ClientError::Lost { .. }
            | ClientError::Answer(_) => None,
        }
    }

    /// Whether the server answers, but not to who asks: it does not know who that is, or does not allow it.
    pub fn is_not_permitted(&self) -> bool {
        matches!(self.code(), Some(Code::PermissionDenied | Code::Unauthenticated))
    }

    /// Whether the same call may succeed later: the node is going down, restarting, or out of reach.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Refused(status) => status.code() == Code::Unavailable,
            ClientError::Connect { .. } | ClientError::Lost { .. } => true,
            ClientError::Url(_)
            | ClientError::NoAuthority { .. }
            | ClientError::Tls(_)
            | ClientError::TokenInClear { .. }
            | ClientError::Token { .. }
            | ClientError::Answer(_) => false,
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> ClientError {
        // A status with a source was made on this side, by the transport; a server's has none.
        match status.source() {
            Some(source) => ClientError::Lost { reason: deepest(source) },
            None => ClientError::Refused(Box::new(status)),
        }
    }
}

/// The message, and the code at the end of its first line. A refused rule has two more: the line, and carets under the
/// place.
fn with_code(status: &Status) -> String {
    let (message, code) = (described(status), code_name(status.code()));
    match message.split_once('\n') {
        Some((first, rest)) => format!("{first} ({code})\n{rest}"),
        None => format!("{message} ({code})"),
    }
}

fn described(status: &Status) -> &str {
    match status.message() {
        "" => status.code().description(),
        message => message,
    }
}

/// The innermost error, which is the one that says why.
pub(super) fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Why there is no connection, in words: a certificate of an authority that is not trusted is said with the file that
/// has the trusted.
pub(super) fn why_not_connected(reason: String, authority: Option<&Path>) -> String {
    match authority {
        Some(file) if reason.contains("UnknownIssuer") => {
            format!("its certificate is not signed by the authority in {} (UnknownIssuer)", file.display())
        }
        _ => reason,
    }
}

/// A code as gRPC spells it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
