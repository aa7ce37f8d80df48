//! CSV with a header: `key`, the pool's attributes, and optionally `payload`, `ttl_ms` and `idempotency_key`.
//!
//! An empty cell is a missing attribute, lists are separated by `|`, and an attribute whose name is one of the other
//! columns' is written `attributes.key`.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};

use csv::StringRecord;
use dovetail_rule::AttributeType;

use super::{Element, LINE_BYTES_MAX, Malformed};
use crate::cli::schema::{PoolSchema, milliseconds};
use crate::client::value;
use crate::pb;

/// Bytes read from the file at a time.
const READ_BYTES: usize = 256 * 1024;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Key,
    Payload,
    TtlMs,
    IdempotencyKey,
    Attribute(String, AttributeType),
}

/// The elements of a file.
pub(super) struct Rows {
    reader: csv::Reader<Source>,
    schema: PoolSchema,
    columns: Vec<Column>,
    record: StringRecord,
    ended: bool,
}

impl Rows {
    /// Reads the header.
    pub(super) fn new(reader: Box<dyn Read + Send>, schema: PoolSchema) -> Result<Rows, Malformed> {
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).buffer_capacity(READ_BYTES).from_reader(Source::new(reader));
        let header = reader.headers().map_err(|error| Malformed::fatal(1, reason(&error)))?.clone();
        let columns = columns(&header, &schema).map_err(|reason| Malformed::fatal(1, reason))?;
        Ok(Rows { reader, schema, columns, record: StringRecord::new(), ended: false })
    }

    fn element(&self, line: u64) -> Result<Element, Malformed> {
        let (found, expected) = (self.record.len(), self.columns.len());
        if found != expected {
            let reason = format!("{found} cells, but the header has {expected}");
            return Err(Malformed::skippable(line, reason));
        }
        let mut submission = pb::Submission::default();
        for (column, cell) in self.columns.iter().zip(&self.record) {
            set(&mut submission, column, cell, &self.schema).map_err(|reason| Malformed::skippable(line, reason))?;
        }
        Ok(Element { line, submission })
    }
}

impl Iterator for Rows {
    type Item = Result<Element, Malformed>;

    fn next(&mut self) -> Option<Result<Element, Malformed>> {
        if self.ended {
            return None;
        }
        self.reader.get_mut().left = READ_BYTES + LINE_BYTES_MAX;
        let read = self.reader.read_record(&mut self.record);
        let start = match &read {
            Ok(_) => self.record.position(),
            Err(error) => error.position(),
        };
        let start = start.unwrap_or(self.reader.position()).byte();
        let line = self.reader.get_mut().line_of(start);
        match read {
            Ok(false) => {
                self.ended = true;
                None
            }
            Ok(true) if self.record.as_slice().len() > LINE_BYTES_MAX => {
                Some(Err(Malformed::skippable(line, Source::EXCEEDED)))
            }
            Ok(true) => Some(self.element(line)),
            Err(error) => {
                // Bytes that are not UTF-8 spoil one record; anything else leaves us not knowing where the next begins.
                let fatal = !matches!(error.kind(), csv::ErrorKind::Utf8 { .. });
                self.ended = fatal;
                Some(Err(Malformed { line, reason: reason(&error), fatal }))
            }
        }
    }
}

fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::Utf8 { err, .. } => format!("cell {} is not UTF-8", err.field() + 1),
        _ => error.to_string(),
    }
}

fn columns(header: &StringRecord, schema: &PoolSchema) -> Result<Vec<Column>, String> {
    let mut columns: Vec<Column> = Vec::new();
    for name in header {
        let column = match name.trim() {
            "key" => Column::Key,
            "payload" => Column::Payload,
            "ttl_ms" => Column::TtlMs,
            "idempotency_key" => Column::IdempotencyKey,
            name => {
                let name = name.strip_prefix("attributes.").unwrap_or(name);
                Column::Attribute(name.to_owned(), schema.kind_of(name)?)
            }
        };
        if columns.contains(&column) {
            return Err(format!("the header has {name:?} twice"));
        }
        columns.push(column);
    }
    match columns.contains(&Column::Key) {
        true => Ok(columns),
        false => Err("the header has no column \"key\"".to_owned()),
    }
}

fn set(submission: &mut pb::Submission, column: &Column, cell: &str, schema: &PoolSchema) -> Result<(), String> {
    match column {
        Column::Key => submission.key = cell.to_owned(),
        Column::Payload => submission.payload = cell.to_owned().into(),
        Column::IdempotencyKey => submission.idempotency_key = cell.to_owned(),
        Column::TtlMs if cell.is_empty() => {}
        Column::TtlMs => {
            let ttl_ms =
                cell.trim().parse().map_err(|_| format!("ttl_ms is {cell:?}, not a number of milliseconds"))?;
            submission.ttl_ms = Some(ttl_ms);
        }
        Column::Attribute(..) if cell.is_empty() => {}
        Column::Attribute(name, kind) => {
            let value = typed(cell, *kind).ok_or_else(|| schema.mismatch(name, &format!("{cell:?}"), *kind))?;
            let attributes: &mut HashMap<String, pb::Value> = &mut submission.attributes;
            attributes.insert(name.clone(), value);
        }
    }
    Ok(())
}

fn typed(cell: &str, kind: AttributeType) -> Option<pb::Value> {
    match kind {
        AttributeType::Int => cell.trim().parse().ok().map(value::int),
        AttributeType::Double => cell.trim().parse().ok().map(value::double),
        AttributeType::Bool => cell.trim().parse().ok().map(value::bool),
        AttributeType::String => Some(value::string(cell)),
        AttributeType::StringList => Some(value::string_list(cell.split('|'))),
        AttributeType::Timestamp | AttributeType::Duration => milliseconds(cell, kind).map(value::int),
    }
}

/// The file below the parser. Stops a record that never ends, such as one with a quote that is never closed, before it
/// fills the memory, and knows which line a byte is on. The parser's own line numbers are one short after CRLF and blank
/// lines, because it counts a line feed only when it comes to the next record.
struct Source {
    reader: Box<dyn Read + Send>,
    left: usize,
    offset: u64,
    /// Line breaks the parser has been given and has not passed: where, and whether it is a line feed.
    breaks: VecDeque<(u64, bool)>,
    line: u64,
}

impl Source {
    const EXCEEDED: &str = "the record is longer than 1048576 bytes";

    fn new(reader: Box<dyn Read + Send>) -> Source {
        Source { reader, left: READ_BYTES + LINE_BYTES_MAX, offset: 0, breaks: VecDeque::new(), line: 1 }
    }

    /// The line of the first cell of a record that the parser began at `start`. Never goes back.
    fn line_of(&mut self, mut start: u64) -> u64 {
        while let Some(&(offset, feed)) = self.breaks.front()
            && offset <= start
        {
            self.line += u64::from(feed);
            start += u64::from(offset == start);
            self.breaks.pop_front();
        }
        self.line
    }
}

const _: () = assert!(LINE_BYTES_MAX == 1_048_576, "the text of EXCEEDED says so");

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(Source::EXCEEDED));
        }
        let most = buffer.len().min(self.left);
        let read = self.reader.read(&mut buffer[..most])?;
        let broken = (self.offset..).zip(&buffer[..read]).filter(|(_, byte)| matches!(byte, b'\r' | b'\n'));
        self.breaks.extend(broken.map(|(offset, &byte)| (offset, byte == b'\n')));
        self.left -= read;
        self.offset += read as u64;
        Ok(read)
    }
}
