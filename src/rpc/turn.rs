//! How much is read of a connection before others are looked at.
//!
//! What costs the others is what begins with it: each frame of HTTP/2 may begin a call, with a task of its own. Bytes of large messages
//! cost little, and what comes in one turn goes into the log together. So frames are counted beside bytes: their headers are all that is
//! looked at here, and what is wrong with them is for the server to say.

/// Frames of a turn. A client that sends small frames alone can begin so many calls.
const FRAMES: usize = 512;
/// Bytes of a turn.
const BYTES: usize = 1 << 20;
/// Bytes of a frame's header, whose first three are the length of the rest.
const HEADER_BYTES: usize = 9;

/// What was read of a connection since others were last looked at, and how far it is in a frame.
#[derive(Debug)]
pub(super) struct Turn {
    frames: usize,
    bytes: usize,
    /// The length of the rest of the frame whose header is read, as far as it is.
    length: usize,
    /// Bytes of that header that are still to come.
    header: usize,
    /// Bytes before the next header.
    rest: usize,
}

impl Turn {
    /// Of a connection that begins with so many bytes that are no frame.
    pub fn after(preface: usize) -> Turn {
        Turn { frames: 0, bytes: 0, length: 0, header: HEADER_BYTES, rest: preface }
    }

    /// Whether others are to be looked at first.
    pub fn is_over(&self) -> bool {
        self.frames >= FRAMES || self.bytes >= BYTES
    }

    /// Others were looked at.
    pub fn begin(&mut self) {
        (self.frames, self.bytes) = (0, 0);
    }

    /// These bytes were read.
    pub fn read(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len();
        loop {
            let passed = self.rest.min(bytes.len());
            self.rest -= passed;
            bytes = &bytes[passed..];
            let Some((&byte, more)) = bytes.split_first() else { return };
            bytes = more;
            if self.header > HEADER_BYTES - 3 {
                self.length = self.length << 8 | usize::from(byte);
            }
            self.header -= 1;
            if self.header == 0 {
                self.frames += 1;
                (self.rest, self.length, self.header) = (self.length, 0, HEADER_BYTES);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(length: usize) -> Vec<u8> {
        let mut frame = (length as u32).to_be_bytes()[1..].to_vec();
        frame.resize(HEADER_BYTES + length, 0xff);
        frame
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let lengths = [0, 1, 16_384, 300, 0, 70_000];
        let bytes: Vec<u8> = PREFACE.iter().copied().chain(lengths.into_iter().flat_map(frame)).collect();
        for size in [1, 2, 3, 9, 10, 4_096, bytes.len()] {
            let mut turn = Turn::after(PREFACE.len());
            bytes.chunks(size).for_each(|part| turn.read(part));
            assert_eq!((turn.frames, turn.bytes, turn.rest), (lengths.len(), bytes.len(), 0), "in parts of {size}");
        }
    }

    #[test]
    fn a_turn_ends_with_many_small_frames_or_with_many_bytes() {
        let mut turn = Turn::after(0);
        (0..FRAMES - 1).for_each(|_| turn.read(&frame(0)));
        assert!(!turn.is_over());
        turn.read(&frame(0));
        assert!(turn.is_over());
        turn.begin();
        assert!(!turn.is_over());
        (0..BYTES / 16_384).for_each(|_| turn.read(&frame(16_384)));
        assert!(turn.is_over());
    }
}
