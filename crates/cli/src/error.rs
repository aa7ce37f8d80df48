//! What a command can fail with, in one readable line.

use std::io;
use std::path::PathBuf;

use super::duration::DurationError;
use dovetail::address::AddressError;
use dovetail::client::ClientError;
use dovetail_bench::BenchError;
use dovetail_server::failure::RunError;
use dovetail_server::settings::SettingsError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Wrong arguments, or `--help` and `--version`, which clap treats alike.
    #[error(transparent)]
    Usage(clap::Error),
    /// Wrong settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A role failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The process could not set itself up.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// Stdout did not take our output.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[from] io::Error),
    /// Nothing answers at the server's address.
    #[error("no server at {url}: {reason}; \"dovetail up\" starts one, and --server or DOVETAIL_SERVER names another")]
    NoServer {
        /// What was dialled.
        url: String,
        /// The operating system's reason.
        reason: String,
    },
    /// The server's address answers, but there is no TLS with it: one side does not trust the other.
    #[error("no TLS with {url}: {reason}")]
    Distrust {
        /// What was dialled.
        url: String,
        /// What is wrong with whose certificate.
        reason: String,
    },
    /// The server's address is invalid.
    #[error("--server: {0}")]
    Address(AddressError),
    /// TLS, or a token, cannot be used as they were given.
    #[error(transparent)]
    Tls(ClientError),
    /// A call failed.
    #[error(transparent)]
    Client(ClientError),
    /// Nothing was measured.
    #[error(transparent)]
    Bench(BenchError),
    /// Arguments that do not go together.
    #[error("{0}")]
    Arguments(String),
    /// A pool that is to be submitted to does not exist.
    #[error("pool {pool:?} is not defined (NOT_FOUND); {there_are}")]
    NoPool {
        /// The pool.
        pool: String,
        /// Which pools there are, in words.
        there_are: String,
    },
    /// A pool file that defines no pool.
    #[error("pool file {}: {reason}", path.display())]
    PoolFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// Elements cannot be read from here.
    #[error("{name}: {reason}")]
    Input {
        /// The file.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write to {}: {error}", path.display())]
    Output {
        /// The folder.
        path: PathBuf,
        /// The operating system's reason.
        error: io::Error,
    },
    /// The duration is invalid.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// The pool definition is invalid.
    #[error(transparent)]
    Pool(#[from] dovetail_core::DefineError),
    /// The rule or its attributes are invalid.
    #[error("{0}")]
    Rule(String),
    /// The time that was given for it ran out.
    #[error("{0}")]
    TimedOut(String),
    /// An error, and what can be done about it, or what is not known for it.
    #[error("{error}; {advice}")]
    Advised {
        /// What went wrong.
        error: Box<CliError>,
        /// For its reader.
        advice: String,
    },
    /// The failure was reported when it happened; only the exit code is left.
    #[error("not all of it worked")]
    Reported,
}

impl CliError {
    /// Whether the time that was given ran out; there may be nothing else wrong.
    pub fn is_time_out(&self) -> bool {
        match self {
            CliError::TimedOut(_) => true,
            CliError::Advised { error, .. } => error.is_time_out(),
            CliError::Client(error) => error.code() == Some(tonic::Code::DeadlineExceeded),
            _ => false,
        }
    }
}

impl CliError {
    /// The same, with what can be done about it.
    pub fn advised(self, advice: impl Into<String>) -> CliError {
        CliError::Advised { error: Box::new(self), advice: advice.into() }
    }

    /// Whether what was asked for may take place all the same: its answer was not waited for, or did not come.
    pub fn is_in_doubt(&self) -> bool {
        let lost = match self {
            CliError::Client(ClientError::Lost { .. }) => true,
            CliError::Client(error) => error.code() == Some(tonic::Code::Unavailable),
            _ => false,
        };
        lost || self.is_time_out()
    }

    /// The error in words, and for a server that wants a credential, how to show one.
    pub fn told(&self) -> String {
        if self.is_unauthenticated() {
            format!("{self}; --token-file or DOVETAIL_TOKEN shows a token, --tls-cert and --tls-key a certificate")
        } else {
            self.to_string()
        }
    }

    fn is_unauthenticated(&self) -> bool {
        match self {
            CliError::Advised { error, .. } => error.is_unauthenticated(),
            error => error.code() == Some(tonic::Code::Unauthenticated),
        }
    }

    /// Whether the server answers, but not to this caller.
    pub fn is_not_permitted(&self) -> bool {
        matches!(self, CliError::Client(error) if error.is_not_permitted())
    }

    /// Whether the server that answers has the certificate of another host.
    pub fn is_other_host(&self) -> bool {
        matches!(self, CliError::Distrust { reason, .. } if reason.contains("not valid for name"))
    }

    /// The gRPC code, where the server sent one.
    pub fn code(&self) -> Option<tonic::Code> {
        if let CliError::Client(error) = self { error.code() } else { None }
    }
}

/// Whether the reason is one of TLS: the words are those of `rustls`, and ours.
fn is_distrust(reason: &str) -> bool {
    ["peer certificate", "fatal alert", "UnknownIssuer"].iter().any(|words| reason.contains(words))
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        match error {
            ClientError::Connect { url, reason } if is_distrust(&reason) => CliError::Distrust { url, reason },
            ClientError::Connect { url, reason } => CliError::NoServer { url, reason },
            ClientError::Url(error) => CliError::Address(error),
            error @ (ClientError::NoAuthority { .. }
            | ClientError::Tls(_)
            | ClientError::TokenInClear { .. }
            | ClientError::Token { .. }) => CliError::Tls(error),
            error => CliError::Client(error),
        }
    }
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> CliError {
        match error {
            BenchError::Client(error) => error.into(),
            error => CliError::Bench(error),
        }
    }
}
