//! What was measured, in numbers: of each round, and of all together. Its JSON is for machines.

use std::time::Duration;

use serde::Serialize;

use super::check::{Against, Check, CheckVerdict, Order};
use super::cluster::RoleUsage;
use super::counters::{Counters, Nodes};
use super::driven::Driven;
use super::latency::{Latencies, Quantiles};
use super::pace::ArrivalPace;
use super::plan::{BenchPlan, Target};
use super::source::Form;
use super::usage::Usage;
use super::workload::KnownAnswer;
use dovetail::pb::Role;

/// One round.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// From the first element sent until everything was decided and had come to the watcher.
    pub seconds: f64,
    /// Elements by that time.
    pub elements_per_s: f64,
    /// Matches by that time.
    pub matches_per_s: f64,
    /// Elements by the time from the first sent to the last acknowledged.
    pub acknowledged_per_s: f64,
    /// The result.
    pub result: ResultReport,
    /// From an element's time to its acknowledgement.
    pub submit_to_acknowledge: Option<Quantiles>,
    /// From the time of a pair's later element until the watcher had the match.
    pub submit_to_match: Option<Quantiles>,
    /// By role; nothing is known of processes that were not started by this run.
    pub usage: Option<Vec<RoleReport>>,
    /// Of the clients, which are this process.
    pub clients: Option<RoleReport>,
    /// By stream.
    pub streams: Vec<StreamReport>,
    /// What was written.
    pub disk: DiskReport,
    /// What was searched.
    pub search: SearchReport,
    /// Nodes that do not answer from here, so that their counts are missing.
    pub silent: Vec<String>,
    #[serde(skip)]
    acknowledge: Latencies,
    #[serde(skip)]
    matched: Latencies,
    #[serde(skip)]
    nodes: (usize, usize),
}

/// What came out, and whether it is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResultReport {
    /// "matches", "differs" or "unchecked".
    pub check: &'static str,
    /// "known answer" or "sequential program"; none when it is not checked.
    pub against: Option<&'static str>,
    /// Why it is not checked.
    pub reason: Option<String>,
    /// What was found.
    pub found: Checksum,
    /// What should have been, when that is another.
    pub expected: Option<Checksum>,
}

/// A result, independent of the order of its matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checksum {
    /// Pairs.
    pub matches: u64,
    /// Elements without a partner.
    pub waiting: u64,
    /// In hexadecimal.
    pub xor: String,
    /// In hexadecimal.
    pub sum: String,
    /// In hexadecimal.
    pub wait: String,
}

/// What the processes of a role used in a round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoleReport {
    /// The role.
    pub role: &'static str,
    /// How many processes.
    pub processes: usize,
    /// CPU time of all, in the round.
    pub cpu_seconds: f64,
    /// The sum of their peaks since they started.
    pub peak_memory_bytes: u64,
}

/// The kind of a cluster whose roles hand messages to one another in memory.
pub const ONE_PROCESS: &str = "one process";

/// A kind of stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// What goes over it.
    pub stream: String,
    /// Who sends.
    pub from: &'static str,
    /// Who reads.
    pub to: &'static str,
    /// Bytes that came in over its connections.
    pub bytes: u64,
}

/// What the balancer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DiskReport {
    /// Bytes appended to the log.
    pub log_bytes: u64,
    /// Times that a part of the log was made durable.
    pub log_syncs: u64,
    /// Bytes appended to the results.
    pub results_bytes: u64,
    /// Times that a part of the results was made durable.
    pub results_syncs: u64,
}

/// What the matchers did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SearchReport {
    /// Searches, by all slices together.
    pub probes: u64,
    /// Partners that they listed.
    pub candidates: u64,
    /// The one by the other.
    pub candidates_per_probe: f64,
    /// Times that a slice waited for the decided watermark.
    pub stalls: u64,
    /// How long, all slices together.
    pub stalled_seconds: f64,
    /// How many slices there are.
    pub slices: usize,
}

/// All rounds.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// The workload.
    pub workload: String,
    /// How many elements.
    pub elements: usize,
    /// How they were submitted.
    pub load: LoadReport,
    /// To what.
    pub cluster: ClusterReport,
    /// Over all rounds.
    pub summary: BenchSummary,
    /// One by one.
    pub rounds: Vec<Measured>,
}

/// How elements were submitted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// Clients that submit.
    pub clients: usize,
    /// Most elements of a message.
    pub batch: usize,
    /// How messages are written.
    pub form: Form,
    /// Most messages of a client without an answer.
    pub in_flight: usize,
    /// Elements a second; none when they were sent flat out.
    pub rate: Option<f64>,
    /// Bytes of a payload; none for a described workload.
    pub payload_bytes: Option<usize>,
}

/// To what elements were submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterReport {
    /// "processes", "one process" or "running".
    pub kind: &'static str,
    /// Its balancer, when it ran before.
    pub server: Option<String>,
    /// Whether TLS was spoken.
    pub tls: bool,
    /// Matchers.
    pub matchers: usize,
    /// Gatherers.
    pub gatherers: usize,
    /// Slices.
    pub slices: usize,
    /// Where the folder was made; none for the place for temporary files.
    pub data: Option<String>,
}

/// Over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct BenchSummary {
    /// Elements a second.
    pub elements_per_s: Spread,
    /// Matches a second.
    pub matches_per_s: Spread,
    /// Acknowledged elements a second.
    pub acknowledged_per_s: Spread,
    /// "due" at a fixed rate, "sent" flat out: then these are latencies under saturation, and say how much was under
    /// way.
    pub latency_from: &'static str,
    /// Of all rounds together.
    pub submit_to_acknowledge: Option<Quantiles>,
    /// Of all rounds together.
    pub submit_to_match: Option<Quantiles>,
    /// Whether no round's result is wrong.
    pub correct: bool,
    /// All of the one kind.
    #[serde(skip)]
    pub acknowledge: Latencies,
    /// All of the other.
    #[serde(skip)]
    pub matched: Latencies,
}

/// A quantity over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// In the middle; of an even number, the mean of the two there.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            return Spread { median: 0.0, min: 0.0, max: 0.0 };
        };
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Spread { median, min, max }
    }
}

/// What roles have used between two looks.
pub(super) fn used(after: &[RoleUsage], before: &[RoleUsage]) -> Vec<RoleReport> {
    let roles = after.iter().zip(before);
    roles.map(|(after, before)| role_report(after.role, after.processes, after.usage.since(before.usage))).collect()
}

fn role_report(role: &'static str, processes: usize, usage: Usage) -> RoleReport {
    RoleReport { role, processes, cpu_seconds: usage.cpu.as_secs_f64(), peak_memory_bytes: usage.peak_bytes }
}

impl Measured {
    pub(super) fn of(
        driven: &Driven,
        order: &Order,
        check: Check,
        before: &Nodes,
        after: &Nodes,
        clients: Option<Usage>,
    ) -> Measured {
        let (acknowledge, matched) = latencies(driven, order);
        let begin = driven.from.iter().min().copied().unwrap_or_default();
        let acknowledged = driven.acknowledged.iter().max().copied().unwrap_or_default();
        let seconds = |until: Duration| until.saturating_sub(begin).as_secs_f64().max(1e-9);
        let (all, elements) = (seconds(driven.settled.max(acknowledged)), driven.ids.len() as f64);
        let counters = after.counters().since(&before.counters());
        Measured {
            seconds: all,
            elements_per_s: elements / all,
            matches_per_s: driven.matches.len() as f64 / all,
            acknowledged_per_s: elements / seconds(acknowledged),
            result: ResultReport::of(check),
            submit_to_acknowledge: acknowledge.quantiles(),
            submit_to_match: matched.quantiles(),
            usage: None,
            clients: clients.map(|usage| role_report("clients", 1, usage)),
            streams: streams(driven, &counters),
            disk: DiskReport {
                log_bytes: counters.log.bytes,
                log_syncs: counters.log.syncs,
                results_bytes: counters.results.bytes,
                results_syncs: counters.results.syncs,
            },
            search: SearchReport {
                probes: counters.probes,
                candidates: counters.candidates,
                candidates_per_probe: counters.candidates as f64 / (counters.probes as f64).max(1.0),
                stalls: counters.stalls,
                stalled_seconds: counters.stalled.as_secs_f64(),
                slices: after.slices(),
            },
            silent: after.silent.clone(),
            acknowledge,
            matched,
            nodes: (after.count(Role::Matcher), after.count(Role::Gatherer)),
        }
    }

    /// Whether the result is known to be wrong.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.result.expected.is_some()
    }
}

/// Of every element to its acknowledgement, and of every pair to its match.
fn latencies(driven: &Driven, order: &Order) -> (Latencies, Latencies) {
    let (mut acknowledge, mut matched) = (Latencies::default(), Latencies::default());
    for (from, acknowledged) in driven.from.iter().zip(&driven.acknowledged) {
        acknowledge.record(acknowledged.saturating_sub(*from));
    }
    for seen in &driven.matches {
        let from = |id| order.position(id).map(|position| driven.from[position]).unwrap_or_default();
        matched.record(seen.at.saturating_sub(from(seen.ends.0).max(from(seen.ends.1))));
    }
    (acknowledge, matched)
}

/// In the order in which an element goes its way.
fn streams(driven: &Driven, counters: &Counters) -> Vec<StreamReport> {
    let report = |stream: &str, from, to, bytes| StreamReport { stream: stream.to_owned(), from, to, bytes };
    let mut streams = vec![
        report("submit", "clients", "balancer", driven.submitted_bytes.0),
        report("acknowledgements", "balancer", "clients", driven.submitted_bytes.1),
    ];
    for name in ["feed", "candidates", "decisions", "cut"] {
        let named = counters.streams.iter().filter(|((stream, ..), _)| stream == name);
        streams.extend(named.map(|((stream, from, to), &bytes)| report(stream, from, to, bytes)));
    }
    streams.push(report("matches", "balancer", "watcher", driven.watched_bytes));
    streams
}

impl ResultReport {
    fn of(check: Check) -> ResultReport {
        let against = |against| match against {
            Against::Known => "known answer",
            Against::Sequential => "sequential program",
        };
        let (found, verdict) = (Checksum::of(check.found), check.verdict);
        let report = |check, against, reason, expected| ResultReport { check, against, reason, found, expected };
        match verdict {
            CheckVerdict::Matches(with) => report("matches", Some(against(with)), None, None),
            CheckVerdict::Differs(with, expected) => {
                report("differs", Some(against(with)), None, Some(Checksum::of(expected)))
            }
            CheckVerdict::Unchecked(reason) => report("unchecked", None, Some(reason), None),
        }
    }
}

impl Checksum {
    fn of(answer: KnownAnswer) -> Checksum {
        let hex = |number: u64| format!("{number:016x}");
        Checksum {
            matches: answer.matches,
            waiting: answer.waiting,
            xor: hex(answer.xor),
            sum: hex(answer.sum),
            wait: hex(answer.wait),
        }
    }
}

impl BenchReport {
    pub(super) fn of(plan: &BenchPlan, rounds: Vec<Measured>) -> BenchReport {
        let spread = |of: fn(&Measured) -> f64| Spread::of(rounds.iter().map(of));
        let together = |of: fn(&Measured) -> &Latencies| {
            let mut all = Latencies::default();
            rounds.iter().for_each(|round| all.add(of(round)));
            all
        };
        let (acknowledge, matched) = (together(|round| &round.acknowledge), together(|round| &round.matched));
        let summary = BenchSummary {
            elements_per_s: spread(|round| round.elements_per_s),
            matches_per_s: spread(|round| round.matches_per_s),
            acknowledged_per_s: spread(|round| round.acknowledged_per_s),
            latency_from: match plan.manner.pace {
                ArrivalPace::FlatOut => "sent",
                ArrivalPace::PerSecond(_) => "due",
            },
            submit_to_acknowledge: acknowledge.quantiles(),
            submit_to_match: matched.quantiles(),
            correct: !rounds.iter().any(Measured::is_wrong),
            acknowledge,
            matched,
        };
        BenchReport {
            workload: plan.name.clone(),
            elements: plan.source.len(),
            load: LoadReport {
                clients: plan.manner.clients,
                batch: plan.manner.batch,
                form: plan.manner.form,
                in_flight: plan.manner.in_flight,
                rate: match plan.manner.pace {
                    ArrivalPace::FlatOut => None,
                    ArrivalPace::PerSecond(rate) => Some(rate),
                },
                payload_bytes: plan.source.payload_bytes(),
            },
            cluster: ClusterReport::of(&plan.target, rounds.last()),
            summary,
            rounds,
        }
    }
}

impl ClusterReport {
    fn of(target: &Target, last: Option<&Measured>) -> ClusterReport {
        match target {
            Target::Own(shape) => ClusterReport {
                kind: if shape.up { ONE_PROCESS } else { "processes" },
                server: None,
                tls: shape.tls,
                matchers: shape.matchers as usize,
                gatherers: shape.gatherers as usize,
                slices: shape.slices as usize,
                data: shape.data.as_ref().map(|path| path.display().to_string()),
            },
            Target::Running(server) => {
                let (matchers, gatherers) = last.map(|round| round.nodes).unwrap_or_default();
                let slices = last.map(|round| round.search.slices).unwrap_or_default();
                let (server, tls) = (Some(server.clone()), server.starts_with("https://"));
                ClusterReport { kind: "running", server, tls, matchers, gatherers, slices, data: None }
            }
        }
    }
}
