//! Columns for people.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Text without the characters that would steer a terminal, turn around what is read, or not be seen at all, each shown as an
/// escape: whoever names an element does not own our screen.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// The same for text of several lines, which stay lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_hidden(c))
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    match text.contains(&hidden) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(
            text.chars().map(|c| if hidden(c) { c.escape_default().to_string() } else { c.into() }).collect(),
        ),
    }
}

/// Characters of Unicode's property `Default_Ignorable_Code_Point`, which have no width and no shape: bidirectional controls, joiners,
/// fillers, variation selectors, tags. And the few others that leave no mark or stand for other text.
const INVISIBLE: [(char, char); 22] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    // Line and paragraph separators among them.
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    // A pattern of braille without a dot.
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    // Annotations of text between lines among them.
    ('\u{fff0}', '\u{fffb}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    ('\u{fffe}', '\u{ffff}'),
    // For nobody in particular: what is seen depends on the font.
    ('\u{e000}', '\u{f8ff}'),
    ('\u{f0000}', '\u{10ffff}'),
];

fn is_hidden(c: char) -> bool {
    // Blanks that look like the blank. The wide one of Chinese and Japanese does not.
    let like_a_blank = c.is_whitespace() && c != ' ' && c != '\u{3000}';
    c.is_control() || like_a_blank || (!c.is_ascii() && INVISIBLE.iter().any(|&(from, to)| from <= c && c <= to))
}

/// A whole number with separators: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows under headings, each column as wide as its widest cell. Columns whose heading starts with `>` align right.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with one cell per heading.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(&cell).into_owned()).collect();
        assert_eq!(cells.len(), self.headings.len(), "one cell per heading");
        self.rows.push(cells);
    }

    /// The table as lines, each indented by `indent` spaces and ending without blanks.
    pub fn render(&self, indent: usize) -> String {
        let headings = self.headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&headings).chain(&self.rows).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let mut text = String::new();
        for line in lines {
            let mut out = " ".repeat(indent);
            for ((cell, width), heading) in line.iter().zip(&widths).zip(&self.headings) {
                let _ = match heading.starts_with('>') {
                    true => write!(out, "{cell:>width$}  "),
                    false => write!(out, "{cell:<width$}  "),
                };
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["pool", ">waiting", "rule"]);
        table.row(["duel".to_owned(), "1,000".to_owned(), "true".to_owned()]);
        table.row(["a-longer-name".to_owned(), "7".to_owned(), String::new()]);
        assert_eq!(
            table.render(2),
            "  pool           waiting  rule\n  duel             1,000  true\n  a-longer-name        7\n"
        );
    }

    #[test]
    fn numbers_get_separators() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        for text in ["é", "a b", "山田\u{3000}太郎", "שלום", "नमस्ते", "\\u{202e}"] {
            assert_eq!(printable(text), text);
        }
        assert_eq!(printable_lines("error: \u{1b}[2J\n  ^"), "error: \\u{1b}[2J\n  ^");
    }

    #[test]
    fn what_turns_text_around_or_is_not_seen_is_escaped() {
        for c in "\u{202e}\u{2066}\u{200b}\u{200d}\u{feff}\u{ad}\u{a0}\u{2028}\u{3164}\u{fe0f}\u{e0041}\u{e000}".chars()
        {
            assert_eq!(printable(&format!("a{c}b")), format!("a{}b", c.escape_unicode()));
        }
    }
}
