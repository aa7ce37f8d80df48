//! The refusal of a balancer that stands by.

use dovetail_node::Term;
use tonic::Status;

use crate::fault::Fault;
use dovetail::{
    reason::Reason,
    standby::{ACTIVE_TRAILER, TERM_TRAILER},
};

/// Refuses what only the balancer that writes does, and says where that one is, if it is known.
#[must_use]
pub fn stands_by(active: Option<(&str, Term)>) -> Status {
    let Some((url, Term(term))) = active else {
        return Fault::new(Reason::StandsBy, "this balancer stands by, and knows of no active one").into();
    };
    let text = format!("this balancer stands by; the active one is {url} (term {term})");
    let mut status = Status::from(Fault::new(Reason::StandsBy, text).with("active", url).with("term", term));
    let trailers = [(ACTIVE_TRAILER, url.to_owned()), (TERM_TRAILER, term.to_string())];
    for (name, value) in trailers {
        // An address that is no header is in the details.
        if let Ok(value) = value.parse() {
            status.metadata_mut().insert(name, value);
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use dovetail::{client::ClientError, standby::StandsBy};

    #[test]
    fn a_refusal_names_the_active_balancer_in_its_text_its_details_and_its_trailers() {
        let status = stands_by(Some(("http://10.0.0.2:7400", Term(41))));
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "this balancer stands by; the active one is http://10.0.0.2:7400 (term 41)");
        assert_eq!(status.metadata().get("dovetail-active").unwrap(), "http://10.0.0.2:7400");
        assert_eq!(status.metadata().get("dovetail-term").unwrap(), "41");
        let active = Some(("http://10.0.0.2:7400".to_owned(), 41));
        assert_eq!(StandsBy::of(&status), Some(StandsBy { active: active.clone() }));
        // A proxy may have taken the trailers away.
        let bare = Status::with_details(status.code(), status.message(), status.details().to_vec().into());
        assert_eq!(StandsBy::of(&bare), Some(StandsBy { active }));
        let error = ClientError::from(bare);
        assert_eq!((error.reason(), error.is_transient()), (Some(Reason::StandsBy), true));
        assert_eq!(
            (error.value("active").as_deref(), error.value("term").as_deref()),
            (Some("http://10.0.0.2:7400"), Some("41"))
        );
    }

    #[test]
    fn who_knows_of_no_active_balancer_says_so() {
        let status = stands_by(None);
        assert_eq!(status.message(), "this balancer stands by, and knows of no active one");
        assert_eq!(StandsBy::of(&status), Some(StandsBy { active: None }));
        assert!(status.metadata().get("dovetail-active").is_none());
    }
}
