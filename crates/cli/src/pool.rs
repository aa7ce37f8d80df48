//! `dovetail pool define`, `dovetail pool list` and `dovetail pool drop`.

mod drop;

use std::cell::Cell;
use std::path::PathBuf;

use clap::Subcommand;
use dovetail_rule::{AttributeType, TypeError};
use serde_json::json;
use tonic::Code;

use super::arguments::{ServerArgs, duration_ms};
use super::error::CliError;
use super::table::{TextTable, thousands};
use super::{duration, match_json, output, pool_file, schema};
use dovetail::client::{Client, ClientError};
use dovetail::pb;
use dovetail_server::printable::printable;

/// Commands of `dovetail pool`.
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Define a pool
    Define(DefineArgs),
    /// List the pools and what is in them
    List(ListArgs),
    /// Drop a pool: those who wait in it end, and its name is free
    Drop(drop::DropArgs),
}

const EXAMPLES: &str = "\
Examples:
  dovetail pool define --file examples/players.toml
  dovetail pool define duel --attribute region=string --attribute skill=int \\
      --ttl 60s --reprobe 5s,10s --rule 'a.region == b.region
      && abs(a.skill - b.skill) <= 25 + min(a.waited, b.waited) / 200'

Types are int, double, string, bool, list<string>, timestamp and duration. In a rule, a has the lower id, and waited \
is in milliseconds. A rule that widens with waited finds more only when the element searches \
again: see --reprobe.";

/// Flags of `dovetail pool define`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["name", "file"]))]
pub struct DefineArgs {
    /// The pool's name
    #[arg(value_name = "NAME", requires = "rule")]
    name: Option<String>,
    /// A TOML file that defines the pool, instead of the other flags
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "attribute", "rule", "ttl", "reprobe", "waiting_max", "payload_bytes_max"])]
    file: Option<PathBuf>,
    /// An attribute and its type; may be repeated
    #[arg(long, value_name = "NAME=TYPE", value_parser = attribute)]
    attribute: Vec<(String, AttributeType)>,
    /// Which pairs match: a CEL expression over a and b
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// How long an element waits that does not say; without it, for ever
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    ttl: Option<u64>,
    /// When a waiting element searches again, after its arrival
    #[arg(long, value_name = "DURATION,..", value_delimiter = ',', value_parser = duration_ms)]
    reprobe: Vec<u64>,
    /// Most elements waiting; without it, the server's default
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    waiting_max: u64,
    /// Largest payload in bytes; without it, the server's default
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    payload_bytes_max: u64,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Flags of `dovetail pool list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// An attribute and its type, for clap.
pub fn attribute(text: &str) -> Result<(String, AttributeType), String> {
    let (name, kind) = text.split_once('=').ok_or("expected NAME=TYPE, such as skill=int")?;
    Ok((name.to_owned(), kind.parse().map_err(|error: TypeError| error.to_string())?))
}

/// Runs a command of `dovetail pool`.
pub async fn run(command: PoolCommand) -> Result<(), CliError> {
    match command {
        PoolCommand::Define(arguments) => define(arguments).await,
        PoolCommand::List(arguments) => list(arguments).await,
        PoolCommand::Drop(arguments) => drop::run(arguments).await,
    }
}

async fn define(arguments: DefineArgs) -> Result<(), CliError> {
    let server = arguments.server;
    let definition = match arguments.file {
        Some(path) => pool_file::read(&path)?,
        None => pb::PoolDefinition {
            name: arguments.name.unwrap_or_default(),
            attributes: arguments.attribute.into_iter().map(|(name, kind)| schema::attribute(name, kind)).collect(),
            rule: arguments.rule.unwrap_or_default(),
            ttl_ms: arguments.ttl.unwrap_or_default(),
            reprobe_ms: arguments.reprobe,
            waiting_max: arguments.waiting_max,
            payload_bytes_max: arguments.payload_bytes_max,
        },
    };
    let name = definition.name.clone();
    let sent = Cell::new(false);
    let define = async |client: Client| {
        sent.set(true);
        Ok(client.define_pool(definition).await?)
    };
    let defined = server.run(define).await.map_err(|error| match error.code() {
        _ if sent.get() && error.is_in_doubt() => {
            error.advised("the pool may still be defined; the same command again tells")
        }
        Some(Code::AlreadyExists) => {
            error.advised(format!("choose another name; the elements of {name} stay where they are"))
        }
        _ => error,
    })?;
    if arguments.json {
        let note = |note: &pb::Note| json!({ "code": note.code().word(), "text": note.text });
        let notes: Vec<_> = defined.notes.iter().map(note).collect();
        let (created, at) = (defined.created, defined.defined_at);
        let object = json!({ "pool": name, "created": created, "defined_at": at, "notes": notes });
        return Ok(output::print(&match_json::line(&object))?);
    }
    let how = if defined.created { "is defined" } else { "was defined before, just like this" };
    output::print(&format!("pool {name:?} {how} (event {})\n", defined.defined_at))?;
    defined.notes.iter().for_each(|note| eprintln!("note: {}", printable(&note.text)));
    Ok(())
}

async fn list(arguments: ListArgs) -> Result<(), CliError> {
    let pools = arguments.server.run(async |client: Client| Ok(client.list_pools().await?)).await?;
    let text = if arguments.json {
        pools.iter().map(status_json).map(|json| match_json::line(&json)).collect()
    } else {
        table(&pools)
    };
    Ok(output::print(&text)?)
}

fn table(pools: &[pb::PoolStatus]) -> String {
    if pools.is_empty() {
        return "no pools yet; define one with \"dovetail pool define\"\n".to_owned();
    }
    let mut table = TextTable::new(&[
        "pool",
        ">waiting",
        ">matches",
        ">withdrawn",
        ">expired",
        "ttl",
        "reprobe",
        "attributes",
        "rule",
    ]);
    for status in pools {
        let pool = status.definition.clone().unwrap_or_default();
        let attributes = pool.attributes.iter().map(|attribute| format!("{}={}", attribute.name, type_name(attribute)));
        let reprobe: Vec<String> = pool.reprobe_ms.iter().map(|&ms| duration::format_ms(ms)).collect();
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        table.row([
            if status.dropping { format!("{} (dropping)", pool.name) } else { pool.name.clone() },
            thousands(status.waiting),
            thousands(status.matches),
            thousands(status.withdrawn),
            thousands(status.expired),
            if pool.ttl_ms == 0 { "-".to_owned() } else { duration::format_ms(pool.ttl_ms) },
            dash(reprobe.join(",")),
            dash(attributes.collect::<Vec<_>>().join(" ")),
            pool.rule.split_whitespace().collect::<Vec<_>>().join(" "),
        ]);
    }
    table.render(0)
}

/// Pools that are named when the one asked for is not there.
const POOLS_NAMED: u32 = 20;

/// A pool's definition; or, when it is not defined, which pools there are.
pub async fn definition(client: &Client, pool: &str) -> Result<pb::PoolDefinition, CliError> {
    Ok(definition_of(client, pool).await?.definition.unwrap_or_default())
}

/// The same with what is in it.
async fn definition_of(client: &Client, pool: &str) -> Result<pb::PoolStatus, CliError> {
    match client.get_pool(pool).await {
        Ok(status) => Ok(status),
        Err(error) if error.code() == Some(Code::NotFound) => Err(none(client, pool).await?),
        Err(error) => Err(error.into()),
    }
}

/// Fails when the pool is not defined.
pub async fn must_be(client: &Client, pool: &str) -> Result<(), CliError> {
    definition(client, pool).await.map(|_| ())
}

/// The answer about something in a pool. When it was not found because the pool is not there, that is the error.
pub async fn or_no_pool<T>(client: &Client, pool: Option<&str>, answer: Result<T, ClientError>) -> Result<T, CliError> {
    if let (Err(error), Some(pool)) = (&answer, pool)
        && error.code() == Some(Code::NotFound)
    {
        must_be(client, pool).await?;
    }
    Ok(answer?)
}

async fn none(client: &Client, pool: &str) -> Result<CliError, CliError> {
    let some = pb::ListPoolsRequest { page_size: POOLS_NAMED, view: pb::PoolView::Basic.into(), ..Default::default() };
    let pools = client.list_pools_page(some).await?;
    let names: Vec<String> = pools.pools.into_iter().filter_map(|status| Some(status.definition?.name)).collect();
    let more = if pools.next_page_token.is_empty() { "" } else { ", and more" };
    let there_are = if names.is_empty() {
        "there are no pools yet; define one with \"dovetail pool define\"".to_owned()
    } else {
        format!("there are: {}{more}", names.join(", "))
    };
    Ok(CliError::NoPool { pool: pool.to_owned(), there_are })
}

fn type_name(attribute: &pb::Attribute) -> &'static str {
    dovetail_wire::attribute_type(attribute.r#type()).map_or("unknown", AttributeType::name)
}

fn status_json(status: &pb::PoolStatus) -> serde_json::Value {
    let pool = status.definition.clone().unwrap_or_default();
    let attributes: Vec<_> = pool
        .attributes
        .iter()
        .map(|attribute| json!({ "name": attribute.name, "type": type_name(attribute) }))
        .collect();
    json!({
        "pool": pool.name,
        "attributes": attributes,
        "rule": pool.rule,
        "ttl_ms": pool.ttl_ms,
        "reprobe_ms": pool.reprobe_ms,
        "waiting_max": pool.waiting_max,
        "payload_bytes_max": pool.payload_bytes_max,
        "defined_at": status.defined_at,
        "waiting": status.waiting,
        "waiting_bytes": status.waiting_bytes,
        "matches": status.matches,
        "withdrawn": status.withdrawn,
        "expired": status.expired,
        "dropping": status.dropping,
    })
}
