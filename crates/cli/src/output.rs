//! Writing to stdout, whose reader may have gone.

use std::io::{self, Write as _};

/// Prints and flushes.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
