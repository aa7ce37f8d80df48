//! What others said, as it may be shown on a terminal.

use std::borrow::Cow;

/// Text without the characters that would steer a terminal, turn around what is read, or not be seen at all, each shown
/// as an escape: the author of a name does not own our screen.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// The same for text of several lines, which stay lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_hidden(c))
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.contains(&hidden) {
        Cow::Owned(text.chars().map(|c| if hidden(c) { c.escape_default().to_string() } else { c.into() }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Characters of Unicode's property `Default_Ignorable_Code_Point`, which have no width and no shape: bidirectional
/// controls, joiners, fillers, variation selectors, tags. And the few others that leave no mark or stand for other
/// text.
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
    // Not for one terminal in particular: what is seen depends on the font.
    ('\u{e000}', '\u{f8ff}'),
    ('\u{f0000}', '\u{10ffff}'),
];

fn is_hidden(c: char) -> bool {
    // Blanks that look like the blank. The wide one of Chinese and Japanese does not.
    let like_a_blank = c.is_whitespace() && c != ' ' && c != '\u{3000}';
    c.is_control() || like_a_blank || (!c.is_ascii() && INVISIBLE.iter().any(|&(from, to)| from <= c && c <= to))
}

#[cfg(test)]
mod tests {
    use super::*;

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
