//! Why nothing was measured.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::check::CheckError;
use dovetail::client::ClientError;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A call failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An element was refused.
    #[error("the element at position {position} was refused: {reason}")]
    Refused {
        /// From 1.
        position: usize,
        /// Why.
        reason: String,
    },
    /// A client of the run stopped.
    #[error("a client stopped unexpectedly")]
    Stopped,
    /// Nothing was acknowledged or decided for a while.
    #[error("nothing was acknowledged or decided for {seconds} s, after {acknowledged} elements were acknowledged")]
    Standstill {
        /// So long.
        seconds: u64,
        /// How many were, before.
        acknowledged: u64,
    },
    /// The matches contradict each other.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The path of this executable is unknown.
    #[error("cannot find this program's own path, beside which the others are: {0}")]
    Own(#[source] std::io::Error),
    /// A binary is missing.
    #[error("{} is not there; a cluster is started from the binaries beside this one", path.display())]
    NoProgram {
        /// Where it should be.
        path: PathBuf,
    },
    /// The cluster's folder cannot be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates for `--tls` cannot be made.
    #[error("cannot make certificates: {0}")]
    Certificates(#[source] std::io::Error),
    /// No free ports were found.
    #[error("cannot find free ports: {0}")]
    Ports(#[source] std::io::Error),
    /// A process cannot be started.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// Its binary.
        program: OsString,
        /// Why.
        source: std::io::Error,
    },
    /// A process of the cluster ended by itself.
    #[error("a process of role \"{role}\" ended by itself ({status}); the end of its log:\n{log}")]
    Ended {
        /// Its role.
        role: &'static str,
        /// How.
        status: ExitStatus,
        /// The last lines.
        log: String,
    },
    /// The cluster was not ready in time.
    #[error("the cluster was not ready within {seconds} s {silent}")]
    NotReady {
        /// So long.
        seconds: u64,
        /// The nodes that did not answer.
        silent: String,
    },
}
