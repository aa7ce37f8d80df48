//! Whether an answer is one that its message may have; and how many of each there were.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use dovetail::client::code_name;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{draw::is_broken, schema::Method, send::CallAnswer};
use crate::{journal::Journal, shape::ClusterNode};

/// Violations of a run that are told of.
const TOLD_MAX: usize = 20;

/// A call that was made.
#[derive(Debug)]
pub struct Sent<'a> {
    /// Which one of the run.
    pub at: String,
    pub node: ClusterNode,
    pub method: &'a Method,
    pub who: &'a str,
    pub messages: Vec<Bytes>,
    /// Whether it has no deadline of its own, and asked for no wait: nothing but an answer will do.
    pub patient: bool,
}

/// Counts by method and answer.
pub type Counts = BTreeMap<(String, String), u64>;

/// What calls were answered with.
#[derive(Debug)]
pub struct Verdicts {
    journal: Arc<Journal>,
    counts: Mutex<Counts>,
}

impl Verdicts {
    pub fn new(journal: Arc<Journal>) -> Verdicts {
        Verdicts { journal, counts: Mutex::default() }
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Holds an answer against what was sent.
    pub fn judge(&self, sent: &Sent<'_>, answer: CallAnswer) {
        let what = match &answer {
            CallAnswer::Fine => "OK".to_owned(),
            CallAnswer::Refused(status) => code_name(status.code()).to_owned(),
            CallAnswer::Left => "left".to_owned(),
            CallAnswer::Broken(_) => "broken".to_owned(),
            CallAnswer::Silent => "silent".to_owned(),
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((sent.method.name.clone(), what)).or_default() += 1;
        drop(counts);
        self.journal.checked("answers have the right code", 1);
        if let CallAnswer::Broken(error) = &answer {
            self.journal.count("connections that broke", 1);
            self.journal.note(format!("{} of {} ({}): {error}", sent.method.path(), sent.node, sent.at));
        }
        if let Some(fault) = fault(sent, &answer)
            && self.journal.sums().violations.len() < TOLD_MAX
        {
            let Sent { at, node, method, who, messages, .. } = sent;
            let shown: Vec<String> = messages.iter().map(hex).collect();
            let text = format!("{fault}; {who} called {} of {node} ({at}) with {shown:?}", method.path());
            self.journal.violation(text);
        }
    }
}

/// What is wrong with an answer.
fn fault(sent: &Sent<'_>, answer: &CallAnswer) -> Option<String> {
    let one = sent.messages.as_slice();
    // The library that serves reflection takes what is no message for the end of all messages.
    let reflection = sent.method.service.starts_with("grpc.reflection.");
    let broken = !reflection && one.iter().any(|message| is_broken(message));
    match answer {
        CallAnswer::Fine if broken => Some("what is no message was answered".to_owned()),
        CallAnswer::Fine if !sent.method.many_requests && one.len() != 1 => {
            Some(format!("{} messages were answered as one", one.len()))
        }
        CallAnswer::Refused(status) => refusal(sent, status, broken),
        CallAnswer::Silent if sent.patient => Some("there was no answer".to_owned()),
        CallAnswer::Fine | CallAnswer::Left | CallAnswer::Silent | CallAnswer::Broken(_) => None,
    }
}

fn refusal(sent: &Sent<'_>, status: &Status, broken: bool) -> Option<String> {
    let code = status.code();
    let told = |what: &str| Some(format!("{what}: {} {:?}", code_name(code), status.message()));
    match code {
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Aborted => {
            return told("an error of the server");
        }
        // A caller without permission is told so first; a node that does not serve the call says where to go.
        Code::InvalidArgument
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::ResourceExhausted
        | Code::DeadlineExceeded => {}
        // The first of several may have been a message.
        _ if broken && sent.messages.len() == 1 => return told("what is no message was refused as if it were one"),
        _ => {}
    }
    let ours = sent.method.service.starts_with("dovetail.");
    if ours && status.get_error_details().error_info().is_none() {
        return told("a refusal without a reason");
    }
    None
}

fn hex(bytes: &Bytes) -> String {
    let shown: String = bytes.iter().take(200).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > 200 { format!("{shown}... ({} bytes)", bytes.len()) } else { shown }
}

#[cfg(test)]
mod tests {
    use dovetail::reason::Reason;
    use dovetail_server::fault::Fault;

    use super::*;

    fn sent<'a>(method: &'a Method, message: &'static [u8]) -> Sent<'a> {
        let (at, messages) = (String::new(), vec![Bytes::from_static(message)]);
        Sent { at, node: ClusterNode::Balancer, method, who: "a stranger", messages, patient: true }
    }

    #[test]
    fn answers_that_blame_the_server_hide_the_reason_or_never_come_are_told_of() {
        let method = Method {
            service: "dovetail.v1.MatchService".into(),
            name: "GetPool".into(),
            input: String::new(),
            many_requests: false,
            many_answers: false,
        };
        let (good, bad) = (b"\x0a\x01x", b"\x0a\x05x");
        let refused = |reason| CallAnswer::Refused(Fault::new(reason, "no").into());
        for (message, answer, wrong) in [
            (good.as_slice(), CallAnswer::Fine, false),
            (good, refused(Reason::PoolUnknown), false),
            (bad, refused(Reason::MessageMalformed), false),
            (bad, refused(Reason::PoolUnknown), true),
            (bad, CallAnswer::Fine, true),
            (good, refused(Reason::Internal), true),
            (good, CallAnswer::Refused(Status::invalid_argument("no")), true),
            (good, CallAnswer::Silent, true),
            (good, CallAnswer::Left, false),
        ] {
            assert_eq!(fault(&sent(&method, message), &answer).is_some(), wrong, "{answer:?}");
        }
    }
}
