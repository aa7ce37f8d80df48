//! JSON: one object a line. Also a file that is an array of objects, and one of pretty-printed objects.
//!
//! The beginning of the file says which it is: `[` for an array, a line that is only `{` for pretty-printed objects.
//! Whatever it is, no more than one element is held. On lines, a malformed one spoils none but itself; in the other two
//! an element ends where its brackets do, so an element that is never closed takes the rest of the file with it, and is
//! fatal.

use std::io::{self, BufRead, BufReader, Read};

use super::element::{BYTE_ORDER_MARK, Element, LINE_BYTES_MAX, Malformed};
use super::json_element::Reading;
use super::json_scan::Scan;

/// Bytes read from the file at a time.
const READ_BYTES: usize = 256 * 1024;

/// The elements of a file.
pub(super) struct Json {
    reader: BufReader<Box<dyn Read + Send>>,
    reading: Reading,
    /// Elements that begin before it are passed over.
    from_line: u64,
    /// The line that the next byte is on, from 1.
    line: u64,
    /// The text of the element.
    buffer: Vec<u8>,
    layout: Layout,
}

/// How elements stand in the file.
#[derive(Clone, Copy)]
enum Layout {
    /// Nothing was read yet.
    Unknown,
    /// One a line; `first` until the first that is not blank.
    Lines { first: bool },
    /// One after the other.
    Objects,
    /// Between brackets, which begin on line `from`.
    Array { from: u64, first: bool },
    /// There are no more.
    Ended,
}

/// What was read: `Json::buffer` has it.
enum Text {
    /// An element's, which begins on this line.
    Whole(u64),
    /// The same, but longer than it may be, and not held.
    TooLong(u64),
    End,
}

/// Why nothing after it can be read.
enum Broken {
    Io(io::Error),
    At(u64, String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Io(error)
    }
}

impl Json {
    pub(super) fn new(reader: Box<dyn Read + Send>, reading: Reading, from_line: u64) -> Json {
        let reader = BufReader::with_capacity(READ_BYTES, reader);
        Json { reader, reading, from_line, line: 1, buffer: Vec::new(), layout: Layout::Unknown }
    }

    fn read(&mut self) -> Result<Text, Broken> {
        if matches!(self.layout, Layout::Unknown) {
            self.begin()?;
        }
        match self.layout {
            Layout::Unknown | Layout::Ended => Ok(Text::End),
            Layout::Lines { first } => self.next_line(first),
            Layout::Objects => self.next_object(),
            Layout::Array { from, first } => self.next_of_array(from, first),
        }
    }

    /// Finds the first byte that means something.
    fn begin(&mut self) -> io::Result<()> {
        for &byte in BYTE_ORDER_MARK {
            if self.peek()? != Some(byte) {
                break;
            }
            self.reader.consume(1);
        }
        self.layout = match self.next_visible()? {
            Some(b'[') => {
                self.reader.consume(1);
                Layout::Array { from: self.line, first: true }
            }
            _ => Layout::Lines { first: true },
        };
        Ok(())
    }

    /// The next line that is not blank.
    fn next_line(&mut self, first: bool) -> Result<Text, Broken> {
        loop {
            let line = self.line;
            let passed_over = line < self.from_line && !first;
            let (read, too_long) = self.take_line(passed_over)?;
            if !read {
                return Ok(Text::End);
            }
            let text = self.buffer.trim_ascii();
            if passed_over || (text.is_empty() && !too_long) {
                continue;
            }
            self.layout = Layout::Lines { first: false };
            if first && text == b"{" {
                self.layout = Layout::Objects;
                self.buffer.truncate(0);
                self.buffer.extend_from_slice(b"{\n");
                return self.rest_of_value(line, 1);
            }
            return Ok(if too_long { Text::TooLong(line) } else { Text::Whole(line) });
        }
    }

    /// Reads a line into the buffer: whether there was one, and whether it is too long, and so not held. One to pass
    /// over is not.
    fn take_line(&mut self, passed_over: bool) -> io::Result<(bool, bool)> {
        self.buffer.clear();
        let (mut any, mut too_long) = (false, false);
        loop {
            let available = fill(&mut self.reader)?;
            let feed = memchr::memchr(b'\n', available);
            let part = &available[..feed.unwrap_or(available.len())];
            any |= !available.is_empty();
            too_long |= self.buffer.len() + part.len() > LINE_BYTES_MAX;
            if !too_long && !passed_over {
                self.buffer.extend_from_slice(part);
            }
            let ends = feed.is_some() || available.is_empty();
            let used = part.len() + usize::from(feed.is_some());
            self.reader.consume(used);
            if ends {
                self.line += 1;
                return Ok((any, too_long));
            }
        }
    }

    fn next_object(&mut self) -> Result<Text, Broken> {
        match self.next_visible()? {
            None => Ok(Text::End),
            Some(_) => self.value(),
        }
    }

    fn next_of_array(&mut self, from: u64, first: bool) -> Result<Text, Broken> {
        match self.next_visible()?.ok_or_else(|| self.unclosed(from))? {
            b']' => {
                self.reader.consume(1);
                return match self.next_visible()? {
                    None => Ok(Text::End),
                    Some(_) => Err(self.unexpected("nothing after the array's end")),
                };
            }
            b',' if !first => {
                self.reader.consume(1);
                if self.next_visible()?.ok_or_else(|| self.unclosed(from))? == b']' {
                    return Err(self.unexpected("an element after the comma"));
                }
            }
            _ if !first => return Err(self.unexpected("a comma, or the array's end")),
            _ => {}
        }
        self.layout = Layout::Array { from, first: false };
        self.value()
    }

    /// Said of the file's last line: what stands before it was taken.
    fn unclosed(&self, from: u64) -> Broken {
        Broken::At(self.line, format!("the file ends here, and the array that begins on line {from} is not closed"))
    }

    /// Reads a value, of whatever kind, into the buffer.
    fn value(&mut self) -> Result<Text, Broken> {
        self.buffer.clear();
        match self.peek()? {
            Some(b',' | b':' | b'}' | b']') => Err(self.unexpected("an element")),
            _ => self.rest_of_value(self.line, 0),
        }
    }

    /// Reads the rest of a value whose beginning is in the buffer, at a depth of so many open brackets.
    fn rest_of_value(&mut self, from: u64, depth: u64) -> Result<Text, Broken> {
        let mut scan = Scan::at_depth(depth);
        let mut too_long = false;
        loop {
            let available = fill(&mut self.reader)?;
            if available.is_empty() {
                let unclosed = || Broken::At(from, "the element that begins here is never closed".to_owned());
                return if scan.may_end() { Ok(whole(from, too_long)) } else { Err(unclosed()) };
            }
            let end = available.iter().position(|&byte| scan.ends_before(byte));
            let part = &available[..end.unwrap_or(available.len())];
            self.line += memchr::memchr_iter(b'\n', part).count() as u64;
            too_long |= self.buffer.len() + part.len() > LINE_BYTES_MAX;
            if !too_long {
                self.buffer.extend_from_slice(part);
            }
            let used = part.len();
            self.reader.consume(used);
            if end.is_some() {
                return Ok(whole(from, too_long));
            }
        }
    }

    /// The next byte that is not blank.
    fn next_visible(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(byte) if byte.is_ascii_whitespace() => {
                    self.line += u64::from(byte == b'\n');
                    self.reader.consume(1);
                }
                other => return Ok(other),
            }
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(fill(&mut self.reader)?.first().copied())
    }

    fn unexpected(&mut self, expected: &str) -> Broken {
        match self.peek() {
            Ok(Some(found)) => Broken::At(self.line, format!("expected {expected}, not {:?}", char::from(found))),
            Ok(None) => Broken::At(self.line, format!("expected {expected}, not the file's end")),
            Err(error) => Broken::Io(error),
        }
    }
}

fn whole(from: u64, too_long: bool) -> Text {
    if too_long { Text::TooLong(from) } else { Text::Whole(from) }
}

fn fill(reader: &mut BufReader<Box<dyn Read + Send>>) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Once more, for the borrow: what is there is not read again.
            Ok(_) => return reader.fill_buf(),
            Err(error) => return Err(error),
        }
    }
}

impl Iterator for Json {
    type Item = Result<Element, Malformed>;

    fn next(&mut self) -> Option<Result<Element, Malformed>> {
        loop {
            let (line, too_long) = match self.read() {
                Ok(Text::End) => {
                    self.layout = Layout::Ended;
                    return None;
                }
                Ok(Text::Whole(line)) => (line, false),
                Ok(Text::TooLong(line)) => (line, true),
                Err(broken) => {
                    self.layout = Layout::Ended;
                    return Some(Err(match broken {
                        Broken::Io(error) => Malformed::fatal(self.line, error.to_string()),
                        Broken::At(line, reason) => Malformed::fatal(line, reason),
                    }));
                }
            };
            if line < self.from_line {
                continue;
            }
            if too_long {
                let reason = format!("the element is longer than {LINE_BYTES_MAX} bytes");
                return Some(Err(Malformed::skippable(line, reason)));
            }
            let parsed = self.reading.element(self.buffer.trim_ascii(), line);
            return Some(match parsed {
                Ok(submission) => Ok(Element { line, submission }),
                Err(reason) => Err(Malformed::skippable(line, reason)),
            });
        }
    }
}
