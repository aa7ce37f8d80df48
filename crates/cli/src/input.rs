//! Elements from files: NDJSON and CSV, typed by the pool's schema, one at a time.
//!
//! Memory stays flat: no more than one element is held, and its text is at most [`LINE_BYTES_MAX`] long.

mod csv_header;
mod csv_rows;
mod json_element;
mod json_scan;
mod lines;
mod ndjson;
#[cfg(test)]
mod tests;
mod typed;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use dovetail_rule::AttributeType;

use self::json_element::Reading;
use self::lines::{Counted, Lines};
use super::error::CliError;
use super::schema::PoolSchema;
use dovetail::pb;

/// Longest text of an element, in bytes: a line, a CSV record, a JSON object. A longer one is malformed; it is skipped
/// without being held.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What some programs begin UTF-8 with. It means nothing.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

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
    /// Where its element begins: `--from-line` with this reads it again.
    pub from_line: u64,
}

impl Malformed {
    fn skippable(line: u64, reason: impl Into<String>) -> Malformed {
        Malformed { line, reason: reason.into(), fatal: false, from_line: line }
    }

    fn fatal(line: u64, reason: impl Into<String>) -> Malformed {
        Malformed { fatal: true, ..Malformed::skippable(line, reason) }
    }
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

/// How to read them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReadingArgs {
    /// Begin with the first element that starts on this line or after it
    #[arg(long, value_name = "LINE", default_value_t = 1, hide_default_value = true, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// Pass over columns, members and attributes that the pool does not have
    #[arg(long)]
    ignore_unknown: bool,
    /// CSV: what separates cells: one ASCII character, or "tab"; without it a comma, or a tab for files that end in
    /// .tsv
    #[arg(long, value_name = "CHAR", value_parser = delimiter, allow_hyphen_values = true)]
    delimiter: Option<u8>,
    /// CSV: the column to take for the key, instead of "key"
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    key_column: Option<String>,
    /// CSV: read these columns and the key, and pass over the others
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    columns: Vec<String>,
    /// CSV: take a column for another: --rename "Skill Level=skill"; may be repeated
    #[arg(long, value_name = "COLUMN=NAME", value_parser = renaming)]
    rename: Vec<(String, String)>,
    /// CSV: cells that are missing values, as empty ones always are: --null NA,null
    #[arg(long, value_name = "TEXT,..", value_delimiter = ',', allow_hyphen_values = true)]
    null: Vec<String>,
    /// CSV: the cell that is an empty string, or an empty list
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    empty: Option<String>,
}

/// One byte, for clap.
fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err("expected one ASCII character other than a quote or a line break, or \"tab\"".to_owned()),
    }
}

/// A column and what it is taken for, for clap. A column's name may have a `=`, that of an attribute has none.
fn renaming(text: &str) -> Result<(String, String), String> {
    let (column, name) = text.rsplit_once('=').ok_or("expected COLUMN=NAME, such as \"Skill Level=skill\"")?;
    Ok((column.to_owned(), name.to_owned()))
}

impl ReadingArgs {
    fn delimiter(&self) -> u8 {
        self.delimiter.unwrap_or(b',')
    }

    /// What only CSV has, if it is given.
    fn of_csv(&self) -> Option<&'static str> {
        let given = [
            (self.delimiter.is_some(), "--delimiter"),
            (self.key_column.is_some(), "--key-column"),
            (!self.columns.is_empty(), "--columns"),
            (!self.rename.is_empty(), "--rename"),
            (!self.null.is_empty(), "--null"),
            (self.empty.is_some(), "--empty"),
        ];
        given.into_iter().find_map(|(given, name)| given.then_some(name))
    }
}

impl InputArgs {
    /// A file whose name says how it is written.
    pub fn of(file: PathBuf) -> InputArgs {
        InputArgs { file, format: None, reading: ReadingArgs::default(), lines: Arc::default() }
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
        let (format, mut reading) = (self.format(), self.reading.clone());
        if let (Format::Ndjson, Some(option)) = (format, reading.of_csv()) {
            let reason = format!("{option} is for CSV, but {} is read as JSON; see --format", self.name());
            return Err(CliError::Arguments(reason));
        }
        if self.ends_in("tsv") {
            reading.delimiter = reading.delimiter.or(Some(b'\t'));
        }
        let reader: Box<dyn Read + Send> = match self.is_stdin() {
            true => Box::new(io::stdin()),
            false => Box::new(self.open_file().map_err(|error| self.refused(error.to_string()))?),
        };
        let reader = Box::new(Counted::new(reader, self.lines.clone()));
        read(reader, format, schema, reading).map_err(|malformed| self.refused(malformed.reason))
    }

    /// Fails when all was read, and `--from-line` is not in it. The line after the last is: a run that was interrupted
    /// there has nothing left to do.
    pub fn reached(&self) -> Result<(), CliError> {
        let (from_line, lines) = (self.reading.from_line, self.lines.count());
        match from_line > lines + 1 {
            true => {
                let lines = if lines == 1 { "is 1 line".to_owned() } else { format!("are {lines} lines") };
                Err(self.refused(format!("--from-line is {from_line}, but there {lines}")))
            }
            false => Ok(()),
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
