//! What the nodes of a cluster have counted, from their `Inspect`.
//!
//! The balancer names the gatherers it reads, and they name the matchers: its address is enough to find all nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;

use dovetail::{
    client::{Client, ConnectOptions},
    pb::{self, Role, inspect_response::State},
};

/// Longest time one node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What all nodes say about themselves.
#[derive(Debug, Default)]
pub struct Nodes {
    states: Vec<pb::InspectResponse>,
    /// Those that are named and did not answer, and why.
    pub silent: Vec<String>,
}

impl Nodes {
    /// Asks the balancer at a URL, and all nodes that it leads to.
    pub async fn ask(balancer: &str, options: &ConnectOptions) -> Nodes {
        let mut nodes = Nodes::default();
        let mut next = vec![balancer.to_owned()];
        for reads in [Role::Gatherer, Role::Matcher, Role::Unspecified] {
            let answers = join_all(next.iter().map(|url| inspect(url, options))).await;
            let mut named: Vec<String> = Vec::new();
            for (url, answer) in next.iter().zip(answers) {
                match answer {
                    Ok(state) => {
                        let links = state.links.iter().filter(|link| link.role() == reads);
                        named.extend(links.map(|link| link.address.clone()));
                        nodes.states.push(state);
                    }
                    Err(reason) => nodes.silent.push(format!("{url}: {reason}")),
                }
            }
            named.sort_unstable();
            named.dedup();
            next = named;
        }
        nodes
    }

    /// Whether every node answers, serves, and reads all that it has to.
    #[must_use]
    pub fn are_ready(&self) -> bool {
        let ready = |state: &pb::InspectResponse| {
            state.state.is_some() && !state.links.is_empty() && state.links.iter().all(|link| link.connected)
        };
        self.silent.is_empty() && self.states.iter().all(ready) && self.count(Role::Matcher) > 0
    }

    /// How many nodes of a role answered.
    #[must_use]
    pub fn count(&self, role: Role) -> usize {
        self.states.iter().filter(|state| state.role() == role).count()
    }

    /// How many slices they have.
    #[must_use]
    pub fn slices(&self) -> usize {
        let slices = |state: &pb::InspectResponse| match &state.state {
            Some(State::Matcher(matcher)) => matcher.slices.len(),
            _ => 0,
        };
        self.states.iter().map(slices).sum()
    }

    /// What they have counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for state in &self.states {
            for link in &state.links {
                let wire = (link.stream().word().to_owned(), role_name(link.role()), role_name(state.role()));
                *counters.streams.entry(wire).or_default() += link.received_bytes;
            }
            match &state.state {
                Some(State::Balancer(balancer)) => {
                    let stored = balancer.stored.clone().unwrap_or_default();
                    counters.log = DiskCounters { bytes: stored.log_appended_bytes, syncs: stored.log_syncs };
                    counters.results =
                        DiskCounters { bytes: stored.results_appended_bytes, syncs: stored.results_syncs };
                }
                Some(State::Matcher(matcher)) => {
                    for slice in &matcher.slices {
                        counters.probes += slice.probes;
                        counters.candidates += slice.candidates;
                        counters.stalls += slice.stalls;
                        counters.stalled += Duration::from_millis(slice.stalled_ms);
                    }
                }
                Some(State::Gatherer(_)) | None => {}
            }
        }
        counters
    }
}

/// Counts of all nodes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What was written to the log.
    pub log: DiskCounters,
    /// What was written to the results.
    pub results: DiskCounters,
    /// Searches.
    pub probes: u64,
    /// What they found.
    pub candidates: u64,
    /// Times that a slice waited for the decided watermark.
    pub stalls: u64,
    /// How long, all slices together.
    pub stalled: Duration,
    /// Bytes by stream, sender and reader.
    pub streams: BTreeMap<(String, &'static str, &'static str), u64>,
}

/// What was written to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Bytes appended.
    pub bytes: u64,
    /// Times that something was made durable.
    pub syncs: u64,
}

impl DiskCounters {
    fn since(self, before: DiskCounters) -> DiskCounters {
        DiskCounters { bytes: self.bytes.saturating_sub(before.bytes), syncs: self.syncs.saturating_sub(before.syncs) }
    }
}

impl Counters {
    /// What was counted after `before`. A node that began anew meanwhile counts from there.
    #[must_use]
    pub fn since(mut self, before: &Counters) -> Counters {
        for (wire, bytes) in &mut self.streams {
            *bytes = bytes.saturating_sub(before.streams.get(wire).copied().unwrap_or_default());
        }
        Counters {
            log: self.log.since(before.log),
            results: self.results.since(before.results),
            probes: self.probes.saturating_sub(before.probes),
            candidates: self.candidates.saturating_sub(before.candidates),
            stalls: self.stalls.saturating_sub(before.stalls),
            stalled: self.stalled.saturating_sub(before.stalled),
            streams: self.streams,
        }
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "unknown",
        Role::Balancer => "balancer",
        Role::Matcher => "matchers",
        Role::Gatherer => "gatherers",
    }
}

async fn inspect(url: &str, options: &ConnectOptions) -> Result<pb::InspectResponse, String> {
    let answer = async { Client::connect_with(url, options).await?.inspect().await };
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(role: Role, stream: pb::NodeStream, received_bytes: u64) -> pb::PeerLink {
        pb::PeerLink { role: role.into(), stream: stream.into(), received_bytes, connected: true, ..Default::default() }
    }

    fn nodes() -> Nodes {
        let slice =
            |probes, candidates, stalled_ms| pb::SliceState { probes, candidates, stalled_ms, ..Default::default() };
        let matcher = pb::MatcherState { slices: vec![slice(10, 4, 30), slice(5, 1, 0)], ..Default::default() };
        let stored = pb::StoredState { log_appended_bytes: 900, log_syncs: 9, ..Default::default() };
        let node = |role: Role, links, state| pb::InspectResponse {
            role: role.into(),
            links,
            state: Some(state),
            ..Default::default()
        };
        let gatherer = |bytes| {
            let links = vec![
                link(Role::Matcher, pb::NodeStream::Candidates, bytes),
                link(Role::Matcher, pb::NodeStream::Candidates, 1),
            ];
            node(Role::Gatherer, links, State::Gatherer(pb::GathererState::default()))
        };
        let balancer = pb::BalancerState { stored: Some(stored), ..Default::default() };
        let states = vec![
            node(Role::Balancer, vec![link(Role::Gatherer, pb::NodeStream::Decisions, 70)], State::Balancer(balancer)),
            gatherer(100),
            gatherer(200),
            node(Role::Matcher, vec![link(Role::Balancer, pb::NodeStream::Feed, 500)], State::Matcher(matcher)),
        ];
        Nodes { states, silent: Vec::new() }
    }

    #[test]
    fn counts_of_all_nodes_are_added_up() {
        let counters = nodes().counters();
        assert_eq!((counters.probes, counters.candidates, counters.stalled.as_millis()), (15, 5, 30));
        assert_eq!(counters.log, DiskCounters { bytes: 900, syncs: 9 });
        let streams: Vec<_> =
            counters.streams.iter().map(|((s, from, to), bytes)| (s.as_str(), *from, *to, *bytes)).collect();
        let expected = [
            ("candidates", "matchers", "gatherers", 302),
            ("decisions", "gatherers", "balancer", 70),
            ("feed", "balancer", "matchers", 500),
        ];
        assert_eq!(streams, expected);
    }

    #[test]
    fn what_was_counted_before_does_not_count() {
        let (before, mut nodes) = (nodes().counters(), nodes());
        nodes.states[1].links[0].received_bytes += 11;
        let since = nodes.counters().since(&before);
        assert_eq!((since.probes, since.log, since.streams.values().sum::<u64>()), (0, DiskCounters::default(), 11));
    }

    #[test]
    fn nodes_are_ready_when_every_link_stands() {
        let mut nodes = nodes();
        assert!(nodes.are_ready());
        nodes.states[2].links[0].connected = false;
        assert!(!nodes.are_ready());
    }
}
