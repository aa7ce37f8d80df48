//! What a balancer says that stands by: another one writes, and perhaps where that is.
//!
//! It comes as the details of an error, as all reasons do, and as trailers that need no decoding of messages.

use tonic::Status;
use tonic_types::StatusExt as _;

use crate::reason::{DOMAIN, Reason};

/// The trailer, and without its prefix the value of the details, that has the URL of the balancer that writes.
pub const ACTIVE_TRAILER: &str = "dovetail-active";
/// The same of its term: of two that are named, the one of the higher term is later.
pub const TERM_TRAILER: &str = "dovetail-term";

/// A balancer stands by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandsBy {
    /// The one that writes, as the cluster's settings name it, and the term that it writes in; none when the balancer
    /// that stands by does not know.
    pub active: Option<(String, u64)>,
}

impl StandsBy {
    /// What a refusal says, if it is of a balancer that stands by.
    #[must_use]
    pub fn of(status: &Status) -> Option<StandsBy> {
        let details = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let refused = details.as_ref().is_some_and(|info| info.reason == Reason::StandsBy.name());
        let trailer = |name: &str| status.metadata().get(name).and_then(|value| value.to_str().ok());
        if !refused && trailer(ACTIVE_TRAILER).is_none() {
            return None;
        }
        let detail = |name: &str| details.as_ref()?.metadata.get(name).map(String::as_str);
        let active = trailer(ACTIVE_TRAILER).or(detail("active"));
        let term = trailer(TERM_TRAILER).or(detail("term")).and_then(|term| term.parse().ok());
        Some(StandsBy { active: active.map(str::to_owned).zip(term) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_is_read_of_the_trailers_alone_and_other_refusals_say_nothing_of_it() {
        let mut status = Status::unavailable("this balancer stands by");
        assert_eq!(StandsBy::of(&status), None);
        status.metadata_mut().insert(ACTIVE_TRAILER, "http://b:1".parse().unwrap());
        assert_eq!(StandsBy::of(&status), Some(StandsBy { active: None }), "without a term it may be an old story");
        status.metadata_mut().insert(TERM_TRAILER, "17".parse().unwrap());
        assert_eq!(StandsBy::of(&status), Some(StandsBy { active: Some(("http://b:1".to_owned(), 17)) }));
    }
}
