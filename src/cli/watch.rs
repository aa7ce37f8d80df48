//! `dovetail watch`: pairs as they come.

use std::io::{self, Write as _};

use super::arguments::{ServerArgs, duration_ms};
use super::error::CliError;
use super::match_json::{self, MatchJson};
use super::table::printable;
use crate::client::WatchOptions;
use crate::pb;

/// Flags of `dovetail watch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dovetail watch --pool duel\n  dovetail watch --json --until-settled > pairs.ndjson"
)]
pub struct WatchArgs {
    /// Only this pool; without it, all of them
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Start after this cursor; 0 is the beginning
    #[arg(long, value_name = "CURSOR", default_value_t = 0)]
    from: u64,
    /// End once everything submitted so far is decided
    #[arg(long)]
    until_settled: bool,
    /// How long to go on trying when the server is out of reach
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration_ms)]
    retry: u64,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints matches until interrupted, or until all are settled.
pub async fn run(arguments: WatchArgs) -> Result<(), CliError> {
    let client = arguments.server.connect().await?;
    let mut watch = client.watch(WatchOptions {
        pool: arguments.pool.unwrap_or_default(),
        after: arguments.from,
        until_settled: arguments.until_settled,
        retry_max: std::time::Duration::from_millis(arguments.retry),
    });
    let mut heading = !arguments.json;
    let mut text = String::new();
    while let Some(part) = watch.next().await? {
        text.clear();
        if std::mem::take(&mut heading) {
            text.push_str(&row("cursor", "pool", "a (id)", "b (id)", "time (UTC)"));
        }
        for found in &part.matches {
            match arguments.json {
                true => text.push_str(&match_json::line(&MatchJson::from(found))),
                false => text.push_str(&match_row(found)),
            }
        }
        if !text.is_empty() {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()?;
        }
    }
    Ok(())
}

fn match_row(found: &pb::Match) -> String {
    let end = |end: &Option<pb::MatchedElement>| match end {
        Some(end) => format!("{} ({})", printable(&end.key), end.id),
        None => String::new(),
    };
    row(&found.cursor.to_string(), &printable(&found.pool), &end(&found.a), &end(&found.b), &clock(found.time_ms))
}

/// The rows before are gone already, so the columns cannot fit the widest cell; these fit most.
fn row(cursor: &str, pool: &str, a: &str, b: &str, time: &str) -> String {
    format!("{cursor:>10}  {pool:<12}  {a:<28}  {b:<28}  {time}\n")
}

/// The time of day in UTC.
fn clock(time_ms: u64) -> String {
    let seconds = time_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, time_ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_who_met_whom_and_when() {
        let end = |id: u64, key: &str| Some(pb::MatchedElement { id, key: key.to_owned(), ..Default::default() });
        let found = pb::Match {
            cursor: 17,
            pool: "duel".to_owned(),
            a: end(3, "ada"),
            b: end(17, "bob\u{7}"),
            time_ms: 1_700_000_000_042,
        };
        let expected =
            format!("{:>10}  {:<12}  {:<28}  {:<28}  22:13:20.042\n", 17, "duel", "ada (3)", "bob\\u{7} (17)");
        assert_eq!(match_row(&found), expected);
    }
}
