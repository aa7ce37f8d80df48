//! CSV with a header: `key`, the pool's attributes, and optionally `payload`, `ttl_ms` and `idempotency_key`.
//!
//! An empty cell is a missing attribute, lists are separated by `|`, and an attribute whose name is one of the other
//! columns' is written `attributes.key`. A quote that is never closed is fatal: what stands after it is not known.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};

use csv::StringRecord;
use dovetail_rule::AttributeType;

use super::csv_header::{Column, columns};
use super::element::{BYTE_ORDER_MARK, Element, LINE_BYTES_MAX, Malformed};
use super::json_element::ttl_ms;
use super::reading::ReadingArgs;
use super::typed::{self, Written};
use crate::schema::PoolSchema;
use dovetail::client::value;
use dovetail::pb;

/// Bytes read from the file at a time.
const READ_BYTES: usize = 256 * 1024;

/// The elements of a file.
pub(super) struct Rows {
    reader: csv::Reader<Source>,
    schema: PoolSchema,
    options: ReadingArgs,
    columns: Vec<Column>,
    record: StringRecord,
    ended: bool,
}

impl Rows {
    /// Reads the header.
    pub(super) fn new(
        reader: Box<dyn Read + Send>,
        schema: PoolSchema,
        options: ReadingArgs,
    ) -> Result<Rows, Malformed> {
        let mut builder = csv::ReaderBuilder::new();
        builder.flexible(true).delimiter(options.delimiter()).buffer_capacity(READ_BYTES);
        let mut reader = builder.from_reader(Source::new(reader));
        let header = reader.headers().map_err(|error| Malformed::fatal(1, reason(&error)))?.clone();
        if reader.get_ref().exhausted && !header.is_empty() {
            return Err(unclosed(1, &header));
        }
        let columns = columns(&header, &schema, &options).map_err(|reason| Malformed::fatal(1, reason))?;
        Ok(Rows { reader, schema, options, columns, record: StringRecord::new(), ended: false })
    }

    fn element(&self, line: u64) -> Result<Element, Malformed> {
        let (found, expected) = (self.record.len(), self.columns.len());
        if found != expected {
            let reason = format!("{found} cells, but the header has {expected}");
            return Err(Malformed::skippable(line, reason));
        }
        let mut submission = pb::Submission::default();
        for (column, cell) in self.columns.iter().zip(&self.record) {
            self.set(&mut submission, column, cell).map_err(|reason| Malformed::skippable(line, reason))?;
        }
        Ok(Element { line, submission })
    }

    fn set(&self, submission: &mut pb::Submission, column: &Column, cell: &str) -> Result<(), String> {
        if cell.is_empty() || *column == Column::PassedOver || self.options.null.iter().any(|null| null == cell.trim())
        {
            return Ok(());
        }
        let empty = self.options.empty.as_deref() == Some(cell);
        match column {
            Column::PassedOver => {}
            Column::Key | Column::Payload | Column::IdempotencyKey if empty => {}
            Column::Key => submission.key = cell.to_owned(),
            Column::Payload => submission.payload = cell.to_owned().into(),
            Column::IdempotencyKey => submission.idempotency_key = cell.to_owned(),
            Column::TtlMs => submission.ttl_ms = Some(ttl_ms(cell, Written::Cell(cell))?),
            Column::Attribute(name, declared) => {
                let value = match declared {
                    AttributeType::String if empty => value::string(""),
                    AttributeType::StringList if empty => value::string_list([""; 0]),
                    _ => typed::value_of(&self.schema, name, Written::Cell(cell), *declared)?,
                };
                let attributes: &mut HashMap<String, pb::Value> = &mut submission.attributes;
                attributes.insert(name.clone(), value);
            }
        }
        Ok(())
    }

    /// Reads a record; none at the end. Malformed are records that cannot be read, whatever is in them.
    fn read(&mut self) -> Option<Result<u64, Malformed>> {
        let begins = self.reader.position().byte();
        self.reader.get_mut().begin(begins);
        let read = self.reader.read_record(&mut self.record);
        let start = match &read {
            Ok(_) => self.record.position(),
            Err(error) => error.position(),
        };
        let start = start.map(csv::Position::byte);
        let source = self.reader.get_mut();
        // One that was cut off has no position, and the parser's own is where it was cut off.
        let start = start.unwrap_or(source.begins);
        let line = source.line_of(start);
        // It ended with the file, although that ends with a line feed.
        let in_quotes = source.exhausted;
        Some(match read {
            Ok(false) => return None,
            Ok(true) if in_quotes => Err(unclosed(line, &self.record)),
            Ok(true) if self.record.as_slice().len() > LINE_BYTES_MAX => {
                Err(Malformed::skippable(line, Source::EXCEEDED))
            }
            Ok(true) => Ok(line),
            Err(_) if in_quotes => Err(unclosed(line, &StringRecord::new())),
            Err(error) => {
                // Bytes that are not UTF-8 spoil one record; anything else leaves us not knowing where the next begins.
                let fatal = !matches!(error.kind(), csv::ErrorKind::Utf8 { .. });
                Err(Malformed { fatal, ..Malformed::skippable(line, reason(&error)) })
            }
        })
    }
}

impl Iterator for Rows {
    type Item = Result<Element, Malformed>;

    fn next(&mut self) -> Option<Result<Element, Malformed>> {
        while !self.ended {
            match self.read() {
                None => self.ended = true,
                Some(Ok(line)) if line < self.options.from_line => {}
                Some(Ok(line)) => return Some(self.element(line)),
                Some(Err(malformed)) if malformed.from_line < self.options.from_line && !malformed.fatal => {}
                Some(Err(malformed)) => {
                    self.ended = malformed.fatal;
                    return Some(Err(malformed));
                }
            }
        }
        None
    }
}

/// The last cell of the file's last record, which begins on this line, has a quote that is not closed.
fn unclosed(line: u64, record: &StringRecord) -> Malformed {
    let last = record.iter().next_back().map_or(0, str::len);
    let before = &record.as_slice()[..record.as_slice().len() - last];
    let opened = line + lines_ended(before.as_bytes());
    let reason = "the quote that opens here is never closed; a quote inside a cell is written twice, in quotes";
    Malformed { line: opened, from_line: line, ..Malformed::fatal(line, reason) }
}

/// Line ends in it: LF, CRLF or CR.
fn lines_ended(bytes: &[u8]) -> u64 {
    let breaks = bytes.iter().enumerate().filter(|&(index, byte)| match byte {
        b'\n' => index == 0 || bytes[index - 1] != b'\r',
        byte => *byte == b'\r',
    });
    breaks.count() as u64
}

fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::Utf8 { err, .. } => format!("cell {} is not UTF-8; save the file as UTF-8", err.field() + 1),
        _ => error.to_string(),
    }
}

/// The file below the parser. Stops a record that never ends, such as one with a quote that is never closed, before it
/// fills the memory, and knows which line a byte is on. The parser's own line numbers are one short after CRLF and
/// blank lines, because it counts a line feed only when it comes to the next record.
///
/// The parser takes the end of a file for the end of a quoted cell. So the file gets a line feed at its end: what goes
/// on after it is inside quotes.
struct Source {
    reader: Box<dyn Read + Send>,
    /// Bytes that may be read for the record. Blank lines before it do not count.
    left: usize,
    /// Where the parser began the record, or the blank lines before it.
    begins: u64,
    /// What the line is known of: the breaks before it were passed.
    passed: u64,
    offset: u64,
    /// Line breaks the parser has been given and has not passed: where, and whether it is a line feed.
    breaks: VecDeque<(u64, bool)>,
    /// Just after the last carriage return that was passed: a line feed there ends the same line.
    after_return: u64,
    line: u64,
    /// Whether the line feed at the end has been given.
    fed: bool,
    /// Whether the parser has asked for more after that.
    exhausted: bool,
}

impl Source {
    const EXCEEDED: &str = "the record is longer than 1048576 bytes";
    const LEFT: usize = READ_BYTES + LINE_BYTES_MAX;

    fn new(reader: Box<dyn Read + Send>) -> Source {
        let breaks = VecDeque::new();
        let (begins, passed, offset, after_return) = (0, 0, 0, 0);
        let (left, line, fed, exhausted) = (Source::LEFT, 1, false, false);
        Source { reader, left, begins, passed, offset, breaks, after_return, line, fed, exhausted }
    }

    /// The parser goes on to the next record, here.
    fn begin(&mut self, begins: u64) {
        (self.begins, self.left) = (begins, Source::LEFT);
    }

    /// Begins again after blank lines, if there was nothing else yet: there may be any number of them.
    fn pass_blank_lines(&mut self) {
        self.line_of(self.begins);
        if self.passed == self.offset {
            self.begin(self.offset);
        }
    }

    /// The line of the first cell of a record that the parser began at `start`. Never goes back.
    fn line_of(&mut self, start: u64) -> u64 {
        let mut start = start.max(self.passed);
        while let Some(&(offset, feed)) = self.breaks.front()
            && offset <= start
        {
            self.line += u64::from(!feed || offset != self.after_return);
            if !feed {
                self.after_return = offset + 1;
            }
            start += u64::from(offset == start);
            self.breaks.pop_front();
        }
        self.passed = start;
        self.line
    }
}

const _: () = assert!(LINE_BYTES_MAX == 1_048_576, "the text of EXCEEDED says so");

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pass_blank_lines();
        if self.left == 0 {
            return Err(io::Error::other(format!("{}; is a quote not closed?", Source::EXCEEDED)));
        }
        let most = buffer.len().min(self.left);
        let mut read = match self.offset {
            0 => first_bytes(&mut self.reader, &mut buffer[..most])?,
            _ => self.reader.read(&mut buffer[..most])?,
        };
        for at in memchr::memchr2_iter(b'\r', b'\n', &buffer[..read]) {
            self.breaks.push_back((self.offset + at as u64, buffer[at] == b'\n'));
        }
        if read == 0 && most > 0 {
            self.exhausted = self.fed;
            read = usize::from(!self.fed);
            self.fed = true;
            buffer[0] = b'\n';
        }
        self.left -= read;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Reads the first bytes of the file after its byte-order mark. The parser knows one only when it comes in one piece,
/// with more.
fn first_bytes(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < BYTE_ORDER_MARK.len().min(buffer.len()) {
        match reader.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if buffer[..read].starts_with(BYTE_ORDER_MARK) {
            buffer.copy_within(BYTE_ORDER_MARK.len()..read, 0);
            read -= BYTE_ORDER_MARK.len();
        }
    }
    Ok(read)
}
