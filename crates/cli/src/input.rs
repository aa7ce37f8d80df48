//! Elements from files: NDJSON and CSV, typed by the pool's schema, one at a time.
//!
//! Memory stays flat: no more than one element is held, and its text is at most
//! [`LINE_BYTES_MAX`](element::LINE_BYTES_MAX) long.

mod csv_header;
mod csv_rows;
mod element;
mod json_element;
mod json_scan;
mod lines;
mod ndjson;
mod reading;
#[cfg(test)]
mod tests;
mod typed;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use dovetail_rule::AttributeType;

pub use self::element::{Element, Malformed};
use self::json_element::Reading;
use self::lines::{CountedLines, Lines};
pub use self::reading::ReadingArgs;
use super::error::CliError;
use super::schema::PoolSchema;
use dovetail::pb;

/// How elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON objects: one a line, or in an array, or pretty-printed.
    #[value(alias = "json", alias = "jsonl")]
    Ndjson,
    /// Comma-separated, with a header.
    #[value(alias = "tsv")]
    Csv,
}

/// Elements of a file, in order. Ends after a fatal [`Malformed`].
pub type Elements = Box<dyn Iterator<Item = Result<Element, Malformed>> + Send>;

/// What to read elements from.
#[derive(Debug, clap::Args)]
pub struct InputArgs {
    /// File of elements; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// ndjson (an array or pretty-printed JSON, too) or csv; without it, csv for files that end in .csv or .tsv, and
    /// ndjson for others
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<Format>,
    #[command(flatten)]
    reading: ReadingArgs,
    /// How many lines were read.
    #[arg(skip)]
    lines: Arc<Lines>,
}

impl InputArgs {
    /// A file whose name says how it is written.
    pub fn of(file: PathBuf) -> InputArgs {
        InputArgs { file, format: None, reading: ReadingArgs::default(), lines: Arc::default() }
    }

    /// The file's name, for messages.
    pub fn name(&self) -> String {
        if self.is_stdin() { "stdin".to_owned() } else { self.file.display().to_string() }
    }

    /// Opens the file. Fails also when it is CSV with a header that does not fit the pool.
    pub fn open(&self, schema: PoolSchema) -> Result<Elements, CliError> {
        let (format, mut reading) = (self.format(), self.reading.clone());
        if let (Format::Ndjson, Some(option)) = (format, reading.of_csv()) {
            let reason = format!("{option} is for CSV, but {} is read as JSON; see --format", self.name());
            return Err(CliError::Arguments(reason));
        }
        if self.ends_in("tsv") {
            reading.delimiter = reading.delimiter.or(Some(b'\t'));
        }
        let reader: Box<dyn Read + Send> = if self.is_stdin() {
            Box::new(io::stdin())
        } else {
            Box::new(self.open_file().map_err(|error| self.refused(error.to_string()))?)
        };
        let reader = Box::new(CountedLines::new(reader, self.lines.clone()));
        read(reader, format, schema, reading).map_err(|malformed| self.refused(malformed.reason))
    }

    /// Fails when all was read, and `--from-line` is not in it. The line after the last is: a run that was interrupted
    /// there has nothing left to do.
    pub fn reached(&self) -> Result<(), CliError> {
        let (from_line, lines) = (self.reading.from_line, self.lines.count());
        if from_line > lines + 1 {
            let lines = if lines == 1 { "is 1 line".to_owned() } else { format!("are {lines} lines") };
            Err(self.refused(format!("--from-line is {from_line}, but there {lines}")))
        } else {
            Ok(())
        }
    }

    fn open_file(&self) -> io::Result<File> {
        let file = File::open(&self.file)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::other("is a directory"));
        }
        // What is no plain file cannot be looked into without taking from it.
        if metadata.is_file() && lines::is_zip(&file)? {
            return Err(io::Error::other("this is a spreadsheet or zip file; save it as CSV"));
        }
        Ok(file)
    }

    fn refused(&self, reason: String) -> CliError {
        CliError::Input { name: self.name(), reason }
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    fn format(&self) -> Format {
        let csv = self.ends_in("csv") || self.ends_in("tsv");
        self.format.unwrap_or(if csv { Format::Csv } else { Format::Ndjson })
    }

    fn ends_in(&self, ending: &str) -> bool {
        self.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
    }
}

/// A value of an attribute, written as in a cell of CSV; or why it is none.
pub fn cell(schema: &PoolSchema, name: &str, text: &str, declared: AttributeType) -> Result<pb::Value, String> {
    typed::value_of(schema, name, typed::Written::Cell(text), declared)
}

/// Reads elements of a pool.
fn read(
    reader: Box<dyn Read + Send>,
    format: Format,
    schema: PoolSchema,
    options: ReadingArgs,
) -> Result<Elements, Malformed> {
    match format {
        Format::Ndjson => {
            let reading = Reading { schema, ignore_unknown: options.ignore_unknown };
            Ok(Box::new(ndjson::Json::new(reader, reading, options.from_line)))
        }
        Format::Csv => Ok(Box::new(csv_rows::Rows::new(reader, schema, options)?)),
    }
}
