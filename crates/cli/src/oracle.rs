//! `dovetail oracle`: the sequential program on a file. What a cluster must answer for the same lines.
//!
//! The pool definition is event 1, so the first element is 2. Every element has the same time: nothing has waited,
//! nothing expires, nothing searches again.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use dovetail_core::{
    Decided, EventId, EventKind, PoolId, ShardId,
    batch::KeySecret,
    ledger::{Admission, Ledger, LedgerLimits, Outcome, OutcomeEnd},
    oracle::Oracle,
};

use serde_json::json;

use super::error::CliError;
use super::input::{Element, InputArgs};
use super::match_json::{self, MatchJson};
use super::pool_file;
use super::schema::PoolSchema;
use dovetail::pb;
use dovetail_server::printable::printable;

/// A balancer's bounds, as they are by default.
pub(super) const LIMITS: LedgerLimits = LedgerLimits {
    waiting_max: 10_000_000,
    waiting_total_max: 50_000_000,
    waiting_bytes_max: u64::MAX,
    waiting_bytes_total_max: u64::MAX,
    element_bytes_max: 65_536,
    payload_bytes_max: 4096,
    ended_max: 4_000_000,
    idempotency_ms: 86_400_000,
    idempotency_max: usize::MAX,
    idempotency_total_max: usize::MAX,
    search_cost_max: u64::MAX,
    slices: 1,
    key_secret: KeySecret([0; 2]),
};

const THE_POOL: PoolId = PoolId(0);

/// Flags of `dovetail oracle`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  dovetail oracle examples/players.toml examples/players.ndjson")]
pub struct OracleArgs {
    /// TOML file that defines the pool
    #[arg(value_name = "POOLFILE")]
    pool: PathBuf,
    #[command(flatten)]
    input: InputArgs,
    /// Count malformed lines and pass over them, instead of stopping at the first
    #[arg(long)]
    keep_going: bool,
    /// Print a JSON object, too, for each line that is malformed or refused, and one for all lines; matches are JSON in
    /// any case
    #[arg(long)]
    json: bool,
}

/// Prints the matches as `watch --json` does.
pub fn run(arguments: &OracleArgs) -> Result<(), CliError> {
    let definition = pool_file::read(&arguments.pool)?;
    let elements = arguments.input.open(PoolSchema::of(&definition))?;
    let mut sequence = Sequence::new(&definition)?;
    let name = arguments.input.name();
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut all_worked = true;
    for element in elements {
        let (line, outcome) = match element {
            Ok(Element { line, submission }) => {
                (line, sequence.submit(submission).map_err(|why| ("refused", why, false)))
            }
            Err(bad) => (bad.line, Err(("malformed", bad.reason, bad.fatal || !arguments.keep_going))),
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(found)) => stdout.write_all(match_json::line(&MatchJson::from(&found)).as_bytes())?,
            Err((how, why, stop)) => {
                eprintln!("{name}:{line}: {how}: {}", printable(&why));
                if arguments.json {
                    stdout.write_all(match_json::line(&json!({ "line": line, how: why })).as_bytes())?;
                }
                all_worked = false;
                if stop {
                    eprintln!("stopped at the malformed line; --keep-going passes over those after which it can go on");
                    break;
                }
            }
        }
    }
    let (elements, matches, waiting) = (sequence.elements, sequence.matches, sequence.ledger.waiting());
    if arguments.json {
        let all = json!({ "elements": elements, "matches": matches, "waiting": waiting });
        stdout.write_all(match_json::line(&all).as_bytes())?;
    }
    stdout.flush()?;
    eprintln!("{elements} elements, {matches} matches, {waiting} waiting");
    if all_worked { arguments.input.reached() } else { Err(CliError::Reported) }
}

/// The oracle, and beside it the ledger of a balancer, in which everything is decided at once: what is let in, and why
/// the rest is not, is said by the code that a cluster runs.
struct Sequence {
    oracle: Oracle,
    ledger: Ledger,
    pool: String,
    last: EventId,
    elements: u64,
    matches: u64,
}

impl Sequence {
    fn new(definition: &pb::PoolDefinition) -> Result<Sequence, CliError> {
        let definition = dovetail_wire::pool_definition(definition.clone());
        let definition = Arc::new(definition.map_err(|error| CliError::Arguments(error.to_string()))?);
        let pool = definition.name.clone();
        let (mut oracle, mut ledger) = (Oracle::new(), Ledger::new(LIMITS, 1));
        let (x, kind) = (EventId(1), EventKind::PoolDefined { pool: THE_POOL, definition });
        ledger.record(x, 0, &kind, None)?;
        oracle.on_event(x, 0, &kind)?;
        Ok(Sequence { oracle, ledger, pool, last: x, elements: 0, matches: 0 })
    }

    /// The match that the element completes, or why a balancer would refuse it.
    fn submit(&mut self, submission: pb::Submission) -> Result<Option<pb::Match>, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let submission = dovetail_wire::submission(submission).map_err(|error| text(&error))?;
        let admitted = self.ledger.admit(0, &self.pool, submission, self.last).map_err(|error| text(&error))?;
        self.elements += 1;
        let (kind, client) = match admitted {
            Admission::New { pool, row, client } => (EventKind::Arrival { pool, row }, client),
            // It has its id already.
            Admission::Retry(_) => return Ok(None),
            Admission::Undecided(_) => unreachable!("everything is decided at once"),
            Admission::Late(_) => unreachable!("time stands still"),
        };
        let x = self.last.next();
        self.last = x;
        let decided = self.oracle.on_event(x, 0, &kind).map_err(|error| text(&error))?;
        self.ledger.record(x, 0, &kind, Some(client)).map_err(|error| text(&error))?;
        let mut outcomes: Vec<Outcome> = Vec::new();
        let told = self.ledger.on_retirements(decided.as_slice());
        let told = told.and_then(|()| self.ledger.on_decided(ShardId(0), Decided(x), &mut outcomes));
        told.map_err(|error| text(&error))?;
        self.ledger.on_stored(x);
        Ok(outcomes.pop().and_then(|outcome| self.matched(outcome)))
    }

    fn matched(&mut self, outcome: Outcome) -> Option<pb::Match> {
        let (one, other) = (outcome.element, outcome.anchor?);
        let (a, b) = if one.id < other.id { (one, other) } else { (other, one) };
        let end = |end: OutcomeEnd| pb::MatchedElement {
            id: end.id.0,
            key: (*end.key).into(),
            payload: end.payload,
            arrived_ms: end.arrived_ms,
        };
        self.matches += 1;
        let (a, b) = (Some(end(a)), Some(end(b)));
        Some(pb::Match { cursor: outcome.x.0, pool: self.pool.clone(), a, b, time_ms: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dovetail::client::value;

    fn definition(rule: &str) -> pb::PoolDefinition {
        let attributes = vec![crate::schema::attribute("skill".to_owned(), dovetail_rule::ValueKind::Int)];
        pb::PoolDefinition { name: "duel".to_owned(), attributes, rule: rule.to_owned(), ..Default::default() }
    }

    fn sequence(rule: &str) -> Sequence {
        Sequence::new(&definition(rule)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn player(key: &str, skill: i64) -> pb::Submission {
        let attributes = [("skill".to_owned(), value::int(skill))].into();
        pb::Submission { key: key.to_owned(), attributes, ..Default::default() }
    }

    /// Submits in order; a line for each that completes a match or is refused.
    fn check(rule: &str, script: &[(&str, i64)], expected: &[&str]) {
        let mut sequence = sequence(rule);
        let step = |&(key, skill): &(&str, i64)| match sequence.submit(player(key, skill)) {
            Ok(None) => None,
            Ok(Some(found)) => Some(match_json::line(&MatchJson::from(&found)).trim_end().to_owned()),
            Err(why) => Some(why),
        };
        assert_eq!(script.iter().filter_map(step).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_first_element_is_2_and_the_oldest_partner_comes_first() {
        let expected = [
            r#"{"cursor":5,"pool":"duel","a":{"id":2,"key":"ada"},"b":{"id":5,"key":"dan"}}"#,
            r#"{"cursor":6,"pool":"duel","a":{"id":4,"key":"cid"},"b":{"id":6,"key":"eve"}}"#,
        ];
        let script = [("ada", 10), ("bob", 90), ("cid", 17), ("dan", 13), ("eve", 15)];
        check("abs(a.skill - b.skill) <= 5", &script, &expected);
    }

    #[test]
    fn a_retry_is_no_new_element_and_a_full_pool_takes_none() {
        let mut definition = definition("a.skill == b.skill");
        definition.waiting_max = 2;
        let mut sequence = Sequence::new(&definition).unwrap_or_else(|error| panic!("{error}"));
        let once = pb::Submission { idempotency_key: "i1".to_owned(), ..player("ada", 1) };
        assert_eq!([sequence.submit(once.clone()), sequence.submit(once)], [Ok(None), Ok(None)]);
        assert_eq!(sequence.submit(player("bob", 2)), Ok(None));
        let full = sequence.submit(player("bea", 2)).unwrap_err();
        assert_eq!(full, "pool \"duel\" has 2 elements waiting, which is its waiting_max");
        assert_eq!(sequence.last, EventId(3));
    }

    #[test]
    fn a_refused_element_takes_no_id() {
        let expected = [
            "key \"ada\" is waiting in pool \"duel\" already, as element 2",
            "key is 0 bytes, at least 1 and at most 256",
            r#"{"cursor":3,"pool":"duel","a":{"id":2,"key":"ada"},"b":{"id":3,"key":"bob"}}"#,
        ];
        check("a.skill == b.skill", &[("ada", 1), ("ada", 1), ("", 1), ("bob", 1), ("ada", 1)], &expected);
    }
}
