//! Columns for people.

use std::fmt::Write as _;

use dovetail_server::printable::printable;

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
pub struct TextTable {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table without rows.
    pub fn new(headings: &[&'static str]) -> TextTable {
        TextTable { headings: headings.to_vec(), rows: Vec::new() }
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
                let _ = if heading.starts_with('>') {
                    write!(out, "{cell:>width$}  ")
                } else {
                    write!(out, "{cell:<width$}  ")
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
        let mut table = TextTable::new(&["pool", ">waiting", "rule"]);
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
}
