//! Elements from files: NDJSON and CSV, typed by the pool's schema, one at a time.
//!
//! Memory stays flat: no more than one line is held, and a line is at most [`LINE_BYTES_MAX`] long.

mod csv_rows;
mod ndjson;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::error::CliError;
use super::schema::PoolSchema;
use crate::pb;

/// Longest line, or CSV record, in bytes. A longer one is malformed; it is skipped without being held.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// How elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a header.
    Csv,
}

/// An element and where it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// From 1.
    pub line: u64,
    /// As it will be submitted.
    pub submission: pb::Submission,
}

/// What cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {reason}")]
pub struct Malformed {
    /// From 1.
    pub line: u64,
    /// What was expected, and what was found.
    pub reason: String,
    /// Whether nothing after it can be read either.
    pub fatal: bool,
}

impl Malformed {
    fn skippable(line: u64, reason: impl Into<String>) -> Malformed {
        Malformed { line, reason: reason.into(), fatal: false }
    }

    fn fatal(line: u64, reason: impl Into<String>) -> Malformed {
        Malformed { line, reason: reason.into(), fatal: true }
    }
}

/// Elements of a file, in order. Ends after a fatal [`Malformed`].
pub type Elements = Box<dyn Iterator<Item = Result<Element, Malformed>> + Send>;

/// What to read elements from.
#[derive(Debug, clap::Args)]
pub struct InputArgs {
    /// File of elements, one a line; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// ndjson or csv; without it, csv for files that end in .csv, and ndjson for others
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<Format>,
}

impl InputArgs {
    /// A file whose name says how it is written.
    pub fn of(file: PathBuf) -> InputArgs {
        InputArgs { file, format: None }
    }

    /// The file's name, for messages.
    pub fn name(&self) -> String {
        match self.is_stdin() {
            true => "stdin".to_owned(),
            false => self.file.display().to_string(),
        }
    }

    /// Opens the file. Fails also when it is CSV with a header that does not fit the pool.
    pub fn open(&self, schema: PoolSchema) -> Result<Elements, CliError> {
        let reader: Box<dyn Read + Send> = match self.is_stdin() {
            true => Box::new(io::stdin()),
            false => Box::new(self.open_file().map_err(|error| self.refused(error.to_string()))?),
        };
        read(reader, self.format(), schema).map_err(|malformed| self.refused(malformed.reason))
    }

    fn open_file(&self) -> io::Result<File> {
        let file = File::open(&self.file)?;
        match file.metadata()?.is_dir() {
            true => Err(io::Error::other("is a directory")),
            false => Ok(file),
        }
    }

    fn refused(&self, reason: String) -> CliError {
        CliError::Input { name: self.name(), reason }
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    fn format(&self) -> Format {
        let csv = self.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        self.format.unwrap_or(if csv { Format::Csv } else { Format::Ndjson })
    }
}

/// Reads elements of a pool.
pub fn read(reader: Box<dyn Read + Send>, format: Format, schema: PoolSchema) -> Result<Elements, Malformed> {
    match format {
        Format::Ndjson => Ok(Box::new(ndjson::Lines::new(reader, schema))),
        Format::Csv => Ok(Box::new(csv_rows::Rows::new(reader, schema)?)),
    }
}
