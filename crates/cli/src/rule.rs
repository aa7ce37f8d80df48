//! `dovetail rule plan`: how a rule is searched, without a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use dovetail_core::{
    Pool, PoolId,
    ledger::{LedgerLimits, search_bound},
};
use dovetail_rule::{AttributeType, Conjunct, Rule, Schema, Split};
use serde::Serialize;

use super::error::CliError;
use super::pool::attribute;
use super::{match_json, oracle::LIMITS, output, pool_file, table::thousands};
use dovetail_server::settings::keys::by_key;

/// Commands of `dovetail rule`.
#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// Show how a rule is searched: key, columns, residual, cost, and what may be a mistake
    Plan(PlanArgs),
}

const EXAMPLES: &str = "\
Examples:
  dovetail rule plan 'a.region == b.region && abs(a.skill - b.skill) <= 25' \\
      --attribute region=string --attribute skill=int
  dovetail rule plan --file examples/players.toml";

/// Flags of `dovetail rule plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["rule", "file"]))]
pub struct PlanArgs {
    /// Which pairs match: a CEL expression over a and b
    #[arg(value_name = "RULE")]
    rule: Option<String>,
    /// A TOML file that defines a pool, instead of rule and attributes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rule", "attribute"])]
    file: Option<PathBuf>,
    /// An attribute and its type; may be repeated
    #[arg(long, value_name = "NAME=TYPE", value_parser = attribute)]
    attribute: Vec<(String, AttributeType)>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs a command of `dovetail rule`.
pub fn run(command: RuleCommand) -> Result<(), CliError> {
    let RuleCommand::Plan(arguments) = command;
    let (rule, notes, search) = match arguments.file {
        Some(path) => of_pool(&path)?,
        None => {
            let rule = compile(&arguments.rule.unwrap_or_default(), arguments.attribute)?;
            let notes = rule.plan().warnings().iter().map(ToString::to_string).collect();
            (rule, notes, None)
        }
    };
    let text = if arguments.json {
        match_json::line(&PlanJson { search, ..PlanJson::of(&rule, notes) })
    } else {
        format!("{}{}", rule.plan().with_notes(&notes), search.map(|search| search.text()).unwrap_or_default())
    };
    Ok(output::print(&text)?)
}

/// The rule of a pool, what may be a mistake in it and in the pool's times, and what its searches allow.
fn of_pool(path: &Path) -> Result<(Rule, Vec<String>, Option<Search>), CliError> {
    let definition = dovetail_wire::pool_definition(pool_file::read(path)?);
    let definition = definition.map_err(|error| CliError::Rule(error.to_string()))?;
    let pool = Pool::compile(PoolId(0), Arc::new(definition))?;
    let notes = pool.notes().into_iter().map(|note| note.text).collect();
    let search = Search::of(&pool);
    Ok((pool.rule, notes, search))
}

/// How many elements may wait, where that is bounded by what one search costs.
#[derive(Serialize)]
struct Search {
    pair_cost: u64,
    waiting_max: u64,
    of_one_key: bool,
}

impl Search {
    /// By the bounds that a balancer has by default.
    fn of(pool: &Pool) -> Option<Search> {
        let default = |key| by_key(key).and_then(|setting| setting.default.parse::<u64>().ok());
        let search_cost_max = default("limits.search_cost_max")?;
        let slices = u32::try_from(default("cluster.slices")?).ok()?;
        let (pair_cost, waiting_max) = search_bound(pool, &LedgerLimits { search_cost_max, slices, ..LIMITS })?;
        Some(Search { pair_cost, waiting_max, of_one_key: pool.split() == Split::Key })
    }

    fn text(&self) -> String {
        let Search { pair_cost, waiting_max, of_one_key } = self;
        let key = if *of_one_key { " of one key" } else { "" };
        let (cost, most) = (thousands(*pair_cost), thousands(*waiting_max));
        format!(
            "{:<10}{most} elements{key} may wait, if all have the longest values: {cost} units a pair (limits.search_cost_max)\n",
            "search"
        )
    }
}

/// Compiles a rule as a balancer would.
fn compile(source: &str, attributes: Vec<(String, AttributeType)>) -> Result<Rule, CliError> {
    let schema = Schema::new(attributes).map_err(|error| CliError::Rule(error.to_string()))?;
    Rule::compile(source, &schema).map_err(|error| CliError::Rule(error.render(source)))
}

#[derive(Serialize)]
struct PlanJson {
    split: String,
    split_reason: String,
    order: Vec<String>,
    key: Vec<String>,
    conjuncts: Vec<ConjunctJson>,
    cost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<Search>,
    needs: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct ConjunctJson {
    text: String,
    role: String,
    how: String,
    cost: u64,
}

impl PlanJson {
    fn of(rule: &Rule, notes: Vec<String>) -> PlanJson {
        let plan = rule.plan();
        let conjunct = |one: &Conjunct| ConjunctJson {
            text: one.text(),
            role: one.role().to_string(),
            how: one.how().to_owned(),
            cost: one.cost(),
        };
        PlanJson {
            split: plan.split().to_string(),
            split_reason: plan.split_reason(),
            order: plan.order(),
            key: plan.key_parts(),
            conjuncts: plan.conjuncts().iter().map(conjunct).collect(),
            cost: plan.cost(),
            search: None,
            needs: plan.needed().iter().map(ToString::to_string).collect(),
            notes,
        }
    }
}
