//! The report of `dovetail bench`, for people.

use std::fmt::Write as _;

use crate::table::{TextTable, thousands};
use dovetail_bench::{
    Form,
    latency::{Latencies, Quantiles},
    plot,
    report::{BenchReport, Measured, ONE_PROCESS, ResultReport, RoleReport, Spread, StreamReport},
};
use dovetail_server::printable::printable;

/// A round in a line.
pub(super) fn round(measured: &Measured) -> String {
    format!("{} elements/s, {}", whole(measured.elements_per_s), result(&measured.result))
}

/// All of it.
pub(super) fn report(report: &BenchReport) -> String {
    let mut text = heading(report);
    results(&mut text, report);
    rates(&mut text, report);
    latencies(&mut text, report);
    if report.rounds.len() > 1 {
        let _ = writeln!(text, "\nMedians of {} rounds:", report.rounds.len());
    }
    usage(&mut text, report);
    streams(&mut text, report);
    work(&mut text, report);
    text
}

fn heading(report: &BenchReport) -> String {
    let (load, cluster) = (&report.load, &report.cluster);
    let pace = match load.rate {
        Some(rate) => format!("at {} a second", number(rate)),
        None => "flat out".to_owned(),
    };
    let payload = load.payload_bytes.map_or(String::new(), |bytes| format!(", payloads of {bytes} bytes"));
    let batches = |form| format!("batches of up to {} as {form}, {} in flight", load.batch, load.in_flight);
    let form = match load.form {
        Form::Columns => batches("columns"),
        Form::Rows => batches("rows"),
        Form::One => "one at a time".to_owned(),
    };
    let mut text = format!(
        "{}: {} elements {pace}, {}, {form}{payload}\n",
        printable(&report.workload),
        thousands(report.elements as u64),
        counted(load.clients, "client"),
    );
    let nodes = format!(
        "{}, {}, {}",
        counted(cluster.matchers, "matcher"),
        counted(cluster.gatherers, "gatherer"),
        counted(cluster.slices, "slice")
    );
    let place = match (&cluster.server, &cluster.data) {
        (Some(server), _) => format!("the cluster at {server}"),
        (None, Some(data)) => format!("{}, log in {data}", cluster.kind),
        (None, None) => cluster.kind.to_owned(),
    };
    let tls = if cluster.tls { ", with TLS" } else { "" };
    let _ = writeln!(text, "{}{tls}: {nodes}", printable(&place));
    for silent in report.rounds.iter().flat_map(|round| &round.silent) {
        let _ = writeln!(text, "not counted, no answer: {}", printable(silent));
    }
    text.push('\n');
    text
}

/// One line when all rounds came to the same.
fn results(text: &mut String, report: &BenchReport) {
    let mut lines: Vec<String> = report.rounds.iter().map(|round| result(&round.result)).collect();
    lines.dedup();
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
}

fn result(result: &ResultReport) -> String {
    let found = &result.found;
    let pairs = format!("{} matches, {} waiting", thousands(found.matches), thousands(found.waiting));
    let sums = format!("checksum {} {} {}", found.xor, found.sum, found.wait);
    match (&result.expected, result.against, &result.reason) {
        (Some(expected), Some(against), _) => format!(
            "WRONG: {pairs}, {sums}; the {against} has {} matches, {} waiting, {} {} {}",
            thousands(expected.matches),
            thousands(expected.waiting),
            expected.xor,
            expected.sum,
            expected.wait
        ),
        (None, Some(against), _) => format!("{pairs}, {sums}: as the {against} has it"),
        (_, None, reason) => {
            format!("{pairs}, {sums}: not checked, {}", reason.as_deref().unwrap_or("for an unknown reason"))
        }
    }
}

fn rates(text: &mut String, report: &BenchReport) {
    let summary = &report.summary;
    let rows = [
        ("elements/s", summary.elements_per_s),
        ("matches/s", summary.matches_per_s),
        ("acknowledged/s", summary.acknowledged_per_s),
    ];
    let one = report.rounds.len() == 1;
    let mut table = if one { TextTable::new(&["", ">"]) } else { TextTable::new(&["", ">median", ">least", ">most"]) };
    for (name, Spread { median, min, max }) in rows {
        let values: &[f64] = if one { &[median] } else { &[median, min, max] };
        table.row(std::iter::once(name.to_owned()).chain(values.iter().map(|value| whole(*value))));
    }
    text.push_str(table.render(0).trim_start_matches('\n'));
}

fn latencies(text: &mut String, report: &BenchReport) {
    let summary = &report.summary;
    let kinds = [
        ("submit to acknowledge", summary.submit_to_acknowledge, &summary.acknowledge),
        ("submit to match", summary.submit_to_match, &summary.matched),
    ];
    let from = match report.load.rate {
        Some(_) => "from when an element was due",
        None => "under saturation, from when an element was sent",
    };
    let mut table = TextTable::new(&["ms", ">p50", ">p90", ">p99", ">p99.9", ">max"]);
    for (name, quantiles, _) in kinds {
        let Some(Quantiles { p50_ms, p90_ms, p99_ms, p99_9_ms, max_ms, .. }) = quantiles else { continue };
        let values = [p50_ms, p90_ms, p99_ms, p99_9_ms, max_ms].map(|ms| format!("{ms:.2}"));
        table.row(std::iter::once(name.to_owned()).chain(values));
    }
    let _ = write!(text, "\nLatencies {from}:\n{}", table.render(0));
    for (name, _, latencies) in kinds {
        distribution(text, name, latencies);
    }
}

fn distribution(text: &mut String, name: &str, latencies: &Latencies) {
    if !latencies.is_empty() {
        let _ = write!(text, "\n{name}\n{}", plot(latencies));
    }
}

fn usage(text: &mut String, report: &BenchReport) {
    let roles =
        |round: &Measured| -> Vec<RoleReport> { round.usage.iter().flatten().chain(&round.clients).cloned().collect() };
    let rounds: Vec<Vec<RoleReport>> = report.rounds.iter().map(roles).collect();
    let mut table = TextTable::new(&["role", ">processes", ">CPU s", ">us/element", ">peak MiB"]);
    for (index, role) in rounds.first().into_iter().flatten().enumerate() {
        let cpu = median(&rounds, |roles| roles.get(index).map_or(0.0, |role| role.cpu_seconds));
        let peak = median(&rounds, |roles| roles.get(index).map_or(0.0, |role| role.peak_memory_bytes as f64));
        table.row([
            role.role.to_owned(),
            role.processes.to_string(),
            format!("{cpu:.2}"),
            format!("{:.2}", cpu * 1e6 / report.elements as f64),
            format!("{:.0}", mib(peak)),
        ]);
    }
    let _ = write!(text, "\n{}", table.render(0));
    if report.rounds.iter().any(|round| round.usage.is_none()) {
        text.push_str("CPU time and memory of the nodes are not known: they are not this run's processes, or /proc is not there\n");
    }
}

fn streams(text: &mut String, report: &BenchReport) {
    let mut table = TextTable::new(&["stream", "from", "to", ">MiB", ">bytes/element"]);
    for wire in report.rounds.first().into_iter().flat_map(|round| &round.streams) {
        let same = |other: &&StreamReport| (&other.stream, other.from, other.to) == (&wire.stream, wire.from, wire.to);
        let bytes =
            median(&report.rounds, |round| round.streams.iter().find(same).map_or(0.0, |stream| stream.bytes as f64));
        if bytes == 0.0 {
            continue;
        }
        table.row([
            wire.stream.clone(),
            wire.from.to_owned(),
            wire.to.to_owned(),
            format!("{:.2}", mib(bytes)),
            format!("{:.1}", bytes / report.elements as f64),
        ]);
    }
    let _ = write!(text, "\n{}", table.render(0));
    if report.cluster.kind == ONE_PROCESS {
        text.push_str("roles of one process hand their messages over in memory\n");
    }
}

fn work(text: &mut String, report: &BenchReport) {
    let of = |value: fn(&Measured) -> f64| median(&report.rounds, value);
    let _ = writeln!(
        text,
        "\nlog      {:.2} MiB, {} syncs\nresults  {:.2} MiB, {} syncs",
        mib(of(|round| round.disk.log_bytes as f64)),
        whole(of(|round| round.disk.log_syncs as f64)),
        mib(of(|round| round.disk.results_bytes as f64)),
        whole(of(|round| round.disk.results_syncs as f64)),
    );
    let _ = writeln!(
        text,
        "search   {} probes, {:.2} candidates each",
        whole(of(|round| round.search.probes as f64)),
        of(|round| round.search.candidates_per_probe),
    );
    let share = of(|round| 100.0 * round.search.stalled_seconds / (round.seconds * round.search.slices.max(1) as f64));
    let _ = writeln!(
        text,
        "waits    {:.2} s for the decided watermark, all slices together ({share:.1} % of their time), {} times",
        of(|round| round.search.stalled_seconds),
        whole(of(|round| round.search.stalls as f64)),
    );
}

fn median<T>(rounds: &[T], of: impl FnMut(&T) -> f64) -> f64 {
    Spread::of(rounds.iter().map(of)).median
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn whole(value: f64) -> String {
    thousands(value.round() as u64)
}

/// A rate as it was given.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { whole(value) } else { value.to_string() }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
