//! Why certificates are not taken.

use std::path::PathBuf;

/// Why TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{what} {}: {reason}", path.display())]
    File {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The operating system's reason, or what is wrong with what it has.
        reason: String,
    },
    /// Certificate and key are not of one another, or the key is of a kind that is not known.
    #[error("certificate {} with key {}: {reason}", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate that cannot be understood.
    #[error("a certificate cannot be taken: {reason}")]
    Certificate {
        /// Why.
        reason: String,
    },
    /// This node's own certificate is another's.
    #[error("certificate {} is of {found}, but this is {wanted}", path.display())]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// What it names.
        found: String,
        /// Who this is.
        wanted: String,
    },
    /// TLS cannot be set up from what was read.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}
