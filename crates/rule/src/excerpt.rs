//! Source in messages: the beginning of a piece of it, and a line with carets under a part, as a terminal shows them.
//!
//! What would hide or move text is written out: control characters as blanks, and characters that have no width or turn
//! the direction of writing as `\\u{202e}`. Only the neighbourhood of the part is shown of a long line.

use unicode_width::UnicodeWidthChar;

/// Most columns shown before the marked part, and from its beginning on.
const COLUMNS_MAX: usize = 60;

/// The beginning of a piece of source, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let shown = || text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= CHARS_MAX {
        shown().collect()
    } else {
        shown().take(CHARS_MAX).chain("...".chars()).collect()
    }
}

/// A line in three pieces.
pub(crate) struct Line<'a> {
    pub(crate) before: &'a str,
    pub(crate) marked: &'a str,
    pub(crate) after: &'a str,
}

impl Line<'_> {
    /// The line, and below it the carets.
    pub(crate) fn shown(&self) -> String {
        let (mut before, cut) = last(self.before);
        if cut {
            before.insert_str(0, "...");
        }
        let mut left = COLUMNS_MAX;
        let (marked, cut_marked) = first(self.marked, &mut left);
        let (after, cut_after) = if cut_marked { (String::new(), true) } else { first(self.after, &mut left) };
        let dots = if cut_after { "..." } else { "" };
        // A tab stays a tab, so that the carets stay below whatever it is as wide as.
        let indent: String = before.chars().flat_map(blank).collect();
        let carets = marked.chars().map(width).sum::<usize>().max(1);
        format!("{before}{marked}{after}{dots}\n{indent}{}", "^".repeat(carets))
    }
}

/// A character as it is shown.
fn show(c: char) -> String {
    match c {
        '\t' => "\t".to_owned(),
        c if c.is_control() => " ".to_owned(),
        c if hides(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    }
}

/// Whether a character cannot be seen, or changes where others are seen.
fn hides(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn width(c: char) -> usize {
    c.width().unwrap_or(1)
}

/// Blanks as wide as a character.
fn blank(c: char) -> impl Iterator<Item = char> {
    let (blank, times) = if c == '\t' { ('\t', 1) } else { (' ', width(c)) };
    std::iter::repeat_n(blank, times)
}

/// The end of a text, and whether something was left out before it.
fn last(text: &str) -> (String, bool) {
    let (mut shown, mut columns): (Vec<String>, usize) = (Vec::new(), 0);
    for c in text.chars().rev() {
        let one = show(c);
        columns += one.chars().map(width).sum::<usize>();
        if columns > COLUMNS_MAX {
            return (shown.into_iter().rev().collect(), true);
        }
        shown.push(one);
    }
    (shown.into_iter().rev().collect(), false)
}

/// The beginning of a text within the columns left, and whether something was left out after it.
fn first(text: &str, left: &mut usize) -> (String, bool) {
    let mut shown = String::new();
    for c in text.chars() {
        let one = show(c);
        let columns = one.chars().map(width).sum::<usize>();
        if columns > *left {
            return (shown, true);
        }
        *left -= columns;
        shown.push_str(&one);
    }
    (shown, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, marked: &str, after: &str, expected: &str) {
        assert_eq!(Line { before, marked, after }.shown(), expected);
    }

    #[test]
    fn carets_are_below_what_they_mark() {
        check("a.f && ", "a.x", " && b.f", "a.f && a.x && b.f\n       ^^^");
        check("\t'é' == ", "a.x", "", "\t'é' == a.x\n\t       ^^^");
        // Wide, and without width of its own.
        check("a.s == '東京' && ", "a.x", "", "a.s == '東京' && a.x\n                 ^^^");
        check("'e\u{301}' == ", "a.x", "", "'e\u{301}' == a.x\n       ^^^");
        check("'x' == ", "'東'", "", "'x' == '東'\n       ^^^^");
        check("a.f &&", "", "", "a.f &&\n      ^");
    }

    #[test]
    fn what_hides_text_is_written_out() {
        check("'\u{202e}' == ", "a.x", "", "'\\u{202e}' == a.x\n              ^^^");
        check("a.f ", "\u{200b}", "", "a.f \\u{200b}\n    ^^^^^^^^");
        check("\u{1b}[31m", "a.x", "\r", " [31ma.x \n     ^^^");
    }

    #[test]
    fn only_the_neighbourhood_is_shown_of_a_long_line() {
        let long = "a.f && ".repeat(100);
        let shown = Line { before: &long, marked: "a.x", after: &long }.shown();
        let (line, carets) = shown.split_once('\n').unwrap();
        assert!(line.starts_with("...") && line.ends_with("...") && line.len() <= 2 * COLUMNS_MAX + 6, "{line}");
        assert_eq!(line.find("a.x"), carets.find('^'));
        let shown = Line { before: "", marked: &long, after: "" }.shown();
        assert_eq!(shown, format!("{}...\n{}", &long[..COLUMNS_MAX], "^".repeat(COLUMNS_MAX)));
    }
}
