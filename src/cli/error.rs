//! What a command can fail with, in one readable line.

use std::io;

use super::roles::RunError;
use crate::settings::SettingsError;

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
}
