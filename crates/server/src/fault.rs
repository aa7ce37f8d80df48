//! Refusals that a program can act on: a code, a reason, and the values, as `google.rpc` details beside the text.
//!
//! Everything a node refuses becomes a [`Fault`] first, so that all of it carries an `ErrorInfo`.
//! Invariant: fault.F1 a status fits the headers that clients take (8 KiB): texts and values are cut.

use std::{collections::HashMap, time::Duration};

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use dovetail::{
    reason::{DOMAIN, Reason},
    text::{ECHO_BYTES_MAX, cut, cut_message},
};

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
        let message = cut_message(message);
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

#[cfg(test)]
mod tests {
    use tonic::Code;

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
}
