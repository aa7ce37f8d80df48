//! `dovetail get` and `dovetail withdraw`: one element.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::arguments::{ElementArgs, ServerArgs, duration_ms, id};
use super::elements::{self, FilterArgs, Many};
use super::error::CliError;
use super::match_json::{self, MatchJson, PayloadJson};
use super::pool::{self, or_no_pool};
use super::{duration, notices, output, schema};

use dovetail::{
    client::{Client, WAIT_MAX, by_id, by_key},
    pb::{self, ElementState, EndReason, WithdrawOutcome, value::Kind},
};
use dovetail_server::printable::printable;

/// Flags of `dovetail get`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dovetail get 17\n  dovetail get --pool duel --key p1 --wait 5s\n\n\
    Exits with 3 when --wait is over and the element still waits, or its state at --at is not decided yet.")]
pub struct GetArgs {
    #[command(flatten)]
    element: ElementArgs,
    /// Wait up to this long, at most 60s, for it to be matched or withdrawn
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    wait: Option<u64>,
    /// Answer from a state no older than this position: an id, or what a withdrawal printed
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    at: u64,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Flags of `dovetail withdraw`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dovetail withdraw 17\n  dovetail withdraw --pool duel --key p1\n  \
    dovetail withdraw --pool duel --where region=eu --yes\n  dovetail withdraw --pool duel --all\n\n\
    Exits with 0 when the element is withdrawn, by this call or an earlier one; with 1 when it was matched before,\n\
    has expired, or is not known.")]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["id", "key", "all", "key_prefix", "wheres"]))]
pub struct WithdrawArgs {
    /// The id its submission returned
    #[arg(value_name = "ID", conflicts_with_all = ["pool", "key", "all", "key_prefix", "wheres"],
          value_parser = id)]
    id: Option<u64>,
    /// The pool it is in
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// The key it was submitted with
    #[arg(long, value_name = "KEY", requires = "pool", allow_hyphen_values = true,
          conflicts_with_all = ["all", "key_prefix", "wheres"])]
    key: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// All elements that wait in the pool
    #[arg(long, requires = "pool", conflicts_with_all = ["key_prefix", "wheres"])]
    all: bool,
    /// Withdraw many without being asked
    #[arg(long)]
    yes: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

fn wait(text: &str) -> Result<u64, String> {
    let ms = duration_ms(text).map_err(|error| error.to_string())?;
    if u128::from(ms) <= WAIT_MAX.as_millis() {
        Ok(ms)
    } else {
        Err(format!("{text} is too long, at most {}s", WAIT_MAX.as_secs()))
    }
}

/// Shows an element.
pub async fn get(arguments: GetArgs) -> Result<(), CliError> {
    let wait_ms = arguments.wait.unwrap_or_default();
    let late = arguments.server.deadline();
    let get = async |client: Client| {
        let asking = client.get_at(arguments.element.reference(), Duration::from_millis(wait_ms), arguments.at);
        let answer = notices::during(&client, asking).await;
        Ok((or_no_pool(&client, arguments.element.pool(), answer).await?, client))
    };
    let ((found, position), client) = arguments.server.run(get).await?;
    let text = if arguments.json { match_json::line(&ElementJson::from(&found)) } else { describe(&found) };
    output::print(&text)?;
    if found.state() == ElementState::Waiting {
        ServerArgs::as_of(&client, position, late).await;
    }
    if wait_ms > 0 && found.state() == ElementState::Waiting {
        let waited = duration::format_ms(wait_ms);
        return Err(CliError::TimedOut(format!("element {} still waits after {waited}, which is --wait", found.id)));
    }
    Ok(())
}

/// Takes an element back. Fails when it is not withdrawn: it was matched before, has expired, or is not known. A retry
/// after a lost answer hears that it is withdrawn already, which is what was wanted.
pub async fn withdraw(arguments: WithdrawArgs) -> Result<(), CliError> {
    let element = match (arguments.id, &arguments.pool, &arguments.key) {
        (Some(id), _, _) => by_id(id),
        (None, Some(pool), Some(key)) => by_key(pool, key),
        (None, pool, _) => {
            // clap sees to it that there is a pool.
            let pool = pool.as_deref().unwrap_or_default();
            let sent = Cell::new(false);
            let many =
                || Many { pool, filter: &arguments.filter, yes: arguments.yes, json: arguments.json, sent: &sent };
            let done = arguments.server.run(async |client: Client| elements::withdraw(&client, many()).await).await;
            return or_in_doubt(done, sent.get(), "\"dovetail list\" with the same filter tells who still waits");
        }
    };
    let sent = Cell::new(false);
    let withdraw = async |client: Client| {
        sent.set(true);
        let answer = notices::during(&client, client.withdraw(element.clone())).await;
        let answer = or_no_pool(&client, arguments.pool.as_deref(), answer).await?;
        if let (WithdrawOutcome::NotFound, Some(pool)) = (answer.outcome(), &arguments.pool) {
            pool::must_be(&client, pool).await?;
        }
        Ok(answer)
    };
    let tells = match arguments.id {
        Some(id) => format!("\"dovetail get {id}\" tells"),
        None => "\"dovetail get\" with the same pool and key tells".to_owned(),
    };
    let answer = or_in_doubt(arguments.server.run(withdraw).await, sent.get(), &tells)?;
    let (outcome, worked) = match answer.outcome() {
        WithdrawOutcome::Withdrawn => ("withdrawn", true),
        WithdrawOutcome::AlreadyMatched => ("already matched", false),
        WithdrawOutcome::AlreadyWithdrawn if answer.reason() == EndReason::Expired => ("already expired", false),
        WithdrawOutcome::AlreadyWithdrawn if answer.reason() == EndReason::Dropped => {
            ("already dropped with its pool", false)
        }
        WithdrawOutcome::AlreadyWithdrawn => ("already withdrawn", true),
        WithdrawOutcome::NotFound => ("no such element, or no longer remembered", false),
        WithdrawOutcome::Unspecified => ("answered with an outcome this build does not know", false),
    };
    let text = if arguments.json {
        match_json::line(&WithdrawnJson {
            outcome: outcome_name(answer.outcome()),
            position: answer.position,
            reason: (answer.reason() != EndReason::Unspecified).then(|| match_json::reason_name(answer.reason())),
            r#match: found(&answer.r#match),
        })
    } else {
        format!("{outcome}{}\n", whereby(&answer))
    };
    output::print(&text)?;
    if worked { Ok(()) } else { Err(CliError::Reported) }
}

/// What failed; and, when it was sent and its answer did not come, that it may take place all the same.
fn or_in_doubt<T>(done: Result<T, CliError>, sent: bool, tells: &str) -> Result<T, CliError> {
    match done {
        Err(error) if sent && error.is_in_doubt() => {
            Err(error.advised(format!("the withdrawal may still take place; {tells}")))
        }
        done => done,
    }
}

/// An element, as an object.
#[derive(Serialize)]
pub struct ElementJson<'a> {
    id: u64,
    pool: &'a str,
    key: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    arrived_ms: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'a str, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<PayloadJson<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    ended_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#match: Option<MatchJson<'a>>,
}

#[derive(Serialize)]
struct WithdrawnJson<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#match: Option<MatchJson<'a>>,
}

impl<'a> From<&'a pb::Element> for ElementJson<'a> {
    fn from(element: &'a pb::Element) -> ElementJson<'a> {
        ElementJson {
            id: element.id,
            pool: &element.pool,
            key: &element.key,
            state: state_name(element.state()),
            arrived_ms: element.arrived_ms,
            attributes: element
                .attributes
                .iter()
                .map(|(name, value)| (name.as_str(), attribute_json(element, name, value)))
                .collect(),
            payload: PayloadJson::of(&element.payload),
            ended_at: element.ended_at,
            r#match: found(&element.r#match),
        }
    }
}

// serde hands the field over by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn found(found: &Option<pb::Match>) -> Option<MatchJson<'_>> {
    found.as_ref().map(MatchJson::from)
}

/// An attribute as files have it: a time as a time.
fn attribute_json(element: &pb::Element, name: &str, value: &pb::Value) -> serde_json::Value {
    let declared = element.attribute_types.get(name).and_then(|number| dovetail_wire::kind(*number).ok());
    match (&value.kind, declared) {
        (Some(Kind::IntValue(int)), Some(declared)) => {
            schema::written(*int, declared).map_or_else(|| (*int).into(), serde_json::Value::from)
        }
        _ => value_json(value),
    }
}

/// An attribute as people read it.
pub fn attribute_text(element: &pb::Element, name: &str, value: &pb::Value) -> String {
    printable(&attribute_json(element, name, value).to_string()).into_owned()
}

fn value_json(value: &pb::Value) -> serde_json::Value {
    match &value.kind {
        None => serde_json::Value::Null,
        Some(Kind::IntValue(value)) => (*value).into(),
        Some(Kind::DoubleValue(value)) => match_json::double(*value),
        Some(Kind::StringValue(value)) => value.as_str().into(),
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::StringListValue(list)) => list.values.clone().into(),
    }
}

fn state_name(state: ElementState) -> &'static str {
    match state {
        ElementState::Unspecified => "unknown",
        ElementState::Waiting => "waiting",
        ElementState::Matched => "matched",
        ElementState::Withdrawn => "withdrawn",
        ElementState::Expired => "expired",
        ElementState::Dropped => "dropped",
    }
}

fn outcome_name(outcome: WithdrawOutcome) -> &'static str {
    match outcome {
        WithdrawOutcome::Unspecified | WithdrawOutcome::NotFound => "unknown",
        WithdrawOutcome::Withdrawn => "withdrawn",
        WithdrawOutcome::AlreadyMatched => "already_matched",
        WithdrawOutcome::AlreadyWithdrawn => "already_withdrawn",
    }
}

/// An element in words.
pub fn describe(element: &pb::Element) -> String {
    let pool = printable(&element.pool);
    let key = printable(&element.key);
    let mut text = format!("element {} ({key}) in pool {pool}: {}", element.id, state_name(element.state()));
    if let Some(found) = &element.r#match {
        text.push_str(&pair(found));
    } else if element.ended_at != 0 {
        let _ = write!(text, " at {}", element.ended_at);
    }
    text.push('\n');
    let attributes: BTreeMap<_, _> = element.attributes.iter().collect();
    for (name, value) in attributes {
        let shown = match value.kind {
            Some(Kind::DoubleValue(double)) => match_json::no_number(double).map(str::to_owned),
            _ => None,
        };
        let shown = shown.unwrap_or_else(|| attribute_json(element, name, value).to_string());
        let _ = writeln!(text, "  {} = {}", printable(name), printable(&shown));
    }
    if let Some(payload) = PayloadJson::of(&element.payload) {
        let _ = writeln!(text, "  payload = {}", printable(match_json::line(&payload).trim_end()));
    }
    text
}

fn whereby(answer: &pb::WithdrawResponse) -> String {
    match (&answer.r#match, answer.position) {
        (Some(found), _) => pair(found),
        (None, 0) => String::new(),
        (None, position) => format!(" at {position}"),
    }
}

fn pair(found: &pb::Match) -> String {
    let end = |end: &Option<pb::MatchedElement>| match end {
        Some(end) => format!("{} ({})", end.id, printable(&end.key)),
        None => "?".to_owned(),
    };
    format!(": {} with {} at {}", end(&found.a), end(&found.b), found.cursor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dovetail::client::value;

    fn waiting() -> pb::Element {
        pb::Element {
            id: 3,
            pool: "duel".to_owned(),
            key: "p1".to_owned(),
            state: ElementState::Waiting.into(),
            arrived_ms: 5,
            attributes: [("skill".to_owned(), value::int(i64::MIN)), ("region".to_owned(), value::string("eu"))].into(),
            payload: "hi".into(),
            ..Default::default()
        }
    }

    fn matched() -> pb::Element {
        let end = |id: u64| Some(pb::MatchedElement { id, key: format!("p{id}"), ..Default::default() });
        pb::Element {
            id: 3,
            pool: "duel".to_owned(),
            key: "p3".to_owned(),
            state: ElementState::Matched.into(),
            ended_at: 7,
            r#match: Some(pb::Match { cursor: 7, pool: "duel".to_owned(), a: end(3), b: end(7), time_ms: 0 }),
            ..Default::default()
        }
    }

    #[test]
    fn an_element_is_described_for_people() {
        let expected = "element 3 (p1) in pool duel: waiting\n  region = \"eu\"\n  skill = -9223372036854775808\n  \
                        payload = \"hi\"\n";
        assert_eq!(describe(&waiting()), expected);
        assert_eq!(describe(&matched()), "element 3 (p3) in pool duel: matched: 3 (p3) with 7 (p7) at 7\n");
    }

    #[test]
    fn times_are_shown_so_that_they_can_be_submitted_again() {
        let types = [("start", pb::AttributeType::Timestamp), ("length", pb::AttributeType::Duration)];
        let of = |start: i64, length: i64| pb::Element {
            attributes: [("start".to_owned(), value::int(start)), ("length".to_owned(), value::int(length))].into(),
            attribute_types: types.map(|(name, declared)| (name.to_owned(), declared.into())).into(),
            ..waiting()
        };
        let new_year = of(1_767_225_600_500, -90_000);
        let expected = "  length = \"-1m30s\"\n  start = \"2026-01-01T00:00:00.5Z\"\n";
        assert!(describe(&new_year).contains(expected), "{}", describe(&new_year));
        let json = serde_json::to_value(ElementJson::from(&new_year)).unwrap();
        assert_eq!(json["attributes"], serde_json::json!({ "start": "2026-01-01T00:00:00.5Z", "length": "-1m30s" }));
        // There is no such year.
        let json = serde_json::to_value(ElementJson::from(&of(i64::MAX, i64::MIN))).unwrap();
        let expected = serde_json::json!({ "start": i64::MAX, "length": "-2562047788015h12m55s808ms" });
        assert_eq!(json["attributes"], expected);
    }

    #[test]
    fn infinity_is_shown_as_what_it_is() {
        let attributes = [("x", f64::INFINITY), ("y", f64::NEG_INFINITY), ("z", 0.5)];
        let attributes = attributes.map(|(name, double)| (name.to_owned(), value::double(double))).into();
        let element = pb::Element { attributes, ..waiting() };
        let text = describe(&element);
        assert!(text.contains("  x = Infinity\n  y = -Infinity\n  z = 0.5\n"), "{text}");
        let line = match_json::line(&ElementJson::from(&element));
        assert!(line.contains(r#""attributes":{"x":"Infinity","y":"-Infinity","z":0.5}"#), "{line}");
    }

    #[test]
    fn names_that_hide_or_turn_text_around_are_escaped_for_people_and_exact_for_machines() {
        let attributes = [("region".to_owned(), value::string("e\u{202e}u"))].into();
        let element = pb::Element { key: "p\u{200b}1".to_owned(), attributes, ..waiting() };
        let text = describe(&element);
        assert!(text.starts_with("element 3 (p\\u{200b}1) in pool duel") && text.contains("\"e\\u{202e}u\""), "{text}");
        let line = match_json::line(&ElementJson::from(&element));
        assert!(line.contains("p\u{200b}1") && line.contains("e\u{202e}u"), "{line}");
    }

    #[test]
    fn an_element_is_one_json_line_for_machines() {
        let expected = concat!(
            r#"{"id":3,"pool":"duel","key":"p1","state":"waiting","arrived_ms":5,"#,
            r#""attributes":{"region":"eu","skill":-9223372036854775808},"payload":"hi"}"#,
            "\n"
        );
        assert_eq!(match_json::line(&ElementJson::from(&waiting())), expected);
        let expected = concat!(
            r#"{"id":3,"pool":"duel","key":"p3","state":"matched","ended_at":7,"#,
            r#""match":{"cursor":7,"pool":"duel","a":{"id":3,"key":"p3"},"b":{"id":7,"key":"p7"}}}"#,
            "\n"
        );
        assert_eq!(match_json::line(&ElementJson::from(&matched())), expected);
    }
}
