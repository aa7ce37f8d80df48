//! `dovetail rule plan`: how a rule is searched, without a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use dovetail_core::{Pool, PoolId};
use dovetail_rule::{AttributeType, Conjunct, Rule, Schema};
use serde::Serialize;

use super::error::CliError;
use super::pool::attribute;
use super::{match_json, output, pool_file};
use crate::convert;

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
    let (rule, notes) = match arguments.file {
        Some(path) => of_pool(&path)?,
        None => {
            let rule = compile(&arguments.rule.unwrap_or_default(), arguments.attribute)?;
            let notes = rule.plan().warnings().iter().map(ToString::to_string).collect();
            (rule, notes)
        }
    };
    let text = match arguments.json {
        true => match_json::line(&PlanJson::of(&rule, notes)),
        false => rule.plan().with_notes(&notes).to_string(),
    };
    Ok(output::print(&text)?)
}

/// The rule of a pool, and what may be a mistake in it and in the pool's times.
fn of_pool(path: &Path) -> Result<(Rule, Vec<String>), CliError> {
    let definition = convert::pool_definition(pool_file::read(path)?);
    let definition = definition.map_err(|error| CliError::Rule(error.to_string()))?;
    let pool = Pool::compile(PoolId(0), Arc::new(definition))?;
    let notes = pool.notes().into_iter().map(|note| note.text).collect();
    Ok((pool.rule, notes))
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
    key: Vec<String>,
    conjuncts: Vec<ConjunctJson>,
    cost: u64,
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
            key: plan.key_parts(),
            conjuncts: plan.conjuncts().iter().map(conjunct).collect(),
            cost: plan.cost(),
            needs: plan.needed().iter().map(ToString::to_string).collect(),
            notes,
        }
    }
}
