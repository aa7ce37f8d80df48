//! `dovetail pool drop`: asks, drops, and waits until the pool is gone.

use std::io::{self, BufRead as _, IsTerminal as _};

use serde_json::json;
use tonic::Code;

use super::definition_of;
use crate::{arguments::ServerArgs, error::CliError, match_json, output, table::thousands};
use dovetail::client::{Client, WAIT_MAX};
use dovetail::pb;

/// Flags of `dovetail pool drop`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The elements that wait in the pool end with the reason \"dropped\", and watchers are told of each. Then its name is \
    free. Waits until that is done; the same command again goes on waiting."
)]
pub struct DropArgs {
    /// The pool's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Drops a pool.
pub async fn run(arguments: DropArgs) -> Result<(), CliError> {
    let DropArgs { name, yes, json, server } = arguments;
    let drop = async |client: Client| {
        let status = definition_of(&client, &name).await?;
        if !yes && !status.dropping {
            confirm(&name, status.waiting)?;
        }
        drop_it(&client, &name, &status).await
    };
    let (closed_at, waiting) = server.run(drop).await?;
    if json {
        let object = json!({ "pool": name, "dropped": true, "closed_at": closed_at, "waiting": waiting });
        return Ok(output::print(&match_json::line(&object))?);
    }
    Ok(output::print(&format!("pool {name:?} is dropped; {}\n", waited(waiting)))?)
}

/// The event that closed it, and how many waited then.
async fn drop_it(client: &Client, name: &str, status: &pb::PoolStatus) -> Result<(u64, u64), CliError> {
    let mut first: Option<(u64, u64)> = None;
    loop {
        match client.drop_pool(name, Some(status.defined_at), WAIT_MAX).await {
            Ok(answer) => {
                let told = *first.get_or_insert((answer.closed_at, answer.waiting));
                if answer.dropped {
                    return Ok(told);
                }
            }
            // It went between two calls, and perhaps another has its name.
            Err(error) if matches!(error.code(), Some(Code::NotFound | Code::FailedPrecondition)) => {
                return first.ok_or_else(|| error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks a person. Where there is none, only `--yes` will do.
fn confirm(name: &str, waiting: u64) -> Result<(), CliError> {
    let what = format!("drop pool {name:?}, in which {}", waits(waiting));
    if !io::stdin().is_terminal() {
        return Err(CliError::Arguments(format!("this would {what}; add --yes if that is meant")));
    }
    eprint!("{what}? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::Arguments("nothing was dropped".to_owned())),
    }
}

fn waits(waiting: u64) -> String {
    match waiting {
        0 => "no element waits".to_owned(),
        1 => "1 element waits".to_owned(),
        more => format!("{} elements wait", thousands(more)),
    }
}

fn waited(waiting: u64) -> String {
    match waiting {
        0 => "no element waited in it".to_owned(),
        1 => "1 element waited in it".to_owned(),
        more => format!("{} elements waited in it", thousands(more)),
    }
}
