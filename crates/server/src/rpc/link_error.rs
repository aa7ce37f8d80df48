//! Why a subscription at another node ended, or a question was not answered.

use std::error::Error as _;

use dovetail_node::{Term, link::GivenUp};
use thiserror::Error;
use tonic::{Code, Status};

use super::peer;
use dovetail::client::code_name;
use dovetail_wire::ConvertError;

/// Why a subscription ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The other node, or the route to it.
    #[error("{}: {}", code_name(.0.code()), .0.message())]
    Status(#[from] Status),
    /// It said something that cannot be understood.
    #[error("the peer sent a message that cannot be understood: {0}")]
    Convert(#[from] ConvertError),
    /// It ended the stream.
    #[error("the peer ended the stream")]
    Ended,
    /// It sent a message that does not belong where it came: a stream begins with a hello, and has no other.
    #[error("the peer sent {found} where {expected} was expected")]
    Unexpected {
        /// What may come there.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// What it said does not fit what was asked.
    #[error("{0}")]
    GivenUp(#[from] GivenUp),
    /// It no longer keeps what this node needs next.
    #[error("{0}")]
    CursorTooOld(String),
    /// A balancer does not know that another has taken over.
    #[error("the balancer writes in term {}, and one that writes in term {} was heard of", .found.0, .heard.0)]
    Over {
        /// Its term.
        found: Term,
        /// The highest that was heard of.
        heard: Term,
    },
    /// Another balancer is asked from now on.
    #[error("another balancer is asked")]
    Left,
    /// What it says is ahead of the log that this balancer follows, and there is no room for it.
    #[error("it is ahead of this balancer's log, and there is no room for what it says")]
    NoRoom,
    /// This node's engine stopped.
    #[error("this node starts again")]
    Stopped,
}

impl LinkError {
    /// Whether the node was not reached, did not answer, or is going away.
    pub(super) fn is_silence(&self) -> bool {
        let LinkError::Status(status) = self else { return false };
        // A status with a source was made on this side, by the transport.
        matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) || status.source().is_some()
    }

    /// Whether the two nodes disagree about what the cluster must agree on.
    pub(super) fn is_other_settings(&self) -> bool {
        matches!(self, LinkError::Status(status) if peer::is_other_settings(status))
    }
}

/// What a stream or a range is refused with: most of all a cursor that is older than what is kept.
#[must_use]
pub fn or_cursor_too_old(status: Status) -> LinkError {
    match status.code() {
        Code::OutOfRange => LinkError::CursorTooOld(status.message().to_owned()),
        _ => LinkError::Status(status),
    }
}
