//! How many lines a file has, counted while it is read; and whether it is text at all.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What spreadsheets and other zip files begin with.
const ZIP: [u8; 4] = *b"PK\x03\x04";

/// Whether a file is a zip file. Takes nothing from it.
pub fn is_zip(file: &File) -> io::Result<bool> {
    let mut head = [0; ZIP.len()];
    Ok(file.read_at(&mut head, 0)? == ZIP.len() && head == ZIP)
}

/// The lines that were read so far.
#[derive(Debug, Default)]
pub struct Lines {
    ended: AtomicU64,
    /// Whether the last one has begun and not ended.
    open: AtomicBool,
}

impl Lines {
    /// How many they are; the last needs no line break.
    pub fn count(&self) -> u64 {
        self.ended.load(Ordering::Relaxed) + u64::from(self.open.load(Ordering::Relaxed))
    }
}

/// Counts the lines that are read through it.
pub struct CountedLines<R> {
    reader: R,
    lines: Arc<Lines>,
}

impl<R: Read> CountedLines<R> {
    pub fn new(reader: R, lines: Arc<Lines>) -> CountedLines<R> {
        CountedLines { reader, lines }
    }
}

impl<R: Read> Read for CountedLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let read = &buffer[..count];
        if let Some(last) = read.last() {
            let ended = read.iter().filter(|&&byte| byte == b'\n').count();
            self.lines.ended.fetch_add(ended as u64, Ordering::Relaxed);
            self.lines.open.store(*last != b'\n', Ordering::Relaxed);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_however_their_bytes_come_and_with_or_without_a_last_break() {
        for (text, expected) in [("", 0), ("a", 1), ("a\n", 1), ("a\r\nb", 2), ("\n\n\n", 3)] {
            let lines = Arc::new(Lines::default());
            let mut counted = CountedLines::new(text.as_bytes(), lines.clone());
            while counted.read(&mut [0; 1]).unwrap() > 0 {}
            assert_eq!(lines.count(), expected, "{text:?}");
        }
    }
}
