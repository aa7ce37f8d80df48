//! What others said, in texts of ours: cut, so that a message is not as long as what it is about.

/// Longest message, in bytes. Of a longer one the beginning and the end are kept: the bound is at the end.
const MESSAGE_BYTES_MAX: usize = 1_280;
/// Longest value that comes back of what a client sent, in bytes, in texts and details; and longest description of a
/// field.
pub const ECHO_BYTES_MAX: usize = 256;

/// A text whose quoted parts, as `{:?}` writes them, have no more bytes than a value: whatever was sent, it does not
/// come back whole.
fn cut_quoted(text: String) -> String {
    if text.len() <= ECHO_BYTES_MAX {
        return text;
    }
    let (mut short, mut rest) = (String::with_capacity(text.len().min(MESSAGE_BYTES_MAX)), text.as_str());
    while let Some(open) = rest.find('"') {
        let (before, quoted) = rest.split_at(open + 1);
        short.push_str(before);
        let mut escaped = false;
        let close = quoted.bytes().position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        });
        let Some(close) = close else {
            rest = quoted;
            break;
        };
        short.push_str(&cut(quoted[..close].to_owned(), ECHO_BYTES_MAX));
        short.push('"');
        rest = &quoted[close + 1..];
    }
    short.push_str(rest);
    short
}

/// A text of so many bytes at most, for a message: what a client sent may be megabytes. The middle goes.
#[must_use]
pub fn cut_message(message: String) -> String {
    cut(cut_quoted(message), MESSAGE_BYTES_MAX)
}

/// The same of any length.
#[must_use]
pub fn cut(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    const MARK: usize = " [... 18446744073709551615 bytes ...] ".len();
    let kept = bytes_max.saturating_sub(MARK);
    let head = text.floor_char_boundary(kept * 2 / 3);
    let tail = text.ceil_char_boundary(text.len() - (kept - kept * 2 / 3));
    format!("{} [... {} bytes ...] {}", &text[..head], tail - head, &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_one_by_one_and_the_text_around_them_stays() {
        let (name, other) = ("n".repeat(600), format!("{:?}", "\"quoted\" ".repeat(100)));
        let text = cut_message(format!("pool {name:?} of {other} is not defined, \"duel\" is"));
        assert!(text.ends_with("is not defined, \"duel\" is") && text.contains("n\" of \""), "{text}");
        assert!(text.len() < 2 * ECHO_BYTES_MAX + 60, "{} bytes: {text}", text.len());
        let open = format!("no end: \"{}", "x".repeat(300));
        assert_eq!(cut_quoted(open.clone()), open);
    }

    #[test]
    fn a_text_of_the_length_allowed_stays() {
        assert_eq!(cut("x".repeat(256), 256), "x".repeat(256));
        assert!(cut("x".repeat(257), 256).len() <= 256);
    }
}
