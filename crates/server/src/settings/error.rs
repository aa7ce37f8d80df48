//! Why settings are refused, and where a value came from.

use std::fmt;
use std::io;
use std::path::PathBuf;

use dovetail::address::AddressError;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was not set.
    Default,
    /// The settings file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A flag, without its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "the default"),
            Origin::File(path) => write!(f, "settings file {}", path.display()),
            Origin::Env(name) => write!(f, "environment variable {name}"),
            Origin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no such file, or it cannot be read.
    #[error("settings file {} cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML.
    #[error("settings file {} is not TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, and what was expected there.
        reason: String,
    },
    /// A key that no setting has.
    #[error("unknown setting {key:?} in {origin}{hint}")]
    Unknown {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The setting that may have been meant, in words; or nothing.
        hint: String,
    },
    /// A value of the wrong form.
    #[error("{key} is {found}, but must be {expected} (from {origin})")]
    Form {
        /// The setting.
        key: &'static str,
        /// The value, quoted if it is text.
        found: String,
        /// What it must be.
        expected: String,
        /// Where it came from.
        origin: Origin,
    },
    /// An address that is none.
    #[error("{key}: {source} (from {origin})")]
    Address {
        /// The setting.
        key: &'static str,
        /// What is wrong with it, and what to write.
        source: Box<AddressError>,
        /// Where it came from.
        origin: Origin,
    },
    /// A number outside its bounds.
    #[error("{key} is {found}, but must be {min} to {max} (from {origin})")]
    Range {
        /// The setting.
        key: &'static str,
        /// The value, or how many there are.
        found: String,
        /// The least it may be.
        min: u64,
        /// The most it may be.
        max: u64,
        /// Where it came from.
        origin: Origin,
    },
    /// A number above another setting that bounds it.
    #[error("{key} is {found} (from {origin}), but must be at most {bound}, which is {max} (from {bound_origin})")]
    Above {
        /// The setting.
        key: &'static str,
        /// Its value.
        found: u64,
        /// Where it came from.
        origin: Origin,
        /// The setting that bounds it.
        bound: &'static str,
        /// That setting's value.
        max: u64,
        /// Where that came from.
        bound_origin: Origin,
    },
    /// Others would read along.
    #[error(
        "{key} is {listen} (from {origin}), which others reach, and there is no TLS: give --tls-cert, --tls-key and \
         --tls-ca (dovetail certs init makes them), or listen at 127.0.0.1, or say --insecure if the network may be trusted"
    )]
    PlainText {
        /// The setting.
        key: &'static str,
        /// Where it would listen.
        listen: std::net::SocketAddr,
        /// Where that came from.
        origin: Origin,
    },
    /// Settings of TLS that do not go together.
    #[error("{key} is {found} (from {origin}), but {reason}")]
    Tls {
        /// The setting.
        key: &'static str,
        /// Its value, quoted, or that there is none.
        found: String,
        /// Where it came from.
        origin: Origin,
        /// What it does not fit.
        reason: &'static str,
    },
    /// Balancers by two settings, which are not the same.
    #[error(
        "cluster.balancer is {one:?} (from {origin}), and cluster.balancers is {all:?} (from {list_origin}): give one of the two"
    )]
    Balancers {
        /// The one.
        one: String,
        /// Where it came from.
        origin: Origin,
        /// The list.
        all: Vec<String>,
        /// Where the list came from.
        list_origin: Origin,
    },
    /// An index for which there is no node.
    #[error(
        "node.index is {index} (from {origin}), but must be below {count}, \
         the number of addresses in {list} (from {list_origin})"
    )]
    Index {
        /// The index.
        index: u64,
        /// Where it came from.
        origin: Origin,
        /// The setting that lists the nodes.
        list: &'static str,
        /// How many it lists.
        count: u64,
        /// Where the list came from.
        list_origin: Origin,
    },
}
