//! What is shown of a run of messages.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::json;

use super::{MessagesOutcome, Options};
use crate::secure;

/// The table.
pub fn table(options: &Options, outcome: &MessagesOutcome, took: Duration) -> String {
    let mut text = String::new();
    let mut line = |of: String| _ = writeln!(text, "{of}");
    let (tls, auth) = (secure::scheme() == "https", options.auth);
    let seconds = took.as_secs_f64();
    line(format!("seed {}, {} messages in {seconds:.0} s, TLS {tls}, auth {auth}", options.seed, outcome.messages));
    line("\nanswers".to_owned());
    for (method, answers) in answers(outcome) {
        let each: Vec<String> = answers.iter().map(|(what, count)| format!("{what} {count}")).collect();
        line(format!("  {method:<22} {}", each.join(", ")));
    }
    line(format!("\n{:<24} {:>10} {:>10} {:>10}", "memory in MiB", "at first", "at most", "at last"));
    for (node, (begun, last)) in &outcome.memory {
        let mib = |kib: u64| kib >> 10;
        line(format!("  {:<22} {:>10} {:>10} {:>10}", node.to_string(), mib(begun.now), mib(last.peak), mib(last.now)));
    }
    for (what, count) in &outcome.sums.counts {
        line(format!("\n{what}: {count}"));
    }
    line("\nchecked".to_owned());
    for (what, count) in &outcome.sums.checks {
        line(format!("  {what:<42} {count:>10}"));
    }
    line(format!("\nviolations {:>43}", outcome.sums.violations.len()));
    outcome.sums.violations.iter().for_each(|violation| line(format!("  {violation}")));
    text
}

/// The same for programs.
pub fn json(options: &Options, outcome: &MessagesOutcome, took: Duration) -> String {
    let memory: BTreeMap<String, _> = outcome
        .memory
        .iter()
        .map(|(node, (begun, last))| {
            (node.to_string(), json!({ "first_kib": begun.now, "most_kib": last.peak, "last_kib": last.now }))
        })
        .collect();
    json!({
        "seed": options.seed,
        "messages": outcome.messages,
        "seconds": took.as_secs_f64(),
        "tls": secure::scheme() == "https",
        "auth": options.auth,
        "answers": answers(outcome),
        "memory": memory,
        "checked": outcome.sums.checks,
        "violations": outcome.sums.violations,
        "again": again(options),
    })
    .to_string()
}

fn answers(outcome: &MessagesOutcome) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut answers: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for ((method, what), count) in outcome.verdicts.counts() {
        answers.entry(method).or_default().insert(what, count);
    }
    answers
}

/// The command that runs it again.
pub fn again(options: &Options) -> String {
    let flag = |given, flag| if given { flag } else { "" };
    format!(
        "cargo run --release -p dovetail-chaos -- --seed {} --messages {}{}{}",
        options.seed,
        options.messages,
        flag(secure::scheme() == "https", " --tls"),
        flag(options.auth, " --auth")
    )
}
