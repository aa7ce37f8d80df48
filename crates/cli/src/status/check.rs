//! What is wrong with a cluster, by what its nodes say about themselves. For alerting: each finding is something to act
//! on.

use serde_json::json;

use super::{Asked, silent};
use crate::{
    duration, match_json,
    notices::{self, role_name},
    table::thousands,
};
use dovetail::pb;
use dovetail::pb::inspect_response::State;
use dovetail_server::printable::printable;

/// A subscription that is down for less is being set up.
const DOWN_MS: u64 = 2000;
/// A node that runs for less may still be waiting for the others.
const STARTING_MS: u64 = 10_000;
/// A balancer that stands by says that it lives every 200 ms, if it is not told otherwise.
const SILENT_MS: u64 = 5_000;
/// In flight above so many hundredths of the most is near the limit.
const IN_FLIGHT_PERCENT: u64 = 80;

/// Something that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Of a fixed set, for machines.
    kind: &'static str,
    /// Which node says so, or is it.
    node: String,
    server: String,
    /// For people.
    text: String,
}

impl Finding {
    pub(super) fn line(&self, as_json: bool) -> String {
        let Finding { kind, node, server, text } = self;
        if as_json {
            match_json::line(&json!({ "finding": kind, "node": node, "server": server, "text": text }))
        } else {
            format!("{kind}: {node}: {}\n", printable(text))
        }
    }
}

/// All that is wrong, node by node.
pub(super) fn findings(nodes: &[Asked]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The balancer's settings are the cluster's: the nodes are sorted by role.
    let reference = nodes.iter().find_map(|node| node.answer.as_ref().ok());
    let now_ms = dovetail_server::time::now_ms();
    for node in nodes {
        let mut found =
            |kind, text| findings.push(Finding { kind, node: name(node), server: node.server.clone(), text });
        let answer = match &node.answer {
            Ok(answer) => answer,
            Err(error) => {
                let kind = match error {
                    error if error.is_not_permitted() => "not_permitted",
                    error if error.is_other_host() => "wrong_node",
                    _ => "node_unreachable",
                };
                found(kind, silent(node, error));
                continue;
            }
        };
        if let Some((role, index)) = node.expected
            && (role, index) != (answer.role(), answer.index)
        {
            let answers = format!("{} {}", role_name(answer.role()), answer.index);
            found("wrong_node", format!("{} answers as {answers}: check the addresses", node.server));
        }
        if let Some(reference) = reference
            && reference.settings_digest != answer.settings_digest
        {
            let by = format!("{} {}", role_name(reference.role()), reference.index);
            found("settings_differ", format!("has {}, but {by} has {}", answer.settings, reference.settings));
        }
        match &answer.state {
            Some(State::Balancer(state)) => balancer(state, &mut found),
            Some(State::Matcher(_) | State::Gatherer(_)) => {}
            None if now_ms.saturating_sub(answer.started_ms) < STARTING_MS => {}
            None => found("not_serving", "has no state yet: it waits for the balancer".to_owned()),
        }
        for trouble in &answer.troubles {
            let kind = match trouble.kind() {
                // Of a newer node.
                pb::TroubleKind::Unspecified => "trouble",
                known => known.word(),
            };
            found(kind, format!("{}: {}", trouble.setting, trouble.text));
        }
        for link in answer.links.iter().filter(|link| !link.connected && link.down_ms >= DOWN_MS) {
            let peer = format!("{} {} ({})", role_name(link.role()), link.index, link.address);
            let down = duration::format_ms(link.down_ms / 1000 * 1000);
            found(
                "link_down",
                format!("cannot read {} of {peer} for {down}: {}", link.stream().word(), link.last_error),
            );
        }
    }
    findings
}

fn balancer(state: &pb::BalancerState, found: &mut impl FnMut(&'static str, String)) {
    match notices::still(state) {
        Some(still) => found("decisions_stand_still", still),
        None => {
            for node in state.awaited.iter().filter(|node| node.down_ms >= DOWN_MS) {
                let awaited = notices::awaited(node);
                found("node_away", format!("decisions will wait for {awaited} if an event concerns it"));
            }
        }
    }
    if let Some(shared) = &state.shared {
        if shared.silent {
            found("log_silent", "the engine that keeps the log does not answer: nothing is acknowledged".to_owned());
        }
        // Each says so itself, where others are asked; the one that writes is enough.
        for other in shared.others.iter().filter(|other| shared.active && other.heard_ms >= SILENT_MS) {
            let (index, address, seconds) = (other.index, &other.address, other.heard_ms / 1_000);
            found("balancer_silent", format!("balancer {index} at {address} was not heard for {seconds} s"));
        }
    }
    if state.clock_jump_ms > 0 {
        found("clock_jumped", notices::clock_jumped(state));
    }
    if let Some(stored) = &state.stored {
        if stored.full {
            found("disk_full", "the disk is full: submissions are refused until there is room".to_owned());
        }
        if !stored.checkpoint_error.is_empty() {
            found("checkpoint_failing", format!("the last checkpoint was not made: {}", stored.checkpoint_error));
        }
    }
    let (in_flight, most) = (state.assigned.saturating_sub(state.stable), state.in_flight_max);
    if most > 0 && in_flight >= most / 100 * IN_FLIGHT_PERCENT + most % 100 * IN_FLIGHT_PERCENT / 100 {
        let text = format!("{} in flight, at {} submissions wait", thousands(in_flight), thousands(most));
        found("in_flight_near_limit", text);
    }
}

fn name(node: &Asked) -> String {
    let answered = node.answer.as_ref().ok().map(|answer| (answer.role(), answer.index));
    match node.expected.or(answered) {
        Some((role, index)) => format!("{} {index}", role_name(role)),
        None => node.server.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CliError;
    use dovetail::client::ClientError;
    use dovetail::pb::Role;

    fn asked(role: Role, index: u32, change: impl FnOnce(&mut pb::InspectResponse)) -> Asked {
        let state = match role {
            Role::Balancer => {
                State::Balancer(pb::BalancerState { assigned: 9, stable: 9, in_flight_max: 10, ..Default::default() })
            }
            Role::Matcher => State::Matcher(pb::MatcherState::default()),
            _ => State::Gatherer(pb::GathererState::default()),
        };
        let mut answer =
            pb::InspectResponse { role: role.into(), index, state: Some(state), ..pb::InspectResponse::default() };
        change(&mut answer);
        Asked { server: format!("http://{index}"), expected: Some((role, index)), answer: Ok(answer) }
    }

    fn of_balancer(change: impl FnOnce(&mut pb::BalancerState)) -> Asked {
        asked(Role::Balancer, 0, |answer| {
            if let Some(State::Balancer(state)) = &mut answer.state {
                change(state);
            }
        })
    }

    /// The findings as lines.
    fn check(nodes: &[Asked], expected: &[&str]) {
        let found: Vec<String> =
            findings(nodes).iter().map(|finding| finding.line(false).trim_end().to_owned()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_is_found_in_a_cluster_that_works() {
        check(&[of_balancer(|_| ()), asked(Role::Matcher, 0, |_| ()), asked(Role::Gatherer, 1, |_| ())], &[]);
    }

    #[test]
    fn a_disk_that_is_full_and_a_checkpoint_that_fails_are_found() {
        let stored = pb::StoredState { full: true, checkpoint_error: "no room".to_owned(), ..Default::default() };
        check(
            &[of_balancer(|state| state.stored = Some(stored))],
            &[
                "disk_full: balancer 0: the disk is full: submissions are refused until there is room",
                "checkpoint_failing: balancer 0: the last checkpoint was not made: no room",
            ],
        );
    }

    #[test]
    fn files_that_are_refused_and_certificates_that_expire_are_found() {
        let trouble = |kind: i32, setting: &str, text: &str| pb::Trouble {
            kind,
            setting: setting.to_owned(),
            text: text.to_owned(),
            since_ms: 7,
        };
        let expires =
            trouble(pb::TroubleKind::CertificateExpires.into(), "tls.cert", "the certificate is good until tomorrow");
        let refused = trouble(
            pb::TroubleKind::FileRefused.into(),
            "auth.policy",
            "/p is not taken, and what was read before stays: no role",
        );
        let troubles = vec![expires, refused, trouble(99, "x", "y")];
        check(
            &[asked(Role::Matcher, 1, |answer| answer.troubles = troubles)],
            &[
                "certificate_expires: matcher 1: tls.cert: the certificate is good until tomorrow",
                "file_refused: matcher 1: auth.policy: /p is not taken, and what was read before stays: no role",
                "trouble: matcher 1: x: y",
            ],
        );
    }

    #[test]
    fn submissions_that_are_about_to_wait_are_found() {
        check(&[of_balancer(|state| state.stable = 2)], &[]);
        let expected = "in_flight_near_limit: balancer 0: 8 in flight, at 10 submissions wait";
        check(&[of_balancer(|state| state.stable = 1)], &[expected]);
    }

    #[test]
    fn a_node_that_is_silent_or_another_or_set_otherwise_is_found() {
        let refused = CliError::NoServer { url: "http://m".to_owned(), reason: "refused".to_owned() };
        let silent = Asked { server: "http://m".to_owned(), expected: Some((Role::Matcher, 2)), answer: Err(refused) };
        let mut other = asked(Role::Matcher, 1, |_| ());
        other.expected = Some((Role::Matcher, 0));
        let differs = asked(Role::Gatherer, 0, |answer| {
            answer.settings_digest = 7;
            answer.settings = "slices 7".to_owned();
        });
        let mut of = of_balancer(|_| ());
        of.answer.as_mut().unwrap().settings = "slices 6".to_owned();
        let found = findings(&[of, other, differs, silent]);
        let kinds: Vec<&str> = found.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, ["wrong_node", "settings_differ", "node_unreachable"]);
        assert_eq!(found[0].text, "http://1 answers as matcher 1: check the addresses");
        assert_eq!(found[1].text, "has slices 7, but balancer 0 has slices 6");
        let text = "no answer at http://m: refused; start dovetail-matcher --index 2 there again";
        assert_eq!(found[2].line(false), format!("node_unreachable: matcher 2: {text}\n"));
        let json = found[2].line(true);
        assert!(json.starts_with(r#"{"finding":"node_unreachable","node":"matcher 2","#), "{json}");
        assert!(!found[2].text.contains("matcher 2"), "the node has a field of its own");
    }

    #[test]
    fn who_may_not_ask_and_a_certificate_of_another_are_not_a_node_that_is_silent() {
        let asked = |error: ClientError| {
            let (server, expected) = ("https://m".to_owned(), Some((Role::Matcher, 2)));
            Asked { server, expected, answer: Err(error.into()) }
        };
        let connect = |reason: &str| ClientError::Connect { url: "https://m".to_owned(), reason: reason.to_owned() };
        let other = r#"invalid peer certificate: certificate not valid for name "m"; certificate is only valid for DnsName("n")"#;
        check(
            &[
                asked(tonic::Status::permission_denied("no").into()),
                asked(tonic::Status::unauthenticated("who").into()),
                asked(connect(other)),
                asked(connect("its certificate is not signed by the authority in ca.pem (UnknownIssuer)")),
            ],
            &[
                "not_permitted: matcher 2: no (PERMISSION_DENIED)",
                "not_permitted: matcher 2: who (UNAUTHENTICATED); --token-file or DOVETAIL_TOKEN shows a token, --tls-cert and \
                 --tls-key a certificate",
                &format!("wrong_node: matcher 2: no TLS with https://m: {other}"),
                "node_unreachable: matcher 2: no TLS with https://m: its certificate is not signed by the authority in ca.pem \
                 (UnknownIssuer)",
            ],
        );
    }

    #[test]
    fn a_server_that_was_named_and_is_silent_is_named_once() {
        let refused = CliError::NoServer { url: "http://b".to_owned(), reason: "refused".to_owned() };
        let silent = Asked { server: "http://b".to_owned(), expected: None, answer: Err(refused) };
        check(
            &[silent],
            &[
                "node_unreachable: http://b: no answer: refused; start the node of this address again, or name another with \
               --server or DOVETAIL_SERVER",
            ],
        );
    }

    #[test]
    fn nodes_that_are_away_are_found_and_worse_when_decisions_wait_for_them() {
        let away = pb::AwaitedNode { role: Role::Matcher.into(), index: 1, down_ms: 5000, ..Default::default() };
        let with = |undecided_ms| {
            of_balancer(|state| (state.awaited, state.undecided_ms) = (vec![away.clone()], undecided_ms))
        };
        let expected =
            "node_away: balancer 0: decisions will wait for matcher 1 (, down for 5s) if an event concerns it";
        check(&[with(0)], &[expected]);
        check(&[with(3000)], &["decisions_stand_still: balancer 0: decisions wait for matcher 1 (, down for 5s)"]);
    }

    #[test]
    fn a_subscription_that_stays_down_is_found_and_one_being_set_up_is_not() {
        let link = |down_ms| pb::PeerLink {
            role: Role::Matcher.into(),
            address: "http://m".to_owned(),
            stream: pb::NodeStream::Candidates.into(),
            last_error: "refused".to_owned(),
            down_ms,
            ..Default::default()
        };
        let gatherer = asked(Role::Gatherer, 0, |answer| answer.links = vec![link(1000), link(7000)]);
        check(&[gatherer], &["link_down: gatherer 0: cannot read candidates of matcher 0 (http://m) for 7s: refused"]);
    }
}
