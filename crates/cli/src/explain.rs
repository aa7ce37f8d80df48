//! `dovetail explain`: why an element is still waiting.

use std::fmt::Write as _;

use serde::Serialize;

use super::arguments::{ElementArgs, ServerArgs};
use super::element::{self, ElementJson};
use super::error::CliError;
use super::pool::or_no_pool;
use super::table::{TextTable, thousands};
use super::{duration, match_json, notices, output};
use dovetail::client::Client;
use dovetail::pb::{self, ElementState};
use dovetail_server::printable::printable;

/// Flags of `dovetail explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dovetail explain 17\n  dovetail explain --pool duel --key p1 --nearest 20")]
pub struct ExplainArgs {
    #[command(flatten)]
    element: ElementArgs,
    /// How many near misses to show
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    nearest: u32,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// So many have to wait before it matters by what they may be ordered.
const ORDERED_FROM: u64 = 1_000;

/// Shows why an element is waiting; of one that is not, what became of it.
pub async fn run(arguments: ExplainArgs) -> Result<(), CliError> {
    let late = arguments.server.deadline();
    let explain = async |client: Client| {
        let asking = client.explain(arguments.element.reference(), arguments.nearest);
        let answer = notices::during(&client, asking).await;
        Ok((or_no_pool(&client, arguments.element.pool(), answer).await?, client))
    };
    let (explained, client) = arguments.server.run(explain).await?;
    let text = if arguments.json { match_json::line(&ExplainJson::from(&explained)) } else { describe(&explained) };
    output::print(&text)?;
    if explained.element.as_ref().is_some_and(|found| found.state() == ElementState::Waiting) {
        ServerArgs::as_of(&client, 0, late).await;
    }
    Ok(())
}

fn describe(explained: &pb::ExplainResponse) -> String {
    let found = explained.element.clone().unwrap_or_default();
    let mut text = element::describe(&found);
    if found.state() != ElementState::Waiting {
        return text;
    }
    let ago = duration::format_ms(explained.time_ms.saturating_sub(found.arrived_ms) / 1000 * 1000);
    let _ = writeln!(text, "has waited {ago}; tested with the {} others that wait:", thousands(explained.anchors));
    let mut table = TextTable::new(&[">turned away", ">of them missing", "searched as", "because not"]);
    for conjunct in &explained.conjuncts {
        table.row([
            thousands(conjunct.turned_away),
            thousands(conjunct.missing),
            conjunct.role().word().to_owned(),
            conjunct.text.clone(),
        ]);
    }
    if !explained.conjuncts.is_empty() {
        text.push_str(&table.render(2));
    }
    let _ = writeln!(text, "  {} satisfy the rule now", thousands(explained.acceptable));
    if explained.rule_errors > 0 {
        let _ = writeln!(text, "  with {} the rule is an error, which is no match", thousands(explained.rule_errors));
    }
    if explained.search_cost > 0 {
        let cost = thousands(explained.search_cost);
        let _ = writeln!(text, "  one search costs up to {cost} units in a slice, by what waits now");
    }
    if explained.anchors >= ORDERED_FROM && !explained.ordered_by.is_empty() {
        let names: Vec<_> = explained.ordered_by.iter().map(|name| printable(name)).collect();
        let _ = writeln!(text, "  a search looks at few of many: they may be ordered by {}", names.join(", "));
    }
    nearest(&mut text, explained);
    let within = |at_ms: u64| duration::format_ms(at_ms.saturating_sub(explained.time_ms));
    match explained.searches_at_ms {
        0 => text.push_str("does not search again: it waits for one that comes\n"),
        at_ms => _ = writeln!(text, "searches again in {}", within(at_ms)),
    }
    match &explained.prospect {
        Some(prospect) => {
            let key = printable(&prospect.key);
            let _ = writeln!(text, "first match in sight: {key} ({}) in {}", prospect.id, within(prospect.at_ms));
        }
        None => text.push_str("no match in sight among those that wait\n"),
    }
    text
}

fn nearest(text: &mut String, explained: &pb::ExplainResponse) {
    if !explained.nearest.is_empty() {
        text.push_str("nearest:\n");
    }
    for miss in &explained.nearest {
        let reasons: Vec<_> = miss.failed.iter().map(|failed| printable(&failed.reason)).collect();
        let _ = write!(text, "  {} ({}): {}", printable(&miss.key), miss.id, reasons.join("; "));
        if miss.acceptable_at_ms > 0 {
            let within = duration::format_ms(miss.acceptable_at_ms.saturating_sub(explained.time_ms));
            let _ = write!(text, "; acceptable in {within}");
        }
        text.push('\n');
    }
}

#[derive(Serialize)]
struct ExplainJson<'a> {
    element: ElementJson<'a>,
    #[serde(flatten)]
    waiting: Option<WaitingJson<'a>>,
}

#[derive(Serialize)]
struct WaitingJson<'a> {
    time_ms: u64,
    anchors: u64,
    conjuncts: Vec<ConjunctJson<'a>>,
    rule_errors: u64,
    acceptable: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_cost: Option<u64>,
    ordered_by: &'a [String],
    nearest: Vec<NearMissJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    searches_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prospect: Option<ProspectJson<'a>>,
}

#[derive(Serialize)]
struct ConjunctJson<'a> {
    text: &'a str,
    role: &'static str,
    turned_away: u64,
    missing: u64,
}

#[derive(Serialize)]
struct NearMissJson<'a> {
    id: u64,
    key: &'a str,
    failed: Vec<FailedJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acceptable_at_ms: Option<u64>,
}

#[derive(Serialize)]
struct FailedJson<'a> {
    conjunct: u32,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    off_by: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct ProspectJson<'a> {
    id: u64,
    key: &'a str,
    at_ms: u64,
}

fn set(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

impl<'a> From<&'a pb::ExplainResponse> for ExplainJson<'a> {
    fn from(explained: &'a pb::ExplainResponse) -> ExplainJson<'a> {
        static NOBODY: std::sync::LazyLock<pb::Element> = std::sync::LazyLock::new(Default::default);
        let element = explained.element.as_ref().unwrap_or(&NOBODY);
        let waits = element.state() == ElementState::Waiting;
        ExplainJson { element: ElementJson::from(element), waiting: waits.then(|| WaitingJson::from(explained)) }
    }
}

impl<'a> From<&'a pb::ExplainResponse> for WaitingJson<'a> {
    fn from(explained: &'a pb::ExplainResponse) -> WaitingJson<'a> {
        let conjunct = |one: &'a pb::ExplainedConjunct| ConjunctJson {
            text: &one.text,
            role: one.role().word(),
            turned_away: one.turned_away,
            missing: one.missing,
        };
        let failed = |one: &'a pb::FailedConjunct| FailedJson {
            conjunct: one.conjunct,
            reason: &one.reason,
            off_by: one.off_by.map(match_json::double),
        };
        let miss = |one: &'a pb::NearMiss| NearMissJson {
            id: one.id,
            key: &one.key,
            failed: one.failed.iter().map(failed).collect(),
            acceptable_at_ms: set(one.acceptable_at_ms),
        };
        let prospect = |one: &'a pb::Prospect| ProspectJson { id: one.id, key: &one.key, at_ms: one.at_ms };
        WaitingJson {
            time_ms: explained.time_ms,
            anchors: explained.anchors,
            conjuncts: explained.conjuncts.iter().map(conjunct).collect(),
            rule_errors: explained.rule_errors,
            acceptable: explained.acceptable,
            search_cost: set(explained.search_cost),
            ordered_by: &explained.ordered_by,
            nearest: explained.nearest.iter().map(miss).collect(),
            searches_at_ms: set(explained.searches_at_ms),
            prospect: explained.prospect.as_ref().map(prospect),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained() -> pb::ExplainResponse {
        let conjunct = |text: &str, role: pb::ConjunctRole, turned_away, missing| pb::ExplainedConjunct {
            text: text.to_owned(),
            role: role.into(),
            turned_away,
            missing,
        };
        let reason = "abs(a.skill - b.skill) is 111, at most 50 is allowed: off by 61".to_owned();
        pb::ExplainResponse {
            element: Some(pb::Element {
                id: 17,
                pool: "duel".to_owned(),
                key: "ada".to_owned(),
                state: ElementState::Waiting.into(),
                arrived_ms: 1_000,
                ..Default::default()
            }),
            time_ms: 13_400,
            anchors: 1_203,
            conjuncts: vec![
                conjunct("a.region == b.region", pb::ConjunctRole::Key, 1_100, 2),
                conjunct("abs(a.skill - b.skill) <= 50", pb::ConjunctRole::Columns, 103, 0),
            ],
            nearest: vec![pb::NearMiss {
                id: 9,
                key: "bob\u{7}".to_owned(),
                failed: vec![pb::FailedConjunct { conjunct: 1, reason, off_by: Some(61.0) }],
                acceptable_at_ms: 15_000,
            }],
            searches_at_ms: 16_000,
            prospect: Some(pb::Prospect { id: 9, key: "bob".to_owned(), at_ms: 15_000 }),
            ..Default::default()
        }
    }

    #[test]
    fn a_waiting_element_is_explained_for_people() {
        let expected = "\
element 17 (ada) in pool duel: waiting
has waited 12s; tested with the 1,203 others that wait:
  turned away  of them missing  searched as  because not
        1,100                2  key          a.region == b.region
          103                0  columns      abs(a.skill - b.skill) <= 50
  0 satisfy the rule now
nearest:
  bob\\u{7} (9): abs(a.skill - b.skill) is 111, at most 50 is allowed: off by 61; acceptable in 1s600ms
searches again in 2s600ms
first match in sight: bob (9) in 1s600ms
";
        assert_eq!(describe(&explained()), expected);
    }

    #[test]
    fn what_a_search_costs_is_said_where_it_may_be_much() {
        let costly = pb::ExplainResponse { search_cost: 7_960_000, ..explained() };
        let said = "  one search costs up to 7,960,000 units in a slice, by what waits now\n";
        assert!(describe(&costly).contains(said) && !describe(&explained()).contains("units"));
        assert_eq!(serde_json::to_value(ExplainJson::from(&costly)).unwrap()["search_cost"], 7_960_000);
    }

    #[test]
    fn by_what_many_may_be_ordered_is_said_where_many_wait() {
        let many = pb::ExplainResponse { ordered_by: vec!["x".to_owned(), "y".to_owned()], ..explained() };
        assert!(describe(&many).contains("  a search looks at few of many: they may be ordered by x, y\n"));
        assert_eq!(serde_json::to_value(ExplainJson::from(&many)).unwrap()["ordered_by"][1], "y");
        let few = pb::ExplainResponse { anchors: 999, ..many };
        assert!(!describe(&few).contains("ordered"));
    }

    #[test]
    fn an_element_that_waits_no_longer_is_only_described() {
        let mut ended = explained();
        ended.element.as_mut().unwrap().state = ElementState::Expired.into();
        ended.element.as_mut().unwrap().ended_at = 20;
        assert_eq!(describe(&ended), "element 17 (ada) in pool duel: expired at 20\n");
        let json = serde_json::to_value(ExplainJson::from(&ended)).unwrap();
        assert!(json.get("anchors").is_none());
    }

    #[test]
    fn an_explanation_is_one_json_object_for_machines() {
        let json = serde_json::to_value(ExplainJson::from(&explained())).unwrap();
        assert_eq!(json["element"]["id"], 17);
        assert_eq!(json["conjuncts"][0]["turned_away"], 1_100);
        assert_eq!(json["nearest"][0]["failed"][0]["off_by"], 61.0);
        assert_eq!(json["prospect"]["at_ms"], 15_000);
        let mut far = explained();
        far.nearest[0].failed[0].off_by = Some(f64::INFINITY);
        let json = serde_json::to_value(ExplainJson::from(&far)).unwrap();
        assert_eq!(json["nearest"][0]["failed"][0]["off_by"], "Infinity");
        assert_eq!(json["searches_at_ms"], 16_000);
    }
}
