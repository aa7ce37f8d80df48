//! Arguments that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::error::CliError;
use super::{duration, notices};
use dovetail::client::{Client, ConnectOptions, Token, by_id, by_key};
use dovetail::pb;

/// Where a balancer is expected by default.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7400";

/// Which server to ask.
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// The balancer to talk to; several of one cluster, with commas or repeated: the one that writes is asked
    #[arg(long, value_name = "URL,..", value_delimiter = ',', env = "DOVETAIL_SERVER", default_value = DEFAULT_SERVER,
          hide_env_values = true)]
    server: Vec<String>,
    /// Longest time the command may take, connecting included; then it ends with exit code 3. Without it, as long as it
    /// takes
    #[arg(long, value_name = "DURATION", env = "DOVETAIL_TIMEOUT", hide_env_values = true, value_parser = duration_ms)]
    timeout: Option<u64>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// How to connect to servers.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectArgs {
    /// For https://: the authority that signs the servers' certificates, in PEM
    #[arg(long, value_name = "FILE", env = "DOVETAIL_TLS_CA", hide_env_values = true)]
    tls_ca: Option<PathBuf>,
    /// For https://: the certificate to show, in PEM
    #[arg(long, value_name = "FILE", env = "DOVETAIL_TLS_CERT", hide_env_values = true)]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE", env = "DOVETAIL_TLS_KEY", hide_env_values = true)]
    tls_key: Option<PathBuf>,
    /// The token or API key to show; other users of this machine see it here, but not in the variable or a file
    #[arg(long, value_name = "TOKEN", env = "DOVETAIL_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    token: Option<String>,
    /// The file that has the token; it is read again when it changes
    #[arg(long, value_name = "FILE", env = "DOVETAIL_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
    /// Send the token in plain text, too, to an address that is not this machine's
    #[arg(long, env = "DOVETAIL_CLIENT_INSECURE", hide_env_values = true)]
    insecure: bool,
}

impl ConnectArgs {
    /// As the client takes it.
    pub fn options(&self) -> Result<ConnectOptions, CliError> {
        // An empty variable is as good as none.
        let file = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let mut options = ConnectOptions::default();
        options.tls.ca = file(&self.tls_ca);
        options.insecure = self.insecure;
        let token = self.token.clone().filter(|token| !token.is_empty()).map(Token::Text);
        options.token = token.or(file(&self.token_file).map(Token::File));
        match (file(&self.tls_cert), file(&self.tls_key)) {
            (Some(cert), Some(key)) => Ok(options.show(cert, key)),
            (None, None) => Ok(options),
            (Some(_), None) => {
                Err(CliError::Arguments("--tls-cert needs --tls-key, the key of the certificate".into()))
            }
            (None, Some(_)) => Err(CliError::Arguments("--tls-key needs --tls-cert, the certificate it is of".into())),
        }
    }
}

impl ServerArgs {
    /// Connects to it, and does something with it, within the time that there is for it.
    pub async fn run<T>(&self, work: impl AsyncFnOnce(Client) -> Result<T, CliError>) -> Result<T, CliError> {
        // On the heap: some of what commands do is large.
        let options = self.connect.options()?;
        let work = Box::pin(async { work(Client::connect_any(&self.server, &options).await?).await });
        match self.timeout {
            None => work.await,
            Some(ms) => {
                tokio::time::timeout(Duration::from_millis(ms), work).await.unwrap_or_else(|_| Err(self.timed_out(ms)))
            }
        }
    }

    /// What comes when the time is over, counted from now. Never, when there is all the time.
    pub fn deadline(&self) -> impl Future<Output = CliError> {
        let over = self.timeout.map(|ms| (ms, Instant::now() + Duration::from_millis(ms)));
        async move {
            match over {
                None => std::future::pending().await,
                Some((ms, at)) => {
                    tokio::time::sleep_until(at).await;
                    self.timed_out(ms)
                }
            }
        }
    }

    /// Says, after an answer, whether it is of now: see [`notices::as_of`]. Within what is left of the time, which then
    /// is no error: the answer is there.
    pub async fn as_of(client: &Client, at: u64, late: impl Future<Output = CliError>) {
        tokio::select! {
            () = notices::as_of(client, at) => {}
            _ = late => {}
        }
    }

    fn timed_out(&self, ms: u64) -> CliError {
        let (within, server) = (duration::format_ms(ms), self.server.join(","));
        CliError::TimedOut(format!("not done within {within}, which is --timeout, with the server at {server}"))
    }
}

/// An element, by its id or by its key in a pool.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["id", "key"]))]
pub struct ElementArgs {
    /// The id its submission returned
    #[arg(value_name = "ID", conflicts_with = "pool", value_parser = id)]
    id: Option<u64>,
    /// The pool it is in
    #[arg(long, value_name = "POOL", requires = "key")]
    pool: Option<String>,
    /// The key it was submitted with
    #[arg(long, value_name = "KEY", requires = "pool", allow_hyphen_values = true)]
    key: Option<String>,
}

impl ElementArgs {
    /// The pool that its key is of.
    pub fn pool(&self) -> Option<&str> {
        self.pool.as_deref()
    }

    /// As the protocol names it.
    pub fn reference(&self) -> pb::ElementRef {
        match (&self.pool, &self.key) {
            (Some(pool), Some(key)) => by_key(pool, key),
            // clap sees to it that there is either a key with its pool, or an id.
            _ => by_id(self.id.unwrap_or_default()),
        }
    }
}

/// An element's id, for clap.
pub fn id(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "an id is a number; a key needs --pool and --key".to_owned())
}

/// Milliseconds from text such as `60s`, for clap.
pub fn duration_ms(text: &str) -> Result<u64, duration::DurationError> {
    Ok(duration::parse(text)?.as_millis() as u64)
}
