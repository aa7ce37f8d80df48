//! `dovetail watch`: pairs as they come, and what else ends an element's waiting.

use std::io::{self, Write as _};

use super::arguments::{ServerArgs, duration_ms};
use super::error::CliError;
use super::match_json::{self, EndedJson, MatchJson};
use super::pool::or_no_pool;
use super::{duration, notices, time};
use dovetail::{
    client::{Client, WatchOptions, WatchedPart},
    pb::{self, outcome},
};
use dovetail_server::printable::printable;

/// Flags of `dovetail watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dovetail watch --pool duel\n  dovetail watch --pool duel --outcomes\n  \
                  dovetail watch --json --until-settled > pairs.ndjson")]
pub struct WatchArgs {
    /// Only this pool; without it, all of them
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Print elements that were withdrawn, expired or were dropped with their pool, too
    #[arg(long)]
    outcomes: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// With --json, also when each match was made, and how long its elements had waited
    #[arg(long, requires = "json")]
    times: bool,
    /// Start after this cursor; 0 is the beginning, and now what is decided from now on
    #[arg(long, value_name = "CURSOR|now", default_value = "0", value_parser = from)]
    from: From,
    /// End once everything submitted so far is decided
    #[arg(long)]
    until_settled: bool,
    /// How long to go on trying when the server is out of reach
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration_ms)]
    retry: u64,
    #[command(flatten)]
    server: ServerArgs,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Cursor(u64),
    Now,
}

fn from(text: &str) -> Result<From, String> {
    match text {
        "now" => Ok(From::Now),
        cursor => cursor.parse().map(From::Cursor).map_err(|_| "expected a cursor, such as 17, or now".to_owned()),
    }
}

/// Prints matches until interrupted, or until all are settled.
pub async fn run(arguments: WatchArgs) -> Result<(), CliError> {
    let watch = async |client: Client| {
        if arguments.outcomes {
            notices::during(&client, print::<pb::WatchOutcomesResponse>(&client, &arguments)).await
        } else {
            notices::during(&client, print::<pb::WatchMatchesResponse>(&client, &arguments)).await
        }
    };
    arguments.server.run(watch).await
}

/// How it is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// For people.
    Table,
    /// For machines; `times` with when matches were made, and how long elements had waited.
    Json { times: bool },
}

/// What is printed of a message.
trait Printed: WatchedPart {
    /// Lines for people, or for machines.
    fn lines(&self, form: Form, text: &mut String);
}

impl Printed for pb::WatchMatchesResponse {
    fn lines(&self, form: Form, text: &mut String) {
        self.matches.iter().for_each(|found| text.push_str(&match_line(found, form)));
    }
}

impl Printed for pb::WatchOutcomesResponse {
    fn lines(&self, form: Form, text: &mut String) {
        for outcome in &self.outcomes {
            match &outcome.kind {
                Some(outcome::Kind::Match(found)) => text.push_str(&match_line(found, form)),
                Some(outcome::Kind::Ended(ended)) => match form {
                    Form::Json { times } => text.push_str(&match_json::line(&EndedJson::of(outcome, ended, times))),
                    Form::Table => text.push_str(&ended_row(outcome, ended)),
                },
                // Of a server that is newer than this build.
                None => {}
            }
        }
    }
}

async fn print<P: Printed>(client: &Client, arguments: &WatchArgs) -> Result<(), CliError> {
    let form = if arguments.json { Form::Json { times: arguments.times } } else { Form::Table };
    let mut watch = client.watch_as::<P>(WatchOptions {
        pool: arguments.pool.clone().unwrap_or_default(),
        after: if let From::Cursor(cursor) = arguments.from { cursor } else { 0 },
        from_now: arguments.from == From::Now,
        until_settled: arguments.until_settled,
        retry_max: std::time::Duration::from_millis(arguments.retry),
        ..WatchOptions::default()
    });
    let mut heading = form == Form::Table;
    let mut text = String::new();
    while let Some(part) = or_no_pool(client, arguments.pool.as_deref(), watch.next().await).await? {
        text.clear();
        if std::mem::take(&mut heading) {
            text.push_str(&row("cursor", "pool", "a (id)", "b (id)", "time (UTC)", "waited (a, b)"));
        }
        part.lines(form, &mut text);
        if !text.is_empty() {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()?;
        }
    }
    Ok(())
}

fn match_line(found: &pb::Match, form: Form) -> String {
    match form {
        Form::Json { times } => match_json::line(&MatchJson::of(found, times)),
        Form::Table => match_row(found),
    }
}

fn match_row(found: &pb::Match) -> String {
    let end = |end: &Option<pb::MatchedElement>| match end {
        Some(end) => format!("{} ({})", printable(&end.key), end.id),
        None => String::new(),
    };
    let waits = [&found.a, &found.b].map(|end| wait(found.time_ms, end.as_ref().and_then(|end| end.arrived_ms)));
    let waited = if waits.iter().all(String::is_empty) { String::new() } else { waits.join(", ") };
    row(
        &found.cursor.to_string(),
        &printable(&found.pool),
        &end(&found.a),
        &end(&found.b),
        &time::date_time(found.time_ms),
        &waited,
    )
}

/// The reason stands where the partner would.
fn ended_row(outcome: &pb::Outcome, ended: &pb::Ended) -> String {
    let element = format!("{} ({})", printable(&ended.key), ended.id);
    let reason = format!("- {}", match_json::reason_name(ended.reason()));
    let waited = wait(outcome.time_ms, ended.arrived_ms);
    row(
        &outcome.cursor.to_string(),
        &printable(&outcome.pool),
        &element,
        &reason,
        &time::date_time(outcome.time_ms),
        &waited,
    )
}

/// The rows before are gone already, so the columns cannot fit the widest cell; these fit most.
fn row(cursor: &str, pool: &str, a: &str, b: &str, time: &str, waited: &str) -> String {
    let row = format!("{cursor:>10}  {pool:<12}  {a:<28}  {b:<28}  {time:<23}  {waited}");
    format!("{}\n", row.trim_end())
}

/// How long an element had waited: `12ms`, `5.0s`, `1m30s`; nothing where that is not known.
fn wait(time_ms: u64, arrived_ms: Option<u64>) -> String {
    match match_json::waited_ms(time_ms, arrived_ms) {
        None => String::new(),
        Some(ms @ ..1000) => format!("{ms}ms"),
        Some(ms @ ..60_000) => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        Some(ms) => duration::format_ms(ms / 1000 * 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_who_met_whom_and_when() {
        let end = |id: u64, key: &str| {
            let arrived_ms = Some(1_700_000_000_042 - 1000 * (17 - id) - 12);
            Some(pb::MatchedElement { id, key: key.to_owned(), arrived_ms, ..Default::default() })
        };
        let found = pb::Match {
            cursor: 17,
            pool: "duel".to_owned(),
            a: end(3, "ada"),
            b: end(17, "bob\u{7}"),
            time_ms: 1_700_000_000_042,
        };
        let expected = format!(
            "{:>10}  {:<12}  {:<28}  {:<28}  2023-11-14 22:13:20.042  14.0s, 12ms\n",
            17, "duel", "ada (3)", "bob\\u{7} (17)"
        );
        assert_eq!(match_row(&found), expected);
    }

    #[test]
    fn a_row_shows_who_went_without_a_partner_and_why() {
        let ended =
            pb::Ended { id: 3, key: "ada".to_owned(), reason: pb::EndReason::Expired.into(), ..Default::default() };
        let outcome = pb::Outcome {
            cursor: 9,
            pool: "duel".to_owned(),
            time_ms: 1_700_000_000_042,
            kind: Some(outcome::Kind::Ended(ended)),
        };
        let mut text = String::new();
        let part = pb::WatchOutcomesResponse { outcomes: vec![outcome], settled: 9, ..Default::default() };
        part.lines(Form::Table, &mut text);
        assert_eq!(
            text,
            format!("{:>10}  {:<12}  {:<28}  {:<28}  2023-11-14 22:13:20.042\n", 9, "duel", "ada (3)", "- expired")
        );
        text.clear();
        part.lines(Form::Json { times: false }, &mut text);
        assert_eq!(
            text,
            "{\"cursor\":9,\"pool\":\"duel\",\"ended\":{\"id\":3,\"key\":\"ada\"},\"reason\":\"expired\"}\n"
        );
    }
}
