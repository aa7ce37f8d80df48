//! Arguments that several commands share.

use super::error::CliError;
use super::{DEFAULT_SERVER, duration};
use crate::client::{Client, by_id, by_key};
use crate::pb;

/// Which server to ask.
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// The balancer to talk to
    #[arg(long, value_name = "URL", env = "DOVETAIL_SERVER", default_value = DEFAULT_SERVER, hide_env_values = true)]
    pub server: String,
}

impl ServerArgs {
    /// Connects to it.
    pub async fn connect(&self) -> Result<Client, CliError> {
        Ok(Client::connect(self.server.as_str()).await?)
    }
}

/// An element, by its id or by its key in a pool.
#[derive(Debug, clap::Args)]
pub struct ElementArgs {
    /// The id its submission returned
    #[arg(value_name = "ID", required_unless_present = "key", conflicts_with_all = ["key", "pool"])]
    id: Option<u64>,
    /// The pool it is in
    #[arg(long, value_name = "POOL", requires = "key")]
    pool: Option<String>,
    /// The key it was submitted with
    #[arg(long, value_name = "KEY", requires = "pool")]
    key: Option<String>,
}

impl ElementArgs {
    /// As the protocol names it.
    pub fn reference(&self) -> pb::ElementRef {
        match (&self.pool, &self.key) {
            (Some(pool), Some(key)) => by_key(pool, key),
            // clap sees to it that there is either a key with its pool, or an id.
            _ => by_id(self.id.unwrap_or_default()),
        }
    }
}

/// Milliseconds from text such as `60s`, for clap.
pub fn duration_ms(text: &str) -> Result<u64, duration::DurationError> {
    Ok(duration::parse(text)?.as_millis() as u64)
}
