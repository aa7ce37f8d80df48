//! Where a JSON value ends, byte by byte. Knows brackets and strings, and leaves the rest to the parser.

/// A value, as far as it was read.
#[derive(Default)]
pub(super) struct Scan {
    /// Open brackets.
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// Whether it is over with the byte before: an object, an array or a string is.
    closed: bool,
    begun: bool,
}

impl Scan {
    /// In the middle of a value, inside so many brackets; 0 is its beginning.
    pub(super) fn at_depth(depth: u64) -> Scan {
        Scan { depth, ..Scan::default() }
    }

    /// Takes the next byte. True when the value ended before it.
    pub(super) fn ends_before(&mut self, byte: u8) -> bool {
        if self.closed {
            return true;
        }
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    self.closed = self.depth == 0;
                }
                _ => {}
            }
            return false;
        }
        let bare_before = self.begun && self.depth == 0;
        match byte {
            b'{' | b'[' | b'"' if bare_before => return true,
            b'{' | b'[' => self.depth += 1,
            b'"' => self.in_string = true,
            b'}' | b']' if self.depth == 0 => return true,
            b'}' | b']' => {
                self.depth -= 1;
                self.closed = self.depth == 0;
            }
            b',' if self.depth == 0 => return true,
            _ if self.depth == 0 && byte.is_ascii_whitespace() => return true,
            _ => {}
        }
        self.begun = true;
        false
    }

    /// Whether the file may end here.
    pub(super) fn may_end(&self) -> bool {
        self.closed || (self.depth == 0 && !self.in_string)
    }
}
