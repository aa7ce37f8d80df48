//! `dovetail clock accept`: tells the balancer that its wall clock is right, though it jumped.

use clap::Subcommand;
use serde_json::json;

use super::arguments::ServerArgs;
use super::error::CliError;
use super::{duration, match_json, output};

/// Commands of `dovetail clock`.
#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Let event time follow a wall clock that jumped ahead; that cannot be undone
    Accept(AcceptArgs),
}

/// Flags of `dovetail clock accept`.
#[derive(Debug, clap::Args)]
pub struct AcceptArgs {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs a command of `dovetail clock`.
pub async fn run(command: ClockCommand) -> Result<(), CliError> {
    let ClockCommand::Accept(AcceptArgs { json, server }) = command;
    let accepted = server.run(async |client| Ok(client.accept_clock().await?)).await?;
    let text = match json {
        true => match_json::line(&json!({ "ahead_ms": accepted.ahead_ms, "event_ms": accepted.event_ms })),
        false if accepted.ahead_ms == 0 => "the wall clock is not ahead of event time: nothing to accept\n".to_owned(),
        false => format!("event time went ahead by {}\n", duration::format_ms(accepted.ahead_ms)),
    };
    Ok(output::print(&text)?)
}
