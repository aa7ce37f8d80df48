//! `dovetail oracle`: the sequential program on a file. What a cluster must answer for the same lines.
//!
//! The pool definition is event 1, so the first element is 2. Every element has the same time: nothing has waited, nothing
//! expires, nothing searches again.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dovetail_core::oracle::Oracle;
use dovetail_core::{ElementId, EventId, EventKind, Pool, PoolDefinition, PoolId, Retirement};
use dovetail_rule::{Row, Value};

use super::error::CliError;
use super::input::{Element, InputArgs};
use super::match_json::{self, MatchJson};
use super::pool_file;
use super::schema::PoolSchema;
use super::table::printable;
use crate::pb::value::Kind;
use crate::{convert, pb};

/// Longest key, in bytes, as the balancer has it.
const KEY_BYTES_MAX: usize = 256;

/// Largest payload of a pool that does not say otherwise, as the balancer has it by default.
const PAYLOAD_BYTES_MAX: usize = 4096;

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
    /// Go on after a malformed line, instead of stopping there
    #[arg(long)]
    keep_going: bool,
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
                all_worked = false;
                if stop {
                    break;
                }
            }
        }
    }
    stdout.flush()?;
    eprintln!("{} elements, {} matches, {} waiting", sequence.elements, sequence.matches, sequence.waiting.len());
    match all_worked {
        true => Ok(()),
        false => Err(CliError::Reported),
    }
}

/// The oracle, with what the balancer would add to its answers.
struct Sequence {
    oracle: Oracle,
    pool: Pool,
    payload_bytes_max: usize,
    last: EventId,
    waiting: HashMap<ElementId, (String, Bytes)>,
    keys: HashSet<String>,
    elements: u64,
    matches: u64,
}

impl Sequence {
    fn new(definition: &pb::PoolDefinition) -> Result<Sequence, CliError> {
        let payload_bytes_max = match definition.payload_bytes_max {
            0 => PAYLOAD_BYTES_MAX,
            bytes => bytes as usize,
        };
        let definition = Arc::new(core_definition(definition));
        let pool = Pool::compile(THE_POOL, Arc::clone(&definition))?;
        let mut oracle = Oracle::new();
        let x = EventId(1);
        oracle.on_event(x, 0, &EventKind::PoolDefined { pool: THE_POOL, definition })?;
        Ok(Sequence {
            oracle,
            pool,
            payload_bytes_max,
            last: x,
            waiting: HashMap::new(),
            keys: HashSet::new(),
            elements: 0,
            matches: 0,
        })
    }

    /// The match that the element completes, or why a balancer would refuse it.
    fn submit(&mut self, submission: pb::Submission) -> Result<Option<pb::Match>, String> {
        let pb::Submission { key, attributes, payload, .. } = submission;
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(format!("key is {} bytes, must be 1 to {KEY_BYTES_MAX}", key.len()));
        }
        if payload.len() > self.payload_bytes_max {
            return Err(format!("payload is {} bytes, at most {}", payload.len(), self.payload_bytes_max));
        }
        if self.keys.contains(&key) {
            return Err(format!("key {key:?} is already waiting"));
        }
        let named = attributes.into_iter().filter_map(|(name, value)| Some((name, rule_value(value)?)));
        let row = Arc::new(Row::from_named(&self.pool.schema, named).map_err(|error| error.to_string())?);
        let x = self.last.next();
        let decided = self.oracle.on_event(x, 0, &EventKind::Arrival { pool: THE_POOL, row });
        let decided = decided.map_err(|error| error.to_string())?;
        self.last = x;
        self.elements += 1;
        self.keys.insert(key.clone());
        self.waiting.insert(ElementId::from(x), (key, payload));
        Ok(decided.and_then(|retirement| self.matched(retirement)))
    }

    fn matched(&mut self, retirement: Retirement) -> Option<pb::Match> {
        let Retirement { x, element, anchor } = retirement;
        let mut end = |id: ElementId| {
            let (key, payload) = self.waiting.remove(&id)?;
            self.keys.remove(&key);
            Some(pb::MatchedElement { id: id.0, key, payload })
        };
        let anchor = anchor?;
        let (a, b) = (end(anchor.min(element)), end(anchor.max(element)));
        self.matches += 1;
        Some(pb::Match { cursor: x.0, pool: self.pool.definition.name.clone(), a, b, time_ms: 0 })
    }
}

fn core_definition(definition: &pb::PoolDefinition) -> PoolDefinition {
    let typed =
        |attribute: &pb::Attribute| Some((attribute.name.clone(), convert::attribute_type(attribute.r#type())?));
    PoolDefinition {
        name: definition.name.clone(),
        attributes: definition.attributes.iter().filter_map(typed).collect(),
        rule: definition.rule.clone(),
        ttl_ms: definition.ttl_ms,
        reprobe_ms: definition.reprobe_ms.clone(),
        waiting_max: definition.waiting_max,
        payload_bytes_max: definition.payload_bytes_max,
    }
}

fn rule_value(value: pb::Value) -> Option<Value> {
    Some(match value.kind? {
        Kind::IntValue(value) => Value::Int(value),
        Kind::DoubleValue(value) => Value::Double(value),
        Kind::StringValue(value) => Value::String(value.into()),
        Kind::BoolValue(value) => Value::Bool(value),
        Kind::StringListValue(list) => Value::StringList(list.values.into_iter().map(Into::into).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::value;

    fn sequence(rule: &str) -> Sequence {
        let attributes = vec![crate::cli::schema::attribute("skill".to_owned(), dovetail_rule::ValueKind::Int)];
        let definition =
            pb::PoolDefinition { name: "duel".to_owned(), attributes, rule: rule.to_owned(), ..Default::default() };
        Sequence::new(&definition).unwrap_or_else(|error| panic!("{error}"))
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
    fn a_refused_element_takes_no_id() {
        let expected = [
            "key \"ada\" is already waiting",
            "key is 0 bytes, must be 1 to 256",
            r#"{"cursor":3,"pool":"duel","a":{"id":2,"key":"ada"},"b":{"id":3,"key":"bob"}}"#,
        ];
        check("a.skill == b.skill", &[("ada", 1), ("ada", 1), ("", 1), ("bob", 1), ("ada", 1)], &expected);
    }
}
